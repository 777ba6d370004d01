//! The router as its users run it: the real binary in a process of its own, which can be killed.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gocoffee::admin::view::{DeadLetter, DeadLetters, Redriven, Route as RouteNow, Status};
use http::{HeaderMap, HeaderValue, Method, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Child;

use super::{client::Client, setup::Route};
use crate::{coffee::read_json, oracle::Parked};

/// Where the binary is; without it, it is built.
pub const BINARY: &str = "GOCOFFEE_BIN";
/// At which pass of which point `coffee-kill` ends itself, as `POINT:NTH`.
pub const KILL: &str = "GOCOFFEE_TESTS_KILL";
/// What a start may take.
const START: Duration = Duration::from_secs(60);
/// What a stop in order may take.
const STOP: Duration = Duration::from_secs(40);
/// Lines of the log that a failing test shows.
const SHOWN: usize = 30;

/// The router's binary, as new as its sources.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os(BINARY) {
            return path.into();
        }
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let args = ["build", "--quiet", "--package", "gocoffee", "--bin", "gocoffee"];
        let built = cargo().args(args).current_dir(root).status().expect("cargo starts");
        assert!(built.success(), "gocoffee does not build");
        // TARGET/debug/deps/SUITE-HASH
        let exe = std::env::current_exe().expect("this program has a path");
        let binary = exe.ancestors().nth(2).expect("a target folder").join("gocoffee");
        assert!(binary.is_file(), "{} is missing; name the binary in {BINARY}", binary.display());
        binary
    })
}

/// The cargo that built the tests, without what a runner of tests tells of their package: build scripts of dependencies look
/// at that, and what stands on them would be built anew.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// A free port below those that the system gives to outgoing connections: while the router is down, a
/// publisher's own connection must not sit on it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests that begin one after the other have neighbouring ids, and must not have neighbouring ports.
    let start = 10_000 + (std::process::id() % 20_000 * 97 % 20_000) as u16;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A place for a router: its folder and its addresses, which stay the same from start to start.
pub struct Place {
    folder: tempfile::TempDir,
    public: SocketAddr,
    admin: SocketAddr,
    data: PathBuf,
    store: Value,
}

impl Default for Place {
    fn default() -> Self {
        Place::new()
    }
}

impl Place {
    /// A new one, empty.
    pub fn new() -> Place {
        Place::with_store(None, |data| json!({"disk": {"path": data}}))
    }

    /// A new one whose data are below this folder, with what the configuration says of the store.
    pub fn with_store(parent: Option<PathBuf>, store: impl Fn(&Path) -> Value) -> Place {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = parent.unwrap_or_else(|| folder.path().to_owned()).join("data");
        Place { store: store(&data), data, folder, public: address(), admin: address() }
    }

