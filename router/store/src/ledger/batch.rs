//! From a commit's changes to one fjall batch: one operation for each key, and what the counts move by.

use std::collections::{BTreeMap, btree_map::Entry};

use fjall::{PersistMode, Slice};
use router_core::{
    id::{BusId, DeliveryId, Epoch, LaneId, Offset},
    store::{Change, Durability, Error, Pending, Place},
};

use super::{
    Inner,
    codec::{
        META_BUS, META_ROUTE, META_RUNNING, Packed, dead_key, held_key, lane_key, named_key, order_key, parked_key,
        pause_key, planned_key, ready_key, run_key, version_key, waiting_key, write_block, write_entry, write_letter,
        write_pause, write_run, write_value,
    },
    lanes::{Counts, Delta},
    lock, read_error, write_error,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Meta,
    Versions,
    Ready,
    Waiting,
    Parked,
    Keys,
    Dead,
    Held,
    Counts,
    KeyCounts,
    Blocks,
}

/// Entries of a block.
const BLOCK_ENTRIES_MAX: usize = 64;

/// An operation on one key: its new value, or its removal.
struct Op {
    space: Space,
    key: Vec<u8>,
    value: Option<Slice>,
}

#[derive(Default)]
struct Plan {
    ops: Vec<Op>,
    deltas: Vec<Delta>,
    planned: BTreeMap<BusId, Offset>,
    dead_letters: BTreeMap<DeliveryId, bool>,
    /// Entries that make new blocks, rising: above every block of their lane.
    fresh: BTreeMap<LaneId, Vec<Packed>>,
    /// Blocks that entries are taken out of, by their keys: what is left.
    opened: BTreeMap<(LaneId, Offset), Vec<Packed>>,
    /// Of each lane with a new entry that may be packed, an offset above which there is no block, here or in the ledger.
    bounds: BTreeMap<LaneId, Offset>,
}

impl Inner {
    /// Writes all changes or none. Only one commit runs at a time.
    pub(super) fn commit(&self, epoch: Epoch, changes: &[Change], durability: Durability) -> Result<(), Error> {
        if epoch != self.epoch {
            return Err(Error::Fenced);
        }
        self.check_space()?;
        let mut plan = Plan::default();
        for change in changes {
            self.plan(&mut plan, change)?;
        }
        plan.pack()?;
        let after = lock(&self.lanes).begin(&plan.deltas);
        let done = plan.keep(&after).and_then(|()| self.write(plan.ops, durability));
        lock(&self.lanes).end(done.is_ok().then_some(after));
        done?;
        lock(&self.planned).extend(plan.planned);
        Ok(())
    }

    fn write(&self, mut ops: Vec<Op>, durability: Durability) -> Result<(), Error> {
        // The sort is stable: of the operations on one key the last one decides.
        ops.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
        let mode = match durability {
            Durability::Now => PersistMode::SyncAll,
            Durability::Lazy => PersistMode::Buffer,
        };
        if ops.is_empty() {
            // fjall skips an empty batch, its sync too, but this one may promise the commits before it.
            return self.db.persist(mode).map_err(write_error);
        }
        let mut batch = self.db.batch().durability(Some(mode));
        let mut ops = ops.into_iter().peekable();
        while let Some(Op { space, key, value }) = ops.next() {
            if ops.peek().is_some_and(|next| next.space == space && next.key == key) {
                continue;
            }
            let keyspace = match space {
                Space::Meta => &self.meta,
                Space::Versions => &self.versions,
                Space::Ready => &self.ready,
                Space::Waiting => &self.waiting,
                Space::Parked => &self.parked,
                Space::Keys => &self.keys,
                Space::Dead => &self.dead,
                Space::Held => &self.held,
                Space::Counts => &self.counts,
                Space::KeyCounts => &self.key_counts,
                Space::Blocks => &self.blocks,
            };
            match value {
                Some(value) => batch.insert(keyspace, key, value),
                None => batch.remove(keyspace, key),
            }
        }
        batch.commit().map_err(write_error)
    }

