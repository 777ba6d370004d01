//! `gocoffee dead-letters`: what could not be delivered, and how to try it again.

use super::{
    Admin, Done, Exit, Failure, Output,
    api::Api,
    print, print_json,
    table::{ago, count, table},
};
use crate::admin::view::{DeadLetter, DeadLetters, Redrive, Redriven};
use crate::codes;

/// Lists, shows and redrives what could not be delivered.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee dead-letters ls\n  gocoffee dead-letters show 00c0ffee00c0ffee-0-17-2-0\n  gocoffee dead-letters redrive --route new-orders"
)]
pub enum Command {
    /// Lists dead letters by route, in the order of the log.
    #[command(
        after_help = "Examples:\n  gocoffee dead-letters ls\n  gocoffee dead-letters ls --route new-orders --reason refused\n  gocoffee dead-letters ls --output json | jq -r '.dead_letters[].id'"
    )]
    Ls(Ls),
    /// Shows one dead letter: its event, why it was parked, and what was tried.
    #[command(
        after_help = "Examples:\n  gocoffee dead-letters show 00c0ffee00c0ffee-0-17-2-0\n  gocoffee dead-letters show 00c0ffee00c0ffee-0-17-2-0 --output json | jq .event"
    )]
    Show(Show),
    /// Delivers dead letters again, under their own ids and with a new budget of retries.
    #[command(
        after_help = "Examples:\n  gocoffee dead-letters redrive 00c0ffee00c0ffee-0-17-2-0\n  gocoffee dead-letters redrive --route new-orders --reason refused\n  gocoffee dead-letters redrive --all\n\nExit code 1 when nothing was redriven."
    )]
    Redrive(RedriveArgs),
}

/// Lists dead letters.
#[derive(Debug, clap::Args)]
pub struct Ls {
    /// Only of this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only with this reason, e.g. refused.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only those after this id.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    #[command(flatten)]
    admin: Admin,
}

/// Shows one dead letter.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The dead letter.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    admin: Admin,
}

/// Delivers dead letters again.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)))]
pub struct RedriveArgs {
    /// These.
    #[arg(value_name = "ID", group = "which")]
    ids: Vec<String>,
    /// All of this route.
    #[arg(long, value_name = "NAME", group = "which")]
    route: Option<String>,
    /// All with this reason.
    #[arg(long, value_name = "REASON", group = "which")]
    reason: Option<String>,
    /// All there are.
    #[arg(long, group = "which", conflicts_with_all = ["ids", "route", "reason"])]
    all: bool,
    #[command(flatten)]
    admin: Admin,
}

pub async fn run(command: Command) -> Done {
    match command {
        Command::Ls(args) => ls(args).await,
        Command::Show(args) => show(args).await,
        Command::Redrive(args) => redrive(args).await,
    }
}

async fn ls(args: Ls) -> Done {
    let api = Api::new(&args.admin)?;
    let mut query = format!("count={}", args.count);
    for (key, value) in [("route", args.route), ("reason", args.reason), ("after", args.after)] {
        query.extend(value.map(|v| format!("&{key}={}", query_value(&v))));
    }
    let page: DeadLetters = api.get(&format!("/api/dead-letters?{query}")).await?;
    match args.admin.output {
        Output::Json => print_json(&page)?,
        Output::Table => print(&list(&page, jiff::Timestamp::now()))?,
    }
    Ok(Exit::Ok)
}

/// Percent-encodes everything but letters, digits and `-`.
fn query_value(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn list(page: &DeadLetters, now: jiff::Timestamp) -> String {
    if page.dead_letters.is_empty() {
        return "no dead letters\n".into();
    }
    let rows = page.dead_letters.iter().map(|d| {
        let tries = count(d.attempts_count.into());
        vec![d.id.clone(), d.route.clone(), d.reason.clone(), tries, ago(&d.at, now), short(&d.note)]
    });
    let mut out = table(&["ID", "ROUTE", "REASON", "#ATTEMPTS", "#AGE", "NOTE"], &rows.collect::<Vec<_>>());
    if let Some(next) = &page.next {
        out.push_str(&format!("\nthere are more: --after {next}\n"));
    }
    out
}

/// A note of one line that leaves a row readable. Control characters of a target's answer are not printed.
fn short(note: &str) -> String {
    let mut chars = note.chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = chars.by_ref().take(80).collect();
    if chars.next().is_some() { format!("{line}…") } else { line }
}

async fn show(args: Show) -> Done {
    let api = Api::new(&args.admin)?;
    if args.id.parse::<router_core::id::DeliveryId>().is_err() {
        let message = format!("`{}` is no id of a dead letter; `gocoffee dead-letters ls` shows them", args.id);
        return Err(Failure::new(Exit::Usage, codes::ARGUMENT, message));
    }
    let letter: DeadLetter = api.get(&format!("/api/dead-letters/{}", args.id)).await?;
    match args.admin.output {
        Output::Json => print_json(&letter)?,
        Output::Table => print(&page(&letter))?,
    }
    Ok(Exit::Ok)
}

fn page(letter: &DeadLetter) -> String {
    let head = [
        ("id", letter.id.as_str()),
        ("route", &letter.route),
        ("target", &letter.target),
        ("reason", &letter.reason),
        ("note", &short(&letter.note)),
        ("appended", letter.appended.as_deref().unwrap_or("-")),
        ("parked", &letter.at),
    ]
    .map(|(key, value)| format!("{key:<9} {value}\n"))
    .concat();
    let rows = letter.attempts.iter().map(|a| {
        let status = a.status.map_or_else(|| "-".into(), |s| s.to_string());
        vec![a.number.to_string(), a.at.clone(), format!("{}ms", a.took_ms), status, short(&a.note)]
    });
    let attempts = table(&["#ATTEMPT", "ENDED", "#TOOK", "#STATUS", "NOTE"], &rows.collect::<Vec<_>>());
    let event = letter.event.as_ref().map_or("the event is no longer kept", |e| e.get());
    format!("{head}\n{attempts}\n{event}\n")
}

async fn redrive(args: RedriveArgs) -> Done {
    let api = Api::new(&args.admin)?;
    let ids = Some(args.ids).filter(|ids| !ids.is_empty());
    let asked = Redrive { route: args.route, reason: args.reason, ids, all: args.all };
    let done: Redriven = api.post("/api/dead-letters/redrive", &asked).await?;
    match args.admin.output {
        Output::Json => print_json(&done)?,
        Output::Table => {
            let mut text = format!("redriven: {}\n", count(done.redriven));
            if done.orphaned > 0 {
                let orphaned = count(done.orphaned);
                text.push_str(&format!("left as they are, because their route is not configured: {orphaned}\n"));
            }
            print(&text)?;
        }
    }
    Ok(if done.redriven > 0 { Exit::Ok } else { Exit::No })
}
