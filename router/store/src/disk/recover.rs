//! Opening: what a start finds, checks and repairs.
//!
//! 1. The folder is made if there is none; its name, and the names in it, are made durable: a process
//!    that died may have left names that are on no disk.
//! 2. Sealed segments: head, end (known from the segment behind) and side file are checked; their
//!    blocks are not read. A side file that cannot be used is made again.
//! 3. The unsealed segment is read whole. Behind its last valid block it is *torn*, unless something
//!    proves that more was acknowledged: the head, the mark of a clean stop, or a later block that was
//!    written when the bad place was synced already. Then it is *damaged* and the open refuses.
//! 4. Remnants: head and length are checked; a segment or a remnant inside the stretch of another
//!    remnant is removed: a stop came between the two.
//! 5. Without the mark of a clean stop the valid blocks of the unsealed segment are written into a new
//!    file under a new seed, synced, and swapped in.
//!
//! # The mark of a clean stop (`clean`; version 1, little-endian)
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `gocofend` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | CRC-32C of bytes 16 to 39 |
//! | 16 | 8 | base of the unsealed segment |
//! | 24 | 8 | its seed |
//! | 32 | 8 | its end in bytes, synced |

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use router_core::{
    clock::Timestamp,
    id::{BusName, Offset},
    store::Error,
};

use super::{
    files::{File, Files, create_dirs, is_no_space, read_full_at, write_all_at},
    log::Options,
    remnant::{Reader, Remnant, remnant_path},
    scan::{Scan, find_witness, scan},
    segment::{BLOCK_HEAD, HEAD_BYTES, Head, Place, damaged, encode_copy, put, u32_at, u64_at, unusable},
    side::{self, Side, Summary},
};

const MARK: &str = "clean";
const MARK_MAGIC: &[u8; 8] = b"gocofend";
const MARK_VERSION: u32 = 1;
const MARK_BYTES: usize = 40;
/// What a rewrite writes at once, in bytes.
const COPY_BYTES: usize = 1024 * 1024;

pub(super) fn segment_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", base.0))
}

/// What an open found.
pub(super) struct Found {
    pub remnants: Vec<Remnant>,
    pub sealed: Vec<Arc<Summary>>,
    pub unsealed: Unsealed,
}

/// The segment that is appended to.
pub(super) struct Unsealed {
    pub head: Head,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    pub scan: Scan,
    /// Bytes reserved for it.
    pub capacity: u64,
}

/// Opens the log in a folder.
pub(super) fn open(files: &dyn Files, dir: &Path, bus: &BusName, options: &Options) -> Result<Found, Error> {
    prepare_dir(files, dir).map_err(|e| unusable(dir, "make or sync the folder of the bus", &e))?;
    let (mut bases, remnants, mark) =
        tidy(files, dir).map_err(|e| unusable(dir, "list or tidy the folder of the bus", &e))?;
    let remnants = open_remnants(files, dir, bus, remnants, &mut bases)?;
    let mut heads = Vec::with_capacity(bases.len());
    for base in bases {
        heads.push(open_segment(files, dir, base, bus)?);
    }
    check_chain(dir, &heads, mark)?;
    let Some((path, head, file)) = heads.pop() else {
        let unsealed = create(files, dir, bus, options).map_err(|f| f.at_open(dir))?;
        return Ok(Found { remnants, sealed: Vec::new(), unsealed });
    };
    let ends = heads.iter().skip(1).map(|(_, next, _)| next).chain([&head]);
    let mut sealed = Vec::with_capacity(heads.len());
    for ((path, head, file), next) in heads.iter().zip(ends) {
        let end = next.before.map_or(0, |(_, end)| end);
        sealed.push(Arc::new(open_sealed(files, path, head, &**file, end)?));
    }
    let unsealed = open_unsealed(files, dir, (path, head, file), mark, options)?;
    files.sync_dir(dir).map_err(|e| unusable(dir, "sync the folder of the bus", &e))?;
    Ok(Found { remnants, sealed, unsealed })
}

