//! `cargo xtask test`: formatting, lints and all tests, with one closing line `N passed, N failed`.
//!
//! Lints and tests share one profile and one feature set (the default features of the workspace), so
//! that what one has built the other uses. Numbers come from the runners' own summary lines. A step
//! that is no test (formatting, lints, the build, a runner that ends without a summary) counts as one
//! failure when it fails and as nothing when it does not: the closing line never says `0 failed` of a
//! run that failed.

use std::{
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
};

use crate::{clients, peers};

/// What the suites read to choose their long form.
const LONG: &str = "GOCOFFEE_TESTS_LONG";
/// Where the suites find the router's binary; without it they build it themselves.
const BINARY: &str = "GOCOFFEE_BIN";

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Whether this is a success: something ran and nothing failed.
    fn good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

/// Runs everything, also after a failure, so that one run tells all.
pub fn run(root: &Path, long: bool) -> ExitCode {
    let tally = match missing() {
        Some(what) => {
            eprintln!("error: {what}");
            Tally { passed: 0, failed: 1 }
        }
        None => {
            crate::tools::provide(root, long);
            let nextest = works("cargo", &["nextest", "--version"]);
            run_all(&Runner { root, long, nextest, clients: clients::provide(root) })
        }
    };
    if tally.passed == 0 && tally.failed == 0 {
        eprintln!("error: no test ran");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(runner: &Runner<'_>) -> Tally {
    let mut tally = Tally::default();
    let peers = peers::provide();
    tally.add(runner.check("formatting", &["fmt", "--all", "--check"], "run `cargo fmt --all`"));
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    tally.add(runner.check("lints", &clippy, "mend what clippy names"));
    // What `cargo demo` builds, and who leaves the clouds out: nothing above has these features.
    let small = ["check", "--no-default-features", "--package", "gocoffee", "--package", "router-tests", "--bins"];
    tally.add(runner.check("without the clouds", &small, "mend what the compiler names"));
    tally.add(dependencies(runner));
    let build = runner.check("build", &["build", "--workspace", "--all-targets"], "mend what the compiler names");
    tally.add(build);
    // A thread that panicked leaves the suites without their peers, which they say.
    let _provided = peers.join();
    if build.failed == 0 {
        let run: &[&str] = match runner.nextest {
            true => &["nextest", "run", "--workspace", "--no-fail-fast"],
            // --all-targets leaves the doc tests to the run below, as nextest does.
            false => &["test", "--workspace", "--all-targets", "--no-fail-fast"],
        };
        tally.add(runner.tests("tests", run));
        tally.add(runner.tests("doc tests", &["test", "--workspace", "--doc", "--no-fail-fast"]));
    }
    tally
}

/// What deny.toml says of licences, of what is kept out, and of where crates come from. Known faults are asked for over
/// the network, which CI does.
fn dependencies(runner: &Runner<'_>) -> Tally {
    if !works("cargo", &["deny", "--version"]) {
        eprintln!(
            "cargo-deny is not installed, so dependencies are held to deny.toml by CI alone; `cargo install cargo-deny --locked` adds it"
        );
        return Tally::default();
    }
    let deny = ["deny", "--offline", "--locked", "--log-level", "error", "check", "licenses", "bans", "sources"];
    runner.check("dependencies", &deny, "choose another crate, or say in deny.toml why this one may be there")
}

struct Runner<'a> {
    root: &'a Path,
    long: bool,
    nextest: bool,
    clients: Option<PathBuf>,
}

impl Runner<'_> {
    /// A cargo command in the checkout, as this program was called.
    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = crate::cargo();
        command.args(args).current_dir(self.root);
        if self.long {
            command.env(LONG, "1");
        }
        if let Some(clients) = &self.clients {
            command.env(clients::CLIENTS, clients);
        }
        // The build put the binary beside this one: same target folder, same profile.
        let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("gocoffee"));
        if let Some(binary) = beside.filter(|b| b.is_file()) {
            command.env(BINARY, binary);
        }
        command
    }

    /// A step that is no test.
    fn check(&self, what: &str, args: &[&str], help: &str) -> Tally {
        println!("== {what}: cargo {}", args.join(" "));
        match self.cargo(args).status() {
            Ok(status) if status.success() => Tally::default(),
            Ok(status) => {
                eprintln!("error: {what} failed ({status}); {help}");
                Tally { passed: 0, failed: 1 }
            }
            Err(e) => {
                eprintln!("error: {what}: cargo does not start: {e}");
                Tally { passed: 0, failed: 1 }
            }
        }
    }

    /// A run of tests, its output passed on and its summary lines counted.
    fn tests(&self, what: &str, args: &[&str]) -> Tally {
        println!("== {what}: cargo {}", args.join(" "));
        let colour = if std::io::stdout().is_terminal() { "always" } else { "never" };
        let mut command = self.cargo(args);
        command.env("CARGO_TERM_COLOR", colour).stdout(Stdio::piped()).stderr(Stdio::piped());
        let summary = if args.first() == Some(&"nextest") { of_nextest } else { of_cargo };
        match pass_on(command, summary) {
            Ok((success, tally)) => judge(what, success, tally),
            Err(e) => {
                eprintln!("error: {what}: cargo does not run: {e}");
                Tally { passed: 0, failed: 1 }
            }
        }
    }
}

