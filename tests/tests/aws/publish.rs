//! The target `eventbridge`, by itself and in a router.

use std::{collections::BTreeSet, time::Duration};

use router_aws::{Accounts, EventBridge, EventBridgeConfig, wire::Mapping};
use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId, TargetName},
    target::{Delivery, Outcome, Scope, Target},
};
use router_tests::world::{client::Client, process::Place};
use schemas::{Event, Form};
use serde_json::{Value, json};

use super::{
    peers::{self, Fed, Kind, Peer},
    proxy::{Fault, Proxy},
};

/// What no mapping may lose: numbers that can be written otherwise, and a letter outside ASCII.
const DATA: &str = r#"{"a":1.10,"b":1e2,"c":"é"}"#;

pub fn event(id: &str) -> Event {
    let event = Event::builder(id, "/shops/7", "coffee.order.created").attr("subject", "latte").attr("priority", 3);
    event.attr("datacontenttype", "application/json").data(Form::Json, DATA).build().unwrap()
}

pub fn batch(events: impl IntoIterator<Item = Event>) -> Vec<Delivery> {
    let lane = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
    let id = |offset| DeliveryId { epoch: Epoch(1), lane, offset: Offset(offset) };
    let route = RouteName::new("r").unwrap();
    let delivery = |(n, event)| Delivery {
        id: id(n),
        attempt: 1,
        route: route.clone(),
        appended: Timestamp(0),
        event,
        reply: None,
    };
    (0..).zip(events).map(delivery).collect()
}

fn target(url: &str, bus: &str, mapping: Mapping) -> EventBridge {
    let config = EventBridgeConfig::new(TargetName::new("t").unwrap(), bus);
    let config =
        EventBridgeConfig { settings: peers::settings(url), mapping, timeout: Duration::from_secs(60), ..config };
    EventBridge::new(config, &Accounts::default()).unwrap()
}

pub fn note(outcome: &Outcome) -> &str {
    outcome.facts().note.as_deref().unwrap_or_default()
}

