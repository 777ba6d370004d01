//! Step 8, archive: where copies of sealed segments lie, outside of this machine: a bucket, or a folder.
//!
//! ```text
//! PREFIX/gocoffee-archive.json                                     whose copies these are
//! PREFIX/buses/NAME/FIRST-NEXT-OLDEST-NEWEST-EPOCH-SUM.seg         a copy (module `pack`)
//! ```
//!
//! FIRST and NEXT are offsets (20 digits), OLDEST and NEWEST append times in microseconds (16 digits), EPOCH is that
//! of the deliveries of the first event, and SUM is the beginning of the SHA-256 of what the copy holds. So a listing
//! *is* the index by offset and by time, and there is no index to be lost or to be behind. A copy is written whole,
//! by a conditional create, and never changed: made again after an answer that was lost it has the same name, and two
//! routers cannot write over each other's.
//!
//! The port is [`Objects`]; what knows the segments is [`Shelf`].

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    id::{BusName, Epoch, Offset},
    store,
};

/// The bytes of a copy.
pub mod pack;

/// Reading copies, as one reads a log.
mod read;

/// What is known of the copies, for whoever watches.
mod status;

/// A log and its copies, as one.
mod reach;

pub use self::{
    reach::Reach,
    read::{Damage, Verified},
    status::{ArchiveStats, ArchiveStatus, Waiting},
};

/// The object that says whose copies these are.
pub const MARKER: &str = "gocoffee-archive.json";
/// The format of the marker, of the names and of the copies.
const FORMAT: u32 = 1;
/// Below it lie the copies, a folder for each bus.
const BUSES: &str = "buses/";
/// What is written to see whether the place takes anything, and removed again.
const PROBE: &str = "gocoffee-probe";
/// Bytes of a marker that are read.
const MARKER_BYTES_MAX: u64 = 4 << 10;

/// Why an object cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It did not work now; it may later. Whether something was written is unknown.
    #[error("{place}: {why}")]
    Failed {
        /// Which object, as an operator finds it.
        place: Box<str>,
        /// What the store said.
        why: Box<str>,
    },
    /// There is no such object.
    #[error("{place} is not there")]
    NotFound {
        /// Which.
        place: Box<str>,
    },
    /// An object has this name already.
    #[error("{place} is there already")]
    Exists {
        /// Which.
        place: Box<str>,
    },
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name below the prefix.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A place for objects: a prefix of a bucket, or a folder. Names are relative to it.
#[async_trait]
pub trait Objects: Send + Sync + 'static {
    /// The place as an operator writes it, without secrets.
    fn place(&self) -> &str;

    /// Writes an object whole, if none has its name. `Ok` means that it is durable, and that readers see all of it or
    /// nothing. [`Error::Exists`] when one has the name, be it this one, whose answer was lost.
    async fn create(&self, name: &str, body: Bytes) -> Result<(), Error>;

    /// A range of an object's bytes: all of it, or an error. A range beyond its end is [`Error::Failed`].
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error>;

    /// How long an object is.
    async fn length(&self, name: &str) -> Result<u64, Error>;

    /// The objects whose names begin with `prefix`, which is empty or ends with `/`, by name.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error>;

    /// Removes an object; `Ok` when there is none either.
    async fn remove(&self, name: &str) -> Result<(), Error>;
}

/// A copy of a part of a log, as its name tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its first offset.
    pub first: Offset,
    /// The offset behind it: every event of the bus in between is in it.
    pub next: Offset,
    /// When its first event was appended.
    pub oldest: Timestamp,
    /// When its last event was appended.
    pub newest: Timestamp,
    /// The epoch of its first event's deliveries.
    pub epoch: Epoch,
    /// The beginning of the SHA-256 of what it holds.
    pub sum: u128,
    /// Length of the object.
    pub bytes: u64,
}

