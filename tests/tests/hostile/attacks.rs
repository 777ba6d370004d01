//! Attacks, all at once, and an honest sender beside them: each attack gets the answer that its limit names, every event
//! of the honest sender is taken in and delivered, and memory stays bounded. The sender's latencies are printed, since
//! they are this machine's and no promise.

use std::{
    collections::BTreeSet,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use router_tests::world::{
    client::{Answer, Client},
    process::{Place, Router},
    setup::Route,
    sink::Sink,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// What everything may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// Memory that the router may have at any time: what all bodies together may take, and what it is by itself.
const MEMORY_MAX: u64 = 384 << 20;
/// Connections that are held open and say nothing.
const IDLE: usize = 800;
/// Who tries wrong keys at a time.
const AT_DOORS: usize = 4;
/// Within this time a connection whose sender has closed its half is ended.
const HALF_CLOSED: Duration = Duration::from_secs(10);
/// Connections that say a little now and then.
const SLOW: usize = 40;

fn wrong_keys() -> usize {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 1_000_000 } else { 4_000 }
}

/// Where to attack.
#[derive(Clone)]
struct Aim {
    public: String,
    admin: String,
    client: Client,
}

impl Aim {
    async fn send(&self, method: Method, url: &str, head: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = head.iter().map(pair).collect();
        self.client.send(method, url, headers, body.into()).await.unwrap_or_else(|e| panic!("{url}: {e}"))
    }

    async fn post(&self, path: &str, head: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, &format!("http://{}{path}", self.public), head, body).await
    }

    /// Sends bytes as they are; the status line and what follows, as far as it comes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.public).await.unwrap();
        // A server that has heard enough may close before all is sent.
        let _sent = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it ends");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// The status and the code of a raw answer.
fn raw_code(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const CLOUD: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/honest", "type": "t", "data": {"n": 1}})
}

/// Sizes: endless, inflated, deep, wide.
async fn sizes(aim: Aim) {
    let mut endless = b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/cloudevents+json\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..200 {
        endless.extend_from_slice(b"10000\r\n");
        endless.extend(std::iter::repeat_n(b'x', 0x1_0000));
        endless.extend_from_slice(b"\r\n");
    }
    assert_eq!(raw_code(&aim.raw(&endless).await), is(413, "body-too-large"));

    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..512 {
        bomb.write_all(&zeros).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "half a gigabyte in {} bytes", bomb.len());
    let answer = aim.post("/events", &[CLOUD, ("content-encoding", "gzip")], bomb).await;
    assert_eq!(code(&answer), is(413, "body-too-large"));

    let mut deep = String::from(r#"{"specversion":"1.0","id":"deep","source":"/s","type":"t","data":"#);
    deep.extend(std::iter::repeat_n('[', 100_000));
    deep.extend(std::iter::repeat_n(']', 100_000));
    deep.push('}');
    assert_eq!(code(&aim.post("/events", &[CLOUD], deep).await), is(422, "json-too-deep"));

    let wide = format!("[{}]", vec!["{}"; 1_000_000].join(","));
    assert_eq!(code(&aim.post("/events", &[BATCH], wide).await), is(413, "batch-too-long"));
    let attributes: Vec<String> = (0..1_000).map(|n| format!(r#""a{n}":"1""#)).collect();
    let wide = format!(r#"{{"specversion":"1.0","id":"wide","source":"/s","type":"t",{}}}"#, attributes.join(","));
    assert_eq!(code(&aim.post("/events", &[CLOUD], wide).await), is(422, "too-many-attributes"));
}

/// Heads: floods, smuggling, encodings.
async fn heads(aim: Aim) {
    let flood: String = (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let flood = format!("POST /events HTTP/1.1\r\nhost: x\r\n{flood}content-length: 0\r\n\r\n");
    assert_eq!(raw_code(&aim.raw(flood.as_bytes()).await).0, 431);
    let twice = "POST /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\nce-specversion: 1.0\r\nce-id: 1\r\nCE-ID: 2\r\nce-source: /s\r\nce-type: t\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(raw_code(&aim.raw(twice.as_bytes()).await), is(422, "repeated-header"));
    let smuggled = "POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = aim.raw(smuggled.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one request, one answer: {answer}");
    for path in
        ["/%65vents", "/events%00", "/events/..%2fevents", "//events", "/events/../buses/default/events", "/EVENTS"]
    {
        let answer = aim
            .raw(
                format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes(),
            )
            .await;
        assert!([400, 404].contains(&raw_code(&answer).0), "{path}: {answer}");
    }
    let twice = r#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}"#;
    assert_eq!(code(&aim.post("/events", &[CLOUD], twice).await), is(422, "repeated-member"));
    // What the percent signs hide is part of the value, and of nothing else.
    let hidden =
        [("ce-specversion", "1.0"), ("ce-id", "x%0D%0Ace-source: /other"), ("ce-source", "/s"), ("ce-type", "t")];
    let answer = aim.post("/events", &hidden, "").await;
    assert!([202, 422].contains(&answer.status), "{} {}", answer.status, answer.text());
}

/// Keys and tokens, wrong each time; pages of other sites.
async fn doors(aim: Aim) {
    let start = Instant::now();
    let mut doors = JoinSet::new();
    for first in 0..AT_DOORS {
        let aim = aim.clone();
        doors.spawn(async move {
            for n in (first..wrong_keys()).step_by(AT_DOORS) {
                let bearer = format!("Bearer wrong-{n}");
                let answer = aim.post("/keyed", &[("authorization", &bearer), CLOUD], "{}").await;
                assert_eq!(answer.status, 401, "{}", answer.text());
                let status = format!("http://{}/api/status", aim.admin);
                let answer = aim.send(Method::GET, &status, &[("authorization", &bearer)], "").await;
                assert_eq!(answer.status, 401, "{}", answer.text());
            }
        });
    }
    while let Some(ended) = doors.join_next().await {
        ended.unwrap();
    }
    eprintln!("{} wrong keys, and as many wrong tokens, in {:?}", wrong_keys(), start.elapsed());
    let reload = format!("http://{}/api/reload", aim.admin);
    let foreign = [("host", "evil.example"), ("content-type", "application/json")];
    let answer = aim.send(Method::POST, &reload, &foreign, "{}").await;
    assert!((400..500).contains(&answer.status) && answer.status != 404, "{} {}", answer.status, answer.text());
    let cross = [("origin", "https://evil.example"), ("content-type", "application/json")];
    let answer = aim.send(Method::POST, &reload, &cross, "{}").await;
    assert!([401, 403].contains(&answer.status), "{} {}", answer.status, answer.text());
}

/// Senders that say that they have nothing more to say: within a head, within a body, and behind a whole request.
async fn half_closed(aim: Aim) {
    let request = |id: &str| {
        let body = event(id).to_string();
        let length = body.len();
        let head = format!("POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: {length}", CLOUD.1);
        (head, format!("\r\n\r\n{body}"))
    };
    let said = async |text: &str| {
        let mut stream = TcpStream::connect(&aim.public).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(HALF_CLOSED, stream.read_to_string(&mut answer)).await;
        read.expect("nobody waits for more of it").unwrap_or_default();
        answer
    };
    let (head, body) = request("half");
    for _ in 0..50 {
        for text in [&head[..], &format!("{head}{}", &body[..body.len() - 1])] {
            let answer = said(text).await;
            assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        }
    }
    let (head, body) = request("whole");
    let answer = said(&format!("{head}{body}")).await;
    // Who is gone may get no answer; then nothing was promised.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

/// The same event over and over.
async fn repeated(aim: Aim) {
    for _ in 0..500 {
        let answer = aim.post("/events", &[CLOUD], event("again").to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

/// Says a byte of its head now and then, until it is sent away.
async fn slow(aim: Aim) {
    let mut stream = TcpStream::connect(&aim.public).await.unwrap();
    let mut buffer = [0; 1024];
    let end = Instant::now() + DEADLINE;
    for byte in b"POST /events HTTP/1.1\r\nhost: slow\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
        assert!(Instant::now() < end, "a head that never ends is waited for");
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        // An answer, or the end.
        if tokio::time::timeout(Duration::from_millis(100), stream.read(&mut buffer)).await.is_ok() {
            return;
        }
    }
}

/// Connections that say nothing, for as long as the others take.
async fn idle(aim: &Aim) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        held.push(TcpStream::connect(&aim.public).await.unwrap());
    }
    held
}

/// Publishes until it is told to end: how long each took, in order of length.
async fn honest(aim: Aim, ends: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !ends.load(Ordering::SeqCst) || took.is_empty() {
        let n = sent.fetch_add(1, Ordering::SeqCst);
        let start = Instant::now();
        let answer = aim.post("/events", &[CLOUD], event(&format!("honest-{n}")).to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        took.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took.sort();
    took
}

/// The most memory that was seen.
async fn watch(router: &Router<'_>, ends: &AtomicBool) -> u64 {
    let mut most = 0;
    while !ends.load(Ordering::SeqCst) {
        most = most.max(router.memory_bytes());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn who_behaves_is_served_while_others_attack() {
    let (sink, place) = (Sink::start().await, Place::new());
    let more = json!({
        "sources": {"keyed": {"http": {"path": "/keyed", "keys": ["${env:PATH}"]}}},
        "limits": {"header_read_timeout": "2s"},
    });
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &more).await;
    let host = |url: String| url.trim_start_matches("http://").trim_end_matches("/events").to_owned();
    let client = Client::new(DEADLINE);
    let aim = Aim { public: host(place.url()), admin: host(place.admin_url()), client };
    let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sender = Aim { client: Client::new(DEADLINE), ..aim.clone() };
    let sender = tokio::spawn(honest(sender, ends.clone(), sent.clone()));
    let held = idle(&aim).await;
    let mut attacks = JoinSet::new();
    attacks.spawn(sizes(aim.clone()));
    attacks.spawn(heads(aim.clone()));
    attacks.spawn(doors(aim.clone()));
    attacks.spawn(repeated(aim.clone()));
    attacks.spawn(half_closed(aim.clone()));
    for _ in 0..SLOW {
        attacks.spawn(slow(aim.clone()));
    }
    let attack = async {
        let ended = async {
            while let Some(ended) = attacks.join_next().await {
                ended.unwrap();
            }
        };
        let long = std::env::var_os("GOCOFFEE_TESTS_LONG").is_some();
        let waited = if long { DEADLINE * 60 } else { DEADLINE };
        tokio::time::timeout(waited, ended).await.expect("the attacks end");
        ends.store(true, Ordering::SeqCst);
    };
    let (most, ()) = tokio::join!(watch(&router, &ends), attack);
    let took = sender.await.unwrap();
    drop(held);
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    eprintln!(
        "beside the attacks: {} events of a sender, p50 {:?}, p99 {:?}, longest {:?}; memory at most {} MiB",
        took.len(),
        at(50),
        at(99),
        at(100),
        most >> 20
    );
    assert!(most < MEMORY_MAX, "{} MiB", most >> 20);
    let wanted: BTreeSet<String> = (0..sent.load(Ordering::SeqCst)).map(|n| format!("honest-{n}")).collect();
    let end = Instant::now() + DEADLINE;
    loop {
        let came: BTreeSet<String> = sink.journal().into_iter().map(|r| r.key.id.to_string()).collect();
        if wanted.is_subset(&came) {
            break;
        }
        assert!(Instant::now() < end, "{} of {} came\n{}", came.len(), wanted.len(), place.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = sink.journal().iter().filter(|r| &*r.key.id == "again").count();
    assert_eq!(again, 1, "one event, however often it was sent");
    assert!(!sink.journal().iter().any(|r| &*r.key.id == "half"), "what was cut off is no event");
    assert!(router.terminate().await.success());
}
