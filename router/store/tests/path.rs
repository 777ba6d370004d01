//! The path over a store, in one process: targets are scripted, nothing listens.
//! Goal: every acknowledged event reaches every route that wants it, whatever the targets do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use router_core::{
    clock::SystemClock,
    filter::{Filter, Spec},
    id::{BusName, DeliveryId, RouteName, SourceName, TargetName},
    path::{BusSpec, Path, RouteSpec, Topology, Which},
    settle::RetryPolicy,
    source::Accepted,
    stats::LaneStateName,
    store::{Page, Selection, Store},
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Reason, Scope, Target},
};
use router_store::{
    memory::MemoryStore,
    store::{DiskStore, Options},
};
use schemas::{Event, Form};

/// Changed while it runs.
#[path = "path/control.rs"]
mod control;

/// With other routes while it runs.
#[path = "path/reload.rs"]
mod reload;

/// With the power lost right after an answer.
#[path = "path/durable.rs"]
mod durable;

/// With deliveries that operators give up.
#[path = "path/skip.rs"]
mod skip;

/// With budgets.
#[path = "path/space.rs"]
mod space;

/// With an archive that segments are copied to.
#[path = "path/shelf.rs"]
mod shelf;

/// With replays.
#[path = "path/replay.rs"]
mod replay;

/// With new routes that want what was there before them.
#[path = "path/begin.rs"]
mod begin;

/// With targets that answer with events.
#[path = "path/replies.rs"]
mod replies;

#[derive(Default)]
struct Sink {
    name: &'static str,
    got: Mutex<BTreeMap<String, Vec<(DeliveryId, u32)>>>,
    calls: AtomicU64,
    down: AtomicBool,
    mute: AtomicBool,
    refuse: AtomicBool,
    flaky: AtomicBool,
    /// Events whose data are not those that were sent.
    wrong: AtomicU64,
}

struct SinkTarget(Arc<Sink>, TargetName);

#[async_trait]
impl Target for SinkTarget {
    fn name(&self) -> &TargetName {
        &self.1
    }
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            count_max: 1,
            bytes_max: 1 << 20,
            in_flight_max: 16,
            partial: Partial::PerEvent,
            deadline: Duration::from_secs(2),
            ..BatchLimits::default()
        }
    }
    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let calls = self.0.calls.fetch_add(1, Ordering::SeqCst);
        if self.0.mute.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let facts = || Facts { status: Some(200), ..Facts::default() };
        let one = |d: &Delivery| {
            if self.0.down.load(Ordering::SeqCst) {
                return Outcome::Retry { facts: facts(), scope: Scope::Target, not_before: None };
            }
            if self.0.refuse.load(Ordering::SeqCst) && d.event.kind() == "bad" {
                return Outcome::Refused {
                    facts: Facts { status: Some(422), ..facts() },
                    code: router_core::codes::REFUSED,
                };
            }
            if self.0.flaky.load(Ordering::SeqCst) && calls.is_multiple_of(3) {
                return Outcome::Retry { facts: facts(), scope: Scope::Event, not_before: None };
            }
            if d.event.data() != format!("{{\"n\":{}}}", d.event.id()).as_bytes() {
                self.0.wrong.fetch_add(1, Ordering::SeqCst);
            }
            self.0.got.lock().unwrap().entry(d.event.id().to_string()).or_default().push((d.id, d.attempt));
            Outcome::Delivered { facts: facts(), replies: vec![] }
        };
        batch.iter().map(one).collect()
    }
}

fn sink(name: &'static str) -> Arc<Sink> {
    Arc::new(Sink { name, ..Sink::default() })
}

fn topology(sinks: &[(&Arc<Sink>, Option<&str>)]) -> Topology {
    let retry = RetryPolicy {
        delay_min: Duration::from_millis(10),
        delay_max: Duration::from_millis(50),
        ..RetryPolicy::default()
    };
    Topology {
        quarantine: false,
        buses: vec![BusSpec {
            name: BusName::new("default").unwrap(),
            dedupe_age: Duration::from_secs(600),
            dedupe_entries_max: 100_000,
            retention: Default::default(),
        }],
        routes: sinks
            .iter()
            .map(|(s, kind)| RouteSpec {
                name: RouteName::new(s.name).unwrap(),
                bus: BusName::new("default").unwrap(),
                transform: None,
                filter: kind.map(|k| Spec::Pattern(serde_json::json!({ "type": [k] }))),
                target: TargetName::new(s.name).unwrap(),
                retry,
                backlog: Default::default(),
                reply: None,
                order: None,
                start: Default::default(),
            })
            .collect(),
        targets: sinks
            .iter()
            .map(|(s, _)| Arc::new(SinkTarget((*s).clone(), TargetName::new(s.name).unwrap())) as Arc<dyn Target>)
            .collect(),
        event_bytes_max: 1 << 20,
        budgets: Default::default(),
        router: None,
    }
}

