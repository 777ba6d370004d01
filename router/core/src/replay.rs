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

use schemas::Event;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    filter::{self, Filter, Matcher, Scratch},
    id::{BusId, Offset, RouteId, RouteName, RunId},
    plan::read_filter_text,
    store::{Chunk, Error, Record},
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
    /// Offsets of its range that could not be read: their copy in the archive is missing or damaged, or they went
    /// before they were copied. Kept behind the rest of it.
    #[serde(skip)]
    pub lost: u64,
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

// ---------------------------------------------------------------------------------- the range

/// An end of a range, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This offset.
    Offset(Offset),
    /// The first event that was appended then or later.
    Time {
        /// When.
        at: Timestamp,
        /// What [`Log::seek`](crate::store::Log::seek) said of it.
        found: Offset,
    },
}

/// A range that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// It begins before what is kept.
    #[error("offset {from} is no longer kept; the first event kept has offset {first}: begin there, or by time")]
    Trimmed {
        /// What was asked for.
        from: Offset,
        /// What there is.
        first: Offset,
    },
    /// It ends behind the newest event.
    #[error("offset {to} is behind the newest event; the range ends before offset {tail} at the latest")]
    Beyond {
        /// What was asked for.
        to: Offset,
        /// What there is.
        tail: Offset,
    },
    /// Nothing is in it.
    #[error("no event is in the range: it is from offset {from} up to, not including, offset {to}")]
    Empty {
        /// Its beginning.
        from: Offset,
        /// Its end.
        to: Offset,
    },
}

/// A range of offsets that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first offset.
    pub from: Offset,
    /// The offset behind its last one.
    pub to: Offset,
    /// It was to begin at a time from which on not everything may be kept any more.
    pub clamped: bool,
}

/// Fixes a range to offsets; `bounds` are the first offset that is kept and the tail. Who names an offset
/// that is gone is told so; who names a time gets what is kept from then on.
///
/// # Errors
/// [`RangeError`] says what there is.
pub fn span(from: Place, to: Option<Place>, (first, tail): (Offset, Offset)) -> Result<Span, RangeError> {
    let (from, clamped) = match from {
        Place::Offset(from) if from < first => return Err(RangeError::Trimmed { from, first }),
        Place::Offset(from) => (from, false),
        Place::Time { found, .. } => (found.max(first), found <= first && first > Offset(1)),
    };
    let to = match to {
        Some(Place::Offset(to)) if to > tail => return Err(RangeError::Beyond { to, tail }),
        Some(Place::Offset(to)) => to,
        Some(Place::Time { found, .. }) => found.min(tail),
        None => tail,
    };
    if from >= to { Err(RangeError::Empty { from, to }) } else { Ok(Span { from, to, clamped }) }
}

// ---------------------------------------------------------------------------------- what is in it

/// Judges the records of a run.
pub struct Selector {
    matcher: Matcher,
    own: Option<Filter>,
}

impl Selector {
    /// By the filters of the routes, and the run's own on top.
    ///
    /// # Errors
    /// The first filter that this program cannot read, with its route; `None`: the run's own.
    pub fn new(routes: &[RunRoute], own: Option<&str>) -> Result<Self, (Option<RouteName>, filter::Error)> {
        let read = |r: &RunRoute| match read_filter_text(&r.filter) {
            Ok(filter) => Ok((r.route, filter)),
            Err(e) => Err((Some(r.name.clone()), e)),
        };
        let routes = routes.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let own = own.map(read_filter_text).transpose().map_err(|e| (None, e))?;
        Ok(Selector { matcher: Matcher::compile(routes), own })
    }

    /// The routes to which the event is owed, in rising order, into `out`.
    pub fn owed(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<RouteId>) {
        out.clear();
        self.matcher.matches(event, scratch, out);
        if !out.is_empty() && self.own.as_ref().is_some_and(|own| !own.matches(event)) {
            out.clear();
        }
    }
}

/// What a read of a run found.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Where to read on.
    pub next: Offset,
    /// Events that were read.
    pub read: u64,
    /// Offsets that could not be read, and what is wrong with the copy that they would be in.
    pub lost: Option<(u64, Box<str>)>,
    /// Those that a route wants, and which routes.
    pub hits: Vec<(Record, Vec<RouteId>)>,
}

/// The records of a chunk that was read from `from` on: those before `to`, until so many of them are wanted.
///
/// # Errors
/// [`Error::Damaged`] for a record whose bytes are no event.
pub fn select(selector: &Selector, chunk: &Chunk, to: Offset, hits_max: usize) -> Result<Read, Error> {
    // A chunk without records ends at the tail, which lies at or behind the end of every range.
    let mut found = Read { next: if chunk.records.is_empty() { to } else { chunk.next.min(to) }, ..Read::default() };
    let (mut scratch, mut owed) = (Scratch::default(), Vec::new());
    for record in chunk.records() {
        let record = record?;
        if record.offset >= to {
            break;
        }
        if found.hits.len() >= hits_max {
            found.next = record.offset;
            break;
        }
        found.read += 1;
        selector.owed(&record.event, &mut scratch, &mut owed);
        if !owed.is_empty() {
            // A delivery that waits must not keep the whole chunk.
            found.hits.push((Record { event: record.event.detached(), ..record }, owed.clone()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
