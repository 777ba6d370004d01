//! The archive of a simulation: a place for copies that outlives every life of the router and every power loss. Its calls
//! are slow, fail, are done though their answer is lost, or break off with the router; and copies are not there for a
//! while. In the end all of it is read back: from here and from the copies, event by event.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use router_core::{
    id::Offset,
    path::{Archiving, Path},
    retain::Uncopied,
    shelf::{Copied, Error, Object, Objects, Shelf},
};

use super::{Totals, damage::Lost, life::bus, rng::Rng, trace::Trace};
use crate::{
    coffee::{Fingerprint, Key},
    oracle::Published,
};

/// From one look at the log to the next.
const EVERY: Duration = Duration::from_millis(500);
/// An event waits so long for its copy at most.
const LAG_MAX: Duration = Duration::from_secs(5);
/// What all copies may take once everything is well.
const COPIED: Duration = Duration::from_secs(3_600);
/// Bytes that are read at a time.
const BYTES: usize = 1 << 16;

/// How the place behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    Slow,
    /// A third of its calls fail, and nothing is done.
    Failing,
    /// A third of its answers are lost.
    Forgetful,
    Down,
}

const MOODS: [Mood; 5] = [Mood::Good, Mood::Slow, Mood::Failing, Mood::Forgetful, Mood::Down];

struct State {
    rng: Rng,
    mood: Mood,
    objects: BTreeMap<String, Bytes>,
    /// Names that nobody finds now.
    hidden: BTreeSet<String>,
    /// Offsets of all that were ever hidden: who read then has missed them, and says so.
    missing: Vec<Range<u64>>,
    totals: Totals,
}

/// The place.
pub struct SimObjects {
    state: Mutex<State>,
    /// Calls under way.
    calls: AtomicU64,
    trace: Arc<Trace>,
}

