//! The stretches of the log: sealing the last, letting the oldest go.
//!
//! A stretch is let go in this order, so that a power loss at any step leaves the old or the new:
//! 1. what is kept of it is written into a new file, and synced;
//! 2. the file gets its name, and the folder is synced: from here on the remnant stands for the stretch,
//!    and an open removes the rest of what it stands for;
//! 3. the segment, or the remnant that was joined to the one before it, is removed, and the folder synced.

use std::{io, path::Path, sync::atomic::Ordering};

use router_core::{
    id::Offset,
    store::{Error, Record, Segment, SegmentKind},
};

use super::{Shared, exclusive, lock, shared};
use crate::disk::{
    files::is_no_space,
    recover::segment_path,
    remnant::{self, Failed, Reader, Remnant, Writer, remnant_path},
    segment::HEAD_BYTES,
    side::{self, Summary},
};

/// A remnant of at most so many bytes takes up the one that comes after it, so that there are few files
/// of a few records.
const JOIN_BYTES: u64 = 256 * 1024;
/// What is read of a segment at once for its remnant, in bytes.
const READ_BYTES: usize = 32 * 1024;

impl Summary {
    fn segment(&self) -> Segment {
        Segment {
            first: self.base,
            next: self.last.next(),
            newest: self.times.1,
            bytes: self.end + side::bytes(self.records, self.end),
            kind: SegmentKind::Sealed,
        }
    }
}

/// What is let go.
#[derive(Clone)]
enum Stretch {
    Sealed(std::sync::Arc<Summary>),
    Remnant(Remnant),
}

impl Stretch {
    fn range(&self) -> std::ops::Range<Offset> {
        match self {
            Stretch::Sealed(s) => s.base..s.last.next(),
            Stretch::Remnant(r) => r.first..r.next,
        }
    }
}

impl Shared {
    pub(super) fn segments(&self) -> Vec<Segment> {
        let map = shared(&self.map);
        let scan = shared(&map.active.scan);
        let unsealed = Segment {
            first: map.active.head.base,
            next: *self.tail.borrow(),
            newest: scan.times.1,
            bytes: map.active.capacity.load(Ordering::Relaxed),
            kind: SegmentKind::Unsealed,
        };
        let remnants = map.remnants.iter().map(Remnant::segment);
        remnants.chain(map.sealed.iter().map(|s| s.segment())).chain([unsealed]).collect()
    }

    pub(super) fn seal(&self) -> Result<(), Error> {
        let _writer = lock(&self.writer);
        self.check()?;
        let active = self.active();
        if shared(&active.scan).end == HEAD_BYTES {
            return Ok(());
        }
        // A full disk must not keep a segment from being sealed, and then from being let go.
        self.follow(&active, None, self.options.segment_bytes.max(HEAD_BYTES), HEAD_BYTES).map(drop)
    }

    pub(super) fn skip_to(&self, to: Offset) -> Result<(), Error> {
        let _writer = lock(&self.writer);
        self.check()?;
        let active = self.active();
        if *self.tail.borrow() >= to {
            return Ok(());
        }
        self.follow(&active, Some(to), self.options.segment_bytes.max(HEAD_BYTES), HEAD_BYTES)?;
        self.tail.send_replace(to);
        Ok(())
    }

    pub(super) fn reduce(&self, first: Offset, keep: &[Offset]) -> Result<(), Error> {
        let _trimming = lock(&self.trimming);
        self.check()?;
        let (stretch, before) = self.stretch(first)?;
        let range = stretch.range();
        let start = keep.partition_point(|o| *o < range.start);
        let end = keep.partition_point(|o| *o < range.end);
        let keep = keep.get(start..end).unwrap_or_default();
        if keep.is_empty() {
            return self.replace(&stretch, None);
        }
        let small = before.filter(|b| b.bytes() <= JOIN_BYTES);
        let made = match self.write_remnant(&stretch, small, keep) {
            // A remnant that cannot be read keeps nothing else from being let go.
            Err(Failed::Source(_)) if small.is_some() => self.write_remnant(&stretch, None, keep),
            other => other,
        };
        match made {
            Ok(Some((_, remnant))) if remnant.blocks == 0 => {
                // Nothing is at these offsets.
                remnant::discard(&*self.files, &self.dir, remnant.first);
                self.replace(&stretch, None)
            }
            Ok(made @ Some(_)) => self.replace(&stretch, made),
            Ok(None) => Ok(()),
            Err(failed) => {
                remnant::discard(&*self.files, &self.dir, first);
                if let Some(small) = small {
                    remnant::discard(&*self.files, &self.dir, small.first);
                }
                Err(match failed {
                    Failed::Source(e) => e,
                    Failed::Io(e) if is_no_space(&e) => {
                        Error::NoSpace(format!("no space for a remnant in {}: {e}", self.dir.display()).into())
                    }
                    Failed::Io(e) => self.poison(format!("cannot write a remnant in {}: {e}", self.dir.display())),
                })
            }
        }
    }

