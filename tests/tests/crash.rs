//! The real binary over a disk store, killed with SIGKILL in the middle of its work, again and again: what it
//! acknowledged arrives or is parked, under the same ids, whatever the moment.
//!
//! Twice: at named points between any two steps of an event's way, where a second program made of the same `serve` kills
//! itself, and at random under load. Of the latter a kill counts only if it hit the router at work: at least 100 deliveries
//! in flight, 100 that wait for their next try, and one lane that lives from the ledger. The suite fails when a round does
//! not get there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// While events are let go.
#[path = "crash/archive.rs"]
mod archive;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gocoffee::admin::view::Status;
use router_tests::{
    coffee::{Coffee, KINDS, Key, coffee},
    oracle::{Received, Replayed, Wanted, now},
    world::{
        ending,
        process::{Place, Router},
        publisher::Publisher,
        script::{Rule, Script},
        setup::{Chronicle, Route},
        sink::Sink,
    },
};
use serde_json::json;

/// The points, in the order of the steps, with the passes of one round among which one is drawn.
const POINTS: [(&str, u64); 11] = [
    ("received", 8),
    ("admitted", 4),
    ("appended", 4),
    ("read", 3),
    ("planned", 40),
    ("delivered", 40),
    ("settling", 2),
    ("settled", 2),
    ("replaying", 2),
    ("replayed", 2),
    ("redelivered", 20),
];
/// Those that need replays.
const FIRST_OF_REPLAYS: usize = 8;
/// Events of one round, at most.
const OF_A_POINT: u64 = 80;
/// What a point may take to be passed.
const PASSED: Duration = Duration::from_secs(10);

/// Events of one round.
const EVENTS: u64 = 1_500;
/// What a round may take until the router is at work as asked.
const ROUND: Duration = Duration::from_secs(120);
/// What all that is owed in the end may take.
const DRAIN: Duration = Duration::from_secs(180);

fn rounds() -> u64 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 51 } else { 3 }
}

/// How often each point is tried; with the rounds at random they are a hundred, or a thousand.
fn turns() -> u64 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 87 } else { 9 }
}

fn at_work(status: &Status) -> bool {
    let in_flight: u64 = status.routes.iter().map(|r| r.in_flight).sum();
    let retrying: u64 = status.routes.iter().map(|r| r.retrying).sum();
    let from_ledger = status.routes.iter().any(|r| r.in_ledger > 0);
    in_flight >= 100 && retrying >= 100 && from_ledger
}

