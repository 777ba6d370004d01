//! How soon a function answers, from nothing: the packaged program of order-processor, and functions that only take
//! the event under Google's Functions Frameworks for Node and for Python, in turn. All of them get the same order as a
//! structured CloudEvent, as soon as they take a connection, until they answer with a success.
//!
//! The frameworks are installed under the target folder; one that cannot be had is left out, and said to be.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Args,
    table::{Limit, Table, median},
    world::{end, failed, free_address, load_average, say},
};
use crate::{Error, peers};

const NAME: &str = "start";
/// Starts of each.
const ROUNDS: usize = 10;
/// How many times sooner than a framework's, and of its memory at most.
const SOONER_MIN: f64 = 25.0;
const MEMORY_MAX: f64 = 0.2;
/// What a start, an answer and an end may take.
const START_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(5);
/// From one try to the next.
const AGAIN: Duration = Duration::from_micros(200);

const NODE: &str = "@google-cloud/functions-framework@5.0.0";
const NODE_FUNCTION: &str = "require('@google-cloud/functions-framework').cloudEvent('order', event => event.data);\n";
/// The framework listens everywhere; this process listens to itself alone.
const NODE_LOOPBACK: &str = "\
const { Server } = require('net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  return typeof port === 'object' ? listen.call(this, { ...port, host: '127.0.0.1' })
    : listen.call(this, port, '127.0.0.1', ...rest.filter(r => typeof r !== 'string'));
};
";
const PYTHON_FUNCTION: &str = "def order(event):\n    return event.data and None\n";

/// Something that is started.
struct Contender {
    name: &'static str,
    command: Box<dyn Fn(SocketAddr) -> Command>,
    took_ms: Vec<f64>,
    mib: Vec<f64>,
}

/// See the module.
pub fn run(root: &Path, args: &Args, table: &mut Table) -> Result<(), Error> {
    let event = order(root)?;
    let mut all = vec![ours(root, args)?];
    let home = std::env::current_exe().map_err(|e| failed("this program's path", e))?.with_file_name("start");
    fs::create_dir_all(&home).map_err(|e| failed("the folder of the frameworks", e))?;
    for (name, made) in [("Node's framework", node(&home)), ("Python's framework", python(&home))] {
        match made {
            Ok(command) => all.push(Contender { name, command, took_ms: Vec::new(), mib: Vec::new() }),
            Err(why) => eprintln!("start: {name} is left out, since it cannot be had: {why}"),
        }
    }
    for round in 1..=ROUNDS {
        say(&format!("start: round {round} of {ROUNDS}"));
        for one in &mut all {
            let (took, mib) = started(one, &event)?;
            one.took_ms.push(took);
            one.mib.push(mib);
        }
    }
    let load = format!("load {}", load_average());
    let mut medians = all.iter_mut().map(|one| (one.name, median(&mut one.took_ms), median(&mut one.mib)));
    let Some((_, ours_ms, ours_mib)) = medians.next() else { return Ok(()) };
    table.show(NAME, "order-processor, start to first good answer, median", ours_ms, "ms", &load);
    table.show(NAME, "order-processor, memory then, median", ours_mib, "MiB", "");
    for (name, ms, mib) in medians {
        table.show(NAME, format!("{name}, start to first good answer, median"), ms, "ms", &load);
        table.show(NAME, format!("{name}, memory then, median"), mib, "MiB", "");
        table.hold(NAME, &format!("{name} / order-processor, start"), ms / ours_ms, "", Limit::AtLeast(SOONER_MIN));
        table.hold(NAME, &format!("order-processor / {name}, memory"), ours_mib / mib, "", Limit::AtMost(MEMORY_MAX));
    }
    Ok(())
}

/// The order of a sample, as a request.
fn order(root: &Path) -> Result<String, Error> {
    let file = root.join("functions/order-processor/samples/accepted.json");
    let text = fs::read(&file).map_err(|e| failed(&file.display().to_string(), e))?;
    let sample: Value = serde_json::from_slice(&text).map_err(|e| failed(&file.display().to_string(), e))?;
    let event = sample.get("event").ok_or_else(|| failed(&file.display().to_string(), "no event"))?.to_string();
    Ok(format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/cloudevents+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{event}",
        event.len()
    ))
}

