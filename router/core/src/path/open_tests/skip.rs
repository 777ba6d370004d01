//! The open set while an operator gives something up. Goal: a skip that is over has ended all below its offset, what was
//! opened again behind its walk, too.

use super::*;
use crate::id::{DeliveryId, RunId};

const LANE: LaneId = LaneId { bus: BusId(0), route: RouteId(0), run: RunId(0) };

fn entry(offset: u64) -> Pending {
    let (due, key, late, attempts) = (None, None, false, Attempts::default());
    Pending { lane: LANE, offset: Offset(offset), due, key, late, opened_ms: 0, bytes: 10, attempts }
}

fn letter(offset: u64) -> DeadLetter {
    DeadLetter {
        id: DeliveryId { epoch: Epoch(1), lane: LANE, offset: Offset(offset) },
        route: RouteName::new("r0").unwrap(),
        target: TargetName::new("t0").unwrap(),
        reason: "refused".into(),
        note: "no".into(),
        at: Timestamp(1),
        bytes: 10,
        attempts: Attempts::default(),
        order: None,
    }
}

#[test]
fn skip_walks_again_until_it_has_seen_nothing() {
    let mut world = World::of(2, None);
    world.faulty = false;
    world.ledger.planned = Offset(10);
    world.ledger.entries = (3..6).map(|n| ((LANE, Offset(n)), entry(n))).collect();
    world.ledger.dead = BTreeMap::from([((LANE, Offset(2)), letter(2))]);
    let mut life = world.life_with(&[Some(0), None, None]);
    let (now, mut walks, mut over) = (world.now(), 0, Vec::new());
    life.set.skip(LANE, Offset(10), 7);
    for _ in 0..10 {
        while let Some(job) = life.set.next_job(now) {
            let Job::Walk { lane, id, what, count_max } = job else { panic!("a lane that skips reads nothing in") };
            let walked = world.ledger.walk(id, what, count_max);
            if matches!(what, WalkOf::Skip(SkipAt::Ready(_))) {
                // Behind what this read has seen, a dead letter is opened again.
                let letters = if walks == 0 { vec![letter(2)] } else { vec![] };
                let count = letters.len() as u64;
                assert_eq!(life.set.redrive(letters, now), count);
                walks += 1;
            }
            life.set.walked(lane, walked, now);
        }
        over.extend(life.set.take_skipped());
        if life.set.wants_commit() {
            world.ledger.apply(life.set.commit(now).unwrap());
            life.set.committed();
        }
        if !over.is_empty() {
            break;
        }
    }
    assert_eq!(over, [SkipOver { tickets: vec![7], ended: 4 }]);
    assert!(world.ledger.entries.is_empty(), "{:?}", world.ledger.entries.keys());
    // One that ends three, one that ends the fourth, one that sees nothing.
    assert_eq!(walks, 3);
}
