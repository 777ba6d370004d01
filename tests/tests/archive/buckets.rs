//! Stores of buckets that run on this machine, each with an empty bucket `coffee`: S3 as moto plays it, and Azure Blob
//! Storage as Azurite plays it.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use router_tests::world::client::Client;
use tokio::process::{Child, Command};

/// What a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);
/// The account and the key that Azurite is born with: Microsoft publishes them, and they open nothing else.
pub const AZURE_ACCOUNT: &str = "devstoreaccount1";
pub const AZURE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A port of loopback that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A peer's program, where it is installed; this program is TARGET/debug/deps/SUITE-HASH.
pub fn find(below_peers: &str, program: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.ancestors().nth(3)?.join("peers").join(below_peers).join(program);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(|folder| folder.join(program));
    let found = std::iter::once(own).chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("{program} is not there, so this test is skipped: `cargo xtask test` installs it");
    }
    found
}

/// A program that ends with it.
pub struct Peer {
    pub url: String,
    _child: Child,
}

async fn answers(url: &str) -> bool {
    Client::new(Duration::from_secs(5)).get(url).await.is_ok()
}

/// Starts it, and waits until it answers there.
pub async fn started(mut command: Command, url: String) -> Peer {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let peer = Peer { url, _child: command.spawn().unwrap() };
    let end = Instant::now() + START;
    while !answers(&peer.url).await {
        assert!(Instant::now() < end, "no answer after {START:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    peer
}

/// S3; `None`, and one line, where moto is not there.
pub async fn s3() -> Option<Peer> {
    let program = find("bin", "moto_server")?;
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let peer = started(command, format!("http://127.0.0.1:{port}")).await;
    let client = Client::new(Duration::from_secs(30));
    let made = client.send(Method::PUT, &format!("{}/coffee", peer.url), HeaderMap::new(), Bytes::new()).await.unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    Some(peer)
}

/// Azure Blob Storage; `None`, and one line, where Azurite is not there.
pub async fn azure() -> Option<Peer> {
    let program = find("azurite/node_modules/.bin", "azurite-blob")?;
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]);
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
    let peer = started(command, format!("http://127.0.0.1:{port}/{AZURE_ACCOUNT}")).await;
    container(&peer.url).await;
    Some(peer)
}

/// Makes the container, signed as Azure wants it, with what Azurite runs on.
async fn container(url: &str) {
    let script = r#"
        const [url, key] = process.argv.slice(1), date = new Date().toUTCString(), version = "2021-08-06";
        const text = `PUT${"\n".repeat(12)}x-ms-date:${date}\nx-ms-version:${version}\n/devstoreaccount1/devstoreaccount1/coffee\nrestype:container`;
        const sum = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
        const headers = { "x-ms-date": date, "x-ms-version": version, Authorization: `SharedKey devstoreaccount1:${sum}` };
        fetch(url + "/coffee?restype=container", { method: "PUT", headers }).then((r) => process.exit(r.status === 201 ? 0 : 1));
    "#;
    let made = Command::new("node").args(["-e", script, url, AZURE_KEY]).status().await.unwrap();
    assert!(made.success(), "a container is made");
}
