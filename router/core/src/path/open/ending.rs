//! Deliveries that end without their target: what is past its budgets, and what a limit or a lack of space
//! makes dead letters, wherever it is, in memory or only in the ledger.
//!
//! In memory it ends at once. What is only in the ledger is *walked*: read page by page, without its
//! records, like a page that is taken in, and what must end is dropped with the next commit. One read of a
//! lane goes on at a time, and what it shows of entries that are in memory or settled meanwhile is passed
//! over, so a walk ends nothing twice and nothing that is under way.

use std::time::Duration;

use schemas::Code;

use super::{
    super::lane::{Lane, Route},
    Job, Now, OpenSet, age,
    pause::aged_from,
    skip::{Skip, SkipAt},
};
use crate::{
    codes,
    id::{DeliveryId, LaneId, Offset, OrderKey, RouteName, RunId},
    retain::{Backlog, Then},
    settle,
    store::{Attempts, Change, DeadLetter, Pending},
};

/// Entries that are read at a time.
pub(super) const WALK_PAGE: usize = 1_000;
/// Entries in a row that stay, after which a walk for old ones ends: those behind them are younger, but for
/// redriven ones.
const WALK_MISSES_MAX: usize = 10_000;
/// Changes that wait for the next commit, at which no walk goes on.
pub(in super::super) const CHANGES_MAX: usize = 16_384;

/// What a lane's deliveries are looked through for.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Ending {
    /// Bytes of the oldest deliveries that are to become dead letters, and why.
    give: Option<Give>,
    /// Where a walk through the ready entries is; `None`: none goes on.
    walk: Option<Walk>,
    /// Where the next look through what is parked begins.
    parked_from: (OrderKey, Offset),
    /// No ready entry that is only in the ledger was opened before this running time.
    oldest_ms: u64,
    /// The route that says `hold` has told that it is full.
    held: bool,
    /// All of them are to end without a trace, because their run does.
    dropping: bool,
    /// What is below an offset is to end, because an operator says so.
    pub(super) skip: Option<Skip>,
}

/// Bytes that are to become dead letters.
#[derive(Clone, Copy, Debug)]
struct Give {
    bytes: u64,
    reason: Code,
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    what: WalkOf,
    misses: usize,
    /// The oldest that stays of what was seen so far.
    oldest_ms: u64,
    /// Something stays of what was seen so far: what is to be given is looked for before it.
    stayed: bool,
}

impl Walk {
    fn new(what: WalkOf) -> Self {
        Walk { what, misses: 0, oldest_ms: u64::MAX, stayed: false }
    }

    /// The same among other entries.
    fn on(self, what: WalkOf) -> Self {
        Walk { stayed: self.stayed, ..Walk::new(what) }
    }
}

/// Which entries a walk reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum WalkOf {
    /// Ready ones from an offset on.
    Ready(Offset),
    /// Waiting ones, those due first.
    Waiting,
    /// Parked ones, from a key and an offset on.
    Parked(OrderKey, Offset),
    /// Those that are parked under a key, from an offset on and up to before another: the key ends whole.
    Key(OrderKey, Offset, Offset),
    /// Any, to end what is skipped.
    Skip(SkipAt),
}

/// What a read of a walk found.
pub(in super::super) struct Walked {
    pub what: WalkOf,
    pub entries: Vec<Pending>,
    /// Fewer were there than asked for.
    pub exhausted: bool,
}

/// A limit that a lane has reached or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Held {
    pub lane: LaneId,
    pub route: RouteName,
    /// Bytes that it owes, and how many it may; `None`: it may again.
    pub full: Option<(u64, u64)>,
}

impl Give {
    fn why(self) -> (Code, Box<str>) {
        let note = match self.reason {
            reason if reason == codes::BACKLOG_BYTES => {
                "the route is owed more than its backlog's bytes_max; the oldest deliveries go first"
            }
            _ => "the disk is full, and of what does not say `hold` this route is owed the most",
        };
        (self.reason, note.into())
    }
}

