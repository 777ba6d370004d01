//! `gocoffee archive verify`: every checksum of a data folder whose router is stopped. It changes nothing that is
//! kept; opening the ledger may tidy its own journal, as every start does.

use std::path::Path;

use router_core::{
    id::{BusName, Offset},
    store::{Error as StoreError, Ledger, Page, Selection},
};

use crate::{
    disk::{Damage, files::RealFiles, inspect_sides},
    recover::{Mending, Recovery, blocking, open_ledger},
    store::Error,
};

/// Dead letters that are read at a time.
const LETTERS_PAGE: usize = 1_000;
/// What mends a side file.
const SIDE_FILE: &str = "the next start makes it again";

/// What a look at everything found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Each bus that has a log.
    pub buses: Vec<Bus>,
    /// Dead letters that were read.
    pub dead_letters: u64,
    /// Everything that is wrong, worst first.
    pub findings: Vec<Finding>,
}

/// What was looked at of a bus.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Its name.
    pub name: BusName,
    /// The first offset that is kept.
    pub first: Offset,
    /// The offset that the next record will have at least.
    pub tail: Offset,
    /// Side files.
    pub side_files: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The bus; `None` for the whole folder.
    pub bus: Option<BusName>,
    /// What is wrong.
    pub what: String,
    /// The file, its bytes and offsets, where it is one.
    pub damage: Option<Damage>,
    /// What mends it.
    pub mend: String,
}

/// Reads every event, every side file and everything that is owed, once.
///
/// # Errors
/// [`Error`]: a router works on the folder, or it cannot be read at all.
pub async fn verify(dir: &Path) -> Result<Verified, Error> {
    // Its lock is held until the end.
    let recovery = Recovery::look(dir).await?;
    let mut verified = Verified::default();
    for finding in &recovery.findings {
        let what = finding.damage.as_ref().map_or_else(|| finding.what.clone(), |damage| damage.what.clone());
        let mend = finding.mending.to_string();
        verified.findings.push(Finding { bus: finding.bus.clone(), what, damage: finding.damage.clone(), mend });
    }
    for (bus, seen) in recovery.buses() {
        let log = recovery.log_dir(bus);
        let (side_files, damages) = blocking(move || inspect_sides(&RealFiles, &log)).await?;
        verified.buses.push(Bus { name: bus.clone(), first: seen.first, tail: seen.tail, side_files });
        verified.findings.extend(damages.into_iter().map(|damage| Finding {
            bus: Some(bus.clone()),
            what: damage.what.clone(),
            damage: Some(damage),
            mend: SIDE_FILE.into(),
        }));
    }
    if recovery.has_ledger() {
        match letters(dir).await {
            Ok(count) => verified.dead_letters = count,
            // Said already, where the look did not get through either.
            Err(e) if verified.findings.iter().any(|f| f.what == e.to_string()) => {}
            Err(e) => {
                let mend = Mending::Backup.to_string();
                verified.findings.push(Finding { bus: None, what: e.to_string(), damage: None, mend })
            }
        }
    }
    Ok(verified)
}

/// Reads all dead letters; what is owed was read by the look.
async fn letters(dir: &Path) -> Result<u64, StoreError> {
    let ledger = open_ledger(dir).await?;
    let (mut count, mut page) = (0, Page { after: None, count_max: LETTERS_PAGE });
    loop {
        let letters = ledger.dead_letters(&Selection::default(), page).await?;
        let Some(last) = letters.last() else { break };
        page.after = Some(last.id);
        count += u64::try_from(letters.len()).unwrap_or(u64::MAX);
    }
    ledger.close().await?;
    Ok(count)
}
