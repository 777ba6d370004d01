//! Goal: what the router sends to Google arrives, and what Google says becomes of each event is what becomes of its
//! delivery. The peer is Google's own Pub/Sub emulator; the faults are played by a server of this suite, which speaks
//! the same protocol, and where both can serve the same bodies run against both.
//!
//! The emulator is the one that `PUBSUB_EMULATOR_HOST` names, or the one of an installed Google Cloud SDK, started on a
//! free port. Where it is missing, its tests say so in one line and end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Google's emulator.
#[path = "gcp/emulator.rs"]
mod emulator;

/// A Pub/Sub that fails when it is told to.
#[path = "gcp/own.rs"]
mod own;

/// The target `pubsub`.
#[path = "gcp/publish.rs"]
mod publish;

/// What Pub/Sub's own clients publish.
#[path = "gcp/publisher.rs"]
mod publisher;

/// The source `pubsub`.
#[path = "gcp/pull.rs"]
mod pull;

/// What waits in a subscription.
#[path = "gcp/waiting.rs"]
mod waiting;

/// Push subscriptions.
#[path = "gcp/push.rs"]
mod push;
