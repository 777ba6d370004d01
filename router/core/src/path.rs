//! The loops that drive the steps. This file and its folder are the only place that spawns.
//!
//! | loop | one per | steps | waits for |
//! |---|---|---|---|
//! | [`append`] | bus | 1 to 3 | submissions |
//! | planner, in this file | bus | 4, 5 | the log's tail |
//! | [`dispatch`] | router | 5 to 7 | what is planned, what ended, time |
//! | [`sweep`] | router | | time, and a disk that fills up |
//! | [`copy`] | router | 8 | time |
//! | [`revise`] | router | | another configuration |
//!
//! They hand on by bounded queues; what does not fit a queue waits in the log or in the ledger.

/// Steps 1 to 3: the intake of a bus and its group commit.
mod append;

/// What one route is owed, in memory and in the ledger.
mod lane;

/// The keys of a lane with order.
mod keys;

/// Events that are owed and lie no longer in the log.
mod absent;

/// Everything that is owed, and what to do next.
mod open;

/// Steps 5 to 7: the loop around the open set.
mod dispatch;

/// What sources that pull bring.
mod inlet;

/// Whether intake takes events in.
mod gate;

/// What is old or too much goes.
mod sweep;

/// Step 8: sealed segments are copied out.
mod copy;

/// Dead letters: looked at, opened again, ended.
mod letters;

/// Replays: started, looked at, paused, ended.
mod replay;

/// Routes: paused, resumed.
mod routes;

/// Dead letters that come in again after an edit.
mod edit;

/// Events as they leave.
mod shape;

/// What targets answer with, on its way into the logs.
mod replies;

/// What routes are owed, given up.
mod skip;

/// Targets: looked at.
mod targets;

/// What the configuration says is put into force, at the start and while it runs.
mod revise;

/// New routes that want what was there before them.
mod begin;

/// What the dispatcher sees, as facts.
mod witness;

/// What the router tells on the bus `system`.
mod herald;

/// What it looks like at one moment.
mod status;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    append::Intake,
    begin::Start,
    copy::{Archiving, COPY_EVERY},
    edit::{EditError, Edited},
    inlet::Doorway,
    letters::{Purged, Redriven, Which},
    open::ANSWERS_BYTES_MAX,
    replay::{Asked, Place, Reading, Refused, Started},
    replies::Quarantine,
    revise::{ReviseError, Revised},
    routes::RouteChanged,
    skip::{SkipError, Skipped},
    targets::Probed,
};
use self::{
    append::{Appender, Stand},
    begin::Numbered,
    copy::Copier,
    dispatch::{Dispatcher, Msg, Planned},
    gate::Gates,
    herald::Herald,
    lane::WAITING_TOTAL_MAX,
    open::OpenSet,
    replies::Doors,
    revise::Reviser,
    sweep::{SWEEP_EVERY, Sweeper},
};
use crate::{
    admit::{Rules, Window},
    archive::Archive,
    clock::Clock,
    codes, filter, hops,
    id::{BusId, BusName, LaneId, Offset, RouteId, RouteName, RunId, TargetName},
    order::Order,
    own_thread,
    plan::{self, Planner},
    quarantine,
    replay::{RUN_AGE_MAX, RUNS_OPEN_MAX},
    reply::ReplySpec,
    retain::{BacklogLimits, DiskBudget, LetterLimits, Retention},
    settle::RetryPolicy,
    shelf::{self, Reach},
    stats::{Stats, Status},
    store::{self, Change, Durability, Ledger, Log, Record, State, Store},
    system::{self, Fact},
    target::Target,
    transform,
};

/// Bytes of records that a planner reads at a time.
const PLAN_BYTES: usize = 256 << 10;
/// Chunks of planned records that wait for the dispatcher.
const PLANNED_MAX: usize = 4;