    fn plan(&self, plan: &mut Plan, change: &Change) -> Result<(), Error> {
        match change {
            Change::Planned(bus, offset) => {
                let known = plan.planned.get(bus).or(lock(&self.planned).get(bus)).copied();
                if known.is_none_or(|known| *offset > known) {
                    plan.planned.insert(*bus, *offset);
                    plan.set(Space::Meta, planned_key(*bus), offset.0.to_be_bytes());
                }
            }
            Change::Running(ms) => plan.set(Space::Meta, META_RUNNING.into(), ms.to_be_bytes()),
            Change::Put { pending, replaces } => plan.put(self, pending, *replaces)?,
            Change::Drop { lane, offset, place, bytes } => plan.remove(self, *lane, *offset, *place, *bytes)?,
            Change::PutKey(lane, key, letters) => {
                plan.set(Space::Keys, order_key(*lane, *key), write_value(letters)?);
            }
            Change::DropKey(lane, key) => plan.unset(Space::Keys, order_key(*lane, *key)),
            Change::PutDeadLetter(letter) => {
                self.count_dead_letter(plan, letter.id, true)?;
                plan.set(Space::Dead, dead_key(letter.id), write_letter(letter)?);
                plan.set(Space::Held, dead_held(letter.id), []);
            }
            Change::DropDeadLetter(id) => {
                self.count_dead_letter(plan, *id, false)?;
                plan.unset(Space::Dead, dead_key(*id));
                plan.unset(Space::Held, dead_held(*id));
            }
            Change::NameBus(name, id) => {
                plan.set(Space::Meta, named_key(META_BUS, name.as_str()), id.0.to_be_bytes());
            }
            Change::NameRoute(name, id) => {
                plan.set(Space::Meta, named_key(META_ROUTE, name.as_str()), id.0.to_be_bytes());
            }
            Change::PutVersion(v) => {
                plan.set(Space::Versions, version_key(v.route, v.bus, v.from), write_value(v)?);
            }
            Change::Pause(route, pause) => plan.set(Space::Meta, pause_key(*route), write_pause(*pause)),
            Change::DropVersion { route, bus, from } => plan.unset(Space::Versions, version_key(*route, *bus, *from)),
            Change::PutRun(run) => plan.set(Space::Meta, run_key(run.id), write_run(run)?),
            Change::DropRun(id) => plan.unset(Space::Meta, run_key(*id)),
        }
        Ok(())
    }

    /// Dead letters are few, and may be put or dropped twice: looks whether this one is there.
    fn count_dead_letter(&self, plan: &mut Plan, id: DeliveryId, comes: bool) -> Result<(), Error> {
        let there = match plan.dead_letters.get(&id) {
            Some(there) => *there,
            None => self.dead.contains_key(dead_key(id)).map_err(read_error)?,
        };
        plan.dead_letters.insert(id, comes);
        if there != comes {
            plan.deltas.push(Delta::DeadLetter { lane: id.lane, comes });
        }
        Ok(())
    }
}

fn dead_held(id: DeliveryId) -> Vec<u8> {
    held_key(id.lane, id.offset, Some(id.epoch))
}

/// The keyspace and the key of an entry.
fn where_of(lane: LaneId, offset: Offset, place: Place) -> (Space, Vec<u8>) {
    match (place.due, place.key) {
        (Some(due), _) => (Space::Waiting, waiting_key(lane, due, offset)),
        (None, Some(key)) => (Space::Parked, parked_key(lane, key, offset)),
        (None, None) => (Space::Ready, ready_key(lane, offset)),
    }
}

impl Plan {
    fn set(&mut self, space: Space, key: Vec<u8>, value: impl Into<Slice>) {
        self.ops.push(Op { space, key, value: Some(value.into()) });
    }

    fn unset(&mut self, space: Space, key: Vec<u8>) {
        self.ops.push(Op { space, key, value: None });
    }

