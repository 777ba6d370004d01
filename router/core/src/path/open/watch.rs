//! For whoever waits, or watches.

use std::time::Duration;

use super::{super::lane::Lane, Goal, Now, OpenSet};
use crate::{
    settle::Gate,
    stats::{BreakerState, LaneStateName, TargetStatus},
};

impl OpenSet {
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
