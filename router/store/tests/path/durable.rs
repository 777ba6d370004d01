//! Goal: what an operator was told is done is done after a power loss at that very moment, with every commit lost that
//! was not synced.

use router_core::{
    id::Offset,
    path::{Asked, Place},
    replay::RunState,
};

use super::{
    control::{name, start_on},
    *,
};

/// Each act is tried so often, in each of its forms.
const ROUNDS: usize = 6;
/// What a commit takes, so that an answer that does not wait for it comes before it.
const COMMIT: Duration = Duration::from_millis(30);

fn bus() -> BusName {
    BusName::new("default").unwrap()
}

fn page() -> Page {
    Page { after: None, count_max: 1_000 }
}

/// A path that owes something to a target that is down, and has dead letters of one that refuses.
struct World {
    store: Arc<MemoryStore>,
    path: Path,
    down: Arc<Sink>,
    picky: Arc<Sink>,
}

const OWED: u64 = 60;

impl World {
    async fn new() -> World {
        let (store, down, picky) = (Arc::new(MemoryStore::new()), sink("down"), sink("picky"));
        down.down.store(true, Ordering::SeqCst);
        picky.refuse.store(true, Ordering::SeqCst);
        let path = start_on(store.clone(), &[(&down, None), (&picky, Some("bad"))]).await;
        publish(&path, 0, OWED as usize, |n| if n % 2 == 0 { "bad" } else { "good" }).await;
        for _ in 0..1_500 {
            let letters = path.dead_letters(&Selection::default(), page()).await.unwrap();
            let status = path.status().await.unwrap();
            if letters.len() as u64 == OWED / 2 && status.routes[0].waiting == OWED {
                store.commits_take(COMMIT);
                return World { store, path, down, picky };
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?}", path.status().await.unwrap());
    }

    /// What a start finds when the power went just now.
    fn lose_power(&self) -> Arc<MemoryStore> {
        Arc::new(self.store.crash(usize::MAX))
    }

    async fn restart(&self, store: Arc<MemoryStore>) -> Path {
        start_on(store, &[(&self.down, None), (&self.picky, Some("bad"))]).await
    }
}

/// What a route is owed once everything in the log is matched: what was lost may be matched again.
async fn waiting(path: &Path, route: &str) -> u64 {
    let mut status = path.status().await.unwrap();
    while status.buses.iter().any(|bus| bus.planned < bus.tail) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        status = path.status().await.unwrap();
    }
    status.routes.iter().find(|r| r.name == name(route)).map_or(0, |r| r.waiting)
}

/// A route that the next start did not know would begin behind them.
#[tokio::test(flavor = "multi_thread")]
async fn events_taken_right_after_the_first_start_are_owed() {
    for round in 0..ROUNDS {
        let (store, down) = (Arc::new(MemoryStore::new()), sink("down"));
        down.down.store(true, Ordering::SeqCst);
        let path = start_on(store.clone(), &[(&down, None)]).await;
        publish(&path, 0, 10, |_| "t").await;
        let lost = Arc::new(store.crash(usize::MAX));
        let path = start_on(lost, &[(&down, None)]).await;
        assert_eq!(waiting(&path, "down").await, 10, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_that_was_answered_stays() {
    for round in 0..ROUNDS {
        let world = World::new().await;
        let done = world.path.skip(&name("down"), &bus(), Offset(OWED + 1), false).await.unwrap();
        let lost = world.lose_power();
        assert_eq!(done.ended, OWED);
        assert_eq!(waiting(&world.restart(lost).await, "down").await, 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redrive_and_purge_that_were_answered_stay() {
    for round in 0..ROUNDS {
        let world = World::new().await;
        world.picky.down.store(true, Ordering::SeqCst);
        let purged = round % 2 == 0;
        match purged {
            true => assert_eq!(world.path.purge(&Selection::default()).await.unwrap().purged, OWED / 2),
            false => assert_eq!(world.path.redrive(&Selection::default()).await.unwrap().redriven, OWED / 2),
        }
        let lost = world.lose_power();
        let path = world.restart(lost).await;
        assert_eq!(path.dead_letters(&Selection::default(), page()).await.unwrap().len(), 0, "round {round}");
        assert_eq!(waiting(&path, "picky").await, if purged { 0 } else { OWED / 2 }, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_and_resumption_that_were_answered_stay() {
    for round in 0..ROUNDS {
        let world = World::new().await;
        world.path.pause(&name("down")).await.unwrap();
        let resumed = round % 2 == 0;
        if resumed {
            world.path.resume(&name("down")).await.unwrap();
        }
        let path = world.restart(world.lose_power()).await;
        let status = path.status().await.unwrap();
        let paused = status.routes.iter().any(|r| r.state == LaneStateName::Paused);
        assert_eq!(paused, !resumed, "round {round}: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_that_was_answered_is_there_in_its_state() {
    for round in 0..ROUNDS {
        let world = World::new().await;
        let asked = Asked {
            bus: bus(),
            from: Place::Offset(Offset(1)),
            to: None,
            filter: None,
            routes: vec![name("down")],
            rate: None,
            replies: Default::default(),
        };
        let id = world.path.replay(&asked).await.unwrap().id;
        match round % 3 {
            0 => {}
            1 => world.path.pause_replay(id).await.unwrap(),
            _ => world.path.cancel_replay(id).await.unwrap(),
        }
        let path = world.restart(world.lose_power()).await;
        let replays = path.replays().await.unwrap();
        let state = replays.iter().find(|r| r.run.id == id).map(|r| r.run.state);
        let as_told = match round % 3 {
            0 => state.is_some_and(|s| s.is_open() && s != RunState::Paused),
            1 => state == Some(RunState::Paused),
            // A run that is over may be forgotten.
            _ => state.is_none_or(|s| !s.is_open()),
        };
        assert!(as_told, "round {round}: {state:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_that_was_answered_judges_what_came_after_it() {
    for round in 0..ROUNDS {
        let (store, one) = (Arc::new(MemoryStore::new()), sink("one"));
        let path = start_on(store.clone(), &[(&one, Some("a"))]).await;
        publish(&path, 0, 10, |_| "a").await;
        until("delivery", || count(&one) == 10).await;
        store.commits_take(COMMIT);
        path.revise(topology(&[(&one, Some("b"))])).await.unwrap();
        // Held back, so that only what the ledger says decides after the power loss.
        one.down.store(true, Ordering::SeqCst);
        publish(&path, 10, 20, |_| "b").await;
        let lost = Arc::new(store.crash(usize::MAX));
        drop(path);
        one.down.store(false, Ordering::SeqCst);
        let path = start_on(lost, &[(&one, Some("b"))]).await;
        until(&format!("delivery after the power loss, round {round}"), || count(&one) == 20).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
    }
}
