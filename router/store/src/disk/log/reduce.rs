//! The stretches of the log: sealing the last, letting the oldest go.

use std::{io, path::Path, sync::atomic::Ordering};

use router_core::{
    id::Offset,
    store::{Error, Record, Segment, SegmentKind},
};

use super::{Shared, lock, shared};
use crate::disk::{
    recover::segment_path,
    segment::HEAD_BYTES,
    side::{self, Summary},
};

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
        map.sealed.iter().map(|s| s.segment()).chain([unsealed]).collect()
    }

    pub(super) fn seal(&self) -> Result<(), Error> {
        let _writer = lock(&self.writer);
        self.check()?;
        let active = self.active();
        if shared(&active.scan).end == HEAD_BYTES {
            return Ok(());
        }
        // A full disk must not keep a segment from being sealed, and then from being let go.
        self.follow(&active, self.options.segment_bytes.max(HEAD_BYTES), HEAD_BYTES).map(drop)
    }

    pub(super) fn reduce(&self, first: Offset, keep: &[Offset]) -> Result<(), Error> {
        let _trimming = lock(&self.trimming);
        let oldest = shared(&self.map).sealed.first().cloned();
        let Some(oldest) = oldest.filter(|s| s.base == first) else { return Err(Error::NoSegment { first }) };
        if keep.iter().any(|offset| (oldest.base..=oldest.last).contains(offset)) {
            return Err(Error::NoSpace("there is no room for a remnant yet".into()));
        }
        super::exclusive(&self.map).sealed.remove(0);
        self.remove_segment(oldest.base)
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

    pub(super) fn record(&self, offset: Offset) -> Result<Option<Record>, Error> {
        let (first, tail) = (shared(&self.map).first(), *self.tail.borrow());
        if offset < first || offset >= tail {
            return Ok(None);
        }
        let found = self.read(offset, 0)?.records().next().transpose()?;
        Ok(found.filter(|r| r.offset == offset))
    }
}