impl Copied {
    /// The object's name.
    pub fn name(&self, bus: &BusName) -> String {
        let Copied { first, next, oldest, newest, epoch, sum, .. } = self;
        format!(
            "{BUSES}{bus}/{:020}-{:020}-{:016}-{:016}-{:016x}-{sum:032x}.seg",
            first.0, next.0, oldest.0, newest.0, epoch.0
        )
    }

    /// The bus and the copy that an object's name tells of; `None` for a name that is none.
    pub fn parse(object: &Object) -> Option<(BusName, Copied)> {
        let (bus, file) = object.name.strip_prefix(BUSES)?.split_once('/')?;
        let bus = BusName::new(bus).ok()?;
        let parts: Vec<&str> = file.strip_suffix(".seg")?.split('-').collect();
        let [first, next, oldest, newest, epoch, sum] = parts.as_slice() else { return None };
        let number = |text: &str| text.parse::<u64>().ok();
        let copy = Copied {
            first: Offset(number(first)?),
            next: Offset(number(next)?),
            oldest: Timestamp(number(oldest)?),
            newest: Timestamp(number(newest)?),
            epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
            sum: u128::from_str_radix(sum, 16).ok()?,
            bytes: object.bytes,
        };
        (copy.first < copy.next && copy.name(&bus) == object.name).then_some((bus, copy))
    }
}

/// Who wrote what lies at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The format of everything there.
    pub format: u32,
    /// The store whose copies these are: see [`store_id`].
    pub store: String,
}

/// Why the copies of a place are not this store's.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The place did not answer.
    #[error(transparent)]
    Objects(#[from] Error),
    /// They are another store's.
    #[error(
        "{place} holds the archive of another data folder ({theirs}; this one is {ours}): nothing is copied there. Give this router a prefix of its own in `archive.to`; what lies there is read by `gocoffee archive ls --from-store {place}`"
    )]
    Foreign {
        /// The place.
        place: Box<str>,
        /// Whose it is.
        theirs: Box<str>,
        /// Who asked.
        ours: Box<str>,
    },
    /// What says whose they are cannot be read.
    #[error(
        "{place}/{MARKER} cannot be read ({why}): nothing is copied there. Use the gocoffee that wrote it or a newer one, or give this router a prefix of its own in `archive.to`"
    )]
    Unreadable {
        /// The place.
        place: Box<str>,
        /// What is wrong.
        why: Box<str>,
    },
    /// Copies lie above the end of the log.
    #[error(
        "{place} holds offsets to below {copied} of bus {bus}, and its log ends at {tail}: this data folder is older than its archive, as after a restore from a backup, and would give offsets twice. Nothing is copied there; give this router a prefix of its own in `archive.to`"
    )]
    Ahead {
        /// The place.
        place: Box<str>,
        /// The bus.
        bus: BusName,
        /// Where its copies end.
        copied: Offset,
        /// Where its log ends.
        tail: Offset,
    },
}

