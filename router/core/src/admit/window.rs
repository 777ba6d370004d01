//! The duplicate window: which identities were appended lately, and where.
//!
//! It holds one 8-byte slot per identity, 32 bits of the key and the low 32 bits of the offset, in 64
//! tables with linear probing, each of which grows by a quarter on its own when 17 of 20 slots are used, so
//! that a million identities cost about 11 MB and growth never stops the intake for long. What a slot
//! leaves out makes a look-up among a million find a stranger once in 270,000; whoever looks reads the log
//! at the candidate anyway, and sees that it is another.
//! Nothing is deleted: a slot whose offset lies below the watermark counts as empty when looked up and is
//! left out when its table is rebuilt. The watermark follows from a timeline of appends, by age of running
//! time and by count.

use std::{collections::VecDeque, time::Duration};

use crate::{id::Offset, store::Keyed};

const TABLES: usize = 64;
const SLOTS_MIN: usize = 64;
/// How finely the window forgets.
const TICK: Duration = Duration::from_secs(1);

/// Keys of the recent past. Time is monotonic time of this process.
#[derive(Debug)]
pub struct Window {
    age_max: Duration,
    entries_max: u64,
    tables: Vec<Table>,
    timeline: VecDeque<Tick>,
    inserted: u64,
    from: Offset,
    newest: Offset,
}

/// The appends of about one second.
#[derive(Debug)]
struct Tick {
    at: Duration,
    first: Offset,
    before: u64,
}

impl Window {
    /// An empty window that remembers for `age_max`, at most about `entries_max` identities.
    pub fn new(age_max: Duration, entries_max: usize) -> Self {
        let tables = (0..TABLES).map(|_| Table::default()).collect();
        let entries_max = u64::try_from(entries_max).unwrap_or(u64::MAX);
        Window {
            age_max,
            entries_max,
            tables,
            timeline: VecDeque::new(),
            inserted: 0,
            from: Offset(0),
            newest: Offset(0),
        }
    }

    /// Fills the window at a start, in the order of the log. All count as just appended: an outage takes nothing from it.
    /// Each table gets its size at once, and is filled by itself: it stays in the processor's cache meanwhile.
    pub fn refill(&mut self, keys: &[Keyed], now: Duration) {
        let each = keys.len() / TABLES * 17 / 16;
        let mut slots: Vec<Vec<Slot>> = (0..TABLES).map(|_| Vec::with_capacity(each)).collect();
        for keyed in keys {
            self.count(keyed.offset, now);
            if let Some(slots) = slots.get_mut(table_of(keyed.key)) {
                slots.push(Slot::new(keyed.key, keyed.offset));
            }
        }
        let live = Live { from: self.from, newest: self.newest };
        for (table, slots) in self.tables.iter_mut().zip(slots) {
            table.rebuild(slots.len(), live);
            slots.into_iter().for_each(|slot| table.put(slot));
        }
    }

    /// Offsets, newest first or not, at which an event with this key may be.
    pub fn candidates(&self, key: u64) -> impl Iterator<Item = Offset> {
        let (from, newest) = (self.from, self.newest);
        let table = self.tables.get(table_of(key));
        table.into_iter().flat_map(move |t| t.find(key)).map(move |s| s.offset(newest)).filter(move |o| *o >= from)
    }

    /// Remembers an identity. Offsets rise from call to call.
    pub fn insert(&mut self, key: u64, offset: Offset, now: Duration) {
        self.count(offset, now);
        let live = Live { from: self.from, newest: self.newest };
        if let Some(table) = self.tables.get_mut(table_of(key)) {
            table.insert(Slot::new(key, offset), live);
        }
    }

    /// Counts an append in the timeline.
    fn count(&mut self, offset: Offset, now: Duration) {
        if self
            .timeline
            .back()
            .is_none_or(|tick| now.saturating_sub(tick.at) >= TICK || self.inserted - tick.before >= 65_536)
        {
            self.timeline.push_back(Tick { at: now, first: offset, before: self.inserted });
        }
        self.inserted += 1;
        self.newest = offset;
    }

