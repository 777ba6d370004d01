//! `coffee-load`: the load of the benchmarks, beside the router and in processes of its own.
//!
//! ```text
//! coffee-load sinks COUNT     COUNT sinks that answer 200 to events and batches, a silent one that accepts and
//!                             never answers, and a port that refuses; the first line names the addresses, each
//!                             line `counts` on standard input is answered by one of what came, and
//!                             `took` by one of how long it was under way
//! coffee-load bare            an HTTP server that reads each request and answers 202: the limit of any intake
//! coffee-load durable DIR [ADDRESS]
//!                             one that parses events, keeps them in segments in DIR, one sync for all that wait, and
//!                             answers 202 then: the limit of a durable intake; with ADDRESS it posts each to
//!                             there afterwards: the limit of a durable forwarder
//! coffee-load publish URL EVENTS BATCH CONNECTIONS SERIES
//!                             posts EVENTS events of 1 KiB data, BATCH to a request, one request at a time on
//!                             each connection, and sends again what was not acknowledged
//! coffee-load offer URL EVENTS RATE CONNECTIONS SERIES
//!                             the same, one event a request and RATE events/s, whatever becomes of them
//! coffee-load append DIR EVENTS ROUNDS
//!                             the router's log alone, batches of 256 events with a sync each, in turn with bare
//!                             segments: the limit of any log
//! coffee-load rabbit PORT EVENTS IN_FLIGHT
//!                             publishes the same events to a quorum queue of the RabbitMQ on this machine, IN_FLIGHT
//!                             unconfirmed, and consumes them
//! ```
//!
//! Every line on standard output is JSON. The servers end with their standard input, so that none outlives
//! the benchmark that started it.

// What goes wrong in here ends the benchmark, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::Write,
    process::ExitCode,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::runtime::Runtime;

/// The router's log alone.
mod append;

/// Servers that do as little as can be.
mod bare;

/// What sends.
mod publish;

/// To and from RabbitMQ.
mod rabbit;

/// Segments and syncs, and nothing else.
mod segments;

/// What takes in.
mod sinks;

/// HTTP, as what measures speaks it.
mod wire;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = Runtime::new().expect("a runtime");
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0);
    match args.as_slice() {
        ["sinks", count] if number(count).is_some() => sinks::sinks(&runtime, number(count).unwrap_or(1)),
        ["bare"] => bare::bare(&runtime),
        ["durable", dir] => bare::durable(&runtime, dir.as_ref(), None),
        ["durable", dir, to] => bare::durable(&runtime, dir.as_ref(), Some(to)),
        ["publish", url, events, batch, connections, series] => {
            let numbers = (number(events), number(batch), number(connections));
            let (Some(events), Some(batch), Some(connections)) = numbers else { return usage() };
            let Some(load) = publish::Load::new(url, events, batch, None, series) else { return usage() };
            runtime.block_on(publish::publish(Arc::new(load), connections));
        }
        ["offer", url, events, rate, connections, series] => {
            let numbers = (number(events), number(rate), number(connections));
            let (Some(events), Some(rate), Some(connections)) = numbers else { return usage() };
            let Some(load) = publish::Load::new(url, events, 1, Some(rate), series) else { return usage() };
            runtime.block_on(publish::publish(Arc::new(load), connections));
        }
        ["append", dir, events, rounds] => {
            let (Some(events), Some(rounds)) = (number(events), number(rounds)) else { return usage() };
            append::append(&runtime, dir.as_ref(), events, rounds);
        }
        ["rabbit", port, events, in_flight] => {
            let (Ok(port), Some(events), Ok(in_flight)) = (port.parse(), number(events), in_flight.parse()) else {
                return usage();
            };
            rabbit::rabbit(&runtime, port, events, in_flight);
        }
        _ => return usage(),
    }
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "error: usage: coffee-load sinks COUNT | bare | durable DIR [ADDRESS] | publish URL EVENTS BATCH CONNECTIONS SERIES | offer URL EVENTS RATE CONNECTIONS SERIES | append DIR EVENTS ROUNDS | rabbit PORT EVENTS IN_FLIGHT"
    );
    ExitCode::from(2)
}

fn say(line: &serde_json::Value) {
    // Whoever started it is gone: nobody misses the line.
    writeln!(std::io::stdout(), "{line}").unwrap_or_default();
}

/// Microseconds of UNIX time.
fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// The value below which so many thousandths lie, of values in their order.
fn at(sorted: &[u32], thousandths: usize) -> u32 {
    sorted.get(sorted.len() * thousandths / 1_000).or(sorted.last()).copied().unwrap_or_default()
}
