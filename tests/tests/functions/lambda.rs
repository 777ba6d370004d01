//! The program of a function on `provided.al2023`, which ministack runs as Lambda does: called directly, by a queue and
//! by a rule of EventBridge.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use router_tests::world::{
    process::{self, Place},
    setup::Route,
    sink::Sink,
};
use serde_json::{Value, json};

use super::{
    peers::{self, ARRIVAL, Kind, Peer},
    table,
};

/// What a first call may take: the function is started for it.
const FIRST: Duration = Duration::from_secs(120);
/// How long nothing more has come when it is said that nothing more comes.
const QUIET: Duration = Duration::from_secs(2);

/// In base64, by the Python that ministack runs on: a zip as it is, any other program as a zip that Lambda takes, with a
/// `bootstrap` which may be executed.
const ZIP: &str = r#"
import base64, io, sys, zipfile
if sys.argv[1].endswith(".zip"):
    print(base64.b64encode(open(sys.argv[1], "rb").read()).decode())
    sys.exit()
out = io.BytesIO()
with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zip:
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    zip.writestr(entry, open(sys.argv[1], "rb").read())
print(base64.b64encode(out.getvalue()).decode())
"#;

/// The program that orders go to.
pub fn program() -> Option<PathBuf> {
    table::program("order-processor")
}

fn zipped(program: &Path) -> String {
    let python = peers::find("python3").expect("ministack runs on it");
    let made = Command::new(python).args(["-c", ZIP]).arg(program).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// What `cargo xtask package` writes for Lambda. It builds for minutes, so that only the long form has it; the others zip
/// the program of the tests.
fn packaged() -> Option<PathBuf> {
    std::env::var_os("GOCOFFEE_TESTS_LONG")?;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let mut command = process::cargo();
    command.args("run --quiet --package xtask -- package order-processor --cloud aws --out".split(' '));
    let made = command.arg(&out).current_dir(root).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(out.join("order-processor-aws.zip"))
}

async fn deploy(peer: &Peer, name: &str, code: &str, variables: Value) {
    let function = json!({"FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap",
        "Role": "arn:aws:iam::000000000000:role/f", "Timeout": 60, "Code": {"ZipFile": code},
        "Environment": {"Variables": variables}});
    peer.rest("/2015-03-31/functions", function).await;
}

/// An order of that number.
pub fn order(number: u32) -> Value {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions/order-processor/samples/accepted.json");
    let sample: Value = serde_json::from_slice(&std::fs::read(sample).unwrap()).unwrap();
    let mut event = sample["event"].clone();
    event["id"] = json!(format!("order-{number}"));
    event["data"]["order"] = json!(format!("order-{number}"));
    event
}

/// What a function answers when it is called; a function becomes ready some time after it was made.
async fn called(peer: &Peer, name: &str, event: &Value) -> Value {
    let end = Instant::now() + FIRST;
    loop {
        let answer = peer.rest(&format!("/2015-03-31/functions/{name}/invocations"), event.clone()).await;
        if answer["errorType"] != "ServiceException" || Instant::now() > end {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn arn(peer: &Peer, queue_url: &str) -> Value {
    let asked = json!({"QueueUrl": queue_url, "AttributeNames": ["QueueArn"]});
    peer.call("AmazonSQS.GetQueueAttributes", asked).await["Attributes"]["QueueArn"].clone()
}

/// The ids of what came to a sink, once there are so many and no more come.
pub async fn ids(sink: &Sink, count: usize, place: &Place) -> BTreeSet<String> {
    let end = Instant::now() + ARRIVAL;
    while sink.journal().len() < count {
        assert!(Instant::now() < end, "{} of {count} replies came\n{}", sink.journal().len(), place.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(QUIET).await;
    let ids: Vec<String> = sink.journal().iter().map(|received| received.key.id.to_string()).collect();
    assert_eq!(ids.len(), count, "{ids:?}");
    ids.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_of_a_function_runs_on_lambda() {
    let (Some(program), Some(peer)) = (program(), Peer::start(Kind::Ministack).await) else { return };
    let code = zipped(&packaged().unwrap_or(program));

    // Called directly, it answers with its replies; what it refuses fails the invocation, and it goes on.
    deploy(&peer, "direct", &code, json!({})).await;
    let replies = called(&peer, "direct", &order(1)).await;
    let kinds: Vec<&str> = replies.as_array().unwrap().iter().map(|reply| reply["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["coffee.order.accepted", "inventory.reserved", "notification.send"], "{replies}");
    assert_eq!(replies[0]["causeid"], "order-1", "{replies}");
    let tea = json!({"specversion": "1.0", "id": "t", "source": "/shops/4", "type": "tea.order.created"});
    let refused = called(&peer, "direct", &tea).await;
    assert_eq!(refused["errorType"], "Refused.type-unexpected", "{refused}");
    assert_eq!(called(&peer, "direct", &order(1)).await, replies, "a repeat");

    // Called by a queue, it publishes its replies to a router; the message that holds no event comes back alone.
    let (sink, place) = (Sink::start().await, Place::new());
    let router = place.start(&[Route::all("seen", &sink.url("seen"))]).await;
    deploy(&peer, "orders", &code, json!({"OUTPUT_URL": place.url()})).await;
    let dead = peer.queue("dead", json!({})).await;
    let redrive = json!({"deadLetterTargetArn": arn(&peer, &dead).await, "maxReceiveCount": "2"});
    let attributes = json!({"RedrivePolicy": redrive.to_string(), "VisibilityTimeout": "1"});
    let queue = peer.queue("orders", attributes).await;
    for body in [order(2).to_string(), json!({"poison": true}).to_string(), order(3).to_string()] {
        peer.call("AmazonSQS.SendMessage", json!({"QueueUrl": queue, "MessageBody": body})).await;
    }
    let mapping = json!({"FunctionName": "orders", "EventSourceArn": arn(&peer, &queue).await, "BatchSize": 10,
        "FunctionResponseTypes": ["ReportBatchItemFailures"]});
    peer.rest("/2015-03-31/event-source-mappings", mapping).await;
    let poison = peer.take(&dead, 1).await;
    assert_eq!(poison, [json!({"poison": true})]);
    let of_queue = ids(&sink, 6, &place).await;

    // Called by a rule, it gets the event that the envelope holds.
    let rule = json!({"Name": "orders", "EventPattern": json!({"source": ["/shops/4"]}).to_string()});
    peer.call("AWSEvents.PutRule", rule).await;
    let function = "arn:aws:lambda:us-east-1:000000000000:function:orders";
    let targets = json!({"Rule": "orders", "Targets": [{"Id": "function", "Arn": function}]});
    peer.call("AWSEvents.PutTargets", targets).await;
    let entry = json!({"Source": "/shops/4", "DetailType": "coffee.order.created", "Detail": order(4).to_string()});
    let put = peer.call("AWSEvents.PutEvents", json!({"Entries": [entry]})).await;
    assert_eq!(put["FailedEntryCount"], 0, "{put}");
    let all = ids(&sink, 9, &place).await;
    assert!(all.is_superset(&of_queue));
    assert!(router.terminate().await.success());
}
