//! With an archive that segments are copied to, on both stores. Goal: nothing settled goes here before its copy is
//! there, whatever the archive does; what went is read from the copies, and what is damaged there is named.

use router_core::{
    id::{Offset, RunId},
    path::{Archiving, Asked, Budgets, Place},
    retain::{DiskBudget, Retention, Uncopied, Why},
    shelf::Shelf,
    stats::RunStatus,
    store::Error,
};
use router_store::{
    disk,
    objects::{Fault, MemoryObjects},
    store::{DiskStore, Options},
};
use tempfile::TempDir;

use super::*;

const SEGMENT: u64 = 32 << 10;

fn bus() -> BusName {
    BusName::new("default").unwrap()
}

fn archiving(objects: &Arc<MemoryObjects>, uncopied: Uncopied) -> Archiving {
    Archiving {
        shelf: Arc::new(Shelf::new(objects.clone())),
        buses: vec![bus()],
        uncopied,
        lag_max: Duration::from_secs(3600),
        age_max: None,
        every: Duration::from_millis(20),
        inline: false,
    }
}

/// Little is kept here, and the sweeper looks often.
fn short(topology: Topology) -> Topology {
    let retention = Retention { bytes_max: Some(2 * SEGMENT), ..Retention::default() };
    let buses = topology.buses.into_iter().map(|bus| BusSpec { retention, ..bus }).collect();
    let budgets = Budgets { sweep_every: Duration::from_millis(20), ..topology.budgets };
    Topology { buses, budgets, ..topology }
}

async fn start_with(store: &Arc<dyn Store>, topology: Topology, archiving: Archiving) -> Path {
    Path::start_with(store.clone(), topology, Some(archiving), Arc::new(SystemClock::new())).await.unwrap()
}

async fn on_both<F: Future<Output = ()>>(test: impl Fn(Arc<dyn Store>) -> F) {
    test(Arc::new(MemoryStore::new().segment_bytes(SEGMENT))).await;
    let dir = TempDir::new().unwrap();
    let log = disk::Options::default().segment_bytes(SEGMENT);
    test(Arc::new(DiskStore::open(dir.path(), Options { log, ..Options::default() }).await.unwrap())).await;
}

fn uncopied(path: &Path) -> u64 {
    path.stats().archive.status().map_or(u64::MAX, |s| s.waiting.values().map(|w| w.segments).sum())
}

/// Everything sealed is copied, and retention has done what it wants.
async fn copied(path: &Path) {
    let ready = || path.stats().archive.status().is_some_and(|s| s.ready && s.failing.is_none());
    until("everything is copied", || ready() && uncopied(path) == 0).await;
}

