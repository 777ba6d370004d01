//! The open set against a model of the ledger, over random schedules: commits land late, reads of the
//! ledger are answered late, attempts end in any way, the process dies at any moment.
//!
//! Goals: a change never says something of the ledger that is not so; nothing is settled twice in one
//! life; what is owed is delivered or parked in the end, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use schemas::{Event, Form};

/// The same with order.
#[path = "open_tests/ordered.rs"]
mod ordered;

/// At a limit of bytes.
#[path = "open_tests/backlog.rs"]
mod backlog;

/// While something is given up.
#[path = "open_tests/skip.rs"]
mod skip;

use super::*;
use crate::{
    clock::Timestamp,
    id::{Epoch, RouteName, TargetName},
    retain::{BacklogLimits, Then},
    settle::RetryPolicy,
    stats::Stats,
    store::{DeadLetter, KeyLetters, Place},
    target::{Partial, Reason},
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

struct Nobody(TargetName, usize, Partial);

#[async_trait]
impl Target for Nobody {
    fn name(&self) -> &TargetName {
        &self.0
    }
    fn limits(&self) -> BatchLimits {
        let deadline = Duration::from_secs(1);
        BatchLimits {
            count_max: self.1,
            bytes_max: 1 << 20,
            in_flight_max: 3,
            partial: self.2,
            deadline,
            ..BatchLimits::default()
        }
    }
    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }
    async fn deliver(&self, _: &[Delivery]) -> Vec<Outcome> {
        unreachable!("the test answers for it")
    }
}

/// The ledger of one bus, as the changes make it. Every change is held to what is there.
#[derive(Clone, Default)]
struct Model {
    planned: Offset,
    running_ms: u64,
    entries: BTreeMap<(LaneId, Offset), Pending>,
    dead: BTreeMap<(LaneId, Offset), DeadLetter>,
    pauses: BTreeMap<RouteId, Pause>,
    /// Dead letters that were dropped and not opened again: ended for good.
    ended: BTreeSet<(LaneId, Offset)>,
    keys: BTreeMap<(LaneId, OrderKey), KeyLetters>,
}

