//! `gocoffee archive`: what is kept of each bus: listed, exported, verified.

use super::{
    Admin, Done, Exit, Output,
    api::Api,
    print, print_json,
    table::{count, table},
};
use crate::admin::{
    Operation,
    archive::{Buses, Kind, Stretch},
};

/// Events to a file.
mod export;

/// A data folder, looked at whole.
mod verify;

/// An archive in object storage, without a router.
mod place;

/// Lists, exports and verifies what is kept of each bus.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee archive ls\n  gocoffee archive export --from 2h -o orders.ndjson\n  gocoffee archive verify --data /var/lib/gocoffee\n  gocoffee archive verify --from-store s3://coffee-archive/router-1"
)]
pub enum Command {
    /// Lists the stretches that each bus's log is made of, and what holds them.
    #[command(
        after_help = "Examples:\n  gocoffee archive ls\n  gocoffee archive ls --bus default\n  gocoffee archive ls --output json | jq '.buses[].tail'\n  gocoffee archive ls --from-store s3://coffee-archive/router-1"
    )]
    Ls(Ls),
    Export(export::Args),
    Verify(verify::Args),
}

/// Lists stretches.
#[derive(Debug, clap::Args)]
pub struct Ls {
    /// Only of this bus.
    #[arg(long, value_name = "NAME")]
    bus: Option<String>,
    #[command(flatten)]
    store: place::From,
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(command: Command) -> Done {
    match command {
        Command::Ls(args) => ls(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Verify(args) => verify::run(args).await,
    }
}

async fn ls(args: Ls) -> Done {
    if let Some(shelf) = args.store.open().await? {
        return place::ls(&shelf, args.bus.as_deref(), args.admin.output);
    }
    let api = Api::new(&args.admin)?;
    let mut buses: Buses = api.get(Operation::Archive).await?;
    buses.buses.retain(|bus| args.bus.as_ref().is_none_or(|name| *name == bus.name));
    match args.admin.output {
        Output::Json => print_json(&buses)?,
        Output::Table => print(&listed(&buses))?,
    }
    Ok(if buses.buses.is_empty() { Exit::No } else { Exit::Ok })
}

fn listed(buses: &Buses) -> String {
    let mut rows = Vec::new();
    for bus in &buses.buses {
        for stretch in &bus.stretches {
            let kind = match stretch.kind {
                Kind::Remnant => "remnant",
                Kind::Sealed => "sealed",
                Kind::Unsealed => "unsealed",
                Kind::Copied => "copied",
            };
            let time = |t: &Option<String>| t.as_deref().unwrap_or("-").to_owned();
            let offsets = format!("{} to below {}", stretch.first, stretch.next);
            let (oldest, newest, bytes) = (time(&stretch.oldest), time(&stretch.newest), count(stretch.bytes));
            rows.push(vec![bus.name.clone(), kind.into(), offsets, oldest, newest, bytes, held(stretch)]);
        }
    }
    if rows.is_empty() {
        return "no such bus\n".into();
    }
    table(&["BUS", "KIND", "OFFSETS", "OLDEST", "NEWEST", "#BYTES", "HELD BY"], &rows)
}

/// What would be missed if it were gone.
fn held(stretch: &Stretch) -> String {
    let needed = (stretch.needed > 0).then(|| format!("{} owed or dead-lettered", count(stretch.needed)));
    let matched = (!stretch.matched).then(|| "not matched yet".to_owned());
    let replays = stretch.replays.iter().map(|id| format!("replay {id}"));
    let kept = match stretch.kind {
        Kind::Remnant => None,
        Kind::Sealed | Kind::Unsealed => Some("retention".to_owned()),
        Kind::Copied => Some("the archive".to_owned()),
    };
    needed.into_iter().chain(matched).chain(replays).chain(kept).collect::<Vec<_>>().join(", ")
}
