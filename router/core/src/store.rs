//! Step 3, append: the ports to what is durable. One [`Log`] per bus keeps the events; one [`Ledger`]
//! keeps what is owed. Both have a memory form, which is the oracle, and a disk form, and one
//! conformance suite (in `router-store`) holds every form to what is written here.
//!
//! # The invariant
//! *Every offset below B is settled for every lane, except the pending entries in the ledger*, where
//! B is [`Ledger::planned`] of the bus. A [`Ledger::commit`] moves all of it at once. Losing the last
//! [`Durability::Lazy`] commits, newest first, costs duplicates and never an event.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use schemas::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    clock::Timestamp,
    codes,
    id::{BusId, BusName, DeliveryId, Epoch, LaneId, Offset, OrderKey, RouteId, RouteName, RunId, TargetName},
    replay::Run,
};

/// What can go wrong with what is durable: one variant per decision of the caller.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A write or a sync failed: nothing more is written, read or acknowledged by this process.
    /// The process exits with code 74 and a restart recovers.
    #[error("the store failed and takes nothing more: {0}; restart the router, it recovers what was acknowledged")]
    Poisoned(Arc<str>),
    /// No space is left; nothing was written, and the same call may succeed later.
    #[error("no space left in the store: {0}")]
    NoSpace(Arc<str>),
    /// The offset lies before the first one that is kept.
    #[error("offset is no longer kept, the first one is {first}")]
    Trimmed {
        /// The first offset that is kept.
        first: Offset,
    },
    /// Another process opened the store with a newer epoch.
    #[error("another router owns this store now; this one stops")]
    Fenced,
    /// [`Log::reduce`] was asked about a stretch that is none, not any more, or not the oldest.
    #[error("no remnant and no oldest sealed segment begins at offset {first}; list the segments again")]
    NoSegment {
        /// What was asked for.
        first: Offset,
    },
    /// Events that the log has let go, and whose copy in the archive is missing or damaged: pass over them.
    #[error(
        "offsets {from} to below {to} cannot be read: {place}: {what}; `gocoffee archive verify` names all such copies"
    )]
    Lost {
        /// The first of them.
        from: Offset,
        /// The offset behind them.
        to: Offset,
        /// The copy.
        place: Box<str>,
        /// What is wrong with it.
        what: Box<str>,
    },
    /// The archive in object storage does not answer: the same call may succeed later.
    #[error("the archive cannot be read now: {0}")]
    Unreachable(Arc<str>),
    /// What was read is damaged.
    #[error("damage in {place}: {what}")]
    Damaged {
        /// The file and the bytes.
        place: Box<str>,
        /// What is wrong with them, and what to do.
        what: Box<str>,
    },
}

impl Error {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            Error::Poisoned(_) => codes::STORE_FAILED,
            Error::NoSpace(_) => codes::STORE_FULL,
            Error::Trimmed { .. } => codes::TRIMMED,
            Error::Fenced => codes::FENCED,
            Error::NoSegment { .. } => codes::NO_SEGMENT,
            Error::Lost { .. } => codes::COPY_LOST,
            Error::Unreachable(_) => codes::ARCHIVE_UNREACHABLE,
            Error::Damaged { .. } => codes::DAMAGED,
        }
    }
}

// ---------------------------------------------------------------------------------- the log

/// An event that was admitted, on its way into the log.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The event.
    pub event: Event,
    /// Its identity, hashed with the store's secret: see [`crate::admit::Key`].
    pub key: u64,
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: Offset,
    /// When it was appended; never earlier than that of the record before.
    pub appended: Timestamp,
    /// The event.
    pub event: Event,
}

/// Consecutive records out of one buffer.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// What the records' events are slices of.
    pub buffer: Bytes,
    /// The records, their body as a range of `buffer`.
    pub records: Vec<(Offset, Timestamp, Range<usize>)>,
    /// Where to read on: every record below it that exists and is not before the asked offset is in `records`.
    pub next: Offset,
}

