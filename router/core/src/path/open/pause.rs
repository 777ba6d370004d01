//! Routes that an operator has paused: what they are owed is opened and kept, and nothing is sent. No age ends
//! it meanwhile, since the operator asked for the wait, and once the route is resumed ages begin anew: else a
//! pause over a weekend would end in dead letters. Limits of bytes hold as ever, since they protect the disk.

use super::{Now, OpenSet};
use crate::{
    clock::Timestamp,
    id::{RouteId, RouteName, RunId},
    store::{Change, Pause},
};

/// What a pause or a resumption found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Paused {
    /// It was not so before.
    pub changed: bool,
    /// Deliveries that the route owes.
    pub waiting: u64,
}

/// From which running time on a delivery ages; `None` while its route is paused.
pub(super) fn aged_from(pause: Option<Pause>, opened_ms: u64) -> Option<u64> {
    match pause {
        None => Some(opened_ms),
        Some(Pause::Over(resumed_ms)) => Some(opened_ms.max(resumed_ms)),
        Some(Pause::Since(_)) => None,
    }
}

impl OpenSet {
    /// Takes up what operators have said, at a start.
    pub fn resume_pauses(&mut self, pauses: &[(RouteId, Pause)]) {
        self.pauses = pauses.iter().copied().collect();
    }

    /// Since when a route is paused.
    pub fn paused_since(&self, route: RouteId) -> Option<Timestamp> {
        match self.pauses.get(&route) {
            Some(Pause::Since(at)) => Some(*at),
            Some(Pause::Over(_)) | None => None,
        }
    }

    /// The number of a route, by its name.
    pub fn route_named(&self, name: &RouteName) -> Option<RouteId> {
        let mut found = self.routes.iter().filter(|(_, (route, _))| route.name == *name);
        found.next().map(|(id, _)| *id)
    }

    /// Pauses or resumes a route, with the next commit. To resume one also tries those of its lanes again whose
    /// target said that it is gone.
    pub fn pause(&mut self, route: RouteId, paused: bool, now: Now) -> Paused {
        let was = matches!(self.pauses.get(&route), Some(Pause::Since(_)));
        let at: Vec<usize> = (0..).zip(&self.lanes).filter(|(_, l)| l.id.route == route).map(|(at, _)| at).collect();
        if was != paused {
            let pause = if paused { Pause::Since(now.wall) } else { Pause::Over(now.running_ms) };
            self.pauses.insert(route, pause);
            self.changes.push(Change::Pause(route, pause));
        }
        let (mut changed, mut waiting) = (was != paused, 0);
        for at in at {
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            lane.pause = self.pauses.get(&route).copied();
            if !paused {
                changed |= lane.stopped.take().is_some();
            }
            // What a replay owes is the replay's, and shown there.
            waiting += if lane.id.run == RunId(0) { lane.owed() } else { 0 };
            self.thirsty.insert(at);
            self.queue(at);
        }
        Paused { changed, waiting }
    }
}
