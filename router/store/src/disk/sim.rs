//! Files in memory that keep, for every file and folder, the last synced image beside the live one.
//!
//! - [`SimFiles::power_loss`]: from now on only what was synced is there.
//!   [`SimFiles::power_loss_torn`]: of what was not synced, some sectors and names are there.
//! - [`SimFiles::lying_sync`]: syncs say yes and do nothing. A test of durability that passes with it
//!   tests nothing.
//! - [`SimFiles::fail`]: the n-th call of a kind fails, or writes less than asked.
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

/// What a power loss keeps or loses as one, in bytes.
const SECTOR: usize = 512;

/// A kind of call, to make one fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// [`Files::create_dir`].
    CreateDir,
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

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An input/output error; nothing is done.
    Io,
    /// No space is left; nothing is done.
    NoSpace,
    /// A write takes only so many bytes, and says so.
    Short(usize),
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
    lying: bool,
    changes: u64,
    changes_max: Option<u64>,
    faults: Vec<(Call, u64, Fault)>,
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
    fn sync(&mut self) {
        self.synced.resize(self.live.len(), 0);
        for range in std::mem::take(&mut self.dirty) {
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
    fn call(&mut self, call: Call, change: bool) -> io::Result<Option<usize>> {
        if self.changes_max.is_some_and(|max| self.changes >= max) {
            return Err(error("the power is off"));
        }
        self.changes += u64::from(change);
        let mut due = None;
        self.faults.retain_mut(|(kind, left, fault)| {
            if *kind == call {
                *left -= 1;
                if *left == 0 {
                    due = Some(*fault);
                }
            }
            *left > 0
        });
        match due {
            None => Ok(None),
            Some(Fault::Io) => Err(error("input/output error")),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Short(bytes)) => Ok(Some(bytes)),
        }
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
        *self = State { live: names.clone(), synced: names, boot, lying: self.lying, ..State::default() };
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
        lock(&self.state).lying = on;
    }

    /// Makes the n-th call of this kind from now on fail; 1 is the next one.
    pub fn fail(&self, call: Call, nth: u64, fault: Fault) {
        lock(&self.state).faults.push((call, nth.max(1), fault));
    }

    /// Forgets the faults that are still to come.
    pub fn heal(&self) {
        lock(&self.state).faults.clear();
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
        let mut state = lock(&self.state);
        state.call(Call::CreateDir, true)?;
        state.parent_exists(dir)?;
        if state.live.contains_key(dir) || is_root(dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.live.insert(dir.into(), Node::Dir);
        Ok(())
    }

    fn is_dir(&self, dir: &Path) -> io::Result<bool> {
        Ok(is_root(dir) || matches!(lock(&self.state).live.get(dir), Some(Node::Dir)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = lock(&self.state);
        let here = state.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name()?.to_str().map(Into::into)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = lock(&self.state);
        state.call(Call::Create, true)?;
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
        Ok(self.handle(&state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = lock(&self.state);
        state.call(Call::Open, false)?;
        Ok(self.handle(&state, state.file(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.call(Call::Rename, true)?;
        let inode = state.file(from)?;
        state.live.remove(from);
        state.live.insert(to.into(), Node::File(inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.call(Call::Remove, true)?;
        state.file(path)?;
        state.live.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.call(Call::SyncDir, true)?;
        if !state.lying {
            let here = |path: &Path| path.parent() == Some(dir);
            state.synced.retain(|path, _| !here(path));
            let now: Vec<_> =
                state.live.iter().filter(|(path, _)| here(path)).map(|(p, n)| (p.clone(), n.clone())).collect();
            state.synced.extend(now);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut state = lock(&self.state);
        state.parent_exists(path)?;
        let free = state.locked.insert(path.into());
        let (boot, path) = (state.boot, path.into());
        drop(state);
        Ok(free.then(|| Box::new(SimLock { state: self.state.clone(), boot, path }) as Box<dyn Any + Send + Sync>))
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
    /// The inode, the bytes that a short write may take, and whether syncs lie.
    fn call(&self, call: Call, change: bool) -> io::Result<(MutexGuard<'_, Inode>, usize, bool)> {
        let mut state = lock(&self.state);
        if state.boot != self.boot {
            return Err(error("this file was open before the power loss"));
        }
        let result = state.call(call, change);
        if result.is_err() && call == Call::Sync {
            lock(&self.inode).dirty.clear();
        }
        let short = result?.unwrap_or(usize::MAX);
        Ok((lock(&self.inode), short, state.lying))
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (inode, _, _) = self.call(Call::Read, false)?;
        let rest = usize::try_from(at).ok().and_then(|at| inode.live.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        copy(buffer, rest, 0..count);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let (mut inode, short, _) = self.call(Call::Write, true)?;
        let bytes = bytes.get(..short.min(bytes.len())).unwrap_or_default();
        let start = usize::try_from(at).map_err(|_| error("beyond this machine's memory"))?;
        let end = start + bytes.len();
        if inode.live.len() < end {
            inode.resize(end);
        }
        if let Some(place) = inode.live.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        inode.dirty.push(start..end);
        Ok(bytes.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let (mut inode, _, _) = self.call(Call::Allocate, true)?;
        let bytes = usize::try_from(bytes).map_err(|_| error("beyond this machine's memory"))?;
        if inode.live.len() < bytes {
            inode.resize(bytes);
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let (mut inode, _, _) = self.call(Call::SetLen, true)?;
        inode.resize(usize::try_from(bytes).map_err(|_| error("beyond this machine's memory"))?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let (inode, _, _) = self.call(Call::Read, false)?;
        Ok(inode.live.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut inode, _, lying) = self.call(Call::Sync, true)?;
        if !lying {
            inode.sync();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sim: &SimFiles, path: &str) -> Option<String> {
        sim.bytes(Path::new(path)).map(|b| String::from_utf8(b).unwrap())
    }

    #[test]
    fn name_is_durable_only_after_its_folder_was_synced() {
        let sim = SimFiles::new();
        let (a, b) = (Path::new("/d/a"), Path::new("/d/b"));
        sim.create_dir(Path::new("/d")).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        let file = sim.create(a).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        let lost = sim.fork();
        lost.power_loss();
        sim.power_loss();
        assert_eq!(read(&sim, "/d/a"), None, "created, not synced");
        assert_eq!(read(&lost, "/d/a").as_deref(), Some("x"), "a fork has everything on disk");
        lost.rename(a, b).unwrap();
        lost.power_loss();
        assert_eq!((read(&lost, "/d/a").as_deref(), read(&lost, "/d/b")), (Some("x"), None), "renamed, not synced");
        lost.rename(a, b).unwrap();
        lost.sync_dir(Path::new("/d")).unwrap();
        lost.remove(b).unwrap();
        lost.power_loss();
        assert_eq!((read(&lost, "/d/a"), read(&lost, "/d/b").as_deref()), (None, Some("x")), "removed, not synced");
    }

    #[test]
    fn failed_sync_forgets_what_it_did_not_write() {
        let sim = SimFiles::new();
        let file = sim.create(Path::new("/f")).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        file.write_at(b"one", 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(b"two", 0).unwrap();
        sim.fail(Call::Sync, 1, Fault::Io);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(read(&sim, "/f").as_deref(), Some("two"));
        sim.power_loss();
        assert_eq!(read(&sim, "/f").as_deref(), Some("one"));
        assert!(file.len().is_err(), "handles die with the power");
    }

    #[test]
    fn lying_sync_loses_what_it_promised() {
        let sim = SimFiles::new();
        sim.lying_sync(true);
        let file = sim.create(Path::new("/f")).unwrap();
        file.write_at(b"one", 0).unwrap();
        file.sync_data().unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        sim.power_loss();
        assert_eq!(read(&sim, "/f"), None);
    }

    #[test]
    fn torn_loss_keeps_sectors_and_names_by_the_seed() {
        let sim = SimFiles::new();
        let file = sim.create(Path::new("/f")).unwrap();
        file.write_at(&[0; 8 * SECTOR], 0).unwrap();
        file.sync_data().unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[1; 8 * SECTOR], 0).unwrap();
        sim.create(Path::new("/g")).unwrap();
        sim.power_loss_torn(3);
        let bytes = sim.bytes(Path::new("/f")).unwrap();
        let kept = bytes.chunks(SECTOR).filter(|sector| sector[0] == 1).count();
        assert!((1..8).contains(&kept), "{kept}");
        assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|b| *b == sector[0])));
    }

    #[test]
    fn faults_come_at_the_call_that_was_named_and_the_power_goes_off_for_good() {
        let sim = SimFiles::new();
        let file = sim.create(Path::new("/f")).unwrap();
        sim.fail(Call::Write, 2, Fault::Short(1));
        sim.fail(Call::Write, 3, Fault::NoSpace);
        assert_eq!(file.write_at(b"abc", 0).unwrap(), 3);
        assert_eq!(file.write_at(b"xyz", 0).unwrap(), 1);
        assert_eq!(file.write_at(b"xyz", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(&sim, "/f").as_deref(), Some("xbc"));
        sim.power_off_after(1);
        file.write_at(b"q", 0).unwrap();
        assert!(file.write_at(b"r", 0).is_err());
        assert!(file.sync_data().is_err());
        assert_eq!(sim.changes(), 5);
    }
}
