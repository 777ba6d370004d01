//! Step 6: what goes to a target now, and as what.

use super::{
    super::lane::{Lane, Open, State},
    Job, Now, OpenSet, ending, pause,
};
use crate::{
    id::{DeliveryId, LaneId, Offset, RunId},
    settle::{self, Gate},
    target::Delivery,
};

impl OpenSet {
    pub(super) fn deliver(&mut self, target: usize, now: Now) -> Option<Job> {
        let goal = self.targets.get_mut(target)?;
        if goal.in_flight >= goal.limits.in_flight_max {
            return None;
        }
        if !self.flies(target) {
            return None;
        }
        let goal = self.targets.get_mut(target)?;
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
    pub(super) fn oldest_to_try(&mut self, target: usize, lanes: &[usize], now: Now) -> Option<(usize, Offset)> {
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
    pub(super) fn expire(&mut self, target: usize, at: usize, offset: Offset, now: Now) -> bool {
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
    pub(super) fn send(&mut self, at: usize, offsets: Vec<Offset>) -> Vec<Delivery> {
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

    pub(super) fn launch(&mut self, target: usize, lane: usize, probe: bool, batch: Vec<Delivery>) -> Option<Job> {
        let run = self.lanes.get(lane).map(|l| l.id.run)?;
        self.took_off(target, &batch);
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
}