/// Ids of all events of the archive from `from` on, in order, and the stretches that cannot be read.
async fn read_all(path: &Path, from: Offset) -> (Vec<u64>, Vec<(Offset, Offset)>) {
    let archive = path.archive(&bus()).unwrap();
    let (mut at, tail) = (from, archive.bounds().1);
    let (mut ids, mut lost) = (Vec::new(), Vec::new());
    while at < tail {
        match archive.read(at, 4 << 10).await {
            Ok(chunk) => {
                ids.extend(chunk.records().map(|r| r.unwrap().event.id().parse::<u64>().unwrap()));
                assert!(chunk.next > at, "reading goes on");
                at = chunk.next;
            }
            Err(Error::Lost { from, to, .. }) => {
                assert!(from <= at && to > at);
                lost.push((at, to));
                at = to;
            }
            // Let go between the two looks.
            Err(Error::Trimmed { .. }) if archive.bounds().0 <= at => {}
            Err(e) => panic!("{e}"),
        }
    }
    (ids, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_before_its_copy_is_there_and_all_is_read_through_both() {
    on_both(async |store| {
        let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
        objects.down(true);
        let topology = short(topology(&[(&all, None)]));
        let path = start_with(&store, topology, archiving(&objects, Uncopied::LetGo)).await;
        publish(&path, 0, 3_000, |_| "t").await;
        settled(&path).await;
        let stats = path.stats();
        until("the archive is tried", || stats.archive.failures.get() > 0).await;
        let archive = path.archive(&bus()).unwrap();
        assert!(archive.segments().len() > 6, "retention wishes to let most of it go: {:?}", archive.segments());
        assert_eq!(archive.bounds_here().0, Offset(1), "but nothing has a copy");
        let failing = || stats.archive.status().and_then(|s| s.failing).is_some_and(|why| why.contains("it is down"));
        until("the status says so", || failing() && uncopied(&path) > 4).await;

        objects.down(false);
        copied(&path).await;
        until("retention", || archive.bounds_here().0 > Offset(1_000)).await;
        assert_eq!(archive.bounds().0, Offset(1));
        assert_eq!(read_all(&path, Offset(1)).await, ((0..3_000).collect(), vec![]));
        let reduced: BTreeMap<Why, u64> = stats.disk.all_reduced().collect();
        assert_eq!(reduced[&Why::Uncopied], 0);
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_write_failed_is_written_again() {
    on_both(async |store| {
        let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
        let topology = short(topology(&[(&all, None)]));
        let path = start_with(&store, topology, archiving(&objects, Uncopied::LetGo)).await;
        publish(&path, 0, 500, |_| "t").await;
        copied(&path).await;
        // All that is left to ask of the archive is to take copies.
        objects.faults([Fault::Fails, Fault::None, Fault::Fails, Fault::Fails]);
        publish(&path, 500, 2_000, |_| "t").await;
        settled(&path).await;
        let archive = path.archive(&bus()).unwrap();
        until("retention", || archive.bounds_here().0 > Offset(1_500)).await;
        assert_eq!(read_all(&path, Offset(1)).await, ((0..2_000).collect(), vec![]));
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

/// Starts over in the middle of all, and faults of each kind.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_with_the_archive_everything_is_read_in_the_end() {
    for seed in 0..2u64 {
        on_both(async |store| {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut draw = |n: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) % n
            };
            let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
            let started = |store: Arc<dyn Store>| {
                let (topology, archiving) = (short(topology(&[(&all, None)])), archiving(&objects, Uncopied::LetGo));
                async move { start_with(&store, topology, archiving).await }
            };
            let (mut path, mut n) = (started(store.clone()).await, 0);
            for _ in 0..20 {
                match draw(5) {
                    0 => objects.faults([Fault::Fails, Fault::None, Fault::AnswerLost]),
                    1 => objects.faults([Fault::AnswerLost, Fault::AnswerLost]),
                    2 => {
                        path.stop(Duration::from_secs(5)).await.unwrap();
                        path = started(store.clone()).await;
                    }
                    _ => {
                        publish(&path, n, n + 150, |_| "t").await;
                        n += 150;
                        tokio::time::sleep(Duration::from_millis(draw(30))).await;
                    }
                }
            }
            copied(&path).await;
            let archive = path.archive(&bus()).unwrap();
            assert_eq!(read_all(&path, Offset(1)).await, ((0..n as u64).collect(), vec![]), "seed {seed}");
            let verified = Shelf::new(objects.clone());
            verified.load().await.unwrap();
            let found = verified.verify(&bus()).await.unwrap();
            assert!(found.damages.is_empty() && found.gaps.is_empty() && found.overlaps.is_empty(), "{found:?}");
            drop(archive.clone());
            path.stop(Duration::from_secs(5)).await.unwrap();
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_damaged_or_gone_is_named_and_the_rest_is_read() {
    on_both(async |store| {
        let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
        let topology = short(topology(&[(&all, None)]));
        let path = start_with(&store, topology, archiving(&objects, Uncopied::LetGo)).await;
        publish(&path, 0, 3_000, |_| "t").await;
        settled(&path).await;
        copied(&path).await;
        let archive = path.archive(&bus()).unwrap();
        let gone = || archive.copies().into_iter().filter(|c| c.next <= archive.bounds_here().0);
        until("retention", || gone().count() >= 4).await;
        let copies: Vec<_> = gone().collect();
        assert!(objects.flip(&copies[1].name(&bus()), 40), "within its first block");
        assert!(objects.take(&copies[3].name(&bus())));
        let (ids, lost) = read_all(&path, Offset(1)).await;
        let expected = [(copies[1].first, copies[1].next), (copies[3].first, copies[3].next)];
        assert_eq!(lost, expected);
        let gone = |n: u64| expected.iter().any(|(from, to)| (from.0..to.0).contains(&(n + 1)));
        assert_eq!(ids, (0..3_000).filter(|n| !gone(*n)).collect::<Vec<_>>());
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

async fn overfill(uncopied: Uncopied) -> (Path, Arc<MemoryObjects>, Option<String>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().segment_bytes(SEGMENT));
    let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
    objects.down(true);
    let mut topology = short(topology(&[(&all, None)]));
    topology.budgets.disk = DiskBudget { bytes_max: Some(1 << 20), free_min: 0 };
    let path = start_with(&store, topology, archiving(&objects, uncopied)).await;
    let intake = path.intake(&bus()).unwrap();
    let source = SourceName::new("test").unwrap();
    for n in 0..20_000 {
        let event =
            Event::builder(&n.to_string(), "/t", "t").data(Form::Json, format!("{{\"n\":{n}}}")).build().unwrap();
        let Err(refused) = intake.submit(&source, vec![event.clone().into()]).await.unwrap().remove(0) else {
            continue;
        };
        if uncopied == Uncopied::Hold && refused.message.contains("archive") {
            return (path, objects, Some(refused.message.to_string()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (path, objects, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_lets_go_what_has_no_copy_counted_or_holds_it_as_it_was_told() {
    let (path, _, refused) = overfill(Uncopied::LetGo).await;
    assert_eq!(refused, None);
    let stats = path.stats();
    let went = || stats.disk.all_reduced().find(|(why, _)| *why == Why::Uncopied).map_or(0, |(_, n)| n);
    until("what has no copy goes", || went() > 0).await;
    path.stop(Duration::from_secs(5)).await.unwrap();

    let (path, objects, refused) = overfill(Uncopied::Hold).await;
    assert!(refused.is_some_and(|why| why.contains("when_full: hold")));
    let stats = path.stats();
    assert_eq!(stats.disk.all_reduced().map(|(_, n)| n).sum::<u64>(), 0, "nothing went");
    objects.down(false);
    copied(&path).await;
    until("there is space again", || path.refusals().is_empty()).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_another_store_is_left_alone() {
    let objects = Arc::new(MemoryObjects::new());
    let all = sink("all");
    let mut names = Vec::new();
    for first in [true, false] {
        let store = if first { MemoryStore::new() } else { MemoryStore::with_gaps(7) };
        let store: Arc<dyn Store> = Arc::new(store.segment_bytes(SEGMENT));
        let path = start_with(&store, short(topology(&[(&all, None)])), archiving(&objects, Uncopied::LetGo)).await;
        publish(&path, 0, 2_000, |_| "t").await;
        settled(&path).await;
        if first {
            copied(&path).await;
            names = objects.names();
        } else {
            let stats = path.stats();
            let foreign = |why: &str| why.contains("another data folder") && why.contains("archive.to");
            let refused = || stats.archive.status().and_then(|s| s.failing).is_some_and(|why| foreign(&why));
            until("it is refused by name", refused).await;
            assert_eq!(objects.names(), names, "nothing was written there");
        }
        path.stop(Duration::from_secs(5)).await.unwrap();
    }
}

fn asked(sink: &Arc<Sink>, from: u64) -> Asked {
    Asked {
        bus: bus(),
        from: Place::Offset(Offset(from)),
        to: None,
        filter: None,
        routes: vec![RouteName::new(sink.name).unwrap()],
        rate: None,
        replies: Default::default(),
    }
}

async fn run_until(path: &Path, id: RunId, what: &str, done: impl Fn(&RunStatus) -> bool) -> RunStatus {
    for _ in 0..1_500 {
        let now = path.replays().await.unwrap().into_iter().find(|r| r.run.id == id).unwrap();
        if done(&now) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about in 15 s: {:#?}", path.replays().await.unwrap());
}

/// How often each event came in a run.
fn came(sink: &Sink, run: RunId) -> BTreeMap<u64, usize> {
    let got = sink.got.lock().unwrap();
    let times = |d: &[(DeliveryId, u32)]| d.iter().filter(|(id, _)| id.lane.run == run).count();
    got.iter().map(|(id, d)| (id.parse().unwrap(), times(d))).filter(|(_, times)| *times > 0).collect()
}

/// A path whose first thousand events and more are in copies alone.
async fn far(store: &Arc<dyn Store>, all: &Arc<Sink>, objects: &Arc<MemoryObjects>) -> Path {
    let path = start_with(store, short(topology(&[(all, None)])), archiving(objects, Uncopied::LetGo)).await;
    publish(&path, 0, 3_000, |_| "t").await;
    settled(&path).await;
    copied(&path).await;
    let archive = path.archive(&bus()).unwrap();
    until("retention", || archive.bounds_here().0 > Offset(1_000)).await;
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_reads_what_is_only_in_copies_and_tells_what_is_missing() {
    on_both(async |store| {
        let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
        let path = far(&store, &all, &objects).await;
        let dry = path.replay_dry(&asked(&all, 1)).await.unwrap();
        assert_eq!((dry.read, dry.lost, dry.routes[0].1), (3_000, 0, 3_000));
        let id = path.replay(&asked(&all, 1)).await.unwrap().id;
        let over = run_until(&path, id, "the end", |r| r.run.state.is_over()).await;
        assert_eq!((over.run.read, over.run.lost, over.run.routes[0].counts.delivered), (3_000, 0, 3_000));
        assert_eq!(came(&all, id), (0..3_000).map(|n| (n, 1)).collect());

        let archive = path.archive(&bus()).unwrap();
        let copies: Vec<_> = archive.copies().into_iter().filter(|c| c.next <= archive.bounds_here().0).collect();
        assert!(objects.take(&copies[2].name(&bus())));
        path.stop(Duration::from_secs(5)).await.unwrap();
        // A start knows nothing of what was read before, and waits for an archive that does not answer.
        objects.down(true);
        let path = start_with(&store, short(topology(&[(&all, None)])), archiving(&objects, Uncopied::LetGo)).await;
        let refused = path.replay(&asked(&all, 1)).await.unwrap_err().to_string();
        objects.down(false);
        copied(&path).await;
        assert!(refused.contains("could not be listed yet"), "{refused}");
        let id = path.replay(&asked(&all, 1)).await.unwrap().id;
        let over = run_until(&path, id, "the end", |r| r.run.state.is_over()).await;
        // It was taken away before it was listed: nobody has these.
        let lost = copies[2].next.0 - copies[2].first.0;
        assert_eq!((over.run.read, over.run.lost), (3_000 - lost, lost));
        assert_eq!(over.run.routes[0].counts.delivered, 3_000 - lost);
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_for_an_archive_that_does_not_answer() {
    on_both(async |store| {
        let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
        let path = far(&store, &all, &objects).await;
        objects.down(true);
        let id = path.replay(&asked(&all, 1)).await.unwrap().id;
        let waits = |r: &RunStatus| r.waits.as_ref().is_some_and(|why| why.contains("it is down"));
        run_until(&path, id, "it says what it waits for", waits).await;
        objects.down(false);
        let over = run_until(&path, id, "the end", |r| r.run.state.is_over()).await;
        assert_eq!(over.run.routes[0].counts.delivered, 3_000);
        assert_eq!(came(&all, id), (0..3_000).map(|n| (n, 1)).collect());
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

/// What a replay owes out of copies when the router stops is in the ledger alone, and below what the log holds.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_owes_out_of_copies_survives_a_restart_and_a_copy_that_goes() {
    let dir = TempDir::new().unwrap();
    let options = || Options { log: disk::Options::default().segment_bytes(SEGMENT), ..Options::default() };
    let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
    let opened = Arc::new(DiskStore::open(dir.path(), options()).await.unwrap());
    let store: Arc<dyn Store> = opened.clone();
    let path = far(&store, &all, &objects).await;
    let copies = path.archive(&bus()).unwrap().copies();
    all.flaky.store(true, Ordering::SeqCst);
    let id = path.replay(&asked(&all, 1)).await.unwrap().id;
    run_until(&path, id, "some of it", |r| r.run.routes[0].counts.delivered > 50).await;
    all.down.store(true, Ordering::SeqCst);
    run_until(&path, id, "something is owed", |r| r.lanes[0].waiting > 0).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop((path, store));
    opened.close().await.unwrap();
    drop(opened);

    let opened = Arc::new(DiskStore::open(dir.path(), options()).await.unwrap());
    let store: Arc<dyn Store> = opened.clone();
    // The first copy goes: what is owed out of it cannot be sent by anybody.
    assert!(objects.take(&copies[0].name(&bus())));
    let path = start_with(&store, short(topology(&[(&all, None)])), archiving(&objects, Uncopied::LetGo)).await;
    copied(&path).await;
    all.down.store(false, Ordering::SeqCst);
    all.flaky.store(false, Ordering::SeqCst);
    let over = run_until(&path, id, "the end", |r| r.run.state.is_over()).await;
    let counts = over.run.routes[0].counts;
    assert_eq!(counts.matched, counts.delivered + counts.dead_lettered, "{over:#?}");
    assert_eq!(over.run.read + over.run.lost, 3_000);
    let letters =
        store.ledger().dead_letters(&Selection::default(), Page { after: None, count_max: 5_000 }).await.unwrap();
    assert_eq!(letters.len() as u64, counts.dead_lettered);
    assert!(letters.iter().all(|l| &*l.reason == "record-damaged" && l.id.offset < copies[0].next), "{letters:?}");
    assert_eq!(all.wrong.load(Ordering::SeqCst), 0, "nothing else is sent in its place");
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_too_old_go_unless_something_is_owed_out_of_them() {
    on_both(async |store| {
        let (all, objects) = (sink("all"), Arc::new(MemoryObjects::new()));
        all.refuse.store(true, Ordering::SeqCst);
        let archiving = Archiving { age_max: Some(Duration::from_millis(1)), ..archiving(&objects, Uncopied::LetGo) };
        let path = start_with(&store, short(topology(&[(&all, None)])), archiving).await;
        // Offset 6 becomes a dead letter.
        publish(&path, 0, 3_000, |n| if n == 5 { "bad" } else { "t" }).await;
        settled(&path).await;
        copied(&path).await;
        let archive = path.archive(&bus()).unwrap();
        until("retention", || archive.bounds_here().0 > Offset(1_000)).await;
        let here = || archive.bounds_here().0;
        let holds = |c: &router_core::shelf::Copied| (c.first..c.next).contains(&Offset(6));
        let gone = || archive.copies().iter().filter(|c| c.next <= here()).all(holds);
        until("copies of what is let go here are removed", gone).await;
        assert!(archive.copies().iter().any(holds), "a dead letter needs it");
        assert!(path.stats().archive.removed.get() > 0);
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}
