//! Sinks, which count what comes and how long it was under way, a silent target and a refusing one.

use std::{
    io::BufRead,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use httparse::Header;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    task::JoinSet,
};

use crate::{
    at, now_us, say,
    wire::{header, serve},
};

/// Before the number of an event in a batch, and before the moment in its data when it was to be sent.
const ID: &[u8] = br#""id":""#;
const SENT: &[u8] = br#""at":"#;
/// Deliveries whose time under way is kept.
const KEPT_MAX: usize = 1 << 20;

/// What one sink took.
#[derive(Default)]
struct Taken {
    requests: u64,
    /// All events, one that comes again too.
    arrived: u64,
    /// Different events.
    events: u64,
    /// One bit for each number of an event.
    seen: Vec<u64>,
    /// When the last event came, and the last new one, in microseconds of UNIX time.
    arrived_us: u64,
    last_us: u64,
    /// How long events were under way, in microseconds, since that was last asked.
    took_us: Vec<u32>,
}

impl Taken {
    /// Notes an event; `id` ends in `-NUMBER`.
    fn note(&mut self, id: &[u8], sent_us: Option<u64>, now: u64) {
        self.arrived += 1;
        self.arrived_us = now;
        if let Some(sent) = sent_us
            && self.took_us.len() < KEPT_MAX
        {
            self.took_us.push(u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX));
        }
        let digits = id.rsplit(|b| *b == b'-').next().unwrap_or_default();
        let Some(number) = number(digits).and_then(|n| usize::try_from(n).ok()) else { return };
        let (word, bit) = (number / 64, 1u64 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.events += 1;
            self.last_us = now;
        }
    }
}

impl Taken {
    fn counts(&mut self) -> serde_json::Value {
        json!({
            "requests": self.requests, "arrived": self.arrived, "events": self.events,
            "arrived_us": self.arrived_us, "last_us": self.last_us,
        })
    }

    fn took(&mut self) -> serde_json::Value {
        let mut took = std::mem::take(&mut self.took_us);
        took.sort_unstable();
        json!({"timed": took.len(), "p50_us": at(&took, 500), "p99_us": at(&took, 990)})
    }
}

/// The number at the beginning of some text.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit());
    let mut count = 0;
    let value = digits.inspect(|_| count += 1).fold(0u64, |n, b| n.saturating_mul(10) + u64::from(b - b'0'));
    (count > 0).then_some(value)
}

/// What follows this name, first.
fn after<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let first = name[0];
    let mut rest = text;
    loop {
        let found = rest.iter().position(|b| *b == first)?;
        rest = &rest[found..];
        if rest.starts_with(name) {
            return Some(&rest[name.len()..]);
        }
        rest = &rest[1..];
    }
}

pub fn sinks(runtime: &Runtime, count: u64) {
    let taken: Vec<Arc<Mutex<Taken>>> = (0..count).map(|_| Arc::default()).collect();
    let silent = Arc::new(AtomicU64::new(0));
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listen = || runtime.block_on(TcpListener::bind(loopback)).expect("a free port");
    let mut addresses = Vec::new();
    for taken in &taken {
        let listener = listen();
        addresses.push(listener.local_addr().expect("its address"));
        let taken = taken.clone();
        runtime.spawn(serve(listener, move |headers, body| note(&taken, headers, body)));
    }
    let listener = listen();
    let quiet = listener.local_addr().expect("its address");
    runtime.spawn(keep_silent(listener, silent.clone()));
    // Bound and not listening: the port stays ours, and connections to it are refused.
    let refusing = TcpSocket::new_v4().expect("a socket");
    refusing.bind(loopback).expect("a free port");
    let refuses = refusing.local_addr().expect("its address");
    say(&json!({"sinks": addresses, "silent": quiet, "refusing": refuses}));
    for line in std::io::stdin().lock().lines() {
        let each = |tell: fn(&mut Taken) -> serde_json::Value| {
            let one = |taken: &Arc<Mutex<Taken>>| tell(&mut taken.lock().unwrap_or_else(PoisonError::into_inner));
            taken.iter().map(one).collect::<Vec<_>>()
        };
        match line.as_deref() {
            Ok("counts") => {
                say(&json!({"sinks": each(Taken::counts), "silent": silent.load(Ordering::Relaxed)}));
            }
            Ok("took") => say(&json!({"sinks": each(Taken::took)})),
            _ => break,
        }
    }
}

fn note(taken: &Mutex<Taken>, headers: &[Header<'_>], body: &[u8]) -> u16 {
    let now = now_us();
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    taken.requests += 1;
    if let Some(id) = header(headers, "ce-id") {
        taken.note(id, after(body, SENT).and_then(number), now);
        return 200;
    }
    if !header(headers, "content-type").is_some_and(|kind| kind.starts_with(b"application/cloudevents")) {
        return 415;
    }
    let mut rest = body;
    while let Some(found) = after(rest, ID) {
        let end = found.iter().position(|b| *b == b'"').unwrap_or(found.len());
        let (id, more) = found.split_at(end);
        taken.note(id, after(more, SENT).and_then(number), now);
        rest = more;
    }
    200
}

/// Accepts, reads and never answers; counts connections.
async fn keep_silent(listener: TcpListener, connections: Arc<AtomicU64>) {
    let mut kept = JoinSet::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        connections.fetch_add(1, Ordering::Relaxed);
        kept.spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        while kept.try_join_next().is_some() {}
    }
}
