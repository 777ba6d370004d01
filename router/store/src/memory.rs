//! The store in memory: the plainest thing that keeps the contracts, which the other forms are compared with.
//!
//! It can *crash*: [`MemoryStore::crash`] gives the store that a restart would find, less the newest
//! [`Durability::Lazy`] commits, and poisons this one. It is stricter than the contract in one point:
//! a commit that is wrong about the entry it replaces or drops is refused and poisons the ledger,
//! because on disk it would leave a stale entry behind. It lays no ballast and measures no file system;
//! its log seals a segment of so many bytes as [`MemoryStore::segment_bytes`] says.
//!
//! Everything it does is determined by its seed and the calls made, so that a failing test fails again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::BytesMut;
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, DeliveryId, Epoch, LaneId, Offset, OrderKey, RouteId, RouteName, RunId},
    replay::Run,
    store::{
        Admitted, Change, Chunk, DeadLetter, Durability, Error, KeyLetters, KeyState, Keyed, LaneCount, LaneState,
        Ledger, Log, Needed, Page, Pause, Pending, Place, Record, RouteVersion, Segment, SegmentKind, Selection, State,
        Store, Usage,
    },
};
use schemas::Event;
use tokio::sync::watch;

/// Lazy commits that a crash can take: older ones count as written.
pub const LAZY_COMMITS_MAX: usize = 1024;
/// Bytes of a segment of a store that was not told otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;
/// What a record takes besides its event's body, and a segment besides its records, in bytes: about as on disk.
const RECORD_BYTES: u64 = 36;
const HEAD_BYTES: u64 = 160;
/// Bytes of an entry or a dead letter of the ledger, about.
const ENTRY_BYTES: u64 = 32;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store in memory. Clones share what they hold.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    ledger: Arc<MemoryLedger>,
    logs: Arc<Mutex<BTreeMap<BusName, Arc<MemoryLog>>>>,
    seed: Option<u64>,
    segment_bytes: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store whose offsets have no gaps.
    pub fn new() -> Self {
        Self::from_parts(Contents::new(0), BTreeMap::new(), None)
    }

    /// An empty store whose offsets have gaps: between batches, inside them, and between the last
    /// record and the tail.
    pub fn with_gaps(seed: u64) -> Self {
        Self::from_parts(Contents::new(seed), BTreeMap::new(), Some(seed))
    }

    fn from_parts(contents: Contents, logs: BTreeMap<BusName, Arc<MemoryLog>>, seed: Option<u64>) -> Self {
        let ledger = Arc::new(MemoryLedger::from_contents(contents));
        MemoryStore { ledger, logs: Arc::new(Mutex::new(logs)), seed, segment_bytes: SEGMENT_BYTES }
    }

    /// This store, with segments of so many bytes in the logs that are opened from now on.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// What a restart finds after a power loss that took the newest `lose_lazy` of the commits that came
    /// after the last [`Durability::Now`] (all of those, if there are fewer). Every event whose append
    /// returned is there. This store, its ledger and its logs are poisoned.
    #[must_use]
    pub fn crash(&self, lose_lazy: usize) -> MemoryStore {
        let contents = self.ledger.crash(lose_lazy);
        let logs = lock(&self.logs).iter().map(|(name, log)| (name.clone(), Arc::new(log.crash()))).collect();
        Self::from_parts(contents, logs, self.seed).segment_bytes(self.segment_bytes)
    }

    /// From now on a commit takes so long before anything of it is there: who answers before it is done is found out.
    pub fn commits_take(&self, time: Duration) {
        self.ledger.commit_ms.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Makes every later call on this store's ledger and logs fail, as after a failed write.
    pub fn poison(&self, why: &str) {
        self.ledger.poison(why);
        for log in lock(&self.logs).values() {
            lock(&log.state).poisoned = Some(why.into());
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn ledger(&self) -> Arc<dyn Ledger> {
        self.ledger.clone()
    }

    async fn log(&self, bus: &BusName) -> Result<Arc<dyn Log>, Error> {
        self.ledger.check()?;
        let mut logs = lock(&self.logs);
        let seed = self.seed.map(|seed| bus.as_str().bytes().fold(seed, |a, b| mix(a ^ u64::from(b))));
        let log = || Arc::new(MemoryLog::new(seed, self.segment_bytes));
        Ok(logs.entry(bus.clone()).or_insert_with(log).clone())
    }

    async fn usage(&self) -> Result<Usage, Error> {
        let ledger = self.ledger.read(|c| (c.pending.len() + c.dead_letters.len()) as u64 * ENTRY_BYTES)?;
        let mut usage = Usage { ledger, ..Usage::default() };
        for (bus, log) in lock(&self.logs).iter() {
            let of = |remnant: bool| {
                let segments = log.segments().into_iter().filter(|s| (s.kind == SegmentKind::Remnant) == remnant);
                segments.map(|s| s.bytes).sum::<u64>()
            };
            usage.logs.push((bus.clone(), of(false)));
            usage.remnants += of(true);
        }
        Ok(usage)
    }

    async fn ballast(&self, _: bool) -> Result<bool, Error> {
        self.ledger.check().map(|()| false)
    }
}

/// The finisher of splitmix64: gaps need no better randomness.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

// ---------------------------------------------------------------------------------- the log

/// The log of one bus.
#[derive(Debug)]
pub struct MemoryLog {
    state: Mutex<LogState>,
    tail: watch::Sender<Offset>,
}

#[derive(Clone, Debug)]
struct LogState {
    records: VecDeque<Kept>,
    /// Stretches that were reduced, with what is kept of them.
    remnants: Vec<Stretch>,
    /// Sealed stretches. The unsealed one begins where the last of them ends.
    sealed: VecDeque<Stretch>,
    segment_bytes: u64,
    unsealed_bytes: u64,
    first: Offset,
    tail: Offset,
    /// Append time of the last record below `first`.
    floor: Timestamp,
    newest: Timestamp,
    gaps: Option<u64>,
    poisoned: Option<Arc<str>>,
}

/// Records between two offsets. Those of a sealed one are in the log, and not here.
#[derive(Clone, Debug)]
struct Stretch {
    first: Offset,
    next: Offset,
    /// Append time of the last record before it.
    floor: Timestamp,
    kept: Vec<Kept>,
}

impl Stretch {
    fn segment<'a>(&self, kept: impl DoubleEndedIterator<Item = &'a Kept> + Clone, kind: SegmentKind) -> Segment {
        let bytes = kept.clone().map(|k| k.event.body().len() as u64 + RECORD_BYTES).sum::<u64>();
        let newest = kept.last().map_or(self.floor, |k| k.appended);
        Segment { first: self.first, next: self.next, newest, bytes: bytes + HEAD_BYTES, kind }
    }
}

#[derive(Clone, Debug)]
struct Kept {
    offset: Offset,
    appended: Timestamp,
    key: u64,
    event: Event,
}

impl LogState {
    fn check(&self) -> Result<(), Error> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(Error::Poisoned(why.clone())))
    }

    /// How many offsets to leave out here: mostly none, else up to seven.
    fn gap(&mut self) -> u64 {
        let Some(seed) = &mut self.gaps else { return 0 };
        *seed = mix(*seed);
        if *seed & 0b11 == 0 { (*seed >> 32) % 8 } else { 0 }
    }

    fn index(&self, from: Offset) -> usize {
        self.records.partition_point(|r| r.offset < from)
    }

    fn unsealed(&self) -> Stretch {
        let first = self.sealed.back().map_or(self.first, |s| s.next);
        let floor = self.index(first).checked_sub(1).and_then(|at| self.records.get(at));
        let floor = floor.map_or(self.floor, |k| k.appended);
        Stretch { first, next: self.tail, floor, kept: Vec::new() }
    }

    fn range(&self, first: Offset, next: Offset) -> std::collections::vec_deque::Iter<'_, Kept> {
        self.records.range(self.index(first)..self.index(next))
    }

    /// The stretches with the records in them.
    fn segments(&self) -> Vec<Segment> {
        let remnants = self.remnants.iter().map(|s| s.segment(s.kept.iter(), SegmentKind::Remnant));
        let sealed = self.sealed.iter().map(|s| s.segment(self.range(s.first, s.next), SegmentKind::Sealed));
        let unsealed = self.unsealed();
        let last = unsealed.segment(self.range(unsealed.first, unsealed.next), SegmentKind::Unsealed);
        remnants.chain(sealed).chain([last]).collect()
    }

    fn seal(&mut self) {
        let unsealed = self.unsealed();
        let Some(last) = self.range(unsealed.first, unsealed.next).last().map(|k| k.offset) else { return };
        // Gaps before the tail belong to the next one, as on disk.
        self.sealed.push_back(Stretch { next: last.next(), ..unsealed });
        self.unsealed_bytes = HEAD_BYTES;
    }

    fn reduce(&mut self, first: Offset, keep: &[Offset]) -> Result<(), Error> {
        let needed = |k: &Kept| keep.binary_search(&k.offset).is_ok();
        if let Some(at) = self.remnants.iter().position(|s| s.first == first) {
            if let Some(remnant) = self.remnants.get_mut(at) {
                remnant.kept.retain(needed);
            }
            self.remnants.retain(|s| !s.kept.is_empty());
            return Ok(());
        }
        let oldest = self.sealed.front().is_some_and(|s| s.first == first);
        let Some(mut stretch) = self.sealed.pop_front_if(|_| oldest) else { return Err(Error::NoSegment { first }) };
        let mut records: Vec<Kept> = self.records.drain(..self.index(stretch.next)).collect();
        self.floor = records.last().map_or(self.floor, |k| k.appended);
        records.retain(needed);
        stretch.kept = records;
        self.first = stretch.next;
        if !stretch.kept.is_empty() {
            self.remnants.push(stretch);
        }
        Ok(())
    }
}

