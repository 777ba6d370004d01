//! From a publisher through the router to sinks, each event durable on the way.
//!
//! - One event a request, in and out, at a rate and at half of it: from when it was to be sent until it came, beside a bare server
//!   that parses, syncs and posts, in turn.
//! - 100 events a request, in and out, as fast as they go.
//! - The same to 1, 10 and 100 routes, each with a target of its own.
//! - A replay of what a route got already.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{
    Args,
    load::{Counts, Sent},
    table::{Limit, Table, median},
    world::{Router, World, load_average, mib, say},
};
use crate::Error;

const NAME: &str = "flow";
/// Events a second that are offered, one a request, on so many connections.
const RATE: u64 = 20_000;
const OFFER_CONNECTIONS: u64 = 64;
/// How much slower than the bare forwarder the median and the slowest hundredth may be.
const P50_MAX: f64 = 1.5;
const P99_MAX: f64 = 2.0;
/// Events/s from batches to batches.
const BATCHED_MIN: f64 = 100_000.0;
/// Of that, by the number of routes.
const FAN_OUT_MIN: f64 = 0.5;
/// Events/s of a replay.
const REPLAY_MIN: f64 = 150_000.0;
/// Events of a request, and requests at a time, where batches go in.
const BATCH: u64 = 100;
const CONNECTIONS: u64 = 8;
/// A run in which nothing arrives for so long has failed.
const STUCK: Duration = Duration::from_secs(60);

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    for rate in [RATE / 2, RATE] {
        offered(world, args, rate, table)?;
    }
    let batched = batched(world, args, table)?;
    for routes in [10, 100] {
        fan_out(world, args, routes, batched, table)?;
    }
    replay(world, args, table)
}

/// What one run at a rate came to.
struct Offered {
    sent: Sent,
    /// From when an event was to be sent until it came, median and slowest hundredth.
    took_ms: (f64, f64),
}

fn offered(world: &World, args: &Args, rate: u64, table: &mut Table) -> Result<(), Error> {
    let (events, rounds) = (args.events / 5 * rate / RATE, if args.long { 5 } else { 3 });
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        say(&format!("flow: {events} events at {rate}/s, round {round}"));
        let bare = offer_bare(world, events, rate)?;
        let ours = offer_router(world, events, rate)?;
        for (name, run) in [("bare forwarder", &bare), ("router", &ours)] {
            let what = format!("{rate}/s offered, one a request, {name}, p50");
            let words = format!(
                "p99 {:.1} ms; acknowledged p50 {:.1} ms, p99 {:.1} ms; {} sent again; load {}",
                run.took_ms.1,
                run.sent.p50_ms,
                run.sent.p99_ms,
                run.sent.again,
                load_average()
            );
            table.show(NAME, what, run.took_ms.0, "ms", &words);
        }
        p50.push(ours.took_ms.0 / bare.took_ms.0);
        p99.push(ours.took_ms.1 / bare.took_ms.1);
    }
    for (which, ratios, limit) in [("p50", &mut p50, P50_MAX), ("p99", &mut p99, P99_MAX)] {
        let what = format!("{rate}/s offered, {which} of the router / of the bare forwarder, median");
        match rate {
            RATE => table.hold(NAME, &what, median(ratios), "", Limit::AtMost(limit)),
            _ => table.show(NAME, what, median(ratios), "", ""),
        }
    }
    Ok(())
}

fn offer_bare(world: &World, events: u64, rate: u64) -> Result<Offered, Error> {
    let mut sinks = world.sinks(1)?;
    let (_helper, url) = world.durable(Some(&sinks))?;
    let sent = world.offer(&url, events, rate, OFFER_CONNECTIONS)?.sent(world, STUCK)?;
    sinks.arrived(events, STUCK, || world.go_on())?;
    Ok(Offered { sent, took_ms: sinks.took_ms()? })
}

fn offer_router(world: &World, events: u64, rate: u64) -> Result<Offered, Error> {
    let mut sinks = world.sinks(1)?;
    let place = world.place()?;
    let mut router = place.start_with(&[("sink", sinks.url("/sinks/0"))], &json!({"mode": "structured"}))?;
    let sent = world.offer(&place.url(), events, rate, OFFER_CONNECTIONS)?.sent(world, STUCK)?;
    sinks.arrived(events, STUCK, || router.alive())?;
    Ok(Offered { sent, took_ms: sinks.took_ms()? })
}