/// Makes the folder, and makes durable its name, that of the folder of all buses, and that of the data
/// folder: a process that made them may have died before it synced them. The folder above the data
/// folder is the operator's, and may be out of reach.
fn prepare_dir(files: &dyn Files, dir: &Path) -> io::Result<()> {
    create_dirs(files, dir)?;
    for (height, parent) in dir.ancestors().skip(1).take(3).enumerate() {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match files.sync_dir(parent) {
            Err(e) if height == 2 && e.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub base: Offset,
    pub seed: u64,
    pub end: u64,
}

/// The mark of a clean stop, if there is one; it stays.
pub(super) fn mark(files: &dyn Files, dir: &Path) -> io::Result<Option<Mark>> {
    match files.open(&dir.join(MARK)) {
        Ok(file) => read_mark(&*file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes it; durable with the next sync of the folder.
pub(super) fn remove_mark(files: &dyn Files, dir: &Path) -> io::Result<()> {
    match files.remove(&dir.join(MARK)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Bases of the segments and of the remnants, in order, and the mark of a clean stop. Removes the mark, files in the making
/// and side files without a segment; the caller makes that durable.
fn tidy(files: &dyn Files, dir: &Path) -> io::Result<(Vec<Offset>, Vec<Offset>, Option<Mark>)> {
    let names = files.list(dir)?;
    let base_of = |name: &str, kind: &str| {
        let digits = name.strip_suffix(kind).filter(|d| d.len() == 20)?;
        digits.parse().ok().map(Offset)
    };
    let all = |kind: &str| {
        let mut bases: Vec<_> = names.iter().filter_map(|n| base_of(n, kind)).collect();
        bases.sort_unstable();
        bases
    };
    let (bases, remnants) = (all(".log"), all(".rem"));
    let mut mark = None;
    for name in &names {
        let path = dir.join(name);
        if name == MARK {
            mark = read_mark(&*files.open(&path)?)?;
        }
        let orphan = base_of(name, ".idx").is_some_and(|base| bases.binary_search(&base).is_err());
        if name == MARK || orphan || name.ends_with(".new") {
            files.remove(&path)?;
        }
    }
    Ok((bases, remnants, mark))
}

/// Opens the remnants, and removes what they stand for, out of `bases` too.
fn open_remnants(
    files: &dyn Files,
    dir: &Path,
    bus: &BusName,
    names: Vec<Offset>,
    bases: &mut Vec<Offset>,
) -> Result<Vec<Remnant>, Error> {
    let (mut remnants, mut gone): (Vec<Remnant>, _) = (Vec::new(), Vec::new());
    for name in names {
        if remnants.last().is_some_and(|before| name < before.next) {
            gone.push(remnant_path(dir, name));
        } else {
            remnants.push(Reader::open(files, dir, name, bus)?.remnant);
        }
    }
    // The unsealed segment is never let go.
    let sealed = bases.len().saturating_sub(1);
    let held = |base: Offset| remnants.iter().any(|r| (r.first..r.next).contains(&base));
    let left = bases.iter().take(sealed).copied().filter(|base| held(*base)).count();
    gone.extend(bases.drain(..left).map(|base| segment_path(dir, base)));
    if !gone.is_empty() {
        // The names of the remnants must be durable before what they stand for goes.
        files.sync_dir(dir).map_err(|e| unusable(dir, "sync the folder of the bus", &e))?;
        for path in gone {
            let side = path.with_extension("idx");
            let cannot = |e| unusable(&path, "remove what a remnant stands for", &e);
            match files.remove(&side) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
                _ => files.remove(&path).map_err(cannot)?,
            }
        }
    }
    Ok(remnants)
}

fn read_mark(file: &dyn File) -> io::Result<Option<Mark>> {
    let mut b = [0; MARK_BYTES];
    let got = read_full_at(file, &mut b, 0)?;
    let sound = got == MARK_BYTES && b.starts_with(MARK_MAGIC) && u32_at(&b, 8) == MARK_VERSION;
    let sound = sound && u32_at(&b, 12) == crc32c::crc32c(b.get(16..).unwrap_or_default());
    Ok(sound.then(|| Mark { base: Offset(u64_at(&b, 16)), seed: u64_at(&b, 24), end: u64_at(&b, 32) }))
}

/// Leaves the mark of a clean stop, durable.
pub(super) fn write_mark(files: &dyn Files, dir: &Path, head: &Head, end: u64) -> io::Result<()> {
    let mut b = [0; MARK_BYTES];
    put(&mut b, 0, MARK_MAGIC);
    put(&mut b, 8, &MARK_VERSION.to_le_bytes());
    put(&mut b, 16, &head.base.0.to_le_bytes());
    put(&mut b, 24, &head.seed.to_le_bytes());
    put(&mut b, 32, &end.to_le_bytes());
    let crc = crc32c::crc32c(b.get(16..).unwrap_or_default());
    put(&mut b, 12, &crc.to_le_bytes());
    let passing = dir.join("clean.new");
    let file = files.create(&passing)?;
    write_all_at(&*file, &b, 0).map_err(|(_, e)| e)?;
    file.sync_data()?;
    files.rename(&passing, &dir.join(MARK))?;
    files.sync_dir(dir)
}

type Opened = (PathBuf, Head, Arc<dyn File>);

fn open_segment(files: &dyn Files, dir: &Path, base: Offset, bus: &BusName) -> Result<Opened, Error> {
    let path = segment_path(dir, base);
    let file = files.open(&path).map_err(|e| unusable(&path, "open the segment", &e))?;
    let head = Head::read(&*file, &path)?;
    if head.bus != bus.as_str() || head.base != base {
        let what = format!("the file says that it is segment {} of bus `{}`", head.base, head.bus);
        return Err(damaged(&path, 0..HEAD_BYTES, None, &what));
    }
    Ok((path, head, file))
}

/// Each segment names the one before it, and the mark names the last.
fn check_chain(dir: &Path, heads: &[Opened], mark: Option<Mark>) -> Result<(), Error> {
    for ((_, before, _), (path, head, _)) in heads.iter().zip(heads.iter().skip(1)) {
        if head.before.map(|(base, _)| base) != Some(before.base) {
            let missing = head.before.map_or(Offset(0), |(base, _)| base);
            let missing = segment_path(dir, missing);
            let what = format!("a segment is missing: {} names {} before it", path.display(), missing.display());
            return Err(damaged(&missing, 0..0, None, &what));
        }
    }
    let last = heads.last().map_or(Offset(0), |(_, head, _)| head.base);
    match mark {
        Some(mark) if mark.base > last => {
            let missing = segment_path(dir, mark.base);
            Err(damaged(&missing, 0..mark.end, None, "the segment is missing, though the last stop was clean"))
        }
        _ => Ok(()),
    }
}

fn open_sealed(files: &dyn Files, path: &Path, head: &Head, file: &dyn File, end: u64) -> Result<Summary, Error> {
    let length = file.len().map_err(|e| unusable(path, "look at the segment", &e))?;
    if length < end {
        return Err(damaged(path, length..end, None, "the file is cut off, though acknowledged events were here"));
    }
    if length > end {
        // What was reserved and not used: a process that died at the seal did not give it back.
        file.set_len(end).map_err(|e| unusable(path, "cut off the reserved end of the segment", &e))?;
    }
    match Side::open(files, &path.with_extension("idx"), head.base, head.seed, end) {
        Some(side) => Ok(side.summary),
        None => {
            let (summary, found) = survey(path, head, file, end)?;
            let side = path.with_extension("idx");
            side::write(files, &side, &summary, &found.index, &found.keys)
                .map_err(|e| unusable(&side, "write the side file", &e))?;
            Ok(summary)
        }
    }
}

/// Reads a sealed segment whole, for what its side file holds.
pub(super) fn survey(path: &Path, head: &Head, file: &dyn File, end: u64) -> Result<(Summary, Scan), Error> {
    let found = scan(file, head, end, &mut |_, _| Ok(())).map_err(|e| unusable(path, "read the segment", &e))?;
    if found.end != end {
        return Err(damage(path, head, file, &found, end, end)?);
    }
    Ok((Summary::new(head, &found), found))
}

/// Names the damage behind the last valid block: up to the next valid one, or to `proven`.
fn damage(path: &Path, head: &Head, file: &dyn File, found: &Scan, proven: u64, limit: u64) -> Result<Error, Error> {
    let witness = find_witness(file, head, found.end, limit).map_err(|e| unusable(path, "read the segment", &e))?;
    let what = "acknowledged events are damaged here: a checksum does not hold";
    Ok(match witness {
        Some(block) => {
            let offsets = (found.next, Offset(block.first.0.saturating_sub(1)));
            damaged(path, found.end..block.at, Some(offsets), what)
        }
        None => damaged(path, found.end..proven, None, what),
    })
}

fn open_unsealed(
    files: &dyn Files,
    dir: &Path,
    (path, head, file): Opened,
    mark: Option<Mark>,
    options: &Options,
) -> Result<Unsealed, Error> {
    let failed = |e| unusable(&path, "read the segment", &e);
    let length = file.len().map_err(failed)?;
    let found = scan(&*file, &head, length, &mut |_, _| Ok(())).map_err(failed)?;
    let mark = mark.filter(|m| (m.base, m.seed) == (head.base, head.seed));
    let proven = mark.map_or(head.synced, |m| m.end.max(head.synced));
    if found.end < proven {
        return Err(damage(&path, &head, &*file, &found, proven, length)?);
    }
    if mark.is_some_and(|m| m.end == found.end) {
        return Ok(Unsealed { head, path, file, scan: found, capacity: length });
    }
    if find_witness(&*file, &head, found.end, length).map_err(failed)?.is_some() {
        return Err(damage(&path, &head, &*file, &found, proven, length)?);
    }
    tracing::info!(
        path = %path.display(), bytes = found.end, next_offset = found.next.0,
        "the last stop was not clean: the unsealed segment is written anew"
    );
    rewrite(files, dir, &head, &*file, found, options).map_err(|f| f.at_open(&path))
}

/// Why a segment could not be made.
pub(super) enum Failed {
    NoSpace(String),
    Io(String),
}

impl Failed {
    fn new(doing: &str, path: &Path, e: &io::Error) -> Failed {
        let text = format!("cannot {doing} {}: {e}", path.display());
        if is_no_space(e) { Failed::NoSpace(text) } else { Failed::Io(text) }
    }

    fn at_open(self, path: &Path) -> Error {
        match self {
            Failed::NoSpace(text) => Error::NoSpace(text.into()),
            Failed::Io(text) => Error::Damaged {
                place: path.display().to_string().into(),
                what: format!("{text}; check the disk, and that this user may read and write here").into(),
            },
        }
    }
}

fn draw_seed() -> Result<u64, Failed> {
    getrandom::u64().map_err(|e| Failed::Io(format!("the system gives no random numbers: {e}")))
}

/// The first segment of a log.
fn create(files: &dyn Files, dir: &Path, bus: &BusName, options: &Options) -> Result<Unsealed, Failed> {
    let bus = bus.as_str().into();
    let base = Offset(1);
    let head = Head { base, seed: draw_seed()?, synced: HEAD_BYTES, floor: Timestamp(0), before: None, bus };
    let reserve = options.segment_bytes.max(HEAD_BYTES);
    put_in_place(files, dir, head, reserve, HEAD_BYTES, |_| Ok(None))
}

/// The segment behind one that is full. Its base is the offset after that one's last record, though a
/// gap may follow: whoever has read all of the full segment reads on there, also when that was trimmed.
/// Only `gocoffee recover` asks for a higher `base`.
pub(super) fn create_next(
    files: &dyn Files,
    dir: &Path,
    (before, scan): (&Head, &Scan),
    base: Option<Offset>,
    reserve: u64,
    least: u64,
) -> Result<Unsealed, Failed> {
    let head = Head {
        base: base.unwrap_or(scan.next).max(scan.next),
        seed: draw_seed()?,
        synced: HEAD_BYTES,
        floor: scan.times.1,
        before: Some((before.base, scan.end)),
        bus: before.bus.clone(),
    };
    put_in_place(files, dir, head, reserve, least, |_| Ok(None))
}

fn rewrite(
    files: &dyn Files,
    dir: &Path,
    old: &Head,
    file: &dyn File,
    found: Scan,
    options: &Options,
) -> Result<Unsealed, Failed> {
    let head = Head { seed: draw_seed()?, synced: found.end, ..old.clone() };
    let seed = head.seed;
    let (end, least) = (found.end, found.end);
    let mut found = found;
    put_in_place(files, dir, head, options.segment_bytes.max(end), least, |new| {
        let (mut out, mut at, mut chain) = (Vec::new(), HEAD_BYTES, 0);
        let copied = scan(file, old, end, &mut |block, bytes| {
            let place = Place { seed, at: block.at, first: block.first, time: block.time, synced: block.synced, chain };
            chain = encode_copy(place, block.count, bytes.get(BLOCK_HEAD..).unwrap_or_default(), &mut out).crc;
            if out.len() >= COPY_BYTES {
                write_all_at(new, &out, at).map_err(|(_, e)| e)?;
                at = block.end();
                out.clear();
            }
            Ok(())
        })?;
        write_all_at(new, &out, at).map_err(|(_, e)| e)?;
        if copied.end != end {
            return Err(io::Error::other("the segment changed while it was read; is another router at work?"));
        }
        found.chain = chain;
        Ok(Some(found))
    })
}

/// Puts a segment with this head, under a new seed, in the place of the one that is there, cut to what
/// `fill` writes; `fill` is given the seed, and says where the blocks end.
pub(super) fn replace(
    files: &dyn Files,
    dir: &Path,
    head: &Head,
    reserve: u64,
    fill: impl FnOnce(&dyn File, u64) -> io::Result<u64>,
) -> io::Result<u64> {
    let path = segment_path(dir, head.base);
    let passing = path.with_extension("log.new");
    let file = files.create(&passing)?;
    file.allocate(reserve)?;
    let seed = getrandom::u64().map_err(|e| io::Error::other(format!("the system gives no random numbers: {e}")))?;
    let end = fill(&*file, seed)?;
    file.set_len(end)?;
    write_all_at(&*file, &Head { seed, synced: end, ..head.clone() }.encode(), 0).map_err(|(_, e)| e)?;
    file.sync_data()?;
    files.rename(&passing, &path)?;
    files.sync_dir(dir)?;
    Ok(end)
}

/// Makes a segment under a passing name, fills and syncs it, gives it its own name and makes that
/// durable. Reserves `reserve` bytes, or `least` when there is no space for so many.
fn put_in_place(
    files: &dyn Files,
    dir: &Path,
    head: Head,
    reserve: u64,
    least: u64,
    fill: impl FnOnce(&dyn File) -> io::Result<Option<Scan>>,
) -> Result<Unsealed, Failed> {
    let path = segment_path(dir, head.base);
    let passing = path.with_extension("log.new");
    let attempt = || {
        let file = files.create(&passing)?;
        let capacity = match file.allocate(reserve) {
            Err(e) if is_no_space(&e) && least < reserve => file.allocate(least).map(|()| least)?,
            other => other.map(|()| reserve)?,
        };
        write_all_at(&*file, &head.encode(), 0).map_err(|(_, e)| e)?;
        let scan = fill(&*file)?;
        file.sync_data()?;
        files.rename(&passing, &path)?;
        Ok((file, capacity, scan))
    };
    let (file, capacity, scan) = attempt().map_err(|e| {
        // What is left of it takes space, and is removed at the next open at the latest.
        files.remove(&passing).unwrap_or_default();
        Failed::new("make the segment", &path, &e)
    })?;
    // From here on the name may be durable or not: only a restart finds out.
    files.sync_dir(dir).map_err(|e| Failed::Io(format!("cannot sync the folder {}: {e}", dir.display())))?;
    let scan = scan.unwrap_or_else(|| Scan::empty(&head));
    Ok(Unsealed { head, path, file, scan, capacity })
}
