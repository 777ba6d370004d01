//! Going along the blocks of one segment: the index of where they are, and what a scan of the whole
//! file finds. A scan ends at the first place without a valid block; [`find_witness`] tells whether that
//! place is torn or damaged.

use std::io;

use router_core::{clock::Timestamp, id::Offset, store::Keyed};

use super::{
    files::{File, read_full_at},
    segment::{BLOCK_HEAD, BLOCK_MAGIC, Block, HEAD_BYTES, Head},
};

/// The index has an entry for about so many bytes.
pub(super) const INDEX_STEP: u64 = 16 * 1024;
/// What a scan reads at once, in bytes.
const WINDOW_BYTES: usize = 1024 * 1024;

/// Where a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub offset: Offset,
    pub at: u64,
    pub time: Timestamp,
}

/// A sparse index of one segment: the first block, and then one for about every 16 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index(pub Vec<Entry>);

impl Index {
    pub fn add(&mut self, block: &Block) {
        if self.0.last().is_none_or(|last| block.at >= last.at + INDEX_STEP) {
            self.0.push(Entry { offset: block.first, at: block.at, time: block.time });
        }
    }

    /// A block at or before the one that holds the first record at or after `offset`.
    pub fn by_offset(&self, offset: Offset) -> u64 {
        self.at(self.0.partition_point(|e| e.offset <= offset))
    }

    /// A block at or before the first one appended at or after `t`.
    pub fn by_time(&self, t: Timestamp) -> u64 {
        self.at(self.0.partition_point(|e| e.time < t))
    }

    fn at(&self, behind: usize) -> u64 {
        behind.checked_sub(1).and_then(|i| self.0.get(i)).map_or(HEAD_BYTES, |e| e.at)
    }
}

/// A part of a file in memory that follows whoever reads along it.
pub(super) struct Window<'a> {
    file: &'a dyn File,
    limit: u64,
    step: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Nothing at or behind `limit` is read.
    pub fn new(file: &'a dyn File, limit: u64) -> Self {
        Window { file, limit, step: WINDOW_BYTES, start: 0, bytes: Vec::new() }
    }

    /// Reads only what is asked for, and little more: for a few blocks' heads.
    pub fn narrow(file: &'a dyn File, limit: u64) -> Self {
        Window { step: INDEX_STEP as usize, ..Window::new(file, limit) }
    }

    /// The bytes there, fewer than asked for at the end of the file.
    pub fn get(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let have = self.start..self.start + self.bytes.len() as u64;
        let want_end = self.limit.min(at.saturating_add(length as u64));
        if at < have.start || want_end > have.end {
            let room = self.limit.saturating_sub(at).min(length.max(self.step) as u64);
            self.bytes.resize(usize::try_from(room).unwrap_or(0), 0);
            let got = read_full_at(self.file, &mut self.bytes, at)?;
            self.bytes.truncate(got);
            self.start = at;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(self.bytes.get(from..from.saturating_add(length).min(self.bytes.len())).unwrap_or_default())
    }
}

/// What a scan found: the valid blocks from the head on, one hanging on the other.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where they end.
    pub end: u64,
    /// The CRC of the last one's head.
    pub chain: u32,
    /// The offset after the last record; the base when there is none.
    pub next: Offset,
    /// Append time of the first and of the last record; the floor when there is none.
    pub times: (Timestamp, Timestamp),
    pub index: Index,
    pub keys: Vec<Keyed>,
}

impl Scan {
    /// Of a segment without a record.
    pub fn empty(head: &Head) -> Scan {
        Scan {
            end: HEAD_BYTES,
            chain: 0,
            next: head.base,
            times: (head.floor, head.floor),
            index: Index::default(),
            keys: Vec::new(),
        }
    }