    /// The stretch that begins there and may be let go, and the remnant before it.
    fn stretch(&self, first: Offset) -> Result<(Stretch, Option<Remnant>), Error> {
        let map = shared(&self.map);
        let at = map.remnants.partition_point(|r| r.first < first);
        let before = at.checked_sub(1).and_then(|at| map.remnants.get(at)).copied();
        if let Some(found) = map.remnants.get(at).filter(|r| r.first == first) {
            return Ok((Stretch::Remnant(*found), before));
        }
        match map.sealed.first().filter(|s| s.base == first) {
            Some(oldest) => Ok((Stretch::Sealed(oldest.clone()), map.remnants.last().copied())),
            None => Err(Error::NoSegment { first }),
        }
    }

    /// Writes what is kept of a stretch, behind all of the remnant before it when that is small. `None`
    /// when a remnant would stay as it is.
    fn write_remnant(
        &self,
        stretch: &Stretch,
        before: Option<Remnant>,
        keep: &[Offset],
    ) -> Result<Option<(Writer, Remnant)>, Failed> {
        let range = stretch.range();
        let first = before.map_or(range.start, |b| b.first);
        let mut source = None;
        if let Stretch::Remnant(remnant) = stretch {
            let reader = self.reader(remnant.first).map_err(Failed::Source)?;
            if reader.keeps_all(keep).map_err(Failed::Source)? {
                return Ok(None);
            }
            source = Some(reader);
        }
        let mut writer = Writer::create(&*self.files, &self.dir, first)?;
        if let Some(before) = before {
            let reader = self.reader(before.first).map_err(Failed::Source)?;
            copy_remnant(&reader, None, &mut writer)?;
        }
        match (stretch, source) {
            (Stretch::Sealed(summary), _) => self.copy_segment(summary, keep, &mut writer)?,
            (Stretch::Remnant(_), Some(reader)) => copy_remnant(&reader, Some(keep), &mut writer)?,
            (Stretch::Remnant(_), None) => {}
        }
        let remnant = writer.finish(range.end, &self.bus)?;
        Ok(Some((writer, remnant)))
    }

    fn copy_segment(&self, summary: &std::sync::Arc<Summary>, keep: &[Offset], to: &mut Writer) -> Result<(), Failed> {
        let opened = self.open_sealed(summary).map_err(Failed::Source)?;
        let mut wanted = keep.iter().copied().peekable();
        while let Some(from) = wanted.peek().copied() {
            let chunk =
                opened.synced().chunk(opened.index.by_offset(from), from, READ_BYTES).map_err(Failed::Source)?;
            if chunk.records.is_empty() {
                return Ok(());
            }
            for (offset, appended, range) in chunk.records {
                while wanted.next_if(|w| *w < offset).is_some() {}
                if wanted.next_if_eq(&offset).is_some() {
                    to.push(offset, appended, chunk.buffer.get(range).unwrap_or_default())?;
                }
            }
            while wanted.next_if(|w| *w < chunk.next).is_some() {}
        }
        Ok(())
    }

    /// Puts what was written, or nothing, in the place of a stretch.
    fn replace(&self, stretch: &Stretch, made: Option<(Writer, Remnant)>) -> Result<(), Error> {
        let cannot = |e: io::Error| self.poison(format!("cannot let go of a segment in {}: {e}", self.dir.display()));
        // Who reads a remnant has the old one or the new one, never a name without its file.
        let _letting = exclusive(&self.letting);
        let first = stretch.range().start;
        if let Some((writer, _)) = &made {
            writer.put_in_place(&*self.files).and_then(|()| self.files.sync_dir(&self.dir)).map_err(cannot)?;
        }
        let made = made.map(|(_, remnant)| remnant);
        {
            let mut map = exclusive(&self.map);
            match stretch {
                Stretch::Sealed(_) => drop(map.sealed.remove(0)),
                Stretch::Remnant(_) => map.remnants.retain(|r| r.first != first),
            }
            if let Some(made) = made {
                map.remnants.retain(|r| r.first != made.first);
                let at = map.remnants.partition_point(|r| r.first < made.first);
                map.remnants.insert(at, made);
            }
        }
        match stretch {
            Stretch::Sealed(_) => self.remove_segment(first),
            Stretch::Remnant(_) if made.is_some_and(|made| made.first == first) => Ok(()),
            Stretch::Remnant(_) => {
                let gone = self.files.remove(&remnant_path(&self.dir, first));
                gone.and_then(|()| self.files.sync_dir(&self.dir)).map_err(cannot)
            }
        }
    }

