//! What is known of the lanes without reading: exact counts, and from where to search.
//!
//! Counts are kept with the entries: each commit writes what it makes of the counts that it touches, in the
//! same batch. So they are right after any crash, a start reads them instead of the entries, and `count`
//! reads nothing.
//!
//! An LSM tree finds the first entry of a range slowly when a million entries before it were dropped
//! lately. So each lane keeps a *floor*: no entry lies below it. A commit lowers the floor before it
//! writes; a search that began at the floor raises it, if no commit ran meanwhile.

use std::collections::BTreeMap;

use router_core::{
    id::{BusId, LaneId, Offset, OrderKey, RouteId, RunId},
    store::{LaneCount, Place},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub counts: Counts,
    commits: u64,
    committing: bool,
}

/// Counts by what they are of; what has nothing left is not among those that are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub lanes: BTreeMap<LaneId, Lane>,
    /// Entries that are parked under a key, and those with a due time for which it waits.
    pub keys: BTreeMap<(LaneId, OrderKey), [u64; 2]>,
}

/// Which entries of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ready,
    Waiting,
}

/// What is known of one lane. Kept as it stands here.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Lane {
    ready: Side,
    waiting: Side,
    parked: u64,
    /// Of all three, by their events' bodies.
    bytes: u64,
    dead_letters: u64,
    /// No entry lies above it.
    highest: Offset,
    /// No block was begun for an offset above it: also where what was put in one is settled.
    packed: Offset,
}

/// Entries of one kind; the floor is an offset or a due time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Side {
    count: u64,
    floor: u64,
}

impl Default for Side {
    fn default() -> Self {
        Side { count: 0, floor: u64::MAX }
    }
}

impl Lane {
    fn side(&mut self, kind: Kind) -> &mut Side {
        match kind {
            Kind::Ready => &mut self.ready,
            Kind::Waiting => &mut self.waiting,
        }
    }

    fn pending(&self) -> u64 {
        self.ready.count + self.waiting.count + self.parked
    }

    pub fn is_empty(&self) -> bool {
        self.pending() + self.dead_letters == 0
    }

    /// What is counted; floors and the highest offset are bounds.
    fn counted(&self) -> [u64; 5] {
        [self.ready.count, self.waiting.count, self.parked, self.bytes, self.dead_letters]
    }

    fn apply(&mut self, delta: Delta) {
        match delta {
            Delta::Entry { place, offset, bytes, comes, .. } => {
                let bytes = u64::from(bytes);
                self.bytes = if comes { self.bytes + bytes } else { self.bytes.saturating_sub(bytes) };
                if comes {
                    self.highest = self.highest.max(offset);
                    self.packed = self.packed.max(offset);
                }
                match side_of(place, offset) {
                    Some((kind, at)) => {
                        let side = self.side(kind);
                        count(&mut side.count, comes);
                        if comes {
                            side.floor = side.floor.min(at);
                        }
                    }
                    None => count(&mut self.parked, comes),
                }
            }
            Delta::DeadLetter { comes, .. } => count(&mut self.dead_letters, comes),
        }
        if self.is_empty() {
            *self = Lane::default();
        }
    }
}

impl Counts {
    /// Takes in one change, onto what `before` says where nothing is known here.
    fn apply(&mut self, delta: Delta, before: Option<&Counts>) {
        let (Delta::Entry { lane: id, .. } | Delta::DeadLetter { lane: id, .. }) = delta;
        let known = || before.and_then(|b| b.lanes.get(&id)).copied().unwrap_or_default();
        self.lanes.entry(id).or_insert_with(known).apply(delta);
        if let Delta::Entry { place: Place { due, key: Some(key) }, comes, .. } = delta {
            let known = || before.and_then(|b| b.keys.get(&(id, key))).copied().unwrap_or_default();
            let [parked, waiting] = self.keys.entry((id, key)).or_insert_with(known);
            count(if due.is_none() { parked } else { waiting }, comes);
        }
    }

    /// Counts an entry or a dead letter that is there.
    pub fn add(&mut self, delta: Delta) {
        self.apply(delta, None);
    }

    /// Knows a block that is there by its bound.
    pub fn add_block(&mut self, lane: LaneId, last: Offset) {
        let lane = self.lanes.entry(lane).or_default();
        lane.packed = lane.packed.max(last);
    }

