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
    let full = Options { free_bytes_min: u64::MAX, ..Options::default() };
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
    assert!(error.contains("format: it is 9, this program reads 3; use a newer gocoffee"), "{error}");
}

/// A keyspace of a ledger that nobody has open.
fn with_keyspace<T>(dir: &TempDir, name: &str, f: impl FnOnce(&fjall::Keyspace) -> T) -> T {
    let db = fjall::Database::builder(dir.path().join("ledger")).open().unwrap();
    let done = f(&db.keyspace(name, Default::default).unwrap());
    db.persist(fjall::PersistMode::SyncAll).unwrap();
    done
}

fn open_trusting(dir: &TempDir) -> DiskLedger {
    let options = Options { recounted_max: 0, ..Options::default() };
    DiskLedger::open(&dir.path().join("ledger"), options).unwrap()
}

async fn owed(ledger: &DiskLedger) -> Vec<u64> {
    ledger.count().await.unwrap().iter().map(|c| c.pending).collect()
}

/// The first knew no order, and neither kept counts: what is in them is as it was, and the program of that time is
/// kept out from then on.
#[tokio::test]
async fn ledger_of_a_format_before_opens_and_becomes_one_of_now() {
    for format in [1, 2] {
        let form = Form::create().await;
        let waiting = Change::Put { pending: pending(lane(1), 1, Some(5)), replaces: None };
        let epoch = form.ledger.state().await.unwrap().epoch;
        form.ledger.commit(epoch, vec![waiting, put(2), put(3)], Durability::Now).await.unwrap();
        form.ledger.close().await.unwrap();
        with_keyspace(&form.dir, "counts", |counts| {
            let kept: Vec<_> = counts.iter().map(|guard| guard.key().unwrap()).collect();
            assert_eq!(kept.len(), 1, "the lane");
            kept.into_iter().for_each(|key| counts.remove(key).unwrap());
        });
        with_keyspace(&form.dir, "meta", |meta| meta.insert("format", [format]).unwrap());
        // It counts although it was told to trust what is kept.
        let ledger = open_trusting(&form.dir);
        assert_eq!(ledger.due(lane(1), Timestamp(5), 9).await.unwrap(), [pending(lane(1), 1, Some(5))]);
        assert_eq!(owed(&ledger).await, [3]);
        ledger.close().await.unwrap();
        assert_eq!(with_keyspace(&form.dir, "meta", |meta| meta.get("format").unwrap().unwrap().to_vec()), [3]);
        assert_eq!(owed(&open_trusting(&form.dir)).await, [3]);
    }
}

/// Counts that are too low hide what is owed: a start that compares finds it again, and keeps what it found.
#[tokio::test]
async fn start_mends_counts_that_are_wrong() {
    let form = Form::create().await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    let other = Change::Put { pending: pending(lane(2), 9, None), replaces: None };
    form.ledger.commit(epoch, vec![put(7), put(8), other], Durability::Now).await.unwrap();
    form.ledger.close().await.unwrap();
    let forget = |what: &str| {
        with_keyspace(&form.dir, "counts", |counts| {
            let key = counts.iter().next().expect(what).key().unwrap();
            counts.remove(key).unwrap();
        });
    };
    forget("counts are kept");
    let trusting = open_trusting(&form.dir);
    assert_eq!(owed(&trusting).await, [1], "what is kept is taken");
    trusting.count_anew().await.unwrap();
    assert_eq!(owed(&trusting).await, [2, 1]);
    trusting.close().await.unwrap();
    forget("what was counted is kept");
    let comparing = open(&form.dir);
    assert!(comparing.miscounted().is_some_and(|said| said.contains("kept None")), "{:?}", comparing.miscounted());
    assert_eq!(comparing.ready(lane(1), Offset(0), 9).await.unwrap().len(), 2);
    comparing.close().await.unwrap();
    assert_eq!(owed(&open_trusting(&form.dir)).await, [2, 1]);
}

/// Keys of a keyspace of a ledger that nobody has open.
fn keys_of(dir: &TempDir, name: &str) -> usize {
    with_keyspace(dir, name, |keyspace| keyspace.iter().count())
}

fn gone(offset: u64) -> Change {
    let entry = pending(lane(1), offset, None);
    Change::Drop { lane: entry.lane, offset: entry.offset, place: entry.place(), bytes: entry.bytes }
}

