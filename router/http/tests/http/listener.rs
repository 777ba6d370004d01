use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use router_core::id::SourceName;
use router_http::{
    Edge, Events, Limits, Listener, Mount, Secret,
    listener::{BindError, Exposure},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::world::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn bind(addr: &str, paths: &[&str]) -> Result<Listener, BindError> {
    let intake = Arc::new(Fake::new());
    let mount = |path: &&str| Mount {
        endpoint: Arc::new(Events::new(path, SourceName::new("web").unwrap(), &[]).unwrap()),
        intake: intake.clone(),
    };
    Listener::bind(addr.parse().unwrap(), Limits::default(), paths.iter().map(mount).collect()).await
}

/// Binds one source at an address, with and without keys, and says what is refused.
async fn exposure(addr: &str, key: &[Secret], edge: Edge) -> Option<Exposure> {
    let endpoint = Arc::new(Events::new("/events", SourceName::new("web").unwrap(), key).unwrap());
    let mount = Mount { endpoint, intake: Arc::new(Fake::new()) };
    let bound =
        Listener::bind_with(addr.parse().unwrap(), Limits::default(), edge, Duration::from_secs(10), vec![mount]);
    match bound.await {
        Err(BindError::Exposed(exposure)) => Some(exposure),
        _ => None,
    }
}

#[tokio::test]
async fn listener_that_others_reach_asks_for_keys_over_tls() {
    let key = [Secret::new("s3cret")];
    let proxied = || Edge { behind_proxy: true, ..Edge::default() };
    let open = || Edge { open: true, ..Edge::default() };
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:10.0.0.1]:0"] {
        assert!(matches!(exposure(addr, &[], Edge::default()).await, Some(Exposure::Open { .. })), "{addr}");
        assert!(matches!(exposure(addr, &[], proxied()).await, Some(Exposure::Open { .. })), "{addr}");
        assert!(matches!(exposure(addr, &key, Edge::default()).await, Some(Exposure::Readable(_))), "{addr}");
        assert!(matches!(exposure(addr, &key, open()).await, Some(Exposure::Readable(_))), "{addr}");
    }
    for (key, edge) in [(&[][..], open()), (&key[..], proxied())] {
        assert_eq!(exposure("0.0.0.0:0", key, edge).await, None);
    }
    for addr in ["127.0.0.1:0", "127.0.0.2:0"] {
        assert_eq!(exposure(addr, &[], Edge::default()).await, None);
        assert_ne!(bind(addr, &["/events"]).await.unwrap().addr().port(), 0);
    }
}

#[tokio::test]
async fn address_in_use_is_named() {
    let first = bind("127.0.0.1:0", &[]).await.unwrap();
    let error = bind(&first.addr().to_string(), &[]).await.err().unwrap();
    assert!(error.to_string().contains(&first.addr().to_string()), "{error}");
}

#[tokio::test]
async fn two_sources_on_one_path_are_refused() {
    let error = bind("127.0.0.1:0", &["/a", "/b", "/a"]).await.err().unwrap();
    assert!(matches!(error, BindError::PathTaken(path) if &*path == "/a"));
}