/// The program as it is packaged for Google.
fn ours(root: &Path, args: &Args) -> Result<Contender, Error> {
    let program = match &args.programs {
        Some(folder) => folder.join("order-processor"),
        None => packaged(root)?,
    };
    if !program.is_file() {
        return Err(failed(&program.display().to_string(), "is not there"));
    }
    let command = move |address: SocketAddr| {
        let mut command = Command::new(&program);
        command.env("K_SERVICE", "order").env("PORT", address.port().to_string());
        command
    };
    Ok(Contender { name: "order-processor", command: Box::new(command), took_ms: Vec::new(), mib: Vec::new() })
}

fn packaged(root: &Path) -> Result<PathBuf, Error> {
    let this = std::env::current_exe().map_err(|e| failed("this program's path", e))?;
    let packages = this.with_file_name("start-packages");
    let mut command = Command::new(this);
    command.args(["package", "order-processor", "--cloud", "gcp", "--out"]).arg(&packages).current_dir(root);
    let status = command.stdout(Stdio::null()).status().map_err(|e| failed("packaging", e))?;
    match status.success() {
        true => Ok(packages.join("order-processor-gcp/function")),
        false => Err(failed("packaging order-processor", status)),
    }
}

type Started = Box<dyn Fn(SocketAddr) -> Command>;

fn node(home: &Path) -> Result<Started, String> {
    let folder = home.join("node");
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let program = folder.join("node_modules/.bin/functions-framework");
    if !program.is_file() {
        say("start: installing Node's framework");
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix"]).arg(&folder);
        peers::run(npm.arg(NODE))?;
    }
    for (name, text) in [("index.js", NODE_FUNCTION), ("loopback.js", NODE_LOOPBACK)] {
        fs::write(folder.join(name), text).map_err(|e| e.to_string())?;
    }
    Ok(Box::new(move |address| {
        let mut command = Command::new("node");
        command.arg("--require").arg(folder.join("loopback.js")).arg(&program).arg("--target=order").arg("--source");
        command.arg(&folder).arg(format!("--port={}", address.port()));
        command
    }))
}

fn python(home: &Path) -> Result<Started, String> {
    peers::provide().join().map_err(|_| "installing it failed")?;
    let program = peers::folder().map(|peers| peers.join("bin/functions-framework")).filter(|p| p.is_file());
    let program = program.ok_or("it is not among the installed peers")?;
    let folder = home.join("python");
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    fs::write(folder.join("main.py"), PYTHON_FUNCTION).map_err(|e| e.to_string())?;
    Ok(Box::new(move |address| {
        let mut command = Command::new(&program);
        command.args(["--target", "order", "--signature-type", "cloudevent", "--host", "127.0.0.1", "--port"]);
        command.arg(address.port().to_string()).arg("--source").arg(folder.join("main.py"));
        command
    }))
}

/// Milliseconds to the first good answer, and the memory of the process and its children then, in MiB.
fn started(one: &Contender, event: &str) -> Result<(f64, f64), Error> {
    let address = free_address()?;
    let mut command = (one.command)(address);
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|e| failed(one.name, e))?;
    let answered = loop {
        if answers(address, event) {
            break Ok(began.elapsed().as_secs_f64() * 1e3);
        }
        if began.elapsed() > START_MAX {
            break Err(failed(one.name, format!("no good answer within {START_MAX:?}")));
        }
        thread::sleep(AGAIN);
    };
    let mib = memory_mib(child.id());
    stop(&mut child);
    Ok((answered?, mib))
}

/// Whether a success comes.
fn answers(address: SocketAddr, event: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = Vec::new();
    let read = stream
        .set_read_timeout(Some(ANSWER_MAX))
        .and_then(|()| stream.write_all(event.as_bytes()))
        .and_then(|()| stream.read_to_end(&mut answer));
    read.is_ok() && answer.starts_with(b"HTTP/1.1 2")
}

/// What a process and its children take, shared pages by their part, in MiB.
fn memory_mib(process: u32) -> f64 {
    let proc = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let kib = proc("smaps_rollup")
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok());
    let children = proc(&format!("task/{process}/children"));
    let children = children.split_whitespace().filter_map(|child| child.parse().ok()).map(memory_mib);
    kib.unwrap_or(0.0) / 1024.0 + children.sum::<f64>()
}

/// Asks it to end, so that it ends its children, and ends it.
fn stop(child: &mut Child) {
    let asked = Command::new("kill").arg(child.id().to_string()).status();
    let until = Instant::now() + END_MAX;
    while asked.is_ok() && Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(10));
    }
    end(child);
}
