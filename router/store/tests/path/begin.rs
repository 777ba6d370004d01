//! New routes that want what was there before them, on both stores. Goal: each event reaches such a route by its replay
//! or by the live flow, and by no more than one of them.

use router_core::{
    clock::{Clock, Timestamp},
    id::{Offset, RunId},
    path::Start,
    replay::{RUNS_OPEN_MAX, RunState},
};
use router_store::store::{DiskStore, Options};
use tempfile::TempDir;

use super::*;

async fn on_both<F: Future<Output = ()>>(test: impl Fn(Arc<dyn Store>) -> F) {
    test(Arc::new(MemoryStore::new())).await;
    let dir = TempDir::new().unwrap();
    test(Arc::new(DiskStore::open(dir.path(), Options::default()).await.unwrap())).await;
}

async fn on(store: &Arc<dyn Store>, topology: Topology) -> Path {
    Path::start(store.clone(), topology, Arc::new(SystemClock::new())).await.unwrap()
}

/// The topology of these sinks, whose last begins there.
fn begins(sinks: &[(&Arc<Sink>, Option<&str>)], start: Start) -> Topology {
    let mut topology = topology(sinks);
    topology.routes.last_mut().unwrap().start = start;
    topology
}

/// Numbers of the events that came in the live flow, and in runs; each of them once.
fn came(sink: &Sink) -> (Vec<u64>, Vec<u64>) {
    let got = sink.got.lock().unwrap();
    let (mut live, mut runs) = (Vec::new(), Vec::new());
    for (id, deliveries) in got.iter() {
        let ids: std::collections::BTreeSet<DeliveryId> = deliveries.iter().map(|(id, _)| *id).collect();
        let only: Vec<DeliveryId> = ids.into_iter().collect();
        assert_eq!(only.len(), 1, "event {id} came by two ways");
        if only[0].lane.run == RunId(0) { &mut live } else { &mut runs }.push(id.parse().unwrap());
    }
    live.sort();
    runs.sort();
    (live, runs)
}

async fn runs_over(path: &Path, count: usize) {
    for _ in 0..1_500 {
        let runs = path.replays().await.unwrap();
        assert_eq!(runs.len(), count, "{runs:#?}");
        if runs.iter().all(|r| r.run.state.is_over()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the replays do not end: {:#?}", path.status().await.unwrap());
}

fn any(_: usize) -> &'static str {
    "t"
}

#[tokio::test(flavor = "multi_thread")]
async fn new_route_gets_what_was_there_once_while_events_come() {
    on_both(async |store| {
        let (old, new) = (sink("old"), sink("new"));
        let path = on(&store, topology(&[(&old, None)])).await;
        publish(&path, 0, 1_000, any).await;
        let revised = path.revise(begins(&[(&old, None), (&new, None)], Start::Earliest));
        let (revised, _) = tokio::join!(revised, publish(&path, 1_000, 2_000, any));
        assert_eq!(revised.unwrap().versions, 1);
        publish(&path, 2_000, 2_100, any).await;
        runs_over(&path, 1).await;
        settled(&path).await;
        let (live, runs) = came(&new);
        // The border lies where the version does, wherever that is.
        let border = runs.len() as u64;
        assert!((1_000..=2_000).contains(&border), "{border}");
        assert_eq!((runs, live), ((0..border).collect(), (border..2_100).collect()));
        assert_eq!(came(&old), ((0..2_100).collect(), vec![]));
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn route_that_is_new_in_the_file_begins_with_the_start_and_only_once() {
    on_both(async |store| {
        let (old, new) = (sink("old"), sink("new"));
        let both = || begins(&[(&old, None), (&new, Some("t"))], Start::Earliest);
        let path = on(&store, topology(&[(&old, None)])).await;
        publish(&path, 0, 500, any).await;
        settled(&path).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
        // Again and again, also dropped in the middle as by a crash.
        for _ in 0..3 {
            let path = on(&store, both()).await;
            drop(path);
        }
        let path = on(&store, both()).await;
        publish(&path, 500, 600, any).await;
        runs_over(&path, 1).await;
        settled(&path).await;
        let got = new.got.lock().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(got.len(), 600, "all of it");
        assert_eq!(came(&new).0, (500..600).collect::<Vec<_>>());
        // Removed and back it is not new.
        path.revise(topology(&[(&old, None)])).await.unwrap();
        path.revise(both()).await.unwrap();
        assert_eq!(path.replays().await.unwrap().len(), 1);
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn route_begins_at_a_time_and_with_nothing_before_it_there_is_no_replay() {
    on_both(async |store| {
        let (old, new, late) = (sink("old"), sink("new"), sink("late"));
        let path = on(&store, topology(&[(&old, None)])).await;
        publish(&path, 0, 100, any).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let at = SystemClock::new().wall();
        tokio::time::sleep(Duration::from_millis(20)).await;
        publish(&path, 100, 150, any).await;
        path.revise(begins(&[(&old, None), (&new, None)], Start::Time(at))).await.unwrap();
        runs_over(&path, 1).await;
        settled(&path).await;
        assert_eq!(came(&new), (vec![], (100..150).collect()));
        let future = Start::Time(Timestamp(u64::MAX));
        path.revise(begins(&[(&old, None), (&new, None), (&late, None)], future)).await.unwrap();
        publish(&path, 150, 160, any).await;
        settled(&path).await;
        assert_eq!(came(&late), ((150..160).collect(), vec![]));
        assert_eq!(path.replays().await.unwrap().len(), 1);
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_beginnings_than_replays_can_go_on_are_refused_whole() {
    on_both(async |store| {
        const NAMES: [&str; RUNS_OPEN_MAX + 1] =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];
        let path = on(&store, topology(&[])).await;
        publish(&path, 0, 10, any).await;
        let sinks: Vec<Arc<Sink>> = NAMES.iter().map(|name| sink(name)).collect();
        let of = |count: usize| {
            let mut all = topology(&sinks[..count].iter().map(|sink| (sink, None)).collect::<Vec<_>>());
            all.routes.iter_mut().for_each(|route| route.start = Start::Earliest);
            all
        };
        let refused = path.revise(of(RUNS_OPEN_MAX + 1)).await.unwrap_err().to_string();
        assert!(refused.contains("17 new routes") && refused.contains("in several steps"), "{refused}");
        assert!(path.status().await.unwrap().routes.is_empty(), "nothing of it holds");
        path.revise(of(RUNS_OPEN_MAX)).await.unwrap();
        runs_over(&path, RUNS_OPEN_MAX).await;
        for sink in &sinks[..RUNS_OPEN_MAX] {
            assert_eq!(came(sink).1.len(), 10);
        }
        // Their numbers are theirs, and the next one is another's.
        let ids: Vec<u32> = path.replays().await.unwrap().iter().map(|r| r.run.id.0).collect();
        assert_eq!(ids.len(), RUNS_OPEN_MAX);
        path.revise(of(RUNS_OPEN_MAX + 1)).await.unwrap();
        runs_over(&path, RUNS_OPEN_MAX + 1).await;
        let last = path.replays().await.unwrap().last().map(|r| (r.run.id, r.run.from, r.run.to)).unwrap();
        assert!(last.0.0 > *ids.last().unwrap());
        assert_eq!((last.1, last.2), (Offset(1), Offset(11)));
        assert!(path.replays().await.unwrap().iter().all(|r| matches!(r.run.state, RunState::Ended(_))));
        path.stop(Duration::from_secs(5)).await.unwrap();
    })
    .await;
}