impl Model {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Planned(_, b) => {
                    assert!(b >= self.planned, "B never goes back");
                    self.planned = b;
                }
                Change::Running(ms) => self.running_ms = ms,
                Change::Put { pending, replaces } => {
                    let key = (pending.lane, pending.offset);
                    let there = self.entries.get(&key).map(|p| p.place());
                    assert_eq!(there, replaces, "an entry is put in place of what is there: {key:?}");
                    self.ended.remove(&key);
                    self.entries.insert(key, pending);
                }
                Change::Drop { lane, offset, place, bytes } => {
                    let there = self.entries.remove(&(lane, offset)).map(|p| (p.place(), p.bytes));
                    assert_eq!(there, Some((place, bytes)), "an entry is dropped that is there: {lane:?} {offset}");
                }
                Change::PutKey(lane, key, letters) => {
                    self.keys.insert((lane, key), letters);
                }
                Change::DropKey(lane, key) => {
                    self.keys.remove(&(lane, key));
                }
                Change::PutDeadLetter(d) => {
                    assert!(self.dead.insert((d.id.lane, d.id.offset), *d).is_none(), "parked once");
                }
                Change::DropDeadLetter(id) => {
                    assert!(self.dead.remove(&(id.lane, id.offset)).is_some(), "a dead letter that is there");
                    self.ended.insert((id.lane, id.offset));
                }
                Change::Pause(route, pause) => {
                    self.pauses.insert(route, pause);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn read(&self, id: LaneId, what: PageOf, count_max: usize) -> Paged {
        let mut all: Vec<&Pending> = self.entries.values().filter(|p| p.lane == id).collect();
        match what {
            PageOf::Ready(from) => all.retain(|p| p.place() == Place::default() && p.offset >= from),
            PageOf::Key(key, from, below) => {
                all.retain(|p| p.place() == Place::parked(key) && p.offset >= from && p.offset < below);
            }
            PageOf::Due(now) => {
                all.retain(|p| p.due.is_some_and(|due| due <= now));
                all.sort_by_key(|p| p.due);
            }
        }
        let exhausted = all.len() < count_max;
        let next =
            |now| self.entries.values().filter(|p| p.lane == id).filter_map(|p| p.due).filter(|d| *d > now).min();
        let next_due = match what {
            PageOf::Due(now) => {
                if exhausted {
                    next(now)
                } else {
                    Some(now)
                }
            }
            PageOf::Ready(_) | PageOf::Key(..) => None,
        };
        let entries = all.into_iter().take(count_max).map(|p| (p.clone(), record(p.offset))).collect();
        Paged { what, entries, lost: BTreeSet::new(), exhausted, next_due }
    }

    fn walk(&self, id: LaneId, what: WalkOf, count_max: usize) -> Walked {
        let what_page = match what {
            WalkOf::Parked(key, from) | WalkOf::Skip(SkipAt::Parked(key, from)) => {
                let all = self.entries.values().filter(|p| p.lane == id && p.place().parked_under().is_some());
                let mut all: Vec<Pending> = all.filter(|p| (p.key, p.offset) >= (Some(key), from)).cloned().collect();
                all.sort_by_key(|p| (p.key, p.offset));
                let exhausted = all.len() < count_max;
                all.truncate(count_max);
                return Walked { what, entries: all, exhausted };
            }
            WalkOf::Key(key, from, below) => PageOf::Key(key, from, below),
            WalkOf::Ready(from) => PageOf::Ready(from),
            WalkOf::Skip(SkipAt::Ready(from)) => PageOf::Ready(from),
            WalkOf::Skip(SkipAt::Waiting(due, from)) => {
                let all = self.entries.values().filter(|p| p.lane == id);
                let mut all: Vec<Pending> =
                    all.filter(|p| p.due.is_some_and(|d| (d, p.offset) >= (due, from))).cloned().collect();
                all.sort_by_key(|p| (p.due, p.offset));
                let exhausted = all.len() < count_max;
                all.truncate(count_max);
                return Walked { what, entries: all, exhausted };
            }
            WalkOf::Waiting => PageOf::Due(Timestamp(u64::MAX)),
        };
        let Paged { entries, exhausted, .. } = self.read(id, what_page, count_max);
        Walked { what, entries: entries.into_iter().map(|(pending, _)| pending).collect(), exhausted }
    }

    fn lanes(&self) -> Vec<LaneState> {
        let ids: BTreeSet<LaneId> = self.entries.keys().map(|(lane, _)| *lane).collect();
        let of = |lane: LaneId| self.entries.values().filter(move |p| p.lane == lane);
        ids.into_iter()
            .map(|lane| LaneState {
                lane,
                ready: of(lane).filter(|p| p.place() == Place::default()).count() as u64,
                waiting: of(lane).filter(|p| p.due.is_some()).count() as u64,
                parked: of(lane).filter(|p| p.place().parked_under().is_some()).count() as u64,
                bytes: of(lane).map(|p| u64::from(p.bytes)).sum(),
                ready_first: of(lane).filter(|p| p.place() == Place::default()).map(|p| p.offset).min(),
                due_first: of(lane).filter_map(|p| p.due).min(),
            })
            .collect()
    }
}

/// Seven keys, and some events that have none.
fn key_of(offset: Offset) -> Option<u64> {
    (!offset.0.is_multiple_of(11)).then_some(offset.0 * 7 % 19 % 7)
}

fn record(offset: Offset) -> Record {
    let (id, key) = (offset.to_string(), key_of(offset).map(|key| key.to_string()));
    let event = Event::builder(&id, "/t", "t").data(Form::Text, "x".repeat(10));
    let event = match &key {
        Some(key) => event.attr("partitionkey", key.as_str()),
        None => event,
    };
    let event = event.build().unwrap();
    Record { offset, appended: Timestamp(offset.0), event }
}

const LANES: u32 = 3;

/// One life of the router between two crashes.
struct Life {
    set: OpenSet,
    targets: Vec<Arc<dyn Target>>,
    calls: Vec<(usize, usize, bool, Vec<Delivery>)>,
    reads: Vec<(usize, LaneId, PageOf, usize, Option<Paged>)>,
    walks: Vec<(usize, LaneId, WalkOf, usize, Option<Walked>)>,
    /// Routes that said that they hold their bus.
    held: BTreeSet<LaneId>,
    commit: Option<Vec<Change>>,
    /// A change of dead letters waits for its commit: asked, and whether the commit under way carries it.
    changing: (bool, bool),
    settled: BTreeSet<(LaneId, Offset)>,
    watch: ordered::Watch,
}

struct World {
    random: Random,
    ledger: Model,
    mono: u64,
    delivered: BTreeMap<(LaneId, Offset), u32>,
    /// Whether targets fail at random, and routes have limits.
    faulty: bool,
    /// How the target answers that takes several at a time.
    partial: Partial,
    /// Whether memory is too small for what is owed.
    crowded: bool,
    /// What is known of the order, where the routes have one.
    ordered: Option<ordered::History>,
}

impl World {
    fn now(&mut self) -> Now {
        let jitter = self.random.below(1_000) as f64 / 1_000.0;
        Now {
            wall: Timestamp(1_000_000 + self.mono * 1_000),
            mono: Duration::from_millis(self.mono),
            running_ms: self.mono,
            jitter,
        }
    }

