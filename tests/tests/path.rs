//! The path in this process: real listener, real HTTP targets, memory and disk stores; the oracle judges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "path/stage.rs"]
mod stage;

/// Every event that is owed arrives, whatever the targets do.
#[path = "path/flow.rs"]
mod flow;

/// The same over the disk store.
#[path = "path/disk.rs"]
mod disk;

/// Routes that change between two runs.
#[path = "path/versions.rs"]
mod versions;

/// Breaks of the real path, each of which the oracle must see.
#[path = "path/breaks.rs"]
mod breaks;

/// Many routes.
#[path = "path/many.rs"]
mod many;
