//! The source `pubsub`: a subscription holds messages, a router process takes them and delivers them to a sink. The same
//! bodies run against the emulator and against the suite's own server; the faults are the own server's.
//!
//! The emulator is not asked what it still holds: once a stream has ended, its pull over HTTP answers 500.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use router_core::{
    id::SourceName,
    source::{Fate, Inlet, IntakeClosed, OnInvalid, Pulled, Source},
};
use router_gcp::{
    Accounts, Credentials, Settings,
    proto::PubsubMessage,
    source::{Pull, PullConfig},
};
use router_tests::{
    coffee::read_json,
    world::{
        process::{Place, Router, binary},
        script::Rule,
        sink::Sink,
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    emulator::{Emulator, PROJECT},
    own::{AckFault, Held, Own, StreamFault},
};

/// What may take long on a loaded machine, the leases of what a killed router held included.
const DEADLINE: Duration = Duration::from_secs(240);
/// The subscription of all tests.
pub const NAME: &str = "projects/coffee/subscriptions/coming";

fn many() -> usize {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 20_000 } else { 1_000 }
}

/// Who holds the messages.
enum Peer {
    Emulator(Box<Emulator>),
    Own(Own),
}

impl Peer {
    async fn emulator(subscription: Value) -> Option<Peer> {
        let emulator = Emulator::start().await?;
        emulator.topic("coming", subscription).await;
        Some(Peer::Emulator(Box::new(emulator)))
    }

    async fn own(held: Held) -> Peer {
        Peer::Own(Own::holding(NAME, held, []).await)
    }

    fn url(&self) -> &str {
        match self {
            Peer::Emulator(emulator) => &emulator.url,
            Peer::Own(own) => &own.url,
        }
    }

    async fn publish(&self, messages: Vec<PubsubMessage>) {
        match self {
            Peer::Own(own) => own.see(NAME, |held| held.publish(messages)),
            Peer::Emulator(emulator) => {
                let json = |m: &PubsubMessage| json!({"data": STANDARD.encode(&m.data), "attributes": m.attributes, "orderingKey": m.ordering_key});
                let messages: Vec<Value> = messages.iter().map(json).collect();
                emulator.done(Method::POST, "topics/coming:publish", json!({ "messages": messages })).await;
            }
        }
    }

    /// Waits until so many are acknowledged, where that can be seen.
    async fn acknowledged(&self, count: usize) {
        if let Peer::Own(own) = self {
            acknowledged(own, count).await;
        }
    }
}

async fn acknowledged(own: &Own, count: usize) {
    until("acknowledged", || own.see(NAME, |held| held.acknowledged()) >= count).await;
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not {what} within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A message that is an event, whose id is its number.
pub fn message(n: usize, ordered: bool) -> PubsubMessage {
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", &n.to_string()),
        ("ce-source", "/shops/7"),
        ("ce-type", "coffee.sold"),
        ("content-type", "application/json"),
    ];
    let attributes: BTreeMap<String, String> = attributes.map(|(k, v)| (k.into(), v.into())).into_iter().collect();
    let ordering_key = if ordered { format!("k{}", n % 3) } else { String::new() };
    PubsubMessage { data: data(n).into(), attributes, ordering_key, ..PubsubMessage::default() }
}

/// With a number that can be written otherwise.
fn data(n: usize) -> String {
    format!("[{n}.50]")
}

fn holding(count: usize) -> Held {
    let mut held = Held::default();
    held.publish((0..count).map(|n| message(n, false)));
    held
}

/// A router that pulls the subscription, and delivers everything to a sink, with the order of keys.
pub fn config(url: &str, sink: &Sink, more: &Value) -> Value {
    let mut source = json!({
        "subscription": NAME, "endpoint": url, "credentials": {"anonymous": true}, "type_attribute": "kind",
        "lease": "10s",
    });
    for (key, value) in more.as_object().unwrap() {
        source[key] = value.clone();
    }
    json!({
        "sources": {"google": {"pubsub": source}},
        "targets": {"out": {"http": {"url": sink.url("out")}}},
        "routes": {"out": {"to": "out", "order": "partitionkey"}},
    })
}

/// The numbers of the events that a sink has got, in the order in which they came.
fn numbers(sink: &Sink) -> Vec<usize> {
    sink.journal().into_iter().filter_map(|received| received.key.id.parse().ok()).collect()
}

