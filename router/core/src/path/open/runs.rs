//! The open set's runs: replays, beside the live flow.
//!
//! A run reads on when what it opened has drained, and never faster, so that its backlog in the ledger
//! stays small. Its lanes stand in a queue of their own at each target, behind all that is live, within a
//! share of the target's calls and rate. They have a breaker of their own too: a run neither opens nor
//! probes that of the live flow, and waits while it is not closed.
//!
//! [`Run::next`] is the run's B. It goes into the ledger with the commit that carries the entries of the
//! deliveries below it, like B of a bus.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use super::{
    super::{
        StartError,
        begin::{self, Numbered},
        lane::Lane,
    },
    Goal, Job, Now, OpenSet, age,
    pace::Pace,
};
use crate::{
    codes,
    id::{BusId, LaneId, Offset, RouteId, RunId},
    replay::{RUNS_KEPT_MAX, RUNS_OPEN_MAX, Read, Replies, Run, RunCounts, RunEnd, RunState, Selector},
    settle::{Breaker, Gate},
    stats::{LaneStateName, ReplayStats},
    store::{Change, Error},
    target::Rate,
};

/// A target gives replays one of so many of its calls, and of its rate.
const SHARE: u32 = 2;
/// Deliveries of one lane of a run that are owed, at which it reads no more.
const OWED_MAX: u64 = 512;
/// Events that one read opens.
const HITS_MAX: u32 = 256;
/// Reads of a run in a second, when its rate is what holds it up.
const READS_PER_SECOND: u32 = 10;

/// All runs.
#[derive(Default)]
pub(super) struct Runs {
    all: BTreeMap<RunId, RunNow>,
    /// Those that are not over.
    live: BTreeSet<RunId>,
    /// Those that differ from what the ledger holds.
    dirty: BTreeSet<RunId>,
    /// Those that are not kept any more.
    dropped: Vec<RunId>,
    /// The highest number that was given, though perhaps to none that came to be.
    given: RunId,
    /// Targets whose breaker for replays is not closed.
    pub(super) broken: BTreeSet<usize>,
    age_max: Duration,
    stats: Arc<ReplayStats>,
}

struct RunNow {
    run: Run,
    lanes: Vec<usize>,
    selector: Option<Arc<Selector>>,
    pace: Option<Pace>,
    reading: bool,
    /// Why what it reads cannot be had now.
    unread: Option<Arc<str>>,
    /// The commit that makes it durable. Nothing is sent before: its number could be given again.
    kept_by: u64,
    /// When it went on last, and where it was then.
    since: Option<(Duration, Offset)>,
}

/// How a target serves runs.
#[derive(Default)]
pub(super) struct Later {
    pub breaker: Breaker,
    pub pace: Option<Pace>,
    pub in_flight: usize,
    pub successes: u64,
    pub tried: bool,
    pub lanes: Vec<usize>,
    pub queue: VecDeque<usize>,
}

impl Later {
    pub fn new(rate: Option<Rate>) -> Self {
        let part = |n: NonZeroU32| NonZeroU32::new(n.get() / SHARE).unwrap_or(NonZeroU32::MIN);
        let shared = |r: Rate| Rate { events_per_second_max: part(r.events_per_second_max), burst: part(r.burst) };
        Later { pace: rate.map(|rate| Pace::new(shared(rate))), ..Later::default() }
    }
}

impl Goal {
    /// The breaker of a lane's run: replays have their own.
    pub(super) fn breaker_of(&mut self, run: RunId) -> &mut Breaker {
        if run == RunId(0) { &mut self.breaker } else { &mut self.later.breaker }
    }

    /// How often it succeeded, as a lane of the run may count it: what a replay does changes nothing for the
    /// live flow.
    pub(super) fn successes_of(&self, run: RunId) -> u64 {
        if run == RunId(0) { self.successes } else { self.successes + self.later.successes }
    }

    /// It took a delivery of the run.
    pub(super) fn count_success(&mut self, run: RunId) {
        if run == RunId(0) {
            self.successes += 1;
        } else {
            self.later.successes += 1;
        }
    }

    /// Whether it was tried since the start.
    pub(super) fn tried_by(&self, run: RunId) -> bool {
        self.tried || (run != RunId(0) && self.later.tried)
    }

