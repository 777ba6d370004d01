//! Goal: the matcher answers as the plain filters do, whatever is drawn. `cargo xtask fuzz match` runs the same
//! for as long as it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code)]

use std::time::Duration;

/// The draw.
#[path = "../examples/matching/corpus.rs"]
mod corpus;

/// The cases.
#[path = "../examples/matching/fuzz.rs"]
mod fuzz;

#[test]
fn the_matcher_answers_as_the_plain_filters_on_what_is_drawn() {
    let seconds = if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 120 } else { 20 };
    let found =
        fuzz::run(8, Duration::from_secs(seconds), u64::MAX).unwrap_or_else(|difference| panic!("{difference}"));
    println!("{found}");
    assert!(found.cases > 1_000, "{found}");
}
