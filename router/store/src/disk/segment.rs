//! The byte format of segments (version 1, all numbers little-endian).
//!
//! # File
//! A head of 160 bytes, then groups. A group is what one `append` wrote: one or more *blocks*, one
//! write, one sync. Behind the last group a file is zeros (preallocated), or torn: see [`super::scan`].
//!
//! # Head
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `gocoflog` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | 0 |
//! | 16 | 8 | base: no offset in this segment is lower; the number in the file's name |
//! | 24 | 8 | seed, drawn for each file |
//! | 32 | 8 | synced: the file was synced up to here when it got its name |
//! | 40 | 8 | append time of the last record before this segment, in µs since 1970; 0 for none |
//! | 48 | 8 | base of the segment before, 0 for none |
//! | 56 | 8 | its end in bytes: all of them were synced |
//! | 64 | 1 | length of the bus name |
//! | 65 | 63 | the bus name, then zeros |
//! | 128 | 28 | 0 |
//! | 156 | 4 | CRC-32C of bytes 0 to 155 |
//!
//! # Block
//! At a multiple of 8; records of one append time with consecutive offsets. At most 64 KiB of payload,
//! more only for a single record, so that a reader's buffer is bounded.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `blk1` |
//! | 4 | 4 | CRC-32C of bytes 8 to 55, seeded |
//! | 8 | 4 | CRC-32C of the payload, seeded |
//! | 12 | 4 | the CRC at byte 4 of the block before in this file, 0 for the first |
//! | 16 | 8 | offset of its first record |
//! | 24 | 8 | append time, in µs since 1970 |
//! | 32 | 8 | synced: end in bytes of what was synced before this group was written |
//! | 40 | 4 | number of records N, at least 1 |
//! | 44 | 4 | length of the payload |
//! | 48 | 8 | 0 |
//! | 56 | 12 N | table: key (8 bytes), length of the body (4) |
//! | | | bodies, as [`schemas::Event::body`] gives them, one behind the other |
//! | | | zeros up to a multiple of 8; outside the payload |
//!
//! A seeded CRC starts with the CRC-32C of the file's seed and the block's place, so that bytes of
//! another file, of another place or of a sender are no block. The CRC of the block before makes a
//! chain: what an older, longer group left behind a shorter one that was written over it does not hang
//! on it.

use std::{ops::Range, path::Path};

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Admitted, Error},
};

use super::files::{File, read_full_at};

pub(super) const HEAD_BYTES: u64 = 160;
pub(super) const BLOCK_HEAD: usize = 56;
/// Payload of a block with more than one record, in bytes.
pub(super) const BLOCK_BYTES_MAX: usize = 64 * 1024;
pub(super) const TABLE_ENTRY: usize = 12;
const MAGIC: &[u8; 8] = b"gocoflog";
pub(super) const REMNANT_MAGIC: &[u8; 8] = b"gocofrem";
pub(super) const BLOCK_MAGIC: &[u8; 4] = b"blk1";
const VERSION: u32 = 1;

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// Writes over part of a buffer that is there already.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (slot, byte) in bytes.iter_mut().skip(at).zip(value) {
        *slot = *byte;
    }
}

fn pad(length: u64) -> u64 {
    length.next_multiple_of(8)
}

/// [`Error::Damaged`] with what an operator can do today.
pub(super) fn damaged(path: &Path, bytes: Range<u64>, offsets: Option<(Offset, Offset)>, what: &str) -> Error {
    let offsets = offsets.map(|(first, last)| format!(" (offsets {first} to {last})")).unwrap_or_default();
    let advice = "stop the router and restore this file from a copy. Without a copy these events are lost; \
                  `gocoffee recover --data DIR --skip-damaged` sets them aside and goes on without them";
    Error::Damaged {
        place: format!("{} bytes {}..{}{offsets}", path.display(), bytes.start, bytes.end).into(),
        what: format!("{what}; {advice}").into(),
    }
}

/// [`Error::Damaged`] for a file that the system does not let us work with.
pub(super) fn unusable(path: &Path, doing: &str, e: &std::io::Error) -> Error {
    Error::Damaged {
        place: path.display().to_string().into(),
        what: format!("cannot {doing}: {e}; check the disk, and that this user may read and write here").into(),
    }
}

