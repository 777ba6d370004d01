//! The command line: one subcommand per file. Each answers with an exit code; errors say what to do.

use std::{io::Write, path::PathBuf, process::ExitCode};

use ::schemas::Code;
use clap::{Parser, Subcommand, ValueEnum};

use crate::codes;

/// `gocoffee check`.
mod check;

/// What a change of the configuration would do to what is owed.
mod against;

/// `gocoffee serve`.
mod serve;

/// `gocoffee publish`.
mod publish;

/// `gocoffee status`.
mod status;

/// `gocoffee dead-letters`.
mod dead_letters;

/// `gocoffee replay`.
mod replay;

/// `gocoffee routes`.
mod routes;

/// `gocoffee filter`.
mod filter;

/// `gocoffee explain`.
mod explain;

/// `gocoffee recover`.
mod recover;

/// `gocoffee transform`.
mod transform;

/// `gocoffee schemas`.
mod schemas;

/// `gocoffee tail`.
mod tail;

/// `gocoffee archive`.
mod archive;

/// `gocoffee completions`.
mod completions;

/// Streams of lines.
mod stream;

/// How far long work is.
mod progress;

/// Calls of the admin API.
mod api;

/// `gocoffee reload`.
mod reload;

/// `gocoffee targets`.
mod targets;

/// Columns.
mod table;

pub(crate) use table::count;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The answer is no: findings, refused events, or what was asked for could not be done.
    No = 1,
    /// The command line cannot be read; clap ends with it too.
    Usage = 2,
    /// Somebody else must act first: the router does not run, the token is wrong, an address is taken.
    Unavailable = 69,
    /// The store failed. A supervisor starts the router again, which recovers what was acknowledged.
    Store = 74,
    /// The configuration has errors.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

const AFTER_HELP: &str = "\
Examples:
  gocoffee check gocoffee.yaml
  gocoffee serve --config gocoffee.yaml
  gocoffee publish orders.ndjson
  gocoffee status

Exit codes:
  0   done
  1   the answer is no: findings, refused events, nothing found, not done
  2   the command line cannot be read
  69  not reachable: no router runs there, the token is wrong, an address is taken
  74  the store failed; start the router again, it recovers what was acknowledged
  78  the configuration has errors";

/// Takes CloudEvents in, keeps each one durably, and delivers it where rules say.
#[derive(Debug, Parser)]
#[command(name = "gocoffee", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Publish(publish::Args),
    Status(status::Args),
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    #[command(subcommand)]
    Replay(replay::Command),
    #[command(subcommand)]
    Routes(routes::Command),
    #[command(subcommand)]
    Targets(targets::Command),
    Reload(reload::Args),
    #[command(subcommand)]
    Filter(filter::Command),
    Explain(explain::Args),
    Recover(recover::Args),
    #[command(subcommand)]
    Transform(transform::Command),
    #[command(subcommand)]
    Schemas(schemas::Command),
    Tail(tail::Args),
    #[command(subcommand)]
    Archive(archive::Command),
    Completions(completions::Args),
}

/// How a listing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Where the router is and how it knows us.
#[derive(Debug, clap::Args)]
struct Admin {
    /// The router's admin address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    admin: String,
    /// A file that holds the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The router's data folder: its file admin.token is read when neither --token-file nor the environment
    /// variable GOCOFFEE_ADMIN_TOKEN gives a token.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let done = match command {
        Command::Check(args) => on_runtime(check::run(args)),
        Command::Filter(command) => filter::run(&command),
        Command::Explain(args) => explain::run(&args),
        Command::Recover(args) => on_runtime(recover::run(args)),
        Command::Transform(command) => transform::run(&command),
        Command::Schemas(command) => schemas::run(&command),
        Command::Completions(args) => completions::run(&args),
        Command::Serve(args) => on_runtime(serve::run(args)),
        Command::Publish(args) => on_runtime(publish::run(args)),
        Command::Status(args) => on_runtime(status::run(args)),
        Command::DeadLetters(command) => on_runtime(dead_letters::run(command)),
        Command::Replay(command) => on_runtime(replay::run(command)),
        Command::Routes(command) => on_runtime(routes::run(command)),
        Command::Tail(args) => on_runtime(tail::run(args)),
        Command::Archive(command) => on_runtime(archive::run(command)),
        Command::Targets(command) => on_runtime(targets::run(command)),
        Command::Reload(args) => on_runtime(reload::run(args)),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Not `eprint!`, which panics where nothing can be written: the exit code is to be told all the same.
            write!(std::io::stderr(), "{failure}").unwrap_or_default();
            failure.exit.into()
        }
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    code: Code,
    message: String,
}

impl Failure {
    fn new(exit: Exit, code: Code, message: impl Into<String>) -> Self {
        Failure { exit, code, message: message.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { code, message, .. } = self;
        writeln!(f, "error[{code}]: {message}\nhelp: gocoffee explain {code}")
    }
}

type Done = Result<Exit, Failure>;

fn on_runtime(command: impl Future<Output = Done>) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|e| Failure::new(Exit::Unavailable, codes::PROCESS, format!("no threads can be started: {e}")))?;
    let done = runtime.block_on(command);
    // A blocking read of standard input must not hold the end of the process.
    runtime.shutdown_background();
    done
}

/// Writes to standard output. A reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::No, codes::OUTPUT, format!("standard output cannot be written: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes a value as JSON over several lines.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(e) => Err(Failure::new(Exit::No, codes::OUTPUT, format!("the answer cannot be written as JSON: {e}"))),
    }
}
