//! The programs of all functions under `cargo lambda watch`, which stands for Lambda: called directly, and by a function
//! URL.

use std::{
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use router_tests::world::client::{Answer, Client};
use schemas::json as codec;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{
    peers,
    table::{Others, Row, plain, table},
};

/// What a start may take on a loaded machine; a function is built and started when it is first called.
const START: Duration = Duration::from_secs(120);
/// What a stop may take, of it and of all functions.
const STOP: Duration = Duration::from_secs(30);

const MANIFEST: &str = "[package]\nname = \"started\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";

/// It runs what cargo has built of a package: here a program that becomes the one that is there already, so that the
/// workspace is not built once more.
const BECOMES: &str = r#"use std::os::unix::process::CommandExt;
fn main() {
    eprintln!("PROGRAM: {}", std::process::Command::new("PROGRAM").exec());
}
"#;

/// The server, with its functions.
struct Watch {
    child: Child,
    url: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Watch {
    /// `None`, and one line, where it, or a function's program, is not there.
    async fn start(rows: &[Row]) -> Option<Watch> {
        let Some(watch) = peers::find("cargo-lambda") else {
            eprintln!("cargo-lambda is not there, so this test is skipped: `cargo xtask test` installs it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("src/bin")).unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), MANIFEST).unwrap();
        for row in rows {
            let program = row.program()?;
            for name in [row.name.to_owned(), format!("{}-url", row.name)] {
                write(&folder.path().join(format!("src/bin/{name}.rs")), &program);
            }
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(watch);
        command.args(["lambda", "watch", "--ignore-changes", "--invoke-address", "127.0.0.1", "--invoke-port"]);
        command
            .arg(port.to_string())
            .current_dir(folder.path())
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("OUTPUT_URL");
        for row in rows {
            command.envs(row.settings());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let (child, url) = (command.spawn().unwrap(), format!("http://127.0.0.1:{port}"));
        let watch = Watch { child, url, client: Client::new(START), _folder: folder };
        let end = Instant::now() + START;
        while watch.client.get(&watch.url).await.is_err() {
            assert!(Instant::now() < end, "cargo lambda watch does not answer after {START:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(watch)
    }

    async fn post(&self, path: &str, headers: HeaderMap, body: impl Into<Bytes>) -> Answer {
        self.client.send(Method::POST, &format!("{}{path}", self.url), headers, body.into()).await.unwrap()
    }

    /// A direct invocation.
    async fn call(&self, function: &str, payload: impl Into<Bytes>) -> Answer {
        self.post(&format!("/2015-03-31/functions/{function}/invocations"), HeaderMap::new(), payload).await
    }

    /// Ends it with all that it started: it is told to, and tells its functions.
    async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
        tokio::time::timeout(STOP, self.child.wait()).await.expect("it ends when it is told to").unwrap();
    }
}

fn write(file: &Path, program: &Path) {
    std::fs::write(file, BECOMES.replace("PROGRAM", program.to_str().unwrap())).unwrap();
}

/// The replies of a direct invocation: none, one, or an array.
fn many(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    match answer.json() {
        Value::Null => Vec::new(),
        Value::Array(replies) => replies,
        reply => vec![reply],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_run_under_cargo_lambda() {
    let others = Others::start().await;
    let rows: Vec<Row> = table(&others).into_iter().map(Row::at_once).collect();
    let Some(watch) = Watch::start(&rows).await else { return };
    for row in &rows {
        for (event, wanted) in row.events.iter().zip(row.wanted().await) {
            let answer = watch.call(row.name, codec::encode(event)).await;
            assert_eq!(plain(many(&answer)), wanted, "{}", row.name);
        }
        // By its URL: another process, which remembers nothing of the one before.
        for (event, wanted) in row.events.iter().zip(row.wanted().await) {
            let (headers, body) = schemas::http::encode_binary(event);
            let answer = watch.post(&format!("/lambda-url/{}-url/", row.name), headers, body).await;
            let replies = if answer.status == 204 { Vec::new() } else { many(&answer) };
            assert_eq!(plain(replies), wanted, "{} by its URL", row.name);
        }
    }
    // What cannot be handled is an error of the invocation, and the process goes on.
    let order = &rows[0];
    let refused = watch.call(order.name, r#"{"hello": "world"}"#).await;
    assert_eq!((refused.status, &refused.json()["errorType"]), (500, &json!("Refused.payload-unknown")));
    let again = watch.call(order.name, codec::encode(&order.events[0])).await;
    assert_eq!(plain(many(&again)), order.wanted().await[0], "a repeat");
    watch.stop().await;
}
