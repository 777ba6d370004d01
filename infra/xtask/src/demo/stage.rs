//! The processes of the demo and their temporary folder. Both are gone afterwards on every way out: the end,
//! an error and a panic drop the [`Stage`]; a thread waits for signals and clears it too. The processes are
//! in groups of their own, so that Ctrl-C reaches only us.

use std::{
    env, fs,
    fs::File,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    balance::{self, To},
    day::Day,
    http,
};
use crate::Error;

/// Programs that are there already, for who has built them: the tests.
const BINARIES: [&str; 3] = ["GOCOFFEE_BIN", "GOCOFFEE_SINK_BIN", "GOCOFFEE_FUNCTIONS_BIN"];
/// The events of the day, as the publishing command is shown.
pub const DAY: &str = "day.ndjson";
/// Says which function a process is.
const FUNCTION: &str = "COFFEE_FUNCTION";
/// The function that is down for a while.
const PROCESSOR: &str = "order-processor";
/// The functions that run all the time.
const OTHERS: [&str; 4] = ["ai-coordinator", "defi-scanner", "inventory-optimizer", "notification-dispatcher"];
/// Ports below those that systems give to whoever asks for any: one of them is there again after a restart.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// How long a process may take to start.
const START: Duration = Duration::from_secs(30);
/// Between two looks whether a process still runs.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of the router's log that an error shows.
const LOG_LINES_SHOWN: usize = 10;

/// Where the programs are.
pub struct Programs {
    gocoffee: PathBuf,
    sink: PathBuf,
    functions: PathBuf,
}

impl Programs {
    /// Builds the router without the clouds, the functions without their platforms, and the process that counts.
    ///
    /// # Errors
    /// When cargo fails; it has said why.
    pub fn find_or_build(root: &Path) -> Result<Programs, Error> {
        if let [Some(gocoffee), Some(sink), Some(functions)] = BINARIES.map(env::var_os) {
            return Ok(Programs { gocoffee: gocoffee.into(), sink: sink.into(), functions: functions.into() });
        }
        println!("Building the router and its functions (a few minutes the first time, then a moment)");
        let args = ["build", "--no-default-features", "--package", "gocoffee", "--package", "router-tests", "--bins"];
        let built = crate::cargo().args(args).current_dir(root).status();
        let built = built.map_err(|e| Error(format!("cargo does not start: {e}")))?;
        if !built.success() {
            return Err(Error(format!("`cargo {}` failed; it says why above", args.join(" "))));
        }
        // Cargo puts all programs of one profile beside each other, this one too.
        let here = env::current_exe().map_err(|e| Error(format!("this program does not know where it is: {e}")))?;
        let [gocoffee, sink, functions] =
            ["gocoffee", "coffee-sink", "coffee-functions"].map(|name| here.with_file_name(name));
        Ok(Programs { gocoffee, sink, functions })
    }
}

/// What must be ended and removed.
struct Props {
    folder: PathBuf,
    children: Mutex<Vec<Child>>,
    ending: AtomicBool,
}

impl Props {
    fn children(&self) -> MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process that ends with the demo; its place in the list, and what it writes where that is piped.
    fn spawn(&self, mut command: Command) -> Result<(usize, Option<ChildStdout>), Error> {
        let mut children = self.children();
        let name = command.get_program().to_string_lossy().into_owned();
        // The lock is held: whoever clears the stage finds the child, or has cleared before.
        if self.ending.load(Ordering::Relaxed) {
            return Err(Error("ended by a signal".into()));
        }
        let spawned = command.process_group(0).stdin(Stdio::null()).spawn();
        let mut child = spawned.map_err(|e| Error(format!("{name} does not start: {e}")))?;
        let stdout = child.stdout.take();
        children.push(child);
        Ok((children.len() - 1, stdout))
    }

    /// The status of a process that has ended.
    fn ended(&self, at: usize) -> Option<ExitStatus> {
        self.children().get_mut(at).and_then(|child| child.try_wait().ok().flatten())
    }

