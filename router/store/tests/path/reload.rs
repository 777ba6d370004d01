//! Goal: routes and targets change under load, many times and with restarts between, and each event is judged
//! by what held at its offset.

use router_core::{path::ReviseError, store::Error};

use super::{
    control::{Kept, name, start_on},
    *,
};

/// What came of a change: what the route wanted from then on, and between which offsets it began.
struct Began {
    kind: &'static str,
    after: u64,
    before: u64,
}

async fn tail(path: &Path) -> u64 {
    path.status().await.unwrap().buses[0].tail.0
}

/// Publishes until it is stopped; offset and kind of everything that was acknowledged.
async fn load(path: Arc<Path>, from: usize, stop: Arc<AtomicBool>) -> BTreeMap<u64, (usize, &'static str)> {
    let mut all = BTreeMap::new();
    let mut n = from;
    while !stop.load(Ordering::SeqCst) {
        let intake = path.intake(&BusName::new("default").unwrap()).unwrap();
        let source = SourceName::new("test").unwrap();
        let event = |n: usize| {
            let data = format!("{{\"n\":{n}}}");
            Event::builder(&n.to_string(), "/t", KINDS[n % 2]).data(Form::Json, data).build().unwrap().into()
        };
        let Ok(answers) = intake.submit(&source, (n..n + 7).map(event).collect()).await else { break };
        for (n, answer) in (n..).zip(answers) {
            let Accepted::Appended(offset) = answer.unwrap() else { panic!("no event comes twice") };
            all.insert(offset.0, (n, KINDS[n % 2]));
        }
        n += 7;
        tokio::task::yield_now().await;
    }
    all
}

const KINDS: [&str; 2] = ["a", "b"];