/// What the path connects.
pub struct Topology {
    /// Buses; `default` among them.
    pub buses: Vec<BusSpec>,
    /// Routes.
    pub routes: Vec<RouteSpec>,
    /// Targets, each with its own name.
    pub targets: Vec<Arc<dyn Target>>,
    /// Bytes of one event's body; larger ones are refused.
    pub event_bytes_max: usize,
    /// What is kept and held at most.
    pub budgets: Budgets,
    /// Who this router is to others, for the hops of events; `None`: it writes none and sees no loop. A revision does
    /// not change it.
    pub router: Option<Arc<hops::Router>>,
    /// Whether sources keep what is no event, so that the quarantine has to be there.
    pub quarantine: bool,
}

/// What is kept and held at most.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// Space on disk.
    pub disk: DiskBudget,
    /// Dead letters.
    pub dead_letters: LetterLimits,
    /// Deliveries in memory, over all routes; past it the fullest route lives from the ledger.
    pub waiting_total_max: usize,
    /// From one look at what is old or too much to the next.
    pub sweep_every: Duration,
    /// Running time after which a replay ends.
    pub run_age_max: Duration,
}

impl Default for Budgets {
    /// No budget of the disk, dead letters kept for good.
    fn default() -> Self {
        Budgets {
            disk: DiskBudget::default(),
            dead_letters: LetterLimits::default(),
            waiting_total_max: WAITING_TOTAL_MAX,
            sweep_every: SWEEP_EVERY,
            run_age_max: RUN_AGE_MAX,
        }
    }
}

/// A bus.
#[derive(Clone, Debug)]
pub struct BusSpec {
    /// Its name.
    pub name: BusName,
    /// How long an identity is remembered.
    pub dedupe_age: Duration,
    /// How many identities are remembered at most.
    pub dedupe_entries_max: usize,
    /// How long what is settled is kept.
    pub retention: Retention,
}

/// A route.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Its name.
    pub name: RouteName,
    /// The bus it reads.
    pub bus: BusName,
    /// What it wants; `None` wants every event.
    pub filter: Option<filter::Spec>,
    /// What its target gets in place of the event; `None`: the event.
    pub transform: Option<transform::Spec>,
    /// Where it delivers.
    pub target: TargetName,
    /// How often and how long it tries.
    pub retry: RetryPolicy,
    /// How much it may be owed.
    pub backlog: BacklogLimits,
    /// What becomes of the events in its target's answers; `None`: they are counted and left.
    pub reply: Option<ReplySpec>,
    /// What it keeps in order; `None`: nothing.
    pub order: Option<Order>,
    /// From where on it gets events when it is new; a run brings those that are there already.
    pub start: Start,
}

impl RouteSpec {
    /// The bus that takes the events of its target's answers.
    pub fn reply_bus(&self) -> Option<&BusName> {
        self.reply.as_ref().map(|reply| reply.bus.as_ref().unwrap_or(&self.bus))
    }
}

/// Why a path cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A route's filter.
    #[error("route {0}: {1}")]
    Filter(RouteName, filter::Error),
    /// A route's transform.
    #[error("route {0}: {1}")]
    Transform(RouteName, transform::Error),
    /// A version of a route that the ledger keeps.
    #[error(transparent)]
    Version(#[from] plan::Error),
    /// A route names what is not there.
    #[error("route {0}: there is no {1}")]
    Missing(RouteName, String),
    /// A bus or a route has a name that the router keeps to itself.
    #[error("{0} is a name that the router keeps to itself; give it another name")]
    Reserved(String),
    /// The replies of a route would be what the router tells.
    #[error("route {0}: nothing but the router itself feeds the bus system; let its replies go to another bus")]
    Fed(RouteName),
    /// Two of a kind have one name.
    #[error("there are two {0}; each needs a name of its own")]
    Twice(String),
    /// Too many new routes want what was there before them.
    #[error(
        "{more} new routes say `start`, which is a replay each, and {open} replays go on: at most {RUNS_OPEN_MAX} can; add the routes in several steps, or end a replay"
    )]
    Beginnings {
        /// Replays that go on.
        open: usize,
        /// Those that would.
        more: usize,
    },
}

impl StartError {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            StartError::Store(e) => e.code(),
            StartError::Filter(..)
            | StartError::Transform(..)
            | StartError::Version(_)
            | StartError::Missing(..)
            | StartError::Reserved(_)
            | StartError::Fed(_)
            | StartError::Twice(_)
            | StartError::Beginnings { .. } => codes::START_REFUSED,
        }
    }
}