    fn target(&self, n: usize) -> Arc<dyn Target> {
        Arc::new(Nobody(TargetName::new(&format!("t{n}")).unwrap(), 1 + n * 3, self.partial))
    }

    /// The routes, each with the target of this number, or without one.
    fn routes(&self, target: impl Fn(u32) -> Option<u32>) -> Routes {
        let stats = Stats::default();
        let retry = RetryPolicy {
            attempts_max: 3,
            delay_min: Duration::from_millis(5),
            delay_max: Duration::from_millis(40),
            ..RetryPolicy::default()
        };
        let route = |n: u32| {
            let name = RouteName::new(&format!("r{n}")).unwrap();
            let stats = stats.route(&name);
            let backlog = if self.faulty { self.backlog(n) } else { BacklogLimits::default() };
            let target = target(n).map(|t| TargetName::new(&format!("t{t}")).unwrap());
            // As the path says it: one that is not configured has no order either.
            let order = self.ordered.as_ref().filter(|_| target.is_some()).map(|_| ordered::order(n, self.faulty));
            let route = Route { name, retry, backlog, transform: None, reply: None, order, stats };
            (RouteId(n), (Arc::new(route), target))
        };
        (0..LANES).map(route).collect()
    }

    /// Other targets, routes that go elsewhere, and routes that are gone; some of it stays.
    fn revise(&mut self, life: &mut Life) {
        for at in 0..2 {
            if self.random.below(3) == 0 {
                life.targets[at] = self.target(at);
            }
        }
        let goes: Vec<Option<u32>> = (0..LANES)
            .map(|n| match self.random.below(8) {
                0 if self.faulty => None,
                1 => Some(1 - n % 2),
                _ => Some(n % 2),
            })
            .collect();
        let routes = self.routes(|n| goes[n as usize]);
        life.set.revise(life.targets.clone(), routes);
    }

    fn life(&mut self) -> Life {
        // A route that is not configured at the start may come back.
        let goes: Vec<Option<u32>> = (0..LANES)
            .map(|n| (self.ordered.is_none() || !self.faulty || self.random.below(6) > 0).then_some(n % 2))
            .collect();
        self.life_with(&goes)
    }

    /// A life that begins with the routes at these targets.
    fn life_with(&mut self, goes: &[Option<u32>]) -> Life {
        let targets: Vec<Arc<dyn Target>> = (0..2).map(|i| self.target(i)).collect();
        let routes = self.routes(|n| goes[n as usize]);
        let mut set = OpenSet::new(Epoch(1).into(), targets.clone(), routes);
        // More than the lanes keep when they are crowded out, so that the limit binds.
        let total_max = if self.crowded { 20 } else { 1_000 };
        let open_max = if self.crowded { 40 } else { 8 };
        let followers_max = if self.crowded { 2 } else { 4 };
        // Half of the lives are short of it all the time.
        let flight_max = if self.random.below(2) == 0 { 3 * record(Offset(100)).event.body().len() } else { 1 << 20 };
        set.limits = Limits {
            followers_max,
            open_max,
            waiting_max: 4,
            fresh_max: 40,
            total_max,
            flight_max,
            ..Limits::default()
        };
        let pauses: Vec<_> = self.ledger.pauses.iter().map(|(route, pause)| (*route, *pause)).collect();
        set.resume_pauses(&pauses);
        set.resume(&[(BusId(0), self.ledger.planned)], &self.ledger.lanes(), &[]);
        set.resume_keys(&self.ledger.key_states());
        Life {
            set,
            targets,
            calls: vec![],
            reads: vec![],
            walks: vec![],
            held: BTreeSet::new(),
            commit: None,
            changing: (false, false),
            settled: BTreeSet::new(),
            watch: ordered::Watch::default(),
        }
    }

