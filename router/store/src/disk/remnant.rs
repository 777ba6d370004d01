//! The byte format of remnants (version 1, all numbers little-endian): what is still needed of a
//! stretch of the log that was let go. A remnant is written once, synced, and then given its name; to
//! take records out of it, it is written anew.
//!
//! # File
//! A head, blocks as in a segment ([`super::segment`]; their keys are 0, and `synced` is the end of the
//! head), and a table of the blocks. Both are bound to the file's seed.
//!
//! # Head
//! That of a segment, with these differences: it begins with `gocofrem`; *synced* is the end of the
//! blocks; the append time is that of the last record in it; in place of the segment before stand the
//! offset behind the stretch, and the number of blocks.
//!
//! # Table
//! At the end of the blocks, 24 bytes for each, by offset: a record is found by bisection, and nothing
//! of it has to be in memory.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | offset of the block's first record |
//! | 8 | 8 | the block's place |
//! | 16 | 4 | number of records, consecutive |
//! | 20 | 4 | CRC-32C of the seed, the entry's number and bytes 0 to 19 |

use std::{io, path::Path, path::PathBuf, sync::Arc};

use router_core::{
    clock::Timestamp,
    id::{BusName, Offset},
    store::{Error, Record, Segment, SegmentKind},
};
use schemas::Event;

use super::{
    files::{File, Files, read_full_at, write_all_at},
    segment::{
        BLOCK_BYTES_MAX, BLOCK_HEAD, Block, HEAD_BYTES, Head, Place, REMNANT_MAGIC, TABLE_ENTRY, damaged, encode_copy,
        put, u32_at, u64_at, unusable,
    },
};

const ENTRY: usize = 24;
/// Entries of the table that are read at once.
const ENTRIES_AT_ONCE: u64 = 2048;
/// What a writer writes at once, in bytes.
const WRITE_BYTES: usize = 1024 * 1024;

pub(super) fn remnant_path(dir: &Path, first: Offset) -> PathBuf {
    dir.join(format!("{:020}.rem", first.0))
}

/// What is kept in memory of every remnant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remnant {
    pub first: Offset,
    pub next: Offset,
    pub seed: u64,
    /// Where its blocks end.
    pub end: u64,
    pub newest: Timestamp,
    pub blocks: u64,
}

impl Remnant {
    /// Bytes of the file; more than there are, where its head says so.
    pub fn bytes(&self) -> u64 {
        self.end.saturating_add(self.blocks.saturating_mul(ENTRY as u64))
    }

    pub fn segment(&self) -> Segment {
        let Remnant { first, next, newest, .. } = *self;
        Segment { first, next, newest, bytes: self.bytes(), kind: SegmentKind::Remnant }
    }
}

/// An open remnant.
pub(super) struct Reader {
    path: PathBuf,
    file: Arc<dyn File>,
    pub remnant: Remnant,
}

/// A block, as the table tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub first: Offset,
    pub at: u64,
    pub count: u32,
}

impl Entry {
    pub fn last(&self) -> Offset {
        Offset(self.first.0.saturating_add(u64::from(self.count).saturating_sub(1)))
    }
}

fn entry_crc(seed: u64, number: u64, entry: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&seed.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &number.to_le_bytes()), entry)
}

impl Reader {
    /// Opens a remnant, and checks its head and length.
    pub fn open(files: &dyn Files, dir: &Path, first: Offset, bus: &BusName) -> Result<Reader, Error> {
        let path = remnant_path(dir, first);
        let file = files.open(&path).map_err(|e| unusable(&path, "open the remnant", &e))?;
        let head = Head::read_as(REMNANT_MAGIC, &*file, &path)?;
        if head.bus != bus.as_str() || head.base != first {
            let what = format!("the file says that it is remnant {} of bus `{}`", head.base, head.bus);
            return Err(damaged(&path, 0..HEAD_BYTES, None, &what));
        }
        let (next, blocks) = head.before.unwrap_or_default();
        let Head { base, seed, synced: end, floor: newest, .. } = head;
        let remnant = Remnant { first: base, next, seed, end, newest, blocks };
        let length = file.len().map_err(|e| unusable(&path, "look at the remnant", &e))?;
        if length < remnant.bytes() {
            let what = "the file is cut off, though events that are still needed were here";
            return Err(damaged(&path, length..remnant.bytes(), None, what));
        }
        Ok(Reader { path, file, remnant })
    }

    fn unreadable(&self, at: u64, end: u64, e: &io::Error) -> Error {
        damaged(&self.path, at..end, None, &format!("cannot be read: {e}"))
    }

