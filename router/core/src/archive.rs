//! The archive: a bus's log as far back as it is kept, for who looks on beside the flow.
//!
//! A reader sees what is synced and nothing else, and holds nothing: what retention lets go meanwhile is gone
//! for it, too. [`Follow`] says what a reader may do next, so that it never takes more than its share of the
//! disk; it is pure, and whoever drives it reads and waits.

use std::{ops::Range, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::Timestamp,
    id::{BusId, Offset},
    shelf::{Copied, Reach},
    store::{Chunk, Error, Ledger, Needed, Segment},
};

/// Events that a live reader may be behind; past it, it goes on further ahead.
pub const LAG_EVENTS_MAX: u64 = 8_192;
/// How far behind the newest event it goes on then.
const LAG_EVENTS_LEFT: u64 = 1_024;
/// In what time the bytes of a reader are counted.
const PACE_WINDOW: Duration = Duration::from_millis(250);

/// The log of one bus, to be read.
#[derive(Clone)]
pub struct Archive {
    bus: BusId,
    reach: Reach,
    ledger: Arc<dyn Ledger>,
}

impl Archive {
    /// Of this bus.
    pub fn new(bus: BusId, reach: Reach, ledger: Arc<dyn Ledger>) -> Self {
        Archive { bus, reach, ledger }
    }

    /// The bus.
    pub fn bus(&self) -> BusId {
        self.bus
    }

    /// The first offset that can be read, here or from a copy, and the one that the next event gets.
    pub fn bounds(&self) -> (Offset, Offset) {
        self.reach.bounds()
    }

    /// The first offset that is kept whole on this machine, and the one that the next event gets.
    pub fn bounds_here(&self) -> (Offset, Offset) {
        self.reach.log().bounds()
    }

    /// Copies of the bus, outside of this machine, by offset.
    pub fn copies(&self) -> Vec<Copied> {
        self.reach.copies()
    }

    /// The stretches that the log is made of: see [`crate::store::Log::segments`].
    pub fn segments(&self) -> Vec<Segment> {
        self.reach.log().segments()
    }

    /// Whether it is known what there is from an offset on: see [`Reach::known`].
    ///
    /// # Errors
    /// The store's.
    pub fn known(&self, from: Offset) -> Result<(), Error> {
        self.reach.known(from)
    }

    /// The first offset whose event was appended at or after `t`; the tail if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn seek(&self, t: Timestamp) -> Result<Offset, Error> {
        self.reach.seek(t).await
    }

    /// Events from an offset on: see [`Reach::read`].
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        self.reach.read(from, bytes_max).await
    }

    /// Which events of a range deliveries and dead letters need: see [`Ledger::needed`].
    ///
    /// # Errors
    /// The store's.
    pub async fn needed(&self, range: Range<Offset>) -> Result<Needed, Error> {
        self.ledger.needed(self.bus, range).await
    }

    /// The tail, as it moves.
    pub fn tail(&self) -> watch::Receiver<Offset> {
        self.reach.log().tail()
    }
}

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// To the offset given, and nothing is left out.
    Whole(Offset),
    /// For good. What was there when it began is shown whole; of what comes, events are passed over when it
    /// cannot keep up.
    Live,
}

/// What a reader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read from here on, and tell with [`Follow::read`] what came.
    Read(Offset),
    /// Tell that these were passed over; then ask again.
    Passed(Passed),
    /// Read on after this long: its share of the disk is used up.
    Pause(Duration),
    /// Wait until the tail is past this offset.
    Wait(Offset),
    /// Nothing more comes.
    End,
}

/// Offsets that a reader was not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The first of them.
    pub from: Offset,
    /// The first one behind them.
    pub to: Offset,
    /// Why.
    pub why: Why,
}

/// Why offsets were passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The flow is faster than the reader.
    Behind,
    /// They are no longer kept.
    Trimmed,
    /// Their copy in the archive is missing or damaged.
    Lost,
}

impl Why {
    /// For programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Behind => "behind",
            Why::Trimmed => "trimmed",
            Why::Lost => "lost",
        }
    }
}

/// Where a reader is.
#[derive(Clone, Debug)]
pub struct Follow {
    manner: Manner,
    next: Offset,
    /// Where the tail was when it began: what lies below is shown whole.
    live_from: Offset,
    /// Bytes that it may read in a window.
    bytes_max: u64,
    window: Duration,
    bytes: u64,
}

impl Follow {
    /// A reader from `next` on, that takes at most so many bytes of the log each second.
    pub fn new(manner: Manner, next: Offset, tail: Offset, bytes_per_second_max: u64) -> Self {
        let windows = u64::try_from(Duration::from_secs(1).as_millis() / PACE_WINDOW.as_millis().max(1)).unwrap_or(1);
        let bytes_max = (bytes_per_second_max / windows.max(1)).max(1);
        Follow { manner, next, live_from: tail, bytes_max, window: Duration::ZERO, bytes: 0 }
    }

    /// The offset that it reads next.
    pub fn at(&self) -> Offset {
        self.next
    }

