//! Takes deliveries in and keeps a journal of them: an HTTP server whose paths are the routes' names.
//!
//! A path answers by its [`Script`]. The port can be closed (connections are refused) and opened again
//! without losing it. Paths under `/-/` are for whoever runs the sink as a process of its own:
//! `GET /-/journal` (a [`Received`] per line), `GET /-/counts`, `PUT /-/script/ROUTE` (a [`Script`]). What is no event is
//! posted below `/-/plain/NAME`: it is counted (`GET /-/plain`) and answered with what `PUT /-/plain/NAME` has set.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::script::{Answer, Running, Script};
use crate::{
    coffee::{Key, read_all},
    oracle::{IN_BATCH, Received, now},
};

/// The header that carries the DeliveryId.
pub const DELIVERY_HEADER: &str = "idempotency-key";
/// The header that carries the number of the attempt.
pub const ATTEMPT_HEADER: &str = "gocoffee-attempt";
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

type Answered = Response<Full<Bytes>>;

/// What a path has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests, swallowed ones too.
    pub requests: u64,
    /// Different events that it took.
    pub events: u64,
}

#[derive(Default)]
struct Kept {
    journal: Vec<Received>,
    taken: HashMap<Arc<str>, HashSet<Key>>,
    requests: BTreeMap<Arc<str>, u64>,
    scripts: HashMap<Arc<str>, Running>,
    unreadable: Vec<String>,
    plain: BTreeMap<String, Plain>,
}

/// Requests that are no events.
#[derive(Default)]
struct Plain {
    answer: Bytes,
    requests: u64,
}

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    connections: AtomicU64,
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Door {
    /// Bound and not listening: the port is ours, and connections to it are refused.
    Closed(TcpSocket),
    Open(CancellationToken, tokio::task::JoinHandle<()>),
}

/// A sink that runs in this process.
pub struct Sink {
    shared: Arc<Shared>,
    address: SocketAddr,
    door: Option<Door>,
}

impl Sink {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Sink {
        let mut sink = Sink::closed();
        sink.open().await;
        sink
    }

