//! Breaks of the real path, each of which the oracle must see. The tests beside the oracle tamper with
//! journals; these tamper with the router.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use router_core::{store::Store, target::Target};
use router_tests::{
    coffee::{KINDS, coffee},
    world::faults::{Fault, FaultyTarget, Lie, LyingStore},
};

use super::stage::{Stage, memory};

async fn with_fault(fault: Fault) -> BTreeSet<&'static str> {
    let mut stage = Stage::new().await;
    let faulty: Mutex<Option<Arc<FaultyTarget>>> = Mutex::default();
    let wrap = |inner: Arc<dyn Target>| -> Arc<dyn Target> {
        let target = Arc::new(FaultyTarget::new(inner, fault, 17));
        *faulty.lock().unwrap() = Some(target.clone());
        target
    };
    let router = stage.start_with(memory(), &[stage.route("all")], &wrap).await;
    stage.publish(&router, "fault", 0..100).await;
    let verdict = stage.judge(&router).await;
    assert!(faulty.lock().unwrap().as_ref().is_some_and(|f| f.erred()), "the fault happened");
    assert_eq!(verdict.violations.len(), 1, "one break, one violation: {verdict}");
    router.stop().await;
    verdict.words()
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_drops_a_delivery_fails_the_oracle() {
    assert_eq!(with_fault(Fault::Drop).await, BTreeSet::from(["lost"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_invents_a_delivery_fails_the_oracle() {
    assert_eq!(with_fault(Fault::Invent).await, BTreeSet::from(["invented"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_changes_a_byte_fails_the_oracle() {
    assert_eq!(with_fault(Fault::ChangeByte).await, BTreeSet::from(["changed"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn target_that_draws_a_second_id_fails_the_oracle() {
    assert_eq!(with_fault(Fault::SecondId).await, BTreeSet::from(["second id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_answers_before_its_sync_fails_the_oracle() {
    for (lie, words) in [(Some(Lie::EarlyAnswer), BTreeSet::from(["lost"])), (None, BTreeSet::new())] {
        let mut stage = Stage::new().await;
        let inner = memory();
        let store: Arc<dyn Store> = match lie {
            Some(lie) => Arc::new(LyingStore::new(inner.clone(), lie)),
            None => inner.clone(),
        };
        let router = stage.start(store, &[stage.route("all")]).await;
        stage.publish(&router, "early", 0..100).await;
        assert_eq!(stage.publisher.acked(), 100);
        router.crash().await;
        let router = stage.start(Arc::new(inner.crash(0)), &[stage.route("all")]).await;
        let verdict = stage.judge(&router).await;
        assert_eq!(verdict.words(), words, "{lie:?}: {verdict}");
        router.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_boundary_off_by_one_fails_the_oracle() {
    for (lie, words) in [(Some(Lie::LateVersion), BTreeSet::from(["not owed"])), (None, BTreeSet::new())] {
        let mut stage = Stage::new().await;
        let mut inner = memory();
        let lying = |inner: Arc<_>| -> Arc<dyn Store> {
            match lie {
                Some(lie) => Arc::new(LyingStore::new(inner, lie)),
                None => inner,
            }
        };
        // The first event after the change is one that only the old filter wants. What was planned is planned
        // again after each crash, from the versions that the ledger keeps.
        for (kind, numbers) in [(KINDS[0], 0..20), (KINDS[1], 20..21), (KINDS[1], 21..40)] {
            let router = stage.start(lying(inner.clone()), &[stage.route("one").kind(kind)]).await;
            stage.publish_all(&router, numbers.map(|n| coffee("boundary", n))).await;
            router.settled(super::stage::PATIENCE).await;
            router.crash().await;
            inner = Arc::new(inner.crash(usize::MAX));
        }
        let router = stage.start(inner, &[stage.route("one").kind(KINDS[1])]).await;
        let verdict = stage.judge(&router).await;
        assert_eq!(verdict.words(), words, "{lie:?}: {verdict}");
        router.stop().await;
    }
}