    /// What comes next, with the bounds of the log as they are now.
    pub fn next(&mut self, (first, tail): (Offset, Offset), now: Duration) -> Next {
        if let Manner::Whole(to) = self.manner
            && self.next >= to
        {
            return Next::End;
        }
        if self.next < first {
            return self.pass(first, Why::Trimmed);
        }
        let live = self.manner == Manner::Live && self.next >= self.live_from;
        if live && tail.0.saturating_sub(self.next.0) > LAG_EVENTS_MAX {
            return self.pass(Offset(tail.0 - LAG_EVENTS_LEFT), Why::Behind);
        }
        if self.next >= tail {
            // A log may end before the end that was asked for: an offset that nothing has yet.
            return if self.manner == Manner::Live { Next::Wait(self.next) } else { Next::End };
        }
        if now >= self.window.saturating_add(PACE_WINDOW) {
            (self.window, self.bytes) = (now, 0);
        }
        if self.bytes >= self.bytes_max {
            // A chunk may be larger than what a window allows: the windows that it used up pass first.
            let windows = u32::try_from(self.bytes / self.bytes_max).unwrap_or(u32::MAX);
            let until = self.window.saturating_add(PACE_WINDOW.saturating_mul(windows));
            if until > now {
                return Next::Pause(until - now);
            }
            (self.window, self.bytes) = (now, 0);
        }
        Next::Read(self.next)
    }

    /// So many bytes were read, and reading goes on at `next`.
    pub fn read(&mut self, bytes: usize, next: Offset) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.next = self.next.max(next);
    }

    /// The offset at which nothing more is shown, of a reader that ends.
    pub fn end(&self) -> Option<Offset> {
        match self.manner {
            Manner::Whole(to) => Some(to),
            Manner::Live => None,
        }
    }

    fn pass(&mut self, to: Offset, why: Why) -> Next {
        let from = std::mem::replace(&mut self.next, to);
        Next::Passed(Passed { from, to, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(first: u64, tail: u64) -> (Offset, Offset) {
        (Offset(first), Offset(tail))
    }

    #[test]
    fn a_live_reader_waits_at_the_tail_and_passes_over_what_is_too_much() {
        let mut reader = Follow::new(Manner::Live, Offset(10), Offset(10), 1 << 20);
        assert_eq!(reader.next(at(1, 10), MS(0)), Next::Wait(Offset(10)));
        assert_eq!(reader.next(at(1, 12), MS(0)), Next::Read(Offset(10)));
        reader.read(100, Offset(12));
        let tail = 12 + LAG_EVENTS_MAX + 1;
        let to = Offset(tail - LAG_EVENTS_LEFT);
        let passed = Passed { from: Offset(12), to, why: Why::Behind };
        assert_eq!(reader.next(at(1, tail), MS(0)), Next::Passed(passed));
        assert_eq!(reader.next(at(1, tail), MS(0)), Next::Read(to));
    }

    #[test]
    fn what_was_there_when_it_began_is_shown_whole() {
        let mut reader = Follow::new(Manner::Live, Offset(1), Offset(100_000), u64::MAX);
        assert_eq!(reader.next(at(1, 300_000), MS(0)), Next::Read(Offset(1)));
        reader.read(1, Offset(99_999));
        assert_eq!(reader.next(at(1, 300_000), MS(0)), Next::Read(Offset(99_999)));
        reader.read(1, Offset(100_000));
        assert!(matches!(reader.next(at(1, 300_000), MS(0)), Next::Passed(p) if p.why == Why::Behind));
    }

    #[test]
    fn what_is_trimmed_is_told_and_never_waited_for() {
        let mut reader = Follow::new(Manner::Live, Offset(1), Offset(50), 1 << 20);
        let passed = Passed { from: Offset(1), to: Offset(40), why: Why::Trimmed };
        assert_eq!(reader.next(at(40, 50), MS(0)), Next::Passed(passed));
        assert_eq!(reader.next(at(40, 50), MS(0)), Next::Read(Offset(40)));
    }

    #[test]
    fn a_reader_takes_its_share_and_no_more() {
        let mut reader = Follow::new(Manner::Whole(Offset(100)), Offset(1), Offset(100), 4_000);
        assert_eq!(reader.next(at(1, 100), MS(1_000)), Next::Read(Offset(1)));
        reader.read(999, Offset(2));
        assert_eq!(reader.next(at(1, 100), MS(1_000)), Next::Read(Offset(2)));
        // Three windows' worth at once: three windows pass.
        reader.read(2_001, Offset(3));
        assert_eq!(reader.next(at(1, 100), MS(1_100)), Next::Pause(MS(650)));
        assert_eq!(reader.next(at(1, 100), MS(1_750)), Next::Read(Offset(3)));
    }

    #[test]
    fn a_whole_reader_ends_at_its_end_or_where_the_log_ends() {
        let mut reader = Follow::new(Manner::Whole(Offset(5)), Offset(1), Offset(9), 1 << 20);
        reader.read(1, Offset(5));
        assert_eq!(reader.next(at(1, 9), MS(0)), Next::End);
        let mut short = Follow::new(Manner::Whole(Offset(50)), Offset(9), Offset(9), 1 << 20);
        assert_eq!(short.next(at(1, 9), MS(0)), Next::End);
    }
}