    /// Entries and dead letters of all lanes.
    pub fn total(&self) -> u64 {
        self.lanes.values().map(|lane| lane.pending() + lane.dead_letters).sum()
    }

    /// The first lane or key whose counts differ from these, and both.
    pub fn difference(&self, counted: &Counts) -> Option<String> {
        let lanes = |all: &Counts| all.lanes.iter().map(|(id, lane)| (*id, lane.counted())).collect::<BTreeMap<_, _>>();
        first_difference(&lanes(self), &lanes(counted)).or_else(|| first_difference(&self.keys, &counted.keys))
    }

    /// Of each bus, an offset above which no entry lies.
    pub fn highest(&self) -> BTreeMap<BusId, Offset> {
        let mut highest = BTreeMap::new();
        for (id, lane) in self.lanes.iter().filter(|(_, lane)| lane.pending() > 0) {
            let of_bus: &mut Offset = highest.entry(id.bus).or_default();
            *of_bus = lane.highest.max(*of_bus);
        }
        highest
    }
}

fn first_difference<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    kept: &BTreeMap<K, V>,
    counted: &BTreeMap<K, V>,
) -> Option<String> {
    let key = kept.keys().chain(counted.keys()).find(|key| kept.get(key) != counted.get(key))?;
    Some(format!("{key:?}: kept {:?}, counted {:?}", kept.get(key), counted.get(key)))
}

/// A change of the counts: the entry or dead letter that comes (+1) or goes (-1).
#[derive(Clone, Copy, Debug)]
pub(super) enum Delta {
    Entry { lane: LaneId, place: Place, offset: Offset, bytes: u32, comes: bool },
    DeadLetter { lane: LaneId, comes: bool },
}

/// A search, as it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// Where to begin.
    pub from: u64,
    began_at_floor: bool,
    commits: Option<u64>,
}

fn count(n: &mut u64, comes: bool) {
    *n = if comes { n.saturating_add(1) } else { n.saturating_sub(1) };
}

/// Where it is searched for; `None` for what is parked, which is looked for by its key.
fn side_of(place: Place, offset: Offset) -> Option<(Kind, u64)> {
    match (place.due, place.key) {
        (Some(due), _) => Some((Kind::Waiting, due.0)),
        (None, Some(_)) => None,
        (None, None) => Some((Kind::Ready, offset.0)),
    }
}

impl From<Counts> for Lanes {
    fn from(counts: Counts) -> Self {
        Lanes { counts, commits: 0, committing: false }
    }
}

impl Lanes {
    /// Before a commit is written: its entries may be seen from now on. What it makes of the counts that it
    /// touches, those that have nothing left too.
    pub fn begin(&mut self, deltas: &[Delta]) -> Counts {
        self.commits = self.commits.wrapping_add(1);
        self.committing = true;
        let mut after = Counts::default();
        for delta in deltas {
            if let Delta::Entry { lane, place, offset, comes: true, .. } = *delta
                && let Some((kind, at)) = side_of(place, offset)
            {
                let side = self.counts.lanes.entry(lane).or_default().side(kind);
                side.floor = side.floor.min(at);
            }
            after.apply(*delta, Some(&self.counts));
        }
        after
    }

    /// After it: what it made of the counts, or nothing when it failed.
    pub fn end(&mut self, after: Option<Counts>) {
        self.committing = false;
        let Some(Counts { lanes, keys }) = after else { return };
        for (id, lane) in lanes {
            match lane.is_empty() {
                true => self.counts.lanes.remove(&id),
                false => self.counts.lanes.insert(id, lane),
            };
        }
        for (id, counts) in keys {
            match counts {
                [0, 0] => self.counts.keys.remove(&id),
                _ => self.counts.keys.insert(id, counts),
            };
        }
    }

    /// Begins a search at or after `from`; `None` when there is nothing to find.
    pub fn search(&mut self, lane: LaneId, kind: Kind, from: u64) -> Option<Search> {
        let commits = (!self.committing).then_some(self.commits);
        let side = self.counts.lanes.get_mut(&lane)?.side(kind);
        if side.count == 0 {
            return None;
        }
        Some(Search { from: from.max(side.floor), began_at_floor: from <= side.floor, commits })
    }

    /// Ends a search: no entry lies between its beginning and `first`.
    pub fn found(&mut self, lane: LaneId, kind: Kind, search: Search, first: u64) {
        if !search.began_at_floor || self.committing || search.commits != Some(self.commits) {
            return;
        }
        if let Some(lane) = self.counts.lanes.get_mut(&lane) {
            let side = lane.side(kind);
            side.floor = side.floor.max(first);
        }
    }

