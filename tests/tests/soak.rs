//! The real binary for a long time with little of everything: a budget of disk that is full for much of it,
//! targets that go and come back, one that refuses a type until it is mended, and dead letters redriven.
//! The oracle must balance at the end. `cargo xtask test --long` runs it for half an hour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use router_tests::{
    coffee::{Coffee, KINDS, coffee},
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
use serde_json::json;

/// Bytes of an event's data, about.
const EVENT_BYTES: usize = 8 << 10;
/// What all that is owed at the end may take.
const DRAIN: Duration = Duration::from_secs(180);

fn long() -> bool {
    std::env::var_os("GOCOFFEE_TESTS_LONG").is_some()
}

/// An event with a note of some length, the same for the same number.
fn large(n: u64) -> Coffee {
    let plain = coffee("soak", n);
    let note = "x".repeat(EVENT_BYTES);
    let data = format!(r#"{{"shop":{}, "total":{},"n":{n},"note":"{note}"}}"#, plain.shop, plain.total);
    Coffee { data: data.into(), ..plain }
}

#[tokio::test(flavor = "multi_thread")]
async fn low_limits_for_a_long_time_lose_nothing() {
    let (lasting, phase) = if long() { (30 * 60, 20) } else { (12, 3) };
    let (lasting, phase) = (Duration::from_secs(lasting), Duration::from_secs(phase));
    let store = |data: &Path| json!({"disk": {"path": data, "bytes_max": "24MiB", "free_min": "64MiB"}});
    let place = Place::with_store(None, store);
    let (sink, mut shut) = (Sink::start().await, Sink::closed());
    sink.script("flaky", Rule::status(500).every(5).attempts_max(1));
    sink.script("slow", Script::slow(Duration::from_millis(20)));
    let refuses = || Rule::status(422).of_kind(KINDS[4]);
    sink.script("picky", refuses());
    let routes = [
        Route::all("up", &sink.url("up")),
        Route::all("flaky", &sink.url("flaky")),
        Route::all("slow", &sink.url("slow")).total_min(1_500),
        Route::all("picky", &sink.url("picky")).structured(),
        Route::all("shut", &shut.url("shut")),
    ];
    let mut chronicle = Chronicle::default();
    let requested = now();
    let router = place.start(&routes).await;
    chronicle.change(&routes, requested, now());

    let publisher = Publisher::new(&place.url());
    let end = Instant::now() + lasting;
    let published = publisher.spawn((0..).take_while(move |_| Instant::now() < end).map(large), 4);
    let (mut looks, mut refusing, mut turn) = (0u32, 0u32, 0u32);
    while Instant::now() < end {
        // Two thirds of the time nothing is delivered to one target, and one type is refused by another.
        match turn % 3 {
            0 => {
                shut.close().await;
                sink.script("picky", refuses());
            }
            2 => {
                shut.open().await;
                sink.script("picky", Script::good());
                router.redrive("picky").await;
            }
            _ => {}
        }
        turn += 1;
        let next = Instant::now() + phase;
        while Instant::now() < next {
            looks += 1;
            refusing += u32::from(router.readyz().await == 503);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    shut.open().await;
    sink.script("picky", Script::good());
    // Dead letters may be all that the disk is full of: nothing gives them up but an operator.
    router.redrive("picky").await;
    tokio::time::timeout(DRAIN, published).await.expect("everything gets in at last").unwrap();
    router.settled(DRAIN).await;
    router.redrive("picky").await;
    router.settled(DRAIN).await;
    let verdict = ending::end(router, &place, &publisher, &chronicle, &[&sink, &shut]).await;
    println!("refusing in {refusing} of {looks} looks");
    assert!(publisher.acked() > 0 && verdict.balance["picky"].parked == 0, "{verdict}");
    assert!(!long() || refusing * 4 >= looks, "the disk was to be full for much of the time: {refusing} of {looks}");
}
