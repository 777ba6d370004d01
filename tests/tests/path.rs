//! The path in this process: real listener, real HTTP targets, memory and disk stores; the oracle judges. All
//! of it runs twice: in the plain form of a first trial, and over TLS with keys, as it stands on a network;
//! but for the many routes, which hold time against a limit and would take it from each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// The same files twice, on purpose: the form is a constant of the module around them.
#![allow(clippy::duplicate_mod)]

use router_tests::world::edge::Edge;

/// HTTP, nobody is asked for a key.
#[path = "path"]
mod plain {
    /// The form of this suite.
    const EDGE: super::Edge = super::Edge::Plain;

    /// One test's world.
    mod stage;

    /// Every event that is owed arrives, whatever the targets do.
    mod flow;

    /// Targets that take several events in one request.
    mod batch;

    /// The same over the disk store.
    mod disk;

    /// Routes that change between two runs.
    mod versions;

    /// Routes that keep an order.
    mod order;

    /// Breaks of the real path, each of which the oracle must see.
    mod breaks;

    /// Many routes.
    mod many;
}

/// HTTPS, and a key for each request.
#[path = "path"]
mod keyed {
    /// The form of this suite.
    const EDGE: super::Edge = super::Edge::Keyed;

    /// One test's world.
    mod stage;

    /// Every event that is owed arrives, whatever the targets do.
    mod flow;

    /// Targets that take several events in one request.
    mod batch;

    /// The same over the disk store.
    mod disk;

    /// Routes that change between two runs.
    mod versions;

    /// Routes that keep an order.
    mod order;

    /// Breaks of the real path, each of which the oracle must see.
    mod breaks;
}