impl Chunk {
    /// The records as events that share the buffer.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a body that is none, though its checksum holds.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, Error>> {
        self.records.iter().map(|(offset, appended, range)| {
            let body = self.buffer.get(range.clone()).map(|_| self.buffer.slice(range.clone())).unwrap_or_default();
            match Event::from_body(body) {
                Ok(event) => Ok(Record { offset: *offset, appended: *appended, event }),
                Err(e) => Err(Error::Damaged {
                    place: format!("record at offset {offset}").into(),
                    what: e.to_string().into(),
                }),
            }
        })
    }
}

/// The log of one bus. Offsets rise; gaps are legal.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends the batch in order, in one group commit, `now` as their append time (or the last
    /// record's, if that is later). `Ok` means that every one survives a power loss. After an error
    /// other than [`Error::NoSpace`] the log is poisoned: no later call succeeds.
    /// One call at a time; an empty batch is `Ok(vec![])`.
    async fn append(&self, now: Timestamp, batch: Vec<Admitted>) -> Result<Vec<Offset>, Error>;

    /// Records from the first one at or after `from`, consecutive, about `bytes_max` bytes of them but
    /// at least one, and never one that is not durable yet. Empty, with `next == from`, when `from` is
    /// at or after the tail (`bounds().1`). Many calls at a time.
    async fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error>;

    /// The first offset whose record was appended at or after `t`; the tail if there is none.
    async fn seek(&self, t: Timestamp) -> Result<Offset, Error>;

    /// First offset that is kept, and the tail: the offset that the next record will have at least.
    fn bounds(&self) -> (Offset, Offset);

    /// The tail, as it moves: changes only after the records below it are durable.
    fn tail(&self) -> watch::Receiver<Offset>;

    /// The stretches that the log is made of, by offset: remnants, sealed segments, the unsealed one.
    /// They do not overlap; offsets between two of them were let go. The list changes with every
    /// [`Log::seal`] and [`Log::reduce`], and when an append fills a segment.
    fn segments(&self) -> Vec<Segment>;

    /// Seals the unsealed segment if it holds a record, so that also a quiet bus can be reduced by age.
    /// After [`Error::NoSpace`] it is unsealed as before.
    async fn seal(&self) -> Result<(), Error>;

    /// Lets the stretch go that begins at `first`, but for the records at the offsets in `keep` (rising;
    /// those without a record mean nothing): the oldest sealed segment becomes a remnant, or a remnant a
    /// smaller one; it may be joined to the remnant before it. With nothing to keep it is gone.
    /// `bounds().0` moves past a segment that was sealed. `Ok` means that this survives a power loss, and
    /// a power loss on the way leaves the old or the new.
    ///
    /// The caller sees to it that what the ledger refers to is kept: it asks [`Ledger::needed`], makes
    /// the ledger durable ([`Durability::Now`]), and only then calls this.
    ///
    /// [`Error::NoSegment`] when no such stretch begins there. After [`Error::NoSpace`], and after
    /// [`Error::Damaged`] for a record that is to be kept, nothing has changed.
    async fn reduce(&self, first: Offset, keep: Vec<Offset>) -> Result<(), Error>;

    /// How many records the remnant holds that begins at `first`; `None`: none begins there.
    async fn kept(&self, first: Offset) -> Result<Option<u64>, Error>;

    /// The record at exactly this offset, in the log or in a remnant.
    async fn record(&self, offset: Offset) -> Result<Option<Record>, Error>;

    /// Keys of the records of the last `age` before the last append, at most the newest `count_max`,
    /// in log order: what the duplicate window holds after a start. An outage takes nothing from it.
    async fn keys(&self, age: Duration, count_max: usize) -> Result<Vec<Keyed>, Error>;
}

