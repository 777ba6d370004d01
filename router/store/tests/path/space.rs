//! The path with budgets: what is old or too much goes, what is owed or dead-lettered keeps its bytes, and
//! intake refuses before there is no space. Goal: nothing that is owed is lost, and nobody has to mend anything.

use std::collections::BTreeSet;

use router_core::{
    path::Budgets,
    retain::{BacklogLimits, DiskBudget, LetterLimits, Level, Retention, Then},
    source::{Kind, Rejection},
    stats::Status,
    store::{Log, SegmentKind},
};

use super::*;

/// A route to a sink, what it wants, and how much it may be owed.
type Way<'a> = (&'a Arc<Sink>, Option<&'a str>, BacklogLimits);

fn ways<'a>(ways: &[Way<'a>]) -> Topology {
    let sinks: Vec<_> = ways.iter().map(|(s, kind, _)| (*s, *kind)).collect();
    let mut topology = topology(&sinks);
    for (route, (_, _, backlog)) in topology.routes.iter_mut().zip(ways) {
        route.backlog = *backlog;
    }
    topology.budgets = Budgets { sweep_every: Duration::from_millis(20), ..Budgets::default() };
    topology
}

async fn start_as(store: &MemoryStore, topology: Topology) -> Path {
    Path::start(Arc::new(store.clone()), topology, Arc::new(SystemClock::new())).await.unwrap()
}

fn free() -> BacklogLimits {
    BacklogLimits::default()
}

/// Publishes one event; an answer that is no rejection is an offset.
async fn try_one(path: &Path, n: usize) -> Result<Accepted, Rejection> {
    let intake = path.intake(&BusName::new("default").unwrap()).unwrap();
    let event = Event::builder(&n.to_string(), "/t", "t").data(Form::Json, format!("{{\"n\":{n}}}")).build().unwrap();
    intake.submit(&SourceName::new("test").unwrap(), vec![event.into()]).await.unwrap().remove(0)
}

/// Publishes one event after the other until one is refused; how many were taken, and the refusal.
async fn fill(path: &Path, from: usize) -> (usize, Rejection) {
    for n in from..from + 200_000 {
        if let Err(refusal) = try_one(path, n).await {
            return (n, refusal);
        }
    }
    panic!("nothing is ever refused: {:?}", path.status().await.unwrap().disk);
}