/// What is put in one commit above all else takes a sixty-fourth of the keys, is read among what stands alone, and
/// leaves nothing when it is settled.
#[tokio::test]
async fn backlog_is_packed_and_unpacked() {
    let form = Form::create().await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    let bus = BusName::new("default").unwrap();
    let name = Change::NameBus(bus.clone(), BusId(1));
    let many = (1..=130).map(|n| put(n * 2));
    form.ledger.commit(epoch, many.chain([name]).collect(), Durability::Lazy).await.unwrap();
    // Below the highest one: it stands alone.
    form.ledger.commit(epoch, vec![put(101), put(3)], Durability::Lazy).await.unwrap();
    form.ledger.commit(epoch, vec![gone(4), gone(260), gone(128)], Durability::Now).await.unwrap();
    let expected: Vec<u64> =
        (2..=259).filter(|n| (n % 2 == 0 && ![4, 128].contains(n)) || [3, 101].contains(n)).collect();
    let ready = |from: u64, count_max: usize| {
        let found = form.ledger.ready(lane(1), Offset(from), count_max);
        async { found.await.unwrap().iter().map(|p| p.offset.0).collect::<Vec<_>>() }
    };
    assert_eq!(ready(0, 1_000).await, expected);
    let middle: Vec<u64> = expected.iter().copied().filter(|n| *n >= 99).take(5).collect();
    assert_eq!(ready(99, 5).await, middle);
    assert_eq!(middle, [100, 101, 102, 104, 106]);
    let owed = form.ledger.owed_first(&bus, Offset(104), 1_000).await.unwrap();
    assert!(owed.iter().map(|o| o.0).eq(expected.iter().copied().filter(|n| *n < 104)), "{owed:?}");
    let owed = form.ledger.owed_first(&bus, Offset(1_000), 3).await.unwrap();
    assert_eq!(owed, [Offset(2), Offset(3), Offset(6)]);
    let lost = form.ledger.entries_at(BusId(1), |o| [3, 4, 5, 6, 101, 258].contains(&o.0)).await.unwrap();
    let mut lost: Vec<_> = lost.into_iter().map(|p| (p.offset.0, p == pending(lane(1), p.offset.0, None))).collect();
    lost.sort_unstable();
    assert_eq!(lost, [(3, true), (6, true), (101, true), (258, true)]);
    form.ledger.close().await.unwrap();
    assert_eq!((keys_of(&form.dir, "blocks"), keys_of(&form.dir, "ready")), (3, 2));

    let ledger = open(&form.dir);
    ledger.commit(epoch, expected.iter().map(|n| gone(*n)).collect(), Durability::Now).await.unwrap();
    assert_eq!(ledger.count().await.unwrap(), []);
    ledger.close().await.unwrap();
    assert_eq!((keys_of(&form.dir, "blocks"), keys_of(&form.dir, "ready"), keys_of(&form.dir, "counts")), (0, 0, 0));
}

/// What was settled at the top of a block comes again, as by a redrive, after a start that counted: the block stays.
#[tokio::test]
async fn block_is_never_written_over() {
    for again in [60..=64, 61..=63] {
        let form = Form::create().await;
        let epoch = form.ledger.state().await.unwrap().epoch;
        form.ledger.commit(epoch, (1..=64).map(put).collect(), Durability::Lazy).await.unwrap();
        form.ledger.commit(epoch, (60..=64).map(gone).collect(), Durability::Now).await.unwrap();
        let form = form.reopen().await;
        form.ledger.commit(epoch, again.clone().map(put).collect(), Durability::Now).await.unwrap();
        let found = form.ledger.ready(lane(1), Offset(0), 1_000).await.unwrap();
        assert!(found.iter().map(|p| p.offset.0).eq((1..60).chain(again)), "{found:?}");
    }
}

/// Counts that say that a lane has nothing hide what it is owed, and that is all.
#[tokio::test]
async fn block_that_no_count_knows_is_not_written_over() {
    let form = Form::create().await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    let other = Change::Put { pending: pending(lane(2), 9, None), replaces: None };
    form.ledger.commit(epoch, (1..=64).map(put).chain([other]).collect(), Durability::Now).await.unwrap();
    form.ledger.close().await.unwrap();
    with_keyspace(&form.dir, "counts", |counts| {
        let key = counts.iter().next().unwrap().key().unwrap();
        counts.remove(key).unwrap();
    });
    let trusting = open_trusting(&form.dir);
    trusting.commit(epoch, (60..=64).map(put).collect(), Durability::Now).await.unwrap();
    trusting.close().await.unwrap();
    let ledger = open(&form.dir);
    let found: Vec<u64> = ledger.ready(lane(1), Offset(0), 1_000).await.unwrap().iter().map(|p| p.offset.0).collect();
    assert!((1..=64).all(|n| found.contains(&n)), "{found:?}");
}

/// The bound above what is owed is not lowered by what is settled, only by a count.
#[tokio::test]
async fn highest_offset_is_a_bound_until_all_is_counted() {
    let form = Form::create().await;
    let epoch = form.ledger.state().await.unwrap().epoch;
    let bus = BusName::new("default").unwrap();
    let name = Change::NameBus(bus.clone(), BusId(1));
    form.ledger.commit(epoch, vec![name, put(5), put(9)], Durability::Lazy).await.unwrap();
    form.ledger.commit(epoch, vec![gone(9)], Durability::Now).await.unwrap();
    form.ledger.close().await.unwrap();
    let trusting = open_trusting(&form.dir);
    assert_eq!(trusting.spans()[&bus].highest, Some(Offset(9)));
    trusting.count_anew().await.unwrap();
    trusting.close().await.unwrap();
    assert_eq!(open_trusting(&form.dir).spans()[&bus].highest, Some(Offset(5)));
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
    let span = Span { planned: Some(Offset(95)), highest: Some(Offset(90)) };
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