fn batched(world: &World, args: &Args, table: &mut Table) -> Result<f64, Error> {
    let mut rates = Vec::new();
    for _ in 0..if args.long { 5 } else { 3 } {
        say(&format!("flow: {} events in batches", args.events));
        let (rate, words) = routed(world, args.events, 1, &batched_way())?;
        table.show(NAME, "batches in and out", rate, "events/s", &words);
        rates.push(rate);
    }
    let rate = median(&mut rates);
    table.hold(NAME, "batches in and out, median", rate, "events/s", Limit::AtLeast(BATCHED_MIN));
    Ok(rate)
}

fn fan_out(world: &World, args: &Args, routes: u64, single: f64, table: &mut Table) -> Result<(), Error> {
    let events = (args.events * 2 / routes).max(BATCH);
    say(&format!("flow: {events} events to {routes} routes"));
    let (rate, words) = routed(world, events, routes, &batched_way())?;
    table.show(NAME, format!("batches to {routes} routes"), rate, "events/s", &words);
    let what = format!("the same times {routes} / batches to one route");
    #[allow(clippy::cast_precision_loss)] // At most a hundred.
    let ratio = rate * routes as f64 / single;
    table.hold(NAME, &what, ratio, "", Limit::AtLeast(FAN_OUT_MIN));
    Ok(())
}

/// How events go in and out.
pub struct Way {
    /// Events of a request.
    pub batch: u64,
    pub connections: u64,
    /// Settings of each target.
    pub target: serde_json::Value,
}

/// Events/s in which every one reached every route, and words about it.
pub fn routed(world: &World, events: u64, routes: u64, way: &Way) -> Result<(f64, String), Error> {
    let mut sinks = world.sinks(1)?;
    let place = world.place()?;
    let names: Vec<String> = (0..routes).map(|n| format!("sink-{n}")).collect();
    let targets: Vec<(&str, String)> = names.iter().map(|name| (&**name, sinks.url("/sinks/0"))).collect();
    let mut router = place.start_with(&targets, &way.target)?;
    let began = now();
    let sent = world.publisher(&place.url(), events, way.batch, way.connections)?.sent(world, 5 * STUCK)?;
    let counts = sinks.arrived(events * routes, STUCK, || router.alive())?;
    let rate = per_second(events, began, &counts);
    Ok((rate, words(&router, &sent, events)))
}

fn words(router: &Router<'_>, sent: &Sent, events: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // Counts of events are far below 2^53.
    let (published, cpu) = (events as f64 / sent.seconds, router.cpu_seconds() * 1e6 / events as f64);
    let most = mib(router.resident_bytes_max());
    format!("published at {published:.0}/s; {cpu:.1} CPU µs/event; at most {most:.0} MiB; load {}", load_average())
}

fn replay(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    let events = args.events;
    say(&format!("flow: a replay of {events} events"));
    let mut sinks = world.sinks(1)?;
    let place = world.place()?;
    let mut router = place.start_with(&[("sink", sinks.url("/sinks/0"))], &batches())?;
    let sent = world.publisher(&place.url(), events, BATCH, CONNECTIONS)?.sent(world, 5 * STUCK)?;
    sinks.arrived(events, STUCK, || router.alive())?;
    let began = now();
    router.command(&["replay", "start", "--routes", "sink", "--from", "1h"])?;
    let counts = sinks.arrived(2 * events, STUCK, || router.alive())?;
    let rate = per_second(events, began, &counts);
    table.hold_with(
        NAME,
        "replay to a batching sink",
        rate,
        "events/s",
        Limit::AtLeast(REPLAY_MIN),
        &words(&router, &sent, events),
    );
    Ok(())
}

fn batched_way() -> Way {
    Way { batch: BATCH, connections: CONNECTIONS, target: batches() }
}

/// Settings of a target that takes batches.
pub fn batches() -> serde_json::Value {
    json!({"batch": {"count_max": BATCH}})
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn per_second(events: u64, began: Duration, counts: &Counts) -> f64 {
    let took = Duration::from_micros(counts.arrived_us).saturating_sub(began);
    #[allow(clippy::cast_precision_loss)] // Counts of events are far below 2^53.
    let events = events as f64;
    events / took.as_secs_f64()
}
