//! The port's reads: each from one snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Range, RangeInclusive},
};

use fjall::{Guard, Readable, Snapshot};
use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Epoch, LaneId, Offset, OrderKey, RouteId, RouteName},
    replay::Run,
    store::{
        DeadLetter, Epochs, Error, KeyState, LaneState, Needed, Page, Pending, Place, RouteVersion, Selection, State,
    },
};

use super::{
    Inner,
    codec::{
        EntryKey, META_BUS, META_EPOCH_FIRST, META_EPOCHS, META_PAUSE, META_ROUTE, META_RUN, META_RUNNING, Packed,
        damaged, dead_key, held_from, parked_key, read_block, read_block_key, read_dead_key, read_entry,
        read_entry_head, read_epochs_key, read_held_key, read_lane_key, read_letter, read_order_key, read_parked_key,
        read_pause, read_ready_key, read_run, read_u16, read_u32, read_u64, read_value, read_waiting_key, ready_key,
        waiting_key,
    },
    lanes::{Counts, Delta, Kind, Search},
    lock, read_error,
};

const MAX: Offset = Offset(u64::MAX);
const LATEST: Timestamp = Timestamp(u64::MAX);

fn entry(kind: Kind, guard: Guard) -> Result<Pending, Error> {
    let (key, value) = guard.into_inner().map_err(read_error)?;
    let key = match kind {
        Kind::Ready => read_ready_key(&key)?,
        Kind::Waiting => read_waiting_key(&key)?,
    };
    read_entry(key, &value)
}

/// The lane of a block, the bound of its offsets, and what is in it.
fn block(guard: Guard) -> Result<(LaneId, Offset, Vec<Packed>), Error> {
    let (key, value) = guard.into_inner().map_err(read_error)?;
    let key = read_block_key(&key)?;
    Ok((key.0, key.1, read_block(key, &value)?))
}

/// Entries below an offset; what cannot be read is not passed over.
fn below(end: Offset) -> impl Fn(&Result<Pending, Error>) -> bool {
    move |pending| pending.as_ref().map_or(true, |p| p.offset < end)
}

fn parked(guard: Guard) -> Result<Pending, Error> {
    let (key, value) = guard.into_inner().map_err(read_error)?;
    read_entry(read_parked_key(&key)?, &value)
}

fn waiting_range(lane: LaneId, from: u64, to: Timestamp) -> RangeInclusive<Vec<u8>> {
    waiting_key(lane, Timestamp(from), Offset(0))..=waiting_key(lane, to, MAX)
}

/// The ledger between two commits.
pub(super) struct Moment {
    planned: Offset,
    /// Lanes with ready entries, and the floor of these.
    lanes: Vec<(LaneId, Offset)>,
    snapshot: Snapshot,
}

impl Inner {
    /// Begins a search before its snapshot is taken, so that a commit between the two is noticed.
    fn search(&self, lane: LaneId, kind: Kind, from: u64) -> Option<(Search, Snapshot)> {
        let search = lock(&self.lanes).search(lane, kind, from)?;
        Some((search, self.db.snapshot()))
    }

    /// The first block of a lane that may hold this offset or a later one, and the bound of its offsets, as it is now.
    pub(super) fn block_at(&self, lane: LaneId, offset: Offset) -> Result<Option<(Offset, Vec<Packed>)>, Error> {
        let first = self.blocks.range(ready_key(lane, offset)..=ready_key(lane, MAX)).next();
        first.map(|guard| block(guard).map(|(_, last, entries)| (last, entries))).transpose()
    }

    /// An offset above which a lane has no entry and no block. Of one that has nothing it is looked whether that is true:
    /// a block that was written over would be lost, where a wrong count is only that.
    pub(super) fn packed(&self, lane: LaneId) -> Result<Offset, Error> {
        let known = lock(&self.lanes).packed(lane);
        if known > Offset(0) {
            return Ok(known);
        }
        let last = self.blocks.range(ready_key(lane, Offset(0))..=ready_key(lane, MAX)).next_back();
        let last = last.map(|guard| read_block_key(&guard.key().map_err(read_error)?)).transpose()?;
        Ok(last.map(|(_, last)| last).unwrap_or_default())
    }

