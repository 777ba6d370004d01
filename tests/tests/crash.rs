//! The real binary over a disk store, killed with SIGKILL in the middle of its work, again and again: what it
//! acknowledged arrives or is parked, under the same ids, whatever the moment.
//!
//! A kill counts only if it hit the router at work: at least 100 deliveries in flight, 100 that wait for
//! their next try, and one lane that lives from the ledger. The suite fails when a round does not get there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use gocoffee::admin::view::Status;
use router_tests::{
    coffee::{KINDS, coffee},
    oracle::now,
    world::{
        ending,
        process::Place,
        publisher::Publisher,
        script::{Rule, Script},
        setup::{Chronicle, Route},
        sink::Sink,
    },
};

/// Events of one round.
const EVENTS: u64 = 1_500;
/// What a round may take until the router is at work as asked.
const ROUND: Duration = Duration::from_secs(120);
/// What all that is owed in the end may take.
const DRAIN: Duration = Duration::from_secs(180);

fn rounds() -> u64 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 50 } else { 5 }
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
