//! Goal: what README.md and docs/ say is so. Commands are executed, examples are checked, and every key,
//! default, metric, limit and status is held to the code.
//!
//! A block marked ```` ```sh run ```` is executed; all of one page run in one bash, in order, in an empty
//! folder. The ```` ```text ```` block that follows one holds lines that its output must have, in that order:
//! `…` stands for anything, and runs of spaces are one. The ports 8080, 8081 and 9001 of 127.0.0.1 become
//! free ones; the commands get the options that say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Blocks that are executed.
#[path = "docs/run.rs"]
mod run;

/// Configuration: keys, defaults, examples.
#[path = "docs/config.rs"]
mod config;

/// Codes and their pages.
#[path = "docs/codes.rs"]
mod codes;

/// What each mapping between clouds keeps.
#[path = "docs/clouds.rs"]
mod clouds;

/// Metrics, limits, statuses, links.
#[path = "docs/facts.rs"]
mod facts;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// README.md and all pages of docs/, by their path from the root.
fn pages() -> Vec<String> {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let pages = pages.map(|name| format!("docs/{}", name.to_string_lossy())).filter(|name| name.ends_with(".md"));
    pages.chain(["README.md".to_owned(), "CHANGELOG.md".to_owned()]).collect()
}

/// A fenced block: what stands behind the fence, and its text.
struct Block {
    kind: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(kind), false) => {
                blocks.push(Block { kind: kind.to_owned(), text: String::new() });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                let text = &mut blocks.last_mut().expect("a block is open").text;
                text.push_str(line);
                text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

/// The cells of all rows of all tables, without their heads, backquotes kept.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = page.lines().collect();
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("|--"));
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|c| c.trim().to_owned()).collect();
    let row = |(at, line): (usize, &&str)| {
        (line.starts_with('|') && !line.starts_with("|--") && !is_head(at)).then(|| cells(line))
    };
    lines.iter().enumerate().filter_map(row).collect()
}

/// The text between backquotes, when the cell is that and nothing else.
fn quoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|inner| !inner.contains('`'))
}
