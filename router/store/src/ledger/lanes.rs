//! What is known of the lanes without reading: exact counts, and from where to search.
//!
//! Counts are taken by a scan when the ledger opens and moved by each commit that succeeded, so they
//! are right after any crash and `count` reads nothing.
//!
//! An LSM tree finds the first entry of a range slowly when a million entries before it were dropped
//! lately. So each lane keeps a *floor*: no entry lies below it. A commit lowers the floor before it
//! writes; a search that began at the floor raises it, if no commit ran meanwhile.

use std::collections::BTreeMap;

use router_core::{
    id::{BusId, LaneId, Offset, OrderKey, RouteId, RunId},
    store::{LaneCount, Place},
};

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<LaneId, Lane>,
    commits: u64,
    committing: bool,
}

/// Which entries of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ready,
    Waiting,
}

#[derive(Debug, Default)]
struct Lane {
    ready: Side,
    waiting: Side,
    parked: u64,
    /// Of all three, by their events' bodies.
    bytes: u64,
    /// Keys with parked entries, or that entries with a due time stand for: how many of each.
    keys: BTreeMap<OrderKey, [u64; 2]>,
    dead_letters: u64,
}

/// Entries of one kind; the floor is an offset or a due time.
#[derive(Debug)]
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
    fn count_key(&mut self, key: OrderKey, parked: bool, comes: bool) {
        let counts = self.keys.entry(key).or_default();
        let [of_parked, of_waiting] = counts;
        count(if parked { of_parked } else { of_waiting }, comes);
        if *counts == [0, 0] {
            self.keys.remove(&key);
        }
    }

    fn side(&mut self, kind: Kind) -> &mut Side {
        match kind {
            Kind::Ready => &mut self.ready,
            Kind::Waiting => &mut self.waiting,
        }
    }
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

impl Lanes {
    /// Before a commit is written: its entries may be seen from now on.
    pub fn begin(&mut self, deltas: &[Delta]) {
        self.commits = self.commits.wrapping_add(1);
        self.committing = true;
        for delta in deltas {
            if let Delta::Entry { lane, place, offset, comes: true, .. } = *delta
                && let Some((kind, at)) = side_of(place, offset)
            {
                let side = self.lanes.entry(lane).or_default().side(kind);
                side.floor = side.floor.min(at);
            }
        }
    }

    /// After it: `deltas` of a commit that succeeded, none of one that failed.
    pub fn end(&mut self, deltas: &[Delta]) {
        self.committing = false;
        for delta in deltas {
            self.apply(*delta);
        }
    }

    /// Counts what a scan found or a commit wrote.
    pub fn apply(&mut self, delta: Delta) {
        let (Delta::Entry { lane: id, .. } | Delta::DeadLetter { lane: id, .. }) = delta;
        let lane = self.lanes.entry(id).or_default();
        match delta {
            Delta::Entry { place, offset, bytes, comes, .. } => {
                let bytes = u64::from(bytes);
                lane.bytes = if comes { lane.bytes + bytes } else { lane.bytes.saturating_sub(bytes) };
                if let Some(key) = place.key {
                    lane.count_key(key, place.due.is_none(), comes);
                }
                match side_of(place, offset) {
                    Some((kind, at)) => {
                        let side = lane.side(kind);
                        count(&mut side.count, comes);
                        if comes {
                            side.floor = side.floor.min(at);
                        }
                    }
                    None => count(&mut lane.parked, comes),
                }
            }
            Delta::DeadLetter { comes, .. } => count(&mut lane.dead_letters, comes),
        }
        if lane.ready.count == 0 && lane.waiting.count == 0 && lane.parked == 0 && lane.dead_letters == 0 {
            self.lanes.remove(&id);
        }
    }

    /// Begins a search at or after `from`; `None` when there is nothing to find.
    pub fn search(&mut self, lane: LaneId, kind: Kind, from: u64) -> Option<Search> {
        let commits = (!self.committing).then_some(self.commits);
        let side = self.lanes.get_mut(&lane)?.side(kind);
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
        if let Some(lane) = self.lanes.get_mut(&lane) {
            let side = lane.side(kind);
            side.floor = side.floor.max(first);
        }
    }

    /// Lanes with entries: how many are ready, wait, and are parked, and the bytes of all.
    pub fn pending(&self) -> Vec<(LaneId, [u64; 4])> {
        let counts = |lane: &Lane| [lane.ready.count, lane.waiting.count, lane.parked, lane.bytes];
        let lanes = self.lanes.iter().map(|(id, lane)| (*id, counts(lane)));
        lanes.filter(|(_, [ready, waiting, parked, _])| ready + waiting + parked > 0).collect()
    }

    /// Keys with entries: how many are parked under each, and for how many it waits.
    pub fn keys(&self) -> impl Iterator<Item = ((LaneId, OrderKey), [u64; 2])> {
        self.lanes.iter().flat_map(|(id, lane)| lane.keys.iter().map(|(key, counts)| ((*id, *key), *counts)))
    }

    /// Lanes of a bus that may have a ready entry below `next`, and from where on.
    pub fn ready_below(&self, bus: BusId, next: Offset) -> Vec<(LaneId, Offset)> {
        let lane = |route, run| LaneId { bus, route: RouteId(route), run: RunId(run) };
        let lanes = self.lanes.range(lane(0, 0)..=lane(u32::MAX, u32::MAX)).map(|(id, lane)| (*id, &lane.ready));
        let here = lanes.filter(|(_, ready)| ready.count > 0 && ready.floor < next.0);
        here.map(|(id, ready)| (id, Offset(ready.floor))).collect()
    }

    /// All counts.
    pub fn counts(&self) -> Vec<LaneCount> {
        let lanes = self.lanes.iter().map(|(id, lane)| LaneCount {
            lane: *id,
            pending: lane.ready.count + lane.waiting.count + lane.parked,
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
        lanes.begin(deltas);
        lanes.end(deltas);
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

        lanes.begin(&[ready(1, true)]);
        let search = lanes.search(LANE, Kind::Ready, 0).unwrap();
        lanes.end(&[ready(1, true)]);
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
