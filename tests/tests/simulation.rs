//! Simulations of many seeds: whatever fails, and whenever the router dies, the oracle finds nothing wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use router_store::disk::sim::Lies;
use router_tests::sim::{self, Broken};

/// What the seeds of a run must show together, at least so often each.
const SHOWN: [&str; 67] = [
    "archives that were read back whole",
    "attempts",
    "calls of busy targets",
    "calls of failing targets",
    "calls of good targets",
    "calls of late targets",
    "calls of lying targets",
    "calls of miscounting targets",
    "calls of refusing targets",
    "calls of silent targets",
    "calls of slow targets",
    "calls of targets that are down",
    "calls that found no space",
    "clean stops",
    "clock jumps",
    "copies that were not there for a while",
    "copies that were there already",
    "copies",
    "dead letters left",
    "dead letters seen",
    "deliveries given up",
    "disks that fill up",
    "disks with space again",
    "duplicates",
    "ends with attempts under way",
    "ends with calls of the archive under way",
    "ends with submissions under way",
    "events that were damaged",
    "facts told",
    "failed calls of the archive",
    "failed calls",
    "failed stores",
    "flipped bytes",
    "full disks",
    "kills",
    "lanes seen in the ledger",
    "late attempts",
    "lost answers of the archive",
    "ordered attempts",
    "parked deliveries seen",
    "pauses",
    "power losses",
    "power off in a call",
    "power off in a change of names",
    "power off in a sync of a folder",
    "power off in a sync",
    "power off in a write",
    "quarantined",
    "redriven",
    "remnants seen",
    "replays cancelled",
    "replays done",
    "replays out of copies",
    "replays paused",
    "replays started",
    "replays that go on after a start",
    "replies",
    "retries seen",
    "routes removed",
    "short writes",
    "skips",
    "slow calls of the archive",
    "stuck keys seen",
    "trimmed logs seen",
    "version changes that failed",
    "version changes while running",
    "version changes",
];
const SHOWN_MIN: u64 = 20;

fn seeds() -> u64 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 10_000 } else { 200 }
}

#[test]
fn whatever_happens_nothing_is_lost_or_made_up() {
    let sim::All { failed, totals } = sim::run_all(0, seeds(), Broken::default());
    println!("{} seeds: {totals}", seeds());
    let again = failed.first().map(|report| format!("{report}\nagain: cargo xtask sim {}", report.seed));
    assert_eq!(again, None, "{} seeds failed, this one first", failed.len());
    for what in SHOWN {
        let count = totals.0.get(what).copied().unwrap_or(0);
        assert!(count >= SHOWN_MIN, "{what}: {count} times in all seeds, which is too little to say anything");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let (first, again) = (sim::run(seed, false, Broken::default()), sim::run(seed, false, Broken::default()));
        assert_eq!((first.trace, first.totals), (again.trace, again.totals), "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let files = Lies { bytes: true, names: false };
    for syncs in [files, Lies { bytes: false, names: true }] {
        let failed = sim::run_all(0, 20, Broken { syncs, ..Broken::default() }).failed.len();
        println!("{failed} of 20 seeds noticed {syncs:?}");
        assert!(failed >= 10, "only {failed} of 20 seeds noticed {syncs:?}");
    }
}

#[test]
fn an_order_that_is_not_kept_is_found_out() {
    let seeds = if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 200 } else { 20 };
    let failed = sim::run_all(0, seeds, Broken { order: true, ..Broken::default() }).failed.len() as u64;
    println!("{failed} of {seeds} seeds noticed");
    assert!(failed >= seeds / 2, "only {failed} of {seeds} seeds noticed");
}
