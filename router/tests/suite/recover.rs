//! Goal: a damaged data folder is named in all its parts and changed by nothing but consent; each flag brings it
//! back to where it opens, loses nothing that can be read, and gives no delivery the id of another.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Offset, RouteId, RouteName},
    store::{Change, DeadLetter, Durability, Page, Selection, State, Store},
};
use router_store::{
    conformance::{batch, dead_letter, lane, pending, read_all},
    disk::{self, Lock, files::RealFiles},
    store::{DiskStore, Options},
};
use tempfile::TempDir;

use crate::world::run;

fn bus() -> BusName {
    BusName::new("default").unwrap()
}

async fn open(dir: &Path) -> Result<DiskStore, String> {
    let options = Options { log: disk::Options::default().segment_bytes(1 << 16), ..Options::default() };
    let store = DiskStore::open(dir, options).await.map_err(|e| e.to_string())?;
    match store.log(&bus()).await {
        Ok(_) => Ok(store),
        Err(e) => {
            store.close().await.ok();
            Err(e.to_string())
        }
    }
}

async fn commit(store: &DiskStore, changes: Vec<Change>) {
    let epoch = store.ledger().state().await.unwrap().epoch;
    store.ledger().commit(epoch, changes, Durability::Now).await.unwrap();
}

/// Twenty events, one to a group, five to a segment, the last one unsealed; 3, 8 and 20 are owed, 2 is dead-lettered.
async fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    let log = store.log(&bus()).await.unwrap();
    for n in 1..=20 {
        log.append(Timestamp(n), batch(n..n + 1)).await.unwrap();
        if n % 5 == 0 && n < 20 {
            log.seal().await.unwrap();
        }
    }
    let owed = [(3, None), (8, Some(99)), (20, None)];
    let mut changes = owed.map(|(n, due)| Change::Put { pending: pending(lane(1), n, due), replaces: None }).to_vec();
    changes.extend([
        Change::NameBus(bus(), BusId(1)),
        Change::NameRoute(RouteName::new("route-1").unwrap(), RouteId(1)),
        Change::Planned(BusId(1), Offset(21)),
        Change::PutDeadLetter(Box::new(dead_letter(1, 2, "refused"))),
    ]);
    commit(&store, changes).await;
    store.close().await.unwrap();
    dir
}

fn path(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join("buses/default").join(name)
}

const FIRST: &str = "00000000000000000001.log";
const SECOND: &str = "00000000000000000006.log";
const UNSEALED: &str = "00000000000000000016.log";

/// Flips a byte; what the file holds now.
fn flip(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, &bytes).unwrap();
    bytes
}

/// Where the n-th block begins, from 0.
fn block(path: &Path, n: usize) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.windows(4).enumerate().filter(|(_, w)| w == b"blk1").nth(n).unwrap().0
}

