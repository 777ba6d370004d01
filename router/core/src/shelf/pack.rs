//! The bytes of a copy.
//!
//! ```text
//! head      "gocoffee", format (u32), method (u32: 1 is raw deflate)
//! blocks    each deflated; inside, record by record: offset (u64), append time (u64), length of the body (u32), body
//! index     JSON: the bus, its offsets and times, the sum, and of each block its place, lengths, offsets and CRC-32C
//! end       length of the index (u32), its CRC-32C (u32), "gocofend"
//! ```
//!
//! Numbers are little-endian. A block holds whole records, about [`BLOCK_BYTES`] of them or one larger one. The sum is
//! the SHA-256 over the inside of all blocks: it says what was copied, however it is compressed.

use std::io::{Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Copied;
use crate::{
    clock::Timestamp,
    id::{BusName, Epoch, Offset},
    store::Chunk,
};

/// Bytes of the inside of a block, but for one with a larger record.
pub const BLOCK_BYTES: usize = 256 << 10;
/// Bytes of the inside of all blocks of a copy, but for the block that ends it: so much is held in memory, and made
/// again after an upload that broke off.
pub const COPY_BYTES: u64 = 16 << 20;
/// Bytes of the end.
pub const END_BYTES: u64 = 16;

const HEAD: &[u8; 8] = b"gocoffee";
const END: &[u8; 8] = b"gocofend";
const FORMAT: u32 = 1;
const DEFLATE: u32 = 1;
const RECORD_HEAD: usize = 20;
/// What deflate makes of a byte at most: 258 bytes of two bits [RFC 1951, section 3.2.5].
const DEFLATED_MAX: usize = 1_032;

/// A copy, to be written.
#[derive(Debug, Clone)]
pub struct Packed {
    /// What its name says.
    pub copy: Copied,
    /// The object.
    pub body: Bytes,
}

/// Where a block is, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its place in the object.
    pub at: u64,
    /// Its length there.
    pub bytes: u32,
    /// The length of its inside.
    pub inside: u32,
    /// CRC-32C of its bytes.
    pub crc: u32,
    /// The offset of its first record.
    pub first: u64,
    /// The offset of its last record.
    pub last: u64,
    /// The append time of its first record.
    pub oldest: u64,
    /// The append time of its last record.
    pub newest: u64,
    /// Its records.
    pub count: u32,
}

/// What the end of a copy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The bus.
    pub bus: String,
    /// As in the name.
    pub first: u64,
    /// As in the name.
    pub next: u64,
    /// As in the name, in hexadecimal digits.
    pub epoch: String,
    /// As in the name, in hexadecimal digits.
    pub sum: String,
    /// By offset.
    pub blocks: Vec<Block>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// The number in 32 bits: nothing that is packed is longer than a record of a log.
