//! Goal: `cargo demo` is what a newcomer sees first. It must balance, leave nothing behind, and notice a
//! target that loses an event.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use router_tests::world::process;

/// What the demo may take on a busy machine, xtask's own build included.
const DEADLINE: Duration = Duration::from_secs(600);

/// The short form.
const EVENTS: &str = "600";

/// Runs it with the programs that are built already, its temporary folder in `folder`.
fn demo(folder: &Path, args: &[&str]) -> Output {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--", "demo", "--events", EVENTS]).args(args);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).env("TMPDIR", folder);
    command.env("GOCOFFEE_BIN", process::binary()).env("GOCOFFEE_SINK_BIN", env!("CARGO_BIN_EXE_coffee-sink"));
    command.env("GOCOFFEE_FUNCTIONS_BIN", env!("CARGO_BIN_EXE_coffee-functions"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cargo starts");
    let end = Instant::now() + DEADLINE;
    while child.try_wait().expect("the child can be waited for").is_none() && Instant::now() < end {
        thread::sleep(Duration::from_millis(50));
    }
    // Ends what still runs, in order: cargo has become xtask, which hears this.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    child.wait_with_output().expect("its output can be read")
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The rows of the table: a route, and what was expected, matched, delivered, is a dead letter, ended, waits, and what
/// the target has.
fn rows(text: &str) -> BTreeMap<String, [String; 7]> {
    let row = |line: &str| {
        let mut cells = line.split_whitespace().map(str::to_owned);
        let (route, _target) = (cells.next()?, cells.next()?);
        let figures: [String; 7] = cells.collect::<Vec<_>>().try_into().ok()?;
        figures[1].parse::<u64>().ok().map(|_| (route, figures))
    };
    text.lines().filter_map(row).collect()
}

fn left_behind(folder: &Path) -> usize {
    folder.read_dir().expect("the folder can be read").count()
}

#[test]
fn demo_balances_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let rows = rows(&text);
    assert_eq!(rows.len(), 10, "{text}");
    for (route, [expected, matched, delivered, rest @ .., took]) in &rows {
        assert_ne!(matched, "0", "{route}: {text}");
        assert!(expected.ends_with('+') || expected == matched, "{route}: {text}");
        assert_eq!((delivered, rest.join(" ").as_str()), (matched, "0 0 0"), "{route}: {text}");
        assert!(took == "-" || took == matched, "{route}: {text}");
    }
    assert_eq!(rows["published"], ["600", "600", "600", "0", "0", "0", "600"], "{text}");
    for told in [
        "deliveries wait for order-processor; nobody else waits for it",
        "deliveries of one key wait in the kitchen; all other keys are served",
        "redriven: ",
        "gocoffee.breaker.opened  /gocoffee/",
        "\nBalanced: ",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(left_behind(folder.path()), 0);
}

#[test]
fn demo_finds_the_event_that_a_target_swallowed() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--swallow"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = "Not balanced: route published delivered 600 events, and its target has 599";
    assert!(text.contains(told), "{text}");
    assert_eq!(left_behind(folder.path()), 0);
}
