//! The real binary with little space, under load: settled events go, what is owed stays, intake refuses before
//! the disk is full, and all of it mends itself when the target is back, with no operator and no exit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use gocoffee::admin::view::Status;
use router_core::retain::Level;
use router_tests::{
    coffee::{Coffee, coffee},
    oracle::now,
    world::{
        ending,
        process::{Place, Router},
        publisher::Publisher,
        script::{Rule, Script},
        setup::{Chronicle, Route},
        sink::Sink,
    },
};
use serde_json::json;

/// What each state may take to come about.
const PATIENCE: Duration = Duration::from_secs(90);
/// Bytes of an event, about.
const EVENT_BYTES: usize = 24 << 10;
const MIB: u64 = 1 << 20;

/// An event with a note of some length, the same for the same number.
fn large(n: u64) -> Coffee {
    let plain = coffee("disk", n);
    let note = "☕ ".repeat(EVENT_BYTES / 4);
    let data = format!(r#"{{"shop":{}, "total":{},"n":{n},"note":"{note}"}}"#, plain.shop, plain.total);
    Coffee { data: data.into(), ..plain }
}

fn full(status: &Status) -> bool {
    status.disk.level == Level::Full && status.disk.refuses.as_deref().is_some_and(|why| why.contains("route shut"))
}

/// Publishes far more than fits, with a target that is down and one that is up, and kills the router once
/// while it is full.
async fn fill_and_drain(place: &Place, events: u64, disturb: impl AsyncFn(&Router<'_>)) -> Status {
    let (sink, mut shut) = (Sink::start().await, Sink::closed());
    let routes = [
        Route::all("up", &sink.url("up")),
        Route::all("shut", &shut.url("shut")),
        Route::all("some", &sink.url("some")).total_min(1_900),
    ];
    let mut chronicle = Chronicle::default();
    let requested = now();
    let router = place.start(&routes).await;
    chronicle.change(&routes, requested, now());
    // Settled events go while others come in: the route that is down wants few of these.
    let publisher = Publisher::new(&place.url());
    let published = publisher.spawn((0..events).map(large), 16);
    let status = router.until("full, and the route named", PATIENCE, full).await;
    assert!(status.routes.iter().all(|r| r.dead_letters == 0), "nothing is given up: {status:#?}");
    assert_eq!(router.readyz().await, 503, "nothing is taken in");
    disturb(&router).await;
    router.kill().await;
    let router = place.start_full(&routes).await;
    router.until("full again", PATIENCE, full).await;

    shut.open().await;
    tokio::time::timeout(PATIENCE, published).await.expect("everything gets in at last").unwrap();
    router.settled(PATIENCE).await;
    let status = router.until("space again", PATIENCE, |s| s.disk.level != Level::Full).await;
    assert_eq!(router.readyz().await, 200, "events are taken in again");
    let verdict = ending::end(router, place, &publisher, &chronicle, &[&sink, &shut]).await;
    println!("{:?}", status.disk);
    assert_eq!((verdict.balance["shut"].owed, verdict.balance["shut"].parked), (events, 0), "{verdict}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn little_space_is_shared_refused_and_had_again() {
    let store = |data: &Path| json!({"disk": {"path": data, "bytes_max": "16MiB"}});
    let place = Place::with_store(None, store);
    let status = fill_and_drain(&place, 800, async |_| ()).await;
    assert!(status.disk.used_bytes <= 16 * MIB, "the budget holds: {:?}", status.disk);
    assert!(status.buses[0].first.0 > 1, "settled events went: {:?}", status.buses);
}

/// A file system of its own in memory, taken away at the end.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(bytes: u64) -> Result<Small, String> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match done {
            Ok(out) if out.status.success() => Ok(Small(folder)),
            Ok(out) => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a child that is being killed may still have files open.
        Command::new("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_file_system_settles_trims_and_accepts_again() {
    let small = match Small::mount(256 * MIB) {
        Ok(small) => small,
        Err(why) => {
            println!("skipped: a small file system cannot be mounted here: {}", why.trim());
            return;
        }
    };
    let store = |data: &Path| json!({"disk": {"path": data, "bytes_max": "32MiB", "free_min": "80MiB"}});
    let place = Place::with_store(Some(small.path()), store);
    let hog = Arc::new(small.path().join("hog"));
    // Somebody else fills the rest while the router is full: its own writes find no space at all.
    let disturb = async |router: &Router<'_>| {
        let (bytes, file) = (vec![0u8; MIB as usize], hog.clone());
        tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let mut file = std::fs::File::create(&*file).unwrap();
            while file.write_all(&bytes).is_ok() {}
        })
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        router.until("still there", PATIENCE, |s| s.disk.level == Level::Full).await;
        std::fs::remove_file(&*hog).unwrap();
    };
    let status = fill_and_drain(&place, 1_600, disturb).await;
    assert!(status.disk.free_bytes.is_some_and(|free| free >= 80 * MIB), "{:?}", status.disk);
}