impl MemoryLog {
    /// An empty log that seals its segments at so many bytes; with a seed, one whose offsets have gaps.
    pub fn new(gaps: Option<u64>, segment_bytes: u64) -> Self {
        let first = Offset(1);
        Self::from_state(LogState {
            records: VecDeque::new(),
            remnants: Vec::new(),
            sealed: VecDeque::new(),
            segment_bytes,
            unsealed_bytes: HEAD_BYTES,
            first,
            floor: Timestamp(0),
            tail: first,
            newest: Timestamp(0),
            gaps,
            poisoned: None,
        })
    }

    fn from_state(state: LogState) -> Self {
        let tail = watch::Sender::new(state.tail);
        MemoryLog { state: Mutex::new(state), tail }
    }

    fn crash(&self) -> MemoryLog {
        let mut state = lock(&self.state);
        let restarted = LogState { poisoned: None, ..state.clone() };
        state.poisoned = Some("the machine crashed".into());
        Self::from_state(restarted)
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, now: Timestamp, batch: Vec<Admitted>) -> Result<Vec<Offset>, Error> {
        let mut state = lock(&self.state);
        state.check()?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let appended = now.max(state.newest);
        state.newest = appended;
        let bytes = batch.iter().map(|a| a.event.body().len() as u64 + RECORD_BYTES).sum::<u64>();
        if state.unsealed_bytes + bytes > state.segment_bytes {
            state.seal();
        }
        state.unsealed_bytes += bytes;
        let mut offsets = Vec::with_capacity(batch.len());
        for Admitted { event, key } in batch {
            let offset = Offset(state.tail.0 + state.gap());
            state.records.push_back(Kept { offset, appended, key, event: event.detached() });
            state.tail = offset.next();
            offsets.push(offset);
        }
        state.tail = Offset(state.tail.0 + state.gap());
        self.tail.send_replace(state.tail);
        Ok(offsets)
    }

