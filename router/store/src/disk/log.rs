//! The log: appending, reading, trimming. File work is done on tokio's blocking threads, or on the caller's when that is its
//! own ([`own_thread`]); what is under way when a caller goes away is finished all the same.
//!
//! Locks, in the order they are taken: `writer` (across a group commit), `trimming` (one at a time lets
//! go), `letting` (exclusive while a remnant takes the place of something, shared while one is read),
//! `siding` (while a side file is made or removed), `map`, `scan` of a segment, `opened`. Readers hold
//! the last three for moments only, never across a call to the file system.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use router_core::{
    clock::Timestamp,
    id::{BusName, Offset},
    own_thread,
    store::{Admitted, Chunk, Error, Keyed, Log, Record, Segment},
};
use tokio::sync::watch;

/// Sealing, and letting go.
mod reduce;

use super::{
    files::{File, Files, is_no_space, write_all_at},
    read::Synced,
    recover::{self, Failed, Unsealed, segment_path},
    remnant::Remnant,
    scan::{Index, Scan},
    segment::{Block, HEAD_BYTES, Head, Place, damaged, encode, split, unusable},
    side::{self, Side, Summary},
};

/// Sealed segments whose file is open and whose index is in memory.
const OPENED_MAX: usize = 16;
/// Bytes behind the end of the log that are read by the caller's thread: they were written a moment ago and are in
/// the system's cache, where a read takes less than another thread's turn.
const FRESH_BYTES: u64 = 1024 * 1024;
/// What the writer's buffer keeps between groups, in bytes.
const BUFFER_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// How a log is kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Bytes reserved for a segment; it is sealed when the next group does not fit. A group that is
    /// larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// Offsets left out before each group: for tests, which show that readers bear gaps.
    pub gap: u64,
    /// File work is done by the caller's thread: for simulations, where nothing may happen beside it.
    pub inline: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 * 1024 * 1024, gap: 0, inline: false }
    }
}

impl Options {
    /// These, with segments of another size.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// These, with gaps of so many offsets.
    #[must_use]
    pub fn gap(mut self, gap: u64) -> Self {
        self.gap = gap;
        self
    }

    /// These, with the file work on the caller's thread.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }
}

/// The log of one bus on disk. Dropping it is a crash: the next open repairs; [`DiskLog::close`] spares it that.
pub struct DiskLog {
    shared: Arc<Shared>,
}

struct Shared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    bus: BusName,
    options: Options,
    failed: OnceLock<Arc<str>>,
    writer: Mutex<Writer>,
    trimming: Mutex<()>,
    letting: RwLock<()>,
    siding: Mutex<()>,
    map: RwLock<Map>,
    opened: Mutex<Vec<Arc<Opened>>>,
    tail: watch::Sender<Offset>,
}

struct Writer {
    buffer: Vec<u8>,
}

struct Map {
    remnants: Vec<Remnant>,
    sealed: Vec<Arc<Summary>>,
    active: Arc<Active>,
}

impl Map {
    fn first(&self) -> Offset {
        self.sealed.first().map_or(self.active.head.base, |s| s.base)
    }
}

/// The unsealed segment. `scan` is what of it is synced; only the writer changes it.
struct Active {
    head: Head,
    path: PathBuf,
    file: Arc<dyn File>,
    scan: RwLock<Scan>,
    /// Bytes reserved for it.
    capacity: AtomicU64,
}

struct Opened {
    summary: Arc<Summary>,
    path: PathBuf,
    file: Arc<dyn File>,
    index: Index,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shared<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn exclusive<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Active {
    fn new(unsealed: Unsealed) -> Arc<Active> {
        let Unsealed { head, path, file, scan, capacity } = unsealed;
        Arc::new(Active { head, path, file, scan: RwLock::new(scan), capacity: AtomicU64::new(capacity) })
    }

    fn synced(&self, end: u64) -> Synced<'_> {
        Synced { file: &*self.file, path: &self.path, seed: self.head.seed, end }
    }
}

impl Opened {
    fn synced(&self) -> Synced<'_> {
        Synced { file: &*self.file, path: &self.path, seed: self.summary.seed, end: self.summary.end }
    }
}

