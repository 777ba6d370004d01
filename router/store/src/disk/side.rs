//! The byte format of side files (version 1, all numbers little-endian). A side file is made from its
//! segment when that is sealed, holds nothing that the segment does not, and is made again when it is
//! missing, damaged or of another version: so it is not an error when it cannot be written.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `gocofidx` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | CRC-32C of bytes 16 to 95 |
//! | 16 | 8 | base of the segment |
//! | 24 | 8 | seed of the segment |
//! | 32 | 8 | end of the segment in bytes |
//! | 40 | 8 | offset of its last record |
//! | 48 | 8 | append time of its first record, µs |
//! | 56 | 8 | append time of its last record, µs |
//! | 64 | 8 | number of records N |
//! | 72 | 8 | number of index entries I |
//! | 80 | 4 | CRC-32C of the index |
//! | 84 | 12 | 0 |
//! | 96 | 24 I | index: offset, place in the segment, append time of a block |
//! | | | keys, in pages of 16 KiB: 682 times key, offset, append time; zeros; CRC-32C of the page's first 16380 bytes |

use std::{io, ops::Range, path::Path, sync::Arc};

use router_core::{clock::Timestamp, id::Offset, store::Keyed};

use super::{
    files::{File, Files, is_no_space, read_full_at, write_all_at},
    scan::{Entry, INDEX_STEP, Index, Scan},
    segment::{Head, put, u32_at, u64_at},
};

const MAGIC: &[u8; 8] = b"gocofidx";
const VERSION: u32 = 1;
const HEAD: usize = 96;
const ENTRY: usize = 24;
const PAGE: usize = 16 * 1024;
const PAGE_KEYS: usize = (PAGE - 4) / ENTRY;

/// What is kept in memory of every sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub base: Offset,
    pub seed: u64,
    pub end: u64,
    /// The last record's offset; lower than `base` when there is none.
    pub last: Offset,
    /// Append times of the first and the last record.
    pub times: (Timestamp, Timestamp),
    pub records: u64,
}

impl Summary {
    pub fn new(head: &Head, scan: &Scan) -> Summary {
        Summary {
            base: head.base,
            seed: head.seed,
            end: scan.end,
            last: Offset(scan.next.0.saturating_sub(1)),
            times: scan.times,
            records: scan.keys.len() as u64,
        }
    }
}

/// About how many bytes the side file of a segment has that ends at `end`.
pub(super) fn bytes(records: u64, end: u64) -> u64 {
    HEAD as u64 + end.div_ceil(INDEX_STEP) * ENTRY as u64 + records.div_ceil(PAGE_KEYS as u64) * PAGE as u64
}

fn push(b: &mut Vec<u8>, entry: [u64; 3]) {
    for number in entry {
        b.extend_from_slice(&number.to_le_bytes());
    }
}

fn encode(summary: &Summary, index: &Index, keys: &[Keyed]) -> Vec<u8> {
    let pages = keys.len().div_ceil(PAGE_KEYS);
    let mut b = Vec::with_capacity(HEAD + index.0.len() * ENTRY + pages * PAGE);
    b.resize(HEAD, 0);
    index.0.iter().for_each(|e| push(&mut b, [e.offset.0, e.at, e.time.0]));
    let index_crc = crc32c::crc32c(b.get(HEAD..).unwrap_or_default());
    for page in keys.chunks(PAGE_KEYS) {
        let start = b.len();
        page.iter().for_each(|k| push(&mut b, [k.key, k.offset.0, k.appended.0]));
        b.resize(start + PAGE - 4, 0);
        let crc = crc32c::crc32c(b.get(start..).unwrap_or_default());
        b.extend(crc.to_le_bytes());
    }
    put(&mut b, 0, MAGIC);
    put(&mut b, 8, &VERSION.to_le_bytes());
    let Summary { base, seed, end, last, times, records } = summary;
    let fields = [base.0, *seed, *end, last.0, times.0.0, times.1.0, *records, index.0.len() as u64];
    for (i, number) in fields.into_iter().enumerate() {
        put(&mut b, 16 + 8 * i, &number.to_le_bytes());
    }
    put(&mut b, 80, &index_crc.to_le_bytes());
    let crc = crc32c::crc32c(b.get(16..HEAD).unwrap_or_default());
    put(&mut b, 12, &crc.to_le_bytes());
    b
}

