//! Keys and values of the ledger. Numbers in keys are big-endian, so that key order is the order of
//! the port; every value but a bare number begins with the version byte 1.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `meta` | `format` | 1 byte, the version of all of this |
//! | | `epoch`, `secret`, `running` | 8, 16, 8 bytes |
//! | | `epoch-first` | the epoch of the creation, once `gocoffee recover` began another one |
//! | | `epochs/` bus u16, offset u64 | the epoch of deliveries from there on |
//! | | `planned/` bus u16 | offset u64 |
//! | | `bus/` name | bus u16 |
//! | | `route/` name | route u32 |
//! | | `run/` run u32 | 1, postcard of `Run`, then of its `lost` |
//! | | `pause/` route u32 | 1 and a time u64: paused since; 2 and a running time u64: resumed |
//! | `versions` | route u32, bus u16, from u64 | 1, postcard of `RouteVersion` |
//! | `ready` | lane (bus u16, route u32, run u32), offset u64 | entry |
//! | `blocks` | lane, the highest offset that was put in it | block |
//! | `waiting` | lane, due u64, offset u64 | entry |
//! | `parked` | lane, order key u64, offset u64 | entry |
//! | `keys` | lane, order key u64 | 1, postcard of `KeyLetters` |
//! | `dead` | epoch u64, lane, offset u64 | 1, postcard of `DeadLetter`; or 2, the same and of `LetterOrder` |
//! | `held` | bus u16, offset u64, route u32, run u32 | empty: an entry in `waiting` or `parked` |
//! | | the same, epoch u64 | empty: a dead letter |
//! | `counts` | lane | 1, postcard of `lanes::Lane`; none for a lane with nothing |
//! | `key-counts` | lane, order key u64 | 1, postcard of how many entries are parked under it, and wait for it |
//!
//! An entry is: a tag, `opened_ms` and `bytes` as varints, and, when anything was tried, postcard of
//! `Attempts`. One that was never tried takes 18 bytes of key and 3 to 9 of value (16 at most). The tag is
//! 1, and 2 more for one that is late; one more says that an order key of 8 bytes follows it: so a waiting
//! entry says which key waits for it.
//!
//! `held` answers which records of a stretch of the log are needed, where `waiting` is ordered by due
//! time, `parked` by key, and `dead` by epoch and lane. Entries in `ready` have no key there: a lane's are
//! in order of offset already.
//!
//! A block holds up to 64 entries that are ready and were never tried, about 4 bytes each: 1, and postcard of
//! the offset, `opened_ms` and `bytes` of each, the first two as what they differ by from the one before. What
//! is put in one commit, above all that its lane is owed, is packed so. So the blocks of a lane never overlap,
//! and a backlog costs the library below a sixtieth of its keys, its journal and what a start reads of that.
//! An entry that goes is taken out of its block; the key stays.
//!
//! An entry is in exactly one of `ready`, `blocks`, `waiting` and `parked`, which is why a change names the
//! place of the entry it replaces: only of one that is ready it has to be looked whether it is in a block.
//!
//! Version 1 of all of this knew no order, and version 2 knew no blocks and kept no counts. A ledger of either is counted when
//! it is opened, and is one of version 3 from then on.

use fjall::Slice;
use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, OrderKey, RouteId, RunId},
    replay::Run,
    store::{Attempts, DeadLetter, Error, Pause, Pending, Place},
};
use serde::{Serialize, de::DeserializeOwned};

/// The version of all keys and values.
pub(super) const FORMAT: u8 = 3;
/// The oldest version that is read. One before [`FORMAT`] has no counts.
pub(super) const FORMAT_OLDEST: u8 = 1;

pub(super) const META_FORMAT: &[u8] = b"format";
pub(super) const META_EPOCH: &[u8] = b"epoch";
pub(super) const META_EPOCH_FIRST: &[u8] = b"epoch-first";
pub(super) const META_EPOCHS: &[u8] = b"epochs/";
pub(super) const META_SECRET: &[u8] = b"secret";
pub(super) const META_RUNNING: &[u8] = b"running";
pub(super) const META_PLANNED: &[u8] = b"planned/";
pub(super) const META_BUS: &[u8] = b"bus/";
pub(super) const META_ROUTE: &[u8] = b"route/";
pub(super) const META_RUN: &[u8] = b"run/";
pub(super) const META_PAUSE: &[u8] = b"pause/";