    async fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        let state = lock(&self.state);
        state.check()?;
        if from < state.first {
            return Err(Error::Trimmed { first: state.first });
        }
        let mut buffer = BytesMut::new();
        let mut records = Vec::new();
        let mut next = state.tail.max(from);
        for kept in state.records.range(state.index(from)..) {
            let body = kept.event.body();
            if !records.is_empty() && buffer.len() + body.len() > bytes_max {
                next = kept.offset;
                break;
            }
            let start = buffer.len();
            buffer.extend_from_slice(body);
            records.push((kept.offset, kept.appended, start..buffer.len()));
        }
        Ok(Chunk { buffer: buffer.freeze(), records, next })
    }

    async fn seek(&self, t: Timestamp) -> Result<Offset, Error> {
        let state = lock(&self.state);
        state.check()?;
        let at = state.records.partition_point(|r| r.appended < t);
        Ok(state.records.get(at).map_or(state.tail, |r| r.offset))
    }

    fn bounds(&self) -> (Offset, Offset) {
        let state = lock(&self.state);
        (state.first, state.tail)
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.subscribe()
    }

    fn segments(&self) -> Vec<Segment> {
        lock(&self.state).segments()
    }

    async fn seal(&self) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.check()?;
        state.seal();
        Ok(())
    }

    async fn reduce(&self, first: Offset, keep: Vec<Offset>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.check()?;
        state.reduce(first, &keep)
    }

    async fn kept(&self, first: Offset) -> Result<Option<u64>, Error> {
        let state = lock(&self.state);
        state.check()?;
        let remnant = state.remnants.iter().find(|s| s.first == first);
        Ok(remnant.map(|s| u64::try_from(s.kept.len()).unwrap_or(u64::MAX)))
    }

    async fn record(&self, offset: Offset) -> Result<Option<Record>, Error> {
        let state = lock(&self.state);
        state.check()?;
        let remnant = || state.remnants.iter().flat_map(|s| &s.kept).find(|k| k.offset == offset);
        let kept = state.records.get(state.index(offset)).filter(|k| k.offset == offset).or_else(remnant);
        Ok(kept.map(|k| Record { offset, appended: k.appended, event: k.event.clone() }))
    }

    async fn keys(&self, age: Duration, count_max: usize) -> Result<Vec<Keyed>, Error> {
        let state = lock(&self.state);
        state.check()?;
        let young = state.records.partition_point(|r| state.newest.since(r.appended) > age);
        let start = young.max(state.records.len().saturating_sub(count_max));
        let keyed = |r: &Kept| Keyed { key: r.key, offset: r.offset, appended: r.appended };
        Ok(state.records.range(start..).map(keyed).collect())
    }
}

