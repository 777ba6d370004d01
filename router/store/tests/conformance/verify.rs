//! `gocoffee archive verify`: a flipped byte is found in each kind of file, and named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, DeliveryId, Offset, RouteName, TargetName},
    store::{Attempts, Change, DeadLetter, Durability, Store},
};
use router_store::{
    conformance::{batch, lane, pending},
    disk,
    store::{DiskStore, Options},
    verify::{Verified, verify},
};
use tempfile::TempDir;

/// A folder with a remnant, sealed segments with their side files, an unsealed segment, and a ledger with pending
/// entries and dead letters, closed in order.
async fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    let log = disk::Options::default().segment_bytes(2_000);
    let store = DiskStore::open(dir.path(), Options { log, ..Options::default() }).await.unwrap();
    let bus = BusName::new("default").unwrap();
    let (log, ledger) = (store.log(&bus).await.unwrap(), store.ledger());
    for n in 0..40 {
        log.append(Timestamp(n + 1), batch(n..n + 1)).await.unwrap();
    }
    let tail = log.bounds().1;
    let epoch = ledger.state().await.unwrap().epoch;
    let mut changes = vec![Change::NameBus(bus, BusId(1)), Change::Planned(BusId(1), tail)];
    changes.push(Change::Put { pending: pending(lane(1), 1, None), replaces: None });
    changes.extend((2..12).map(|offset| {
        Change::PutDeadLetter(Box::new(DeadLetter {
            id: DeliveryId { epoch, lane: lane(1), offset: Offset(offset) },
            route: RouteName::new("orders").unwrap(),
            target: TargetName::new("sink").unwrap(),
            reason: "refused".into(),
            note: "x".repeat(200).into(),
            at: Timestamp(1),
            bytes: 1,
            attempts: Attempts::default(),
            order: None,
        }))
    }));
    ledger.commit(epoch, changes, Durability::Now).await.unwrap();
    let oldest = log.segments()[0];
    let keep = ledger.needed(BusId(1), oldest.first..oldest.next).await.unwrap().offsets;
    log.reduce(oldest.first, keep).await.unwrap();
    drop((log, ledger));
    store.close().await.unwrap();
    dir
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(dir.join("buses/default")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = names.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    assert!(!found.is_empty(), "there is a file {ending}");
    found
}

/// Flips a byte, looks, and puts it back.
async fn flipped(dir: &Path, path: &Path, at: u64) -> Verified {
    let whole = fs::read(path).unwrap();
    let mut bad = whole.clone();
    bad[usize::try_from(at).unwrap()] ^= 0x40;
    fs::write(path, bad).unwrap();
    let seen = verify(dir).await.unwrap();
    fs::write(path, whole).unwrap();
    seen
}

#[tokio::test]
async fn a_flipped_byte_is_found_in_each_kind_of_file() {
    let dir = folder().await;
    let seen = verify(dir.path()).await.unwrap();
    assert_eq!(seen.findings, [], "nothing is wrong");
    assert_eq!((seen.buses.len(), seen.buses[0].tail, seen.dead_letters), (1, Offset(41), 10));
    assert!(seen.buses[0].side_files >= 2, "{seen:?}");
    let logs = files(dir.path(), ".log");
    let sides = files(dir.path(), ".idx");
    let remnants = files(dir.path(), ".rem");
    // Head and events of the oldest sealed segment and of the one that takes what comes; index and keys.
    let first = fs::metadata(&logs[0]).unwrap().len() / 3;
    for (path, at, mend) in [
        (&logs[0], 20, "--skip-damaged"),
        (&logs[0], first, "--skip-damaged"),
        (logs.last().unwrap(), 20, "--skip-damaged"),
        (logs.last().unwrap(), 200, "--skip-damaged"),
        (&remnants[0], 20, "--skip-damaged"),
        (&remnants[0], 200, "--skip-damaged"),
        (&sides[0], 50, "the next start"),
        (&sides[0], 100, "the next start"),
        (&sides[0], 1_000, "the next start"),
    ] {
        let seen = flipped(dir.path(), path, at).await;
        let found = seen.findings.iter().find(|f| f.damage.as_ref().is_some_and(|d| d.path == *path));
        let found = found.unwrap_or_else(|| panic!("{} byte {at}: {:?}", path.display(), seen.findings));
        let bytes = found.damage.as_ref().unwrap().bytes.clone();
        assert!(bytes.contains(&at), "{} byte {at} is not in {bytes:?}", path.display());
        assert!(found.mend.contains(mend), "{found:?}");
    }
    assert_eq!(verify(dir.path()).await.unwrap().findings, [], "and looking changed nothing");
}

#[tokio::test]
async fn a_side_file_of_another_segment_is_found() {
    let dir = folder().await;
    let sides = files(dir.path(), ".idx");
    fs::copy(&sides[0], &sides[1]).unwrap();
    let seen = verify(dir.path()).await.unwrap();
    assert_eq!(seen.findings.len(), 1, "{:?}", seen.findings);
    assert!(seen.findings[0].what.contains("another segment"), "{:?}", seen.findings);
}

#[tokio::test]
async fn a_folder_at_work_is_left_alone() {
    let dir = folder().await;
    let store = DiskStore::open(dir.path(), Options::default()).await.unwrap();
    assert!(verify(dir.path()).await.is_err());
    store.close().await.unwrap();
    assert!(verify(dir.path()).await.is_ok());
}
