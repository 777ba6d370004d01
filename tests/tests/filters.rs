//! Goal: filters answer as their languages' own test kits say, and the page about them says what is so.
//!
//! The kits are read from a folder beside the repository, or the one that `GOCOFFEE_CONFORMANCE` names; where
//! there is none, the tests say that they skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;

/// CESQL.
#[path = "filters/cesql.rs"]
mod cesql;

/// Event patterns.
#[path = "filters/patterns.rs"]
mod patterns;

/// The command line.
#[path = "filters/cli.rs"]
mod cli;

/// The examples of docs/filters.md.
#[path = "filters/page.rs"]
mod page;

/// Transforms: their page, and the command.
#[path = "filters/transforms.rs"]
mod transforms;

/// The files of a kit, in order; `None`, and a word about it, when the kit is not there.
fn kit(name: &str) -> Option<Vec<PathBuf>> {
    let root = std::env::var_os("GOCOFFEE_CONFORMANCE").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance")));
    let folder = root.join(name);
    if !folder.is_dir() {
        eprintln!("skipped: there is no test kit at {}", folder.display());
        return None;
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    Some(files)
}
