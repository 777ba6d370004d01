//! The target `pubsub`, by itself and in a router.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId, TargetName},
    target::{Delivery, Outcome, Scope, Target},
};
use router_gcp::{
    Accounts, Credentials, PubSub, PubSubConfig, Settings,
    wire::{self, Came, Mode},
};
use router_tests::world::{client::Client, process::Place};
use schemas::{Event, Form};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    emulator::Emulator,
    own::{Fault, Own},
};

/// What no mode may change: numbers that can be written otherwise, and a letter outside ASCII.
const DATA: &str = r#"{"a":1.10,"b":1e2,"c":"é"}"#;

pub fn event(id: &str) -> Event {
    let event = Event::builder(id, "/shops/7", "coffee.order.created").attr("subject", "café").attr("priority", 3);
    event.attr("datacontenttype", "application/json").data(Form::Json, DATA).build().unwrap()
}

pub fn keyed(id: &str, key: &str) -> Event {
    event(id).rebuild().attr("partitionkey", key).build().unwrap()
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

fn target(url: &str, topic: &str, mode: Mode, timeout: Duration) -> PubSub {
    let settings = Settings { endpoint: Some(url.into()), credentials: Credentials::Anonymous, impersonate: None };
    let config = PubSubConfig { settings, mode, timeout, ..PubSubConfig::new(TargetName::new("t").unwrap(), topic) };
    PubSub::new(config, &Accounts::default()).unwrap()
}

const TOPIC: &str = "projects/coffee/topics/t";
const LONG: Duration = Duration::from_secs(60);

fn note(outcome: &Outcome) -> &str {
    outcome.facts().note.as_deref().unwrap_or_default()
}

fn told(event: &Event) -> BTreeSet<String> {
    event.attrs().map(|(name, value)| format!("{name}={value}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_emulator_gets_what_is_owed() {
    let Some(emulator) = Emulator::start().await else { return };
    let topic = emulator.topic("modes", json!({"enableMessageOrdering": true})).await;
    for mode in [Mode::Binary, Mode::Structured] {
        let target = target(&emulator.url, &topic, mode, LONG);
        target.check().await.unwrap();
        let sent = [event("1"), keyed("2", "table 4"), keyed("3", "table 4")];
        let outcomes = target.deliver(&batch(sent.clone())).await;
        let mut references = BTreeSet::new();
        for outcome in &outcomes {
            let Outcome::Delivered { facts, .. } = outcome else { panic!("{outcome:?}") };
            references.insert(facts.reference.clone().expect("Pub/Sub gives each message an id").into_string());
        }
        let arrived = emulator.take("modes", 3).await;
        assert_eq!(arrived.iter().map(|one| one.id.clone()).collect::<BTreeSet<_>>(), references);
        for sent in sent {
            let came = arrived.iter().map(|one| (one, wire::decode(&one.message, &Came::default()).unwrap()));
            let (one, back) = came.into_iter().find(|(_, back)| back.id() == sent.id()).unwrap();
            assert_eq!((told(&back), back.data()), (told(&sent), DATA.as_bytes()), "{mode:?}");
            assert!(one.message.attributes.contains_key("idempotency-key"));
        }
        let order: Vec<&str> = arrived.iter().filter(|m| !m.message.ordering_key.is_empty()).map(|m| &*m.id).collect();
        assert!(order.is_sorted_by_key(|id| id.parse::<u64>().unwrap()), "of one key: {order:?}");
    }
    let gone = target(&emulator.url, "projects/coffee/topics/not-there", Mode::Binary, LONG);
    let why = gone.check().await.unwrap_err().to_string();
    assert!(why.starts_with("NOT_FOUND: "), "{why}");
    // A topic can be made: nothing is given up for it.
    for outcome in gone.deliver(&batch([event("1"), event("2")])).await {
        let slowly = matches!(outcome, Outcome::Retry { scope: Scope::Target, not_before: Some(_), .. });
        assert!(slowly && note(&outcome).contains("NOT_FOUND"), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_google_says_is_what_becomes_of_a_delivery() {
    let codes = [
        (Code::Unavailable, Scope::Target, false),
        (Code::ResourceExhausted, Scope::Target, false),
        (Code::PermissionDenied, Scope::Target, true),
        (Code::NotFound, Scope::Target, true),
        (Code::Aborted, Scope::Event, false),
        (Code::Internal, Scope::Event, false),
    ];
    let own = Own::with(codes.iter().map(|(code, ..)| Some(Fault::Refuse(*code)))).await;
    let target = target(&own.url, TOPIC, Mode::Binary, LONG);
    for (code, scope, slow) in codes {
        for outcome in target.deliver(&batch([event("1"), event("2")])).await {
            let Outcome::Retry { scope: was, not_before, .. } = &outcome else { panic!("{code:?}: {outcome:?}") };
            assert_eq!((*was, not_before.is_some()), (scope, slow), "{code:?}: {outcome:?}");
        }
    }
    assert_eq!(own.requests(), [2; 6], "the router tries again, the crate does not");
    let outcomes = target.deliver(&batch([event("1"), event("2")])).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    let url = own.url.clone();
    drop(own);
    let nobody = self::target(&url, TOPIC, Mode::Binary, LONG);
    let outcomes = nobody.deliver(&batch([event("1")])).await;
    assert!(matches!(outcomes[0], Outcome::Retry { scope: Scope::Target, .. }), "nobody is there: {outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let own = Own::with([Some(Fault::Hang)]).await;
    let target = target(&own.url, TOPIC, Mode::Binary, Duration::from_millis(300));
    let start = Instant::now();
    let outcomes = target.deliver(&batch([event("1")])).await;
    assert!(matches!(outcomes[0], Outcome::Retry { scope: Scope::Event, .. }), "{outcomes:?}");
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_stands_alone() {
    let own = Own::judging(Box::new(|messages| {
        let guilty = messages.iter().any(|message| message.attributes["ce-id"] == "5");
        guilty.then_some(Fault::Refuse(Code::InvalidArgument))
    }))
    .await;
    let target = target(&own.url, TOPIC, Mode::Binary, LONG);
    let outcomes = target.deliver(&batch((0..8).map(|n| event(&n.to_string())))).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        let refused = matches!(outcome, Outcome::Refused { .. });
        assert_eq!(refused, n == 5, "{n}: {outcome:?}");
        assert!(refused || matches!(outcome, Outcome::Delivered { .. }), "{n}: {outcome:?}");
    }
    let mut arrived: Vec<String> = own.messages().iter().map(|m| m.attributes["ce-id"].clone()).collect();
    arrived.sort();
    assert_eq!(arrived, ["0", "1", "2", "3", "4", "6", "7"], "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_recovers_after_a_failure() {
    let own = Own::with([Some(Fault::Refuse(Code::Aborted))]).await;
    let target = target(&own.url, TOPIC, Mode::Binary, LONG);
    let first = target.deliver(&batch([keyed("1", "k")])).await;
    assert!(matches!(first[0], Outcome::Retry { scope: Scope::Event, .. }), "{first:?}");
    let second = target.deliver(&batch([keyed("1", "k"), keyed("2", "k")])).await;
    assert!(second.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{second:?}");
    let keys: Vec<(String, String)> =
        own.messages().iter().map(|m| (m.attributes["ce-id"].clone(), m.ordering_key.clone())).collect();
    assert_eq!(keys, [("1".into(), "k".into()), ("2".into(), "k".into())]);
}

/// What a router is told of the topic.
fn configured(url: &str, topic: &str) -> Value {
    json!({"topic": topic, "endpoint": url, "credentials": {"anonymous": true}, "timeout": "2s"})
}

/// Publishes events through a router into a topic; how many dead letters there were.
async fn route(url: &str, topic: &str, events: &[Event]) -> u64 {
    let place = Place::new();
    let more = json!({
        "targets": {"google": {"pubsub": configured(url, topic)}},
        "routes": {"out": {"to": "google", "retry": {"delay_min": "20ms", "delay_max": "200ms"}}},
    });
    let router = place.start_with(&[], &more).await;
    let headers =
        [(http::header::CONTENT_TYPE, schemas::json::BATCH_MEDIA_TYPE.parse().unwrap())].into_iter().collect();
    let body = schemas::json::encode_batch(events).into();
    let answer = Client::new(Duration::from_secs(30)).send(http::Method::POST, &place.url(), headers, body).await;
    assert_eq!(answer.unwrap().status, 202);
    let status = router.settled(LONG).await;
    assert!(router.terminate().await.success());
    status.routes.iter().map(|route| route.dead_letters).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_publishes_to_the_emulator() {
    let Some(emulator) = Emulator::start().await else { return };
    let topic = emulator.topic("routed", json!({})).await;
    let events: Vec<Event> = (0..300).map(|n| keyed(&n.to_string(), &format!("k{}", n % 7))).collect();
    assert_eq!(route(&emulator.url, &topic, &events).await, 0);
    let mut arrived = BTreeSet::new();
    while arrived.len() < 300 {
        arrived.extend(emulator.take("routed", 1).await.iter().map(|m| m.message.attributes["ce-id"].clone()));
    }
    assert_eq!(arrived, events.iter().map(|event| event.id().to_owned()).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_publishes_through_faults_and_parks_only_what_google_refuses() {
    let mut asked = 0;
    let own = Own::judging(Box::new(move |messages| {
        asked += 1;
        match asked {
            1 => Some(Fault::Refuse(Code::Unavailable)),
            2 => Some(Fault::Lose),
            3 => Some(Fault::Hang),
            _ => {
                let guilty = messages.iter().any(|message| message.attributes["ce-id"] == "20");
                guilty.then_some(Fault::Refuse(Code::InvalidArgument))
            }
        }
    }))
    .await;
    let events: Vec<Event> = (0..50).map(|n| event(&n.to_string())).collect();
    assert_eq!(route(&own.url, TOPIC, &events).await, 1);
    // At least once: what was taken before its answer was lost comes again.
    let arrived: BTreeSet<String> = own.messages().iter().map(|m| m.attributes["ce-id"].clone()).collect();
    assert_eq!(arrived.len(), if arrived.contains("20") { 50 } else { 49 });
    let again = own.messages().iter().filter(|m| m.attributes["ce-id"] == "0").count();
    assert!(again >= 1);
}
