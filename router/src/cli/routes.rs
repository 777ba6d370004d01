//! `gocoffee routes`: what goes where.

use super::{
    Admin, Done, Exit, Output,
    api::Api,
    print, print_json, status,
    table::{count, table},
};
use crate::admin::{Operation, view::Routes};

/// Shows what goes where.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  gocoffee routes ls")]
pub enum Command {
    /// Lists routes, with their filters and what they are doing.
    #[command(
        after_help = "Examples:\n  gocoffee routes ls\n  gocoffee routes ls --output json | jq '.routes[].filter'"
    )]
    Ls(Ls),
}

/// Lists routes.
#[derive(Debug, clap::Args)]
pub struct Ls {
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(command: Command) -> Done {
    let Command::Ls(Ls { admin }) = command;
    let routes: Routes = Api::new(&admin)?.get(Operation::Routes).await?;
    match admin.output {
        Output::Json => print_json(&routes)?,
        Output::Table => print(&text(&routes))?,
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
