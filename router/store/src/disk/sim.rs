//! Files in memory that keep, for every file and folder, the last synced image beside the live one.
//!
//! - [`SimFiles::power_loss`]: from now on only what was synced is there.
//!   [`SimFiles::power_loss_torn`]: of what was not synced, some sectors and names are there.
//! - [`SimFiles::lying_sync`], [`SimFiles::lying_about`]: syncs say yes and do nothing. A test of
//!   durability that passes with it tests nothing.
//! - [`SimFiles::fail`]: the n-th call of a kind fails, or does less than asked. [`SimFiles::fail_call`]:
//!   the n-th call of all does. [`SimFiles::delay_call`]: something happens while it takes its time.
//! - [`SimFiles::space`]: there is so much space for all files, and no more.
//! - [`SimFiles::power_off_after`]: so many changing calls succeed, then every call fails.
//!
//! A sync that fails behaves as on Linux: what was not written is *forgotten*. The live image goes on
//! showing it, and the next sync succeeds without having written it.
//!
//! ```
//! use std::path::Path;
//! use router_store::disk::{files::Files, sim::SimFiles};
//! let sim = SimFiles::new();
//! let file = sim.create(Path::new("/f"))?;
//! sim.sync_dir(Path::new("/"))?;
//! file.write_at(b"kept", 0)?;
//! file.sync_data()?;
//! file.write_at(b"lost", 4)?;
//! sim.power_loss();
//! assert_eq!(sim.bytes(Path::new("/f")), Some(b"kept".to_vec()));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::files::{File, Files};

/// What a call is told to do.
mod faults;

use faults::{Act, Faults};
pub use faults::{Fault, Lies};

/// What a power loss keeps or loses as one, in bytes.
const SECTOR: usize = 512;

/// A kind of call, to make one fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// [`Files::create_dir`].
    CreateDir,
    /// [`Files::is_dir`].
    IsDir,
    /// [`Files::list`].
    List,
    /// [`Files::lock`].
    Lock,
    /// [`Files::create`].
    Create,
    /// [`Files::open`].
    Open,
    /// [`Files::rename`].
    Rename,
    /// [`Files::remove`].
    Remove,
    /// [`Files::sync_dir`].
    SyncDir,
    /// [`File::read_at`].
    Read,
    /// [`File::write_at`].
    Write,
    /// [`File::allocate`].
    Allocate,
    /// [`File::set_len`].
    SetLen,
    /// [`File::sync_data`].
    Sync,
}

/// The files. Clones share them.
#[derive(Clone, Default)]
pub struct SimFiles {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    live: BTreeMap<PathBuf, Node>,
    synced: BTreeMap<PathBuf, Node>,
    locked: BTreeSet<PathBuf>,
    /// Grows with each power loss; handles of an older one are dead.
    boot: u64,
    lies: Lies,
    changes: u64,
    changes_max: Option<u64>,
    faults: Faults,
    /// Bytes that all files together may have.
    space: Option<u64>,
    /// Calls that found no space because of it.
    short: u64,
    /// The call in which the power went off.
    off_in: Option<Call>,
}

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Mutex<Inode>>),
}

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    synced: Vec<u8>,
    dirty: Vec<Range<usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(what: &str) -> io::Error {
    io::Error::other(format!("simulated: {what}"))
}

fn is_root(dir: &Path) -> bool {
    dir.parent().is_none() || dir == Path::new(".")
}

/// The finisher of splitmix64.
fn mix(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = *seed;
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Copies as much of the range as both have.
fn copy(to: &mut [u8], from: &[u8], range: Range<usize>) {
    let range = range.start..range.end.min(to.len()).min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(range.clone()), from.get(range)) {
        to.copy_from_slice(from);
    }
}

impl Inode {
    /// Makes durable what is not; `half` of it, and the rest is forgotten.
    fn sync(&mut self, half: bool) {
        self.synced.resize(self.live.len(), 0);
        let mut dirty = std::mem::take(&mut self.dirty);
        if half {
            dirty.truncate(dirty.len().div_ceil(2));
            if let Some(last) = dirty.last_mut() {
                last.end = last.start + last.len() / 2;
            }
        }
        for range in dirty {
            copy(&mut self.synced, &self.live, range);
        }
    }

    fn resize(&mut self, length: usize) {
        let old = self.live.len();
        self.live.resize(length, 0);
        // What was cut off and grown again reads as zeros on disk too.
        self.dirty.push(old.min(length)..old.max(length));
    }

