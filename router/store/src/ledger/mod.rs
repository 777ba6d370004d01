//! The ledger on disk: one fjall database. Keys and values are in [`codec`]'s table.
//!
//! - A commit is one fjall batch: all of it or none, also after a crash. Changes of one key inside a
//!   commit are folded first: a batch gives all its items one sequence number, and fjall does not say
//!   which of two items of one key wins.
//! - [`Durability::Now`] syncs fjall's journal (`fsync`), and with it all that was written before;
//!   [`Durability::Lazy`] hands the batch to the operating system.
//! - Reads go through a snapshot: they see a commit wholly or not at all.
//! - fjall blocks, so every commit and read runs on tokio's blocking threads; only `planned` and
//!   `count` are answered from memory. Commits run one at a time, in the order of the calls, and run
//!   to their end even when the caller goes away.
//! - After a write or sync that failed, everything fails. fjall cannot take a write back that ran out
//!   of space, so a commit is refused with [`Error::NoSpace`], before anything is written, while fewer
//!   than [`Options::free_bytes_min`] are free.
//! - A commit trusts its caller about the entry that it replaces or drops (the memory form does not,
//!   and every simulation runs on that one). A commit that lies leaves counts wrong until a start counts
//!   anew: each does that which has at most [`Options::recounted_max`] entries, and the look of
//!   [`crate::recover`] whatever there is.
//! - The folder appears at once and whole: it is made under another name, synced and renamed.
//!
//! Memory does not grow with the backlog: the block cache and the write buffers are bounded by the
//! constants below, and a lane costs some 100 bytes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice};
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Epoch, LaneId, Offset, OrderKey},
    store::{Change, DeadLetter, Durability, Error, LaneCount, Ledger, Needed, Page, Pending, Selection, State},
};

/// Keys and values.
mod codec;

/// Counts, and from where to search.
mod lanes;

/// From changes to one batch.
mod batch;

/// The port's reads.
mod read;

use crate::codes;
use codec::damaged;
use lanes::{Counts, Lanes};

/// Bytes of the block cache.
const CACHE_BYTES: u64 = 8 << 20;
/// Bytes of entries in memory before they are written out. fjall counts 64 bytes for each more than
/// its key and value, and keeps up to five such buffers while the disk is behind.
const ENTRIES_BUFFER_BYTES: u64 = 2 << 20;
/// Bytes of everything else in memory, per keyspace.
const BUFFER_BYTES: u64 = 1 << 20;
/// Bytes of a table of entries: what one compaction step rewrites.
const TABLE_BYTES: u64 = 4 << 20;
/// Bytes of sealed journals before the buffers that hold them are written out; fjall takes no less. A journal
/// is sealed at 64 MB (`worker_pool.rs`, 3.1.13): see [`JOURNALS_BYTES_MAX`].
const JOURNAL_BYTES: u64 = 64 << 20;

/// Bytes of the disk that the journals take at most, however little the ledger holds: the one that is written and
/// those that are sealed. On a file system that is not much larger, the ledger will not do for long.
pub const JOURNALS_BYTES_MAX: u64 = 192 << 20;

/// How the ledger is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Free bytes on the file system below which a commit is refused: what the background work of
    /// the commits before it may still need. Measured: 7 MiB after four million entries that came and went
    /// in no order, each commit made just above the mark (`tests/conformance/space.rs`).
    pub free_bytes_min: u64,
    /// Entries and dead letters up to which a start counts them all and compares; with more of them, it takes
    /// the counts as they are kept.
    pub recounted_max: u64,
}

/// Counted in about a third of a second.
pub const RECOUNTED_MAX: u64 = 200_000;

impl Default for Options {
    fn default() -> Self {
        Options { free_bytes_min: 64 << 20, recounted_max: RECOUNTED_MAX }
    }
}

/// Where the ledger stands on a bus, as it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// B.
    pub planned: Option<Offset>,
    /// An offset that is owed, or was a while ago, above which none is owed.
    pub highest: Option<Offset>,
}

/// The ledger.
pub struct DiskLedger {
    /// `None` after [`DiskLedger::close`].
    inner: RwLock<Option<Arc<Inner>>>,
    commits: Arc<tokio::sync::Mutex<()>>,
    spans: BTreeMap<BusName, Span>,
    miscounted: Option<String>,
}

impl std::fmt::Debug for DiskLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskLedger").field("spans", &self.spans).finish_non_exhaustive()
    }
}

