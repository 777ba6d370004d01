//! A file system with almost nothing free. Goal: the ledger refuses before its library can run out of
//! space in the middle of its work, and the ballast is enough to open a store on a file system that is full.

use std::{
    fs::File,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use router_core::{
    id::Epoch,
    store::{Change, Durability, Error, Ledger, Pending, Store},
};
use router_store::{
    conformance::{batch, lane, pending, read_all},
    disk,
    ledger::{self, DiskLedger},
    store::{DiskStore, Options},
};
use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;

/// A file system of its own in memory, taken away at the end. Most of it is taken by a file that can grow
/// and shrink.
pub struct Small {
    dir: TempDir,
    hog: File,
}

impl Small {
    pub fn mount(bytes: u64) -> Option<Small> {
        let dir = TempDir::new().unwrap();
        let size = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        match done {
            Ok(out) if out.status.success() => {}
            other => {
                println!("skipped: a small file system cannot be mounted here: {other:?}");
                return None;
            }
        }
        let hog = File::create(dir.path().join("hog")).unwrap();
        Some(Small { dir, hog })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn free(path: &Path) -> u64 {
        let free = rustix::fs::statvfs(path).unwrap();
        free.f_bavail * free.f_frsize
    }

    /// Leaves so many bytes free, as far as the hog can give or take them.
    pub fn leave(&self, bytes: u64) {
        let free = Self::free(self.dir.path());
        let has = self.hog.metadata().unwrap().len();
        let wanted = (has + free).saturating_sub(bytes);
        if wanted <= has {
            self.hog.set_len(wanted).unwrap();
        } else {
            let taken = rustix::fs::fallocate(&self.hog, rustix::fs::FallocateFlags::empty(), has, wanted - has);
            // Somebody else was faster: less is free than was asked for.
            assert!(matches!(taken, Ok(()) | Err(rustix::io::Errno::NOSPC)), "{taken:?}");
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.dir.path()).status().ok();
    }
}

/// Bytes at which the ledger refuses, as it is by default.
const MARK: u64 = 64 * MIB;

/// Every second one waits, until a time that has no order: its tables overlap, and are merged.
fn entry(n: u64) -> Pending {
    let due = (n % 2 == 1).then(|| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24);
    pending(lane(1), n + 1, due)
}

/// Commits with as little free as that is allowed with.
async fn commit_at(small: &Small, ledger: &DiskLedger, epoch: Epoch, changes: Vec<Change>) {
    for _ in 0..1_000 {
        small.leave(MARK + 64 * 1024);
        let done = ledger.commit(epoch, changes.clone(), Durability::Lazy).await;
        // Its own work behind the commits may have been faster than this one.
        if !matches!(done, Err(Error::NoSpace(_))) {
            return done.unwrap();
        }
    }
    assert!(changes.is_empty(), "no commit is ever taken at the mark");
}

/// What the ledger's library takes below the mark at which commits are refused, measured with a mark as low
/// as each commit meets, and that nothing is lost by it.
#[tokio::test]
async fn ledger_at_its_mark_never_meets_a_full_disk() {
    let rounds: u64 = if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 400 } else { 12 };
    let Some(small) = Small::mount(768 * MIB) else { return };
    let dir = small.dir.path().join("ledger");
    let mark = ledger::Options { free_bytes_min: MARK, ..ledger::Options::default() };
    let ledger = DiskLedger::open(&dir, mark).unwrap();
    let epoch = ledger.state().await.unwrap().epoch;

    let (least, over) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicBool::new(false)));
    let watch = std::thread::spawn({
        let (path, least, over) = (small.dir.path().to_owned(), least.clone(), over.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                least.fetch_min(Small::free(&path), Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
    });

    // Entries come, and most of them go again, as with a target that is down for a while: each commit is
    // made with as little free as it is allowed to have.
    const COUNT: u64 = 10_000;
    let mut kept = 0;
    for round in 0..rounds {
        let put = (round * COUNT..(round + 1) * COUNT).map(|n| Change::Put { pending: entry(n), replaces: None });
        commit_at(&small, &ledger, epoch, put.collect()).await;
        kept += COUNT;
        if round % 4 == 3 {
            let first = (round - 3) * COUNT;
            let drop = |n: u64| {
                let gone = entry(n);
                Change::Drop { lane: gone.lane, offset: gone.offset, place: gone.place(), bytes: gone.bytes }
            };
            for part in 0..3 {
                let range = first + part * COUNT..first + (part + 1) * COUNT;
                commit_at(&small, &ledger, epoch, range.map(drop).collect()).await;
                kept -= COUNT;
            }
            // Nothing is given back while the work behind the commits ends.
            small.leave(MARK);
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }
    small.leave(MARK - MIB);
    let refused = ledger.commit(epoch, vec![Change::Running(1)], Durability::Now).await;
    assert!(matches!(refused, Err(Error::NoSpace(_))), "{refused:?}");
    small.leave(2 * MARK);
    ledger.commit(epoch, vec![Change::Running(1)], Durability::Now).await.unwrap();
    over.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    ledger.close().await.unwrap();

    let dip = MARK.saturating_sub(least.load(Ordering::Relaxed));
    println!(
        "{} entries in {rounds} commits and their drops: at most {} KiB below the mark",
        rounds * COUNT,
        dip >> 10
    );
    assert!(dip < MARK * 3 / 4, "the mark is too low: {dip} of {MARK} bytes were needed");
    let again = DiskLedger::open(&dir, ledger::Options::default()).unwrap();
    let counts = again.count().await.unwrap();
    assert_eq!(counts.iter().map(|c| c.pending).sum::<u64>(), kept, "{counts:?}");
}

/// A start on a file system without a free byte gives the ballast back, opens, can let a segment go, and lays
/// the ballast again once there is room.
#[tokio::test]
async fn ballast_opens_a_store_where_nothing_is_free() {
    let Some(small) = Small::mount(512 * MIB) else { return };
    let (data, bus) = (small.dir.path().join("data"), router_core::id::BusName::new("default").unwrap());
    let options = || Options { log: disk::Options::default().segment_bytes(1 << 20), ..Options::default() };
    let store = DiskStore::open(&data, options()).await.unwrap();
    assert!(store.ballast(true).await.unwrap(), "it is laid");
    assert!(!store.ballast(true).await.unwrap(), "once");
    let log = store.log(&bus).await.unwrap();
    while log.segments().len() < 3 {
        log.append(router_core::clock::Timestamp(1), batch(0..100)).await.unwrap();
    }
    let records = read_all(&*log, log.bounds().0, 1 << 20).await;
    // A kill: nothing is synced or closed, so that the next start has work to do.
    drop((log, store));
    small.leave(0);
    small.hog.sync_all().unwrap();

    let store = DiskStore::open(&data, options()).await.unwrap();
    let log = store.log(&bus).await.unwrap();
    assert_eq!(read_all(&*log, log.bounds().0, 1 << 20).await, records, "what was taken is there");
    assert_eq!(store.usage().await.unwrap().ballast, 0, "the ballast was given back");
    small.leave(MIB);
    assert!(!store.ballast(true).await.unwrap(), "there is no room for it");
    let oldest = log.segments()[0];
    log.reduce(oldest.first, Vec::new()).await.unwrap();
    assert!(log.bounds().0 > oldest.first);
    small.leave(256 * MIB);
    assert!(store.ballast(true).await.unwrap(), "it is laid again");
    store.close().await.unwrap();
}

/// The ledger's journals grow however little is owed, and nothing that gives way makes them smaller: with a
/// budget below their size the store would be full for good.
#[tokio::test]
async fn journals_do_not_count_for_the_budget() {
    let dir = TempDir::new().unwrap();
    let store = DiskStore::open(dir.path(), Options::default()).await.unwrap();
    let ledger = store.ledger();
    let epoch = ledger.state().await.unwrap().epoch;
    for round in 0..20 {
        let entries = || (round * 10_000..(round + 1) * 10_000).map(|n| pending(lane(1), n + 1, Some(5)));
        let put = entries().map(|pending| Change::Put { pending, replaces: None });
        ledger.commit(epoch, put.collect(), Durability::Lazy).await.unwrap();
        let gone = |p: Pending| Change::Drop { lane: p.lane, offset: p.offset, place: p.place(), bytes: p.bytes };
        ledger.commit(epoch, entries().map(gone).collect(), Durability::Lazy).await.unwrap();
    }
    let journals = std::fs::read_dir(dir.path().join("ledger")).unwrap().map(|file| {
        let file = file.unwrap();
        let is_one = file.file_name().to_string_lossy().ends_with(".jnl");
        if is_one { std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512 } else { 0 }
    });
    let (journals, counted) = (journals.sum::<u64>(), store.usage().await.unwrap().ledger);
    assert!(journals > 8 * MIB, "they grow: {journals}");
    assert!(counted < 8 * MIB, "{counted} bytes are counted, {journals} are in journals");
}
