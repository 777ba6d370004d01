//! The programs of a benchmark, and the router as a process, which ends when its handle is dropped.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::load::{Helper, LINE_MAX, Publisher, Sinks};
use crate::{Error, test::missing_make};

/// What a start may take.
const START_MAX: Duration = Duration::from_secs(120);
/// What an answer of the router's admin port may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Lines of the router's log that a failure shows.
const SHOWN: usize = 10;

pub fn failed(what: &str, why: impl std::fmt::Display) -> Error {
    Error(format!("{what}: {why}"))
}

/// Says what is under way.
pub fn say(text: &str) {
    eprintln!("[load average {}] {text}", load_average());
}

/// How busy the machine was over the last minute.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// The programs, and whether to stop.
pub struct World {
    router: PathBuf,
    load: PathBuf,
    folder: PathBuf,
    interrupted: Arc<AtomicBool>,
}

impl World {
    /// With the programs of a folder, or those that it builds.
    pub fn new(root: &Path, programs: Option<&Path>) -> Result<World, Error> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone()).map_err(|e| failed("signals", e))?;
        }
        let (router, load) = match programs {
            Some(folder) => (found(&folder.join("gocoffee"))?, found(&folder.join("coffee-load"))?),
            None => {
                if let Some(what) = missing_make() {
                    return Err(Error(what));
                }
                say("building release programs");
                // As users get it.
                let router = build(root, &["-p", "gocoffee"], "gocoffee")?;
                (router, build(root, &["-p", "router-tests"], "coffee-load")?)
            }
        };
        // Beside this program: a temporary folder may be memory, where a sync costs nothing.
        let here = std::env::current_exe().map_err(|e| failed("this program's path", e))?;
        let folder = here.with_file_name(format!("bench-{}", std::process::id()));
        Ok(World { router, load, folder, interrupted })
    }

    /// A new place for a router, empty.
    pub fn place(&self) -> Result<Place<'_>, Error> {
        self.clear()?;
        let (public, admin) = (free_address()?, free_address()?);
        Ok(Place { world: self, public, admin })
    }

    /// A new folder for another program, empty.
    pub fn empty_folder(&self) -> Result<PathBuf, Error> {
        self.clear()?;
        Ok(self.folder.clone())
    }

    /// Empties the folder.
    fn clear(&self) -> Result<(), Error> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(|e| failed("the folder of the last run", e))?;
        }
        fs::create_dir_all(&self.folder).map_err(|e| failed("the folder of the run", e))
    }

    /// Fails when somebody wants it to stop.
    pub fn go_on(&self) -> Result<(), Error> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(Error("stopped by a signal".into())),
            false => Ok(()),
        }
    }

    /// The program of the load.
    pub fn load(&self) -> &Path {
        &self.load
    }

    /// Starts the sinks.
    pub fn sinks(&self, count: usize) -> Result<Sinks, Error> {
        let mut helper = Helper::start(&self.load, &["sinks".to_owned(), count.to_string()])?;
        let addresses = helper.line(LINE_MAX)?;
        Ok(Sinks::new(helper, addresses))
    }

    /// Starts a server that only answers; its URL.
    pub fn bare(&self) -> Result<(Helper, String), Error> {
        self.server(&["bare".to_owned()])
    }

    /// Starts one that parses events and is durable, and posts them to a sink if there is one; its URL.
    pub fn durable(&self, to: Option<&Sinks>) -> Result<(Helper, String), Error> {
        self.clear()?;
        let folder = self.folder.join("segments").display().to_string();
        let to = to.map(|sinks| sinks.address("/sinks/0").to_owned());
        self.server(&["durable".to_owned(), folder].into_iter().chain(to).collect::<Vec<_>>())
    }

    fn server(&self, args: &[String]) -> Result<(Helper, String), Error> {
        let mut helper = Helper::start(&self.load, args)?;
        let address = helper.line(LINE_MAX)?;
        let address = address.get("address").and_then(Value::as_str).unwrap_or_default();
        let url = format!("http://{address}/events");
        Ok((helper, url))
    }

    /// Starts a publisher.
    pub fn publisher(&self, url: &str, events: u64, batch: u64, connections: u64) -> Result<Publisher, Error> {
        self.sender("publish", url, [events, batch, connections])
    }

    /// Starts a publisher that sends so many events a second, one a request.
    pub fn offer(&self, url: &str, events: u64, rate: u64, connections: u64) -> Result<Publisher, Error> {
        self.sender("offer", url, [events, rate, connections])
    }

    fn sender(&self, how: &str, url: &str, numbers: [u64; 3]) -> Result<Publisher, Error> {
        let numbers = numbers.map(|n| n.to_string());
        let args = [how.to_owned(), url.to_owned()].into_iter().chain(numbers).chain(["bench".to_owned()]);
        let helper = Helper::start(&self.load, &args.collect::<Vec<_>>())?;
        Ok(Publisher::new(helper))
    }

    /// Appends to the router's log and to bare segments in turn: the rates of both, a round each.
    pub fn append(&self, events: u64, rounds: u64, wait: Duration) -> Result<Vec<(f64, f64)>, Error> {
        self.clear()?;
        let folder = self.folder.join("append").display().to_string();
        let mut helper = Helper::start(&self.load, &["append".into(), folder, events.to_string(), rounds.to_string()])?;
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let line = helper.line(wait)?;
            let rate = |name: &str| line.get(name).and_then(Value::as_f64).unwrap_or_default();
            rates.push((rate("ours"), rate("bare")));
        }
        Ok(rates)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It is in the target folder: what cannot be removed now goes with that.
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

