//! The memory store: the suites with and without gaps, and what a crash takes.

use std::sync::Arc;

use async_trait::async_trait;
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Offset},
    store::{Change, Durability, Error, Ledger, Log, Place, Store},
};
use router_store::{
    conformance::{LedgerForm, LogForm, batch, bytes_of, lane, pending},
    memory::MemoryStore,
};

fn bus() -> BusName {
    BusName::new("default").unwrap()
}

struct Form {
    store: MemoryStore,
    log: Arc<dyn Log>,
    ledger: Arc<dyn Ledger>,
}

impl Form {
    async fn of(store: MemoryStore) -> Self {
        Form { log: store.log(&bus()).await.unwrap(), ledger: store.ledger(), store }
    }
}

macro_rules! forms {
    ($($name:ident: $store:expr;)*) => {$(
        mod $name {
            use super::*;

            struct Named(Form);

            #[async_trait]
            impl LogForm for Named {
                async fn create() -> Self {
                    Named(Form::of($store).await)
                }
                fn log(&self) -> &dyn Log {
                    &*self.0.log
                }
                async fn reopen(self) -> Self {
                    Named(Form::of(self.0.store.crash(0)).await)
                }
            }

            #[async_trait]
            impl LedgerForm for Named {
                async fn create() -> Self {
                    Named(Form::of($store).await)
                }
                fn ledger(&self) -> &dyn Ledger {
                    &*self.0.ledger
                }
                async fn reopen(self) -> Self {
                    Named(Form::of(self.0.store.crash(0)).await)
                }
            }

            mod log {
                router_store::log_suite!(super::Named);
            }
            mod segments {
                router_store::segments_suite!(super::Named);
                router_store::remnants_suite!(super::Named);
            }
            mod ledger {
                router_store::ledger_suite!(super::Named);
            }
        }
    )*};
}

forms! {
    plain: MemoryStore::new();
    gaps: MemoryStore::with_gaps(42);
    other_gaps: MemoryStore::with_gaps(7);
    small_segments: MemoryStore::with_gaps(3).segment_bytes(700);
}

#[tokio::test]
async fn gaps_are_there_where_they_are_asked_for() {
    let log = MemoryStore::with_gaps(42).log(&bus()).await.unwrap();
    let mut records = 0;
    let mut tails = 0;
    for i in 0..50 {
        let offsets = log.append(router_core::clock::Timestamp(i), batch(i * 3..i * 3 + 3)).await.unwrap();
        records += offsets.windows(2).filter(|w| w[1] > w[0].next()).count();
        tails += usize::from(log.bounds().1 > offsets[2].next());
    }
    assert!(records > 10 && tails > 3, "{records} gaps between records, {tails} before the tail");
}

#[tokio::test]
async fn crash_takes_the_newest_lazy_commits_and_no_event() {
    let store = MemoryStore::new();
    let (ledger, log) = (store.ledger(), store.log(&bus()).await.unwrap());
    let epoch = ledger.state().await.unwrap().epoch;
    for (offset, durability) in
        [(1, Durability::Lazy), (2, Durability::Now), (3, Durability::Lazy), (4, Durability::Lazy)]
    {
        let put = Change::Put { pending: pending(lane(1), offset, None), replaces: None };
        ledger.commit(epoch, vec![put, Change::Planned(BusId(1), Offset(offset))], durability).await.unwrap();
    }
    log.append(router_core::clock::Timestamp(1), batch(0..5)).await.unwrap();
    for (lose, planned) in [(0, 4), (1, 3), (2, 2), (3, 2), (9, 2)] {
        // Each crash is of the same history: the store before it lives on in what it left.
        let copy = MemoryStore::new();
        let epoch = copy.ledger().state().await.unwrap().epoch;
        for (offset, durability) in
            [(1, Durability::Lazy), (2, Durability::Now), (3, Durability::Lazy), (4, Durability::Lazy)]
        {
            let put = Change::Put { pending: pending(lane(1), offset, None), replaces: None };
            let changes = vec![put, Change::Planned(BusId(1), Offset(offset))];
            copy.ledger().commit(epoch, changes, durability).await.unwrap();
        }
        let after = copy.crash(lose);
        assert_eq!(after.ledger().planned(BusId(1)).await.unwrap(), Some(Offset(planned)), "{lose} lost");
        assert_eq!(after.ledger().count().await.unwrap()[0].pending, planned, "{lose} lost");
    }
    let after = store.crash(9);
    assert_eq!(after.log(&bus()).await.unwrap().bounds(), (Offset(1), Offset(6)));
    assert!(matches!(ledger.state().await, Err(Error::Poisoned(_))));
    assert!(matches!(log.read(Offset(1), 9).await, Err(Error::Poisoned(_))));
}

#[tokio::test]
async fn commit_that_is_wrong_about_an_entry_poisons() {
    for wrong in [
        Change::Put { pending: pending(lane(1), 1, None), replaces: None },
        Change::Put { pending: pending(lane(1), 1, None), replaces: Some(Place::default()) },
        Change::Drop { lane: lane(1), offset: Offset(1), place: Place::default(), bytes: bytes_of(1) },
        Change::Drop { lane: lane(1), offset: Offset(1), place: Some(Timestamp(5)).into(), bytes: 7 },
        Change::Drop { lane: lane(1), offset: Offset(2), place: Place::default(), bytes: bytes_of(2) },
    ] {
        let ledger = MemoryStore::new().ledger();
        let epoch = ledger.state().await.unwrap().epoch;
        let put = Change::Put { pending: pending(lane(1), 1, Some(5)), replaces: None };
        ledger.commit(epoch, vec![put], Durability::Lazy).await.unwrap();
        let error = ledger.commit(epoch, vec![wrong], Durability::Lazy).await.unwrap_err();
        assert!(error.to_string().contains("a bug: a commit takes the entry"), "{error}");
        assert!(matches!(ledger.state().await, Err(Error::Poisoned(_))));
    }
}
