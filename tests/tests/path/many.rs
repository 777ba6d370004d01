//! Many routes: those that want nothing cost nothing per event but their part of the match.

use std::time::{Duration, Instant};

use router_tests::world::setup::Route;
use serde_json::json;

use super::stage::{Stage, memory};

/// Routes that never match.
const IDLE: usize = 100_000;
/// Few: the plain evaluator asks every route about every event.
const EVENTS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn hundred_thousand_idle_routes_leave_the_others_alone() {
    let mut stage = Stage::new().await;
    let mut routes: Vec<Route> = (0..IDLE)
        .map(|n| {
            stage
                .route(&format!("idle-{n}"))
                .wanting(json!({"type": [format!("no.such.type.{n}")]}), |_| false)
                .to("idle")
        })
        .collect();
    routes.push(stage.route("all"));
    let started = Instant::now();
    let router = stage.start(memory(), &routes).await;
    println!("{} routes started in {:?}", routes.len(), started.elapsed());
    let published = Instant::now();
    stage.publish(&router, "many", 0..EVENTS).await;
    let verdict = stage.judge(&router).await;
    println!("{EVENTS} events judged by {} routes in {:?}", routes.len(), published.elapsed());
    verdict.assert_holds();
    assert_eq!(verdict.balance["all"].delivered, EVENTS);
    assert_eq!(stage.sink.journal().len() as u64, EVENTS, "nobody else got anything");
    assert!(published.elapsed() < Duration::from_secs(30), "idle routes are not free: {:?}", published.elapsed());
    router.stop().await;
}
