//! A ring: the router publishes to a bus of EventBridge whose rule feeds the queue that the router pulls. It ends after
//! one turn, in each mapping, without a retry or a dead letter.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, header};
use router_tests::world::{
    client::Client,
    process::{Place, Router},
    setup::Route,
    sink::Sink,
};
use serde_json::json;

use super::{
    custom_bus::{ARN, CustomBus},
    peers::{self, Fed, Kind, Peer},
    publish::event,
    pull::emptied,
};

/// What the turns may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// Events that go round.
const COUNT: usize = 12;

/// How many events the router has found to be its own.
async fn looped(client: &Client, place: &Place) -> u64 {
    let metrics = client.get(&format!("{}/metrics", place.admin_url())).await.unwrap().text();
    let of = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok());
    let lines = metrics.lines().filter(|line| line.starts_with("gocoffee_events_looped_total"));
    lines.filter_map(of).map(|n| n as u64).sum()
}

async fn post(client: &Client, place: &Place) {
    for n in 0..COUNT {
        let headers: HeaderMap =
            [(header::CONTENT_TYPE, schemas::json::MEDIA_TYPE.parse().unwrap())].into_iter().collect();
        let body = schemas::json::encode(&event(&n.to_string()));
        let answer = client.send(Method::POST, &place.url(), headers, body.into()).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
}

/// All of them were found to be the router's own, and none is a dead letter.
async fn came_back(client: &Client, place: &Place, router: &Router<'_>, what: &str) {
    let end = Instant::now() + DEADLINE;
    while looped(client, place).await < COUNT as u64 {
        assert!(Instant::now() < end, "{what}: they do not come back\n{}", place.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = router.settled(DEADLINE).await;
    let letters: Vec<(&str, u64)> = status.routes.iter().map(|r| (r.name.as_str(), r.dead_letters)).collect();
    assert!(letters.iter().all(|(_, count)| *count == 0), "{what}: {letters:?}");
}

async fn ends(peer: &Peer, mapping: &str) {
    let Fed { bus, queue_url } = peer.fed(&format!("ring-{mapping}"), json!({"source": [{"prefix": ""}]})).await;
    let (sink, place, client) = (Sink::start().await, Place::new(), Client::new(DEADLINE));
    let mut queue = peers::configured(&peer.url);
    queue["queue_url"] = json!(queue_url);
    let mut out = peers::configured(&peer.url);
    (out["bus"], out["mapping"]) = (json!(bus), json!(mapping));
    let more = json!({
        "sources": {"back": {"eventbridge": queue}},
        "targets": {"out": {"eventbridge": out}},
        "routes": {"out": {"to": "out"}},
    });
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &more).await;
    post(&client, &place).await;
    came_back(&client, &place, &router, mapping).await;
    // What was found to be a loop is deleted.
    emptied(peer, &queue_url).await;
    assert_eq!(looped(&client, &place).await, COUNT as u64, "{mapping}: each came back once");
    let journal = sink.journal();
    let ids: BTreeSet<_> = journal.iter().map(|r| r.key.id.to_string()).collect();
    assert_eq!((ids.len(), journal.len()), (COUNT, COUNT), "{mapping}: each was delivered once");
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_over_moto_ends_after_one_turn_in_each_mapping() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    for mapping in ["structured", "opaque", "data"] {
        ends(&peer, mapping).await;
    }
}

/// Over a custom event bus, whose subscriber feeds the queue with what it kept, or with that in its envelope.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_over_a_custom_event_bus_ends_after_one_turn_in_both_forms() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let (queue_url, bus) = (peer.queue("custom", json!({})).await, CustomBus::with([]).await);
    let (sink, place, client) = (Sink::start().await, Place::new(), Client::new(DEADLINE));
    let mut queue = peers::configured(&peer.url);
    queue["queue_url"] = json!(queue_url);
    let mut out = peers::configured(&bus.url);
    out["bus"] = json!(ARN);
    let more = json!({
        "sources": {"back": {"eventbridge": queue}},
        "targets": {"out": {"eventbridge_v2": out}},
        "routes": {"out": {"to": "out"}},
    });
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &more).await;
    post(&client, &place).await;
    let end = Instant::now() + DEADLINE;
    while bus.events().len() < COUNT {
        assert!(Instant::now() < end, "{} are on the bus\n{}", bus.events().len(), place.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (n, kept) in bus.events().into_iter().enumerate() {
        let raw = String::from_utf8(kept.data).unwrap();
        let body = match n % 2 {
            0 => raw,
            _ => format!(
                r#"{{"Data":{raw},"Metadata":{{}},"SystemMetadata":{{"aws:EventId":"{n}","aws:DeliveryType":"LIVE"}}}}"#
            ),
        };
        peer.call("AmazonSQS.SendMessage", json!({"QueueUrl": queue_url, "MessageBody": body})).await;
    }
    came_back(&client, &place, &router, "custom").await;
    emptied(&peer, &queue_url).await;
    assert!(router.terminate().await.success());
    assert_eq!((sink.journal().len(), bus.events().len()), (COUNT, COUNT), "each once, here and there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_over_ministack_ends_after_one_turn_in_each_mapping() {
    let Some(peer) = Peer::start(Kind::Ministack).await else { return };
    for mapping in ["structured", "opaque", "data"] {
        ends(&peer, mapping).await;
    }
}
