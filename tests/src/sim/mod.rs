//! The real path over the real log, on simulated files, in simulated time, out of one seed.
//!
//! A simulation is a row of *lives* of the router: each is a start with some configuration, publishers,
//! targets that change their moods, an operator, faults of the files, and an end: a stop in order, a kill, or
//! a power loss. Everything runs on one thread under tokio's paused time, every chance comes from the
//! seed, and the ledger is the memory one, from which a power loss takes the newest commits: the same seed
//! gives the same [`Report::trace`]. At the end everything is well for long enough, and the oracle judges.

/// Chance out of one seed.
mod rng;

/// Time and the store.
mod ports;

/// Scripted targets.
mod target;

/// What they answer with.
mod replies;
/// What is given up.
mod skip;

/// Bytes that flip.
mod damage;

/// Where segments are copied to.
mod archive;

/// What happened.
mod trace;

/// Publishers that do not give up.
mod publish;

/// One life of the router.
mod life;

/// Replays.
mod replay;

/// What the router tells of itself.
mod system;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use router_core::{
    order::{OnDeadLetter, Order, STUCK_KEYS_MAX},
    quarantine,
};
use router_store::disk::sim::Lies;
use serde_json::json;

use self::{
    archive::SimObjects,
    life::{End, Life},
    ports::SimStore,
    publish::Publishers,
    replay::Replays,
    rng::Rng,
    target::{MOODS, Mood, Targets},
    trace::Trace,
};
use crate::{
    coffee::KINDS,
    oracle::{self, Case, GivenUp, Parked, Verdict},
    world::setup::{Chronicle, Route},
};

/// Events of one simulation.
const EVENTS: u64 = 2_500;
/// What retention leaves, where there is any: about two fifths of the events.
const ARCHIVE_BYTES_MAX: u64 = 400 << 10;
/// Crashes of one simulation, at least.
const CRASHES_MIN: u64 = 2;
/// Lives before the last one.
const LIVES: std::ops::RangeInclusive<u64> = 3..=6;
/// The targets.
const TARGETS: [&str; 3] = ["first", "second", "third"];
/// The routes.
const ROUTES: [&str; 5] = ["all", "kind", "large", "patient", "late"];

/// How often each kind of thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(pub BTreeMap<&'static str, u64>);

impl Totals {
    /// It happened once more.
    pub fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// With those of another simulation.
    pub fn merge(&mut self, other: &Totals) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&words.join(", "))
    }
}

/// What a simulation shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// A hash of all that happened.
    pub trace: u64,
    /// The oracle's judgement.
    pub verdict: Verdict,
    /// What no schedule excuses, beyond what the oracle sees.
    pub wrong: Vec<String>,
    /// What happened how often.
    pub totals: Totals,
}

impl Report {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.wrong.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: trace {:016x}", self.seed, self.trace)?;
        write!(f, "{}", self.verdict)?;
        for wrong in self.wrong.iter().take(20) {
            writeln!(f, "  {wrong}")?;
        }
        write!(f, "{}", self.totals)
    }
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// These syncs say yes and do nothing.
    pub syncs: Lies,
    /// No route keeps the order that it should.
    pub order: bool,
}

/// Runs the simulation of a seed; `printed` shows every step.
pub fn run(seed: u64, printed: bool, broken: Broken) -> Report {
    World::new(seed, printed, broken).run()
}

/// What many simulations show.
#[derive(Clone, Debug, Default)]
pub struct All {
    /// Those that do not hold, by seed.
    pub failed: Vec<Report>,
    /// What happened how often in all of them.
    pub totals: Totals,
}

