//! Goals: what is under way is bounded whatever the number of targets; each has a call, and its share; a target that
//! does not answer holds up nobody else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use schemas::{Event, Form};

use super::super::{Job, Now, OpenSet, Route, bytes_of};
use crate::{
    clock::Timestamp,
    id::{BusId, Epoch, Offset, RouteId, RouteName, TargetName},
    settle::RetryPolicy,
    stats::Stats,
    store::Record,
    target::{BatchLimits, Delivery, Facts, Outcome, Reason, Target},
};

struct Silent(TargetName);

#[async_trait]
impl Target for Silent {
    fn name(&self) -> &TargetName {
        &self.0
    }
    fn limits(&self) -> BatchLimits {
        BatchLimits { in_flight_max: 64, ..BatchLimits::default() }
    }
    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }
    async fn deliver(&self, _: &[Delivery]) -> Vec<Outcome> {
        unreachable!("the test answers for it")
    }
}

/// A target and a lane for each number, and what is under way.
struct Sim {
    set: OpenSet,
    calls: Vec<(usize, usize, bool, Vec<Delivery>)>,
}

const NOW: Now = Now { wall: Timestamp(1_000_000), mono: Duration::from_secs(1), running_ms: 1_000, jitter: 0.5 };

impl Sim {
    /// Every route is owed so many events of so many bytes.
    fn new(targets: u32, events: u64, bytes: usize, flight_max: usize) -> Sim {
        let stats = Stats::default();
        let name = |n: u32| TargetName::new(&format!("t-{n}")).unwrap();
        let route = |n: u32| {
            let name = RouteName::new(&format!("r-{n}")).unwrap();
            let (retry, stats) = (RetryPolicy::default(), stats.route(&name));
            Arc::new(Route {
                retry,
                backlog: Default::default(),
                transform: None,
                reply: None,
                order: None,
                stats,
                name,
            })
        };
        let goals = (0..targets).map(|n| Arc::new(Silent(name(n))) as Arc<dyn Target>).collect();
        let routes: HashMap<_, _> = (0..targets).map(|n| (RouteId(n), (route(n), Some(name(n))))).collect();
        let mut set = OpenSet::new(Epoch(1).into(), goals, routes);
        set.limits.flight_max = flight_max;
        let data = format!("\"{}\"", "x".repeat(bytes));
        let event = |n: u64| Event::builder(&n.to_string(), "/t", "t").data(Form::Json, data.clone()).build().unwrap();
        let record = |n| Record { offset: Offset(n), appended: Timestamp(n), event: event(n) };
        let hits = (1..=events).map(|n| (record(n), (0..targets).map(RouteId).collect())).collect();
        set.plan(BusId(0), Offset(events + 1), hits, NOW);
        Sim { set, calls: Vec::new() }
    }

    /// Begins every call that may begin.
    fn begin(&mut self) {
        while let Some(job) = self.set.next_job(NOW) {
            let Job::Deliver { target, lane, probe, batch } = job else { panic!("nothing is in the ledger") };
            self.calls.push((target, lane, probe, batch));
        }
        assert_eq!(self.under_way(), self.set.flight.bytes);
    }

    fn under_way(&self) -> usize {
        self.calls.iter().map(|(.., batch)| bytes_of(batch)).sum()
    }

    fn calls_of(&self, target: usize) -> usize {
        self.calls.iter().filter(|(to, ..)| *to == target).count()
    }

    /// The oldest call of one of these targets succeeds; false when there is none.
    fn answer(&mut self, targets: &[usize]) -> bool {
        let Some(at) = self.calls.iter().position(|(to, ..)| targets.contains(to)) else { return false };
        let (target, lane, probe, batch) = self.calls.remove(at);
        let done = || Outcome::Delivered { facts: Facts::default(), replies: vec![] };
        let outcomes = batch.iter().map(|d| (d.id.offset, done())).collect();
        self.set.landed(target, bytes_of(&batch));
        self.set.finished(target, lane, probe, outcomes, NOW);
        true
    }
}

#[test]
fn what_is_under_way_is_bounded_whatever_the_number_of_targets() {
    for targets in [1, 4, 50] {
        let mut sim = Sim::new(targets, 64, 1_000, 20_000);
        let mut most = 0;
        loop {
            sim.begin();
            most = most.max(sim.under_way());
            assert!((0..targets as usize).all(|n| sim.calls_of(n) > 0 || sim.set.lanes[n].ready.is_empty()));
            if !sim.answer(&(0..targets as usize).collect::<Vec<_>>()) {
                break;
            }
        }
        // The first ones looked at take all of it, and the others have their shares on top.
        let bound = 2 * 20_000 + targets as usize * 1_200;
        assert!(most <= bound && most >= 20_000.min(targets as usize * 1_000), "{most} of {bound} for {targets}");
        assert_eq!(sim.set.lanes().map(|(lane, _)| lane.owed()).sum::<u64>(), 0, "all of it went out");
    }
}

#[test]
fn a_target_that_does_not_answer_holds_up_nobody_else() {
    let mut sim = Sim::new(4, 64, 1_000, 20_000);
    sim.begin();
    assert!(sim.calls_of(0) > 10, "the first one looked at took all");
    let mut silent = 0;
    loop {
        silent = silent.max(sim.calls_of(0));
        if !sim.answer(&[1, 2, 3]) {
            break;
        }
        sim.begin();
        // A quarter of it, in calls of somewhat more than 1,000 bytes.
        assert!((1..4).all(|n| sim.calls_of(n) >= 4 || sim.set.lanes[n].ready.is_empty()), "each has its share");
    }
    let owed: Vec<u64> = sim.set.lanes().map(|(lane, _)| lane.owed()).collect();
    assert_eq!(owed, [64, 0, 0, 0]);
    assert!(silent < 25, "{silent} calls to who does not answer");
}

#[test]
fn an_event_larger_than_the_limit_goes_alone() {
    let mut sim = Sim::new(2, 3, 1_000, 100);
    for _ in 0..3 {
        sim.begin();
        assert_eq!((sim.calls_of(0), sim.calls_of(1)), (1, 1));
        assert!(sim.answer(&[0]) && sim.answer(&[1]));
    }
    assert_eq!(sim.set.lanes().map(|(lane, _)| lane.owed()).sum::<u64>(), 0);
}
