//! Every form keeps the contracts of `router_core::store`: the suites, and what is particular to a form.

// Helpers of tests: what is unexpected must panic, with its place.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod conformance {
    mod disk_ledger;
    mod disk_store;
    mod full;
    mod memory;
    mod model;
    mod space;
    mod verify;
}

/// A case that no suite names would never run.
#[test]
fn every_case_is_in_its_suite() {
    for (module, source) in [
        ("ledger", include_str!("../src/conformance/ledger.rs")),
        ("log", include_str!("../src/conformance/log.rs")),
        ("segments", include_str!("../src/conformance/segments.rs")),
    ] {
        let cases: Vec<&str> =
            source.split("pub async fn ").skip(1).filter_map(|rest| rest.split(['<', '(']).next()).collect();
        assert!(cases.len() > 5, "{module}: {cases:?}");
        for case in cases {
            let named = source.lines().filter(|line| line.trim() == case).count();
            assert_eq!(named, 1, "{module}::{case}");
        }
    }
}
