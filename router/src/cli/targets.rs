//! `gocoffee targets`: where events go, and whether they could.

use super::{
    Admin, Done, Exit, Output,
    api::Api,
    print, print_json, status,
    table::{count, table},
};
use crate::admin::{
    Operation,
    view::{OneTarget, Probed, Targets},
};

/// Shows where events go, and looks whether they could.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  gocoffee targets ls\n  gocoffee targets probe order-processor")]
pub enum Command {
    /// Lists targets: breaker, requests under way, rate.
    #[command(after_help = "Examples:\n  gocoffee targets ls\n  gocoffee targets ls --output json")]
    Ls(Ls),
    /// Looks whether a target can be reached; no event is sent for it.
    #[command(
        after_help = "Where the target is reached and its breaker is open, the oldest delivery is tried now instead of later: it decides\nwhether the breaker closes.\n\nExit codes: 0 reached; 1 not reached, or no such target.\n\nExamples:\n  gocoffee targets probe order-processor"
    )]
    Probe(Probe),
}

/// Lists targets.
#[derive(Debug, clap::Args)]
pub struct Ls {
    #[command(flatten)]
    admin: Admin,
}

/// Looks at one target.
#[derive(Debug, clap::Args)]
pub struct Probe {
    /// The target.
    #[arg(value_name = "NAME")]
    target: String,
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(command: Command) -> Done {
    match command {
        Command::Ls(Ls { admin }) => ls(&admin).await,
        Command::Probe(args) => probe(args).await,
    }
}

async fn ls(admin: &Admin) -> Done {
    let targets: Targets = Api::new(admin)?.get(Operation::Targets).await?;
    match admin.output {
        Output::Json => print_json(&targets)?,
        Output::Table => {
            let rows = targets.targets.iter().map(|t| {
                let (name, breaker) = (t.name.to_string(), status::breaker(t.breaker));
                vec![name, breaker, count(t.in_flight), count(t.delivered), status::rate(t)]
            });
            print(&table(&["TARGET", "BREAKER", "#IN FLIGHT", "#DELIVERED", "RATE"], &rows.collect::<Vec<_>>()))?;
        }
    }
    Ok(Exit::Ok)
}

async fn probe(Probe { target, admin }: Probe) -> Done {
    let probed: Probed = Api::new(&admin)?.post(Operation::ProbeTarget, &OneTarget { target }).await?;
    match admin.output {
        Output::Json => print_json(&probed)?,
        Output::Table => {
            let text = match (&probed.why, probed.hastened) {
                (Some(why), _) => format!("not reached: {}: {why}\n", probed.target),
                (None, true) => format!("reached: {}; the oldest delivery is tried now\n", probed.target),
                (None, false) => format!("reached: {}\n", probed.target),
            };
            print(&text)?;
        }
    }
    Ok(if probed.reached { Exit::Ok } else { Exit::No })
}
