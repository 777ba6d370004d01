//! A router in this process, over memory, with a sink whose answers the test chooses.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU16, Ordering},
};

use axum::{extract::State, http::StatusCode};
use gocoffee::{
    config,
    serve::{Options, Running, serve},
};
use router_store::memory::MemoryStore;

/// A target.
#[derive(Clone)]
pub struct Sink {
    pub url: String,
    status: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    pub async fn start() -> Sink {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let sink = Sink { url, status: Arc::new(AtomicU16::new(204)), seen: Arc::default() };
        let app = axum::Router::new().fallback(take).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        sink
    }

    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Ids of the events that were answered with a success.
    pub fn taken(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn take(State(sink): State<Sink>, request: axum::extract::Request) -> StatusCode {
    let status = StatusCode::from_u16(sink.status.load(Ordering::Relaxed)).unwrap();
    let id = request.headers().get("ce-id").unwrap().to_str().unwrap().to_owned();
    if status.is_success() {
        sink.seen.lock().unwrap().push(id);
    }
    status
}

/// A router with its data folder.
pub struct World {
    pub running: Running,
    pub data: tempfile::TempDir,
    pub sink: Sink,
    pub store: Arc<MemoryStore>,
}

impl World {
    /// A router with one route, `orders`, that takes `coffee.order.created` to the sink.
    pub async fn start() -> World {
        let (sink, data) = (Sink::start().await, tempfile::tempdir().unwrap());
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\n\
             sources: {{ web: {{ http: {{ path: /events }} }}, keyed: {{ http: {{ path: /keyed, keys: [k3y] }} }} }}\n\
             targets: {{ sink: {{ http: {{ url: '{}' }} }} }}\n\
             routes: {{ orders: {{ to: sink, filter: {{ pattern: {{ type: [coffee.order.created] }} }} }} }}\n",
            sink.url
        );
        let loaded = config::load("test.yaml", &text);
        assert_eq!(loaded.report.to_text(false), "test.yaml: ok");
        let store = Arc::new(MemoryStore::new());
        let file = data.path().join("test.yaml");
        std::fs::write(&file, &text).unwrap();
        let options = Options {
            data: Some(data.path().into()),
            store: Some(store.clone()),
            file: Some(file),
            ..Options::default()
        };
        let running = serve(loaded.config.unwrap(), options).await.unwrap();
        World { running, data, sink, store }
    }

    pub fn admin(&self) -> String {
        format!("http://{}", self.running.admin())
    }

    /// Runs the binary; its exit code, standard output and standard error.
    pub async fn cli(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let admin = ["--admin", &self.admin(), "--data", self.data.path().to_str().unwrap()].map(str::to_owned);
        let publish = ["--to".to_owned(), format!("http://{}/events", self.running.listen())];
        let own: &[String] = if args[0] == "publish" { &publish } else { &admin };
        let own: Vec<&str> = own.iter().map(String::as_str).filter(|_| !args.contains(&"--to")).collect();
        run(&[args, &own].concat(), input).await
    }

    /// Waits until so many dead letters are listed: the ledger has them a moment after they are counted.
    pub async fn until_listed(&self, count: usize) {
        for _ in 0..200 {
            let (_, out, _) = self.cli(&["dead-letters", "ls", "--count", "1000", "--output", "json"], "").await;
            let page: serde_json::Value = serde_json::from_str(&out).unwrap();
            if page["dead_letters"].as_array().unwrap().len() == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("never: {count} dead letters");
    }

    /// Waits until this holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&serde_json::Value) -> bool) {
        for _ in 0..200 {
            let (_, out, _) = self.cli(&["status", "--output", "json"], "").await;
            if serde_json::from_str(&out).is_ok_and(|status| holds(&status)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("never: {what}");
    }
}

/// Runs the binary; its exit code, standard output and standard error.
pub async fn run(args: &[&str], input: &str) -> (i32, String, String) {
    use tokio::io::AsyncWriteExt;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_gocoffee"))
        .args(args)
        .env_remove("GOCOFFEE_ADMIN_TOKEN")
        .env("COLUMNS", "100")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that ends without reading its input is none of the test's concern here.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let done = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// A line of one order.
pub fn order(id: &str) -> String {
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/shop\",\"type\":\"coffee.order.created\",\"data\":{{\"total\":4.50}}}}\n"
    )
}