#[tokio::test]
async fn wrong_path_and_method_are_told_the_right_ones() {
    let served = served(Fake::new()).await;
    for path in ["/", "/event", "/events/", "/EVENTS"] {
        let reply =
            exchange(served.addr, format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!((reply.status, reply.problem().as_str()), (404, "no-such-path"), "{path}");
        assert!(reply.body.contains("/events"));
    }
    for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
        let reply = exchange(served.addr, format!("{method} /events HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!((reply.status, reply.problem().as_str()), (405, "method"), "{method}");
        assert_eq!(reply.header("allow"), Some("POST, OPTIONS"));
    }
    let reply = exchange(served.addr, post(BINARY, "").replace("/events", "/events?x=1")).await;
    assert_eq!(reply.status, 202);
}

#[tokio::test]
async fn connection_serves_one_request_after_another_and_pipelined_ones() {
    let served = served(Fake::new()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    for _ in 0..3 {
        stream.write_all(post(BINARY, "x").as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.unwrap().status, 202);
    }
    let bad = "GET /events HTTP/1.1\r\nhost: x\r\n\r\n";
    let pipelined = [&post(BINARY, "y"), bad, &post(STRUCTURED, &json("z"))].concat();
    stream.write_all(pipelined.as_bytes()).await.unwrap();
    for status in [202, 405, 202] {
        assert_eq!(read_reply(&mut stream).await.unwrap().status, status);
    }
    assert_eq!(served.fake.events().len(), 5);
}

#[tokio::test]
async fn chunked_body_is_read_whole() {
    let served = served(Fake::new()).await;
    let head = format!("POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}transfer-encoding: chunked\r\n\r\n");
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in ["3\r\nabc\r\n", "2\r\nde\r\n", "1\r\nf\r\n0\r\n\r\n"] {
        tokio::time::sleep(ms(20)).await;
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 202);
    assert_eq!(served.fake.events()[0].data(), b"abcdef");
    assert_eq!((served.held)(), 0);
}

#[tokio::test]
async fn endless_chunked_body_ends_at_the_limit() {
    let served = served(Fake::new()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let head = format!("POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}transfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let (mut reading, mut writing) = stream.into_split();
    let flood = tokio::spawn(async move { while writing.write_all(chunk.as_bytes()).await.is_ok() {} });
    let mut answer = Vec::new();
    // The connection may end by a reset, after the answer has come.
    drop(tokio::time::timeout(Duration::from_secs(10), reading.read_to_end(&mut answer)).await.expect("no end"));
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body-too-large"), "{answer}");
    assert_eq!(header(&answer, "connection"), Some("close"));
    flood.await.unwrap();
    assert_eq!((served.held)(), 0);
}

#[tokio::test]
async fn large_announced_body_is_refused_before_it_is_sent() {
    let served = served(Fake::new()).await;
    let request = format!(
        "POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}expect: 100-continue\r\ncontent-length: 999999999\r\n\r\n"
    );
    let reply = exchange(served.addr, request).await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "body-too-large"));
}

#[tokio::test]
async fn client_that_waits_to_continue_is_asked_for_its_body() {
    let served = served(Fake::new()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let head = format!("POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}expect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 100);
    stream.write_all(b"abc").await.unwrap();
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 202);
}

#[tokio::test]
async fn slow_body_is_timed_out() {
    let limits = Limits { body_read_timeout: ms(200), ..Limits::default() };
    let served = serve(limits, &[], Fake::new()).await;
    let start = Instant::now();
    let request = format!("POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}content-length: 10\r\n\r\nabc");
    let reply = exchange(served.addr, request).await;
    assert_eq!((reply.status, reply.problem().as_str()), (408, "body-timeout"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(start.elapsed() >= ms(200) && start.elapsed() < Duration::from_secs(5));
    assert_eq!((served.held)(), 0);
    assert!(served.fake.events().is_empty());
}

#[tokio::test]
async fn slow_head_is_timed_out_on_a_new_and_on_a_used_connection() {
    let limits = Limits { header_read_timeout: ms(200), ..Limits::default() };
    let served = serve(limits, &[], Fake::new()).await;
    let reply = exchange(served.addr, "POST /events HTTP/1.1\r\nhost: x\r\n").await;
    assert_eq!((reply.status, reply.problem().as_str()), (408, "header-timeout"));
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(post(BINARY, "").as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 202);
    // Between requests a connection may rest for longer than a head may take.
    tokio::time::sleep(ms(500)).await;
    for byte in b"POST /ev" {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(ms(50)).await;
    }
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 408);
}

#[tokio::test]
async fn idle_connection_is_closed_without_a_word() {
    let limits = Limits { idle_timeout: ms(200), ..Limits::default() };
    let served = serve(limits, &[], Fake::new()).await;
    let mut fresh = TcpStream::connect(served.addr).await.unwrap();
    let mut used = TcpStream::connect(served.addr).await.unwrap();
    used.write_all(post(BINARY, "").as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut used).await.unwrap().status, 202);
    assert!(read_reply(&mut fresh).await.is_none());
    assert!(read_reply(&mut used).await.is_none());
}

#[tokio::test]
async fn request_that_takes_too_long_is_to_be_sent_again() {
    let limits = Limits { request_timeout: ms(200), ..Limits::default() };
    let served = serve(limits, &[], Fake::slow(Duration::from_secs(60))).await;
    let reply = exchange(served.addr, post(BINARY, "x")).await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "request-timeout"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    assert_eq!((served.held)(), 0);
}

#[tokio::test]
async fn large_and_many_headers_are_refused() {
    let served = served(Fake::new()).await;
    let large = format!("{BINARY}x-large: {}\r\n", "x".repeat(70_000));
    assert_eq!(exchange(served.addr, post(&large, "")).await.status, 431);
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(exchange(served.addr, post(&many, "")).await.status, 431);
    let fits = format!("{BINARY}ce-large: {}\r\n", "x".repeat(60_000));
    assert_eq!(exchange(served.addr, post(&fits, "")).await.status, 202);
    let reply = exchange(served.addr, "NONSENSE\r\n\r\n").await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn connections_past_the_limit_are_sent_away() {
    let served = serve(Limits { connections_max: 2, ..Limits::default() }, &[], Fake::new()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(post(BINARY, "").as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.unwrap().status, 202);
        held.push(stream);
    }
    let reply = exchange(served.addr, post(BINARY, "")).await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "connections-full"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    held.clear();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(exchange(served.addr, post(BINARY, "")).await.status, 202);
}

#[tokio::test]
async fn bodies_of_all_requests_together_have_a_limit() {
    let limits = Limits { bodies_bytes_max: 1000, ..Limits::default() };
    let served = serve(limits, &[], Fake::slow(ms(400))).await;
    let addr: SocketAddr = served.addr;
    let first = tokio::spawn(async move { exchange(addr, post(BINARY, &"x".repeat(800))).await.status });
    tokio::time::sleep(ms(100)).await;
    assert_eq!((served.held)(), 800);
    let reply = exchange(addr, post(BINARY, &"x".repeat(300))).await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "bodies-full"));
    assert_eq!(first.await.unwrap(), 202);
    assert_eq!((served.held)(), 0);
    assert_eq!(exchange(addr, post(BINARY, &"x".repeat(300))).await.status, 202);
}

#[tokio::test]
async fn stop_ends_what_is_under_way_and_takes_nothing_new() {
    let served = serve(Limits::default(), &[], Fake::slow(ms(500))).await;
    let mut idle = TcpStream::connect(served.addr).await.unwrap();
    let addr = served.addr;
    let under_way = tokio::spawn(async move { exchange(addr, post(BINARY, "x")).await });
    tokio::time::sleep(ms(150)).await;
    served.stop.cancel();
    tokio::time::sleep(ms(50)).await;
    let reply = exchange(addr, post(BINARY, "y")).await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "stopping"));
    assert_eq!((reply.header("connection"), reply.header("retry-after")), (Some("close"), Some("2")));
    assert!(read_reply(&mut idle).await.is_none());
    let reply = under_way.await.unwrap();
    assert_eq!((reply.status, reply.header("connection")), (202, Some("close")));
    let mut served = served;
    tokio::time::timeout(ms(2000), &mut served.task).await.expect("the listener did not end").unwrap();
    assert_eq!(served.fake.events().len(), 1);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn stop_waits_no_longer_than_its_deadline() {
    let limits = Limits { drain_timeout: ms(200), ..Limits::default() };
    let mut served = serve(limits, &[], Fake::slow(Duration::from_secs(60))).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(post(BINARY, "x").as_bytes()).await.unwrap();
    tokio::time::sleep(ms(100)).await;
    let start = Instant::now();
    served.stop.cancel();
    tokio::time::timeout(ms(5000), &mut served.task).await.expect("the listener did not end").unwrap();
    assert!(start.elapsed() >= ms(200));
    assert!(read_reply(&mut stream).await.is_none());
    assert_eq!((served.held)(), 0);
}

#[tokio::test]
async fn client_that_goes_away_leaves_nothing_behind() {
    let served = served(Fake::new()).await;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        let request = format!("POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}content-length: 1000\r\n\r\nabc");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    tokio::time::sleep(ms(200)).await;
    assert_eq!((served.held)(), 0);
    assert!(served.fake.events().is_empty());
}

#[tokio::test]
async fn refused_client_that_reads_late_still_sees_why() {
    let served = served(Fake::new()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let head = format!("POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}content-length: 2000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A listener that closed over unread bytes would reset the connection under the client's hands.
    for _ in 0..20 {
        stream.write_all(&[b'x'; 100_000]).await.expect("reset while sending");
        tokio::time::sleep(ms(10)).await;
    }
    let reply = read_reply(&mut stream).await.expect("the answer was lost");
    assert_eq!((reply.status, reply.problem().as_str()), (413, "body-too-large"));
}

#[tokio::test]
async fn body_in_pieces_does_not_count_as_the_next_head() {
    let limits = Limits { header_read_timeout: ms(200), ..Limits::default() };
    let served = serve(limits, &[], Fake::new()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    let head = format!("POST /events HTTP/1.1\r\nhost: x\r\n{BINARY}content-length: 6\r\n\r\n");
    for piece in [head.as_str(), "abc", "def"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(ms(50)).await;
    }
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 202);
    tokio::time::sleep(ms(500)).await;
    stream.write_all(post(BINARY, "").as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.unwrap().status, 202);
}
