//! Goal: routers that stand beside their clouds pass each other everything that comes in anywhere: each event reaches
//! each of them once, unchanged, and the ring that they make ends; a cloud that is cut off for a while costs nothing
//! but time. The routers are processes of the real binary with the configurations of docs/ring.md; moto or ministack
//! stands for AWS, Google's own emulator for Google, and Event Grid is played by Microsoft's documentation.
//!
//! `cargo xtask test` puts the peers of AWS into `peers` in the target folder; the emulator is that of an installed
//! Google Cloud SDK. Where one is missing, its tests say so in one line and end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Who stands for AWS.
#[path = "aws/peers.rs"]
#[allow(dead_code)]
mod peers;

/// Google's emulator.
#[path = "gcp/emulator.rs"]
#[allow(dead_code)]
mod emulator;

/// Event Grid, played.
#[path = "../../router/azure/tests/azure/grid.rs"]
#[allow(dead_code)]
mod grid;

/// How the played Event Grid delivers to webhooks.
#[path = "ring/hook.rs"]
mod hook;

/// The clouds, and routers beside them.
#[path = "ring/stations.rs"]
mod stations;

/// Three clouds in a ring.
#[path = "ring/three.rs"]
mod three;

/// Two routers that mirror two clouds.
#[path = "ring/mirror.rs"]
mod mirror;