async fn start(store: &Arc<MemoryStore>, sinks: &[(&Arc<Sink>, Option<&str>)]) -> Path {
    let store: Arc<dyn Store> = store.clone();
    Path::start(store, topology(sinks), Arc::new(SystemClock::new())).await.unwrap()
}

async fn publish(path: &Path, from: usize, to: usize, kind: impl Fn(usize) -> &'static str) -> Vec<Accepted> {
    let intake = path.intake(&BusName::new("default").unwrap()).unwrap();
    let source = SourceName::new("test").unwrap();
    let mut all = vec![];
    for chunk in (from..to).collect::<Vec<_>>().chunks(100) {
        let batch = chunk.iter().map(|n| {
            Event::builder(&n.to_string(), "/t", kind(*n))
                .data(Form::Json, format!("{{\"n\":{n}}}"))
                .build()
                .unwrap()
                .into()
        });
        all.extend(intake.submit(&source, batch.collect()).await.unwrap().into_iter().map(|a| a.unwrap()));
    }
    all
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about in 15 s");
}

fn count(sink: &Sink) -> usize {
    sink.got.lock().unwrap().len()
}

/// Everything is settled; what was sent again after a crash, too.
async fn settled(path: &Path) {
    for _ in 0..1_500 {
        let status = path.status().await.unwrap();
        if status.routes.iter().all(|r| r.waiting == 0 && r.lag_events == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", path.status().await.unwrap());
}

fn one_id_each(sink: &Sink) {
    for (event, deliveries) in sink.got.lock().unwrap().iter() {
        assert!(deliveries.iter().all(|d| d.0 == deliveries[0].0), "{event}: {deliveries:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_the_routes_that_want_them_and_no_others() {
    let store = Arc::new(MemoryStore::with_gaps(7));
    let (all, odd) = (sink("all"), sink("odd"));
    let path = start(&store, &[(&all, None), (&odd, Some("odd"))]).await;
    let kind = |n| if n % 2 == 1 { "odd" } else { "even" };
    publish(&path, 0, 10_000, kind).await;
    until("delivery", || count(&all) == 10_000 && count(&odd) == 5_000).await;
    assert!(odd.got.lock().unwrap().keys().all(|k| k.parse::<usize>().unwrap() % 2 == 1));
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    assert!(store.ledger().count().await.unwrap().iter().all(|c| c.pending == 0 && c.dead_letters == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_submit_is_a_duplicate_at_the_first_ones_offset() {
    let store = Arc::new(MemoryStore::new());
    let all = sink("all");
    let path = start(&store, &[(&all, None)]).await;
    let first = publish(&path, 0, 300, |_| "t").await;
    let again = publish(&path, 0, 300, |_| "t").await;
    for (a, b) in first.iter().zip(&again) {
        let Accepted::Appended(offset) = a else { panic!("{a:?}") };
        assert_eq!(b, &Accepted::Duplicate(*offset));
    }
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop(path);
    let path = start(&store, &[(&all, None)]).await;
    let third = publish(&path, 0, 300, |_| "t").await;
    assert_eq!(again, third, "a restart remembers");
    // A stop lets calls end and begins none: what it left is delivered by the second path.
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(count(&all), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_target_spills_and_drains_and_holds_nobody_up() {
    let store = Arc::new(MemoryStore::with_gaps(3));
    let (up, down) = (sink("up"), sink("down"));
    down.down.store(true, Ordering::SeqCst);
    let path = start(&store, &[(&up, None), (&down, None)]).await;
    publish(&path, 0, 20_000, |_| "t").await;
    until("the others' delivery", || count(&up) == 20_000).await;
    let status = path.status().await.unwrap();
    let lane = status.routes.iter().find(|r| r.name.as_str() == "down").unwrap();
    assert_eq!((lane.waiting, lane.matched), (20_000, 20_000));
    assert!(lane.in_ledger >= 18_000, "{lane:?}");
    assert!(down.calls.load(Ordering::SeqCst) < 200, "a breaker holds calls back");
    down.down.store(false, Ordering::SeqCst);
    until("the drain", || count(&down) == 20_000).await;
    one_id_each(&down);
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    assert!(store.ledger().count().await.unwrap().iter().all(|c| c.pending == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_is_delivered_under_the_same_id() {
    let store = Arc::new(MemoryStore::with_gaps(5));
    let (down, flaky) = (sink("down"), sink("flaky"));
    down.down.store(true, Ordering::SeqCst);
    flaky.flaky.store(true, Ordering::SeqCst);
    for round in 0..5 {
        let path = start(&store, &[(&down, None), (&flaky, None)]).await;
        publish(&path, round * 2_000, (round + 1) * 2_000, |_| "t").await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(path);
    }
    down.down.store(false, Ordering::SeqCst);
    let path = start(&store, &[(&down, None), (&flaky, None)]).await;
    until("everything", || count(&down) == 10_000 && count(&flaky) == 10_000).await;
    one_id_each(&down);
    one_id_each(&flaky);
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    assert!(store.ledger().count().await.unwrap().iter().all(|c| c.pending == 0 && c.dead_letters == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_events_are_dead_letters_until_they_are_redriven() {
    let store = Arc::new(MemoryStore::new());
    let s = sink("picky");
    s.refuse.store(true, Ordering::SeqCst);
    let path = start(&store, &[(&s, None)]).await;
    publish(&path, 0, 3_000, |n| if n % 3 == 0 { "bad" } else { "good" }).await;
    until("the good ones", || count(&s) == 2_000).await;
    settled(&path).await;
    let status = path.status().await.unwrap();
    assert_eq!((status.routes[0].dead_letters, status.routes[0].waiting), (1_000, 0));
    let page = Page { after: None, count_max: 10_000 };
    let letters = path.dead_letters(&Selection::default(), page).await.unwrap();
    assert_eq!(letters.len(), 1_000);
    assert_eq!(&*letters[0].reason, "refused");
    let record = path.record(&letters[0].id).await.unwrap().unwrap();
    assert_eq!(record.event.kind(), "bad");
    s.refuse.store(false, Ordering::SeqCst);
    let redriven = path.redrive(&Selection::default()).await.unwrap();
    assert_eq!((redriven.redriven, redriven.orphaned), (1_000, 0));
    until("the redriven", || count(&s) == 3_000).await;
    assert!(path.dead_letters(&Selection::default(), page).await.unwrap().is_empty());
    let got = s.got.lock().unwrap().clone();
    assert_eq!(got["0"][0].1, 2, "the number of the attempt only grows");
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_filter_judges_only_what_comes_after_it() {
    let store = Arc::new(MemoryStore::with_gaps(9));
    let s = sink("s");
    let path = start(&store, &[(&s, Some("a"))]).await;
    publish(&path, 0, 1_000, |n| if n % 2 == 0 { "a" } else { "b" }).await;
    drop(path);
    let path = start(&store, &[(&s, Some("b"))]).await;
    publish(&path, 1_000, 2_000, |n| if n % 2 == 0 { "a" } else { "b" }).await;
    let owed = |n: usize| n.is_multiple_of(2) == (n < 1_000);
    until("what is owed", || count(&s) >= 1_000).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let got: Vec<usize> = s.got.lock().unwrap().keys().map(|k| k.parse().unwrap()).collect();
    assert_eq!(got.len(), 1_000);
    assert!(got.iter().all(|n| owed(*n)));
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_never_answers_times_out_and_holds_nobody_up() {
    let store = Arc::new(MemoryStore::new());
    let (up, mute) = (sink("up"), sink("mute"));
    mute.mute.store(true, Ordering::SeqCst);
    let path = start(&store, &[(&up, None), (&mute, None)]).await;
    publish(&path, 0, 5_000, |_| "t").await;
    until("the others' delivery", || count(&up) == 5_000).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    mute.mute.store(false, Ordering::SeqCst);
    until("the late ones", || count(&mute) == 5_000).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_route_keeps_what_it_owes_until_it_is_back() {
    let store = Arc::new(MemoryStore::new());
    let (s, other) = (sink("s"), sink("other"));
    s.down.store(true, Ordering::SeqCst);
    let path = start(&store, &[(&s, None)]).await;
    publish(&path, 0, 3_000, |_| "t").await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop(path);
    let path = start(&store, &[(&other, None)]).await;
    publish(&path, 3_000, 3_100, |_| "t").await;
    until("the other's", || count(&other) == 100).await;
    let status = path.status().await.unwrap();
    let orphan = status.routes.iter().find(|r| r.name.as_str() == "s").unwrap();
    assert_eq!((orphan.waiting, orphan.target.clone()), (3_000, None));
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop(path);
    s.down.store(false, Ordering::SeqCst);
    let path = start(&store, &[(&s, None)]).await;
    until("what it owed", || count(&s) == 3_000).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_dead_letters_are_gone_for_good_and_counted() {
    let store = Arc::new(MemoryStore::new());
    let picky = sink("picky");
    picky.refuse.store(true, Ordering::SeqCst);
    let path = start(&store, &[(&picky, None)]).await;
    publish(&path, 0, 2_500, |n| if n % 2 == 0 { "bad" } else { "good" }).await;
    settled(&path).await;
    let all = Page { after: None, count_max: 10_000 };
    let letters = path.dead_letters(&Selection::default(), all).await.unwrap();
    assert_eq!(letters.len(), 1_250);
    let of = |target: &str| Selection { target: TargetName::new(target).ok(), ..Selection::default() };
    assert_eq!(path.purge(&of("another")).await.unwrap().purged, 0);
    let ids = Selection { ids: Some(vec![letters[0].id]), ..Selection::default() };
    assert_eq!(path.purge(&ids).await.unwrap().purged, 1);
    // By what their events say: some of each page, and those of a later page for a small one.
    let spec = serde_json::from_value(serde_json::json!({"suffix": {"id": "98"}})).unwrap();
    let filter = Filter::parse(spec).unwrap();
    let (none, picky_ones) = (of("another"), of("picky"));
    let some = |selection| Which { selection, filter: Some(&filter) };
    assert_eq!(path.dead_letters(some(&none), all).await.unwrap().len(), 0);
    let found = path.dead_letters(some(&picky_ones), Page { after: None, count_max: 20 }).await.unwrap();
    assert_eq!((found[0].id, found.len()), (letters[49].id, 20));
    let rest = Page { after: Some(found[19].id), count_max: 20 };
    assert_eq!(path.dead_letters(some(&picky_ones), rest).await.unwrap().len(), 5);
    assert_eq!(path.purge(some(&picky_ones)).await.unwrap().purged, 25);
    assert_eq!(path.purge(&of("picky")).await.unwrap().purged, 1_224, "more than a page");
    let counted = path.stats().route(&RouteName::new("picky").unwrap()).letters_ended();
    assert_eq!(counted, BTreeMap::from([("purged", 1_250)]));
    assert_eq!(path.status().await.unwrap().routes[0].dead_letters, 0);
    // Durable at once: a crash that takes all that is not synced brings none back.
    let store = Arc::new(store.crash(usize::MAX));
    let path = start(&store, &[(&picky, None)]).await;
    assert_eq!(path.redrive(&Selection::default()).await.unwrap().redriven, 0);
    assert!(path.dead_letters(&Selection::default(), all).await.unwrap().is_empty());
    path.stop(Duration::from_secs(5)).await.unwrap();
}

/// A time, so that a transform can make an attribute `time` of this type, and of `bad` it cannot.
const GOOD: &str = "2026-01-15T06:30:17Z";

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_transformed_is_a_dead_letter_and_the_lane_goes_on() {
    let store = Arc::new(MemoryStore::new());
    let sink = sink("a");
    let mut topology = topology(&[(&sink, None)]);
    let set = serde_json::json!({"attributes": {"time": "<$.type>"}, "data": {"was": "<$.data.n>"}});
    topology.routes[0].transform = Some(router_core::transform::Spec::Set(set));
    // With the breaker open, what cannot be transformed comes up as the probe, too.
    sink.down.store(true, Ordering::SeqCst);
    let path = Path::start(store.clone() as Arc<dyn Store>, topology, Arc::new(SystemClock::new())).await.unwrap();
    publish(&path, 0, 60, |n| if n % 3 == 0 { "bad" } else { GOOD }).await;
    until("a call", || sink.calls.load(Ordering::SeqCst) > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    sink.down.store(false, Ordering::SeqCst);
    settled(&path).await;
    assert_eq!(count(&sink), 40);
    assert!(
        sink.got.lock().unwrap().keys().all(|id| id.parse::<usize>().unwrap() % 3 != 0),
        "the target never saw them"
    );
    let page = Page { after: None, count_max: 100 };
    let letters = path.dead_letters(&Selection::default(), page).await.unwrap();
    assert_eq!(letters.len(), 20);
    assert!(letters.iter().all(|l| &*l.reason == "transform-invalid" && l.note.contains("time")), "{:?}", letters[0]);
    path.stop(Duration::from_secs(10)).await.unwrap();
}
