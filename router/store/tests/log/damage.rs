//! Goal: a torn tail is cut, wherever it is torn; damage to what was acknowledged is refused, with its
//! place; side files and marks are never believed when they are wrong.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Error, Log},
};
use router_store::disk::{
    DiskLog, Options,
    files::Files,
    sim::{Call, Fault, SimFiles},
};

use crate::common::{admitted, ids, open};

const DIR: &str = "/data/buses/default";
const SEGMENT: &str = "/data/buses/default/00000000000000000001.log";

async fn open_sim(sim: &SimFiles) -> Result<DiskLog, Error> {
    open(Arc::new(sim.clone()), Path::new(DIR), &Options::default().segment_bytes(8192)).await
}

/// Three groups of two events, not closed; where each group ends.
async fn three_groups() -> (SimFiles, Vec<usize>) {
    let sim = SimFiles::new();
    let log = open_sim(&sim).await.unwrap();
    let mut ends = Vec::new();
    for group in 0..3u64 {
        let batch = vec![admitted(group * 2, 20), admitted(group * 2 + 1, 30)];
        log.append(Timestamp(group), batch).await.unwrap();
        let bytes = sim.bytes(Path::new(SEGMENT)).unwrap();
        ends.push(bytes.iter().rposition(|b| *b != 0).unwrap() + 1);
    }
    (sim, ends)
}

fn place(error: &Error) -> (String, String) {
    match error {
        Error::Damaged { place, what } => (place.to_string(), what.to_string()),
        other => panic!("{other}"),
    }
}

/// The byte range that a damage names.
fn range(place: &str) -> (usize, usize) {
    let bytes = place.split(" bytes ").nth(1).unwrap().split(' ').next().unwrap();
    let (start, end) = bytes.split_once("..").unwrap();
    (start.parse().unwrap(), end.parse().unwrap())
}

#[tokio::test]
async fn torn_tail_is_cut_at_every_byte() {
    let (sim, ends) = three_groups().await;
    let good = sim.bytes(Path::new(SEGMENT)).unwrap();
    for cut in ends[1]..ends[2] {
        for shorter in [false, true] {
            let sim = sim.fork();
            let mut torn = good.clone();
            torn[cut..].fill(0);
            if shorter {
                torn.truncate(cut);
            }
            sim.replace(Path::new(SEGMENT), torn).unwrap();
            let log = open_sim(&sim).await.unwrap();
            assert_eq!(ids(&log, Offset(1), 1000).await.unwrap(), [0, 1, 2, 3], "cut at {cut}");
            log.append(Timestamp(9), vec![admitted(9, 5)]).await.unwrap();
            assert_eq!(ids(&log, Offset(1), 1000).await.unwrap(), [0, 1, 2, 3, 9]);
        }
    }
}

#[tokio::test]
async fn flipped_byte_is_named_below_the_synced_mark_and_cut_above_it() {
    let (sim, ends) = three_groups().await;
    let good = sim.bytes(Path::new(SEGMENT)).unwrap();
    for at in 0..ends[2] {
        let sim = sim.fork();
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        sim.replace(Path::new(SEGMENT), bad).unwrap();
        let opened = open_sim(&sim).await;
        if at >= ends[1].next_multiple_of(8) {
            assert_eq!(ids(&opened.unwrap(), Offset(1), 1000).await.unwrap(), [0, 1, 2, 3], "byte {at}");
        } else if [ends[0], ends[1]].iter().any(|end| (*end..end.next_multiple_of(8)).contains(&at)) {
            // Padding between blocks means nothing.
            assert_eq!(ids(&opened.unwrap(), Offset(1), 1000).await.unwrap(), [0, 1, 2, 3, 4, 5], "byte {at}");
        } else {
            let (place, what) = place(&opened.err().unwrap());
            assert!(place.starts_with(SEGMENT), "byte {at}: {place}");
            if (8..12).contains(&at) {
                assert!(what.contains("format version"), "{what}");
                continue;
            }
            let (start, end) = range(&place);
            assert!((start..end).contains(&at), "byte {at}: {place}");
            assert!(what.contains("restore this file from a copy"), "{what}");
            if at >= 160 {
                let offsets = if at < ends[0] { "(offsets 1 to 2)" } else { "(offsets 3 to 4)" };
                assert!(place.ends_with(offsets), "byte {at}: {place}");
            }
        }
    }
}

#[tokio::test]
async fn after_a_clean_stop_the_last_group_is_below_the_mark_too() {
    let (sim, ends) = three_groups().await;
    let log = open_sim(&sim).await.unwrap();
    log.close().await.unwrap();
    let mut bad = sim.bytes(Path::new(SEGMENT)).unwrap();
    bad[ends[2] - 1] ^= 1;
    sim.replace(Path::new(SEGMENT), bad).unwrap();
    let (place, _) = place(&open_sim(&sim).await.err().unwrap());
    assert_eq!(range(&place).1, ends[2].next_multiple_of(8), "{place}");
}

#[tokio::test]
async fn after_a_repair_all_that_it_kept_is_below_the_mark() {
    let (sim, ends) = three_groups().await;
    drop(open_sim(&sim).await.unwrap());
    let mut bad = sim.bytes(Path::new(SEGMENT)).unwrap();
    bad[ends[2] - 1] ^= 1;
    sim.replace(Path::new(SEGMENT), bad).unwrap();
    let (place, _) = place(&open_sim(&sim).await.err().unwrap());
    assert_eq!(range(&place).1, ends[2].next_multiple_of(8), "{place}");
}

