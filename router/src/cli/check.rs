//! `gocoffee check FILE`: every finding of a configuration at once, offline.

use std::{io::IsTerminal, path::PathBuf};

use super::{Done, Exit, Failure, Output, print, print_json};
use crate::{codes, config};

/// Finds everything that is wrong with a configuration, at once and offline.
///
/// Exit code 0 when there is no error, 1 when there is. Warnings alone leave it 0, unless they are denied.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee check gocoffee.yaml\n  gocoffee check gocoffee.yaml --output json | jq '.findings[].message'\n  gocoffee check gocoffee.yaml --deny-warnings"
)]
pub struct Args {
    /// The configuration.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take warnings for errors.
    #[arg(long)]
    deny_warnings: bool,
    /// How to write the findings.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> Done {
    let loaded = config::load_file(&args.file).map_err(|e| Failure::new(Exit::No, codes::CONFIG_UNREADABLE, e))?;
    match args.output {
        Output::Json => print_json(&loaded.report.to_json())?,
        Output::Table => print(&format!("{}\n", loaded.report.to_text(std::io::stdout().is_terminal())))?,
    }
    let denied = args.deny_warnings && loaded.report.warnings() > 0;
    Ok(if loaded.report.errors() == 0 && !denied { Exit::Ok } else { Exit::No })
}