/// A runner that failed without naming a failed test (it crashed, or did not compile) is a failure too.
fn judge(what: &str, success: bool, mut tally: Tally) -> Tally {
    if !success && tally.failed == 0 {
        eprintln!("error: {what}: the runner failed without naming a failed test");
        tally.failed = 1;
    }
    tally
}

/// Runs a command and passes its two streams on, line by line, counting what its summary lines say.
fn pass_on(mut command: Command, summary: Summary) -> std::io::Result<(bool, Tally)> {
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let tally = thread::scope(|scope| {
        let out = scope.spawn(|| stdout.map(|s| copy(s, std::io::stdout(), summary)).unwrap_or_default());
        let err = scope.spawn(|| stderr.map(|s| copy(s, std::io::stderr(), summary)).unwrap_or_default());
        let mut tally = out.join().unwrap_or_default();
        tally.add(err.join().unwrap_or_default());
        tally
    });
    Ok((child.wait()?.success(), tally))
}

fn copy(from: impl Read, mut to: impl Write, summary: Summary) -> Tally {
    let mut tally = Tally::default();
    for line in BufReader::new(from).split(b'\n') {
        let Ok(line) = line else { break };
        let text = String::from_utf8_lossy(&line);
        // A terminal that went away must not end the count.
        let _gone = writeln!(to, "{text}");
        if let Some(found) = summary(&plain(&text)) {
            tally.add(found);
        }
    }
    tally
}

/// What a line counts, if it is the runner's summary. Each runner is read by its own: nextest prints what a
/// failed test has printed, and that ends with a summary of cargo's kind.
type Summary = fn(&str) -> Option<Tally>;

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn of_cargo(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    Some(count(counts.split(';')))
}

/// `Summary [   0.005s] 7/9 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 0 skipped`, indented by five
fn of_nextest(line: &str) -> Option<Tally> {
    let (_, rest) = line.strip_prefix("     Summary [")?.split_once(']')?;
    let (_, counts) = rest.split_once(" run: ")?;
    Some(count(counts.split(',')))
}

/// Sums items like `5 passed`, `5 passed (1 slow`, `1 exec failed`.
fn count<'a>(items: impl Iterator<Item = &'a str>) -> Tally {
    let mut tally = Tally::default();
    for item in items {
        let Some((number, what)) = item.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match what.split(" (").next().unwrap_or(what) {
            "passed" => tally.passed += number,
            "failed" | "exec failed" | "timed out" | "setup scripts failed" => tally.failed += number,
            _ => {}
        }
    }
    tally
}

