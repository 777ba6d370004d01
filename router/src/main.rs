//! The `gocoffee` binary: parse, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    gocoffee::cli::main()
}
