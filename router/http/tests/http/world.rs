use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use router_core::{
    id::{BusName, Offset, SourceName},
    source::{Accepted, IntakeClosed, RawEvent, Rejection},
};
use router_http::{
    Edge, Events, Key, KeySpec, Limits, Listener, Mount, Secret, TlsFiles,
    intake::{Results, Submit},
};
use schemas::{Event, Form};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

type Script = Box<dyn Fn(usize, &RawEvent) -> Result<Accepted, Rejection> + Send + Sync>;

/// An intake that keeps what it was given and answers as its script says.
pub struct Fake {
    script: Script,
    closed: bool,
    delay: Duration,
    seen: Mutex<Vec<RawEvent>>,
}

impl Fake {
    /// Appends every valid event at offset 1, 2, …; rejects the others.
    pub fn new() -> Self {
        Self::script(|i, raw| match &raw.event {
            Ok(_) => Ok(Accepted::Appended(Offset(i as u64 + 1))),
            Err(invalid) => Err(invalid.clone().into()),
        })
    }

    pub fn script(script: impl Fn(usize, &RawEvent) -> Result<Accepted, Rejection> + Send + Sync + 'static) -> Self {
        Fake { script: Box::new(script), closed: false, delay: Duration::ZERO, seen: Mutex::default() }
    }

    pub fn closed() -> Self {
        Fake { closed: true, ..Self::new() }
    }

    pub fn slow(delay: Duration) -> Self {
        Fake { delay, ..Self::new() }
    }

    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().unwrap().iter().filter_map(|raw| raw.event.clone().ok()).collect()
    }
}

#[async_trait]
impl Submit for Fake {
    async fn submit(&self, from: &SourceName, batch: Vec<RawEvent>) -> Results {
        assert_eq!(from.as_str(), "web");
        tokio::time::sleep(self.delay).await;
        if self.closed {
            return Err(IntakeClosed);
        }
        let results = batch.iter().enumerate().map(|(i, raw)| (self.script)(i, raw)).collect();
        self.seen.lock().unwrap().extend(batch);
        Ok(results)
    }
}

/// A running listener with `/events`.
pub struct Served {
    pub addr: SocketAddr,
    pub fake: Arc<Fake>,
    pub stop: CancellationToken,
    pub held: Box<dyn Fn() -> usize>,
    pub task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn serve(limits: Limits, keys: &[&str], fake: Fake) -> Served {
    let fake = Arc::new(fake);
    let keys: Vec<Secret> = keys.iter().map(|key| Secret::new(*key)).collect();
    let events = Events::new("/events", SourceName::new("web").unwrap(), &keys).unwrap();
    let mount = Mount { endpoint: Arc::new(events), intake: fake.clone() };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), limits, vec![mount]).await.unwrap();
    let (addr, stop, held) = (listener.addr(), CancellationToken::new(), Box::new(listener.bodies_bytes()));
    let task = tokio::spawn(listener.run(stop.clone()));
    Served { addr, fake, stop, held, task }
}

/// As [`serve`], with keys that have rights, for the bus `default`, and with TLS.
pub async fn serve_with(limits: Limits, keys: Vec<KeySpec>, tls: Option<TlsFiles>, fake: Fake) -> Served {
    let fake = Arc::new(fake);
    let keys = keys.into_iter().map(|key| Key::new(key).unwrap()).collect();
    let (web, bus) = (SourceName::new("web").unwrap(), BusName::new("default").unwrap());
    let events = Events::with_keys("/events", web, bus, keys).unwrap();
    let mount = Mount { endpoint: Arc::new(events), intake: fake.clone() };
    let edge = Edge { tls, ..Edge::default() };
    let (any, every) = ("127.0.0.1:0".parse().unwrap(), Duration::from_millis(20));
    let listener = Listener::bind_with(any, limits, edge, every, vec![mount]).await.unwrap();
    let (addr, stop, held) = (listener.addr(), CancellationToken::new(), Box::new(listener.bodies_bytes()));
    let task = tokio::spawn(listener.run(stop.clone()));
    Served { addr, fake, stop, held, task }
}

pub async fn served(fake: Fake) -> Served {
    serve(Limits::default(), &[], fake).await
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The code of a problem, whose form is checked on the way.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        assert!(!json["title"].as_str().unwrap().is_empty() && !json["detail"].as_str().unwrap().is_empty());
        json["code"].as_str().unwrap().to_owned()
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}

/// Reads one message: its head, and as many bytes as `Content-Length` says. `None` at the end.
pub async fn read_message(stream: &mut TcpStream) -> Option<Message> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = header(&head, "content-length").map_or(0, |v| v.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

pub async fn read_reply(stream: &mut TcpStream) -> Option<Reply> {
    let read = tokio::time::timeout(Duration::from_secs(20), read_message(stream)).await;
    let (head, body) = read.expect("no answer within 20 s")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Reply { status, head, body: String::from_utf8(body).unwrap() })
}

/// Sends bytes on a new connection and reads the answer.
pub async fn exchange(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Reply {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    read_reply(&mut stream).await.expect("closed without an answer")
}

/// A request to `/events` with its length.
pub fn post(headers: &str, body: &str) -> String {
    format!("POST /events HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Headers of a small binary event.
pub const BINARY: &str = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n";
pub const STRUCTURED: &str = "content-type: application/cloudevents+json\r\n";
pub const BATCH: &str = "content-type: application/cloudevents-batch+json\r\n";

/// A small structured event.
pub fn json(id: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{{"n":1}}}}"#)
}

/// What an event says, whatever the order of its attributes.
#[derive(Debug, PartialEq)]
pub struct Content {
    attrs: Vec<(String, String)>,
    form: Form,
    data: Vec<u8>,
}

pub fn content(event: &Event) -> Content {
    let mut attrs: Vec<_> = event.attrs().map(|(n, v)| (n.to_owned(), format!("{v:?}"))).collect();
    attrs.sort();
    Content { attrs, form: event.form(), data: event.data().to_vec() }
}

/// Head and body of a message.
type Message = (String, Vec<u8>);

/// A server that answers each request with the next of its scripted answers (the last one for ever),
/// and keeps what it was sent.
pub struct Sink {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    pub async fn new(answers: &[&str]) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let answers: Arc<Vec<String>> = Arc::new(answers.iter().map(|a| a.to_string()).collect());
        let (log, count) = (seen.clone(), connections.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                let (log, answers) = (log.clone(), answers.clone());
                tokio::spawn(async move {
                    while let Some(message) = read_message(&mut stream).await {
                        let n = {
                            let mut log = log.lock().unwrap();
                            log.push(message);
                            log.len() - 1
                        };
                        let answer = answers.get(n).or(answers.last()).unwrap();
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Sink { addr, seen, connections, task }
    }

    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// An answer with a body.
pub fn status(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}