/// What the router is up against: a slow target, one that fails the first attempt of every fifth event, one
/// that refuses connections, one that refuses a type, and one that is well.
fn routes(sink: &Sink, shut: &Sink) -> Vec<Route> {
    sink.script("slow", Script::slow(Duration::from_secs(1)));
    sink.script("flaky", Rule::status(500).every(5).attempts_max(1));
    sink.script("picky", Rule::status(422).of_kind(KINDS[4]));
    // Long enough that 100 of them wait at a time.
    let delay = Duration::from_secs(15);
    vec![
        Route::all("slow", &sink.url("slow")).in_flight_max(160),
        Route::all("flaky", &sink.url("flaky")).delays(delay, delay),
        Route::all("shut", &shut.url("shut")),
        Route::all("picky", &sink.url("picky")).structured(),
        Route::all("large", &sink.url("large")).total_min(1_000),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_router_loses_nothing_that_it_acknowledged() {
    let (sink, mut shut, place) = (Sink::start().await, Sink::closed(), Place::new());
    let routes = routes(&sink, &shut);
    let publisher = Publisher::new(&place.url());
    let mut chronicle = Chronicle::default();
    let requested = now();
    let mut router = place.start(&routes).await;
    chronicle.change(&routes, requested, now());

    for round in 0..rounds() {
        let events = (round * EVENTS..(round + 1) * EVENTS).map(|n| coffee("crash", n));
        let published = publisher.spawn(events, 32);
        let status = router.until("at work as a kill asks for", ROUND, at_work).await;
        router.kill().await;
        println!("killed in round {round}, {} acknowledged: {}", publisher.acked(), line(&status));
        router = place.start(&routes).await;
        published.await.unwrap();
    }

    shut.open().await;
    sink.script("slow", Script::good());
    router.settled(DRAIN).await;
    let verdict = ending::end(router, &place, &publisher, &chronicle, &[&sink, &shut]).await;
    assert_eq!(verdict.balance["shut"].owed, rounds() * EVENTS, "everything was acknowledged in the end");
    assert_eq!(verdict.balance["picky"].parked, rounds() * EVENTS / KINDS.len() as u64);
}

fn line(status: &Status) -> String {
    let route = |r: &gocoffee::admin::view::Route| {
        format!("{}: {} in flight, {} retrying, {} in the ledger", r.name, r.in_flight, r.retrying, r.in_ledger)
    };
    status.routes.iter().map(route).collect::<Vec<_>>().join("; ")
}

/// Events with numbers that nobody else draws, until the round is over.
fn events(next: &Arc<AtomicU64>, over: &Arc<AtomicBool>) -> impl Iterator<Item = Coffee> + Send + 'static {
    let (next, over) = (next.clone(), over.clone());
    (0..OF_A_POINT)
        .take_while(move |_| !over.load(Ordering::SeqCst))
        .map(move |_| coffee("points", next.fetch_add(1, Ordering::SeqCst)))
}

/// The finisher of splitmix64: the passes are drawn, and the same each time.
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

#[tokio::test(flavor = "multi_thread")]
async fn router_killed_between_any_two_steps_loses_nothing() {
    let (sink, place) = (Sink::start().await, Place::new());
    sink.script("flaky", Rule::status(500).every(5).attempts_max(1));
    sink.script("picky", Rule::status(422).of_kind(KINDS[4]));
    let routes = [
        Route::all("all", &sink.url("all")),
        Route::all("flaky", &sink.url("flaky")),
        Route::all("picky", &sink.url("picky")).structured(),
        Route::all("large", &sink.url("large")).total_min(1_000),
    ];
    let more = json!({});
    let program = Path::new(env!("CARGO_BIN_EXE_coffee-kill"));
    let publisher = Publisher::new(&place.url());
    let (mut chronicle, next) = (Chronicle::default(), Arc::new(AtomicU64::new(0)));
    let requested = now();
    let router = place.start_with(&routes, &more).await;
    chronicle.change(&routes, requested, now());
    router.kill().await;

    let (mut passed, mut published) = (vec![0u64; POINTS.len()], Vec::new());
    for turn in 0..turns() {
        for (at, (point, most)) in POINTS.into_iter().enumerate() {
            let nth = 1 + mix(turn * 100 + at as u64) % most;
            let over = Arc::new(AtomicBool::new(false));
            let started = std::time::Instant::now();
            let mut router = place.start_to_kill(program, &routes, &more, point, nth);
            published.push(publisher.spawn(events(&next, &over), 8));
            let replays = async {
                if at >= FIRST_OF_REPLAYS {
                    loop {
                        // Not often: each that is started is kept.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        place.try_replay("all").await;
                    }
                }
                std::future::pending::<()>().await
            };
            let killed = tokio::select! {
                killed = router.kills_itself(PASSED) => killed,
                () = replays => false,
            };
            passed[at] += u64::from(killed);
            over.store(true, Ordering::SeqCst);
            println!("{point} {nth}: {killed} in {:?}, {} acknowledged", started.elapsed(), publisher.acked());
        }
    }
    for (at, (point, most)) in POINTS.into_iter().enumerate() {
        println!("{point}: killed {} of {} times, at one of {most} passes", passed[at], turns());
    }
    let total: u64 = passed.iter().sum();
    println!("killed {total} times, {} acknowledged", publisher.acked());

    let router = place.start_with(&routes, &more).await;
    for published in published {
        tokio::time::timeout(DRAIN, published).await.expect("everything gets in at last").unwrap();
    }
    router.settled(DRAIN).await;
    let end = tokio::time::Instant::now() + DRAIN;
    let replays = loop {
        let replays = router.replays().await;
        if !replays.iter().any(|r| ["running", "paused", "ending"].contains(&r.state.as_str())) {
            break replays;
        }
        assert!(tokio::time::Instant::now() < end, "{replays:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let done = replays.iter().filter(|r| r.state == "done").count();
    println!("{} replays, {done} of them done", replays.len());
    assert!(done * 2 > replays.len(), "{replays:?}");
    let replayed = |r: &gocoffee::admin::view::Replay| Replayed {
        run: r.id,
        from: r.from,
        to: r.to,
        routes: vec![("all".into(), Arc::new(|_: &Coffee| true))],
        done: r.state == "done",
    };
    let parked = router.parked().await;
    assert!(router.terminate().await.success(), "{}", place.logged());
    let replays = replays.iter().map(replayed).collect();
    let verdict = ending::judge_with(&publisher, &chronicle, &[&sink], parked, replays);
    println!("{} requests were sent again\n{verdict}", publisher.resent());
    verdict.assert_holds();
    assert_eq!(verdict.balance["all"].owed, next.load(Ordering::SeqCst), "everything was acknowledged in the end");
    for (at, (point, _)) in POINTS.into_iter().enumerate() {
        assert!(passed[at] * 2 > turns(), "{point} was passed {} of {} times", passed[at], turns());
    }
}
