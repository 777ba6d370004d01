//! Goal: a mend that loses its power at any step, and is done again, ends as one that was never disturbed:
//! only what was damaged is gone, and its files lie aside as they were.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Log, SegmentKind},
};
use router_store::disk::{Options, files::Files, set_aside, sim::SimFiles};

use crate::common::{admitted, open, records};

const DIR: &str = "/data/buses/default";
const ASIDE: &str = "/data/damaged/default";

fn options() -> Options {
    Options::default().segment_bytes(4096)
}

/// Every offset that can be read, in the log and below it.
async fn readable(sim: &SimFiles) -> Vec<(u64, u64)> {
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    let (first, tail) = log.bounds();
    let mut found = Vec::new();
    for offset in 1..first.0 {
        if let Some(record) = log.record(Offset(offset)).await.unwrap() {
            found.push((offset, record.event.id().parse().unwrap()));
        }
    }
    let kept = records(&log, first, 500).await.unwrap();
    found.extend(kept.into_iter().map(|(offset, _, id)| (offset, id)));
    assert!(found.iter().all(|(offset, _)| *offset < tail.0));
    found
}

fn files(sim: &SimFiles, dir: &str, suffix: &str) -> Vec<PathBuf> {
    let names = sim.list(Path::new(dir)).unwrap();
    let mut paths: Vec<_> = names.iter().filter(|n| n.ends_with(suffix)).map(|n| Path::new(dir).join(n)).collect();
    paths.sort();
    paths
}

/// A log of many segments and a remnant; bytes are flipped in the remnant, inside a sealed segment, in the head
/// of another one, and in the unsealed one. With the damaged files.
async fn damaged() -> (SimFiles, Vec<(PathBuf, Vec<u8>)>) {
    let sim = SimFiles::new();
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    for n in 0..40u64 {
        log.append(Timestamp(n), vec![admitted(n, 300 + n as usize * 10)]).await.unwrap();
    }
    let keep: Vec<Offset> = (1..60).step_by(2).map(Offset).collect();
    let sealed: Vec<_> = log.segments().into_iter().filter(|s| s.kind == SegmentKind::Sealed).collect();
    assert!(sealed.len() > 4, "{sealed:?}");
    log.reduce(sealed[0].first, keep).await.unwrap();
    log.close().await.unwrap();

    let (segments, remnants) = (files(&sim, DIR, ".log"), files(&sim, DIR, ".rem"));
    let mut bad = Vec::new();
    for (path, at) in [(&remnants[0], 400), (&segments[1], 900), (&segments[2], 20), (segments.last().unwrap(), 300)] {
        let mut bytes = sim.bytes(path).unwrap();
        bytes[at] ^= 0x10;
        sim.replace(path, bytes.clone()).unwrap();
        bad.push((path.clone(), bytes));
    }
    sim.power_loss();
    (sim, bad)
}

#[tokio::test]
async fn mend_cut_short_at_each_step_ends_like_an_undisturbed_one() {
    let (sim, bad) = damaged().await;
    let undisturbed = sim.fork();
    assert_eq!(set_aside(&undisturbed, Path::new(DIR), Path::new(ASIDE)).unwrap().len(), 0);
    let good = readable(&undisturbed).await;
    assert!(good.len() > 20 && good.len() < 40, "{good:?}");
    let mut calls = 0;
    loop {
        let mut ended = false;
        for torn in [None, Some(1), Some(2), Some(3)] {
            let sim = sim.fork();
            sim.power_off_after(calls);
            ended = set_aside(&sim, Path::new(DIR), Path::new(ASIDE)).is_ok();
            match torn {
                None => sim.power_loss(),
                Some(seed) => sim.power_loss_torn(seed << 32 | calls),
            }
            let left = set_aside(&sim, Path::new(DIR), Path::new(ASIDE)).unwrap();
            assert!(left.is_empty(), "after {calls} calls: {left:?}");
            assert_eq!(readable(&sim).await, good, "after {calls} calls, {torn:?}");
            for (path, bytes) in &bad {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let copies = sim.list(Path::new(ASIDE)).unwrap().into_iter().filter(|copy| copy.starts_with(&name));
                let kept =
                    copies.into_iter().any(|copy| sim.bytes(&Path::new(ASIDE).join(copy)).as_ref() == Some(bytes));
                assert!(kept, "after {calls} calls, {torn:?}: {name}");
            }
        }
        if ended {
            break;
        }
        calls += 1;
    }
    assert!(calls > 20, "the mend makes {calls} changing calls");
}