struct Inner {
    db: Database,
    meta: Keyspace,
    versions: Keyspace,
    ready: Keyspace,
    blocks: Keyspace,
    waiting: Keyspace,
    parked: Keyspace,
    keys: Keyspace,
    dead: Keyspace,
    held: Keyspace,
    counts: Keyspace,
    key_counts: Keyspace,
    dir: PathBuf,
    options: Options,
    epoch: Epoch,
    secret: [u8; 16],
    lanes: Mutex<Lanes>,
    planned: Mutex<BTreeMap<BusId, Offset>>,
    failed: Mutex<Option<Error>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_space(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// While the ledger opens, nothing can be lost by trying again.
fn open_error(dir: &Path, e: &fjall::Error) -> Error {
    match e {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) if no_space(e) => {
            Error::NoSpace(format!("{}: {e}", dir.display()).into())
        }
        fjall::Error::Locked => damaged("folder", format!("{} is open in another process; stop it", dir.display())),
        e => damaged("folder", format!("{} does not open: {e}; restore it from a backup", dir.display())),
    }
}

fn read_error(e: fjall::Error) -> Error {
    damaged("files", format!("they cannot be read: {e}; restore DATA/ledger from a backup"))
}

fn write_error(e: fjall::Error) -> Error {
    Error::Poisoned(format!("the ledger cannot be written: {e}").into())
}

impl DiskLedger {
    /// Opens the ledger in `dir`, or creates it there. Blocks, after a stop that was not clean too, for what its
    /// journal of up to 64 MB takes, whatever is owed; and for about 1.5 seconds a million entries where they are
    /// counted, as in a ledger of a format before this one.
    ///
    /// # Errors
    /// [`Error::NoSpace`], or [`Error::Damaged`] for what cannot be read and for a format from the future.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        if !Self::exists(dir) {
            create(dir)?;
        }
        let (inner, has_counts) = Inner::open(dir, options)?;
        let miscounted = inner.load_counts(has_counts)?;
        let spans = inner.load_planned()?;
        let inner = RwLock::new(Some(Arc::new(inner)));
        Ok(DiskLedger { inner, commits: Arc::default(), spans, miscounted })
    }

    /// Whether there is a ledger in `dir`.
    pub fn exists(dir: &Path) -> bool {
        dir.exists()
    }

    /// Where the ledger stood on each bus when it was opened.
    pub fn spans(&self) -> &BTreeMap<BusName, Span> {
        &self.spans
    }

    /// Where the counts that were kept differed from what is there, when it was opened; they are right now.
    pub fn miscounted(&self) -> Option<&str> {
        self.miscounted.as_deref()
    }

    /// Low offsets of a bus, below `end`, that a pending entry refers to, rising, each once: `count_max` of them at
    /// most, and all of them when they and the dead letters below `end` are no more than that.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what cannot be read.
    pub async fn owed_first(&self, bus: &BusName, end: Offset, count_max: usize) -> Result<Vec<Offset>, Error> {
        let bus = bus.clone();
        self.read(move |inner| {
            let buses = inner.buses(&inner.db.snapshot())?;
            let Some((_, id)) = buses.into_iter().find(|(name, _)| *name == bus) else { return Ok(Vec::new()) };
            inner.owed_first(id, inner.moment(id, end), end, count_max)
        })
        .await
    }

    /// Counts all entries and dead letters, and keeps that. With no other call under way.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what cannot be read, and [`Error::Poisoned`] when it cannot be written.
    pub async fn count_anew(&self) -> Result<(), Error> {
        self.read(|inner| {
            let counts = inner.count_all()?;
            inner.keep_counts(&counts).map_err(write_error)?;
            *lock(&inner.lanes) = counts.into();
            Ok(())
        })
        .await
    }

    /// All entries of a bus whose offset is one that `lost` tells of.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what cannot be read.
    pub async fn entries_at(
        &self,
        bus: BusId,
        lost: impl Fn(Offset) -> bool + Send + 'static,
    ) -> Result<Vec<Pending>, Error> {
        self.read(move |inner| inner.entries_at(bus, &lost)).await
    }

    /// Begins a new epoch: that of every commit after the next open, and that of the deliveries of each
    /// bus from an offset on. Synced. To be closed then.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when it cannot be written: nothing was begun.
    pub async fn begin_epoch(&self, from: Vec<(BusId, Offset)>) -> Result<Epoch, Error> {
        self.read(move |inner| {
            let epoch = getrandom::u64().map_err(|e| Error::Poisoned(format!("no randomness: {e}").into()))?;
            let mut batch = inner.db.batch().durability(Some(PersistMode::SyncAll));
            if inner.meta.get(codec::META_EPOCH_FIRST).map_err(read_error)?.is_none() {
                batch.insert(&inner.meta, codec::META_EPOCH_FIRST, inner.epoch.0.to_be_bytes());
            }
            batch.insert(&inner.meta, codec::META_EPOCH, epoch.to_be_bytes());
            for (bus, offset) in from {
                batch.insert(&inner.meta, codec::epochs_key(bus, offset), epoch.to_be_bytes());
            }
            batch.commit().map_err(write_error)?;
            Ok(Epoch(epoch))
        })
        .await
    }

    /// Syncs and closes: waits for the commit that runs; every later call is refused.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when the sync fails.
    pub async fn close(&self) -> Result<(), Error> {
        let commits = self.commits.clone().lock_owned().await;
        let taken = self.inner.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(inner) = taken else { return Ok(()) };
        spawn(move || {
            let synced = inner.check().and_then(|()| inner.db.persist(PersistMode::SyncAll).map_err(write_error));
            // The last handle closes the database, and that waits for its threads.
            drop(inner);
            drop(commits);
            synced
        })
        .await
    }

    fn inner(&self) -> Result<Arc<Inner>, Error> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner).clone();
        let inner = inner.ok_or_else(|| Error::Poisoned("the ledger is closed".into()))?;
        inner.check()?;
        Ok(inner)
    }

    async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = self.inner()?;
        spawn(move || f(&inner)).await
    }
}

