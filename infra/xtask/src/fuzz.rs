//! `cargo xtask fuzz`: what is drawn against what must hold, for as long as it is told.

use std::{
    path::Path,
    process::{ExitCode, Stdio},
};

use crate::Error;

/// What to look into, and how long.
#[derive(clap::Args)]
pub struct Args {
    /// What is drawn.
    #[arg(value_enum)]
    name: Name,
    /// How long it takes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Where the draw begins: the same seed draws the same.
    #[arg(long, default_value_t = 8)]
    seed: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    /// Filters and events: the matcher against the plain filters.
    Match,
    /// Failures, commits, restarts, redrives: the order of each key against a model of it.
    Order,
}

/// Runs it; a difference is a failure, and printed.
pub fn run(root: &Path, args: &Args) -> Result<ExitCode, Error> {
    let (seconds, seed) = ((args.minutes * 60).to_string(), args.seed.to_string());
    let found = match args.name {
        Name::Match => program(root, &["fuzz", &seconds, &seed])?,
        Name::Order => order(root, &seconds, &seed)?,
    };
    print!("{found}");
    Ok(ExitCode::SUCCESS)
}

/// Builds the tests of the core in release form and runs the one that draws schedules; the line that it prints.
fn order(root: &Path, seconds: &str, seed: &str) -> Result<String, Error> {
    let output = crate::cargo()
        .current_dir(root)
        .args(["test", "--quiet", "--release", "--package", "router-core", "--lib", "fuzz_order"])
        .args(["--", "--ignored", "--nocapture"])
        .env("GOCOFFEE_FUZZ_SECONDS", seconds)
        .env("GOCOFFEE_FUZZ_SEED", seed)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| Error(format!("cargo cannot be started: {e}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("no difference"));
    match line.filter(|_| output.status.success()) {
        Some(line) => Ok(format!("{}\n", line.get(line.find("no difference").unwrap_or_default()..).unwrap_or(line))),
        None => Err(Error(format!("a difference with seed {seed}: {}\n{text}", output.status))),
    }
}

/// Builds the matcher's own program in release form and runs it; what it prints.
pub fn program(root: &Path, arguments: &[&str]) -> Result<String, Error> {
    let output = crate::cargo()
        .current_dir(root)
        .args(["run", "--quiet", "--release", "--package", "router-core", "--example", "matching", "--"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| Error(format!("cargo cannot be started: {e}")))?;
    if !output.status.success() {
        return Err(Error(format!("matching {}: {}", arguments.join(" "), output.status)));
    }
    String::from_utf8(output.stdout).map_err(|e| Error(format!("matching {}: {e}", arguments.join(" "))))
}
