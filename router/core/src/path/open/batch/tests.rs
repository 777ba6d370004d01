//! Goals: halving finds exactly the guilty ones, counts nothing against the others, and is cheap; what is
//! not full waits for more, but not for long; no more is sent than the rate allows.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use proptest::prelude::*;
use schemas::Event;

use super::super::{Job, Limits, Now, OpenSet, Route, bytes_of};
use crate::{
    clock::Timestamp,
    id::{BusId, Epoch, Offset, RouteId, RouteName, TargetName},
    settle::RetryPolicy,
    stats::{BreakerState, Stats},
    store::{Change, Record},
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Rate, Reason, Scope, Target},
};

struct Batches(TargetName, BatchLimits);

#[async_trait]
impl Target for Batches {
    fn name(&self) -> &TargetName {
        &self.0
    }
    fn limits(&self) -> BatchLimits {
        self.1
    }
    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }
    async fn deliver(&self, _: &[Delivery]) -> Vec<Outcome> {
        unreachable!("the test answers for it")
    }
}

const BATCH: usize = 64;

fn limits() -> BatchLimits {
    BatchLimits { count_max: BATCH, partial: Partial::AllOrNothing, in_flight_max: 3, ..BatchLimits::default() }
}

/// One lane to one target, with events 1, 2, ….
struct Sim {
    set: OpenSet,
    stats: Stats,
    mono: Duration,
    tail: u64,
    /// Every call: when, and the offsets.
    calls: Vec<(Duration, Vec<u64>)>,
    delivered: BTreeMap<u64, Vec<u32>>,
    parked: BTreeSet<u64>,
}

impl Sim {
    fn new(limits: BatchLimits) -> Sim {
        let stats = Stats::default();
        let name = RouteName::new("r").unwrap();
        let retry = RetryPolicy { attempts_max: 2, ..RetryPolicy::default() };
        let route = Arc::new(Route {
            retry,
            backlog: Default::default(),
            transform: None,
            reply: None,
            order: None,
            stats: stats.route(&name),
            name,
        });
        let target: Arc<dyn Target> = Arc::new(Batches(TargetName::new("t").unwrap(), limits));
        let mut set = OpenSet::new(
            Epoch(1).into(),
            vec![target],
            std::collections::HashMap::from([(RouteId(1), (route, Some(TargetName::new("t").unwrap())))]),
        );
        set.limits = Limits::default();
        let (mono, calls, delivered) = (Duration::from_secs(1), Vec::new(), BTreeMap::new());
        Sim { set, stats, mono, tail: 0, calls, delivered, parked: BTreeSet::new() }
    }

    fn now(&self) -> Now {
        let ms = u64::try_from(self.mono.as_millis()).unwrap();
        Now { wall: Timestamp(ms * 1_000), mono: self.mono, running_ms: ms, jitter: 0.5 }
    }

    fn plan(&mut self, count: u64) {
        let event = |n: u64| Event::builder(&n.to_string(), "/t", "t").build().unwrap();
        let record = |n| Record { offset: Offset(n), appended: Timestamp(n), event: event(n) };
        let hits = (self.tail + 1..=self.tail + count).map(|n| (record(n), vec![RouteId(1)])).collect();
        self.tail += count;
        let now = self.now();
        self.set.plan(BusId(0), Offset(self.tail + 1), hits, now);
    }

