//! Requests to the router, which validates, deduplicates and syncs what they carry, against a bare hyper
//! server in the same run. No route: what is delivered is another question.
//!
//! One event a request on 64 and on 512 connections, where the bare server reads and answers 202; and 100 events
//! a request on 16, where it parses and syncs them too. 1 KiB of data each.

use std::time::Duration;

use super::{
    Args,
    load::Sent,
    table::{Limit, Table, median},
    world::{World, load_average, say},
};
use crate::Error;

const NAME: &str = "intake";
/// Of the bare server's rate.
const SINGLE_MIN: f64 = 0.6;
const BATCHED_MIN: f64 = 0.6;
/// What one run may take.
const RUN_MAX: Duration = Duration::from_secs(300);

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    for case in [
        Case { batch: 1, connections: 64, events: args.events / 4, parse: false, ratio_min: None },
        Case { batch: 1, connections: 512, events: args.events / 4, parse: false, ratio_min: Some(SINGLE_MIN) },
        Case { batch: 100, connections: 16, events: args.events, parse: true, ratio_min: Some(BATCHED_MIN) },
    ] {
        case.run(world, args, table)?;
    }
    Ok(())
}

struct Case {
    batch: u64,
    connections: u64,
    events: u64,
    /// The bare server parses and syncs what it reads.
    parse: bool,
    ratio_min: Option<f64>,
}

impl Case {
    fn run(&self, world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
        let Case { batch, connections, events, .. } = *self;
        let (mut bare, mut durable, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..if args.long { 5 } else { 3 } {
            say(&format!("intake: {events} events, {batch} a request, {connections} connections"));
            let (helper, url) = if self.parse { world.durable(None)? } else { world.bare()? };
            let limit = world.publisher(&url, events, batch, connections)?.sent(world, RUN_MAX)?;
            drop(helper);
            let place = world.place()?;
            let mut router = place.start(&[])?;
            let ours = world.publisher(&place.url(), events, batch, connections)?.sent(world, RUN_MAX)?;
            router.alive()?;
            ratios.push(limit.seconds / ours.seconds);
            bare.push(limit);
            durable.push(ours);
        }
        let what = |name: &str| format!("{batch} a request, {connections} connections, {name}");
        let name = if self.parse { "bare, parsed and synced" } else { "bare" };
        table.show(NAME, what(name), rate(events, &bare), "events/s", &words(&bare));
        table.show(NAME, what("router"), rate(events, &durable), "events/s", &words(&durable));
        let (what, ratio) = (what("ratio, median"), median(&mut ratios));
        match self.ratio_min {
            Some(least) => table.hold(NAME, &what, ratio, "", Limit::AtLeast(least)),
            None => table.show(NAME, what, ratio, "", ""),
        }
        Ok(())
    }
}

/// Over all runs.
fn rate(events: u64, runs: &[Sent]) -> f64 {
    let seconds: f64 = runs.iter().map(|run| run.seconds).sum();
    #[allow(clippy::cast_precision_loss)] // Both are far below 2^53.
    let total = events as f64 * runs.len() as f64;
    total / seconds
}

fn words(runs: &[Sent]) -> String {
    let last = runs.iter().map(|run| format!("p50 {:.1} ms, p99 {:.1} ms", run.p50_ms, run.p99_ms)).next_back();
    let again: u64 = runs.iter().map(|run| run.again).sum();
    format!("{}; {again} sent again; load {}", last.unwrap_or_default(), load_average())
}
