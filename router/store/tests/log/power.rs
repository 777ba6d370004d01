//! Goal: what was acknowledged, or was readable once, is there after a power loss at any moment. The
//! same body with a sync that lies must lose events, or it would prove nothing.

use std::{path::Path, sync::Arc};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Error, Log, SegmentKind},
};
use router_store::disk::{
    Options,
    files::Files,
    sim::{Call, Fault, SimFiles},
};

use crate::common::{admitted, ids, open, records};

const DIR: &str = "/data/buses/default";

fn options() -> Options {
    Options::default().segment_bytes(4096)
}

/// What the outside knows: acknowledged events with their offsets, and how far it asked to trim.
#[derive(Default)]
struct Known {
    events: Vec<(u64, u64)>,
    trimmed: u64,
    /// Of what lies below `trimmed`, the offsets that this divides are kept.
    kept: u64,
    /// An append whose answer never came: its events may be there or not.
    unanswered: Vec<u64>,
}

/// Opens, appends, reads, trims, stops cleanly and not, until the power goes off. Says whether it came to its end.
async fn work(sim: &SimFiles, known: &mut Known) -> Result<(), Error> {
    for round in 0..4u64 {
        let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await?;
        for batch in 0..6u64 {
            let new: Vec<u64> = (0..=batch % 3).map(|i| round * 100 + batch * 10 + i).collect();
            known.unanswered = new.clone();
            let events = new.iter().map(|n| admitted(*n, (*n as usize * 37) % 900)).collect();
            let offsets = log.append(Timestamp(round * 10 + batch), events).await?;
            known.unanswered.clear();
            known.events.extend(offsets.iter().map(|o| o.0).zip(new));
        }
        if round == 2 {
            (known.trimmed, known.kept) = (15, 3);
            log.seal().await?;
            for segment in log.segments() {
                if segment.kind == SegmentKind::Sealed && segment.next <= Offset(15) {
                    log.reduce(segment.first, multiples(3)).await?;
                }
            }
            // Every one of these is a step, too: some are joined, some become smaller, some go.
            known.kept = 6;
            while let Some(large) = log.segments().iter().find(|s| s.kind == SegmentKind::Remnant && s.first.0 < 15) {
                let bytes = large.bytes;
                log.reduce(large.first, multiples(6)).await?;
                if log.segments().iter().any(|s| s.kind == SegmentKind::Remnant && s.bytes == bytes) {
                    break;
                }
            }
        }
        if round % 2 == 0 {
            log.close().await?;
        }
    }
    Ok(())
}

fn multiples(of: u64) -> Vec<Offset> {
    (1..200).filter(|n| n % of == 0).map(Offset).collect()
}

/// How many acknowledged events are missing after a power loss and a restart.
async fn lost(sim: &SimFiles, known: &Known) -> usize {
    let Ok(log) = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await else {
        return known.events.len().max(1);
    };
    let Ok(found) = records(&log, log.bounds().0, 500).await else { return known.events.len().max(1) };
    let found: Vec<_> = found.into_iter().map(|(offset, _, id)| (offset, id)).collect();
    let missing = known.events.iter().filter(|e| e.0 >= known.trimmed && !found.contains(e)).count();
    let mut gone = 0;
    for (offset, id) in known.events.iter().filter(|e| e.0 < known.trimmed && e.0 % known.kept == 0) {
        match log.record(Offset(*offset)).await {
            Ok(Some(record)) => assert_eq!(record.event.id(), id.to_string()),
            _ => gone += 1,
        }
    }
    let missing = missing + gone;
    // Nothing is invented: what is there was sent, and the rest of the unanswered batch is a prefix.
    let last = known.events.last().map_or(0, |e| e.0);
    let extra: Vec<_> = found.iter().filter(|e| e.0 > last).map(|e| e.1).collect();
    assert!(missing > 0 || known.unanswered.starts_with(&extra), "{extra:?} {:?}", known.unanswered);
    missing
}

/// Loses the power after each changing call in turn, and counts the lost events of all runs.
async fn losses(lying: bool, cut: impl Fn(&SimFiles, u64)) -> usize {
    let mut total = 0;
    for calls in 0.. {
        let sim = SimFiles::new();
        sim.lying_sync(lying);
        sim.power_off_after(calls);
        let mut known = Known::default();
        let ended = work(&sim, &mut known).await.is_ok();
        cut(&sim, calls);
        // The restart is cut short, too, and tried again.
        sim.power_off_after(calls % 11);
        if let Ok(log) = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await {
            drop(log);
        }
        cut(&sim, calls + 1000);
        total += lost(&sim, &known).await;
        if ended {
            assert!(calls > 100, "the workload makes {calls} changing calls");
            return total;
        }
    }
    total
}

#[tokio::test]
async fn acknowledged_events_survive_a_power_loss_at_each_step() {
    assert_eq!(losses(false, |sim, _| sim.power_loss()).await, 0);
    for seed in 0..4 {
        assert_eq!(losses(false, |sim, calls| sim.power_loss_torn(seed << 32 | calls)).await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn the_same_body_finds_the_losses_of_a_sync_that_lies() {
    assert!(losses(true, |sim, _| sim.power_loss()).await > 1000);
}

#[tokio::test]
async fn what_was_readable_after_a_failed_sync_and_a_restart_survives_a_power_loss() {
    let sim = SimFiles::new();
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    log.append(Timestamp(1), vec![admitted(1, 10)]).await.unwrap();
    sim.fail(Call::Sync, 1, Fault::Io);
    assert!(matches!(log.append(Timestamp(2), vec![admitted(2, 10)]).await, Err(Error::Poisoned(_))));
    assert!(matches!(log.read(Offset(1), 100).await, Err(Error::Poisoned(_))));
    drop(log);

    // The process starts again, without a power loss: the bytes of event 2 look good.
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 2]);
    log.append(Timestamp(3), vec![admitted(3, 10)]).await.unwrap();
    drop(log);

    sim.power_loss();
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn a_new_segment_whose_name_was_not_synced_is_made_durable_by_the_restart() {
    let sim = SimFiles::new();
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    log.append(Timestamp(1), vec![admitted(1, 3900)]).await.unwrap();
    sim.fail(Call::SyncDir, 1, Fault::Io);
    assert!(matches!(log.append(Timestamp(2), vec![admitted(2, 3900)]).await, Err(Error::Poisoned(_))));
    drop(log);
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    log.append(Timestamp(3), vec![admitted(3, 10)]).await.unwrap();
    sim.power_loss();
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1, 3]);
}

#[tokio::test]
async fn folders_that_a_dead_process_made_and_did_not_sync_are_made_durable() {
    let sim = SimFiles::new();
    for dir in ["/data", "/data/buses", DIR] {
        sim.create_dir(Path::new(dir)).unwrap();
    }
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    log.append(Timestamp(1), vec![admitted(1, 10)]).await.unwrap();
    sim.power_loss();
    let log = open(Arc::new(sim.clone()), Path::new(DIR), &options()).await.unwrap();
    assert_eq!(ids(&log, Offset(1), 100).await.unwrap(), [1]);
}
