//! Looking at a log that no router works on, block by block, and setting aside what is damaged in it.
//! Looking changes nothing. Setting aside copies a file to a folder of its own first, then puts in its
//! place one without the damaged blocks; it may be cut short at any step and done again.

mod sides;

use std::{io, ops::Range, path::Path, path::PathBuf};

use router_core::{
    id::{BusName, Offset},
    store::Error,
};

pub use self::sides::inspect_sides;
use super::{
    files::{File, Files, create_dirs, read_full_at, write_all_at},
    recover::{self, segment_path},
    remnant::{self, Writer, remnant_path},
    scan::{Scan, Window},
    segment::{BLOCK_HEAD, BLOCK_MAGIC, Block, HEAD_BYTES, Head, Place, REMNANT_MAGIC, encode_copy, unusable},
};

/// What is searched at once for the next block, in bytes.
const SEARCH_BYTES: usize = 512 * 1024;
/// What is copied at once, in bytes.
const COPY_BYTES: usize = 1024 * 1024;

/// What a look at a log found.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The first offset that is kept.
    pub first: Offset,
    /// The offset that the next record will have at least.
    pub tail: Offset,
    /// The first and last offset of each run of records in remnants, by offset.
    pub held: Vec<(Offset, Offset)>,
    /// Everything that cannot be read.
    pub damages: Vec<Damage>,
}

/// Something that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Range<u64>,
    /// The first and the last offset that may have been there.
    pub offsets: Option<(Offset, Offset)>,
    /// What is wrong.
    pub what: String,
}

/// A file's valid blocks are shown to this.
type Each<'a> = dyn FnMut(&Block, &[u8]) -> io::Result<()> + 'a;

/// A bad place, and the first and last offset that may have been there.
type Gap = (Range<u64>, Option<(Offset, Offset)>);

/// Shows every valid block below `limit`, and says where there is none though there was one: everything
/// below `proven` was acknowledged.
fn survey(file: &dyn File, head: &Head, limit: u64, proven: u64, each: &mut Each<'_>) -> io::Result<(Scan, Vec<Gap>)> {
    let mut window = Window::new(file, limit);
    let (mut found, mut gaps) = (Scan::empty(head), Vec::new());
    let mut proven = proven;
    // After a gap the chain begins anew.
    let mut chained = true;
    while found.end + (BLOCK_HEAD as u64) <= limit {
        let block = Block::decode(window.get(found.end, BLOCK_HEAD)?, head.seed, found.end);
        let fits = |b: &Block| {
            (!chained || b.chain == found.chain) && b.first >= found.next && b.at + b.bytes() as u64 <= limit
        };
        if let Some(block) = block.filter(fits) {
            let bytes = window.get(block.at, block.bytes())?;
            let records = block.holds(bytes, head.seed).then(|| block.records(bytes)).flatten();
            if let Some(records) = records {
                each(&block, bytes)?;
                found.add(&block, records.iter().map(|(_, key, _)| *key));
                chained = true;
                continue;
            }
        }
        let (next, synced) = search(file, head, found.end, limit)?;
        proven = proven.max(synced);
        if found.end >= proven {
            break;
        }
        let (end, last) = match next.filter(|b| b.at < proven) {
            Some(block) => (block.at, Some(Offset(block.first.0.saturating_sub(1)))),
            None => (proven, None),
        };
        gaps.push((found.end..end, last.map(|last| (found.next, last))));
        (found.end, chained) = (end, false);
    }
    if found.end < proven && gaps.last().is_none_or(|(bytes, _)| bytes.end < proven) {
        gaps.push((found.end..proven, None));
    }
    Ok((found, gaps))
}

/// The first block behind a bad place, and up to where blocks behind it prove that all was synced.
fn search(file: &dyn File, head: &Head, bad: u64, limit: u64) -> io::Result<(Option<Block>, u64)> {
    let mut window = Window::new(file, limit);
    let (mut first, mut synced) = (None, 0);
    // A block that begins at the bad place is the bad one.
    let mut at = bad + 8;
    while at + (BLOCK_HEAD as u64) <= limit {
        let bytes = window.get(at, SEARCH_BYTES)?;
        if bytes.len() < BLOCK_HEAD {
            break;
        }
        let mut steps = 0;
        for start in (0..=bytes.len() - BLOCK_HEAD).step_by(8) {
            let candidate = bytes.get(start..).unwrap_or_default();
            if candidate.starts_with(BLOCK_MAGIC)
                && let Some(block) = Block::decode(candidate, head.seed, at + start as u64)
            {
                synced = synced.max(block.synced);
                first = first.or(Some(block));
            }
            steps += 8;
        }
        at += steps;
    }
    Ok((first, synced))
}

