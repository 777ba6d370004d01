//! Connections that are opened, say nothing and stay, as many as a machine gives one client: those within the limit are
//! borne, those past it are told so, and a sender beside them is served.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, header};
use router_tests::world::{client::Client, process::Place, setup::Route, sink::Sink};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What everything may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// Connections that others may have beside them.
const OTHERS: u64 = 64;
/// Bytes of memory for each idle connection, at most, on top of what the router has without them.
const BYTES_EACH: u64 = 16 << 10;
/// Events of the sender beside them.
const EVENTS: u64 = 300;

fn connections() -> u64 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 10_000 } else { 1_500 }
}

/// Whether this process, and the router that it starts, may have so many files open.
fn may_open(files: u64) -> bool {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|most| most >= files) {
        return true;
    }
    let raised = Rlimit { current: Some(files), maximum: now.maximum };
    now.maximum.is_none_or(|most| most >= files) && setrlimit(Resource::Nofile, raised).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_borne_up_to_their_limit() {
    let count = connections();
    if !may_open(count + 1_000) {
        println!("skipped: this process may not have {} files open", count + 1_000);
        return;
    }
    let (sink, place) = (Sink::start().await, Place::new());
    let more = json!({"limits": {"connections_max": count + OTHERS, "header_read_timeout": "120s"}});
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &more).await;
    let (url, client) = (place.url(), Client::new(DEADLINE));
    let address = url.trim_start_matches("http://").trim_end_matches("/events").to_owned();
    let before = router.memory_bytes();
    let mut held = Vec::new();
    while (held.len() as u64) < count {
        let opened = tokio::time::timeout(DEADLINE, TcpStream::connect(&address)).await.expect("it is taken");
        held.push(opened.unwrap());
    }
    let mut took = Vec::new();
    for n in 0..EVENTS {
        let event = json!({"specversion": "1.0", "id": format!("idle-{n}"), "source": "/honest", "type": "t"});
        let kind = HeaderValue::from_static("application/cloudevents+json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let start = Instant::now();
        let answer = client.send(Method::POST, &url, headers, event.to_string().into()).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        took.push(start.elapsed());
    }
    took.sort();
    let each = router.memory_bytes().saturating_sub(before) / count;
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    println!("beside {count} idle connections: p50 {:?}, p99 {:?}; {each} bytes of memory each", at(50), at(99));
    assert!(each < BYTES_EACH, "{each} bytes each");

    // Past the limit: told so, or closed without a word.
    let (mut told, mut more) = (0, Vec::new());
    for _ in 0..OTHERS + 32 {
        let Ok(mut stream) = TcpStream::connect(&address).await else { continue };
        let _sent = stream.write_all(b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n").await;
        more.push(stream);
    }
    for stream in &mut more {
        let mut answer = [0; 512];
        let read = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut answer)).await;
        if let Ok(Ok(read)) = read {
            told += u64::from(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 503"));
        }
    }
    assert!(told >= 16, "only {told} of those past the limit were told");
    drop((held, more));
    let end = Instant::now() + DEADLINE;
    while (sink.journal().len() as u64) < EVENTS {
        assert!(Instant::now() < end, "{} of {EVENTS} came", sink.journal().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(router.terminate().await.success(), "{}", place.logged());
}
