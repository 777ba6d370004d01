//! Goal: a failing disk poisons the log, a full one does not, and neither leaves half of a group behind.

use std::{path::Path, sync::Arc};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Error, Log},
};
use router_store::disk::{
    DiskLog, Options,
    sim::{Call, Fault, SimFiles},
};

use crate::common::{admitted, ids, open};

const DIR: &str = "/data/buses/default";

async fn open_sim(sim: &SimFiles) -> Result<DiskLog, Error> {
    open(Arc::new(sim.clone()), Path::new(DIR), &Options::default().segment_bytes(8192)).await
}

#[tokio::test]
async fn failed_write_or_sync_poisons_every_later_call() {
    for call in [Call::Write, Call::Sync] {
        let sim = SimFiles::new();
        let log = open_sim(&sim).await.unwrap();
        log.append(Timestamp(1), vec![admitted(1, 10)]).await.unwrap();
        let mut tail = log.tail();
        tail.borrow_and_update();
        sim.fail(call, 1, Fault::Io);
        let poisoned = |e: Option<Error>| assert!(matches!(e, Some(Error::Poisoned(_))), "{call:?} {e:?}");
        poisoned(log.append(Timestamp(2), vec![admitted(2, 10)]).await.err());
        poisoned(log.append(Timestamp(2), vec![admitted(2, 10)]).await.err());
        poisoned(log.append(Timestamp(2), vec![]).await.err());
        poisoned(log.read(Offset(1), 10).await.err());
        poisoned(log.read(Offset(2), 10).await.err());
        poisoned(log.seek(Timestamp(1)).await.err());
        poisoned(log.reduce(Offset(1), vec![]).await.err());
        poisoned(log.seal().await.err());
        poisoned(log.record(Offset(1)).await.err());
        poisoned(log.keys(std::time::Duration::MAX, 1).await.err());
        poisoned(log.close().await.err());
        assert_eq!(log.bounds().1, Offset(2));
        assert!(!tail.has_changed().unwrap());
    }
}

#[tokio::test]
async fn no_space_for_a_segment_refuses_the_group_and_nothing_else() {
    for call in [Call::Create, Call::Allocate, Call::Write, Call::Sync, Call::Rename] {
        let sim = SimFiles::new();
        let log = open_sim(&sim).await.unwrap();
        log.append(Timestamp(1), vec![admitted(1, 6000)]).await.unwrap();
        sim.fail(call, 1, Fault::NoSpace);
        let refused = log.append(Timestamp(2), vec![admitted(2, 6000)]).await;
        assert!(matches!(refused, Err(Error::NoSpace(_))), "{call:?} {refused:?}");
        assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1]);
        assert_eq!(log.append(Timestamp(3), vec![admitted(3, 10)]).await.unwrap(), [Offset(2)], "a small one fits");
        assert_eq!(log.append(Timestamp(4), vec![admitted(4, 6000)]).await.unwrap(), [Offset(3)]);
        drop(log);
        let log = open_sim(&sim).await.unwrap();
        assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 3, 4], "{call:?}");
    }
}

#[tokio::test]
async fn group_that_met_a_full_disk_half_way_is_taken_back() {
    // Several blocks, so that the first ones are whole when the disk is full.
    let large = || (10..20).map(|n| admitted(n, 40_000)).collect::<Vec<_>>();
    for short in [0, 1, 100, 50_000, 200_000] {
        let sim = SimFiles::new();
        let options = Options::default().segment_bytes(1 << 20);
        let log = open(Arc::new(sim.clone()), Path::new(DIR), &options).await.unwrap();
        log.append(Timestamp(1), vec![admitted(1, 10)]).await.unwrap();
        if short > 0 {
            sim.fail(Call::Write, 1, Fault::Short(short));
        }
        sim.fail(Call::Write, if short > 0 { 2 } else { 1 }, Fault::NoSpace);
        assert!(matches!(log.append(Timestamp(2), large()).await, Err(Error::NoSpace(_))));
        let again = sim.fork();
        log.append(Timestamp(3), vec![admitted(3, 10)]).await.unwrap();
        assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 3]);
        drop(log);
        sim.power_loss();
        for (sim, expected) in [(sim, &[1, 3][..]), (again, &[1][..])] {
            let log = open(Arc::new(sim), Path::new(DIR), &options).await.unwrap();
            assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), expected, "{short}");
        }
    }
}

#[tokio::test]
async fn short_writes_are_gone_on_with() {
    let sim = SimFiles::new();
    let log = open_sim(&sim).await.unwrap();
    for (nth, bytes) in [(1, 3), (2, 100), (3, 1)] {
        sim.fail(Call::Write, nth, Fault::Short(bytes));
    }
    log.append(Timestamp(1), vec![admitted(1, 500)]).await.unwrap();
    sim.power_loss();
    let log = open_sim(&sim).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1]);
}

#[tokio::test]
async fn full_disk_at_a_side_file_or_at_the_repair_loses_nothing() {
    let sim = SimFiles::new();
    let log = open_sim(&sim).await.unwrap();
    log.append(Timestamp(1), vec![admitted(1, 6000)]).await.unwrap();
    // The second file made from here on is the side file of the sealed segment.
    sim.fail(Call::Create, 2, Fault::NoSpace);
    log.append(Timestamp(2), vec![admitted(2, 6000)]).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 2]);
    drop(log);
    sim.fail(Call::Create, 1, Fault::NoSpace);
    let refused = open_sim(&sim).await.err();
    assert!(matches!(refused, Some(Error::NoSpace(_))), "{refused:?}");
    sim.fail(Call::Allocate, 1, Fault::NoSpace);
    let log = open_sim(&sim).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 2], "the repair made do with less");
    log.append(Timestamp(3), vec![admitted(3, 10)]).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 2, 3]);
}