fn found(program: &Path) -> Result<PathBuf, Error> {
    program.canonicalize().map_err(|e| failed(&program.display().to_string(), e))
}

fn build(root: &Path, package: &[&str], binary: &str) -> Result<PathBuf, Error> {
    let what = format!("building {binary}");
    let mut command = crate::cargo();
    command.args(["build", "--release", "--bin", binary, "--message-format=json-render-diagnostics"]).args(package);
    let built = command.current_dir(root).stderr(Stdio::inherit()).output().map_err(|e| failed(&what, e))?;
    if !built.status.success() {
        return Err(failed(&what, built.status));
    }
    let executable = String::from_utf8_lossy(&built.stdout).lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let named = message.pointer("/target/name").and_then(Value::as_str) == Some(binary);
        message.get("executable").and_then(Value::as_str).filter(|_| named).map(PathBuf::from)
    });
    executable.ok_or_else(|| failed(&what, "cargo does not say where it is"))
}

/// A free port below those that the system gives to outgoing connections, of which a run makes many.
pub fn free_address() -> Result<SocketAddr, Error> {
    let start = 10_000 + u16::try_from(std::process::id() % 18_000).unwrap_or_default();
    let mut free = (start..start + 2_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    // Two calls in a row must not find the same one.
    static TAKEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let free = free.find(|address| {
        let port = usize::from(address.port());
        port > TAKEN.load(Ordering::Relaxed) && TcpListener::bind(address).is_ok()
    });
    let free = free.ok_or_else(|| Error("no port of 127.0.0.1 is free".into()))?;
    TAKEN.store(usize::from(free.port()), Ordering::Relaxed);
    Ok(free)
}

/// Bytes as MiB.
#[allow(clippy::cast_precision_loss)] // A router has less than 2^53 of them.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Ends a process that this one started.
pub fn end(child: &mut Child) {
    // Killed or already gone: both are the end.
    child.kill().unwrap_or_default();
    child.wait().map(drop).unwrap_or_default();
}

/// A place for a router: its folder and its addresses stay the same from start to start.
pub struct Place<'a> {
    world: &'a World,
    public: SocketAddr,
    admin: SocketAddr,
}

