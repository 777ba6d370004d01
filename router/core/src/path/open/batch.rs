//! Which deliveries of a lane go together in one call.
//!
//! Where a target takes a batch whole or not at all, an event fault or a refusal of a batch says nothing
//! of its members: nothing is settled, no attempt is counted, and the batch is halved. The halves go
//! before anything else of the lane, the older one first, until the guilty delivery stands alone and is
//! settled by what the target says of it. Among `n` deliveries, `g` guilty ones cost at most
//! `1 + 2 * g * log2(n)` calls more. Where a guilty one is tried again, it goes alone from then on. A
//! target fault is for the whole batch, which is not halved.

use super::{Now, OpenSet};
use crate::{
    id::Offset,
    path::lane::State,
    settle::{Seen, Verdict},
    target::{Outcome, Partial, Scope},
};

/// Whether a failure may be the fault of one delivery of a batch.
fn blames_an_event(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { .. } | Outcome::Retry { scope: Scope::Event, .. })
}

impl OpenSet {
    /// What of a lane is sent in the next call; nothing when it waits for more, or has nothing ready.
    pub(super) fn next_batch(&mut self, target: usize, at: usize, now: Now) -> Vec<Offset> {
        while let Some(half) = self.lanes.get_mut(at).and_then(|l| l.halves.pop_front()) {
            let ready = self.still_ready(target, at, half, now);
            if !ready.is_empty() {
                return ready;
            }
        }
        let (offsets, full) = self.batch(target, at, now);
        if offsets.is_empty() || full || !self.lingers(target, at, now) {
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.linger = None;
            }
            return offsets;
        }
        Vec::new()
    }

    /// Those of a half that nothing else has taken, and whose budget is not used up.
    fn still_ready(&mut self, target: usize, at: usize, half: Vec<Offset>, now: Now) -> Vec<Offset> {
        let is_ready = |set: &OpenSet, offset: &Offset| set.lanes.get(at).is_some_and(|l| l.ready.contains(offset));
        half.into_iter().filter(|offset| is_ready(self, offset) && !self.expire(target, at, *offset, now)).collect()
    }

    /// Whether a batch that is not full waits for more.
    fn lingers(&mut self, target: usize, at: usize, now: Now) -> bool {
        let delay = self.targets.get(target).map(|g| g.limits.delay_max).unwrap_or_default();
        let Some(lane) = self.lanes.get_mut(at).filter(|_| !delay.is_zero()) else { return false };
        let until = *lane.linger.get_or_insert(now.mono + delay);
        let waits = now.mono < until;
        if waits {
            self.lingering.insert((until, at));
        }
        waits
    }

    /// Ready offsets of a lane that go together, oldest first, and whether nothing more goes with them.
    fn batch(&mut self, target: usize, at: usize, now: Now) -> (Vec<Offset>, bool) {
        let Some(limits) = self.targets.get(target).map(|g| g.limits) else { return (Vec::new(), true) };
        let (mut offsets, mut bytes) = (Vec::new(), 0);
        let mut from = Offset(0);
        while offsets.len() < limits.count_max.max(1) {
            let Some(offset) = self.lanes.get(at).and_then(|l| l.ready.range(from..).next().copied()) else {
                return (offsets, false);
            };
            from = offset.next();
            if self.expire(target, at, offset, now) {
                continue;
            }
            let open = self.lanes.get(at).and_then(|l| l.open.get(&offset));
            let (size, alone) = open.map_or((0, false), |o| (o.event.body().len(), o.alone));
            match alone {
                true if offsets.is_empty() => return (vec![offset], true),
                true => continue,
                false => {}
            }
            if !offsets.is_empty() && bytes + size > limits.bytes_max {
                break;
            }
            bytes += size;
            offsets.push(offset);
        }
        (offsets, true)
    }

    /// Takes a failed batch apart, where that can find the guilty one, and says how the breaker took it;
    /// else hands the outcomes back.
    pub(super) fn halved(
        &mut self,
        target: usize,
        at: usize,
        outcomes: Vec<(Offset, Outcome)>,
        now: Now,
    ) -> Result<Verdict, Vec<(Offset, Outcome)>> {
        let Some(goal) = self.targets.get_mut(target) else { return Err(outcomes) };
        let Some(lane) = self.lanes.get_mut(at) else { return Err(outcomes) };
        let whole = goal.limits.partial == Partial::AllOrNothing;
        if !whole || !outcomes.iter().all(|(_, outcome)| blames_an_event(outcome)) {
            return Err(outcomes);
        }
        let Some((first, outcome)) = outcomes.first().filter(|_| outcomes.len() > 1) else {
            for (offset, _) in &outcomes {
                if let Some(open) = lane.open.get_mut(offset) {
                    open.alone = true;
                }
            }
            return Err(outcomes);
        };
        // One call, one fault: as many as a batch has members would open the breaker at once.
        let seen = Seen { delivery: (lane.id, *first), outcome, probe: false };
        let verdict = goal.breaker_of(lane.id.run).judge(seen, now.mono, now.jitter);
        let mut older: Vec<Offset> = outcomes.iter().map(|(offset, _)| *offset).collect();
        for offset in &older {
            lane.set(*offset, State::Ready);
        }
        let newer = older.split_off(older.len().div_ceil(2));
        lane.halves.push_front(newer);
        lane.halves.push_front(older);
        lane.route.stats.batches_halved.add(1);
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests;
