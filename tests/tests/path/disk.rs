//! The same over the disk store, opened anew for each run.

use std::{path::Path, sync::Arc, time::Duration};

use router_store::store::{DiskStore, Options};
use router_tests::{
    coffee::KINDS,
    world::script::{Rule, Script},
};

use super::stage::Stage;

async fn open(folder: &Path) -> Arc<DiskStore> {
    Arc::new(DiskStore::open(folder, Options::default()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_and_dead_letters_outlast_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new().await;
    let routes = [stage.route("all"), stage.route("large").total_min(1_000), stage.route("picky"), stage.route("down")];
    stage.sink.script("picky", Rule::status(422).of_kind(KINDS[3]));
    stage.sink.script("down", Rule::status(503));
    for round in 0..3u64 {
        let store = open(folder.path()).await;
        let router = stage.start(store.clone(), &routes).await;
        stage.publish(&router, "disk", round * 500..(round + 1) * 500).await;
        router.stop().await;
        store.close().await.unwrap();
    }
    stage.sink.script("down", Script::good());
    let store = open(folder.path()).await;
    let router = stage.start(store.clone(), &routes).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!((verdict.balance["all"].owed, verdict.balance["picky"].parked), (1_500, 300), "{verdict}");
    assert_eq!(verdict.balance["all"].requests, 1_500, "a stop in order forgets no settlement\n{verdict}");

    stage.sink.script("picky", Script::good());
    assert_eq!(router.redrive("picky").await.redriven, 300);
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!(verdict.balance["picky"].delivered, 1_500, "{verdict}");
    router.stop().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_and_changed_routes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new().await;
    stage.sink.script("slow", Script::slow(Duration::from_millis(30)));
    stage.sink.script("flaky", Rule::status(500).every(4).attempts_max(2));
    let routes = |kind| [stage.route("slow").in_flight_max(64), stage.route("flaky"), stage.route("one").kind(kind)];
    let sets = [routes(KINDS[0]), routes(KINDS[1]), routes(KINDS[2]), routes(KINDS[2])];
    for (round, routes) in (0u64..).zip(&sets) {
        let store = open(folder.path()).await;
        let router = stage.start(store, routes).await;
        stage.publish(&router, "crash", round * 300..(round + 1) * 300).await;
        router.crash().await;
    }
    let store = open(folder.path()).await;
    let router = stage.start(store.clone(), &sets[3]).await;
    let verdict = stage.judge(&router).await;
    verdict.assert_holds();
    assert_eq!((verdict.balance["slow"].owed, verdict.balance["one"].owed), (1_200, 240), "{verdict}");
    router.stop().await;
    store.close().await.unwrap();
}
