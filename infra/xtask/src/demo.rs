//! `cargo demo`: the coffee platform on one machine. A router on a temporary folder and free ports, five
//! functions in one process, 600 events; one function is down for three seconds, one refuses every event of
//! a type for good, an operator repairs it and redrives. At the end a table says, route by route, what
//! became of every event, and the process exits with 1 when that does not balance.
//!
//! Nothing of the router is linked in here: everything is done by its command line, and the functions are
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

/// A request, an answer, no more.
mod http;

/// The processes and the folder, which are gone afterwards whatever happens.
mod stage;

use balance::{Line, ROUTES, Route};
use stage::{Programs, Stage};

/// How long order-processor is down.
const OUTAGE: Duration = Duration::from_secs(3);
/// How long everything may take to settle.
const SETTLE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The route whose function is down for a while.
const DOWN: &str = "orders";
/// The route whose function refuses [`REFUSED`].
const REFUSING: &str = "stock";
/// The type that is refused for good.
const REFUSED: &str = "inventory.low";
/// The route whose function loses an event under `--swallow`.
const LOSING: &str = "prices";

/// What the demo is asked for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Leave everything running at the end, until Ctrl-C, and print what to try next.
    #[arg(long)]
    keep: bool,
    /// Let a function lose an event that it has acknowledged: the demo must find out.
    #[arg(long, hide = true)]
    swallow: bool,
}

/// Plays the demo.
///
/// # Errors
/// What did not start, answer or settle.
pub fn run(root: &Path, options: Options) -> Result<ExitCode, Error> {
    let events = events(root)?;
    let programs = Programs::find_or_build(root)?;
    let stage = Stage::open(root, programs)?;
    let played = play(&stage, &events, options);
    // After a signal the stage is being cleared: what failed by that is not worth telling.
    stage.wait_if_ending();
    played
}

/// All sample events.
fn events(root: &Path) -> Result<Vec<Value>, Error> {
    let path = root.join(samples::PATH);
    let text = std::fs::read_to_string(&path).map_err(|e| Error(format!("{}: {e}", path.display())))?;
    let read = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    read.map_err(|e| Error(format!("{}: {e}", path.display())))
}

fn play(stage: &Stage, events: &[Value], options: Options) -> Result<ExitCode, Error> {
    println!("A router runs on a temporary folder; events come in at http://{}/events.", stage.public);
    println!("One process stands in for five functions:");
    println!("  order-processor      is down (503) for the next {} seconds", OUTAGE.as_secs());
    println!("  inventory-optimizer  refuses (422) every {REFUSED}, for good");
    println!("  ai-coordinator, defi-scanner and audit are well");
    let outage_ms = u64::try_from(OUTAGE.as_millis()).unwrap_or(u64::MAX);
    stage.script(DOWN, &json!({"rules": [{"answer": {"status": 503}, "for_ms": outage_ms}]}))?;
    stage.script(REFUSING, &json!({"rules": [{"answer": {"status": 422}, "kind": REFUSED}]}))?;
    if options.swallow {
        stage.script(LOSING, &json!({"rules": [{"answer": "swallow", "requests_max": 1}]}))?;
    }
    let start = Instant::now();
    show(stage, &["publish", samples::PATH], &["--to", &format!("http://{}/events", stage.public)])?;
    settle(stage, start)?;
    redrive(stage, events)?;
    conclude(stage, events, options)
}

/// Runs a command of the router and shows it and its output; `more` is needed here and not worth showing.
fn show(stage: &Stage, args: &[&str], more: &[&str]) -> Result<(), Error> {
    println!("\n$ gocoffee {}", args.join(" "));
    let output = stage.gocoffee(&[args, more].concat())?;
    print!("{output}");
    Ok(())
}

/// What the router says of itself.
fn status(stage: &Stage) -> Result<Value, Error> {
    let text = stage.gocoffee(&stage.with_admin(&["status", "--output", "json"]))?;
    serde_json::from_str(&text).map_err(|e| Error(format!("the status cannot be read: {e}")))
}

/// Waits until nothing is owed, and tells how the outage looked on the way.
fn settle(stage: &Stage, start: Instant) -> Result<(), Error> {
    let (mut told, end) = (false, Instant::now() + SETTLE);
    println!();
    loop {
        let status = status(stage)?;
        let owed = |r: &Route| balance::owed(&status, r.name);
        let all: u64 = ROUTES.iter().map(owed).sum::<Result<u64, Error>>()?;
        let down = balance::owed(&status, DOWN)?;
        let seconds = start.elapsed().as_secs_f64();
        if all == 0 {
            println!("{seconds:4.1} s  every event is delivered, or parked as a dead letter");
            return Ok(());
        }
        if !told && all == down {
            println!("{seconds:4.1} s  {down} deliveries wait for order-processor; nobody else waits for it");
            told = true;
        }
        if Instant::now() > end {
            let message = format!("{all} deliveries still wait after {} seconds:\n{status:#}", SETTLE.as_secs());
            return Err(Error(message));
        }
        thread::sleep(LOOK);
    }
}

/// Shows the dead letters, repairs the function, and delivers them again.
fn redrive(stage: &Stage, events: &[Value]) -> Result<(), Error> {
    let refused = events.iter().filter(|e| e.get("type").is_some_and(|t| t == REFUSED)).count();
    listed(stage, refused)?;
    show(stage, &["dead-letters", "ls", "--count", "3"], &stage.with_admin(&[]))?;
    println!("\ninventory-optimizer is repaired.");
    stage.script(REFUSING, &json!({}))?;
    show(stage, &["dead-letters", "redrive", "--route", REFUSING], &stage.with_admin(&[]))?;
    settle(stage, Instant::now())
}

/// Waits until so many dead letters are listed: the ledger lists them from its next commit on.
fn listed(stage: &Stage, count: usize) -> Result<(), Error> {
    let end = Instant::now() + SETTLE;
    loop {
        let args = ["dead-letters", "ls", "--count", "1000", "--output", "json"];
        let text = stage.gocoffee(&stage.with_admin(&args))?;
        let page: Value = serde_json::from_str(&text).map_err(|e| Error(format!("dead letters: {e}")))?;
        let found = page.get("dead_letters").and_then(Value::as_array).map_or(0, Vec::len);
        if found == count {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Error(format!(
                "{count} events of {REFUSED} were refused, and {found} dead letters are listed"
            )));
        }
        thread::sleep(LOOK);
    }
}

/// Draws the table, judges it, and with `--keep` waits.
fn conclude(stage: &Stage, events: &[Value], options: Options) -> Result<ExitCode, Error> {
    let (status, counts) = (status(stage)?, stage.counts()?);
    let lines: Vec<Line> =
        ROUTES.iter().map(|route| Line::new(route, events, &status, &counts)).collect::<Result<_, _>>()?;
    print!("\n{}", balance::table(&lines));
    let faults = balance::faults(&lines);
    if faults.is_empty() {
        println!("\nBalanced: every event went where it should, and every function has what the router delivered.");
    }
    for fault in &faults {
        println!("\nNot balanced: {fault}");
    }
    if options.keep {
        stage.invite();
        stage.until_ended()?;
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