/// A stretch of the log that goes as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins: its name in [`Log::reduce`].
    pub first: Offset,
    /// Where it ends: the offset behind it.
    pub next: Offset,
    /// Append time of the last record that is in it; of the last one before it, if there is none.
    pub newest: Timestamp,
    /// Bytes on disk, side file included.
    pub bytes: u64,
    /// What of it is kept.
    pub kind: SegmentKind,
}

/// What of a stretch is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Only the records that were still needed. It lies below `bounds().0`: [`Log::record`] finds them.
    Remnant,
    /// All, and nothing is added.
    Sealed,
    /// All, and new records come to it: always the last one.
    Unsealed,
}

/// A key of the duplicate window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// As in [`Admitted::key`].
    pub key: u64,
    /// The record's place.
    pub offset: Offset,
    /// When it was appended.
    pub appended: Timestamp,
}

// ------------------------------------------------------------------------------- the ledger

/// Whether a commit survives a power loss when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced: it and all commits before it survive.
    Now,
    /// Written: it survives the process, and a power loss may take it together with all that follow it.
    Lazy,
}

/// What came of one attempt, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number: the first is 1, and it only grows.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
    /// The status that the target answered with, where there was an answer.
    pub status: Option<u16>,
    /// `retry`, `refused`, `stop`, with a word of the target, at most 1 KiB, secrets removed.
    pub note: Box<str>,
}

/// Attempts of one delivery: all counted, the first and the last ten kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many there were.
    pub count: u32,
    /// Those that count toward `attempts_max`: another delivery to the target succeeded after them.
    pub counted: u32,
    /// Failed ones that do not count yet.
    pub uncounted: u32,
    /// The first one.
    pub first: Option<Attempt>,
    /// The last ten, oldest first, the first one not among them.
    pub last: Vec<Attempt>,
}

/// A delivery that is owed: in the ledger when it lies below B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// To whom.
    pub lane: LaneId,
    /// Which event.
    pub offset: Offset,
    /// Not before; `None` is ready, or parked.
    pub due: Option<Timestamp>,
    /// On a lane with order: of an entry with a due time, the key that waits for it; of one without, the
    /// key under which it is parked. `None` is an entry that no key waits for, and that is not parked.
    pub key: Option<OrderKey>,
    /// It was redriven after later ones of its key were delivered.
    pub late: bool,
    /// The router's running time when its budget of retries began, in milliseconds: see [`State::running_ms`].
    pub opened_ms: u64,
    /// Length of the event's body, in bytes.
    pub bytes: u32,
    /// What was tried.
    pub attempts: Attempts,
}

impl Pending {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { due: self.due, key: self.key }
    }
}

/// Where an entry stands: ready (neither of both), waiting (a due time, and perhaps the key that waits for
/// it), or parked (a key alone), in the order of offsets under its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// As in [`Pending::due`].
    pub due: Option<Timestamp>,
    /// As in [`Pending::key`].
    pub key: Option<OrderKey>,
}

impl From<Option<Timestamp>> for Place {
    /// Ready, or waiting with no key that waits for it.
    fn from(due: Option<Timestamp>) -> Self {
        Place { due, key: None }
    }
}

impl Place {
    /// Parked under a key.
    pub fn parked(key: OrderKey) -> Self {
        Place { due: None, key: Some(key) }
    }

    /// The key under which it is parked.
    pub fn parked_under(self) -> Option<OrderKey> {
        self.key.filter(|_| self.due.is_none())
    }
}

/// Which key a dead letter of a lane with order is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterOrder {
    /// The key.
    pub key: OrderKey,
    /// It is counted in the [`KeyLetters`] of its key. If not, there were too many keys to note, and whether
    /// later ones of its key were delivered is not known.
    pub counted: bool,
    /// Its key waits for it: since when the key does, as in [`KeyLetters::since`].
    pub holds: Option<Timestamp>,
}

/// What is known of a key that has open dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLetters {
    /// Open dead letters of the key that are counted here.
    pub letters: u32,
    /// Those of them that the key waits for.
    pub holding: u32,
    /// Since when it waits for them; only letters that say the same are among `holding`.
    pub since: Timestamp,
    /// The highest offset that was delivered while there were letters: those below it are late.
    pub delivered: Offset,
}

