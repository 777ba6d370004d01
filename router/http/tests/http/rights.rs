use std::{io::Write, num::NonZeroU32};

use router_core::id::BusName;
use router_http::{KeySpec, Limits, Secret};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::world::*;

fn key(name: &str) -> KeySpec {
    KeySpec::new(name, Secret::new(format!("{name}-secret")))
}

fn bearer(name: &str, headers: &str) -> String {
    format!("authorization: Bearer {name}-secret\r\n{headers}")
}

fn event_of(source: &str, kind: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"{source}","type":"{kind}"}}"#)
}

#[tokio::test]
async fn key_may_claim_only_its_sources_types_and_buses() {
    let shop = KeySpec { sources: vec!["/shop/*".into()], types: vec!["order.made".into()], ..key("shop") };
    let other = KeySpec { buses: vec![BusName::new("audit").unwrap()], ..key("other") };
    let served = serve_with(Limits::default(), vec![shop, other, key("all")], None, Fake::new()).await;
    let send = async |name: &str, source: &str, kind: &str| {
        exchange(served.addr, post(&bearer(name, STRUCTURED), &event_of(source, kind))).await
    };
    assert_eq!(send("shop", "/shop/7", "order.made").await.status, 202);
    assert_eq!(send("all", "/bank", "x").await.status, 202);
    for (name, source, kind, code, names) in [
        ("shop", "/bank", "order.made", "key-source", "/bank"),
        ("shop", "/shop/7", "order.paid", "key-type", "order.paid"),
        ("other", "/shop/7", "order.made", "key-bus", "default"),
    ] {
        let reply = send(name, source, kind).await;
        assert_eq!((reply.status, reply.problem().as_str()), (403, code), "{reply:?}");
        assert!(reply.body.contains(names) && reply.body.contains(name), "{reply:?}");
        assert!(!reply.body.contains("-secret"));
    }
    assert_eq!(exchange(served.addr, post(STRUCTURED, &event_of("/s", "t"))).await.status, 401);
    assert_eq!(served.fake.events().len(), 2);
}

#[tokio::test]
async fn batch_is_taken_as_far_as_its_key_may() {
    let shop = KeySpec { sources: vec!["/shop/*".into()], ..key("shop") };
    let served = serve_with(Limits::default(), vec![shop], None, Fake::new()).await;
    let batch = format!("[{},{},{}]", event_of("/bank", "t"), event_of("/shop/1", "t"), "{}");
    let reply = exchange(served.addr, post(&bearer("shop", BATCH), &batch)).await;
    assert_eq!(reply.status, 422);
    let json = reply.json();
    assert_eq!((json["accepted"][0]["index"].clone(), json["accepted"][1].clone()), (json!(1), json!(null)));
    let refused = |n: usize| (json["refused"][n]["index"].clone(), json["refused"][n]["code"].clone());
    assert_eq!(refused(0), (json!(0), json!("key-source")));
    assert_eq!(refused(1).0, json!(2));
    assert_eq!(served.fake.events().len(), 1);
}

#[tokio::test]
async fn key_that_sends_too_fast_is_told_when_to_go_on() {
    let slow = KeySpec { events_per_second_max: NonZeroU32::new(1), ..key("slow") };
    let served = serve_with(Limits::default(), vec![slow, key("fast")], None, Fake::new()).await;
    let batch = format!("[{}]", vec![event_of("/s", "t"); 5].join(","));
    assert_eq!(exchange(served.addr, post(&bearer("slow", BATCH), &batch)).await.status, 202);
    let reply = exchange(served.addr, post(&bearer("slow", STRUCTURED), &event_of("/s", "t"))).await;
    assert_eq!((reply.status, reply.problem().as_str()), (429, "key-rate"));
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert_eq!(exchange(served.addr, post(&bearer("fast", STRUCTURED), &event_of("/s", "t"))).await.status, 202);
    assert_eq!(served.fake.events().len(), 6);
}

