//! `gocoffee routes`: what goes where, and what is held back.

use super::{
    Admin, Done, Exit, Output,
    api::Api,
    dead_letters::{confirmed, time},
    print, print_json, status,
    table::{count, table},
};
use crate::admin::{
    Operation,
    view::{DropRoute, OneRoute, RouteChanged, Routes, SkipRoute, Skipped},
};

/// Shows what goes where, and holds it back.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee routes ls\n  gocoffee routes pause new-orders\n  gocoffee routes resume new-orders\n  gocoffee routes skip new-orders --to end --dry-run\n  gocoffee routes drop old-orders"
)]
pub enum Command {
    /// Lists routes, with their filters and what they are doing.
    #[command(
        after_help = "Examples:\n  gocoffee routes ls\n  gocoffee routes ls --output json | jq '.routes[].filter'"
    )]
    Ls(Ls),
    /// Delivers nothing more for a route; what it is owed is kept, whatever its age.
    #[command(
        after_help = "It stays paused over a restart. Attempts under way end. Limits of bytes (`backlog.bytes_max`) hold as ever.\n\nExamples:\n  gocoffee routes pause new-orders"
    )]
    Pause(One),
    /// Delivers for a route again, also for one whose target had said that it is gone.
    #[command(
        after_help = "What it owes ages from now on: no delivery ends for the time that it was paused.\n\nExamples:\n  gocoffee routes resume new-orders"
    )]
    Resume(One),
    /// Ends what a route is owed before a place in its bus, for good: no delivery, no dead letter.
    ///
    /// More than one at a time is asked about on a terminal, and needs --yes elsewhere.
    #[command(
        after_help = "Attempts under way end as they end, and it waits for them. Dead letters and replays stay as they are.\n\nExamples:\n  gocoffee routes skip new-orders --to end --dry-run\n  gocoffee routes skip new-orders --to 2h --yes\n  gocoffee routes skip new-orders --to 120000 --bus payments"
    )]
    Skip(Skip),
    /// Ends all that a route owes that is not configured any more, and forgets it.
    ///
    /// More than one delivery is asked about on a terminal, and needs --yes elsewhere.
    #[command(
        after_help = "Its dead letters stay until they are purged. Should it be configured again, it begins anew.\n\nExamples:\n  gocoffee routes drop old-orders --dry-run\n  gocoffee routes drop old-orders --yes"
    )]
    Drop(DropArgs),
}

/// What is skipped.
#[derive(Debug, clap::Args)]
pub struct Skip {
    /// The route.
    #[arg(value_name = "NAME")]
    route: String,
    /// What lies before it ends: `end`, an offset, an age such as `2h`, or a time.
    #[arg(long, value_name = "WHERE", value_parser = to)]
    to: String,
    /// The bus, where it is not the one that the route reads.
    #[arg(long, value_name = "BUS")]
    bus: Option<String>,
    /// Count only.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    admin: Admin,
}

/// What is dropped.
#[derive(Debug, clap::Args)]
pub struct DropArgs {
    /// The route.
    #[arg(value_name = "NAME")]
    route: String,
    /// Count only.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    admin: Admin,
}

/// `end`, or a place that is sent as an offset or a time.
fn to(text: &str) -> Result<String, String> {
    if text == "end" || text.parse::<u64>().is_ok() {
        return Ok(text.into());
    }
    let nothing = |_| {
        format!("`{text}` is neither `end`, nor an offset, nor an age, e.g. 2h, nor a time, e.g. 2026-01-02T03:04:05Z")
    };
    time(text).map(|time| time.to_string()).map_err(nothing)
}

/// One route.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The route.
    #[arg(value_name = "NAME")]
    route: String,
    #[command(flatten)]
    admin: Admin,
}

/// Lists routes.
#[derive(Debug, clap::Args)]
pub struct Ls {
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(command: Command) -> Done {
    match command {
        Command::Ls(Ls { admin }) => ls(&admin).await,
        Command::Pause(one) => change(one, Operation::PauseRoute, "paused").await,
        Command::Resume(one) => change(one, Operation::ResumeRoute, "resumed").await,
        Command::Skip(args) => {
            let Skip { route, to, bus, dry_run, yes, admin } = args;
            let asked = SkipRoute { route, to, bus, dry_run };
            let trial = SkipRoute { dry_run: true, ..asked.clone() };
            give_up(&admin, Operation::SkipRoute, "skipped", (&trial, &asked), dry_run, yes).await
        }
        Command::Drop(DropArgs { route, dry_run, yes, admin }) => {
            let asked = DropRoute { route, dry_run };
            let trial = DropRoute { dry_run: true, ..asked.clone() };
            give_up(&admin, Operation::DropRoute, "dropped", (&trial, &asked), dry_run, yes).await
        }
    }
}

/// Skips or drops, after a trial that says how much it is.
async fn give_up<T: serde::Serialize>(
    admin: &Admin,
    op: Operation,
    word: &str,
    (trial, asked): (&T, &T),
    dry_run: bool,
    yes: bool,
) -> Done {
    let api = Api::new(admin)?;
    let trial: Skipped = api.post(op, trial).await?;
    let many = trial.ended > 1 || trial.unmatched > 0;
    if !dry_run && many && !yes && !confirmed(&format!("{} deliveries", count(trial.ended)))? {
        return Ok(Exit::No);
    }
    let done: Skipped = if dry_run { trial } else { api.post(op, asked).await? };
    match admin.output {
        Output::Json => print_json(&done)?,
        Output::Table => {
            let would = if dry_run { "would be " } else { "" };
            let below: Vec<String> = done.below.iter().map(|(bus, below)| format!("{bus} below {below}")).collect();
            let (route, ended) = (&done.route, count(done.ended));
            print(&format!("{would}{word}: {ended} deliveries of {route}, on {}\n", below.join(", ")))?;
            if dry_run && done.unmatched > 0 {
                print(&format!("and what comes of {} events that are not matched yet\n", count(done.unmatched)))?;
            }
        }
    }
    Ok(Exit::Ok)
}

async fn ls(admin: &Admin) -> Done {
    let routes: Routes = Api::new(admin)?.get(Operation::Routes).await?;
    match admin.output {
        Output::Json => print_json(&routes)?,
        Output::Table => print(&text(&routes))?,
    }
    Ok(Exit::Ok)
}

/// Pauses or resumes.
async fn change(One { route, admin }: One, op: Operation, word: &str) -> Done {
    let done: RouteChanged = Api::new(&admin)?.post(op, &OneRoute { route }).await?;
    match admin.output {
        Output::Json => print_json(&done)?,
        Output::Table => {
            let already = if done.changed { "" } else { " already" };
            print(&format!("{word}{already}: {}, which is owed {} deliveries\n", done.route, count(done.waiting)))?;
        }
    }
    Ok(Exit::Ok)
}

fn text(routes: &Routes) -> String {
    let rows = routes.routes.iter().map(|r| {
        vec![
            r.name.clone(),
            r.bus.clone(),
            r.target.clone().unwrap_or_else(|| "-".into()),
            status::state(r.state),
            r.breaker.map_or_else(|| "-".into(), status::breaker),
            count(r.waiting),
            count(r.dead_letters),
            r.filter.as_ref().map_or_else(|| "every event".into(), ToString::to_string),
        ]
    });
    let head = ["ROUTE", "BUS", "TARGET", "STATE", "BREAKER", "#WAITING", "#DEAD LETTERS", "FILTER"];
    table(&head, &rows.collect::<Vec<_>>())
}