/// What became of an entry that a walk read.
pub(super) enum Seen {
    /// It is in memory, or settled meanwhile.
    Passed,
    /// It is a dead letter now.
    Ended,
    /// It stays; it was opened at this running time.
    Stays(u64),
}

impl Lane {
    /// Whether a walk could read now.
    fn readable(&self, committed: u64) -> bool {
        !self.paging && committed >= self.readable_after
    }

    /// Whether keys are dead-lettered whole, or deliveries skipped.
    fn walks_on(&self) -> bool {
        self.ending.skip.is_some() || self.keys.as_ref().is_some_and(|keys| !keys.ending.is_empty())
    }

    /// Whether a ready entry that is only in the ledger may be past its age.
    fn ready_is_old(&self, now: Now) -> bool {
        let age_max = self.route.backlog.age_max.unwrap_or(Duration::MAX).min(self.route.retry.age_max);
        let aged = aged_from(self.pause, self.ending.oldest_ms);
        self.ledger_ready > 0 && aged.is_some_and(|from| age(from, now) >= age_max)
    }

    /// Whether a walk has passed what is to be given: the oldest go first, so that it begins anew.
    fn is_behind(&self, walk: Walk) -> bool {
        walk.stayed && self.ending.give.is_some()
    }

    /// It owes so many bytes more.
    pub fn own(&mut self, bytes: u32) {
        self.owed_bytes = self.owed_bytes.saturating_add(bytes.into());
    }

    /// It owes so many bytes less, however that came about.
    pub fn disown(&mut self, bytes: u32) {
        self.owed_bytes = self.owed_bytes.saturating_sub(bytes.into());
        if let Some(give) = &mut self.ending.give {
            give.bytes = give.bytes.saturating_sub(bytes.into());
            if give.bytes == 0 {
                self.ending.give = None;
            }
        }
    }

    /// Everything that it owes ends with its run.
    pub fn drop_all(&mut self) {
        self.ending.dropping = true;
    }

    /// A ready delivery leaves memory for the ledger: a walk must find it.
    pub fn walk_back(&mut self, opened_ms: u64) {
        self.ending.oldest_ms = self.ending.oldest_ms.min(opened_ms);
    }
}

/// Whether the budget of a delivery is used up, and how to say it. Age counts once the target was tried.
pub(super) fn used_up(
    route: &Route,
    tried: bool,
    attempts: &Attempts,
    opened_ms: u64,
    now: Now,
) -> Option<(Code, Box<str>)> {
    let age = if tried { age(opened_ms, now) } else { Duration::ZERO };
    let limit = route.backlog.age_max.filter(|max| tried && age >= *max);
    settle::exhausted(attempts, &route.retry, age).or_else(|| {
        let (age, limit, count) = (age.as_secs(), limit?.as_secs(), attempts.count);
        let note = format!("owed for {age} s of running time, the backlog's age_max is {limit} s, {count} attempts");
        Some((codes::BACKLOG_AGE, note.into()))
    })
}

impl OpenSet {
    // ------------------------------------------------------------------------ limits of bytes