/// The head of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub base: Offset,
    pub seed: u64,
    pub synced: u64,
    pub floor: Timestamp,
    pub before: Option<(Offset, u64)>,
    pub bus: String,
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(MAGIC)
    }

    /// For a file of another kind, with the same fields.
    pub fn encode_as(&self, magic: &[u8; 8]) -> Vec<u8> {
        let mut b = vec![0; HEAD_BYTES as usize];
        put(&mut b, 0, magic);
        put(&mut b, 8, &VERSION.to_le_bytes());
        let (before, before_end) = self.before.unwrap_or_default();
        let numbers = [self.base.0, self.seed, self.synced, self.floor.0, before.0, before_end];
        for (i, number) in numbers.into_iter().enumerate() {
            put(&mut b, 16 + 8 * i, &number.to_le_bytes());
        }
        put(&mut b, 64, &[u8::try_from(self.bus.len()).unwrap_or(u8::MAX)]);
        put(&mut b, 65, self.bus.as_bytes());
        let crc = crc32c::crc32c(b.get(..156).unwrap_or_default());
        put(&mut b, 156, &crc.to_le_bytes());
        b
    }

    /// Reads the head of the file that `path` names.
    pub fn read(file: &dyn File, path: &Path) -> Result<Head, Error> {
        Head::read_as(MAGIC, file, path)
    }

    /// Of a file of another kind, with the same fields.
    pub fn read_as(magic: &[u8; 8], file: &dyn File, path: &Path) -> Result<Head, Error> {
        let mut b = vec![0; HEAD_BYTES as usize];
        let bad = |what: &str| damaged(path, 0..HEAD_BYTES, None, what);
        let got = read_full_at(file, &mut b, 0).map_err(|e| bad(&format!("cannot read the head: {e}")))?;
        let version = u32_at(&b, 8);
        if b.starts_with(magic) && version != VERSION {
            return Err(Error::Damaged {
                place: path.display().to_string().into(),
                what: format!(
                    "it has format version {version}, this program reads version {VERSION}; use the gocoffee that wrote it, or a newer one"
                )
                .into(),
            });
        }
        if got < b.len() || !b.starts_with(magic) || crc32c::crc32c(b.get(..156).unwrap_or_default()) != u32_at(&b, 156)
        {
            return Err(bad("the head of the file is damaged or cut off"));
        }
        let name = b.get(65..65 + usize::from(b.get(64).copied().unwrap_or(0).min(63))).unwrap_or_default();
        Ok(Head {
            base: Offset(u64_at(&b, 16)),
            seed: u64_at(&b, 24),
            synced: u64_at(&b, 32),
            floor: Timestamp(u64_at(&b, 40)),
            before: Some((Offset(u64_at(&b, 48)), u64_at(&b, 56))).filter(|(base, _)| base.0 > 0),
            bus: String::from_utf8_lossy(name).into_owned(),
        })
    }
}

/// The head of a block, checked, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub at: u64,
    pub first: Offset,
    pub count: u32,
    pub time: Timestamp,
    pub synced: u64,
    pub payload: u32,
    pub crc: u32,
    pub payload_crc: u32,
    pub chain: u32,
}

fn seeded(seed: u64, at: u64) -> u32 {
    let mut bytes = [0; 16];
    put(&mut bytes, 0, &seed.to_le_bytes());
    put(&mut bytes, 8, &at.to_le_bytes());
    crc32c::crc32c(&bytes)
}

impl Block {
    /// The block whose head these bytes are; `None` when they are none of this file and place.
    pub fn decode(head: &[u8], seed: u64, at: u64) -> Option<Block> {
        let head = head.get(..BLOCK_HEAD).filter(|h| h.starts_with(BLOCK_MAGIC))?;
        let crc = u32_at(head, 4);
        if crc32c::crc32c_append(seeded(seed, at), head.get(8..)?) != crc {
            return None;
        }
        let block = Block {
            at,
            first: Offset(u64_at(head, 16)),
            count: u32_at(head, 40),
            time: Timestamp(u64_at(head, 24)),
            synced: u64_at(head, 32),
            payload: u32_at(head, 44),
            crc,
            payload_crc: u32_at(head, 8),
            chain: u32_at(head, 12),
        };
        let table = u64::from(block.count) * TABLE_ENTRY as u64;
        (block.count > 0 && table <= u64::from(block.payload)).then_some(block)
    }

