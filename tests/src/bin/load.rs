//! `coffee-load`: the load of the benchmarks, beside the router and in processes of its own.
//!
//! ```text
//! coffee-load sinks COUNT     COUNT sinks that answer 200, a silent one that accepts and never answers, and a
//!                             port that refuses; the first line names the addresses, each line `counts` on
//!                             standard input is answered by one of what came
//! coffee-load bare            an HTTP server that reads each request and answers 202: the limit of any intake
//! coffee-load publish URL EVENTS BATCH CONNECTIONS SERIES
//!                             posts EVENTS events of 1 KiB data, BATCH to a request, one request at a time on
//!                             each connection, and sends again what was not acknowledged
//! ```
//!
//! Every line on standard output is JSON. The servers end with their standard input, so that none outlives
//! the benchmark that started it. The load is closed: a connection sends when its last request was answered.

// What goes wrong in here ends the benchmark, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    convert::Infallible,
    io::{BufRead, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1 as client, server::conn::http1 as server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};

/// Bytes of an event's data.
const DATA_BYTES: usize = 1_024;
/// Waits before a request is sent again.
const AGAIN: Duration = Duration::from_millis(10);
/// From one line of a publisher's progress to the next.
const PROGRESS: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = Runtime::new().expect("a runtime");
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0);
    match args.as_slice() {
        ["sinks", count] if number(count).is_some() => sinks(&runtime, number(count).unwrap_or(1)),
        ["bare"] => bare(&runtime),
        ["publish", url, events, batch, connections, series] => {
            let numbers = (number(events), number(batch), number(connections));
            let (Some(events), Some(batch), Some(connections)) = numbers else { return usage() };
            let Some(load) = Load::new(url, events, batch, series) else { return usage() };
            runtime.block_on(publish(Arc::new(load), connections));
        }
        _ => return usage(),
    }
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "error: usage: coffee-load sinks COUNT | coffee-load bare | coffee-load publish URL EVENTS BATCH CONNECTIONS SERIES"
    );
    ExitCode::from(2)
}

fn say(line: &serde_json::Value) {
    // Whoever started it is gone: nobody misses the line.
    writeln!(std::io::stdout(), "{line}").unwrap_or_default();
}

// ---------------------------------------------------------------------------------- what takes in

/// What one sink took.
#[derive(Default)]
struct Taken {
    requests: u64,
    /// Different events.
    events: u64,
    /// One bit for each number of an event.
    seen: Vec<u64>,
    /// When the last new event came, in microseconds of UNIX time.
    last_us: u64,
}

impl Taken {
    /// Notes a request; `id` ends in `-NUMBER`.
    fn note(&mut self, id: &str) {
        self.requests += 1;
        let Some(number) = id.rsplit('-').next().and_then(|n| n.parse::<usize>().ok()) else { return };
        let (word, bit) = (number / 64, 1u64 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.events += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        }
    }
}

fn sinks(runtime: &Runtime, count: u64) {
    let taken: Vec<Arc<Mutex<Taken>>> = (0..count).map(|_| Arc::default()).collect();
    let silent = Arc::new(AtomicU64::new(0));
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listen = || runtime.block_on(TcpListener::bind(loopback)).expect("a free port");
    let mut addresses = Vec::new();
    for taken in &taken {
        let listener = listen();
        addresses.push(listener.local_addr().expect("its address"));
        let taken = taken.clone();
        runtime.spawn(serve(listener, move |request| note(taken.clone(), request)));
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
        if !line.is_ok_and(|l| l == "counts") {
            break;
        }
        let counts = taken.iter().map(|taken| {
            let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            json!({"requests": taken.requests, "events": taken.events, "last_us": taken.last_us})
        });
        say(&json!({"sinks": counts.collect::<Vec<_>>(), "silent": silent.load(Ordering::Relaxed)}));
    }
}

