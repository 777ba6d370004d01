//! Reading copies: block by block, with bounded memory however large they are, and every byte against its checksum.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use super::{
    Copied, Error, Shelf,
    pack::{self, Index},
};
use crate::{
    clock::Timestamp,
    id::{BusName, Offset},
    store::{self, Chunk, Record},
};

/// Last bytes of a copy that are read first: the index of most.
const INDEX_BYTES: u64 = 32 << 10;
/// Bytes of a copy that one request brings, but for a larger block.
const FETCH_BYTES: u64 = 2 << 20;
/// Bytes of the inside of blocks that are kept for the next reader.
const KEPT_BYTES: usize = 16 << 20;
/// Indices that are kept.
const INDICES_MAX: usize = 64;

/// What was read a moment ago.
#[derive(Default)]
pub(super) struct Blocks {
    /// By name; the last one used last.
    indices: VecDeque<(String, Arc<Index>)>,
    /// By name and place.
    blocks: VecDeque<(String, u64, Chunk)>,
    bytes: usize,
}

impl Blocks {
    fn index(&mut self, name: &str) -> Option<Arc<Index>> {
        let at = self.indices.iter().position(|(known, _)| known == name)?;
        let found = self.indices.remove(at)?;
        self.indices.push_back(found.clone());
        Some(found.1)
    }

    fn keep_index(&mut self, name: &str, index: Arc<Index>) {
        self.indices.push_back((name.into(), index));
        if self.indices.len() > INDICES_MAX {
            self.indices.pop_front();
        }
    }

    fn block(&mut self, name: &str, place: u64) -> Option<Chunk> {
        let at = self.blocks.iter().position(|(known, at, _)| *at == place && known == name)?;
        let found = self.blocks.remove(at)?;
        self.blocks.push_back(found.clone());
        Some(found.2)
    }

    fn keep_block(&mut self, name: &str, place: u64, chunk: Chunk) {
        if self.blocks.iter().any(|(known, at, _)| *at == place && known == name) {
            return;
        }
        self.bytes += chunk.buffer.len();
        self.blocks.push_back((name.into(), place, chunk));
        while self.bytes > KEPT_BYTES && self.blocks.len() > 1 {
            let Some((.., old)) = self.blocks.pop_front() else { break };
            self.bytes -= old.buffer.len();
        }
    }
}

/// A copy that is missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object, as an operator finds it.
    pub place: String,
    /// Its first offset.
    pub first: Offset,
    /// The offset behind it.
    pub next: Offset,
    /// What is wrong with it.
    pub what: String,
}

impl From<Damage> for store::Error {
    fn from(damage: Damage) -> Self {
        store::Error::Lost { from: damage.first, to: damage.next, place: damage.place.into(), what: damage.what.into() }
    }
}

/// What a look at a bus's copies found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Copies that were read whole.
    pub copies: u64,
    /// Events in them.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that are missing or damaged.
    pub damages: Vec<Damage>,
    /// Offsets between two copies that have none.
    pub gaps: Vec<(Offset, Offset)>,
    /// Copies that lie over each other: only one store may write here.
    pub overlaps: Vec<(Offset, Offset)>,
}

/// What went wrong with a copy: it is damaged, or its place did not answer.
enum Failed {
    Damaged(String),
    Objects(Error),
}

impl From<&'static str> for Failed {
    fn from(what: &'static str) -> Self {
        Failed::Damaged(what.into())
    }
}

impl From<Error> for Failed {
    fn from(e: Error) -> Self {
        match e {
            Error::NotFound { .. } => Failed::Damaged("it is not there, though it was listed".into()),
            e => Failed::Objects(e),
        }
    }
}

impl Shelf {
    /// The copy in which an offset lies, or the first one behind it.
    fn find(&self, bus: &BusName, from: Offset) -> Option<Copied> {
        self.with(bus, |copies| {
            let behind = copies.partition_point(|c| c.first <= from);
            let before = behind.checked_sub(1).and_then(|at| copies.get(at)).filter(|c| from < c.next);
            before.or_else(|| copies.get(behind)).cloned()
        })
    }

