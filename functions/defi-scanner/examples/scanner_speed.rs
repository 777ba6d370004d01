//! How long a price update takes with 200 tokens on 10 venues known: `cargo run --release -p defi-scanner --example scanner_speed`.
//!
//! Each venue lists every token against four dollar and ether tokens: 7,840 markets, half of them pools. The whole
//! handler: JSON in, JSON out. A quiet update gains nothing; a gaining one opens many cycles at once.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use defi_scanner::{DefiScanner, amount::mul_div};
use function_host::{Host, Settings};
use schemas::{Event, Form};
use serde_json::json;

const RUNS: usize = 2_001;
const TOKENS: usize = 200;
const VENUES: usize = 10;
const NOW: &str = "2026-01-15T06:30:31Z";

fn worth(token: usize) -> f64 {
    [1.0, 1.0, 2_000.0, 2_000.0].get(token).copied().unwrap_or(0.01 * (1 + token * token) as f64)
}

fn update(token: usize, other: usize, venue: usize, shift: f64) -> Event {
    let name = |t: usize| ["USDC", "USDT", "WETH", "WBTC"].get(t).map_or_else(|| format!("T{t}"), ToString::to_string);
    let price = worth(token) / worth(other) * shift;
    let decimal = |n: f64| format!("{n:.12}");
    let mut data = json!({"pair": format!("{}/{}", name(token), name(other)), "venue": format!("venue-{venue}")});
    if (token + venue).is_multiple_of(2) {
        let depth = 1e6 / worth(token);
        data["pool"] =
            json!({"reserve_base": decimal(depth), "reserve_quote": decimal(depth * price), "fee_parts": 3000});
    } else {
        let size = decimal(5e4 / worth(token));
        let (bid, ask) = (decimal(price * 0.9995), decimal(price * 1.0005));
        data["quote"] = json!({"bid": bid, "bid_size": size, "ask": ask, "ask_size": size, "fee_parts": 1000});
    }
    let builder = Event::builder("1", "/feed", "defi.price.update").attr("time", NOW);
    builder.data(Form::Json, data.to_string()).build().unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host = Host::<DefiScanner>::for_tests(Settings::default(), NOW.parse().unwrap()).unwrap();
    let mut markets = 0;
    for venue in 0..VENUES {
        for token in 1..TOKENS {
            for other in 0..4.min(token) {
                let shift = 1.0 + ((token * 7 + venue * 13 + other) % 9) as f64 * 1e-4 - 4e-4;
                runtime.block_on(host.call(update(token, other, venue, shift))).unwrap();
                markets += 1;
            }
        }
    }
    println!("{TOKENS} tokens, {VENUES} venues, {markets} markets");
    for (name, shift) in [("quiet", 1.0), ("gaining by 3 %", 1.03)] {
        let mut times: Vec<Duration> = Vec::new();
        let mut replies = 0;
        for run in 0..RUNS {
            let event = update(4 + run % 190, run % 4, run % VENUES, shift);
            let start = Instant::now();
            replies += runtime.block_on(host.call(event)).unwrap().len();
            times.push(start.elapsed());
            // Back, so that the next one finds the world as it was.
            runtime.block_on(host.call(update(4 + run % 190, run % 4, run % VENUES, 1.0))).unwrap();
        }
        times.sort_unstable();
        let (p50, p99, max) = (times[RUNS / 2], times[RUNS * 99 / 100], times[RUNS - 1]);
        let median_us = p50.as_secs_f64() * 1e6;
        println!(
            r#"{{"figure":"defi-scanner, {TOKENS} tokens on {VENUES} venues, {name}, median of {RUNS}","value":{median_us:.1},"unit":"µs","at_most":1000}}"#
        );
        println!("  {name}: median {p50:?}, 99 in 100 {p99:?}, longest {max:?}, {replies} proposals");
    }
    let start = Instant::now();
    for i in 0..1_000_000_u128 {
        black_box(mul_div(black_box((1 << 106) + i), black_box((1 << 105) - i), black_box((1 << 127) + i)));
    }
    println!("  an exact a · b / c of 256 bits: {:?}", start.elapsed() / 1_000_000);
}
