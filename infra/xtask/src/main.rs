//! The project's own tooling, as `cargo xtask COMMAND`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// The coffee platform on one machine.
mod demo;

/// The coffee events that the demo and the tests publish.
mod samples;

/// Programs of others that the tests use.
mod tools;

/// From a clone to three clouds.
mod deploy;

/// Clients that others wrote.
mod clients;

/// Formatting, lints and all tests.
mod test;

/// Who stands for a cloud in the tests.
mod peers;

/// The router under load, with the limits beside the figures.
mod bench;

/// What is drawn, against what must hold.
mod fuzz;

/// What is uploaded to a cloud.
mod package;

/// A function that is in every list.
mod new_function;

/// Code out of Google's descriptions.
#[cfg(feature = "protos")]
mod protos;

/// The project's own tooling.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the coffee platform on one machine, no cloud: a day of events, five functions, an outage, a stuck key, a
    /// redrive, a replay, and a balance.
    Demo(demo::Options),
    /// Check formatting and lints, run all tests, and end with a line that counts them.
    ///
    /// Needs Rust with rustfmt and clippy, and a C compiler; uses cargo-nextest and cargo-deny where they are installed, and
    /// Python 3 for moto and ministack, which stand for AWS.
    Test {
        /// Run the long forms: more rounds of the crash suite.
        #[arg(long)]
        long: bool,
    },
    /// Measure the router under load; 1 when a limit is missed.
    ///
    /// Builds release programs; a full run takes some minutes and 2 GB of disk.
    Bench(bench::Args),
    /// Simulate the path and the log on broken files, in simulated time: one seed with every step, or many.
    #[command(
        after_help = "Examples:\n  cargo xtask sim 7            seed 7, every step printed\n  SEED=7 cargo xtask sim       the same\n  cargo xtask sim 0 10000      seeds 0 to 9,999"
    )]
    Sim {
        /// The seed, or the first of many; without it, what the environment says in SEED.
        seed: Option<u64>,
        /// How many seeds from there on; without it, one, with every step printed.
        count: Option<u64>,
    },
    /// Draw filters and events, and hold the matcher to the plain filters; 1 at a difference.
    Fuzz(fuzz::Args),
    /// Package, plan and apply what infra/ describes for one environment, in one cloud or several.
    Deploy(deploy::Args),
    /// Write what is uploaded to a cloud: one function, built for it, small, the same bytes each time.
    Package(package::Args),
    /// Make a function that builds, has a test and a sample, and is in every list.
    NewFunction(new_function::Args),
    /// Write the sample events under schemas/samples anew.
    Samples,
    /// Write the code for Pub/Sub's protocol anew: `cargo run -p xtask --features protos -- protos`.
    #[cfg(feature = "protos")]
    Protos,
}

/// Why a command ended without doing its work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Error(String);

fn main() -> ExitCode {
    let root = root();
    let done = match Cli::parse().command {
        Command::Demo(options) => demo::run(&root, options),
        Command::Test { long } => Ok(test::run(&root, long)),
        Command::Bench(args) => bench::run(&root, &args),
        Command::Sim { seed, count } => simulate(&root, seed, count),
        Command::Fuzz(args) => fuzz::run(&root, &args),
        Command::Deploy(args) => deploy::run(&root, &args),
        Command::Package(args) => package::run(&root, &args),
        Command::NewFunction(args) => new_function::run(&root, &args),
        Command::Samples => samples::write(&root).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "protos")]
        Command::Protos => protos::write(&root).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|e| {
        eprintln!("error: {e}");
        ExitCode::FAILURE
    })
}

fn simulate(root: &Path, seed: Option<u64>, count: Option<u64>) -> Result<ExitCode, Error> {
    let seed = match (seed, std::env::var("SEED")) {
        (Some(seed), _) => seed,
        (None, Ok(text)) => text.parse().map_err(|_| Error(format!("SEED={text} is no number")))?,
        (None, Err(_)) => return Err(Error("which seed? `cargo xtask sim 7`, or `SEED=7 cargo xtask sim`".into())),
    };
    let numbers = [Some(seed), count].into_iter().flatten().map(|n| n.to_string());
    let status = cargo()
        .args(["run", "-q", "-p", "router-tests", "--bin", "coffee-sim", "--"])
        .args(numbers)
        .current_dir(root)
        .status()
        .map_err(|e| Error(format!("cargo does not start: {e}")))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cargo that this program was called by. It tells a program that it runs which package it is; build scripts of
/// dependencies look at these variables, and would be built anew at each change between this cargo and one in a terminal.
fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// The root of the checkout that `cargo xtask` was called in; called otherwise, of the one that this program was
/// built in. Cargo says it anew at each run, as checkouts that share a target folder share this program too.
fn root() -> PathBuf {
    let of_xtask = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"));
    let said = std::env::var_os("CARGO_MANIFEST_DIR").filter(|_| of_xtask);
    let here = said.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.ancestors().nth(2).unwrap_or(&here).to_path_buf()
}
