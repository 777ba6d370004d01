//! `gocoffee archive verify`: every checksum of a data folder whose router is stopped.

use std::path::PathBuf;

use router_store::verify::{self, Bus, Finding, Verified};
use serde_json::{Value, json};

use super::super::{Done, Exit, Failure, Output, print, print_json, table::count};

/// Reads a data folder whose router is stopped, whole, and names everything in it that is damaged.
///
/// Every event of every bus against its checksum, remnants and their tables, side files against their segments, what
/// is owed and dead-lettered against the events that it needs. It changes nothing that is kept. A router that runs
/// checks what it reads all the same: `gocoffee archive export` reads every event of a bus once.
///
/// With --from-store it reads an archive in object storage instead, every copy whole, without any router.
///
/// Exit code 0 when nothing is wrong, 1 when something is, 69 when a router works on the folder or it cannot be read.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee archive verify --data /var/lib/gocoffee\n  gocoffee archive verify --data ./backup --output json | jq '.findings[].file'\n  gocoffee archive verify --from-store s3://coffee-archive/router-1"
)]
pub struct Args {
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    #[command(flatten)]
    store: super::place::From,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub async fn run(args: Args) -> Done {
    if let Some(shelf) = args.store.open().await? {
        return super::place::verify(&shelf, args.output).await;
    }
    let seen = verify::verify(&args.data).await;
    let seen = seen.map_err(|e| Failure::new(Exit::Unavailable, e.code(), e.to_string()))?;
    match args.output {
        Output::Json => print_json(&report(&seen))?,
        Output::Table => print(&shown(&seen))?,
    }
    Ok(if seen.findings.is_empty() { Exit::Ok } else { Exit::No })
}

fn report(seen: &Verified) -> Value {
    let bus =
        |b: &Bus| json!({ "name": b.name.as_str(), "first": b.first.0, "tail": b.tail.0, "side_files": b.side_files });
    let finding = |f: &Finding| {
        let damage = f.damage.as_ref();
        json!({
            "bus": f.bus.as_ref().map(|bus| bus.as_str()),
            "file": damage.map(|d| d.path.display().to_string()),
            "bytes": damage.map(|d| [d.bytes.start, d.bytes.end]),
            "offsets": damage.and_then(|d| d.offsets).map(|(first, last)| [first.0, last.0]),
            "what": f.what,
            "mend": f.mend,
        })
    };
    json!({
        "buses": seen.buses.iter().map(bus).collect::<Vec<_>>(),
        "dead_letters": seen.dead_letters,
        "findings": seen.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn shown(seen: &Verified) -> String {
    let mut out = String::new();
    for Bus { name, first, tail, side_files } in &seen.buses {
        out += &format!("bus {name}: offsets {first} to below {tail}, {} side files\n", count(*side_files));
    }
    out += &format!("dead letters: {}\n", count(seen.dead_letters));
    out += &match seen.findings.len() {
        0 => "nothing is wrong\n".to_owned(),
        1 => "1 finding:\n".to_owned(),
        n => format!("{n} findings:\n"),
    };
    for Finding { bus, what, damage, mend } in &seen.findings {
        let bus = bus.as_ref().map(|bus| format!("bus {bus}: ")).unwrap_or_default();
        let place = damage.as_ref().map(|d| {
            let offsets = d.offsets.map(|(first, last)| format!(", offsets {first} to {last}")).unwrap_or_default();
            format!("{} bytes {}..{}{offsets}: ", d.path.display(), d.bytes.start, d.bytes.end)
        });
        out += &format!("{bus}{}{what} ({mend})\n", place.unwrap_or_default());
    }
    out
}
