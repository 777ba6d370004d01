//! The facts, their types and their data: see [`schemas::payload::system`].

use std::{collections::BTreeMap, time::Duration};

use schemas::payload::system as payload;
use serde::Serialize;

use crate::{
    id::{BusName, DeliveryId, Offset, RouteName, TargetName},
    replay::{Run, RunEnd},
    retain::Level,
};

/// The types of the events.
pub mod types {
    /// Deliveries of a route became dead letters.
    pub const LETTERS_PARKED: &str = "gocoffee.dead-letters.parked";
    /// A limit ended dead letters.
    pub const LETTERS_ENDED: &str = "gocoffee.dead-letters.ended";
    /// A target's breaker opened.
    pub const BREAKER_OPENED: &str = "gocoffee.breaker.opened";
    /// A target's breaker closed.
    pub const BREAKER_CLOSED: &str = "gocoffee.breaker.closed";
    /// A route's backlog is full and holds its bus.
    pub const BACKLOG_FULL: &str = "gocoffee.backlog.full";
    /// A route's backlog has drained.
    pub const BACKLOG_DRAINED: &str = "gocoffee.backlog.drained";
    /// A route that is not configured any more holds the log.
    pub const ROUTE_ORPHANED: &str = "gocoffee.route.orphaned";
    /// A route's target says that it is gone.
    pub const ROUTE_STOPPED: &str = "gocoffee.route.stopped";
    /// How short space is has changed.
    pub const STORE_LEVEL: &str = "gocoffee.store.level";
    /// Intake refuses, because the disk is full.
    pub const INTAKE_REFUSING: &str = "gocoffee.intake.refusing";
    /// Intake takes events in again.
    pub const INTAKE_RESUMED: &str = "gocoffee.intake.resumed";
    /// Nothing can be copied to the archive.
    pub const ARCHIVE_FAILING: &str = "gocoffee.archive.failing";
    /// Copies to the archive are made again.
    pub const ARCHIVE_WORKS: &str = "gocoffee.archive.works";
    /// Settled events went before they were copied to the archive.
    pub const ARCHIVE_UNCOPIED: &str = "gocoffee.archive.uncopied";
    /// A replay is over.
    pub const REPLAY_ENDED: &str = "gocoffee.replay.ended";
    /// An operator changed something.
    pub const AUDIT: &str = "gocoffee.audit";

    /// All of them.
    pub const ALL: [&str; 16] = [
        LETTERS_PARKED,
        LETTERS_ENDED,
        BREAKER_OPENED,
        BREAKER_CLOSED,
        BACKLOG_FULL,
        BACKLOG_DRAINED,
        ROUTE_ORPHANED,
        ROUTE_STOPPED,
        STORE_LEVEL,
        INTAKE_REFUSING,
        INTAKE_RESUMED,
        ARCHIVE_FAILING,
        ARCHIVE_WORKS,
        ARCHIVE_UNCOPIED,
        REPLAY_ENDED,
        AUDIT,
    ];
}