/// A segment, as far as it can be read.
struct Seen {
    base: Offset,
    path: PathBuf,
    /// `None` when its head is damaged.
    head: Option<Head>,
    length: u64,
}

fn see(files: &dyn Files, dir: &Path, base: Offset) -> Result<(Seen, Option<Damage>), Error> {
    let path = segment_path(dir, base);
    let file = files.open(&path).map_err(|e| unusable(&path, "open the segment", &e))?;
    let length = file.len().map_err(|e| unusable(&path, "look at the segment", &e))?;
    match Head::read(&*file, &path) {
        Ok(head) if head.base == base => Ok((Seen { base, path, head: Some(head), length }, None)),
        other => {
            let what = "the head of the segment is damaged: none of its blocks can be told from garbage".into();
            let newer = other.err().filter(|e| e.to_string().contains("format version"));
            if let Some(newer) = newer {
                return Err(newer);
            }
            let damage = Damage { path: path.clone(), bytes: 0..length, offsets: None, what };
            Ok((Seen { base, path, head: None, length }, Some(damage)))
        }
    }
}

/// The segments of a log with what is damaged in them, and the offset behind the last record.
struct Segments {
    seen: Vec<Seen>,
    damages: Vec<Damage>,
    tail: Offset,
}

fn segments(files: &dyn Files, dir: &Path) -> Result<Segments, Error> {
    let bases = names(files, dir, ".log")?;
    let (mut seen, mut damages) = (Vec::with_capacity(bases.len()), Vec::new());
    for base in bases {
        let (segment, damage) = see(files, dir, base)?;
        seen.push(segment);
        damages.extend(damage);
    }
    let mut tail = Offset(1);
    let mark = recover::mark(files, dir).map_err(|e| unusable(dir, "read the mark of a clean stop", &e))?;
    for (at, segment) in seen.iter().enumerate() {
        let next = seen.get(at + 1);
        let before = next.and_then(|n| n.head.as_ref()).and_then(|h| h.before);
        if let Some((missing, end)) = before.filter(|(base, _)| *base != segment.base) {
            let offsets = next.map(|n| (missing, Offset(n.base.0.saturating_sub(1))));
            let path = segment_path(dir, missing);
            damages.push(Damage { path, bytes: 0..end, offsets, what: "the segment is missing".into() });
        }
        let proven = before.filter(|(base, _)| *base == segment.base).map(|(_, end)| end);
        let Some(head) = &segment.head else {
            tail = tail.max(segment.base);
            let lost = next.map(|n| (segment.base, Offset(n.base.0.saturating_sub(1))));
            damages.iter_mut().filter(|d| d.path == segment.path).for_each(|d| d.offsets = lost);
            continue;
        };
        let file = files.open(&segment.path).map_err(|e| unusable(&segment.path, "open the segment", &e))?;
        let limit = proven.map_or(segment.length, |end| end.min(segment.length));
        let sealed = proven;
        let marked = mark.filter(|m| (m.base, m.seed) == (head.base, head.seed)).map_or(0, |m| m.end);
        let proven = proven.unwrap_or(head.synced.max(marked));
        let (found, gaps) = survey(&*file, head, limit, proven, &mut |_, _| Ok(()))
            .map_err(|e| unusable(&segment.path, "read the segment", &e))?;
        tail = tail.max(found.next);
        if let Some(end) = sealed.filter(|end| segment.length < *end)
            && !gaps.iter().any(|(bytes, _)| bytes.end == end)
        {
            // Only the zeros behind the last block are gone, which an open misses all the same.
            let what = "the file is cut off; every event in it can be read".into();
            damages.push(Damage { path: segment.path.clone(), bytes: segment.length..end, offsets: None, what });
        }
        damages.extend(gaps.into_iter().map(|(bytes, offsets)| {
            let behind = next.map(|n| (found.next, Offset(n.base.0.saturating_sub(1)))).filter(|(a, b)| a <= b);
            let what = "acknowledged events are damaged here: a checksum does not hold".into();
            Damage { path: segment.path.clone(), bytes, offsets: offsets.or(behind), what }
        }));
    }
    Ok(Segments { seen, damages, tail })
}