    /// One that refuses connections, until [`Sink::open`].
    pub fn closed() -> Sink {
        Sink::bound(bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port on 127.0.0.1"))
    }

    /// One that listens on this address.
    ///
    /// # Errors
    /// When the address is not free.
    pub async fn listen(address: SocketAddr) -> std::io::Result<Sink> {
        let mut sink = Sink::bound(bind(address)?);
        sink.open().await;
        Ok(sink)
    }

    fn bound(socket: TcpSocket) -> Sink {
        let address = socket.local_addr().expect("a bound socket has an address");
        Sink { shared: Arc::default(), address, door: Some(Door::Closed(socket)) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a route delivers to.
    pub fn url(&self, route: &str) -> String {
        format!("http://{}/{route}", self.address)
    }

    /// Listens.
    pub async fn open(&mut self) {
        if let Some(Door::Closed(socket)) = self.door.take_if(|d| matches!(d, Door::Closed(_))) {
            let listener = socket.listen(BACKLOG).expect("the port is bound");
            let stop = CancellationToken::new();
            let served = tokio::spawn(serve(listener, self.shared.clone(), stop.clone()));
            self.door = Some(Door::Open(stop, served));
        }
    }

    /// Refuses connections from now on and breaks those that stand.
    pub async fn close(&mut self) {
        if let Some(Door::Open(stop, served)) = self.door.take_if(|d| matches!(d, Door::Open(..))) {
            stop.cancel();
            served.await.expect("the server ends when told");
            self.door = Some(Door::Closed(bind(self.address).expect("the port was ours a moment ago")));
        }
    }

    /// Sets what a route's path does from now on.
    pub fn script(&self, route: &str, script: impl Into<Script>) {
        self.shared.kept().scripts.insert(route.into(), Running::new(script.into()));
    }

    /// Everything that came so far.
    pub fn journal(&self) -> Vec<Received> {
        self.shared.kept().journal.clone()
    }

    /// What a route's path has seen.
    pub fn counts(&self, route: &str) -> Counts {
        counts(&self.shared.kept()).get(route).copied().unwrap_or_default()
    }

    /// Requests that were no event, with the reason: there should be none.
    pub fn unreadable(&self) -> Vec<String> {
        self.shared.kept().unreadable.clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Serves until the sink is dropped.
    pub async fn served(&mut self) {
        if let Some(Door::Open(_, served)) = &mut self.door {
            served.await.expect("the server does not fail");
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(Door::Open(stop, _)) = &self.door {
            stop.cancel();
        }
    }
}

/// The port, without anybody who listens there.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        // Out of file descriptors, or a connection that was gone before it was accepted.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        stream.set_nodelay(true).ok();
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(shared.clone(), request));
            // A router that is killed breaks its connections: nothing to report.
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
    // Dropped with the listener, so that the port is free when this ends.
    connections.shutdown().await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answered, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(|b| b.to_bytes()) else { return Ok(empty(400)) };
    let path = head.uri.path();
    if let Some(path) = path.strip_prefix("/-/") {
        return Ok(control(&shared, &head.method, path, &body));
    }
    let (status, delay) = take(&shared, path.trim_start_matches('/'), &head.headers, &body);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match status {
        Some(status) => Ok(empty(status)),
        None => std::future::pending().await,
    }
}

/// Writes the request down; the status and the delay of its answer.
fn take(shared: &Shared, route: &str, headers: &HeaderMap, body: &[u8]) -> (Option<u16>, Duration) {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let arrived = read_all(headers, body);
    let (delivery, attempt) = (header(DELIVERY_HEADER), header(ATTEMPT_HEADER).parse().unwrap_or(0));
    let kept = &mut *shared.kept();
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(why) => {
            kept.unreadable.push(format!("{route}: {why}"));
            return (Some(400), Duration::ZERO);
        }
    };
    let delivery = if arrived.len() > 1 && delivery.is_empty() { IN_BATCH } else { delivery };
    let route: Arc<str> = match kept.requests.get_key_value(route) {
        Some((route, _)) => route.clone(),
        None => route.into(),
    };
    *kept.requests.entry(route.clone()).or_default() += 1;
    let (answer, delay) = match kept.scripts.get_mut(&route) {
        Some(script) => {
            // A batch fares as the worst of its events.
            let answers: Vec<Answer> =
                arrived.iter().map(|one| script.decide(&one.kind, &one.key.id, attempt)).collect();
            let worst = answers.into_iter().find(|answer| *answer != Answer::Status(200));
            (worst.unwrap_or(Answer::Status(200)), script.delay())
        }
        None => (Answer::Status(200), Duration::ZERO),
    };
    let status = match answer {
        Answer::Status(status) => Some(status),
        Answer::Hang => None,
        Answer::Swallow => return (Some(200), delay),
    };
    for one in arrived {
        let (at, route, delivery) = (now(), route.clone(), delivery.into());
        let received = Received { at, route, key: one.key, print: one.print, delivery, attempt, status };
        if received.taken() {
            kept.taken.entry(received.route.clone()).or_default().insert(received.key.clone());
        }
        kept.journal.push(received);
    }
    (status, delay)
}

fn counts(kept: &Kept) -> BTreeMap<String, Counts> {
    let events = |route: &Arc<str>| kept.taken.get(route).map_or(0, |keys| keys.len() as u64);
    let count = |(route, requests): (&Arc<str>, &u64)| {
        (route.to_string(), Counts { requests: *requests, events: events(route) })
    };
    kept.requests.iter().map(count).collect()
}

fn json(text: impl Into<Bytes>) -> Answered {
    let mut response = Response::new(Full::from(text.into()));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// Counts, and answers as was set; `NAME` is the first part of the path.
fn plain(shared: &Shared, method: &Method, path: &str, body: &Bytes) -> Answered {
    let name = path.split('/').next().unwrap_or_default();
    let kept = &mut *shared.kept();
    match *method {
        Method::PUT => {
            kept.plain.entry(name.to_owned()).or_default().answer = body.clone();
            empty(204)
        }
        Method::POST => match kept.plain.get_mut(name) {
            Some(plain) => {
                plain.requests += 1;
                json(plain.answer.clone())
            }
            None => empty(404),
        },
        _ => empty(405),
    }
}

fn control(shared: &Shared, method: &Method, path: &str, body: &Bytes) -> Answered {
    if let Some(path) = path.strip_prefix("plain/") {
        return plain(shared, method, path, body);
    }
    match (method, path.split_once('/')) {
        (&Method::GET, None) if path == "counts" => {
            json(serde_json::to_string(&counts(&shared.kept())).expect("counts are JSON"))
        }
        (&Method::GET, None) if path == "plain" => {
            let kept = shared.kept();
            let counts: BTreeMap<&String, u64> = kept.plain.iter().map(|(name, p)| (name, p.requests)).collect();
            json(serde_json::to_string(&counts).expect("counts are JSON"))
        }
        (&Method::GET, None) if path == "journal" => {
            let journal = shared.kept().journal.clone();
            let lines = journal.iter().map(|r| serde_json::to_string(r).expect("a journal is JSON") + "\n");
            json(lines.collect::<String>())
        }
        (&Method::PUT, Some(("script", route))) => match serde_json::from_slice::<Script>(body) {
            Ok(script) => {
                shared.kept().scripts.insert(route.into(), Running::new(script));
                empty(204)
            }
            Err(e) => {
                let mut response = Response::new(Full::from(format!("this is no script: {e}\n")));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
        },
        _ => empty(404),
    }
}

fn empty(status: u16) -> Answered {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        coffee::{Mode, coffee, request},
        world::{client::Client, script::Rule},
    };

    async fn deliver(client: &Client, sink: &Sink, route: &str, n: u64, attempt: u32) -> Option<u16> {
        let (mut headers, body) = request(Mode::Binary, &[coffee("s", n)]);
        headers.insert(DELIVERY_HEADER, format!("00c0ffee00c0ffee-0-{n}-1-0").parse().unwrap());
        headers.insert(ATTEMPT_HEADER, attempt.into());
        client.send(Method::POST, &sink.url(route), headers, body).await.ok().map(|a| a.status)
    }

    #[tokio::test]
    async fn requests_are_kept_with_what_they_carried_and_what_they_got() {
        let (sink, client) = (Sink::start().await, Client::new(Duration::from_secs(5)));
        sink.script("orders", Rule::status(503).attempts_max(1));
        assert_eq!(deliver(&client, &sink, "orders", 7, 1).await, Some(503));
        assert_eq!(deliver(&client, &sink, "orders", 7, 2).await, Some(200));
        assert_eq!(deliver(&client, &sink, "other", 7, 1).await, Some(200));
        let journal = sink.journal();
        assert_eq!(
            journal.iter().map(|r| (&*r.route, r.attempt, r.status)).collect::<Vec<_>>(),
            [("orders", 1, Some(503)), ("orders", 2, Some(200)), ("other", 1, Some(200))]
        );
        assert_eq!(journal[0].key, coffee("s", 7).key);
        assert_eq!(journal[0].print, coffee("s", 7).fingerprint());
        assert_eq!(&*journal[0].delivery, "00c0ffee00c0ffee-0-7-1-0");
        assert_eq!(sink.counts("orders"), Counts { requests: 2, events: 1 });
    }

    #[tokio::test]
    async fn a_closed_door_refuses_and_opens_again_on_its_port() {
        let (mut sink, client) = (Sink::closed(), Client::new(Duration::from_secs(5)));
        assert_eq!(deliver(&client, &sink, "a", 1, 1).await, None);
        for round in 0..3 {
            sink.open().await;
            assert_eq!(deliver(&client, &sink, "a", 1, 1).await, Some(200), "{round}");
            sink.close().await;
            assert_eq!(deliver(&client, &sink, "a", 1, 1).await, None, "{round}");
        }
        assert_eq!(sink.counts("a").requests, 3);
    }

    #[tokio::test]
    async fn a_hanging_path_keeps_the_request_and_a_swallowing_one_does_not() {
        let (sink, client) = (Sink::start().await, Client::new(Duration::from_millis(200)));
        sink.script("hang", Rule::new(Answer::Hang));
        sink.script("swallow", Rule::new(Answer::Swallow).requests_max(1));
        assert_eq!(deliver(&client, &sink, "hang", 1, 1).await, None);
        assert_eq!(deliver(&client, &sink, "swallow", 1, 1).await, Some(200));
        assert_eq!(deliver(&client, &sink, "swallow", 2, 1).await, Some(200));
        assert_eq!(sink.counts("hang"), Counts { requests: 1, events: 0 });
        assert_eq!(sink.counts("swallow"), Counts { requests: 2, events: 1 });
    }

    #[tokio::test]
    async fn a_sink_is_scripted_and_read_over_http() {
        let (sink, client) = (Sink::start().await, Client::new(Duration::from_secs(5)));
        let script = Bytes::from(r#"{"rules":[{"answer":{"status":418}}]}"#);
        let put = client.send(Method::PUT, &sink.url("-/script/tea"), HeaderMap::new(), script).await.unwrap();
        assert_eq!(put.status, 204);
        let bad = client.send(Method::PUT, &sink.url("-/script/tea"), HeaderMap::new(), "{1}".into()).await.unwrap();
        assert_eq!(bad.status, 400);
        assert_eq!(deliver(&client, &sink, "tea", 1, 1).await, Some(418));
        let counts = client.get(&sink.url("-/counts")).await.unwrap();
        assert_eq!(counts.text(), r#"{"tea":{"requests":1,"events":0}}"#);
        let model = sink.url("-/plain/model/chat");
        let plain = |method, body: &'static str| client.send(method, &model, HeaderMap::new(), Bytes::from(body));
        assert_eq!(plain(Method::POST, "{}").await.unwrap().status, 404, "nobody has said what to answer");
        assert_eq!(plain(Method::PUT, r#"{"a":1}"#).await.unwrap().status, 204);
        let answered = plain(Method::POST, "no event").await.unwrap();
        assert_eq!((answered.status, answered.text().as_str()), (200, r#"{"a":1}"#));
        assert_eq!(client.get(&sink.url("-/plain")).await.unwrap().text(), r#"{"model":1}"#);
        let journal = client.get(&sink.url("-/journal")).await.unwrap();
        let line: Received = serde_json::from_str(&journal.text()).unwrap();
        assert_eq!(vec![line], sink.journal());
    }
}
