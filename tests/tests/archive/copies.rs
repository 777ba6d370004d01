//! Copies in a folder, over the real binary, which is killed while it copies, and in the buckets of three clouds. Goal: every acknowledged event is read
//! back once, from here or from a copy; a damaged copy is named and hides nothing else; without a router, too.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use router_tests::world::process::{Place, Router};
use serde_json::{Value, json};

use super::{
    buckets::{self, AZURE_ACCOUNT, AZURE_KEY},
    event,
    google::Google,
    run,
};

/// What each state may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: usize = 3_000;

fn place() -> Place {
    Place::with_store(None, |data| json!({"disk": {"path": data, "bytes_max": "24MiB", "free_min": "64MiB"}}))
}

fn archive(folder: &Path) -> Value {
    json!({
        "archive": {"to": folder, "lag_max": "10s"},
        "buses": {"default": {"retention": {"bytes_max": "2MiB"}}},
    })
}

/// Some ten thousand bytes that do not compress.
fn large(id: usize) -> String {
    let mut seed = id as u64 + 1;
    let digits = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{seed:016x}")
    });
    event(id, &format!(",\"data\":\"{}\"", digits.take(600).collect::<String>()))
}

async fn publish(place: &Place, ids: std::ops::Range<usize>) {
    let client = router_http::client::Client::new().unwrap();
    for first in ids.clone().step_by(50) {
        let batch: Vec<String> = (first..(first + 50).min(ids.end)).map(large).collect();
        let body = format!("[{}]", batch.join(","));
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let request = http::Request::post(place.url()).header("content-type", "application/cloudevents-batch+json");
            let request = request.body(body.clone().into()).unwrap();
            let answer = client.send(request, Duration::from_secs(30), 1 << 20).await.unwrap();
            match answer.status.as_u16() {
                202 => break,
                // Copying is behind: what has no copy stays.
                503 => assert!(tokio::time::Instant::now() < end, "{:?}", answer.body),
                other => panic!("{other}: {:?}", answer.body),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Ids of the events in a file, with how often each is there.
fn ids(file: &Path) -> BTreeMap<usize, usize> {
    let mut ids = BTreeMap::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        *ids.entry(event["id"].as_str().unwrap().parse().unwrap()).or_default() += 1;
    }
    ids
}

async fn copied(router: &Router<'_>) {
    let all = |a: &gocoffee::admin::view::Archive| a.ready && a.waiting.iter().all(|w| w.segments == 0);
    let local =
        |s: &gocoffee::admin::view::Status| s.buses.iter().any(|b| b.name.as_str() == "default" && b.first.0 > 1_000);
    router.until("copied and let go", PATIENCE, |s| s.archive.as_ref().is_some_and(all) && local(s)).await;
}

/// The archive's own commands, which ask no router.
async fn offline(args: &[&str], folder: &Path) -> (i32, String, String) {
    from_store(args, folder.to_str().unwrap(), &[]).await
}

/// The same, at any place.
async fn from_store(args: &[&str], place: &str, options: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(router_tests::world::process::binary());
    command.args(args).args(["--from-store", place]);
    for (name, value) in options {
        command.arg("--store-option").arg(format!("{name}={value}"));
    }
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("the command ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder.join("buses/default")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_hold_what_is_let_go_though_the_router_is_killed_while_it_copies() {
    let (place, home) = (place(), tempfile::tempdir().unwrap());
    let (folder, more) = (home.path().join("archive"), archive(&home.path().join("archive")));
    let mut router = place.start_with(&[], &more).await;
    for part in 0..3 {
        publish(&place, part * EVENTS / 3..(part + 1) * EVENTS / 3).await;
        if part < 2 {
            // Wherever it is: segments are being sealed and copied.
            router.kill().await;
            router = place.start_with(&[], &more).await;
        }
    }
    copied(&router).await;
    let (exit, listed, err) = run(&place, &["archive", "ls"]).await;
    assert_eq!((exit, listed.contains("copied")), (0, true), "{listed}{err}");
    let file = home.path().join("all.ndjson");
    let (exit, _, err) = run(&place, &["archive", "export", "-o", file.to_str().unwrap()]).await;
    assert_eq!(exit, 0, "{err}");
    let once: BTreeMap<usize, usize> = (0..EVENTS).map(|id| (id, 1)).collect();
    assert_eq!(ids(&file), once);
    router.kill().await;

    // The machine is gone: what is in the archive is read without it, and whole.
    let (exit, out, err) = offline(&["archive", "verify"], &folder).await;
    assert_eq!((exit, out.contains("nothing is wrong")), (0, true), "{out}{err}");
    let rescued = home.path().join("rescued.ndjson");
    let (exit, _, err) = offline(&["archive", "export", "-o", rescued.to_str().unwrap()], &folder).await;
    assert_eq!(exit, 0, "{err}");
    let there = ids(&rescued);
    assert!(there.len() > 1_000 && there.iter().all(|(id, times)| once.get(id) == Some(times)), "{}", there.len());

    // One copy is damaged: it is named, and the rest is read.
    let hurt = objects(&folder)[1].clone();
    let mut bytes = std::fs::read(&hurt).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&hurt, bytes).unwrap();
    let name = hurt.file_name().unwrap().to_str().unwrap();
    let (exit, out, err) = offline(&["archive", "verify"], &folder).await;
    assert_eq!((exit, out.contains(name)), (1, true), "{out}{err}");
    let router = place.start_with(&[], &more).await;
    router.until("read", PATIENCE, |s| s.archive.as_ref().is_some_and(|a| a.ready)).await;
    let some = home.path().join("some.ndjson");
    let (exit, _, err) = run(&place, &["archive", "export", "-o", some.to_str().unwrap()]).await;
    assert_eq!((exit, err.contains("R0192")), (1, true), "{err}");
    let some = ids(&some);
    let lost: u64 =
        name.split('-').take(2).map(|n| n.parse::<u64>().unwrap()).reduce(|first, next| next - first).unwrap();
    assert!(
        some.len() < EVENTS && some.len() as u64 >= EVENTS as u64 - lost,
        "{} of {EVENTS}, {lost} lost",
        some.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_router_is_refused_by_name_and_both_go_on() {
    let home = tempfile::tempdir().unwrap();
    let more = archive(&home.path().join("archive"));
    let (first, second) = (place(), place());
    let ours = first.start_with(&[], &more).await;
    ours.until("the first has it", PATIENCE, |s| s.archive.as_ref().is_some_and(|a| a.ready)).await;
    let theirs = second.start_with(&[], &more).await;
    let foreign =
        |a: &gocoffee::admin::view::Archive| a.failing.as_ref().is_some_and(|why| why.contains("another data folder"));
    theirs.until("the second is refused", PATIENCE, |s| s.archive.as_ref().is_some_and(foreign)).await;
    publish(&second, 0..50).await;
    let (exit, out, _) = run(&second, &["status"]).await;
    assert_eq!((exit, out.contains("takes no copies") && out.contains("archive.to")), (0, true), "{out}");
}

/// What is let go of is in the bucket, is read through the router, and without it.
async fn lies_at(to: &str, options: &[(&str, &str)]) {
    const EVENTS: usize = 1_000;
    let (place, home) = (place(), tempfile::tempdir().unwrap());
    let mut more = archive(Path::new(to));
    more["archive"]["options"] = options.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let router = place.start_with(&[], &more).await;
    publish(&place, 0..EVENTS).await;
    let gone = |s: &gocoffee::admin::view::Status| {
        s.buses.iter().any(|b| b.name.as_str() == "default" && b.first.0 > 100)
            && s.archive.as_ref().is_some_and(|a| a.ready && a.waiting.iter().all(|w| w.segments == 0))
    };
    router.until("copied and let go", PATIENCE, gone).await;
    let file = home.path().join("all.ndjson");
    let (exit, _, err) = run(&place, &["archive", "export", "-o", file.to_str().unwrap()]).await;
    assert_eq!(exit, 0, "{to}: {err}");
    let once: BTreeMap<usize, usize> = (0..EVENTS).map(|id| (id, 1)).collect();
    assert_eq!(ids(&file), once, "{to}");
    router.kill().await;
    let (exit, out, err) = from_store(&["archive", "verify"], to, options).await;
    assert_eq!((exit, out.contains("nothing is wrong")), (0, true), "{to}: {out}{err}");
    let rescued = home.path().join("rescued.ndjson");
    let export = ["archive", "export", "-o", rescued.to_str().unwrap()];
    let (exit, _, err) = from_store(&export, to, options).await;
    assert_eq!(exit, 0, "{to}: {err}");
    assert!(ids(&rescued).len() > 100, "{to}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_lie_in_the_buckets_of_three_clouds() {
    if let Some(peer) = buckets::s3().await {
        let key = [("aws_access_key_id", "test"), ("aws_secret_access_key", "test")];
        let place = [("aws_endpoint", peer.url.as_str()), ("aws_region", "us-east-1")];
        lies_at("s3://coffee/router", &[key, place].concat()).await;
    }
    if let Some(peer) = Google::start().await {
        lies_at("gs://coffee/router", &[("google_service_account_key", &peer.key())]).await;
    }
    if let Some(peer) = buckets::azure().await {
        let key = [("azure_storage_account_name", AZURE_ACCOUNT), ("azure_storage_account_key", AZURE_KEY)];
        lies_at("az://coffee/router", &[&key[..], &[("azure_storage_endpoint", peer.url.as_str())]].concat()).await;
    }
}