impl DiskLog {
    /// Opens the log of a bus in `dir` (by convention `DATA/buses/NAME`), which is made when there is
    /// none. The caller holds the data folder's [`super::Lock`].
    ///
    /// # Errors
    /// [`Error::Damaged`] names what was acknowledged and cannot be read, or what keeps the folder from
    /// being used, and says what to do; [`Error::NoSpace`] when the unsealed segment cannot be written
    /// anew: free some space and open again. Nothing is lost by a failed open.
    pub async fn open(files: Arc<dyn Files>, dir: &Path, bus: &BusName, options: Options) -> Result<DiskLog, Error> {
        let (dir, bus, inline) = (dir.to_path_buf(), bus.clone(), options.inline);
        let open = move || {
            let found = recover::open(&*files, &dir, &bus, &options)?;
            let active = Active::new(found.unsealed);
            let tail = watch::Sender::new(shared(&active.scan).next);
            Ok(DiskLog {
                shared: Arc::new(Shared {
                    files,
                    dir,
                    bus,
                    options,
                    failed: OnceLock::new(),
                    writer: Mutex::new(Writer { buffer: Vec::new() }),
                    trimming: Mutex::new(()),
                    letting: RwLock::new(()),
                    siding: Mutex::new(()),
                    map: RwLock::new(Map { remnants: found.remnants, sealed: found.sealed, active }),
                    opened: Mutex::default(),
                    tail,
                }),
            })
        };
        if inline {
            return open();
        }
        let gone = |e| Error::Poisoned(format!("the log's worker is gone: {e}").into());
        tokio::task::spawn_blocking(open).await.map_err(gone)?
    }

    /// Ends the log and leaves a mark, so that the next open need not write the unsealed segment anew.
    /// Every later call fails.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: there is no mark; nothing is lost, the next open repairs.
    pub async fn close(&self) -> Result<(), Error> {
        self.blocking(Shared::close).await
    }

    /// Leaves out the offsets up to `to`: the next record has it or a later one. For a log that ends
    /// below what its ledger knows of, so that no offset is given twice.
    ///
    /// # Errors
    /// [`Error::NoSpace`], and [`Error::Poisoned`] after a failed write.
    pub async fn skip_to(&self, to: Offset) -> Result<(), Error> {
        self.blocking(move |log| log.skip_to(to)).await
    }

    /// Which of these offsets, rising and below `bounds().0`, no remnant holds. Reads no event.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a remnant cannot tell.
    pub async fn unheld(&self, offsets: Vec<Offset>) -> Result<Vec<Offset>, Error> {
        self.blocking(move |log| log.unheld(&offsets)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = self.shared.clone();
        let work = move || {
            shared.check()?;
            work(&shared)
        };
        if self.shared.options.inline {
            return work();
        }
        if own_thread::here() {
            return self.in_place(work);
        }
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(self.gone(&e.to_string())))
    }

    /// Works on the caller's thread; a panic poisons the log, as it does on a blocking thread.
    fn in_place<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(self.gone("it panicked")))
    }

    fn gone(&self, why: &str) -> Error {
        self.shared.poison(format!("the log's worker is gone: {why}"))
    }
}

#[async_trait]
impl Log for DiskLog {
    async fn append(&self, now: Timestamp, batch: Vec<Admitted>) -> Result<Vec<Offset>, Error> {
        self.blocking(move |log| log.append(now, &batch)).await
    }

    async fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        self.shared.check()?;
        if from >= *self.shared.tail.borrow() {
            return Ok(Chunk { buffer: Bytes::new(), records: Vec::new(), next: from });
        }
        if !self.shared.options.inline && self.shared.is_fresh(from) {
            return self.in_place(|| {
                self.shared.check()?;
                self.shared.read(from, bytes_max)
            });
        }
        self.blocking(move |log| log.read(from, bytes_max)).await
    }

    async fn seek(&self, t: Timestamp) -> Result<Offset, Error> {
        self.blocking(move |log| log.seek(t)).await
    }

    fn bounds(&self) -> (Offset, Offset) {
        let tail = *self.shared.tail.borrow();
        (shared(&self.shared.map).first(), tail)
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.shared.tail.subscribe()
    }

    fn segments(&self) -> Vec<Segment> {
        self.shared.segments()
    }

    async fn seal(&self) -> Result<(), Error> {
        self.blocking(Shared::seal).await
    }

    async fn reduce(&self, first: Offset, keep: Vec<Offset>) -> Result<(), Error> {
        self.blocking(move |log| log.reduce(first, &keep)).await
    }

    async fn kept(&self, first: Offset) -> Result<Option<u64>, Error> {
        self.blocking(move |log| log.kept(first)).await
    }

    async fn record(&self, offset: Offset) -> Result<Option<Record>, Error> {
        self.blocking(move |log| log.record(offset)).await
    }

    async fn keys(&self, age: Duration, count_max: usize) -> Result<Vec<Keyed>, Error> {
        self.blocking(move |log| log.keys(age, count_max)).await
    }
}

