use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::{fs::symlink, process::CommandExt},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use router_tests::world::process;

use super::{Block, blocks, page};

/// What a page may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);
/// What the test has done instead: the one block of commands in operate.md that is not executed.
const BUILD: &str = "cargo build -p gocoffee -p router-tests --bins\n\
                     export PATH=\"$PWD/target/debug:$PATH\"\ncd \"$(mktemp -d)\"\n";
/// The options that lead a command to the ports of this test instead of the usual ones.
const WRAPPER: &str = r#"
gocoffee() {
    case "$1" in
        check) command gocoffee "$@" ;;
        archive) if [ "$2" = verify ]; then command gocoffee "$@"; else command gocoffee "$@" --admin "http://127.0.0.1:8081"; fi ;;
        # In the background, as pages start it: the process that $! names is the router itself.
        serve) exec gocoffee "$@" ;;
        publish) command gocoffee "$@" --to "http://127.0.0.1:8080/events" ;;
        *) command gocoffee "$@" --admin "http://127.0.0.1:8081" ;;
    esac
}
"#;
/// Written after each block, with its number.
const END: &str = "-- end of block ";

/// Free ports for the usual ones.
fn ports() -> BTreeMap<&'static str, String> {
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let port = |l: &TcpListener| format!("127.0.0.1:{}", l.local_addr().unwrap().port());
    ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:9001"].into_iter().zip(listeners.iter().map(port)).collect()
}

/// Runs the blocks in one shell; the output of each.
fn execute(blocks: &[&Block]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (bin, work) = (folder.path().join("bin"), folder.path().join("work"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&work).unwrap();
    symlink(process::binary(), bin.join("gocoffee")).unwrap();
    symlink(env!("CARGO_BIN_EXE_coffee-sink"), bin.join("coffee-sink")).unwrap();
    let mut script = format!("set -eu\n{WRAPPER}");
    for (at, block) in blocks.iter().enumerate() {
        script += &format!("{}\necho '{END}{at}'\n", block.text);
    }
    for (usual, free) in ports() {
        script = script.replace(usual, &free);
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut command = Command::new("bash");
    command.arg("-c").arg(&script).current_dir(&work).env("PATH", path).process_group(0).stdin(Stdio::null());
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut shell = command.spawn().expect("bash starts");
    let end = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = shell.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // The shell, where it still runs, and whatever the page has left behind.
    let group = rustix::process::Pid::from_child(&shell);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
    shell.wait().unwrap();
    let text = fs::read_to_string(out).unwrap();
    let log = fs::read_to_string(work.join("router.log")).unwrap_or_default();
    let all = format!("{text}\n{}\n{log}", fs::read_to_string(err).unwrap());
    assert!(status.is_some_and(|s| s.success()), "the page ends with {status:?}:\n{all}");
    let mut outputs = Vec::new();
    let mut rest = text.as_str();
    for at in 0..blocks.len() {
        let (output, after) = rest.split_once(&format!("{END}{at}\n")).expect("each block has its end");
        outputs.push(output.to_owned());
        rest = after;
    }
    outputs
}

/// Whether a line is as expected: pieces between `…` in order, runs of spaces as one.
fn fits(expected: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, line) = (squeeze(expected), squeeze(line));
    let pieces: Vec<&str> = expected.split('…').map(str::trim).collect();
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    if pieces.len() == 1 {
        return line == expected;
    }
    let mut rest = match line.strip_prefix(first) {
        Some(rest) => rest,
        None => return false,
    };
    for piece in &pieces[1..pieces.len() - 1] {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The first expected line that the output does not have in its place.
fn missing<'a>(expected: &'a str, output: &str) -> Option<&'a str> {
    let mut lines = output.lines();
    expected.lines().find(|wanted| !lines.any(|line| fits(wanted, line)))
}

/// Runs what a page shows, and holds what is printed to what the page expects. `plain` are its blocks that are
/// not run.
fn hold(name: &str, plain: &[&str]) {
    let blocks = blocks(&page(name));
    let not_run: Vec<&Block> = blocks.iter().filter(|b| b.kind == "sh").collect();
    assert_eq!(not_run.iter().map(|b| b.text.as_str()).collect::<Vec<_>>(), plain, "mark the others `sh run`");
    let run: Vec<&Block> = blocks.iter().filter(|b| b.kind == "sh run").collect();
    assert!(run.len() >= 2, "{} blocks", run.len());
    let outputs = execute(&run);
    let mut at = 0;
    for block in blocks {
        match block.kind.as_str() {
            "sh run" => at += 1,
            "text" => {
                let output = &outputs[at - 1];
                // The page names the usual ports, the output the free ones.
                let expected = block.text.replace("127.0.0.1:9001", "127.0.0.1:");
                let missed = missing(&expected, output);
                assert_eq!(missed, None, "block {at} of {name} printed:\n{output}");
            }
            _ => {}
        }
    }
}

#[test]
fn operate_takes_a_newcomer_to_a_redriven_dead_letter() {
    hold("docs/operate.md", &[BUILD]);
}

#[test]
fn the_flow_is_watched_as_its_page_says() {
    hold("docs/tail.md", &[]);
}

#[test]
fn the_archive_is_exported_and_verified_as_its_page_says() {
    hold("docs/archive.md", &[]);
}

#[test]
fn what_the_router_tells_is_seen_as_its_page_says() {
    hold("docs/system-events.md", &[]);
}

#[test]
fn replay_page_does_what_it_says() {
    hold("docs/replay.md", &[]);
}

#[test]
fn a_line_that_is_not_printed_is_missed() {
    let output = "gocoffee.yaml: ok\nROUTE   STATE\norders  active  7s\n";
    assert_eq!(missing("gocoffee.yaml: ok\norders active …\n", output), None);
    assert_eq!(missing("orders … 7s\n", output), None);
    assert_eq!(missing("…active…\n", output), None);
    assert_eq!(missing("orders … 8s\n", output), Some("orders … 8s"));
    assert_eq!(missing("orders active\n", output), Some("orders active"));
    assert_eq!(missing("orders …\ngocoffee.yaml: ok\n", output), Some("gocoffee.yaml: ok"), "the order counts");
}