    /// When the rate lets it be sent to again, the share of replays included.
    pub(super) fn paced_until(&self, now: Duration) -> Option<Duration> {
        // It is not always asked when the other is, and what is over is no reason to wake.
        let later = self.later.pace.as_ref().and_then(Pace::open_at).filter(|at| *at >= now);
        self.pace.as_ref().and_then(Pace::open_at).into_iter().chain(later).min()
    }
}

/// What to do with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum RunAct {
    Pause,
    Resume,
    End(RunEnd),
}

/// A run, and what of it only the open set knows.
#[derive(Clone, Debug)]
pub(in super::super) struct RunSeen {
    pub run: Run,
    /// Of each of its routes, in order: what is owed, what is in flight, what its lane does.
    pub lanes: Vec<(u64, u64, LaneStateName)>,
    /// Why it does not go on.
    pub waits: Option<String>,
    /// How long it has been going on since it did last, and how many offsets it got on.
    pub pace: Option<(Duration, u64)>,
}

fn paced(rate: Option<NonZeroU32>) -> Option<Pace> {
    let burst = |rate: NonZeroU32| NonZeroU32::new(rate.get() / READS_PER_SECOND).unwrap_or(NonZeroU32::MIN);
    rate.map(|rate| Pace::new(Rate { events_per_second_max: rate, burst: burst(rate) }))
}

impl OpenSet {
    // ------------------------------------------------------------------------ what there is

    /// Takes up the runs that the ledger holds; before [`OpenSet::resume`].
    pub fn runs(&mut self, runs: Vec<Run>, age_max: Duration, stats: Arc<ReplayStats>) {
        (self.runs.age_max, self.runs.stats) = (age_max, stats);
        for run in runs {
            let id = run.id;
            let over = run.state.is_over();
            self.take_run(run);
            if !over {
                self.runs.live.insert(id);
                // One that was being ended is ended now.
                self.end_lanes(id);
            }
        }
    }

    fn take_run(&mut self, run: Run) {
        let lanes: Vec<LaneId> =
            run.routes.iter().map(|r| LaneId { bus: run.bus, route: r.route, run: run.id }).collect();
        let selector = if run.state.is_open() { Selector::new(&run.routes, run.filter.as_deref()).ok() } else { None };
        let (id, pace) = (run.id, paced(run.rate));
        let now = RunNow {
            run,
            lanes: Vec::new(),
            selector: selector.map(Arc::new),
            pace,
            reading: false,
            unread: None,
            kept_by: 0,
            since: None,
        };
        self.runs.all.insert(id, now);
        if self.runs.all.get(&id).is_some_and(|r| !r.run.state.is_over()) {
            let lanes = lanes.into_iter().map(|id| self.lane(id)).collect();
            if let Some(now) = self.runs.all.get_mut(&id) {
                now.lanes = lanes;
            }
        }
    }

    /// All runs with what they are doing.
    pub fn runs_seen(&self, now: Now) -> Vec<RunSeen> {
        let states: Vec<LaneStateName> = self.lanes().map(|(_, state)| state).collect();
        let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        // One that is over has a lane where something of it was redriven.
        let lane = |run: &Run, route: RouteId| {
            let at = self.index.get(&LaneId { bus: run.bus, route, run: run.id });
            let seen = at.and_then(|at| Some((self.lanes.get(*at)?, states.get(*at).copied()?)));
            seen.map_or((0, 0, LaneStateName::Active), |(l, state)| (l.owed(), of(l.in_flight), state))
        };
        let seen = |r: &RunNow| RunSeen {
            run: r.run.clone(),
            lanes: r.run.routes.iter().map(|route| lane(&r.run, route.route)).collect(),
            waits: self.run_waits(r, now),
            pace: r
                .since
                .filter(|_| r.run.state == RunState::Running)
                .map(|(since, from)| (now.mono.saturating_sub(since), r.run.next.0.saturating_sub(from.0))),
        };
        self.runs.all.values().map(seen).collect()
    }

    /// Why a run does not go on, for people.
    fn run_waits(&self, run: &RunNow, now: Now) -> Option<String> {
        match run.run.state {
            RunState::Running => {}
            RunState::Paused => return run.run.note.as_deref().map(str::to_owned),
            RunState::Ending(_) | RunState::Ended(_) => return None,
        }
        let unread = || run.unread.as_ref().map(|why| format!("{why}; it is tried again"));
        let lanes = run.lanes.iter().filter_map(|at| self.lanes.get(*at));
        lanes.map(|lane| self.lane_waits(lane, now)).find(Option::is_some).flatten().or_else(unread)
    }

