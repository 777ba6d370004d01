//! What the configuration says is put into force: the same steps at a start and while the path runs.
//!
//! While it runs a revision is *drafted* beside the flow: filters are read, the new matcher is built. Then the
//! appenders of the buses whose routes change stand still between two batches; the versions begin at the next
//! offset; one synced commit has the whole change; the dispatcher and the planners are told, and the
//! appenders go on. Nobody can append a record that the new versions judge before they are in force, and
//! none that was appended before is judged by them. A commit that finds no space refuses the revision, and
//! nothing has changed. Revisions are made one at a time, each to its end, whoever asked for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    BusSpec, Path, RouteSpec, StartError, Topology,
    append::Stand,
    begin::{self, Numbered, Start},
    dispatch::{Msg, Revision},
    lane::Route,
    open::Routes,
    replies, status,
    sweep::Wishes,
};
use crate::{
    codes,
    filter::Filter,
    id::{BusId, BusName, Offset, RouteId, RouteName, TargetName},
    order::Keyed,
    plan::{self, Planner, UNPLACED, Wanted},
    quarantine,
    retain::Retention,
    stats::Stats,
    store::{self, Change, Durability, Ledger, Log, State},
    system,
    transform::Transform,
};

/// Versions of routes from which on they are built and freed in a thread of their own. Fewer take less time
/// than a thread takes to be woken.
const ASIDE_MIN: usize = 256;

/// How long, and how many, quarantined bytes are known as the same.
const QUARANTINE_DEDUPE_AGE: Duration = Duration::from_secs(86_400);
const QUARANTINE_DEDUPE_ENTRIES_MAX: usize = 100_000;
/// How long the quarantine keeps what is no dead letter any more.
const QUARANTINE_AGE_MAX: Duration = Duration::from_secs(86_400);

/// Why a running path goes on as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviseError {
    /// No path can be made of it, or its store cannot keep it.
    #[error(transparent)]
    Refused(#[from] StartError),
    /// It differs in what only a start can change.
    #[error("{0} cannot change while the router runs; restart it")]
    Fixed(String),
    /// The path is stopping, or has failed.
    #[error("the router is stopping; its next start reads the configuration")]
    Stopping,
}

impl ReviseError {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            ReviseError::Refused(e) => e.code(),
            ReviseError::Fixed(_) => codes::NEEDS_RESTART,
            ReviseError::Stopping => codes::REVISION_STOPPED,
        }
    }
}

/// What a revision did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revised {
    /// Versions of routes that hold from now on: of those that are new, want something else, or are gone.
    pub versions: u64,
}

impl Path {
    /// Puts another topology into force without a pause of the flow. Routes, targets, retention and limits of
    /// what is owed or kept may differ; buses and the size of an event may not. A target that is the very
    /// same `Arc` goes on undisturbed; another one begins anew. Resolves when all of it is durable and in
    /// force; it is finished also when nobody waits for it any more.
    ///
    /// # Errors
    /// [`ReviseError`]: nothing has changed, but for [`ReviseError::Stopping`], after which the next start
    /// tells.
    pub async fn revise(&self, topology: Topology) -> Result<Revised, ReviseError> {
        let (reply, answer) = oneshot::channel();
        self.reviser.send(Asked { topology, reply }).await.map_err(|_| ReviseError::Stopping)?;
        answer.await.map_err(|_| ReviseError::Stopping)?
    }
}

// ------------------------------------------------------------------------ steps of a start and of a revision