/// Runs the simulations of so many seeds, on as many threads as there are processors.
pub fn run_all(from: u64, count: u64, broken: Broken) -> All {
    let next = AtomicU64::new(from);
    let all = Mutex::new(All::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return;
            }
            let report = run(seed, false, broken);
            let all = &mut *all.lock().unwrap_or_else(PoisonError::into_inner);
            all.totals.merge(&report.totals);
            if !report.holds() {
                all.failed.push(report);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.failed.sort_by_key(|report| report.seed);
    all
}

/// Which routes keep an order, through all lives, and how.
fn orders(rng: &mut Rng) -> BTreeMap<String, Order> {
    let mut orders = BTreeMap::new();
    for name in ["all", "kind", "large", "patient"] {
        if !rng.chance(40) {
            continue;
        }
        let on_dead_letter = if rng.chance(40) { OnDeadLetter::Hold } else { OnDeadLetter::Continue };
        let (attribute, stuck_keys_max) = ("partitionkey".into(), STUCK_KEYS_MAX);
        orders.insert(name.into(), Order { attribute, on_dead_letter, stuck_keys_max });
    }
    orders
}

/// These routes with the order that each keeps.
fn ordered(routes: Vec<Route>, orders: &BTreeMap<String, Order>) -> Vec<Route> {
    let order = |route: Route| Route { order: orders.get(&route.name).cloned(), ..route };
    routes.into_iter().map(order).collect()
}

/// Five routes to three targets; those after the first set want something else, and one may be gone.
fn other_routes(rng: &mut Rng, before: Option<&[Route]>, totals: &mut Totals) -> Vec<Route> {
    let kind = *rng.pick(&KINDS);
    let total = rng.below(2_000);
    let to = |name: &str, target: &str| Route::all(name, "").to(target);
    let mut routes = vec![
        to("all", TARGETS[0]),
        to("kind", TARGETS[1]).kind(kind),
        to("large", TARGETS[1]).total_min(total),
        to("patient", TARGETS[2]).attempts_max(1_000_000),
        to("late", TARGETS[2]).wanting(json!({"type": [{"prefix": "coffee."}]}), |e| e.kind.starts_with("coffee.")),
    ];
    for route in &mut routes[..3] {
        route.retry.attempts_max = rng.between(2, 8) as u32;
        route.retry.age_max = *rng.pick(&[Duration::from_secs(20), Duration::from_secs(24 * 3600)]);
    }
    let Some(before) = before else { return routes };
    totals.add("version changes", 1);
    if rng.chance(30) {
        routes.remove(rng.below(5) as usize);
        totals.add("routes removed", 1);
    }
    // A route keeps what it wanted more often than not.
    for route in &mut routes {
        if let Some(same) = before.iter().find(|b| b.name == route.name).filter(|_| rng.chance(60)) {
            *route = same.clone();
        }
    }
    routes
}

/// What lasts from life to life.
struct World {
    seed: u64,
    rng: Rng,
    trace: Arc<Trace>,
    targets: Arc<Targets>,
    publishers: Arc<Publishers>,
    chronicle: Chronicle,
    store: Arc<SimStore>,
    wall_us: u64,
    totals: Totals,
    wrong: Vec<String>,
    /// Batches: how many, and whether the second target takes them whole or not at all.
    batch_max: u64,
    archive_bytes_max: Option<u64>,
    /// Where segments are copied to before they are let go.
    objects: Option<Arc<SimObjects>>,
    replays: Replays,
    given_up: Vec<GivenUp>,
    /// Events whose bytes were damaged, by offset.
    lost: damage::Lost,
    /// Whether the router tells of itself, and what it told.
    system: bool,
    told: system::Told,
    /// Which routes keep an order, by name.
    orders: BTreeMap<String, Order>,
    broken: Broken,
}

impl World {
    fn new(seed: u64, printed: bool, broken: Broken) -> World {
        let mut rng = Rng::new(seed);
        let trace = Arc::new(Trace::new(printed));
        let store = SimStore::new(1 << rng.between(14, 17), rng.below(3));
        store.files().lying_about(broken.syncs);
        let archive_bytes_max = rng.chance(60).then_some(ARCHIVE_BYTES_MAX);
        // A duplicate of an event that is gone is a new event: only young ones come again where old ones go.
        let again_max = if archive_bytes_max.is_some() { 100 } else { EVENTS };
        let (targets, orders) = (Targets::new(rng.fork(), trace.clone()), orders(&mut rng.fork()));
        targets.ordered(orders.keys().cloned().collect());
        let archived = archive_bytes_max.is_some() && rng.chance(60);
        let objects = archived.then(|| SimObjects::new(rng.fork(), trace.clone()));
        World {
            seed,
            targets,
            orders,
            broken,
            publishers: Publishers::new(rng.fork(), trace.clone(), EVENTS, again_max),
            archive_bytes_max,
            objects,
            chronicle: Chronicle::default(),
            store: Arc::new(store),
            wall_us: 1_700_000_000_000_000,
            totals: Totals::default(),
            wrong: Vec::new(),
            batch_max: *rng.pick(&[1, 1, 4, 16]),
            system: rng.chance(50),
            told: system::Told::default(),
            rng,
            trace,
            replays: Replays::default(),
            given_up: Vec::new(),
            lost: damage::Lost::new(),
        }
    }

    fn run(mut self) -> Report {
        let lives = self.rng.between(*LIVES.start(), *LIVES.end());
        let mut routes = other_routes(&mut self.rng, None, &mut self.totals);
        for n in 0..lives {
            if n > 0 && self.rng.chance(50) {
                routes = other_routes(&mut self.rng, Some(&routes), &mut self.totals);
            }
            routes = self.live(&routes, lives - n);
            if !self.wrong.is_empty() {
                break;
            }
        }
        let of = |word: End| self.totals.0.get(word.word()).copied().unwrap_or_default();
        if self.wrong.is_empty() && of(End::Kill) + of(End::PowerLoss) < CRASHES_MIN {
            self.wrong.push(format!("only {} crashes: {}", of(End::Kill) + of(End::PowerLoss), self.totals));
        }
        let parked = if self.wrong.is_empty() { self.settle(&self.all_of(&routes)) } else { Vec::new() };
        let end = self.publishers.tick();
        self.targets.restarted(end);
        let (quarantined, parked): (Vec<_>, Vec<_>) = parked.into_iter().partition(|p| p.route == quarantine::BUS);
        let (replies, mut wrong) = self.targets.replies(&parked, &quarantined, &self.given_up, &self.lost);
        self.totals.add("replies", replies.len() as u64);
        self.totals.add("quarantined", quarantined.len() as u64);
        self.wrong.append(&mut wrong);
        let (mut published, received) = (self.publishers.journal(), self.targets.journal());
        let (watched, received): (Vec<_>, Vec<_>) = received.into_iter().partition(|r| &*r.route == system::ROUTE);
        let (unwatched, parked): (Vec<_>, Vec<_>) = parked.into_iter().partition(|p| p.route == system::ROUTE);
        if self.wrong.is_empty() {
            self.wrong.extend(system::judge(&self.told, &watched, &unwatched, &mut self.totals));
        }
        self.totals.add("attempts", received.len() as u64);
        self.totals.add("dead letters left", parked.len() as u64);
        self.totals.merge(&self.publishers.totals());
        let tried = self.targets.tried();
        self.totals.merge(&self.targets.totals());
        let objects = self.objects.take();
        objects.iter().for_each(|objects| self.totals.merge(&objects.totals()));
        let missing = objects.map(|objects| objects.missing()).unwrap_or_default();
        self.totals.add("ordered attempts", tried.len() as u64);
        self.totals.add("late attempts", tried.iter().filter(|t| t.late).count() as u64);
        published.extend(replies);
        let damaged = self.lost.into_values().collect();
        let (routes, replays) = (self.chronicle.histories(), self.replays.all());
        let given_up = self.given_up;
        let case = Case { published, routes, received, parked, replays, tried, given_up, damaged, missing };
        self.wrong.extend(self.targets.wrong());
        let verdict = if self.wrong.is_empty() { oracle::judge(&case) } else { Verdict::default() };
        Report { seed: self.seed, trace: self.trace.hash(), verdict, wrong: self.wrong, totals: self.totals }
    }

    /// These, and the ones that are gone: what they owe is delivered too.
    fn all_of(&self, routes: &[Route]) -> Vec<Route> {
        let mut all = routes.to_vec();
        for (i, name) in ROUTES.iter().enumerate() {
            if !all.iter().any(|r| r.name == *name) {
                // Nobody matches it any more; it only delivers.
                let none = json!({"type": ["no such type"]});
                all.push(Route::all(name, "").to(TARGETS[[0, 1, 1, 2, 2][i]]).wanting(none, |_| false));
            }
        }
        all
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime on this thread")
    }

    fn life(&mut self, routes: &[Route], end: End) -> Life {
        let orders = if self.broken.order { BTreeMap::new() } else { self.orders.clone() };
        Life {
            routes: ordered(routes.to_vec(), &orders),
            orders,
            made: Vec::new(),
            targets: self.targets.clone(),
            publishers: self.publishers.clone(),
            store: self.store.clone(),
            trace: self.trace.clone(),
            wall_us: self.wall_us,
            rng: self.rng.fork(),
            batch_max: self.batch_max,
            archive_bytes_max: self.archive_bytes_max,
            objects: self.objects.clone(),
            // A reply that comes again once the first one is gone is a new event: see `again_max`.
            replies: self.archive_bytes_max.is_none(),
            replays: self.replays.clone(),
            given_up: self.given_up.clone(),
            lost: self.lost.clone(),
            system: self.system,
            told: system::Told::default(),
            totals: Totals::default(),
            end,
        }
    }

    /// One life, up to its end; the store is what the next one finds. The routes that it had at last.
    fn live(&mut self, routes: &[Route], left: u64) -> Vec<Route> {
        let now = self.publishers.tick();
        self.targets.restarted(now);
        let end = match (left <= CRASHES_MIN, self.rng.below(10)) {
            (true, n) if n < 5 => End::Kill,
            (true, _) => End::PowerLoss,
            (_, 0..2) => End::Stop,
            (_, 2..5) => End::Kill,
            (_, 5..8) => End::PowerLoss,
            (..) => End::AllUnsyncedLost,
        };
        for target in TARGETS.into_iter().chain([system::TARGET]) {
            let mood = if self.rng.chance(40) { Mood::Good } else { *self.rng.pick(&MOODS) };
            self.targets.set(target, mood);
        }
        if let Some(objects) = &self.objects {
            objects.disturb();
        }
        let mut life = self.life(routes, end);
        self.trace.note("life", &[&format!("{end:?}"), &self.wall_us.to_string()]);
        let runtime = World::runtime();
        let lived = runtime.block_on(life.run(&mut self.chronicle));
        // Everything that the router had under way ends here, wherever it was.
        drop(runtime);
        self.totals.merge(&life.totals);
        self.replays = life.replays;
        self.given_up = life.given_up;
        let end = match lived {
            Ok(lived) => {
                self.wall_us = lived.wall_us + self.rng.ms(0, 90_000).as_micros() as u64;
                lived.end
            }
            Err(wrong) => {
                self.wrong.push(wrong);
                return life.routes;
            }
        };
        self.publishers.interrupted();
        self.totals.add(end.word(), 1);
        let lost = if self.rng.chance(50) { 0 } else { self.rng.below(40) as usize };
        let store = match end {
            End::Stop | End::Kill => self.store.killed(),
            End::PowerLoss => self.store.lost_power(self.rng.draw(), lost),
            End::AllUnsyncedLost => self.store.lost_all_unsynced(lost),
        };
        self.store = Arc::new(store);
        if self.rng.chance(15) {
            self.damage();
        }
        life.routes
    }

    /// A byte flips while nothing runs.
    fn damage(&mut self) {
        let flipped = World::runtime().block_on(damage::flip(&self.store, &mut self.rng));
        match flipped {
            Ok(None) => {}
            Ok(Some(lost)) => {
                self.trace.note("flipped", &[&format!("{:?}", lost.keys())]);
                self.totals.add("flipped bytes", 1);
                self.totals.add("events that were damaged", lost.len() as u64);
                self.lost.extend(lost);
            }
            Err(wrong) => self.wrong.push(wrong),
        }
    }

    /// The last life: everything is well, until nothing is owed. What is parked then.
    fn settle(&mut self, routes: &[Route]) -> Vec<Parked> {
        let now = self.publishers.tick();
        self.targets.restarted(now);
        for target in TARGETS.into_iter().chain([system::TARGET]) {
            self.targets.set(target, Mood::Good);
        }
        self.objects.iter().for_each(|objects| objects.mend());
        let mut life = self.life(routes, End::Stop);
        let settled = World::runtime().block_on(life.settle(&mut self.chronicle));
        self.totals.merge(&life.totals);
        self.replays = life.replays;
        self.given_up = life.given_up;
        self.told = life.told;
        match settled {
            Ok(parked) => parked,
            Err(wrong) => {
                self.wrong.push(wrong);
                Vec::new()
            }
        }
    }
}
