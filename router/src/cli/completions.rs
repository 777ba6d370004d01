//! `gocoffee completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Done, Exit, print};

/// Writes the completions of a shell to standard output.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gocoffee completions bash > /etc/bash_completion.d/gocoffee\n  gocoffee completions zsh > ~/.zfunc/_gocoffee\n  gocoffee completions fish > ~/.config/fish/completions/gocoffee.fish\n  source <(gocoffee completions bash)"
)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gocoffee", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Ok)
}
