//! Servers that do as little as can be: one that only answers, and one that is durable too, and forwards.

use std::{borrow::Cow, convert::Infallible, io::BufRead, net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1 as client, server::conn::http1 as server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::{Mutex, mpsc, oneshot},
};

use crate::{say, segments::Segments};

/// Events of one sync, as the router's.
const EVENTS_MAX: usize = 4_096;
/// Requests at a time to where it forwards to, as the router's default.
const FORWARDERS: usize = 64;
/// Events that wait to be forwarded.
const WAITING_MAX: usize = 1 << 20;

/// Until whoever started it goes away.
fn until_left() {
    for _ in std::io::stdin().lock().lines() {}
}

pub fn bare(runtime: &Runtime) {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
    say(&json!({"address": listener.local_addr().expect("its address")}));
    runtime.spawn(serve(listener, |request| async move {
        // Read, and nothing done with it.
        if request.into_body().collect().await.is_ok() { 202 } else { 400 }
    }));
    until_left();
}

/// What is looked for in each event: the rest is only passed over.
#[derive(Deserialize)]
#[allow(dead_code, reason = "parsed as any intake has to, and not used here")]
struct Head<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The events of a body, parsed.
fn events(batch: bool, body: &Bytes) -> Option<Vec<Bytes>> {
    if !batch {
        serde_json::from_slice::<Head<'_>>(body).ok()?;
        return Some(vec![body.clone()]);
    }
    let all: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let one = |raw: &RawValue| {
        serde_json::from_str::<Head<'_>>(raw.get()).ok()?;
        Some(body.slice_ref(raw.get().as_bytes()))
    };
    all.into_iter().map(one).collect()
}

type Group = (Vec<Bytes>, oneshot::Sender<()>);

pub fn durable(runtime: &Runtime, dir: &Path, to: Option<&str>) {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
    say(&json!({"address": listener.local_addr().expect("its address")}));
    let (groups, waiting) = mpsc::channel(1_024);
    let forward = to.map(|to| forwarders(runtime, to));
    let segments = Segments::new(dir);
    std::thread::spawn(move || keep(segments, waiting, forward.as_ref()));
    runtime.spawn(serve(listener, move |request| take(groups.clone(), request)));
    until_left();
}

async fn take(groups: mpsc::Sender<Group>, request: Request<Incoming>) -> u16 {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let batch = kind.starts_with("application/cloudevents-batch");
    let Ok(body) = body.collect().await else { return 400 };
    let Some(events) = events(batch, &body.to_bytes()) else { return 422 };
    let (kept, durable) = oneshot::channel();
    if groups.send((events, kept)).await.is_err() || durable.await.is_err() {
        return 503;
    }
    202
}

/// All that waits, one sync.
fn keep(mut segments: Segments, mut waiting: mpsc::Receiver<Group>, forward: Option<&mpsc::Sender<Bytes>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut count = first.0.len();
        let mut groups = vec![first];
        while count < EVENTS_MAX
            && let Ok(more) = waiting.try_recv()
        {
            count += more.0.len();
            groups.push(more);
        }
        segments.append(groups.iter().flat_map(|(events, _)| events));
        for (events, kept) in groups {
            // A sender that is gone does not miss its answer.
            kept.send(()).unwrap_or_default();
            if let Some(forward) = forward {
                events.into_iter().for_each(|event| forward.blocking_send(event).expect("a forwarder"));
            }
        }
    }
}

/// Post what is sent to them, one at a time each.
fn forwarders(runtime: &Runtime, to: &str) -> mpsc::Sender<Bytes> {
    let (tx, rx) = mpsc::channel(WAITING_MAX);
    let rx = Arc::new(Mutex::new(rx));
    let address: SocketAddr = to.parse().expect("an address");
    for _ in 0..FORWARDERS {
        let rx: Arc<Mutex<mpsc::Receiver<Bytes>>> = rx.clone();
        runtime.spawn(async move {
            let mut connection = Connection::new(&address.to_string(), "/");
            loop {
                let next = rx.lock().await.recv().await;
                let Some(event) = next else { return };
                while !matches!(connection.post("application/cloudevents+json", event.clone()).await, Some(200..=299)) {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
        });
    }
    tx
}

/// One connection to a server, made anew where it ended, as anybody has it by hyper.
struct Connection {
    address: String,
    path: String,
    open: Option<client::SendRequest<Full<Bytes>>>,
}

impl Connection {
    fn new(address: &str, path: &str) -> Connection {
        Connection { address: address.to_owned(), path: path.to_owned(), open: None }
    }

    /// The status of the answer; `None` when there was none.
    async fn post(&mut self, content_type: &'static str, body: Bytes) -> Option<u16> {
        if self.open.as_ref().is_none_or(client::SendRequest::is_closed) {
            let stream = TcpStream::connect(&self.address).await.ok()?;
            stream.set_nodelay(true).unwrap_or_default();
            let (sender, driver) = client::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(driver);
            self.open = Some(sender);
        }
        let request = Request::post(&self.path).header(header::HOST, &self.address);
        let request = request.header(header::CONTENT_TYPE, content_type).body(Full::new(body)).expect("a request");
        let sender = self.open.as_mut()?;
        let answer = match sender.ready().await {
            Ok(()) => sender.send_request(request).await.ok(),
            Err(_) => None,
        };
        let Some(answer) = answer else {
            self.open = None;
            return None;
        };
        let status = answer.status().as_u16();
        if answer.into_body().collect().await.is_err() {
            self.open = None;
        }
        Some(status)
    }
}

/// Serves HTTP/1.1.
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
