//! `gocoffee replay`: a stretch of what came in, once more, to chosen routes.

use std::{io::IsTerminal, num::NonZeroU32, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use router_core::replay::Replies;

use super::{
    Admin, Done, Exit, Failure, Output,
    api::Api,
    dead_letters::time,
    print, print_json,
    stream::read_filter,
    table::{ago, count, table},
};
use crate::{
    admin::{
        Operation,
        view::{Replay, ReplayId, ReplayPlace, Replays, StartReplay, StartedReplay},
    },
    codes,
};

/// From one look at a replay that is followed to the next.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Delivers a stretch of what came in once more, to chosen routes.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "Examples:\n  gocoffee replay start --from 2h --routes new-orders --dry-run\n  gocoffee replay start --from 2h --routes new-orders --rate 100/s --follow\n  gocoffee replay ls\n  gocoffee replay cancel 3"
)]
pub enum Command {
    /// Starts a replay of a stretch of a bus.
    ///
    /// The range and the filters are fixed at the start: an open end is the newest event of that moment, and the
    /// routes' filters are those that they have then. Times are those at which events were appended.
    #[command(
        after_help = "Examples:\n  gocoffee replay start --from 2h --routes new-orders --dry-run\n  gocoffee replay start --from 2026-01-02T03:00:00Z --to 2026-01-02T04:00:00Z --routes new-orders,mirror\n  gocoffee replay start --offsets 1200..1300 --routes new-orders --rate 50/s\n  gocoffee replay start --from 7d --filter '{\"exact\":{\"subject\":\"42\"}}' --routes new-orders --follow\n  gocoffee replay start --from 2h --routes new-orders --replies admit\n\nExit codes: 0 started, or with --follow done; 1 refused, nothing to replay, or with --follow ended before its end."
    )]
    Start(Start),
    /// Lists replays, those that are over too: the last hundred are kept.
    #[command(after_help = "Examples:\n  gocoffee replay ls\n  gocoffee replay ls --output json")]
    Ls(Ls),
    /// Shows one replay: how far it is, what became of its deliveries, why it waits.
    #[command(after_help = "Examples:\n  gocoffee replay show 3\n  gocoffee replay show 3 --follow")]
    Show(Show),
    /// Pauses a replay: it sends nothing until it is resumed, and holds its range.
    #[command(after_help = "Examples:\n  gocoffee replay pause 3\n  gocoffee replay pause 3 --output json")]
    Pause(One),
    /// Lets a replay go on.
    #[command(after_help = "Examples:\n  gocoffee replay resume 3\n  gocoffee replay resume 3 --output json")]
    Resume(One),
    /// Ends a replay: what is open of it ends, and its range is let go.
    #[command(after_help = "Examples:\n  gocoffee replay cancel 3\n  gocoffee replay cancel 3 --output json")]
    Cancel(One),
}

/// Starts a replay.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("begin").required(true).args(["from", "offsets"])))]
pub struct Start {
    /// The bus.
    #[arg(long, value_name = "NAME", default_value = "default")]
    bus: String,
    /// Where it begins: an offset, an age, e.g. 2h, or a time, e.g. 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "PLACE", value_parser = place)]
    from: Option<ReplayPlace>,
    /// Where it ends, that not included: an offset, an age or a time. Default: after the newest event there is now.
    #[arg(long, value_name = "PLACE", value_parser = place, conflicts_with = "offsets")]
    to: Option<ReplayPlace>,
    /// From offset A up to, not including, offset B.
    #[arg(long, value_name = "A..B", value_parser = offsets)]
    offsets: Option<(u64, u64)>,
    /// Only what this filter wants too: a file, or the filter itself.
    #[arg(long, value_name = "FILE|JSON")]
    filter: Option<String>,
    /// The routes, as they are configured now.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    routes: Vec<String>,
    /// So many events a second at most; without it, as fast as they are taken, below what is live.
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<NonZeroU32>,
    /// What becomes of the events that targets answer with: `discard` counts and drops them, `admit` takes them in like
    /// those of the live flow, where the route asks for replies.
    #[arg(long, value_name = "discard|admit", value_parser = replies, default_value = "discard")]
    replies: Replies,
    /// Only count what each route would get. Reads the range.
    #[arg(long, conflicts_with = "follow")]
    dry_run: bool,
    /// Watch it until it is over.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Lists replays.
#[derive(Debug, clap::Args)]
pub struct Ls {
    #[command(flatten)]
    admin: Admin,
}

/// Shows one replay.
#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    one: One,
    /// Watch it until it is over.
    #[arg(long)]
    follow: bool,
}

/// One replay.
#[derive(Debug, clap::Args)]
pub struct One {
    /// Its number.
    #[arg(value_name = "ID")]
    id: u32,
    #[command(flatten)]
    admin: Admin,
}