const ENTRY: u8 = 1;
/// Added to the tag of an entry with an order key.
const KEYED: u8 = 1;
/// Added to the tag of an entry that is late.
const LATE: u8 = 2;
/// A dead letter with its order.
const ORDERED: u8 = 2;

pub(super) fn damaged(place: &str, what: impl Into<Box<str>>) -> Error {
    Error::Damaged { place: format!("the ledger's {place}").into(), what: what.into() }
}

// ------------------------------------------------------------------------------------- keys

fn push_lane(key: &mut Vec<u8>, lane: LaneId) {
    key.extend(lane.bus.0.to_be_bytes());
    key.extend(lane.route.0.to_be_bytes());
    key.extend(lane.run.0.to_be_bytes());
}

pub(super) fn lane_key(lane: LaneId) -> Vec<u8> {
    let mut key = Vec::with_capacity(10);
    push_lane(&mut key, lane);
    key
}

pub(super) fn read_lane_key(key: &[u8]) -> Result<LaneId, Error> {
    whole("counts", key, take_lane)
}

pub(super) fn ready_key(lane: LaneId, offset: Offset) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    push_lane(&mut key, lane);
    key.extend(offset.0.to_be_bytes());
    key
}

pub(super) fn waiting_key(lane: LaneId, due: Timestamp, offset: Offset) -> Vec<u8> {
    let mut key = Vec::with_capacity(26);
    push_lane(&mut key, lane);
    key.extend(due.0.to_be_bytes());
    key.extend(offset.0.to_be_bytes());
    key
}

pub(super) fn order_key(lane: LaneId, order: OrderKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(26);
    push_lane(&mut key, lane);
    key.extend(order.0.to_be_bytes());
    key
}

pub(super) fn parked_key(lane: LaneId, order: OrderKey, offset: Offset) -> Vec<u8> {
    let mut key = order_key(lane, order);
    key.extend(offset.0.to_be_bytes());
    key
}

pub(super) fn dead_key(id: DeliveryId) -> Vec<u8> {
    let mut key = Vec::with_capacity(26);
    key.extend(id.epoch.0.to_be_bytes());
    push_lane(&mut key, id.lane);
    key.extend(id.offset.0.to_be_bytes());
    key
}

pub(super) fn held_key(lane: LaneId, offset: Offset, epoch: Option<Epoch>) -> Vec<u8> {
    let mut key = held_from(lane.bus, offset);
    key.extend(lane.route.0.to_be_bytes());
    key.extend(lane.run.0.to_be_bytes());
    if let Some(epoch) = epoch {
        key.extend(epoch.0.to_be_bytes());
    }
    key
}

/// Below every key of `held` for this offset or a later one.
pub(super) fn held_from(bus: BusId, offset: Offset) -> Vec<u8> {
    let mut key = Vec::with_capacity(26);
    key.extend(bus.0.to_be_bytes());
    key.extend(offset.0.to_be_bytes());
    key
}

/// The offset, and whether it is a dead letter's.
pub(super) fn read_held_key(mut key: &[u8]) -> Result<(Offset, bool), Error> {
    let all = key;
    let offset = take_u16(&mut key).and_then(|_| take_u64(&mut key));
    offset
        .filter(|_| matches!(key.len(), 8 | 16))
        .map(|offset| (Offset(offset), key.len() == 16))
        .ok_or_else(|| damaged("held", format!("key {all:02x?} has a wrong length")))
}

pub(super) fn version_key(route: RouteId, bus: BusId, from: Offset) -> Vec<u8> {
    let mut key = Vec::with_capacity(14);
    key.extend(route.0.to_be_bytes());
    key.extend(bus.0.to_be_bytes());
    key.extend(from.0.to_be_bytes());
    key
}