// ------------------------------------------------------------------------------- appending

impl Shared {
    fn check(&self) -> Result<(), Error> {
        self.failed.get().map_or(Ok(()), |why| Err(Error::Poisoned(why.clone())))
    }

    /// The first reason stays.
    fn poison(&self, why: String) -> Error {
        let why = self.failed.get_or_init(|| {
            tracing::error!(code = %router_core::codes::STORE_FAILED, dir = %self.dir.display(), why, "the log failed");
            why.into()
        });
        Error::Poisoned(why.clone())
    }

    fn failed(&self, failed: Failed) -> Error {
        match failed {
            Failed::NoSpace(text) => Error::NoSpace(text.into()),
            Failed::Io(text) => self.poison(text),
        }
    }

    fn active(&self) -> Arc<Active> {
        shared(&self.map).active.clone()
    }

    fn append(&self, now: Timestamp, batch: &[Admitted]) -> Result<Vec<Offset>, Error> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut writer = lock(&self.writer);
        self.check()?;
        let (counts, bytes) = split(batch);
        let first = Offset(self.tail.borrow().0.saturating_add(self.options.gap));
        let active = self.make_room(bytes)?;
        let (at, chain, last_time) = {
            let scan = shared(&active.scan);
            (scan.end, scan.chain, scan.times.1)
        };
        let place = Place { seed: active.head.seed, at, first, time: now.max(last_time), synced: at, chain };
        writer.buffer.clear();
        let blocks = encode_group(place, batch, &counts, &mut writer.buffer);
        self.write_group(&active, at, &writer.buffer)?;
        writer.buffer.shrink_to(BUFFER_KEPT_BYTES);
        let next = {
            let mut scan = exclusive(&active.scan);
            let mut keys = batch.iter().map(|admitted| admitted.key);
            for block in &blocks {
                scan.add(block, keys.by_ref().take(block.count as usize));
            }
            scan.next
        };
        self.tail.send_replace(next);
        Ok((first.0..next.0).map(Offset).collect())
    }

    /// The segment in which a group of so many bytes fits.
    fn make_room(&self, bytes: u64) -> Result<Arc<Active>, Error> {
        let active = self.active();
        let end = shared(&active.scan).end;
        if end + bytes <= active.capacity.load(Ordering::Relaxed) {
            return Ok(active);
        }
        if end == HEAD_BYTES {
            // An empty segment cannot be followed by one with the same base; it grows instead.
            let capacity = end + bytes;
            return match active.file.allocate(capacity).and_then(|()| active.file.sync_data()) {
                Ok(()) => {
                    active.capacity.store(capacity, Ordering::Relaxed);
                    Ok(active)
                }
                Err(e) if is_no_space(&e) => Err(Error::NoSpace(format!("{}: {e}", active.path.display()).into())),
                Err(e) => Err(self.poison(format!("cannot grow {}: {e}", active.path.display()))),
            };
        }
        let reserve = self.options.segment_bytes.max(HEAD_BYTES + bytes);
        self.follow(&active, None, reserve, reserve)
    }

    /// Seals a segment and puts a new one in its place, which gets `reserve` bytes, or `least` when there
    /// is no space for so many.
    fn follow(&self, full: &Active, base: Option<Offset>, reserve: u64, least: u64) -> Result<Arc<Active>, Error> {
        let made = {
            let scan = shared(&full.scan);
            recover::create_next(&*self.files, &self.dir, (&full.head, &scan), base, reserve, least)
        };
        let next = Active::new(made.map_err(|f| self.failed(f))?);
        let scan = shared(&full.scan);
        let summary = Summary::new(&full.head, &scan);
        // Gives back what was reserved and not used; after a crash it stays reserved until the trim.
        full.file.set_len(scan.end).map_err(|e| self.poison(format!("cannot cut {}: {e}", full.path.display())))?;
        self.write_side(&full.path, &summary, &scan)?;
        let mut map = exclusive(&self.map);
        map.sealed.push(Arc::new(summary));
        map.active = next.clone();
        Ok(next)
    }

    /// Makes the side file of a segment that is still kept. It can be made again, so a full disk is no
    /// error; a failing disk is.
    fn write_side(&self, segment: &Path, summary: &Summary, scan: &Scan) -> Result<(), Error> {
        let _siding = lock(&self.siding);
        if summary.base < shared(&self.map).first() {
            return Ok(());
        }
        let path = segment.with_extension("idx");
        match side::write(&*self.files, &path, summary, &scan.index, &scan.keys) {
            Ok(_) => Ok(()),
            Err(e) => Err(self.poison(format!("cannot write {}: {e}", path.display()))),
        }
    }

    fn write_group(&self, active: &Active, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let cannot = |doing: &str, e: &io::Error| format!("cannot {doing} {}: {e}", active.path.display());
        if let Err((written, e)) = write_all_at(&*active.file, bytes, at) {
            let undone = || {
                if written > 0 {
                    write_all_at(&*active.file, &vec![0; written], at).map_err(|(_, e)| e)?;
                    active.file.sync_data()?;
                }
                Ok(())
            };
            return Err(match is_no_space(&e).then(undone) {
                Some(Ok(())) => Error::NoSpace(cannot("write", &e).into()),
                Some(Err::<_, io::Error>(e)) => self.poison(cannot("take back a write to", &e)),
                None => self.poison(cannot("write", &e)),
            });
        }
        active.file.sync_data().map_err(|e| self.poison(cannot("sync", &e)))
    }

    fn close(&self) -> Result<(), Error> {
        let _writer = lock(&self.writer);
        self.check()?;
        let active = self.active();
        let end = shared(&active.scan).end;
        recover::write_mark(&*self.files, &self.dir, &active.head, end).map_err(|e| {
            self.poison(format!("cannot leave the mark of a clean stop in {}: {e}", self.dir.display()))
        })?;
        self.failed.get_or_init(|| format!("the log in {} was closed", self.dir.display()).into());
        Ok(())
    }
}

