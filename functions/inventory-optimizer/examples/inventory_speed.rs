//! How long a forecast of 1,000 items takes: `cargo run --release -p inventory-optimizer --example inventory_speed`.
//!
//! Eight weeks of days for each item; a mix as in a shop (most regular with a week's course, a quarter intermittent),
//! and the worst case, all of them regular. The whole handler: JSON in, JSON out.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use function_host::{Host, Settings};
use inventory_optimizer::{InventoryOptimizer, reply};
use schemas::{Event, Form, payload::inventory::Forecast};
use serde_json::{Value, json};

const RUNS: usize = 31;
const ITEMS: usize = 1_000;

fn history(item: usize, regular: bool) -> Vec<u64> {
    let week = [20, 22, 21, 25, 40, 60, 50];
    let noise = |day: usize| ((item * 31 + day * 17) * 2_654_435_761 % 1_000) as u64;
    (0..56).map(|day| if regular { week[day % 7] + noise(day) % 12 } else { noise(day) / 700 * 5 }).collect()
}

fn event(intermittent_every: usize) -> Event {
    let items: Vec<Value> = (0..ITEMS)
        .map(|i| {
            let regular = intermittent_every == 0 || i % intermittent_every != 0;
            // A third is below its reorder point.
            let left = if i % 3 == 0 { 5 } else { 500 };
            json!({"item": format!("item-{i:04}"), "left": left, "history": history(i, regular)})
        })
        .collect();
    let policy = json!({"lead_time": 3, "pack": 12, "order_cost": 20, "unit_cost": 1.5});
    let data = json!({"shop": 1, "policy": policy, "items": items});
    Event::builder("1", "/shops/1", "inventory.forecast").data(Form::Json, data.to_string()).build().unwrap()
}

// As the program has it.
#[global_allocator]
static ALLOCATOR: function_host::Allocator = function_host::Allocator;

/// Prints the median of some runs, with the extremes.
fn run(name: &str, mut f: impl FnMut() -> usize) -> Duration {
    let mut times: Vec<Duration> = Vec::new();
    let mut count = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        count = f();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("  {name}: {:?} ({:?} .. {:?}), {count}", times[RUNS / 2], times[0], times[RUNS - 1]);
    times[RUNS / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, every) in [("mixed", 4), ("all regular", 0)] {
        let event = event(every);
        let function = InventoryOptimizer::default();
        println!("{name}: {ITEMS} items of 56 days in {} bytes", event.data().len());
        run("read", || function_host::data::<Forecast>(&event).unwrap().items.len());
        let data = function_host::data::<Forecast>(&event).unwrap();
        run("calculate", || function.forecast(&data).unwrap().count());
        run("handler", || {
            let data = function_host::data(&event).unwrap();
            let orders = function.forecast(&data).unwrap();
            orders.map(|order| reply(&order.unwrap()).unwrap()).collect::<Vec<_>>().len()
        });
        let host = Host::<InventoryOptimizer>::for_tests(Settings::default(), Default::default()).unwrap();
        let whole = run("with the host", || runtime.block_on(host.call(event.clone())).unwrap().len());
        let median_us = whole.as_secs_f64() * 1e6;
        println!(
            r#"{{"figure":"inventory-optimizer, {ITEMS} items, {name}, median of {RUNS}","value":{median_us:.0},"unit":"µs","at_most":5000}}"#
        );
    }
}