/// A call under way; it ends when the router drops it, too.
struct InCall<'a>(&'a SimObjects);

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SimObjects {
    /// With nothing in it.
    pub fn new(rng: Rng, trace: Arc<Trace>) -> Arc<SimObjects> {
        let (objects, hidden, missing) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        let state = State { rng, mood: Mood::Good, objects, hidden, missing, totals: Totals::default() };
        Arc::new(SimObjects { state: Mutex::new(state), calls: AtomicU64::new(0), trace })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As the router is told of it.
    pub fn archiving(self: &Arc<Self>) -> Archiving {
        Archiving {
            shelf: Arc::new(Shelf::new(self.clone())),
            buses: vec![bus()],
            uncopied: Uncopied::LetGo,
            lag_max: LAG_MAX,
            age_max: None,
            every: EVERY,
            inline: true,
        }
    }

    /// It behaves in another way, or a copy is not there for a while.
    pub fn disturb(&self) {
        let state = &mut *self.state();
        let copies: Vec<String> = state.objects.keys().filter(|name| copy(name).is_some()).cloned().collect();
        if state.rng.chance(25) && !copies.is_empty() {
            let name = state.rng.pick(&copies).clone();
            self.trace.note("hidden", &[&name]);
            state.missing.extend(copy(&name).map(|copy| copy.first.0..copy.next.0));
            state.hidden.insert(name);
            state.totals.add("copies that were not there for a while", 1);
            return;
        }
        if state.rng.chance(50) {
            state.hidden.clear();
        }
        state.mood = if state.rng.chance(40) { Mood::Good } else { *state.rng.pick(&MOODS) };
        self.trace.note("archive", &[&format!("{:?}", state.mood)]);
    }

    /// Everything is well, and all is there.
    pub fn mend(&self) {
        let state = &mut *self.state();
        state.mood = Mood::Good;
        state.hidden.clear();
    }

    /// Calls that have not ended.
    pub fn under_way(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Offsets that were not there for a while.
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.state().missing.clone()
    }

    /// What happened how often.
    pub fn totals(&self) -> Totals {
        self.state().totals.clone()
    }

    async fn call<T>(
        &self,
        what: &str,
        name: &str,
        work: impl FnOnce(&mut State) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let _in_call = InCall(self);
        let failed = |why: &str| Error::Failed { place: place(name), why: why.into() };
        let (mood, before, after, struck) = {
            let state = &mut *self.state();
            let slow = if state.mood == Mood::Slow { 10_000 } else { 100 };
            if state.mood == Mood::Slow {
                state.totals.add("slow calls of the archive", 1);
            }
            (state.mood, state.rng.ms(1, slow), state.rng.ms(1, slow), state.rng.chance(33))
        };
        tokio::time::sleep(before).await;
        if mood == Mood::Down || (mood == Mood::Failing && struck) {
            self.trace.note("archive failed", &[what, name]);
            self.state().totals.add("failed calls of the archive", 1);
            return Err(failed("it failed"));
        }
        let done = work(&mut self.state());
        self.trace.note("archive did", &[what, name, if done.is_ok() { "well" } else { "not" }]);
        tokio::time::sleep(after).await;
        if mood == Mood::Forgetful && struck {
            self.state().totals.add("lost answers of the archive", 1);
            return Err(failed("its answer was lost"));
        }
        done
    }
}

fn place(name: &str) -> Box<str> {
    format!("sim/{name}").into()
}

/// The copy that a name tells of.
fn copy(name: &str) -> Option<Copied> {
    Copied::parse(&Object { name: name.into(), bytes: 0 }).map(|(_, copy)| copy)
}

impl State {
    fn object(&self, name: &str) -> Result<&Bytes, Error> {
        let there = self.objects.get(name).filter(|_| !self.hidden.contains(name));
        there.ok_or_else(|| Error::NotFound { place: place(name) })
    }
}

#[async_trait]
impl Objects for SimObjects {
    fn place(&self) -> &str {
        "sim"
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<(), Error> {
        self.call("create", name, |state| {
            if state.object(name).is_ok() {
                state.totals.add("copies that were there already", copy(name).is_some().into());
                return Err(Error::Exists { place: place(name) });
            }
            state.hidden.remove(name);
            state.objects.insert(name.into(), body);
            state.totals.add("copies", copy(name).is_some().into());
            Ok(())
        })
        .await
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        self.call("read", name, |state| {
            let body = state.object(name)?;
            let why = "the range reaches beyond its end";
            let failed = || Error::Failed { place: place(name), why: why.into() };
            let (start, end) = (range.start as usize, range.end as usize);
            if start > end || end > body.len() { Err(failed()) } else { Ok(body.slice(start..end)) }
        })
        .await
    }

    async fn length(&self, name: &str) -> Result<u64, Error> {
        self.call("length", name, |state| Ok(state.object(name)?.len() as u64)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        self.call("list", prefix, |state| {
            let named =
                state.objects.iter().filter(|(name, _)| name.starts_with(prefix) && !state.hidden.contains(*name));
            Ok(named.map(|(name, body)| Object { name: name.clone(), bytes: body.len() as u64 }).collect())
        })
        .await
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        self.call("remove", name, |state| {
            state.objects.remove(name);
            Ok(())
        })
        .await
    }
}

/// Everything is settled and well: all that was acknowledged and not damaged is read back at its offset, as it was; what
/// was let go has a copy, and the copies alone prove whole.
///
/// # Errors
/// What is not so.
pub async fn whole(path: &Path, objects: &Arc<SimObjects>, published: &[Published], lost: &Lost) -> Result<(), String> {
    let copied = || {
        let status = path.stats().archive.status();
        status.is_some_and(|s| s.ready && s.failing.is_none() && s.waiting.values().all(|w| w.segments == 0))
    };
    let end = tokio::time::Instant::now() + COPIED;
    while !copied() {
        if tokio::time::Instant::now() > end {
            return Err(format!("not copied after {COPIED:?}: {:?}", path.stats().archive.status()));
        }
        tokio::time::sleep(EVERY).await;
    }
    let there = read_all(path).await?;
    for p in published.iter().filter(|p| p.acked.is_some()) {
        let Some(offset) = p.offset.filter(|offset| !lost.contains_key(offset)) else { continue };
        let sent = (p.event.key.clone(), p.event.fingerprint());
        if there.get(&offset) != Some(&sent) {
            return Err(format!("{} was acknowledged at {offset}; there is {:?}", sent.0, there.get(&offset)));
        }
    }
    let (shelf, here) = (Shelf::new(objects.clone()), path.archive(&bus()).map(|a| a.bounds_here().0));
    shelf.load().await.map_err(|e| e.to_string())?;
    let verified = shelf.verify(&bus()).await.map_err(|e| e.to_string())?;
    // A copy that was not there is perhaps made again, of more than it was of.
    let over = !verified.overlaps.is_empty() && objects.missing().is_empty();
    if over || !verified.damages.is_empty() || !verified.gaps.is_empty() {
        return Err(format!("the copies are not whole: {verified:?}"));
    }
    let covered = shelf.covered(&bus(), Offset(shelf.bounds(&bus()).map_or(0, |(first, _)| first.0)));
    if here.is_some_and(|here| here > Offset(1) && covered < here) {
        return Err(format!("copies reach to {covered}, and what is kept here begins at {here:?}"));
    }
    Ok(())
}

/// All that can be read, from here or from a copy, by offset.
async fn read_all(path: &Path) -> Result<BTreeMap<u64, (Key, Fingerprint)>, String> {
    let archive = path.archive(&bus()).ok_or("there is no such bus")?;
    let (mut next, tail) = archive.bounds();
    let mut there = BTreeMap::new();
    while next < tail {
        let chunk = archive.read(next, BYTES).await.map_err(|e| format!("reading all from {next} on: {e}"))?;
        for record in chunk.records() {
            let record = record.map_err(|e| e.to_string())?;
            let attrs: Vec<(String, String)> = record.event.attrs().map(|(n, v)| (n.into(), v.to_string())).collect();
            let attrs = attrs.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let print = Fingerprint::of(attrs, record.event.data());
            let key = Key { source: record.event.source().into(), id: record.event.id().into() };
            there.insert(record.offset.0, (key, print));
        }
        next = chunk.next.max(next.next());
    }
    Ok(there)
}