fn names(files: &dyn Files, dir: &Path, kind: &str) -> Result<Vec<Offset>, Error> {
    let names = files.list(dir).map_err(|e| unusable(dir, "list the folder of the bus", &e))?;
    let base = |name: &String| name.strip_suffix(kind).filter(|d| d.len() == 20)?.parse().ok().map(Offset);
    let mut bases: Vec<Offset> = names.iter().filter_map(base).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// What of a remnant can be read: its head, and where its blocks are damaged.
fn remnant(
    files: &dyn Files,
    dir: &Path,
    first: Offset,
    each: &mut Each<'_>,
) -> Result<(Option<Head>, Vec<Damage>), Error> {
    let path = remnant_path(dir, first);
    let file = files.open(&path).map_err(|e| unusable(&path, "open the remnant", &e))?;
    let failed = |e| unusable(&path, "read the remnant", &e);
    let length = file.len().map_err(failed)?;
    let damage = |bytes, offsets, what: &str| Damage { path: path.clone(), bytes, offsets, what: what.into() };
    let Some(head) = Head::read_as(REMNANT_MAGIC, &*file, &path).ok().filter(|head| head.base == first) else {
        return Ok((None, vec![damage(0..length, None, "the head of the remnant is damaged")]));
    };
    let end = head.synced.min(length);
    let next = head.before.map_or(first, |(next, _)| next);
    let (found, gaps) = survey(&*file, &head, end, head.synced, each).map_err(failed)?;
    let what = "events that are still needed are damaged here: a checksum does not hold";
    let behind = (found.next, Offset(next.0.saturating_sub(1)));
    let mut damages: Vec<_> =
        gaps.into_iter().map(|(bytes, offsets)| damage(bytes, offsets.or(Some(behind)), what)).collect();
    let bus = BusName::new(&head.bus).ok();
    let table = bus.map(|bus| remnant::Reader::open(files, dir, first, &bus).and_then(|r| r.each(&mut |_| Ok(()))));
    if damages.is_empty() && !matches!(table, Some(Ok(()))) {
        damages.push(damage(head.synced..length.max(head.synced), None, "the table of the remnant is damaged"));
    }
    Ok((Some(head), damages))
}

/// Looks at the log of a bus, whole. No router may work on it.
///
/// # Errors
/// [`Error::Damaged`] for a file that the system does not let us read, or of a newer format.
pub fn inspect(files: &dyn Files, dir: &Path) -> Result<Inspected, Error> {
    let Segments { seen, mut damages, tail } = segments(files, dir)?;
    let first = seen.first().map_or(Offset(1), |s| s.base);
    let mut held = Vec::new();
    for name in names(files, dir, ".rem")? {
        let mut hold = |block: &Block, _: &[u8]| {
            held.push((block.first, block.last()));
            Ok(())
        };
        damages.extend(remnant(files, dir, name, &mut hold)?.1);
    }
    Ok(Inspected { first, tail, held, damages })
}

/// Sets everything aside that [`inspect`] finds damaged: the files go to `aside` as they are, and what can
/// be read of them stays in the log.
///
/// # Errors
/// [`Error::NoSpace`] and [`Error::Damaged`]: it may be done again.
pub fn set_aside(files: &dyn Files, dir: &Path, aside: &Path) -> Result<Vec<Damage>, Error> {
    let cannot = |e: io::Error| unusable(dir, "set damaged files aside", &e);
    for name in names(files, dir, ".rem")? {
        let (head, damages) = remnant(files, dir, name, &mut |_, _| Ok(()))?;
        if !damages.is_empty() {
            let path = remnant_path(dir, name);
            keep_copy(files, &path, aside).map_err(cannot)?;
            match head {
                Some(head) => rewrite_remnant(files, dir, name, &head)?,
                None => files.remove(&path).map_err(cannot)?,
            }
        }
    }
    let Segments { seen, damages, .. } = segments(files, dir)?;
    let damaged = |segment: &Seen| damages.iter().any(|d| d.path == segment.path);
    let mut before: Option<(Offset, u64)> = None;
    let mut first = true;
    for (at, segment) in seen.iter().enumerate() {
        let Some(head) = &segment.head else {
            keep_copy(files, &segment.path, aside).map_err(cannot)?;
            files.remove(&segment.path).map_err(cannot)?;
            continue;
        };
        let named = seen.get(at + 1).and_then(|n| n.head.as_ref()).and_then(|h| h.before);
        let mut end = named.filter(|(base, _)| *base == segment.base).map_or(segment.length, |(_, end)| end);
        // The oldest one may name what was let go.
        let head = Head { before: if first { head.before } else { before }, ..head.clone() };
        if damaged(segment) {
            keep_copy(files, &segment.path, aside).map_err(cannot)?;
            let proven = if named.is_some_and(|(base, _)| base == segment.base) { end } else { head.synced };
            end = rewrite_segment(files, dir, (&segment.path, &head), end, proven)?;
        } else if segment.head.as_ref() != Some(&head) {
            let file = files.open(&segment.path).map_err(cannot)?;
            write_all_at(&*file, &head.encode(), 0).map_err(|(_, e)| cannot(e))?;
            file.sync_data().map_err(cannot)?;
        }
        (before, first) = (Some((segment.base, end)), false);
    }
    // It speaks of a segment that may be another one now.
    recover::remove_mark(files, dir).and_then(|()| files.sync_dir(dir)).map_err(cannot)?;
    inspect(files, dir).map(|left| left.damages)
}

/// Copies a file to a folder, under its own name or the next free one: a mend that is done again, or years
/// later, must not write over what was kept first. A copy has its name once it is whole.
fn keep_copy(files: &dyn Files, path: &Path, aside: &Path) -> io::Result<()> {
    create_dirs(files, aside)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let there = files.list(aside)?;
    let mut names = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}.{n}") });
    let free = names.find(|name| !there.contains(name)).unwrap_or_default();
    let passing = aside.join("passing");
    let (from, to) = (files.open(path)?, files.create(&passing)?);
    let (mut at, mut buffer) = (0, vec![0; COPY_BYTES]);
    loop {
        let got = read_full_at(&*from, &mut buffer, at)?;
        write_all_at(&*to, buffer.get(..got).unwrap_or_default(), at).map_err(|(_, e)| e)?;
        at += got as u64;
        if got < buffer.len() {
            break;
        }
    }
    to.sync_data()?;
    files.rename(&passing, &aside.join(free))?;
    files.sync_dir(aside)
}