/// Writes a side file under a passing name, syncs it and gives it its own. Its name becomes durable
/// with the next sync of the folder; until then a power loss means that it is made again.
/// `Ok(false)` when there is no space for it.
pub(super) fn write(
    files: &dyn Files,
    path: &Path,
    summary: &Summary,
    index: &Index,
    keys: &[Keyed],
) -> io::Result<bool> {
    let passing = path.with_extension("idx.new");
    let attempt = || {
        let file = files.create(&passing)?;
        write_all_at(&*file, &encode(summary, index, keys), 0).map_err(|(_, e)| e)?;
        file.sync_data()?;
        files.rename(&passing, path)
    };
    match attempt() {
        Ok(()) => Ok(true),
        Err(e) if is_no_space(&e) => {
            tracing::warn!(code = %crate::codes::SIDE_FILE_LATER, path = %path.display(), "no space for a side file; it is made again when it is needed");
            // What is left of it is removed at the next open at the latest.
            files.remove(&passing).unwrap_or_default();
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// An open side file whose head is sound and belongs to this segment.
pub(super) struct Side {
    file: Arc<dyn File>,
    pub summary: Summary,
    entries: usize,
    index_crc: u32,
}

impl Side {
    /// `None` when there is none that can be used.
    pub fn open(files: &dyn Files, path: &Path, base: Offset, seed: u64, end: u64) -> Option<Side> {
        let ours = |s: &Side| (s.summary.base, s.summary.seed, s.summary.end) == (base, seed, end);
        Side::read(files, path).filter(ours)
    }

    /// Whosever it is; `None` when its head is damaged.
    pub fn read(files: &dyn Files, path: &Path) -> Option<Side> {
        let file = files.open(path).ok()?;
        let mut b = [0; HEAD];
        let got = read_full_at(&*file, &mut b, 0).ok()?;
        let sound = got == HEAD
            && b.starts_with(MAGIC)
            && u32_at(&b, 8) == VERSION
            && u32_at(&b, 12) == crc32c::crc32c(b.get(16..)?);
        let summary = Summary {
            base: Offset(u64_at(&b, 16)),
            seed: u64_at(&b, 24),
            end: u64_at(&b, 32),
            last: Offset(u64_at(&b, 40)),
            times: (Timestamp(u64_at(&b, 48)), Timestamp(u64_at(&b, 56))),
            records: u64_at(&b, 64),
        };
        let entries = usize::try_from(u64_at(&b, 72)).ok()?;
        sound.then_some(Side { file, summary, entries, index_crc: u32_at(&b, 80) })
    }

    /// The index; `None` when it is damaged.
    pub fn index(&self) -> Option<Index> {
        let mut b = vec![0; self.entries.checked_mul(ENTRY)?];
        let got = read_full_at(&*self.file, &mut b, HEAD as u64).ok()?;
        let sound = got == b.len() && crc32c::crc32c(&b) == self.index_crc;
        let entry = |e: &[u8]| Entry { offset: Offset(u64_at(e, 0)), at: u64_at(e, 8), time: Timestamp(u64_at(e, 16)) };
        sound.then(|| Index(b.chunks_exact(ENTRY).map(entry).collect()))
    }

    /// Which bytes of it are damaged.
    pub fn damages(&self) -> Vec<(Range<u64>, &'static str)> {
        let mut found = Vec::new();
        let keys_at = HEAD + self.entries * ENTRY;
        if self.index().is_none() {
            found.push((HEAD as u64..keys_at as u64, "the index of the side file is damaged"));
        }
        let records = usize::try_from(self.summary.records).unwrap_or(usize::MAX);
        let mut page = vec![0; PAGE];
        for number in 0..records.div_ceil(PAGE_KEYS) {
            let at = (keys_at + number * PAGE) as u64;
            let sound = read_full_at(&*self.file, &mut page, at).is_ok_and(|got| got == PAGE)
                && page.split_at_checked(PAGE - 4).is_some_and(|(keys, crc)| crc32c::crc32c(keys) == u32_at(crc, 0));
            if !sound {
                found.push((at..at + PAGE as u64, "keys of the side file are damaged"));
            }
        }
        found
    }

    /// The newest keys, at most `count_max`, none appended before `since`, in log order; `None` when a
    /// page that is needed is damaged. Reads only the pages that it needs.
    pub fn keys(&self, since: Timestamp, count_max: usize) -> Option<Vec<Keyed>> {
        let records = usize::try_from(self.summary.records).ok()?;
        let mut newest_first = Vec::new();
        let mut page = vec![0; PAGE];
        for number in (0..records.div_ceil(PAGE_KEYS)).rev() {
            let at = HEAD + self.entries * ENTRY + number * PAGE;
            let got = read_full_at(&*self.file, &mut page, at as u64).ok()?;
            let (keys, crc) = page.split_at_checked(PAGE - 4)?;
            if got != PAGE || crc32c::crc32c(keys) != u32_at(crc, 0) {
                return None;
            }
            let here = PAGE_KEYS.min(records - number * PAGE_KEYS);
            for k in keys.chunks_exact(ENTRY).take(here).rev() {
                let key = Keyed { key: u64_at(k, 0), offset: Offset(u64_at(k, 8)), appended: Timestamp(u64_at(k, 16)) };
                if key.appended < since || newest_first.len() == count_max {
                    newest_first.reverse();
                    return Some(newest_first);
                }
                newest_first.push(key);
            }
        }
        newest_first.reverse();
        Some(newest_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{files::RealFiles, sim::SimFiles};

    fn sample(records: u64) -> (Head, Summary, Index, Vec<Keyed>) {
        let head =
            Head { base: Offset(10), seed: 4, synced: 160, floor: Timestamp(0), before: None, bus: "default".into() };
        let keys: Vec<_> = (0..records)
            .map(|i| Keyed { key: i * 3, offset: Offset(10 + i), appended: Timestamp(100 + i / 2) })
            .collect();
        let times = (Timestamp(100), keys.last().map_or(Timestamp(100), |k| k.appended));
        let last = Offset(9 + records);
        let index = Index(vec![Entry { offset: Offset(10), at: 160, time: Timestamp(100) }]);
        (head, Summary { base: Offset(10), seed: 4, end: 5000, last, times, records }, index, keys)
    }

    #[test]
    fn side_file_gives_back_index_and_the_window_of_keys() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("00000000000000000010.idx");
        for records in [0, 1, 681, 682, 683, 3000] {
            let (head, summary, index, keys) = sample(records);
            assert!(write(&RealFiles, &path, &summary, &index, &keys).unwrap());
            let side = Side::open(&RealFiles, &path, head.base, head.seed, 5000).unwrap();
            assert_eq!(side.summary, summary);
            assert_eq!(side.index().unwrap(), index);
            assert_eq!(side.keys(Timestamp(0), usize::MAX).unwrap(), keys);
            assert_eq!(side.keys(Timestamp(0), 700).unwrap(), keys[keys.len().saturating_sub(700)..]);
            let young: Vec<_> = keys.iter().copied().filter(|k| k.appended >= Timestamp(440)).collect();
            assert_eq!(side.keys(Timestamp(440), usize::MAX).unwrap(), young);
            assert!(
                Side::open(&RealFiles, &path, head.base, head.seed, 5001).is_none(),
                "of a segment with another end"
            );
        }
    }

    #[test]
    fn damaged_side_file_is_never_believed() {
        let sim = SimFiles::new();
        let path = Path::new("/00000000000000000010.idx");
        let (head, summary, index, keys) = sample(1000);
        write(&sim, path, &summary, &index, &keys).unwrap();
        let good = sim.bytes(path).unwrap();
        let whole = |bytes: Vec<u8>| {
            sim.replace(path, bytes).unwrap();
            let side = Side::open(&sim, path, head.base, head.seed, 5000)?;
            Some((side.summary.clone(), side.index()?, side.keys(Timestamp(0), usize::MAX)?))
        };
        assert!(whole(good.clone()).is_some());
        for at in (0..HEAD + ENTRY).chain((HEAD..good.len()).step_by(61)) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert_eq!(whole(bad), None, "byte {at}");
        }
        for length in [0, 50, HEAD, good.len() - 1] {
            assert_eq!(whole(good[..length].to_vec()), None, "cut to {length}");
        }
    }
}