/// A running path. Dropping it stops everything at once, as a crash would; [`Path::stop`] does it in order.
pub struct Path {
    stats: Arc<Stats>,
    herald: Option<Herald>,
    ledger: Arc<dyn Ledger>,
    logs: BTreeMap<BusId, Arc<dyn Log>>,
    /// The same with their copies.
    reaches: BTreeMap<BusId, Reach>,
    archives: BTreeMap<BusName, Archive>,
    intakes: HashMap<BusName, Intake>,
    quarantine: Option<Quarantine>,
    dispatcher: mpsc::UnboundedSender<Msg>,
    reviser: mpsc::Sender<revise::Asked>,
    failed: watch::Receiver<Option<store::Error>>,
    /// Tells sources that nothing is taken in any more.
    closing: CancellationToken,
    /// Ends the appenders once what they took is answered: when nothing is under way that may be answered.
    closed: CancellationToken,
    /// Ends the planners.
    stopping: CancellationToken,
    /// One change of dead letters at a time: each sees what the one before has committed.
    changing: Arc<Mutex<()>>,
    /// Held while a stretch of a log is let go, and while a run starts.
    trimming: Arc<Mutex<()>>,
    loops: Mutex<JoinSet<()>>,
}

impl Path {
    /// Opens what the topology names in the store, takes up what is owed, and starts the loops.
    ///
    /// # Errors
    /// [`StartError`]: nothing was started, though buses and routes may have got their numbers.
    pub async fn start(store: Arc<dyn Store>, topology: Topology, clock: Arc<dyn Clock>) -> Result<Path, StartError> {
        Path::start_with(store, topology, None, clock).await
    }

    /// As [`Path::start`], with an archive that sealed segments are copied to. It need not answer yet.
    ///
    /// # Errors
    /// As [`Path::start`].
    pub async fn start_with(
        store: Arc<dyn Store>,
        topology: Topology,
        archiving: Option<Archiving>,
        clock: Arc<dyn Clock>,
    ) -> Result<Path, StartError> {
        revise::check(&topology)?;
        let ledger = store.ledger();
        let mut state = ledger.state().await?;
        let topology = revise::with_quarantine(topology, &state);
        // A route gets its name with its first version: a crash in between would leave it new no more.
        let (named, buses) = begin::apart(revise::names(&mut state, &topology));
        if !buses.is_empty() {
            ledger.commit(state.epoch, buses, Durability::Now).await?;
        }
        let (mut logs, mut planned) = (BTreeMap::new(), BTreeMap::new());
        // A bus that is not configured any more takes nothing in, but what it took is still owed.
        for (name, id) in &state.buses {
            let log = store.log(name).await?;
            planned.insert(*id, ledger.planned(*id).await?.unwrap_or_else(|| log.bounds().0));
            logs.insert(*id, log);
        }
        let tail = |bus| logs.get(&bus).map(|l: &Arc<dyn Log>| l.bounds().1).unwrap_or_default();
        let mut changes = revise::versions(&state, &topology, tail, &planned);
        // A new bus is planned from its first record on; said once, so that a later start need not guess.
        changes.extend(planned.iter().map(|(bus, b)| Change::Planned(*bus, *b)));
        let beginnings = begin::beginnings(&topology, &named, &state, &logs).await?;
        let first = RunId(state.runs.iter().map(|run| run.id.0).max().unwrap_or(0).saturating_add(1));
        let numbered = Numbered { first, wall: clock.wall(), running_ms: state.running_ms };
        let runs = begin::runs(&beginnings, &changes, numbered);
        begin::fits(state.runs.iter().filter(|run| !run.state.is_over()).count(), runs.len())?;
        changes.extend(named.into_iter().chain(begin::put(&runs)));
        state.runs.extend(runs);
        state.versions = plan::revised(std::mem::take(&mut state.versions), &changes);
        ledger.commit(state.epoch, changes, Durability::Now).await?;
        let counts = ledger.count().await?.into_iter();
        let dead_letters = counts.filter(|c| c.dead_letters > 0).map(|c| (c.lane, c.dead_letters)).collect();
        let stats = Arc::default();
        let gates = Arc::new(Gates::new(logs.keys().copied()));
        Parts { store, state, topology, archiving, ledger, logs, planned, dead_letters, gates, clock, stats }
            .start()
            .await
    }

