//! The router's log alone, in one process, in turn with a bare segmented log: batches of 256 events of 1 KiB, each
//! with a sync.

use std::time::Duration;

use super::{
    Args,
    table::{Limit, Table, median},
    world::{World, load_average, say},
};
use crate::Error;

const NAME: &str = "log";
/// Of the bare log's rate.
const RATIO_MIN: f64 = 0.9;
/// What one round may take.
const ROUND_MAX: Duration = Duration::from_secs(300);

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    let (events, rounds) = (args.events / 5, if args.long { 9 } else { 5 });
    say(&format!("log: {rounds} rounds of {events} events"));
    let rates = world.append(events, rounds, ROUND_MAX)?;
    let middle = |of: &dyn Fn(&(f64, f64)) -> f64| median(&mut rates.iter().map(of).collect::<Vec<_>>());
    table.show(NAME, "bare segments, median", middle(&|r| r.1), "events/s", &format!("load {}", load_average()));
    table.show(NAME, "the router's log, median", middle(&|r| r.0), "events/s", "");
    table.hold(NAME, "ratio, median of pairs", middle(&|r| r.0 / r.1), "", Limit::AtLeast(RATIO_MIN));
    Ok(())
}
