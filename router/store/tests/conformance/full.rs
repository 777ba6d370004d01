//! Goal: a commit of which only a part could be written, and everything on a disk that is really full, takes nothing
//! from what was acknowledged: the commits after it are refused, and the next start finds every one before it.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use router_core::{
    id::Offset,
    store::{Change, Durability, Error, Ledger},
};
use router_store::{
    conformance::{lane, pending},
    ledger::{DiskLedger, Options},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::space::{MIB, Small};

/// Where the child finds the ledger, and after how many bytes of a commit its file may not grow.
const CHILD: &str = "GOCOFFEE_TESTS_LEDGER_CHILD";
/// Entries of one commit.
const ENTRIES: u64 = 100;
/// Commits before the one that fails, and after it.
const COMMITS: u64 = 8;

/// No mark below which commits are refused: the library itself is to meet the limit.
fn open(dir: &Path) -> DiskLedger {
    DiskLedger::open(&dir.join("ledger"), Options { free_bytes_min: 0, ..Options::default() }).unwrap()
}

fn entries(commit: u64) -> Vec<Change> {
    let put = |n| Change::Put { pending: pending(lane(1), commit * ENTRIES + n, None), replaces: None };
    (0..ENTRIES).map(put).collect()
}

/// Which commits are there, each whole or not at all.
async fn there(ledger: &DiskLedger) -> Vec<u64> {
    let found = ledger.ready(lane(1), Offset(0), 1_000_000).await.unwrap();
    let mut commits: Vec<u64> = found.iter().map(|p| p.offset.0 / ENTRIES).collect();
    commits.dedup();
    assert_eq!(found.len() as u64, commits.len() as u64 * ENTRIES, "a commit is there in part");
    commits
}

/// Where the journal that is written to ends: what is reserved behind it reads as zeros.
fn written(dir: &Path) -> u64 {
    let journals = std::fs::read_dir(dir.join("ledger")).unwrap().map(|file| file.unwrap().path());
    let mut journals: Vec<PathBuf> = journals.filter(|p| p.extension().is_some_and(|e| e == "jnl")).collect();
    journals.sort();
    let mut bytes = Vec::new();
    File::open(journals.last().unwrap()).unwrap().take(MIB).read_to_end(&mut bytes).unwrap();
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1)
}

/// Commits; at one of them no file may grow beyond some bytes of it, later ones have all the room again. Tells which
/// were acknowledged, and dies.
fn child(dir: &Path, cut: u64, durability: Durability) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let ledger = open(dir);
        let epoch = ledger.state().await.unwrap().epoch;
        let free = getrlimit(Resource::Fsize);
        for commit in 1..=2 * COMMITS {
            let fails = commit == COMMITS + 1;
            if fails {
                let limit = Rlimit { current: Some(written(dir) + cut), maximum: free.maximum };
                setrlimit(Resource::Fsize, limit).unwrap();
            }
            let asked = if fails { durability } else { Durability::Now };
            let done = ledger.commit(epoch, entries(commit), asked).await;
            setrlimit(Resource::Fsize, free).unwrap();
            let says = match done {
                Ok(()) => "acknowledged",
                Err(Error::Poisoned(_)) => "refused",
                Err(e) => panic!("{e}"),
            };
            // The harness prints before it, on the same line.
            println!("\n{says} {commit}");
            std::io::stdout().flush().unwrap();
        }
        std::process::abort();
    });
}

/// Runs this very test in a child that lives to see its writes fail: the signal for files that are too large is ignored.
fn run_child(dir: &Path, cut: u64, durability: Durability) -> Vec<String> {
    let exe = std::env::current_exe().unwrap();
    let test = "conformance::full::commit_that_is_written_in_part_takes_nothing_with_it";
    let told = format!("{cut} {durability:?} {}", dir.display());
    let out = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, told)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.signal(), Some(6), "{said}\n{errors}");
    let is_word = |line: &&str| line.starts_with("acknowledged ") || line.starts_with("refused ");
    said.lines().filter(is_word).map(Into::into).collect()
}

#[test]
fn commit_that_is_written_in_part_takes_nothing_with_it() {
    if let Some(told) = std::env::var_os(CHILD) {
        let told = told.into_string().unwrap();
        let [cut, durability, dir] = told.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
        let durability = if durability == "Now" { Durability::Now } else { Durability::Lazy };
        return child(dir.as_ref(), cut.parse().unwrap(), durability);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (mut failed, mut runs) = (0, 0);
    for durability in [Durability::Now, Durability::Lazy] {
        for cut in [0, 1, 60, 700, 3_000] {
            let dir = TempDir::new().unwrap();
            let said = run_child(dir.path(), cut, durability);
            let of = |word: &str| -> Vec<u64> {
                said.iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
            };
            let (acknowledged, refused) = (of("acknowledged"), of("refused"));
            assert_eq!(said.len() as u64, 2 * COMMITS, "{said:?}");
            runs += 1;
            failed += u64::from(refused == (COMMITS + 1..=2 * COMMITS).collect::<Vec<_>>());
            runtime.block_on(async {
                let ledger = open(dir.path());
                let found = there(&ledger).await;
                let lost: Vec<_> = acknowledged.iter().filter(|commit| !found.contains(commit)).collect();
                assert!(lost.is_empty(), "{cut} bytes, {durability:?}: {lost:?} of {said:?}, {found:?} are there");
                let epoch = ledger.state().await.unwrap().epoch;
                ledger.commit(epoch, entries(100), Durability::Now).await.unwrap();
                ledger.close().await.unwrap();
                assert!(there(&open(dir.path())).await.contains(&100));
            });
        }
    }
    println!("{failed} of {runs} commits were written in part, and everything behind them was refused");
    assert!(failed * 2 >= runs, "only {failed} of {runs} met the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_that_is_really_full_keeps_every_commit_that_was_acknowledged() {
    let Some(small) = Small::mount(256 * MIB) else { return };
    for room in [0, 4_096, 100_000, MIB] {
        let dir = small.path().join(format!("data-{room}"));
        std::fs::create_dir(&dir).unwrap();
        let ledger = open(&dir);
        let epoch = ledger.state().await.unwrap().epoch;
        let mut acknowledged = Vec::new();
        for commit in 1..=COMMITS {
            ledger.commit(epoch, entries(commit), Durability::Now).await.unwrap();
            acknowledged.push(commit);
        }
        small.leave(room);
        let mut commit = COMMITS;
        let refused = loop {
            commit += 1;
            match ledger.commit(epoch, entries(commit), Durability::Now).await {
                Ok(()) => acknowledged.push(commit),
                Err(e) => break e,
            }
            assert!(commit < 100_000, "a full disk takes everything");
        };
        assert!(matches!(refused, Error::Poisoned(_)), "{refused}");
        // Room that comes later changes nothing for a ledger that has failed.
        small.leave(128 * MIB);
        let later = ledger.commit(epoch, entries(commit + 1), Durability::Now).await;
        assert!(matches!(later, Err(Error::Poisoned(_))), "{later:?}");
        drop(ledger);
        let ledger = open(&dir);
        let found = there(&ledger).await;
        let lost: Vec<_> = acknowledged.iter().filter(|commit| !found.contains(commit)).collect();
        assert!(lost.is_empty(), "{room} bytes of room: {lost:?} of {}", acknowledged.len());
        println!("{room} bytes of room: {} commits were acknowledged, and are there", acknowledged.len());
        ledger.close().await.unwrap();
    }
}