    /// The way into a bus; `None` when there is no such bus.
    pub fn intake(&self, bus: &BusName) -> Option<Intake> {
        self.intakes.get(bus).cloned()
    }

    /// The log of a bus, to be read; of one that is not configured any more, too.
    pub fn archive(&self, bus: &BusName) -> Option<&Archive> {
        self.archives.get(bus)
    }

    /// The routes that have ever been configured.
    ///
    /// # Errors
    /// The store's.
    pub async fn known_routes(&self) -> Result<Vec<RouteName>, store::Error> {
        Ok(self.ledger.state().await?.routes.into_iter().map(|(name, _)| name).collect())
    }

    /// The logs of all buses, by name.
    pub fn archives(&self) -> impl Iterator<Item = (&BusName, &Archive)> {
        self.archives.iter()
    }

    /// The way into a bus for a source that pulls, by the bus's [`Intake`], which may judge by schemas.
    pub fn doorway(&self, bus: BusName, intake: Intake) -> Doorway {
        Doorway { bus, intake, quarantine: self.quarantine.clone() }
    }

    /// Where to keep what is no event; `None` when nobody asked for it and nothing was ever kept.
    pub fn quarantine(&self) -> Option<Quarantine> {
        self.quarantine.clone()
    }

    /// Tells a fact on the bus `system`, where there is one. Resolves when it is durable, or counted as lost.
    pub async fn announce(&self, fact: Fact) {
        if let Some(herald) = &self.herald {
            herald.announce(&fact).await;
        }
    }

    /// Buses that take nothing in now, and why. Cheap: for probes.
    pub fn refusals(&self) -> Vec<(BusName, String)> {
        let refuses = |(name, intake): (&BusName, &Intake)| Some((name.clone(), intake.refuses()?));
        let mut all: Vec<_> = self.intakes.iter().filter_map(refuses).collect();
        all.sort();
        all
    }

    /// How many buses take events in, or would.
    pub fn bus_count(&self) -> usize {
        self.intakes.len()
    }

    /// The counters.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// What it is doing now.
    ///
    /// # Errors
    /// The store's, when it has failed or the path was stopped.
    pub async fn status(&self) -> Result<Status, store::Error> {
        let (reply, status) = oneshot::channel();
        self.dispatcher.send(Msg::Status(reply)).map_err(|_| self.over())?;
        status.await.map_err(|_| self.over())
    }

    /// Resolves when the store has failed and the process must end, with the reason.
    pub async fn failed(&self) -> store::Error {
        let mut failed = self.failed.clone();
        let error = failed.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
        match error {
            Some(error) => error,
            // The loops ended without a failure: the path was stopped.
            None => std::future::pending().await,
        }
    }

    /// Stops taking in, lets attempts under way end until the deadline, commits and syncs.
    ///
    /// # Errors
    /// The store's: what is not committed is done again after the next start.
    pub async fn stop(&self, deadline: Duration) -> Result<(), store::Error> {
        self.closing.cancel();
        self.stopping.cancel();
        let (done, stopped) = oneshot::channel();
        self.dispatcher.send(Msg::Stop { deadline, done }).map_err(|_| self.over())?;
        let stopped = stopped.await.map_err(|_| self.over());
        if let Some(herald) = self.herald.as_ref().filter(|_| stopped.is_ok()) {
            herald.flush().await;
        }
        self.closed.cancel();
        stopped?;
        let mut loops = self.loops.lock().await;
        while loops.join_next().await.is_some() {}
        Ok(())
    }

    fn over(&self) -> store::Error {
        self.failed.borrow().clone().unwrap_or_else(|| store::Error::Poisoned("the path was stopped".into()))
    }
}

// ---------------------------------------------------------------------------------- the start

