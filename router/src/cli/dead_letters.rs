//! `gocoffee dead-letters`: what could not be delivered, and how to try it again.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use serde_json::value::RawValue;

use super::{
    Admin, Done, Exit, Failure, Output,
    api::Api,
    print, print_json,
    stream::read_filter,
    table::{ago, count, table},
};
use crate::{
    admin::{
        Operation,
        view::{DeadLetter, DeadLetters, Edit, Edited, Purged, Quarantined, Redriven, Which},
    },
    codes, config,
};

/// Lists, shows, redrives and purges what could not be delivered.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee dead-letters ls\n  gocoffee dead-letters show 00c0ffee00c0ffee-0-17-2-0\n  gocoffee dead-letters redrive --route new-orders\n  gocoffee dead-letters purge --reason refused --before 7d --dry-run"
)]
pub enum Command {
    /// Lists dead letters by route, in the order of the log.
    #[command(
        after_help = "Examples:\n  gocoffee dead-letters ls\n  gocoffee dead-letters ls --route new-orders --reason refused --since 2h\n  gocoffee dead-letters ls --output json | jq -r '.dead_letters[].id'"
    )]
    Ls(Ls),
    /// Shows one dead letter: its event, why it was parked, and what was tried.
    #[command(
        after_help = "Examples:\n  gocoffee dead-letters show 00c0ffee00c0ffee-0-17-2-0\n  gocoffee dead-letters show 00c0ffee00c0ffee-0-17-2-0 --output json | jq .event\n  gocoffee dead-letters show 00c0ffee00c0ffee-0-17-2-0 --event > event.json"
    )]
    Show(Show),
    /// Delivers dead letters again, under their own ids and with a new budget of retries.
    #[command(
        after_help = "Examples:\n  gocoffee dead-letters redrive 00c0ffee00c0ffee-0-17-2-0\n  gocoffee dead-letters redrive --route new-orders --reason refused\n  gocoffee dead-letters redrive --target mail --since 2026-01-02T03:00:00Z --dry-run\n  gocoffee dead-letters redrive --route new-orders --where '{\"exact\":{\"subject\":\"42\"}}'\n  gocoffee dead-letters redrive --all\n  gocoffee dead-letters redrive 00c0ffee00c0ffee-0-17-2-0 --edit event.json --new-id\n\nExit code 1 when nothing was redriven."
    )]
    Redrive(RedriveArgs),
    /// Ends dead letters for good: they are not delivered any more, and their events are not kept for them.
    ///
    /// More than one at a time is asked about on a terminal, and needs --yes elsewhere.
    #[command(
        after_help = "Examples:\n  gocoffee dead-letters purge 00c0ffee00c0ffee-0-17-2-0\n  gocoffee dead-letters purge --reason refused --before 7d --dry-run\n  gocoffee dead-letters purge --route new-orders --yes\n\nExit code 1 when nothing was purged."
    )]
    Purge(PurgeArgs),
}

/// One of these says what an act is about.
const WHICH: [&str; 8] = ["ids", "all", "route", "target", "reason", "since", "before", "filter"];

/// Which dead letters: all that hold for every condition given.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Conditions {
    /// Only of this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only to this target, as it was called when they were parked.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only with this reason, e.g. refused.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only those parked since then: an age, e.g. 2h, or a time, e.g. 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<jiff::Timestamp>,
    /// Only those parked before then: an age or a time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<jiff::Timestamp>,
    /// Only those whose event this filter wants: the filter itself, or a file with it.
    #[arg(long = "where", value_name = "FILTER")]
    filter: Option<String>,
}

/// Lists dead letters.
#[derive(Debug, clap::Args)]
pub struct Ls {
    #[command(flatten)]
    conditions: Conditions,
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
    /// Only its event as JSON, or the bytes that are none: to be edited, and given to redrive --edit.
    #[arg(long)]
    event: bool,
    #[command(flatten)]
    admin: Admin,
}

/// What an act is about, and whether it is a trial.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Chosen {
    /// These.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All there are.
    #[arg(long, conflicts_with_all = ["ids", "route", "target", "reason", "since", "before", "filter"])]
    all: bool,
    #[command(flatten)]
    conditions: Conditions,
}

/// Delivers dead letters again.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(WHICH)))]
pub struct RedriveArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Only count what would be redriven, and what of it would come after later ones of its key.
    #[arg(long)]
    dry_run: bool,
    /// Take in the event in this file instead, `-` for standard input: a new event for every route that wants it, which
    /// names the old one as its cause. The dead letter ends.
    #[arg(long, value_name = "FILE", requires = "ids", conflicts_with_all = ["dry_run", "route", "target", "reason", "since", "before", "filter"])]
    edit: Option<PathBuf>,
    /// The edited event gets a new id, whatever it says.
    #[arg(long, requires = "edit")]
    new_id: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Ends dead letters for good.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(WHICH)))]
