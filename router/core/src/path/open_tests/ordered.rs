//! The open set with routes that keep an order, over the same random schedules.
//!
//! Goals: one attempt of a key at a time; the first attempt of a delivery comes after everything before it
//! in its key was settled; where a key waits for its dead letters nothing overtakes them; what is redriven
//! behind its followers says so; and nothing is lost, whatever happened.

use super::*;
use crate::{
    order::{Keyed, LATE, OnDeadLetter, Order},
    store::KeyState,
};

/// What was seen of the order, over all lives.
#[derive(Default)]
pub(super) struct History {
    /// Deliveries of which an attempt was made.
    tried: BTreeSet<(LaneId, Offset)>,
    /// Those that were delivered, or became dead letters, or were ended.
    settled: BTreeSet<(LaneId, Offset)>,
    /// First attempts of deliveries with a key.
    firsts: u64,
    lates: u64,
    hash: u64,
}

/// What was seen in this life.
#[derive(Default)]
pub(super) struct Watch {
    /// Deliveries that were delivered while one of their key was not: the step at which that was.
    delivered: BTreeMap<(LaneId, Offset), u64>,
    /// The step of the last answer.
    answered: BTreeMap<(LaneId, Offset), u64>,
    /// Redriven ones that come after later ones of their key.
    late: BTreeSet<(LaneId, Offset)>,
    /// Dead letters that were redriven or purged and that the ledger may still show.
    released: BTreeSet<(LaneId, Offset)>,
    steps: u64,
}

/// One goes on after a dead letter, one waits for it, one gives up keys when two are stuck.
pub(super) fn order(route: u32, faulty: bool) -> Keyed {
    let on_dead_letter = if route == 1 { OnDeadLetter::Hold } else { OnDeadLetter::Continue };
    let stuck_keys_max = if route == 2 && faulty { 2 } else { 1_000 };
    Keyed { order: Order { attribute: "partitionkey".into(), on_dead_letter, stuck_keys_max }, secret: [7; 16] }
}

impl Model {
    pub(super) fn key_states(&self) -> Vec<KeyState> {
        let mut keys: BTreeMap<(LaneId, OrderKey), KeyState> = BTreeMap::new();
        let empty = |lane, key| KeyState { lane, key, parked: 0, waiting: 0, letters: None };
        for p in self.entries.values() {
            let Some(key) = p.key else { continue };
            let state = keys.entry((p.lane, key)).or_insert(empty(p.lane, key));
            *(if p.due.is_some() { &mut state.waiting } else { &mut state.parked }) += 1;
        }
        for ((lane, key), letters) in &self.keys {
            keys.entry((*lane, *key)).or_insert(empty(*lane, *key)).letters = Some(*letters);
        }
        keys.into_values().collect()
    }
}

fn same_key(a: Offset, b: Offset) -> bool {
    key_of(a).is_some() && key_of(a) == key_of(b)
}

impl World {
    /// Deliveries are on their way to a target.
    pub(super) fn sent(&mut self, life: &mut Life, batch: &[Delivery]) {
        let Some(history) = &mut self.ordered else { return };
        for (n, d) in batch.iter().enumerate() {
            let (lane, offset) = (d.id.lane, d.id.offset);
            history.hash = (history.hash ^ offset.0 ^ u64::from(lane.route.0) << 32).wrapping_mul(0x0100_0000_01B3);
            if key_of(offset).is_none() {
                continue;
            }
            let beside = batch.iter().skip(n + 1).chain(life.calls.iter().flat_map(|(.., batch)| batch));
            let together = beside.filter(|o| o.id.lane == lane && same_key(o.id.offset, offset)).map(|o| o.id.offset);
            let together: Vec<Offset> = together.collect();
            assert!(together.is_empty(), "{lane:?}: {offset} is on its way together with {together:?} of its key");
            if history.tried.insert((lane, offset)) {
                history.firsts += 1;
                let mut older = (1..offset.0).map(Offset).filter(|o| same_key(*o, offset));
                let open = older.find(|o| !history.settled.contains(&(lane, *o)));
                assert_eq!(open, None, "{lane:?}: {offset} was tried before this one of its key was settled");
            }
            let held = self.ledger.dead.values().find(|l| {
                let waits = l.order.is_some_and(|o| o.holds.is_some()) && lane.route == RouteId(1);
                let id = (l.id.lane, l.id.offset);
                // What is older than the letter does not overtake it: it may have had its turn before.
                let older = l.id.offset < offset && same_key(l.id.offset, offset);
                waits && l.id.lane == lane && older && !life.watch.released.contains(&id)
            });
            if let Some(letter) = held {
                panic!("{lane:?}: {offset} was tried though its key waits for the dead letter {}", letter.id.offset);
            }
            if life.watch.late.contains(&(lane, offset)) {
                history.lates += 1;
                assert!(d.event.get(LATE).is_some(), "{lane:?}: {offset} is late and does not say so");
            }
        }
    }

    /// An attempt ended.
    pub(super) fn answered(&mut self, life: &mut Life, key: (LaneId, Offset), outcome: &Outcome) {
        let Some(history) = &mut self.ordered else { return };
        life.watch.steps += 1;
        life.watch.answered.insert(key, life.watch.steps);
        // A failed one may be settled by its answer or not: the open set tells by its dead letters.
        if let Outcome::Delivered { .. } = outcome {
            history.settled.insert(key);
            life.watch.delivered.insert(key, life.watch.steps);
        }
    }

