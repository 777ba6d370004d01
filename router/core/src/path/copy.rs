//! Step 8: copies sealed segments out, oldest first, a part at a time; once a copy is there, the sweeper may let the
//! segment go.
//!
//! Everything can be done again: a copy has the same name whenever it is made, what was copied is known from a
//! listing, and an upload that breaks off leaves nothing. So the loop keeps nothing, and ends at any moment. An archive
//! that does not work never stops the path: it is told, tried again, and what has no copy stays here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Timestamp},
    codes,
    id::{BusId, BusName, Offset},
    retain::Uncopied,
    shelf::{self, ArchiveStatus, ClaimError, Shelf, Waiting, pack},
    stats::Stats,
    store::{Chunk, Epochs, Error, Ledger, Log, Segment, SegmentKind},
    system::Fact,
};

/// From one look at the logs to the next; so long, too, until an archive that did not work is tried again first.
pub const COPY_EVERY: Duration = Duration::from_secs(1);
/// After so many of these it is tried again at most.
const AGAIN_MAX: u32 = 64;
/// Bytes that are read of a log at a time.
const READ_BYTES: usize = 1 << 20;
/// From one look for copies that are too old to the next.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Where the path's buses are copied to, and how.
#[derive(Clone)]
pub struct Archiving {
    /// The place.
    pub shelf: Arc<Shelf>,
    /// The buses.
    pub buses: Vec<BusName>,
    /// What becomes of segments without a copy when the disk is full.
    pub uncopied: Uncopied,
    /// An event is copied at the latest so long after it was appended: its segment is sealed for that.
    pub lag_max: Duration,
    /// Copies whose last event is older are removed; `None`: the router removes none.
    pub age_max: Option<Duration>,
    /// From one look at the logs to the next: [`COPY_EVERY`].
    pub every: Duration,
    /// Copies are packed on the thread of the path, which stands still meanwhile: for simulations, where no other thread
    /// may have a say.
    pub inline: bool,
}

/// The loop and what it needs.
pub(super) struct Copier {
    pub archiving: Archiving,
    /// This store, as the archive knows it.
    pub store_id: String,
    pub epochs: Epochs,
    pub logs: Vec<(BusId, BusName, Arc<dyn Log>)>,
    pub ledger: Arc<dyn Ledger>,
    /// Held while a stretch is let go, and while a run starts.
    pub trimming: Arc<Mutex<()>>,
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<Stats>,
    pub state: State,
}

/// What it remembers.
#[derive(Default)]
pub(super) struct State {
    ready: bool,
    failing: Option<String>,
    failures: u32,
    /// When the first event of an unsealed segment was appended.
    begun: HashMap<BusId, (Offset, Timestamp)>,
    /// Segments that cannot be read, with what is wrong: they are not copied.
    damaged: BTreeMap<(BusId, Offset), String>,
    expire_at: Duration,
}

/// Why a round ends early.
enum Stopped {
    /// The archive: it is tried again.
    Archive(String),
    /// The store: the path ends.
    Store(Error),
}

impl From<shelf::Error> for Stopped {
    fn from(e: shelf::Error) -> Self {
        Stopped::Archive(e.to_string())
    }
}

impl From<ClaimError> for Stopped {
    fn from(e: ClaimError) -> Self {
        Stopped::Archive(e.to_string())
    }
}

impl From<Error> for Stopped {
    fn from(e: Error) -> Self {
        Stopped::Store(e)
    }
}

