//! Goal: `cargo demo` is what a newcomer sees first. It must balance, leave nothing behind, and notice a
//! function that loses an event.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use router_tests::world::process;

/// What the demo may take on a busy machine, xtask's own build included.
const DEADLINE: Duration = Duration::from_secs(600);

/// Runs it with the programs that are built already, its temporary folder in `folder`.
fn demo(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--package", "xtask", "--", "demo"]).args(args);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).env("TMPDIR", folder);
    command.env("GOCOFFEE_BIN", process::binary()).env("GOCOFFEE_SINK_BIN", env!("CARGO_BIN_EXE_coffee-sink"));
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

/// The rows of the table: a route and its six figures.
fn rows(text: &str) -> Vec<(String, Vec<u64>)> {
    let row = |line: &str| {
        let mut cells = line.split_whitespace();
        let route = cells.next()?.to_owned();
        let figures = cells.map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        (figures.len() == 6).then_some((route, figures))
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
    assert_eq!(rows.len(), 6, "{text}");
    for (route, figures) in &rows {
        let [matched, delivered, dead_letters, ended, waiting, took] = figures[..] else { unreachable!() };
        assert!(matched > 0, "{route}: {text}");
        assert_eq!((delivered, dead_letters, ended, waiting, took), (matched, 0, 0, 0, matched), "{route}: {text}");
    }
    assert!(rows.contains(&("everything".to_owned(), vec![600, 600, 0, 0, 0, 600])), "{text}");
    assert!(text.contains("deliveries wait for order-processor"), "the outage was seen: {text}");
    assert!(text.contains("redriven: "), "{text}");
    assert!(text.contains("\nBalanced: "), "{text}");
    assert_eq!(left_behind(folder.path()), 0);
}

#[test]
fn demo_finds_the_event_that_a_function_swallowed() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--swallow"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = "Not balanced: route prices delivered 109 events, and its function has 108";
    assert!(text.contains(told), "{text}");
    assert_eq!(left_behind(folder.path()), 0);
}