/// Everything that the loops are made of.
struct Parts {
    store: Arc<dyn Store>,
    state: State,
    topology: Topology,
    archiving: Option<Archiving>,
    ledger: Arc<dyn Ledger>,
    logs: BTreeMap<BusId, Arc<dyn Log>>,
    planned: BTreeMap<BusId, Offset>,
    dead_letters: Vec<(LaneId, u64)>,
    gates: Arc<Gates>,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
}

impl Parts {
    async fn start(self) -> Result<Path, StartError> {
        let (failing, failed) = watch::channel(None);
        let (closing, closed, stopping) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let mut loops = Loops { set: JoinSet::new(), failing, dead: CancellationToken::new() };
        let (dispatcher, messages) = mpsc::unbounded_channel();
        let (plans, planned) = mpsc::channel(PLANNED_MAX);
        let planners = self.planners()?;
        let (mut intakes, stands) = self.intakes(&mut loops, &closing, &closed).await?;
        // Nobody but the router itself gets at these two.
        let herald = self.herald(&mut intakes);
        if let Some(herald) = herald.clone() {
            loops.spawn(herald.run(stopping.clone()));
        }
        let quarantine = intakes.remove(&quarantine::bus()).map(|intake| Quarantine::new(intake, self.state.secret));
        let doors = Arc::new(Doors { intakes: intakes.clone(), quarantine: quarantine.clone() });
        let mut newer = BTreeMap::new();
        for (bus, planner) in planners {
            let Some(log) = self.logs.get(&bus).cloned() else { continue };
            let from = self.planned.get(&bus).copied().unwrap_or_default();
            let (tx, newer_of) = mpsc::unbounded_channel();
            newer.insert(bus, tx);
            loops.spawn(plan_bus(bus, log, planner, newer_of, from, plans.clone(), stopping.clone()));
        }
        let places = self.places();
        loops.spawn(self.dispatcher(&places, doors, dispatcher.clone())?.run(messages, planned));
        let (changing, trimming): (_, Arc<Mutex<()>>) = (Arc::default(), Arc::default());
        let (wishes, renewed) = watch::channel(None);
        loops.spawn(self.sweeper(dispatcher.clone(), &changing, &trimming, renewed).run(stopping.clone()));
        if let Some(copier) = self.copier(&trimming) {
            loops.spawn(copier.run(stopping.clone()));
        }
        let (reviser, asked) = mpsc::channel(1);
        let channels = revise::Channels { stands, planners: newer, dispatcher: dispatcher.clone(), wishes };
        let reaches = self.reaches();
        let Parts { ledger, logs, stats, state, topology, .. } = self;
        let now = revise::InForce::new(state.clone(), &topology, places);
        let revising = Reviser::new(ledger.clone(), logs.clone(), stats.clone(), now, channels, trimming.clone());
        loops.spawn(revising.run(asked, stopping.clone()));
        let archive =
            |(name, id): (BusName, BusId)| Some((name, Archive::new(id, reaches.get(&id)?.clone(), ledger.clone())));
        let archives = state.buses.into_iter().filter_map(archive).collect();
        let loops = Mutex::new(loops.set);
        Ok(Path {
            stats,
            herald,
            ledger,
            logs,
            reaches,
            archives,
            intakes,
            quarantine,
            dispatcher,
            reviser,
            failed,
            closing,
            closed,
            stopping,
            changing,
            trimming,
            loops,
        })
    }

    /// Whoever tells the facts is the only one who feeds the bus `system`.
    fn herald(&self, intakes: &mut HashMap<BusName, Intake>) -> Option<Herald> {
        let intake = intakes.remove(&system::bus())?;
        let id = self.state.buses.iter().find(|(name, _)| name.as_str() == system::BUS).map(|(_, id)| id)?;
        let herald = Herald::new(intake, self, self.logs.get(id)?.bounds().1);
        herald::orphans(self);
        Some(herald)
    }

    fn planners(&self) -> Result<Vec<(BusId, Planner)>, StartError> {
        let of = |bus: BusId| self.state.versions.iter().filter(|v| v.bus == bus).cloned().collect();
        self.logs.keys().map(|bus| Ok((*bus, Planner::new(of(*bus))?))).collect()
    }

