//! The open set: every delivery that is owed and not yet settled, by lane and target. No I/O, no
//! clock: the dispatcher asks it what to do next, does that, and tells it what came of it.
//!
//! # The invariant
//! *Every offset below B is settled for every lane, except the pending entries in the ledger.* A commit
//! carries B = what was planned, an entry for each delivery below it that is still open and not yet
//! stored as it is, and the removal of entries settled meanwhile. [`OpenSet::commit`] counts each
//! touched lane's deliveries before it hands the changes out and refuses when one is missing.

/// What goes to a target now.
mod send;

/// What came of the calls of targets.
mod finish;

/// For whoever waits, or watches.
mod watch;

/// Which deliveries go together in a call, and which go alone.
mod batch;

/// How much at a time.
mod flight;

/// How fast.
mod pace;

/// To and from the ledger.
mod pages;

/// What ends without its target: old, or too much.
mod ending;

/// What keeps an order.
mod order;

/// Who lives from the ledger when memory is full.
mod crowd;

/// Replays, beside the live flow.
mod runs;

/// Routes that an operator has paused.
mod pause;

/// Deliveries whose target has answered with events.
mod replies;

/// What is a dead letter from its beginning.
mod quarantined;

/// Targets that somebody has looked at.
mod probe;

/// Other routes and targets, while it runs.
mod revise;

/// What operators give up.
mod skip;

/// Routes whose target is gone.
mod stopped;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub use self::replies::ANSWERS_BYTES_MAX;
pub(super) use self::{
    ending::{CHANGES_MAX, Ending, Held, WalkOf, Walked},
    flight::bytes_of,
    pause::Paused,
    revise::Routes,
    runs::{RunAct, RunSeen},
    skip::{SkipAt, SkipOver},
    stopped::Stopped,
};
use self::{
    flight::Flight,
    pace::Pace,
    replies::Answers,
    runs::{Later, Runs},
};
use super::lane::{Fresh, Lane, Limits, Open, Route, State, body_bytes};
use crate::{
    clock::Timestamp,
    id::{BusId, LaneId, Offset, OrderKey, RouteId, RunId},
    replay::Selector,
    settle::Breaker,
    store::{Attempts, Change, Epochs, LaneState, Pause, Pending, Record},
    target::{BatchLimits, Delivery, Facts, Outcome, Scope, Target},
};

/// Due entries read from the ledger at a time, those in memory on top.
const DUE_PAGE: usize = 256;

/// The moment at which something is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub wall: Timestamp,
    pub mono: Duration,
    /// The router's running time in all.
    pub running_ms: u64,
    /// A number drawn evenly from `0.0..1.0`.
    pub jitter: f64,
}

/// What the dispatcher is to do.
pub(super) enum Job {
    /// Call the target.
    Deliver { target: usize, lane: usize, probe: bool, batch: Vec<Delivery> },
    /// Read ready entries of a lane from an offset on, or those that are due, and their records.
    Page { lane: usize, id: LaneId, what: PageOf, count_max: usize },
    /// Read entries of a lane without their records, to end what must end.
    Walk { lane: usize, id: LaneId, what: WalkOf, count_max: usize },
    /// Read on in the range of a run.
    Read { run: RunId, bus: BusId, from: Offset, to: Offset, hits_max: usize, selector: Arc<Selector> },
}

/// Which entries to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageOf {
    Ready(Offset),
    Due(Timestamp),
    /// What is parked under a key, from an offset on and up to before another.
    Key(OrderKey, Offset, Offset),
}

/// What a read of the ledger found.
pub(super) struct Paged {
    pub what: PageOf,
    pub entries: Vec<(Pending, Record)>,
    /// Those of them whose record is gone, with a stand-in: they become dead letters.
    pub lost: BTreeSet<Offset>,
    /// Fewer entries were there than asked for.
    pub exhausted: bool,
    /// After a read of due ones: when the next is due.
    pub next_due: Option<Timestamp>,
}

struct Goal {
    target: Arc<dyn Target>,
    /// It is not configured any more, and only its calls under way still end.
    retired: bool,
    limits: BatchLimits,
    breaker: Breaker,
    pace: Option<Pace>,
    in_flight: usize,
    /// Bytes of the events of its calls.
    flight_bytes: usize,
    successes: u64,
    tried: bool,
    lanes: Vec<usize>,
    queue: VecDeque<usize>,
    /// Replays, behind all of this.
    later: Later,
}

