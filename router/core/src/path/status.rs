//! What the router is doing, at one moment: the open set, the logs' ends and the counters, put together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    RouteSpec, Topology,
    gate::Gates,
    lane::Lane,
    open::{OpenSet, RunSeen},
    skip::Placed,
};
use crate::{
    clock::Timestamp,
    id::{BusId, BusName, Epoch, LaneId, RouteId, RouteName, RunId, TargetName},
    quarantine,
    replay::Run,
    stats::{BusStatus, LaneStateName, RouteStatus, RunLaneStatus, RunStatus, Stats, Status},
    store::{Log, Segment, SegmentKind, State},
};

/// What changes only with the configuration.
pub(super) struct Static {
    buses: BTreeMap<BusId, BusName>,
    routes: Vec<Known>,
}

/// A route on a bus.
struct Known {
    id: RouteId,
    name: RouteName,
    bus: BusId,
    /// `None` when the route is not configured.
    target: Option<TargetName>,
    /// Whether it is configured on this bus, and so takes more from it.
    reads: bool,
}

impl Static {
    /// `places` are the routes on their buses that may be shown.
    pub fn new(state: &State, topology: &Topology, places: &BTreeSet<(RouteId, BusId)>) -> Self {
        let specs: HashMap<&RouteName, &RouteSpec> = topology.routes.iter().map(|r| (&r.name, r)).collect();
        let names: HashMap<RouteId, &RouteName> = state.routes.iter().map(|(name, id)| (*id, name)).collect();
        let buses: HashMap<BusId, &BusName> = state.buses.iter().map(|(name, id)| (*id, name)).collect();
        // A route that moved to another bus is there twice: on the old one it only owes.
        let known: BTreeSet<(&RouteName, RouteId, BusId)> =
            places.iter().filter_map(|(route, bus)| Some((*names.get(route)?, *route, *bus))).collect();
        let one = |(name, id, bus): (&RouteName, RouteId, BusId)| {
            let spec = specs.get(name);
            let reads = spec.is_some_and(|s| Some(&&s.bus) == buses.get(&bus));
            Known { id, name: name.clone(), bus, target: spec.map(|s| s.target.clone()), reads }
        };
        Static {
            buses: buses.iter().map(|(id, name)| (*id, (*name).clone())).collect(),
            routes: known.into_iter().map(one).collect(),
        }
    }

    /// Where a route reads, or owed something at the start.
    pub fn places(&self, route: &RouteName) -> Vec<Placed> {
        let mine = self.routes.iter().filter(|known| known.name == *route);
        let placed = |known: &Known| {
            let lane = LaneId { bus: known.bus, route: known.id, run: RunId(0) };
            let (reads, configured) = (known.reads, known.target.is_some());
            Some(Placed { lane, bus: self.buses.get(&known.bus)?.clone(), reads, configured })
        };
        mine.filter_map(placed).collect()
    }

    pub fn take(
        &self,
        set: &OpenSet,
        logs: &BTreeMap<BusId, Arc<dyn Log>>,
        stats: &Stats,
        epoch: Epoch,
        gates: &Gates,
    ) -> Status {
        let bounds = |bus: &BusId| logs.get(bus).map(|l| l.bounds()).unwrap_or_default();
        let lanes: HashMap<LaneId, (&Lane, LaneStateName)> = set.lanes().map(|(l, s)| (l.id, (l, s))).collect();
        // Dead letters of replays are the route's too, until they are redriven or purged.
        let mut letters: BTreeMap<(BusId, RouteId), u64> = BTreeMap::new();
        // So are keys that are stuck in a replay: somebody may have to look after them.
        let mut stuck: BTreeMap<(BusId, RouteId), usize> = BTreeMap::new();
        for (lane, _) in set.lanes() {
            *letters.entry((lane.id.bus, lane.id.route)).or_default() += lane.dead_letters;
            *stuck.entry((lane.id.bus, lane.id.route)).or_default() += lane.stuck_keys();
        }
        let buses = self.buses.iter().map(|(id, name)| {
            let (first, tail) = bounds(id);
            BusStatus { name: name.clone(), first, tail, planned: set.planned(*id), refuses: gates.refuses(*id) }
        });
        let routes = self.routes.iter().filter_map(|known| {
            let lane = lanes.get(&LaneId { bus: known.bus, route: known.id, run: RunId(0) });
            // A route that is gone and owes nothing is history.
            let letters = letters.get(&(known.bus, known.id)).copied().unwrap_or_default();
            let owes = lane.is_some_and(|(l, _)| l.owed() > 0) || letters > 0;
            let lag = bounds(&known.bus).1.0.saturating_sub(set.planned(known.bus).0);
            let paused_since = set.paused_since(known.id);
            let status = || known.status(self.buses.get(&known.bus).cloned(), lag, lane, paused_since, stats);
            let stuck = stuck.get(&(known.bus, known.id)).copied().unwrap_or_default();
            let stuck_keys = u64::try_from(stuck).unwrap_or(u64::MAX);
            let whole = |s| RouteStatus { dead_letters: letters, stuck_keys, ..s };
            (known.reads || owes).then(status).flatten().map(whole)
        });
        let (buses, routes) = (buses.collect(), routes.collect());
        let (targets, disk) = (set.target_statuses(), gates.space.status());
        Status { epoch, buses, routes, targets, disk, replays: Vec::new() }
    }

