//! `gocoffee recover`: looks at a data folder that does not open, and mends it as it is told.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

use clap::ValueEnum;
use router_store::{
    recover::{self, Finding, Mend, Mending, Recovery},
    store::Error,
};

use super::{Done, Exit, Failure, print};
use crate::codes;

/// Looks at a data folder whose router is stopped, and mends what it is told to.
///
/// Without a flag that mends it changes nothing that is kept: it reads every event once, and names every damaged
/// place with its bytes and offsets, a ledger and a log that are not of one moment with both figures, deliveries that
/// are owed of events that nothing holds, and a missing ledger; each with the flag that mends it. Damaged files are
/// copied to DATA/damaged first. Make a copy of the data folder before you mend it.
///
/// Exit code 0 when nothing is wrong any more, 1 when something is or there was no consent, 69 when a router works on
/// the folder or it cannot be read, 74 when it cannot be written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee recover --data /var/lib/gocoffee\n  gocoffee recover --data ./data --skip-damaged --clamp\n  gocoffee recover --data ./data --from latest --yes"
)]
pub struct Args {
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Go on without damaged events: the rest of their files is kept, and deliveries owed of them become dead letters
    /// with the reason record-damaged.
    #[arg(long)]
    skip_damaged: bool,
    /// Bring a ledger and a log that are not of one moment together: no offset is given twice, and deliveries of
    /// events that nothing holds become dead letters. Deliveries of new events are of a new epoch.
    #[arg(long)]
    clamp: bool,
    /// Begin a new epoch: new events get delivery ids that none had before, also after a restore from a backup.
    #[arg(long)]
    new_epoch: bool,
    /// Make a ledger for events that have none: deliver everything that is kept again, or only what comes.
    #[arg(long, value_name = "WHERE", value_enum)]
    from: Option<From>,
    /// Do not ask before anything is changed.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// The first event that is kept.
    Earliest,
    /// The next event.
    Latest,
}

pub async fn run(args: Args) -> Done {
    let mend = Mend {
        skip_damaged: args.skip_damaged,
        clamp: args.clamp,
        new_epoch: args.new_epoch,
        from: args.from.map(|from| match from {
            From::Earliest => recover::From::Earliest,
            From::Latest => recover::From::Latest,
        }),
    };
    let seen = Recovery::look(&args.data).await.map_err(|e| failure(&e, Exit::Unavailable))?;
    print(&shown(&seen))?;
    let asked = mend.skip_damaged || mend.clamp || mend.new_epoch || mend.from.is_some();
    if !asked {
        return Ok(if seen.findings.is_empty() { Exit::Ok } else { Exit::No });
    }
    if !args.yes && !consent() {
        let message = "nothing was changed: say --yes, or answer yes on a terminal";
        return Err(Failure::new(Exit::No, codes::ARGUMENT, message));
    }
    let done = seen.mend(mend).await.map_err(|e| failure(&e, Exit::Store))?;
    let done = if done.is_empty() { "nothing was there to mend\n".into() } else { lines(&done) };
    print(&done)?;
    let left = Recovery::look(&args.data).await.map_err(|e| failure(&e, Exit::Unavailable))?;
    print(&format!("\nnow:\n{}", shown(&left)))?;
    Ok(if left.findings.is_empty() { Exit::Ok } else { Exit::No })
}

fn failure(e: &Error, exit: Exit) -> Failure {
    Failure::new(exit, e.code(), e.to_string())
}

fn lines(of: &[String]) -> String {
    of.iter().map(|line| format!("{line}\n")).collect()
}

fn shown(seen: &Recovery) -> String {
    let finding = |Finding { bus, what, mending, .. }: &Finding| {
        let bus = bus.as_ref().map(|bus| format!("bus {bus}: ")).unwrap_or_default();
        let mending = match mending {
            Mending::Flag(flag) => format!("mended by {flag}"),
            other => other.to_string(),
        };
        format!("{bus}{what} ({mending})")
    };
    let found = match seen.findings.len() {
        0 => "nothing is wrong\n".into(),
        1 => "1 finding:\n".into(),
        n => format!("{n} findings:\n"),
    };
    lines(&seen.buses_shown) + &found + &lines(&seen.findings.iter().map(finding).collect::<Vec<_>>())
}

/// Asks on the terminal; without one there is no consent.
fn consent() -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    eprint!("mend the data folder as asked? [yes/no] ");
    let mut answer = String::new();
    let asked = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    asked.is_ok() && answer.trim() == "yes"
}
