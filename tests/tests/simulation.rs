//! Simulations of many seeds: whatever fails, and whenever the router dies, the oracle finds nothing wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use router_tests::sim::{self, Broken, Totals};

/// What the seeds of a run must show together, at least so often each.
const SHOWN: [&str; 16] = [
    "attempts",
    "clean stops",
    "clock jumps",
    "dead letters left",
    "dead letters seen",
    "duplicates",
    "failed calls",
    "failed stores",
    "full disks",
    "kills",
    "lanes seen in the ledger",
    "power losses",
    "power off in a call",
    "redriven",
    "retries seen",
    "version changes",
];
const SHOWN_MIN: u64 = 20;

fn seeds() -> u64 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 10_000 } else { 200 }
}

/// Runs the seeds on two threads; the reports of those that do not hold, and the totals of all.
fn run_all(from: u64, count: u64, broken: Broken) -> (Vec<String>, Totals) {
    let next = AtomicU64::new(from);
    let (bad, totals) = (Mutex::new(Vec::new()), Mutex::new(Totals::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let report = sim::run(seed, false, broken);
                    if !report.holds() {
                        bad.lock().unwrap().push(format!("{report}\nagain: SEED={seed} cargo xtask sim"));
                    }
                    totals.lock().unwrap().merge(&report.totals);
                }
            });
        }
    });
    (bad.into_inner().unwrap(), totals.into_inner().unwrap())
}

#[test]
fn whatever_happens_nothing_is_lost_or_made_up() {
    let (bad, totals) = run_all(0, seeds(), Broken::default());
    println!("{} seeds: {totals}", seeds());
    assert!(bad.is_empty(), "{} seeds failed, the first of them:\n{}", bad.len(), bad[0]);
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
    let (bad, _) = run_all(0, 20, Broken { syncs: true });
    assert!(bad.len() >= 10, "only {} of 20 seeds noticed", bad.len());
}

#[test]
#[ignore = "one seed, printed: SEED=… cargo xtask sim"]
fn one() {
    let seed = std::env::var("SEED").expect("SEED names a seed").parse().expect("SEED is a number");
    let report = sim::run(seed, true, Broken::default());
    println!("{report}");
    assert!(report.holds());
}