    /// Replays, with what they hold.
    pub fn replays(&self, seen: Vec<RunSeen>, logs: &BTreeMap<BusId, Arc<dyn Log>>) -> Vec<RunStatus> {
        let status = |RunSeen { run, lanes, waits, pace }| {
            let run: Run = run;
            let bus = self.buses.get(&run.bus).cloned()?;
            let segments = || logs.get(&run.bus).map(|log| log.segments()).unwrap_or_default();
            let holds = |s: &&Segment| s.kind != SegmentKind::Remnant && run.holds_any_of(run.bus, &(s.first..s.next));
            let held_bytes = run.holds().map_or(0, |_| segments().iter().filter(holds).map(|s| s.bytes).sum());
            let left = run.to.0.saturating_sub(run.next.0);
            let left_ms = pace.filter(|(_, offsets)| *offsets > 0).map(|(took, offsets): (Duration, u64)| {
                let ms = took.as_millis().saturating_mul(left.into()) / u128::from(offsets.max(1));
                u64::try_from(ms).unwrap_or(u64::MAX)
            });
            let lanes = lanes.into_iter();
            let lanes = lanes.map(|(waiting, in_flight, state)| RunLaneStatus { waiting, in_flight, state }).collect();
            Some(RunStatus { run, bus, lanes, waits, held_bytes, left_ms })
        };
        seen.into_iter().filter_map(status).collect()
    }
}

impl Known {
    fn status(
        &self,
        bus: Option<BusName>,
        lag_events: u64,
        lane: Option<&(&Lane, LaneStateName)>,
        paused_since: Option<Timestamp>,
        stats: &Stats,
    ) -> Option<RouteStatus> {
        let counts = stats.route(&self.name);
        let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let internal = self.name.as_str() == quarantine::BUS;
        let idle = match (&self.target, paused_since) {
            (None, _) if !internal => LaneStateName::Orphaned,
            (_, Some(_)) => LaneStateName::Paused,
            (_, None) => LaneStateName::Active,
        };
        let state = lane.filter(|_| !internal).map_or(idle, |(_, state)| *state);
        let lane = lane.map(|(l, _)| *l);
        Some(RouteStatus {
            name: self.name.clone(),
            bus: bus?,
            target: self.target.clone(),
            state,
            paused_since,
            lag_events,
            waiting: lane.map_or(0, Lane::owed),
            in_flight: lane.map_or(0, |l| of(l.in_flight)),
            retrying: lane.map_or(0, |l| of(l.waiting.len()) + l.ledger_waiting),
            in_ledger: lane.map_or(0, |l| of(l.fresh.len()) + l.ledger_ready + l.ledger_waiting + l.parked),
            stuck_keys: 0,
            parked: lane.map_or(0, |l| l.parked),
            waiting_bytes: lane.map_or(0, |l| l.owed_bytes),
            oldest: lane.and_then(|l| l.open.values().map(|o| o.appended).min()),
            dead_letters: lane.map_or(0, |l| l.dead_letters),
            matched: counts.matched.get(),
            resumed: counts.resumed.get(),
            redriven: counts.redriven.get(),
            delivered: counts.delivered.get(),
            ended: counts.ended.get(),
        })
    }
}
