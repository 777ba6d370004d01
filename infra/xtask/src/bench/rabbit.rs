//! Beside RabbitMQ: durable messages to a quorum queue, confirmed, and consumed, in turn with the router from a publisher to a
//! sink, with as many under way. RabbitMQ is Debian's, unpacked into the target folder; where it cannot be had the scenario
//! says so and is left out.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Args,
    flow::{Way, batches, routed},
    load::Helper,
    table::{Limit, Table, median},
    world::{World, end, failed, free_address, load_average, say},
};
use crate::{Error, tools};

const NAME: &str = "rabbit";
/// Of RabbitMQ's rate: one event a request, and batches.
const SINGLE_MIN: f64 = 3.0;
const BATCHED_MIN: f64 = 10.0;
/// Messages that are not confirmed, or prefetched, of RabbitMQ; requests of the router's publisher, and to its sink.
const IN_FLIGHT: u64 = 1_000;
/// What a start, and what a run may take.
const START_MAX: Duration = Duration::from_secs(60);
const RUN_MAX: Duration = Duration::from_secs(300);

/// See the module.
pub fn run(world: &World, args: &Args, table: &mut Table) -> Result<(), Error> {
    let server = match tools::rabbitmq() {
        Ok(server) => server,
        Err(why) => {
            eprintln!("rabbit: left out, since it cannot be had: {why}");
            return Ok(());
        }
    };
    let events = args.events / 10;
    let single = Way { batch: 1, connections: IN_FLIGHT, target: json!({"in_flight_max": IN_FLIGHT}) };
    let batch = Way { batch: 100, connections: IN_FLIGHT / 100, target: batches() };
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut ratios: [Vec<f64>; 2] = Default::default();
    for _ in 0..if args.long { 5 } else { 3 } {
        say(&format!("rabbit: {events} messages, {IN_FLIGHT} in flight"));
        let theirs = Rabbit::start(&server, world)?.through(world, events)?;
        let (single, _) = routed(world, events, 1, &single)?;
        // As long as the others take, about.
        let (batched, _) = routed(world, events * 5, 1, &batch)?;
        for (rates, rate) in rates.iter_mut().zip([theirs, single, batched]) {
            rates.push(rate);
        }
        for (ratios, ours) in ratios.iter_mut().zip([single, batched]) {
            ratios.push(ours / theirs);
        }
    }
    let [theirs, single, batched] = &mut rates;
    let load = format!("load {}", load_average());
    table.show(NAME, "a quorum queue, publish to consume, median", median(theirs), "/s", &load);
    table.show(NAME, "the router, one event a request in and out, median", median(single), "/s", "");
    table.show(NAME, "the router, batches of 100 in and out, median", median(batched), "/s", "");
    let [single, batched] = &mut ratios;
    table.hold(NAME, "one event a request, ratio, median", median(single), "", Limit::AtLeast(SINGLE_MIN));
    table.hold(NAME, "batches, ratio, median", median(batched), "", Limit::AtLeast(BATCHED_MIN));
    Ok(())
}

/// A server, and the daemon that knows the names of Erlang's nodes; both end when this is dropped.
struct Rabbit {
    names: Child,
    server: Child,
    port: u16,
}

impl Rabbit {
    fn start(installed: &tools::RabbitMq, world: &World) -> Result<Rabbit, Error> {
        let folder = world.empty_folder()?;
        let [port, names, nodes] = [free_address()?.port(), free_address()?.port(), free_address()?.port()];
        let plugins = folder.join("plugins");
        fs::write(&plugins, "[].").map_err(|e| failed("the list of RabbitMQ's plugins", e))?;
        let program = |path: &Path| {
            let mut command = Command::new(path);
            command.env("HOME", &folder).env("ERL_EPMD_PORT", names.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut daemon = program(&installed.erlang.join("epmd"));
        let names = daemon.spawn().map_err(|e| failed("epmd does not start", e))?;
        let mut server = program(&installed.server);
        // Of the folder all that it writes, of the loopback interface all that it listens on, and its own files alone.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([installed.erlang.clone()].into_iter().chain(std::env::split_paths(&path)));
        server.env("PATH", path.map_err(|e| failed("PATH", e))?);
        for (name, value) in [
            ("BASE", folder.clone()),
            ("MNESIA_BASE", folder.join("mnesia")),
            ("LOG_BASE", folder.join("log")),
            ("ENABLED_PLUGINS_FILE", plugins),
            ("CONFIG_FILE", folder.join("none")),
            ("CONF_ENV_FILE", PathBuf::from("/dev/null")),
        ] {
            server.env(format!("RABBITMQ_{name}"), value);
        }
        server.env("RABBITMQ_NODENAME", format!("bench{port}@localhost"));
        server.env("RABBITMQ_NODE_PORT", port.to_string()).env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1");
        server.env("RABBITMQ_DIST_PORT", nodes.to_string());
        server.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        // The script becomes the server, without a shell of its own, for one who looks after it.
        server.env("RUNNING_UNDER_SYSTEMD", "true");
        let server = server.spawn().map_err(|e| failed("rabbitmq-server does not start", e));
        let mut rabbit = match server {
            Ok(server) => Rabbit { names, server, port },
            Err(e) => {
                let mut names = names;
                end(&mut names);
                return Err(e);
            }
        };
        rabbit.ready(world)?;
        Ok(rabbit)
    }

    fn ready(&mut self, world: &World) -> Result<(), Error> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            world.go_on()?;
            let ended = self.server.try_wait().map_err(|e| failed("rabbitmq-server", e))?;
            if ended.is_some() || started.elapsed() > START_MAX {
                return Err(Error(format!("rabbitmq-server does not answer: {ended:?}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Messages/s.
    fn through(self, world: &World, events: u64) -> Result<f64, Error> {
        let args = ["rabbit".to_owned(), self.port.to_string(), events.to_string(), IN_FLIGHT.to_string()];
        let said = Helper::start(world.load(), &args)?.line(RUN_MAX)?;
        let seconds = said.get("seconds").and_then(Value::as_f64).unwrap_or_default();
        #[allow(clippy::cast_precision_loss)] // Counts of events are far below 2^53.
        let events = events as f64;
        Ok(events / seconds)
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        end(&mut self.server);
        end(&mut self.names);
    }
}
