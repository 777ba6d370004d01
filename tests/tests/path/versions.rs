//! Routes that change between two runs: each event is judged by what held when it was appended.

use std::{sync::Arc, time::Duration};

use router_tests::{
    coffee::KINDS,
    world::script::{Rule, Script},
};

use super::stage::{Stage, memory};

#[tokio::test(flavor = "multi_thread")]
async fn changed_filter_judges_only_what_comes_after_it() {
    let mut stage = Stage::new().await;
    let store = memory();
    let filters = [KINDS[0], KINDS[1], KINDS[1], KINDS[2]];
    for (round, kind) in (0u64..).zip(filters) {
        let router = stage.start(store.clone(), &[stage.route("one").kind(kind)]).await;
        stage.publish(&router, "versions", round * 100..(round + 1) * 100).await;
        router.stop().await;
    }
    let router = stage.start(store, &[stage.route("one").kind(KINDS[2])]).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["one"].owed, 80, "{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_planned_again_after_a_crash_are_judged_by_their_own_version() {
    let mut stage = Stage::new().await;
    let mut store = memory();
    for (round, kind) in (0u64..).zip([KINDS[0], KINDS[1], KINDS[2], KINDS[0]]) {
        let router = stage.start(store.clone(), &[stage.route("one").kind(kind)]).await;
        stage.publish(&router, "again", round * 100..(round + 1) * 100).await;
        router.crash().await;
        // Everything that was not asked to be durable is gone: all events are planned once more.
        store = Arc::new(store.crash(usize::MAX));
    }
    let router = stage.start(store, &[stage.route("one").kind(KINDS[0])]).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["one"].owed, 80, "{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_route_gets_nothing_old_and_a_removed_one_nothing_new() {
    let mut stage = Stage::new().await;
    let store = memory();
    let (old, new) = (stage.route("old"), stage.route("new"));
    let sets = [vec![old.clone()], vec![old.clone(), new.clone()], vec![new.clone()], vec![old, new]];
    for (round, routes) in (0u64..).zip(&sets) {
        let router = stage.start(store.clone(), routes).await;
        stage.publish(&router, "coming", round * 50..(round + 1) * 50).await;
        router.settled(super::stage::PATIENCE).await;
        router.stop().await;
    }
    let router = stage.start(store, &sets[3]).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!((verdict.balance["old"].owed, verdict.balance["new"].owed), (150, 150), "{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_goes_to_the_new_address_of_its_target() {
    let mut stage = Stage::new().await;
    let store = memory();
    stage.sink.script("moved", Rule::status(503));
    let router = stage.start(store.clone(), &[stage.route("moved")]).await;
    stage.publish(&router, "moved", 0..200).await;
    router.stop().await;

    let mut elsewhere = stage.route("moved");
    let second = router_tests::world::sink::Sink::start().await;
    elsewhere.url = second.url("moved");
    let router = stage.start(store, &[elsewhere]).await;
    router.settled(super::stage::PATIENCE).await;
    let verdict = stage.judge_now(&router, &[&stage.sink, &second]).await;
    verdict.assert_holds();
    assert_eq!(second.counts("moved").events, 200, "{verdict}");
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_deliveries_wait_until_their_route_is_back() {
    let mut stage = Stage::new().await;
    let store = memory();
    stage.sink.script("gone", Rule::status(503));
    let router = stage.start(store.clone(), &[stage.route("gone"), stage.route("well")]).await;
    stage.publish(&router, "gone", 0..100).await;
    router.stop().await;

    let router = stage.start(store.clone(), &[stage.route("well")]).await;
    stage.publish(&router, "gone", 100..200).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = router.route("gone").await;
    assert_eq!((status.waiting, status.target), (100, None), "shown as owed, without a target");
    router.stop().await;

    stage.sink.script("gone", Script::good());
    let router = stage.start(store, &[stage.route("gone"), stage.route("well")]).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["gone"].delivered, 100, "{verdict}");
    router.stop().await;
}