fn place(text: &str) -> Result<ReplayPlace, String> {
    if let Ok(offset) = text.parse() {
        return Ok(ReplayPlace::Offset(offset));
    }
    let neither =
        |_| format!("`{text}` is neither an offset, nor an age, e.g. 2h, nor a time, e.g. 2026-01-02T03:04:05Z");
    time(text).map(|time| ReplayPlace::Time(time.to_string())).map_err(neither)
}

fn offsets(text: &str) -> Result<(u64, u64), String> {
    let read = || {
        let (from, to) = text.split_once("..")?;
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    read().ok_or_else(|| format!("`{text}` is no range of offsets, e.g. 1200..1300"))
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().map_err(|_| format!("`{text}` is no rate, e.g. 50/s"))
}

fn replies(text: &str) -> Result<Replies, String> {
    match text {
        "discard" => Ok(Replies::Discard),
        "admit" => Ok(Replies::Admit),
        _ => Err(format!("`{text}` is neither `discard` nor `admit`")),
    }
}

pub async fn run(command: Command) -> Done {
    match command {
        Command::Start(args) => start(args).await,
        Command::Ls(args) => ls(&args.admin).await,
        Command::Show(args) => show(args).await,
        Command::Pause(args) => act(Operation::PauseReplay, &args).await,
        Command::Resume(args) => act(Operation::ResumeReplay, &args).await,
        Command::Cancel(args) => act(Operation::CancelReplay, &args).await,
    }
}

async fn start(args: Start) -> Done {
    let api = Api::new(&args.admin)?;
    let range = args.offsets.map(|(from, to)| (ReplayPlace::Offset(from), Some(ReplayPlace::Offset(to))));
    let Some((from, to)) = range.or_else(|| Some((args.from?, args.to))) else {
        return Err(Failure::new(Exit::Usage, codes::ARGUMENT, "give --from or --offsets"));
    };
    let asked = StartReplay {
        bus: Some(args.bus),
        from,
        to,
        filter: args.filter.as_deref().map(|given| read_filter("--filter", given)).transpose()?,
        routes: args.routes,
        rate: args.rate,
        replies: args.replies,
        dry_run: args.dry_run,
    };
    let started: StartedReplay = api.post(Operation::StartReplay, &asked).await?;
    if started.clamped {
        eprintln!("older events are not kept any more: it begins at offset {}", started.from);
    }
    match args.admin.output {
        Output::Json => print_json(&started)?,
        Output::Table => print(&said(&started))?,
    }
    match started.id.filter(|_| args.follow) {
        Some(id) => follow(&api, id, args.admin.output).await,
        None => Ok(Exit::Ok),
    }
}

/// What could not be read, where that is anything.
fn lost(offsets: u64) -> String {
    if offsets == 0 {
        return String::new();
    }
    format!(", {} offsets that are missing in the archive", count(offsets))
}

fn said(started: &StartedReplay) -> String {
    let StartedReplay { from, to, .. } = started;
    let Some(id) = started.id else {
        let [read, skipped] = [started.read, started.skipped].map(|n| count(n.unwrap_or_default()));
        let rows = started.routes.iter().flatten().map(|r| vec![r.name.clone(), count(r.matched)]);
        let rows = table(&["ROUTE", "#WOULD GET"], &rows.collect::<Vec<_>>());
        let lost = lost(started.lost.unwrap_or_default());
        return format!("offsets {from}..{to}: {read} events, {skipped} that no route wants{lost}\n{rows}");
    };
    format!("replay {id} started: offsets {from}..{to}\n")
}

async fn ls(admin: &Admin) -> Done {
    let all: Replays = Api::new(admin)?.get(Operation::Replays).await?;
    match admin.output {
        Output::Json => print_json(&all)?,
        Output::Table => print(&list(&all, jiff::Timestamp::now()))?,
    }
    Ok(Exit::Ok)
}

fn sum(replay: &Replay, of: fn(&crate::admin::view::ReplayRoute) -> u64) -> u64 {
    replay.routes.iter().map(of).sum()
}

fn left(replay: &Replay) -> String {
    replay.left_seconds.map_or_else(|| "-".into(), |s| format!("{}m {}s", s / 60, s % 60))
}

fn list(all: &Replays, now: jiff::Timestamp) -> String {
    if all.replays.is_empty() {
        return "no replays\n".into();
    }
    let rows = all.replays.iter().map(|r| {
        let routes: Vec<&str> = r.routes.iter().map(|route| route.name.as_str()).collect();
        vec![
            r.id.to_string(),
            r.state.clone(),
            routes.join(","),
            format!("{}%", r.percent),
            count(sum(r, |route| route.delivered)),
            count(sum(r, |route| route.dead_lettered)),
            count(sum(r, |route| route.waiting)),
            left(r),
            count(r.held_bytes),
            ago(&r.started, now),
        ]
    });
    let head =
        ["#ID", "STATE", "ROUTES", "#READ", "#DELIVERED", "#DEAD LETTERS", "#WAITING", "#LEFT", "#HELD BYTES", "#AGE"];
    table(&head, &rows.collect::<Vec<_>>())
}

async fn show(args: Show) -> Done {
    let api = Api::new(&args.one.admin)?;
    if args.follow {
        return follow(&api, args.one.id, args.one.admin.output).await;
    }
    let replay = one(&api, args.one.id).await?;
    tell(&replay, args.one.admin.output)?;
    Ok(Exit::Ok)
}

async fn one(api: &Api, id: u32) -> Result<Replay, Failure> {
    api.get_id(Operation::ShowReplay, &id.to_string()).await
}

fn tell(replay: &Replay, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => print_json(replay),
        Output::Table => print(&page(replay)),
    }
}

