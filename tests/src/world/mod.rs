//! What the router lives among: publishers before it, sinks behind it, and the operator beside it.

/// What a sink answers.
pub mod script;

/// Takes deliveries in and keeps a journal.
pub mod sink;

/// Publishes until everything is answered and keeps a journal.
pub mod publisher;

/// Requests to the router, without a connection kept.
pub mod client;

/// How the router stands on the network.
pub mod edge;

/// Routes, for the router and for the oracle.
pub mod setup;

/// A link to a peer that can be cut.
pub mod link;

/// Deliberate breaks of the real path.
pub mod faults;

/// The router in this process.
pub mod inside;

/// The router in a process of its own.
pub mod process;

/// How a run ends.
pub mod ending;
