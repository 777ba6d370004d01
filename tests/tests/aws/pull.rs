//! The source `eventbridge`: a queue that a rule feeds, pulled by a router.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use router_tests::world::{
    process::{Place, Router},
    setup::Route,
    sink::Sink,
};
use serde_json::{Value, json};

use super::peers::{self, Fed, Kind, Peer};

/// What all that waits in a queue may take to arrive, visibility of what a killed router held included.
const DRAIN: Duration = Duration::from_secs(240);
/// Messages of one call.
const CALL: usize = 10;

fn messages() -> usize {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 20_000 } else { 1_000 }
}

fn source(peer_url: &str, queue_url: &str, more: &Value) -> Value {
    let mut source = peers::configured(peer_url);
    source["queue_url"] = json!(queue_url);
    source["visibility"] = json!("10s");
    for (key, value) in more.as_object().unwrap() {
        source[key] = value.clone();
    }
    json!({"sources": {"aws": {"eventbridge": source}}})
}

/// Ids of the events that a sink has got.
fn ids(sink: &Sink) -> BTreeSet<String> {
    sink.journal().into_iter().map(|received| received.key.id.to_string()).collect()
}

async fn arrived(sink: &Sink, count: usize, place: &Place) -> BTreeSet<String> {
    let end = Instant::now() + DRAIN;
    loop {
        let ids = ids(sink);
        if ids.len() >= count {
            return ids;
        }
        assert!(Instant::now() < end, "{} of {count} events came\n{}", ids.len(), place.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nothing is left in the queue, hidden or not.
pub async fn emptied(peer: &Peer, queue_url: &str) {
    let end = Instant::now() + DRAIN;
    loop {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let asked = json!({"QueueUrl": queue_url, "AttributeNames": names});
        let answer = peer.call("AmazonSQS.GetQueueAttributes", asked).await;
        if names.iter().all(|name| answer["Attributes"][*name] == json!("0")) {
            return;
        }
        assert!(Instant::now() < end, "left in the queue: {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn quarantined(router: &Router<'_>) -> u64 {
    let status = router
        .until("quarantined", DRAIN, |s| s.routes.iter().any(|r| r.name == "quarantine" && r.dead_letters > 0))
        .await;
    status.routes.iter().find(|r| r.name == "quarantine").unwrap().dead_letters
}

/// What a rule sends is pulled, whatever form it has, and what is no event is kept as a dead letter.
async fn a_queue_is_pulled(peer: &Peer) {
    let Fed { bus, queue_url } = peer.fed("pulled", json!({"source": [{"prefix": ""}]})).await;
    let (sink, place) = (Sink::start().await, Place::new());
    let router =
        place.start_with(&[Route::all("all", &sink.url("all"))], &source(&peer.url, &queue_url, &json!({}))).await;
    let cloud_event = json!({"specversion": "1.0", "id": "ce-1", "source": "/shops/7", "type": "coffee.order.created",
        "subject": "latte", "data": {"total": 450}});
    let classic =
        json!({"Source": "my.app", "DetailType": "order made", "Detail": "{\"total\":1}", "EventBusName": bus});
    // With its data as bytes, which no bus writes anew.
    let mut opaque = cloud_event.clone();
    opaque.as_object_mut().unwrap().remove("data");
    opaque["data_base64"] = json!("eyJ0b3RhbCI6NDUwfQ==");
    let embedded = json!({"Source": "/shops/7", "DetailType": "coffee.order.created", "Detail": opaque.to_string(), "EventBusName": bus});
    peer.call("AWSEvents.PutEvents", json!({"Entries": [classic, embedded]})).await;
    for body in [cloud_event.to_string().replace("ce-1", "ce-2"), "no event".into()] {
        peer.call("AmazonSQS.SendMessage", json!({"QueueUrl": queue_url, "MessageBody": body})).await;
    }
    let ids = arrived(&sink, 3, &place).await;
    assert!(ids.contains("ce-1") && ids.contains("ce-2"), "{ids:?}");
    let of = |id: &str| sink.journal().into_iter().find(|r| &*r.key.id == id).unwrap();
    assert_eq!(of("ce-1").print.data, of("ce-2").print.data, "through the bus as past it");
    assert_eq!(quarantined(&router).await, 1);
    emptied(peer, &queue_url).await;
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_ministack_is_pulled_and_emptied() {
    let Some(peer) = Peer::start(Kind::Ministack).await else { return };
    a_queue_is_pulled(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_moto_is_pulled_and_emptied() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    a_queue_is_pulled(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_stays_in_its_queue() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let queue_url = peer.queue("kept", json!({})).await;
    let (sink, place) = (Sink::start().await, Place::new());
    let more = source(&peer.url, &queue_url, &json!({"on_invalid": "reject"}));
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &more).await;
    let good = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}).to_string();
    for body in ["no event", &good] {
        peer.call("AmazonSQS.SendMessage", json!({"QueueUrl": queue_url, "MessageBody": body})).await;
    }
    arrived(&sink, 1, &place).await;
    assert!(router.terminate().await.success());
    // It was hidden for a while, and comes to whoever asks next.
    let left = peer.raw(&queue_url, 1).await;
    assert_eq!(left, ["no event"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_killed_while_it_pulls_loses_nothing() {
    let Some(peer) = Peer::start(Kind::Ministack).await else { return };
    let queue_url = peer.queue("many", json!({})).await;
    let count = messages();
    for call in 0..count / CALL {
        let entry = |n: usize| {
            let id = call * CALL + n;
            let body = json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t"});
            json!({"Id": n.to_string(), "MessageBody": body.to_string()})
        };
        let entries: Vec<Value> = (0..CALL).map(entry).collect();
        peer.call("AmazonSQS.SendMessageBatch", json!({"QueueUrl": queue_url, "Entries": entries})).await;
    }
    let (sink, place) = (Sink::start().await, Place::new());
    let routes = [Route::all("all", &sink.url("all"))];
    let more = source(&peer.url, &queue_url, &json!({}));
    for quarter in 1..4 {
        let router = place.start_with(&routes, &more).await;
        arrived(&sink, count * quarter / 4, &place).await;
        router.kill().await;
    }
    let router = place.start_with(&routes, &more).await;
    assert_eq!(arrived(&sink, count, &place).await.len(), count);
    emptied(&peer, &queue_url).await;
    assert!(router.terminate().await.success());
}
