//! A byte flips in the middle of the unsealed segment: the start refuses by name, an operator has what is damaged set
//! aside, as `gocoffee recover --skip-damaged` does, and exactly the events of the block that the byte is in are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use router_core::{
    clock::Timestamp,
    id::{BusId, LaneId, Offset, OrderKey},
    store::{Error, Ledger, Log, Pending, Store},
};
use router_store::{
    disk::{self, DiskLog, Inspected, files::Files, sim::SimFiles},
    recover,
};

use super::{life::bus, ports::SimStore, rng::Rng};
use crate::coffee::Key;

/// Where damaged files are set aside.
const ASIDE: &str = "/data/damaged/default";
/// Bytes of a segment's head, and where it says up to where all was synced: the format is written down in
/// `router/store/src/disk/segment.rs`.
const HEAD: usize = 160;
const HEAD_SYNCED: usize = 32;
/// How a block begins, at a multiple of 8, and where it says the same.
const BLOCK: &[u8] = b"blk1";
const BLOCK_SYNCED: usize = 32;
/// Entries of a page of the ledger.
const PAGE: usize = 1_000;

/// A record as it was read: its event, and when it was appended.
type Records = BTreeMap<u64, (Key, Timestamp)>;

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// The unsealed segment, and behind its head up to where a byte was proven to be synced and something stands behind it.
fn target(files: &SimFiles, dir: &Path) -> Option<(PathBuf, usize)> {
    let mut names = files.list(dir).ok()?;
    names.retain(|name| name.ends_with(".log"));
    let path = dir.join(names.iter().max()?);
    let bytes = files.bytes(&path)?;
    let is_block = |at: &usize| bytes.get(*at..).is_some_and(|b| b.starts_with(BLOCK));
    let blocks: Vec<usize> = (HEAD..bytes.len()).step_by(8).filter(is_block).collect();
    // The last one may be torn: it proves nothing, and nothing has to stand behind it.
    let (_, whole) = blocks.split_last()?;
    let synced = whole.iter().map(|at| number(&bytes, at + BLOCK_SYNCED)).max()?.max(number(&bytes, HEAD_SYNCED));
    let below = usize::try_from(synced).ok()?.min(*whole.last()?);
    (below > HEAD).then_some((path, below))
}

async fn open(store: &SimStore, files: &SimFiles, dir: &Path) -> Result<DiskLog, Error> {
    DiskLog::open(Arc::new(files.clone()), dir, &bus(), store.options().clone()).await
}

/// All that can be read from the first offset that is kept.
async fn records(store: &SimStore, files: &SimFiles, dir: &Path) -> Result<Records, Error> {
    let log = open(store, files, dir).await?;
    let (mut next, tail) = log.bounds();
    let mut all = Records::new();
    while next < tail {
        let chunk = log.read(next, 1 << 16).await?;
        for record in chunk.records() {
            let record = record?;
            let key = Key { source: record.event.source().into(), id: record.event.id().into() };
            all.insert(record.offset.0, (key, record.appended));
        }
        next = chunk.next;
    }
    Ok(all)
}

/// What a ledger owes of records that these ranges held.
async fn owed(ledger: &dyn Ledger, id: BusId, seen: &Inspected) -> Result<Vec<Pending>, Error> {
    let lost = |offset: Offset| {
        seen.damages.iter().filter_map(|d| d.offsets).any(|(first, last)| (first..=last).contains(&offset))
    };
    let lanes: BTreeSet<LaneId> = ledger.count().await?.iter().map(|c| c.lane).filter(|l| l.bus == id).collect();
    let mut owed = Vec::new();
    for lane in lanes {
        let (mut from, mut time, mut key) = (Offset(0), (Timestamp(0), Offset(0)), (OrderKey(0), Offset(0)));
        loop {
            let page = ledger.ready(lane, from, PAGE).await?;
            let Some(last) = page.last() else { break };
            from = last.offset.next();
            owed.extend(page.into_iter().filter(|p| lost(p.offset)));
        }
        loop {
            let page = ledger.waiting(lane, time, PAGE).await?;
            let Some(last) = page.last() else { break };
            time = (last.due.unwrap_or_default(), last.offset.next());
            owed.extend(page.into_iter().filter(|p| lost(p.offset)));
        }
        loop {
            let page = ledger.parked(lane, key..(OrderKey(u64::MAX), Offset(u64::MAX)), PAGE).await?;
            let Some(last) = page.last() else { break };
            key = (last.key.unwrap_or_default(), last.offset.next());
            owed.extend(page.into_iter().filter(|p| lost(p.offset)));
        }
    }
    Ok(owed)
}