    /// Sends what can be sent until there is nothing left to wait for, or the time is over.
    fn run(&mut self, until: Duration, answer: impl Fn(&[u64]) -> Outcome) {
        let mut open = VecDeque::new();
        loop {
            let now = self.now();
            self.set.woken(now);
            while let Some(job) = self.set.next_job(now) {
                let Job::Deliver { target, lane, probe, batch } = job else { panic!("nothing is in the ledger") };
                self.calls.push((self.mono, batch.iter().map(|d| d.id.offset.0).collect()));
                open.push_back((target, lane, probe, batch));
            }
            if let Some((target, lane, probe, batch)) = open.pop_front() {
                let offsets: Vec<u64> = batch.iter().map(|d| d.id.offset.0).collect();
                let outcome = answer(&offsets);
                if matches!(outcome, Outcome::Delivered { .. }) {
                    for d in &batch {
                        self.delivered.entry(d.id.offset.0).or_default().push(d.attempt);
                    }
                }
                let outcomes = batch.iter().map(|d| (d.id.offset, outcome.clone())).collect();
                self.set.landed(target, bytes_of(&batch));
                self.set.finished(target, lane, probe, outcomes, now);
                continue;
            }
            let changes = self.set.commit(now).unwrap();
            self.set.committed();
            self.parked.extend(changes.iter().filter_map(|change| match change {
                Change::PutDeadLetter(letter) => Some(letter.id.offset.0),
                _ => None,
            }));
            match self.set.wakeup(now) {
                Some(at) if at <= until => self.mono = at.max(self.mono),
                _ => return,
            }
        }
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered { facts: Facts::default(), replies: Vec::new() }
}

fn refused() -> Outcome {
    Outcome::Refused { facts: Facts::default(), code: crate::codes::REFUSED }
}

fn fault(scope: Scope) -> Outcome {
    Outcome::Retry { facts: Facts::default(), scope, not_before: None }
}

/// Events in all, those that are guilty.
fn guilt() -> impl Strategy<Value = (u64, BTreeSet<u64>)> {
    (1..=BATCH as u64).prop_flat_map(|n| (Just(n), prop::collection::btree_set(1..=n, 0..=n as usize)))
}

/// Enough to see each shape; more on request.
fn cases() -> u32 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 4_096 } else { 96 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn exactly_the_guilty_are_refused_in_few_calls((n, guilty) in guilt(), in_flight_max in 1..4usize) {
        let mut sim = Sim::new(BatchLimits { in_flight_max, ..limits() });
        sim.plan(n);
        sim.run(Duration::MAX, |batch| if batch.iter().any(|o| guilty.contains(o)) { refused() } else { delivered() });
        prop_assert_eq!(&sim.parked, &guilty);
        for innocent in (1..=n).filter(|o| !guilty.contains(o)) {
            prop_assert_eq!(&sim.delivered[&innocent], &[1], "{} is delivered once, at its first attempt", innocent);
        }
        let levels = u64::from(n.next_power_of_two().trailing_zeros());
        let calls_max = 1 + 2 * guilty.len() as u64 * levels;
        prop_assert!(sim.calls.len() as u64 <= calls_max, "{} calls of {}", sim.calls.len(), calls_max);
        let firsts: Vec<u64> = sim.calls.iter().filter(|(_, c)| c.len() == 1).map(|(_, c)| c[0]).collect();
        prop_assert!(in_flight_max > 1 || firsts.is_sorted(), "older halves go first: {:?}", firsts);
    }

    #[test]
    fn one_that_is_tried_again_goes_alone(n in 8..=BATCH as u64, at in 1..=8u64) {
        let mut sim = Sim::new(limits());
        sim.plan(n);
        let answer = |batch: &[u64]| if batch.contains(&at) { fault(Scope::Event) } else { delivered() };
        sim.run(Duration::from_secs(1), answer);
        let halvings = sim.stats.route(&RouteName::new("r").unwrap()).batches_halved.get();
        prop_assert!((3..=6).contains(&halvings));
        prop_assert_eq!(sim.delivered.len() as u64, n - 1);
        let before = sim.calls.len();
        // Each round brings others: they go together, and it does not go with them.
        for _ in 0..4 {
            sim.plan(4);
            sim.run(sim.mono + Duration::from_secs(3), answer);
        }
        let with_it: Vec<_> = sim.calls[before..].iter().filter(|(_, c)| c.contains(&at)).collect();
        prop_assert!(!with_it.is_empty() && with_it.iter().all(|(_, c)| c.len() == 1), "{:?}", with_it);
        prop_assert_eq!(&sim.parked, &BTreeSet::from([at]));
        prop_assert!(sim.delivered.values().all(|attempts| attempts == &[1]), "nothing counts against the others");
    }
}

#[test]
fn target_fault_is_for_the_whole_batch() {
    let mut sim = Sim::new(BatchLimits { in_flight_max: 1, ..limits() });
    sim.plan(64);
    sim.run(sim.mono, |_| fault(Scope::Target));
    assert_eq!(sim.calls.len(), 1);
    assert_eq!(sim.set.target_statuses()[0].breaker, BreakerState::Open);
    sim.run(Duration::MAX, |_| delivered());
    let sizes: Vec<usize> = sim.calls.iter().map(|(_, c)| c.len()).collect();
    assert_eq!(sizes, [64, 1, 63], "a probe, then the rest together");
    assert!(sim.delivered.values().all(|attempts| attempts == &[2]));
}

#[test]
fn failing_batches_open_the_breaker_as_failing_deliveries_do() {
    let mut sim = Sim::new(limits());
    sim.plan(1_000);
    sim.run(sim.mono, |_| fault(Scope::Event));
    assert_eq!(sim.set.target_statuses()[0].breaker, BreakerState::Open);
    assert!(sim.calls.len() < 40, "{} calls", sim.calls.len());
    sim.run(Duration::MAX, |_| delivered());
    assert_eq!(sim.delivered.len(), 1_000);
    assert_eq!(sim.parked, BTreeSet::new());
}

#[test]
fn batch_that_is_not_full_waits_for_more_but_not_for_long() {
    let mut sim = Sim::new(BatchLimits { count_max: 10, delay_max: Duration::from_millis(50), ..limits() });
    let start = sim.mono;
    let at = |ms| start + Duration::from_millis(ms);
    sim.plan(3);
    sim.run(at(20), |_| delivered());
    assert_eq!(sim.calls, [], "it waits");
    sim.mono = at(20);
    sim.plan(3);
    sim.run(at(60), |_| delivered());
    assert_eq!(sim.calls, [(at(50), (1..=6).collect())]);
    sim.mono = at(60);
    sim.plan(25);
    sim.run(Duration::MAX, |_| delivered());
    let told: Vec<_> = sim.calls[1..].iter().map(|(when, c)| (*when, c.len())).collect();
    assert_eq!(told, [(at(60), 10), (at(60), 10), (at(110), 5)]);
}

#[test]
fn no_more_is_sent_than_the_rate_allows() {
    let [events_per_second_max, burst] = [10, 4].map(|n| NonZeroU32::new(n).unwrap());
    let rate = Some(Rate { events_per_second_max, burst });
    let mut sim = Sim::new(BatchLimits { rate, in_flight_max: 100, ..BatchLimits::default() });
    sim.plan(10);
    let start = sim.mono;
    sim.run(start, |_| delivered());
    assert_eq!(sim.calls.len(), 4);
    let status = &sim.set.target_statuses()[0];
    assert_eq!((status.events_per_second_max, status.paced), (Some(10), true));
    sim.run(Duration::MAX, |_| delivered());
    let told: Vec<_> = sim.calls.iter().map(|(when, _)| (*when - start).as_millis()).collect();
    assert_eq!(told, [0, 0, 0, 0, 100, 200, 300, 400, 500, 600]);
    assert!(!sim.set.target_statuses()[0].paced);
}