/// Waits until the event is taken in.
async fn taken(path: &Path, n: usize) {
    for _ in 0..1_500 {
        if try_one(path, n).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still refused: {:?}", path.status().await.unwrap());
}

async fn status(path: &Path, what: &str, done: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..1_500 {
        let status = path.status().await.unwrap();
        if done(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about in 15 s: {:#?}", path.status().await.unwrap());
}

async fn letters(path: &Path) -> Vec<router_core::store::DeadLetter> {
    path.dead_letters(&Selection::default(), Page { after: None, count_max: 100_000 }).await.unwrap()
}

async fn log(store: &MemoryStore) -> Arc<dyn Log> {
    store.log(&BusName::new("default").unwrap()).await.unwrap()
}

fn remnants(log: &dyn Log) -> usize {
    log.segments().iter().filter(|s| s.kind == SegmentKind::Remnant).count()
}

/// Every tenth event is stuck, every tenth is refused.
fn kind(n: usize) -> &'static str {
    match n % 10 {
        0 => "stuck",
        5 => "bad",
        _ => "t",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_lets_settled_events_go_and_keeps_what_is_owed_or_dead() {
    let store = MemoryStore::new().segment_bytes(16 << 10);
    let (all, down, picky) = (sink("all"), sink("down"), sink("picky"));
    down.down.store(true, Ordering::SeqCst);
    picky.refuse.store(true, Ordering::SeqCst);
    let all_ways = [(&all, None, free()), (&down, Some("stuck"), free()), (&picky, Some("bad"), free())];
    let with = |bytes_max| {
        let mut topology = ways(&all_ways);
        topology.buses[0].retention = Retention { age_max: None, bytes_max: Some(bytes_max) };
        topology
    };
    let path = start_as(&store, with(32 << 10)).await;
    publish(&path, 0, 5_000, kind).await;
    let kept = log(&store).await;
    let live = || -> u64 {
        let live = kept.segments().into_iter().filter(|s| s.kind != SegmentKind::Remnant);
        live.map(|s| s.bytes).sum()
    };
    until("settled events go", || live() <= 48 << 10 && kept.bounds().0.0 > 3_000).await;
    assert!(remnants(&*kept) > 0, "{:?}", kept.segments());
    status(&path, "all are refused", |s| s.routes.iter().any(|r| r.dead_letters == 500)).await;
    for letter in letters(&path).await {
        let record = path.record(&letter.id).await.unwrap().expect("the payload of a dead letter is kept");
        assert_eq!(record.event.kind(), "bad");
    }
    // A power loss takes what was not synced: what is owed then is in the remnants all the same.
    let store = store.crash(usize::MAX);
    let path = start_as(&store, with(32 << 10)).await;
    publish(&path, 5_000, 5_100, kind).await;
    down.down.store(false, Ordering::SeqCst);
    picky.refuse.store(false, Ordering::SeqCst);
    status(&path, "the rest is refused", |s| s.routes.iter().all(|r| r.lag_events == 0)).await;
    path.redrive(&Selection::default()).await.unwrap();
    until("all that was stuck or refused", || count(&down) == 510 && count(&picky) == 510).await;
    for sink in [&all, &down, &picky] {
        assert_eq!(sink.wrong.load(Ordering::SeqCst), 0, "{}: the bytes are those that were sent", sink.name);
    }
    settled(&path).await;
    let kept = log(&store).await;
    until("remnants that nothing needs go", || remnants(&*kept) == 0).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_bus_lets_go_what_is_older_than_its_age() {
    let store = MemoryStore::new();
    let all = sink("all");
    let mut topology = ways(&[(&all, None, free())]);
    topology.buses[0].retention = Retention { age_max: Some(Duration::from_millis(300)), bytes_max: None };
    let path = start_as(&store, topology).await;
    publish(&path, 0, 100, |_| "t").await;
    let kept = log(&store).await;
    until("all of it goes", || kept.bounds().0 == kept.bounds().1).await;
    assert_eq!(count(&all), 100, "nothing goes before it is settled");
    taken(&path, 1).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_past_its_bytes_gives_its_oldest() {
    let store = MemoryStore::new();
    let (down, up) = (sink("down"), sink("up"));
    down.down.store(true, Ordering::SeqCst);
    let backlog = BacklogLimits { bytes_max: Some(200_000), ..free() };
    let path = start_as(&store, ways(&[(&down, None, backlog), (&up, None, free())])).await;
    publish(&path, 0, 8_000, |_| "t").await;
    until("the other target is not held up", || count(&up) == 8_000).await;
    let now = status(&path, "the backlog is within its limit", |s| {
        let down = s.routes.iter().find(|r| r.name.as_str() == "down").unwrap();
        down.matched == 8_000 && down.waiting_bytes <= 200_000 && down.waiting + down.dead_letters == 8_000
    });
    let now = now.await;
    let down_now = now.routes.iter().find(|r| r.name.as_str() == "down").unwrap();
    assert!(down_now.waiting_bytes > 150_000, "no more than must is given: {down_now:?}");
    let dead = letters(&path).await;
    assert!(dead.iter().all(|d| &*d.reason == "backlog-bytes"), "{:?}", dead.first());
    down.down.store(false, Ordering::SeqCst);
    until("the rest", || count(&down) + dead.len() == 8_000).await;
    let delivered: BTreeSet<usize> = down.got.lock().unwrap().keys().map(|k| k.parse().unwrap()).collect();
    // One that was in flight stays owed, whatever its age.
    let oldest = delivered.iter().filter(|n| **n < dead.len()).count();
    assert!(oldest <= 64, "{oldest} of the oldest {} were delivered", dead.len());
    path.redrive(&Selection::default()).await.unwrap();
    until("the redriven", || count(&down) == 8_000).await;
    assert_eq!(down.wrong.load(Ordering::SeqCst), 0);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_that_holds_stops_its_bus_until_it_has_drained() {
    let store = MemoryStore::new();
    let down = sink("down");
    down.down.store(true, Ordering::SeqCst);
    let backlog = BacklogLimits { bytes_max: Some(20_000), then: Then::Hold, age_max: None };
    let path = start_as(&store, ways(&[(&down, None, backlog)])).await;
    let (n, refusal) = fill(&path, 0).await;
    assert_eq!(refusal.code.0, "backlog-full", "{refusal}");
    assert!(matches!(refusal.kind, Kind::Busy { .. }) && refusal.message.contains("route down"), "{refusal}");
    let now = path.status().await.unwrap();
    assert!(now.buses[0].refuses.as_ref().is_some_and(|why| why.contains("down")), "{:?}", now.buses);
    assert_eq!((now.routes[0].dead_letters, path.refusals().len()), (0, 1), "nothing is given up");
    down.down.store(false, Ordering::SeqCst);
    taken(&path, n).await;
    until("everything that was taken", || count(&down) == n + 1).await;
    assert!(path.refusals().is_empty());
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_deliveries_end_behind_an_open_breaker_in_memory_and_in_the_ledger() {
    let store = MemoryStore::new();
    let down = sink("down");
    down.down.store(true, Ordering::SeqCst);
    let backlog = BacklogLimits { age_max: Some(Duration::from_millis(700)), ..free() };
    let path = start_as(&store, ways(&[(&down, None, backlog)])).await;
    publish(&path, 0, 5_000, |_| "t").await;
    assert_eq!(path.status().await.unwrap().routes[0].dead_letters, 0, "they are young");
    status(&path, "all are dead letters", |s| s.routes[0].dead_letters == 5_000 && s.routes[0].waiting == 0).await;
    let dead = letters(&path).await;
    let untried = dead.iter().filter(|d| d.attempts.count == 0).count();
    assert!(untried > 4_000, "most were never tried: {untried}");
    assert!(dead.iter().all(|d| &*d.reason == "backlog-age"), "{:?}", dead.first());
    down.down.store(false, Ordering::SeqCst);
    path.redrive(&Selection::default()).await.unwrap();
    status(&path, "each has an end", |s| s.routes[0].waiting == 0).await;
    let left = path.status().await.unwrap().routes[0].dead_letters;
    assert_eq!(count(&down) as u64 + left, 5_000, "a redriven one has a new age");
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ends_by_age_before_its_target_was_tried() {
    let store = MemoryStore::new();
    let down = sink("down");
    down.down.store(true, Ordering::SeqCst);
    let with = |age| ways(&[(&down, None, BacklogLimits { age_max: Some(age), ..free() })]);
    let path = start_as(&store, with(Duration::from_secs(3600))).await;
    publish(&path, 0, 3_000, |_| "t").await;
    status(&path, "all planned", |s| s.routes[0].matched == 3_000).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop(path);
    down.down.store(false, Ordering::SeqCst);
    // Old by now, and the target works: the first call shows it, and only then does age count.
    let path = start_as(&store, with(Duration::from_millis(1))).await;
    status(&path, "each has an end", |s| s.routes[0].waiting == 0).await;
    assert!(count(&down) > 0, "something was tried first");
    let ended = path.status().await.unwrap().routes[0].dead_letters;
    assert_eq!(count(&down) as u64 + ended, 3_000);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_end_by_age_and_the_oldest_by_bytes() {
    let store = MemoryStore::new();
    let picky = sink("picky");
    picky.refuse.store(true, Ordering::SeqCst);
    let with = |letters| {
        let mut topology = ways(&[(&picky, None, free())]);
        topology.budgets.dead_letters = letters;
        topology
    };
    let path = start_as(&store, with(LetterLimits::default())).await;
    for n in 0..20 {
        publish(&path, n * 100, (n + 1) * 100, |_| "bad").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    status(&path, "all are refused", |s| s.routes[0].dead_letters == 2_000).await;
    let mut dead = letters(&path).await;
    dead.sort_by_key(|d| d.at);
    let bytes: u64 = dead.iter().map(|d| u64::from(d.bytes)).sum();
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop(path);

    let path = start_as(&store, with(LetterLimits { bytes_max: Some(bytes / 2), age_max: None })).await;
    let half = |s: &Status| s.routes[0].dead_letters < 1_200;
    status(&path, "the older half ends", half).await;
    let left = letters(&path).await;
    let left_bytes: u64 = left.iter().map(|d| u64::from(d.bytes)).sum();
    assert!((bytes / 2 - 200..=bytes / 2).contains(&left_bytes), "{left_bytes} of {bytes} bytes are left");
    let oldest = left.iter().map(|d| d.at).min().unwrap();
    assert!(oldest >= dead[900].at, "the newest are left");
    let ended = |path: &Path| path.stats().route(&RouteName::new("picky").unwrap()).letters_ended();
    assert_eq!(ended(&path), BTreeMap::from([("dead-letters-bytes", 2_000 - left.len() as u64)]));
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop(path);

    let path = start_as(&store, with(LetterLimits { age_max: Some(Duration::from_millis(1)), bytes_max: None })).await;
    status(&path, "all are too old", |s| s.routes.iter().all(|r| r.dead_letters == 0)).await;
    assert_eq!(ended(&path), BTreeMap::from([("dead-letters-age", left.len() as u64)]));
    assert!(letters(&path).await.is_empty());
    path.stop(Duration::from_secs(5)).await.unwrap();
}

fn small(topology: Topology, letters: LetterLimits) -> Topology {
    let disk = DiskBudget { bytes_max: Some(1 << 20), free_min: 0 };
    Topology { budgets: Budgets { disk, dead_letters: letters, ..topology.budgets }, ..topology }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_refuses_by_name_and_mends_itself_when_the_target_is_back() {
    let store = MemoryStore::new().segment_bytes(64 << 10);
    let (down, up) = (sink("down"), sink("up"));
    down.down.store(true, Ordering::SeqCst);
    let topology = small(ways(&[(&down, None, free()), (&up, None, free())]), LetterLimits::default());
    let path = start_as(&store, topology).await;
    let (mut n, mut refusal) = fill(&path, 0).await;
    // The first refusal may come before the sweeper has said who holds the most.
    for _ in 0..1_500 {
        if refusal.message.contains("route down") {
            break;
        }
        (n, refusal) = fill(&path, n).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(refusal.code.0, "disk-full", "{refusal}");
    assert!(refusal.message.contains("route down is owed most of it"), "{refusal}");
    let now = path.status().await.unwrap();
    assert_eq!(now.disk.level, Level::Full);
    // Entries of what was taken in come to the ledger after the last append; a budget that `check` takes has room for them.
    assert!(now.disk.used_bytes <= (1 << 20) + (256 << 10), "refused before the budget is spent: {:?}", now.disk);
    assert!(now.routes.iter().all(|r| r.dead_letters == 0), "nothing is given up: {:?}", now.routes);
    down.down.store(false, Ordering::SeqCst);
    taken(&path, n).await;
    settled(&path).await;
    assert_eq!((count(&down), count(&up)), (n + 1, n + 1));
    assert_eq!(down.wrong.load(Ordering::SeqCst), 0);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_turns_the_largest_backlog_into_dead_letters_where_these_have_a_limit() {
    let store = MemoryStore::new().segment_bytes(64 << 10);
    let (down, held) = (sink("down"), sink("held"));
    down.down.store(true, Ordering::SeqCst);
    held.down.store(true, Ordering::SeqCst);
    let hold = BacklogLimits { bytes_max: Some(1 << 30), then: Then::Hold, age_max: None };
    let letters_max = LetterLimits { bytes_max: Some(50_000), age_max: None };
    let path = start_as(&store, small(ways(&[(&down, None, free()), (&held, Some("stuck"), hold)]), letters_max)).await;
    // Far more than fits: what comes in makes the oldest of the backlog go, and dead letters after them.
    let mut n = 0;
    while n < 30_000 {
        match try_one(&path, n).await {
            Ok(_) => n += 1,
            Err(refusal) => {
                assert_eq!(refusal.code.0, "disk-full", "{refusal}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
    let now = path.status().await.unwrap();
    assert!(path.stats().disk.conversions.get() > 0);
    let ended = path.stats().route(&RouteName::new("down").unwrap()).letters_ended();
    assert!(ended.get("dead-letters-bytes").is_some_and(|n| *n > 0), "{ended:?}: {:#?}", now.disk);
    let dead = letters(&path).await;
    assert!(dead.iter().all(|d| &*d.reason == "no-space" && d.route.as_str() == "down"), "{:?}", dead.first());
    down.down.store(false, Ordering::SeqCst);
    held.down.store(false, Ordering::SeqCst);
    settled(&path).await;
    let (ended, left) = (ended_of(&path), letters(&path).await.len());
    assert_eq!(count(&down) + left + ended, 30_000, "each is delivered, dead, or ended by the limit");
    path.stop(Duration::from_secs(5)).await.unwrap();
}

fn ended_of(path: &Path) -> usize {
    let ended = path.stats().route(&RouteName::new("down").unwrap()).letters_ended();
    usize::try_from(ended.values().sum::<u64>()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dead_targets_leave_memory_to_the_one_that_works() {
    const DOWN: usize = 30;
    let names: Vec<&'static str> = (0..DOWN).map(|n| &*Box::leak(format!("down-{n}").into_boxed_str())).collect();
    let store = MemoryStore::new();
    let downs: Vec<Arc<Sink>> = names.into_iter().map(sink).collect();
    let up = sink("up");
    downs.iter().for_each(|s| s.down.store(true, Ordering::SeqCst));
    let mut all: Vec<Way<'_>> = downs.iter().map(|s| (s, None, free())).collect();
    all.push((&up, None, free()));
    let mut topology = ways(&all);
    topology.budgets.waiting_total_max = 2_000;
    let path = start_as(&store, topology).await;
    publish(&path, 0, 3_000, |_| "t").await;
    until("what works", || count(&up) == 3_000).await;
    let memory = |s: &Status| s.routes.iter().map(|r| r.waiting - r.in_ledger).sum::<u64>();
    let full = |s: &Status| s.routes.iter().all(|r| r.lag_events == 0) && memory(s) <= 2_000;
    status(&path, "memory is bounded", full).await;
    downs.iter().for_each(|s| s.down.store(false, Ordering::SeqCst));
    until("all the others", || downs.iter().all(|s| count(s) == 3_000)).await;
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}
