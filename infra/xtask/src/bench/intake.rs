//! Requests to the router, which validates, deduplicates and syncs what they carry, against a bare hyper
//! server in the same run, which reads them and answers 202. No route: what is delivered is another question.
//!
//! One event a request on 64 and on 512 connections, and 100 events a request on 16; 1 KiB of data each.

use std::time::Duration;

use super::{
    Args,
    table::Table,
    world::{Sent, World, load_average, say},
};
use crate::Error;

const NAME: &str = "intake";
/// What one run may take.
const RUN_MAX: Duration = Duration::from_secs(300);

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    let rounds = if args.long { 5 } else { 2 };
    for (batch, connections, events) in [(1, 64, args.events / 10), (1, 512, args.events / 10), (100, 16, args.events)]
    {
        let (mut bare, mut durable) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            say(&format!("intake: {events} events, {batch} a request, {connections} connections"));
            let (helper, url) = world.bare()?;
            bare.push(world.publisher(&url, events, batch, connections)?.sent(world, RUN_MAX)?);
            drop(helper);
            let place = world.place()?;
            let mut router = place.start(&[])?;
            durable.push(world.publisher(&place.url(), events, batch, connections)?.sent(world, RUN_MAX)?);
            router.alive()?;
        }
        let what = |name: &str| format!("{batch} a request, {connections} connections, {name}");
        let (limit, ours) = (rate(events, &bare), rate(events, &durable));
        table.show(NAME, what("bare"), limit, "events/s", &words(&bare));
        table.show(NAME, what("durable"), ours, "events/s", &words(&durable));
        table.show(NAME, what("ratio"), ours / limit, "", "");
    }
    Ok(())
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
