//! A lane: one route on one bus in one run, with the deliveries that it owes. No I/O.
//!
//! Deliveries are *open* in memory (ready, waiting for their next try, or in flight), within
//! [`Limits`]; the rest is *spilled*: pending entries in the ledger, or on their way
//! there with the next commit. What is spilled is paged in again as the lane drains, ready ones in the
//! order of their offsets.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use schemas::{Code, Event};

use super::{
    keys::{FOLLOWERS_MAX, Keys},
    open::Ending,
};
use crate::{
    clock::Timestamp,
    id::{BusName, LaneId, Offset, OrderKey, RouteId, RouteName},
    order::Keyed,
    retain::BacklogLimits,
    settle::RetryPolicy,
    stats::RouteStats,
    store::{Attempts, Pause, Pending, Place},
    transform::Transform,
};

/// Deliveries of one lane that are ready or in flight in memory.
pub const OPEN_MAX: usize = 1_024;
/// Bytes of their events.
pub const BYTES_MAX: usize = 4 << 20;
/// Deliveries of one lane that wait in memory for their next try.
pub const WAITING_MAX: usize = 1_024;
/// Deliveries of all lanes in memory; past it the fullest lane lives from the ledger.
pub const WAITING_TOTAL_MAX: usize = 65_536;
/// Bytes of the events of all calls that are under way; past it a target has one call at a time, or its even share.
pub const FLIGHT_BYTES_MAX: usize = 32 << 20;
/// Deliveries of all lanes that go to the ledger with one commit.
pub const FRESH_MAX: usize = 16_384;

/// How much of what is owed stays in memory. The rest lives in the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Deliveries of one lane that are ready or in flight. It pages in when fewer than half are.
    pub open_max: usize,
    /// Bytes of their events; one event may pass it.
    pub bytes_max: usize,
    /// Deliveries of one lane that wait for their next try; the latest due go to the ledger.
    pub waiting_max: usize,
    /// Deliveries of all lanes that were spilled since the last commit; at this many planning pauses.
    pub fresh_max: usize,
    /// Deliveries of all lanes in memory; past it the fullest lanes live from the ledger.
    pub total_max: usize,
    /// Bytes of the events of all calls under way, see [`super::open`].
    pub flight_max: usize,
    /// Deliveries of one key in memory behind the one whose turn it is.
    pub followers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            open_max: OPEN_MAX,
            bytes_max: BYTES_MAX,
            waiting_max: WAITING_MAX,
            fresh_max: FRESH_MAX,
            total_max: WAITING_TOTAL_MAX,
            flight_max: FLIGHT_BYTES_MAX,
            followers_max: FOLLOWERS_MAX,
        }
    }
}

/// A delivery got lost inside the router: a bug. Nothing may be committed any more.
#[derive(Debug, thiserror::Error)]
#[error(
    "the router lost count of its deliveries: lane {lane:?} opened {opened}, settled {settled} and owes {owed}; this is a bug, please report it"
)]
pub(super) struct Violation {
    lane: LaneId,
    opened: u64,
    settled: u64,
    owed: u64,
}

/// A delivery in memory.
#[derive(Debug)]
pub(super) struct Open {
    pub appended: Timestamp,
    pub event: Event,
    pub attempts: Attempts,
    pub opened_ms: u64,
    pub state: State,
    /// What the ledger holds of it, the commit under way included: nothing, or an entry that stands there.
    pub stored: Option<Place>,
    /// The key that it is ordered by.
    pub key: Option<OrderKey>,
    /// It was redriven after later ones of its key were delivered.
    pub late: bool,
    /// It changed since it was stored.
    pub dirty: bool,
    /// How often its target had succeeded when it failed last.
    pub mark: u64,
    /// It failed by its own fault where a batch is taken whole or not at all: it is sent by itself.
    pub alone: bool,
}

/// A delivery on its way to the ledger: as much as its entry needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    pub offset: Offset,
    pub opened_ms: u64,
    pub bytes: u32,
}

/// Length of an event's body, which admission holds far below what this can count.
pub(super) fn body_bytes(event: &Event) -> u32 {
    u32::try_from(event.body().len()).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// Until this moment of monotonic time.
    Waiting(Duration),
    InFlight,
    /// Behind another one of its key.
    Behind,
}

