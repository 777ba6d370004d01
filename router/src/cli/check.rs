//! `gocoffee check FILE`: every finding of a configuration at once; by choice, whether its targets can be
//! reached, and what it would do to what is owed.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use router_core::id::TargetName;

use super::{Done, Exit, Failure, Output, against, print, print_json};
use crate::{
    around::Nothing,
    change::Change,
    codes,
    config::{self, Config, Loaded, report::Finding},
    connect::{self, Connected},
};

/// How long one target may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Targets that are looked at at a time.
const CONNECT_AT_ONCE: usize = 16;

/// Finds everything that is wrong with a configuration, at once and offline.
///
/// Exit code 0 when there is no error, 1 when there is. Warnings alone leave it 0, unless they are denied.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee check gocoffee.yaml\n  gocoffee check gocoffee.yaml --output json | jq '.findings[].message'\n  gocoffee check gocoffee.yaml --deny-warnings\n  gocoffee check gocoffee.yaml --connect\n  gocoffee check gocoffee.yaml --against ./data"
)]
pub struct Args {
    /// The configuration.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take warnings for errors.
    #[arg(long)]
    deny_warnings: bool,
    /// Open a connection to each target, with TLS where it has it, and ask clouds whether the router may; no event is
    /// sent or taken. A source or a target that cannot be reached is an error.
    #[arg(long)]
    connect: bool,
    /// Say what the change to this configuration would do to what is owed in this data folder; nothing is
    /// changed. A router that works on the folder is asked over its admin API. A removed route that still owes
    /// deliveries is a warning.
    #[arg(long, value_name = "DATA")]
    against: Option<PathBuf>,
    /// The admin address of the router that works on that folder. Default: the one in FILE.
    #[arg(long, value_name = "URL", requires = "against")]
    admin: Option<String>,
    /// How to write the findings.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub async fn run(args: Args) -> Done {
    let mut loaded = config::load_file(&args.file).map_err(|e| Failure::new(Exit::No, codes::CONFIG_UNREADABLE, e))?;
    let mut changes = None;
    // With an error there is no configuration to go on with.
    if let Some(config) = loaded.config.take() {
        if args.connect {
            connect(&config, &mut loaded).await?;
        }
        if let Some(data) = &args.against {
            let found = against::changes(&config, data, args.admin.as_deref()).await?;
            for change in found.iter().filter(|change| change.orphans()) {
                let finding = Finding::warning(loaded.place(&["routes"]), change.to_string()).code(codes::ORPHANS);
                let help = "keep the route until it owes nothing, or let an operator end what it owes";
                loaded.report.add(finding.help(help));
            }
            changes = Some(found);
        }
    }
    let report = &loaded.report;
    match args.output {
        Output::Json => {
            let mut json = report.to_json();
            if let (Some(changes), Some(members)) = (&changes, json.as_object_mut()) {
                members.insert("changes".into(), serde_json::json!(changes));
            }
            print_json(&json)?;
        }
        Output::Table => {
            let changes = changes.as_deref().map(text).unwrap_or_default();
            print(&format!("{changes}{}\n", report.to_text(std::io::stdout().is_terminal())))?;
        }
    }
    let denied = args.deny_warnings && report.warnings() > 0;
    Ok(if report.errors() == 0 && !denied { Exit::Ok } else { Exit::No })
}

fn text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no route changes\n\n".into();
    }
    let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
    format!("{lines}\n")
}

/// Looks whether each source that pulls, and each target, can be reached.
async fn connect(config: &Config, loaded: &mut Loaded) -> Result<(), Failure> {
    let failed = |e: connect::Error| Failure::new(Exit::No, e.code(), e.to_string());
    let clients = connect::Clients::default();
    for (name, source) in &config.sources {
        if let Connected::Pull { source: pulls, .. } = connect::source(name, source, &[], &clients).map_err(failed)? {
            let reached = tokio::time::timeout(CONNECT_TIMEOUT, pulls.check()).await;
            let why = match reached {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why.to_string(),
                Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            };
            let place = loaded.place(&[&["sources", name.as_str()][..], source.bus().0].concat());
            let finding = Finding::error(place, format!("nothing can be pulled by the source `{name}`: {why}"));
            let help = "its events would wait where they are; correct the address, or grant what is missing";
            loaded.report.add(finding.code(codes::SOURCE_UNREACHABLE).help(help));
        }
    }
    archive(config, loaded).await.map_err(failed)?;
    let targets = connect::targets(config).map_err(failed)?;
    for some in targets.chunks(CONNECT_AT_ONCE) {
        let mut asked = tokio::task::JoinSet::new();
        for target in some {
            let target = target.clone();
            asked.spawn(async move {
                let reached = tokio::time::timeout(CONNECT_TIMEOUT, target.check()).await;
                let why = match reached {
                    Ok(Ok(())) => None,
                    Ok(Err(why)) => Some(why.to_string()),
                    Err(_) => Some(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())),
                };
                (target.name().clone(), why)
            });
        }
        for (name, why) in asked.join_all().await {
            if let Some(why) = why {
                unreachable(config, loaded, &name, &why);
            }
        }
    }
    Ok(())
}

/// Looks whether the archive can be listed, written and read, takes conditional writes, and gives back what it took.
async fn archive(config: &Config, loaded: &mut Loaded) -> Result<(), connect::Error> {
    let Some(archiving) = connect::archiving(config, &Nothing)? else { return Ok(()) };
    let probed = tokio::time::timeout(CONNECT_TIMEOUT, archiving.shelf.probe()).await;
    let why = match probed {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) => why.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
    };
    let finding = Finding::error(loaded.place(&["archive", "to"]), format!("the archive cannot be used: {why}"));
    let help =
        "nothing would be copied, and what has no copy stays; grant to list, read, write and delete below its prefix";
    loaded.report.add(finding.code(router_core::codes::ARCHIVE_REFUSED).help(help));
    Ok(())
}

fn unreachable(config: &Config, loaded: &mut Loaded, name: &TargetName, why: &str) {
    let (kind, key) = config.targets.get(name).map_or(("", ""), |target| (target.kind(), target.address_key()));
    let place = loaded.place(&["targets", name.as_str(), kind, key]);
    let finding = Finding::error(place, format!("the target `{name}` cannot be reached: {why}"));
    let help = "deliveries to it would wait; correct the address, or make the target listen";
    loaded.report.add(finding.code(codes::TARGET_UNREACHABLE).help(help));
}