#[tokio::test]
async fn after_a_clean_stop_nothing_is_written_anew() {
    let (sim, _) = three_groups().await;
    let seed = |sim: &SimFiles| sim.bytes(Path::new(SEGMENT)).unwrap()[24..32].to_vec();
    let first = seed(&sim);
    let log = open_sim(&sim).await.unwrap();
    let second = seed(&sim);
    assert_ne!(first, second, "an unclean stop was repaired");
    log.close().await.unwrap();
    let log = open_sim(&sim).await.unwrap();
    assert_eq!(seed(&sim), second);
    drop(log);
    open_sim(&sim).await.unwrap();
    assert_ne!(seed(&sim), second, "the mark was good for one open");
}

/// Several sealed segments, closed cleanly; their paths.
async fn sealed() -> (SimFiles, Vec<PathBuf>) {
    let sim = SimFiles::new();
    let log = open_sim(&sim).await.unwrap();
    for n in 0..40 {
        log.append(Timestamp(n), vec![admitted(n, 900)]).await.unwrap();
    }
    log.close().await.unwrap();
    let mut paths: Vec<_> = sim.list(Path::new(DIR)).unwrap().iter().map(|n| Path::new(DIR).join(n)).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "log"));
    paths.sort();
    assert!(paths.len() > 3);
    (sim, paths)
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_named_when_it_is_read_and_hides_nothing_else() {
    let (sim, paths) = sealed().await;
    let mut bad = sim.bytes(&paths[1]).unwrap();
    bad[3000] ^= 1;
    sim.replace(&paths[1], bad).unwrap();
    let log = open_sim(&sim).await.unwrap();
    let (place, _) = place(&ids(&log, Offset(1), 100).await.unwrap_err());
    let (start, end) = range(&place);
    assert!(place.starts_with(paths[1].to_str().unwrap()) && (start..end).contains(&3000), "{place}");
    let base: u64 = paths[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(ids(&log, Offset(base), 100).await.unwrap().len() as u64, 41 - base);
}

#[tokio::test]
async fn missing_or_shortened_segment_is_noticed_at_the_open() {
    let (sim, paths) = sealed().await;
    for lost in [1, paths.len() - 1] {
        let sim = sim.fork();
        sim.remove(&paths[lost]).unwrap();
        let (place, what) = place(&open_sim(&sim).await.err().unwrap());
        assert!(place.starts_with(paths[lost].to_str().unwrap()) && what.contains("missing"), "{place}: {what}");
    }
    let bytes = sim.bytes(&paths[1]).unwrap();
    sim.replace(&paths[1], bytes[..bytes.len() - 1].to_vec()).unwrap();
    let (place, what) = place(&open_sim(&sim).await.err().unwrap());
    assert!(place.starts_with(paths[1].to_str().unwrap()) && what.contains("cut off"), "{place}: {what}");
}

#[tokio::test]
async fn side_files_are_made_again_when_missing_or_damaged() {
    let (sim, paths) = sealed().await;
    let expected: Vec<u64> = (0..40).collect();
    for (n, path) in paths[..paths.len() - 1].iter().enumerate() {
        let side = path.with_extension("idx");
        let mut bytes = sim.bytes(&side).unwrap();
        let places = [20, 100, bytes.len() - 10];
        match places.get(n) {
            None => sim.remove(&side).unwrap(),
            Some(at) => {
                bytes[*at] ^= 1;
                sim.replace(&side, bytes).unwrap();
            }
        }
    }
    for _ in 0..2 {
        let log = open_sim(&sim).await.unwrap();
        assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), expected);
        let keys = log.keys(Duration::MAX, 1000).await.unwrap();
        assert_eq!(keys.iter().map(|k| k.key).collect::<Vec<_>>(), expected);
        assert_eq!(log.seek(Timestamp(7)).await.unwrap(), Offset(8));
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn open_and_the_window_of_keys_read_little_of_sealed_segments() {
    let (sim, paths) = sealed().await;
    let log = open_sim(&sim).await.unwrap();
    // A sealed segment that cannot be read does not disturb who does not need it.
    for path in &paths[..paths.len() - 2] {
        let mut bytes = sim.bytes(path).unwrap();
        bytes[160..].fill(0xFF);
        sim.replace(path, bytes).unwrap();
        let side = path.with_extension("idx");
        let mut bytes = sim.bytes(&side).unwrap();
        let end = bytes.len();
        bytes[end - 10] ^= 1;
        sim.replace(&side, bytes).unwrap();
    }
    assert_eq!(log.keys(Duration::from_micros(3), 1000).await.unwrap().len(), 4);
    assert_eq!(log.keys(Duration::MAX, 3).await.unwrap().len(), 3);
    log.close().await.unwrap();
    let log = open_sim(&sim).await.unwrap();
    assert_eq!(log.bounds(), (Offset(1), Offset(41)));
    sim.fail(Call::Read, 1, Fault::Io);
    assert!(matches!(log.read(Offset(39), 100).await, Err(Error::Damaged { .. })), "a read error is told");
    assert_eq!(ids(&log, Offset(39), 100).await.unwrap(), [38, 39], "and poisons nothing");
}

#[tokio::test]
async fn segment_of_another_bus_or_version_is_refused_by_name() {
    let (sim, _) = three_groups().await;
    let other = router_core::id::BusName::new("other").unwrap();
    let refused = DiskLog::open(Arc::new(sim.fork()), Path::new(DIR), &other, Options::default()).await;
    assert!(refused.err().unwrap().to_string().contains("bus `default`"));
    let mut newer = sim.bytes(Path::new(SEGMENT)).unwrap();
    newer[8] = 7;
    sim.replace(Path::new(SEGMENT), newer).unwrap();
    assert!(open_sim(&sim).await.err().unwrap().to_string().contains("format version 7"));
}