    /// Events from the first copied one at or after `from` and before `to` on, out of one block, or an empty chunk
    /// with `next == to`. Offsets that have no copy are passed over: ask [`Shelf::covered`] where that matters.
    ///
    /// # Errors
    /// [`store::Error::Lost`] for a copy that is missing or damaged, with the offsets to pass over;
    /// [`store::Error::Unreachable`] when its place does not answer: the same call may succeed later.
    pub async fn read(&self, bus: &BusName, from: Offset, to: Offset) -> Result<Chunk, store::Error> {
        if let Some(unlisted) = self.unlisted() {
            return Err(unlisted);
        }
        let none = |next| Chunk { buffer: bytes::Bytes::new(), records: Vec::new(), next };
        let Some(copy) = self.find(bus, from).filter(|copy| copy.first < to) else { return Ok(none(to)) };
        let name = copy.name(bus);
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(what) = lost {
            return Err(self.damage(bus, &copy, what.into()).into());
        }
        match self.read_copy(bus, &copy, &name, from).await {
            Ok(Some(chunk)) => Ok(chunk),
            // Its last record lies before.
            Ok(None) => Ok(none(copy.next.min(to))),
            Err(Failed::Damaged(what)) => {
                let place = self.place_of(&name);
                tracing::error!(code = %crate::codes::COPY_LOST, %bus, %place, what, from = copy.first.0, to = copy.next.0, "a copy in the archive is missing or damaged: its events are passed over");
                self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(name, what.as_str().into());
                Err(self.damage(bus, &copy, what).into())
            }
            Err(Failed::Objects(e)) => Err(store::Error::Unreachable(e.to_string().into())),
        }
    }

    fn damage(&self, bus: &BusName, copy: &Copied, what: String) -> Damage {
        Damage { place: self.place_of(&copy.name(bus)), first: copy.first, next: copy.next, what }
    }