pub(super) fn planned_key(bus: BusId) -> Vec<u8> {
    [META_PLANNED, &bus.0.to_be_bytes()].concat()
}

pub(super) fn run_key(run: RunId) -> Vec<u8> {
    [META_RUN, &run.0.to_be_bytes()].concat()
}

pub(super) fn epochs_key(bus: BusId, from: Offset) -> Vec<u8> {
    [META_EPOCHS, &bus.0.to_be_bytes(), &from.0.to_be_bytes()].concat()
}

pub(super) fn read_epochs_key(key: &[u8]) -> Result<(BusId, Offset), Error> {
    let rest = key.strip_prefix(META_EPOCHS).unwrap_or_default();
    whole("epochs", rest, |k| Some((BusId(take_u16(k)?), Offset(take_u64(k)?))))
}

pub(super) fn pause_key(route: RouteId) -> Vec<u8> {
    [META_PAUSE, &route.0.to_be_bytes()].concat()
}

pub(super) fn write_pause(pause: Pause) -> Vec<u8> {
    let (tag, moment) = match pause {
        Pause::Since(at) => (1, at.0),
        Pause::Over(running_ms) => (2, running_ms),
    };
    [&[tag][..], &moment.to_be_bytes()].concat()
}

pub(super) fn read_pause(key: &[u8], value: &[u8]) -> Result<(RouteId, Pause), Error> {
    let route = RouteId(read_u32("pause", key.strip_prefix(META_PAUSE).unwrap_or_default())?);
    match value.split_first() {
        Some((1, at)) => Ok((route, Pause::Since(Timestamp(read_u64("pause", at)?)))),
        Some((2, running_ms)) => Ok((route, Pause::Over(read_u64("pause", running_ms)?))),
        other => Err(damaged("pause", format!("its kind is {:?}, this program reads 1 and 2", other.map(|o| o.0)))),
    }
}

pub(super) fn named_key(prefix: &[u8], name: &str) -> Vec<u8> {
    [prefix, name.as_bytes()].concat()
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*head))
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*head))
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*head))
}

fn take_lane(bytes: &mut &[u8]) -> Option<LaneId> {
    Some(LaneId { bus: BusId(take_u16(bytes)?), route: RouteId(take_u32(bytes)?), run: RunId(take_u32(bytes)?) })
}

/// Reads a whole key by `take`, which must leave nothing.
fn whole<T>(place: &str, mut key: &[u8], take: impl Fn(&mut &[u8]) -> Option<T>) -> Result<T, Error> {
    let all = key;
    take(&mut key)
        .filter(|_| key.is_empty())
        .ok_or_else(|| damaged(place, format!("key {all:02x?} has a wrong length")))
}

/// The lane, place and offset of an entry, by its key; a waiting one's value has its order key.
pub(super) type EntryKey = (LaneId, Place, Offset);

/// The lane of a block, and the bound of its offsets.
pub(super) fn read_block_key(key: &[u8]) -> Result<(LaneId, Offset), Error> {
    whole("blocks", key, |k| Some((take_lane(k)?, Offset(take_u64(k)?))))
}

pub(super) fn read_ready_key(key: &[u8]) -> Result<EntryKey, Error> {
    whole("ready", key, |k| Some((take_lane(k)?, Place::default(), Offset(take_u64(k)?))))
}

pub(super) fn read_waiting_key(key: &[u8]) -> Result<EntryKey, Error> {
    whole("waiting", key, |k| Some((take_lane(k)?, Some(Timestamp(take_u64(k)?)).into(), Offset(take_u64(k)?))))
}

pub(super) fn read_parked_key(key: &[u8]) -> Result<EntryKey, Error> {
    whole("parked", key, |k| Some((take_lane(k)?, Place::parked(OrderKey(take_u64(k)?)), Offset(take_u64(k)?))))
}

pub(super) fn read_order_key(key: &[u8]) -> Result<(LaneId, OrderKey), Error> {
    whole("keys", key, |k| Some((take_lane(k)?, OrderKey(take_u64(k)?))))
}