/// Whether a path can be made of it.
pub(super) fn check(topology: &Topology) -> Result<(), StartError> {
    let mut names: Vec<String> = topology.buses.iter().map(|b| format!("buses {}", b.name)).collect();
    names.extend(topology.targets.iter().map(|t| format!("targets {}", t.name())));
    names.extend(topology.routes.iter().map(|r| format!("routes {}", r.name)));
    names.sort();
    if let Some(twice) = names.windows(2).find_map(|w| {
        if let [a, b] = w
            && a == b
        {
            Some(a)
        } else {
            None
        }
    }) {
        return Err(StartError::Twice(twice.clone()));
    }
    let reserved = |bus: &&BusSpec| replies::reserved(bus.name.as_str()) && bus.name.as_str() != system::BUS;
    if let Some(bus) = topology.buses.iter().find(reserved) {
        return Err(StartError::Reserved(format!("bus {}", bus.name)));
    }
    if let Some(route) = topology.routes.iter().find(|r| replies::reserved(r.name.as_str())) {
        return Err(StartError::Reserved(format!("route {}", route.name)));
    }
    let targets: HashSet<&TargetName> = topology.targets.iter().map(|t| t.name()).collect();
    for route in &topology.routes {
        if !topology.buses.iter().any(|b| b.name == route.bus) {
            return Err(StartError::Missing(route.name.clone(), format!("bus {}", route.bus)));
        }
        if let Some(bus) = route.reply_bus().filter(|bus| !topology.buses.iter().any(|b| b.name == **bus)) {
            return Err(StartError::Missing(route.name.clone(), format!("bus {bus}, which would take its replies")));
        }
        if route.reply_bus().is_some_and(|bus| bus.as_str() == system::BUS) {
            return Err(StartError::Fed(route.name.clone()));
        }
        if !targets.contains(&route.target) {
            return Err(StartError::Missing(route.name.clone(), format!("target {}", route.target)));
        }
        if let Some(spec) = &route.filter {
            Filter::parse(spec.clone()).map_err(|e| StartError::Filter(route.name.clone(), e))?;
        }
        if let Some(spec) = &route.transform {
            Transform::parse(spec).map_err(|e| StartError::Transform(route.name.clone(), e))?;
        }
    }
    Ok(())
}

/// The bus of the quarantine is there where a source or a route with replies needs it, and wherever it was before.
pub(super) fn with_quarantine(mut topology: Topology, state: &State) -> Topology {
    let wanted = topology.quarantine || topology.routes.iter().any(|r| r.reply.is_some());
    if wanted || state.buses.iter().any(|(name, _)| name.as_str() == quarantine::BUS) {
        topology.buses.push(BusSpec {
            name: quarantine::bus(),
            dedupe_age: QUARANTINE_DEDUPE_AGE,
            dedupe_entries_max: QUARANTINE_DEDUPE_ENTRIES_MAX,
            retention: Retention { age_max: Some(QUARANTINE_AGE_MAX), bytes_max: None },
        });
    }
    topology
}

/// The names of all routes, the internal one too where its bus is there.
fn route_names(topology: &Topology) -> impl Iterator<Item = RouteName> {
    let internal = topology.buses.iter().any(|b| b.name.as_str() == quarantine::BUS);
    topology.routes.iter().map(|r| r.name.clone()).chain(internal.then(quarantine::route))
}

/// Gives numbers to buses and routes that have none yet: what to commit before anything uses them.
pub(super) fn names(state: &mut State, topology: &Topology) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut bus = state.buses.iter().map(|(_, id)| id.0 + 1).max().unwrap_or(0);
    for spec in &topology.buses {
        if !state.buses.iter().any(|(name, _)| name == &spec.name) {
            changes.push(Change::NameBus(spec.name.clone(), BusId(bus)));
            state.buses.push((spec.name.clone(), BusId(bus)));
            bus += 1;
        }
    }
    let known: HashSet<RouteName> = state.routes.iter().map(|(name, _)| name.clone()).collect();
    let free = state.routes.iter().map(|(_, id)| id.0 + 1).max().unwrap_or(1);
    for (id, name) in (free..).map(RouteId).zip(route_names(topology).filter(|name| !known.contains(name))) {
        changes.push(Change::NameRoute(name.clone(), id));
        state.routes.push((name, id));
    }
    changes
}

/// The configured routes hold from each bus's tail on: what to commit, all at once.
pub(super) fn versions(
    state: &State,
    topology: &Topology,
    tail: impl Fn(BusId) -> Offset,
    planned: &BTreeMap<BusId, Offset>,
) -> Vec<Change> {
    let buses: HashMap<&BusName, BusId> = state.buses.iter().map(|(name, id)| (name, *id)).collect();
    let routes: HashMap<&RouteName, RouteId> = state.routes.iter().map(|(name, id)| (name, *id)).collect();
    let one = |r: &RouteSpec| {
        let (route, bus) = (*routes.get(&r.name)?, *buses.get(&r.bus)?);
        Some(Wanted { route, name: r.name.clone(), bus, filter: plan::filter_text(r.filter.as_ref()) })
    };
    let mut wanted: Vec<Wanted> = topology.routes.iter().filter_map(one).collect();
    // Every record of the quarantine is owed to the internal route of the same name.
    if let (Some(route), Some(bus)) = (routes.get(&quarantine::route()), buses.get(&quarantine::bus())) {
        let (route, bus, name) = (*route, *bus, quarantine::route());
        wanted.push(Wanted { route, name, bus, filter: plan::filter_text(None) });
    }
    plan::revise(&state.versions, &wanted, tail, |bus| planned.get(&bus).copied().unwrap_or_default())
}

