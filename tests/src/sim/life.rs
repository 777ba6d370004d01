//! One life of the router: from a start to a stop, a kill, or a power loss.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use router_core::{
    codes::RECORD_DAMAGED,
    filter, hops,
    id::{BusName, RouteName, TargetName},
    order::Order,
    path::{Budgets, BusSpec, Path, RouteSpec, Topology},
    replay::RunState,
    reply::ReplySpec,
    retain::{BacklogLimits, Retention},
    stats::Status,
    store::{Page, Selection, Store},
    target::{BatchLimits, Partial, Rate, Target},
};
use router_store::disk::sim::{Call, Fault};
use tokio::task::JoinSet;

use super::{
    Totals,
    archive::{self, SimObjects},
    damage::Lost,
    ports::{SimClock, SimStore},
    publish::Publishers,
    replay::{self, Replays},
    rng::Rng,
    system,
    target::{MOODS, Mood, SimTarget, Targets},
    trace::Trace,
};
use crate::{
    oracle::{GivenUp, Parked},
    world::{
        inside::{self, parked_but},
        setup::{Chronicle, Route},
    },
};

/// Publishers at a time.
const PUBLISHERS: usize = 3;
/// What a stop in order may take.
const STOP: Duration = Duration::from_secs(5);
/// Simulated time after which all that is owed must be delivered.
const SETTLED: Duration = Duration::from_secs(6 * 3600);

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Stop,
    /// As by SIGKILL.
    Kill,
    /// Some of what was not synced is there.
    PowerLoss,
    /// Nothing of what was not synced is there.
    AllUnsyncedLost,
}

impl End {
    /// What to count it as.
    pub fn word(self) -> &'static str {
        match self {
            End::Stop => "clean stops",
            End::Kill => "kills",
            End::PowerLoss | End::AllUnsyncedLost => "power losses",
        }
    }
}

/// A life that is over.
pub struct Lived {
    pub wall_us: u64,
    pub end: End,
}

/// See the module.
pub struct Life {
    pub routes: Vec<Route>,
    /// Which routes keep an order, by name.
    pub orders: BTreeMap<String, Order>,
    /// The targets as they were made last.
    pub made: Vec<Arc<dyn Target>>,
    pub targets: Arc<Targets>,
    pub publishers: Arc<Publishers>,
    pub store: Arc<SimStore>,
    pub trace: Arc<Trace>,
    pub wall_us: u64,
    pub rng: Rng,
    pub batch_max: u64,
    /// What retention leaves of the settled events; `None` leaves all.
    pub archive_bytes_max: Option<u64>,
    /// Where segments are copied to before they go.
    pub objects: Option<Arc<SimObjects>>,
    /// Whether the answers of the third target are asked for.
    pub replies: bool,
    pub replays: Replays,
    /// What operators have given up, in all lives.
    pub given_up: Vec<GivenUp>,
    /// Events that were damaged, by offset.
    pub lost: Lost,
    /// Whether the router tells of itself, and what it told when all is settled.
    pub system: bool,
    pub told: system::Told,
    pub totals: Totals,
    pub end: End,
}

impl Life {
    /// Lives it. The error is what no schedule excuses.
    pub async fn run(&mut self, chronicle: &mut Chronicle) -> Result<Lived, String> {
        let clock = Arc::new(SimClock::new(self.wall_us, self.rng.draw()));
        // The power may go in the middle of the start.
        let off = self.rng.chance(22);
        if off {
            // A start makes some twenty changing calls for each log.
            self.break_files(Some(30));
        }
        let path = match self.start(&clock, chronicle).await {
            Ok(path) => path,
            Err(_) if off => return Ok(self.over(&clock, End::PowerLoss)),
            Err(e) => return Err(e),
        };
        let mut beside = JoinSet::new();
        for _ in 0..PUBLISHERS {
            let (publishers, intake) = (self.publishers.clone(), path.intake(&bus()).expect("the default bus"));
            beside.spawn(async move { publishers.run(intake, false).await });
        }
        let end_at = tokio::time::Instant::now() + self.rng.ms(500, 15_000);
        let failed = loop {
            let wait = self.rng.ms(20, 1_500);
            tokio::select! {
                biased;
                why = path.failed() => break Some(why),
                () = tokio::time::sleep(wait) => {}
            }
            if tokio::time::Instant::now() >= end_at {
                break None;
            }
            self.something(&path, &clock, chronicle).await;
        };
        if let Some(why) = failed {
            self.trace.note("failed", &[&why.to_string()]);
            self.totals.add("failed stores", 1);
            let end = if self.rng.chance(50) { End::Kill } else { End::PowerLoss };
            return Ok(self.over(&clock, if self.off() { End::PowerLoss } else { end }));
        }
        if self.off() {
            return Ok(self.over(&clock, End::PowerLoss));
        }
        if self.end == End::Stop {
            let stopped = path.stop(STOP).await.map_err(|e| e.to_string());
            let closed = match stopped {
                Ok(()) => self.store.close().await.map_err(|e| e.to_string()),
                Err(e) => Err(e),
            };
            self.trace.note("stopped", &[&format!("{closed:?}")]);
            if closed.is_err() {
                return Ok(self.over(&clock, End::Kill));
            }
        }
        Ok(self.over(&clock, self.end))
    }

