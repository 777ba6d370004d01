//! Goal: what is kept of a segment that was let go is found whatever happens to it, or its damage is
//! named; a full disk keeps everything as it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Error, Log, SegmentKind},
};
use router_store::disk::{
    DiskLog, Options,
    files::Files,
    sim::{Call, Fault, SimFiles},
};

use crate::common::{admitted, ids, open};

const DIR: &str = "/data/buses/default";

async fn open_with(sim: &SimFiles, segment_bytes: u64) -> Result<DiskLog, Error> {
    open(Arc::new(sim.clone()), Path::new(DIR), &Options::default().segment_bytes(segment_bytes)).await
}

async fn open_sim(sim: &SimFiles) -> Result<DiskLog, Error> {
    open_with(sim, 16384).await
}

/// Offsets 1 to 20 in segments of five, the last one unsealed; event `n` is at offset `n + 1`.
async fn twenty(data_bytes: usize) -> (SimFiles, DiskLog) {
    let sim = SimFiles::new();
    let log = open_with(&sim, 16384.max(6 * data_bytes as u64)).await.unwrap();
    for n in 0..20 {
        log.append(Timestamp(n), vec![admitted(n, data_bytes)]).await.unwrap();
        if n % 5 == 4 && n < 19 {
            log.seal().await.unwrap();
        }
    }
    (sim, log)
}

fn files(sim: &SimFiles, kind: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = sim.list(Path::new(DIR)).unwrap().iter().map(|n| Path::new(DIR).join(n)).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == kind));
    paths.sort();
    paths
}

/// Which of the offsets 1 to 20 have a record, each with its own event.
async fn held(log: &DiskLog) -> Vec<u64> {
    let mut held = Vec::new();
    for offset in 1..=20 {
        if let Some(record) = log.record(Offset(offset)).await.unwrap() {
            assert_eq!(record.event.id(), (offset - 1).to_string());
            held.push(offset);
        }
    }
    held
}

fn offsets<const N: usize>(of: [u64; N]) -> Vec<Offset> {
    of.map(Offset).to_vec()
}

#[tokio::test]
async fn small_remnants_are_joined_and_large_ones_are_not() {
    for (data_bytes, expected) in [(20, 1), (300_000, 3)] {
        let (sim, log) = twenty(data_bytes).await;
        for (first, keep) in [(1, 2), (6, 7), (11, 12)] {
            log.reduce(Offset(first), offsets([keep])).await.unwrap();
        }
        assert_eq!(files(&sim, "rem").len(), expected);
        assert_eq!((files(&sim, "log").len(), files(&sim, "idx").len()), (1, 0));
        assert_eq!(held(&log).await, [2, 7, 12, 16, 17, 18, 19, 20]);
        drop(log);
        sim.power_loss();
        assert_eq!(held(&open_sim(&sim).await.unwrap()).await, [2, 7, 12, 16, 17, 18, 19, 20]);
    }
}

#[tokio::test]
async fn what_a_remnant_stands_for_is_removed_at_the_open() {
    let (sim, log) = twenty(20).await;
    log.reduce(Offset(1), offsets([2])).await.unwrap();
    let old = sim.fork();
    log.reduce(Offset(6), offsets([7])).await.unwrap();
    drop(log);
    // The segment of offsets 6 to 10 is still there beside the remnant that took it up, as is its side file.
    for name in ["00000000000000000006.log", "00000000000000000006.idx"] {
        let path = Path::new(DIR).join(name);
        sim.create(&path).unwrap();
        sim.replace(&path, old.bytes(&path).unwrap()).unwrap();
    }
    let log = open_sim(&sim).await.unwrap();
    assert_eq!((files(&sim, "log").len(), files(&sim, "idx").len()), (2, 1));
    assert_eq!(held(&log).await[..3], [2, 7, 11]);
    assert_eq!(log.bounds().0, Offset(11));
}

#[tokio::test]
async fn full_disk_at_any_step_of_letting_go_changes_nothing() {
    for call in [Call::Create, Call::Write, Call::Sync] {
        for target in [1u64, 6] {
            let (sim, log) = twenty(20).await;
            log.reduce(Offset(1), offsets([1, 2, 4])).await.unwrap();
            let before = (log.segments(), held(&log).await);
            sim.fail(call, 1, Fault::NoSpace);
            let refused = log.reduce(Offset(target), offsets([2, 8])).await;
            assert!(matches!(refused, Err(Error::NoSpace(_))), "{call:?} {refused:?}");
            assert_eq!((log.segments(), held(&log).await), before, "{call:?}");
            assert!(files(&sim, "new").is_empty(), "nothing takes space");
            log.append(Timestamp(99), vec![admitted(20, 20)]).await.unwrap();
            log.reduce(Offset(target), offsets([2, 8])).await.unwrap();
            assert_eq!(ids(&log, Offset(16), 100).await.unwrap(), [15, 16, 17, 18, 19, 20]);
        }
    }
}