    /// Entries of a lane that are ready, from one offset on through another, in blocks or not, rising.
    fn ready_through(
        &self,
        snapshot: &Snapshot,
        lane: LaneId,
        from: Offset,
        through: Offset,
    ) -> impl Iterator<Item = Result<Pending, Error>> {
        // A range whose end lies before its beginning is none.
        let through = through.max(from);
        let single = snapshot.range(&self.ready, ready_key(lane, from)..=ready_key(lane, through));
        let mut single = single.map(|guard| entry(Kind::Ready, guard)).peekable();
        let blocks = snapshot.range(&self.blocks, ready_key(lane, from)..=ready_key(lane, MAX)).map(block);
        let packed = blocks.flat_map(move |block| match block {
            Ok((.., entries)) => entries.into_iter().map(|packed| Ok(packed.pending(lane))).collect(),
            Err(e) => vec![Err(e)],
        });
        let before = move |p: &Result<Pending, Error>| p.as_ref().is_ok_and(|p| p.offset < from);
        let within = move |p: &Result<Pending, Error>| p.as_ref().map_or(true, |p| p.offset <= through);
        let mut packed = packed.skip_while(before).take_while(within).peekable();
        std::iter::from_fn(move || match (single.peek(), packed.peek()) {
            (Some(Ok(a)), Some(Ok(b))) if b.offset < a.offset => packed.next(),
            (None, Some(_)) | (Some(Ok(_)), Some(Err(_))) => packed.next(),
            _ => single.next(),
        })
    }

    pub(super) fn ready(&self, lane: LaneId, from: Offset, count_max: usize) -> Result<Vec<Pending>, Error> {
        let Some((search, snapshot)) = self.search(lane, Kind::Ready, from.0).filter(|_| count_max > 0) else {
            return Ok(Vec::new());
        };
        let found = self.ready_through(&snapshot, lane, Offset(search.from), MAX).take(count_max);
        let found: Vec<Pending> = found.collect::<Result<_, _>>()?;
        let first = found.first().map_or(u64::MAX, |p| p.offset.0);
        lock(&self.lanes).found(lane, Kind::Ready, search, first);
        Ok(found)
    }

    pub(super) fn due(&self, lane: LaneId, now: Timestamp, count_max: usize) -> Result<Vec<Pending>, Error> {
        let Some((search, snapshot)) =
            self.search(lane, Kind::Waiting, 0).filter(|s| count_max > 0 && s.0.from <= now.0)
        else {
            return Ok(Vec::new());
        };
        let range = waiting_range(lane, search.from, now);
        let found = snapshot.range(&self.waiting, range).take(count_max).map(|guard| entry(Kind::Waiting, guard));
        let found: Vec<Pending> = found.collect::<Result<_, _>>()?;
        let first = found.first().and_then(|p| p.due).map_or(now.0.saturating_add(1), |due| due.0);
        lock(&self.lanes).found(lane, Kind::Waiting, search, first);
        Ok(found)
    }

    pub(super) fn waiting(
        &self,
        lane: LaneId,
        (due, offset): (Timestamp, Offset),
        count_max: usize,
    ) -> Result<Vec<Pending>, Error> {
        if count_max == 0 {
            return Ok(Vec::new());
        }
        let keys = waiting_key(lane, due, offset)..=waiting_key(lane, LATEST, MAX);
        let found = self.db.snapshot().range(&self.waiting, keys).take(count_max);
        found.map(|guard| entry(Kind::Waiting, guard)).collect()
    }

