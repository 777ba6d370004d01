//! On real files: what a store of one machine does from day to day.

use std::{sync::Arc, time::Duration};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Error, Log},
};
use router_store::conformance::trim;
use router_store::disk::{Lock, Options, files::RealFiles};

use crate::common::{admitted, ids, open};

#[tokio::test]
async fn appended_events_are_read_sought_and_kept_across_clean_and_unclean_stops() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("buses/default");
    let options = Options::default().segment_bytes(20_000);
    let mut expected = Vec::new();
    for round in 0..6u64 {
        let log = open(Arc::new(RealFiles), &dir, &options).await.unwrap();
        assert_eq!(log.bounds(), (Offset(1), Offset(1 + expected.len() as u64)));
        for batch in 0..10u64 {
            let new: Vec<_> = (0..=batch).map(|i| round * 1000 + batch * 100 + i).collect();
            let events = new.iter().map(|n| admitted(*n, *n as usize % 400)).collect();
            let offsets = log.append(Timestamp(1000 + round * 10 + batch), events).await.unwrap();
            assert_eq!(offsets.len(), new.len());
            expected.extend(new);
        }
        for bytes_max in [1, 700, 5_000, usize::MAX] {
            assert_eq!(ids(&log, Offset(1), bytes_max).await.unwrap(), expected);
        }
        let keys: Vec<_> = log.keys(Duration::MAX, usize::MAX).await.unwrap().iter().map(|k| k.key).collect();
        assert_eq!(keys, expected);
        for t in 1000..=1000 + round * 10 + 9 {
            let at = log.seek(Timestamp(t)).await.unwrap();
            assert_eq!(at, Offset(1 + 55 * ((t - 1000) / 10) + (t - 1000) % 10 * ((t - 1000) % 10 + 1) / 2), "{t}");
        }
        assert_eq!(log.seek(Timestamp(9999)).await.unwrap(), log.bounds().1);
        if round % 2 == 0 {
            log.close().await.unwrap();
            assert!(matches!(log.read(Offset(1), 1).await, Err(Error::Poisoned(_))));
        }
    }
    assert!(std::fs::read_dir(&dir).unwrap().count() > 6, "there are sealed segments");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_follow_the_tail_see_every_event_once_while_others_append_and_trim() {
    let home = tempfile::tempdir().unwrap();
    let options = Options::default().segment_bytes(50_000);
    let log = Arc::new(open(Arc::new(RealFiles), &home.path().join("buses/default"), &options).await.unwrap());
    let count = 3000u64;
    let reader = {
        let log = log.clone();
        tokio::spawn(async move {
            let (mut tail, mut next, mut seen) = (log.tail(), Offset(1), 0u64);
            while seen < count {
                let chunk = log.read(next, 3000).await.unwrap();
                for record in chunk.records() {
                    assert_eq!(record.unwrap().event.id(), seen.to_string());
                    seen += 1;
                }
                if chunk.records.is_empty() {
                    tail.wait_for(|tail| *tail > chunk.next).await.unwrap();
                } else {
                    trim(&*log, next).await;
                }
                next = chunk.next;
            }
        })
    };
    let mut sent = 0;
    while sent < count {
        let batch: Vec<_> = (sent..count.min(sent + 1 + sent % 50)).map(|n| admitted(n, 100)).collect();
        sent += batch.len() as u64;
        log.append(Timestamp(sent), batch).await.unwrap();
    }
    reader.await.unwrap();
    assert!(log.bounds().0 > Offset(1000), "the reader trimmed behind it");
    assert!(matches!(log.read(Offset(1), 1).await, Err(Error::Trimmed { .. })));
}

#[tokio::test]
async fn records_of_several_mebibytes_and_groups_larger_than_a_segment_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("buses/default");
    let options = Options::default().segment_bytes(1 << 20);
    let log = open(Arc::new(RealFiles), &dir, &options).await.unwrap();
    log.append(Timestamp(1), vec![admitted(0, 3 << 20)]).await.unwrap();
    log.append(Timestamp(2), vec![admitted(1, 5), admitted(2, 4 << 20), admitted(3, 5)]).await.unwrap();
    log.append(Timestamp(3), (4..40).map(|n| admitted(n, 100_000)).collect()).await.unwrap();
    for bytes_max in [1, 1 << 20, 1 << 30] {
        assert_eq!(ids(&log, Offset(1), bytes_max).await.unwrap(), (0..40).collect::<Vec<_>>());
    }
    let small = log.read(Offset(10), 1000).await.unwrap();
    assert_eq!(small.records.len(), 1);
    assert!(small.buffer.len() < 300_000, "{} bytes for one record of 100,000", small.buffer.len());
    drop(log);
    let log = open(Arc::new(RealFiles), &dir, &options).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 1 << 20).await.unwrap(), (0..40).collect::<Vec<_>>());
}

/// Goal: an append goes on when its caller goes away, and the next one comes behind it.
#[tokio::test]
async fn append_whose_caller_went_away_leaves_a_sound_log() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("buses/default");
    let log = open(Arc::new(RealFiles), &dir, &Options::default()).await.unwrap();
    for n in 0..20 {
        let abandoned = log.append(Timestamp(n), vec![admitted(n, 10)]);
        tokio::time::timeout(Duration::ZERO, abandoned).await.ok();
    }
    log.append(Timestamp(99), vec![admitted(99, 10)]).await.unwrap();
    let found = ids(&log, Offset(1), 1000).await.unwrap();
    drop(log);
    let log = open(Arc::new(RealFiles), &dir, &Options::default()).await.unwrap();
    let later = ids(&log, Offset(1), 1000).await.unwrap();
    assert!(found.contains(&99) && later.starts_with(&found), "{found:?} {later:?}");
}

const LOCK_DIR: &str = "GOCOFFEE_TEST_LOCK_DIR";

/// The other process of the test below.
#[test]
fn other_process_that_wants_the_lock() {
    if let Some(dir) = std::env::var_os(LOCK_DIR) {
        match Lock::acquire(&RealFiles, dir.as_ref()) {
            Ok(_) => println!("took the lock"),
            Err(e) => println!("refused: {e}"),
        }
    }
}

#[test]
fn second_process_is_refused_the_data_folder_by_name() {
    let home = tempfile::tempdir().unwrap();
    let other = || {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "real::other_process_that_wants_the_lock", "--nocapture"])
            .env(LOCK_DIR, home.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let lock = Lock::acquire(&RealFiles, home.path()).unwrap();
    let said = other();
    let expected = format!("refused: another router uses the data folder {}", home.path().display());
    assert!(said.contains(&expected), "{said}");
    drop(lock);
    assert!(other().contains("took the lock"));
}
