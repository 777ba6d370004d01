//! Step 7: what came of the calls of targets, of the live flow and of replays alike.

use std::time::Duration;

use super::{
    super::lane::{Lane, Open, Route, State, body_bytes},
    Now, OpenSet, age, pause,
    stopped::Stopped,
};
use crate::{
    id::{DeliveryId, Offset, RunId},
    settle::{self, Seen, Settlement, Verdict},
    store::{Change, DeadLetter},
    target::Outcome,
    transform::Failure,
};

impl OpenSet {
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

    /// A call of a target ended. Returns how the breaker of its live flow changed.
    pub fn finished(
        &mut self,
        target: usize,
        at: usize,
        probe: bool,
        outcomes: Vec<(Offset, Outcome)>,
        now: Now,
    ) -> Verdict {
        let run = self.lanes.get(at).map(|l| l.id.run).unwrap_or_default();
        if let Some(goal) = self.targets.get_mut(target) {
            goal.in_flight = goal.in_flight.saturating_sub(1);
            if run != RunId(0) {
                goal.later.in_flight = goal.later.in_flight.saturating_sub(1);
            }
        }
        let verdict = match self.halved(target, at, outcomes, now) {
            Ok(judged) => judged,
            Err(outcomes) => self.judged((target, at), probe, outcomes, now),
        };
        self.look_again(target, at);
        self.breaker_moved(target, run, verdict);
        // The breaker of the live flow does not hear of a replay.
        if run == RunId(0) { verdict } else { Verdict::Same }
    }

    /// What each outcome of a call means, for the breaker of its flow and for its delivery.
    fn judged(
        &mut self,
        (target, at): (usize, usize),
        probe: bool,
        outcomes: Vec<(Offset, Outcome)>,
        now: Now,
    ) -> Verdict {
        let mut verdict = Verdict::Same;
        for (offset, outcome) in outcomes {
            let Some(id) = self.lanes.get(at).map(|l| l.id) else { continue };
            if let Some(goal) = self.targets.get_mut(target) {
                let seen = Seen { delivery: (id, offset), outcome: &outcome, probe };
                match goal.breaker_of(id.run).judge(seen, now.mono, now.jitter) {
                    Verdict::Same => {}
                    changed => verdict = changed,
                }
                if matches!(outcome, Outcome::Delivered { .. }) {
                    goal.count_success(id.run);
                }
            }
            self.settle(target, at, offset, outcome, now);
        }
        verdict
    }

    /// The breaker of a target's live flow, or of its replays, opened or closed.
    fn breaker_moved(&mut self, target: usize, run: RunId, verdict: Verdict) {
        let live = run == RunId(0);
        let broken = if live { &mut self.broken } else { &mut self.runs.broken };
        match verdict {
            Verdict::Same => {}
            Verdict::Opened(_) => {
                if self.targets.get(target).is_some_and(|goal| !goal.retired) {
                    broken.insert(target);
                }
            }
            Verdict::Closed => {
                broken.remove(&target);
                let lanes = if live {
                    self.targets.get(target).map(|goal| goal.lanes.clone()).unwrap_or_default()
                } else {
                    self.later_lanes(target)
                };
                for lane in lanes {
                    self.queue(lane);
                }
            }
        }
    }

    /// A call ended: the lane may have more to send or to read, and the target room for it.
    pub(super) fn look_again(&mut self, target: usize, at: usize) {
        self.dirty.insert(at);
        self.thirsty.insert(at);
        self.queue(at);
        self.hot.insert(target);
    }

    pub(super) fn settle(&mut self, target: usize, at: usize, offset: Offset, outcome: Outcome, now: Now) {
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
                if let Outcome::Stop { code, facts } = outcome {
                    if lane.stopped.replace(code).is_none() {
                        self.stopped.extend(Stopped::of(lane, facts));
                    }
                    tracing::warn!(code = %crate::codes::LANE_STOPPED, route = %lane.route.name, answer = code.0, "lane stopped: its target says that it is gone; correct its URL and reload, or resume the route, and it is tried again");
                }
            }
            Settlement::DeadLetter(reason, note) => self.bury(at, offset, reason, note, now),
        }
    }

    /// Settled: it leaves memory, and the ledger if it is there.
    pub(super) fn end(&mut self, at: usize, offset: Offset) -> Option<Open> {
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
    pub(super) fn bury(&mut self, at: usize, offset: Offset, reason: schemas::Code, note: Box<str>, now: Now) {
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
