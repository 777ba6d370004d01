//! The disk ledger: the suite, and what is particular to a folder.

use std::fs;

use async_trait::async_trait;
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Offset},
    store::{Change, Durability, Error, Ledger},
};
use router_store::{
    conformance::{LedgerForm, lane, pending},
    ledger::{DiskLedger, Options, Span},
};
use tempfile::TempDir;

struct Form {
    dir: TempDir,
    ledger: DiskLedger,
}

fn open(dir: &TempDir) -> DiskLedger {
    DiskLedger::open(&dir.path().join("ledger"), Options::default()).unwrap()
}

#[async_trait]
impl LedgerForm for Form {
    async fn create() -> Self {
        let dir = TempDir::new().unwrap();
        Form { ledger: open(&dir), dir }
    }
    fn ledger(&self) -> &dyn Ledger {
        &self.ledger
    }
    async fn reopen(self) -> Self {
        // After a failure there is nothing to sync; the restart is what counts.
        self.ledger.close().await.ok();
        Form { ledger: open(&self.dir), dir: self.dir }
    }
}

mod ledger {
    router_store::ledger_suite!(super::Form);
}

fn put(offset: u64) -> Change {
    Change::Put { pending: pending(lane(1), offset, None), replaces: None }
}

#[tokio::test]
async fn two_ledgers_have_different_epochs_and_secrets() {
    let [a, b] = [Form::create().await, Form::create().await];
    let [a, b] = [a.ledger.state().await.unwrap(), b.ledger.state().await.unwrap()];
    assert_ne!(a.epoch, b.epoch);
    assert_ne!(a.secret, b.secret);
}

#[tokio::test]
async fn commit_without_space_is_refused_and_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let full = Options { free_bytes_min: u64::MAX };
    let ledger = DiskLedger::open(&dir.path().join("ledger"), full).unwrap();
    let epoch = ledger.state().await.unwrap().epoch;
    for _ in 0..2 {
        let error = ledger.commit(epoch, vec![put(1)], Durability::Now).await.unwrap_err();
        assert!(matches!(error, Error::NoSpace(_)), "{error}");
        assert_eq!(ledger.count().await.unwrap(), []);
    }
    ledger.close().await.unwrap();
    let ledger = open(&dir);
    ledger.commit(epoch, vec![put(1)], Durability::Now).await.unwrap();
}

#[tokio::test]
async fn closed_ledger_answers_nothing() {
    let form = Form::create().await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    form.ledger.close().await.unwrap();
    form.ledger.close().await.unwrap();
    let error = form.ledger.commit(epoch, vec![], Durability::Lazy).await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
    assert!(form.ledger.planned(BusId(1)).await.is_err());
}

#[tokio::test]
async fn creation_that_was_cut_short_starts_over() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("ledger.new/keyspaces")).unwrap();
    fs::write(dir.path().join("ledger.new/version"), b"half").unwrap();
    let ledger = open(&dir);
    assert_eq!(ledger.count().await.unwrap(), []);
    assert!(!dir.path().join("ledger.new").exists());
}

#[tokio::test]
async fn format_from_the_future_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger");
    DiskLedger::open(&path, Options::default()).unwrap().close().await.unwrap();
    let db = fjall::Database::builder(&path).open().unwrap();
    db.keyspace("meta", Default::default).unwrap().insert("format", [9]).unwrap();
    drop(db);
    let error = DiskLedger::open(&path, Options::default()).unwrap_err().to_string();
    assert!(error.contains("format: it is 9, this program reads 2; use a newer gocoffee"), "{error}");
}

/// It knew no order: what is in it is as it was, and the program of that time is kept out from then on.
#[tokio::test]
async fn ledger_of_the_format_before_order_opens_and_becomes_one_of_now() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ledger");
    let set = |format: u8| {
        let db = fjall::Database::builder(&path).open().unwrap();
        let meta = db.keyspace("meta", Default::default).unwrap();
        let before = meta.get("format").unwrap().unwrap().to_vec();
        meta.insert("format", [format]).unwrap();
        before
    };
    let put = Change::Put { pending: pending(lane(1), 1, Some(5)), replaces: None };
    let ledger = DiskLedger::open(&path, Options::default()).unwrap();
    let epoch = ledger.state().await.unwrap().epoch;
    ledger.commit(epoch, vec![put], Durability::Now).await.unwrap();
    ledger.close().await.unwrap();
    set(1);
    let ledger = DiskLedger::open(&path, Options::default()).unwrap();
    assert_eq!(ledger.due(lane(1), Timestamp(5), 9).await.unwrap(), [pending(lane(1), 1, Some(5))]);
    ledger.close().await.unwrap();
    assert_eq!(set(2), [2]);
}

#[tokio::test]
async fn folder_that_is_no_ledger_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("ledger")).unwrap();
    let error = DiskLedger::open(&dir.path().join("ledger"), Options::default()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn spans_tell_where_each_bus_stood() {
    let form = Form::create().await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    let bus = BusName::new("default").unwrap();
    let waiting = Change::Put { pending: pending(lane(3), 90, Some(5)), replaces: None };
    let changes = vec![
        put(7),
        put(12),
        waiting,
        Change::Planned(BusId(1), Offset(95)),
        Change::NameBus(bus.clone(), BusId(1)),
        Change::NameBus(BusName::new("idle").unwrap(), BusId(2)),
    ];
    form.ledger.commit(epoch, changes, Durability::Lazy).await.unwrap();
    let form = form.reopen().await;
    let span = Span { planned: Some(Offset(95)), pending: Some((Offset(7), Offset(90))) };
    assert_eq!(form.ledger.spans().iter().collect::<Vec<_>>(), [(&bus, &span)]);
}

#[tokio::test]
async fn commit_whose_caller_went_away_is_whole() {
    let form = Form::create().await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    for i in 0..20u64 {
        let changes = (i * 100..i * 100 + 100).map(put).collect();
        // The first poll starts the commit; then its caller goes away.
        let commit = form.ledger.commit(epoch, changes, Durability::Lazy);
        let gone = tokio::time::timeout(std::time::Duration::ZERO, commit).await;
        assert!(gone.is_ok() || gone.is_err());
    }
    form.ledger.commit(epoch, vec![], Durability::Now).await.unwrap();
    let found = form.ledger.ready(lane(1), Offset(0), 10_000).await.unwrap().len() as u64;
    assert_eq!(found % 100, 0);
    assert_eq!(form.ledger.count().await.unwrap().first().map_or(0, |c| c.pending), found);
}
