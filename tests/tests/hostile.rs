//! Goal: who means harm, or knows no better, harms himself alone. Against the real binary: nothing that comes in makes
//! the router call anybody whom its operator did not name, and while others attack, a sender that behaves is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// No event opens a connection.
#[path = "hostile/quiet.rs"]
mod quiet;

/// Connections that say nothing.
#[path = "hostile/idle.rs"]
mod idle;

/// Attacks beside an honest sender.
#[path = "hostile/attacks.rs"]
mod attacks;