pub struct PurgeArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Only count what would be purged.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    admin: Admin,
}

/// A time, or an age as durations are written, e.g. `2h`.
pub(super) fn time(text: &str) -> Result<jiff::Timestamp, String> {
    let age = config::value::parse_duration(text).ok();
    let past = age.and_then(|age| jiff::Timestamp::now().checked_sub(jiff::SignedDuration::try_from(age).ok()?).ok());
    past.or_else(|| text.parse().ok())
        .ok_or_else(|| format!("`{text}` is neither an age, e.g. 2h, nor a time, e.g. 2026-01-02T03:04:05Z"))
}

/// The filter of the events.
fn wanted(given: &str) -> Result<serde_json::Value, Failure> {
    read_filter("--where", given)
}

impl Chosen {
    /// As the API takes it.
    fn which(self) -> Result<Which, Failure> {
        let Chosen { ids, all, conditions } = self;
        let Conditions { route, target, reason, since, before, filter } = conditions;
        let [since, before] = [since, before].map(|time| time.map(|time| time.to_string()));
        Ok(Which {
            route,
            target,
            reason,
            since,
            before,
            filter: filter.as_deref().map(wanted).transpose()?,
            ids: Some(ids).filter(|ids| !ids.is_empty()),
            all,
            dry_run: false,
        })
    }
}

pub async fn run(command: Command) -> Done {
    match command {
        Command::Ls(args) => ls(args).await,
        Command::Show(args) => show(args).await,
        Command::Redrive(args) => redrive(args).await,
        Command::Purge(args) => purge(args).await,
    }
}

async fn ls(args: Ls) -> Done {
    let api = Api::new(&args.admin)?;
    let Conditions { route, target, reason, since, before, filter } = args.conditions;
    let [since, before] = [since, before].map(|time| time.map(|time| time.to_string()));
    let asked = [
        ("count", Some(args.count.to_string())),
        ("route", route),
        ("target", target),
        ("reason", reason),
        ("since", since),
        ("before", before),
        ("where", filter.as_deref().map(wanted).transpose()?.map(|filter| filter.to_string())),
        ("after", args.after),
    ];
    let query: Vec<(&str, String)> = asked.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let page: DeadLetters = api.query(Operation::ListDeadLetters, &query).await?;
    match args.admin.output {
        Output::Json => print_json(&page)?,
        Output::Table => print(&list(&page, jiff::Timestamp::now()))?,
    }
    Ok(Exit::Ok)
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
    let letter: DeadLetter = api.get_id(Operation::ShowDeadLetter, &args.id).await?;
    if args.event {
        return event(&letter);
    }
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
    let facts: String = letter.facts.iter().map(|(key, value)| format!("{} {}\n", short(key), short(value))).collect();
    let facts = if facts.is_empty() { facts } else { format!("\n{facts}") };
    let rows = letter.attempts.iter().map(|a| {
        let status = a.status.map_or_else(|| "-".into(), |s| s.to_string());
        vec![a.number.to_string(), a.at.clone(), format!("{}ms", a.took_ms), status, short(&a.note)]
    });
    let attempts = table(&["#ATTEMPT", "ENDED", "#TOOK", "#STATUS", "NOTE"], &rows.collect::<Vec<_>>());
    let event = match (&letter.event, &letter.quarantined) {
        (Some(event), _) => event.get().to_owned(),
        (None, Some(q)) => quarantined(q),
        (None, None) => "the event is no longer kept".to_owned(),
    };
    format!("{head}{facts}\n{attempts}\n{event}\n")
}

/// What is no event, for people: control characters are not printed.
fn quarantined(q: &Quarantined) -> String {
    let cause = |id: &String| format!("{} {id}", q.cause_source.as_deref().unwrap_or_default());
    let rows = [
        ("meant for", Some(q.bus.clone())),
        ("route", q.route.clone()),
        ("origin", Some(q.origin.clone())),
        ("type", q.content_type.clone()),
        ("answers", q.cause_id.as_ref().map(cause)),
    ];
    let rows = rows.into_iter().filter_map(|(key, value)| Some(format!("{key:<9} {}\n", short(&value?))));
    let shown = |c: char| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c };
    let bytes = match (&q.text, &q.base64) {
        (Some(text), _) => text.chars().map(shown).collect(),
        (None, base64) => format!("base64: {}", base64.as_deref().unwrap_or_default()),
    };
    format!("{}\n{bytes}", rows.collect::<String>())
}