    async fn read_copy(&self, bus: &BusName, copy: &Copied, name: &str, from: Offset) -> Result<Option<Chunk>, Failed> {
        let index = self.index(bus, copy, name).await?;
        let at = index.blocks.partition_point(|b| b.last < from.0);
        let Some(wanted) = index.blocks.get(at) else { return Ok(None) };
        let kept = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).block(name, wanted.at);
        let chunk = match kept {
            Some(chunk) => chunk,
            None => self.fetch(name, &index, at, copy.next).await?,
        };
        let before = chunk.records.partition_point(|(offset, ..)| *offset < from);
        let records = chunk.records.get(before..).unwrap_or_default().to_vec();
        Ok(Some(Chunk { records, ..chunk }))
    }

    async fn index(&self, bus: &BusName, copy: &Copied, name: &str) -> Result<Arc<Index>, Failed> {
        if let Some(index) = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).index(name) {
            return Ok(index);
        }
        let mut want = INDEX_BYTES.min(copy.bytes);
        let index = loop {
            let last = self.objects.read(name, copy.bytes.saturating_sub(want)..copy.bytes).await?;
            match pack::index(&last, copy.bytes)? {
                Ok(index) => break index,
                Err(more) => want = more,
            }
        };
        if !index.is_of(bus, copy) {
            return Err("its index is that of another copy".into());
        }
        let index = Arc::new(index);
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).keep_index(name, index.clone());
        Ok(index)
    }

    /// Reads a block and some of those behind it in one request.
    async fn fetch(&self, name: &str, index: &Index, at: usize, end: Offset) -> Result<Chunk, Failed> {
        let first = index.blocks.get(at).ok_or("its index names a block that it does not have")?;
        let part = |b: &&pack::Block| b.at + u64::from(b.bytes) <= first.at.saturating_add(FETCH_BYTES);
        let behind = index.blocks.get(at + 1..).unwrap_or_default().iter().take_while(part).count();
        let some = index.blocks.get(at..=at + behind).unwrap_or_default();
        let stop = some.last().map_or(first.at, |b| b.at + u64::from(b.bytes));
        let bytes = self.objects.read(name, first.at..stop).await?;
        let mut wanted = None;
        for (n, block) in some.iter().enumerate() {
            let from = usize::try_from(block.at.saturating_sub(first.at)).unwrap_or(usize::MAX);
            let part =
                from.checked_add(block.bytes as usize).and_then(|to| bytes.get(from..to)).ok_or("it is cut off")?;
            let next = index.blocks.get(at + n + 1).map_or(end, |b| Offset(b.first));
            let inside = match pack::inside(block, part) {
                Ok(inside) => inside,
                // Said when it is its turn: those before it are whole.
                Err(_) if n > 0 => break,
                Err(what) => return Err(what.into()),
            };
            let chunk = pack::records(inside, next)?;
            if n == 0 {
                wanted = Some(chunk.clone());
            }
            self.blocks.lock().unwrap_or_else(PoisonError::into_inner).keep_block(name, block.at, chunk);
        }
        wanted.ok_or(Failed::Damaged("it has no such block".into()))
    }

    /// The copied event at exactly this offset.
    ///
    /// # Errors
    /// As [`Shelf::read`].
    pub async fn record(&self, bus: &BusName, offset: Offset) -> Result<Option<Record>, store::Error> {
        let chunk = self.read(bus, offset, Offset(offset.0.saturating_add(1))).await?;
        let found = chunk.records().next().transpose()?;
        Ok(found.filter(|record| record.offset == offset))
    }

    /// The first copied offset whose event was appended at or after `t`; `None` when all were before.
    ///
    /// # Errors
    /// [`store::Error::Unreachable`]. In a copy that is damaged, its first offset.
    pub async fn seek(&self, bus: &BusName, t: Timestamp) -> Result<Option<Offset>, store::Error> {
        let copy = self.with(bus, |copies| {
            let at = copies.partition_point(|c| c.newest < t);
            copies.get(at).cloned()
        });
        let Some(copy) = copy else { return Ok(None) };
        if t <= copy.oldest {
            return Ok(Some(copy.first));
        }
        let name = copy.name(bus);
        let index = match self.index(bus, &copy, &name).await {
            Ok(index) => index,
            Err(Failed::Damaged(_)) => return Ok(Some(copy.first)),
            Err(Failed::Objects(e)) => return Err(store::Error::Unreachable(e.to_string().into())),
        };
        let at = index.blocks.partition_point(|b| b.newest < t.0);
        let first = index.blocks.get(at).map_or(copy.first, |b| Offset(b.first));
        match self.read(bus, first, copy.next).await {
            Ok(chunk) => {
                let found = chunk.records.iter().find(|(_, appended, _)| *appended >= t).map(|(offset, ..)| *offset);
                Ok(Some(found.unwrap_or(first)))
            }
            Err(store::Error::Lost { .. }) => Ok(Some(copy.first)),
            Err(e) => Err(e),
        }
    }

    /// Reads a copy whole: its sum, its blocks, its records.
    ///
    /// # Errors
    /// The place's.
    pub(super) async fn check(&self, bus: &BusName, copy: &Copied) -> Result<Result<u64, Damage>, Error> {
        let name = copy.name(bus);
        match self.check_copy(bus, copy, &name).await {
            Ok(events) => Ok(Ok(events)),
            Err(Failed::Damaged(what)) => Ok(Err(self.damage(bus, copy, what))),
            Err(Failed::Objects(e)) => Err(e),
        }
    }

    async fn check_copy(&self, bus: &BusName, copy: &Copied, name: &str) -> Result<u64, Failed> {
        if copy.bytes < pack::END_BYTES * 2 {
            return Err("it is cut off".into());
        }
        let bytes = self.objects.read(name, 0..copy.bytes).await?;
        pack::head(&bytes)?;
        let Ok(index) = pack::index(&bytes, copy.bytes)? else { return Err("its index is cut off".into()) };
        if !index.is_of(bus, copy) {
            return Err("its index is that of another copy".into());
        }
        let (mut sum, mut events, mut last) = (pack::Sum::default(), 0, None);
        for block in &index.blocks {
            let at = usize::try_from(block.at).unwrap_or(usize::MAX);
            let part = at.checked_add(block.bytes as usize).and_then(|to| bytes.get(at..to)).ok_or("it is cut off")?;
            let inside = pack::inside(block, part)?;
            sum.add(&inside);
            let chunk = pack::records(inside, copy.next)?;
            for record in chunk.records() {
                let record = record.map_err(|e| Failed::Damaged(e.to_string()))?;
                if record.offset < copy.first || record.offset >= copy.next || last >= Some(record.offset) {
                    return Err("its events are not in order".into());
                }
                last = Some(record.offset);
                events += 1;
            }
            tokio::task::yield_now().await;
        }
        if sum.get() != copy.sum {
            return Err("what it holds is not what its name says".into());
        }
        Ok(events)
    }

    /// Reads every copy of a bus whole, and looks whether they follow each other.
    ///
    /// # Errors
    /// The place's.
    pub async fn verify(&self, bus: &BusName) -> Result<Verified, Error> {
        let copies = self.copies(bus);
        let mut verified = Verified::default();
        let mut end: Option<Offset> = None;
        for copy in &copies {
            match end {
                Some(end) if end < copy.first => verified.gaps.push((end, copy.first)),
                Some(end) if end > copy.first => verified.overlaps.push((copy.first, end.min(copy.next))),
                _ => {}
            }
            end = end.max(Some(copy.next));
            match self.check(bus, copy).await? {
                Ok(events) => {
                    verified.copies += 1;
                    verified.events += events;
                    verified.bytes += copy.bytes;
                }
                Err(damage) => verified.damages.push(damage),
            }
        }
        Ok(verified)
    }
}