impl Goal {
    fn new(target: Arc<dyn Target>) -> Self {
        Goal {
            limits: target.limits(),
            pace: target.limits().rate.map(Pace::new),
            later: Later::new(target.limits().rate),
            target,
            retired: false,
            breaker: Breaker::default(),
            in_flight: 0,
            flight_bytes: 0,
            successes: 0,
            tried: false,
            lanes: Vec::new(),
            queue: VecDeque::new(),
        }
    }
}

/// See the module.
pub(super) struct OpenSet {
    epochs: Epochs,
    limits: Limits,
    routes: Routes,
    /// What an operator said last about delivering for a route.
    pauses: HashMap<RouteId, Pause>,
    targets: Vec<Goal>,
    lanes: Vec<Lane>,
    index: HashMap<LaneId, usize>,
    planned: BTreeMap<BusId, Offset>,
    planned_moved: bool,
    /// Targets that may have something to send.
    hot: BTreeSet<usize>,
    /// Lanes that may have something to page in.
    thirsty: BTreeSet<usize>,
    /// Lanes that the next commit says something about.
    dirty: BTreeSet<usize>,
    /// Lanes with entries that are only in the ledger, or that a read of it may show though they are settled.
    spilled: BTreeSet<usize>,
    /// Targets whose breaker is not closed.
    broken: BTreeSet<usize>,
    /// Targets that wait for their rate.
    paced: BTreeSet<usize>,
    /// When in-memory deliveries are due: moment, lane, offset.
    timers: BTreeSet<(Duration, usize, Offset)>,
    /// When a batch that is not full is sent all the same: moment, lane.
    lingering: BTreeSet<(Duration, usize)>,
    /// Lanes that are looked through for what must end.
    walking: BTreeSet<usize>,
    /// Lanes that reached or left a limit at which their bus holds.
    held: Vec<Held>,
    flight: Flight,
    runs: Runs,
    answers: Answers,
    /// Lanes that have just stopped.
    stopped: Vec<Stopped>,
    /// Skips that are over.
    skipped: Vec<SkipOver>,
    /// The internal route of the quarantine.
    internal: Option<RouteId>,
    changes: Vec<Change>,
    fresh: usize,
    /// Deliveries of all lanes in memory.
    in_memory: usize,
    committing: u64,
    committed: u64,
}

impl OpenSet {
    pub fn new(epochs: Epochs, targets: Vec<Arc<dyn Target>>, routes: Routes) -> Self {
        OpenSet {
            epochs,
            limits: Limits::default(),
            routes,
            pauses: HashMap::new(),
            targets: targets.into_iter().map(Goal::new).collect(),
            lanes: Vec::new(),
            index: HashMap::new(),
            planned: BTreeMap::new(),
            planned_moved: false,
            hot: BTreeSet::new(),
            thirsty: BTreeSet::new(),
            dirty: BTreeSet::new(),
            spilled: BTreeSet::new(),
            broken: BTreeSet::new(),
            paced: BTreeSet::new(),
            timers: BTreeSet::new(),
            lingering: BTreeSet::new(),
            walking: BTreeSet::new(),
            held: Vec::new(),
            flight: Flight::default(),
            runs: Runs::default(),
            answers: Answers::default(),
            stopped: Vec::new(),
            skipped: Vec::new(),
            internal: None,
            changes: Vec::new(),
            fresh: 0,
            in_memory: 0,
            committing: 0,
            committed: 0,
        }
    }

    /// So many deliveries of all lanes are in memory at most.
    pub fn waiting_total_max(&mut self, total_max: usize) {
        self.limits.total_max = total_max.max(1);
    }