pub(super) fn read_dead_key(key: &[u8]) -> Result<DeliveryId, Error> {
    whole("dead", key, |k| {
        Some(DeliveryId { epoch: Epoch(take_u64(k)?), lane: take_lane(k)?, offset: Offset(take_u64(k)?) })
    })
}

// ----------------------------------------------------------------------------------- values

pub(super) fn read_u64(place: &str, bytes: &[u8]) -> Result<u64, Error> {
    whole(place, bytes, take_u64)
}

pub(super) fn read_u32(place: &str, bytes: &[u8]) -> Result<u32, Error> {
    whole(place, bytes, take_u32)
}

pub(super) fn read_u16(place: &str, bytes: &[u8]) -> Result<u16, Error> {
    whole(place, bytes, take_u16)
}

fn append(value: Vec<u8>, what: &impl Serialize) -> Result<Vec<u8>, Error> {
    // Only a type that postcard cannot hold fails here; nothing was written then.
    postcard::to_extend(what, value).map_err(|e| Error::Poisoned(format!("a bug: cannot encode: {e}").into()))
}

pub(super) fn write_entry(pending: &Pending) -> Result<Slice, Error> {
    // What is parked has its order key where it stands.
    let key = pending.key.filter(|_| pending.due.is_some());
    let tag = ENTRY + if key.is_some() { KEYED } else { 0 } + if pending.late { LATE } else { 0 };
    let mut head = vec![tag];
    head.extend(key.iter().flat_map(|key| key.0.to_be_bytes()));
    let value = append(head, &(pending.opened_ms, pending.bytes))?;
    let value = if pending.attempts == Attempts::default() { value } else { append(value, &pending.attempts)? };
    Ok(value.into())
}

/// The key and the bytes of an entry.
pub(super) fn read_entry_head((lane, place, offset): EntryKey, value: &[u8]) -> Result<(EntryKey, u32), Error> {
    let head = entry_head((lane, place, offset), value)?;
    Ok(((lane, Place { key: place.key.or(head.key), ..place }, offset), head.bytes))
}

fn entry_damaged((lane, _, offset): EntryKey, what: impl Into<Box<str>>) -> Error {
    let place = format!("entry of bus {}, route {}, run {}, offset {offset}", lane.bus, lane.route, lane.run);
    damaged(&place, what)
}

/// What stands before the attempts of an entry, and the rest of its value.
struct Head<'a> {
    late: bool,
    key: Option<OrderKey>,
    opened_ms: u64,
    bytes: u32,
    rest: &'a [u8],
}

fn entry_head(key: EntryKey, value: &[u8]) -> Result<Head<'_>, Error> {
    let last = ENTRY + KEYED + LATE;
    let Some((tag, mut rest)) = value.split_first().filter(|(tag, _)| (ENTRY..=last).contains(*tag)) else {
        let what = format!("its version is {:?}, this program reads {ENTRY} to {last}", value.first());
        return Err(entry_damaged(key, what));
    };
    let flags = tag - ENTRY;
    let order = match flags & KEYED {
        0 => None,
        _ => Some(take_u64(&mut rest).map(OrderKey).ok_or_else(|| entry_damaged(key, "its order key is cut short"))?),
    };
    let ((opened_ms, bytes), rest) = postcard::take_from_bytes(rest).map_err(|e| entry_damaged(key, e.to_string()))?;
    Ok(Head { late: flags & LATE != 0, key: order, opened_ms, bytes, rest })
}

pub(super) fn read_entry(key: EntryKey, value: &[u8]) -> Result<Pending, Error> {
    let Head { late, key: order, opened_ms, bytes, rest } = entry_head(key, value)?;
    let attempts = if rest.is_empty() { Ok(Attempts::default()) } else { postcard::from_bytes(rest) };
    let attempts = attempts.map_err(|e| entry_damaged(key, e.to_string()))?;
    let (lane, place, offset) = key;
    Ok(Pending { lane, offset, due: place.due, key: place.key.or(order), late, opened_ms, bytes, attempts })
}

