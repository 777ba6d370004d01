//! `kill -9` with a long log, and the time from the next start until `/readyz` says so: with nothing owed,
//! and with every event owed to a target that refuses connections.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Args,
    table::Table,
    world::{Router, World, load_average, say},
};
use crate::Error;

const NAME: &str = "restart";
/// What publishing, and what planning after it, may take.
const WAIT_MAX: Duration = Duration::from_secs(600);
const DEAD: &str = "refusing";

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    for owed in [false, true] {
        let what = if owed { "all of them owed" } else { "nothing owed" };
        say(&format!("restart: {} events, {what}", args.events));
        let sinks = world.sinks(1)?;
        let place = world.place()?;
        let routes: Vec<(&str, String)> = owed.then(|| (DEAD, sinks.url("/refusing"))).into_iter().collect();
        let mut router = place.start(&routes)?;
        table.show(NAME, format!("ready, empty, {what}"), seconds(router.ready_after), "s", "");
        world.publisher(&place.url(), args.events, 100, 4)?.sent(world, WAIT_MAX)?;
        if owed {
            until_owed(&mut router, args.events)?;
        }
        router.kill();
        for round in 1..=if args.long { 5 } else { 2 } {
            let mut router = place.start(&routes)?;
            let what = format!("ready after kill -9, {} events, {what}, {round}", args.events);
            table.show(NAME, what, seconds(router.ready_after), "s", &format!("load {}", load_average()));
            if owed {
                // What the last commit had not said yet is planned anew.
                until_owed(&mut router, args.events)?;
            }
            router.kill();
        }
    }
    Ok(())
}

/// Waits until the dead target is owed all events, and no more than these.
fn until_owed(router: &mut Router<'_>, events: u64) -> Result<(), Error> {
    let end = Instant::now() + WAIT_MAX;
    loop {
        router.alive()?;
        let waiting = router.metric("gocoffee_route_waiting", DEAD)?;
        if waiting == events {
            return Ok(());
        }
        if waiting > events || Instant::now() > end {
            return Err(Error(format!("restart: {waiting} of {events} events are owed")));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
