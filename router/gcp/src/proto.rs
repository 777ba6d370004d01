//! Pub/Sub's own protocol, as Google describes it: messages, and what a server of it has to do. Generated, and held to
//! nothing but its source: see `infra/xtask/src/protos.rs`.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::indexing_slicing, rustdoc::all)]

include!("proto/google.pubsub.v1.rs");
