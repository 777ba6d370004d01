//! The disk store: the suites on its log and its ledger, and what is particular to a data folder.

use std::{fs, sync::Arc};

use async_trait::async_trait;
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Offset},
    store::{Change, Durability, Ledger, Log, Store},
};
use router_store::{
    conformance::{LedgerForm, LogForm, batch, lane, pending, read_all},
    disk,
    store::{DiskStore, Error, Options},
};
use tempfile::TempDir;

fn bus() -> BusName {
    BusName::new("default").unwrap()
}

/// A store whose segments hold a few records each.
struct Form {
    dir: TempDir,
    options: Options,
    store: DiskStore,
    log: Arc<dyn Log>,
    ledger: Arc<dyn Ledger>,
}

impl Form {
    async fn open(dir: TempDir, options: Options) -> Self {
        let store = DiskStore::open(dir.path(), options.clone()).await.unwrap();
        Form { log: store.log(&bus()).await.unwrap(), ledger: store.ledger(), store, options, dir }
    }

    async fn with(gap: u64, segment_bytes: u64) -> Self {
        let log = disk::Options::default().segment_bytes(segment_bytes).gap(gap);
        Self::open(TempDir::new().unwrap(), Options { log, ..Options::default() }).await
    }

    async fn again(self) -> Self {
        // After a failure there is nothing to sync; the restart is what counts.
        self.store.close().await.ok();
        Self::open(self.dir, self.options).await
    }
}

macro_rules! forms {
    ($($name:ident: $gap:expr, $segment_bytes:expr;)*) => {$(
        mod $name {
            use super::*;

            struct Named(Form);

            #[async_trait]
            impl LogForm for Named {
                async fn create() -> Self {
                    Named(Form::with($gap, $segment_bytes).await)
                }
                fn log(&self) -> &dyn Log {
                    &*self.0.log
                }
                async fn reopen(self) -> Self {
                    Named(self.0.again().await)
                }
            }

            router_store::log_suite!(Named);
            router_store::segments_suite!(Named);
            router_store::remnants_suite!(Named);
        }
    )*};
}

forms! {
    plain: 0, 1 << 20;
    gaps: 3, 1 << 20;
    small_segments: 0, 2000;
    gaps_in_small_segments: 5, 2000;
}

#[async_trait]
impl LedgerForm for Form {
    async fn create() -> Self {
        Form::with(0, 1 << 20).await
    }
    fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }
    async fn reopen(self) -> Self {
        self.again().await
    }
}

mod ledger {
    // The ledger's own suite runs on its folder; these two go through the store.
    router_store::suite!(super::Form, ledger: attempts_read_back_ready_and_waiting epoch_and_secret_stay_through_a_restart);
}

#[tokio::test]
async fn second_router_on_a_data_folder_is_refused() {
    let form = Form::with(0, 1 << 20).await;
    let error = DiskStore::open(form.dir.path(), Options::default()).await.unwrap_err();
    assert!(matches!(error, Error::Lock(_)), "{error}");
    form.store.close().await.unwrap();
    DiskStore::open(form.dir.path(), Options::default()).await.unwrap();
}

#[tokio::test]
async fn closed_store_opens_no_log() {
    let form = Form::with(0, 1 << 20).await;
    form.store.close().await.unwrap();
    assert!(form.store.log(&bus()).await.is_err());
    assert!(form.log.append(Timestamp(1), batch(0..1)).await.is_err());
    assert!(form.ledger.state().await.is_err());
}

#[tokio::test]
async fn log_without_its_ledger_is_refused_and_untouched() {
    let form = Form::with(0, 1 << 20).await;
    form.log.append(Timestamp(1), batch(0..1)).await.unwrap();
    form.store.close().await.unwrap();
    let (ledger, aside) = (form.dir.path().join("ledger"), form.dir.path().join("aside"));
    fs::rename(&ledger, &aside).unwrap();
    for _ in 0..2 {
        let error = DiskStore::open(form.dir.path(), Options::default()).await.unwrap_err();
        assert!(matches!(error, Error::LogWithoutLedger { .. }), "{error}");
        assert!(error.to_string().contains("bus default"), "{error}");
        assert!(!ledger.exists());
    }
    fs::rename(&aside, &ledger).unwrap();
    let form = Form::open(form.dir, form.options).await;
    assert_eq!(read_all(&*form.log, Offset(1), 1).await.len(), 1);
}

#[tokio::test]
async fn ledger_ahead_of_its_log_is_refused_with_both_figures() {
    let form = Form::with(0, 1 << 20).await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    form.log.append(Timestamp(1), batch(0..3)).await.unwrap();
    let put = Change::Put { pending: pending(lane(1), 2, None), replaces: None };
    let changes = vec![Change::NameBus(bus(), BusId(1)), Change::Planned(BusId(1), Offset(4)), put];
    form.ledger.commit(epoch, changes, Durability::Lazy).await.unwrap();
    let form = form.again().await;
    form.ledger.commit(epoch, vec![Change::Planned(BusId(1), Offset(5))], Durability::Lazy).await.unwrap();
    form.store.close().await.unwrap();
    let store = DiskStore::open(form.dir.path(), form.options).await.unwrap();
    let error = store.log(&bus()).await.err().unwrap().to_string();
    assert!(error.contains("the ledger is at offset 5") && error.contains("1 to below 4"), "{error}");
}

#[tokio::test]
async fn buses_have_logs_of_their_own() {
    let form = Form::with(0, 1 << 20).await;
    let other = form.store.log(&BusName::new("system").unwrap()).await.unwrap();
    form.log.append(Timestamp(1), batch(0..3)).await.unwrap();
    assert_eq!(other.bounds(), (Offset(1), Offset(1)));
    let again = form.store.log(&bus()).await.unwrap();
    assert_eq!(again.bounds(), (Offset(1), Offset(4)), "the same log each time");
}