/// Every mapping arrives with what it promises, and a rule of AWS sees into it.
async fn mappings_arrive(peer: &Peer) {
    let wants = |kind: &str| json!({"source": ["/shops/7"], "detail-type": ["coffee.order.created"], "detail": {"type": [kind]}});
    let fed = peer.fed("seen", wants("coffee.order.created")).await;
    let blind = peer.fed("unseen", wants("coffee.order.cancelled")).await;
    for (mapping, of) in [(Mapping::Structured, &fed), (Mapping::Opaque, &fed), (Mapping::Structured, &blind)] {
        let outcomes = target(&peer.url, &of.bus, mapping).deliver(&batch([event("1")])).await;
        let Outcome::Delivered { facts, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert!(facts.reference.is_some(), "AWS gives each event an id");
    }
    let messages = peer.take(&fed.queue_url, 2).await;
    for message in &messages {
        assert_eq!((&message["source"], &message["detail-type"]), (&json!("/shops/7"), &json!("coffee.order.created")));
        let back = schemas::json::decode(message["detail"].to_string().as_bytes()).unwrap();
        let told = |e: &Event| e.attrs().map(|(n, v)| format!("{n}={v}")).collect::<BTreeSet<_>>();
        assert_eq!(told(&back), told(&event("1")), "every attribute");
        match back.form() {
            Form::Binary => assert_eq!(back.data(), DATA.as_bytes(), "opaque keeps each byte"),
            _ => equal_as_json(back.data()),
        }
    }
    let opaque = messages.iter().filter(|m| m["detail"].get("data_base64").is_some()).count();
    assert_eq!(opaque, 1, "{messages:?}");
    let bare = peer.fed("bare", json!({"detail": {"c": ["é"]}})).await;
    let outcomes = target(&peer.url, &bare.bus, Mapping::Data).deliver(&batch([event("1")])).await;
    assert!(matches!(outcomes[0], Outcome::Delivered { .. }), "{outcomes:?}");
    equal_as_json(peer.take(&bare.queue_url, 1).await[0]["detail"].to_string().as_bytes());
    // What the rule did not want is nowhere.
    assert_eq!(peer.take_some(&blind.queue_url).await, Vec::<Value>::new());
}

fn equal_as_json(data: &[u8]) {
    let data: Value = serde_json::from_slice(data).unwrap();
    assert_eq!((data["a"].as_f64(), data["b"].as_f64(), &data["c"]), (Some(1.1), Some(100.0), &json!("é")));
}

/// More events than a call takes, some of which no call takes: each has its own outcome.
async fn each_event_has_its_own_outcome(peer: &Peer) {
    let fed = peer.fed("mixed", json!({"source": ["/shops/7"]})).await;
    let mut events: Vec<Event> = (0..24).map(|n| event(&n.to_string())).collect();
    events[3] = Event::builder("3", "aws.ec2", "t").build().unwrap();
    events[7] = event("7").rebuild().set("type", "x".repeat(129).as_str()).build().unwrap();
    events[11] = event("11").rebuild().data(Form::Text, "x".repeat(1 << 20)).build().unwrap();
    let outcomes = target(&peer.url, &fed.bus, Mapping::Structured).deliver(&batch(events)).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        let code = match outcome {
            Outcome::Refused { code, .. } => code.0,
            Outcome::Delivered { .. } => "",
            other => panic!("{n}: {other:?}"),
        };
        let wanted = match n {
            3 => "eventbridge-source",
            7 => "eventbridge-detail-type",
            11 => "eventbridge-size",
            _ => "",
        };
        assert_eq!(code, wanted, "{n}: {}", note(outcome));
    }
    let arrived: BTreeSet<String> =
        peer.take(&fed.queue_url, 21).await.iter().map(|m| m["detail"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(arrived.len(), 21, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_gets_what_is_owed() {
    let Some(peer) = Peer::start(Kind::Ministack).await else { return };
    mappings_arrive(&peer).await;
    each_event_has_its_own_outcome(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_gets_what_is_owed_and_says_what_is_missing() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    mappings_arrive(&peer).await;
    each_event_has_its_own_outcome(&peer).await;
    let fed = peer.fed("there", json!({"source": ["x"]})).await;
    target(&peer.url, &fed.bus, Mapping::Structured).check().await.unwrap();
    let gone = target(&peer.url, "not-there", Mapping::Structured);
    let why = gone.check().await.unwrap_err().to_string();
    assert!(why.starts_with("ResourceNotFoundException: "), "{why}");
    // A bus can be made: nothing is given up for it.
    let outcomes = gone.deliver(&batch([event("1"), event("2")])).await;
    for outcome in &outcomes {
        let slowly = matches!(outcome, Outcome::Retry { scope: Scope::Target, not_before: Some(_), .. });
        assert!(slowly && note(outcome).contains("ResourceNotFound"), "{outcome:?}");
    }
    drop(peer);
    let outcomes = target("http://127.0.0.1:1", "b", Mapping::Structured).deliver(&batch([event("1")])).await;
    assert!(matches!(outcomes[0], Outcome::Retry { scope: Scope::Target, .. }), "nobody is there: {outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_aws_are_told_apart() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let fed = peer.fed("faults", json!({"source": ["/shops/7"]})).await;
    let error = |status, code: &str| Some(Fault::Answer(status, json!({"__type": code, "message": "no"})));
    let half: fn(&mut Value) = |answer| {
        for (n, entry) in answer["Entries"].as_array_mut().unwrap().iter_mut().enumerate() {
            match n % 4 {
                1 => *entry = json!({"ErrorCode": "InternalFailure", "ErrorMessage": "try again"}),
                3 => *entry = json!({"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}),
                _ => {}
            }
        }
    };
    let faults = [
        Some(Fault::Change(half)),
        error(400, "ThrottlingException"),
        error(403, "ExpiredTokenException"),
        error(500, "InternalException"),
        Some(Fault::Break),
    ];
    let proxy = Proxy::with(&peer.url, faults).await;
    let target = target(&proxy.url, &fed.bus, Mapping::Structured);
    let eight = || batch((0..8).map(|n| event(&n.to_string())));

    let outcomes = target.deliver(&eight()).await;
    let said: String = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Delivered { .. } => 'd',
            Outcome::Retry { scope: Scope::Event, .. } => 'e',
            Outcome::Refused { .. } => 'r',
            _ => '?',
        })
        .collect();
    assert_eq!(said, "dedrdedr");
    assert_eq!(note(&outcomes[3]), "MalformedDetail: Detail is malformed.");

    for (what, scope, slow) in
        [("throttling", Scope::Target, false), ("expired", Scope::Target, true), ("internal", Scope::Event, false)]
    {
        for outcome in target.deliver(&eight()).await {
            let Outcome::Retry { scope: was, not_before, .. } = &outcome else { panic!("{what}: {outcome:?}") };
            assert_eq!((*was, not_before.is_some()), (scope, slow), "{what}: {outcome:?}");
        }
    }
    for outcome in target.deliver(&eight()).await {
        assert!(matches!(outcome, Outcome::Retry { .. }), "a broken connection: {outcome:?}");
    }
    assert_eq!(proxy.entries(), [8; 5], "the router tries again, the SDK does not");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_the_call_is_found_and_the_others_arrive() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let fed = peer.fed("halves", json!({"source": ["/shops/7"]})).await;
    let refuses = |body: &str| {
        let answer = json!({"__type": "ValidationException", "message": "1 validation error detected"});
        body.contains("poison").then_some(Fault::Answer(400, answer))
    };
    let proxy = Proxy::start(&peer.url, Box::new(refuses)).await;
    let mut events: Vec<Event> = (0..10).map(|n| event(&n.to_string())).collect();
    events[6] = event("poison");
    let outcomes = target(&proxy.url, &fed.bus, Mapping::Structured).deliver(&batch(events)).await;
    let refused: Vec<usize> =
        (0..10).filter(|n| matches!(outcomes[*n], Outcome::Refused { code, .. } if code.0 == "refused")).collect();
    assert_eq!(refused, [6], "{outcomes:?}");
    assert!(outcomes.iter().enumerate().all(|(n, o)| n == 6 || matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    assert_eq!(peer.take(&fed.queue_url, 9).await.len(), 9);
    assert_eq!(proxy.entries(), [10, 5, 5, 3, 2, 1, 1, 1, 2], "it is looked for by halves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_publishes_through_faults_and_parks_only_what_aws_refuses() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let Fed { bus, queue_url } = peer.fed("routed", json!({"source": ["/shops/7"]})).await;
    let third: fn(&mut Value) = |answer| {
        for entry in answer["Entries"].as_array_mut().unwrap().iter_mut().step_by(3) {
            *entry = json!({"ErrorCode": "ThrottlingException", "ErrorMessage": "slower"});
        }
    };
    let throttled = json!({"__type": "ThrottlingException", "message": "slower"});
    let faults = [Some(Fault::Change(third)), Some(Fault::Answer(400, throttled)), Some(Fault::Break)];
    let proxy = Proxy::with(&peer.url, faults).await;
    let place = Place::new();
    let mut target = peers::configured(&proxy.url);
    target["bus"] = json!(bus);
    let more = json!({
        "targets": {"aws": {"eventbridge": target}},
        "routes": {"out": {"to": "aws", "retry": {"delay_min": "20ms", "delay_max": "200ms"}}},
    });
    let router = place.start_with(&[], &more).await;
    let events: Vec<Event> = (0..50)
        .map(|n| match n {
            20 => Event::builder("20", "aws.ec2", "t").build().unwrap(),
            n => event(&n.to_string()),
        })
        .collect();
    let headers =
        [(http::header::CONTENT_TYPE, schemas::json::BATCH_MEDIA_TYPE.parse().unwrap())].into_iter().collect();
    let body = schemas::json::encode_batch(&events).into();
    let answer = Client::new(Duration::from_secs(30)).send(http::Method::POST, &place.url(), headers, body).await;
    assert_eq!(answer.unwrap().status, 202);
    let status = router.settled(Duration::from_secs(60)).await;
    assert_eq!(status.routes.iter().map(|r| r.dead_letters).sum::<u64>(), 1, "{status:#?}");
    let mut arrived = BTreeSet::new();
    // At least once: what was taken before its answer was lost comes again.
    while arrived.len() < 49 {
        arrived.extend(peer.take(&queue_url, 1).await.iter().map(|m| m["detail"]["id"].as_str().unwrap().to_owned()));
    }
    assert!(!arrived.contains("20"));
    assert!(router.terminate().await.success());
}
