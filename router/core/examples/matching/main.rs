//! What stands behind `cargo xtask bench match` and `cargo xtask fuzz match`.
//!
//! `matching bench EVENTS` prints figures, `matching fuzz MINUTES SEED` looks for a filter and an event on which
//! the matcher and the plain filter differ.

/// The events.
mod corpus;

/// The rules.
mod rules;

/// The figures.
mod measure;

/// Differences.
mod fuzz;

use std::{process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    match (arguments.first().map(String::as_str), number(1), number(2)) {
        (Some("bench"), Some(events), _) => {
            measure::all(usize::try_from(events).unwrap_or(usize::MAX));
            ExitCode::SUCCESS
        }
        (Some("fuzz"), Some(seconds), Some(seed)) => match fuzz::run(seed, Duration::from_secs(seconds), u64::MAX) {
            Ok(found) => {
                println!("{found}");
                ExitCode::SUCCESS
            }
            Err(difference) => {
                eprintln!("{difference}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("matching bench EVENTS | matching fuzz SECONDS SEED");
            ExitCode::from(2)
        }
    }
}