/// Something that the router tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A delivery became a dead letter.
    Parked {
        /// Of this route.
        route: RouteName,
        /// To this target.
        target: TargetName,
        /// Why.
        reason: Box<str>,
        /// The delivery.
        id: DeliveryId,
    },
    /// A limit ended dead letters.
    LettersEnded {
        /// Which limit.
        reason: &'static str,
        /// How many.
        count: u64,
    },
    /// A target's breaker opened.
    BreakerOpened {
        /// The target.
        target: TargetName,
        /// For how long at first.
        wait: Duration,
        /// What the target said.
        why: Box<str>,
    },
    /// A target's breaker closed.
    BreakerClosed {
        /// The target.
        target: TargetName,
    },
    /// A route's backlog holds its bus.
    BacklogFull {
        /// The route.
        route: RouteName,
        /// Bytes that it is owed.
        bytes: u64,
        /// Bytes that it may be owed.
        bytes_max: u64,
    },
    /// A route's backlog has drained.
    BacklogDrained {
        /// The route.
        route: RouteName,
    },
    /// A route that is not configured any more is still owed deliveries.
    Orphaned {
        /// The route.
        route: RouteName,
        /// The bus whose log it holds.
        bus: BusName,
        /// How many it is owed.
        waiting: u64,
    },
    /// A route's target says that it is gone: nothing more is sent until an operator resumes the route.
    Stopped {
        /// The route.
        route: RouteName,
        /// The target.
        target: TargetName,
        /// What the target said.
        why: Box<str>,
    },
    /// How short space is.
    Store {
        /// From now on.
        level: Level,
        /// Bytes used.
        used_bytes: u64,
        /// How many there may be.
        bytes_max: Option<u64>,
        /// Free bytes of the file system.
        free_bytes: Option<u64>,
    },
    /// Intake refuses, because the disk is full.
    Refusing {
        /// Who holds the most.
        why: Box<str>,
    },
    /// Intake takes events in again.
    Resumed,
    /// Nothing can be copied to the archive.
    ArchiveFailing {
        /// The place.
        place: Box<str>,
        /// What it said.
        why: Box<str>,
    },
    /// Copies to the archive are made again.
    ArchiveWorks {
        /// The place.
        place: Box<str>,
    },
    /// The disk was full, and settled events went before they were copied to the archive.
    UncopiedLetGo {
        /// The bus.
        bus: BusName,
        /// The first of them.
        from: Offset,
        /// The offset behind them.
        to: Offset,
    },
    /// A replay is over.
    ReplayEnded {
        /// What it was and did.
        run: Box<Run>,
        /// The bus that it read.
        bus: BusName,
        /// How it ended.
        end: RunEnd,
    },
    /// An operator changed something.
    Audit {
        /// What was done.
        what: Box<str>,
        /// To what.
        about: Box<str>,
        /// Who: an address, or `signal`.
        who: Box<str>,
        /// How many it changed.
        count: u64,
    },
}

/// What facts of one kind about one subject come to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// How many dead letters, or facts.
    pub count: u64,
    /// Dead letters by reason.
    pub reasons: BTreeMap<String, u64>,
    /// The first dead letter.
    pub first: Option<DeliveryId>,
}

