//! Goal: what the router sends to AWS arrives, and what AWS says becomes of each event is what becomes of its delivery.
//! The peers are moto and ministack, which others wrote: the same bodies run against both where both can serve. Faults
//! come from a proxy in front of them.
//!
//! `cargo xtask test` puts the peers into `peers` in the target folder; they are found on the PATH, too. Where one is
//! missing, its tests say so in one line and end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Who stands for AWS.
#[path = "aws/peers.rs"]
mod peers;

/// What goes wrong between the router and AWS.
#[path = "aws/proxy.rs"]
mod proxy;

/// The source `eventbridge`.
#[path = "aws/pull.rs"]
mod pull;

/// The target `lambda`.
#[path = "aws/function.rs"]
mod function;

/// The target `sqs`.
#[path = "aws/queue.rs"]
mod queue;

/// The target `eventbridge`.
#[path = "aws/publish.rs"]
mod publish;

/// The source `aws.api_destination`.
#[path = "aws/sent.rs"]
mod sent;

/// A custom event bus, played.
#[path = "aws/custom_bus.rs"]
mod custom_bus;

/// The target `eventbridge_v2`.
#[path = "aws/custom.rs"]
mod custom;

/// Who the router is, by its environment and by roles.
#[path = "aws/identity.rs"]
mod identity;

/// The source `aws.put_events`.
#[path = "aws/sdk.rs"]
mod sdk;

/// Rings that end.
#[path = "aws/ring.rs"]
mod ring;