    /// Takes up the block that begins at the end.
    pub fn add(&mut self, block: &Block, keys: impl Iterator<Item = u64>) {
        self.index.add(block);
        let keyed = |(i, key)| Keyed { key, offset: Offset(block.first.0 + i), appended: block.time };
        self.keys.extend((0u64..).zip(keys).map(keyed));
        let first_time = if self.end == HEAD_BYTES { block.time } else { self.times.0 };
        self.times = (first_time, block.time);
        (self.end, self.chain, self.next) = (block.end(), block.crc, block.last().next());
    }
}

/// Reads the blocks of a segment up to the first that is not valid, or to `limit`; each is shown to `each`.
pub(super) fn scan(
    file: &dyn File,
    head: &Head,
    limit: u64,
    each: &mut dyn FnMut(&Block, &[u8]) -> io::Result<()>,
) -> io::Result<Scan> {
    let mut window = Window::new(file, limit);
    let mut found = Scan::empty(head);
    loop {
        let block = Block::decode(window.get(found.end, BLOCK_HEAD)?, head.seed, found.end);
        let hangs = |b: &Block| {
            let fits = b.at + b.bytes() as u64 <= limit;
            b.chain == found.chain && b.first >= found.next && b.time >= found.times.1 && fits
        };
        let Some(block) = block.filter(hangs) else { return Ok(found) };
        let bytes = window.get(block.at, block.bytes())?;
        let Some(records) = block.holds(bytes, head.seed).then(|| block.records(bytes)).flatten() else {
            return Ok(found);
        };
        each(&block, bytes)?;
        found.add(&block, records.iter().map(|(_, key, _)| *key));
    }
}

/// The first block behind a bad place that proves it bad: it was written after the bad place was synced.
pub(super) fn find_witness(file: &dyn File, head: &Head, bad: u64, limit: u64) -> io::Result<Option<Block>> {
    let mut window = Window::new(file, limit);
    let mut at = bad;
    while at + (BLOCK_HEAD as u64) <= limit {
        let bytes = window.get(at, WINDOW_BYTES / 2)?;
        if bytes.len() < BLOCK_HEAD {
            break;
        }
        let mut steps = 0;
        for start in (0..=bytes.len() - BLOCK_HEAD).step_by(8) {
            let candidate = bytes.get(start..).unwrap_or_default();
            if candidate.starts_with(BLOCK_MAGIC)
                && let Some(block) = Block::decode(candidate, head.seed, at + start as u64)
                && block.synced > bad
            {
                return Ok(Some(block));
            }
            steps += 8;
        }
        at += steps;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use router_core::store::Admitted;
    use schemas::Event;

    use super::*;
    use crate::disk::{
        files::Files,
        segment::{Place, encode},
        sim::SimFiles,
    };

    fn admitted(id: &str) -> Admitted {
        Admitted { event: Event::builder(id, "/till", "t").build().unwrap(), key: 0 }
    }

    #[test]
    fn scan_ends_where_an_older_group_shows_behind_a_shorter_one() {
        let sim = SimFiles::new();
        let file = sim.create(std::path::Path::new("/s")).unwrap();
        let head =
            Head { base: Offset(1), seed: 5, synced: HEAD_BYTES, floor: Timestamp(0), before: None, bus: "b".into() };
        let place =
            Place { seed: 5, at: HEAD_BYTES, first: Offset(1), time: Timestamp(9), synced: HEAD_BYTES, chain: 0 };
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let first = encode(place, &[admitted("a")], &mut old);
        let second = Place { at: first.end(), first: Offset(2), chain: first.crc, ..place };
        encode(second, &[admitted("b")], &mut old);
        file.write_at(&old, HEAD_BYTES).unwrap();
        let scanned = |head: &Head| scan(&*file, head, 4096, &mut |_, _| Ok(())).unwrap().keys.len();
        assert_eq!(scanned(&head), 2);
        encode(place, &[admitted("c")], &mut new);
        file.write_at(&new, HEAD_BYTES).unwrap();
        assert_eq!(scanned(&head), 1, "the second block is sound, but hangs on another first");
    }
}
