//! Beside Redis: appends to a stream with `appendfsync always` by `redis-benchmark`, in turn with the router's intake,
//! one event a request, with as many clients at a time. Both answer after a sync. Redis is Debian's, unpacked into the
//! target folder; where it cannot be had the scenario says so and is left out.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Args,
    table::{Limit, Table, median},
    world::{World, end, failed, free_address, load_average, say},
};
use crate::{Error, tools};

const NAME: &str = "redis";
/// Of Redis's rate.
const RATIO_MIN: f64 = 1.0;
/// Clients, of both.
const CLIENTS: u64 = 512;
/// Bytes of an entry: about an event of 1 KiB data with its attributes.
const ENTRY_BYTES: usize = 1_280;
/// What a start, and what a run may take.
const START_MAX: Duration = Duration::from_secs(20);
const RUN_MAX: Duration = Duration::from_secs(300);

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    let folder = match tools::redis() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!("redis: left out, since it cannot be had: {why}");
            return Ok(());
        }
    };
    let events = args.events / 4;
    let (mut theirs, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if args.long { 5 } else { 3 } {
        say(&format!("redis: {events} entries, {CLIENTS} clients"));
        let redis = Redis::start(&folder, world)?.appends(events)?;
        let place = world.place()?;
        let mut router = place.start(&[])?;
        let sent = world.publisher(&place.url(), events, 1, CLIENTS)?.sent(world, RUN_MAX)?;
        router.alive()?;
        #[allow(clippy::cast_precision_loss)] // Counts of events are far below 2^53.
        let router = events as f64 / sent.seconds;
        theirs.push(redis);
        ours.push(router);
        ratios.push(router / redis);
    }
    let load = format!("load {}", load_average());
    table.show(NAME, "appends to a stream, appendfsync always, 512 clients, median", median(&mut theirs), "/s", &load);
    table.show(NAME, "the router, one event a request, 512 connections, median", median(&mut ours), "/s", "");
    table.hold(NAME, "ratio, median", median(&mut ratios), "", Limit::AtLeast(RATIO_MIN));
    Ok(())
}

/// A server; it ends when this is dropped.
struct Redis {
    child: Child,
    address: SocketAddr,
    benchmark: Command,
}

impl Redis {
    fn start(tools: &tools::Redis, world: &World) -> Result<Redis, Error> {
        let folder: PathBuf = world.empty_folder()?;
        let address = free_address()?;
        let port = address.port().to_string();
        let program = |name: &str| {
            let mut command = Command::new(tools.programs.join(name));
            command.env("LD_LIBRARY_PATH", &tools.libraries).stdin(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut server = program("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "yes"]);
        server.args(["--appendfsync", "always", "--dir"]).arg(&folder).stdout(Stdio::null());
        let child = server.spawn().map_err(|e| failed("redis-server does not start", e))?;
        let mut benchmark = program("redis-benchmark");
        benchmark.args(["-h", "127.0.0.1", "-p", &port, "-c", &CLIENTS.to_string()]);
        let mut redis = Redis { child, address, benchmark };
        let started = Instant::now();
        while TcpStream::connect(redis.address).is_err() {
            let ended = redis.child.try_wait().map_err(|e| failed("redis-server", e))?;
            if ended.is_some() || started.elapsed() > START_MAX {
                return Err(Error(format!("redis-server does not answer: {ended:?}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }

    /// Appends/s.
    fn appends(mut self, count: u64) -> Result<f64, Error> {
        let entry: String = "coffee ".chars().cycle().take(ENTRY_BYTES).collect();
        let command = self.benchmark.args(["-n", &count.to_string(), "--csv", "XADD", "coffee", "*", "event", &entry]);
        let output = command.output().map_err(|e| failed("redis-benchmark", e))?;
        let said = String::from_utf8_lossy(&output.stdout);
        // "test","rps",… and a line of figures.
        let rate = said.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse().ok());
        rate.ok_or_else(|| failed("redis-benchmark", format!("its answer says no rate: {said}")))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