impl Copier {
    /// Runs until it is stopped, or the store fails.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                done = self.round() => done,
            };
            let wait = match done {
                Ok(()) => {
                    self.works();
                    self.archiving.every
                }
                Err(Stopped::Archive(why)) => self.fails(why),
                Err(Stopped::Store(e)) => return Err(e),
            };
            self.stands();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), Stopped> {
        if !self.state.ready {
            self.stands();
            self.begin().await?;
        }
        for (id, bus, log) in self.logs.clone() {
            self.seal(id, &log).await?;
            for segment in log.segments() {
                if segment.kind == SegmentKind::Sealed {
                    self.copy(id, &bus, &log, segment).await?;
                }
            }
        }
        self.expire().await
    }

    /// Sees to it that the place is ours, and learns what is there.
    async fn begin(&mut self) -> Result<(), Stopped> {
        let shelf = &self.archiving.shelf;
        shelf.claim(&self.store_id).await?;
        shelf.load().await?;
        for (_, bus, log) in &self.logs {
            let tail = log.bounds().1;
            if let Some((_, copied)) = shelf.bounds(bus).filter(|(_, copied)| *copied > tail) {
                let place = shelf.place().into();
                return Err(ClaimError::Ahead { place, bus: bus.clone(), copied, tail }.into());
            }
        }
        self.state.ready = true;
        tracing::info!(place = shelf.place(), "sealed segments are copied to the archive");
        Ok(())
    }

    /// Seals a segment whose first event has waited for its copy for long enough.
    async fn seal(&mut self, id: BusId, log: &Arc<dyn Log>) -> Result<(), Stopped> {
        let last = log.segments().pop().filter(|s| s.kind == SegmentKind::Unsealed && s.first < s.next);
        let Some(segment) = last else { return Ok(()) };
        let begun = match self.state.begun.get(&id).filter(|(first, _)| *first == segment.first) {
            Some((_, begun)) => *begun,
            None => match log.read(segment.first, 1).await {
                Ok(Chunk { records, .. }) => {
                    let Some((_, begun, _)) = records.first() else { return Ok(()) };
                    self.state.begun.insert(id, (segment.first, *begun));
                    *begun
                }
                // It was let go, or is damaged: nothing of it is to be sealed for.
                Err(Error::Trimmed { .. } | Error::Damaged { .. }) => return Ok(()),
                Err(e) => return Err(e.into()),
            },
        };
        if self.clock.wall().since(begun) <= self.archiving.lag_max {
            return Ok(());
        }
        match log.seal().await {
            // The sweeper makes space; until then it grows.
            Ok(()) | Err(Error::NoSpace(_)) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Copies what of a sealed segment has no copy yet.
    async fn copy(&mut self, id: BusId, bus: &BusName, log: &Arc<dyn Log>, segment: Segment) -> Result<(), Stopped> {
        if self.state.damaged.contains_key(&(id, segment.first)) {
            return Ok(());
        }
        let mut at = self.archiving.shelf.covered(bus, segment.first);
        while at < segment.next {
            let (end, chunks) = match gather(&**log, at..segment.next).await {
                Ok(gathered) => gathered,
                // Let go meanwhile, for want of space.
                Err(Error::Trimmed { .. }) => return Ok(()),
                Err(Error::Damaged { place, what }) => {
                    tracing::error!(code = %codes::DAMAGED, %bus, offset = segment.first.0, %place, %what, "a segment cannot be copied to the archive, because it is damaged; the others are");
                    self.state.damaged.insert((id, segment.first), format!("{place}: {what}"));
                    return Ok(());
                }
                Err(e) => return Err(e.into()),
            };
            let (epoch, name) = (self.epochs.of(id, at), bus.clone());
            let pack = move || pack::pack(&name, epoch, (at, end), &chunks);
            let packed = if self.archiving.inline {
                pack()
            } else {
                let packed = tokio::task::spawn_blocking(pack).await;
                packed.map_err(|e| Stopped::Archive(format!("packing a copy ended by a bug: {e}")))?
            };
            let packed = packed.map_err(|e| Stopped::Archive(format!("a copy cannot be packed: {e}")))?;
            // Offsets without an event need no copy.
            let Some(packed) = packed else { return Ok(()) };
            let bytes = packed.copy.bytes;
            self.archiving.shelf.put(bus, packed).await?;
            self.stats.archive.copied.add(1);
            self.stats.archive.copied_bytes.add(bytes);
            tracing::info!(%bus, from = at.0, to = end.0, bytes, "copied to the archive");
            at = end;
            self.works();
            self.stands();
        }
        Ok(())
    }

    // ------------------------------------------------------------------------ copies that are too old

    /// Removes copies that are too old, and that neither the log nor anything that is owed needs.
    async fn expire(&mut self) -> Result<(), Stopped> {
        let now = self.clock.monotonic();
        let Some(age_max) = self.archiving.age_max.filter(|_| now >= self.state.expire_at) else { return Ok(()) };
        for (id, bus, log) in &self.logs {
            for copy in self.archiving.shelf.copies(bus) {
                let old = self.clock.wall().since(copy.newest) > age_max;
                // What the log still holds would only be copied again.
                if !old || copy.next > log.bounds().0 {
                    break;
                }
                {
                    // No run starts from here on until nobody reads it any more.
                    let _no_start = self.trimming.lock().await;
                    let needed = self.ledger.needed(*id, copy.first..copy.next).await?;
                    if needed.held || !needed.offsets.is_empty() {
                        continue;
                    }
                    self.archiving.shelf.forget(bus, &copy);
                }
                self.archiving.shelf.remove(bus, &copy).await?;
                self.stats.archive.removed.add(1);
                tracing::info!(%bus, from = copy.first.0, to = copy.next.0, "a copy in the archive is older than archive.age_max: removed");
            }
        }
        self.state.expire_at = now + EXPIRE_EVERY.min(age_max);
        Ok(())
    }

    // ------------------------------------------------------------------------ what is told

    /// After how long it is tried again.
    fn fails(&mut self, why: String) -> Duration {
        self.stats.archive.failures.add(1);
        if self.state.failing.as_ref() != Some(&why) {
            let place = self.archiving.shelf.place();
            tracing::error!(code = %codes::ARCHIVE_REFUSED, place, why, "nothing can be copied to the archive: what has no copy stays here, and it is tried again");
            if self.state.failing.is_none() {
                let fact = Fact::ArchiveFailing { place: place.into(), why: why.as_str().into() };
                self.stats.facts.tell(fact, self.clock.wall());
            }
        }
        self.state.failing = Some(why);
        let wait = self.archiving.every.saturating_mul((1 << self.state.failures.min(6)).min(AGAIN_MAX));
        self.state.failures = self.state.failures.saturating_add(1);
        wait
    }

    fn works(&mut self) {
        self.state.failures = 0;
        if self.state.failing.take().is_some() {
            let place = self.archiving.shelf.place();
            tracing::info!(place, "copies to the archive are made again");
            self.stats.facts.tell(Fact::ArchiveWorks { place: place.into() }, self.clock.wall());
        }
    }

    fn stands(&self) {
        let shelf = &self.archiving.shelf;
        let waiting = self.logs.iter().map(|(_, bus, log)| {
            let mut waiting = Waiting::default();
            for segment in log.segments().iter().filter(|s| awaits(shelf, bus, s)) {
                waiting.segments += 1;
                waiting.bytes += segment.bytes;
                waiting.oldest = Some(waiting.oldest.map_or(segment.newest, |oldest| oldest.min(segment.newest)));
            }
            (bus.clone(), waiting)
        });
        let damaged = self.state.damaged.values().next();
        let status = ArchiveStatus {
            place: shelf.place().into(),
            ready: self.state.ready,
            failing: self.state.failing.clone().or_else(|| damaged.map(|what| format!("a segment is damaged: {what}"))),
            waiting: waiting.collect(),
        };
        self.stats.archive.stands(status);
    }
}

/// Whether a sealed segment has no copy yet, or none of a part of it.
fn awaits(shelf: &Shelf, bus: &BusName, segment: &Segment) -> bool {
    segment.kind == SegmentKind::Sealed && !is_copied(shelf, bus, segment)
}

/// Whether every event of a segment has a copy.
pub(super) fn is_copied(shelf: &Shelf, bus: &BusName, segment: &Segment) -> bool {
    shelf.covered(bus, segment.first) >= segment.next
}

/// The records of a range, as many as make a copy, and where the next one begins: where nothing follows, behind it all.
async fn gather(log: &dyn Log, range: std::ops::Range<Offset>) -> Result<(Offset, Vec<Chunk>), Error> {
    let (mut from, mut bytes, mut chunks) = (range.start, 0u64, Vec::new());
    while from < range.end {
        let full = bytes >= pack::COPY_BYTES;
        let chunk = log.read(from, if full { 1 } else { READ_BYTES }).await?;
        let more = chunk.records.iter().any(|(offset, ..)| *offset < range.end);
        if !more {
            return Ok((range.end, chunks));
        }
        if full {
            break;
        }
        bytes += chunk.records.iter().map(|(.., body)| u64::try_from(body.len()).unwrap_or(u64::MAX)).sum::<u64>();
        from = chunk.next;
        chunks.push(chunk);
    }
    Ok((from.min(range.end), chunks))
}
