//! Routes that keep an order: of each shop one event at a time, in the order of the log.

use std::collections::BTreeMap;

use router_core::order::{OnDeadLetter, Order, STUCK_KEYS_MAX};
use router_tests::{
    coffee::KINDS,
    oracle::Received,
    world::{
        script::{Rule, Script},
        setup::Route,
    },
};

use super::stage::{PATIENCE, Stage, memory};

fn order(on_dead_letter: OnDeadLetter) -> Option<Order> {
    Some(Order { attribute: "partitionkey".into(), on_dead_letter, stuck_keys_max: STUCK_KEYS_MAX })
}

/// EPOCH-BUS-OFFSET-ROUTE-RUN
fn offset(received: &Received) -> u64 {
    received.delivery.split('-').nth(2).and_then(|offset| offset.parse().ok()).expect("a delivery id")
}

/// What came of each shop, as it came.
fn by_shop(stage: &Stage) -> BTreeMap<String, Vec<Received>> {
    let mut shops: BTreeMap<String, Vec<Received>> = BTreeMap::new();
    let mut journal = stage.sink.journal();
    journal.sort_by_key(|r| r.at);
    for received in journal {
        shops.entry(received.key.source.to_string()).or_default().push(received);
    }
    shops
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_passed_by_others_and_never_by_its_own_key() {
    let mut stage = Stage::new().await;
    stage.sink.script("ordered", Rule::status(500).every(7).attempts_max(2));
    let route = Route { order: order(OnDeadLetter::Continue), ..stage.route("ordered") };
    let router = stage.start(memory(), &[route]).await;
    stage.publish(&router, "ordered", 0..600).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["ordered"].delivered, 600, "{verdict}");
    assert!(verdict.balance["ordered"].requests > 650, "some were tried again\n{verdict}");
    let shops = by_shop(&stage);
    assert_eq!(shops.len(), 12);
    for (shop, received) in shops {
        for pair in received.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let next = if before.taken() { offset(after) > offset(before) } else { offset(after) == offset(before) };
            assert!(next, "{shop}: {} came after {}, which was {:?}", after.delivery, before.delivery, before.status);
        }
    }
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_waits_for_its_dead_letter_over_a_restart() {
    let mut stage = Stage::new().await;
    stage.sink.script("held", Rule::status(422).of_kind(KINDS[2]));
    let store = memory();
    let route = Route { order: order(OnDeadLetter::Hold), ..stage.route("held") };
    let router = stage.start(store.clone(), std::slice::from_ref(&route)).await;
    stage.publish(&router, "held", 0..300).await;
    // Each of the twelve shops has an event of every kind, and stops at the first of the one that is refused.
    router.until("every shop waits", PATIENCE, |s| s.routes.iter().any(|r| r.dead_letters == 12)).await;
    router.stop().await;
    let seen = stage.sink.journal().len();
    let router = stage.start(store, &[route]).await;
    router.until("the shops wait", PATIENCE, |s| s.routes.iter().any(|r| r.stuck_keys == 12)).await;
    assert_eq!(stage.sink.journal().len(), seen, "nothing passes a dead letter");
    stage.sink.script("held", Script::good());
    assert_eq!(router.redrive("held").await.redriven, 12);
    let verdict = stage.judge(&router).await;
    assert_eq!(verdict.balance["held"].delivered, 300, "{verdict}");
    for (shop, received) in by_shop(&stage) {
        let taken: Vec<u64> = received.iter().filter(|r| r.taken()).map(offset).collect();
        assert!(taken.is_sorted(), "{shop}: {taken:?}");
    }
    router.stop().await;
}

/// And one whose followers went on is counted where it comes late; but for the router's own mark its event is the same.
#[tokio::test(flavor = "multi_thread")]
async fn late_redrive_says_so() {
    let mut stage = Stage::new().await;
    stage.sink.script("late", Rule::status(422).of_kind(KINDS[2]).attempts_max(1));
    let route = Route { order: order(OnDeadLetter::Continue), ..stage.route("late") };
    let router = stage.start(memory(), &[route]).await;
    stage.publish(&router, "late", 0..300).await;
    router.settled(PATIENCE).await;
    // A refused one is late where something of its shop that stands behind it in the log was delivered.
    let passed = by_shop(&stage).into_values().map(|received| {
        let newest = received.iter().filter(|r| r.taken()).map(offset).max();
        received.iter().filter(|r| !r.taken() && Some(offset(r)) < newest).count() as u64
    });
    let passed: u64 = passed.sum();
    let redriven = router.redrive("late").await;
    assert_eq!(redriven.redriven, 60);
    assert!(passed > 40 && (passed..=60).contains(&redriven.late), "{passed} of {redriven:?}");
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["late"].delivered, 300, "{verdict}");
    router.stop().await;
}