impl Place<'_> {
    /// Where events are published to.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.public)
    }

    fn log(&self) -> PathBuf {
        self.world.folder.join("router.log")
    }

    /// Starts the router with one route and one target per name, and waits until it is ready.
    pub fn start(&self, routes: &[(&str, String)]) -> Result<Router<'_>, Error> {
        self.start_with(routes, &json!({}))
    }

    /// The same, with more settings of each target, e.g. `batch`.
    pub fn start_with(&self, routes: &[(&str, String)], more: &Value) -> Result<Router<'_>, Error> {
        let target = |url: &str| {
            let mut http = more.as_object().cloned().unwrap_or_default();
            http.insert("url".into(), url.into());
            json!({"http": http})
        };
        let targets: Value = routes.iter().map(|(name, url)| ((*name).to_owned(), target(url))).collect();
        let routes: Value = routes.iter().map(|(name, _)| ((*name).to_owned(), json!({"to": name}))).collect();
        // JSON is YAML.
        let config = json!({
            "listen": self.public,
            "admin": {"listen": self.admin},
            "store": {"disk": {"path": self.world.folder.join("data")}},
            "sources": {"web": {"http": {"path": "/events"}}},
            "targets": targets,
            "routes": routes,
        });
        let file = self.world.folder.join("gocoffee.yaml");
        fs::write(&file, format!("{config:#}")).map_err(|e| failed("the configuration", e))?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log());
        let mut command = Command::new(&self.world.router);
        command.arg("serve").arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let child = command.stderr(log.map_err(|e| failed("the log", e))?).spawn();
        let child = child.map_err(|e| failed("the router does not start", e))?;
        let mut router = Router { place: self, child, ready_after: Duration::ZERO };
        router.ready(started)?;
        Ok(router)
    }

    /// The last lines of the router's log.
    fn logged(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
    }
}

/// A router that runs.
pub struct Router<'a> {
    place: &'a Place<'a>,
    child: Child,
    /// From its start until it was ready.
    pub ready_after: Duration,
}

impl Router<'_> {
    fn ready(&mut self, started: Instant) -> Result<(), Error> {
        while !self.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            self.alive()?;
            if started.elapsed() > START_MAX {
                return Err(Error(format!("not ready after {START_MAX:?}:\n{}", self.place.logged())));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.ready_after = started.elapsed();
        Ok(())
    }

    /// Fails when the router has ended, or this process is to.
    pub fn alive(&mut self) -> Result<(), Error> {
        self.place.world.go_on()?;
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(Error(format!("the router ended: {ended:?}\n{}", self.place.logged()))),
        }
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.place.admin, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let host = self.place.admin;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A metric of a route, e.g. `gocoffee_route_waiting`.
    pub fn metric(&self, name: &str, route: &str) -> Result<u64, Error> {
        let page = self.get("/metrics").map_err(|e| failed("/metrics", e))?;
        let line = format!("{name}{{route=\"{route}\"}} ");
        let value = page.lines().find_map(|l| l.strip_prefix(&line)).and_then(|v| v.parse().ok());
        value.ok_or_else(|| failed("/metrics", format!("there is no {line}")))
    }

    /// Runs a command of the router's against it, e.g. `replay start`.
    pub fn command(&self, args: &[&str]) -> Result<(), Error> {
        let mut command = Command::new(&self.place.world.router);
        command.args(args).arg("--admin").arg(format!("http://{}", self.place.admin));
        command.arg("--data").arg(self.place.world.folder.join("data"));
        let done = command.stdin(Stdio::null()).output().map_err(|e| failed("the command", e))?;
        match done.status.success() {
            true => Ok(()),
            false => Err(failed(&args.join(" "), String::from_utf8_lossy(&done.stderr))),
        }
    }

    /// What it holds of the memory, in bytes, shared pages of its files included.
    pub fn resident_bytes(&self) -> u64 {
        self.of_status("VmRSS:")
    }

    /// The most that it held so far.
    pub fn resident_bytes_max(&self) -> u64 {
        self.of_status("VmHWM:")
    }

    fn of_status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or(0u64) * 1024
    }

    /// Processor time that it used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // After the name, which may hold anything, come state and 10 numbers, then user and system time in
        // ticks of 10 ms (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = fields.iter().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum::<f64>();
        ticks / 100.0
    }

    /// SIGKILL: no moment to write anything.
    pub fn kill(mut self) {
        end(&mut self.child);
    }
}

impl Drop for Router<'_> {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
