//! Reading blocks of one segment: a chunk from an offset on, and the place of a time.

use std::path::Path;

use bytes::Bytes;
use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Chunk, Error},
};

use super::{
    files::{File, read_full_at},
    scan::Window,
    segment::{BLOCK_BYTES_MAX, BLOCK_HEAD, Block, damaged},
};

/// A buffer that begins at an index entry holds, besides what was asked for, the way to it and the
/// overhead of heads and tables.
const READ_AHEAD: usize = 32 * 1024;

/// The synced part of a segment.
pub(super) struct Synced<'a> {
    pub file: &'a dyn File,
    pub path: &'a Path,
    pub seed: u64,
    pub end: u64,
}

impl Synced<'_> {
    /// Records from the first at or after `from` on, about `bytes_max` bytes of bodies but at least one
    /// record; `at` is a block at or before the one that holds it. No records when there are none.
    pub fn chunk(&self, mut at: u64, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        let mut want = bytes_max.saturating_add(READ_AHEAD);
        while at < self.end {
            let room = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            let mut buffer = vec![0; want.min(room)];
            self.fill(&mut buffer, at)?;
            let mut chunk = Chunk { buffer: Bytes::new(), records: Vec::new(), next: from };
            let mut taken = 0;
            let (resume, need) = self.collect(&buffer, at, from, bytes_max, &mut taken, &mut chunk)?;
            if !chunk.records.is_empty() {
                chunk.buffer = buffer.into();
                return Ok(chunk);
            }
            (at, want) = (resume, want.max(need));
        }
        Ok(Chunk { buffer: Bytes::new(), records: Vec::new(), next: from })
    }

    /// Takes records out of a buffer; says at which block it stopped, and how many bytes that has.
    fn collect(
        &self,
        buffer: &[u8],
        at: u64,
        from: Offset,
        bytes_max: usize,
        taken: &mut usize,
        chunk: &mut Chunk,
    ) -> Result<(u64, usize), Error> {
        let mut here = at;
        while here < self.end {
            let start = usize::try_from(here - at).unwrap_or(usize::MAX);
            let bytes = buffer.get(start..).unwrap_or_default();
            if bytes.len() < BLOCK_HEAD {
                return Ok((here, BLOCK_HEAD + BLOCK_BYTES_MAX));
            }
            let block = match self.block(bytes, here) {
                // What stands before the damage is good; the next read names it.
                Err(_) if !chunk.records.is_empty() => return Ok((here, 0)),
                other => other?,
            };
            if block.last() < from {
                here = block.end();
                continue;
            }
            if bytes.len() < block.bytes() {
                return Ok((here, block.bytes()));
            }
            let records = block.holds(bytes, self.seed).then(|| block.records(bytes)).flatten();
            let Some(records) = records else {
                if !chunk.records.is_empty() {
                    return Ok((here, 0));
                }
                let what = "the checksum does not hold, though these events were acknowledged";
                let offsets = Some((block.first, block.last()));
                return Err(damaged(self.path, here..block.end(), offsets, what));
            };
            for (offset, _, range) in records.into_iter().filter(|(offset, _, _)| *offset >= from) {
                if !chunk.records.is_empty() && *taken + range.len() > bytes_max {
                    return Ok((here, 0));
                }
                *taken += range.len();
                chunk.records.push((offset, block.time, start + range.start..start + range.end));
                chunk.next = offset.next();
            }
            here = block.end();
        }
        Ok((here, 0))
    }

    /// The first offset appended at or after `t`; `at` is a block at or before it.
    pub fn seek(&self, mut at: u64, t: Timestamp) -> Result<Option<Offset>, Error> {
        let mut window = Window::narrow(self.file, self.end);
        while at < self.end {
            let bytes = window.get(at, BLOCK_HEAD).map_err(|e| self.unreadable(at, self.end, &e))?;
            let block = self.block(bytes, at)?;
            if block.time >= t {
                return Ok(Some(block.first));
            }
            at = block.end();
        }
        Ok(None)
    }

    fn block(&self, bytes: &[u8], at: u64) -> Result<Block, Error> {
        Block::decode(bytes, self.seed, at).filter(|b| b.end() <= self.end).ok_or_else(|| {
            let what = "there is no valid block, though acknowledged events were written here";
            damaged(self.path, at..self.end, None, what)
        })
    }

    fn fill(&self, buffer: &mut [u8], at: u64) -> Result<(), Error> {
        let end = at + buffer.len() as u64;
        let got = read_full_at(self.file, buffer, at).map_err(|e| self.unreadable(at, end, &e))?;
        if got < buffer.len() {
            let what = "the file ends here, though acknowledged events were written behind";
            return Err(damaged(self.path, at + got as u64..self.end, None, what));
        }
        Ok(())
    }

    fn unreadable(&self, at: u64, end: u64, e: &std::io::Error) -> Error {
        damaged(self.path, at..end, None, &format!("cannot be read: {e}"))
    }
}
