//! Every event that is owed arrives, whatever the targets do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use router_core::{source::RawEvent, stats::BreakerState};
use router_tests::{
    coffee::{KINDS, coffee},
    world::{
        script::{Answer, Rule, Script},
        sink::Sink,
    },
};
use serde_json::json;

use super::stage::{PATIENCE, Stage, memory};

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_exactly_the_routes_that_want_them() {
    let mut stage = Stage::new().await;
    let prefix = json!({"type": [{"prefix": "coffee."}], "data": {"shop": [{"numeric": ["<", 6]}]}});
    let routes = [
        stage.route("all"),
        stage.route("created").kind(KINDS[0]),
        stage.route("large").total_min(1_000).structured(),
        stage.route("north").wanting(prefix, |e| e.kind.starts_with("coffee.") && e.shop < 6),
        stage.route("nothing").kind("no.such.type"),
    ];
    let router = stage.start(memory(), &routes).await;
    stage.publish(&router, "flow", 0..2_000).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    let owed = |route: &str| verdict.balance[route].owed;
    assert_eq!((owed("all"), owed("created"), owed("nothing")), (2_000, 400, 0), "{verdict}");
    for (route, balance) in &verdict.balance {
        assert_eq!(balance.requests, balance.owed, "{route} is reached once per event when nothing fails\n{verdict}");
        let status = router.route(route).await;
        assert_eq!((status.matched, status.delivered), (balance.owed, balance.delivered), "{route}");
    }
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_of_a_target_delays_and_loses_nothing() {
    let mut stage = Stage::new().await;
    stage.sink.script("down", Rule::status(503).lasting(Duration::from_secs(1)));
    let router = stage.start(memory(), &[stage.route("down"), stage.route("up")]).await;
    stage.publish(&router, "outage", 0..500).await;
    router.until("breaker open", PATIENCE, |s| s.targets.iter().any(|t| t.breaker != BreakerState::Closed)).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["down"].parked, 0, "an outage parks nobody\n{verdict}");
    let (down, up) = (verdict.balance["down"], verdict.balance["up"]);
    assert_eq!(up.requests, 500, "the other target is not asked more often\n{verdict}");
    assert!(down.requests < 1_000, "an open breaker asks seldom\n{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_kind_is_parked_and_arrives_after_a_redrive() {
    let mut stage = Stage::new().await;
    stage.sink.script("picky", Rule::status(422).of_kind(KINDS[2]));
    let router = stage.start(memory(), &[stage.route("picky"), stage.route("other")]).await;
    stage.publish(&router, "picky", 0..500).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!((verdict.balance["picky"].parked, verdict.balance["picky"].delivered), (100, 400), "{verdict}");
    assert_eq!(router.route("picky").await.dead_letters, 100);

    stage.sink.script("picky", Script::good());
    let redriven = router.redrive("picky").await;
    assert_eq!((redriven.redriven, redriven.orphaned), (100, 0));
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!((verdict.balance["picky"].parked, verdict.balance["picky"].delivered), (0, 500), "{verdict}");
    let status = router.route("picky").await;
    assert_eq!(status.matched, status.delivered + status.dead_letters + status.ended + status.waiting, "{status:?}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_attempts_are_made_again_under_one_id() {
    let mut stage = Stage::new().await;
    stage.sink.script("flaky", Rule::status(500).every(3).attempts_max(2));
    let router = stage.start(memory(), &[stage.route("flaky")]).await;
    stage.publish(&router, "flaky", 0..600).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    let failed = stage.sink.journal().iter().filter(|r| r.status == Some(500)).count() as u64;
    assert!(failed >= 200, "{verdict}");
    assert_eq!(verdict.balance["flaky"].requests, 600 + failed, "{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_that_always_fails_is_parked_after_its_attempts() {
    let mut stage = Stage::new().await;
    // Few: five failing ones in a row would be the target's fault, and open its breaker.
    stage.sink.script("poison", Rule::status(500).every(200));
    let router = stage.start(memory(), &[stage.route("poison").attempts_max(3)]).await;
    stage.publish(&router, "poison", 0..1_000).await;
    // A failed attempt counts once another delivery succeeded after it: a little traffic keeps coming.
    let (mut more, end) = (0, Instant::now() + PATIENCE);
    while router.route("poison").await.waiting > 0 {
        assert!(Instant::now() < end, "attempts end");
        stage.publish(&router, "more", more..more + 5).await;
        more += 5;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert!(verdict.balance["poison"].parked >= 1, "{verdict}");
    let letters = router.parked().await;
    let attempts = |key| stage.sink.journal().iter().filter(|r| r.key == key).count();
    let least = letters.iter().map(|letter| attempts(letter.key.clone())).min();
    assert!(least >= Some(3), "none is parked before its third attempt, one was after {least:?}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_never_answers_holds_nobody_else_up() {
    let mut stage = Stage::new().await;
    stage.sink.script("mute", Rule::new(Answer::Hang));
    let mute = stage.route("mute").timeout(Duration::from_millis(300));
    let router = stage.start(memory(), &[mute, stage.route("well")]).await;
    stage.publish(&router, "mute", 0..300).await;
    router
        .until("the other route done", PATIENCE, |s| {
            s.routes.iter().any(|r| r.name.as_str() == "well" && r.delivered == 300)
        })
        .await;
    assert_eq!(router.route("mute").await.waiting, 300);
    stage.sink.script("mute", Script::good());
    stage.judge(&router).await.assert_holds();
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_refuses_connections_gets_everything_once_it_listens() {
    let mut stage = Stage::new().await;
    let mut late = Sink::closed();
    let routes = [stage.route("well"), router_tests::world::setup::Route::all("late", &late.url("late"))];
    let router = stage.start(memory(), &routes).await;
    stage.publish(&router, "late", 0..3_000).await;
    router
        .until("the other route done", PATIENCE, |s| {
            s.routes.iter().any(|r| r.name.as_str() == "well" && r.delivered == 3_000)
        })
        .await;
    let status = router.route("late").await;
    assert_eq!(status.waiting, 3_000);
    assert!(status.in_ledger > 0, "a long backlog lives from the ledger: {status:?}");
    late.open().await;
    router.settled(PATIENCE).await;
    stage.judge_now(&router, &[&stage.sink, &late]).await.assert_holds();
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_sent_twice_is_delivered_once() {
    let mut stage = Stage::new().await;
    let router = stage.start(memory(), &[stage.route("all")]).await;
    for _ in 0..2 {
        stage.publish(&router, "twice", 0..300).await;
    }
    let both = (300..400).chain(300..400).map(|n| coffee("twice", n));
    stage.publish_all(&router, both).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["all"].requests, 400, "{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_and_restart_on_one_store_lose_nothing() {
    for lose_lazy in [0, 1, 1_000] {
        let mut stage = Stage::new().await;
        let mut store = memory();
        let routes =
            [stage.route("slow").in_flight_max(64), stage.route("flaky"), stage.route("created").kind(KINDS[0])];
        stage.sink.script("slow", Script::slow(Duration::from_millis(40)));
        stage.sink.script("flaky", Rule::status(503).every(5).attempts_max(2));
        for round in 0..3u64 {
            let router = stage.start(store.clone(), &routes).await;
            stage.publish(&router, "crash", round * 300..(round + 1) * 300).await;
            router.crash().await;
            store = Arc::new(store.crash(lose_lazy));
        }
        let router = stage.start(store, &routes).await;
        let verdict = stage.judge(&router).await;
        verdict.assert_holds();
        assert_eq!(verdict.balance["slow"].owed, 900, "{verdict}");
        router.stop().await;
    }
}

/// The committed samples are what the catalogue's codec reads.
#[test]
fn samples_are_valid_events() {
    let text = include_str!("../../../schemas/samples/cloudevents/coffee-600.ndjson");
    let events = text.lines().map(|line| RawEvent::from(schemas::json::decode(line.as_bytes())));
    let bad: Vec<String> = events.filter_map(|e| e.event.err().map(|e| e.to_string())).collect();
    assert_eq!(bad, Vec::<String>::new());
}