/// Where what was written to the newest of these files ends: what is reserved behind it reads as zeros.
fn written(folder: &Path, extension: &str) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let newest = files.filter(|p| p.extension().is_some_and(|e| e == extension)).max().unwrap();
    let bytes = std::fs::read(newest).unwrap();
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1)
}

/// Where the write that is cut short goes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Anywhere, the log for people included.
    Everything,
    /// To the ledger, while nothing is appended.
    Commit(u64),
    /// To the log.
    Append(u64),
}

/// The real process when a write of it is cut short. Goal: it ends with exit code 74 and says why; nothing that it
/// acknowledged is lost.
#[tokio::test(flavor = "multi_thread")]
async fn write_that_is_cut_short_ends_the_process_and_loses_nothing() {
    const EVENTS: u64 = 300;
    /// Bytes that the router logs before it ends.
    const LOGGED: u64 = 8 << 10;
    let (sink, place) = (Sink::start().await, Place::new());
    let routes = [
        Route::all("up", &sink.url("up")),
        // Its attempts fail for ever, and each is in a commit.
        Route::all("failing", &sink.url("failing")).attempts_max(1_000_000),
    ];
    sink.script("failing", Rule::status(500).every(2));
    let publisher = Publisher::new(&place.url());
    let (mut chronicle, mut next, mut unsent) = (Chronicle::default(), 0, Vec::new());
    let cuts = [Cut::Everything, Cut::Commit(0), Cut::Commit(60), Cut::Commit(700), Cut::Append(0), Cut::Append(100)];
    for (n, cut) in cuts.into_iter().enumerate() {
        let requested = now();
        let router = place.start_limited(&routes).await;
        if n == 0 {
            chronicle.change(&routes, requested, now());
        }
        let more = |next: &mut u64| {
            *next += EVENTS;
            (*next - EVENTS..*next).map(|n| coffee("cut", n)).collect::<Vec<_>>()
        };
        publisher.publish(more(&mut next), 16).await;
        router.until("something is tried again", PATIENCE, |s| s.routes.iter().any(|r| r.retrying > 0)).await;
        let bytes_max = match cut {
            Cut::Everything => 0,
            Cut::Commit(bytes) => written(&place.data().join("ledger"), "jnl") + bytes,
            Cut::Append(bytes) => written(&place.data().join("buses/default"), "log") + bytes,
        };
        // The log is a file, too.
        let tells = bytes_max > place.logged().len() as u64 + LOGGED;
        router.file_bytes_max(bytes_max);
        if let Cut::Append(_) = cut {
            unsent.push(publisher.spawn(more(&mut next), 16));
        }
        let ended = router.ended(PATIENCE).await;
        let logged = place.logged();
        println!("{cut:?}: {ended}\n{}", logged.lines().last().unwrap_or_default());
        assert_eq!(ended.code(), Some(74), "{cut:?}:\n{logged}");
        assert!(!tells || logged.contains("restart the router"), "{cut:?}:\n{logged}");
    }

    sink.script("failing", Script::good());
    let router = place.start(&routes).await;
    for unsent in unsent {
        tokio::time::timeout(PATIENCE, unsent).await.expect("everything gets in at last").unwrap();
    }
    router.settled(PATIENCE).await;
    let verdict = ending::end(router, &place, &publisher, &chronicle, &[&sink]).await;
    assert_eq!((verdict.balance["failing"].owed, verdict.balance["failing"].parked), (next, 0), "{verdict}");
}
