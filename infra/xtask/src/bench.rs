//! `cargo xtask bench`: the router as its users run it (a release build in a process of its own, on disk),
//! with its load in other processes, all on this machine.
//!
//! | scenario | question | limit |
//! |---|---|---|
//! | [`outage`] | what do dead targets cost the others, and the memory? | held |
//! | [`log`] | how far is the log from bare segments? | held |
//! | [`intake`] | how far is the intake from a server that only answers? | held |
//! | [`flow`] | how far is the way through from a server that only syncs and posts? | held |
//! | [`redis`] | how far is Redis, which syncs each append as well? | held |
//! | [`rabbit`] | how far is RabbitMQ, publish to consume? | held |
//! | [`restart`] | how long until ready after `kill -9` with a long log? | printed |
//! | [`start`] | how soon does a function answer, beside Google's frameworks? | held |
//! | [`handlers`] | what do a schema and a handler take for one event? | held |
//! | [`clouds`] | how far are the targets and sources of the clouds from bare loops over their SDKs? | held |
//! | [`matching`] | how many events does the matcher judge, by class and number of rules? | held |
//!
//! Runs that are compared are interleaved, so that other work on the machine hits both; the load average
//! stands beside every figure. Everything is bounded in time, listens on loopback, and ends with this process.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::Error;

/// Two dead targets beside two good ones.
mod outage;

/// Requests against a bare server.
mod intake;

/// From a publisher to sinks.
mod flow;

/// The log alone.
mod log;

/// Beside Redis.
mod redis;

/// Beside RabbitMQ.
mod rabbit;

/// Killed with a long log, and started again.
mod restart;

/// The matcher alone, in one thread.
mod matching;

/// Schemas and functions alone, in one thread.
mod handlers;

/// Functions from nothing to an answer.
mod start;

/// Targets and sources of the clouds alone, beside their SDKs.
mod clouds;

/// The programs, and the router as a process.
mod world;

/// The load, in processes of its own, and what it tells.
mod load;

/// Figures with their limits.
mod table;

use table::Table;
use world::World;

/// What to measure, and how much of it.
#[derive(clap::Args)]
pub struct Args {
    /// The scenario; all of them when none is named.
    #[arg(value_enum)]
    name: Option<Name>,
    /// Events of a scenario's longest run. The limit on memory is defined at 1,000,000.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    events: u64,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Compare runs of full length, and more often.
    #[arg(long)]
    long: bool,
    /// A folder with `gocoffee`, `coffee-load` and `examples/clouds`, to measure these instead of what is built now.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Log,
    Intake,
    Flow,
    Redis,
    Rabbit,
    Outage,
    Restart,
    Match,
    Handlers,
    Start,
    Clouds,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table.
    #[default]
    Text,
    /// One array of objects on standard output; what is under way goes to standard error.
    Json,
}

/// Runs the scenarios; a missed limit is a failure.
pub fn run(root: &Path, args: &Args) -> Result<ExitCode, Error> {
    let mut table = Table::default();
    if args.name.is_none_or(|wanted| wanted == Name::Match) {
        matching::run(root, args, &mut table)?;
    }
    if args.name.is_none_or(|wanted| wanted == Name::Handlers) {
        handlers::run(root, args, &mut table)?;
    }
    if args.name.is_none_or(|wanted| wanted == Name::Start) {
        start::run(root, args, &mut table)?;
    }
    if args.name.is_none_or(|wanted| wanted == Name::Clouds) {
        clouds::run(root, args, &mut table)?;
    }
    if !matches!(args.name, Some(Name::Match | Name::Handlers | Name::Start | Name::Clouds)) {
        processes(&World::new(root, args.programs.as_deref())?, args, &mut table)?;
    }
    match args.output {
        Output::Text => print!("{}", table.to_text()),
        Output::Json => println!("{:#}", table.to_json()),
    }
    Ok(if table.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenarios in which the router is a process of its own.
fn processes(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    for (name, scenario) in [
        (Name::Log, log::run as fn(&World, &Args, &mut Table) -> Result<(), Error>),
        (Name::Intake, intake::run),
        (Name::Flow, flow::run),
        (Name::Redis, redis::run),
        (Name::Rabbit, rabbit::run),
        (Name::Outage, outage::run),
        (Name::Restart, restart::run),
    ] {
        if args.name.is_none_or(|wanted| wanted == name) {
            scenario(world, args, table)?;
        }
    }
    Ok(())
}