    pub(super) fn parked(
        &self,
        lane: LaneId,
        range: Range<(OrderKey, Offset)>,
        count_max: usize,
    ) -> Result<Vec<Pending>, Error> {
        let Range { start, end } = range;
        if count_max == 0 || end <= start {
            return Ok(Vec::new());
        }
        let keys = parked_key(lane, start.0, start.1)..parked_key(lane, end.0, end.1);
        self.db.snapshot().range(&self.parked, keys).take(count_max).map(parked).collect()
    }

    pub(super) fn next_due(&self, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, Error> {
        let Some(from) = after.0.checked_add(1) else { return Ok(None) };
        self.due_from(lane, from)
    }

    fn due_from(&self, lane: LaneId, from: u64) -> Result<Option<Timestamp>, Error> {
        let Some((search, snapshot)) = self.search(lane, Kind::Waiting, from) else { return Ok(None) };
        let first = snapshot.range(&self.waiting, waiting_range(lane, search.from, LATEST)).next();
        let first = first.map(|guard| entry(Kind::Waiting, guard)).transpose()?.and_then(|p| p.due);
        lock(&self.lanes).found(lane, Kind::Waiting, search, first.map_or(u64::MAX, |due| due.0));
        Ok(first)
    }

    pub(super) fn dead_letters(&self, which: &Selection, page: Page) -> Result<Vec<DeadLetter>, Error> {
        let snapshot = self.db.snapshot();
        let letter = |value: &[u8]| read_letter(value);
        if let Some(ids) = &which.ids {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            let after = ids.into_iter().filter(|id| page.after.is_none_or(|after| *id > after));
            let found = after.filter_map(|id| snapshot.get(&self.dead, dead_key(id)).map_err(read_error).transpose());
            let found = found.map(|value| letter(&value?));
            return found
                .filter(|d| d.as_ref().is_ok_and(|d| which.holds(d)) || d.is_err())
                .take(page.count_max)
                .collect();
        }
        // A key and a zero byte is the next possible key.
        let from = page.after.map(|after| [dead_key(after), vec![0]].concat()).unwrap_or_default();
        let found = snapshot.range(&self.dead, from..).map(|guard| letter(&guard.value().map_err(read_error)?));
        found.filter(|d| d.as_ref().is_ok_and(|d| which.holds(d)) || d.is_err()).take(page.count_max).collect()
    }

    /// What the port's `needed` asks of one moment: taken while no commit is under way.
    pub(super) fn moment(&self, bus: BusId, next: Offset) -> Moment {
        Moment {
            planned: lock(&self.planned).get(&bus).copied().unwrap_or_default(),
            lanes: lock(&self.lanes).ready_below(bus, next),
            snapshot: self.db.snapshot(),
        }
    }

    /// Costs a search for each lane that has ready entries, and one for all the rest. Without `letters`,
    /// dead letters do not count.
    pub(super) fn needed(
        &self,
        bus: BusId,
        range: &Range<Offset>,
        moment: Moment,
        letters: bool,
    ) -> Result<Needed, Error> {
        let Moment { planned, lanes, snapshot } = moment;
        let mut offsets = BTreeSet::new();
        for (lane, floor) in lanes {
            let from = floor.max(range.start);
            for pending in self.ready_through(&snapshot, lane, from, range.end).take_while(below(range.end)) {
                offsets.insert(pending?.offset);
            }
        }
        let end = range.end.max(range.start);
        for guard in snapshot.range(&self.held, held_from(bus, range.start)..held_from(bus, end)) {
            let (offset, letter) = read_held_key(&guard.key().map_err(read_error)?)?;
            if letters || !letter {
                offsets.insert(offset);
            }
        }
        let held = self.runs(&snapshot)?.iter().any(|run| run.holds_any_of(bus, range));
        Ok(Needed { planned, offsets: offsets.into_iter().collect(), held })
    }

    /// Offsets of a bus below `end` that an entry refers to: see [`super::DiskLedger::owed_first`].
    pub(super) fn owed_first(
        &self,
        bus: BusId,
        Moment { lanes, snapshot, .. }: Moment,
        end: Offset,
        count_max: usize,
    ) -> Result<Vec<Offset>, Error> {
        let mut offsets = BTreeSet::new();
        for (lane, floor) in lanes {
            let ready = self.ready_through(&snapshot, lane, floor, end).take_while(below(end));
            for pending in ready.take(count_max) {
                offsets.insert(pending?.offset);
            }
        }
        for guard in snapshot.range(&self.held, held_from(bus, Offset(0))..held_from(bus, end)).take(count_max) {
            let (offset, letter) = read_held_key(&guard.key().map_err(read_error)?)?;
            if !letter {
                offsets.insert(offset);
            }
        }
        Ok(offsets.into_iter().take(count_max).collect())
    }

    /// Counts everything that is there.
    pub(super) fn count_all(&self) -> Result<Counts, Error> {
        let snapshot = self.db.snapshot();
        let mut counts = Counts::default();
        let entries = |space, read: fn(&[u8]) -> Result<EntryKey, Error>| {
            snapshot.iter(space).map(move |guard| {
                let (key, value) = guard.into_inner().map_err(read_error)?;
                read_entry_head(read(&key)?, &value)
            })
        };
        let (ready, waiting) = (entries(&self.ready, read_ready_key), entries(&self.waiting, read_waiting_key));
        for entry in ready.chain(waiting).chain(entries(&self.parked, read_parked_key)) {
            let ((lane, place, offset), bytes) = entry?;
            counts.add(Delta::Entry { lane, place, offset, bytes, comes: true });
        }
        for block in snapshot.iter(&self.blocks).map(block) {
            let (lane, last, entries) = block?;
            counts.add_block(lane, last);
            for Packed { offset, bytes, .. } in entries {
                counts.add(Delta::Entry { lane, place: Place::default(), offset, bytes, comes: true });
            }
        }
        for guard in snapshot.iter(&self.dead) {
            let id = read_dead_key(&guard.key().map_err(read_error)?)?;
            counts.add(Delta::DeadLetter { lane: id.lane, comes: true });
        }
        Ok(counts)
    }

    /// The counts as commits have kept them.
    pub(super) fn kept_counts(&self) -> Result<Counts, Error> {
        let snapshot = self.db.snapshot();
        let mut counts = Counts::default();
        for guard in snapshot.iter(&self.counts) {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            counts.lanes.insert(read_lane_key(&key)?, read_value("counts", &value)?);
        }
        for guard in snapshot.iter(&self.key_counts) {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            counts.keys.insert(read_order_key(&key)?, read_value("key counts", &value)?);
        }
        Ok(counts)
    }

    pub(super) fn state(&self) -> Result<State, Error> {
        let snapshot = self.db.snapshot();
        let running = snapshot.get(&self.meta, META_RUNNING).map_err(read_error)?;
        let versions = snapshot
            .iter(&self.versions)
            .map(|guard| read_value::<RouteVersion>("route version", &guard.value().map_err(read_error)?));
        let pauses = snapshot.prefix(&self.meta, META_PAUSE).map(|guard| {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            read_pause(&key, &value)
        });
        let pending = lock(&self.lanes).pending();
        let lanes = pending.into_iter().map(|(lane, [ready, waiting, parked, bytes])| {
            let first = self.ready(lane, Offset(0), 1)?;
            let due_first = self.due_from(lane, 0)?;
            let ready_first = first.first().map(|p| p.offset);
            Ok(LaneState { lane, ready, waiting, parked, bytes, ready_first, due_first })
        });
        Ok(State {
            epoch: self.epoch,
            epochs: self.epochs(&snapshot)?,
            secret: self.secret,
            running_ms: running.map(|ms| read_u64("running time", &ms)).transpose()?.unwrap_or_default(),
            buses: self.buses(&snapshot)?,
            routes: self.names(&snapshot, META_ROUTE, |name, id| {
                Some((RouteName::new(name).ok()?, RouteId(read_u32("route name", id).ok()?)))
            })?,
            versions: versions.collect::<Result<_, _>>()?,
            pauses: pauses.collect::<Result<_, _>>()?,
            lanes: lanes.collect::<Result<_, Error>>()?,
            runs: self.runs(&snapshot)?,
            keys: self.keys(&snapshot)?,
        })
    }

    fn keys(&self, snapshot: &Snapshot) -> Result<Vec<KeyState>, Error> {
        let empty = |lane, key| KeyState { lane, key, parked: 0, waiting: 0, letters: None };
        let mut keys: BTreeMap<(LaneId, OrderKey), KeyState> = BTreeMap::new();
        for ((lane, key), [parked, waiting]) in lock(&self.lanes).keys() {
            keys.insert((lane, key), KeyState { parked, waiting, ..empty(lane, key) });
        }
        for guard in snapshot.iter(&self.keys) {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            let (lane, key) = read_order_key(&key)?;
            keys.entry((lane, key)).or_insert(empty(lane, key)).letters = Some(read_value("order key", &value)?);
        }
        Ok(keys.into_values().collect())
    }

    fn runs(&self, snapshot: &Snapshot) -> Result<Vec<Run>, Error> {
        let runs = snapshot.prefix(&self.meta, META_RUN);
        runs.map(|guard| read_run(&guard.value().map_err(read_error)?)).collect()
    }

    fn epochs(&self, snapshot: &Snapshot) -> Result<Epochs, Error> {
        let first = snapshot.get(&self.meta, META_EPOCH_FIRST).map_err(read_error)?;
        let first = first.map(|e| read_u64("epoch", &e).map(Epoch)).transpose()?.unwrap_or(self.epoch);
        snapshot.prefix(&self.meta, META_EPOCHS).try_fold(Epochs::from(first), |epochs, guard| {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            let (bus, from) = read_epochs_key(&key)?;
            Ok(epochs.with(bus, from, Epoch(read_u64("epoch", &value)?)))
        })
    }

    /// All entries of a bus that `lost` says are at an offset of no record.
    pub(super) fn entries_at(&self, bus: BusId, lost: &dyn Fn(Offset) -> bool) -> Result<Vec<Pending>, Error> {
        let snapshot = self.db.snapshot();
        let mut found = Vec::new();
        for (space, kind) in [(&self.ready, Kind::Ready), (&self.waiting, Kind::Waiting)] {
            for guard in snapshot.prefix(space, bus.0.to_be_bytes()) {
                let pending = entry(kind, guard)?;
                if lost(pending.offset) {
                    found.push(pending);
                }
            }
        }
        for block in snapshot.prefix(&self.blocks, bus.0.to_be_bytes()).map(block) {
            let (lane, _, entries) = block?;
            found.extend(entries.into_iter().filter(|p| lost(p.offset)).map(|packed| packed.pending(lane)));
        }
        for guard in snapshot.prefix(&self.parked, bus.0.to_be_bytes()) {
            let pending = parked(guard)?;
            if lost(pending.offset) {
                found.push(pending);
            }
        }
        Ok(found)
    }

    pub(super) fn buses(&self, snapshot: &Snapshot) -> Result<Vec<(BusName, BusId)>, Error> {
        self.names(snapshot, META_BUS, |name, id| {
            Some((BusName::new(name).ok()?, BusId(read_u16("bus name", id).ok()?)))
        })
    }

    fn names<T>(
        &self,
        snapshot: &Snapshot,
        prefix: &[u8],
        read: impl Fn(&str, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let names = snapshot.prefix(&self.meta, prefix).map(|guard| {
            let (key, value) = guard.into_inner().map_err(read_error)?;
            let name = key.get(prefix.len()..).and_then(|name| std::str::from_utf8(name).ok());
            name.and_then(|name| read(name, &value)).ok_or_else(|| damaged("names", format!("{key:?} is {value:?}")))
        });
        names.collect()
    }
}