    /// Has the counts that the commit touches written with it.
    fn keep(&mut self, after: &Counts) -> Result<(), Error> {
        for (id, lane) in &after.lanes {
            let value = (!lane.is_empty()).then(|| write_value(lane)).transpose()?;
            self.ops.push(Op { space: Space::Counts, key: lane_key(*id), value });
        }
        for ((lane, key), counts) in &after.keys {
            let value = (*counts != [0, 0]).then(|| write_value(counts)).transpose()?;
            self.ops.push(Op { space: Space::KeyCounts, key: order_key(*lane, *key), value });
        }
        Ok(())
    }

    /// Has the blocks written that are new, and what is left of those that were opened.
    fn pack(&mut self) -> Result<(), Error> {
        for (lane, entries) in std::mem::take(&mut self.fresh) {
            for block in entries.chunks(BLOCK_ENTRIES_MAX) {
                match block {
                    [] => {}
                    [one] => self.set(Space::Ready, ready_key(lane, one.offset), write_entry(&one.pending(lane))?),
                    [.., last] => self.set(Space::Blocks, ready_key(lane, last.offset), write_block(block)?),
                }
            }
        }
        for ((lane, last), left) in std::mem::take(&mut self.opened) {
            match left.is_empty() {
                true => self.unset(Space::Blocks, ready_key(lane, last)),
                false => self.set(Space::Blocks, ready_key(lane, last), write_block(&left)?),
            }
        }
        Ok(())
    }

    fn put(&mut self, inner: &Inner, pending: &Pending, replaces: Option<Place>) -> Result<(), Error> {
        let Pending { lane, offset, bytes, .. } = *pending;
        let place = pending.place();
        if let Some(old) = replaces {
            self.remove(inner, lane, offset, old, bytes)?;
        }
        let packed = match Packed::of(pending) {
            Some(packed) if self.is_above(inner, lane, offset)? => Some(packed),
            _ => None,
        };
        match packed {
            Some(packed) => self.fresh.entry(lane).or_default().push(packed),
            None => {
                let (space, key) = where_of(lane, offset, place);
                self.set(space, key, write_entry(pending)?);
                if space != Space::Ready {
                    self.set(Space::Held, held_key(lane, offset, None), []);
                }
            }
        }
        self.deltas.push(Delta::Entry { lane, place, offset, bytes, comes: true });
        Ok(())
    }

    /// Whether an offset is above every block of its lane; then the next one has to be above it.
    fn is_above(&mut self, inner: &Inner, lane: LaneId, offset: Offset) -> Result<bool, Error> {
        let bound = match self.bounds.entry(lane) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(inner.packed(lane)?),
        };
        let is_above = offset > *bound;
        *bound = offset.max(*bound);
        Ok(is_above)
    }

    fn remove(&mut self, inner: &Inner, lane: LaneId, offset: Offset, place: Place, bytes: u32) -> Result<(), Error> {
        let (space, key) = where_of(lane, offset, place);
        if space != Space::Ready {
            self.unset(Space::Held, held_key(lane, offset, None));
            self.unset(space, key);
        } else if !self.unpack(inner, lane, offset)? {
            self.unset(space, key);
        }
        self.deltas.push(Delta::Entry { lane, place, offset, bytes, comes: false });
        Ok(())
    }

    /// Takes an entry out of its block. `false`: it is in none.
    fn unpack(&mut self, inner: &Inner, lane: LaneId, offset: Offset) -> Result<bool, Error> {
        let take = |entries: &mut Vec<Packed>| {
            let at = entries.binary_search_by_key(&offset, |entry| entry.offset);
            at.map(|at| entries.remove(at)).is_ok()
        };
        if self.fresh.get_mut(&lane).is_some_and(take) {
            return Ok(true);
        }
        let mut opened = self.opened.range_mut((lane, offset)..=(lane, Offset(u64::MAX)));
        if opened.next().is_some_and(|(_, entries)| take(entries)) {
            return Ok(true);
        }
        let Some((last, mut entries)) = inner.block_at(lane, offset)? else { return Ok(false) };
        if self.opened.contains_key(&(lane, last)) || !take(&mut entries) {
            return Ok(false);
        }
        self.opened.insert((lane, last), entries);
        Ok(true)
    }
}