#[tokio::test]
async fn seal_without_space_leaves_the_segment_unsealed_and_makes_do_with_little() {
    for call in [Call::Create, Call::Write, Call::Sync, Call::Rename] {
        let (sim, log) = twenty(20).await;
        let before = log.segments();
        sim.fail(call, 1, Fault::NoSpace);
        assert!(matches!(log.seal().await, Err(Error::NoSpace(_))), "{call:?}");
        assert_eq!(log.segments(), before);
        log.append(Timestamp(99), vec![admitted(20, 20)]).await.unwrap();
        sim.fail(Call::Allocate, 1, Fault::NoSpace);
        log.seal().await.unwrap();
        assert_eq!(log.segments().last().map(|s| (s.first, s.bytes)), Some((Offset(22), 160)), "only its head");
        log.append(Timestamp(99), vec![admitted(21, 20)]).await.unwrap();
        assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), (0..22).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn failed_write_of_a_remnant_poisons() {
    for call in [Call::Write, Call::Sync, Call::Rename, Call::SyncDir, Call::Remove] {
        let (sim, log) = twenty(20).await;
        sim.fail(call, 1, Fault::Io);
        let error = log.reduce(Offset(1), offsets([2])).await;
        assert!(matches!(error, Err(Error::Poisoned(_))), "{call:?} {error:?}");
        assert!(matches!(log.record(Offset(2)).await, Err(Error::Poisoned(_))));
        drop(log);
        sim.power_loss();
        assert!(held(&open_sim(&sim).await.unwrap()).await.contains(&2), "{call:?}");
    }
}

/// The byte range that a damage names.
fn range(error: &Error) -> (String, usize, usize) {
    let Error::Damaged { place, .. } = error else { panic!("{error}") };
    let (file, bytes) = place.split_once(" bytes ").unwrap();
    let (start, end) = bytes.split(' ').next().unwrap().split_once("..").unwrap();
    (file.into(), start.parse().unwrap(), end.parse().unwrap())
}

#[tokio::test]
async fn flipped_byte_in_a_remnant_is_named_and_hides_its_own_block_only() {
    let (sim, log) = twenty(20).await;
    let kept = [1, 2, 3, 5];
    log.reduce(Offset(1), offsets(kept)).await.unwrap();
    log.close().await.unwrap();
    let path = files(&sim, "rem").remove(0);
    let good = sim.bytes(&path).unwrap();
    let (mut heads, mut hidden) = (0, 0);
    for at in 0..good.len() {
        let sim = sim.fork();
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        sim.replace(&path, bad).unwrap();
        let log = match open_sim(&sim).await {
            Ok(log) => log,
            Err(error) => {
                assert!(at < 160 && error.to_string().contains(path.to_str().unwrap()), "byte {at}: {error}");
                heads += 1;
                continue;
            }
        };
        assert!(at >= 160);
        let mut lost = Vec::new();
        for offset in kept {
            match log.record(Offset(offset)).await {
                Ok(record) => assert_eq!(record.unwrap().event.id(), (offset - 1).to_string()),
                Err(error) => {
                    let (file, start, end) = range(&error);
                    assert!(file == path.to_str().unwrap() && (start..end).contains(&at), "byte {at}: {error}");
                    lost.push(offset);
                }
            }
        }
        // Every record here is a block of its own, as each has its own time.
        let in_table = at >= good.len() - 4 * 24;
        assert!(lost.len() <= if in_table { 4 } else { 1 }, "byte {at}: {lost:?}");
        hidden += lost.len();
        // It stops nothing else.
        log.append(Timestamp(99), vec![admitted(20, 5)]).await.unwrap();
        log.reduce(Offset(6), offsets([7])).await.unwrap();
        assert!(log.record(Offset(7)).await.unwrap().is_some(), "byte {at}");
    }
    assert!(heads == 160 && hidden > 300, "{heads} {hidden}");
}

#[tokio::test]
async fn damaged_block_of_a_segment_keeps_only_its_own_records_from_being_let_go() {
    let (sim, log) = twenty(2000).await;
    let path = files(&sim, "log").remove(0);
    let mut bad = sim.bytes(&path).unwrap();
    bad[160 + 2 * 2200] ^= 1;
    sim.replace(&path, bad).unwrap();
    drop(log);
    let log = open_sim(&sim).await.unwrap();
    let error = log.read(Offset(3), 10).await.unwrap_err();
    let (file, start, end) = range(&error);
    assert!(file == path.to_str().unwrap() && (start..end).contains(&(160 + 2 * 2200)), "{error}");
    assert_eq!(ids(&log, Offset(4), 100).await.unwrap().len(), 17, "what stands behind it is read");
    assert_eq!(log.read(Offset(1), 1 << 20).await.unwrap().records.len(), 2, "and so is what stands before it");
    let before = log.segments();
    let refused = log.reduce(Offset(1), offsets([2, 3])).await;
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    assert_eq!(log.segments(), before);
    log.reduce(Offset(1), offsets([2, 5])).await.unwrap();
    assert_eq!(log.segments()[0].kind, SegmentKind::Remnant);
    assert!(log.record(Offset(2)).await.unwrap().is_some() && log.record(Offset(5)).await.unwrap().is_some());
}

#[tokio::test]
async fn offsets_that_no_remnant_holds_are_told() {
    let (_, log) = twenty(20).await;
    log.reduce(Offset(1), offsets([1, 2, 4])).await.unwrap();
    log.reduce(Offset(6), vec![]).await.unwrap();
    log.reduce(Offset(11), offsets([15])).await.unwrap();
    let all: Vec<_> = (0..16).map(Offset).collect();
    assert_eq!(log.unheld(all).await.unwrap(), offsets([0, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]));
    assert_eq!(log.unheld(offsets([1, 4, 15])).await.unwrap(), []);
}
