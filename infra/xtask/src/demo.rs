//! `cargo demo`: a day of the coffee platform on one machine. A router on a temporary folder and free ports; the five
//! functions of the platform, each a process; and one that stands in for whoever else takes events, and for the model
//! and the phones that the functions call. 5,000 events come in. One function is down, one event is refused again and
//! again and holds its key back, one target refuses for good until an operator redrives; an hour is replayed. At the end
//! a table says, route by route, what became of every event, and the process exits with 1 when that does not balance.
//!
//! Nothing of the router is linked in here: everything is done by its command line, and whoever takes events is
//! scripted and counted over plain HTTP, as anybody else could.

use std::{
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Error, samples};

/// Who gets what, and whether the figures add up.
mod balance;

/// What the file of the day has.
mod day;

/// A request, an answer, no more.
mod http;

/// What is seen while it runs.
mod screen;

/// The processes and the folder, which are gone afterwards whatever happens.
mod stage;

use balance::{Line, ROUTES};
use day::Day;
use screen::Screen;
use stage::{Programs, Stage};

/// How long order-processor is down at least.
const OUTAGE: Duration = Duration::from_secs(4);
/// How long each act may take on a busy machine.
const SETTLE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The route whose function is down for a while.
const DOWN: &str = "orders";
/// The route on which one key is stuck for a while.
const STUCK: &str = "kitchen";
/// The route whose target refuses everything until it is repaired.
const REFUSING: &str = "large-orders";
/// The route whose target loses an event under `--swallow`.
const LOSING: &str = "published";

/// What the demo is asked for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// How many events come in: from 300 on.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(300..=100_000))]
    events: u32,
    /// Leave everything running at the end, until Ctrl-C, and print what to try next.
    #[arg(long)]
    keep: bool,
    /// Let a target lose an event that it has acknowledged: the demo must find out.
    #[arg(long, hide = true)]
    swallow: bool,
}

/// Plays the demo.
///
/// # Errors
/// What did not start, answer or settle.
pub fn run(root: &Path, options: Options) -> Result<ExitCode, Error> {
    let programs = Programs::find_or_build(root)?;
    let day = Day::new(samples::generate(options.events as usize))?;
    let stage = Stage::open(programs, &day)?;
    let played = play(&stage, &day, options);
    // After a signal the stage is being cleared: what failed by that is not worth telling.
    stage.wait_if_ending();
    played
}

fn play(stage: &Stage, day: &Day, options: Options) -> Result<ExitCode, Error> {
    println!("A router runs on a temporary folder; events come in at http://{}/events.", stage.public);
    println!("The five functions of the platform run beside it, each a process of its own. This morning");
    println!("  order-processor  is down: nobody listens there");
    println!("  the kitchen      answers 500 to one event of {}, and keeps its orders in order", day.stuck_key);
    println!("  the auditors     refuse (422) every large order, for good");
    stage.script(STUCK, &json!({"rules": [{"answer": {"status": 500}, "id": day.stuck_id}]}))?;
    stage.script(REFUSING, &json!({"rules": [{"answer": {"status": 422}}]}))?;
    if options.swallow {
        stage.script(LOSING, &json!({"rules": [{"answer": "swallow", "requests_max": 1}]}))?;
    }
    let start = Instant::now();
    show(stage, &["publish", stage::DAY], &["--to", &format!("http://{}/events", stage.public)])?;
    outage(stage, start)?;
    redrive(stage, day)?;
    replay(stage, day)?;
    println!("\nWhat the router itself told of this morning, on its bus `system`:");
    let tail = ["tail", "--bus", "system", "--from", "earliest", "--until-latest", "--count", "12"];
    show(stage, &tail, &stage.with_admin(&[]))?;
    conclude(stage, day, options)
}

/// Runs a command of the router and shows it and its output; `more` is needed here and not worth showing.
fn show(stage: &Stage, args: &[&str], more: &[&str]) -> Result<(), Error> {
    // As a shell takes it.
    let plain = |a: &&str| a.chars().all(|c| c.is_alphanumeric() || "-_./:,".contains(c));
    let shown: Vec<String> = args.iter().map(|a| if plain(a) { (*a).into() } else { format!("'{a}'") }).collect();
    println!("\n$ gocoffee {}", shown.join(" "));
    let output = stage.gocoffee(&[args, more].concat())?;
    print!("{output}");
    Ok(())
}

/// What the router says of itself.
fn status(stage: &Stage) -> Result<Value, Error> {
    let text = stage.gocoffee(&stage.with_admin(&["status", "--output", "json"]))?;
    serde_json::from_str(&text).map_err(|e| Error(format!("the status cannot be read: {e}")))
}