    async fn intakes(
        &self,
        loops: &mut Loops,
        closing: &CancellationToken,
        closed: &CancellationToken,
    ) -> Result<(HashMap<BusName, Intake>, BTreeMap<BusId, mpsc::Sender<Stand>>), StartError> {
        let (mut intakes, mut stands) = (HashMap::new(), BTreeMap::new());
        for spec in &self.topology.buses {
            let id = self.state.buses.iter().find(|(name, _)| name == &spec.name).map(|(_, id)| id);
            let Some((id, log)) = id.and_then(|id| Some((*id, self.logs.get(id)?.clone()))) else { continue };
            let mut window = Window::new(spec.dedupe_age, spec.dedupe_entries_max);
            window.refill(&log.keys(spec.dedupe_age, spec.dedupe_entries_max).await?, self.clock.monotonic());
            let stats = self.stats.bus(&spec.name);
            let own = spec.name.as_str() == quarantine::BUS;
            // What is quarantined was bounded where it was read.
            let event_bytes_max = if own { usize::MAX } else { self.topology.event_bytes_max };
            let router = self.topology.router.clone();
            let rules = Rules { event_bytes_max, secret: self.state.secret, router };
            let gate = self.gates.bus(id);
            let (intake, submissions) = Intake::new(rules, gate.clone(), stats.clone(), closing.clone());
            let appender = Appender { log, window, clock: self.clock.clone(), gate, stats };
            let (stand, stood) = mpsc::channel(1);
            loops.spawn_alone(&format!("append {}", spec.name), appender.run(submissions, stood, closed.clone()));
            intakes.insert(spec.name.clone(), intake);
            stands.insert(id, stand);
        }
        Ok((intakes, stands))
    }

    /// Where routes are owed something, or want something: each route on each of its buses.
    fn places(&self) -> BTreeSet<(RouteId, BusId)> {
        (self.state.lanes.iter().map(|l| (l.lane.route, l.lane.bus)))
            .chain(self.dead_letters.iter().map(|(lane, _)| (lane.route, lane.bus)))
            .chain(self.state.versions.iter().map(|v| (v.route, v.bus)))
            .collect()
    }

    fn dispatcher(
        &self,
        places: &BTreeSet<(RouteId, BusId)>,
        doors: Arc<Doors>,
        tx: mpsc::UnboundedSender<Msg>,
    ) -> Result<Dispatcher, StartError> {
        let routes = revise::routes(&self.state, &self.topology, &self.stats)?;
        let mut set = OpenSet::new(self.state.epochs.clone(), self.topology.targets.clone(), routes);
        let planned: Vec<(BusId, Offset)> = self.planned.iter().map(|(bus, b)| (*bus, *b)).collect();
        set.resume_pauses(&self.state.pauses);
        set.waiting_total_max(self.topology.budgets.waiting_total_max);
        set.runs(self.state.runs.clone(), self.topology.budgets.run_age_max, self.stats.replay.clone());
        set.quarantine(self.state.routes.iter().find(|(name, _)| *name == quarantine::route()).map(|(_, id)| *id));
        set.resume(&planned, &self.state.lanes, &self.dead_letters);
        set.resume_keys(&self.state.keys);
        let known = status::Static::new(&self.state, &self.topology, places);
        Ok(Dispatcher::new(set, known, self, doors, tx))
    }

    /// Each log with its copies.
    fn reaches(&self) -> BTreeMap<BusId, Reach> {
        let shelf = self.archiving.as_ref().map(|archiving| archiving.shelf.clone());
        let reach = |(name, id): &(BusName, BusId)| {
            Some((*id, Reach::new(name.clone(), self.logs.get(id)?.clone(), shelf.clone())))
        };
        self.state.buses.iter().filter_map(reach).collect()
    }