    /// Ends every process and removes the folder. The router survives that by design, and its data goes too.
    fn clear(&self) {
        let mut children = self.children();
        self.ending.store(true, Ordering::Relaxed);
        for child in children.iter_mut() {
            // One that has ended by itself cannot be killed any more.
            let _ended = child.kill();
            let _status = child.wait();
        }
        children.clear();
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// Everything that runs, and where it is.
pub struct Stage {
    props: Arc<Props>,
    programs: Programs,
    /// Where events come in.
    pub public: String,
    admin: String,
    admin_url: String,
    data: String,
    sink: String,
    /// Where order-processor listens, while it runs.
    processor: String,
    router: usize,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.props.clear();
    }
}

impl Stage {
    /// Starts whoever counts, the functions but for order-processor, then the router.
    ///
    /// # Errors
    /// When one does not start; the others are ended.
    pub fn open(programs: Programs, day: &Day) -> Result<Stage, Error> {
        let folder = env::temp_dir().join(format!("gocoffee-demo-{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|e| Error(format!("the folder {} cannot be made: {e}", folder.display())))?;
        let data = folder.join("data").to_string_lossy().into_owned();
        let props = Arc::new(Props { folder, children: Mutex::default(), ending: AtomicBool::new(false) });
        let mut stage = Stage {
            props,
            programs,
            public: String::new(),
            admin: String::new(),
            admin_url: String::new(),
            data,
            sink: String::new(),
            processor: free_address()?,
            router: 0,
        };
        stage.heed_signals()?;
        fs::write(stage.props.folder.join(DAY), &day.text).map_err(unwritable)?;
        stage.start_sink()?;
        stage.answer("phone", &json!({}))?;
        let said = json!({"role": "assistant", "content": "A flat white and a croissant."});
        let usage = json!({"prompt_tokens": 40, "completion_tokens": 8});
        stage.answer("model", &json!({"choices": [{"message": said, "finish_reason": "stop"}], "usage": usage}))?;
        let mut addresses = vec![(PROCESSOR, stage.processor.clone())];
        for name in OTHERS {
            addresses.push((name, stage.start_function(name, "127.0.0.1:0")?));
        }
        stage.start_router(&addresses)?;
        Ok(stage)
    }

    fn heed_signals(&self) -> Result<(), Error> {
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
        let mut signals = signals.map_err(|e| Error(format!("signals cannot be heard: {e}")))?;
        let props = self.props.clone();
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                props.clear();
                eprintln!("\nEnded; nothing is left behind.");
                std::process::exit(128 + signal);
            }
        });
        Ok(())
    }

    fn start_sink(&mut self) -> Result<(), Error> {
        let mut command = Command::new(&self.programs.sink);
        command.stdout(Stdio::piped());
        let (_, stdout) = self.props.spawn(command)?;
        let mut line = String::new();
        let read = stdout.map(|out| BufReader::new(out).read_line(&mut line)).transpose();
        read.map_err(|e| Error(format!("coffee-sink does not say where it listens: {e}")))?;
        let address = line.trim().strip_prefix("listening on http://");
        address.map(|a| self.sink = a.to_owned()).ok_or_else(|| Error("coffee-sink does not listen".into()))
    }

