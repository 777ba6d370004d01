//! The source `eventbridge`: a queue that a rule feeds, pulled by a router.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use router_aws::{Accounts, EventBridgeSource, EventBridgeSourceConfig};
use router_core::{
    id::SourceName,
    source::{Fate, Inlet, IntakeClosed, OnInvalid, Pulled, Source},
};
use router_tests::world::{
    process::{Place, Router},
    setup::Route,
    sink::Sink,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    peers::{self, Fed, Kind, Peer},
    proxy::{Exchange, Fault, Proxy},
};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_vanishes_and_comes_back_is_pulled_again() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let queue_url = peer.queue("gone", json!({})).await;
    let (sink, place) = (Sink::start().await, Place::new());
    let router =
        place.start_with(&[Route::all("all", &sink.url("all"))], &source(&peer.url, &queue_url, &json!({}))).await;
    let send = async |id: &str| {
        let body = json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t"}).to_string();
        peer.call("AmazonSQS.SendMessage", json!({"QueueUrl": queue_url, "MessageBody": body})).await;
    };
    send("1").await;
    arrived(&sink, 1, &place).await;
    peer.call("AmazonSQS.DeleteQueue", json!({"QueueUrl": queue_url})).await;
    let end = Instant::now() + DRAIN;
    while !["QueueDoesNotExist", "NonExistentQueue"].iter().any(|code| place.logged().contains(code)) {
        assert!(Instant::now() < end, "nobody says that the queue is gone\n{}", place.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(router.readyz().await, 200, "who publishes here is not concerned");
    assert_eq!(peer.queue("gone", json!({})).await, queue_url);
    send("2").await;
    assert!(arrived(&sink, 2, &place).await.contains("2"));
    emptied(&peer, &queue_url).await;
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_between_the_queue_and_the_router_loses_nothing() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let queue_url = peer.queue("broken", json!({})).await;
    // For a while every third call: answers that carry messages are lost, and nothing is deleted.
    let mut nth = 0;
    let rule = move |body: &str| {
        nth += 1;
        let throttled = json!({"__type": "RequestThrottled", "message": "slower"});
        match nth % 6 {
            _ if nth > 36 => None,
            2 => Some(Fault::Break),
            5 if body.contains("Entries") => Some(Fault::Answer(400, throttled)),
            _ => None,
        }
    };
    let proxy = Proxy::start(&peer.url, Box::new(rule)).await;
    let (sink, place) = (Sink::start().await, Place::new());
    let more = source(&proxy.url, &format!("{}{}", proxy.url, queue_url.strip_prefix(&peer.url).unwrap()), &json!({}));
    let count = 60;
    for id in 0..count {
        let body = json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t"}).to_string();
        peer.call("AmazonSQS.SendMessage", json!({"QueueUrl": queue_url, "MessageBody": body})).await;
    }
    let router = place.start_with(&[Route::all("all", &sink.url("all"))], &more).await;
    assert_eq!(arrived(&sink, count, &place).await.len(), count);
    emptied(&peer, &queue_url).await;
    assert!(router.terminate().await.success());
    assert_eq!(sink.journal().len(), count, "what comes a second time is a duplicate");
}

/// A bus that is full, until it is not.
struct Full {
    until: Instant,
    taken: AtomicUsize,
}

#[async_trait]
impl Inlet for Full {
    async fn offer(&self, _: &SourceName, _: OnInvalid, batch: &[Pulled]) -> Result<Vec<Fate>, IntakeClosed> {
        if Instant::now() < self.until {
            return Ok(vec![Fate::Busy { retry_after: Duration::from_millis(500) }; batch.len()]);
        }
        self.taken.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(vec![Fate::Taken; batch.len()])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_full_bus_stays_hidden_and_is_deleted_after_it_was_taken() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let queue_url = peer.queue("waiting", json!({})).await;
    let body = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}).to_string();
    peer.call("AmazonSQS.SendMessage", json!({"QueueUrl": queue_url, "MessageBody": body})).await;
    let proxy = Proxy::with(&peer.url, []).await;
    let url = queue_url.replace(&peer.url, &proxy.url);
    let config = EventBridgeSourceConfig::new(SourceName::new("s").unwrap(), url);
    let config = EventBridgeSourceConfig {
        settings: peers::settings(&proxy.url),
        visibility: Duration::from_secs(10),
        ..config
    };
    let pulled = Arc::new(EventBridgeSource::new(config, &Accounts::default()).unwrap());
    // Longer than a message is hidden at once.
    let full = Arc::new(Full { until: Instant::now() + Duration::from_secs(13), taken: AtomicUsize::new(0) });
    let stop = CancellationToken::new();
    let running = tokio::spawn(pulled.run(full.clone(), stop.clone()));
    emptied(&peer, &queue_url).await;
    assert!(Instant::now() >= full.until, "it was deleted before it was taken");
    stop.cancel();
    running.await.unwrap().unwrap();
    let said = |what: &str| {
        let of = |exchange: &Exchange| exchange.headers["x-amz-target"] == format!("AmazonSQS.{what}").as_str();
        proxy.exchanges().into_iter().filter(of).collect::<Vec<_>>()
    };
    assert_eq!(full.taken.load(Ordering::SeqCst), 1);
    let received = said("ReceiveMessage").iter().filter(|exchange| exchange.answer.contains("ReceiptHandle")).count();
    assert_eq!(received, 1, "nobody else got it meanwhile");
    assert!(said("ChangeMessageVisibilityBatch").len() >= 2, "it was hidden anew");
    assert_eq!(said("DeleteMessageBatch").len(), 1);
}