/// What was lost: the events by offset.
pub type Lost = BTreeMap<u64, Key>;

/// Flips a byte, and mends what it damaged; `None` where there is nothing to flip, or the byte was of no meaning.
///
/// # Errors
/// What no flipped byte excuses.
pub async fn flip(store: &SimStore, rng: &mut Rng) -> Result<Option<Lost>, String> {
    let (dir, files) = (Path::new("/data/buses").join(bus().as_str()), store.files());
    let Some((path, below)) = target(files, &dir) else { return Ok(None) };
    let at = rng.between(HEAD as u64, below as u64 - 1);
    let before = records(store, &files.fork(), &dir).await.map_err(|e| format!("before a byte flips: {e}"))?;
    let mut bytes = files.bytes(&path).unwrap_or_default();
    let Some(byte) = bytes.get_mut(at as usize) else { return Ok(None) };
    *byte ^= 1 << rng.below(8);
    files.replace(&path, bytes).map_err(|e| e.to_string())?;

    let seen = disk::inspect(files, &dir).map_err(|e| format!("a look at the damage: {e}"))?;
    let refused = open(store, files, &dir).await.err();
    if seen.damages.is_empty() {
        // Zeros between two blocks.
        let after = records(store, &files.fork(), &dir).await;
        let same = refused.is_none() && after.as_ref().is_ok_and(|after| *after == before);
        return if same { Ok(None) } else { Err(format!("byte {at} of {}: {refused:?}", path.display())) };
    }
    let named = match &refused {
        Some(Error::Damaged { place, .. }) => place.contains(&*path.to_string_lossy()),
        _ => false,
    };
    if !named || seen.damages.iter().any(|d| d.path != path || !d.bytes.contains(&at)) {
        return Err(format!("byte {at} of {} flipped: {refused:?}, {:?}", path.display(), seen.damages));
    }
    let left = disk::set_aside(files, &dir, Path::new(ASIDE)).map_err(|e| format!("setting aside: {e}"))?;
    if !left.is_empty() {
        return Err(format!("damage is left: {left:?}"));
    }
    let after = records(store, &files.fork(), &dir).await.map_err(|e| format!("after the mend: {e}"))?;
    let lost: Vec<_> = before.iter().filter(|(offset, _)| !after.contains_key(*offset)).collect();
    let same_block = lost.windows(2).all(|two| match two {
        [(a, (_, time)), (b, (_, same))] => **a + 1 == **b && time == same,
        _ => true,
    });
    let offsets = seen.damages.iter().filter_map(|d| d.offsets);
    let told = lost.iter().all(|(at, _)| offsets.clone().any(|(first, last)| (first.0..=last.0).contains(*at)));
    if lost.is_empty() || !same_block || !told || after.iter().any(|(at, record)| before.get(at) != Some(record)) {
        return Err(format!("byte {at} of {}: {lost:?} is lost, {:?}", path.display(), seen.damages));
    }
    let lost: Lost = lost.into_iter().map(|(offset, (key, _))| (*offset, key.clone())).collect();
    give_up(store, &seen).await.map_err(|e| format!("giving up what is owed: {e}"))?;
    Ok(Some(lost))
}

async fn give_up(store: &SimStore, seen: &Inspected) -> Result<(), String> {
    let ledger = store.ledger();
    let state = ledger.state().await.map_err(|e| e.to_string())?;
    let Some((_, id)) = state.buses.iter().find(|(name, _)| *name == bus()) else { return Ok(()) };
    let owed = owed(&*ledger, *id, seen).await.map_err(|e| e.to_string())?;
    recover::give_up(&*ledger, *id, seen, owed).await.map_err(|e| e.to_string())?;
    Ok(())
}