    /// The limits of a lane are other ones: what it was to give under the former is not given.
    pub(super) fn weigh_anew(&mut self, at: usize) {
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.ending.give = None;
        }
        self.weigh(at);
    }

    /// A lane owes an event more: its limit of bytes is looked at.
    pub(super) fn weigh(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let backlog = lane.route.backlog;
        if let (Some(max), Then::DeadLetter, Some(_)) = (backlog.bytes_max, backlog.then, lane.target)
            && lane.owed_bytes > max
        {
            lane.ending.give = Some(Give { bytes: lane.owed_bytes - max, reason: codes::BACKLOG_BYTES });
            self.walking.insert(at);
        }
        self.weigh_hold(at);
    }

    /// A lane owes more or less than it did: it may hold its bus, or hold it no longer. Redriven ones do not
    /// push others out, or themselves: they were asked for.
    pub(super) fn weigh_hold(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let backlog = lane.route.backlog;
        let Some(max) = backlog.bytes_max.filter(|_| backlog.then == Then::Hold && lane.target.is_some()) else {
            return;
        };
        // It holds until an eighth of it has drained, so that intake does not flap.
        let held = lane.owed_bytes > max || (lane.ending.held && lane.owed_bytes > max - max / 8);
        if held != lane.ending.held {
            lane.ending.held = held;
            let full = held.then_some((lane.owed_bytes, max));
            self.held.push(Held { lane: lane.id, route: lane.route.name.clone(), full });
        }
    }

    /// A lane that holds its bus, and whose route does not say so any more, holds it no longer.
    pub(super) fn let_go(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let backlog = lane.route.backlog;
        let holds = backlog.then == Then::Hold && backlog.bytes_max.is_some() && lane.target.is_some();
        if lane.ending.held && !holds {
            lane.ending.held = false;
            self.held.push(Held { lane: lane.id, route: lane.route.name.clone(), full: None });
        }
    }

    /// Lanes that reached or left their limit since it was asked last.
    pub fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// What the routes owe, those that are not configured any more too.
    pub fn backlogs(&self) -> Vec<Backlog> {
        let owing = self.lanes.iter().filter(|l| l.owed_bytes > 0 && l.id.run == RunId(0));
        let backlog = |l: &Lane| Backlog {
            route: l.route.name.clone(),
            bytes: l.owed_bytes,
            gives: l.target.is_some() && l.route.backlog.then == Then::DeadLetter,
        };
        owing.map(backlog).collect()
    }

    /// So many bytes of a route's oldest deliveries become dead letters, for want of space.
    pub fn convert(&mut self, route: &RouteName, bytes: u64) {
        let largest = self.lanes.iter_mut().enumerate().filter(|(_, l)| {
            // A run gives way before any backlog does, as a whole.
            &l.route.name == route && l.target.is_some() && l.id.run == RunId(0)
        });
        if let Some((at, lane)) = largest.max_by_key(|(_, l)| l.owed_bytes) {
            lane.ending.give.get_or_insert(Give { bytes, reason: codes::NO_SPACE });
            self.walking.insert(at);
        }
    }

    // ------------------------------------------------------------------------ what is old

    /// Ends what is past its budgets, and begins to look through the ledger where something may be.
    pub fn expire_old(&mut self, now: Now) {
        self.expire_runs(now);
        for at in 0..self.lanes.len() {
            let owing = self.lanes.get(at).filter(|l| l.owed() > 0 && self.run_sends(l.id.run));
            let Some(lane) = owing else { continue };
            let Some(target) = lane.target else { continue };
            let offsets: Vec<Offset> = lane
                .ready
                .iter()
                .chain(lane.waiting.iter().map(|(_, offset)| offset))
                .chain(&lane.behind)
                .copied()
                .collect();
            for offset in offsets {
                self.expire(target, at, offset, now);
            }
            self.look_through(at, now);
        }
    }

    fn look_through(&mut self, at: usize, now: Now) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let tried = lane.target.and_then(|t| self.targets.get(t)).is_some_and(|goal| goal.tried_by(lane.id.run));
        if !tried || lane.is_paused() || lane.ending.walk.is_some() {
            return;
        }
        let what = if lane.parked > 0 {
            // What is parked stands in no order of age: it is looked through bit by bit.
            let (key, from) = lane.ending.parked_from;
            WalkOf::Parked(key, from)
        } else if lane.ready_is_old(now) {
            WalkOf::Ready(lane.ledger_from)
        } else if lane.ledger_waiting > 0 {
            WalkOf::Waiting
        } else {
            return;
        };
        lane.ending.walk = Some(Walk::new(what));
        self.walking.insert(at);
    }

    // ------------------------------------------------------------------------ the walk

    /// The next page that a walk reads; `None` when there is none now.
    pub(super) fn next_walk(&mut self, now: Now) -> Option<Job> {
        let (mut from, committed) = (0, self.committed);
        while let Some(at) = self.walking.range(from..).next().copied() {
            from = at + 1;
            self.give_memory(at, now);
            self.drop_memory(at);
            self.skip_memory(at);
            if self.changes.len() >= CHANGES_MAX {
                return None;
            }
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if !lane.readable(committed) {
                continue;
            }
            if let Some(job) = self.end_next_key(at).or_else(|| self.next_skip(at)) {
                return Some(job);
            }
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            let first = match () {
                () if lane.parked > 0 => WalkOf::Parked(OrderKey(0), Offset(0)),
                () if lane.ledger_ready > 0 => WalkOf::Ready(lane.ledger_from),
                () => WalkOf::Waiting,
            };
            let left = lane.ledger_ready > 0 || lane.ledger_waiting > 0 || lane.parked > 0;
            let ends = lane.ending.give.is_some() || lane.ending.dropping;
            let goes_on = lane.ending.walk.filter(|walk| !lane.is_behind(*walk));
            let begun = || ends.then(|| Walk::new(first));
            let Some(walk) = goes_on.or_else(begun).filter(|_| left) else {
                let drops = lane.ending.dropping && lane.owed() > 0;
                // What is in flight may come back, and what is fresh can be read after its commit.
                let gives = lane.ending.give.is_some() && lane.in_flight > 0;
                if lane.fresh.is_empty() && !gives && !drops && !lane.walks_on() {
                    (lane.ending.walk, lane.ending.give) = (None, None);
                    self.walking.remove(&at);
                }
                continue;
            };
            lane.ending.walk = Some(walk);
            lane.paging = true;
            lane.paged_after = self.committing;
            // Entries that are in memory, or settled a moment ago, are read too: they do not count.
            let known = lane.open.len() + lane.gone.len();
            return Some(Job::Walk { lane: at, id: lane.id, what: walk.what, count_max: WALK_PAGE + known });
        }
        None
    }

    /// What is in memory of a run that ends is ended, what is under way too: whatever comes of it is not waited for.
    fn drop_memory(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at).filter(|l| l.ending.dropping) else { return };
        let fresh = std::mem::take(&mut lane.fresh);
        let (id, offsets): (LaneId, Vec<Offset>) = (lane.id, lane.open.keys().copied().collect());
        let mut ended = u64::try_from(fresh.len()).unwrap_or(u64::MAX);
        lane.settled += ended;
        fresh.iter().for_each(|f| lane.disown(f.bytes));
        self.fresh = self.fresh.saturating_sub(fresh.len());
        let mut offsets = offsets;
        offsets.sort_unstable();
        for offset in offsets {
            ended += u64::from(self.end(at, offset).is_some());
        }
        if ended > 0 {
            self.dirty.insert(at);
            self.ended_with_run(id, ended);
        }
    }

    /// The oldest deliveries in memory become dead letters, as far as the lane has to give.
    fn give_memory(&mut self, at: usize, now: Now) {
        loop {
            let Some(lane) = self.lanes.get(at) else { return };
            let Some(give) = lane.ending.give else { return };
            // What is in flight may be delivered: it is not taken back.
            let ready = lane.ready.first().copied();
            let waiting = || lane.waiting.iter().map(|(_, offset)| *offset).min();
            let behind = lane.behind.first().copied();
            let Some(offset) = ready.into_iter().chain(behind).chain(waiting()).min() else { return };
            if self.changes.len() >= CHANGES_MAX {
                return;
            }
            let (reason, note) = give.why();
            self.bury(at, offset, reason, note, now);
            let Some(lane) = self.lanes.get_mut(at) else { return };
            if lane.open.contains_key(&offset) {
                return;
            }
        }
    }

    /// A read of a walk ended.
    pub fn walked(&mut self, at: usize, walked: Walked, now: Now) {
        let committed = self.committed;
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.paging = false;
        if let WalkOf::Skip(what) = walked.what {
            return self.skip_walked(at, what, walked, now);
        }
        if let WalkOf::Key(key, _, below) = walked.what {
            return self.key_walked(at, (key, below), walked, now);
        }
        let walk = lane.ending.walk.take().filter(|w| w.what == walked.what);
        let mut walk = walk.unwrap_or(Walk::new(walked.what));
        let behind = lane.is_behind(walk);
        let entries = if behind { Vec::new() } else { walked.entries };
        let (mut ended, mut front) = (0u64, matches!(walked.what, WalkOf::Ready(from) if from == lane.ledger_from));
        let (mut last, mut last_key) = (None, None);
        for pending in entries {
            let offset = pending.offset;
            last = Some(offset);
            last_key = pending.key.or(last_key);
            let seen = self.walk_over(at, pending, None, now);
            let Some(lane) = self.lanes.get_mut(at) else { return };
            match seen {
                Seen::Stays(opened_ms) => {
                    (front, walk.oldest_ms) = (false, walk.oldest_ms.min(opened_ms));
                    walk.misses += 1;
                    walk.stayed = true;
                }
                Seen::Ended => (ended, walk.misses) = (ended + 1, 0),
                Seen::Passed => {}
            }
            if front {
                lane.ledger_from = offset.next();
            }
        }
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if let Some(back) = lane.rewind.take() {
            lane.ledger_from = lane.ledger_from.min(back);
        }
        if walked.what == WalkOf::Waiting && ended > 0 {
            // They have no place to read on from: what was dropped must be gone before the next page.
            lane.readable_after = self.committing + 1;
        }
        let giving = lane.ending.give.is_some() || lane.ending.dropping;
        let after = |lane: &Lane| {
            let waiting = (lane.ledger_waiting > 0).then_some(WalkOf::Waiting);
            let ready = lane.ready_is_old(now) || (giving && lane.ledger_ready > 0);
            if ready { Some(WalkOf::Ready(lane.ledger_from)) } else { waiting }
        };
        lane.ending.walk = match walked.what {
            _ if behind => None,
            WalkOf::Parked(..) if !walked.exhausted && (giving || walk.misses < WALK_MISSES_MAX) => {
                let from = (last_key.unwrap_or_default(), last.map_or(Offset(0), Offset::next));
                Some(Walk { what: WalkOf::Parked(from.0, from.1), ..walk })
            }
            WalkOf::Parked(..) => {
                let read_to = (last_key.unwrap_or_default(), last.map_or(Offset(0), Offset::next));
                lane.ending.parked_from = if walked.exhausted { Default::default() } else { read_to };
                after(lane).map(|what| walk.on(what))
            }
            WalkOf::Key(..) | WalkOf::Skip(_) => None,
            WalkOf::Ready(_) if !walked.exhausted && (giving || walk.misses < WALK_MISSES_MAX) => {
                Some(Walk { what: WalkOf::Ready(last.map_or(Offset(0), Offset::next)), ..walk })
            }
            WalkOf::Ready(_) => {
                lane.ending.oldest_ms = walk.oldest_ms.min(now.running_ms);
                (lane.ledger_waiting > 0).then(|| walk.on(WalkOf::Waiting))
            }
            WalkOf::Waiting if !walked.exhausted && ended > 0 => Some(walk),
            WalkOf::Waiting => None,
        };
        // Where there is still something to give, more came while this was read: a walk begins anew.
        if lane.ending.walk.is_none() && !giving && !lane.walks_on() {
            self.walking.remove(&at);
        }
        lane.forget_gone(committed);
        self.dirty.insert(at);
        self.thirsty.insert(at);
    }

    /// Ends an entry that is only in the ledger, if it must.
    pub(super) fn walk_over(&mut self, at: usize, pending: Pending, why: Option<(Code, Box<str>)>, now: Now) -> Seen {
        let next = self.committing + 1;
        let Some(lane) = self.lanes.get_mut(at) else { return Seen::Passed };
        let (place, Pending { offset, due, late, bytes, attempts, opened_ms, .. }) = (pending.place(), pending);
        if lane.open.contains_key(&offset) || lane.gone.contains_key(&offset) {
            return Seen::Passed;
        }
        let skipped = lane.skips(offset);
        let dropped = lane.ending.dropping || skipped;
        let goal = lane.target.and_then(|t| self.targets.get(t));
        let parked = goal.filter(|_| !dropped).and_then(|goal| {
            let given = why.or_else(|| lane.ending.give.map(Give::why));
            if given.is_none() && lane.route.order.is_some() && attempts.count > 0 {
                // Its key may have to wait for it: it ends when it is read in for its next try.
                return None;
            }
            let tried = goal.tried_by(lane.id.run);
            let old = || used_up(&lane.route, tried, &attempts, aged_from(lane.pause, opened_ms)?, now);
            given.or_else(old).map(|why| (why, goal.target.name().clone()))
        });
        if parked.is_none() && !dropped {
            return Seen::Stays(opened_ms);
        }
        self.changes.push(Change::Drop { lane: lane.id, offset, place, bytes });
        lane.gone.insert(offset, next);
        match (due, place.key) {
            (None, None) => lane.ledger_ready = lane.ledger_ready.saturating_sub(1),
            (Some(_), _) => lane.ledger_waiting = lane.ledger_waiting.saturating_sub(1),
            (None, Some(_)) => {}
        }
        lane.settled += 1;
        lane.disown(bytes);
        self.spilled.insert(at);
        self.dirty.insert(at);
        let order = match (&parked, place.key) {
            (Some(((reason, _), _)), Some(key)) => self.note_letter(at, (key, offset), late, *reason, now),
            _ => None,
        };
        match (due, place.key) {
            (Some(_), Some(key)) => self.away_ended(at, key),
            (None, Some(key)) => self.parked_ended(at, key),
            (_, None) => {}
        }
        let Some(lane) = self.lanes.get(at) else { return Seen::Ended };
        let id = DeliveryId { epoch: self.epochs.of(lane.id.bus, offset), lane: lane.id, offset };
        let route = lane.route.name.clone();
        match parked {
            Some(((reason, note), target)) => {
                let (reason, at_wall) = (reason.0.into(), now.wall);
                self.park(at, DeadLetter { id, route, target, reason, note, at: at_wall, bytes, attempts, order });
            }
            None if skipped => self.skipped_one(at),
            None => self.ended_with_run(id.lane, 1),
        }
        self.weigh_hold(at);
        Seen::Ended
    }

    /// Reads on of a key that is dead-lettered whole.
    fn end_next_key(&mut self, at: usize) -> Option<Job> {
        loop {
            let (committed, committing) = (self.committed, self.committing);
            let lane = self.lanes.get_mut(at)?;
            let keys = lane.keys.as_mut()?;
            let key = keys.ending.front().copied()?;
            let state = keys.key(key);
            let Some(below) = state.ending.filter(|_| state.parked > 0) else {
                keys.ending.pop_front();
                self.ending_over(at, key);
                continue;
            };
            if state.readable_after > committed {
                return None;
            }
            let what = WalkOf::Key(key, state.parked_from, below);
            (lane.paging, lane.paged_after) = (true, committing);
            return Some(Job::Walk { lane: at, id: lane.id, what, count_max: WALK_PAGE + lane.gone.len() });
        }
    }

    /// A read of a key ended that is dead-lettered whole.
    fn key_walked(&mut self, at: usize, (key, below): (OrderKey, Offset), walked: Walked, now: Now) {
        for pending in walked.entries {
            let offset = pending.offset;
            self.walk_over(at, pending, Some(super::order::why_ended()), now);
            if let Some(lane) = self.lanes.get_mut(at) {
                let state = lane.keys().key(key);
                state.parked_from = state.parked_from.max(offset.next());
            }
        }
        let committed = self.committed;
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.forget_gone(committed);
        let keys = lane.keys();
        if walked.exhausted {
            keys.ending.retain(|ending| *ending != key);
            let state = keys.key(key);
            state.parked_from = state.parked_from.max(below);
        }
        self.dirty.insert(at);
        self.ending_over(at, key);
    }

    /// Counts a dead letter, and has it written with the next commit.
    pub(super) fn park(&mut self, at: usize, letter: DeadLetter) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.dead_letters += 1;
        lane.route.stats.dead_lettered.add(1);
        let id = lane.id;
        self.parked_by_run(id);
        self.changes.push(Change::PutDeadLetter(Box::new(letter)));
    }
}
