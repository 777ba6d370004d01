//! Replays over the path, on both stores. Goal: each event of the range reaches each of its routes under the run's
//! own id, and the live flow is what it was without them.

use std::num::NonZeroU32;

use router_core::{
    id::{LaneId, Offset, RunId},
    path::{Asked, Budgets, Place, Refused},
    replay::{RangeError, RunEnd, RunState},
    retain::{DiskBudget, Retention},
    stats::RunStatus,
};
use router_store::{
    disk::Inspected,
    recover,
    store::{DiskStore, Options},
};
use tempfile::TempDir;

use super::*;

fn asked(routes: &[&Arc<Sink>], from: u64, to: Option<u64>) -> Asked {
    Asked {
        bus: BusName::new("default").unwrap(),
        from: Place::Offset(Offset(from)),
        to: to.map(|to| Place::Offset(Offset(to))),
        filter: None,
        routes: routes.iter().map(|s| RouteName::new(s.name).unwrap()).collect(),
        rate: None,
        replies: Default::default(),
    }
}

async fn start_on(store: &Arc<dyn Store>, topology: Topology) -> Path {
    Path::start(store.clone(), topology, Arc::new(SystemClock::new())).await.unwrap()
}

/// How often each event came in a run, by the event's number.
fn came(sink: &Sink, run: u32) -> BTreeMap<u64, usize> {
    let got = sink.got.lock().unwrap();
    let times = |d: &[(DeliveryId, u32)]| d.iter().filter(|(id, _)| id.lane.run == RunId(run)).count();
    got.iter().map(|(id, d)| (id.parse().unwrap(), times(d))).filter(|(_, times)| *times > 0).collect()
}

async fn run(path: &Path, id: RunId) -> RunStatus {
    path.replays().await.unwrap().into_iter().find(|r| r.run.id == id).unwrap()
}

