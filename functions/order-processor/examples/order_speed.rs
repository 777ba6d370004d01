//! How long the handler takes for an order of about 1 KiB:
//! `cargo run --release -p order-processor --example order_speed`.

use std::time::Instant;

use function_host::{Host, Settings};
use order_processor::OrderProcessor;
use schemas::{Event, Form};

// As the program has it.
#[global_allocator]
static ALLOCATOR: function_host::Allocator = function_host::Allocator;

/// Orders in one run: fewer than the state keeps, so that none is evicted.
const ORDERS: u32 = 5_000;
/// Runs, of which the median counts.
const RUNS: usize = 10;

fn order(n: u32) -> Result<Event, schemas::Invalid> {
    let line = |i: u32| {
        format!(
            r#"{{"line":{i},"item":"Flat White","quantity":2,"price_cents":460,"extras":["oat milk","extra shot","cardamom"]}}"#
        )
    };
    let lines: Vec<String> = (1..=7).map(line).collect();
    let data = format!(
        r#"{{"order":"order-{n}","shop":4,"customer":{{"name":"Zoë Müller","loyalty_points":967}},"lines":[{}],"total":6440,"currency":"EUR","pickup":true,"promotions":["RAINY-DAY"],"redeem_points":100}}"#,
        lines.join(",")
    );
    Event::builder(&n.to_string(), "/shops/4", "coffee.order.created").data(Form::Json, data).build()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (mut per_event_us, mut bytes) = (Vec::new(), 0);
    for _ in 0..RUNS {
        let host = Host::<OrderProcessor>::for_tests(Settings::default(), jiff::Timestamp::UNIX_EPOCH)?;
        let orders = (0..ORDERS).map(order).collect::<Result<Vec<_>, _>>()?;
        bytes = orders.first().map_or(0, |event| event.data().len());
        let begun = Instant::now();
        for event in orders {
            let replies = runtime.block_on(host.call(event))?;
            assert_eq!(replies.len(), 3);
        }
        per_event_us.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(ORDERS));
    }
    per_event_us.sort_by(f64::total_cmp);
    let median = per_event_us.get(RUNS / 2).copied().unwrap_or_default();
    println!(
        r#"{{"figure":"order-processor, an order of {bytes} bytes, median of {RUNS}","value":{median:.2},"unit":"µs","at_most":20}}"#
    );
    println!("order of {bytes} bytes, with replies and state: median {median:.1} us, all runs {per_event_us:.1?}");
    Ok(())
}