    /// An offset above which a lane has no entry and no block.
    pub fn packed(&self, lane: LaneId) -> Offset {
        self.counts.lanes.get(&lane).map(|lane| lane.packed).unwrap_or_default()
    }

    /// Lanes with entries: how many are ready, wait, and are parked, and the bytes of all.
    pub fn pending(&self) -> Vec<(LaneId, [u64; 4])> {
        let counts = |lane: &Lane| [lane.ready.count, lane.waiting.count, lane.parked, lane.bytes];
        let lanes = self.counts.lanes.iter().map(|(id, lane)| (*id, counts(lane)));
        lanes.filter(|(_, [ready, waiting, parked, _])| ready + waiting + parked > 0).collect()
    }

    /// Keys with entries: how many are parked under each, and for how many it waits.
    pub fn keys(&self) -> impl Iterator<Item = ((LaneId, OrderKey), [u64; 2])> {
        self.counts.keys.iter().map(|(id, counts)| (*id, *counts))
    }

    /// Lanes of a bus that may have a ready entry below `next`, and from where on.
    pub fn ready_below(&self, bus: BusId, next: Offset) -> Vec<(LaneId, Offset)> {
        let lane = |route, run| LaneId { bus, route: RouteId(route), run: RunId(run) };
        let lanes = self.counts.lanes.range(lane(0, 0)..=lane(u32::MAX, u32::MAX)).map(|(id, lane)| (*id, &lane.ready));
        let here = lanes.filter(|(_, ready)| ready.count > 0 && ready.floor < next.0);
        here.map(|(id, ready)| (id, Offset(ready.floor))).collect()
    }

    /// All counts.
    pub fn counts(&self) -> Vec<LaneCount> {
        let lanes = self.counts.lanes.iter().map(|(id, lane)| LaneCount {
            lane: *id,
            pending: lane.pending(),
            dead_letters: lane.dead_letters,
        });
        lanes.filter(|c| c.pending + c.dead_letters > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneId = LaneId { bus: BusId(1), route: RouteId(2), run: RunId(0) };

    fn ready(offset: u64, comes: bool) -> Delta {
        Delta::Entry { lane: LANE, place: Place::default(), offset: Offset(offset), bytes: 1, comes }
    }

    fn commit(lanes: &mut Lanes, deltas: &[Delta]) {
        let after = lanes.begin(deltas);
        lanes.end(Some(after));
    }

    #[test]
    fn search_begins_where_the_last_one_found_the_first() {
        let mut lanes = Lanes::default();
        commit(&mut lanes, &[ready(1, true), ready(9, true)]);
        commit(&mut lanes, &[ready(1, false)]);
        let search = lanes.search(LANE, Kind::Ready, 0).unwrap();
        assert_eq!(search.from, 1);
        lanes.found(LANE, Kind::Ready, search, 9);
        assert_eq!(lanes.search(LANE, Kind::Ready, 0).unwrap().from, 9);
    }

    #[test]
    fn commit_during_a_search_keeps_the_floor_down() {
        let mut lanes = Lanes::default();
        commit(&mut lanes, &[ready(5, true)]);
        let search = lanes.search(LANE, Kind::Ready, 0).unwrap();
        commit(&mut lanes, &[ready(2, true)]);
        lanes.found(LANE, Kind::Ready, search, 5);
        assert_eq!(lanes.search(LANE, Kind::Ready, 0).unwrap().from, 2);

        let after = lanes.begin(&[ready(1, true)]);
        let search = lanes.search(LANE, Kind::Ready, 0).unwrap();
        lanes.end(Some(after));
        lanes.found(LANE, Kind::Ready, search, 2);
        assert_eq!(lanes.search(LANE, Kind::Ready, 0).unwrap().from, 1, "its snapshot may be older than the commit");
    }

    #[test]
    fn search_in_the_middle_says_nothing_about_the_first() {
        let mut lanes = Lanes::default();
        commit(&mut lanes, &[ready(1, true), ready(9, true)]);
        let search = lanes.search(LANE, Kind::Ready, 5).unwrap();
        lanes.found(LANE, Kind::Ready, search, 9);
        assert_eq!(lanes.search(LANE, Kind::Ready, 0).unwrap().from, 1);
    }
}