    /// Where events are published to.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.public)
    }

    /// Where the admin API is.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("router.log")
    }

    /// The last lines that the routers of this place have logged.
    pub fn logged(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// Starts the binary with these routes and waits until it is ready.
    ///
    /// # Panics
    /// With its log, when it does not get there.
    pub async fn start(&self, routes: &[Route]) -> Router<'_> {
        let mut router = self.spawn(routes);
        router.ready(&[200]).await;
        router
    }

    /// The same where the disk may be full, so that it takes nothing in yet.
    pub async fn start_full(&self, routes: &[Route]) -> Router<'_> {
        let mut router = self.spawn(routes);
        router.ready(&[200, 503]).await;
        router
    }

    /// The same with what else the configuration says: members of sections, beside those of the routes.
    pub async fn start_with(&self, routes: &[Route], more: &Value) -> Router<'_> {
        let mut router = self.spawn_with(&self.config_with(routes, more));
        router.ready(&[200]).await;
        router
    }

    /// The same where the environment says who the router is to a cloud: with these variables, and none else whose name
    /// begins so; its user's folder is that of the place.
    pub async fn start_in(
        &self,
        beginning: &str,
        variables: &[(&str, &str)],
        routes: &[Route],
        more: &Value,
    ) -> Router<'_> {
        let mut command = tokio::process::Command::new(binary());
        let others = std::env::vars_os().map(|(name, _)| name);
        others
            .filter(|name| name.to_string_lossy().starts_with(beginning))
            .for_each(|name| _ = command.env_remove(name));
        command.env("HOME", self.folder.path()).envs(variables.iter().copied());
        let mut router = self.spawn_in(command, &self.config_with(routes, more));
        router.ready(&[200]).await;
        router
    }

    /// The same in another program, `coffee-kill`, which ends itself at the n-th pass of a named point: perhaps before it
    /// is ready.
    pub fn start_to_kill(&self, program: &Path, routes: &[Route], more: &Value, point: &str, nth: u64) -> Router<'_> {
        let mut command = tokio::process::Command::new(program);
        command.env(KILL, format!("{point}:{nth}"));
        self.spawn_in(command, &self.config_with(routes, more))
    }

    /// The same in a process that lives on when [`Router::file_bytes_max`] lets it write no further: the signal for files
    /// that are too large is ignored, and the write fails.
    pub async fn start_limited(&self, routes: &[Route]) -> Router<'_> {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary());
        let mut router = self.spawn_in(command, &self.config(routes));
        router.ready(&[200]).await;
        router
    }

    /// Starts the binary where it cannot start: what it ends with, and what it has logged.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn refuses(&self, routes: &[Route], more: &Value) -> (Option<i32>, String) {
        let mut router = self.spawn_with(&self.config_with(routes, more));
        let ended = tokio::time::timeout(START, router.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it goes on:\n{}", self.logged()));
        (ended.expect("the child can be waited for").code(), self.logged())
    }

    /// `gocoffee recover` on the data folder of a stopped router: whether it succeeds, and what it says.
    ///
    /// # Panics
    /// When the binary does not start.
    pub fn recover(&self, args: &[&str]) -> (bool, String) {
        let out = Command::new(binary()).args(["recover", "--data"]).arg(self.data()).args(args).output();
        let out = out.expect("the binary starts");
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Asks for a replay of a route from the first event that is kept; `None`: the router is not there, or takes no more.
    pub async fn try_replay(&self, route: &str) -> Option<u32> {
        let token = fs::read_to_string(self.data().join("admin.token")).ok()?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim())).ok()?;
        let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = format!("http://{}/api/replays/start", self.admin);
        let from = json!({"time": "2000-01-01T00:00:00Z"});
        let body = json!({"from": from, "routes": [route]}).to_string();
        let answer =
            Client::new(Duration::from_secs(2)).send(Method::POST, &url, headers, Bytes::from(body)).await.ok()?;
        let started: gocoffee::admin::view::StartedReplay = serde_json::from_slice(&answer.body).ok()?;
        started.id
    }

    fn config_with(&self, routes: &[Route], more: &Value) -> Value {
        let mut config = self.config(routes);
        for (section, members) in more.as_object().expect("sections") {
            for (name, member) in members.as_object().expect("members") {
                config[section][name] = member.clone();
            }
        }
        config
    }

    /// Starts the binary with a configuration as somebody wrote it, and waits until it is ready.
    pub async fn start_written(&self, config: &str) -> Router<'_> {
        self.start_written_with(config, &[]).await
    }

    /// The same with what its environment says.
    pub async fn start_written_with(&self, config: &str, env: &[(&str, String)]) -> Router<'_> {
        let mut command = tokio::process::Command::new(binary());
        command.envs(env.iter().map(|(name, value)| (name, value)));
        let mut router = self.spawn_written(command, config);
        router.ready(&[200]).await;
        router
    }

    fn spawn(&self, routes: &[Route]) -> Router<'_> {
        self.spawn_with(&self.config(routes))
    }

    fn spawn_with(&self, settings: &Value) -> Router<'_> {
        self.spawn_in(tokio::process::Command::new(binary()), settings)
    }

    fn spawn_in(&self, command: tokio::process::Command, settings: &Value) -> Router<'_> {
        // JSON is YAML.
        self.spawn_written(command, &format!("{settings:#}"))
    }

    fn spawn_written(&self, mut command: tokio::process::Command, settings: &str) -> Router<'_> {
        let config = self.folder.path().join("gocoffee.yaml");
        fs::write(&config, settings).expect("the folder takes files");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).expect("the folder takes files");
        let child = command
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        Router { place: self, child, client: Client::new(Duration::from_secs(30)) }
    }

    fn config(&self, routes: &[Route]) -> Value {
        let ms = |d: Duration| format!("{}ms", d.as_millis());
        let target = |r: &Route| {
            let mode = if r.structured { "structured" } else { "binary" };
            let mut http =
                json!({"url": r.url, "mode": mode, "timeout": ms(r.timeout), "in_flight_max": r.in_flight_max});
            if let Some(count_max) = r.batch_count_max {
                http["batch"] = json!({"count_max": count_max});
            }
            json!({"http": http})
        };
        let route = |r: &Route| {
            let retry = json!({
                "attempts_max": r.retry.attempts_max,
                "delay_min": ms(r.retry.delay_min),
                "delay_max": ms(r.retry.delay_max),
            });
            let mut route = json!({"to": r.target(), "retry": retry});
            if let Some(pattern) = &r.pattern {
                route["filter"] = json!({"pattern": pattern});
            }
            route
        };
        let named = |f: &dyn Fn(&Route) -> (String, Value)| Value::Object(routes.iter().map(f).collect());
        json!({
            "listen": self.public,
            "admin": {"listen": self.admin},
            "store": self.store,
            "sources": {"web": {"http": {"path": "/events"}}},
            "targets": named(&|r| (r.target().to_owned(), target(r))),
            "routes": named(&|r| (r.name.clone(), route(r))),
        })
    }
}

