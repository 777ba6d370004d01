//! Targets that take several events in one request, whole or not at all.

use std::time::Duration;

use router_tests::{
    coffee::KINDS,
    world::script::{Rule, Script},
};

use super::stage::{PATIENCE, Stage, memory};

#[tokio::test(flavor = "multi_thread")]
async fn refused_kind_is_found_in_its_batches_and_parked_alone() {
    let mut stage = Stage::new().await;
    stage.sink.script("picky", Rule::status(422).of_kind(KINDS[2]));
    let router = stage.start(memory(), &[stage.route("picky").batches(64), stage.route("other").batches(50)]).await;
    stage.publish(&router, "batch", 0..500).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    let picky = verdict.balance["picky"];
    assert_eq!((picky.parked, picky.delivered), (100, 400), "{verdict}");
    assert!(stage.sink.counts("other").requests < 500, "events went together: {:?}", stage.sink.counts("other"));
    let taken = stage.sink.journal().iter().filter(|r| &*r.route == "picky" && r.taken()).count();
    assert_eq!(taken, 400, "each innocent one was taken once\n{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_that_fails_its_batches_is_parked_and_nobody_with_it() {
    let mut stage = Stage::new().await;
    // Few: five failing ones in a row would be the target's fault, and open its breaker.
    stage.sink.script("poison", Rule::status(500).every(200));
    let router = stage.start(memory(), &[stage.route("poison").batches(32).attempts_max(3)]).await;
    stage.publish(&router, "poison", 0..600).await;
    let guilty = |status: &router_core::stats::Status| status.routes[0].waiting;
    // A failed attempt counts once another delivery succeeded after it: a little traffic keeps coming.
    let (mut more, end) = (0, std::time::Instant::now() + PATIENCE);
    while guilty(&router.status().await) > 0 {
        assert!(std::time::Instant::now() < end, "attempts end");
        stage.publish(&router, "more", more..more + 5).await;
        more += 5;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    let parked = router.parked().await;
    assert!(!parked.is_empty(), "{verdict}");
    for letter in &parked {
        let of_it = |r: &&router_tests::oracle::Received| r.key == letter.key && *r.delivery == *letter.delivery;
        assert!(stage.sink.journal().iter().filter(of_it).count() >= 3, "alone, and as often as it may: {letter:?}");
    }
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_of_a_target_of_batches_loses_nothing() {
    let mut stage = Stage::new().await;
    stage.sink.script("down", Rule::status(503).lasting(Duration::from_millis(500)));
    let router = stage.start(memory(), &[stage.route("down").batches(20)]).await;
    stage.publish(&router, "outage", 0..300).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!((verdict.balance["down"].delivered, verdict.balance["down"].parked), (300, 0), "{verdict}");
    stage.sink.script("down", Script::good());
    router.stop().await;
}
