//! Push subscriptions: the emulator pushes into a router, which publishes what came into another topic.

use std::{collections::BTreeMap, time::Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use router_gcp::wire::{self, Came};
use router_tests::world::process::Place;
use schemas::Value as Attribute;
use serde_json::{Value, json};

use super::emulator::{ARRIVAL, Emulator, PROJECT};

/// A router that takes pushes at two paths, and publishes everything to a topic.
fn config(emulator: &Emulator) -> Value {
    let out = format!("projects/{PROJECT}/topics/out");
    json!({
        "sources": {
            "wrapped": {"pubsub_push": {"path": "/wrapped", "type_attribute": "kind"}},
            "bare": {"pubsub_push": {"path": "/bare", "unwrapped": true, "type_attribute": "kind"}},
        },
        "targets": {"out": {"pubsub": {"topic": out, "endpoint": emulator.url, "credentials": {"anonymous": true}}}},
        "routes": {"out": {"to": "out"}},
    })
}

async fn publish(emulator: &Emulator, topic: &str, data: &str, attributes: Value) {
    let message = json!({"data": STANDARD.encode(data), "attributes": attributes});
    emulator.done(Method::POST, &format!("topics/{topic}:publish"), json!({"messages": [message]})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_emulator_pushes_comes_in_whole() {
    let Some(emulator) = Emulator::start().await else { return };
    emulator.topic("out", json!({})).await;
    let place = Place::new();
    let base = place.url().strip_suffix("/events").unwrap().to_owned();
    let router = place.start_with(&[], &config(&emulator)).await;
    for (name, push) in [
        ("wrapped", json!({"pushEndpoint": format!("{base}/wrapped")})),
        ("bare", json!({"pushEndpoint": format!("{base}/bare"), "noWrapper": {"writeMetadata": true}})),
    ] {
        emulator.topic(name, json!({"pushConfig": push, "ackDeadlineSeconds": 30})).await;
        let binary = json!({"ce-specversion": "1.0", "ce-id": format!("{name}-1"), "ce-source": "/shops/7",
            "ce-type": "coffee.sold", "ce-subject": "100% latte", "content-type": "application/json"});
        publish(&emulator, name, r#"{"n": 1.50}"#, binary).await;
        publish(&emulator, name, "hello", json!({"kind": format!("coffee.said.{name}")})).await;
    }
    let (mut came, end) = (BTreeMap::new(), Instant::now() + ARRIVAL);
    while came.len() < 4 {
        assert!(Instant::now() < end, "{:?} came\n{}", came.keys(), place.logged());
        for pulled in emulator.take_some("out").await {
            let event = wire::decode(&pulled.message, &Came::default()).unwrap();
            came.insert(if event.kind() == "coffee.sold" { event.id() } else { event.kind() }.to_owned(), event);
        }
    }
    for name in ["wrapped", "bare"] {
        let event = &came[&format!("{name}-1")];
        assert_eq!(
            (event.data(), event.get("subject")),
            (&br#"{"n": 1.50}"#[..], Some(Attribute::String("100% latte")))
        );
        let plain = &came[&format!("coffee.said.{name}")];
        assert_eq!(plain.data(), b"hello");
        let source = format!("//pubsub.googleapis.com/projects/{PROJECT}/subscriptions/{name}");
        assert_eq!(plain.source(), source);
    }
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_comes_again_until_the_router_is_there() {
    let Some(emulator) = Emulator::start().await else { return };
    emulator.topic("out", json!({})).await;
    let place = Place::new();
    let endpoint = place.url().replace("/events", "/wrapped");
    emulator.topic("late", json!({"pushConfig": {"pushEndpoint": endpoint}, "ackDeadlineSeconds": 10})).await;
    publish(&emulator, "late", "1", json!({"kind": "coffee.late"})).await;
    // Nobody is there yet.
    let router = place.start_with(&[], &config(&emulator)).await;
    let arrived = emulator.take("out", 1).await;
    assert_eq!(arrived[0].message.attributes["ce-type"], "coffee.late");
    assert!(router.terminate().await.success());
}