    pub fn last(&self) -> Offset {
        Offset(self.first.0.saturating_add(u64::from(self.count).saturating_sub(1)))
    }

    /// Where the next block begins.
    pub fn end(&self) -> u64 {
        pad(self.at + self.bytes() as u64)
    }

    /// Head and payload.
    pub fn bytes(&self) -> usize {
        BLOCK_HEAD + self.payload as usize
    }

    /// Whether the payload is the one that was written. `bytes` begins with the block's head.
    pub fn holds(&self, bytes: &[u8], seed: u64) -> bool {
        let payload = bytes.get(BLOCK_HEAD..self.bytes());
        payload.is_some_and(|p| crc32c::crc32c_append(seeded(seed, self.at), p) == self.payload_crc)
    }

    /// Keys and bodies of the records, the bodies as ranges of `bytes`, which begins with the block's
    /// head; `None` when the table does not fit the payload.
    pub fn records(&self, bytes: &[u8]) -> Option<Vec<(Offset, u64, Range<usize>)>> {
        let count = self.count as usize;
        let mut start = BLOCK_HEAD + count * TABLE_ENTRY;
        let table = bytes.get(BLOCK_HEAD..start)?;
        let mut records = Vec::with_capacity(count);
        for (i, entry) in table.chunks_exact(TABLE_ENTRY).enumerate() {
            let end = start.checked_add(u32_at(entry, 8) as usize)?;
            records.push((Offset(self.first.0.checked_add(i as u64)?), u64_at(entry, 0), start..end));
            start = end;
        }
        (start == self.bytes()).then_some(records)
    }
}

/// How many records of a batch go into each block, and how many bytes the group will have.
pub(super) fn split(batch: &[Admitted]) -> (Vec<usize>, u64) {
    let (mut blocks, mut total) = (Vec::new(), 0);
    let (mut count, mut payload) = (0, 0);
    for admitted in batch {
        let bytes = TABLE_ENTRY + admitted.event.body().len();
        if count > 0 && payload + bytes > BLOCK_BYTES_MAX {
            blocks.push(count);
            total += pad((BLOCK_HEAD + payload) as u64);
            (count, payload) = (0, 0);
        }
        count += 1;
        payload += bytes;
    }
    if count > 0 {
        blocks.push(count);
        total += pad((BLOCK_HEAD + payload) as u64);
    }
    (blocks, total)
}

/// What one block is made from, besides its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub seed: u64,
    pub at: u64,
    pub first: Offset,
    pub time: Timestamp,
    pub synced: u64,
    pub chain: u32,
}

