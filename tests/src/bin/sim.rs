//! `coffee-sim`: simulations of the path, without a test around them.
//!
//! ```text
//! coffee-sim 7                     the simulation of seed 7, every step printed
//! coffee-sim 0 10000               seeds 0 to 9,999 on all processors: the totals, and what failed
//! ```

use std::process::ExitCode;

use router_tests::sim::{self, Broken};

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = std::env::args().skip(1).map(|a| a.parse().ok()).collect();
    match numbers.as_deref() {
        Some([seed]) => {
            let report = sim::run(*seed, true, Broken::default());
            println!("{report}");
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Some([from, count]) => {
            let all = sim::run_all(*from, *count, Broken::default());
            let failed: Vec<u64> = all.failed.iter().map(|report| report.seed).collect();
            println!("{count} seeds: {}\n{} failed {failed:?}", all.totals, failed.len());
            for report in all.failed.iter().take(5) {
                println!("{report}");
            }
            if all.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        _ => {
            eprintln!("error: usage: coffee-sim SEED | coffee-sim FROM COUNT");
            ExitCode::from(2)
        }
    }
}