// ------------------------------------------------------------------------------- the ledger

/// What is owed.
#[derive(Debug)]
pub struct MemoryLedger {
    state: Mutex<LedgerState>,
    /// What a commit takes, in milliseconds.
    commit_ms: AtomicU64,
}

#[derive(Debug)]
struct LedgerState {
    now: Contents,
    /// What a power loss leaves at least: `now` without the commits in `lazy`.
    base: Contents,
    lazy: VecDeque<Vec<Change>>,
    failed: Option<Error>,
}

impl MemoryLedger {
    fn from_contents(contents: Contents) -> Self {
        let state = LedgerState { now: contents.clone(), base: contents, lazy: VecDeque::new(), failed: None };
        MemoryLedger { state: Mutex::new(state), commit_ms: AtomicU64::new(0) }
    }

    fn check(&self) -> Result<(), Error> {
        lock(&self.state).check()
    }

    fn poison(&self, why: &str) {
        lock(&self.state).failed.get_or_insert(Error::Poisoned(why.into()));
    }

    fn crash(&self, lose_lazy: usize) -> Contents {
        let mut state = lock(&self.state);
        let kept = state.lazy.len().saturating_sub(lose_lazy);
        state.settle(kept);
        state.failed = Some(Error::Poisoned("the machine crashed".into()));
        state.base.clone()
    }

    fn read<T>(&self, f: impl FnOnce(&Contents) -> T) -> Result<T, Error> {
        let state = lock(&self.state);
        state.check()?;
        Ok(f(&state.now))
    }
}

