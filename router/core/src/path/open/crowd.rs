//! When memory is full: which lanes live from the ledger.
//!
//! At [`Limits::total_max`](super::super::lane::Limits) deliveries in memory, over all lanes, the fullest
//! lanes give theirs to the ledger with the next commit, but for a few, until a quarter of the room is
//! free. A lane that nothing can be delivered for does not come back for them before half of it is; one
//! that has nothing in memory always gets a few, so that a crowd of others holds nobody up.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{
    super::lane::{Lane, State},
    OpenSet,
};
use crate::{settle::Gate, store::Change};

/// Deliveries that a lane keeps in memory when it is crowded out.
const KEPT: usize = 16;
/// Deliveries that a lane without any in memory takes in, however full it is.
const FLOOR: usize = 4;

impl OpenSet {
    /// Whether there is room for another delivery in memory.
    pub(super) fn has_room(&self) -> bool {
        self.in_memory < self.limits.total_max
    }

    /// How many of `count` entries a lane may take in from the ledger.
    pub(super) fn share(&self, lane: &Lane, count: usize, now: super::Now) -> usize {
        let spare = self.limits.total_max.saturating_sub(self.in_memory);
        let goal = lane.target.filter(|_| !lane.rests()).and_then(|t| self.targets.get(t));
        let delivers = goal.is_some_and(|g| g.breaker.gate(now.mono) == Gate::Open);
        let active = lane.open.len();
        if !delivers && active >= KEPT && spare < self.limits.total_max / 2 {
            return 0;
        }
        count.min(spare.max(if active == 0 { FLOOR } else { 0 }))
    }

    /// Has the fullest lanes give what they hold to the ledger with this commit, where memory is full.
    pub(super) fn crowd_out(&mut self) {
        if self.has_room() {
            return;
        }
        let mut excess = self.in_memory.saturating_sub(self.limits.total_max / 4 * 3);
        let mut fullest: Vec<(usize, usize)> = self
            .lanes
            .iter()
            .enumerate()
            .map(|(at, l)| (l.ready.len() + l.behind.len() + l.waiting.len(), at))
            .collect();
        fullest.retain(|(held, _)| *held > KEPT);
        fullest.sort_unstable_by_key(|(held, at)| (Reverse(*held), *at));
        for (held, at) in fullest {
            if excess == 0 {
                return;
            }
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            lane.leave = (held - KEPT).min(excess);
            excess -= lane.leave;
            self.dirty.insert(at);
        }
    }

    /// Gives the newest of what a lane holds to the ledger, where it stands as it is: what differed is in
    /// the changes of this commit already.
    pub(super) fn give_back(&mut self, at: usize, changes: &mut Vec<Change>) {
        let commit = self.committing;
        let mut left = BTreeSet::new();
        let Some(lane) = self.lanes.get_mut(at) else { return };
        for _ in 0..std::mem::take(&mut lane.leave) {
            let waiting = || lane.waiting.last().map(|(_, offset)| *offset);
            let idle = lane.ready.last().max(lane.behind.last()).copied();
            let Some(offset) = idle.or_else(waiting) else { break };
            let Some(open) = lane.open.get(&offset) else { break };
            let (state, Some(stored)) = (open.state, open.stored) else { break };
            let Some(open) = lane.remove(offset) else { break };
            lane.walk_back(open.opened_ms);
            self.in_memory = self.in_memory.saturating_sub(1);
            self.spilled.insert(at);
            if let Some(key) = open.key {
                left.insert(key);
                if lane.give_to_key(key, offset, &open, commit, changes) {
                    continue;
                }
            }
            if let State::Waiting(due) = state {
                self.timers.remove(&(due, at, offset));
            }
            match stored.due {
                None => {
                    lane.ledger_from = if lane.ledger_ready == 0 { offset } else { lane.ledger_from.min(offset) };
                    lane.ledger_ready += 1;
                    if lane.paging {
                        lane.rewind = Some(lane.rewind.map_or(offset, |back| back.min(offset)));
                    }
                }
                due => {
                    lane.ledger_waiting += 1;
                    lane.ledger_due = lane.ledger_due.min(due).or(due);
                }
            }
            // A read that is under way may have seen the entry that this commit replaces.
            lane.gone.insert(offset, commit);
            lane.readable_after = commit;
        }
        for key in left {
            self.take_turn(at, key);
        }
    }
}
