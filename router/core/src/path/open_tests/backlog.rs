//! A route at its limit of bytes. Goal: it does not rest above the limit, whatever came while its oldest were being
//! given, and gives nothing that the limit does not ask for.

use super::*;
use crate::id::RunId;

const LANE: LaneId = LaneId { bus: BusId(0), route: RouteId(0), run: RunId(0) };

fn bytes(count: u64) -> u64 {
    count * u64::try_from(record(Offset(100)).event.body().len()).unwrap()
}

fn hits(offsets: std::ops::Range<u64>) -> Vec<(Record, Vec<RouteId>)> {
    offsets.map(|o| (record(Offset(o)), vec![RouteId(0)])).collect()
}

/// The routes, the first with this limit of bytes.
fn limited(world: &World, bytes_max: u64) -> Routes {
    let mut routes = world.routes(|n| (n == 0).then_some(0));
    let (route, _) = routes.get_mut(&RouteId(0)).unwrap();
    Arc::make_mut(route).backlog = BacklogLimits { bytes_max: Some(bytes_max), ..BacklogLimits::default() };
    routes
}

/// Does all that is to be done, and leaves calls of the target under way.
fn rest(world: &mut World, life: &mut Life) {
    for _ in 0..20 {
        let now = world.now();
        while let Some(job) = life.set.next_job(now) {
            match job {
                Job::Deliver { target, lane, probe, batch } => life.calls.push((target, lane, probe, batch)),
                Job::Page { lane, id, what, count_max } => {
                    life.set.paged(lane, world.ledger.read(id, what, count_max), now).unwrap();
                }
                Job::Walk { lane, id, what, count_max } => {
                    life.set.walked(lane, world.ledger.walk(id, what, count_max), now);
                }
                Job::Read { .. } => panic!("no run was started"),
            }
        }
        if life.set.wants_commit() {
            world.ledger.apply(life.set.commit(now).unwrap());
            life.set.committed();
        }
    }
}

/// Deliveries that the route owes, and its dead letters.
fn owes(life: &Life) -> (u64, u64) {
    let lane = life.set.lanes().find(|(lane, _)| lane.id == LANE).unwrap().0;
    (lane.owed(), lane.dead_letters)
}

/// What it owes is as much as its limit, to the event.
fn at_its_limit(life: &Life, limit: u64) {
    let lane = life.set.lanes().find(|(lane, _)| lane.id == LANE).unwrap().0;
    assert!((limit - bytes(1) + 1..=limit).contains(&lane.owed_bytes), "{} of {limit} bytes", lane.owed_bytes);
}

#[test]
fn what_comes_behind_a_walk_is_given_too() {
    let mut world = World::of(2, None);
    let mut life = world.life_with(&[Some(0), None, None]);
    life.set.pause(RouteId(0), true, world.now());
    life.set.plan(BusId(0), Offset(120), hits(100..120), world.now());
    rest(&mut world, &mut life);
    at_its_limit(&life, bytes(12));
    // More than is in memory: some of it has to be looked for in the ledger.
    life.set.plan(BusId(0), Offset(130), hits(120..130), world.now());
    let now = world.now();
    let walk = std::iter::from_fn(|| life.set.next_job(now)).find(|job| matches!(job, Job::Walk { .. }));
    let Some(Job::Walk { lane, id, what, count_max }) = walk else { panic!("the ledger is looked through") };
    let walked = world.ledger.walk(id, what, count_max);
    life.set.plan(BusId(0), Offset(152), hits(130..152), now);
    life.set.walked(lane, walked, now);
    rest(&mut world, &mut life);
    at_its_limit(&life, bytes(12));
    let (owed, dead) = owes(&life);
    assert_eq!(owed + dead, 52);
}

#[test]
fn what_comes_back_from_its_target_is_given_then() {
    let mut world = World::of(2, None);
    let mut life = world.life_with(&[Some(0), None, None]);
    life.set.plan(BusId(0), Offset(103), hits(100..103), world.now());
    rest(&mut world, &mut life);
    assert_eq!(life.calls.len(), 3);
    life.set.revise(life.targets.clone(), limited(&world, bytes(2)));
    rest(&mut world, &mut life);
    assert_eq!(owes(&life), (3, 0), "what is in flight may be delivered");
    for (target, lane, probe, batch) in std::mem::take(&mut life.calls) {
        let fault = Outcome::Retry { facts: Facts::default(), scope: Scope::Event, not_before: None };
        life.set.finished(target, lane, probe, vec![(batch[0].id.offset, fault)], world.now());
    }
    rest(&mut world, &mut life);
    assert_eq!(owes(&life), (2, 1));
}

#[test]
fn higher_limit_gives_nothing_that_the_former_asked_for() {
    let mut world = World::of(2, None);
    let mut life = world.life_with(&[Some(0), None, None]);
    life.set.pause(RouteId(0), true, world.now());
    life.set.plan(BusId(0), Offset(130), hits(100..130), world.now());
    life.set.revise(life.targets.clone(), limited(&world, bytes(40)));
    rest(&mut world, &mut life);
    assert_eq!(owes(&life), (30, 0));
}

#[test]
fn oldest_go_first_where_a_walk_has_passed_them() {
    let mut world = World::of(2, None);
    let mut life = world.life_with(&[Some(0), None, None]);
    life.set.revise(life.targets.clone(), limited(&world, bytes(1_500)));
    life.set.pause(RouteId(0), true, world.now());
    life.set.plan(BusId(0), Offset(1_900), hits(100..1_900), world.now());
    let now = world.now();
    // The first page of the ledger gives what is to be given; the second is read to find what is old.
    let second = loop {
        match life.set.next_job(now) {
            Some(Job::Walk { lane, id, what, count_max }) => {
                let walked = world.ledger.walk(id, what, count_max);
                if matches!(what, WalkOf::Ready(from) if from > Offset(1_000)) {
                    break (lane, walked);
                }
                life.set.walked(lane, walked, now);
            }
            Some(Job::Page { lane, id, what, count_max }) => {
                life.set.paged(lane, world.ledger.read(id, what, count_max), now).unwrap();
            }
            Some(_) => panic!("nothing is sent, and no run was started"),
            None => {
                world.ledger.apply(life.set.commit(now).unwrap());
                life.set.committed();
            }
        }
    };
    life.set.plan(BusId(0), Offset(1_950), hits(1_900..1_950), now);
    life.set.walked(second.0, second.1, now);
    rest(&mut world, &mut life);
    at_its_limit(&life, bytes(1_500));
    let dead = world.ledger.dead.keys().map(|(_, offset)| *offset).max();
    let owed = world.ledger.entries.keys().map(|(_, offset)| *offset).min();
    assert!(dead < owed, "{dead:?} is a dead letter, and {owed:?} is owed");
}
