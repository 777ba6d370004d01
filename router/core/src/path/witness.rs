//! Makes facts of what the dispatcher sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Parts, open::Stopped};
use crate::{
    clock::Clock,
    id::{BusId, BusName, RouteName, RunId, TargetName},
    replay::RunState,
    stats::Stats,
    store::{Change, DeadLetter},
    system::{self, Fact},
};

/// What is about deliveries of the bus `system` itself makes none, so that
/// nothing there causes itself: it is counted.
pub(super) struct Witness {
    system: Option<BusId>,
    buses: BTreeMap<BusId, BusName>,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    /// Targets whose breaker was told to have opened: that it closes is told, too, whoever found it out.
    open: BTreeSet<TargetName>,
    /// Replays whose end is told, or was before this start.
    over: BTreeSet<RunId>,
}

impl Witness {
    pub fn new(parts: &Parts) -> Self {
        let buses: BTreeMap<BusId, BusName> = parts.state.buses.iter().map(|(name, id)| (*id, name.clone())).collect();
        let over = parts.state.runs.iter().filter(|run| run.state.is_over());
        Witness {
            system: buses.iter().find(|(_, name)| name.as_str() == system::BUS).map(|(id, _)| *id),
            buses,
            stats: parts.stats.clone(),
            clock: parts.clock.clone(),
            open: BTreeSet::new(),
            over: over.map(|run| run.id).collect(),
        }
    }

    fn tell(&self, about: BusId, fact: Fact) {
        if self.system == Some(about) {
            self.stats.facts.about_itself.add(1);
        } else {
            self.stats.facts.tell(fact, self.clock.wall());
        }
    }

    /// A route holds its bus, or does so no longer.
    pub fn held(&self, bus: BusId, route: &RouteName, full: Option<(u64, u64)>) {
        let route = route.clone();
        let fact = match full {
            Some((bytes, bytes_max)) => Fact::BacklogFull { route, bytes, bytes_max },
            None => Fact::BacklogDrained { route },
        };
        self.tell(bus, fact);
    }

    /// A delivery of this bus opened the breaker of a target.
    pub fn opened(&mut self, bus: Option<BusId>, target: TargetName, wait: Duration, why: Box<str>) {
        let Some(bus) = bus else { return };
        if self.system != Some(bus) {
            self.open.insert(target.clone());
        }
        self.tell(bus, Fact::BreakerOpened { target, wait, why });
    }

    /// A route stopped, since this target is gone.
    pub fn stopped(&self, Stopped { bus, route, why, .. }: Stopped, target: Option<TargetName>) {
        if let Some(target) = target {
            self.tell(bus, Fact::Stopped { route, target, why });
        }
    }

    /// The breaker of a target closed. One that only `system` found open was not told, and is not now.
    pub fn closed(&mut self, target: TargetName) {
        if self.open.remove(&target) {
            self.stats.facts.tell(Fact::BreakerClosed { target }, self.clock.wall());
        }
    }

    /// These changes are written.
    pub fn committed(&mut self, changes: &[Change]) {
        if self.system.is_none() {
            return;
        }
        for change in changes {
            match change {
                Change::PutDeadLetter(letter) => {
                    let DeadLetter { id, route, target, reason, .. } = &**letter;
                    let (route, target, reason) = (route.clone(), target.clone(), reason.clone());
                    self.tell(id.lane.bus, Fact::Parked { route, target, reason, id: *id });
                }
                Change::PutRun(run) => {
                    // It is written again when something of it is redriven.
                    if let (RunState::Ended(end), Some(bus)) = (run.state, self.buses.get(&run.bus))
                        && self.over.insert(run.id)
                    {
                        let fact = Fact::ReplayEnded { run: run.clone(), bus: bus.clone(), end };
                        self.stats.facts.tell(fact, self.clock.wall());
                    }
                }
                Change::DropRun(id) => {
                    self.over.remove(id);
                }
                _ => {}
            }
        }
    }
}
