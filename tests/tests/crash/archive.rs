//! Killed between the steps that let events go: before and after a segment is copied to the archive, before and after it
//! is let go here. Goal: what was acknowledged arrives once more than before, under the same ids, and all of it can be
//! read again, from copies where it is gone.

use router_core::retain::Level;
use router_tests::world::process::binary;

use super::*;

/// The points, in the order of the steps.
const POINTS: [&str; 4] = ["archiving", "archived", "trimming", "trimmed"];
/// Events of one life: all are answered long before the first of them goes, since what comes again after that is new.
const EVENTS: u64 = 60;
/// How long an event is kept here.
const AGE_MAX: &str = "1s";
/// What a point may take to be passed.
const PASSED: Duration = Duration::from_secs(15);

/// How often each point is tried.
fn turns() -> usize {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 20 } else { 3 }
}

/// Replays all that can be read to a route: the events that came.
async fn replayed(router: &Router<'_>, place: &Place, sink: &Sink, route: &str) -> (Replayed, BTreeSet<Key>) {
    let id = place.try_replay(route).await.expect("a replay starts");
    let end = tokio::time::Instant::now() + DRAIN;
    let over = loop {
        let replays = router.replays().await;
        let over = replays.into_iter().find(|r| r.id == id && r.state == "done");
        if let Some(over) = over {
            break over;
        }
        assert!(tokio::time::Instant::now() < end, "{:#?}", router.replays().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(over.lost, 0, "{over:#?}");
    let run = format!("-{id}");
    let of_it = |r: &Received| &*r.route == route && r.delivery.ends_with(&run) && r.taken();
    let came = sink.journal().into_iter().filter(of_it).map(|r| r.key).collect();
    let routes = vec![(route.to_owned(), Arc::new(|_: &Coffee| true) as Wanted)];
    (Replayed { run: id, from: over.from, to: over.to, routes, done: true }, came)
}

#[tokio::test(flavor = "multi_thread")]
async fn router_killed_while_it_lets_events_go_loses_none() {
    let store = |data: &Path| json!({"disk": {"path": data, "bytes_max": "24MiB", "free_min": "64MiB"}});
    let (sink, place, home) = (Sink::start().await, Place::with_store(None, store), tempfile::tempdir().unwrap());
    sink.script("flaky", Rule::status(500).every(5).attempts_max(1));
    sink.script("picky", Rule::status(422).of_kind(KINDS[4]));
    let routes = [
        Route::all("all", &sink.url("all")),
        Route::all("flaky", &sink.url("flaky")),
        Route::all("picky", &sink.url("picky")),
    ];
    let folder = home.path().join("archive");
    let more = json!({
        "archive": {"to": folder},
        "buses": {"default": {"retention": {"age_max": AGE_MAX}}},
    });
    let program = Path::new(env!("CARGO_BIN_EXE_coffee-kill"));
    let publisher = Publisher::new(&place.url());
    let (mut chronicle, next) = (Chronicle::default(), Arc::new(AtomicU64::new(0)));
    let requested = now();
    let router = place.start_with(&routes, &more).await;
    chronicle.change(&routes, requested, now());
    router.kill().await;

    let mut passed = [0; POINTS.len()];
    for _ in 0..turns() {
        for (at, point) in POINTS.into_iter().enumerate() {
            let mut router = place.start_to_kill(program, &routes, &more, point, 1);
            let first = next.fetch_add(EVENTS, Ordering::SeqCst);
            let published = publisher.spawn((first..first + EVENTS).map(|n| coffee("archived", n)), 8);
            let killed = router.kills_itself(PASSED).await;
            passed[at] += usize::from(killed);
            println!("{point}: {killed}, {} acknowledged", publisher.acked());
            // What is left of them is sent again: see EVENTS.
            drop(published);
        }
    }
    println!("killed at {POINTS:?} {passed:?} times of {} each", turns());

    let router = place.start_with(&routes, &more).await;
    let all = next.load(Ordering::SeqCst);
    let end = tokio::time::Instant::now() + DRAIN;
    while publisher.acked() < all {
        assert!(tokio::time::Instant::now() < end, "{} of {all} were acknowledged", publisher.acked());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    router.settled(DRAIN).await;
    let status = router.until("listed", DRAIN, |s| s.archive.as_ref().is_some_and(|a| a.ready)).await;
    let bus = status.buses.iter().find(|b| b.name.as_str() == "default").unwrap();
    assert!(bus.first.0 > EVENTS, "most of it is in copies alone: {bus:?}");
    assert!(status.disk.level == Level::Calm, "nothing goes for want of space: {:?}", status.disk);
    let (replay, came) = replayed(&router, &place, &sink, "all").await;
    let sent: BTreeSet<Key> = publisher.journal().into_iter().map(|p| p.event.key.clone()).collect();
    assert_eq!((came.len(), came == sent), (sent.len(), true), "all of it is read again");
    let parked = router.parked().await;
    assert!(router.terminate().await.success(), "{}", place.logged());
    let verdict = ending::judge_with(&publisher, &chronicle, &[&sink], parked, vec![replay]);
    println!("{} requests were sent again\n{verdict}", publisher.resent());
    verdict.assert_holds();
    assert_eq!(verdict.balance["all"].owed, all, "everything was acknowledged in the end");

    let verify = ["archive", "verify", "--from-store"];
    let seen = std::process::Command::new(binary()).args(verify).arg(&folder).output().unwrap();
    let said = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success() && said.contains("nothing is wrong"), "{said}");
    for (point, passed) in POINTS.into_iter().zip(passed) {
        assert!(passed * 2 > turns(), "{point} was passed {passed} of {} times", turns());
    }
}
