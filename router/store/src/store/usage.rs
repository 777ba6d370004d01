//! What a data folder takes, by the blocks that the file system gave to its files: a reserved segment
//! counts whole, a hole does not count. The journals of the ledger are left out: they grow to
//! [`JOURNALS_BYTES_MAX`] however little is owed and nothing that gives way makes them smaller, so that a
//! budget below that would be full for good.
//!
//! [`JOURNALS_BYTES_MAX`]: crate::ledger::JOURNALS_BYTES_MAX

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use router_core::{
    id::BusName,
    store::{Error, Usage},
};

/// The unit of `st_blocks`, whatever the file system's blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// The ballast's name in the data folder.
pub(super) const BALLAST: &str = "ballast";

/// Bytes that may be used, of the file system that `dir` is on.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let free = rustix::fs::statvfs(dir)?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

/// Measures the data folder. A file that goes away meanwhile is not counted.
pub(super) fn measure(dir: &Path) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    let measured = sort(dir, &mut usage).and_then(|()| free_bytes(dir));
    usage.free = Some(measured.map_err(|e| unreadable(dir, &e))?);
    usage.logs.sort_unstable();
    Ok(usage)
}

fn unreadable(dir: &Path, e: &io::Error) -> Error {
    let what = format!("cannot be measured: {e}; check the disk, and that this user may read here");
    Error::Damaged { place: dir.display().to_string().into(), what: what.into() }
}

fn sort(dir: &Path, usage: &mut Usage) -> io::Result<()> {
    for (path, name, bytes) in entries(dir)? {
        match (name.as_str(), bytes) {
            ("ledger" | "ledger.new", None) => usage.ledger += below(&path, &is_journal)?,
            ("buses", None) => {
                for (path, bus, bytes) in entries(&path)? {
                    match BusName::new(&bus).ok().filter(|_| bytes.is_none()) {
                        Some(bus) => log(&path, bus, usage)?,
                        None => usage.rest += bytes.map_or_else(|| below(&path, &|_| false), Ok)?,
                    }
                }
            }
            (BALLAST, Some(bytes)) => usage.ballast += bytes,
            (_, bytes) => usage.rest += bytes.map_or_else(|| below(&path, &|_| false), Ok)?,
        }
    }
    Ok(())
}

fn log(dir: &Path, bus: BusName, usage: &mut Usage) -> io::Result<()> {
    let mut bytes = 0;
    for (path, name, own) in entries(dir)? {
        let own = own.map_or_else(|| below(&path, &|_| false), Ok)?;
        *(if name.ends_with(".rem") { &mut usage.remnants } else { &mut bytes }) += own;
    }
    usage.logs.push((bus, bytes));
    Ok(())
}

/// A journal of fjall.
fn is_journal(name: &str) -> bool {
    name.ends_with(".jnl")
}

/// All files below a folder but those whose names are passed over.
fn below(dir: &Path, passed_over: &impl Fn(&str) -> bool) -> io::Result<u64> {
    let mut sum = 0;
    for (path, name, bytes) in entries(dir)? {
        sum += match bytes {
            Some(_) if passed_over(&name) => 0,
            Some(bytes) => bytes,
            None => below(&path, passed_over)?,
        };
    }
    Ok(sum)
}

type Entry = (std::path::PathBuf, String, Option<u64>);

/// What is in a folder: path, name, and bytes, `None` for a folder.
fn entries(dir: &Path) -> io::Result<Vec<Entry>> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let all = match fs::read_dir(dir) {
        Err(e) if gone(&e) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in all {
        let entry = entry?;
        match fs::symlink_metadata(entry.path()) {
            Err(e) if gone(&e) => {}
            Err(e) => return Err(e),
            Ok(meta) => {
                let bytes = (!meta.is_dir()).then(|| meta.blocks().saturating_mul(STAT_BLOCK_BYTES));
                found.push((entry.path(), entry.file_name().to_string_lossy().into_owned(), bytes));
            }
        }
    }
    Ok(found)
}