    /// Forgets what is too old or too much.
    pub fn advance(&mut self, now: Duration) {
        while let Some(next) = self.timeline.get(1) {
            // Everything before `next` is at least as old as `next`, and is as many as these.
            let too_old = now.saturating_sub(next.at) >= self.age_max;
            let too_many = self.inserted - next.before >= self.entries_max;
            if !too_old && !too_many {
                break;
            }
            self.from = next.first;
            self.timeline.pop_front();
        }
    }

    /// How far back the window reaches now: less than asked when `entries_max` holds.
    pub fn reach(&self, now: Duration) -> Duration {
        self.timeline.front().map_or(self.age_max, |tick| now.saturating_sub(tick.at))
    }
}

/// The top bits choose the table, the low bits the slot.
fn table_of(key: u64) -> usize {
    (key >> 58) as usize
}

/// Which slots count: those from an offset on, up to the newest.
#[derive(Clone, Copy)]
struct Live {
    from: Offset,
    newest: Offset,
}

/// 32 bits of a key below those that choose the table, never 0, and the low 32 bits of an offset. All 0: free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    tag: u32,
    low: u32,
}

impl Slot {
    #[allow(clippy::cast_possible_truncation)] // The low bits are what is kept.
    fn new(key: u64, offset: Offset) -> Self {
        Slot { tag: tag_of(key), low: offset.0 as u32 }
    }

    fn free(self) -> bool {
        self.tag == 0
    }

    /// The newest offset with these low bits, up to `newest`. A slot that is 2^32 appends old may look new:
    /// the log tells.
    #[allow(clippy::cast_possible_truncation)] // The low bits are what is compared.
    fn offset(self, newest: Offset) -> Offset {
        Offset(newest.0.saturating_sub(u64::from((newest.0 as u32).wrapping_sub(self.low))))
    }
}

fn tag_of(key: u64) -> u32 {
    ((key >> 26) as u32).max(1)
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    used: usize,
}

impl Table {
    fn find(&self, key: u64) -> impl Iterator<Item = Slot> {
        let tag = tag_of(key);
        self.slots
            .iter()
            .cycle()
            .skip(self.start(tag))
            .take(self.slots.len())
            .take_while(|s| !s.free())
            .filter(move |s| s.tag == tag)
            .copied()
    }