    /// What is on disk, plus the sectors not synced for which the coin says yes.
    fn after_loss(&self, coin: Option<&mut u64>) -> Inode {
        let mut bytes = self.synced.clone();
        if let Some(coin) = coin {
            if self.live.len() > bytes.len() || mix(coin) & 1 == 0 {
                bytes.resize(self.live.len(), 0);
            }
            for range in &self.dirty {
                for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
                    if mix(coin) & 1 == 0 {
                        let end = ((sector + 1) * SECTOR).min(range.end).min(bytes.len());
                        copy(&mut bytes, &self.live, (sector * SECTOR).max(range.start)..end);
                    }
                }
            }
        }
        Inode { live: bytes.clone(), synced: bytes, dirty: Vec::new() }
    }
}

impl State {
    /// Counts a call; `change` is one that alters something or makes it durable.
    fn call(&mut self, call: Call, change: bool) -> io::Result<Act> {
        if self.changes_max.is_some_and(|max| self.changes >= max) {
            if change {
                self.off_in.get_or_insert(call);
            }
            return Err(error("the power is off"));
        }
        self.changes += u64::from(change);
        self.faults.act(call)
    }

    /// How many more bytes files may have.
    fn free(&self) -> u64 {
        let Some(space) = self.space else { return u64::MAX };
        let bytes = |node: &Node| match node {
            Node::Dir => 0,
            Node::File(inode) => lock(inode).live.len() as u64,
        };
        space.saturating_sub(self.live.values().map(bytes).sum())
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(dir) if !is_root(dir) && !matches!(self.live.get(dir), Some(Node::Dir)) => {
                Err(io::ErrorKind::NotFound.into())
            }
            _ => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        match self.live.get(path) {
            Some(Node::File(inode)) => Ok(inode.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn lose_power(&mut self, mut coin: Option<&mut u64>) {
        let mut names: BTreeMap<PathBuf, Node> = BTreeMap::new();
        let all: BTreeSet<_> = self.live.keys().chain(self.synced.keys()).cloned().collect();
        for path in all {
            let flipped = coin.as_mut().is_some_and(|coin| mix(coin) & 1 == 0);
            let node = if flipped { self.live.get(&path) } else { self.synced.get(&path) };
            let homeless = path.parent().is_some_and(|dir| !is_root(dir) && !names.contains_key(dir));
            let node = match node.filter(|_| !homeless) {
                None => continue,
                Some(Node::Dir) => Node::Dir,
                Some(Node::File(inode)) => {
                    Node::File(Arc::new(Mutex::new(lock(inode).after_loss(coin.as_deref_mut()))))
                }
            };
            names.insert(path, node);
        }
        let boot = self.boot + 1;
        *self =
            State { live: names.clone(), synced: names, boot, lies: self.lies, space: self.space, ..State::default() };
    }
}

impl SimFiles {
    /// An empty disk; `/` is there.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power fails and comes back: only what was synced is there. Faults, locks and handles are gone.
    pub fn power_loss(&self) {
        lock(&self.state).lose_power(None);
    }

    /// As [`SimFiles::power_loss`], but each sector and name that was not synced is there or not as the seed says.
    pub fn power_loss_torn(&self, mut seed: u64) {
        lock(&self.state).lose_power(Some(&mut seed));
    }

    /// From now on syncs say yes and do nothing, or work again.
    pub fn lying_sync(&self, on: bool) {
        self.lying_about(if on { Lies::ALL } else { Lies::default() });
    }

    /// From now on these syncs say yes and do nothing, and the others work.
    pub fn lying_about(&self, lies: Lies) {
        lock(&self.state).lies = lies;
    }

    /// From now on all files together have at most so many bytes; a write takes what still fits. Files that are
    /// larger already stay.
    pub fn space(&self, bytes: Option<u64>) {
        lock(&self.state).space = bytes;
    }

    /// Bytes of all files that have a name.
    pub fn used(&self) -> u64 {
        let state = lock(&self.state);
        let bytes = |node: &Node| match node {
            Node::Dir => 0,
            Node::File(inode) => lock(inode).live.len() as u64,
        };
        state.live.values().map(bytes).sum()
    }

    /// Makes the n-th call of this kind from now on fail; 1 is the next one.
    pub fn fail(&self, call: Call, nth: u64, fault: Fault) {
        lock(&self.state).faults.fail(call, nth, fault);
    }

    /// Makes the n-th call since the power came, of whatever kind, fail; the first one is 1.
    pub fn fail_call(&self, nth: u64, fault: Fault) {
        lock(&self.state).faults.fail_call(nth, fault);
    }

    /// Before the n-th call since the power came does anything, this happens, in its thread, with nothing locked:
    /// the call takes its time, and others go on meanwhile.
    pub fn delay_call(&self, nth: u64, meanwhile: impl FnOnce() + Send + 'static) {
        lock(&self.state).faults.delay_call(nth, Box::new(meanwhile));
    }

    /// Which call [`SimFiles::fail_call`] or [`SimFiles::delay_call`] met, if it has.
    pub fn met(&self) -> Option<Call> {
        lock(&self.state).faults.met()
    }

    /// How many calls there were since the power came.
    pub fn calls(&self) -> u64 {
        lock(&self.state).faults.calls()
    }

    /// Forgets the faults that are still to come, and the limit of space.
    pub fn heal(&self) {
        let mut state = lock(&self.state);
        state.faults.clear();
        state.space = None;
    }

    /// How many calls found no space since the power came, because of [`SimFiles::space`].
    pub fn short(&self) -> u64 {
        lock(&self.state).short
    }

    /// The first changing call that failed since [`SimFiles::power_off_after`] said that the power is off.
    pub fn off_in(&self) -> Option<Call> {
        lock(&self.state).off_in
    }

    fn pause(&self) {
        faults::pause(&self.state, |state| &mut state.faults);
    }

    /// A copy that shares nothing with this one, as if the power went at this moment: see [`SimFiles::power_loss`] and
    /// [`SimFiles::power_loss_torn`].
    #[must_use]
    pub fn after_power_loss(&self, mut torn: Option<u64>) -> SimFiles {
        let state = lock(&self.state);
        // Files under two names, before and after a renaming that is not durable, become two; nobody writes to them.
        let own = |(path, node): (&PathBuf, &Node)| {
            let node = match node {
                Node::Dir => Node::Dir,
                Node::File(inode) => Node::File(Arc::new(Mutex::new(lock(inode).clone()))),
            };
            (path.clone(), node)
        };
        let mut lost = State {
            live: state.live.iter().map(own).collect(),
            synced: state.synced.iter().map(own).collect(),
            boot: state.boot,
            ..State::default()
        };
        drop(state);
        lost.lose_power(torn.as_mut());
        SimFiles { state: Arc::new(Mutex::new(lost)) }
    }

    /// Lets so many more changing calls succeed; after them every call fails, until the power loss that
    /// is to follow.
    pub fn power_off_after(&self, calls: u64) {
        let mut state = lock(&self.state);
        state.changes_max = Some(state.changes + calls);
    }

    /// How many calls so far were to change something or make it durable.
    pub fn changes(&self) -> u64 {
        lock(&self.state).changes
    }

    /// The live bytes of a file; `None` when there is none.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = lock(&self.state).file(path).ok()?;
        let bytes = lock(&inode).live.clone();
        Some(bytes)
    }

    /// Puts these bytes in the place of a file's, live and on disk: for damage.
    ///
    /// # Errors
    /// There is no such file.
    pub fn replace(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let inode = lock(&self.state).file(path)?;
        *lock(&inode) = Inode { live: bytes.clone(), synced: bytes, dirty: Vec::new() };
        Ok(())
    }

    /// A copy that shares nothing with this one; everything live is on its disk.
    #[must_use]
    pub fn fork(&self) -> SimFiles {
        let state = lock(&self.state);
        let own = |node: &Node| match node {
            Node::Dir => Node::Dir,
            Node::File(inode) => {
                let bytes = lock(inode).live.clone();
                Node::File(Arc::new(Mutex::new(Inode { live: bytes.clone(), synced: bytes, dirty: Vec::new() })))
            }
        };
        let live: BTreeMap<_, _> = state.live.iter().map(|(path, node)| (path.clone(), own(node))).collect();
        SimFiles { state: Arc::new(Mutex::new(State { synced: live.clone(), live, ..State::default() })) }
    }

    fn handle(&self, state: &State, inode: Arc<Mutex<Inode>>) -> Arc<dyn File> {
        Arc::new(SimFile { state: self.state.clone(), boot: state.boot, inode })
    }
}

impl Files for SimFiles {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::CreateDir, true)?;
        state.parent_exists(dir)?;
        if state.live.contains_key(dir) || is_root(dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.live.insert(dir.into(), Node::Dir);
        act.done(())
    }

    fn is_dir(&self, dir: &Path) -> io::Result<bool> {
        self.pause();
        let mut state = lock(&self.state);
        state.call(Call::IsDir, false)?.done(is_root(dir) || matches!(state.live.get(dir), Some(Node::Dir)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::List, false)?;
        let here = state.live.keys().filter(|path| path.parent() == Some(dir));
        act.done(here.filter_map(|path| path.file_name()?.to_str().map(Into::into)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::Create, true)?;
        state.parent_exists(path)?;
        let inode = match state.live.get(path) {
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(inode)) => {
                lock(inode).resize(0);
                inode.clone()
            }
            None => Arc::default(),
        };
        state.live.insert(path.into(), Node::File(inode.clone()));
        act.done(self.handle(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::Open, false)?;
        act.done(self.handle(&state, state.file(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::Rename, true)?;
        let inode = state.file(from)?;
        state.live.remove(from);
        state.live.insert(to.into(), Node::File(inode));
        act.done(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::Remove, true)?;
        state.file(path)?;
        state.live.remove(path);
        act.done(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::SyncDir, true)?;
        if !state.lies.names {
            let here = |path: &Path| path.parent() == Some(dir);
            state.synced.retain(|path, _| !here(path));
            let now: Vec<_> =
                state.live.iter().filter(|(path, _)| here(path)).map(|(p, n)| (p.clone(), n.clone())).collect();
            state.synced.extend(now);
        }
        act.done(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.pause();
        let mut state = lock(&self.state);
        let act = state.call(Call::Lock, false)?;
        state.parent_exists(path)?;
        let free = state.locked.insert(path.into());
        let (boot, path) = (state.boot, path.into());
        drop(state);
        act.done(
            free.then(|| Box::new(SimLock { state: self.state.clone(), boot, path }) as Box<dyn Any + Send + Sync>),
        )
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    boot: u64,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.boot == self.boot {
            state.locked.remove(&self.path);
        }
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    boot: u64,
    inode: Arc<Mutex<Inode>>,
}

impl SimFile {
    /// The inode, what to do, which syncs lie, and by how many bytes it may grow.
    fn call(&self, call: Call, change: bool) -> io::Result<(MutexGuard<'_, Inode>, Act, Lies, u64)> {
        faults::pause(&self.state, |state| &mut state.faults);
        let mut state = lock(&self.state);
        if state.boot != self.boot {
            return Err(error("this file was open before the power loss"));
        }
        let result = state.call(call, change);
        if result.is_err() && call == Call::Sync {
            lock(&self.inode).dirty.clear();
        }
        let act = result?;
        let free = state.free();
        Ok((lock(&self.inode), act, state.lies, free))
    }

    fn no_space(&self, inode: MutexGuard<'_, Inode>) -> io::Error {
        // The state is locked before a file is.
        drop(inode);
        lock(&self.state).short += 1;
        io::ErrorKind::StorageFull.into()
    }
}

/// The length that a file may have.
fn room(inode: &Inode, free: u64) -> usize {
    usize::try_from(free).map_or(usize::MAX, |free| inode.live.len().saturating_add(free))
}

fn length(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| error("beyond this machine's memory"))
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (inode, act, ..) = self.call(Call::Read, false)?;
        let rest = usize::try_from(at).ok().and_then(|at| inode.live.get(at..)).unwrap_or_default();
        let count = act.of(rest.len().min(buffer.len()));
        copy(buffer, rest, 0..count);
        act.done(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let (mut inode, act, _, free) = self.call(Call::Write, true)?;
        let start = length(at)?;
        let fits = room(&inode, free).saturating_sub(start);
        if fits == 0 && !bytes.is_empty() {
            return Err(self.no_space(inode));
        }
        let bytes = bytes.get(..act.of(bytes.len()).min(fits)).unwrap_or_default();
        let end = start + bytes.len();
        if inode.live.len() < end {
            inode.resize(end);
        }
        if let Some(place) = inode.live.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        inode.dirty.push(start..end);
        act.done(bytes.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let (mut inode, act, _, free) = self.call(Call::Allocate, true)?;
        let bytes = length(bytes)?;
        if bytes > room(&inode, free) {
            return Err(self.no_space(inode));
        }
        if inode.live.len() < bytes {
            inode.resize(bytes);
        }
        act.done(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let (mut inode, act, _, free) = self.call(Call::SetLen, true)?;
        let bytes = length(bytes)?;
        if bytes > room(&inode, free) {
            return Err(self.no_space(inode));
        }
        inode.resize(bytes);
        act.done(())
    }

    fn len(&self) -> io::Result<u64> {
        let (inode, act, ..) = self.call(Call::Read, false)?;
        act.done(inode.live.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut inode, act, lies, _) = self.call(Call::Sync, true)?;
        if !lies.bytes {
            inode.sync(act.fails());
        }
        act.done(())
    }
}

#[cfg(test)]
mod tests;
