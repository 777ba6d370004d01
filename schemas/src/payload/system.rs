//! What the router tells of itself on its bus `system`.
//!
//! Facts of one kind about one subject are one event for each second; `count` says how many they were, and the other
//! members are those of the last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Data of `gocoffee.dead-letters.parked`: deliveries of a route became dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Parked {
    /// The route.
    pub route: String,
    /// The target of the last of them.
    pub target: String,
    /// How many.
    pub count: u64,
    /// How many for each reason.
    pub reasons: BTreeMap<String, u64>,
    /// The first of them.
    pub first: String,
    /// The last of them.
    pub last: String,
}

/// Data of `gocoffee.dead-letters.ended`: a limit ended dead letters for good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LettersEnded {
    /// The limit: `dead-letters-age` or `dead-letters-bytes`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Data of `gocoffee.breaker.opened`: a target's breaker opened, and its deliveries wait.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct BreakerOpened {
    /// The target.
    pub target: String,
    /// How often.
    pub count: u64,
    /// How long it stays open at least, in milliseconds.
    pub wait_ms: u64,
    /// What the target said, or why it said nothing.
    pub why: String,
}

/// Data of `gocoffee.breaker.closed`: a target works again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct BreakerClosed {
    /// The target.
    pub target: String,
    /// How often.
    pub count: u64,
}

/// Data of `gocoffee.backlog.full`: a route that says `hold` is owed so much that its bus takes nothing in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct BacklogFull {
    /// The route.
    pub route: String,
    /// How often.
    pub count: u64,
    /// Bytes that it is owed.
    pub bytes: u64,
    /// Bytes that it may be owed.
    pub bytes_max: u64,
}

/// Data of `gocoffee.backlog.drained`: its bus takes events in again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct BacklogDrained {
    /// The route.
    pub route: String,
    /// How often.
    pub count: u64,
}

/// Data of `gocoffee.route.orphaned`: at a start, a route that is not configured any more is owed deliveries and holds
/// the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Orphaned {
    /// The route.
    pub route: String,
    /// The bus whose log it holds.
    pub bus: String,
    /// How many deliveries it is owed.
    pub waiting: u64,
}

/// Data of `gocoffee.route.stopped`: a route's target says that it is gone, and nothing more is sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stopped {
    /// The route.
    pub route: String,
    /// Its target.
    pub target: String,
    /// How often.
    pub count: u64,
    /// What the target said, as far as it is known.
    pub why: String,
}

/// Data of `gocoffee.store.level`: how short space is has changed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StoreLevel {
    /// From now on.
    pub level: Level,
    /// Bytes that are used.
    pub used_bytes: u64,
    /// Bytes that may be used, where there is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// Free bytes of the file system, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

/// How short space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It suffices.
    Calm,
    /// Settled events go, whatever retention says.
    Short,
    /// Nothing is taken in.
    Full,
}

/// Data of `gocoffee.intake.refusing`: the disk is full and the archive has nothing to give.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Refusing {
    /// Who holds the most.
    pub why: String,
    /// How often.
    pub count: u64,
}

/// Data of `gocoffee.intake.resumed`: events are taken in again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Resumed {
    /// How often.
    pub count: u64,
}

/// Data of `gocoffee.archive.failing`: nothing can be copied to the archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchiveFailing {
    /// Where it is.
    pub place: String,
    /// How often.
    pub count: u64,
    /// What it said.
    pub why: String,
}

/// Data of `gocoffee.archive.works`: copies to the archive are made again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchiveWorks {
    /// Where it is.
    pub place: String,
    /// How often.
    pub count: u64,
}

/// Data of `gocoffee.archive.uncopied`: settled events went before they were copied to the archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchiveUncopied {
    /// The bus.
    pub bus: String,
    /// How often.
    pub count: u64,
    /// The first offset of the last stretch that went.
    pub from: u64,
    /// The offset behind it.
    pub to: u64,
}

/// Data of `gocoffee.replay.ended`: a replay is over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReplayEnded {
    /// Its number.
    pub replay: u32,
    /// The bus that it read.
    pub bus: String,
    /// How it ended: `done`, `cancelled`, `no-space` or `too-old`.
    pub end: String,
    /// Its first offset.
    pub from: u64,
    /// The offset behind its last one.
    pub to: u64,
    /// How far it read: `to`, where it was done.
    pub next: u64,
    /// Events that it read.
    pub read: u64,
    /// Those of them that no route wanted.
    pub skipped: u64,
    /// Deliveries that it opened.
    pub matched: u64,
    /// Those of them that were delivered.
    pub delivered: u64,
    /// Those that became dead letters.
    pub dead_lettered: u64,
    /// Those that ended with it.
    pub ended: u64,
}

/// Data of `gocoffee.audit`: an operator changed something over the admin API, or by a signal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Audit {
    /// What was done, in words.
    pub what: String,
    /// To what: a name, an id, or the conditions of a selection.
    pub about: String,
    /// Who did it: the address of the caller, or `signal`.
    pub who: String,
    /// How many it changed.
    pub count: u64,
}