/// A router that runs in its own process; dropped, it is killed.
pub struct Router<'a> {
    place: &'a Place,
    child: Child,
    client: Client,
}

impl Router<'_> {
    /// Bytes of its memory that are in use.
    ///
    /// # Panics
    /// Where the system does not tell.
    pub fn memory_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id().expect("it runs")));
        let text = text.expect("the system tells of a process");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory, too");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("in KiB") << 10
    }

    /// None of its files grows beyond so many bytes from now on.
    ///
    /// # Panics
    /// When the system does not take the limit.
    pub fn file_bytes_max(&self, bytes_max: u64) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit { current: Some(bytes_max), maximum: None };
        prlimit(self.pid(), Resource::Fsize, limit).expect("a limit of its own files");
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(mut self, deadline: Duration) -> ExitStatus {
        let ended = tokio::time::timeout(deadline, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it goes on:\n{}", self.place.logged()));
        ended.expect("the child can be waited for")
    }

    fn pid(&self) -> Option<rustix::process::Pid> {
        self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
    }

    /// What the probe for readiness is answered.
    pub async fn readyz(&self) -> u16 {
        let answer = self.client.get(&format!("http://{}/readyz", self.place.admin)).await;
        answer.unwrap_or_else(|e| panic!("readyz: {e}\n{}", self.place.logged())).status
    }

    async fn ready(&mut self, statuses: &[u16]) {
        let (end, url) = (Instant::now() + START, format!("http://{}/readyz", self.place.admin));
        while !self.client.get(&url).await.is_ok_and(|a| statuses.contains(&a.status)) {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                panic!("the router ended at its start, {status}:\n{}", self.place.logged());
            }
            assert!(Instant::now() < end, "the router is not ready after {START:?}:\n{}", self.place.logged());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Calls the admin API, which says yes.
    ///
    /// # Panics
    /// When it says anything else.
    pub async fn admin<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> T {
        let token = fs::read_to_string(self.place.data().join("admin.token")).expect("a drawn token");
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim())).expect("a token is ASCII");
        let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = format!("http://{}{path}", self.place.admin);
        let body = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let answer = self.client.send(method, &url, headers, body).await;
        let answer = answer.unwrap_or_else(|e| panic!("{path}: {e}\n{}", self.place.logged()));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{path}: {e}: {}", answer.text()))
    }

    /// What it is doing.
    pub async fn status(&self) -> Status {
        self.admin(Method::GET, "/api/status", None).await
    }

    /// Waits until the routes are as wanted.
    ///
    /// # Panics
    /// With the last status, when the deadline passes first.
    pub async fn until(&self, what: &str, deadline: Duration, wanted: impl Fn(&Status) -> bool) -> Status {
        let end = Instant::now() + deadline;
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < end, "not {what} within {deadline:?}:\n{status:#?}\n{}", self.place.logged());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is owed any more.
    pub async fn settled(&self, deadline: Duration) -> Status {
        let owes = |r: &RouteNow| r.waiting > 0 || r.lag_events > 0;
        self.until("settled", deadline, |s| !s.routes.iter().any(owes)).await
    }

    /// All open dead letters, once as many are listed as are counted: the next commit writes them.
    pub async fn parked(&self) -> Vec<Parked> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let counted: u64 = self.status().await.routes.iter().map(|r| r.dead_letters).sum();
            let listed = self.list().await;
            if listed.len() as u64 == counted {
                let mut parked = Vec::new();
                for id in listed {
                    parked.push(self.show(&id).await);
                }
                return parked;
            }
            assert!(Instant::now() < end, "{counted} dead letters are counted, {} are listed", listed.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn list(&self) -> Vec<String> {
        let (mut ids, mut path) = (Vec::new(), "/api/dead-letters?count=500".to_owned());
        loop {
            let page: DeadLetters = self.admin(Method::GET, &path, None).await;
            ids.extend(page.dead_letters.into_iter().map(|letter| letter.id));
            let Some(next) = page.next else { return ids };
            path = format!("/api/dead-letters?count=500&after={next}");
        }
    }

    /// All dead letters that are listed, with their events.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for id in self.list().await {
            letters.push(self.admin(Method::GET, &format!("/api/dead-letters/{id}"), None).await);
        }
        letters
    }

    async fn show(&self, id: &str) -> Parked {
        let letter: DeadLetter = self.admin(Method::GET, &format!("/api/dead-letters/{id}"), None).await;
        let event = letter.event.expect("the payload of an open dead letter is kept");
        let event = read_json(event.get().as_bytes()).expect("the payload is an event");
        Parked { route: letter.route, key: event.key, print: event.print, delivery: letter.id }
    }

    /// Opens a route's dead letters again.
    pub async fn redrive(&self, route: &str) -> Redriven {
        self.admin(Method::POST, "/api/dead-letters/redrive", Some(json!({"route": route}))).await
    }

    /// All replays that are remembered.
    pub async fn replays(&self) -> Vec<gocoffee::admin::view::Replay> {
        self.admin::<gocoffee::admin::view::Replays>(Method::GET, "/api/replays", None).await.replays
    }

    /// Waits until it has killed itself; one that does not get there is killed. Whether it did.
    ///
    /// # Panics
    /// When it ends in any other way.
    pub async fn kills_itself(&mut self, deadline: Duration) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let Ok(ended) = tokio::time::timeout(deadline, self.child.wait()).await else {
            self.child.kill().await.expect("the child can be killed");
            return false;
        };
        let ended = ended.expect("the child can be waited for");
        assert_eq!(ended.signal(), Some(9), "{ended}\n{}", self.place.logged());
        true
    }

    /// SIGKILL: no moment to write anything.
    ///
    /// # Panics
    /// When it had ended by itself.
    pub async fn kill(mut self) {
        let ended = self.child.try_wait().expect("the child can be waited for");
        assert_eq!(ended, None, "the router ended by itself:\n{}", self.place.logged());
        self.child.kill().await.expect("the child can be killed");
    }

    /// SIGTERM: it stops in order.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub async fn terminate(mut self) -> ExitStatus {
        let pid = self.pid().expect("it runs");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
        match tokio::time::timeout(STOP, self.child.wait()).await {
            Ok(status) => status.expect("the child can be waited for"),
            Err(_) => panic!("the router does not stop on SIGTERM:\n{}", self.place.logged()),
        }
    }
}