fn encode_group(mut place: Place, batch: &[Admitted], counts: &[usize], out: &mut Vec<u8>) -> Vec<Block> {
    let mut rest = batch;
    let encode_one = |count: &usize| {
        let (now, later) = rest.split_at_checked(*count)?;
        rest = later;
        let block = encode(place, now, out);
        (place.at, place.first, place.chain) = (block.end(), block.last().next(), block.crc);
        Some(block)
    };
    counts.iter().map_while(encode_one).collect()
}

// --------------------------------------------------------------------------------- reading

/// The segment that answers a question.
enum Holder {
    Sealed(Arc<Summary>),
    Active(Arc<Active>),
}

impl Shared {
    /// The first segment that is not `behind`; `from` must be kept.
    fn holder(&self, from: Option<Offset>, behind: impl Fn(&Summary) -> bool) -> Result<Holder, Error> {
        let map = shared(&self.map);
        if from.is_some_and(|from| from < map.first()) {
            return Err(Error::Trimmed { first: map.first() });
        }
        let at = map.sealed.partition_point(|s| behind(s));
        Ok(map.sealed.get(at).map_or_else(|| Holder::Active(map.active.clone()), |s| Holder::Sealed(s.clone())))
    }

    /// Whether all from there on was appended a moment ago.
    fn is_fresh(&self, from: Offset) -> bool {
        let active = self.active();
        let scan = shared(&active.scan);
        from >= active.head.base && scan.end - scan.index.by_offset(from) <= FRESH_BYTES
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        let tail = *self.tail.borrow();
        let chunk = match self.holder(Some(from), |s| s.last < from)? {
            Holder::Sealed(summary) => {
                let opened = self.open_sealed(&summary)?;
                opened.synced().chunk(opened.index.by_offset(from), from, bytes_max)?
            }
            Holder::Active(active) => {
                let (at, end) = {
                    let scan = shared(&active.scan);
                    (scan.index.by_offset(from), scan.end)
                };
                active.synced(end).chunk(at, from, bytes_max)?
            }
        };
        let next = if chunk.records.is_empty() { tail.max(from) } else { chunk.next };
        Ok(Chunk { next, ..chunk })
    }