/// The line without its colours.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A colour is ESC [ … m; nothing else comes from a runner that writes to a pipe.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            text.push(c);
        }
    }
    text
}

/// What the tests need and cannot be provided: one sentence that says what to install.
fn missing() -> Option<String> {
    for (tool, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if works("cargo", &[probe, "--version"]) {
            continue;
        }
        eprintln!("{tool} is not there: adding it with rustup");
        let added = works("rustup", &["component", "add", tool]);
        if !added || !works("cargo", &[probe, "--version"]) {
            return Some(format!(
                "{tool} is missing and could not be added: run `rustup component add {tool}`, or install the package \
                 of your system that holds `cargo {probe}`"
            ));
        }
    }
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    if !works(&compiler, &["--version"]) {
        return Some(format!(
            "the C compiler `{compiler}` is missing (a dependency is written in C): install one, e.g. `apt install gcc`, \
             `dnf install gcc`, `apk add build-base` or `xcode-select --install`, or name yours in CC"
        ));
    }
    missing_make()
}

/// What builds the binary as users get it needs `make`, for its allocator; provided where that is allowed.
pub fn missing_make() -> Option<String> {
    let there = || ["make", "gmake"].iter().any(|make| works(make, &["--version"]));
    if there() {
        return None;
    }
    eprintln!("make is not there: adding it with apt-get");
    let added = works("apt-get", &["install", "-y", "--no-install-recommends", "make"]);
    if added && there() {
        return None;
    }
    Some(
        "make is missing (the allocator's build needs it) and could not be added: install it, e.g. `apt install make`, \
         `dnf install make`, `apk add build-base` or `xcode-select --install`"
            .into(),
    )
}

/// Whether a program starts and succeeds; its output is not shown.
fn works(program: &str, args: &[&str]) -> bool {
    let quiet = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_lines_of_both_runners_are_counted() {
        let cases: [(Summary, &str, (u64, u64)); 6] = [
            (of_cargo, "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out", (3, 0)),
            (of_cargo, "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", (7, 2)),
            (of_nextest, "     Summary [   0.005s] 5 tests run: 5 passed, 0 skipped", (5, 0)),
            (of_nextest, "     Summary [   1m 02s] 1 test run: 1 passed (1 slow), 3 skipped", (1, 0)),
            (
                of_nextest,
                "     Summary [   2.1s] 9/12 tests run: 5 passed, 2 failed, 1 exec failed, 1 timed out",
                (5, 4),
            ),
            (of_nextest, "\u{1b}[32;1m     Summary\u{1b}[0m [ 0.1s] 5 tests run: \u{1b}[1m5\u{1b}[0m passed", (5, 0)),
        ];
        for (summary, line, (passed, failed)) in cases {
            assert_eq!(summary(&plain(line)), Some(Tally { passed, failed }), "{line}");
        }
    }

    #[test]
    fn what_a_failed_test_has_printed_is_not_counted_again() {
        let printed = "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 23 filtered out";
        for line in ["", "running 3 tests", "test a ... ok", "Summary", printed, printed.trim()] {
            assert_eq!(of_nextest(line), None, "{line}");
        }
        for line in ["", "running 3 tests", "test a ... ok", "Summary", printed] {
            assert_eq!(of_cargo(line), None, "{line}");
        }
    }

    #[test]
    fn a_run_without_a_test_or_with_a_silent_failure_is_no_success() {
        assert!(!Tally::default().good());
        assert!(!Tally { passed: 3, failed: 1 }.good());
        assert!(Tally { passed: 3, failed: 0 }.good());
        assert_eq!(judge("tests", false, Tally { passed: 3, failed: 0 }), Tally { passed: 3, failed: 1 });
        assert_eq!(judge("tests", false, Tally { passed: 3, failed: 2 }), Tally { passed: 3, failed: 2 });
        assert_eq!(judge("tests", true, Tally { passed: 3, failed: 0 }), Tally { passed: 3, failed: 0 });
    }
}