/// A delivery that was parked for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The delivery.
    pub id: DeliveryId,
    /// Its route's name at that time.
    pub route: RouteName,
    /// Its target's name at that time.
    pub target: TargetName,
    /// Why, for programs, e.g. `refused`, `attempts-exhausted`, `too-old`.
    pub reason: Box<str>,
    /// Why, for people.
    pub note: Box<str>,
    /// When it was parked.
    pub at: Timestamp,
    /// Length of the event's body, in bytes.
    pub bytes: u32,
    /// What was tried.
    pub attempts: Attempts,
    /// Its key, on a lane with order.
    #[serde(skip)]
    pub order: Option<LetterOrder>,
}

/// What a route wants, from an offset on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteVersion {
    /// The route.
    pub route: RouteId,
    /// Its name.
    pub name: RouteName,
    /// The bus.
    pub bus: BusId,
    /// The first offset that this version judges.
    pub from: Offset,
    /// The filter as JSON text; `None` from where on the route is gone.
    pub filter: Option<Arc<str>>,
}

/// Whether what a route is owed is delivered, as an operator said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Nothing is, since then.
    Since(Timestamp),
    /// It is again. What was owed at this running time of the router, in milliseconds, counts its age from there.
    Over(u64),
}

/// Part of a commit. Applied in the order given.
#[derive(Clone, Debug)]
pub enum Change {
    /// The new B of a bus. Never goes back.
    Planned(BusId, Offset),
    /// The router has been running for so long in all, in milliseconds.
    Running(u64),
    /// A pending entry, in place of the one of the same lane and offset, which stood at `replaces`.
    Put {
        /// The entry.
        pending: Pending,
        /// Where the entry stands that is there; `None` when there is none.
        replaces: Option<Place>,
    },
    /// The entry of this lane and offset, at this place, is settled.
    Drop {
        /// The lane.
        lane: LaneId,
        /// The offset.
        offset: Offset,
        /// Where the entry stands that is there.
        place: Place,
        /// Its [`Pending::bytes`].
        bytes: u32,
    },
    /// What is known of a key with dead letters, in place of what was.
    PutKey(LaneId, OrderKey, KeyLetters),
    /// A key has no dead letters any more.
    DropKey(LaneId, OrderKey),
    /// A dead letter, in place of one with the same id.
    PutDeadLetter(Box<DeadLetter>),
    /// The dead letter is redriven or purged.
    DropDeadLetter(DeliveryId),
    /// A bus gets its number.
    NameBus(BusName, BusId),
    /// A route gets its number.
    NameRoute(RouteName, RouteId),
    /// A version of a route, in place of one with the same route, bus and offset.
    PutVersion(RouteVersion),
    /// What an operator said about delivering what a route is owed, in place of what was said before.
    Pause(RouteId, Pause),
    /// A version that no record above B needs any more.
    DropVersion {
        /// The route.
        route: RouteId,
        /// The bus.
        bus: BusId,
        /// Its first offset.
        from: Offset,
    },
    /// A run, in place of the one with the same id.
    PutRun(Box<Run>),
    /// A run that is over is not kept any more.
    DropRun(RunId),
}

/// Everything small that a start reads at once.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The newest epoch: that of commits.
    pub epoch: Epoch,
    /// Those of deliveries.
    pub epochs: Epochs,
    /// Drawn at creation; keys the hash of [`Admitted::key`].
    pub secret: [u8; 16],
    /// How long the router has been running in all, in milliseconds.
    pub running_ms: u64,
    /// Buses by name.
    pub buses: Vec<(BusName, BusId)>,
    /// Routes by name.
    pub routes: Vec<(RouteName, RouteId)>,
    /// All versions, by route, bus and offset.
    pub versions: Vec<RouteVersion>,
    /// Routes that an operator has paused, or resumed since.
    pub pauses: Vec<(RouteId, Pause)>,
    /// Lanes that have pending entries: how many, and the oldest offset.
    pub lanes: Vec<LaneState>,
    /// Runs by id, those that are over and still kept too.
    pub runs: Vec<Run>,
    /// Keys that hold something up, by lane and key.
    pub keys: Vec<KeyState>,
}

