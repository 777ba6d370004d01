//! Bytes under way to all targets. An event that waits shares its bytes with every other lane that is owed it; one that
//! is under way is written out for its call, with a hop or as a part of a batch, and lies in the buffers of a
//! connection as well. So it is calls that take memory, and as many as many targets allow would take as much as they
//! like.
//!
//! Past [`Limits::flight_max`](super::Limits) a target has no further call, but for two: one is always allowed, and so is
//! its even share, so that targets which do not answer hold up nobody else. Twice the limit, and a call for each target,
//! is the most that there can be.

use std::collections::BTreeSet;

use super::OpenSet;
use crate::target::Delivery;

/// What is under way, and who waits for less of it.
#[derive(Default)]
pub(super) struct Flight {
    /// Of events, over all targets.
    pub bytes: usize,
    /// Targets that have something to send.
    held: BTreeSet<usize>,
}

/// Bytes of the events of a call.
pub(in super::super) fn bytes_of(batch: &[Delivery]) -> usize {
    batch.iter().map(|delivery| delivery.event.body().len()).sum()
}

impl OpenSet {
    /// Whether a target may have another call; one that may not is looked at again when there is less under way.
    pub(super) fn flies(&mut self, target: usize) -> bool {
        let Some(goal) = self.targets.get(target) else { return false };
        let share = self.limits.flight_max / self.targets.len().max(1);
        let may = goal.in_flight == 0 || self.flight.bytes < self.limits.flight_max || goal.flight_bytes < share;
        if !may {
            self.flight.held.insert(target);
        }
        may
    }

    /// A call begins.
    pub(super) fn took_off(&mut self, target: usize, batch: &[Delivery]) {
        let bytes = bytes_of(batch);
        self.flight.bytes += bytes;
        if let Some(goal) = self.targets.get_mut(target) {
            goal.flight_bytes += bytes;
        }
    }

    /// A call of so many bytes is over. To be told before [`OpenSet::finished`].
    pub fn landed(&mut self, target: usize, bytes: usize) {
        self.flight.bytes = self.flight.bytes.saturating_sub(bytes);
        if let Some(goal) = self.targets.get_mut(target) {
            goal.flight_bytes = goal.flight_bytes.saturating_sub(bytes);
        }
        if self.flight.bytes < self.limits.flight_max {
            self.hot.append(&mut self.flight.held);
        }
    }
}

#[cfg(test)]
mod tests;
