//! Pulls from a namespace: acknowledged after durable, released under pressure, rejected when unreadable, held while
//! they wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use router_azure::{
    auth::Auth,
    source::{Pull, PullConfig},
};
use router_core::{
    id::Offset,
    source::{Accepted, Kind, OnInvalid, Rejection, Source},
};
use router_http::{Secret, client::Client};
use schemas::{Code, Place};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    grid::{Grid, KEY, Play},
    world::*,
};

fn config(grid: &Grid) -> PullConfig {
    let auth = Auth::Key(Secret::new(KEY));
    PullConfig { wait: Duration::from_secs(10), ..PullConfig::new(az(), grid.url(""), "coffee", "router", auth) }
}

struct Running {
    fake: Arc<Fake>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), router_core::source::SourceError>>,
}

fn run(config: PullConfig, fake: Fake) -> Running {
    let pull = Arc::new(Pull::new(config, &Client::new().unwrap()).unwrap());
    let (fake, stop) = (Arc::new(fake), CancellationToken::new());
    let task = tokio::spawn(pull.run(fake.clone(), stop.clone()));
    Running { fake, stop, task }
}

impl Running {
    /// Stops it, which ends polls that wait.
    async fn end(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("it ends").unwrap().unwrap();
    }
}

fn cloud(n: usize) -> String {
    format!(r#"{{"specversion":"1.0","id":"{n}","source":"/s","type":"t","data":{{"n": {n}.50}}}}"#)
}

#[tokio::test]
async fn what_is_durable_is_acknowledged_and_nothing_else() {
    let grid = Grid::start(Play::default()).await;
    grid.put((0..250).map(cloud));
    let running = run(config(&grid), Fake::new());
    until("all are acknowledged", || grid.acknowledged().len() == 250).await;
    let events = running.fake.events();
    assert_eq!(events.len(), 250);
    let event = events.iter().find(|e| e.id() == "7").unwrap();
    assert_eq!(event.data(), br#"{"n": 7.50}"#, "the text is as it was published");
    assert_eq!(event.facts().collect::<Vec<_>>(), [("aeg-delivery-count", "1")]);
    // One that comes while polls wait is there at once.
    grid.put([cloud(999)]);
    until("the late one", || grid.acknowledged().len() == 251).await;
    assert_eq!((grid.waiting(), grid.rejected().len(), grid.released().len()), (0, 0, 0));
    running.end().await;
}

#[tokio::test]
async fn what_can_never_be_taken_in_goes_to_azures_dead_letters() {
    let grid = Grid::start(Play::default()).await;
    grid.put([cloud(1), r#"{"specversion":"1.0","id":"2","source":"/s"}"#.into(), "7".into(), cloud(3)]);
    let running = run(config(&grid), Fake::new());
    until("all are settled", || grid.waiting() == 0).await;
    assert_eq!(grid.acknowledged().len(), 2);
    assert_eq!(grid.rejected(), [json!({"specversion": "1.0", "id": "2", "source": "/s"}), json!(7)]);
    running.end().await;
}

#[tokio::test]
async fn what_is_quarantined_here_is_acknowledged_there() {
    let grid = Grid::start(Play::default()).await;
    grid.put(["7".into(), cloud(3)]);
    let running = run(PullConfig { on_invalid: OnInvalid::Quarantine, ..config(&grid) }, Fake::new());
    until("all are settled", || grid.waiting() == 0).await;
    assert_eq!((grid.acknowledged().len(), grid.rejected().len()), (2, 0));
    let kept: Vec<_> = running.fake.seen.lock().unwrap().iter().filter_map(|raw| raw.raw.clone()).collect();
    assert!(kept.iter().any(|bytes| &bytes[..] == b"7"), "its bytes can be kept");
    running.end().await;
}

#[tokio::test]
async fn a_check_says_what_is_missing_and_takes_nothing() {
    let grid = Grid::start(Play::default()).await;
    grid.put([cloud(1)]);
    let check = async |config| Pull::new(config, &Client::new().unwrap()).unwrap().check().await;
    check(config(&grid)).await.unwrap();
    let wrong = PullConfig { auth: Auth::Key(Secret::new("d3Jvbmc=")), ..config(&grid) };
    let why = check(wrong).await.unwrap_err().to_string();
    assert!(why.contains("does not know us") && !why.contains("d3Jvbmc="), "{why}");
    let missing = PullConfig { subscription: "nobody".into(), ..config(&grid) };
    assert!(check(missing).await.unwrap_err().to_string().contains("knows no such subscription"));
    assert_eq!((grid.waiting(), grid.asked("/topics/coffee/eventsubscriptions/router:receive")), (1, 0));
}

#[tokio::test]
async fn under_pressure_events_are_released_with_a_delay() {
    let grid = Grid::start(Play::default()).await;
    grid.put((0..3).map(cloud));
    let busy = Fake::script(|i, _| match i {
        0 => Ok(Accepted::Duplicate(Offset(1))),
        _ => Err(Rejection {
            code: Code::new("intake-full"),
            place: Place::Event,
            message: "full".into(),
            kind: Kind::Busy { retry_after: Duration::from_secs(2) },
        }),
    });
    let running = run(PullConfig { polls: 1, ..config(&grid) }, busy);
    until("two are released", || grid.released().len() == 2).await;
    assert!(grid.released().iter().all(|(_, delay)| *delay == 10));
    assert_eq!(grid.acknowledged().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn a_closed_intake_gives_events_back_at_once() {
    let grid = Grid::start(Play::default()).await;
    grid.put((0..2).map(cloud));
    let running = run(PullConfig { polls: 1, ..config(&grid) }, Fake { closed: true, ..Fake::new() });
    until("both are released", || grid.released().len() >= 2).await;
    assert!(grid.released().iter().all(|(_, delay)| *delay == 0) && grid.acknowledged().is_empty());
    running.end().await;
}

#[tokio::test]
async fn locks_are_held_while_events_wait_for_the_intake() {
    let grid = Grid::start(Play { lock: Duration::from_secs(2), ..Play::default() }).await;
    grid.put((0..3).map(cloud));
    let slow = Fake { delay: Duration::from_secs(4), ..Fake::new() };
    let running = run(PullConfig { renew_every: Duration::from_millis(300), ..config(&grid) }, slow);
    until("all are acknowledged", || grid.acknowledged().len() == 3).await;
    assert!(grid.renewed() >= 3, "without a renewal their locks end twice before they are durable");
    running.end().await;
}

#[tokio::test]
async fn what_was_not_settled_comes_again_when_its_lock_ends() {
    let grid = Grid::start(Play { lock: Duration::from_millis(300), ..Play::default() }).await;
    grid.put([cloud(1)]);
    // The first submit takes longer than the lock, which nobody renews: the event is there twice, and settled once.
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let fake = Fake::script(move |_, _| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(if first { Accepted::Appended(Offset(1)) } else { Accepted::Duplicate(Offset(1)) })
    });
    let config = PullConfig { renew_every: Duration::from_secs(60), polls: 2, ..config(&grid) };
    let running = run(config, Fake { delay: Duration::from_millis(700), ..fake });
    until("it was handed out twice", || calls.load(Ordering::SeqCst) >= 2).await;
    running.end().await;
    assert!(grid.acknowledged().len() <= 1);
}

#[tokio::test]
async fn a_wrong_key_is_tried_again_and_told_without_it() {
    let grid = Grid::start(Play::default()).await;
    let wrong = PullConfig { auth: Auth::Key(Secret::new("d3Jvbmc=")), polls: 1, ..config(&grid) };
    let running = run(wrong, Fake::new());
    until("it is asked twice", || grid.asked("/topics/coffee/eventsubscriptions/router:receive") >= 2).await;
    running.end().await;
}