impl Fact {
    /// Its event's type.
    pub fn kind(&self) -> &'static str {
        match self {
            Fact::Parked { .. } => types::LETTERS_PARKED,
            Fact::LettersEnded { .. } => types::LETTERS_ENDED,
            Fact::BreakerOpened { .. } => types::BREAKER_OPENED,
            Fact::BreakerClosed { .. } => types::BREAKER_CLOSED,
            Fact::BacklogFull { .. } => types::BACKLOG_FULL,
            Fact::BacklogDrained { .. } => types::BACKLOG_DRAINED,
            Fact::Orphaned { .. } => types::ROUTE_ORPHANED,
            Fact::Stopped { .. } => types::ROUTE_STOPPED,
            Fact::Store { .. } => types::STORE_LEVEL,
            Fact::Refusing { .. } => types::INTAKE_REFUSING,
            Fact::Resumed => types::INTAKE_RESUMED,
            Fact::ArchiveFailing { .. } => types::ARCHIVE_FAILING,
            Fact::ArchiveWorks { .. } => types::ARCHIVE_WORKS,
            Fact::UncopiedLetGo { .. } => types::ARCHIVE_UNCOPIED,
            Fact::ReplayEnded { .. } => types::REPLAY_ENDED,
            Fact::Audit { .. } => types::AUDIT,
        }
    }

    /// What it is about: its event's subject.
    pub(super) fn subject(&self) -> String {
        match self {
            Fact::Parked { route, .. }
            | Fact::BacklogFull { route, .. }
            | Fact::BacklogDrained { route }
            | Fact::Orphaned { route, .. }
            | Fact::Stopped { route, .. } => format!("routes/{route}"),
            Fact::BreakerOpened { target, .. } | Fact::BreakerClosed { target } => format!("targets/{target}"),
            Fact::LettersEnded { reason, .. } => format!("dead-letters/{reason}"),
            Fact::Store { .. } | Fact::Refusing { .. } | Fact::Resumed => "store".into(),
            Fact::ArchiveFailing { .. } | Fact::ArchiveWorks { .. } => "archive".into(),
            Fact::UncopiedLetGo { bus, .. } => format!("buses/{bus}"),
            Fact::ReplayEnded { run, .. } => format!("replays/{}", run.id),
            Fact::Audit { .. } => "operator".into(),
        }
    }

    /// How many it counts for.
    pub(super) fn count(&self) -> u64 {
        match self {
            Fact::LettersEnded { count, .. } => *count,
            _ => 1,
        }
    }

    /// Its event's data, as the last of those that were summed up.
    pub(super) fn data(&self, sum: &Sum) -> Result<Vec<u8>, serde_json::Error> {
        let count = sum.count;
        match self {
            Fact::Parked { route, target, id, .. } => json(&payload::Parked {
                route: route.to_string(),
                target: target.to_string(),
                count,
                reasons: sum.reasons.clone(),
                first: sum.first.unwrap_or(*id).to_string(),
                last: id.to_string(),
            }),
            Fact::LettersEnded { reason, .. } => json(&payload::LettersEnded { reason: (*reason).into(), count }),
            Fact::BreakerOpened { target, wait, why } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                json(&payload::BreakerOpened { target: target.to_string(), count, wait_ms, why: why.to_string() })
            }
            Fact::BreakerClosed { target } => json(&payload::BreakerClosed { target: target.to_string(), count }),
            Fact::BacklogFull { route, bytes, bytes_max } => {
                let (bytes, bytes_max) = (*bytes, *bytes_max);
                json(&payload::BacklogFull { route: route.to_string(), count, bytes, bytes_max })
            }
            Fact::BacklogDrained { route } => json(&payload::BacklogDrained { route: route.to_string(), count }),
            Fact::Orphaned { route, bus, waiting } => {
                json(&payload::Orphaned { route: route.to_string(), bus: bus.to_string(), waiting: *waiting })
            }
            Fact::Stopped { route, target, why } => json(&payload::Stopped {
                route: route.to_string(),
                target: target.to_string(),
                count,
                why: why.to_string(),
            }),
            Fact::Store { level, used_bytes, bytes_max, free_bytes } => json(&payload::StoreLevel {
                level: match level {
                    Level::Calm => payload::Level::Calm,
                    Level::Short => payload::Level::Short,
                    Level::Full => payload::Level::Full,
                },
                used_bytes: *used_bytes,
                bytes_max: *bytes_max,
                free_bytes: *free_bytes,
            }),
            Fact::Refusing { why } => json(&payload::Refusing { why: why.to_string(), count }),
            Fact::Resumed => json(&payload::Resumed { count }),
            Fact::ArchiveFailing { place, why } => {
                json(&payload::ArchiveFailing { place: place.to_string(), count, why: why.to_string() })
            }
            Fact::ArchiveWorks { place } => json(&payload::ArchiveWorks { place: place.to_string(), count }),
            Fact::UncopiedLetGo { bus, from, to } => {
                json(&payload::ArchiveUncopied { bus: bus.to_string(), count, from: from.0, to: to.0 })
            }
            Fact::ReplayEnded { run, bus, end } => json(&replay(run, bus, *end)),
            Fact::Audit { what, about, who, count } => json(&payload::Audit {
                what: what.to_string(),
                about: about.to_string(),
                who: who.to_string(),
                count: *count,
            }),
        }
    }
}

fn json(payload: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(payload)
}

fn replay(run: &Run, bus: &BusName, end: RunEnd) -> payload::ReplayEnded {
    let mut told = payload::ReplayEnded {
        replay: run.id.0,
        bus: bus.to_string(),
        end: end.as_str().into(),
        from: run.from.0,
        to: run.to.0,
        next: run.next.0,
        read: run.read,
        skipped: run.skipped,
        matched: 0,
        delivered: 0,
        dead_lettered: 0,
        ended: 0,
    };
    for counts in run.routes.iter().map(|route| route.counts) {
        told.matched += counts.matched;
        told.delivered += counts.delivered;
        told.dead_lettered += counts.dead_lettered;
        told.ended += counts.ended;
    }
    told
}
