//! What AWS's own SDKs publish to the router, unchanged but for the URL: boto3, and the Rust SDK below our target.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use router_aws::{AccessKey, Accounts, EventBridge, EventBridgeConfig, Settings};
use router_core::{
    id::TargetName,
    target::{Outcome, Target},
};
use router_http::Secret;
use router_tests::world::{
    process::{Place, Router},
    setup::Route,
    sink::Sink,
};
use serde_json::{Value, json};

use super::{
    peers,
    publish::{batch, event},
};

const ID: &str = "AKIDCOFFEE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// What an event may take from the answer to the sink.
const ARRIVES: Duration = Duration::from_secs(30);

/// Publishes with boto3; prints what it answered, or which error it raised.
const PYTHON: &str = r#"
import json, sys, boto3, botocore
url, key, secret, calls = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
client = boto3.client("events", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret)
for operation, arguments in calls:
    try:
        answer = getattr(client, operation)(**arguments)
        answer.pop("ResponseMetadata")
        print(json.dumps(answer))
    except botocore.exceptions.ClientError as e:
        print(json.dumps({"error": e.response["Error"]["Code"], "status": e.response["ResponseMetadata"]["HTTPStatusCode"]}))
"#;

async fn started<'p>(place: &'p Place, sink: &Sink) -> Router<'p> {
    let keys = json!([{"id": "other", "secret": "other-secret"}, {"id": ID, "secret": SECRET}]);
    let more = json!({"sources": {"sdk": {"aws": {"put_events": {"access_keys": keys, "event_buses": ["default", "coffee"]}}}}});
    place.start_with(&[Route::all("all", &sink.url("all"))], &more).await
}

fn url(place: &Place) -> String {
    place.url().replace("/events", "/aws")
}

async fn python(place: &Place, secret: &str, calls: Value) -> Option<Vec<Value>> {
    let Some(program) = peers::find("python3").filter(|p| p.ends_with("peers/bin/python3")) else {
        eprintln!("skipped: boto3 is not installed; `cargo xtask test` puts it into the target folder");
        return None;
    };
    let mut command = Command::new(program);
    command.args(["-c", PYTHON, &url(place), ID, secret, &calls.to_string()]).env("AWS_MAX_ATTEMPTS", "1");
    let run: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stderr), place.logged());
    let lines = String::from_utf8(run.stdout).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Waits until so many events came.
pub async fn arrived(sink: &Sink, count: usize, place: &Place) {
    let end = Instant::now() + ARRIVES;
    while sink.journal().len() < count {
        assert!(Instant::now() < end, "{} of {count} came\n{}", sink.journal().len(), place.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_publishes_and_is_told_what_became_of_each_entry() {
    let (sink, place) = (Sink::start().await, Place::new());
    let router = started(&place, &sink).await;
    let entry = |n: u32| json!({"Source": "my.app", "DetailType": "made", "Detail": json!({"n": n}).to_string(), "EventBusName": "coffee"});
    let mut bad = entry(2);
    bad["Detail"] = json!("no JSON");
    let pattern = json!({"detail": {"n": [{"numeric": [">", 1]}]}}).to_string();
    let tested = json!({"id": "1", "account": "1", "source": "s", "time": "2026-01-02T03:04:05Z", "region": "r", "resources": [],
        "detail-type": "t", "detail": {"n": 2}});
    let calls = json!([
        ["put_events", {"Entries": [entry(1), bad, entry(3)]}],
        ["test_event_pattern", {"EventPattern": pattern, "Event": tested.to_string()}],
        ["put_events", {"Entries": vec![entry(4); 11]}],
        ["list_rules", {}],
    ]);
    let Some(answers) = python(&place, SECRET, calls).await else { return };
    assert_eq!(answers[0]["FailedEntryCount"], 1);
    let entries = answers[0]["Entries"].as_array().unwrap();
    assert_eq!(entries[1]["ErrorCode"], "MalformedDetail");
    assert_eq!(answers[1], json!({"Result": true}));
    assert_eq!(answers[2], json!({"error": "ValidationException", "status": 400}));
    assert_eq!(answers[3]["error"], "UnknownOperationException");
    arrived(&sink, 2, &place).await;
    let mut ids: Vec<String> = sink.journal().iter().map(|r| r.key.id.to_string()).collect();
    let mut told: Vec<String> = [0, 2].map(|n| entries[n]["EventId"].as_str().unwrap().to_owned()).into();
    ids.sort();
    told.sort();
    assert_eq!(ids, told, "the ids that it was told are those of the events");
    assert!(router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_with_a_wrong_secret_publishes_nothing() {
    let (sink, place) = (Sink::start().await, Place::new());
    let router = started(&place, &sink).await;
    let calls = json!([["put_events", {"Entries": [{"Source": "s", "DetailType": "t", "Detail": "{}"}]}]]);
    let Some(answers) = python(&place, "wrong", calls).await else { return };
    assert_eq!(answers, [json!({"error": "InvalidSignatureException", "status": 403})]);
    assert!(router.terminate().await.success());
    assert!(sink.journal().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_publishes_by_a_url_alone() {
    let (sink, place) = (Sink::start().await, Place::new());
    let router = started(&place, &sink).await;
    let access_key = AccessKey { id: ID.into(), secret: Secret::new(SECRET), session_token: None };
    let settings = Settings {
        region: Some("us-east-1".into()),
        endpoint: Some(url(&place)),
        access_key: Some(access_key),
        ..Settings::default()
    };
    let config = EventBridgeConfig::new(TargetName::new("t").unwrap(), "coffee");
    let target = EventBridge::new(EventBridgeConfig { settings, ..config }, &Accounts::default()).unwrap();
    let outcomes = target.deliver(&batch((0..25).map(|n| event(&n.to_string())))).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    arrived(&sink, 25, &place).await;
    let mut ids: Vec<u32> = sink.journal().iter().map(|r| r.key.id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..25).collect::<Vec<_>>(), "whole CloudEvents, with their ids");
    assert!(router.terminate().await.success());
}