/// The event alone, or the bytes that are none.
fn event(letter: &DeadLetter) -> Done {
    let text = letter.event.as_ref().map(|e| e.get()).or(letter.quarantined.as_ref().and_then(|q| q.text.as_deref()));
    let Some(text) = text else {
        let message = "of this dead letter no text is kept; see it with --output json";
        return Err(Failure::new(Exit::No, codes::EDIT_IMPOSSIBLE, message));
    };
    print(&format!("{text}\n"))?;
    Ok(Exit::Ok)
}

/// Takes in what stands for a dead letter.
async fn edit(args: &RedriveArgs, file: &Path) -> Done {
    let [id] = args.chosen.ids.as_slice() else {
        let message = "--edit is about one dead letter; give one id";
        return Err(Failure::new(Exit::Usage, codes::ARGUMENT, message));
    };
    let read = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin().lock()),
        false => std::fs::read_to_string(file),
    };
    let text = read.map_err(|e| {
        let message = format!("`{}` cannot be read: {e}", file.display());
        Failure::new(Exit::No, codes::INPUT_UNREADABLE, message)
    })?;
    let event = RawValue::from_string(text.trim().to_owned()).map_err(|e| {
        let message =
            format!("`{}` is no JSON: {e}; `show {id} --event` gives the event to begin with", file.display());
        Failure::new(Exit::No, codes::EVENT, message)
    })?;
    let api = Api::new(&args.admin)?;
    let asked = Edit { id: id.clone(), event, new_id: args.new_id };
    let done: Edited = api.post(Operation::EditDeadLetter, &asked).await?;
    match args.admin.output {
        Output::Json => print_json(&done)?,
        Output::Table => {
            let Edited { bus, offset, event_id, source } = &done;
            print(&format!("taken in as {source} {event_id} on bus {bus}, at offset {offset}\n"))?;
        }
    }
    Ok(Exit::Ok)
}

async fn redrive(args: RedriveArgs) -> Done {
    if let Some(file) = &args.edit {
        return edit(&args, file).await;
    }
    let api = Api::new(&args.admin)?;
    let asked = Which { dry_run: args.dry_run, ..args.chosen.which()? };
    let done: Redriven = api.post(Operation::RedriveDeadLetters, &asked).await?;
    match args.admin.output {
        Output::Json => print_json(&done)?,
        Output::Table => {
            let would = if done.dry_run { "would be redriven" } else { "redriven" };
            let mut text = format!("{would}: {}\n", count(done.redriven));
            if done.orphaned > 0 {
                let orphaned = count(done.orphaned);
                text.push_str(&format!("left as they are, because their route is not configured: {orphaned}\n"));
            }
            if done.quarantined > 0 {
                let quarantined = count(done.quarantined);
                text.push_str(&format!(
                    "left as they are, because they are no events yet: {quarantined}; see --edit\n"
                ));
            }
            if done.late > 0 {
                let late = count(done.late);
                text.push_str(&format!("after later ones of their key, marked with gocoffeelate: {late}\n"));
            }
            print(&text)?;
        }
    }
    Ok(if done.redriven > 0 { Exit::Ok } else { Exit::No })
}

async fn purge(args: PurgeArgs) -> Done {
    let api = Api::new(&args.admin)?;
    let asked: Which = args.chosen.which()?;
    let trial: Purged = api.post(Operation::PurgeDeadLetters, &Which { dry_run: true, ..asked.clone() }).await?;
    if !args.dry_run && trial.purged > 1 && !args.yes && !confirmed(&format!("{} dead letters", count(trial.purged)))? {
        return Ok(Exit::No);
    }
    let done: Purged = if args.dry_run { trial } else { api.post(Operation::PurgeDeadLetters, &asked).await? };
    match args.admin.output {
        Output::Json => print_json(&done)?,
        Output::Table => {
            let would = if done.dry_run { "would be purged" } else { "purged" };
            print(&format!("{would}: {}\n", count(done.purged)))?;
        }
    }
    Ok(if done.purged > 0 { Exit::Ok } else { Exit::No })
}

/// Asks who sits at the terminal; without one nobody can say yes.
pub(super) fn confirmed(what: &str) -> Result<bool, Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        let message = format!("{what} would be ended for good; give --yes, or see --dry-run");
        return Err(Failure::new(Exit::Usage, codes::NEEDS_YES, message));
    }
    eprint!("end {what} for good? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|e| Failure::new(Exit::No, codes::INPUT_UNREADABLE, format!("the answer cannot be read: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