    /// The last life, in which everything is well: what is parked when nothing is owed any more.
    pub async fn settle(&mut self, chronicle: &mut Chronicle) -> Result<Vec<Parked>, String> {
        let clock = Arc::new(SimClock::new(self.wall_us, self.rng.draw()));
        let path = self.start(&clock, chronicle).await?;
        for route in super::ROUTES {
            let resumed = path.resume(&RouteName::new(route).expect("a name")).await;
            resumed.map_err(|e| format!("a resumption in the last life, where nothing fails: {e}"))?;
        }
        let mut beside = JoinSet::new();
        for _ in 0..PUBLISHERS {
            let (publishers, intake) = (self.publishers.clone(), path.intake(&bus()).expect("the default bus"));
            beside.spawn(async move { publishers.run(intake, true).await });
        }
        let end = tokio::time::Instant::now() + SETTLED;
        for paused in path.replays().await.map_err(|e| e.to_string())? {
            if paused.run.state == RunState::Paused {
                path.resume_replay(paused.run.id).await.map_err(|e| e.to_string())?;
            }
        }
        loop {
            let status = path.status().await.map_err(|e| format!("in the last life, where nothing fails: {e}"))?;
            if self.publishers.done() && inside::settled(&status) && replay::over(&status) {
                break;
            }
            if tokio::time::Instant::now() > end {
                return Err(format!("not settled after {SETTLED:?}:\n{}", inside::table(&status)));
            }
            // A key that waits for its dead letter waits for somebody who looks; one that was damaged is not sent again.
            if status.routes.iter().any(|route| route.stuck_keys > 0) {
                let damaged = Selection { reason: Some(RECORD_DAMAGED.0.into()), ..Selection::default() };
                path.purge(&damaged).await.map_err(|e| format!("in the last life: {e}"))?;
                path.redrive(&Selection::default()).await.map_err(|e| format!("in the last life: {e}"))?;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if self.system {
            self.told = system::quiet(&path, &*self.store).await?;
        }
        let there = path.replays().await.map_err(|e| e.to_string())?;
        let missing = self.objects.as_ref().is_some_and(|objects| !objects.missing().is_empty());
        self.replays.over(&there, missing, &mut self.totals)?;
        if let Some(objects) = &self.objects {
            archive::whole(&path, objects, &self.publishers.journal(), &self.lost).await?;
            self.totals.add("archives that were read back whole", 1);
        }
        let (parked, gone) = parked_but(&path, |offset| self.lost.contains_key(&offset)).await?;
        self.totals.add("dead letters of damaged events", gone);
        let counted = dead_letters(&path.status().await.map_err(|e| e.to_string())?);
        if counted != parked.len() as u64 + gone {
            return Err(format!("{counted} dead letters are counted and {} listed", parked.len() as u64 + gone));
        }
        path.stop(STOP).await.map_err(|e| format!("the last stop: {e}"))?;
        self.store.close().await.map_err(|e| format!("the last stop: {e}"))?;
        self.trace.note("settled", &[&parked.len().to_string()]);
        Ok(parked)
    }

    async fn start(&mut self, clock: &Arc<SimClock>, chronicle: &mut Chronicle) -> Result<Path, String> {
        let store: Arc<dyn Store> = self.store.clone();
        let requested = self.publishers.tick();
        let archiving = self.objects.as_ref().map(|objects| objects.archiving());
        let path = Path::start_with(store, self.topology(), archiving, clock.clone()).await;
        let path = path.map_err(|e| format!("the router does not start: {e}"))?;
        chronicle.change(&self.routes, requested, self.publishers.tick());
        // A store that fails at once shows them in the next life.
        if let Ok(there) = path.replays().await {
            self.replays.restarted(&there);
            let open = there.iter().filter(|r| r.run.state.is_open()).count();
            self.totals.add("replays that go on after a start", open as u64);
        }
        Ok(path)
    }

    /// It ends here, wherever everything is.
    fn over(&mut self, clock: &SimClock, end: End) -> Lived {
        use router_core::clock::Clock;
        if end != End::Stop {
            self.totals.add("ends with submissions under way", u64::from(self.publishers.out() > 0));
            self.totals.add("ends with attempts under way", u64::from(self.targets.under_way() > 0));
            let calls = self.objects.as_ref().map_or(0, |objects| objects.under_way());
            self.totals.add("ends with calls of the archive under way", u64::from(calls > 0));
        }
        self.totals.add("calls that found no space", self.store.files().short());
        if let Some(call) = self.store.files().off_in() {
            self.totals.add(off_in(call), 1);
        }
        Lived { wall_us: clock.wall().0, end }
    }

    fn off(&self) -> bool {
        self.totals.0.contains_key("power off in a call")
    }

    /// Something that happens to a router.
    async fn something(&mut self, path: &Path, clock: &SimClock, chronicle: &mut Chronicle) {
        match self.rng.below(22) {
            20 | 21 => self.objects.iter().for_each(|objects| objects.disturb()),
            18 => self.skip_something(path).await,
            15 | 16 => self.revise(path, chronicle).await,
            17 => {
                let name = self.rng.below(5) as usize;
                let route = RouteName::new(super::ROUTES[name]).expect("a name");
                let paused = self.rng.chance(40);
                let done = if paused { path.pause(&route).await } else { path.resume(&route).await };
                if let Ok(Some(done)) = done {
                    self.trace.note("pause", &[route.as_str(), &format!("{paused} {done:?}")]);
                    self.totals.add(if paused { "pauses" } else { "resumptions" }, u64::from(done.changed));
                }
            }
            0..4 => {
                let target = *self.rng.pick(&[super::TARGETS[0], super::TARGETS[1], super::TARGETS[2], system::TARGET]);
                let mood = if self.rng.chance(35) { Mood::Good } else { *self.rng.pick(&MOODS) };
                self.targets.set(target, mood);
            }
            4 => {
                let which = Selection::default();
                // It fails when the store does, which is seen elsewhere.
                if let Ok(redriven) = path.redrive(&which).await {
                    self.totals.add("redriven", redriven.redriven);
                }
            }
            5..8 => self.look(path).await,
            8 => {
                let page = Page { after: None, count_max: 10 };
                if let Ok(letters) = path.dead_letters(&Selection::default(), page).await {
                    self.trace.note("letters", &[&letters.len().to_string()]);
                }
            }
            11 => {
                let files = self.store.files();
                let space = self.rng.chance(50).then(|| files.used() + self.rng.below(100 << 10));
                self.trace.note("space", &[&format!("{space:?}")]);
                self.totals.add(if space.is_some() { "disks that fill up" } else { "disks with space again" }, 1);
                files.space(space);
            }
            9 => {
                clock.jump(self.rng.ms(0, 600_000));
                self.totals.add("clock jumps", 1);
            }
            12..15 => self.replay_something(path).await,
            10 => {
                let off = self.rng.chance(50).then_some(60);
                self.break_files(off);
            }
            _ => self.break_files(None),
        }
    }

    /// Other routes while it runs, sometimes with a ledger that fails in the middle of it.
    async fn revise(&mut self, path: &Path, chronicle: &mut Chronicle) {
        let routes = super::other_routes(&mut self.rng, Some(&self.routes), &mut self.totals);
        let routes = super::ordered(routes, &self.orders);
        let former = std::mem::replace(&mut self.routes, routes);
        let topology = self.topology();
        let fails = self.rng.chance(9);
        if fails {
            self.store.fail_ledger();
        }
        let requested = self.publishers.tick();
        match path.revise(topology).await {
            Ok(revised) => {
                self.trace.note("revised", &[&revised.versions.to_string()]);
                self.totals.add("version changes while running", u64::from(revised.versions > 0));
                chronicle.change(&self.routes, requested, self.publishers.tick());
            }
            Err(e) => {
                self.trace.note("not revised", &[&e.to_string()]);
                self.totals.add("version changes that failed", 1);
                chronicle.tried(&self.routes, requested);
                // What runs is told by the next start, whichever that is.
                if self.rng.chance(50) {
                    self.routes = former;
                }
            }
        }
    }

    async fn look(&mut self, path: &Path) {
        let Ok(status) = path.status().await else { return };
        self.trace.note("status", &[&inside::table(&status)]);
        let spilled = status.routes.iter().filter(|r| r.in_ledger > 0).count();
        self.totals.add("lanes seen in the ledger", spilled as u64);
        self.totals.add("stuck keys seen", status.routes.iter().map(|r| r.stuck_keys).sum());
        self.totals.add("parked deliveries seen", status.routes.iter().map(|r| r.parked).sum());
        let trimmed = status.buses.iter().filter(|b| b.first.0 > 1).count();
        self.totals.add("trimmed logs seen", trimmed as u64);
        self.totals.add("remnants seen", self.store.remnants());
        self.totals.add("dead letters seen", dead_letters(&status));
        self.totals.add("retries seen", status.routes.iter().map(|r| r.retrying).sum());
    }

    /// A call of the files fails, now or soon; or all do, as when the power goes, after so many changes at most.
    fn break_files(&mut self, off: Option<u64>) {
        let files = self.store.files();
        if let Some(calls_max) = off {
            files.power_off_after(self.rng.below(calls_max));
            self.totals.add("power off in a call", 1);
            return;
        }
        let call = *self.rng.pick(&[
            Call::Write,
            Call::Write,
            Call::Write,
            Call::Write,
            Call::Sync,
            Call::Sync,
            Call::SyncDir,
            Call::Create,
            Call::Rename,
            Call::Allocate,
            Call::SetLen,
            Call::Remove,
            Call::Read,
        ]);
        let (fault, word) = match (call, self.rng.below(3)) {
            (Call::Write, 0) => (Fault::Short(self.rng.below(700) as usize), "short writes"),
            (Call::Write | Call::Allocate | Call::Create, 1) | (Call::Allocate, 0) => (Fault::NoSpace, "full disks"),
            _ => (Fault::Io, "failed calls"),
        };
        self.trace.note("fault", &[&format!("{call:?} {fault:?}")]);
        self.totals.add(word, 1);
        files.fail(call, self.rng.between(1, 6), fault);
    }

    fn topology(&mut self) -> Topology {
        let spec = |route: &Route| RouteSpec {
            name: RouteName::new(&route.name).expect("a name"),
            bus: bus(),
            transform: None,
            filter: route.pattern.clone().map(filter::Spec::Pattern),
            target: TargetName::new(route.target()).expect("a name"),
            retry: route.retry,
            backlog: BacklogLimits::default(),
            reply: (self.replies && route.name == "patient").then(ReplySpec::default),
            order: route.order.clone(),
            start: Default::default(),
        };
        let count_max = self.batch_max as usize;
        // The second takes a batch whole or not at all, and waits for it to fill; the third takes so many a second.
        let limits = [
            BatchLimits { count_max, ..BatchLimits::default() },
            BatchLimits {
                count_max,
                partial: Partial::AllOrNothing,
                delay_max: Duration::from_millis(20 * (self.batch_max - 1)),
                ..BatchLimits::default()
            },
            BatchLimits {
                count_max,
                rate: NonZeroU32::new(if self.batch_max == 4 { 300 } else { 0 })
                    .map(|events_per_second_max| Rate { events_per_second_max, burst: NonZeroU32::MIN }),
                ..BatchLimits::default()
            },
        ];
        let default = BusSpec {
            name: bus(),
            dedupe_age: Duration::from_secs(24 * 3600),
            dedupe_entries_max: 100_000,
            retention: Retention { age_max: None, bytes_max: self.archive_bytes_max },
        };
        let kept = |name: &str| self.made.iter().find(|made| made.name().as_str() == name).cloned();
        let system = self.system.then(|| (&system::TARGET, BatchLimits::default()));
        let mut made = Vec::new();
        for (name, limits) in super::TARGETS.iter().zip(limits).chain(system) {
            // Some go on as they are when the configuration changes, others begin anew.
            let same = kept(name).filter(|_| self.rng.chance(60));
            made.push(same.unwrap_or_else(|| Arc::new(SimTarget::new(name, &self.targets, limits))));
        }
        self.made.clone_from(&made);
        Topology {
            buses: [default].into_iter().chain(self.system.then(system::bus)).collect(),
            routes: self.routes.iter().map(spec).chain(self.system.then(system::route)).collect(),
            targets: made,
            quarantine: false,
            event_bytes_max: 1 << 20,
            budgets: Budgets { sweep_every: Duration::from_millis(500), ..Budgets::default() },
            router: hops::Router::new(None, &[7; 32]).ok().map(Arc::new),
        }
    }
}

pub(super) fn bus() -> BusName {
    BusName::new("default").expect("a name")
}

/// What to count a call as in which the power went off.
fn off_in(call: Call) -> &'static str {
    match call {
        Call::Write | Call::Allocate | Call::SetLen => "power off in a write",
        Call::Sync => "power off in a sync",
        Call::SyncDir => "power off in a sync of a folder",
        _ => "power off in a change of names",
    }
}

fn dead_letters(status: &Status) -> u64 {
    status.routes.iter().map(|r| r.dead_letters).sum()
}
