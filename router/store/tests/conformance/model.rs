//! The disk ledger equals the memory ledger under random actions and restarts.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, LaneId, Offset, OrderKey, RouteId, RouteName, RunId},
    replay::{RunEnd, RunState},
    store::{
        Change, DeadLetter, Durability, KeyLetters, Ledger, LetterOrder, Page, Pause, Pending, Place, RouteVersion,
        Selection, State, Store,
    },
};
use router_store::{
    conformance::{attempts, bytes_of, dead_letter, lane, pending, replay_run},
    ledger::{DiskLedger, Options},
    memory::MemoryStore,
};
use tempfile::TempDir;

/// A change as it is drawn: what it replaces is filled in from what is there.
#[derive(Clone, Debug)]
enum Draw {
    Put {
        route: u32,
        offset: u64,
        due: Option<u64>,
        key: Option<u64>,
        tried: bool,
        late: bool,
    },
    Drop {
        nth: usize,
    },
    /// What a planner puts: entries above all of a lane, which were never tried.
    PutMany {
        route: u32,
        step: u64,
        count: u64,
    },
    /// What a page of deliveries drops.
    DropMany {
        nth: Option<usize>,
        count: usize,
    },
    Planned(u16, u64),
    Running(u64),
    PutLetter {
        route: u32,
        offset: u64,
        old: bool,
    },
    DropLetter {
        route: u32,
        offset: u64,
    },
    PutKey {
        route: u32,
        key: u64,
        letters: u32,
    },
    DropKey {
        route: u32,
        key: u64,
    },
    Name(u16),
    PutVersion {
        route: u32,
        from: u64,
        gone: bool,
    },
    DropVersion {
        route: u32,
        from: u64,
    },
    PutRun {
        id: u32,
        next: u64,
        paused: bool,
    },
    DropRun(u32),
    Pause {
        route: u32,
        at: u64,
        over: bool,
    },
}

#[derive(Clone, Debug)]
enum Action {
    Commit(Vec<Draw>, bool),
    /// Counting everything, or not.
    Restart(bool),
}