    /// Starts a function; where it listens.
    fn start_function(&self, name: &str, listen: &str) -> Result<String, Error> {
        let plain = format!("http://{}/-/plain", self.sink);
        let phone = json!({"webhook": {"url": format!("{plain}/phone")}});
        let channels = json!({"push": phone, "sms": phone, "email": phone, "slack": phone});
        let model = json!({"url": format!("{plain}/model"), "model": "barista", "capabilities": ["*"],
            "context_tokens_max": 8192, "answer_tokens_max": 4096, "cost_in_micros": 0, "cost_out_micros": 0,
            "latency_ms": 10});
        let log = self.props.folder.join(format!("{name}.log"));
        let mut command = Command::new(&self.programs.functions);
        command.env(FUNCTION, name).env("LISTEN", listen);
        command.env("NOTIFY", json!({"channels": channels}).to_string());
        command.env("AI", json!({"models": {"barista": model}}).to_string());
        command.stdout(Stdio::null()).stderr(File::create(&log).map_err(unwritable)?);
        let (at, _) = self.props.spawn(command)?;
        let end = Instant::now() + START;
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(address) = listening(&text) {
                return Ok(address);
            }
            if let Some(status) = self.props.ended(at) {
                return Err(Error(format!("{name} ended at its start, {status}:\n{text}")));
            }
            if Instant::now() > end {
                return Err(Error(format!("{name} does not listen after {} s:\n{text}", START.as_secs())));
            }
            thread::sleep(LOOK);
        }
    }

    /// Starts order-processor where the router has looked for it all the time.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_processor(&self) -> Result<(), Error> {
        self.start_function(PROCESSOR, &self.processor).map(drop)
    }

    fn start_router(&mut self, functions: &[(&str, String)]) -> Result<(), Error> {
        let (config, log) = (self.props.folder.join("gocoffee.yaml"), self.log());
        let address = |route: &balance::Route| match route.to {
            To::Counter(_) => format!("http://{}/{}", self.sink, route.name),
            To::Function(name) => {
                let found = functions.iter().find(|(function, _)| *function == name);
                format!("http://{}/", found.map(|(_, address)| address.as_str()).unwrap_or_default())
            }
        };
        // JSON is YAML.
        fs::write(&config, format!("{:#}\n", balance::config(&self.data, address))).map_err(unwritable)?;
        let mut command = Command::new(&self.programs.gocoffee);
        command.arg("serve").arg("--config").arg(&config);
        command.stdout(Stdio::null()).stderr(File::create(&log).map_err(unwritable)?);
        (self.router, _) = self.props.spawn(command)?;
        let end = Instant::now() + START;
        loop {
            if let Some((public, admin)) = ready(&fs::read_to_string(&log).unwrap_or_default()) {
                (self.admin_url, self.public, self.admin) = (format!("http://{admin}"), public, admin);
                return Ok(());
            }
            if let Some(status) = self.props.ended(self.router) {
                return Err(Error(format!("the router ended at its start, {status}:\n{}", self.last_log())));
            }
            if Instant::now() > end {
                let message = format!("the router is not ready after {} s:\n{}", START.as_secs(), self.last_log());
                return Err(Error(message));
            }
            thread::sleep(LOOK);
        }
    }

    fn log(&self) -> PathBuf {
        self.props.folder.join("router.log")
    }

    /// The end of the router's log.
    fn last_log(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default().join("\n")
    }

    /// The arguments, and those that lead a command to this router.
    pub fn with_admin<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [args, &["--admin", &self.admin_url, "--data", &self.data]].concat()
    }

    /// Runs a command of the router to its end; its output.
    ///
    /// # Errors
    /// When it fails: it has said why on standard error.
    pub fn gocoffee(&self, args: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(&self.programs.gocoffee);
        command.args(args).current_dir(&self.props.folder).stdout(Stdio::piped());
        let (at, stdout) = self.props.spawn(command)?;
        let mut text = String::new();
        let read = stdout.map(|mut out| out.read_to_string(&mut text)).transpose();
        read.map_err(|e| Error(format!("gocoffee {}: {e}", args.join(" "))))?;
        let status = loop {
            match self.props.ended(at) {
                Some(status) => break status,
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        if status.success() {
            return Ok(text);
        }
        let log = self.last_log();
        Err(Error(format!("`gocoffee {}` failed, {status}\n{text}the router's log ends with:\n{log}", args.join(" "))))
    }

    /// Sets what the target of a route does from now on.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn script(&self, route: &str, script: &Value) -> Result<(), Error> {
        match http::send("PUT", &self.sink, &format!("/-/script/{route}"), &script.to_string())? {
            (200..=299, _) => Ok(()),
            (status, text) => Err(Error(format!("coffee-sink answered {status}: {text}"))),
        }
    }

    /// Sets what whoever is called at `/-/plain/NAME` is answered with.
    fn answer(&self, name: &str, answer: &Value) -> Result<(), Error> {
        match http::send("PUT", &self.sink, &format!("/-/plain/{name}"), &answer.to_string())? {
            (200..=299, _) => Ok(()),
            (status, text) => Err(Error(format!("coffee-sink answered {status}: {text}"))),
        }
    }

    /// How many events each route's target has taken.
    ///
    /// # Errors
    /// When it does not say.
    pub fn counts(&self) -> Result<Value, Error> {
        self.figures("/-/counts")
    }

    /// How often the functions have called the phones and the model.
    ///
    /// # Errors
    /// When it is not said.
    pub fn plain(&self) -> Result<Value, Error> {
        self.figures("/-/plain")
    }

    fn figures(&self, path: &str) -> Result<Value, Error> {
        let (_, text) = http::send("GET", &self.sink, path, "")?;
        serde_json::from_str(&text).map_err(|e| Error(format!("the counts of coffee-sink cannot be read: {e}")))
    }

    /// Says what to try while everything keeps running.
    pub fn invite(&self) {
        let Stage { public, admin, admin_url, data, sink, .. } = self;
        let order = json!({"order": "order-1", "shop": 1, "customer": {"name": "Sam Lee"}, "total": 280, "currency": "EUR",
            "lines": [{"line": 1, "item": "Espresso", "quantity": 1, "price_cents": 280, "extras": []}], "pickup": true});
        let event = json!({"specversion": "1.0", "id": "my-1", "source": "/me", "type": "coffee.order.created",
            "partitionkey": "order-1", "data": order});
        let event = event.to_string();
        println!("\nEverything keeps running until Ctrl-C. In another terminal:\n");
        println!("gocoffee() {{ {} \"$@\" --admin {admin_url} --data {data}; }}", self.programs.gocoffee.display());
        println!("gocoffee status");
        println!("gocoffee routes ls");
        println!("curl http://{public}/events -H 'Content-Type: application/cloudevents+json' -d '{event}'");
        println!("\nMake the kitchen refuse, send an order under another id, and look at what is parked:\n");
        println!("curl -X PUT http://{sink}/-/script/kitchen -d '{{\"rules\":[{{\"answer\":{{\"status\":422}}}}]}}'");
        println!(
            "curl http://{public}/events -H 'Content-Type: application/cloudevents+json' -d '{}'",
            event.replace("my-1", "my-2").replace("order-1", "order-2")
        );
        println!("gocoffee dead-letters ls");
        println!("\nRepair it and deliver again:\n");
        println!("curl -X PUT http://{sink}/-/script/kitchen -d '{{}}'");
        println!("gocoffee dead-letters redrive --route kitchen");
        println!("\nFigures: curl http://{admin}/metrics");
        println!("Log:     tail -f {}", self.log().display());
    }

    /// Waits for a signal, which ends this process, or for the router to end by itself.
    ///
    /// # Errors
    /// When the router has ended.
    pub fn until_ended(&self) -> Result<(), Error> {
        loop {
            self.wait_if_ending();
            if let Some(status) = self.props.ended(self.router) {
                self.wait_if_ending();
                return Err(Error(format!("the router ended by itself, {status}:\n{}", self.last_log())));
            }
            thread::sleep(LOOK);
        }
    }

    /// Does not return when a signal has come: the thread that heeds it ends the process.
    pub fn wait_if_ending(&self) {
        while self.props.ending.load(Ordering::Relaxed) {
            thread::park();
        }
    }
}