/// An entry that is ready and was never tried, without its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub offset: Offset,
    pub opened_ms: u64,
    pub bytes: u32,
}

impl Packed {
    /// The entry, if it is one that can be packed.
    pub fn of(pending: &Pending) -> Option<Self> {
        let Pending { offset, due, key, late, opened_ms, bytes, ref attempts, .. } = *pending;
        let plain = due.is_none() && key.is_none() && !late && *attempts == Attempts::default();
        plain.then_some(Packed { offset, opened_ms, bytes })
    }

    pub fn pending(self, lane: LaneId) -> Pending {
        let Packed { offset, opened_ms, bytes } = self;
        Pending { lane, offset, due: None, key: None, late: false, opened_ms, bytes, attempts: Attempts::default() }
    }
}

/// Writes a block of entries, which rise.
pub(super) fn write_block(entries: &[Packed]) -> Result<Slice, Error> {
    let (mut offset, mut opened_ms) = (0, 0);
    let differences = entries.iter().map(|entry| {
        let difference = (entry.offset.0.wrapping_sub(offset), entry.opened_ms.wrapping_sub(opened_ms).cast_signed());
        (offset, opened_ms) = (entry.offset.0, entry.opened_ms);
        (difference.0, difference.1, entry.bytes)
    });
    write_value(&differences.collect::<Vec<(u64, i64, u32)>>())
}

/// The entries of a block; never none.
pub(super) fn read_block((lane, last): (LaneId, Offset), value: &[u8]) -> Result<Vec<Packed>, Error> {
    let place = || format!("block of bus {}, route {}, run {}, up to offset {last}", lane.bus, lane.route, lane.run);
    let differences: Vec<(u64, i64, u32)> = read_value(&place(), value)?;
    let (mut offset, mut opened_ms) = (0_u64, 0_u64);
    let mut entries = Vec::with_capacity(differences.len());
    for (n, (more, difference, bytes)) in differences.into_iter().enumerate() {
        let rises = n == 0 || more > 0;
        let next = offset.checked_add(more).filter(|next| rises && *next <= last.0);
        offset = next.ok_or_else(|| damaged(&place(), format!("its offsets do not rise up to {last}")))?;
        opened_ms = opened_ms.wrapping_add_signed(difference);
        entries.push(Packed { offset: Offset(offset), opened_ms, bytes });
    }
    if entries.is_empty() { Err(damaged(&place(), "it holds nothing")) } else { Ok(entries) }
}

pub(super) fn write_letter(letter: &DeadLetter) -> Result<Slice, Error> {
    let Some(order) = &letter.order else { return write_value(letter) };
    Ok(append(append(vec![ORDERED], letter)?, order)?.into())
}

pub(super) fn read_letter(value: &[u8]) -> Result<DeadLetter, Error> {
    const PLACE: &str = "dead letter";
    let Some((&ORDERED, rest)) = value.split_first() else { return read_value(PLACE, value) };
    let broken = |e: postcard::Error| damaged(PLACE, e.to_string());
    let (letter, rest): (DeadLetter, _) = postcard::take_from_bytes(rest).map_err(broken)?;
    Ok(DeadLetter { order: Some(postcard::from_bytes(rest).map_err(broken)?), ..letter })
}

/// A value that is postcard after the version byte.
pub(super) fn write_value(what: &impl Serialize) -> Result<Slice, Error> {
    Ok(append(vec![ENTRY], what)?.into())
}

/// A run, and behind it what it could not read, which older ones do not have.
pub(super) fn write_run(run: &Run) -> Result<Slice, Error> {
    Ok(append(append(vec![ENTRY], run)?, &run.lost)?.into())
}

pub(super) fn read_run(value: &[u8]) -> Result<Run, Error> {
    let Some((&ENTRY, rest)) = value.split_first() else {
        return Err(damaged("run", format!("its version is {:?}, this program reads {ENTRY}", value.first())));
    };
    let (run, behind) = postcard::take_from_bytes::<Run>(rest).map_err(|e| damaged("run", e.to_string()))?;
    let lost = if behind.is_empty() { Ok(0) } else { postcard::from_bytes(behind) };
    Ok(Run { lost: lost.map_err(|e| damaged("run", e.to_string()))?, ..run })
}