    /// Takes up what the ledger holds at a start.
    pub fn resume(&mut self, planned: &[(BusId, Offset)], lanes: &[LaneState], dead_letters: &[(LaneId, u64)]) {
        self.planned = planned.iter().copied().collect();
        for state in lanes {
            let at = self.lane(state.lane);
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            (lane.ledger_ready, lane.ledger_waiting) = (state.ready, state.waiting);
            (lane.ledger_from, lane.ledger_due) = (state.ready_first.unwrap_or_default(), state.due_first);
            lane.parked = state.parked;
            lane.opened = state.ready + state.waiting + state.parked;
            lane.owed_bytes = state.bytes;
            lane.route.stats.resumed.add(lane.opened);
            self.thirsty.insert(at);
            self.spilled.insert(at);
            self.weigh(at);
        }
        for (id, count) in dead_letters {
            let at = self.lane(*id);
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.dead_letters = *count;
            }
        }
    }

    /// Offset below which everything of a bus is planned.
    pub fn planned(&self, bus: BusId) -> Offset {
        self.planned.get(&bus).copied().unwrap_or_default()
    }

    /// Whether there is room for more planned deliveries.
    pub fn takes(&self) -> bool {
        self.fresh < self.limits.fresh_max
    }

    // ------------------------------------------------------------------------ step 5, from the planner

    /// The planner has judged everything of a bus below `next`; these are owed.
    pub fn plan(&mut self, bus: BusId, next: Offset, hits: Vec<(Record, Vec<RouteId>)>, now: Now) {
        for (record, routes) in hits {
            for route in routes {
                if self.internal == Some(route) {
                    self.quarantined(bus, route, &record);
                    continue;
                }
                self.open(LaneId { bus, route, run: RunId(0) }, &record, now);
            }
        }
        self.planned.insert(bus, next);
        self.planned_moved = true;
    }

    fn open(&mut self, id: LaneId, record: &Record, now: Now) {
        let (at, room) = (self.lane(id), self.has_room());
        if self.lanes.get(at).is_some_and(|lane| lane.skips(record.offset)) {
            return self.skip_unopened(at);
        }
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.opened += 1;
        lane.own(body_bytes(&record.event));
        lane.route.stats.matched.add(1);
        let mut key = None;
        if let Some(order) = &lane.route.order {
            key = order.key(&record.event);
            lane.route.stats.unordered.add(u64::from(key.is_none()));
        }
        self.dirty.insert(at);
        if !room || !lane.takes(&self.limits) {
            if lane.fresh.is_empty() && lane.ledger_ready == 0 {
                lane.ledger_from = record.offset;
            }
            lane.fresh.push(Fresh {
                offset: record.offset,
                opened_ms: now.running_ms,
                bytes: body_bytes(&record.event),
            });
            self.fresh += 1;
            self.weigh(at);
            return;
        }
        if let Some(key) = key.filter(|key| lane.parks(*key)) {
            let (id, offset, bytes) = (lane.id, record.offset, body_bytes(&record.event));
            let (opened_ms, attempts, late) = (now.running_ms, Attempts::default(), false);
            let pending = Pending { lane: id, offset, due: None, key: Some(key), late, opened_ms, bytes, attempts };
            self.park_under(at, key, pending, None);
            self.fresh += 1;
            self.weigh(at);
            return;
        }
        let open = Open {
            appended: record.appended,
            event: record.event.clone(),
            attempts: Attempts::default(),
            opened_ms: now.running_ms,
            state: State::Ready,
            stored: None,
            key,
            late: false,
            dirty: true,
            mark: 0,
            alone: false,
        };
        self.take_in(at, record.offset, open, false);
        self.queue(at);
        self.weigh(at);
    }

    /// The lane's index, made when new.
    fn lane(&mut self, id: LaneId) -> usize {
        if let Some(at) = self.index.get(&id) {
            return *at;
        }
        // Every route has a name in the ledger. Should one have none, what it is owed is kept and shown all the same.
        let nameless = || (Arc::new(Route::nameless(id.route)), None);
        let (route, target) = self.routes.get(&id.route).cloned().unwrap_or_else(nameless);
        let route = if id.run == RunId(0) { route } else { Arc::new(route.for_run()) };
        let target = target.and_then(|name| self.target_named(&name));
        let at = self.lanes.len();
        let mut lane = Lane::new(id, route, target, &self.limits);
        lane.pause = self.pauses.get(&id.route).copied();
        self.lanes.push(lane);
        self.index.insert(id, at);
        if let Some(goal) = target.and_then(|t| self.targets.get_mut(t)) {
            let lanes = if id.run == RunId(0) { &mut goal.lanes } else { &mut goal.later.lanes };
            lanes.push(at);
        }
        at
    }

    /// A lane has something ready: its target looks at it.
    fn queue(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Some(target) = lane.target else { return };
        if lane.rests() || lane.ready.is_empty() || self.pauses_at(at) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let replayed = lane.id.run != RunId(0);
        if !std::mem::replace(&mut lane.queued, true)
            && let Some(goal) = self.targets.get_mut(target)
        {
            let queue = if replayed { &mut goal.later.queue } else { &mut goal.queue };
            queue.push_back(at);
        }
        self.hot.insert(target);
    }

    // ------------------------------------------------------------------------ step 6, to the targets

    /// The next thing to do now; `None` when everything that can be under way is.
    pub fn next_job(&mut self, now: Now) -> Option<Job> {
        self.ripen(now);
        while let Some(at) = self.thirsty.pop_first() {
            if let Some(job) = self.page(at, now) {
                return Some(job);
            }
        }
        if let Some(job) = self.next_walk(now).or_else(|| self.next_read(now)) {
            return Some(job);
        }
        while let Some(target) = self.hot.first().copied() {
            if let Some(job) = self.deliver(target, now).or_else(|| self.deliver_later(target, now)) {
                return Some(job);
            }
            self.hot.remove(&target);
        }
        None
    }

    /// Deliveries whose wait is over become ready.
    fn ripen(&mut self, now: Now) {
        while let Some((due, at, offset)) = self.timers.first().copied().filter(|(due, ..)| *due <= now.mono) {
            self.timers.pop_first();
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if lane.open.get(&offset).is_some_and(|o| o.state == State::Waiting(due)) {
                lane.set(offset, State::Ready);
                self.queue(at);
            }
        }
        while let Some((_, at)) = self.lingering.first().copied().filter(|(until, _)| *until <= now.mono) {
            self.lingering.pop_first();
            self.queue(at);
        }
    }

    fn page(&mut self, at: usize, now: Now) -> Option<Job> {
        let committed = self.committed;
        // While deliveries of it are skipped, nothing is read in behind the walk.
        let reads = |l: &&Lane| self.run_sends(l.id.run) && l.ending.skip.is_none();
        let lane = self.lanes.get(at).filter(reads)?;
        let (ready, from) = (lane.page_ready(committed, &self.limits), lane.ledger_from);
        let (what, count) = if lane.page_due(committed, now.wall, &self.limits) {
            (PageOf::Due(now.wall), DUE_PAGE)
        } else if let Some((what, count)) = self.page_key(at, ready, now) {
            (what, count)
        } else {
            (PageOf::Ready(from), ready)
        };
        let lane = self.lanes.get(at)?;
        let count = self.share(lane, count, now);
        if count == 0 {
            return None;
        }
        let lane = self.lanes.get_mut(at)?;
        lane.paging = true;
        lane.paged_after = self.committing;
        // Entries that are in memory, or settled a moment ago, may be read too: they do not count.
        let from = if let PageOf::Ready(from) = what { from } else { Offset(0) };
        let known = match what {
            PageOf::Key(..) => lane.followers_max + lane.gone.len(),
            _ => lane.open.keys().chain(lane.gone.keys()).filter(|o| **o >= from).count(),
        };
        let count_max = count + known;
        Some(Job::Page { lane: at, id: lane.id, what, count_max })
    }

    /// The route of a lane.
    pub fn route(&self, lane: usize) -> Option<Arc<Route>> {
        self.lanes.get(lane).map(|l| l.route.clone())
    }

    /// The bus that a lane reads.
    pub fn lane_bus(&self, at: usize) -> Option<BusId> {
        self.lanes.get(at).map(|lane| lane.id.bus)
    }

    /// How to call a target.
    pub fn target(&self, target: usize) -> Option<(Arc<dyn Target>, Duration)> {
        self.targets.get(target).map(|g| (g.target.clone(), g.limits.deadline))
    }
}

fn age(opened_ms: u64, now: Now) -> Duration {
    Duration::from_millis(now.running_ms.saturating_sub(opened_ms))
}

/// What a call that did not answer in time, or whose task ended without a word, means for each of its deliveries.
pub(super) fn unanswered(took: Duration, note: &str) -> Outcome {
    let facts = Facts { took, note: Some(note.into()), ..Facts::default() };
    Outcome::Retry { facts, scope: Scope::Event, not_before: None }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