/// A key of a lane at a start: one under which entries are parked, that waits for one, or that has dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// The lane.
    pub lane: LaneId,
    /// The key.
    pub key: OrderKey,
    /// Entries that are parked under it.
    pub parked: u64,
    /// Entries with a due time that it waits for.
    pub waiting: u64,
    /// Its dead letters.
    pub letters: Option<KeyLetters>,
}

/// The epochs of deliveries. A store has one from its creation; `gocoffee recover` may begin another one
/// from an offset of each bus on. A delivery's epoch is that of its offset, so that its id never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    first: Epoch,
    /// In the order in which they were begun.
    later: Vec<(BusId, Offset, Epoch)>,
}

impl From<Epoch> for Epochs {
    fn from(first: Epoch) -> Self {
        Epochs { first, later: Vec::new() }
    }
}

impl Epochs {
    /// These, and another one for the deliveries of a bus from an offset on.
    #[must_use]
    pub fn with(mut self, bus: BusId, from: Offset, epoch: Epoch) -> Self {
        self.later.push((bus, from, epoch));
        self
    }

    /// The epoch of the deliveries of one event.
    pub fn of(&self, bus: BusId, offset: Offset) -> Epoch {
        let begun = self.later.iter().rev().find(|(b, from, _)| *b == bus && *from <= offset);
        begun.map_or(self.first, |(_, _, epoch)| *epoch)
    }
}

/// Pending entries of a lane at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// The lane.
    pub lane: LaneId,
    /// Entries without a due time.
    pub ready: u64,
    /// Entries with one.
    pub waiting: u64,
    /// Entries that are parked.
    pub parked: u64,
    /// Sum of [`Pending::bytes`] of all of them.
    pub bytes: u64,
    /// The lowest offset of a ready entry.
    pub ready_first: Option<Offset>,
    /// The earliest due time.
    pub due_first: Option<Timestamp>,
}

/// Which dead letters: all that hold for every condition given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this route.
    pub route: Option<RouteName>,
    /// With this reason.
    pub reason: Option<Box<str>>,
    /// To this target, as it was called when they were parked.
    pub target: Option<TargetName>,
    /// Parked then or later.
    pub since: Option<Timestamp>,
    /// Parked before then.
    pub before: Option<Timestamp>,
    /// Exactly these.
    pub ids: Option<Vec<DeliveryId>>,
}

impl Selection {
    /// Whether all conditions hold for the dead letter.
    pub fn holds(&self, d: &DeadLetter) -> bool {
        self.route.as_ref().is_none_or(|route| *route == d.route)
            && self.reason.as_ref().is_none_or(|reason| *reason == d.reason)
            && self.target.as_ref().is_none_or(|target| *target == d.target)
            && self.since.is_none_or(|since| d.at >= since)
            && self.before.is_none_or(|before| d.at < before)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&d.id))
    }
}

/// A page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// After this one; `None` starts at the first.
    pub after: Option<DeliveryId>,
    /// At most so many.
    pub count_max: usize,
}