/// What a data folder is called in its archive: made from its secret, which it keeps for good, and tells nothing of it.
pub fn store_id(secret: &[u8; 16]) -> String {
    let mut text = b"gocoffee archive ".to_vec();
    text.extend_from_slice(secret);
    let sum = ring::digest::digest(&ring::digest::SHA256, &text);
    sum.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The copies at one place, and what is known of them.
pub struct Shelf {
    objects: Arc<dyn Objects>,
    /// Of each bus, by first offset. About a hundred bytes each.
    copies: RwLock<BTreeMap<BusName, Vec<Copied>>>,
    blocks: Mutex<read::Blocks>,
    /// The copies are known.
    loaded: AtomicBool,
    /// What was found damaged or missing, by name, with what is wrong: it is not read again.
    lost: Mutex<BTreeMap<String, Box<str>>>,
}

impl Shelf {
    /// Of this place; nothing is read yet.
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Shelf {
            objects,
            copies: RwLock::default(),
            blocks: Mutex::default(),
            loaded: AtomicBool::new(false),
            lost: Mutex::default(),
        }
    }

    /// The place as an operator writes it.
    pub fn place(&self) -> &str {
        self.objects.place()
    }

    /// Who wrote what lies here; `None` when nobody has yet.
    ///
    /// # Errors
    /// [`ClaimError`], but for [`ClaimError::Foreign`].
    pub async fn marker(&self) -> Result<Option<Marker>, ClaimError> {
        let unreadable = |why: String| ClaimError::Unreadable { place: self.place().into(), why: why.into() };
        let bytes = match self.objects.length(MARKER).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            length => length?,
        };
        if bytes == 0 || bytes > MARKER_BYTES_MAX {
            return Err(unreadable(format!("it has {bytes} bytes")));
        }
        let text = self.objects.read(MARKER, 0..bytes).await?;
        let marker: Marker = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
        if marker.format != FORMAT {
            return Err(unreadable(format!("it has format {}, this program reads format {FORMAT}", marker.format)));
        }
        Ok(Some(marker))
    }

    /// Whether the place can be listed, written, read and tidied up, and holds its word of conditional writes.
    ///
    /// # Errors
    /// What it does not let us do.
    pub async fn probe(&self) -> Result<(), Error> {
        let body = Bytes::from_static(b"gocoffee check --connect");
        self.marker().await.map(drop).or_else(|e| match e {
            ClaimError::Objects(e) => Err(e),
            // Whose it is, is asked when there is a data folder.
            _ => Ok(()),
        })?;
        self.objects.list("gocoffee-probe/").await?;
        self.objects.remove(PROBE).await?;
        self.objects.create(PROBE, body.clone()).await?;
        let again = self.objects.create(PROBE, body.clone()).await;
        let read = self.objects.read(PROBE, 0..u64::try_from(body.len()).unwrap_or(u64::MAX)).await;
        self.objects.remove(PROBE).await?;
        let failed = |why: &str| Error::Failed { place: self.place_of(PROBE).into(), why: why.into() };
        if !matches!(again, Err(Error::Exists { .. })) {
            return Err(failed(
                "it was written twice: the store does not hold conditional writes, without which two routers could write over each other",
            ));
        }
        if read? != body { Err(failed("what was read is not what was written")) } else { Ok(()) }
    }

    /// Sees to it that the place is this store's.
    ///
    /// # Errors
    /// [`ClaimError`]: nothing may be written there.
    pub async fn claim(&self, ours: &str) -> Result<(), ClaimError> {
        let marker = Marker { format: FORMAT, store: ours.into() };
        let text = serde_json::to_vec(&marker)
            .map_err(|e| ClaimError::Unreadable { place: self.place().into(), why: e.to_string().into() })?;
        let created = self.objects.create(MARKER, text.into()).await;
        match created {
            Ok(()) => return Ok(()),
            Err(Error::Exists { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        match self.marker().await? {
            Some(found) if found == marker => Ok(()),
            Some(found) => {
                Err(ClaimError::Foreign { place: self.place().into(), theirs: found.store.into(), ours: ours.into() })
            }
            None => Err(Error::NotFound { place: format!("{}/{MARKER}", self.place()).into() }.into()),
        }
    }

    /// Lists the copies: from here on they are read.
    ///
    /// # Errors
    /// The place's; what was known before is known still.
    pub async fn load(&self) -> Result<(), Error> {
        let mut all: BTreeMap<BusName, Vec<Copied>> = BTreeMap::new();
        for object in self.objects.list(BUSES).await? {
            if let Some((bus, copy)) = Copied::parse(&object) {
                all.entry(bus).or_default().push(copy);
            }
        }
        all.values_mut().for_each(|copies| copies.sort_by_key(|c| (c.first, c.next)));
        *self.copies.write().unwrap_or_else(PoisonError::into_inner) = all;
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// That nothing is known of the copies yet.
    fn unlisted(&self) -> Option<store::Error> {
        let unknown = !self.loaded.load(Ordering::Acquire);
        unknown.then(|| store::Error::Unreachable(format!("{} could not be listed yet", self.place()).into()))
    }

    /// The buses that have copies.
    pub fn buses(&self) -> Vec<BusName> {
        self.copies.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The copies of a bus by offset.
    pub fn copies(&self, bus: &BusName) -> Vec<Copied> {
        self.with(bus, <[Copied]>::to_vec)
    }

    fn with<T>(&self, bus: &BusName, of: impl FnOnce(&[Copied]) -> T) -> T {
        let all = self.copies.read().unwrap_or_else(PoisonError::into_inner);
        of(all.get(bus).map(Vec::as_slice).unwrap_or_default())
    }

    /// The first offset that has a copy, and the one behind the last that has.
    pub fn bounds(&self, bus: &BusName) -> Option<(Offset, Offset)> {
        self.with(bus, |copies| Some((copies.first()?.first, copies.iter().map(|c| c.next).max()?)))
    }

    /// The first offset at or behind `from` that has a copy; `None` when none has.
    pub fn next_copied(&self, bus: &BusName, from: Offset) -> Option<Offset> {
        self.with(bus, |copies| {
            let behind = copies.partition_point(|c| c.first <= from);
            let within = behind.checked_sub(1).and_then(|at| copies.get(at)).is_some_and(|c| from < c.next);
            if within { Some(from) } else { copies.get(behind).map(|c| c.first) }
        })
    }

    /// How far, from `first` on, all has a copy: `first` when nothing has.
    pub fn covered(&self, bus: &BusName, first: Offset) -> Offset {
        self.with(bus, |copies| {
            let mut at = first;
            let begins = copies.partition_point(|c| c.first <= at);
            // A copy that begins before may reach over it; copies of one store do not overlap otherwise.
            for copy in copies.iter().skip(begins.saturating_sub(1)) {
                if copy.first > at {
                    break;
                }
                at = at.max(copy.next);
            }
            at
        })
    }

    /// Writes a copy. `Ok` means that it is there, whole: after an answer that was lost it is read back.
    ///
    /// # Errors
    /// The place's; the same call may be made again.
    pub async fn put(&self, bus: &BusName, packed: pack::Packed) -> Result<(), Error> {
        let name = packed.copy.name(bus);
        match self.objects.create(&name, packed.body).await {
            Ok(()) => {}
            Err(Error::Exists { place }) => {
                let bytes = self.objects.length(&name).await?;
                let there = Copied { bytes, ..packed.copy.clone() };
                if let Err(damage) = self.check(bus, &there).await? {
                    let why = format!(
                        "it is there, and not what it should be ({}); remove it, and it is copied again",
                        damage.what
                    );
                    return Err(Error::Failed { place, why: why.into() });
                }
                self.add(bus, there);
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        self.add(bus, packed.copy);
        Ok(())
    }

    fn add(&self, bus: &BusName, copy: Copied) {
        let name = copy.name(bus);
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        let mut all = self.copies.write().unwrap_or_else(PoisonError::into_inner);
        let copies = all.entry(bus.clone()).or_default();
        copies.retain(|known| known.name(bus) != name);
        let at = copies.partition_point(|c| (c.first, c.next) < (copy.first, copy.next));
        copies.insert(at, copy);
    }

    /// Reads a copy no more: the first half of removing it.
    pub fn forget(&self, bus: &BusName, copy: &Copied) {
        let mut all = self.copies.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(copies) = all.get_mut(bus) {
            copies.retain(|known| known != copy);
        }
    }

    /// Removes a copy that was forgotten.
    ///
    /// # Errors
    /// The place's: it is known again.
    pub async fn remove(&self, bus: &BusName, copy: &Copied) -> Result<(), Error> {
        let removed = self.objects.remove(&copy.name(bus)).await;
        if removed.is_err() {
            self.add(bus, copy.clone());
        }
        removed
    }

    fn place_of(&self, name: &str) -> String {
        format!("{}/{name}", self.place())
    }
}

#[cfg(test)]
mod tests;