async fn run_until(path: &Path, id: RunId, what: &str, done: impl Fn(&RunStatus) -> bool) -> RunStatus {
    for _ in 0..1_500 {
        let now = run(path, id).await;
        if done(&now) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about in 15 s: {:#?}", path.status().await.unwrap());
}

async fn run_over(path: &Path, id: RunId) -> RunStatus {
    run_until(path, id, "the end of the replay", |r| r.run.state.is_over()).await
}

/// Its deliveries add up: each was opened, and is delivered, parked, ended or owed.
fn adds_up(now: &RunStatus) {
    for (route, lane) in now.run.routes.iter().zip(&now.lanes) {
        let c = route.counts;
        assert_eq!(c.matched, c.delivered + c.dead_lettered + c.ended + lane.waiting, "{now:#?}");
    }
}

fn parity(n: usize) -> &'static str {
    if n % 2 == 1 { "odd" } else { "even" }
}

async fn on_both<F: Future<Output = ()>>(test: impl Fn(Arc<dyn Store>) -> F) {
    test(Arc::new(MemoryStore::new())).await;
    let dir = TempDir::new().unwrap();
    test(Arc::new(DiskStore::open(dir.path(), Options::default()).await.unwrap())).await;
}

/// And the other route sees nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn replay_reaches_the_routes_asked_for_beside_the_live_flow() {
    on_both(async |store| {
        let (all, odd) = (sink("all"), sink("odd"));
        let path = start_on(&store, topology(&[(&all, None), (&odd, Some("odd"))])).await;
        publish(&path, 0, 3_000, parity).await;
        // Offset 1 is event 0.
        let dry = path.replay_dry(&asked(&[&odd], 501, Some(2_501))).await.unwrap();
        assert_eq!((dry.read, dry.skipped, dry.routes[0].1), (2_000, 1_000, 1_000));
        assert_eq!(path.replays().await.unwrap().len(), 0, "a dry run starts nothing");
        let started = path.replay(&asked(&[&odd], 501, Some(2_501))).await.unwrap();
        assert_eq!((started.id, started.span.from, started.span.to), (RunId(1), Offset(501), Offset(2_501)));
        publish(&path, 3_000, 4_000, parity).await;
        let over = run_over(&path, RunId(1)).await;
        assert_eq!(over.run.state, RunState::Ended(RunEnd::Done));
        assert_eq!((over.run.read, over.run.skipped, over.run.routes[0].counts.delivered), (2_000, 1_000, 1_000));
        adds_up(&over);
        settled(&path).await;
        let expected: BTreeMap<u64, usize> = (500..2_500).filter(|n| n % 2 == 1).map(|n| (n, 1)).collect();
        assert_eq!(came(&odd, 1), expected);
        assert_eq!(came(&all, 1), BTreeMap::new());
        assert_eq!((came(&all, 0).len(), came(&odd, 0).len()), (4_000, 2_000));
        let status = path.status().await.unwrap();
        let odd_now = status.routes.iter().find(|r| r.name.as_str() == "odd").unwrap();
        assert_eq!((odd_now.matched, odd_now.delivered), (2_000, 2_000), "the live figures are the live flow's");
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

/// In the middle: paused and going on, and what was in flight comes again under its id.
#[tokio::test(flavor = "multi_thread")]
async fn replay_goes_on_after_a_restart() {
    on_both(async |store| {
        let all = sink("all");
        let topology = || topology(&[(&all, None)]);
        let path = start_on(&store, topology()).await;
        publish(&path, 0, 2_000, parity).await;
        settled(&path).await;
        let slow = Asked { rate: NonZeroU32::new(1_000), ..asked(&[&all], 1, None) };
        let id = path.replay(&slow).await.unwrap().id;
        run_until(&path, id, "some of it", |r| r.run.routes[0].counts.delivered > 100).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
        let path = start_on(&store, topology()).await;
        let before = run(&path, id).await;
        assert!(before.run.next < before.run.to, "it was stopped in the middle: {before:?}");
        path.pause_replay(id).await.unwrap();
        let paused = run(&path, id).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
        let path = start_on(&store, topology()).await;
        let still = run(&path, id).await;
        assert_eq!((still.run.state, still.run.next), (RunState::Paused, paused.run.next));
        path.resume_replay(id).await.unwrap();
        let over = run_over(&path, id).await;
        adds_up(&over);
        assert_eq!((over.run.read, over.run.routes[0].counts.delivered), (2_000, 2_000));
        let came = came(&all, 1);
        assert_eq!(came.len(), 2_000);
        one_id_each_run(&all);
        let next = path.replay(&asked(&[&all], 1, Some(2))).await.unwrap().id;
        assert_eq!(next, RunId(2), "no number is given twice");
        run_over(&path, next).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

fn one_id_each_run(sink: &Sink) {
    for (event, deliveries) in sink.got.lock().unwrap().iter() {
        let ids: BTreeMap<RunId, Vec<DeliveryId>> = deliveries.iter().fold(BTreeMap::new(), |mut ids, (id, _)| {
            ids.entry(id.lane.run).or_insert_with(Vec::new).push(*id);
            ids
        });
        assert!(ids.values().all(|of| of.iter().all(|id| *id == of[0])), "{event}: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_replay_ends_what_is_open_and_lets_its_range_go() {
    on_both(async |store| {
        let (all, down) = (sink("all"), sink("down"));
        let topology = || topology(&[(&all, None), (&down, Some("none"))]);
        let path = start_on(&store, topology()).await;
        publish(&path, 0, 3_000, |_| "none").await;
        settled(&path).await;
        down.down.store(true, Ordering::SeqCst);
        let id = path.replay(&asked(&[&all, &down], 1, None)).await.unwrap().id;
        let stuck = run_until(&path, id, "a backlog", |r| r.waits.is_some() && r.lanes[1].waiting > 0).await;
        assert!(stuck.lanes[1].waiting < 2_000, "it opens no more than drains: {stuck:#?}");
        assert!(stuck.held_bytes > 0);
        path.cancel_replay(id).await.unwrap();
        let over = run_over(&path, id).await;
        adds_up(&over);
        assert!(over.run.routes[1].counts.ended > 0 && over.held_bytes == 0, "{over:#?}");
        assert!(matches!(path.cancel_replay(id).await, Err(Refused::State { .. })));
        assert!(matches!(path.pause_replay(RunId(9)).await, Err(Refused::Unknown(_))));
        path.stop(Duration::from_secs(5)).await.unwrap();
        let counts = store.ledger().count().await.unwrap();
        assert!(counts.is_empty(), "nothing is owed: {counts:?}");
        assert!(!store.ledger().needed(router_core::id::BusId(0), Offset(0)..Offset(9_999)).await.unwrap().held);
    })
    .await;
}

/// The breaker of the live flow stays closed, whatever a replay meets; and nothing live was owed to open it.
#[tokio::test(flavor = "multi_thread")]
async fn replay_to_a_dead_target_leaves_the_live_breaker_alone() {
    let (store, all) = (Arc::new(MemoryStore::new()), sink("all"));
    let path = start(&store, &[(&all, None)]).await;
    publish(&path, 0, 500, parity).await;
    settled(&path).await;
    all.down.store(true, Ordering::SeqCst);
    let id = path.replay(&asked(&[&all], 1, None)).await.unwrap().id;
    let calls = all.calls.load(Ordering::SeqCst);
    run_until(&path, id, "its wait", |r| r.waits.is_some()).await;
    until("a probe of its own", || all.calls.load(Ordering::SeqCst) > calls + 3).await;
    let status = path.status().await.unwrap();
    assert_eq!(status.targets[0].breaker, router_core::stats::BreakerState::Closed, "{status:#?}");
    assert_eq!(status.routes[0].state, router_core::stats::LaneStateName::Active);
    assert!(all.calls.load(Ordering::SeqCst) < calls + 200, "it does not hammer a target that is down");
    all.down.store(false, Ordering::SeqCst);
    assert_eq!(run_over(&path, id).await.run.routes[0].counts.delivered, 500);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

/// A live delivery opened it: the replay waits until a live one closes it.
#[tokio::test(flavor = "multi_thread")]
async fn replay_waits_while_the_live_breaker_is_open() {
    let (store, all) = (Arc::new(MemoryStore::new()), sink("all"));
    let path = start(&store, &[(&all, None)]).await;
    publish(&path, 0, 500, parity).await;
    settled(&path).await;
    all.down.store(true, Ordering::SeqCst);
    publish(&path, 500, 501, parity).await;
    until("a try", || all.calls.load(Ordering::SeqCst) > 500).await;
    for _ in 0..1_500 {
        if path.status().await.unwrap().targets[0].breaker != router_core::stats::BreakerState::Closed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = path.replay(&asked(&[&all], 1, Some(501))).await.unwrap().id;
    run_until(&path, id, "its wait", |r| r.waits.is_some()).await;
    assert_eq!(run(&path, id).await.run.read, 0);
    all.down.store(false, Ordering::SeqCst);
    run_over(&path, id).await;
    assert_eq!(came(&all, 1).len(), 500);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

/// What retention would let go stays until the replay has read it; then it goes.
#[tokio::test(flavor = "multi_thread")]
async fn paused_replay_holds_its_range_from_trimming() {
    let (store, all) = (MemoryStore::new().segment_bytes(16 << 10), sink("all"));
    let mut topology = topology(&[(&all, None)]);
    topology.buses[0].retention = Retention { age_max: None, bytes_max: Some(64 << 10) };
    topology.budgets = Budgets { sweep_every: Duration::from_millis(10), ..Budgets::default() };
    let path = Path::start(Arc::new(store.clone()), topology, Arc::new(SystemClock::new())).await.unwrap();
    publish(&path, 0, 300, parity).await;
    let slow = Asked { rate: NonZeroU32::new(300), ..asked(&[&all], 1, Some(301)) };
    let id = path.replay(&slow).await.unwrap().id;
    path.pause_replay(id).await.unwrap();
    publish(&path, 300, 3_000, parity).await;
    settled(&path).await;
    let next = run(&path, id).await.run.next;
    let status = path.status().await.unwrap();
    assert!(status.buses[0].first <= next, "what it has yet to read is kept: {status:#?}");
    assert!(status.replays[0].held_bytes > 0);
    path.resume_replay(id).await.unwrap();
    let over = run_over(&path, id).await;
    assert_eq!(over.run.routes[0].counts.delivered, 300);
    let log = store.log(&BusName::new("default").unwrap()).await.unwrap();
    until("the trim", || log.bounds().0 > Offset(301)).await;
    let gone = path.replay(&asked(&[&all], 1, None)).await.unwrap_err();
    assert!(matches!(gone, Refused::Range(RangeError::Trimmed { .. })), "{gone}");
    let by_time = Asked { from: Place::Time(Default::default()), ..asked(&[&all], 1, None) };
    let started = path.replay(&by_time).await.unwrap();
    assert!(started.span.clamped && started.span.from > Offset(301));
    run_over(&path, started.id).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

/// Before intake refuses or a backlog gives way.
#[tokio::test(flavor = "multi_thread")]
async fn replay_ends_when_its_range_is_what_fills_the_disk() {
    let (store, all) = (MemoryStore::new().segment_bytes(16 << 10), sink("all"));
    let mut topology = topology(&[(&all, None)]);
    topology.budgets = Budgets {
        disk: DiskBudget { bytes_max: Some(256 << 10), free_min: 0 },
        sweep_every: Duration::from_millis(10),
        ..Budgets::default()
    };
    let path = Path::start(Arc::new(store.clone()), topology, Arc::new(SystemClock::new())).await.unwrap();
    publish(&path, 0, 300, parity).await;
    let slow = Asked { rate: NonZeroU32::new(300), ..asked(&[&all], 1, Some(301)) };
    let id = path.replay(&slow).await.unwrap().id;
    path.pause_replay(id).await.unwrap();
    let intake = path.intake(&BusName::new("default").unwrap()).unwrap();
    let source = SourceName::new("test").unwrap();
    for n in 300..20_000usize {
        let event = Event::builder(&n.to_string(), "/t", "t").data(Form::Json, format!("{{\"n\":{n}}}")).build();
        // Senders that are told to come back come back.
        intake.submit(&source, vec![event.unwrap().into()]).await.unwrap();
        if n % 100 == 0 && run(&path, id).await.run.state.is_over() {
            break;
        }
    }
    let over = run_over(&path, id).await;
    assert_eq!(over.run.state, RunState::Ended(RunEnd::NoSpace));
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

/// A replay of a hundred events, every tenth of which is refused now; it is over.
async fn replay_with_dead_letters(store: &Arc<MemoryStore>, all: &Arc<Sink>) -> (Path, RunStatus) {
    let path = start(store, &[(all, None)]).await;
    publish(&path, 0, 100, |n| if n % 10 == 0 { "bad" } else { "good" }).await;
    settled(&path).await;
    all.refuse.store(true, Ordering::SeqCst);
    let id = path.replay(&asked(&[all], 1, None)).await.unwrap().id;
    let over = run_over(&path, id).await;
    (path, over)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_replay_carry_its_run_and_are_redriven_under_it() {
    let (store, all) = (Arc::new(MemoryStore::new()), sink("all"));
    let (path, over) = replay_with_dead_letters(&store, &all).await;
    let id = over.run.id;
    adds_up(&over);
    assert_eq!((over.run.routes[0].counts.delivered, over.run.routes[0].counts.dead_lettered), (90, 10));
    let letters = path.dead_letters(&Selection::default(), Page { after: None, count_max: 99 }).await.unwrap();
    assert!(letters.len() == 10 && letters.iter().all(|l| l.id.lane.run == id), "{letters:?}");
    assert_eq!(path.status().await.unwrap().routes[0].dead_letters, 10, "the route shows them");
    all.refuse.store(false, Ordering::SeqCst);
    path.redrive(&Selection::default()).await.unwrap();
    until("the redriven ones", || came(&all, 1).len() == 100).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    assert!(store.ledger().count().await.unwrap().is_empty());
}

/// `gocoffee recover` ends them with their record: they are not counted a second time.
#[tokio::test(flavor = "multi_thread")]
async fn redriven_deliveries_of_a_replay_that_is_over_are_given_up_and_it_still_adds_up() {
    let (store, all) = (Arc::new(MemoryStore::new()), sink("all"));
    let (path, over) = replay_with_dead_letters(&store, &all).await;
    path.pause(&RouteName::new("all").unwrap()).await.unwrap().unwrap();
    path.redrive(&Selection::default()).await.unwrap();
    path.stop(Duration::from_secs(5)).await.unwrap();

    let ledger = store.ledger();
    let lane = LaneId { run: over.run.id, ..ledger.count().await.unwrap()[0].lane };
    let owed = ledger.ready(lane, Offset(0), 100).await.unwrap();
    assert_eq!(owed.len(), 10);
    let nothing = Inspected { first: Offset(1), tail: Offset(1), held: Vec::new(), damages: Vec::new() };
    recover::give_up(&*ledger, lane.bus, &nothing, owed).await.unwrap();
    let counts = ledger.state().await.unwrap().runs[0].routes[0].counts;
    assert_eq!((counts.matched, counts.delivered, counts.dead_lettered), (100, 90, 10));
    assert!(ledger.ready(lane, Offset(0), 100).await.unwrap().is_empty());
}

/// It waits for a route that is not there any more, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn replay_waits_for_a_route_that_was_removed() {
    let (store, all, odd) = (Arc::new(MemoryStore::new()), sink("all"), sink("odd"));
    let path = start(&store, &[(&all, None), (&odd, Some("odd"))]).await;
    publish(&path, 0, 100, parity).await;
    settled(&path).await;
    let unknown = path.replay(&Asked { routes: vec![RouteName::new("nobody").unwrap()], ..asked(&[], 1, None) }).await;
    let unknown = unknown.unwrap_err().to_string();
    assert_eq!(unknown, "route nobody is not configured on bus default; routes of it: all, odd");
    let id = path.replay(&Asked { rate: NonZeroU32::MIN.into(), ..asked(&[&odd], 1, None) }).await.unwrap().id;
    path.stop(Duration::from_secs(5)).await.unwrap();
    let path = start(&store, &[(&all, None)]).await;
    let waits = run(&path, id).await.waits.unwrap();
    assert!(waits.contains("route odd is not configured any more"), "{waits}");
    path.stop(Duration::from_secs(5)).await.unwrap();
    let path = start(&store, &[(&all, None), (&odd, Some("nothing"))]).await;
    path.cancel_replay(id).await.unwrap();
    let id = path.replay(&asked(&[&odd], 1, None)).await.unwrap().id;
    let over = run_over(&path, id).await;
    assert_eq!((over.run.read, over.run.skipped), (100, 100), "the filter is the one that it has now");
    path.stop(Duration::from_secs(5)).await.unwrap();
}