fn short(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Where the sum of a copy comes from.
pub struct Sum(ring::digest::Context);

impl Default for Sum {
    fn default() -> Self {
        Sum(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Sum {
    /// The inside of the next block.
    pub fn add(&mut self, inside: &[u8]) {
        self.0.update(inside);
    }

    /// Of all that was added.
    pub fn get(self) -> u128 {
        self.0.finish().as_ref().first_chunk().map_or(0, |b| u128::from_be_bytes(*b))
    }
}

/// A part of a log, packed: the records of the chunks that lie in `first..next`, which are all that there are.
/// `None` when there are none. Takes processor time: about a hundredth of a second for a MiB.
///
/// # Errors
/// What the compressor says, which writes to memory alone.
pub fn pack(
    bus: &BusName,
    epoch: Epoch,
    (first, next): (Offset, Offset),
    chunks: &[Chunk],
) -> std::io::Result<Option<Packed>> {
    let mut out = Vec::new();
    out.extend_from_slice(HEAD);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&DEFLATE.to_le_bytes());
    let (mut blocks, mut sum, mut inside, mut open) = (Vec::new(), Sum::default(), Vec::new(), None::<Block>);
    let records = chunks.iter().flat_map(|chunk| {
        let body = |range: &std::ops::Range<usize>| chunk.buffer.get(range.clone()).unwrap_or_default();
        chunk.records.iter().map(move |(offset, appended, range)| (*offset, *appended, body(range)))
    });
    for (offset, appended, body) in records.filter(|(offset, ..)| (first..next).contains(offset)) {
        if inside.len() + RECORD_HEAD + body.len() > BLOCK_BYTES
            && let Some(block) = open.take()
        {
            blocks.push(close(block, &mut inside, &mut sum, &mut out)?);
        }
        let block = open.get_or_insert(Block {
            at: 0,
            bytes: 0,
            inside: 0,
            crc: 0,
            first: offset.0,
            last: offset.0,
            oldest: appended.0,
            newest: appended.0,
            count: 0,
        });
        (block.last, block.newest, block.count) = (offset.0, appended.0, block.count + 1);
        inside.extend_from_slice(&offset.0.to_le_bytes());
        inside.extend_from_slice(&appended.0.to_le_bytes());
        inside.extend_from_slice(&short(body.len()).to_le_bytes());
        inside.extend_from_slice(body);
    }
    if let Some(block) = open {
        blocks.push(close(block, &mut inside, &mut sum, &mut out)?);
    }
    let (Some(oldest), Some(newest)) = (blocks.first().map(|b| b.oldest), blocks.last().map(|b| b.newest)) else {
        return Ok(None);
    };
    let sum = sum.get();
    let index = Index {
        bus: bus.to_string(),
        first: first.0,
        next: next.0,
        epoch: format!("{:016x}", epoch.0),
        sum: format!("{sum:032x}"),
        blocks,
    };
    let text = serde_json::to_vec(&index)?;
    out.extend_from_slice(&text);
    out.extend_from_slice(&short(text.len()).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&text).to_le_bytes());
    out.extend_from_slice(END);
    let bytes = u64::try_from(out.len()).unwrap_or(u64::MAX);
    let (oldest, newest) = (Timestamp(oldest), Timestamp(newest));
    let copy = Copied { first, next, oldest, newest, epoch, sum, bytes };
    Ok(Some(Packed { copy, body: out.into() }))
}

fn close(block: Block, inside: &mut Vec<u8>, sum: &mut Sum, out: &mut Vec<u8>) -> std::io::Result<Block> {
    sum.add(inside);
    let at = out.len();
    let mut deflated = flate2::write::DeflateEncoder::new(std::mem::take(out), flate2::Compression::fast());
    deflated.write_all(inside)?;
    *out = deflated.finish()?;
    let written = out.get(at..).unwrap_or_default();
    let block = Block {
        at: u64::try_from(at).unwrap_or(u64::MAX),
        bytes: short(written.len()),
        inside: short(inside.len()),
        crc: crc32c::crc32c(written),
        ..block
    };
    inside.clear();
    Ok(block)
}

/// The index out of the last bytes of a copy of so many bytes in all, or how many last bytes it takes to read it.
///
/// # Errors
/// What is damaged.
pub fn index(last: &[u8], bytes: u64) -> Result<Result<Index, u64>, &'static str> {
    let have = u64::try_from(last.len()).unwrap_or(u64::MAX);
    let end = last.len().checked_sub(16).and_then(|at| last.get(at..)).ok_or("it is cut off")?;
    if end.get(8..) != Some(END) {
        return Err("it does not end as a copy ends");
    }
    let (length, crc) = (u32_at(end, 0).unwrap_or_default(), u32_at(end, 4).unwrap_or_default());
    let want = u64::from(length) + END_BYTES;
    if want > bytes {
        return Err("its index is longer than itself");
    }
    if want > have {
        return Ok(Err(want));
    }
    let from = last.len().saturating_sub(length as usize + 16);
    let text = last.get(from..last.len().saturating_sub(16)).unwrap_or_default();
    if crc32c::crc32c(text) != crc {
        return Err("the checksum of its index does not hold");
    }
    serde_json::from_slice(text).map(Ok).map_err(|_| "its index cannot be read")
}

impl Index {
    /// Whether it is the index of this copy.
    pub fn is_of(&self, bus: &BusName, copy: &Copied) -> bool {
        self.bus == bus.as_str()
            && (self.first, self.next) == (copy.first.0, copy.next.0)
            && self.sum == format!("{:032x}", copy.sum)
    }
}

/// The inside of a block.
///
/// # Errors
/// What is damaged.
pub fn inside(block: &Block, bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    if crc32c::crc32c(bytes) != block.crc {
        return Err("the checksum of a block does not hold");
    }
    if block.inside as usize > bytes.len().saturating_mul(DEFLATED_MAX) {
        return Err("a block says that it is longer than its bytes can be inflated to");
    }
    let mut inside = Vec::with_capacity(block.inside as usize);
    // One byte more than it should have tells that there are too many.
    let limit = u64::from(block.inside) + 1;
    flate2::read::DeflateDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut inside)
        .map_err(|_| "a block cannot be inflated")?;
    if inside.len() != block.inside as usize {
        Err("a block has another length than its index says")
    } else {
        Ok(inside)
    }
}

/// The records of a block's inside, as a chunk of the log.
///
/// # Errors
/// What is damaged.
pub fn records(inside: Vec<u8>, next: Offset) -> Result<Chunk, &'static str> {
    let cut = "a block ends within a record";
    let (mut at, mut records) = (0, Vec::new());
    while at < inside.len() {
        let offset = u64_at(&inside, at).ok_or(cut)?;
        let appended = u64_at(&inside, at + 8).ok_or(cut)?;
        let length = u32_at(&inside, at + 16).ok_or(cut)? as usize;
        let body = at + RECORD_HEAD;
        let end = body.checked_add(length).filter(|end| *end <= inside.len()).ok_or(cut)?;
        records.push((Offset(offset), Timestamp(appended), body..end));
        at = end;
    }
    Ok(Chunk { buffer: inside.into(), records, next })
}

/// Whether an object begins as a copy of this format begins.
///
/// # Errors
/// What is wrong.
pub fn head(bytes: &[u8]) -> Result<(), &'static str> {
    if !bytes.starts_with(HEAD) {
        return Err("it does not begin as a copy begins");
    }
    if u32_at(bytes, 8) != Some(FORMAT) || u32_at(bytes, 12) != Some(DEFLATE) {
        return Err("it has a format that this program does not read; use a newer gocoffee");
    }
    Ok(())
}
