//! What is owed to the internal route of the quarantine: each is a dead letter from its beginning.

use super::OpenSet;
use crate::{
    id::{BusId, LaneId, RouteId, RunId},
    quarantine,
    store::Record,
};

impl OpenSet {
    /// The internal route of the quarantine.
    pub fn quarantine(&mut self, route: Option<RouteId>) {
        self.internal = route;
    }

    /// A record of the quarantine was planned: the commit that carries B behind it carries its dead letter too, so
    /// that a crash before leaves it to be planned again.
    pub(super) fn quarantined(&mut self, bus: BusId, route: RouteId, record: &Record) {
        let at = self.lane(LaneId { bus, route, run: RunId(0) });
        let letter = quarantine::dead_letter(record, bus, route, &self.epochs);
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.opened += 1;
        lane.settled += 1;
        lane.route.stats.matched.add(1);
        self.dirty.insert(at);
        self.park(at, letter);
    }
}