/// Runs what blocks where it may. It runs to its end even when the caller goes away.
async fn spawn<T: Send + 'static>(f: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(f)
        .await
        .unwrap_or_else(|e| Err(Error::Poisoned(format!("a thread of the ledger ended: {e}").into())))
}

/// Makes a new ledger under another name, and gives it its own once it is whole and synced.
fn create(dir: &Path) -> Result<(), Error> {
    let new = dir.with_extension("new");
    let fill = || -> Result<(), fjall::Error> {
        if new.exists() {
            // A creation that a crash cut short: nobody has seen it.
            fs::remove_dir_all(&new)?;
        }
        let parent = dir.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let mut drawn = [0; 24];
        getrandom::fill(&mut drawn).map_err(|e| io::Error::other(format!("no randomness for the epoch: {e}")))?;
        let (epoch, secret) = drawn.split_at(8);
        let db = database(&new)?;
        for name in ["versions", "ready", "waiting", "parked", "keys", "dead", "held", "counts", "key-counts", "blocks"]
        {
            space(&db, name)?;
        }
        let meta = space(&db, "meta")?;
        let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&meta, codec::META_FORMAT, [codec::FORMAT]);
        batch.insert(&meta, codec::META_EPOCH, epoch);
        batch.insert(&meta, codec::META_SECRET, secret);
        batch.commit()?;
        drop((meta, db));
        fs::rename(&new, dir)?;
        File::open(parent)?.sync_all()?;
        Ok(())
    };
    fill().map_err(|e| open_error(dir, &e))
}

fn database(dir: &Path) -> Result<Database, fjall::Error> {
    // Of several workers the first leaves compactions to the others, and while these are busy it takes the
    // message and sends it back without a pause (fjall 3.1.13, worker_pool.rs): as much processor time as
    // the compactions themselves.
    Database::builder(dir)
        .cache_size(CACHE_BYTES)
        .max_cached_files(Some(128))
        .max_journaling_size(JOURNAL_BYTES)
        .worker_threads(1)
        .open()
}

/// Opens a keyspace; its options are fixed when it is created.
fn space(db: &Database, name: &str) -> Result<Keyspace, fjall::Error> {
    use fjall::config::FilterPolicy;

    let options = KeyspaceCreateOptions::default;
    let compaction = || Arc::new(fjall::compaction::Leveled::default().with_table_target_size(TABLE_BYTES));
    match name {
        // Entries are only ever scanned: a filter over them would be memory for nothing.
        "ready" | "blocks" | "waiting" | "parked" | "held" => db.keyspace(name, || {
            let options = options().max_memtable_size(ENTRIES_BUFFER_BYTES).compaction_strategy(compaction());
            options.filter_policy(FilterPolicy::disabled())
        }),
        _ => db.keyspace(name, || options().max_memtable_size(BUFFER_BYTES).compaction_strategy(compaction())),
    }
}