/// Puts a segment in place that holds the valid blocks of this one; says where it ends.
fn rewrite_segment(
    files: &dyn Files,
    dir: &Path,
    (path, head): (&Path, &Head),
    end: u64,
    proven: u64,
) -> Result<u64, Error> {
    let file = files.open(path).map_err(|e| unusable(path, "open the segment", &e))?;
    let length = file.len().map_err(|e| unusable(path, "look at the segment", &e))?;
    let made = recover::replace(files, dir, head, length, |new, seed| {
        let (mut at, mut chain) = (HEAD_BYTES, 0);
        survey(&*file, head, end.min(length), proven, &mut |block, bytes| {
            let mut out = Vec::new();
            let place = Place { seed, at, first: block.first, time: block.time, synced: HEAD_BYTES, chain };
            let copy = encode_copy(place, block.count, bytes.get(BLOCK_HEAD..).unwrap_or_default(), &mut out);
            write_all_at(new, &out, at).map_err(|(_, e)| e)?;
            (at, chain) = (copy.end(), copy.crc);
            Ok(())
        })?;
        Ok(at)
    });
    made.map_err(|e| unusable(path, "write the segment anew", &e))
}

fn rewrite_remnant(files: &dyn Files, dir: &Path, first: Offset, head: &Head) -> Result<(), Error> {
    let path = remnant_path(dir, first);
    let cannot = |e: io::Error| unusable(&path, "write the remnant anew", &e);
    let bus = BusName::new(&head.bus).map_err(|e| cannot(io::Error::other(e.to_string())))?;
    let mut writer = Writer::create(files, dir, first).map_err(cannot)?;
    remnant(files, dir, first, &mut |block, bytes| {
        for (offset, _, range) in block.records(bytes).unwrap_or_default() {
            writer.push(offset, block.time, bytes.get(range).unwrap_or_default())?;
        }
        Ok(())
    })?;
    writer.finish(head.before.map_or(first, |(next, _)| next), &bus).map_err(cannot)?;
    writer.put_in_place(files).and_then(|()| files.sync_dir(dir)).map_err(cannot)
}