/// Appends a block to `out`, whose end is the block's place in the file.
pub(super) fn encode(place: Place, batch: &[Admitted], out: &mut Vec<u8>) -> Block {
    let start = out.len();
    out.resize(start + BLOCK_HEAD, 0);
    for admitted in batch {
        out.extend_from_slice(&admitted.key.to_le_bytes());
        // A body's own lengths are 32 bits wide, so this never saturates.
        out.extend_from_slice(&u32::try_from(admitted.event.body().len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    for admitted in batch {
        out.extend_from_slice(admitted.event.body());
    }
    seal_block(place, u32::try_from(batch.len()).unwrap_or(u32::MAX), start, out)
}

/// Appends a block of another file under the seed and chain of this one.
pub(super) fn encode_copy(place: Place, count: u32, payload: &[u8], out: &mut Vec<u8>) -> Block {
    let start = out.len();
    out.resize(start + BLOCK_HEAD, 0);
    out.extend_from_slice(payload);
    seal_block(place, count, start, out)
}

fn seal_block(place: Place, count: u32, start: usize, out: &mut Vec<u8>) -> Block {
    let base = seeded(place.seed, place.at);
    let payload = out.get(start + BLOCK_HEAD..).unwrap_or_default();
    let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let payload_crc = crc32c::crc32c_append(base, payload);
    let head = out.get_mut(start..start + BLOCK_HEAD).unwrap_or_default();
    put(head, 0, BLOCK_MAGIC);
    put(head, 8, &payload_crc.to_le_bytes());
    put(head, 12, &place.chain.to_le_bytes());
    put(head, 16, &place.first.0.to_le_bytes());
    put(head, 24, &place.time.0.to_le_bytes());
    put(head, 32, &place.synced.to_le_bytes());
    put(head, 40, &count.to_le_bytes());
    put(head, 44, &payload_len.to_le_bytes());
    let crc = crc32c::crc32c_append(base, head.get(8..).unwrap_or_default());
    put(head, 4, &crc.to_le_bytes());
    let written = out.len() - start;
    out.resize(start + pad(written as u64) as usize, 0);
    Block {
        at: place.at,
        first: place.first,
        count,
        time: place.time,
        synced: place.synced,
        payload: payload_len,
        crc,
        payload_crc,
        chain: place.chain,
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Event, Form};

    use super::*;

    fn admitted(id: &str, bytes: usize) -> Admitted {
        let event = Event::builder(id, "/till", "t").data(Form::Binary, vec![7; bytes]).build().unwrap();
        Admitted { event, key: bytes as u64 }
    }

    #[test]
    fn head_reads_back_what_it_writes_and_names_a_flipped_byte() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("head");
        let head = Head {
            base: Offset(7),
            seed: 9,
            synced: 11,
            floor: Timestamp(13),
            before: Some((Offset(1), 15)),
            bus: "x".repeat(63),
        };
        let good = head.encode();
        assert_eq!(good.len() as u64, HEAD_BYTES);
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Head::read(&std::fs::File::open(&path).unwrap(), &path)
        };
        assert_eq!(read(&good).unwrap(), head);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(matches!(read(&bad), Err(Error::Damaged { .. })), "byte {at}");
        }
        let mut newer = good.clone();
        newer[8] = 2;
        assert!(read(&newer).unwrap_err().to_string().contains("format version 2"));
        assert!(read(&good[..100]).is_err());
    }

    #[test]
    fn block_is_bound_to_its_file_and_place() {
        let batch = [admitted("a", 3), admitted("b", 0)];
        let place = Place { seed: 1, at: 160, first: Offset(5), time: Timestamp(9), synced: 160, chain: 3 };
        let mut out = Vec::new();
        let block = encode(place, &batch, &mut out);
        assert_eq!(out.len() as u64, block.end() - block.at);
        assert_eq!(Block::decode(&out, 1, 160), Some(block));
        assert_eq!(Block::decode(&out, 2, 160), None);
        assert_eq!(Block::decode(&out, 1, 168), None);
        assert!(block.holds(&out, 1));
        let records = block.records(&out).unwrap();
        assert_eq!(records.len(), 2);
        for ((offset, key, range), (i, admitted)) in records.into_iter().zip(batch.iter().enumerate()) {
            assert_eq!((offset, key), (Offset(5 + i as u64), admitted.key));
            assert_eq!(&out[range], &admitted.event.body()[..]);
        }
        for at in 0..block.bytes() {
            let mut bad = out.clone();
            bad[at] ^= 0x10;
            let valid = Block::decode(&bad, 1, 160).is_some_and(|b| b.holds(&bad, 1));
            assert!(!valid, "byte {at}");
        }
    }

    #[test]
    fn batch_is_split_so_that_only_a_single_record_makes_a_large_block() {
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![10, 10], vec![2]),
            (vec![40_000, 40_000, 10], vec![1, 2]),
            (vec![10, 3_000_000, 10], vec![1, 1, 1]),
        ] {
            let batch: Vec<_> = sizes.iter().map(|n| admitted("x", *n)).collect();
            let (blocks, total) = split(&batch);
            assert_eq!(blocks, expected);
            let (mut out, mut rest) = (Vec::new(), &batch[..]);
            for count in blocks {
                let (now, later) = rest.split_at(count);
                let at = HEAD_BYTES + out.len() as u64;
                encode(Place { seed: 0, at, first: Offset(1), time: Timestamp(0), synced: 0, chain: 0 }, now, &mut out);
                rest = later;
            }
            assert_eq!(out.len() as u64, total);
        }
    }
}
