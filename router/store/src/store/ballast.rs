//! The ballast: a file of real blocks that lies in the data folder and holds nothing. When no space is
//! left it is given back, so that there is room to seal, to write remnants and to go on with the ledger,
//! which is what makes room; then it is laid again.

use std::{fs, io, path::Path};

use router_core::store::Error;

use super::usage::BALLAST;
use crate::disk::files::{Files, RealFiles};

fn cannot(path: &Path, doing: &str, e: &io::Error) -> Error {
    let what = format!("cannot {doing} the ballast: {e}; check the disk, and that this user may write here");
    Error::Damaged { place: path.display().to_string().into(), what: what.into() }
}

/// Lays the ballast, or gives it back. Whether this changed something.
pub(super) fn set(dir: &Path, bytes: u64, laid: bool) -> Result<bool, Error> {
    let path = dir.join(BALLAST);
    if !laid {
        return match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(cannot(&path, "give back", &e)),
        };
    }
    if bytes == 0 || path.exists() {
        return Ok(false);
    }
    // Under another name until it is whole, so that half of one is never taken for all of it.
    let passing = dir.join("ballast.new");
    let lay = || {
        RealFiles.create(&passing)?.allocate(bytes)?;
        fs::rename(&passing, &path)
    };
    match lay() {
        Ok(()) => Ok(true),
        Err(e) => {
            // What is left of it is made anew at the next try.
            fs::remove_file(&passing).unwrap_or_default();
            let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if full { Ok(false) } else { Err(cannot(&path, "lay", &e)) }
        }
    }
}