    /// Entries of the table from a number on; at most `count`.
    fn entries(&self, from: u64, count: u64) -> Result<Vec<Entry>, Error> {
        let count = count.min(self.remnant.blocks.saturating_sub(from));
        let at = self.remnant.end + from * ENTRY as u64;
        let mut b = vec![0; usize::try_from(count).unwrap_or(0) * ENTRY];
        let end = at + b.len() as u64;
        read_full_at(&*self.file, &mut b, at).map_err(|e| self.unreadable(at, end, &e))?;
        let mut entries = Vec::with_capacity(b.len() / ENTRY);
        for (number, e) in (from..).zip(b.chunks_exact(ENTRY)) {
            if entry_crc(self.remnant.seed, number, e.get(..20).unwrap_or_default()) != u32_at(e, 20) {
                let at = self.remnant.end + number * ENTRY as u64;
                return Err(damaged(&self.path, at..at + ENTRY as u64, None, "the table of the remnant is damaged"));
            }
            entries.push(Entry { first: Offset(u64_at(e, 0)), at: u64_at(e, 8), count: u32_at(e, 16) });
        }
        Ok(entries)
    }

    /// Shows every block, by offset.
    pub fn each(&self, show: &mut dyn FnMut(Entry) -> Result<(), Error>) -> Result<(), Error> {
        let mut from = 0;
        while from < self.remnant.blocks {
            let entries = self.entries(from, ENTRIES_AT_ONCE)?;
            from += entries.len() as u64;
            entries.into_iter().try_for_each(&mut *show)?;
        }
        Ok(())
    }

