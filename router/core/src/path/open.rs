//! The open set: every delivery that is owed and not yet settled, by lane and target. No I/O, no
//! clock: the dispatcher asks it what to do next, does that, and tells it what came of it.
//!
//! # The invariant
//! *Every offset below B is settled for every lane, except the pending entries in the ledger.* A commit
//! carries B = what was planned, an entry for each delivery below it that is still open and not yet
//! stored as it is, and the removal of entries settled meanwhile. [`OpenSet::commit`] counts each
//! touched lane's deliveries before it hands the changes out and refuses when one is missing.

/// Which deliveries go together in a call, and which go alone.
mod batch;

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

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub use self::replies::ANSWERS_BYTES_MAX;
pub(super) use self::{
    ending::{CHANGES_MAX, Ending, Held, WalkOf, Walked},
    pause::Paused,
    revise::Routes,
    runs::{RunAct, RunSeen},
    skip::{SkipAt, SkipOver},
};
use self::{
    pace::Pace,
    replies::Answers,
    runs::{Later, Runs},
};
use super::lane::{Fresh, Lane, Limits, Open, Route, State, body_bytes};
use crate::{
    clock::Timestamp,
    id::{BusId, DeliveryId, LaneId, Offset, OrderKey, RouteId, RunId},
    replay::Selector,
    settle::{self, Breaker, Gate, Seen, Settlement, Verdict},
    stats::{BreakerState, LaneStateName, TargetStatus},
    store::{Attempts, Change, DeadLetter, Epochs, LaneState, Pause, Pending, Record},
    target::{BatchLimits, Delivery, Facts, Outcome, Scope, Target},
    transform::Failure,
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
    runs: Runs,
    answers: Answers,
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
            runs: Runs::default(),
            answers: Answers::default(),
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

    fn deliver(&mut self, target: usize, now: Now) -> Option<Job> {
        let goal = self.targets.get_mut(target)?;
        if goal.in_flight >= goal.limits.in_flight_max {
            return None;
        }
        let gate = goal.breaker.gate(now.mono);
        if !matches!(gate, Gate::Closed(_)) && goal.pace.as_mut().is_some_and(|pace| pace.wait(now.mono).is_some()) {
            self.paced.insert(target);
            return None;
        }
        match gate {
            Gate::Closed(_) => None,
            Gate::Probe => {
                let (lane, offset) = self.probe(target, now)?;
                let batch = self.send(lane, vec![offset]);
                self.launch(target, lane, true, batch)
            }
            Gate::Open => loop {
                let lane = self.targets.get_mut(target)?.queue.pop_front()?;
                if let Some(l) = self.lanes.get_mut(lane) {
                    l.queued = false;
                }
                let rests = self.lanes.get(lane).is_some_and(Lane::rests) || self.pauses_at(lane);
                let offsets = if rests { Vec::new() } else { self.next_batch(target, lane, now) };
                if !offsets.is_empty() {
                    let batch = self.send(lane, offsets);
                    self.queue(lane);
                    return self.launch(target, lane, false, batch);
                }
            },
        }
    }

    fn probe(&mut self, target: usize, now: Now) -> Option<(usize, Offset)> {
        let lanes = self.targets.get(target)?.lanes.clone();
        self.oldest_to_try(target, &lanes, now)
    }

    /// The oldest delivery that was never tried; else the oldest that has not failed in this opening; else
    /// the oldest. What has failed before may be why the breaker opened, and says little of the target.
    fn oldest_to_try(&mut self, target: usize, lanes: &[usize], now: Now) -> Option<(usize, Offset)> {
        for at in lanes {
            // What is used up ends here, so that it is not sent as the probe.
            self.expire_ready(target, *at, now);
        }
        let goal = self.targets.get(target)?;
        let run = lanes.first().and_then(|at| self.lanes.get(*at)).map(|l| l.id.run).unwrap_or_default();
        let breaker = if run == RunId(0) { &goal.breaker } else { &goal.later.breaker };
        let sends = |l: &Lane| !l.rests() && !self.pauses(l);
        let lanes = || lanes.iter().filter_map(|at| Some((*at, self.lanes.get(*at)?))).filter(|(_, l)| sends(l));
        let oldest = |wanted: &dyn Fn(LaneId, Offset, &Open) -> bool| {
            lanes()
                .filter_map(|(at, lane)| {
                    let open = |offset: &Offset| Some((*offset, lane.open.get(offset)?));
                    let mut ready = lane.ready.iter().filter_map(open);
                    let (offset, open) = ready.find(|(offset, open)| wanted(lane.id, *offset, open))?;
                    Some((open.appended, at, offset))
                })
                .min()
        };
        let untried = oldest(&|_, _, open| open.attempts.count == 0);
        let unfailed = || oldest(&|lane, offset, _| !breaker.has_failed(lane, offset));
        let probe = untried.or_else(unfailed).or_else(|| oldest(&|_, _, _| true));
        probe.map(|(_, at, offset)| (at, offset))
    }

    fn expire_ready(&mut self, target: usize, at: usize, now: Now) {
        let first = |set: &OpenSet| set.lanes.get(at).and_then(|l| l.ready.first().copied());
        while let Some(offset) = first(self) {
            if !self.expire(target, at, offset, now) {
                break;
            }
        }
    }

    /// Ends a delivery whose budget is used up; true when it did.
    fn expire(&mut self, target: usize, at: usize, offset: Offset, now: Now) -> bool {
        let Some(goal) = self.targets.get(target) else { return false };
        let Some(run) = self.lanes.get(at).map(|l| l.id.run).filter(|run| self.run_sends(*run)) else { return false };
        let (successes, tried) = (goal.successes_of(run), goal.tried_by(run));
        let Some(lane) = self.lanes.get_mut(at) else { return false };
        let pause = lane.pause;
        let Some(open) = lane.open.get_mut(&offset) else { return false };
        let Some(aged_from) = pause::aged_from(pause, open.opened_ms) else { return false };
        if successes > open.mark && open.attempts.uncounted > 0 {
            settle::count_failures(&mut open.attempts);
        }
        let Some((reason, note)) = ending::used_up(&lane.route, tried, &open.attempts, aged_from, now) else {
            return false;
        };
        self.bury(at, offset, reason, note, now);
        true
    }

    /// Marks deliveries as in flight and writes them as the target sees them.
    fn send(&mut self, at: usize, offsets: Vec<Offset>) -> Vec<Delivery> {
        let Some(lane) = self.lanes.get_mut(at) else { return Vec::new() };
        let mut batch = Vec::with_capacity(offsets.len());
        for offset in offsets {
            lane.set(offset, State::InFlight);
            let Some(open) = lane.open.get(&offset) else { continue };
            batch.push(Delivery {
                id: DeliveryId { epoch: self.epochs.of(lane.id.bus, offset), lane: lane.id, offset },
                attempt: open.attempts.count.saturating_add(1),
                route: lane.route.name.clone(),
                appended: open.appended,
                event: if open.late { crate::order::late(&open.event) } else { open.event.clone() },
                reply: None,
            });
        }
        batch
    }

    fn launch(&mut self, target: usize, lane: usize, probe: bool, batch: Vec<Delivery>) -> Option<Job> {
        let run = self.lanes.get(lane).map(|l| l.id.run)?;
        let goal = self.targets.get_mut(target)?;
        goal.in_flight += 1;
        let later = (run != RunId(0)).then_some(&mut goal.later);
        let tried = if let Some(later) = later {
            later.in_flight += 1;
            later.pace.iter_mut().for_each(|pace| pace.take(batch.len()));
            &mut later.tried
        } else {
            &mut goal.tried
        };
        *tried = true;
        if let Some(pace) = &mut goal.pace {
            pace.take(batch.len());
        }
        if probe {
            goal.breaker_of(run).probe_sent();
        }
        Some(Job::Deliver { target, lane, probe, batch })
    }

    /// The route of a lane.
    pub fn route(&self, lane: usize) -> Option<Arc<Route>> {
        self.lanes.get(lane).map(|l| l.route.clone())
    }

    /// Deliveries of a call that its target never saw, since nothing could be made of their events: dead letters,
    /// which say nothing of the target. To be told before [`OpenSet::finished`], with how many it did see.
    pub fn spoiled(
        &mut self,
        (target, at): (usize, usize),
        probe: bool,
        seen: usize,
        spoiled: Vec<(Offset, Failure)>,
        now: Now,
    ) {
        let run = self.lanes.get(at).map(|l| l.id.run).unwrap_or_default();
        if let Some(goal) = self.targets.get_mut(target).filter(|_| probe && seen == 0) {
            goal.breaker_of(run).probe_void();
        }
        for (offset, Failure { code, message }) in spoiled {
            self.bury(at, offset, code, message.into(), now);
        }
    }

    /// The bus that a lane reads.
    pub fn lane_bus(&self, at: usize) -> Option<BusId> {
        self.lanes.get(at).map(|lane| lane.id.bus)
    }

    /// How to call a target.
    pub fn target(&self, target: usize) -> Option<(Arc<dyn Target>, Duration)> {
        self.targets.get(target).map(|g| (g.target.clone(), g.limits.deadline))
    }

    // ------------------------------------------------------------------------ step 7, from the targets

    /// A call of a target ended. Returns how its breaker changed.
    pub fn finished(
        &mut self,
        target: usize,
        at: usize,
        probe: bool,
        outcomes: Vec<(Offset, Outcome)>,
        now: Now,
    ) -> Verdict {
        let mut verdict = Verdict::Same;
        if let Some(goal) = self.targets.get_mut(target) {
            goal.in_flight = goal.in_flight.saturating_sub(1);
        }
        if self.lanes.get(at).is_some_and(|l| l.id.run != RunId(0)) {
            self.finished_later(target, at, probe, outcomes, now);
            self.look_again(target, at);
            return verdict;
        }
        let outcomes = match self.halved(target, at, outcomes, now) {
            Ok(judged) => {
                verdict = judged;
                Vec::new()
            }
            Err(outcomes) => outcomes,
        };
        for (offset, outcome) in outcomes {
            let Some(id) = self.lanes.get(at).map(|l| l.id) else { continue };
            if let Some(goal) = self.targets.get_mut(target) {
                let seen = Seen { delivery: (id, offset), outcome: &outcome, probe };
                match goal.breaker.judge(seen, now.mono, now.jitter) {
                    Verdict::Same => {}
                    changed => verdict = changed,
                }
                if matches!(outcome, Outcome::Delivered { .. }) {
                    goal.successes += 1;
                }
            }
            self.settle(target, at, offset, outcome, now);
        }
        self.look_again(target, at);
        let retired = self.targets.get(target).is_some_and(|g| g.retired);
        if let (Verdict::Opened(_), false) = (verdict, retired) {
            self.broken.insert(target);
        }
        if verdict == Verdict::Closed {
            self.broken.remove(&target);
            for lane in self.targets.get(target).map(|g| g.lanes.clone()).unwrap_or_default() {
                self.queue(lane);
            }
        }
        verdict
    }

    /// A call ended: the lane may have more to send or to read, and the target room for it.
    fn look_again(&mut self, target: usize, at: usize) {
        self.dirty.insert(at);
        self.thirsty.insert(at);
        self.queue(at);
        self.hot.insert(target);
    }

    fn settle(&mut self, target: usize, at: usize, offset: Offset, outcome: Outcome, now: Now) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let (id, route, pause) = (lane.id, lane.route.clone(), lane.pause);
        let successes = self.targets.get(target).map_or(0, |g| g.successes_of(id.run));
        count_attempt(&route, &outcome);
        let outcome = match outcome {
            Outcome::Delivered { replies, .. } => return self.delivered((target, at), offset, replies, now),
            failed => failed,
        };
        let Some(open) = lane.open.get_mut(&offset) else { return };
        if successes > open.mark && open.attempts.uncounted > 0 {
            settle::count_failures(&mut open.attempts);
        }
        open.mark = successes;
        settle::record(&mut open.attempts, &outcome, now.wall);
        open.dirty = true;
        let key = open.key;
        let age = pause::aged_from(pause, open.opened_ms).map_or(Duration::ZERO, |from| age(from, now));
        let settlement = settle::settle(&open.attempts, &outcome, &route.retry, age, now.jitter);
        lane.touched.push(offset);
        if self.skip_open(at, offset) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.target != Some(target) {
            // What a former target says decides nothing: it is tried at the one that came in its place.
            lane.set(offset, State::Ready);
            return;
        }
        match settlement {
            Settlement::Done => {
                self.end(at, offset);
            }
            Settlement::Wait => lane.set(offset, State::Ready),
            Settlement::Retry(delay) => {
                let due = now.mono + delay;
                lane.set(offset, State::Waiting(due));
                self.timers.insert((due, at, offset));
                if let Some(key) = key {
                    self.stick(at, key, now);
                }
            }
            Settlement::Stop => {
                lane.set(offset, State::Ready);
                if let Outcome::Stop { code, .. } = outcome {
                    lane.stopped = Some(code);
                    tracing::warn!(code = %crate::codes::LANE_STOPPED, route = %lane.route.name, answer = code.0, "lane stopped: its target says that it is gone; correct its URL and reload, or resume the route, and it is tried again");
                }
            }
            Settlement::DeadLetter(reason, note) => self.bury(at, offset, reason, note, now),
        }
    }

    /// Settled: it leaves memory, and the ledger if it is there.
    fn end(&mut self, at: usize, offset: Offset) -> Option<Open> {
        let next = self.committing + 1;
        let lane = self.lanes.get_mut(at)?;
        let open = lane.remove(offset)?;
        lane.settled += 1;
        self.in_memory = self.in_memory.saturating_sub(1);
        lane.disown(body_bytes(&open.event));
        if let Some(place) = open.stored {
            let bytes = body_bytes(&open.event);
            self.changes.push(Change::Drop { lane: lane.id, offset, place, bytes });
            lane.gone.insert(offset, next);
            self.spilled.insert(at);
        }
        self.dirty.insert(at);
        self.thirsty.insert(at);
        if let Some(key) = open.key {
            lane.keys().leave(key, offset);
            self.take_turn(at, key);
        }
        self.weigh_hold(at);
        Some(open)
    }

    /// Settled as a dead letter. Its lane has a target: only what was to be sent there comes here.
    fn bury(&mut self, at: usize, offset: Offset, reason: schemas::Code, note: Box<str>, now: Now) {
        let goal = self.lanes.get(at).and_then(|l| l.target).and_then(|t| self.targets.get(t));
        // Asked before the delivery leaves the lane: without a target to name it stays owed.
        let Some(target) = goal.map(|g| g.target.name().clone()) else {
            // Its route was removed while its event was made ready for the target.
            let sent = |lane: &&mut Lane| lane.open.get(&offset).is_some_and(|o| o.state == State::InFlight);
            if let Some(lane) = self.lanes.get_mut(at).filter(sent) {
                lane.set(offset, State::Ready);
            }
            return;
        };
        let ordered = self.lanes.get(at).and_then(|l| l.open.get(&offset)).and_then(|o| Some((o.key?, o.late)));
        // Before it leaves the lane: its key may have to wait for it from now on.
        let order = ordered.and_then(|(key, late)| self.note_letter(at, (key, offset), late, reason, now));
        let Some(open) = self.end(at, offset) else { return };
        let Some(lane) = self.lanes.get(at) else { return };
        let letter = DeadLetter {
            id: DeliveryId { epoch: self.epochs.of(lane.id.bus, offset), lane: lane.id, offset },
            route: lane.route.name.clone(),
            target,
            reason: reason.0.into(),
            note,
            at: now.wall,
            bytes: body_bytes(&open.event),
            attempts: open.attempts,
            order,
        };
        self.park(at, letter);
    }

    // ------------------------------------------------------------------------ for whoever waits or watches

    /// The next moment at which there is something to do, if nothing comes in until then.
    pub fn wakeup(&self, now: Now) -> Option<Duration> {
        let timer = self.timers.first().map(|(due, ..)| *due);
        let linger = self.lingering.first().map(|(until, _)| *until);
        let paced = self.paced.iter().filter_map(|t| self.targets.get(*t)?.paced_until(now.mono));
        let breakers =
            self.broken.iter().filter_map(|t| self.targets.get(*t)).filter_map(|g| match g.breaker.gate(now.mono) {
                Gate::Closed(until) => until,
                Gate::Probe | Gate::Open => None,
            });
        let spilled = self.spilled.iter().filter_map(|at| self.lanes.get(*at));
        let pages = spilled.filter(|l| l.ledger_waiting > 0 && !l.paging).filter_map(|l| l.ledger_due);
        // A lane that is full pages in as it drains: looking more often than this helps nobody.
        let pages = pages.map(|due| now.mono + due.since(now.wall).max(Duration::from_millis(50)));
        timer.into_iter().chain(linger).chain(paced).chain(breakers).chain(pages).chain(self.runs_wakeup(now)).min()
    }

    /// The wait for [`OpenSet::wakeup`] is over: what had to wait for time is looked at again.
    pub fn woken(&mut self, now: Now) {
        for at in &self.broken {
            if self.targets.get(*at).is_some_and(|g| g.breaker.gate(now.mono) == Gate::Probe) {
                self.hot.insert(*at);
            }
        }
        self.woken_for_runs(now);
        while let Some(at) = self.paced.pop_first() {
            // It is looked at again, and waits again where it is too early.
            self.hot.insert(at);
        }
        for at in &self.spilled {
            let due = |l: &&Lane| l.ledger_waiting > 0 && l.ledger_due.is_none_or(|due| due <= now.wall);
            if self.lanes.get(*at).filter(due).is_some() {
                self.thirsty.insert(*at);
            }
        }
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.targets.iter().map(|g| g.in_flight).sum()
    }

    pub fn target_statuses(&self) -> Vec<TargetStatus> {
        let status = |(at, g): (usize, &Goal)| TargetStatus {
            name: g.target.name().clone(),
            breaker: g.breaker.state(),
            in_flight: u64::try_from(g.in_flight).unwrap_or(u64::MAX),
            delivered: g.successes + g.later.successes,
            events_per_second_max: g.limits.rate.map(|rate| rate.events_per_second_max.get()),
            paced: self.paced.contains(&at),
        };
        self.targets.iter().enumerate().filter(|(_, g)| !g.retired).map(status).collect()
    }

    /// Lanes with what they are doing.
    pub fn lanes(&self) -> impl Iterator<Item = (&Lane, LaneStateName)> {
        self.lanes.iter().map(|lane| {
            let breaker = lane.target.and_then(|t| self.targets.get(t)).map(|g| g.breaker.state());
            let state = match breaker {
                None => LaneStateName::Orphaned,
                Some(_) if lane.is_paused() => LaneStateName::Paused,
                Some(_) if lane.stopped.is_some() => LaneStateName::Stopped,
                Some(BreakerState::Closed) => LaneStateName::Active,
                Some(_) => LaneStateName::Blocked,
            };
            (lane, state)
        })
    }
}

fn age(opened_ms: u64, now: Now) -> Duration {
    Duration::from_millis(now.running_ms.saturating_sub(opened_ms))
}

fn count_attempt(route: &Route, outcome: &Outcome) {
    match outcome {
        Outcome::Delivered { .. } => &route.stats.attempts_delivered,
        Outcome::Retry { .. } => &route.stats.attempts_retry,
        Outcome::Refused { .. } => &route.stats.attempts_refused,
        Outcome::Stop { .. } => &route.stats.attempts_stop,
    }
    .add(1);
}

/// What a call that did not answer in time, or whose task ended without a word, means for each of its deliveries.
pub(super) fn unanswered(took: Duration, note: &str) -> Outcome {
    let facts = Facts { took, note: Some(note.into()), ..Facts::default() };
    Outcome::Retry { facts, scope: Scope::Event, not_before: None }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