fn unwritable(e: std::io::Error) -> Error {
    Error(format!("the temporary folder cannot be written: {e}"))
}

/// An address that nobody listens at, and that no connection is given by chance.
fn free_address() -> Result<String, Error> {
    let first = u16::try_from(std::process::id() % u32::from(PORTS.end - PORTS.start)).unwrap_or_default();
    let ports = (PORTS.start + first..PORTS.end).chain(PORTS);
    let mut free = ports.map(|port| format!("127.0.0.1:{port}")).filter(|address| TcpListener::bind(address).is_ok());
    free.next().ok_or_else(|| Error(format!("no port from {} to {} is free", PORTS.start, PORTS.end - 1)))
}

/// The address of the line of a function's log that says where it listens.
fn listening(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut messages = lines.filter_map(|line| line.get("message")?.as_str().map(str::to_owned));
    messages.find_map(|message| message.strip_prefix("listening on http://").map(str::to_owned))
}

/// The addresses of the line that says the router is ready.
fn ready(log: &str) -> Option<(String, String)> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ready = lines.find(|line| line.get("message").is_some_and(|m| m == "ready"))?;
    let address = |key| ready.get(key).and_then(Value::as_str).map(str::to_owned);
    Some((address("listen")?, address("admin")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_says_where_it_listens() {
        let log = "{\"message\":\"state is in memory\"}\n{\"message\":\"listening on http://127.0.0.1:9\"}\n";
        assert_eq!(listening(log).as_deref(), Some("127.0.0.1:9"));
        assert_eq!(listening(&log[..40]), None);
    }

    #[test]
    fn a_free_address_can_be_listened_at() {
        TcpListener::bind(free_address().unwrap()).unwrap();
    }

    #[test]
    fn addresses_are_read_from_the_line_that_says_ready() {
        let log =
            "plain text\n{\"message\":\"recovered\"}\n{\"message\":\"ready\",\"listen\":\"a:1\",\"admin\":\"b:2\"}\n";
        assert_eq!(ready(log), Some(("a:1".into(), "b:2".into())));
        assert_eq!(ready(&log[..60]), None);
    }
}
