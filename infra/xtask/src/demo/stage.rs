//! The processes of the demo and their temporary folder. Both are gone afterwards on every way out: the end,
//! an error and a panic drop the [`Stage`]; a thread waits for signals and clears it too. The processes are
//! in groups of their own, so that Ctrl-C reaches only us.

use std::{
    env, fs,
    fs::File,
    io::{BufRead, BufReader, Read},
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

use serde_json::Value;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{balance, http};
use crate::Error;

/// Programs that are there already, for who has built them: the tests.
const BINARIES: [&str; 2] = ["GOCOFFEE_BIN", "GOCOFFEE_SINK_BIN"];
/// How long the router may take to start.
const START: Duration = Duration::from_secs(30);
/// Between two looks whether a process still runs.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of the router's log that an error shows.
const LOG_LINES_SHOWN: usize = 10;

/// Where the two programs are.
pub struct Programs {
    gocoffee: PathBuf,
    sink: PathBuf,
}

impl Programs {
    /// Builds the router without the clouds, and the process that plays the functions.
    ///
    /// # Errors
    /// When cargo fails; it has said why.
    pub fn find_or_build(root: &Path) -> Result<Programs, Error> {
        if let [Some(gocoffee), Some(sink)] = BINARIES.map(env::var_os) {
            return Ok(Programs { gocoffee: gocoffee.into(), sink: sink.into() });
        }
        println!("Building the router and its functions (a few minutes the first time, then a moment)");
        let args = ["build", "--no-default-features", "--package", "gocoffee", "--package", "router-tests", "--bins"];
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // Cargo tells a program that it runs which package it is. A dependency's build script looks at these
        // variables, and would be built anew at each change between this cargo and the one of a terminal.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&*name);
            }
        }
        let built = command.args(args).current_dir(root).status();
        let built = built.map_err(|e| Error(format!("cargo does not start: {e}")))?;
        if !built.success() {
            return Err(Error(format!("`cargo {}` failed; it says why above", args.join(" "))));
        }
        // Cargo puts all programs of one profile beside each other, this one too.
        let here = env::current_exe().map_err(|e| Error(format!("this program does not know where it is: {e}")))?;
        Ok(Programs { gocoffee: here.with_file_name("gocoffee"), sink: here.with_file_name("coffee-sink") })
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
    root: PathBuf,
    /// Where events come in.
    pub public: String,
    admin: String,
    admin_url: String,
    data: String,
    sink: String,
    router: usize,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.props.clear();
    }
}

impl Stage {
    /// Starts the functions, then the router.
    ///
    /// # Errors
    /// When one does not start; the other is ended.
    pub fn open(root: &Path, programs: Programs) -> Result<Stage, Error> {
        let folder = env::temp_dir().join(format!("gocoffee-demo-{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|e| Error(format!("the folder {} cannot be made: {e}", folder.display())))?;
        let data = folder.join("data").to_string_lossy().into_owned();
        let props = Arc::new(Props { folder, children: Mutex::default(), ending: AtomicBool::new(false) });
        let mut stage = Stage {
            props,
            programs,
            root: root.to_owned(),
            public: String::new(),
            admin: String::new(),
            admin_url: String::new(),
            data,
            sink: String::new(),
            router: 0,
        };
        stage.heed_signals()?;
        stage.start_sink()?;
        stage.start_router()?;
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
        read.map_err(|e| Error(format!("the functions do not say where they listen: {e}")))?;
        let address = line.trim().strip_prefix("listening on http://");
        address.map(|a| self.sink = a.to_owned()).ok_or_else(|| Error("the functions do not listen".into()))
    }

    fn start_router(&mut self) -> Result<(), Error> {
        let (config, log) = (self.props.folder.join("gocoffee.yaml"), self.log());
        let failed = |e: std::io::Error| Error(format!("the temporary folder cannot be written: {e}"));
        // JSON is YAML.
        fs::write(&config, format!("{:#}\n", balance::config(&self.data, &self.sink))).map_err(failed)?;
        let mut command = Command::new(&self.programs.gocoffee);
        command.arg("serve").arg("--config").arg(&config);
        command.stdout(Stdio::null()).stderr(File::create(&log).map_err(failed)?);
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
        command.args(args).current_dir(&self.root).stdout(Stdio::piped());
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

    /// Sets what the function of a route does from now on.
    ///
    /// # Errors
    /// When the functions do not take it.
    pub fn script(&self, route: &str, script: &Value) -> Result<(), Error> {
        match http::send("PUT", &self.sink, &format!("/-/script/{route}"), &script.to_string())? {
            (200..=299, _) => Ok(()),
            (status, text) => Err(Error(format!("the functions answered {status}: {text}"))),
        }
    }

    /// How many events each function has taken.
    ///
    /// # Errors
    /// When the functions do not say.
    pub fn counts(&self) -> Result<Value, Error> {
        let (_, text) = http::send("GET", &self.sink, "/-/counts", "")?;
        serde_json::from_str(&text).map_err(|e| Error(format!("the counts of the functions cannot be read: {e}")))
    }

    /// Says what to try while everything keeps running.
    pub fn invite(&self) {
        let Stage { public, admin, admin_url, data, sink, .. } = self;
        let event =
            r#"{"specversion":"1.0","id":"my-1","source":"/me","type":"coffee.order.created","data":{"total":450}}"#;
        println!("\nEverything keeps running until Ctrl-C. In another terminal:\n");
        println!("gocoffee() {{ {} \"$@\" --admin {admin_url} --data {data}; }}", self.programs.gocoffee.display());
        println!("gocoffee status");
        println!("gocoffee routes ls");
        println!("curl http://{public}/events -H 'Content-Type: application/cloudevents+json' -d '{event}'");
        println!("\nMake order-processor refuse, send an order under another id, and look at what is parked:\n");
        println!("curl -X PUT http://{sink}/-/script/orders -d '{{\"rules\":[{{\"answer\":{{\"status\":422}}}}]}}'");
        println!(
            "curl http://{public}/events -H 'Content-Type: application/cloudevents+json' -d '{}'",
            event.replace("my-1", "my-2")
        );
        println!("gocoffee dead-letters ls");
        println!("\nRepair it and deliver again:\n");
        println!("curl -X PUT http://{sink}/-/script/orders -d '{{}}'");
        println!("gocoffee dead-letters redrive --route orders");
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
    fn addresses_are_read_from_the_line_that_says_ready() {
        let log =
            "plain text\n{\"message\":\"recovered\"}\n{\"message\":\"ready\",\"listen\":\"a:1\",\"admin\":\"b:2\"}\n";
        assert_eq!(ready(log), Some(("a:1".into(), "b:2".into())));
        assert_eq!(ready(&log[..60]), None);
    }
}