    /// One route gives its oldest at a limit of bytes, one holds its bus, one gives what is old.
    fn backlog(&self, n: u32) -> BacklogLimits {
        let bytes = 12 * u64::try_from(record(Offset(100)).event.body().len()).unwrap();
        match n {
            0 => BacklogLimits { bytes_max: Some(bytes), ..BacklogLimits::default() },
            1 => BacklogLimits { bytes_max: Some(bytes), then: Then::Hold, ..BacklogLimits::default() },
            _ => BacklogLimits { age_max: Some(Duration::from_millis(200)), ..BacklogLimits::default() },
        }
    }

    /// What must hold at every moment.
    fn check(&self, life: &mut Life) {
        for Held { lane, full, .. } in life.set.take_held() {
            let changed = if full.is_some() { life.held.insert(lane) } else { life.held.remove(&lane) };
            assert!(changed, "a hold is told once: {lane:?}");
        }
        let memory: usize = life.set.lanes().map(|(l, _)| l.open.len()).sum();
        assert_eq!(memory, life.set.in_memory, "deliveries in memory are counted");
        let under_way: usize = life.calls.iter().map(|(.., batch)| bytes_of(batch)).sum();
        assert_eq!(under_way, life.set.flight.bytes, "bytes under way are counted");
        for (lane, _) in life.set.lanes() {
            assert!(
                lane.owed() > 0 || lane.owed_bytes == 0,
                "{:?} owes nothing and {} bytes",
                lane.id,
                lane.owed_bytes
            );
            let Some(max) =
                lane.route.backlog.bytes_max.filter(|_| lane.route.backlog.then == Then::Hold && lane.target.is_some())
            else {
                assert!(!life.held.contains(&lane.id), "{:?} holds its bus, and nobody says so", lane.id);
                continue;
            };
            let least = if life.held.contains(&lane.id) { max - max / 8 } else { 0 };
            assert!(lane.owed_bytes >= least, "{:?} holds its bus for nothing", lane.id);
            assert!(lane.owed_bytes <= max || life.held.contains(&lane.id), "{:?} is over and does not hold", lane.id);
        }
    }

    fn outcome(&mut self) -> Outcome {
        let facts = Facts::default();
        let fault = if self.faulty { self.random.below(12) } else { 11 };
        match fault {
            0..3 => Outcome::Retry { facts, scope: Scope::Event, not_before: None },
            3 => Outcome::Retry { facts, scope: Scope::Target, not_before: None },
            4 => Outcome::Refused { facts, code: crate::codes::REFUSED },
            _ => Outcome::Delivered { facts, replies: vec![] },
        }
    }