fn page(r: &Replay) -> String {
    let head = [
        ("replay", r.id.to_string()),
        ("bus", r.bus.clone()),
        ("state", r.state.clone()),
        ("offsets", format!("{}..{}, {} % read, next is {}", r.from, r.to, r.percent, r.next)),
        ("events", format!("{} read, {} that no route wants{}", count(r.read), count(r.skipped), lost(r.lost))),
        ("filter", r.filter.as_ref().map_or_else(|| "-".into(), ToString::to_string)),
        ("rate", r.rate.map_or_else(|| "-".into(), |rate| format!("{rate}/s"))),
        ("held", format!("{} bytes", count(r.held_bytes))),
        ("left", left(r)),
        ("started", r.started.clone()),
        ("ended", r.ended.clone().unwrap_or_else(|| "-".into())),
        ("waits", r.waits.clone().unwrap_or_else(|| "-".into())),
    ]
    .map(|(key, value)| format!("{key:<8} {value}\n"))
    .concat();
    let rows = r.routes.iter().map(|route| {
        let counts = [route.matched, route.delivered, route.dead_lettered, route.ended, route.waiting];
        [vec![route.name.clone()], counts.map(count).to_vec()].concat()
    });
    let head_of_rows = ["ROUTE", "#MATCHED", "#DELIVERED", "#DEAD LETTERS", "#ENDED", "#WAITING"];
    format!("{head}\n{}", table(&head_of_rows, &rows.collect::<Vec<_>>()))
}

/// Watches a replay until it is over: a bar on a terminal, else a line for each per cent.
async fn follow(api: &Api, id: u32, output: Output) -> Done {
    let terminal = std::io::stderr().is_terminal() && output == Output::Table;
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(100), target);
    if let Ok(style) = ProgressStyle::with_template("replay {prefix} [{bar:30}] {pos:>3} % {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(id.to_string());
    let mut told = None;
    loop {
        let r = one(api, id).await?;
        let (delivered, waiting) = (sum(&r, |route| route.delivered), sum(&r, |route| route.waiting));
        let wait = r.waits.as_deref().map(|why| format!("; {why}")).unwrap_or_default();
        let line = format!("{}, delivered {}, waiting {}{wait}", r.state, count(delivered), count(waiting));
        bar.set_position(r.percent.into());
        bar.set_message(line.clone());
        let seen = (r.percent, r.state.clone(), r.waits.clone());
        if !terminal && output == Output::Table && told.as_ref() != Some(&seen) {
            print(&format!("{:>3} % {line}\n", r.percent))?;
            told = Some(seen);
        }
        if !matches!(r.state.as_str(), "running" | "paused" | "ending") {
            bar.finish_and_clear();
            tell(&r, output)?;
            return Ok(if r.state == "done" { Exit::Ok } else { Exit::No });
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

async fn act(op: Operation, args: &One) -> Done {
    let replay: Replay = Api::new(&args.admin)?.post(op, &ReplayId { id: args.id }).await?;
    match args.admin.output {
        Output::Json => print_json(&replay)?,
        Output::Table => print(&format!("replay {}: {}\n", replay.id, replay.state))?,
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_offsets_ages_or_times() {
        assert_eq!(place("120"), Ok(ReplayPlace::Offset(120)));
        assert_eq!(place("2026-01-02T03:04:05Z"), Ok(ReplayPlace::Time("2026-01-02T03:04:05Z".into())));
        assert!(matches!(place("2h"), Ok(ReplayPlace::Time(_))));
        assert!(place("yesterday").unwrap_err().contains("neither an offset"));
    }

    #[test]
    fn ranges_and_rates_are_read_or_refused_with_an_example() {
        assert_eq!(offsets("7..90"), Ok((7, 90)));
        for bad in ["7", "7..", "..9", "a..b", "-1..2"] {
            assert!(offsets(bad).unwrap_err().contains("1200..1300"), "{bad}");
        }
        assert_eq!((rate("50/s"), rate("50")), (Ok(NonZeroU32::new(50).unwrap()), Ok(NonZeroU32::new(50).unwrap())));
        for bad in ["0/s", "50/m", "fast", ""] {
            assert!(rate(bad).unwrap_err().contains("e.g. 50/s"), "{bad}");
        }
    }
}
