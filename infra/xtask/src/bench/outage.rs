//! Two good targets, alone (A) and beside one that refuses connections and one that accepts and never
//! answers (B), each with a route that wants every event, for the whole run.
//!
//! - The good ones' rate in B must be at least 0.9 of that in A: the median over pairs of runs, an eighth as
//!   long as the full one (as long with `--long`), which take turns. The slower of the two sinks counts.
//! - The router's resident memory when 1,000,000 events are delivered to both must be at most 32 MiB
//!   above that when 100,000 are.
//!
//! The publisher sends as fast as it gets acknowledgements. A run is only good when every event arrived at
//! both sinks, and when the dead targets are owed every event at its end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{
    Args,
    table::{Limit, Table, median},
    world::{World, load_average, mib, say},
};
use crate::Error;

const NAME: &str = "outage";
/// The good targets' rate beside dead ones, as a part of that without.
const RATE_MIN: f64 = 0.9;
/// What the memory may grow by from a tenth of the events to all, in MiB.
const GROWTH_MIB_MAX: f64 = 32.0;
/// Pairs of shorter runs.
const PAIRS: usize = 5;
/// Events of a request.
const BATCH: u64 = 100;
/// Requests at a time.
const CONNECTIONS: u64 = 4;
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(50);
/// A run in which nothing arrives for so long has failed.
const STUCK: Duration = Duration::from_secs(60);

/// What came of one run.
struct Run {
    /// Events/s at the slower sink.
    rate: f64,
    cpu_us: f64,
    /// Resident memory in MiB when a tenth was acknowledged, when a tenth was delivered, when all was, and the most.
    acked_tenth: f64,
    tenth: f64,
    all: f64,
    most: f64,
    publish: f64,
    again: u64,
    load: String,
}

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    let (part, pairs) = if args.long { (args.events, 3) } else { (args.events / 8, PAIRS) };
    let (mut ratios, mut last) = (Vec::new(), None);
    for pair in 1..=pairs {
        // The first of a pair changes, so that a machine that gets busier or idler favours neither.
        let mut runs = if pair % 2 == 1 {
            [(false, one(world, part, false)?), (true, one(world, part, true)?)]
        } else {
            [(true, one(world, part, true)?), (false, one(world, part, false)?)]
        };
        runs.sort_by_key(|(outage, _)| *outage);
        for (outage, run) in &runs {
            let what = format!("{}, pair {pair}", if *outage { "B, with dead targets" } else { "A, without" });
            table.show(NAME, what, run.rate, "events/s", &run.words(part));
        }
        let [(_, without), (_, with)] = runs;
        ratios.push(with.rate / without.rate);
        last = Some(with);
    }
    table.hold(NAME, "rate of B / rate of A, median", median(&mut ratios), "", Limit::AtLeast(RATE_MIN));
    let long = match last.filter(|_| args.long) {
        Some(run) => run,
        None => one(world, args.events, true)?,
    };
    table.show(NAME, "B in full", long.rate, "events/s", &long.words(args.events));
    table.show(NAME, "resident memory at a tenth of the events", long.tenth, "MiB", "delivered to both sinks");
    table.show(NAME, "resident memory at all events", long.all, "MiB", &format!("at most {:.1} MiB", long.most));
    let growth = long.all - long.tenth.min(long.acked_tenth);
    let what = "growth of the memory";
    // The limit is one for a million events: a shorter run would keep it too easily to say so.
    if args.events >= 1_000_000 {
        table.hold(NAME, what, growth, "MiB", Limit::AtMost(GROWTH_MIB_MAX));
    } else {
        table.show(NAME, what, growth, "MiB", "no limit below 1,000,000 events");
    }
    Ok(())
}

impl Run {
    fn words(&self, events: u64) -> String {
        let (publish, cpu, again) = (self.publish, self.cpu_us, self.again);
        let load = &self.load;
        format!("{events} events; published at {publish:.0}/s; {cpu:.1} CPU µs/event; {again} repeated; load {load}")
    }
}

fn one(world: &World, events: u64, outage: bool) -> Result<Run, Error> {
    say(&format!("outage: {events} events {} dead targets", if outage { "beside" } else { "without" }));
    let mut sinks = world.sinks(2)?;
    let place = world.place()?;
    let mut routes = vec![("first", sinks.url("/sinks/0")), ("second", sinks.url("/sinks/1"))];
    if outage {
        routes.extend([("refusing", sinks.url("/refusing")), ("silent", sinks.url("/silent"))]);
    }
    let mut router = place.start(&routes)?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut publisher = world.publisher(&place.url(), events, BATCH, CONNECTIONS)?;
    let (mut acked_tenth, mut tenth) = (None, None);
    let (mut delivered, mut moved) = (0, Instant::now());
    let counts = loop {
        router.alive()?;
        let (acked, counts) = (publisher.acked()?, sinks.counts()?);
        let resident = mib(router.resident_bytes());
        if acked >= events / 10 {
            acked_tenth.get_or_insert(resident);
        }
        if counts.events >= events / 10 {
            tenth.get_or_insert(resident);
        }
        if counts.events >= events {
            break counts;
        }
        if counts.events > delivered {
            (delivered, moved) = (counts.events, Instant::now());
        } else if moved.elapsed() > STUCK {
            return Err(Error(format!(
                "outage: {acked} acknowledged, {delivered} delivered, and nothing more arrives"
            )));
        }
        std::thread::sleep(LOOK);
    };
    let (all, most) = (mib(router.resident_bytes()), mib(router.resident_bytes_max()));
    let sent = publisher.sent(world, STUCK)?;
    let last = Duration::from_micros(counts.last_us.iter().copied().max().unwrap_or_default());
    #[allow(clippy::cast_precision_loss)] // Counts of events are far below 2^53.
    let total = events as f64;
    if outage {
        for route in ["refusing", "silent"] {
            let waiting = router.metric("gocoffee_route_waiting", route)?;
            if waiting != events || counts.silent == 0 {
                return Err(Error(format!("outage: route {route} is owed {waiting} events, it should be {events}")));
            }
        }
    }
    Ok(Run {
        rate: total / last.saturating_sub(started).as_secs_f64(),
        cpu_us: router.cpu_seconds() * 1e6 / total,
        acked_tenth: acked_tenth.unwrap_or_default(),
        tenth: tenth.unwrap_or_default(),
        all,
        most,
        publish: total / sent.seconds,
        again: counts.again,
        load: load_average(),
    })
}