pub(super) fn read_value<T: DeserializeOwned>(place: &str, value: &[u8]) -> Result<T, Error> {
    let Some((&ENTRY, rest)) = value.split_first() else {
        return Err(damaged(place, format!("its version is {:?}, this program reads {ENTRY}", value.first())));
    };
    postcard::from_bytes(rest).map_err(|e| damaged(place, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untried_entry_takes_about_twenty_six_bytes() {
        let lane = LaneId { bus: BusId(1), route: RouteId(2), run: RunId(0) };
        let month_ms = 30 * 24 * 3600 * 1000;
        let pending = Pending {
            lane,
            offset: Offset(1 << 40),
            due: None,
            key: None,
            late: false,
            opened_ms: month_ms,
            bytes: 2000,
            attempts: Attempts::default(),
        };
        let bytes = ready_key(lane, pending.offset).len() + write_entry(&pending).unwrap().len();
        assert!(bytes <= 26, "{bytes}");
    }

    #[test]
    fn block_of_untried_entries_takes_about_four_bytes_each() {
        let entries: Vec<Packed> =
            (0..64).map(|n| Packed { offset: Offset((1 << 40) + n * 2), opened_ms: 1 << 31, bytes: 1_200 }).collect();
        let key = (LaneId { bus: BusId(1), route: RouteId(2), run: RunId(0) }, Offset((1 << 40) + 126));
        let block = write_block(&entries).unwrap();
        assert_eq!(read_block(key, &block).unwrap(), entries);
        assert!(block.len() <= 64 * 4 + 16, "{}", block.len());
    }

    #[test]
    fn any_entries_that_rise_come_back_from_a_block() {
        let at = |offset, opened_ms, bytes| Packed { offset: Offset(offset), opened_ms, bytes };
        let key = (LaneId { bus: BusId(1), route: RouteId(2), run: RunId(0) }, Offset(u64::MAX));
        for entries in [
            vec![at(0, 0, 0)],
            vec![at(0, u64::MAX, u32::MAX), at(1, 0, 1), at(u64::MAX, u64::MAX, 2)],
            vec![at(7, 1 << 63, 1), at(9, 5, 1)],
        ] {
            assert_eq!(read_block(key, &write_block(&entries).unwrap()).unwrap(), entries);
        }
    }

    #[test]
    fn damaged_block_is_refused_with_its_place() {
        let key = (LaneId { bus: BusId(1), route: RouteId(2), run: RunId(0) }, Offset(9));
        let at = |offset| Packed { offset: Offset(offset), opened_ms: 1, bytes: 1 };
        for wrong in [vec![], vec![at(5), at(5)], vec![at(5), at(4)], vec![at(5), at(10)]] {
            let error = read_block(key, &write_block(&wrong).unwrap()).unwrap_err().to_string();
            assert!(error.contains("route 2, run 0, up to offset 9"), "{error}");
        }
    }

    #[test]
    fn keys_sort_as_the_port_orders() {
        let lane = |route| LaneId { bus: BusId(1), route: RouteId(route), run: RunId(0) };
        assert!(ready_key(lane(255), Offset(u64::MAX)) < ready_key(lane(256), Offset(0)));
        assert!(ready_key(lane(1), Offset(255)) < ready_key(lane(1), Offset(256)));
        assert!(waiting_key(lane(1), Timestamp(255), Offset(9)) < waiting_key(lane(1), Timestamp(256), Offset(1)));
    }

    #[test]
    fn value_of_another_version_is_refused_by_name() {
        let key = (LaneId { bus: BusId(1), route: RouteId(2), run: RunId(0) }, Place::default(), Offset(7));
        let error = read_entry(key, &[9, 0]).unwrap_err().to_string();
        assert!(error.contains("offset 7") && error.contains("version is Some(9)"), "{error}");
    }
}
