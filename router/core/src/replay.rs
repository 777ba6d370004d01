//! Step 9, replay: a selection of a bus's log re-enters at step 4 as a run of its own. Pure, but for reading.
//!
//! A run's range is fixed to offsets when it starts, and so are the filters that judge it: those that its
//! routes had then, and its own on top. Everything of the run below [`Run::next`], the B of the run, is
//! settled, except the pending entries that the ledger keeps under (bus, route, run): the invariant of the
//! live flow. So a restart goes on where the last commit left it, at least once under one
//! [`DeliveryId`](crate::id::DeliveryId), which the run is part of.
//!
//! A run that goes on or is paused holds its range from trimming: nothing at or above its B and below its
//! end is let go.

use std::{num::NonZeroU32, ops::Range, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{BusId, Offset, RouteId, RouteName, RunId},
};

/// Running time of the router after which a run ends, whatever it has reached.
pub const RUN_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Runs that are not over, at a time.
pub const RUNS_OPEN_MAX: usize = 16;
/// Runs that are kept to be looked at, those that are over among them.
pub const RUNS_KEPT_MAX: usize = 100;
/// Routes of one run.
pub const RUN_ROUTES_MAX: usize = 64;

/// What becomes of the events that a target answers a replayed delivery with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replies {
    /// They are counted and dropped.
    #[default]
    Discard,
    /// They are taken in like those of the live flow.
    Admit,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunEnd {
    /// Everything of its range is settled.
    Done,
    /// An operator cancelled it.
    Cancelled,
    /// It held space that the router needed.
    NoSpace,
    /// It was older than `run_age_max`.
    TooOld,
}

impl RunEnd {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RunEnd::Done => "done",
            RunEnd::Cancelled => "cancelled",
            RunEnd::NoSpace => "no-space",
            RunEnd::TooOld => "too-old",
        }
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// It goes on.
    Running,
    /// It waits to be resumed, and sends nothing meanwhile.
    Paused,
    /// It reads no more, and what is open of it is being ended.
    Ending(RunEnd),
    /// It is over.
    Ended(RunEnd),
}

impl RunState {
    /// For people, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::Ending(_) => "ending",
            RunState::Ended(end) => end.as_str(),
        }
    }

    /// Whether it goes on or may be resumed.
    pub fn is_open(self) -> bool {
        matches!(self, RunState::Running | RunState::Paused)
    }

    /// Whether nothing of it is left to do.
    pub fn is_over(self) -> bool {
        matches!(self, RunState::Ended(_))
    }
}

/// What became of the deliveries of one route in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
    /// Events that the route and the run wanted: deliveries that were opened.
    pub matched: u64,
    /// Delivered.
    pub delivered: u64,
    /// Parked as dead letters, less those that were opened again while the run went on.
    pub dead_lettered: u64,
    /// Ended with the run, before they were delivered.
    pub ended: u64,
    /// Replies that were counted and dropped.
    pub replies_discarded: u64,
}

/// A route of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRoute {
    /// The route.
    pub route: RouteId,
    /// Its name.
    pub name: RouteName,
    /// Its filter when the run started, as [`crate::plan::filter_text`] writes it.
    pub filter: Arc<str>,
    /// What became of its deliveries.
    pub counts: RunCounts,
}

/// A run: what was asked for, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number, from 1 on; never given twice in a store.
    pub id: RunId,
    /// The bus that it reads.
    pub bus: BusId,
    /// Its first offset.
    pub from: Offset,
    /// The offset behind its last one.
    pub to: Offset,
    /// Its B: everything of the run below it is settled, but for its pending entries.
    pub next: Offset,
    /// Where it delivers to.
    pub routes: Vec<RunRoute>,
    /// What it wants of the events besides, as [`crate::plan::filter_text`] writes it.
    pub filter: Option<Arc<str>>,
    /// Events a second that it opens at most; `None`: as fast as they drain.
    pub rate: Option<NonZeroU32>,
    /// What becomes of replies.
    pub replies: Replies,
    /// Where it is.
    pub state: RunState,
    /// Why the router paused it, when it did.
    pub note: Option<Box<str>>,
    /// When it was started.
    pub started: Timestamp,
    /// The router's running time at that moment: see [`crate::store::State::running_ms`].
    pub opened_ms: u64,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Events of its range that were read.
    pub read: u64,
    /// Those of them that none of its routes wanted.
    pub skipped: u64,
}

impl Run {
    /// What must not be trimmed: what it has yet to read.
    pub fn holds(&self) -> Option<Range<Offset>> {
        (self.state.is_open() && self.next < self.to).then_some(self.next..self.to)
    }

    /// Whether something of the range is held.
    pub fn holds_any_of(&self, bus: BusId, range: &Range<Offset>) -> bool {
        self.bus == bus && self.holds().is_some_and(|held| held.start < range.end && range.start < held.end)
    }

    /// One of its routes.
    pub fn counts_mut(&mut self, route: RouteId) -> Option<&mut RunCounts> {
        self.routes.iter_mut().find(|r| r.route == route).map(|r| &mut r.counts)
    }
}