    /// The open set has settled these, as the changes that it holds for the next commit say.
    pub(super) fn look_at_letters(&mut self, life: &Life) {
        let Some(history) = &mut self.ordered else { return };
        for change in &life.set.changes {
            if let Change::PutDeadLetter(letter) = change {
                history.settled.insert((letter.id.lane, letter.id.offset));
            }
        }
    }

    pub(super) fn redriven(&mut self, life: &mut Life, letters: &[DeadLetter]) {
        if self.ordered.is_none() {
            return;
        }
        for letter in letters {
            let (lane, offset) = (letter.id.lane, letter.id.offset);
            let parked_at = life.watch.answered.get(&(lane, offset)).copied().unwrap_or_default();
            let later = life
                .watch
                .delivered
                .iter()
                .filter(|((l, o), at)| *l == lane && *o > offset && same_key(*o, offset) && **at > parked_at);
            if later.count() > 0 {
                life.watch.late.insert((lane, offset));
            } else {
                life.watch.late.remove(&(lane, offset));
            }
        }
        self.purged(life, letters);
    }

    pub(super) fn purged(&mut self, life: &mut Life, letters: &[DeadLetter]) {
        life.watch.released.extend(letters.iter().map(|l| (l.id.lane, l.id.offset)));
    }
}

/// Goal: a route with order that is not configured at a start, and comes back, goes on in order. What was read in
/// meanwhile has no key, and is older than what had been parked under it.
#[test]
fn route_that_comes_back_goes_on_in_order() {
    let mut world = World::of(1, Some(History::default()));
    (world.faulty, world.crowded) = (false, false);
    let lane = LaneId { bus: BusId(0), route: RouteId(0), run: RunId(0) };
    let mine: Vec<Offset> = (1..200).map(Offset).filter(|o| key_of(*o) == Some(3)).take(7).collect();
    let parked_under = order(0, false).key(&record(mine[0]).event);
    for (n, offset) in mine.iter().copied().enumerate() {
        let bytes = u32::try_from(record(offset).event.body().len()).unwrap();
        let (due, key, late) = (None, parked_under.filter(|_| n >= 3), false);
        let pending = Pending { lane, offset, due, key, late, opened_ms: 0, bytes, attempts: Attempts::default() };
        world.ledger.entries.insert((lane, offset), pending);
    }
    world.ledger.planned = Offset(200);
    let mut life = world.life_with(&[None, Some(1), Some(0)]);
    let mut tried = Vec::new();
    let mut drive = |world: &mut World, life: &mut Life| {
        for _ in 0..20 {
            let now = world.now();
            while let Some(job) = life.set.next_job(now) {
                match job {
                    Job::Page { lane, id, what, count_max } => {
                        life.set.paged(lane, world.ledger.read(id, what, count_max), now).unwrap();
                    }
                    Job::Deliver { target, lane, probe, batch } => {
                        let offsets: Vec<Offset> = batch.iter().map(|d| d.id.offset).collect();
                        let done = || Outcome::Delivered { facts: Facts::default(), replies: vec![] };
                        let outcomes = offsets.iter().map(|offset| (*offset, done())).collect();
                        tried.extend(offsets);
                        life.set.landed(target, bytes_of(&batch));
                        life.set.finished(target, lane, probe, outcomes, now);
                    }
                    Job::Walk { .. } | Job::Read { .. } => panic!("nothing ends, and no run was started"),
                }
            }
            world.ledger.apply(life.set.commit(now).unwrap());
            life.set.committed();
        }
        tried.clone()
    };
    assert_eq!(drive(&mut world, &mut life), []);
    let routes = world.routes(|n| Some(n % 2));
    life.set.revise(life.targets.clone(), routes);
    assert_eq!(drive(&mut world, &mut life), mine);
    assert!(world.ledger.entries.is_empty());
}

/// One schedule; how many first attempts and late ones it saw, and a hash of them.
fn run(seed: u64) -> [u64; 3] {
    let mut world = World::of(seed, Some(History::default()));
    world.run(seed);
    let History { firsts, lates, hash, .. } = world.ordered.unwrap();
    [firsts, lates, hash]
}

#[test]
fn random_schedules_keep_the_order_of_each_key() {
    let seeds = if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 5_000 } else { 100 };
    let seen: Vec<[u64; 3]> = (0..seeds).map(run).collect();
    let [firsts, lates] = [0, 1].map(|n| seen.iter().map(|s| s[n]).sum::<u64>());
    assert!(firsts > 20 * seeds && lates > seeds / 10, "{firsts} first attempts, {lates} late ones in {seeds}");
}

/// `cargo xtask fuzz order`: for so many seconds, from a seed on.
#[test]
#[ignore = "it takes as long as it is told"]
fn fuzz_order() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (seed, seconds) = (number("GOCOFFEE_FUZZ_SEED").unwrap_or(8), number("GOCOFFEE_FUZZ_SECONDS").unwrap_or(5));
    let end = std::time::Instant::now() + Duration::from_secs(seconds);
    let (mut cases, mut firsts, mut lates, mut hash) = (0u64, 0, 0, 0u64);
    while cases == 0 || std::time::Instant::now() < end {
        let [first, late, of] = run(seed.wrapping_mul(1_000_003).wrapping_add(cases));
        (cases, firsts, lates, hash) = (cases + 1, firsts + first, lates + late, hash.rotate_left(5) ^ of);
    }
    println!("no difference: {cases} cases, {firsts} first attempts, {lates} late, seed {seed}, hash {hash:016x}");
}
