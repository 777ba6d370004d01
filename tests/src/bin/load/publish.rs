//! What sends: as fast as it is answered, or at a rate of its own.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Uri;
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{at, now_us, say, wire::Connection};

/// Bytes of an event's data.
const DATA_BYTES: usize = 1_024;
/// Waits before a request is sent again.
const AGAIN: Duration = Duration::from_millis(10);
/// From one line of a publisher's progress to the next.
const PROGRESS: Duration = Duration::from_millis(50);
/// From one look at the clock to the next, of who sends at a rate.
const STEP: Duration = Duration::from_micros(100);

pub struct Load {
    path: String,
    address: String,
    events: u64,
    batch: u64,
    /// Events/s; `None`: a connection sends when its last request was answered.
    rate: Option<u64>,
    series: String,
    padding: String,
    next: AtomicU64,
    acked: AtomicU64,
    again: AtomicU64,
    refused: AtomicU64,
    took_us: Mutex<Vec<u32>>,
    /// One for each event that is due.
    due: Semaphore,
    /// When the first event is due, in microseconds of UNIX time.
    began_us: u64,
}

impl Load {
    pub fn new(url: &str, events: u64, batch: u64, rate: Option<u64>, series: &str) -> Option<Load> {
        let uri: Uri = url.parse().ok()?;
        Some(Load {
            address: uri.authority()?.to_string(),
            path: uri.path().to_owned(),
            events,
            batch,
            rate,
            series: series.to_owned(),
            padding: "coffee ".chars().cycle().take(DATA_BYTES - 64).collect(),
            next: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            again: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            took_us: Mutex::default(),
            due: Semaphore::new(0),
            began_us: now_us(),
        })
    }

    /// The next request's events: the first number and how many.
    async fn take(&self) -> Option<(u64, u64)> {
        if self.rate.is_some() {
            self.due.acquire().await.ok()?.forget();
        }
        let first = self.next.fetch_add(self.batch, Ordering::Relaxed);
        (first < self.events).then(|| (first, self.batch.min(self.events - first)))
    }

    /// When this event is to be sent: now, unless there is a rate.
    fn due_us(&self, n: u64) -> u64 {
        self.rate.map_or_else(now_us, |rate| self.began_us + n * 1_000_000 / rate)
    }

    /// Lets events go as they get due: a timer of the runtime is a millisecond late.
    fn pace(&self, rate: u64, connections: u64) {
        let mut let_go = 0;
        while let_go < self.events {
            let gone_us = now_us().saturating_sub(self.began_us);
            let due = (gone_us * rate / 1_000_000).min(self.events);
            self.due.add_permits(usize::try_from(due - let_go).unwrap_or_default());
            let_go = due;
            std::thread::sleep(STEP);
        }
        // Each connection looks once more, and finds nothing.
        self.due.add_permits(usize::try_from(connections).unwrap_or_default());
    }

    /// The content type and body of a request with these events.
    pub fn request(&self, first: u64, count: u64) -> (&'static str, Bytes) {
        let mut body = Vec::with_capacity(usize::try_from(count).unwrap_or(1) * (DATA_BYTES + 320));
        if self.batch == 1 {
            self.event(&mut body, first);
            return ("application/cloudevents+json", body.into());
        }
        for n in first..first + count {
            body.push(if n == first { b'[' } else { b',' });
            self.event(&mut body, n);
        }
        body.push(b']');
        ("application/cloudevents-batch+json", body.into())
    }

    fn event(&self, body: &mut Vec<u8>, n: u64) {
        let (series, shop, total, padding) = (&self.series, n % 12, 100_000 + n * 37 % 2_000, &self.padding);
        let due = self.due_us(n);
        write!(
            body,
            r#"{{"specversion":"1.0","id":"{series}-{n}","source":"/shops/{shop}","type":"coffee.order.created","subject":"orders/{n}","time":"2026-01-15T06:30:00.120Z","datacontenttype":"application/json","data":{{"at":{due},"shop":{shop},"total":{total},"order":{n},"note":"{padding}"}}}}"#
        )
        .expect("memory takes it");
    }
}

pub async fn publish(load: Arc<Load>, connections: u64) {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(work(load.clone()));
    }
    if let Some(rate) = load.rate {
        let load = load.clone();
        std::thread::spawn(move || load.pace(rate, connections));
    }
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(ended) => ended.expect("a connection's loop does not fail"),
                None => break,
            },
            () = tokio::time::sleep(PROGRESS) => say(&json!({"acked": load.acked.load(Ordering::Relaxed)})),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut took = std::mem::take(&mut *load.took_us.lock().unwrap_or_else(PoisonError::into_inner));
    took.sort_unstable();
    let [acked, again, refused] = [&load.acked, &load.again, &load.refused].map(|n| n.load(Ordering::Relaxed));
    say(&json!({
        "acked": acked, "seconds": seconds, "again": again, "refused": refused,
        "p50_us": at(&took, 500), "p99_us": at(&took, 990),
    }));
}

/// One connection's loop.
async fn work(load: Arc<Load>) {
    let mut connection = Connection::new(&load.address, &load.path);
    let mut took_us = Vec::new();
    while let Some((first, count)) = load.take().await {
        let (content_type, body) = load.request(first, count);
        let due = load.due_us(first);
        loop {
            match connection.post(content_type, &body).await {
                Some(200..=299) => {
                    took_us.push(u32::try_from(now_us().saturating_sub(due)).unwrap_or(u32::MAX));
                    load.acked.fetch_add(count, Ordering::Relaxed);
                    break;
                }
                // Refused for a passing reason, or not answered at all: the same again.
                Some(429 | 500..) | None => {
                    load.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN).await;
                }
                Some(_) => {
                    load.refused.fetch_add(count, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
    load.took_us.lock().unwrap_or_else(PoisonError::into_inner).append(&mut took_us);
}
