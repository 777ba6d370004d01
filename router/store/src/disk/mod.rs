//! The log on disk: one folder per bus, in it segments of our own.
//!
//! ```text
//! DATA/lock                                   held while a router runs (`Lock`)
//! DATA/ledger/…                               what is owed (module `ledger` of this crate)
//! DATA/buses/NAME/00000000000000000001.log    a segment, named by the lowest offset it may hold
//! DATA/buses/NAME/00000000000000000001.idx    its side file: index and keys, rebuilt when missing or damaged
//! DATA/buses/NAME/00000000000000000001.rem    a remnant: what is needed of a stretch that was let go
//! DATA/buses/NAME/clean                       the mark of a clean stop; there only while no router runs
//! DATA/buses/NAME/*.new                       a file in the making; of no meaning, removed at the next open
//! ```
//!
//! The segment with the highest offset is *unsealed*: batches are appended to it, one write and one
//! sync each. All others are *sealed* and never change. A segment's file appears under its name only
//! after its head is synced, and the head says where the segment before it ends, so that a missing or
//! shortened segment is noticed.
//!
//! A segment is let go oldest first (module `log::reduce`): it becomes a remnant, or nothing. A remnant
//! stands for its whole stretch of offsets; a segment or another remnant in that stretch is left over
//! from a stop on the way, and an open removes it.
//!
//! Invariants:
//! 1. A reader sees a record only after the sync that covers it returned without an error.
//! 2. What was readable once is there after a power loss. Therefore an unsealed segment that was not
//!    closed is written anew, synced and swapped in before anything of it is read: a process that died
//!    after a failed sync leaves bytes that look good and are on no disk.
//! 3. After a failed write or sync nothing is written or acknowledged any more (`Error::Poisoned`).
//! 4. Every block that was acknowledged is either read as it was written, or named as damaged.
//!
//! All access to files goes through [`Files`](crate::disk::files::Files);
//! [`SimFiles`](crate::disk::sim::SimFiles) is the form of it that loses what was not synced.

// The one seam to the file system.
pub mod files;

// Files in memory that lose what was not synced.
pub mod sim;

// The byte format of segments.
mod segment;

// Going along the blocks of a segment.
mod scan;

// The byte format of side files.
mod side;

// The byte format of remnants.
mod remnant;

// Reading blocks of one segment.
mod read;

// Opening: what a start finds, checks and repairs.
mod recover;

// The log itself.
mod log;

// Looking at a log that no router works on, and mending it.
mod inspect;

pub use files::{Lock, LockError};
pub use inspect::{Damage, Inspected, inspect, inspect_sides, set_aside};
pub use log::{DiskLog, Options};