    fn seek(&self, t: Timestamp) -> Result<Offset, Error> {
        let tail = *self.tail.borrow();
        let found = match self.holder(None, |s| s.times.1 < t)? {
            Holder::Sealed(summary) => {
                let opened = self.open_sealed(&summary)?;
                opened.synced().seek(opened.index.by_time(t), t)?
            }
            Holder::Active(active) => {
                let (at, end) = {
                    let scan = shared(&active.scan);
                    (scan.index.by_time(t), scan.end)
                };
                active.synced(end).seek(at, t)?
            }
        };
        Ok(found.unwrap_or(tail))
    }

    /// A sealed segment's file and index, from the few that are at hand.
    fn open_sealed(&self, summary: &Arc<Summary>) -> Result<Arc<Opened>, Error> {
        {
            let mut opened = lock(&self.opened);
            if let Some(at) = opened.iter().position(|o| o.summary.base == summary.base) {
                let found = opened.remove(at);
                opened.push(found.clone());
                return Ok(found);
            }
        }
        let path = segment_path(&self.dir, summary.base);
        let file = self.open_file(&path, summary)?;
        let side = self.side(&path, summary).and_then(|side| side.index());
        let index = match side {
            Some(index) => index,
            None => self.rebuild(&path, &*file, summary)?.index,
        };
        let found = Arc::new(Opened { summary: summary.clone(), path, file, index });
        let mut opened = lock(&self.opened);
        if opened.len() >= OPENED_MAX {
            opened.remove(0);
        }
        opened.push(found.clone());
        Ok(found)
    }

    fn open_file(&self, path: &Path, summary: &Summary) -> Result<Arc<dyn File>, Error> {
        self.files.open(path).map_err(|e| {
            let first = shared(&self.map).first();
            if summary.base < first {
                // It was trimmed a moment ago.
                Error::Trimmed { first }
            } else if e.kind() == io::ErrorKind::NotFound {
                let offsets = Some((summary.base, summary.last));
                damaged(path, 0..summary.end, offsets, "the segment is missing, though nobody trimmed it")
            } else {
                unusable(path, "open the segment", &e)
            }
        })
    }

    fn side(&self, path: &Path, summary: &Summary) -> Option<Side> {
        Side::open(&*self.files, &path.with_extension("idx"), summary.base, summary.seed, summary.end)
    }

    /// Makes the side file anew.
    fn rebuild(&self, path: &Path, file: &dyn File, summary: &Summary) -> Result<Scan, Error> {
        let head = Head::read(file, path)?;
        let (summary, scan) = recover::survey(path, &head, file, summary.end)?;
        self.write_side(path, &summary, &scan)?;
        Ok(scan)
    }

    fn keys(&self, age: Duration, count_max: usize) -> Result<Vec<Keyed>, Error> {
        let (sealed, active) = {
            let map = shared(&self.map);
            (map.sealed.clone(), map.active.clone())
        };
        let (since, newest) = {
            let scan = shared(&active.scan);
            let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
            let since = Timestamp(scan.times.1.0.saturating_sub(age_us));
            (since, window(&scan.keys, since, count_max))
        };
        let mut missing = count_max - newest.len();
        let mut parts = vec![newest];
        for summary in sealed.iter().rev().take_while(|s| s.times.1 >= since) {
            if missing == 0 {
                break;
            }
            let path = segment_path(&self.dir, summary.base);
            let part = match self.side(&path, summary).and_then(|side| side.keys(since, missing)) {
                Some(part) => part,
                None => {
                    let file = self.open_file(&path, summary)?;
                    window(&self.rebuild(&path, &*file, summary)?.keys, since, missing)
                }
            };
            missing -= part.len();
            parts.push(part);
        }
        parts.reverse();
        Ok(parts.concat())
    }
}

/// The newest keys, at most `count_max`, none older than `since`.
fn window(keys: &[Keyed], since: Timestamp, count_max: usize) -> Vec<Keyed> {
    let young = keys.partition_point(|k| k.appended < since);
    keys.get(young.max(keys.len().saturating_sub(count_max))..).unwrap_or_default().to_vec()
}