    fn step(&mut self, life: &mut Life) {
        self.look_at_letters(life);
        self.mono += self.random.below(4);
        let now = self.now();
        life.set.woken(now);
        while let Some(job) = life.set.next_job(now) {
            self.look_at_letters(life);
            match job {
                Job::Deliver { target, lane, probe, batch } => {
                    assert!(!life.set.lanes[lane].is_paused(), "nothing is sent for a route that is paused");
                    self.sent(life, &batch);
                    life.calls.push((target, lane, probe, batch));
                }
                Job::Page { lane, id, what, count_max } => life.reads.push((lane, id, what, count_max, None)),
                Job::Walk { lane, id, what, count_max } => life.walks.push((lane, id, what, count_max, None)),
                Job::Read { .. } => panic!("no run was started"),
            }
        }
        self.look_at_letters(life);
        self.check(life);
        match self.random.below(12) {
            0 | 1 if self.faulty && life.set.takes() => {
                let from = self.ledger_tail(life);
                let n = self.random.below(12);
                let hits = (from..from + n).map(|o| (record(Offset(o)), (0..LANES).map(RouteId).collect())).collect();
                life.set.plan(BusId(0), Offset(from + n), hits, now);
            }
            0..5 => self.answer(life, now),
            5 => {
                let ledger = self.ledger.clone();
                for (_, id, what, count_max, page) in &mut life.reads {
                    page.get_or_insert_with(|| ledger.read(*id, *what, *count_max));
                }
                for (_, id, what, count_max, page) in &mut life.walks {
                    page.get_or_insert_with(|| ledger.walk(*id, *what, *count_max));
                }
            }
            6 => {
                if let Some(at) = life.reads.iter().position(|r| r.4.is_some()) {
                    let (lane, .., page) = life.reads.remove(at);
                    life.set.paged(lane, page.unwrap(), now).unwrap();
                }
                if let Some(at) = life.walks.iter().position(|r| r.4.is_some()) {
                    let (lane, .., walked) = life.walks.remove(at);
                    life.set.walked(lane, walked.unwrap(), now);
                }
            }
            7 if life.commit.is_none() && life.set.wants_commit() => {
                life.commit = Some(life.set.commit(now).unwrap());
                life.changing.1 = life.changing.0;
            }
            8 => {
                if let Some(changes) = life.commit.take() {
                    self.ledger.apply(changes);
                    life.set.committed();
                    if life.changing.1 {
                        life.changing = (false, false);
                    }
                }
            }
            9 => self.change_letters(life, now),
            10 => life.set.expire_old(now),
            _ if self.random.below(4) == 0 => self.revise(life),
            _ if self.random.below(4) == 0 => {
                let (route, paused) = (RouteId(self.random.below(LANES.into()) as u32), self.random.below(2) == 0);
                life.set.pause(route, paused && self.faulty, now);
            }
            _ if self.faulty && self.random.below(8) == 0 => {
                let route = RouteName::new(&format!("r{}", self.random.below(LANES.into()))).unwrap();
                life.set.convert(&route, 1 + self.random.below(2_000));
            }
            _ => {}
        }
    }

    fn ledger_tail(&self, life: &Life) -> u64 {
        life.set.planned(BusId(0)).0.max(1)
    }

    fn answer(&mut self, life: &mut Life, now: Now) {
        if life.calls.is_empty() {
            return;
        }
        let at = self.random.below(life.calls.len() as u64) as usize;
        let (target, lane, probe, batch) = life.calls.remove(at);
        let mut outcomes = vec![];
        let whole = (self.partial == Partial::AllOrNothing).then(|| self.outcome());
        for d in &batch {
            let outcome = whole.clone().unwrap_or_else(|| self.outcome());
            let key = (d.id.lane, d.id.offset);
            self.answered(life, key, &outcome);
            if matches!(outcome, Outcome::Delivered { .. }) {
                assert!(life.settled.insert(key), "{key:?} is settled twice in one life");
                *self.delivered.entry(key).or_default() += 1;
            }
            outcomes.push((d.id.offset, outcome));
        }
        life.set.landed(target, bytes_of(&batch));
        life.set.finished(target, lane, probe, outcomes, now);
    }

    /// Redrives what the ledger shows as dead, or purges some of it: one change at a time, as the path does.
    fn change_letters(&mut self, life: &mut Life, now: Now) {
        let configured = |l: &&DeadLetter| life.set.routes[&l.id.lane.route].1.is_some();
        let mut letters: Vec<DeadLetter> = self.ledger.dead.values().filter(configured).cloned().collect();
        if letters.is_empty() || life.changing.0 {
            return;
        }
        life.changing.0 = true;
        if self.faulty && self.random.below(4) == 0 {
            letters.truncate(1 + self.random.below(3) as usize);
            let count = letters.len() as u64;
            self.purged(life, &letters);
            assert_eq!(life.set.end_letters(letters, "purged"), count);
            return;
        }
        self.redriven(life, &letters);
        for letter in &letters {
            life.settled.remove(&(letter.id.lane, letter.id.offset));
        }
        let count = letters.len() as u64;
        assert_eq!(life.set.redrive(letters, now), count);
    }
}

fn run(seed: u64) {
    let mut world = World::of(seed, None);
    world.run(seed);
}

impl World {
    fn of(seed: u64, ordered: Option<ordered::History>) -> World {
        let partial = if seed.is_multiple_of(2) { Partial::PerEvent } else { Partial::AllOrNothing };
        let (random, ledger, delivered) = (Random(seed), Model::default(), BTreeMap::new());
        let crowded = seed.is_multiple_of(3);
        World { random, ledger, mono: 0, delivered, faulty: true, partial, crowded, ordered }
    }

