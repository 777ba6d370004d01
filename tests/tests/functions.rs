//! Goal: the functions fit together: what docs/functions.md says they take and reply with is so, and no chain
//! of replies leads back to where it began; one table of samples gets the same replies from every host; and what platforms
//! of others make of a request, the host makes of it too.
//!
//! `cargo xtask test` puts the peers into `peers` in the target folder. Where one is missing, its test says so in one
//! line and ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// Who stands for AWS.
#[path = "aws/peers.rs"]
#[allow(dead_code)]
mod peers;

/// Stores of buckets.
#[path = "archive/buckets.rs"]
mod buckets;

/// Google's emulator of Pub/Sub.
#[path = "gcp/emulator.rs"]
#[allow(dead_code)]
mod emulator;

/// Azure.
#[path = "functions/azure.rs"]
mod azure;

/// A router on a network.
#[path = "functions/edge.rs"]
mod edge;

/// Google's Functions Framework.
#[path = "functions/frameworks.rs"]
mod frameworks;

/// Lambda.
#[path = "functions/lambda.rs"]
mod lambda;

/// Programs by HTTP.
#[path = "functions/programs.rs"]
mod programs;

/// Pushes of Pub/Sub.
#[path = "functions/pubsub.rs"]
mod pubsub;

/// State in buckets.
#[path = "functions/state.rs"]
mod state;

/// Every function, and what it gives.
#[path = "functions/table.rs"]
mod table;

/// Lambda, as `cargo lambda` plays it.
#[path = "functions/watch.rs"]
mod watch;

/// What `cargo xtask new-function` makes functions of, compiled and tried as it is.
#[path = "../../infra/xtask/function/src/lib.rs"]
mod the_library;
#[path = "../../infra/xtask/function/tests/platforms.rs"]
mod the_test;

// As its test names it.
extern crate self as the_function;
pub use the_library::TheFunction;

use std::{collections::BTreeMap, fs};

use ai_coordinator::AiCoordinator;
use defi_scanner::DefiScanner;
use function_host::Function;
use inventory_optimizer::InventoryOptimizer;
use notification_dispatcher::NotificationDispatcher;
use order_processor::OrderProcessor;

/// A function: its name, what it takes, what it replies with.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

fn row<F: Function>() -> Row {
    (F::NAME, F::CONSUMES, F::EMITS)
}

fn all() -> Vec<Row> {
    vec![
        row::<OrderProcessor>(),
        row::<InventoryOptimizer>(),
        row::<DefiScanner>(),
        row::<AiCoordinator>(),
        row::<NotificationDispatcher>(),
    ]
}

/// The types on a ring of replies, if there is one: those that stay when whatever leads nowhere is taken away.
fn ring(functions: &[Row]) -> Vec<&'static str> {
    let mut leads_to: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (_, consumes, emits) in functions {
        for taken in *consumes {
            leads_to.entry(taken).or_default().extend(*emits);
        }
    }
    loop {
        let dead: Vec<&str> = leads_to
            .iter()
            .filter(|(_, next)| next.iter().all(|t| !leads_to.contains_key(t)))
            .map(|(t, _)| *t)
            .collect();
        if dead.is_empty() {
            return leads_to.into_keys().collect();
        }
        dead.iter().for_each(|taken| drop(leads_to.remove(taken)));
    }
}

#[test]
fn no_chain_of_replies_leads_back() {
    assert_eq!(ring(&all()), [""; 0]);
    let mut looped = all();
    looped.push(("loop", &["inventory.reserved"], &["stock.moved"]));
    assert_eq!(ring(&looped), [""; 0]);
    looped.push(("back", &["stock.moved"], &["coffee.order.updated"]));
    assert_eq!(ring(&looped), ["coffee.order.created", "coffee.order.updated", "inventory.reserved", "stock.moved"]);
}

#[test]
fn the_page_says_what_each_function_takes_and_replies_with() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/functions.md")).unwrap();
    let quoted = |types: &[&str]| types.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ");
    for (name, consumes, emits) in all() {
        let row = format!("| [{name}](../functions/{name}/src/lib.rs) | {} | {} |", quoted(consumes), quoted(emits));
        assert!(page.contains(&row), "docs/functions.md has no row {row}");
    }
}