impl Inner {
    /// Opens what there is, and says whether its format has counts.
    fn open(dir: &Path, options: Options) -> Result<(Inner, bool), Error> {
        let refuse = |e: fjall::Error| open_error(dir, &e);
        let db = database(dir).map_err(refuse)?;
        let meta = space(&db, "meta").map_err(refuse)?;
        let get = |key: &[u8]| meta.get(key).map_err(read_error);
        let has_counts = match get(codec::META_FORMAT)?.as_deref() {
            Some([version @ codec::FORMAT_OLDEST..=codec::FORMAT]) => *version == codec::FORMAT,
            Some([version]) => {
                let reads = codec::FORMAT;
                let what = format!("it is {version}, this program reads {reads}; use a newer gocoffee");
                return Err(damaged("format", what));
            }
            other => return Err(damaged("format", format!("it is {other:?}; restore DATA/ledger from a backup"))),
        };
        let missing = |key: &str| damaged(key, "it is missing; restore DATA/ledger from a backup");
        let epoch = get(codec::META_EPOCH)?.ok_or_else(|| missing("epoch"))?;
        let secret = get(codec::META_SECRET)?.ok_or_else(|| missing("secret"))?;
        let inner = Inner {
            versions: space(&db, "versions").map_err(refuse)?,
            ready: space(&db, "ready").map_err(refuse)?,
            blocks: space(&db, "blocks").map_err(refuse)?,
            waiting: space(&db, "waiting").map_err(refuse)?,
            parked: space(&db, "parked").map_err(refuse)?,
            keys: space(&db, "keys").map_err(refuse)?,
            dead: space(&db, "dead").map_err(refuse)?,
            held: space(&db, "held").map_err(refuse)?,
            counts: space(&db, "counts").map_err(refuse)?,
            key_counts: space(&db, "key-counts").map_err(refuse)?,
            epoch: Epoch(codec::read_u64("epoch", &epoch)?),
            secret: <[u8; 16]>::try_from(&*secret).map_err(|e| damaged("secret", e.to_string()))?,
            dir: dir.into(),
            lanes: Mutex::default(),
            planned: Mutex::default(),
            failed: Mutex::default(),
            db,
            meta,
            options,
        };
        Ok((inner, has_counts))
    }

    fn check(&self) -> Result<(), Error> {
        lock(&self.failed).clone().map_or(Ok(()), Err)
    }

    /// Takes the counts that are kept, or counts where there are none, or few entries; says where both differ.
    fn load_counts(&self, kept: bool) -> Result<Option<String>, Error> {
        let kept = kept.then(|| self.kept_counts()).transpose()?;
        let kept = match kept {
            Some(kept) if kept.total() > self.options.recounted_max => {
                *lock(&self.lanes) = kept.into();
                return Ok(None);
            }
            kept => kept,
        };
        let counts = self.count_all()?;
        let miscounted = kept.as_ref().and_then(|kept| kept.difference(&counts));
        if let Some(difference) = &miscounted {
            let dir = self.dir.display();
            tracing::error!(code = %codes::LEDGER_MISCOUNTED, %dir, %difference, "the counts of what is owed were wrong and are right now; nothing is lost, but this is a fault of gocoffee: please report it with this line");
        }
        if kept.is_none() || miscounted.is_some() {
            self.keep_counts(&counts).map_err(|e| open_error(&self.dir, &e))?;
        }
        *lock(&self.lanes) = counts.into();
        Ok(miscounted)
    }