/// Holds what was delivered to what was wanted: for each change there is an offset from which on it held.
fn judge(sent: &BTreeMap<u64, (usize, &'static str)>, began: &[Began], got: &Sink) {
    let got = got.got.lock().unwrap();
    let end = Began { kind: "", after: u64::MAX, before: u64::MAX };
    for (this, next) in began.iter().zip(began[1..].iter().chain([&end])) {
        for (offset, (n, kind)) in sent.range(this.before..next.after) {
            let delivered = got.contains_key(&n.to_string());
            assert_eq!(delivered, *kind == this.kind, "event {n} at {offset}, where {} is wanted", this.kind);
        }
        // In between, those judged by the former version all lie before those judged by the next.
        let by_next = |n: usize, kind: &str| got.contains_key(&n.to_string()) == (kind == next.kind);
        let mut seen = false;
        for (offset, (n, kind)) in sent.range(next.after..next.before) {
            assert!(!seen || by_next(*n, kind), "event {n} at {offset} is judged by what held before");
            seen |= by_next(*n, kind);
        }
    }
    assert_eq!(got.values().filter(|all| all.iter().any(|(id, _)| *id != all[0].0)).count(), 0, "one id each");
}

/// Some changes under load, then an end: in order, or by dropping everything.
async fn life(
    kept: &Kept,
    turns: usize,
    first: usize,
    in_order: bool,
    one: &Arc<Sink>,
) -> (BTreeMap<u64, (usize, &'static str)>, Vec<Began>) {
    let kind = |turn: usize| KINDS[turn % 2];
    let store = kept.open().await;
    let path = Arc::new(start_on(store.clone(), &[(one, Some(kind(first)))]).await);
    let began_at = tail(&path).await;
    let mut began = vec![Began { kind: kind(first), after: began_at, before: began_at }];
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(load(path.clone(), first * 1_000_000, stop.clone()));
    for turn in first + 1..first + turns {
        let after = tail(&path).await;
        // Some events come between two changes.
        let more = after + 20;
        for _ in 0..1_500 {
            if tail(&path).await >= more {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let after = tail(&path).await;
        let done = path.revise(topology(&[(one, Some(kind(turn)))])).await.unwrap();
        assert_eq!(done.versions, 1);
        began.push(Began { kind: kind(turn), after, before: tail(&path).await });
    }
    stop.store(true, Ordering::SeqCst);
    let sent = load.await.unwrap();
    if in_order {
        settled(&path).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
    }
    drop((path, store));
    (sent, began)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_judged_by_the_version_at_its_offset() {
    for kept in Kept::both() {
        let one = sink("one");
        let (mut sent, mut began) = (BTreeMap::new(), Vec::new());
        for (first, in_order) in [(0, false), (20, true), (41, false), (60, true)] {
            let (more, changes) = life(&kept, 20, first, in_order, &one).await;
            sent.extend(more);
            began.extend(changes);
        }
        assert!(sent.len() > 1_000, "{} events", sent.len());
        judge(&sent, &began, &one);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_target_takes_the_backlog_and_the_former_one_ends() {
    for kept in Kept::both() {
        let (one, well) = (sink("one"), sink("well"));
        one.down.store(true, Ordering::SeqCst);
        let path = start_on(kept.open().await, &[(&one, None), (&well, None)]).await;
        publish(&path, 0, 2_000, |_| "t").await;
        until("delivery to the other", || count(&well) == 2_000).await;
        let calls = well.calls.load(Ordering::SeqCst);
        // The same name, somewhere else.
        let repaired = sink("one");
        path.revise(topology(&[(&repaired, None), (&well, None)])).await.unwrap();
        until("delivery of the backlog", || count(&repaired) == 2_000).await;
        settled(&path).await;
        assert_eq!((count(&one), well.calls.load(Ordering::SeqCst)), (0, calls));
        one_id_each(&repaired);

        // A route that is removed while it is owed something is orphaned, and takes it up when it is back.
        repaired.down.store(true, Ordering::SeqCst);
        publish(&path, 2_000, 2_100, |_| "t").await;
        until("delivery to the other", || count(&well) == 2_100).await;
        path.revise(topology(&[(&well, None)])).await.unwrap();
        publish(&path, 2_100, 2_200, |_| "t").await;
        until("delivery to the other", || count(&well) == 2_200).await;
        let status = path.status().await.unwrap();
        let route = status.routes.iter().find(|r| r.name == name("one")).unwrap();
        assert_eq!((route.waiting, route.state, &route.target), (100, LaneStateName::Orphaned, &None));
        assert_eq!(status.targets.len(), 1, "the former target is not shown");
        repaired.down.store(false, Ordering::SeqCst);
        path.revise(topology(&[(&repaired, None), (&well, None)])).await.unwrap();
        until("delivery of what was orphaned", || count(&repaired) == 2_100).await;
        settled(&path).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_revision_changes_nothing() {
    let store = Arc::new(MemoryStore::new());
    let one = sink("one");
    let path = start_on(store.clone(), &[(&one, Some("a"))]).await;
    let mut broken = topology(&[(&one, None)]);
    broken.routes[0].target = TargetName::new("nowhere").unwrap();
    let refused = path.revise(broken).await.unwrap_err();
    assert!(refused.to_string().contains("there is no target nowhere"), "{refused}");
    let mut larger = topology(&[(&one, None)]);
    larger.event_bytes_max += 1;
    let refused = path.revise(larger).await.unwrap_err();
    assert!(matches!(&refused, ReviseError::Fixed(what) if what.contains("size")), "{refused}");
    publish(&path, 0, 10, |n| KINDS[n % 2]).await;
    until("delivery", || count(&one) == 5).await;
    settled(&path).await;
    assert_eq!(count(&one), 5, "the former filter holds");
    // A commit that fails refuses it too, and ends the path, since nobody knows what is on the disk.
    store.poison("the test says so");
    let refused = path.revise(topology(&[(&one, None)])).await.unwrap_err();
    assert!(refused.to_string().contains("the test says so"), "{refused}");
    assert!(matches!(path.failed().await, Error::Poisoned(_)));
    let store = Arc::new(store.crash(0));
    let path = start_on(store, &[(&one, Some("a"))]).await;
    publish(&path, 10, 20, |n| KINDS[n % 2]).await;
    until("delivery", || count(&one) == 10).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
    let stopped = path.revise(topology(&[(&one, None)])).await.unwrap_err();
    assert!(matches!(stopped, ReviseError::Stopping), "{stopped}");
}