/// Looks again and again until `done` says so, and shows how it goes on.
fn until(stage: &Stage, what: &str, mut done: impl FnMut(&Value) -> Result<bool, Error>) -> Result<Value, Error> {
    let (mut screen, end) = (Screen::new(), Instant::now() + SETTLE);
    loop {
        let status = status(stage)?;
        screen.show(&status)?;
        if done(&status)? {
            return Ok(status);
        }
        if Instant::now() > end {
            return Err(Error(format!("after {} seconds not yet: {what}:\n{status:#}", SETTLE.as_secs())));
        }
        thread::sleep(LOOK);
    }
}

/// Everything but what waits for order-processor and behind the stuck key is done; then both are repaired.
fn outage(stage: &Stage, start: Instant) -> Result<(), Error> {
    println!();
    let waits = until(stage, "nobody waits but for what is broken", |status| {
        let all = balance::owed_by_all(status)?;
        let behind = balance::figure(balance::of_route(status, STUCK)?, "parked")?;
        let (down, stuck) = (balance::owed(status, DOWN)?, balance::owed(status, STUCK)?);
        Ok(start.elapsed() >= OUTAGE && behind > 0 && stuck == behind + 1 && all == down + stuck)
    })?;
    let (down, stuck) = (balance::owed(&waits, DOWN)?, balance::owed(&waits, STUCK)?);
    let seconds = start.elapsed().as_secs_f64();
    println!("{seconds:5.1} s  {down} deliveries wait for order-processor; nobody else waits for it");
    println!("{seconds:5.1} s  {stuck} deliveries of one key wait in the kitchen; all other keys are served");
    stage.start_processor()?;
    stage.script(STUCK, &json!({}))?;
    println!("{:5.1} s  order-processor is started, and the kitchen is repaired", start.elapsed().as_secs_f64());
    settle(stage, start)
}

/// Waits until nothing is owed.
fn settle(stage: &Stage, start: Instant) -> Result<(), Error> {
    until(stage, "nothing is owed", |status| Ok(balance::owed_by_all(status)? == 0))?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{seconds:5.1} s  every event is delivered, or parked as a dead letter; so are the functions' answers");
    Ok(())
}

/// Shows the dead letters, repairs the target, and delivers them again.
fn redrive(stage: &Stage, day: &Day) -> Result<(), Error> {
    let large = balance::route(REFUSING)?.in_file(day);
    until(stage, "the dead letters are listed", |status| {
        Ok(balance::figure(balance::of_route(status, REFUSING)?, "dead_letters")? == large)
    })?;
    show(stage, &["dead-letters", "ls", "--count", "3"], &stage.with_admin(&[]))?;
    println!("\nThe auditors are back.");
    stage.script(REFUSING, &json!({}))?;
    show(stage, &["dead-letters", "redrive", "--route", REFUSING], &stage.with_admin(&[]))?;
    until(stage, "nothing is owed", |status| Ok(balance::owed_by_all(status)? == 0))?;
    Ok(())
}

/// Delivers one hour of large orders once more, and holds that to the file.
fn replay(stage: &Stage, day: &Day) -> Result<(), Error> {
    let requests = |counts: &Value| counts.pointer(&format!("/{REFUSING}/requests")).and_then(Value::as_u64);
    let before = requests(&stage.counts()?).unwrap_or_default();
    let hour = day.hour_of_day();
    println!("\nThe auditors want the large orders of {hour}:00 to {hour}:59 once more.");
    let filter = json!({"pattern": {"time": [{"prefix": day.hour_prefix()}]}}).to_string();
    let args = ["replay", "start", "--from", "1d", "--filter", &filter, "--routes", REFUSING, "--follow"];
    show(stage, &args, &stage.with_admin(&[]))?;
    let again = requests(&stage.counts()?).unwrap_or_default().saturating_sub(before);
    let wanted = day.events.iter().filter(|e| day.in_hour(e) && balance::large(e)).count() as u64;
    if again < wanted || wanted == 0 {
        return Err(Error(format!("the replay sent {again} events, and the file has {wanted} of that hour")));
    }
    Ok(())
}

/// Draws the table, judges it, and with `--keep` waits.
fn conclude(stage: &Stage, day: &Day, options: Options) -> Result<ExitCode, Error> {
    let (status, counts, plain) = (status(stage)?, stage.counts()?, stage.plain()?);
    let lines: Vec<Line> =
        ROUTES.iter().map(|route| Line::new(route, day, &status, &counts)).collect::<Result<_, _>>()?;
    print!("\n{}", balance::table(&lines));
    let of = |name: &str| plain.get(name).and_then(Value::as_u64).unwrap_or_default();
    println!("\nThe functions sent {} messages to people and asked the model {} times.", of("phone"), of("model"));
    let faults = balance::faults(&lines);
    if faults.is_empty() {
        println!("Balanced: every event went where it should, and every target has what the router delivered.");
    }
    for fault in &faults {
        println!("Not balanced: {fault}");
    }
    if options.keep {
        stage.invite();
        stage.until_ended()?;
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
