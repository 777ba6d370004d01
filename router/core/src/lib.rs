//! The way of an event through the router, one step per file, in the order an event takes them.
//!
//! | # | step | file | durable afterwards |
//! |---|---|---|---|
//! | 1 | receive | [`source`] | nothing: the sender saw no answer and sends again |
//! | 2 | admit | [`admit`] | nothing |
//! | 3 | append | [`store`] | the event |
//! | 4 | match | [`filter`] | |
//! | 5 | plan | [`plan`] | |
//! | 6 | deliver | [`target`] | nothing: sent again under the same [`id::DeliveryId`] |
//! | 7 | settle | [`settle`] | done, retry at, or dead letter |
//! | 8 | archive | [`shelf`] | a copy; only then retention lets the segment go |
//! | 9 | replay | [`replay`]: re-enters at 4 | the run's progress |
//!
//! [`path`] drives the steps and is the only one that spawns, by [`own_thread`] where a loop waits for the disk. Decisions are pure functions that take
//! time and randomness as arguments; no cloud SDK, no HTTP and no disk is in this crate.

/// Names and numbers: what identifies a bus, a route, an offset, a delivery.
pub mod id;

/// Time, as the path sees it.
pub mod clock;

/// Threads for loops that write.
pub mod own_thread;

/// Step 1: where events come in.
pub mod source;

// The names of what the path refuses and why it gives up.
pub mod codes;

/// Step 2: what is taken in, and what was there already.
pub mod admit;

/// Step 3: the ports to what is durable, `Log` and `Ledger`.
pub mod store;

/// Step 4: which routes want an event.
pub mod filter;

/// Step 5: what is owed to whom.
pub mod plan;

/// Step 5: which deliveries keep their order.
pub mod order;

/// Step 6: what a target gets in place of the event.
pub mod transform;

/// Step 6: where events go.
pub mod target;

/// Steps 2 and 6: the routers that an event has passed, so that no ring goes on for ever.
pub mod hops;

/// Step 6: what a target answers with, and what it follows from.
pub mod reply;

/// What is no event, and is kept all the same.
pub mod quarantine;

/// Step 7: what an attempt means for its delivery and its target.
pub mod settle;

/// Step 9: a stretch of the log, once more.
pub mod replay;

/// Step 8: copies of sealed segments, outside of this machine.
pub mod shelf;

/// How long what is settled stays, and what gives way when space is short.
pub mod retain;

/// The log as far back as it is kept, for who looks on.
pub mod archive;

/// What the router itself tells, as events of the bus `system`.
pub mod system;

/// The loops that drive the steps.
pub mod path;

/// What is counted, for whoever watches.
pub mod stats;