/// What is owed. All entries are ordered by lane, then offset; dead letters by id.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Applies all changes or none. After an error other than [`Error::NoSpace`] the ledger is
    /// poisoned. Commits are durable in the order they were made: a [`Durability::Now`] commit makes
    /// all earlier ones durable too. A commit with an epoch that is not the store's is [`Error::Fenced`].
    async fn commit(&self, epoch: Epoch, changes: Vec<Change>, durability: Durability) -> Result<(), Error>;

    /// What a start needs to know.
    async fn state(&self) -> Result<State, Error>;

    /// B of a bus: the planner goes on from here. `None` for a bus that was never planned.
    async fn planned(&self, bus: BusId) -> Result<Option<Offset>, Error>;

    /// Entries of a lane without a due time, but for those that are parked, by offset, from `from` on.
    async fn ready(&self, lane: LaneId, from: Offset, count_max: usize) -> Result<Vec<Pending>, Error>;

    /// Entries of a lane that are due at `now`, earliest first.
    async fn due(&self, lane: LaneId, now: Timestamp, count_max: usize) -> Result<Vec<Pending>, Error>;

    /// Entries of a lane that wait for their next try, by due time, then offset, from there on.
    async fn waiting(&self, lane: LaneId, from: (Timestamp, Offset), count_max: usize) -> Result<Vec<Pending>, Error>;

    /// Parked entries of a lane from a key and an offset on up to before another, by key, then offset.
    async fn parked(
        &self,
        lane: LaneId,
        range: Range<(OrderKey, Offset)>,
        count_max: usize,
    ) -> Result<Vec<Pending>, Error>;

    /// The earliest due time of a lane's entries that is after `after`.
    async fn next_due(&self, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, Error>;

    /// Dead letters, by id.
    async fn dead_letters(&self, which: &Selection, page: Page) -> Result<Vec<DeadLetter>, Error>;

    /// Which records of a bus, among those in `range`, a pending entry or a dead letter refers to, B, and
    /// whether a run has yet to read some of them, all at one moment between two commits. Below B this only
    /// ever shrinks, but for the start of a run: entries come above it, or out of what a run holds, and a
    /// redrive puts an entry in the place of a dead letter in one commit.
    async fn needed(&self, bus: BusId, range: Range<Offset>) -> Result<Needed, Error>;

    /// Pending entries and dead letters of all lanes, for `status` and the oracle: counted, not guessed.
    async fn count(&self) -> Result<Vec<LaneCount>, Error>;
}

/// What the ledger refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// B of the bus at that moment; 0 for a bus that was never planned. What lies at or above it will be
    /// needed too.
    pub planned: Offset,
    /// The offsets, rising, each once.
    pub offsets: Vec<Offset>,
    /// A run that goes on or is paused has yet to read something of the range: see [`Run::holds`].
    pub held: bool,
}

/// What the ledger holds of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCount {
    /// The lane.
    pub lane: LaneId,
    /// Pending entries.
    pub pending: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// An open store: the ledger, and a log for each bus.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The ledger.
    fn ledger(&self) -> Arc<dyn Ledger>;
    /// The log of a bus, created when there is none.
    async fn log(&self, bus: &BusName) -> Result<Arc<dyn Log>, Error>;

    /// What it takes, measured now: some milliseconds for a thousand files.
    async fn usage(&self) -> Result<Usage, Error>;

    /// Gives back the ballast, space that is held so that a full store can still trim (`false`), or lays
    /// it again (`true`). `Ok(true)` when this changed something; laying it where there is no space for
    /// it is `Ok(false)`.
    async fn ballast(&self, laid: bool) -> Result<bool, Error>;
}

/// Bytes that a store takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Each log's segments with their side files, the part of the unsealed one that is only reserved
    /// included.
    pub logs: Vec<(BusName, u64)>,
    /// Remnants of all logs.
    pub remnants: u64,
    /// The ledger, but for its journals, which grow to a bound of their own whatever is owed.
    pub ledger: u64,
    /// The ballast; 0 when it was given back.
    pub ballast: u64,
    /// Everything else in the data folder.
    pub rest: u64,
    /// Free bytes of the file system; `None` in memory.
    pub free: Option<u64>,
}

impl Usage {
    /// All of it, without the ballast: what `bytes_max` counts.
    pub fn total(&self) -> u64 {
        let logs = self.logs.iter().map(|(_, bytes)| *bytes);
        logs.chain([self.remnants, self.ledger, self.rest]).fold(0, u64::saturating_add)
    }
}
