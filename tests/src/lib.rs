//! The world that the router runs in, and the oracle that judges it.
//!
//! [`world`] publishes events and takes deliveries in, and keeps a journal of both; it shares no code with
//! the router, not even a codec. [`oracle`] computes from the journals and from the history of the routes
//! what was owed to whom, and names every difference. The suites in `tests/` put a router in between.

// What goes wrong in here is the failure of a test, and ends it with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Events as the world writes and reads them, and their fingerprints.
pub mod coffee;

/// Publishers, sinks, and the router in this process or in its own.
pub mod world;

/// Who is owed what, and what became of it.
pub mod oracle;

/// Readers of bytes that somebody else wrote.
pub mod fuzz;

/// The path and the log in simulated time, on simulated files.
pub mod sim;