    /// Writes counts in place of those that are there, and that this is a ledger with counts.
    fn keep_counts(&self, counts: &Counts) -> Result<(), fjall::Error> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        let encoded = |e: Error| fjall::Error::Io(io::Error::other(e.to_string()));
        let mut replace = |space: &Keyspace, new: BTreeMap<Vec<u8>, Slice>| -> Result<(), fjall::Error> {
            for guard in space.iter() {
                let key = guard.key()?;
                if !new.contains_key(&*key) {
                    batch.remove(space, key);
                }
            }
            for (key, value) in new {
                batch.insert(space, key, value);
            }
            Ok(())
        };
        let lanes = counts.lanes.iter().map(|(id, lane)| Ok((codec::lane_key(*id), codec::write_value(lane)?)));
        replace(&self.counts, lanes.collect::<Result<_, Error>>().map_err(encoded)?)?;
        let keys = counts.keys.iter().map(|((id, key), n)| Ok((codec::order_key(*id, *key), codec::write_value(n)?)));
        replace(&self.key_counts, keys.collect::<Result<_, Error>>().map_err(encoded)?)?;
        batch.insert(&self.meta, codec::META_FORMAT, [codec::FORMAT]);
        batch.commit()
    }

    /// Reads B of each bus, and says with the counts where each stands.
    fn load_planned(&self) -> Result<BTreeMap<BusName, Span>, Error> {
        let snapshot = self.db.snapshot();
        let mut spans: BTreeMap<BusId, Span> = BTreeMap::new();
        for (bus, highest) in lock(&self.lanes).counts.highest() {
            spans.entry(bus).or_default().highest = Some(highest);
        }
        for guard in snapshot.prefix(&self.meta, codec::META_PLANNED) {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            let bus = BusId(codec::read_u16("planned", key.get(codec::META_PLANNED.len()..).unwrap_or_default())?);
            let planned = Offset(codec::read_u64("planned", &value)?);
            spans.entry(bus).or_default().planned = Some(planned);
            lock(&self.planned).insert(bus, planned);
        }
        let buses = self.buses(&snapshot)?;
        Ok(buses.into_iter().filter_map(|(name, id)| Some((name, *spans.get(&id)?))).collect())
    }

    /// Whether there is room for the commit and what follows from it.
    fn check_space(&self) -> Result<(), Error> {
        let free = rustix::fs::statvfs(&self.dir).map_err(|e| write_error(fjall::Error::Io(e.into())))?;
        let (free, min) = (free.f_bavail.saturating_mul(free.f_frsize), self.options.free_bytes_min);
        if free >= min {
            return Ok(());
        }
        let dir = self.dir.display();
        Err(Error::NoSpace(format!("{free} bytes are free under {dir}, the ledger needs {min}").into()))
    }
}

#[async_trait]
impl Ledger for DiskLedger {
    async fn commit(&self, epoch: Epoch, changes: Vec<Change>, durability: Durability) -> Result<(), Error> {
        let turn = self.commits.clone().lock_owned().await;
        let inner = self.inner()?;
        spawn(move || {
            let done = inner.check().and_then(|()| inner.commit(epoch, &changes, durability));
            if let Err(e) = &done
                && !matches!(e, Error::NoSpace(_))
            {
                lock(&inner.failed).get_or_insert(e.clone());
            }
            drop(turn);
            done
        })
        .await
    }

    async fn state(&self) -> Result<State, Error> {
        self.read(Inner::state).await
    }

    async fn planned(&self, bus: BusId) -> Result<Option<Offset>, Error> {
        Ok(lock(&self.inner()?.planned).get(&bus).copied())
    }

    async fn ready(&self, lane: LaneId, from: Offset, count_max: usize) -> Result<Vec<Pending>, Error> {
        self.read(move |inner| inner.ready(lane, from, count_max)).await
    }

    async fn due(&self, lane: LaneId, now: Timestamp, count_max: usize) -> Result<Vec<Pending>, Error> {
        self.read(move |inner| inner.due(lane, now, count_max)).await
    }

    async fn parked(
        &self,
        lane: LaneId,
        range: Range<(OrderKey, Offset)>,
        count_max: usize,
    ) -> Result<Vec<Pending>, Error> {
        self.read(move |inner| inner.parked(lane, range, count_max)).await
    }

    async fn waiting(&self, lane: LaneId, from: (Timestamp, Offset), count_max: usize) -> Result<Vec<Pending>, Error> {
        self.read(move |inner| inner.waiting(lane, from, count_max)).await
    }

    async fn next_due(&self, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.read(move |inner| inner.next_due(lane, after)).await
    }

    async fn dead_letters(&self, which: &Selection, page: Page) -> Result<Vec<DeadLetter>, Error> {
        let which = which.clone();
        self.read(move |inner| inner.dead_letters(&which, page)).await
    }

    async fn needed(&self, bus: BusId, range: Range<Offset>) -> Result<Needed, Error> {
        let moment = {
            let _no_commit = self.commits.lock().await;
            self.inner()?.moment(bus, range.end)
        };
        self.read(move |inner| inner.needed(bus, &range, moment, true)).await
    }

    async fn count(&self) -> Result<Vec<LaneCount>, Error> {
        Ok(lock(&self.inner()?.lanes).counts())
    }
}