    fn run(&mut self, seed: u64) {
        let world = self;
        for _ in 0..4 {
            let mut life = world.life();
            let steps = world.random.below(400);
            for _ in 0..steps {
                world.step(&mut life);
            }
            // The process dies: what was not committed is gone, calls under way have no answer.
            world.mono += 50;
        }
        world.faulty = false;
        let mut life = world.life();
        for _ in 0..20_000 {
            world.step(&mut life);
            let parked = world.ledger.dead.len();
            let all = u64::from(LANES) * (life.set.planned(BusId(0)).0.max(1) - 1);
            let owed: u64 = life.set.lanes().map(|(l, _)| l.owed()).sum();
            let over: BTreeSet<_> = world.delivered.keys().chain(&world.ledger.ended).collect();
            if owed == 0 && parked == 0 && !life.set.wants_commit() && life.commit.is_none() && over.len() as u64 == all
            {
                assert!(world.ledger.entries.is_empty(), "seed {seed}: {:?}", world.ledger.entries.keys());
                return;
            }
        }
        let owed: Vec<_> = life.set.lanes().map(|(l, s)| (l.id, l.owed(), s)).collect();
        panic!(
            "seed {seed}: not drained: owed {owed:?}, delivered {}, entries {}",
            world.delivered.len(),
            world.ledger.entries.len()
        );
    }
}

#[test]
fn random_schedules_lose_nothing_and_settle_once() {
    let seeds = if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 5_000 } else { 200 };
    for seed in 0..seeds {
        run(seed);
    }
}

/// Goal: what a paused route owes is kept at any age, and begins to age when the route is resumed.
#[test]
fn pause_ends_nothing_by_age_and_neither_does_its_end() {
    let (random, ledger, delivered) = (Random(1), Model::default(), BTreeMap::new());
    let (partial, ordered) = (Partial::PerEvent, None);
    let mut world = World { random, ledger, mono: 0, delivered, faulty: true, partial, crowded: false, ordered };
    let mut life = world.life();
    // This one gives up after 200 ms, once its target was tried.
    let route = RouteId(2);
    let hits = |o: u64| vec![(record(Offset(o)), vec![route])];
    life.set.plan(BusId(0), Offset(2), hits(1), world.now());
    let Some(Job::Deliver { target, lane, probe, batch }) = life.set.next_job(world.now()) else {
        panic!("it is sent")
    };
    let fault = Outcome::Retry { facts: Facts::default(), scope: Scope::Event, not_before: None };
    life.set.finished(target, lane, probe, vec![(batch[0].id.offset, fault)], world.now());
    assert_eq!(life.set.pause(route, true, world.now()), Paused { changed: true, waiting: 1 });
    assert_eq!(life.set.pause(route, true, world.now()), Paused { changed: false, waiting: 1 });
    life.set.plan(BusId(0), Offset(3), hits(2), world.now());
    world.mono += 10_000;
    let old = |set: &mut OpenSet, now| {
        set.woken(now);
        set.expire_old(now);
        set.lanes().map(|(l, _)| (l.owed(), l.dead_letters)).collect::<Vec<_>>()
    };
    assert_eq!(old(&mut life.set, world.now()), [(2, 0)], "kept while it is paused");
    assert!(life.set.next_job(world.now()).is_none());
    life.set.pause(route, false, world.now());
    world.mono += 150;
    assert_eq!(old(&mut life.set, world.now()), [(2, 0)], "young again");
    world.mono += 100;
    assert_eq!(old(&mut life.set, world.now()), [(0, 2)], "and old again");
}
