//! The `gocoffee` binary: parse, dispatch, exit code.

use std::process::ExitCode;

/// glibc's allocator keeps what a burst needed, in an arena for each thread; this one gives it back
/// (docs/benchmarks.md has the figures).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    gocoffee::cli::main()
}