/// All routes that have a name, as the open set takes them; those that are not configured are without a target.
pub(super) fn routes(state: &State, topology: &Topology, stats: &Stats) -> Result<Routes, StartError> {
    let configured: HashMap<&RouteName, &RouteSpec> = topology.routes.iter().map(|r| (&r.name, r)).collect();
    let route = |(name, id): &(RouteName, RouteId)| {
        let spec = configured.get(name);
        let retry = spec.map(|s| s.retry).unwrap_or_default();
        let backlog = spec.map(|s| s.backlog).unwrap_or_default();
        let transform = spec.and_then(|s| s.transform.as_ref()).map(Transform::parse).transpose();
        let transform = transform.map_err(|e| StartError::Transform(name.clone(), e))?.map(Arc::new);
        let reply = spec.and_then(|s| s.reply_bus()).cloned();
        let order = spec.and_then(|s| s.order.clone()).map(|order| Keyed { order, secret: state.secret });
        let stats = stats.route(name);
        let route = Route { name: name.clone(), retry, backlog, transform, reply, order, stats };
        Ok((*id, (Arc::new(route), spec.map(|s| s.target.clone()))))
    };
    state.routes.iter().map(route).collect()
}

/// What is kept, and what may be used.
pub(super) fn wishes(state: &State, topology: &Topology) -> Wishes {
    let specs = |name: &BusName| topology.buses.iter().find(|b| &b.name == name).map(|b| b.retention);
    Wishes {
        // What a bus that is not configured any more has settled has no wish to stay, and goes first for space.
        retention: state.buses.iter().filter_map(|(name, id)| Some((*id, specs(name)?))).collect(),
        budget: topology.budgets.disk,
        letters: topology.budgets.dead_letters,
    }
}

// ------------------------------------------------------------------------ while it runs

/// Another topology, and who waits.
pub(super) struct Asked {
    topology: Topology,
    reply: oneshot::Sender<Result<Revised, ReviseError>>,
}

/// What holds now.
#[derive(Clone)]
pub(super) struct InForce {
    state: State,
    buses: Vec<BusSpec>,
    event_bytes_max: usize,
    /// Each route on each bus that it wants something of, or did.
    places: BTreeSet<(RouteId, BusId)>,
}

impl InForce {
    pub fn new(state: State, topology: &Topology, places: BTreeSet<(RouteId, BusId)>) -> Self {
        let (buses, event_bytes_max) = (topology.buses.clone(), topology.event_bytes_max);
        InForce { state, buses, event_bytes_max, places }
    }

    /// The first thing that only a start can change.
    fn fixed(&self, topology: &Topology) -> Result<(), ReviseError> {
        let fixed = |what: String| Err(ReviseError::Fixed(what));
        let quarantined = self.buses.iter().any(|b| b.name.as_str() == quarantine::BUS);
        if let Some(first) = topology.routes.iter().find(|r| r.reply.is_some()).filter(|_| !quarantined) {
            return fixed(format!("whether any route takes in replies, as route {} would,", first.name));
        }
        let same = |b: &BusSpec| {
            let known = self.buses.iter().find(|known| known.name == b.name);
            known.is_some_and(|k| (k.dedupe_age, k.dedupe_entries_max) == (b.dedupe_age, b.dedupe_entries_max))
        };
        if let Some(bus) = topology.buses.iter().find(|b| !same(b)) {
            return fixed(format!("bus {}, or how long it remembers duplicates,", bus.name));
        }
        let gone = |known: &&BusSpec| !topology.buses.iter().any(|b| b.name == known.name);
        if let Some(bus) = self.buses.iter().find(gone) {
            return fixed(format!("bus {}", bus.name));
        }
        if topology.event_bytes_max != self.event_bytes_max {
            return fixed("the size of an event".into());
        }
        Ok(())
    }
}

