//! The disk log as its users see it: on real files, under power loss, under damage and faults, and
//! against a model.

// Helpers of tests are not tests to the lints, but a panic is how they fail, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod damage;
mod every;
mod faults;
mod mend;
mod model;
mod power;
mod real;
mod remnants;
