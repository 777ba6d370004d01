//! The same suite over a folder, S3 as moto plays it, and Azure Blob Storage as Azurite plays it. Goal: an object is
//! written once, is durable and whole, is listed in order, and the copies above it are what they were.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use router_core::shelf::{ClaimError, Error, Objects, Shelf, store_id};
use router_objects::{Bucket, Place};
use router_tests::world::client::Client;
use tokio::process::{Child, Command};

/// What a start may take on a loaded machine.
const START: Duration = Duration::from_secs(60);
/// The key that Azurite is born with: Microsoft publishes it, and it opens nothing else.
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A peer's program, where it is installed; this program is TARGET/debug/deps/SUITE-HASH.
fn find(below_peers: &str, program: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.ancestors().nth(3)?.join("peers").join(below_peers).join(program);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(|folder| folder.join(program));
    let found = std::iter::once(own).chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("{program} is not there, so this test is skipped: `cargo xtask test` installs it");
    }
    found
}

/// What a place is told besides its address.
type Told = BTreeMap<String, String>;

fn told(options: &[(&str, &str)]) -> Told {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn open(place: &str, options: &Told) -> Arc<Bucket> {
    let place: Place = place.parse().unwrap();
    Arc::new(Bucket::open(&place, options, &|_| None).unwrap())
}

/// Every promise of the port, below a prefix beside another one.
async fn holds(base: &str, options: &Told) {
    let (ours, other) = (open(&format!("{base}/a/b"), options), open(&format!("{base}/a/bc"), options));
    assert_eq!(ours.place(), format!("{base}/a/b"));
    assert_eq!(ours.list("").await.unwrap(), vec![], "nothing yet");
    for name in ["x/2", "x/1", "x/10", "y/1"] {
        ours.create(name, format!("of {name}").into()).await.unwrap();
    }
    other.create("x/1", "another".into()).await.unwrap();
    assert!(matches!(ours.create("x/1", "again".into()).await, Err(Error::Exists { .. })));
    assert_eq!(ours.read("x/1", 0..6).await.unwrap(), "of x/1");
    assert_eq!(ours.read("x/10", 3..5).await.unwrap(), "x/");
    assert_eq!(ours.length("x/10").await.unwrap(), 7);
    assert!(matches!(ours.read("x/1", 2..99).await, Err(Error::Failed { .. })), "a part is none");
    assert!(matches!(ours.read("x/3", 0..1).await, Err(Error::NotFound { .. })));
    assert!(matches!(ours.length("x/3").await, Err(Error::NotFound { .. })));
    let names =
        |objects: Vec<router_core::shelf::Object>| objects.into_iter().map(|o| (o.name, o.bytes)).collect::<Vec<_>>();
    let listed = names(ours.list("x/").await.unwrap());
    assert_eq!(listed, [("x/1".into(), 6), ("x/10".into(), 7), ("x/2".into(), 6)]);
    assert_eq!(ours.list("").await.unwrap().len(), 4);
    ours.remove("x/1").await.unwrap();
    ours.remove("x/1").await.unwrap();
    assert_eq!(ours.list("x/").await.unwrap().len(), 2);
    ours.create("x/1", "anew".into()).await.unwrap();
    // Larger than one request of a reader, and than a body that a client might cut.
    let large: Vec<u8> = (0..5u32 << 20).map(|n| (n % 251) as u8).collect();
    ours.create("large", large.clone().into()).await.unwrap();
    assert_eq!(ours.read("large", 1_000_000..4_000_000).await.unwrap(), large[1_000_000..4_000_000]);

    Shelf::new(ours.clone()).probe().await.unwrap();
    assert_eq!(ours.list("").await.unwrap().len(), 5, "the probe leaves nothing");
    // Two at once: one has it.
    let claims = (0..8u8).map(|n| {
        let shelf = Shelf::new(open(&format!("{base}/claimed"), options));
        async move { shelf.claim(&store_id(&[n; 16])).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    claims.for_each(|claim| drop(tasks.spawn(claim)));
    let claimed = tasks.join_all().await;
    let refused = claimed.iter().filter(|c| matches!(c, Err(ClaimError::Foreign { .. }))).count();
    assert_eq!((claimed.iter().filter(|c| c.is_ok()).count(), refused), (1, 7), "{claimed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_what_the_port_promises() {
    let home = tempfile::tempdir().unwrap();
    holds(&home.path().join("archive").display().to_string(), &Told::new()).await;
}

/// A program that ends with it.
struct Peer {
    url: String,
    _child: Child,
}

async fn answers(url: &str) -> bool {
    Client::new(Duration::from_secs(5)).get(url).await.is_ok()
}

async fn started(mut command: Command, url: String) -> Peer {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let peer = Peer { url, _child: command.spawn().unwrap() };
    let end = Instant::now() + START;
    while !answers(&peer.url).await {
        assert!(Instant::now() < end, "no answer after {START:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_holds_what_the_port_promises() {
    let Some(program) = find("bin", "moto_server") else { return };
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let peer = started(command, format!("http://127.0.0.1:{port}")).await;
    let (client, none) = (Client::new(Duration::from_secs(30)), http::HeaderMap::new());
    let made =
        client.send(http::Method::PUT, &format!("{}/coffee", peer.url), none, bytes::Bytes::new()).await.unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    let options = told(&[
        ("aws_endpoint", &peer.url),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("storage_class", "STANDARD_IA"),
        ("aws_server_side_encryption", "AES256"),
    ]);
    holds("s3://coffee/router-1", &options).await;
    let missing = Shelf::new(open("s3://nowhere/x", &options)).probe().await.unwrap_err().to_string();
    assert!(missing.contains("s3://nowhere/x"), "{missing}");
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
    let made = Command::new("node").args(["-e", script, url, AZURITE_KEY]).status().await.unwrap();
    assert!(made.success(), "a container is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_holds_what_the_port_promises() {
    let Some(program) = find("azurite/node_modules/.bin", "azurite-blob") else { return };
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]);
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
    let peer = started(command, format!("http://127.0.0.1:{port}/devstoreaccount1")).await;
    let options = told(&[
        ("azure_storage_account_name", "devstoreaccount1"),
        ("azure_storage_account_key", AZURITE_KEY),
        ("azure_storage_endpoint", &peer.url),
    ]);
    container(&peer.url).await;
    holds("az://coffee/router-1", &options).await;
}
