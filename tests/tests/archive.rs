//! Goal: who looks on sees what is there and disturbs nothing. A tail over the real binary, with a filter and with a
//! reader that is slow; an export that is interrupted and reads back byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Stores of buckets.
#[path = "archive/buckets.rs"]
mod buckets;

/// Copies in object storage.
#[path = "archive/copies.rs"]
mod copies;

/// Exports.
#[path = "archive/export.rs"]
mod export;

/// Google's storage.
#[path = "archive/google.rs"]
mod google;

/// The places that copies may lie at.
#[path = "archive/stores.rs"]
mod stores;

/// Tails.
#[path = "archive/tail.rs"]
mod tail;

use std::{path::Path, process::Stdio, time::Duration};

use router_tests::world::process::{Place, binary};

/// What a command may take.
const COMMAND: Duration = Duration::from_secs(60);

/// A command of the binary against the router at this place, its exit code and what it printed.
async fn run(place: &Place, args: &[&str]) -> (i32, String, String) {
    let output = tokio::time::timeout(COMMAND, command(place, args).output()).await;
    let output = output.expect("the command ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn command(place: &Place, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(binary());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    match args[..] {
        ["publish", ..] => drop(command.args(["--to", &place.url()])),
        ["archive", "verify", ..] => drop(command.arg("--data").arg(place.data())),
        _ => drop(command.args(["--admin", &place.admin_url()]).arg("--data").arg(place.data())),
    }
    command
}

/// Publishes the lines of a file; how many were accepted and how many were duplicates.
async fn publish(place: &Place, file: &Path) -> (u64, u64) {
    let (exit, out, err) = run(place, &["publish", file.to_str().unwrap(), "--output", "json"]).await;
    assert_eq!(exit, 0, "{err}");
    let totals: serde_json::Value = serde_json::from_str(&out).unwrap();
    (totals["accepted"].as_u64().unwrap(), totals["duplicate"].as_u64().unwrap())
}

/// One event on a line.
fn event(id: usize, members: &str) -> String {
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/archive\",\"type\":\"coffee.order.created\"{members}}}\n"
    )
}
