//! Routes that are new and want what was there before them: a replay of its own for each, which begins in the same
//! commit as the route's first version and ends where that begins. So each event of the log reaches the route by one of
//! the two, and by no more than one.
//!
//! A route is new once, when its name gets its number: one that was removed and comes back takes up where it is, as ever.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{StartError, Topology};
use crate::{
    clock::Timestamp,
    id::{BusId, BusName, Offset, RouteId, RouteName, RunId},
    replay::{RUNS_OPEN_MAX, Replies, Run, RunCounts, RunRoute, RunState},
    store::{Change, Error, Log, State},
};

/// From where on a route that is new gets events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// From the next one on.
    #[default]
    Next,
    /// All that are kept.
    Earliest,
    /// Those that were appended then or later.
    Time(Timestamp),
}

/// Where new routes begin, each on its bus.
pub(super) type Beginnings = BTreeMap<(RouteId, BusId), Offset>;

/// The first numbers of runs that nobody else gives, and the moment at which they were given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered {
    pub first: RunId,
    pub wall: Timestamp,
    pub running_ms: u64,
}

/// Where the routes begin that get their number by these changes, and want more than what comes. `state` knows them.
pub(super) async fn beginnings(
    topology: &Topology,
    named: &[Change],
    state: &State,
    logs: &BTreeMap<BusId, Arc<dyn Log>>,
) -> Result<Beginnings, Error> {
    let new: HashMap<&RouteName, RouteId> = named.iter().filter_map(new_name).collect();
    let buses: HashMap<&BusName, BusId> = state.buses.iter().map(|(name, id)| (name, *id)).collect();
    let mut all = Beginnings::new();
    for spec in topology.routes.iter().filter(|spec| spec.start != Start::Next) {
        let place = new.get(&spec.name).zip(buses.get(&spec.bus));
        let Some(((route, bus), log)) = place.and_then(|(r, b)| Some(((*r, *b), logs.get(b)?))) else { continue };
        let first = log.bounds().0;
        let from = match spec.start {
            Start::Time(at) => log.seek(at).await?.max(first),
            Start::Next | Start::Earliest => first,
        };
        all.insert((route, bus), from);
    }
    Ok(all)
}

fn new_name(change: &Change) -> Option<(&RouteName, RouteId)> {
    if let Change::NameRoute(name, id) = change { Some((name, *id)) } else { None }
}

/// Whether so many runs more can go on.
pub(super) fn fits(open: usize, more: usize) -> Result<(), StartError> {
    if open + more > RUNS_OPEN_MAX { Err(StartError::Beginnings { open, more }) } else { Ok(()) }
}

/// The runs, by the versions in these changes, whose place is known. A route before which there is nothing has none.
pub(super) fn runs(beginnings: &Beginnings, changes: &[Change], numbered: Numbered) -> Vec<Run> {
    let Numbered { first, wall, running_ms } = numbered;
    let begins = |change: &Change| {
        let Change::PutVersion(version) = change else { return None };
        let from = beginnings.get(&(version.route, version.bus)).copied().filter(|from| *from < version.from)?;
        Some((from, version.clone(), version.filter.clone()?))
    };
    let run = |(n, (from, version, filter)): (u32, (Offset, crate::store::RouteVersion, Arc<str>))| Run {
        id: RunId(first.0.saturating_add(n)),
        bus: version.bus,
        from,
        to: version.from,
        next: from,
        routes: vec![RunRoute { route: version.route, name: version.name, filter, counts: RunCounts::default() }],
        filter: None,
        rate: None,
        // The route gets these events for the first time: what its target answers is what it would have answered.
        replies: Replies::Admit,
        state: RunState::Running,
        note: None,
        started: wall,
        opened_ms: running_ms,
        ended: None,
        read: 0,
        skipped: 0,
        lost: 0,
    };
    (0..).zip(changes.iter().filter_map(begins)).map(run).collect()
}

/// The runs as changes; told in the log, since nobody asked for them by name.
pub(super) fn put(runs: &[Run]) -> Vec<Change> {
    let put = |run: &Run| {
        let route = run.routes.first().map(|r| r.name.to_string()).unwrap_or_default();
        let (replay, from, to) = (run.id.0, run.from.0, run.to.0);
        tracing::info!(route, replay, from, to, "a new route gets what was there before it, as a replay");
        Change::PutRun(Box::new(run.clone()))
    };
    runs.iter().map(put).collect()
}

/// Names of routes among changes, and the rest: logs are opened by the rest before routes get theirs.
pub(super) fn apart(changes: Vec<Change>) -> (Vec<Change>, Vec<Change>) {
    changes.into_iter().partition(|change| matches!(change, Change::NameRoute(..)))
}
