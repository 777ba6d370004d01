//! `gocoffee reload`: has a running router read its configuration again.

use super::{Admin, Done, Exit, Output, api::Api, print, print_json};
use crate::admin::{
    Operation,
    view::{Reload, Reloaded},
};

/// Has the router read its configuration again, and puts it into force without a pause.
///
/// A file with errors changes nothing. Routes, targets with their secrets, retention and budgets change while the
/// router runs; where anything else differs, nothing is applied, and what needs a restart is named. SIGHUP does
/// the same, and tells it in the log.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee reload --dry-run\n  gocoffee reload\n  gocoffee reload --output json | jq '.changes[]'\n\nExit codes: 0 in force, or it would be; 1 refused, nothing has changed; 69 no router there."
)]
pub struct Args {
    /// Change nothing, only say what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(args: Args) -> Done {
    let asked = Reload { dry_run: args.dry_run };
    let done: Reloaded = Api::new(&args.admin)?.post(Operation::Reload, &asked).await?;
    match args.admin.output {
        Output::Json => print_json(&done)?,
        Output::Table => print(&text(&done))?,
    }
    Ok(if done.needs_restart.is_empty() { Exit::Ok } else { Exit::No })
}

fn text(done: &Reloaded) -> String {
    let warnings = done.warnings.as_ref().map(|text| format!("{text}\n\n")).unwrap_or_default();
    let changes: String = done.changes.iter().map(|change| format!("{change}\n")).collect();
    let changes = if done.changes.is_empty() { "nothing changes\n".into() } else { changes };
    let restart: String = done.needs_restart.iter().map(|key| format!("! {key}: needs a restart\n")).collect();
    let end = match (done.applied, done.needs_restart.is_empty()) {
        (true, _) => "reloaded\n",
        (false, true) => "this would be put into force\n",
        (false, false) => "nothing of this would be put into force\n",
    };
    format!("{warnings}{changes}{restart}{end}")
}