async fn arrived(sink: &Sink, count: usize, place: &Place) {
    let end = Instant::now() + DEADLINE;
    loop {
        let came: BTreeSet<usize> = numbers(sink).into_iter().collect();
        if came.len() >= count {
            return;
        }
        assert!(Instant::now() < end, "{} of {count} came\n{}", came.len(), place.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn dead_letters(router: &Router<'_>, count: u64) {
    let parked = |s: &gocoffee::admin::view::Status| s.routes.iter().map(|r| r.dead_letters).sum::<u64>() == count;
    router.until("dead letters", DEADLINE, parked).await;
}

/// Messages come whole, each once, in the order of their keys, and are acknowledged.
async fn messages_come_whole_and_in_order(peer: &Peer) {
    let (sink, place) = (Sink::start().await, Place::new());
    peer.publish((0..60).map(|n| message(n, true)).collect()).await;
    let router = place.start_with(&[], &config(peer.url(), &sink, &json!({}))).await;
    arrived(&sink, 60, &place).await;
    peer.acknowledged(60).await;
    assert!(router.terminate().await.success());
    let came = numbers(&sink);
    for key in 0..3 {
        let of_key: Vec<usize> = came.iter().copied().filter(|n| n % 3 == key).collect();
        assert_eq!(of_key, (0..20).map(|n| n * 3 + key).collect::<Vec<_>>(), "key {key}");
    }
    for received in sink.journal() {
        let n: usize = received.key.id.parse().unwrap();
        let sent = format!(
            r#"{{"specversion":"1.0","id":"{n}","source":"/shops/7","type":"coffee.sold","partitionkey":"k{}","datacontenttype":"application/json","data":{}}}"#,
            n % 3,
            data(n)
        );
        assert_eq!(received.print, read_json(sent.as_bytes()).unwrap().print, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_the_emulator_come_whole_and_in_order() {
    let Some(peer) = Peer::emulator(json!({"enableMessageOrdering": true})).await else { return };
    messages_come_whole_and_in_order(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_whole_and_in_order_from_the_own_server() {
    let peer = Peer::own(Held::ordered()).await;
    messages_come_whole_and_in_order(&peer).await;
}

/// With exactly-once delivery acknowledgements are confirmed, and nothing comes twice.
async fn acknowledgements_are_confirmed(peer: &Peer) {
    let (sink, place) = (Sink::start().await, Place::new());
    peer.publish((0..60).map(|n| message(n, false)).collect()).await;
    let router = place.start_with(&[], &config(peer.url(), &sink, &json!({"lease": "60s"}))).await;
    arrived(&sink, 60, &place).await;
    peer.acknowledged(60).await;
    assert!(router.terminate().await.success());
    assert_eq!(numbers(&sink).len(), 60);
    assert!(!place.logged().contains("R0173"), "{}", place.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_emulator_confirms_acknowledgements() {
    let subscription = json!({"enableExactlyOnceDelivery": true, "ackDeadlineSeconds": 60});
    let Some(peer) = Peer::emulator(subscription).await else { return };
    acknowledgements_are_confirmed(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_are_made_until_they_are_confirmed() {
    let peer = Peer::own(Held::exactly_once()).await;
    let Peer::Own(own) = &peer else { unreachable!() };
    own.lose([AckFault::Refuse(Code::Unavailable), AckFault::Refuse(Code::Internal)]);
    acknowledgements_are_confirmed(&peer).await;
    assert_eq!(own.see(NAME, |held| held.attempts_max()), 1, "none was sent a second time");
}

/// What is no event is a dead letter here, and acknowledged there; the rest is not held up.
async fn what_is_no_event_is_quarantined(peer: &Peer) {
    let (sink, place) = (Sink::start().await, Place::new());
    peer.publish(vec![broken(), message(0, false)]).await;
    let router = place.start_with(&[], &config(peer.url(), &sink, &json!({}))).await;
    arrived(&sink, 1, &place).await;
    dead_letters(&router, 1).await;
    peer.acknowledged(2).await;
    assert!(router.terminate().await.success());
}

/// A message that says it is an event, and has no id.
fn broken() -> PubsubMessage {
    let mut message = message(0, false);
    message.attributes.remove("ce-id");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_of_the_emulator_is_quarantined() {
    let Some(peer) = Peer::emulator(json!({})).await else { return };
    what_is_no_event_is_quarantined(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_quarantined_and_acknowledged() {
    what_is_no_event_is_quarantined(&Peer::own(Held::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_comes_again_and_holds_nothing_up() {
    let peer = Peer::own(Held::default()).await;
    let Peer::Own(own) = &peer else { unreachable!() };
    let (sink, place) = (Sink::start().await, Place::new());
    peer.publish(vec![broken(), message(0, false)]).await;
    let more = json!({"on_invalid": "reject"});
    let router = place.start_with(&[], &config(peer.url(), &sink, &more)).await;
    arrived(&sink, 1, &place).await;
    until("sent again", || own.see(NAME, |held| held.attempts_max()) >= 2).await;
    assert_eq!(own.see(NAME, |held| held.acknowledged()), 1);
    dead_letters(&router, 0).await;
    assert!(router.terminate().await.success());
    assert!(place.logged().contains("R0172"), "{}", place.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_break_lose_nothing() {
    let faults = [
        StreamFault::Refuse(Code::Unavailable),
        StreamFault::Break(50, Code::Unavailable),
        StreamFault::Refuse(Code::ResourceExhausted),
        StreamFault::Break(50, Code::Internal),
        StreamFault::End(50),
        StreamFault::Break(0, Code::Cancelled),
        StreamFault::Slow(Duration::from_millis(5)),
    ];
    let own = Own::holding(NAME, holding(300), faults.map(Some)).await;
    let (sink, place) = (Sink::start().await, Place::new());
    let router = place.start_with(&[], &config(&own.url, &sink, &json!({}))).await;
    arrived(&sink, 300, &place).await;
    acknowledged(&own, 300).await;
    assert!(own.streams() >= 7, "{} streams", own.streams());
    assert!(router.terminate().await.success());
    assert_eq!(numbers(&sink).len(), 300, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_break_keep_the_order_of_keys() {
    let mut held = Held::ordered();
    held.publish((0..300).map(|n| message(n, true)));
    let faults = [
        StreamFault::Break(50, Code::Unavailable),
        StreamFault::Refuse(Code::Unavailable),
        StreamFault::Break(70, Code::Internal),
    ];
    let own = Own::holding(NAME, held, faults.map(Some)).await;
    let (sink, place) = (Sink::start().await, Place::new());
    let router = place.start_with(&[], &config(&own.url, &sink, &json!({}))).await;
    arrived(&sink, 300, &place).await;
    acknowledged(&own, 300).await;
    assert!(own.streams() >= 4, "{} streams", own.streams());
    assert!(router.terminate().await.success());
    let came = numbers(&sink);
    assert_eq!(came.len(), 300, "each once");
    for key in 0..3 {
        let of_key: Vec<usize> = came.iter().copied().filter(|n| n % 3 == key).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_costs_a_duplicate_that_goes_nowhere() {
    let own = Own::holding(NAME, holding(20), []).await;
    own.lose([AckFault::Refuse(Code::Unavailable), AckFault::LoseAnswer]);
    let (sink, place) = (Sink::start().await, Place::new());
    let router = place.start_with(&[], &config(&own.url, &sink, &json!({}))).await;
    arrived(&sink, 20, &place).await;
    acknowledged(&own, 20).await;
    assert!(own.see(NAME, |held| held.attempts_max()) >= 2, "the lost ones came again");
    assert!(router.terminate().await.success());
    assert_eq!(numbers(&sink).len(), 20, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_a_pull_loses_nothing() {
    let count = many();
    // The first two streams are slow, so that the kills find them with most of it still to come.
    let slow = Some(StreamFault::Slow(Duration::from_millis(5)));
    let own = Own::holding(NAME, holding(count), [slow, slow]).await;
    let (sink, place) = (Sink::start().await, Place::new());
    let more = config(&own.url, &sink, &json!({}));
    for some in [50, 100] {
        let router = place.start_with(&[], &more).await;
        // Right after acknowledgements: what they are for must be durable by now.
        acknowledged(&own, some).await;
        assert!(own.see(NAME, |held| held.acknowledged()) < count, "it is killed while it pulls");
        router.kill().await;
    }
    let router = place.start_with(&[], &more).await;
    arrived(&sink, count, &place).await;
    acknowledged(&own, count).await;
    assert!(router.terminate().await.success());
}

/// What a command of the router prints.
async fn command(place: &Place, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(binary());
    command.args(args).args(["--admin", &place.admin_url()]).arg("--data").arg(place.data()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_message_came_is_shown_beside_its_event() {
    let own = Own::holding(NAME, holding(1), []).await;
    let (sink, place) = (Sink::start().await, Place::new());
    sink.script("out", Rule::status(400));
    let router = place.start_with(&[], &config(&own.url, &sink, &json!({}))).await;
    dead_letters(&router, 1).await;
    let id = router.parked().await.remove(0).delivery;
    let shown = command(&place, &["dead-letters", "show", &id]).await;
    let tailed = command(&place, &["tail", "--from", "earliest", "--until-latest", "--facts"]).await;
    for (key, value) in [
        ("pubsub-delivery-attempt", "1"),
        ("pubsub-message-id", "1"),
        ("pubsub-publish-time", "2026-01-01T00:00:00Z"),
        ("pubsub-subscription", NAME),
    ] {
        assert!(shown.contains(&format!("{key} {value}\n")), "{key}: {shown}");
        assert!(tailed.contains(&format!("{key}={value}")), "{key}: {tailed}");
    }
    assert!(router.terminate().await.success());
}

/// A bus that takes nothing in until it is told to.
#[derive(Default)]
struct Gate {
    open: AtomicBool,
    taken: AtomicUsize,
}

#[async_trait]
impl Inlet for Gate {
    async fn offer(&self, _: &SourceName, _: OnInvalid, batch: &[Pulled]) -> Result<Vec<Fate>, IntakeClosed> {
        let fate = match self.open.load(Ordering::SeqCst) {
            true => Fate::Taken,
            false => Fate::Busy { retry_after: Duration::from_millis(20) },
        };
        if fate.is_done() {
            self.taken.fetch_add(batch.len(), Ordering::SeqCst);
        }
        Ok(vec![fate; batch.len()])
    }
}

fn pull(url: &str, subscription: &str) -> PullConfig {
    let settings = Settings { endpoint: Some(url.into()), credentials: Credentials::Anonymous, impersonate: None };
    PullConfig { settings, ..PullConfig::new(SourceName::new("s").unwrap(), subscription) }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_bus_is_full_little_is_held_and_none_comes_again() {
    let own = Own::holding(NAME, holding(5_000), []).await;
    let config = PullConfig { messages_max: 200, ..pull(&own.url, NAME) };
    let source = Arc::new(Pull::new(config, &Accounts::default()).unwrap());
    let (gate, stop) = (Arc::new(Gate::default()), CancellationToken::new());
    let running = tokio::spawn(source.run(gate.clone(), stop.clone()));
    until("as much as it may hold", || own.see(NAME, |held| held.under_way_max) == 200).await;
    until("leases made longer", || own.see(NAME, |held| held.extended) >= 200).await;
    assert_eq!(gate.taken.load(Ordering::SeqCst), 0);
    gate.open.store(true, Ordering::SeqCst);
    acknowledged(&own, 5_000).await;
    assert_eq!(own.see(NAME, |held| (held.under_way_max, held.attempts_max())), (200, 1));
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pubsub_that_cannot_be_reached_is_said() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = PullConfig { quiet: Duration::from_millis(200), ..pull(&format!("http://127.0.0.1:{port}"), NAME) };
    let source = Arc::new(Pull::new(config, &Accounts::default()).unwrap());
    let running = source.run(Arc::new(Gate::default()), CancellationToken::new());
    let why = tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap_err();
    assert!(why.to_string().contains("connect"), "{why}");
}

/// A check says whether the subscription is there, and takes nothing.
async fn a_check_takes_nothing(peer: &Peer) {
    peer.publish(vec![message(0, false)]).await;
    let check = |name: &str| {
        let source = Pull::new(pull(peer.url(), name), &Accounts::default()).unwrap();
        async move { source.check().await }
    };
    check(NAME).await.unwrap();
    let gone = check(&format!("projects/{PROJECT}/subscriptions/gone")).await.unwrap_err();
    assert!(gone.to_string().contains("NOT_FOUND"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_takes_nothing_from_the_emulator() {
    let Some(peer) = Peer::emulator(json!({})).await else { return };
    a_check_takes_nothing(&peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_takes_nothing_from_the_own_server() {
    let peer = Peer::own(Held::default()).await;
    a_check_takes_nothing(&peer).await;
    let Peer::Own(own) = &peer else { unreachable!() };
    assert_eq!(own.see(NAME, |held| held.attempts_max()), 0);
}