/// A revision, as far as it can be made beside the flow: its versions have no place yet.
struct Draft {
    now: InForce,
    changes: Vec<Change>,
    planners: Vec<(BusId, Planner)>,
    revision: Revision,
    wishes: Wishes,
    topology: Topology,
}

fn draft(
    now: &InForce,
    topology: Topology,
    stats: &Stats,
    planned: &BTreeMap<BusId, Offset>,
) -> Result<Draft, ReviseError> {
    check(&topology)?;
    let topology = with_quarantine(topology, &now.state);
    now.fixed(&topology)?;
    let mut state = now.state.clone();
    let mut changes = names(&mut state, &topology);
    changes.extend(versions(&state, &topology, |_| UNPLACED, planned));
    state.versions = plan::revised(std::mem::take(&mut state.versions), &changes);
    let mut places = now.places.clone();
    places.extend(state.versions.iter().map(|v| (v.route, v.bus)));
    let put: BTreeSet<BusId> = changes.iter().filter_map(begins).collect();
    let mut planners = Vec::new();
    for bus in put {
        let of: Vec<_> = state.versions.iter().filter(|v| v.bus == bus).cloned().collect();
        let mut planner = Planner::new(of).map_err(StartError::from)?;
        planner.build_ahead();
        planners.push((bus, planner));
    }
    let revision = Revision {
        routes: routes(&state, &topology, stats)?,
        known: status::Static::new(&state, &topology, &places),
        waiting_total_max: topology.budgets.waiting_total_max,
        targets: topology.targets.clone(),
        runs: Vec::new(),
    };
    let wishes = wishes(&state, &topology);
    let now = InForce::new(state, &topology, places);
    Ok(Draft { now, changes, planners, revision, wishes, topology })
}

fn begins(change: &Change) -> Option<BusId> {
    if let Change::PutVersion(v) = change { Some(v.bus) } else { None }
}

/// The ways to the loops.
pub(super) struct Channels {
    /// Of buses that take events in.
    pub stands: BTreeMap<BusId, mpsc::Sender<Stand>>,
    pub planners: BTreeMap<BusId, mpsc::UnboundedSender<Box<Planner>>>,
    pub dispatcher: mpsc::UnboundedSender<Msg>,
    pub wishes: watch::Sender<Option<Wishes>>,
}

/// The loop that makes revisions.
pub(super) struct Reviser {
    ledger: Arc<dyn Ledger>,
    logs: BTreeMap<BusId, Arc<dyn Log>>,
    stats: Arc<Stats>,
    now: Arc<InForce>,
    to: Channels,
    /// Held while a stretch of a log is let go, and while a run starts.
    trimming: Arc<Mutex<()>>,
}

impl Reviser {
    pub fn new(
        ledger: Arc<dyn Ledger>,
        logs: BTreeMap<BusId, Arc<dyn Log>>,
        stats: Arc<Stats>,
        now: InForce,
        to: Channels,
        trimming: Arc<Mutex<()>>,
    ) -> Self {
        Reviser { ledger, logs, stats, now: Arc::new(now), to, trimming }
    }