fn files(dir: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let folder = fs::read_dir(dir.path().join("buses/default")).unwrap().map(Result::unwrap);
    folder.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

async fn recover(dir: &TempDir, flags: &[&str]) -> (i32, String, String) {
    run(&[&["recover", "--data", dir.path().to_str().unwrap()], flags].concat(), "").await
}

/// What is left after a recovery: ids of the events in the log, offsets of entries, dead letters with their reason.
struct Left {
    ids: Vec<u64>,
    owed: Vec<u64>,
    letters: Vec<DeadLetter>,
    state: State,
    next: Offset,
}

async fn left(dir: &TempDir) -> Left {
    let store = open(dir.path()).await.unwrap();
    let (log, ledger) = (store.log(&bus()).await.unwrap(), store.ledger());
    let records = read_all(&*log, log.bounds().0, 100).await;
    let mut owed = ledger.ready(lane(1), Offset(0), 100).await.unwrap();
    owed.extend(ledger.due(lane(1), Timestamp(u64::MAX), 100).await.unwrap());
    let letters = ledger.dead_letters(&Selection::default(), Page { after: None, count_max: 100 }).await.unwrap();
    let state = ledger.state().await.unwrap();
    let next = log.append(Timestamp(99), batch(99..100)).await.unwrap()[0];
    assert!(log.record(next).await.unwrap().is_some());
    store.close().await.unwrap();
    let mut owed: Vec<_> = owed.iter().map(|p| p.offset.0).collect();
    owed.sort_unstable();
    Left { ids: records.iter().map(|r| r.event.id().parse().unwrap()).collect(), owed, letters, state, next }
}

fn ended(left: &Left) -> Vec<u64> {
    left.letters.iter().filter(|d| &*d.reason == "record-damaged").map(|d| d.id.offset.0).collect()
}

fn all_but(gone: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    (1..=20).filter(|n| !gone.contains(n)).collect()
}

#[tokio::test]
async fn sound_folder_is_looked_at_and_left_as_it_is() {
    let dir = folder().await;
    let before = files(&dir);
    let (exit, out, _) = recover(&dir, &[]).await;
    assert_eq!(exit, 0, "{out}");
    assert!(out.contains("bus default: offsets 1 to below 21, planned up to 21\nnothing is wrong"), "{out}");
    let (exit, out, _) = recover(&dir, &["--skip-damaged", "--clamp", "--yes"]).await;
    assert!(exit == 0 && out.contains("nothing was there to mend"), "{out}");
    assert_eq!(files(&dir), before);
    assert_eq!(left(&dir).await.owed, [3, 8, 20]);
}

#[tokio::test]
async fn folder_that_a_router_works_on_is_not_touched() {
    let dir = folder().await;
    let _lock = Lock::acquire(&RealFiles, dir.path()).unwrap();
    let (exit, _, err) = recover(&dir, &["--clamp", "--yes"]).await;
    assert_eq!(exit, 69);
    assert!(err.contains("another router uses the data folder"), "{err}");
    let (exit, _, err) = run(&["recover", "--data", "/nowhere/at/all"], "").await;
    assert!(exit == 69 && err.contains("/nowhere/at/all"), "{err}");
}

#[tokio::test]
async fn damaged_block_is_named_and_skipped_with_consent_only() {
    let dir = folder().await;
    let file = path(&dir, FIRST);
    let at = block(&file, 2) + 70;
    let bad = flip(&file, at);
    let before = files(&dir);
    let (exit, out, _) = recover(&dir, &[]).await;
    assert_eq!(exit, 1);
    let range = format!("{FIRST} bytes {}..{}, offsets 3 to 3", block(&file, 2), block(&file, 3));
    assert!(out.contains(&range) && out.contains("mended by --skip-damaged"), "{out}");
    let (exit, _, err) = recover(&dir, &["--skip-damaged"]).await;
    assert!(exit == 1 && err.contains("nothing was changed"), "{err}");
    assert_eq!(files(&dir), before);
    let (exit, out, _) = recover(&dir, &["--skip-damaged", "--yes"]).await;
    assert!(exit == 0 && out.contains("1 deliveries of events that nothing holds are dead letters"), "{out}");
    assert_eq!(fs::read(dir.path().join("damaged/default").join(FIRST)).unwrap(), bad);
    let left = left(&dir).await;
    assert_eq!((&left.ids, &left.owed, ended(&left)), (&all_but(3..=3), &vec![8, 20], vec![3]));
    assert_eq!(left.next, Offset(21));
    assert_eq!(&*left.letters.iter().find(|d| d.id.offset == Offset(3)).unwrap().route.to_string(), "route-1");
}

#[tokio::test]
async fn damaged_end_of_the_log_is_clamped_and_no_offset_is_given_twice() {
    let dir = folder().await;
    let file = path(&dir, UNSEALED);
    flip(&file, block(&file, 4) + 70);
    let refused = open(dir.path()).await.err().unwrap();
    assert!(refused.contains("gocoffee recover --data DIR --skip-damaged"), "{refused}");
    let (exit, out, _) = recover(&dir, &["--skip-damaged", "--yes"]).await;
    assert!(exit == 1 && out.contains("the ledger is at offset 21, its log holds offsets 1 to below 20"), "{out}");
    let refused = open(dir.path()).await.err().unwrap();
    assert!(refused.contains("gocoffee recover --data DIR --clamp"), "{refused}");
    let (exit, out, _) = recover(&dir, &["--clamp", "--yes"]).await;
    assert!(exit == 0 && out.contains("offsets 20 to below 21 are left out"), "{out}");
    let left = left(&dir).await;
    assert_eq!((&left.ids, &left.owed, ended(&left)), (&all_but(20..=20), &vec![3, 8], vec![20]));
    assert_eq!(left.next, Offset(21));
    let of = |offset| left.state.epochs.of(BusId(1), Offset(offset));
    assert!(of(20) != of(21) && of(1) == of(20) && of(21) == left.state.epoch, "{:?}", left.state.epochs);
}

#[tokio::test]
async fn damaged_head_and_missing_segment_cost_that_segment_only() {
    for remove in [false, true] {
        let dir = folder().await;
        let file = path(&dir, SECOND);
        if remove {
            fs::remove_file(&file).unwrap();
        } else {
            flip(&file, 30);
        }
        let (exit, out, _) = recover(&dir, &[]).await;
        assert!(exit == 1 && out.contains(SECOND) && out.contains("offsets 6 to 10"), "{out}");
        let (exit, out, _) = recover(&dir, &["--skip-damaged", "--yes"]).await;
        assert_eq!(exit, 0, "{out}");
        let left = left(&dir).await;
        assert_eq!((&left.ids, &left.owed, ended(&left)), (&all_but(6..=10), &vec![3, 20], vec![8]));
    }
}

#[tokio::test]
async fn every_block_of_every_file_can_be_damaged_and_skipped() {
    for (name, blocks) in [(FIRST, 5), (UNSEALED, 5)] {
        for n in 0..blocks {
            let dir = folder().await;
            let file = path(&dir, name);
            flip(&file, block(&file, n) + 20);
            let (exit, out, _) = recover(&dir, &["--skip-damaged", "--clamp", "--yes"]).await;
            assert_eq!(exit, 0, "{name} {n}: {out}");
            let gone = if name == FIRST { 1 } else { 16 } + n as u64;
            assert_eq!(left(&dir).await.ids, all_but(gone..=gone), "{name} {n}");
        }
    }
}

#[tokio::test]
async fn damaged_remnant_keeps_what_can_be_read_of_it() {
    for (at, named, ended_now) in [(300, "offsets", true), (20, "the head of the remnant", true)] {
        let dir = folder().await;
        let store = open(dir.path()).await.unwrap();
        let log = store.log(&bus()).await.unwrap();
        log.reduce(Offset(1), vec![Offset(2), Offset(3)]).await.unwrap();
        log.reduce(Offset(6), vec![Offset(8)]).await.unwrap();
        store.close().await.unwrap();
        let file = path(&dir, "00000000000000000001.rem");
        let at = if at == 300 { block(&file, 1) + 60 } else { at };
        flip(&file, at);
        let (exit, out, _) = recover(&dir, &[]).await;
        assert!(exit == 1 && out.contains(".rem bytes") && out.contains(named), "{out}");
        let (exit, out, _) = recover(&dir, &["--skip-damaged", "--yes"]).await;
        assert_eq!(exit, 0, "{out}");
        let left = left(&dir).await;
        assert_eq!(left.ids, all_but(1..=10), "{out}");
        assert_eq!(ended(&left).contains(&3), ended_now, "{out}");
        assert_eq!(left.owed.contains(&8), at > 160, "only the head costs all of it: {out}");
    }
}

#[tokio::test]
async fn log_without_its_ledger_is_planned_from_where_it_is_told() {
    for (from, planned) in [("earliest", 1), ("latest", 21)] {
        let dir = folder().await;
        fs::remove_dir_all(dir.path().join("ledger")).unwrap();
        let refused = open(dir.path()).await.err().unwrap();
        assert!(refused.contains("--from earliest") && refused.contains(dir.path().to_str().unwrap()), "{refused}");
        let (exit, out, _) = recover(&dir, &[]).await;
        assert!(exit == 1 && out.contains("there are events, but no ledger") && out.contains("--from"), "{out}");
        let (exit, out, _) = recover(&dir, &["--from", from, "--yes"]).await;
        assert_eq!(exit, 0, "{out}");
        assert!(out.contains(&format!("plans its routes from offset {planned} on")), "{out}");
        let store = open(dir.path()).await.unwrap();
        assert_eq!(store.ledger().planned(BusId(1)).await.unwrap(), Some(Offset(planned)));
        assert_eq!(store.ledger().state().await.unwrap().buses, [(bus(), BusId(1))]);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn ledger_behind_its_log_and_lost_records_are_clamped() {
    let dir = folder().await;
    // The oldest segment is gone, and nobody let it go.
    for name in [FIRST, "00000000000000000001.idx"] {
        fs::remove_file(path(&dir, name)).unwrap();
    }
    let refused = open(dir.path()).await.err().unwrap();
    assert!(refused.contains("owes 1 events between offsets 3 and 3") && refused.contains("--clamp"), "{refused}");
    let (exit, out, _) = recover(&dir, &[]).await;
    assert!(exit == 1 && out.contains("1 deliveries of events at offsets 3 to 3 that nothing holds"), "{out}");
    let (exit, out, _) = recover(&dir, &["--clamp", "--yes"]).await;
    assert_eq!(exit, 0, "{out}");
    let left = left(&dir).await;
    assert_eq!((&left.ids, &left.owed, ended(&left)), (&all_but(1..=5), &vec![8, 20], vec![2, 3]));
    assert!(left.letters[0].note.contains("it was `refused`: the target said no"), "{:?}", left.letters[0]);
}

#[tokio::test]
async fn new_epoch_begins_with_the_next_event() {
    let dir = folder().await;
    let before = left(&dir).await.state.epoch;
    for _ in 0..2 {
        let (exit, out, _) = recover(&dir, &["--new-epoch", "--yes"]).await;
        assert!(exit == 0 && out.contains("a new epoch begins"), "{out}");
    }
    let left = left(&dir).await;
    let of = |offset| left.state.epochs.of(BusId(1), Offset(offset));
    assert_eq!((of(1), of(20)), (before, before));
    assert!(of(22) == left.state.epoch && of(22) != before, "{:?}", left.state.epochs);
    assert_eq!(left.owed, [3, 8, 20]);
}
