//! How long a schema takes to judge an order of 1 KiB:
//! `cargo run --release -p schemas --features catalogue --example judging`.

use std::{hint::black_box, time::Instant};

use schemas::{
    Event, Form,
    catalogue::{Catalogue, Document},
};

/// Orders of one run: so few that the system seldom takes the processor away meanwhile.
const ORDERS: u32 = 500;
/// Runs, of which the median counts.
const RUNS: usize = 2_001;

fn order() -> Result<Event, schemas::Invalid> {
    let line = |i: u32| {
        format!(
            r#"{{"line":{i},"item":"Flat White","quantity":2,"price_cents":460,"extras":["oat milk","extra shot","cardamom"]}}"#
        )
    };
    let lines: Vec<String> = (1..=7).map(line).collect();
    let data = format!(
        r#"{{"order":"order-7","shop":4,"customer":{{"name":"Zoë Müller","loyalty_points":967}},"lines":[{}],"total":6440,"currency":"EUR","pickup":true,"promotions":["RAINY-DAY"],"redeem_points":100}}"#,
        lines.join(",")
    );
    Event::builder("1", "/shops/4", "coffee.order.created").data(Form::Json, data).build()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catalogue = Catalogue::new(Document::built_in()).map_err(|errors| format!("{errors:?}"))?;
    let event = order()?;
    let mut per_event_us = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        for _ in 0..ORDERS {
            if !catalogue.judge(black_box(&event)).is_empty() {
                return Err("the order is valid".into());
            }
        }
        per_event_us.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(ORDERS));
    }
    per_event_us.sort_by(f64::total_cmp);
    let median = per_event_us.get(RUNS / 2).copied().unwrap_or_default();
    let figure = format!("an order of {} bytes held to its schema, median of {RUNS}", event.data().len());
    println!(r#"{{"figure":"{figure}","value":{median:.2},"unit":"µs","at_most":3}}"#);
    Ok(())
}