    /// Runs until it is stopped, or the store fails. A revision that has begun is finished.
    pub async fn run(mut self, mut rx: mpsc::Receiver<Asked>, stop: CancellationToken) -> Result<(), store::Error> {
        loop {
            let asked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                asked = rx.recv() => asked,
            };
            let Some(Asked { topology, reply }) = asked else { return Ok(()) };
            let done = self.revise(topology).await;
            let fatal = match &done {
                Err(ReviseError::Refused(StartError::Store(e))) if !matches!(e, store::Error::NoSpace(_)) => {
                    Some(e.clone())
                }
                _ => None,
            };
            // Whoever asked may be gone; what was done stands.
            drop(reply.send(done));
            if let Some(fatal) = fatal {
                return Err(fatal);
            }
        }
    }

    async fn revise(&mut self, topology: Topology) -> Result<Revised, ReviseError> {
        let mut planned = BTreeMap::new();
        for bus in self.logs.keys() {
            let b = self.ledger.planned(*bus).await.map_err(StartError::from)?;
            planned.insert(*bus, b.unwrap_or_default());
        }
        let (now, stats) = (self.now.clone(), self.stats.clone());
        let size = topology.routes.len().max(now.state.versions.len());
        let drafted = aside(size, move || draft(&now, topology, &stats, &planned)).await;
        let Draft { mut now, mut changes, mut planners, mut revision, wishes, topology } = drafted?;
        let trimming = self.trimming.clone();
        // What new routes begin with must not be let go before the ledger says that it is held.
        let earlier = topology.routes.iter().any(|route| route.start != Start::Next);
        let _no_trim = if earlier { Some(trimming.lock().await) } else { None };
        let beginnings = begin::beginnings(&topology, &changes, &now.state, &self.logs).await;
        let beginnings = beginnings.map_err(StartError::from)?;
        let numbered = self.number(beginnings.len()).await?;
        // Nothing is appended to these buses until the guards are dropped.
        let (from, guards) = self.stand(planners.iter().map(|(bus, _)| *bus)).await;
        let at = |bus: BusId| from.get(&bus).copied().unwrap_or_default();
        let versions = changes.iter().filter_map(begins).count();
        plan::place(&mut changes, at);
        revision.runs = numbered.map_or_else(Vec::new, |numbered| begin::runs(&beginnings, &changes, numbered));
        changes.extend(begin::put(&revision.runs));
        if !changes.is_empty() {
            let done = self.ledger.commit(now.state.epoch, changes.clone(), Durability::Now).await;
            done.map_err(StartError::from)?;
        }
        // The dispatcher knows new routes before a planner can find that they are owed something. One that is
        // gone has stopped: then the next start reads all of it.
        let (reply, former) = oneshot::channel();
        let revision = Box::new(revision);
        drop(self.to.dispatcher.send(Msg::Revise { revision, reply }));
        let former = former.await;
        for (bus, planner) in &mut planners {
            planner.place(at(*bus));
        }
        for (bus, planner) in planners {
            drop(self.to.planners.get(&bus).map(|tx| tx.send(Box::new(planner))));
        }
        drop(guards);
        self.to.wishes.send_replace(Some(wishes));
        let kept = self.now.clone();
        self.now = aside(size, move || {
            now.state.versions = plan::revised(kept.state.versions.clone(), &changes);
            Arc::new(now)
        })
        .await;
        free(size, former.map_err(|_| ReviseError::Stopping)?);
        Ok(Revised { versions: u64::try_from(versions).unwrap_or(u64::MAX) })
    }

    /// Numbers for so many runs, which nobody else gives.
    async fn number(&self, count: usize) -> Result<Option<Numbered>, ReviseError> {
        if count == 0 {
            return Ok(None);
        }
        let (reply, numbered) = oneshot::channel();
        drop(self.to.dispatcher.send(Msg::NumberRuns(count, reply)));
        numbered.await.map_err(|_| ReviseError::Stopping)?.map(Some).map_err(ReviseError::Refused)
    }

    /// Has the appenders of these buses stand still between two batches: where each one's next record goes, and
    /// what lets them go on when it is dropped.
    async fn stand(&self, buses: impl Iterator<Item = BusId>) -> (BTreeMap<BusId, Offset>, Vec<oneshot::Sender<()>>) {
        let (mut from, mut guards) = (BTreeMap::new(), Vec::new());
        for bus in buses {
            let (stands, next) = oneshot::channel();
            let (guard, until) = oneshot::channel();
            let next = match self.to.stands.get(&bus) {
                Some(appender) if appender.send(Stand { stands, until }).await.is_ok() => next.await.ok(),
                _ => None,
            };
            // Nobody appends to a bus without an appender.
            let tail = || self.logs.get(&bus).map(|log| log.bounds().1);
            from.insert(bus, next.or_else(tail).unwrap_or_default());
            guards.push(guard);
        }
        (from, guards)
    }
}

/// Does what may take long beside the flow.
async fn aside<T: Send + 'static>(size: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if size < ASIDE_MIN {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The runtime ends, and this task with it; or a bug, which must not pass for an answer.
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

/// Frees what is large beside the flow.
pub(super) fn free<T: Send + 'static>(size: usize, what: T) {
    if size < ASIDE_MIN {
        drop(what);
    } else {
        drop(tokio::task::spawn_blocking(move || drop(what)));
    }
}