    fn lane_waits(&self, lane: &Lane, now: Now) -> Option<String> {
        let route = &lane.route.name;
        let Some(goal) = lane.target.and_then(|t| self.targets.get(t)) else {
            return Some(format!("route {route} is not configured any more; configure it, or cancel the replay"));
        };
        let target = goal.target.name();
        if lane.is_paused() {
            return Some(format!("route {route} is paused by an operator; resume it, or cancel the replay"));
        }
        if lane.stopped.is_some() {
            return Some(format!("target {target} of route {route} says that it is gone; repair it, then resume"));
        }
        if goal.breaker.gate(now.mono) != Gate::Open || goal.later.breaker.gate(now.mono) != Gate::Open {
            return Some(format!("target {target} of route {route} does not take deliveries now"));
        }
        None
    }

    /// Whether deliveries of the run are sent: those of a run that is over are redriven ones.
    pub(super) fn run_sends(&self, run: RunId) -> bool {
        let state = || self.runs.all.get(&run).map(|r| r.run.state);
        run == RunId(0) || !matches!(state(), Some(RunState::Paused | RunState::Ending(_)))
    }

    /// Whether the deliveries of the run are being ended.
    pub(super) fn run_is_ending(&self, run: RunId) -> bool {
        matches!(self.runs.all.get(&run).map(|r| r.run.state), Some(RunState::Ending(_)))
    }

    /// Counts something of a run that is not over.
    pub(super) fn count_run(&mut self, lane: LaneId, count: impl FnOnce(&mut RunCounts)) {
        if let Some(now) = self.runs.all.get_mut(&lane.run).filter(|r| !r.run.state.is_over()) {
            now.run.counts_mut(lane.route).map(count).unwrap_or_default();
            self.runs.dirty.insert(lane.run);
        }
    }

    /// Whether a run takes in what targets answer with.
    pub(super) fn run_admits(&self, run: RunId) -> bool {
        self.runs.all.get(&run).is_some_and(|r| r.run.replies == Replies::Admit)
    }

    /// A delivery of a run was taken, and so many of its replies were not.
    pub(super) fn delivered_by_run(&mut self, lane: LaneId, replies: u64) {
        if lane.run == RunId(0) {
            return;
        }
        self.runs.stats.delivered.add(1);
        self.runs.stats.replies_discarded.add(replies);
        self.count_run(lane, |c| {
            c.delivered += 1;
            c.replies_discarded += replies;
        });
    }

    /// A delivery became a dead letter.
    pub(super) fn parked_by_run(&mut self, lane: LaneId) {
        if lane.run != RunId(0) {
            self.runs.stats.dead_lettered.add(1);
            self.count_run(lane, |c| c.dead_lettered += 1);
        }
    }

    /// Deliveries of a run ended with it.
    pub(super) fn ended_with_run(&mut self, lane: LaneId, count: u64) {
        self.runs.stats.dropped.add(count);
        self.count_run(lane, |c| c.ended += count);
    }

    // ------------------------------------------------------------------------ acts

    /// Starts a run under a new number; `None` when as many go on as may.
    pub fn start_run(&mut self, run: Run, now: Now) -> Option<RunId> {
        if self.runs.live.len() >= RUNS_OPEN_MAX {
            return None;
        }
        let id = self.next_run();
        let (started, opened_ms) = (now.wall, now.running_ms);
        self.take_run(Run { id, started, opened_ms, ..run });
        if let Some(r) = self.runs.all.get_mut(&id) {
            r.kept_by = self.committing + 1;
        }
        self.runs.live.insert(id);
        self.runs.dirty.insert(id);
        self.runs.stats.started.add(1);
        self.forget_old_runs();
        Some(id)
    }

    fn next_run(&mut self) -> RunId {
        let last = self.runs.all.last_key_value().map_or(RunId(0), |(id, _)| *id).max(self.runs.given);
        self.runs.given = RunId(last.0.saturating_add(1));
        self.runs.given
    }

