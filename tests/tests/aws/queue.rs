//! The target `sqs`.

use std::{collections::BTreeSet, time::Duration};

use router_aws::{Accounts, Sqs, SqsConfig};
use router_core::{
    id::TargetName,
    target::{Outcome, Scope, Target},
};
use schemas::{Event, Form};
use serde_json::{Value, json};

use super::{
    peers::{self, Kind, Peer},
    proxy::{Fault, Proxy},
    publish::{batch, event},
};

fn target(url: &str, queue_url: &str) -> Sqs {
    let config = SqsConfig::new(TargetName::new("t").unwrap(), queue_url);
    let config = SqsConfig { settings: peers::settings(url), timeout: Duration::from_secs(60), ..config };
    Sqs::new(config, &Accounts::default()).unwrap()
}

/// Messages arrive byte for byte, in order where the queue is one in order, and each has its own outcome.
async fn messages_arrive(peer: &Peer) {
    let queue_url = peer.queue("plain", json!({})).await;
    let mut events: Vec<Event> = (0..23).map(|n| event(&n.to_string())).collect();
    events[5] = event("5").rebuild().data(Form::Text, "x".repeat(1 << 20)).build().unwrap();
    let sent = target(&peer.url, &queue_url);
    sent.check().await.unwrap();
    let outcomes = sent.deliver(&batch(events.clone())).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Refused { code, .. } => assert_eq!((n, code.0), (5, "eventbridge-size")),
            Outcome::Delivered { facts, .. } => assert!(facts.reference.is_some()),
            other => panic!("{n}: {other:?}"),
        }
    }
    let arrived: BTreeSet<String> = peer.raw(&queue_url, 22).await.into_iter().collect();
    events.remove(5);
    let wanted = events.iter().map(|e| String::from_utf8(schemas::json::encode(e)).unwrap()).collect();
    assert_eq!(arrived, wanted, "byte for byte");

    let fifo = peer.queue("ordered.fifo", json!({"FifoQueue": "true"})).await;
    let keyed = |n: usize| event(&n.to_string()).rebuild().attr("partitionkey", "shop-7").build().unwrap();
    let deliveries = batch((0..10).map(keyed));
    // Twice: the second time is a retry whose first answer was lost.
    for _ in 0..2 {
        let outcomes = target(&peer.url, &fifo).deliver(&deliveries).await;
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    }
    let ids: Vec<Value> = peer.take(&fifo, 10).await.into_iter().map(|m| m["id"].clone()).collect();
    assert_eq!(ids, (0..10).map(|n| json!(n.to_string())).collect::<Vec<_>>(), "in order, each once");
    assert_eq!(peer.take_some(&fifo).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_queues_what_is_owed() {
    let Some(peer) = Peer::start(Kind::Ministack).await else { return };
    messages_arrive(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_queues_what_is_owed_and_faults_are_told_apart() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    messages_arrive(&peer).await;
    let queue_url = peer.queue("faults", json!({})).await;
    let third: fn(&mut Value) = |answer| {
        let first = answer["Successful"].as_array_mut().unwrap().remove(0);
        answer["Failed"] = json!([{"Id": first["Id"], "Code": "InternalError", "SenderFault": false}]);
    };
    let throttled = json!({"__type": "RequestThrottled", "message": "slower"});
    let gone = json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"});
    let faults = [Fault::Change(third), Fault::Answer(400, throttled), Fault::Answer(400, gone), Fault::Break];
    let proxy = Proxy::with(&peer.url, faults.map(Some)).await;
    let target = target(&proxy.url, &queue_url);
    let three = || batch((0..3).map(|n| event(&n.to_string())));
    let outcomes = target.deliver(&three()).await;
    assert!(matches!(outcomes[0], Outcome::Retry { scope: Scope::Event, .. }), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    for (what, slow) in [("throttled", Some(false)), ("gone", Some(true)), ("broken", None)] {
        for outcome in target.deliver(&three()).await {
            let Outcome::Retry { scope, not_before, .. } = &outcome else { panic!("{what}: {outcome:?}") };
            let wanted = slow.map(|slow| (Scope::Target, slow));
            assert!(wanted.is_none_or(|wanted| wanted == (*scope, not_before.is_some())), "{what}: {outcome:?}");
        }
    }
}