fn draw() -> impl Strategy<Value = Draw> {
    let due = prop_oneof![Just(None), (0..60u64).prop_map(Some)];
    prop_oneof![
        2 => (1..4u32, 1..4u64, 1..100u64).prop_map(|(route, step, count)| Draw::PutMany { route, step, count }),
        2 => (any::<Option<usize>>(), 2..80usize).prop_map(|(nth, count)| Draw::DropMany { nth, count }),
        6 => (1..4u32, prop_oneof![0..50u64, 0..400u64], due, proptest::option::of(0..4u64), any::<bool>(), any::<bool>())
            .prop_map(|(route, offset, due, key, tried, late)| Draw::Put { route, offset, due, key, tried, late }),
        1 => (1..4u32, 0..4u64, any::<u32>()).prop_map(|(route, key, letters)| Draw::PutKey { route, key, letters }),
        1 => (1..4u32, 0..4u64).prop_map(|(route, key)| Draw::DropKey { route, key }),
        4 => any::<usize>().prop_map(|nth| Draw::Drop { nth }),
        1 => (1..3u16, 0..100u64).prop_map(|(bus, offset)| Draw::Planned(bus, offset)),
        1 => (0..100u64).prop_map(Draw::Running),
        1 => (1..4u32, 0..5u64, any::<bool>()).prop_map(|(route, offset, old)| Draw::PutLetter { route, offset, old }),
        1 => (1..4u32, 0..5u64).prop_map(|(route, offset)| Draw::DropLetter { route, offset }),
        1 => (0..4u16).prop_map(Draw::Name),
        1 => (1..4u32, 0..4u64, any::<bool>()).prop_map(|(route, from, gone)| Draw::PutVersion { route, from, gone }),
        1 => (1..4u32, 0..4u64).prop_map(|(route, from)| Draw::DropVersion { route, from }),
        1 => (1..4u32, 0..60u64, any::<bool>()).prop_map(|(id, next, paused)| Draw::PutRun { id, next, paused }),
        1 => (1..4u32).prop_map(Draw::DropRun),
        1 => (1..4u32, any::<u64>(), any::<bool>()).prop_map(|(route, at, over)| Draw::Pause { route, at, over }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (vec(draw(), 0..12), any::<bool>()).prop_map(|(draws, now)| Action::Commit(draws, now)),
        2 => any::<bool>().prop_map(Action::Restart),
    ]
}

/// The entries that are there, so that commits tell the truth about them.
type Entries = BTreeMap<(LaneId, Offset), Place>;

fn changes(entries: &mut Entries, draw: Draw) -> Vec<Change> {
    match draw {
        Draw::PutMany { route, step, count } => {
            let highest = entries.keys().filter(|(l, _)| *l == lane(route)).map(|(_, offset)| offset.0).max();
            let offsets = (1..=count).map(|n| highest.unwrap_or_default() + n * step);
            let put = |offset| {
                let pending = pending(lane(route), offset, None);
                entries.insert((pending.lane, pending.offset), pending.place());
                Change::Put { pending, replaces: None }
            };
            offsets.map(put).collect()
        }
        Draw::DropMany { nth, count } => {
            // The last ones, unless it is said which.
            let drop = |_| change(entries, Draw::Drop { nth: nth.unwrap_or(entries.len().saturating_sub(1)) });
            (0..count).filter_map(drop).collect()
        }
        draw => change(entries, draw).into_iter().collect(),
    }
}

fn change(entries: &mut Entries, draw: Draw) -> Option<Change> {
    Some(match draw {
        Draw::PutMany { .. } | Draw::DropMany { .. } => return None,
        Draw::Put { route, offset, due, key, tried, late } => {
            let pending = pending(lane(route), offset, due);
            let mut pending = Pending { key: key.map(OrderKey), late, ..pending };
            if tried {
                pending = Pending { attempts: attempts(), ..pending };
            }
            let replaces = entries.insert((pending.lane, pending.offset), pending.place());
            Change::Put { pending, replaces }
        }
        Draw::Drop { nth } => {
            let (lane, offset) = *entries.keys().nth(nth % entries.len().max(1))?;
            let place = entries.remove(&(lane, offset))?;
            Change::Drop { lane, offset, place, bytes: bytes_of(offset.0) }
        }
        Draw::Planned(bus, offset) => Change::Planned(BusId(bus), Offset(offset)),
        Draw::Running(ms) => Change::Running(ms),
        Draw::PutLetter { route, offset, old } => {
            let letter = dead_letter(route, offset, if old { "too-old" } else { "refused" });
            let holds = (offset == 2).then_some(Timestamp(route.into()));
            let order = LetterOrder { key: OrderKey(offset), counted: old, holds };
            Change::PutDeadLetter(Box::new(DeadLetter { order: (offset > 1).then_some(order), ..letter }))
        }
        Draw::PutKey { route, key, letters } => {
            let (since, delivered) = (Timestamp(key + 1), Offset(route.into()));
            let known = KeyLetters { letters, holding: letters / 2, since, delivered };
            Change::PutKey(lane(route), OrderKey(key), known)
        }
        Draw::DropKey { route, key } => Change::DropKey(lane(route), OrderKey(key)),
        Draw::DropLetter { route, offset } => Change::DropDeadLetter(dead_letter(route, offset, "").id),
        Draw::Name(n) if n < 2 => Change::NameBus(BusName::new(&format!("bus-{n}")).unwrap(), BusId(n)),
        Draw::Name(n) => Change::NameRoute(RouteName::new(&format!("route-{n}")).unwrap(), RouteId(n.into())),
        Draw::PutVersion { route, from, gone } => Change::PutVersion(RouteVersion {
            route: RouteId(route),
            name: RouteName::new("mirror").unwrap(),
            bus: BusId(1),
            from: Offset(from),
            filter: (!gone).then(|| "{}".into()),
        }),
        Draw::DropVersion { route, from } => {
            Change::DropVersion { route: RouteId(route), bus: BusId(1), from: Offset(from) }
        }
        Draw::PutRun { id, next, paused } => {
            let state = if paused { RunState::Paused } else { RunState::Ended(RunEnd::Done) };
            Change::PutRun(Box::new(replay_run(id, next, state)))
        }
        Draw::DropRun(id) => Change::DropRun(RunId(id)),
        Draw::Pause { route, at, over: true } => Change::Pause(RouteId(route), Pause::Over(at)),
        Draw::Pause { route, at, over: false } => Change::Pause(RouteId(route), Pause::Since(Timestamp(at))),
    })
}

/// Everything that the port tells, but epoch and secret.
async fn all_of(ledger: &dyn Ledger) -> String {
    let state = ledger.state().await.unwrap();
    let State { running_ms, buses, routes, versions, pauses, lanes, runs, keys, .. } = state;
    let mut all = format!("{:#?}", (running_ms, buses, routes, versions, pauses, lanes, runs, keys));
    all += &format!("{:#?}", ledger.count().await.unwrap());
    for bus in 0..3 {
        all += &format!("{:?}", ledger.planned(BusId(bus)).await.unwrap());
    }
    for route in 1..4 {
        let all_ready = ledger.ready(lane(route), Offset(0), 10_000).await.unwrap();
        all += &format!("{:?}", all_ready);
        all += &format!("{:?}", ledger.needed(BusId(1), Offset(0)..Offset(10_000)).await.unwrap());
        for at in [0, 17, 40, 120, 333] {
            let next = Offset(at + u64::from(route) * 9);
            all += &format!("{:?}", ledger.needed(BusId(1), Offset(at)..next).await.unwrap());
            all += &format!("{:#?}", ledger.ready(lane(route), Offset(at), 7).await.unwrap());
            let (from, to) = ((OrderKey(at % 3), Offset(at)), (OrderKey(at % 3 + at / 17), next));
            all += &format!("{:#?}", ledger.parked(lane(route), from..to, 7).await.unwrap());
            all += &format!("{:#?}", ledger.due(lane(route), Timestamp(at), 7).await.unwrap());
            all += &format!("{:#?}", ledger.next_due(lane(route), Timestamp(at)).await.unwrap());
        }
        let which = Selection { route: RouteName::new(&format!("route-{route}")).ok(), ..Selection::default() };
        let page = Page { after: Some(dead_letter(route, 1, "").id), count_max: 2 };
        all += &format!("{:#?}", ledger.dead_letters(&which, page).await.unwrap());
    }
    all
}

async fn run(actions: Vec<Action>) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger");
    // A start that does not count takes what commits have kept; one that does must have found the same.
    let open = |counts: bool| {
        let recounted_max = if counts { u64::MAX } else { 0 };
        let ledger = DiskLedger::open(&path, Options { recounted_max, ..Options::default() }).unwrap();
        assert_eq!(ledger.miscounted(), None);
        ledger
    };
    let (mut memory, mut disk) = (MemoryStore::new(), open(false));
    let mut entries = Entries::new();
    for action in actions {
        match action {
            Action::Commit(draws, now) => {
                let changes: Vec<Change> = draws.into_iter().flat_map(|draw| changes(&mut entries, draw)).collect();
                let durability = if now { Durability::Now } else { Durability::Lazy };
                for ledger in [&*memory.ledger(), &disk as &dyn Ledger] {
                    let epoch = ledger.state().await.unwrap().epoch;
                    ledger.commit(epoch, changes.clone(), durability).await.unwrap();
                }
            }
            Action::Restart(counts) => {
                memory = memory.crash(0);
                disk.close().await.unwrap();
                disk = open(counts);
            }
        }
        assert_eq!(all_of(&*memory.ledger()).await, all_of(&disk).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn disk_ledger_equals_memory_ledger_under_random_actions(actions in vec(action(), 1..40)) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(run(actions));
    }
}