#[tokio::test]
async fn webhook_handshake_is_granted_in_the_answer_alone() {
    let limited = KeySpec { events_per_second_max: NonZeroU32::new(2), ..key("limited") };
    let served = serve_with(Limits::default(), vec![limited, key("free")], None, Fake::new()).await;
    let callback = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ask = async |name: &str, headers: &str| {
        let headers = bearer(name, headers);
        exchange(served.addr, format!("OPTIONS /events HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await
    };
    let called_back = format!(
        "webhook-request-origin: a.example.com\r\nwebhook-request-rate: 500\r\nwebhook-request-callback: http://{}/\r\n",
        callback.local_addr().unwrap()
    );
    for (name, rate) in [("limited", "120"), ("free", "500")] {
        let reply = ask(name, &called_back).await;
        assert_eq!((reply.status, reply.header("webhook-allowed-origin")), (200, Some("a.example.com")), "{reply:?}");
        assert_eq!((reply.header("webhook-allowed-rate"), reply.header("allow")), (Some(rate), Some("POST")));
    }
    assert_eq!(ask("free", "webhook-request-origin: a\r\n").await.header("webhook-allowed-rate"), Some("*"));
    assert_eq!(ask("wrong", "webhook-request-origin: a\r\n").await.problem(), "wrong-key");
    assert_eq!(ask("free", "webhook-request-origin: a b\r\n").await.problem(), "webhook-origin");
    let preflight = ask("free", "origin: http://evil\r\naccess-control-request-method: POST\r\n").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, None));
    let called = tokio::time::timeout(std::time::Duration::from_millis(300), callback.accept()).await;
    assert!(called.is_err(), "the callback was called");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(kind: &str, encoding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: x\r\n{kind}content-encoding: {encoding}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn gzip_body_comes_in_inflated() {
    let served = served(Fake::new()).await;
    let text = json("7");
    for (encoding, body) in [
        ("gzip", gzip(text.as_bytes())),
        ("X-GZIP", gzip(text.as_bytes())),
        ("identity", text.clone().into_bytes()),
        ("gzip", [gzip(&text.as_bytes()[..9]), gzip(&text.as_bytes()[9..])].concat()),
    ] {
        let reply = exchange(served.addr, packed(STRUCTURED, encoding, &body)).await;
        assert_eq!(reply.status, 202, "{encoding} {reply:?}");
    }
    assert!(served.fake.events().iter().all(|event| event.id() == "7"));
    let broken = gzip(text.as_bytes());
    let reply = exchange(served.addr, packed(STRUCTURED, "gzip", &broken[..broken.len() - 6])).await;
    assert_eq!((reply.status, reply.problem().as_str()), (400, "body-gzip"));
    let reply = exchange(served.addr, packed(STRUCTURED, "br", b"x")).await;
    assert_eq!((reply.status, reply.problem().as_str()), (415, "content-encoding"));
    assert_eq!(reply.header("accept-encoding"), Some("gzip"));
    assert_eq!((served.held)(), 0);
}

/// Goal: a small body that inflates to a large one costs no more than the limit.
#[tokio::test]
async fn body_that_inflates_past_the_limit_is_refused() {
    let limits = Limits { batch_bytes_max: 1 << 20, bodies_bytes_max: 2 << 20, ..Limits::default() };
    let served = serve(limits, &[], Fake::new()).await;
    let exact = gzip(format!("[{}]", " ".repeat((1 << 20) - 2)).as_bytes());
    assert_eq!(exchange(served.addr, packed(BATCH, "gzip", &exact)).await.status, 202);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 18);
    let reply = exchange(served.addr, packed(BATCH, "gzip", &bomb)).await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "body-too-large"));
    let small = Limits { bodies_bytes_max: 1 << 19, ..Limits::default() };
    let served = serve(small, &[], Fake::new()).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(&packed(BATCH, "gzip", &bomb)).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.unwrap().problem(), "bodies-full");
    assert_eq!((served.held)(), 0);
}