async fn note(taken: Arc<Mutex<Taken>>, request: Request<Incoming>) -> u16 {
    let (head, body) = request.into_parts();
    if body.collect().await.is_err() {
        return 400;
    }
    let id = head.headers.get("ce-id").and_then(|v| v.to_str().ok()).unwrap_or_default();
    taken.lock().unwrap_or_else(PoisonError::into_inner).note(id);
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

fn bare(runtime: &Runtime) {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
    say(&json!({"address": listener.local_addr().expect("its address")}));
    runtime.spawn(serve(listener, |request| async move {
        // Read, and nothing done with it.
        if request.into_body().collect().await.is_ok() { 202 } else { 400 }
    }));
    // Until whoever started it goes away.
    for _ in std::io::stdin().lock().lines() {}
}

async fn serve<F: Future<Output = u16> + Send + 'static>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).unwrap_or_default();
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(respond(answered.await)) }
            });
            // A router that is killed breaks its connections: nothing to report.
            server::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
        });
    }
}

fn respond(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

// ---------------------------------------------------------------------------------- what sends

struct Load {
    uri: Uri,
    address: String,
    events: u64,
    batch: u64,
    series: String,
    padding: String,
    next: AtomicU64,
    acked: AtomicU64,
    again: AtomicU64,
    refused: AtomicU64,
    took_us: Mutex<Vec<u32>>,
}

impl Load {
    fn new(url: &str, events: u64, batch: u64, series: &str) -> Option<Load> {
        let uri: Uri = url.parse().ok()?;
        Some(Load {
            address: uri.authority()?.to_string(),
            uri,
            events,
            batch,
            series: series.to_owned(),
            padding: "coffee ".chars().cycle().take(DATA_BYTES - 64).collect(),
            next: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            again: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            took_us: Mutex::default(),
        })
    }

    /// The next request's events: the first number and how many.
    fn take(&self) -> Option<(u64, u64)> {
        let first = self.next.fetch_add(self.batch, Ordering::Relaxed);
        (first < self.events).then(|| (first, self.batch.min(self.events - first)))
    }

    fn request(&self, first: u64, count: u64) -> (&'static str, Bytes) {
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
        write!(
            body,
            r#"{{"specversion":"1.0","id":"{series}-{n}","source":"/shops/{shop}","type":"coffee.order.created","subject":"orders/{n}","time":"2026-01-15T06:30:00.120Z","datacontenttype":"application/json","data":{{"shop":{shop},"total":{total},"order":{n},"note":"{padding}"}}}}"#
        )
        .expect("memory takes it");
    }

    fn post(&self, content_type: &'static str, body: Bytes) -> Request<Full<Bytes>> {
        let request = Request::post(self.uri.path()).header(header::HOST, &self.address);
        request.header(header::CONTENT_TYPE, content_type).body(Full::new(body)).expect("a request")
    }
}

async fn publish(load: Arc<Load>, connections: u64) {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(work(load.clone()));
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
    let at = |part: usize| took.get(took.len() * part / 1_000).or(took.last()).copied().unwrap_or_default();
    let [acked, again, refused] = [&load.acked, &load.again, &load.refused].map(|n| n.load(Ordering::Relaxed));
    say(&json!({
        "acked": acked, "seconds": seconds, "again": again, "refused": refused,
        "p50_us": at(500), "p99_us": at(990),
    }));
}

/// One connection's loop.
async fn work(load: Arc<Load>) {
    let mut connection: Option<client::SendRequest<Full<Bytes>>> = None;
    let mut took_us = Vec::new();
    while let Some((first, count)) = load.take() {
        let (content_type, body) = load.request(first, count);
        loop {
            let sent = Instant::now();
            match attempt(&load, &mut connection, content_type, body.clone()).await {
                Some(200..=299) => {
                    took_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
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

/// The status of the answer; `None` when there was none.
async fn attempt(
    load: &Load,
    connection: &mut Option<client::SendRequest<Full<Bytes>>>,
    content_type: &'static str,
    body: Bytes,
) -> Option<u16> {
    if connection.as_ref().is_none_or(client::SendRequest::is_closed) {
        let stream = TcpStream::connect(&load.address).await.ok()?;
        stream.set_nodelay(true).unwrap_or_default();
        let (sender, driver) = client::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(driver);
        *connection = Some(sender);
    }
    let sender = connection.as_mut()?;
    let answer = match sender.ready().await {
        Ok(()) => sender.send_request(load.post(content_type, body)).await.ok(),
        Err(_) => None,
    };
    let Some(answer) = answer else {
        *connection = None;
        return None;
    };
    let status = answer.status().as_u16();
    if answer.into_body().collect().await.is_err() {
        *connection = None;
    }
    Some(status)
}