    /// Copies the configured buses to the archive, if there is one.
    fn copier(&self, trimming: &Arc<Mutex<()>>) -> Option<Copier> {
        let archiving = self.archiving.clone()?;
        let named = self.state.buses.iter().filter(|(name, _)| archiving.buses.contains(name));
        let logs = named.filter_map(|(name, id)| Some((*id, name.clone(), self.logs.get(id)?.clone()))).collect();
        Some(Copier {
            archiving,
            store_id: shelf::store_id(&self.state.secret),
            epochs: self.state.epochs.clone(),
            logs,
            ledger: self.ledger.clone(),
            trimming: trimming.clone(),
            clock: self.clock.clone(),
            stats: self.stats.clone(),
            state: copy::State::default(),
        })
    }

    fn sweeper(
        &self,
        dispatcher: mpsc::UnboundedSender<Msg>,
        changing: &Arc<Mutex<()>>,
        trimming: &Arc<Mutex<()>>,
        renewed: watch::Receiver<Option<sweep::Wishes>>,
    ) -> Sweeper {
        Sweeper {
            store: self.store.clone(),
            ledger: self.ledger.clone(),
            logs: self.logs.clone(),
            names: self.state.buses.iter().map(|(name, id)| (*id, name.clone())).collect(),
            wishes: revise::wishes(&self.state, &self.topology),
            archiving: self.archiving.clone(),
            renewed,
            every: self.topology.budgets.sweep_every,
            epoch: self.state.epoch,
            gates: self.gates.clone(),
            dispatcher,
            changing: changing.clone(),
            trimming: trimming.clone(),
            clock: self.clock.clone(),
            stats: self.stats.clone(),
            state: sweep::State::default(),
        }
    }
}

/// The loops, and what becomes of them: the first that fails stops all.
struct Loops {
    set: JoinSet<()>,
    failing: watch::Sender<Option<store::Error>>,
    dead: CancellationToken,
}

impl Loops {
    fn spawn(&mut self, run: impl Future<Output = Result<(), store::Error>> + Send + 'static) {
        let run = self.watched(run);
        self.set.spawn(run);
    }

    /// The same on a thread of its own.
    fn spawn_alone(&mut self, name: &str, run: impl Future<Output = Result<(), store::Error>> + Send + 'static) {
        let run = self.watched(run);
        own_thread::spawn(&mut self.set, name, run);
    }

    fn watched(
        &self,
        run: impl Future<Output = Result<(), store::Error>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (failing, dead) = (self.failing.clone(), self.dead.clone());
        async move {
            let ended = tokio::select! {
                biased;
                () = dead.cancelled() => return,
                ended = run => ended,
            };
            if let Err(error) = ended {
                let (code, why) = (error.code(), error.to_string());
                failing.send_if_modified(|first| first.is_none() && first.replace(error).is_none());
                dead.cancel();
                tracing::error!(code = %code, error = why, "the store has failed: intake, delivery and settling stop");
            }
        }
    }
}

// ---------------------------------------------------------------------------------- steps 4 and 5

/// Reads a bus record by record, in order, and says to whom each is owed.
async fn plan_bus(
    bus: BusId,
    log: Arc<dyn Log>,
    mut planner: Planner,
    mut newer: mpsc::UnboundedReceiver<Box<Planner>>,
    from: Offset,
    plans: mpsc::Sender<Planned>,
    stop: CancellationToken,
) -> Result<(), store::Error> {
    let mut tail = log.tail();
    let mut from = from;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            moved = tail.wait_for(|tail| *tail > from) => if moved.is_err() { return Ok(()) },
        }
        let chunk = log.read(from, PLAN_BYTES).await?;
        // Asked after the read: a record that newer versions judge came after they did.
        while let Ok(next) = newer.try_recv() {
            let former = planner.revise(*next);
            revise::free(former.size(), former);
        }
        let mut hits = Vec::new();
        for record in chunk.records() {
            let record = record?;
            let owed = planner.owed(&record);
            if !owed.is_empty() {
                // Copied once for all its routes: a delivery that waits must not keep the whole chunk.
                hits.push((Record { event: record.event.detached(), ..record }, owed.to_vec()));
            }
        }
        from = chunk.next;
        let spent = planner.take_spent();
        if !spent.is_empty() {
            revise::free(planner.size(), spent);
        }
        if plans.send(Planned { bus, next: from, hits }).await.is_err() {
            return Ok(());
        }
    }
}