    fn remove_segment(&self, base: Offset) -> Result<(), Error> {
        lock(&self.opened).retain(|o| o.summary.base != base);
        let path = segment_path(&self.dir, base);
        let remove = |path: &Path| match self.files.remove(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        // Oldest first, each durable before the next: after a crash no segment is missing between two.
        let _siding = lock(&self.siding);
        remove(&path.with_extension("idx"))
            .and_then(|()| remove(&path))
            .and_then(|()| self.files.sync_dir(&self.dir))
            .map_err(|e| self.poison(format!("cannot remove {}: {e}", path.display())))
    }

    // --------------------------------------------------------------------- reading what is kept

    fn reader(&self, first: Offset) -> Result<Reader, Error> {
        Reader::open(&*self.files, &self.dir, first, &self.bus)
    }

    /// How many records a remnant holds.
    pub(super) fn kept(&self, first: Offset) -> Result<Option<u64>, Error> {
        let _letting = shared(&self.letting);
        if !shared(&self.map).remnants.iter().any(|r| r.first == first) {
            return Ok(None);
        }
        let mut count = 0u64;
        self.reader(first)?.each(&mut |entry| {
            count += u64::from(entry.count);
            Ok(())
        })?;
        Ok(Some(count))
    }

    pub(super) fn record(&self, offset: Offset) -> Result<Option<Record>, Error> {
        let tail = *self.tail.borrow();
        if offset >= tail {
            return Ok(None);
        }
        if offset >= shared(&self.map).first() {
            match self.read(offset, 0) {
                Ok(chunk) => {
                    let found = chunk.records().next().transpose()?;
                    return Ok(found.filter(|r| r.offset == offset));
                }
                // It was let go a moment ago.
                Err(Error::Trimmed { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        let _letting = shared(&self.letting);
        let holder = {
            let map = shared(&self.map);
            let at = map.remnants.partition_point(|r| r.next <= offset);
            map.remnants.get(at).filter(|r| r.first <= offset).map(|r| r.first)
        };
        holder.map_or(Ok(None), |first| self.reader(first)?.record(offset))
    }

    /// Which of these offsets, rising, no remnant holds.
    pub(super) fn unheld(&self, offsets: &[Offset]) -> Result<Vec<Offset>, Error> {
        let _letting = shared(&self.letting);
        let remnants = shared(&self.map).remnants.clone();
        let mut missing = Vec::new();
        let mut rest = offsets.iter().copied().peekable();
        for remnant in remnants {
            while let Some(offset) = rest.next_if(|o| *o < remnant.first) {
                missing.push(offset);
            }
            if rest.peek().is_none_or(|o| *o >= remnant.next) {
                continue;
            }
            self.reader(remnant.first)?.each(&mut |entry| {
                while let Some(offset) = rest.next_if(|o| *o < entry.first) {
                    missing.push(offset);
                }
                while rest.next_if(|o| *o <= entry.last()).is_some() {}
                Ok(())
            })?;
        }
        missing.extend(rest);
        Ok(missing)
    }
}

impl Reader {
    /// Whether every record in it is among these offsets.
    fn keeps_all(&self, keep: &[Offset]) -> Result<bool, Error> {
        let mut all = true;
        self.each(&mut |entry| {
            let here = keep.partition_point(|o| *o < entry.first)..keep.partition_point(|o| *o <= entry.last());
            all &= here.len() as u64 == u64::from(entry.count);
            Ok(())
        })?;
        Ok(all)
    }
}

/// Copies the records of a remnant, or those of them that are kept. Only blocks that hold one are read.
fn copy_remnant(from: &Reader, keep: Option<&[Offset]>, to: &mut Writer) -> Result<(), Failed> {
    let mut failed = None;
    let copied = from.each(&mut |entry| {
        let wanted = keep.map(|keep| {
            let here = keep.partition_point(|o| *o < entry.first)..keep.partition_point(|o| *o <= entry.last());
            keep.get(here).unwrap_or_default()
        });
        if failed.is_some() || wanted.is_some_and(<[_]>::is_empty) {
            return Ok(());
        }
        from.block(entry, &mut |offset, time, body| {
            if failed.is_none() && wanted.is_none_or(|w| w.binary_search(&offset).is_ok()) {
                failed = to.push(offset, time, body).err();
            }
            Ok(())
        })
    });
    copied.map_err(Failed::Source)?;
    failed.map_or(Ok(()), |e| Err(Failed::Io(e)))
}