    /// The block that may hold the offset.
    fn find(&self, offset: Offset) -> Result<Option<Entry>, Error> {
        let (mut low, mut high) = (0, self.remnant.blocks);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(entry) = self.entries(middle, 1)?.first().copied() else { break };
            if entry.first <= offset {
                (low, found) = (middle + 1, Some(entry));
            } else {
                high = middle;
            }
        }
        Ok(found.filter(|entry| offset <= entry.last()))
    }

    /// The record at exactly this offset. Only its own block, and the entries on the way to it, are read.
    pub fn record(&self, offset: Offset) -> Result<Option<Record>, Error> {
        let Some(entry) = self.find(offset)? else { return Ok(None) };
        let mut found = None;
        self.block(entry, &mut |at, appended, body| {
            if at == offset {
                found = Some((appended, bytes::Bytes::copy_from_slice(body)));
            }
            Ok(())
        })?;
        let Some((appended, body)) = found else { return Ok(None) };
        let event = Event::from_body(body).map_err(|e| {
            let offsets = Some((offset, offset));
            damaged(&self.path, entry.at..entry.at, offsets, &format!("its checksum holds, but it is no event: {e}"))
        })?;
        Ok(Some(Record { offset, appended, event }))
    }

    /// Shows the records of one block.
    pub fn block(&self, entry: Entry, show: &mut Show<'_>) -> Result<(), Error> {
        let bad = |end: u64, what: &str| damaged(&self.path, entry.at..end, Some((entry.first, entry.last())), what);
        let cannot = |e: io::Error| bad(self.remnant.end, &format!("cannot be read: {e}"));
        let mut bytes = vec![0; BLOCK_HEAD];
        read_full_at(&*self.file, &mut bytes, entry.at).map_err(cannot)?;
        let block = Block::decode(&bytes, self.remnant.seed, entry.at);
        let block = block.filter(|b| b.end() <= self.remnant.end && (b.first, b.count) == (entry.first, entry.count));
        let Some(block) = block else {
            return Err(bad(entry.at + BLOCK_HEAD as u64, "there is no valid block, though the table names one"));
        };
        bytes.resize(block.bytes(), 0);
        read_full_at(&*self.file, &mut bytes, entry.at).map_err(cannot)?;
        let records = block.holds(&bytes, self.remnant.seed).then(|| block.records(&bytes)).flatten();
        let Some(records) = records else {
            return Err(bad(block.end(), "the checksum does not hold, though these events are still needed"));
        };
        for (offset, _, range) in records {
            show(offset, block.time, bytes.get(range).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Takes one record: its offset, append time and body.
pub(super) type Show<'a> = dyn FnMut(Offset, Timestamp, &[u8]) -> Result<(), Error> + 'a;

/// Why no remnant was written. What was written of it is removed at the next open at the latest.
pub(super) enum Failed {
    /// What is to be kept cannot be read.
    Source(Error),
    /// It cannot be written.
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(e: io::Error) -> Self {
        Failed::Io(e)
    }
}

/// A remnant in the making.
pub(super) struct Writer {
    path: PathBuf,
    file: Arc<dyn File>,
    first: Offset,
    seed: u64,
    /// Where the next block begins, and the CRC of the one before.
    at: u64,
    chain: u32,
    /// Blocks that are not written yet.
    out: Vec<u8>,
    table: Vec<u8>,
    blocks: u64,
    newest: Timestamp,
    open: Run,
}

/// Consecutive records of one append time.
#[derive(Default)]
struct Run {
    first: Offset,
    time: Timestamp,
    lengths: Vec<u32>,
    bodies: Vec<u8>,
}

impl Writer {
    /// Begins the remnant of a stretch under a passing name.
    pub fn create(files: &dyn Files, dir: &Path, first: Offset) -> io::Result<Writer> {
        let path = remnant_path(dir, first);
        let seed =
            getrandom::u64().map_err(|e| io::Error::other(format!("the system gives no random numbers: {e}")))?;
        Ok(Writer {
            file: files.create(&passing(&path))?,
            path,
            first,
            seed,
            at: HEAD_BYTES,
            chain: 0,
            out: Vec::new(),
            table: Vec::new(),
            blocks: 0,
            newest: Timestamp(0),
            open: Run::default(),
        })
    }

    /// Takes a record; offsets rise.
    pub fn push(&mut self, offset: Offset, time: Timestamp, body: &[u8]) -> io::Result<()> {
        let run = &self.open;
        let count = run.lengths.len();
        let goes_on = offset.0 == run.first.0 + count as u64 && time == run.time;
        let payload = (count + 1) * TABLE_ENTRY + run.bodies.len() + body.len();
        if count > 0 && !(goes_on && payload <= BLOCK_BYTES_MAX) {
            self.end_block()?;
        }
        if self.open.lengths.is_empty() {
            (self.open.first, self.open.time) = (offset, time);
        }
        // A body's own lengths are 32 bits wide, so this never saturates.
        self.open.lengths.push(u32::try_from(body.len()).unwrap_or(u32::MAX));
        self.open.bodies.extend_from_slice(body);
        self.newest = time;
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let run = std::mem::take(&mut self.open);
        let count = u32::try_from(run.lengths.len()).unwrap_or(u32::MAX);
        let mut payload = Vec::with_capacity(run.lengths.len() * TABLE_ENTRY + run.bodies.len());
        for length in &run.lengths {
            payload.extend([0; 8]);
            payload.extend(length.to_le_bytes());
        }
        payload.extend(run.bodies);
        let place = Place {
            seed: self.seed,
            at: self.at,
            first: run.first,
            time: run.time,
            synced: HEAD_BYTES,
            chain: self.chain,
        };
        let written_to = self.at - self.out.len() as u64;
        let block = encode_copy(place, count, &payload, &mut self.out);
        let mut entry = [0; ENTRY];
        put(&mut entry, 0, &run.first.0.to_le_bytes());
        put(&mut entry, 8, &self.at.to_le_bytes());
        put(&mut entry, 16, &count.to_le_bytes());
        let crc = entry_crc(self.seed, self.blocks, entry.get(..20).unwrap_or_default());
        put(&mut entry, 20, &crc.to_le_bytes());
        self.table.extend(entry);
        (self.at, self.chain) = (block.end(), block.crc);
        self.blocks += 1;
        if self.out.len() >= WRITE_BYTES {
            write_all_at(&*self.file, &self.out, written_to).map_err(|(_, e)| e)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Writes the rest and syncs the file; [`Writer::put_in_place`] gives it its name.
    pub fn finish(&mut self, next: Offset, bus: &BusName) -> io::Result<Remnant> {
        if !self.open.lengths.is_empty() {
            self.end_block()?;
        }
        let written_to = self.at - self.out.len() as u64;
        self.out.append(&mut self.table);
        write_all_at(&*self.file, &self.out, written_to).map_err(|(_, e)| e)?;
        let Writer { first, seed, at: end, newest, blocks, .. } = *self;
        let bus = bus.as_str().into();
        let head = Head { base: first, seed, synced: end, floor: newest, before: Some((next, blocks)), bus };
        write_all_at(&*self.file, &head.encode_as(REMNANT_MAGIC), 0).map_err(|(_, e)| e)?;
        self.file.sync_data()?;
        Ok(Remnant { first, next, seed, end, newest, blocks })
    }

    /// Gives it its own name, in place of an older one; durable with the next sync of the folder.
    pub fn put_in_place(&self, files: &dyn Files) -> io::Result<()> {
        files.rename(&passing(&self.path), &self.path)
    }
}

fn passing(path: &Path) -> PathBuf {
    path.with_extension("rem.new")
}

/// Removes what a writer left; what cannot be removed now is at the next open.
pub(super) fn discard(files: &dyn Files, dir: &Path, first: Offset) {
    files.remove(&passing(&remnant_path(dir, first))).unwrap_or_default();
}