    /// Numbers for so many runs that begin with their routes.
    pub fn number_runs(&mut self, count: usize, now: Now) -> Result<Numbered, StartError> {
        begin::fits(self.runs.live.len(), count)?;
        let first = self.next_run();
        self.runs.given.0 = first.0.saturating_add(u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX));
        Ok(Numbered { first, wall: now.wall, running_ms: now.running_ms })
    }

    /// Runs that have begun with their routes go on. They are durable already.
    pub fn begin_runs(&mut self, runs: Vec<Run>) {
        for run in runs {
            let id = run.id;
            self.take_run(run);
            self.runs.live.insert(id);
            self.runs.stats.started.add(1);
        }
        self.forget_old_runs();
    }

    fn forget_old_runs(&mut self) {
        // The newest is always kept, so that no number is given twice.
        while self.runs.all.len() > RUNS_KEPT_MAX {
            let Some(old) = self.runs.all.iter().find(|(_, r)| r.run.state.is_over()).map(|(id, _)| *id) else { break };
            self.runs.all.remove(&old);
            self.runs.dirty.remove(&old);
            self.runs.dropped.push(old);
        }
    }

    /// Pauses a run, lets it go on, or ends it. Whether it was in a state for that.
    pub fn act_on_run(&mut self, id: RunId, act: RunAct, now: Now) -> bool {
        let Some(r) = self.runs.all.get_mut(&id) else { return false };
        match (act, r.run.state) {
            (RunAct::Pause, RunState::Running) => r.run.state = RunState::Paused,
            (RunAct::Resume, RunState::Paused) | (RunAct::Resume, RunState::Running) => {
                (r.run.state, r.run.note, r.since) = (RunState::Running, None, None);
                for at in r.lanes.clone() {
                    if let Some(lane) = self.lanes.get_mut(at) {
                        lane.stopped = None;
                    }
                    self.thirsty.insert(at);
                    self.queue(at);
                }
            }
            (RunAct::End(end), RunState::Running | RunState::Paused) => {
                r.run.state = RunState::Ending(end);
                self.end_lanes(id);
                if end != RunEnd::Cancelled {
                    tracing::warn!(code = %codes::RUN_ENDED, replay = id.0, why = end.as_str(), "a replay is ended before it has reached the end of its range");
                }
            }
            _ => return false,
        }
        self.runs.dirty.insert(id);
        self.finish_run(id, now);
        true
    }

    /// Everything that is open in the lanes of a run that is being ended ends.
    fn end_lanes(&mut self, id: RunId) {
        let Some(r) = self.runs.all.get(&id).filter(|r| matches!(r.run.state, RunState::Ending(_))) else { return };
        for at in r.lanes.clone() {
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.drop_all();
                self.walking.insert(at);
            }
        }
    }

    /// Runs that are too old end.
    pub(super) fn expire_runs(&mut self, now: Now) {
        let old = |r: &RunNow| r.run.state.is_open() && age(r.run.opened_ms, now) >= self.runs.age_max;
        let old: Vec<RunId> = self.runs.all.values().filter(|r| old(r)).map(|r| r.run.id).collect();
        for id in old {
            self.act_on_run(id, RunAct::End(RunEnd::TooOld), now);
        }
    }

    /// A run that has nothing left to do is over.
    fn finish_run(&mut self, id: RunId, now: Now) {
        let owed = |at: &usize| self.lanes.get(*at).map_or(0, Lane::owed);
        let Some(r) = self.runs.all.get_mut(&id) else { return };
        if r.lanes.iter().map(owed).sum::<u64>() > 0 {
            return;
        }
        let end = match r.run.state {
            RunState::Running if r.run.next >= r.run.to => RunEnd::Done,
            RunState::Ending(end) => end,
            _ => return,
        };
        (r.run.state, r.run.ended, r.selector) = (RunState::Ended(end), Some(now.wall), None);
        self.runs.live.remove(&id);
        self.runs.dirty.insert(id);
        self.runs.stats.ended(end);
        let sum = |of: fn(&RunCounts) -> u64| r.run.routes.iter().map(|r| of(&r.counts)).sum::<u64>();
        tracing::info!(
            replay = id.0,
            end = end.as_str(),
            read = r.run.read,
            skipped = r.run.skipped,
            delivered = sum(|c| c.delivered),
            dead_lettered = sum(|c| c.dead_lettered),
            ended = sum(|c| c.ended),
            "replay over"
        );
    }

    // ------------------------------------------------------------------------ steps 4 and 5

    /// The next read of a run whose deliveries have drained.
    pub(super) fn next_read(&mut self, now: Now) -> Option<Job> {
        if self.runs.live.is_empty() {
            return None;
        }
        let ids: Vec<RunId> = self.runs.live.iter().copied().collect();
        let id = ids.into_iter().find(|id| self.run_reads(*id, now))?;
        let r = self.runs.all.get_mut(&id)?;
        r.reading = true;
        r.since.get_or_insert((now.mono, r.run.next));
        let hits = r.run.rate.map_or(HITS_MAX, |rate| (rate.get() / READS_PER_SECOND).clamp(1, HITS_MAX));
        Some(Job::Read {
            run: id,
            bus: r.run.bus,
            from: r.run.next,
            to: r.run.to,
            hits_max: usize::try_from(hits).unwrap_or(usize::MAX),
            selector: r.selector.clone()?,
        })
    }

    fn run_reads(&mut self, id: RunId, now: Now) -> bool {
        let limits = self.limits;
        let Some(r) = self.runs.all.get_mut(&id) else { return false };
        let waits = r.run.state != RunState::Running || r.reading || r.run.next >= r.run.to || r.selector.is_none();
        let waits = waits || self.committed < r.kept_by;
        if waits || r.pace.as_mut().is_some_and(|pace| pace.wait(now.mono).is_some()) {
            return false;
        }
        let drained = |at: &usize| {
            let Some(lane) = self.lanes.get(*at).filter(|l| !l.rests()) else { return false };
            let Some(goal) = lane.target.and_then(|t| self.targets.get(t)) else { return false };
            let owed = lane.owed();
            let closed = |b: &Breaker| b.gate(now.mono) == Gate::Open;
            // What is owed probes the breaker of replays; without it, an event that is read does.
            let flows = closed(&goal.breaker) && (owed == 0 || closed(&goal.later.breaker));
            flows && owed < OWED_MAX && lane.bytes < limits.bytes_max / 2
        };
        r.lanes.iter().all(drained)
    }

    /// What a run reads cannot be had now; it is being tried again.
    pub fn unread(&mut self, id: RunId, why: Arc<str>) {
        if let Some(r) = self.runs.all.get_mut(&id).filter(|r| r.reading) {
            if r.unread.is_none() {
                tracing::warn!(code = %codes::ARCHIVE_UNREACHABLE, replay = id.0, %why, "a replay waits for the archive, which does not answer");
            }
            r.unread = Some(why);
        }
    }

    /// A read of a run ended. What is of a run that does not go on is read again later, or never.
    ///
    /// # Errors
    /// The store has failed.
    pub fn read(&mut self, id: RunId, read: Result<Read, Error>, now: Now) -> Result<(), Error> {
        let Some(r) = self.runs.all.get_mut(&id) else { return Ok(()) };
        r.reading = false;
        r.unread = None;
        if r.run.state != RunState::Running {
            return Ok(());
        }
        let read = match read {
            Ok(read) => read,
            Err(error @ (Error::Damaged { .. } | Error::Trimmed { .. })) => {
                tracing::error!(code = %codes::RUN_PAUSED, replay = id.0, %error, "a replay is paused: its range cannot be read");
                (r.run.state, r.run.note) = (RunState::Paused, Some(error.to_string().into()));
                self.runs.dirty.insert(id);
                return Ok(());
            }
            Err(fatal) => return Err(fatal),
        };
        let hits = u64::try_from(read.hits.len()).unwrap_or(u64::MAX);
        if let Some((offsets, why)) = read.lost {
            r.run.lost += offsets;
            tracing::error!(code = %codes::COPY_LOST, replay = id.0, from = r.run.next.0, offsets, %why, "a replay passes over offsets that cannot be read");
        }
        r.run.next = read.next;
        r.run.read += read.read;
        r.run.skipped += read.read.saturating_sub(hits);
        if let Some(pace) = &mut r.pace {
            pace.take(read.hits.len());
        }
        let bus: BusId = r.run.bus;
        self.runs.dirty.insert(id);
        self.runs.stats.read.add(read.read);
        for (record, routes) in read.hits {
            for route in routes {
                let lane = LaneId { bus, route, run: id };
                self.open(lane, &record, now);
                self.count_run(lane, |c| c.matched += 1);
                self.runs.stats.opened.add(1);
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------------------ step 6

    /// The next call of a target for a replay, behind what is live.
    pub(super) fn deliver_later(&mut self, target: usize, now: Now) -> Option<Job> {
        let goal = self.targets.get_mut(target)?;
        if goal.later.lanes.is_empty() || goal.breaker.gate(now.mono) != Gate::Open {
            return None;
        }
        let share = (goal.limits.in_flight_max / usize::try_from(SHARE).unwrap_or(usize::MAX)).max(1);
        if goal.in_flight >= goal.limits.in_flight_max || goal.later.in_flight >= share {
            return None;
        }
        let gate = goal.later.breaker.gate(now.mono);
        if matches!(gate, Gate::Closed(_)) || !self.flies(target) {
            return None;
        }
        let goal = self.targets.get_mut(target)?;
        let waits = |pace: Option<&mut Pace>| pace.is_some_and(|pace| pace.wait(now.mono).is_some());
        // Both are asked, so that both say when they open.
        if waits(goal.pace.as_mut()) | waits(goal.later.pace.as_mut()) {
            self.paced.insert(target);
            return None;
        }
        if gate == Gate::Probe {
            let lanes = self.later_lanes(target);
            let (lane, offset) = self.oldest_to_try(target, &lanes, now)?;
            let batch = self.send(lane, vec![offset]);
            return self.launch(target, lane, true, batch);
        }
        loop {
            let lane = self.targets.get_mut(target)?.later.queue.pop_front()?;
            if let Some(l) = self.lanes.get_mut(lane) {
                l.queued = false;
            }
            let sends = self.lanes.get(lane).is_some_and(|l| !l.rests() && self.run_sends(l.id.run));
            let offsets = if sends { self.next_batch(target, lane, now) } else { Vec::new() };
            if !offsets.is_empty() {
                let batch = self.send(lane, offsets);
                self.queue(lane);
                return self.launch(target, lane, false, batch);
            }
        }
    }

    /// Lanes of replays that send to a target now.
    pub(super) fn later_lanes(&self, target: usize) -> Vec<usize> {
        let lanes = self.targets.get(target).map(|g| g.later.lanes.clone()).unwrap_or_default();
        lanes.into_iter().filter(|at| self.lanes.get(*at).is_some_and(|l| self.run_sends(l.id.run))).collect()
    }

    // ------------------------------------------------------------------------ to the ledger

    /// Whether a run differs from what the ledger holds.
    pub(super) fn runs_moved(&self) -> bool {
        !self.runs.dirty.is_empty() || !self.runs.dropped.is_empty()
    }

    /// The runs that changed, after the entries of their deliveries.
    pub(super) fn commit_runs(&mut self, now: Now, changes: &mut Vec<Change>) {
        for id in self.runs.live.clone() {
            self.finish_run(id, now);
        }
        for id in std::mem::take(&mut self.runs.dirty) {
            let Some(r) = self.runs.all.get(&id) else { continue };
            changes.push(Change::PutRun(Box::new(r.run.clone())));
        }
        changes.extend(std::mem::take(&mut self.runs.dropped).into_iter().map(Change::DropRun));
    }

    // ------------------------------------------------------------------------ for whoever waits

    /// When there is something to do for a run, if nothing comes in until then.
    pub(super) fn runs_wakeup(&self, now: Now) -> Option<Duration> {
        let breakers = self.runs.broken.iter().filter_map(|t| self.targets.get(*t));
        let breakers = breakers.filter_map(|g| match g.later.breaker.gate(now.mono) {
            Gate::Closed(until) => until,
            Gate::Probe | Gate::Open => None,
        });
        let live = self.runs.live.iter().filter_map(|id| self.runs.all.get(id));
        let reads = live.filter(|r| r.run.state == RunState::Running && !r.reading && r.run.next < r.run.to);
        breakers.chain(reads.filter_map(|r| r.pace.as_ref()?.open_at().filter(|at| *at > now.mono))).min()
    }

    /// The wait is over: targets that a replay may try again are looked at.
    pub(super) fn woken_for_runs(&mut self, now: Now) {
        for at in &self.runs.broken {
            if self.targets.get(*at).is_some_and(|g| g.later.breaker.gate(now.mono) == Gate::Probe) {
                self.hot.insert(*at);
            }
        }
    }
}
