//! `gocoffee routes`: what goes where, and what is held back.

use super::{
    Admin, Done, Exit, Output,
    api::Api,
    print, print_json, status,
    table::{count, table},
};
use crate::admin::{
    Operation,
    view::{OneRoute, RouteChanged, Routes},
};

/// Shows what goes where, and holds it back.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee routes ls\n  gocoffee routes pause new-orders\n  gocoffee routes resume new-orders"
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
    }
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