impl LedgerState {
    fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Moves the oldest `count` lazy commits out of a crash's reach.
    fn settle(&mut self, count: usize) {
        for changes in self.lazy.drain(..count.min(self.lazy.len())) {
            // They were applied to `now` before, from the same contents, so they cannot fail here.
            if let Err(e) = changes.iter().try_for_each(|c| self.base.apply(c)) {
                self.failed = Some(Error::Poisoned(e.into()));
            }
        }
    }

    fn commit(&mut self, epoch: Epoch, changes: Vec<Change>, durability: Durability) -> Result<(), Error> {
        self.check()?;
        if epoch != self.now.epoch {
            return Err(Error::Fenced);
        }
        changes.iter().try_for_each(|c| self.now.apply(c)).map_err(|e| Error::Poisoned(e.into()))?;
        self.lazy.push_back(changes);
        let settled = match durability {
            Durability::Now => self.lazy.len(),
            Durability::Lazy => self.lazy.len().saturating_sub(LAZY_COMMITS_MAX),
        };
        self.settle(settled);
        self.check()
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn commit(&self, epoch: Epoch, changes: Vec<Change>, durability: Durability) -> Result<(), Error> {
        match self.commit_ms.load(Ordering::Relaxed) {
            0 => {}
            ms => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        let mut state = lock(&self.state);
        let done = state.commit(epoch, changes, durability);
        if let Err(e) = &done {
            state.failed.get_or_insert(e.clone());
        }
        done
    }

    async fn state(&self) -> Result<State, Error> {
        self.read(Contents::state)
    }

    async fn planned(&self, bus: BusId) -> Result<Option<Offset>, Error> {
        self.read(|c| c.planned.get(&bus).copied())
    }

    async fn ready(&self, lane: LaneId, from: Offset, count_max: usize) -> Result<Vec<Pending>, Error> {
        let range = (lane, from)..=(lane, Offset(u64::MAX));
        self.read(|c| {
            let ready = c.pending.range(range).map(|(_, p)| p).filter(|p| p.place() == Place::default());
            ready.take(count_max).cloned().collect()
        })
    }

    async fn parked(
        &self,
        lane: LaneId,
        range: Range<(OrderKey, Offset)>,
        count_max: usize,
    ) -> Result<Vec<Pending>, Error> {
        let Range { start, end } = range;
        let range = (lane, start.0, start.1)..(lane, end.0, end.1).max((lane, start.0, start.1));
        self.read(|c| {
            let entries = c.parked.range(range).filter_map(|(lane, _, offset)| c.pending.get(&(*lane, *offset)));
            entries.take(count_max).cloned().collect()
        })
    }

    async fn due(&self, lane: LaneId, now: Timestamp, count_max: usize) -> Result<Vec<Pending>, Error> {
        let range = (lane, Timestamp(0), Offset(0))..=(lane, now, Offset(u64::MAX));
        self.read(|c| {
            let entries = c.due.range(range).filter_map(|(lane, _, offset)| c.pending.get(&(*lane, *offset)));
            entries.take(count_max).cloned().collect()
        })
    }

    async fn waiting(&self, lane: LaneId, from: (Timestamp, Offset), count_max: usize) -> Result<Vec<Pending>, Error> {
        let range = (lane, from.0, from.1)..=(lane, Timestamp(u64::MAX), Offset(u64::MAX));
        self.read(|c| {
            let entries = c.due.range(range).filter_map(|(lane, _, offset)| c.pending.get(&(*lane, *offset)));
            entries.take(count_max).cloned().collect()
        })
    }

    async fn next_due(&self, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, Error> {
        let Some(from) = after.0.checked_add(1) else { return self.check().map(|()| None) };
        let range = (lane, Timestamp(from), Offset(0))..=(lane, Timestamp(u64::MAX), Offset(u64::MAX));
        self.read(|c| c.due.range(range).next().map(|(_, due, _)| *due))
    }

    async fn dead_letters(&self, which: &Selection, page: Page) -> Result<Vec<DeadLetter>, Error> {
        self.read(|c| {
            let chosen = c.dead_letters.values().filter(|d| page.after.is_none_or(|after| d.id > after));
            chosen.filter(|d| which.holds(d)).take(page.count_max).cloned().collect()
        })
    }

    async fn needed(&self, bus: BusId, range: Range<Offset>) -> Result<Needed, Error> {
        self.read(|c| {
            let entries = c.pending.keys().copied().chain(c.dead_letters.keys().map(|id| (id.lane, id.offset)));
            let here = entries.filter(|(lane, offset)| lane.bus == bus && range.contains(offset));
            let offsets: BTreeSet<Offset> = here.map(|(_, offset)| offset).collect();
            let planned = c.planned.get(&bus).copied().unwrap_or_default();
            let held = c.runs.values().any(|run| run.holds_any_of(bus, &range));
            Needed { planned, offsets: offsets.into_iter().collect(), held }
        })
    }

    async fn count(&self) -> Result<Vec<LaneCount>, Error> {
        self.read(Contents::count)
    }
}

/// All that a ledger holds.
#[derive(Clone, Debug)]
struct Contents {
    epoch: Epoch,
    secret: [u8; 16],
    running_ms: u64,
    planned: BTreeMap<BusId, Offset>,
    pending: BTreeMap<(LaneId, Offset), Pending>,
    due: BTreeSet<(LaneId, Timestamp, Offset)>,
    parked: BTreeSet<(LaneId, OrderKey, Offset)>,
    keys: BTreeMap<(LaneId, OrderKey), KeyLetters>,
    dead_letters: BTreeMap<DeliveryId, DeadLetter>,
    buses: BTreeMap<BusName, BusId>,
    routes: BTreeMap<RouteName, RouteId>,
    versions: BTreeMap<(RouteId, BusId, Offset), RouteVersion>,
    runs: BTreeMap<RunId, Run>,
    pauses: BTreeMap<RouteId, Pause>,
}

impl Contents {
    fn new(seed: u64) -> Self {
        let [a, b] = [mix(seed ^ 1).to_le_bytes(), mix(seed ^ 2).to_le_bytes()];
        let mut secret = [0; 16];
        for (slot, byte) in secret.iter_mut().zip(a.into_iter().chain(b)) {
            *slot = byte;
        }
        Contents {
            epoch: Epoch(mix(seed)),
            secret,
            running_ms: 0,
            planned: BTreeMap::new(),
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            parked: BTreeSet::new(),
            keys: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            buses: BTreeMap::new(),
            routes: BTreeMap::new(),
            versions: BTreeMap::new(),
            runs: BTreeMap::new(),
            pauses: BTreeMap::new(),
        }
    }

    fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Planned(bus, offset) => {
                let planned = self.planned.entry(*bus).or_insert(*offset);
                *planned = (*planned).max(*offset);
            }
            Change::Running(ms) => self.running_ms = *ms,
            Change::Put { pending, replaces } => {
                self.remove(pending.lane, pending.offset, replaces.map(|place| (place, pending.bytes)))?;
                if let Some(due) = pending.due {
                    self.due.insert((pending.lane, due, pending.offset));
                } else if let Some(key) = pending.key {
                    self.parked.insert((pending.lane, key, pending.offset));
                }
                self.pending.insert((pending.lane, pending.offset), pending.clone());
            }
            Change::Drop { lane, offset, place, bytes } => self.remove(*lane, *offset, Some((*place, *bytes)))?,
            Change::PutKey(lane, key, letters) => {
                self.keys.insert((*lane, *key), *letters);
            }
            Change::DropKey(lane, key) => {
                self.keys.remove(&(*lane, *key));
            }
            Change::PutDeadLetter(d) => {
                self.dead_letters.insert(d.id, (**d).clone());
            }
            Change::DropDeadLetter(id) => {
                self.dead_letters.remove(id);
            }
            Change::NameBus(name, id) => {
                self.buses.insert(name.clone(), *id);
            }
            Change::NameRoute(name, id) => {
                self.routes.insert(name.clone(), *id);
            }
            Change::PutVersion(v) => {
                self.versions.insert((v.route, v.bus, v.from), v.clone());
            }
            Change::DropVersion { route, bus, from } => {
                self.versions.remove(&(*route, *bus, *from));
            }
            Change::PutRun(run) => {
                self.runs.insert(run.id, (**run).clone());
            }
            Change::DropRun(id) => {
                self.runs.remove(id);
            }
            Change::Pause(route, pause) => {
                self.pauses.insert(*route, *pause);
            }
        }
        Ok(())
    }

    /// Takes out the entry, which must be as the commit says: `None` is none, `Some` its place and bytes.
    fn remove(&mut self, lane: LaneId, offset: Offset, expected: Option<(Place, u32)>) -> Result<(), String> {
        let there = self.pending.remove(&(lane, offset)).map(|p| (p.place(), p.bytes));
        if there != expected {
            return Err(format!("a bug: a commit takes the entry {lane:?} {offset} for {expected:?}, it is {there:?}"));
        }
        let place = there.map(|(place, _)| place).unwrap_or_default();
        if let Some(due) = place.due {
            self.due.remove(&(lane, due, offset));
        } else if let Some(key) = place.key {
            self.parked.remove(&(lane, key, offset));
        }
        Ok(())
    }

    fn state(&self) -> State {
        let mut lanes: BTreeMap<LaneId, LaneState> = BTreeMap::new();
        for p in self.pending.values() {
            let lane = lanes.entry(p.lane).or_insert(LaneState {
                lane: p.lane,
                ready: 0,
                waiting: 0,
                parked: 0,
                bytes: 0,
                ready_first: None,
                due_first: None,
            });
            lane.bytes += u64::from(p.bytes);
            match (p.due, p.key) {
                (None, Some(_)) => lane.parked += 1,
                (None, None) => {
                    lane.ready += 1;
                    lane.ready_first.get_or_insert(p.offset);
                }
                (Some(due), _) => {
                    lane.waiting += 1;
                    lane.due_first = Some(lane.due_first.map_or(due, |first| first.min(due)));
                }
            }
        }
        State {
            epoch: self.epoch,
            epochs: self.epoch.into(),
            secret: self.secret,
            running_ms: self.running_ms,
            buses: self.buses.iter().map(|(name, id)| (name.clone(), *id)).collect(),
            routes: self.routes.iter().map(|(name, id)| (name.clone(), *id)).collect(),
            versions: self.versions.values().cloned().collect(),
            pauses: self.pauses.iter().map(|(route, pause)| (*route, *pause)).collect(),
            lanes: lanes.into_values().collect(),
            runs: self.runs.values().cloned().collect(),
            keys: self.key_states(),
        }
    }

    fn key_states(&self) -> Vec<KeyState> {
        let mut keys: BTreeMap<(LaneId, OrderKey), KeyState> = BTreeMap::new();
        let empty = |lane, key| KeyState { lane, key, parked: 0, waiting: 0, letters: None };
        for (p, key) in self.pending.values().filter_map(|p| Some((p, p.key?))) {
            let state = keys.entry((p.lane, key)).or_insert(empty(p.lane, key));
            match p.due {
                None => state.parked += 1,
                Some(_) => state.waiting += 1,
            }
        }
        for ((lane, key), letters) in &self.keys {
            keys.entry((*lane, *key)).or_insert(empty(*lane, *key)).letters = Some(*letters);
        }
        keys.into_values().collect()
    }

    fn count(&self) -> Vec<LaneCount> {
        let mut counts: BTreeMap<LaneId, (u64, u64)> = BTreeMap::new();
        for p in self.pending.values() {
            counts.entry(p.lane).or_default().0 += 1;
        }
        for d in self.dead_letters.values() {
            counts.entry(d.id.lane).or_default().1 += 1;
        }
        counts.into_iter().map(|(lane, (pending, dead_letters))| LaneCount { lane, pending, dead_letters }).collect()
    }
}