    fn start(&self, tag: u32) -> usize {
        // The multiply-shift spreads the tags over any length, not only powers of two.
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn insert(&mut self, slot: Slot, live: Live) {
        if self.used * 20 >= self.slots.len() * 17 {
            self.rebuild(0, live);
        }
        self.put(slot);
    }

    fn put(&mut self, slot: Slot) {
        let (start, len) = (self.start(slot.tag), self.slots.len());
        let at = (start..len).chain(0..start).find(|at| self.slots.get(*at).is_some_and(|s| s.free()));
        if let Some(place) = at.and_then(|at| self.slots.get_mut(at)) {
            *place = slot;
            self.used += 1;
        }
    }

    /// Leaves out what counts no more, and makes room for so many more.
    fn rebuild(&mut self, more: usize, live: Live) {
        let old = std::mem::take(&mut self.slots);
        let lives = |s: &Slot| !s.free() && s.offset(live.newest) >= live.from;
        let count = old.iter().filter(|s| lives(s)).count() + more;
        self.slots = vec![Slot::default(); (count * 25 / 17).max(SLOTS_MIN)];
        self.used = 0;
        for slot in old.into_iter().filter(lives) {
            self.put(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn spread(n: u64) -> u64 {
        // SplitMix64: keys as evenly spread as a hash's.
        let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn holds(w: &Window, n: u64) -> bool {
        w.candidates(spread(n)).any(|o| o == Offset(n))
    }

    #[test]
    fn what_was_inserted_is_found_at_its_offset() {
        let mut w = Window::new(Duration::from_secs(600), 1_000_000);
        for n in 1..=200_000 {
            w.insert(spread(n), Offset(n), Duration::ZERO);
        }
        assert!((1..=200_000).all(|n| holds(&w, n)));
        assert_eq!(w.candidates(spread(200_001)).count(), 0);
    }

    #[test]
    fn refilled_window_is_as_if_each_was_inserted() {
        let keys: Vec<Keyed> =
            (1..=200_000).map(|n| Keyed { key: spread(n), offset: Offset(n), appended: Timestamp(n) }).collect();
        let [mut refilled, mut inserted] =
            [Window::new(Duration::from_secs(600), 150_000), Window::new(Duration::from_secs(600), 150_000)];
        refilled.refill(&keys, Duration::ZERO);
        for keyed in &keys {
            inserted.insert(keyed.key, keyed.offset, Duration::ZERO);
        }
        assert!((1..=200_000).all(|n| holds(&refilled, n)));
        for w in [&mut refilled, &mut inserted] {
            (200_001..=210_000).for_each(|n| w.insert(spread(n), Offset(n), Duration::ZERO));
            w.advance(Duration::ZERO);
        }
        assert_eq!((refilled.from, refilled.newest), (inserted.from, inserted.newest));
        assert!((1..=210_000).all(|n| holds(&refilled, n) == holds(&inserted, n)));
        let slots = |w: &Window| w.tables.iter().map(|t| t.slots.len()).sum::<usize>();
        assert!(slots(&refilled) <= slots(&inserted) * 5 / 4, "{} and {}", slots(&refilled), slots(&inserted));
    }

    #[test]
    fn one_key_may_stand_for_several_events() {
        let mut w = Window::new(Duration::from_secs(600), 100);
        w.insert(5, Offset(1), Duration::ZERO);
        w.insert(5, Offset(2), Duration::ZERO);
        let mut both: Vec<_> = w.candidates(5).collect();
        both.sort();
        assert_eq!(both, [Offset(1), Offset(2)]);
    }

    #[test]
    fn age_counts_from_the_append_and_forgets_no_sooner() {
        let mut w = Window::new(Duration::from_secs(10), 1_000_000);
        for s in 0..30u64 {
            let now = Duration::from_secs(s);
            w.insert(spread(s + 1), Offset(s + 1), now);
            w.advance(now);
            for age in 0..=s.min(9) {
                assert!(holds(&w, s + 1 - age), "at {s} s the append {age} s ago is remembered");
            }
            if s >= 12 {
                assert!(!holds(&w, s + 1 - 12), "at {s} s the append 12 s ago is forgotten");
            }
        }
    }

    #[test]
    fn count_bounds_the_window_and_its_memory() {
        let mut w = Window::new(Duration::from_secs(600), 100_000);
        for n in 1..=1_000_000 {
            w.insert(spread(n), Offset(n), Duration::ZERO);
            if n % 1_000 == 0 {
                w.advance(Duration::ZERO);
            }
        }
        assert!((900_001..=1_000_000).all(|n| holds(&w, n)), "the newest 100,000 are remembered");
        assert!(!holds(&w, 800_000));
        let slots: usize = w.tables.iter().map(|t| t.slots.len()).sum();
        assert!(slots < 500_000, "{slots} slots for 100,000 entries");
        assert_eq!(w.reach(Duration::from_secs(3)), Duration::from_secs(3));
    }

    #[test]
    fn offsets_beyond_32_bits_are_found() {
        let mut w = Window::new(Duration::from_secs(600), 1_000_000);
        let first = (1u64 << 32) - 5_000;
        for n in first..first + 10_000 {
            w.insert(spread(n), Offset(n), Duration::ZERO);
        }
        assert!((first..first + 10_000).all(|n| holds(&w, n)));
    }
}