/// What a lane shows of its route.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub name: RouteName,
    pub retry: RetryPolicy,
    pub backlog: BacklogLimits,
    pub transform: Option<Arc<Transform>>,
    /// The bus that takes the events of its target's answers.
    pub reply: Option<BusName>,
    pub order: Option<Keyed>,
    pub stats: Arc<RouteStats>,
}

impl Route {
    /// As a replay sees it. Its backlog has no limits, since a run opens no more than drains, and what it
    /// does is counted apart, so that the figures of the live flow are its own.
    pub fn for_run(&self) -> Self {
        Route { backlog: BacklogLimits::default(), stats: Arc::default(), ..self.clone() }
    }

    /// A route that the ledger has deliveries but no name of.
    pub fn nameless(id: RouteId) -> Self {
        tracing::error!(code = %crate::codes::LANE_UNKNOWN, route = id.0, "the ledger owes deliveries to a route that it has no name of; they are kept");
        Route {
            name: id.nameless(),
            retry: RetryPolicy::default(),
            backlog: BacklogLimits::default(),
            transform: None,
            reply: None,
            order: None,
            stats: Arc::default(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub id: LaneId,
    pub route: Arc<Route>,
    /// Index of its target; `None` when the route is not configured.
    pub target: Option<usize>,
    /// Its target said that it is gone.
    pub stopped: Option<Code>,
    /// What an operator said last about delivering for its route.
    pub pause: Option<Pause>,
    /// It stands in its target's queue.
    pub queued: bool,
    /// Parts of failed batches, which are sent before anything else of the lane. Each offset is of a
    /// delivery in memory, so that [`Limits`] bound them; those that are not ready any more are passed over.
    pub halves: VecDeque<Vec<Offset>>,
    /// Until when a batch that is not full waits for more.
    pub linger: Option<Duration>,

    pub open: HashMap<Offset, Open>,
    pub ready: BTreeSet<Offset>,
    pub waiting: BTreeSet<(Duration, Offset)>,
    /// Deliveries in memory that are behind another one of their key.
    pub behind: BTreeSet<Offset>,
    pub in_flight: usize,
    pub bytes: usize,
    /// Offsets whose open delivery may differ from what is stored.
    pub touched: Vec<Offset>,

    /// Spilled since the last commit.
    pub fresh: Vec<Fresh>,
    /// Ready entries that are only in the ledger, none of them below `ledger_from`.
    pub ledger_ready: u64,
    pub ledger_from: Offset,
    /// Waiting entries that are only in the ledger, the first of them due then.
    pub ledger_waiting: u64,
    pub ledger_due: Option<Timestamp>,
    /// Entries that are only in the ledger, parked under their keys.
    pub parked: u64,
    /// As in [`Limits`].
    pub followers_max: usize,
    /// The keys of a lane that keeps an order, or kept one.
    pub keys: Option<Box<Keys>>,
    /// The ledger shows what was spilled once this commit is done.
    pub readable_after: u64,
    pub paging: bool,
    /// A redrive put an entry here while a read went on, perhaps behind it.
    pub rewind: Option<Offset>,
    /// The newest commit that was made when the read under way began.
    pub paged_after: u64,
    /// Entries that a read of the ledger may still show as they were before they were settled, or left
    /// memory, with the commit that ends or changes them.
    pub gone: HashMap<Offset, u64>,

    /// How many deliveries leave memory for the ledger with the next commit.
    pub leave: usize,

    /// Bytes of the events that are owed, wherever they are.
    pub owed_bytes: u64,
    pub ending: Ending,

    pub opened: u64,
    pub settled: u64,
    pub dead_letters: u64,
}

impl Lane {
    pub fn new(id: LaneId, route: Arc<Route>, target: Option<usize>, limits: &Limits) -> Self {
        Lane {
            id,
            route,
            target,
            stopped: None,
            pause: None,
            queued: false,
            halves: VecDeque::new(),
            linger: None,
            open: HashMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            behind: BTreeSet::new(),
            in_flight: 0,
            bytes: 0,
            touched: Vec::new(),
            fresh: Vec::new(),
            ledger_ready: 0,
            ledger_from: Offset(0),
            ledger_waiting: 0,
            ledger_due: None,
            parked: 0,
            followers_max: limits.followers_max,
            keys: None,
            readable_after: 0,
            paging: false,
            rewind: None,
            paged_after: 0,
            gone: HashMap::new(),
            leave: 0,
            owed_bytes: 0,
            ending: Ending::default(),
            opened: 0,
            settled: 0,
            dead_letters: 0,
        }
    }

    /// An operator has paused its route.
    pub fn is_paused(&self) -> bool {
        matches!(self.pause, Some(Pause::Since(_)))
    }

    /// Nothing is sent for it: it is stopped or paused.
    pub fn rests(&self) -> bool {
        self.stopped.is_some() || self.is_paused()
    }

    /// Deliveries in memory that do not wait for their next try.
    pub fn active(&self) -> usize {
        self.ready.len() + self.in_flight + self.behind.len()
    }

    /// Whether a new delivery may stay in memory: there is room, and nothing older of the lane is spilled.
    pub fn takes(&self, limits: &Limits) -> bool {
        let room = self.active() < limits.open_max && self.bytes < limits.bytes_max;
        room && self.fresh.is_empty() && self.ledger_ready == 0
    }

    /// How many ready entries to read from the ledger now; 0 for none.
    pub fn page_ready(&self, committed: u64, limits: &Limits) -> usize {
        let room = limits.open_max.saturating_sub(self.active());
        let wanted = self.active() < limits.open_max / 2 && self.bytes < limits.bytes_max / 2;
        let possible = self.ledger_ready > 0 && !self.paging && committed >= self.readable_after;
        if wanted && possible { room } else { 0 }
    }

    /// Whether to read due entries from the ledger now.
    pub fn page_due(&self, committed: u64, now: Timestamp, limits: &Limits) -> bool {
        let due = self.ledger_waiting > 0 && self.ledger_due.is_none_or(|due| due <= now);
        due && self.active() < limits.open_max / 2 && !self.paging && committed >= self.readable_after
    }

    /// Takes a delivery into memory, ready or behind another one.
    pub fn admit(&mut self, offset: Offset, open: Open) {
        self.bytes += open.event.body().len();
        if open.dirty {
            self.touched.push(offset);
        }
        match open.state {
            State::Behind => self.behind.insert(offset),
            _ => self.ready.insert(offset),
        };
        self.open.insert(offset, open);
    }

    /// Takes a delivery out of memory.
    pub fn remove(&mut self, offset: Offset) -> Option<Open> {
        let open = self.open.remove(&offset)?;
        self.bytes = self.bytes.saturating_sub(open.event.body().len());
        match open.state {
            State::Ready => {
                self.ready.remove(&offset);
            }
            State::Waiting(due) => {
                self.waiting.remove(&(due, offset));
            }
            State::InFlight => self.in_flight = self.in_flight.saturating_sub(1),
            State::Behind => {
                self.behind.remove(&offset);
            }
        }
        Some(open)
    }

    /// Moves an open delivery to another state.
    pub fn set(&mut self, offset: Offset, state: State) {
        let Some(open) = self.open.get_mut(&offset) else { return };
        match std::mem::replace(&mut open.state, state) {
            State::Ready => {
                self.ready.remove(&offset);
            }
            State::Waiting(due) => {
                self.waiting.remove(&(due, offset));
            }
            State::InFlight => self.in_flight = self.in_flight.saturating_sub(1),
            State::Behind => {
                self.behind.remove(&offset);
            }
        }
        match state {
            State::Ready => {
                self.ready.insert(offset);
            }
            State::Waiting(due) => {
                self.waiting.insert((due, offset));
            }
            State::InFlight => self.in_flight += 1,
            State::Behind => {
                self.behind.insert(offset);
            }
        }
    }

    /// Its entry in the ledger, as it should be.
    pub fn pending(&self, offset: Offset, open: &Open, Place { due, key }: Place) -> Pending {
        Pending {
            lane: self.id,
            offset,
            due,
            key,
            late: open.late,
            opened_ms: open.opened_ms,
            bytes: body_bytes(&open.event),
            attempts: open.attempts.clone(),
        }
    }

    /// Deliveries that are owed, wherever they are.
    pub fn owed(&self) -> u64 {
        let memory = self.open.len() + self.fresh.len();
        u64::try_from(memory).unwrap_or(u64::MAX) + self.ledger_ready + self.ledger_waiting + self.parked
    }

    /// Its count, which does not add up.
    pub fn violation(&self) -> Violation {
        Violation { lane: self.id, opened: self.opened, settled: self.settled, owed: self.owed() }
    }

    /// A read of the ledger begun after commit `committed` no longer shows these.
    pub fn forget_gone(&mut self, committed: u64) {
        if !self.paging {
            self.gone.retain(|_, commit| *commit > committed);
        }
    }
}
