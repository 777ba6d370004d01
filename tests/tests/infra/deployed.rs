//! What is deployed is tried: Terraform makes it at moto, the router runs on the `gocoffee.yaml` that came out, and events
//! flow. All of it takes minutes and is in the long form.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gocoffee::config;
use http::{HeaderMap, HeaderValue, Method, header};
use router_tests::world::{
    client::Client,
    process::{Place, Router},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{
    is_long, root, target,
    terraform::{Terraform, copy, played},
};

/// moto that answers like AWS.
const MOTO: &str = "tests/tests/infra/moto_as_aws.py";
/// What anything may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What everything is called that the tests make.
const NAME: &str = "go-coffee-test";

/// What stands for AWS, on a free port; ended with the test.
struct Moto {
    child: Child,
    url: String,
    client: Client,
    /// What it says, shown when the test fails.
    log: NamedTempFile,
}

impl Moto {
    /// Starts it; `None`, and one line, where it is not there.
    async fn start() -> Option<Moto> {
        let python = target().join("peers/bin/python");
        let there =
            || Command::new(&python).args(["-c", "import moto.server"]).output().is_ok_and(|o| o.status.success());
        if !python.is_file() || !there() {
            eprintln!("skipped: moto is not there; `cargo xtask test` gets it from PyPI");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(python);
        command.arg(root().join(MOTO)).args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let log = NamedTempFile::new().unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen().unwrap()).spawn().unwrap();
        let client = Client::new(Duration::from_secs(30));
        let moto = Moto { child, url: format!("http://127.0.0.1:{port}"), client, log };
        let end = Instant::now() + PATIENCE;
        while !moto.client.get(&moto.url).await.is_ok_and(|answer| answer.status < 500) {
            assert!(Instant::now() < end, "moto does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some(moto)
    }

    /// What the environment of a program says that calls it.
    fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            // An error of moto's is to be seen: Terraform's provider tries 25 times, a quarter of an hour.
            ("AWS_MAX_ATTEMPTS", "5".into()),
        ]
    }

    /// One call that must succeed, in the protocol that EventBridge and SQS speak.
    async fn call(&self, what: &str, body: Value) -> Value {
        let service = if what.starts_with("AWSEvents") { "events" } else { "sqs" };
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        );
        let headers =
            [("x-amz-target", what), ("content-type", "application/x-amz-json-1.1"), ("authorization", &signed)];
        let headers: HeaderMap =
            headers.into_iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_str(v).unwrap())).collect();
        let body = Bytes::from(body.to_string());
        let answer = self.client.send(Method::POST, &self.url, headers, body).await.unwrap();
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    async fn queue_url(&self, name: &str) -> String {
        let found = self.call("AmazonSQS.GetQueueUrl", json!({"QueueName": name})).await;
        found["QueueUrl"].as_str().unwrap().to_owned()
    }

    /// Puts events on a bus, as a program does that knows nothing of a router; their ids.
    async fn put(&self, bus: &str, entries: &[(&str, Value)]) -> Vec<String> {
        let mut ids = Vec::new();
        for entries in entries.chunks(10) {
            let entries: Vec<Value> = entries
                .iter()
                .map(|(kind, detail)| {
                    json!({"Source": "shops", "DetailType": kind, "Detail": detail.to_string(), "EventBusName": bus})
                })
                .collect();
            let put = self.call("AWSEvents.PutEvents", json!({"Entries": entries})).await;
            assert_eq!(put["FailedEntryCount"], 0, "{put}");
            ids.extend(put["Entries"].as_array().unwrap().iter().map(|e| e["EventId"].as_str().unwrap().to_owned()));
        }
        ids
    }

    /// Takes messages until there are so many, and a moment longer; their bodies.
    async fn take(&self, queue: &str, count: usize) -> Vec<Value> {
        let (url, end) = (self.queue_url(queue).await, Instant::now() + PATIENCE);
        let mut taken = Vec::new();
        loop {
            let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1});
            let answer = self.call("AmazonSQS.ReceiveMessage", asked).await;
            let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() && taken.len() >= count {
                return taken;
            }
            assert!(Instant::now() < end, "{queue}: {} of {count} messages came", taken.len());
            for message in &messages {
                let gone = json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]});
                self.call("AmazonSQS.DeleteMessage", gone).await;
                taken.push(serde_json::from_str(message["Body"].as_str().unwrap()).unwrap());
            }
        }
    }

    /// Waits until nothing is in a queue, and nothing was taken out of it that may come back.
    async fn drained(&self, queue: &str) {
        let (url, end) = (self.queue_url(queue).await, Instant::now() + PATIENCE);
        loop {
            let asked = json!({"QueueUrl": url, "AttributeNames": ["All"]});
            let attributes = self.call("AmazonSQS.GetQueueAttributes", asked).await["Attributes"].clone();
            let left = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
            if left.iter().all(|name| attributes[name] == "0") {
                return;
            }
            assert!(Instant::now() < end, "{queue}: {attributes}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
        if std::thread::panicking() {
            let said = fs::read_to_string(self.log.path()).unwrap_or_default();
            let lines: Vec<&str> = said.lines().filter(|line| !line.ends_with("\" 200 -")).collect();
            eprintln!("moto, but for what went well:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// A line of the router's figures, as soon as it is there.
async fn until_told(place: &Place, line: &str) {
    let (client, end) = (Client::new(Duration::from_secs(10)), Instant::now() + PATIENCE);
    loop {
        let said = client.get(&format!("{}/metrics", place.admin_url())).await.unwrap().text();
        if said.lines().any(|told| told == line) {
            return;
        }
        let about: Vec<&str> = said.lines().filter(|told| told.starts_with("gocoffee_events_")).collect();
        assert!(Instant::now() < end, "not {line}:\n{}\n{}", about.join("\n"), place.logged());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What is written into the router's configuration, so that it runs at this place.
fn settings(place: &Place) -> Value {
    let address = |url: String| url.trim_start_matches("http://").trim_end_matches("/events").to_owned();
    json!({
        "listen": address(place.url()),
        "admin": {"listen": address(place.admin_url())},
        "store": {"disk": {"path": place.data()}},
    })
}

/// The router, on this configuration as it is.
async fn start<'a>(place: &'a Place, yaml: &str, moto: &Moto) -> Router<'a> {
    let loaded = config::load("gocoffee.yaml", yaml);
    assert_eq!(loaded.report.errors(), 0, "{}", loaded.report.to_text(false));
    place.start_written_with(yaml, &moto.env()).await
}

/// Publishes an event to the router, as a function does with its reply.
async fn publish(place: &Place, id: &str, kind: &str, data: Value) {
    let event =
        json!({"specversion": "1.0", "id": id, "source": "/functions/order-processor", "type": kind, "data": data});
    let form = HeaderValue::from_static("application/cloudevents+json");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
    let client = Client::new(Duration::from_secs(30));
    let answer = client.send(Method::POST, &place.url(), headers, Bytes::from(event.to_string())).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// An archive with a file `bootstrap` of one byte, which nobody runs here.
const PACKAGE: &[u8] =
    b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x83\x16\xdc\x8c\x01\x00\x00\x00\x01\x00\x00\x00\
\t\x00\x00\x00bootstrapxPK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x83\x16\xdc\x8c\x01\x00\x00\x00\x01\
\x00\x00\x00\t\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00\x00\x00bootstrapPK\x05\x06\x00\x00\
\x00\x00\x01\x00\x01\x007\x00\x00\x00(\x00\x00\x00\x00\x00";

/// Puts the package there, and gives its folder.
fn packages(folder: &Path) -> PathBuf {
    let packages = folder.join("packages");
    fs::create_dir_all(&packages).unwrap();
    fs::write(packages.join("order-processor-aws.zip"), PACKAGE).unwrap();
    packages
}

/// The two modules and AWS as they are, with another bus of moto's in place of Google's topic.
fn lay_out(folder: &Path, place: &Place) {
    for module in ["infra/aws", "infra/modules/event-orchestration", "infra/modules/serverless-orchestrator"] {
        copy(&root().join(module), &folder.join(module));
    }
    let other = r#"{ sources = {}, targets = { gcp-bus = { eventbridge = {
        bus = "other", region = "us-east-1", mapping = "structured" } } } }"#;
    played("gcp", other, &folder.join("infra/gcp"));
    played("azure", "null", &folder.join("infra/azure"));
    let main = json!({
        "provider": {"aws": {"region": "us-east-1", "s3_use_path_style": true}},
        "module": {"platform": {
            "source": "./infra/modules/serverless-orchestrator",
            "project_name": "go-coffee",
            "environment": "test",
            "enable_aws": true,
            "enable_gcp": true,
            "gcp_project_id": "p",
            "packages": packages(folder),
            "output_url": "https://router.example.com/events",
            "functions": {"order-processor": {"cloud": "aws"}},
            "router": settings(place),
        }},
        "output": {"gocoffee_yaml": {"value": "${module.platform.gocoffee_yaml}"}},
    });
    fs::write(folder.join("main.tf.json"), main.to_string()).unwrap();
}

/// A bus beside those of Terraform, whose one rule puts everything into a queue of the same name.
async fn other_bus(moto: &Moto) {
    moto.call("AWSEvents.CreateEventBus", json!({"Name": "other"})).await;
    moto.call("AmazonSQS.CreateQueue", json!({"QueueName": "other"})).await;
    let everything = json!({"source": [{"prefix": ""}]}).to_string();
    moto.call("AWSEvents.PutRule", json!({"Name": "all", "EventBusName": "other", "EventPattern": everything})).await;
    let queue = json!({"Id": "queue", "Arn": "arn:aws:sqs:us-east-1:123456789012:other"});
    moto.call("AWSEvents.PutTargets", json!({"Rule": "all", "EventBusName": "other", "Targets": [queue]})).await;
}

/// Goal: what strangers put on the bus goes by the rule and the queue to the router and on to another bus, each event
/// once and as it was; what comes in at the router goes to the bus, to the function's queue, and ends when it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn events_flow_from_bus_to_queue_to_router_to_bus() {
    if !is_long() {
        return;
    }
    let Some(mut terraform) = Terraform::with_aws() else { return };
    let Some(moto) = Moto::start().await else { return };
    terraform.env = moto.env();
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    lay_out(folder.path(), &place);
    terraform.run(folder.path(), &["init", "-no-color"]).unwrap();
    terraform.run(folder.path(), &["apply", "-auto-approve", "-no-color"]).unwrap();
    let yaml = terraform.run(folder.path(), &["output", "-raw", "gocoffee_yaml"]).unwrap();
    other_bus(&moto).await;
    let router = start(&place, &yaml, &moto).await;

    let order = |n: u32| ("coffee.order.created", json!({"order": n, "total": f64::from(n) + 0.1}));
    // moto gives ten messages of a function's queue to a function that it cannot run.
    let mut put: Vec<(&str, Value)> = (0..5).map(order).collect();
    put.extend((0..20).map(|n| ("inventory.low", json!({"item": n}))));
    put.extend((0..5).map(|n| ("weather.changed", json!({"wind": n}))));
    let ids = moto.put(NAME, &put).await;
    let wanted: BTreeMap<String, &(&str, Value)> = ids.into_iter().zip(&put[..25]).collect();
    let came = moto.take("other", 25).await;
    assert_eq!(came.len(), 25, "each once");
    for event in &came {
        let event = &event["detail"];
        let (kind, data) = wanted[event["id"].as_str().unwrap()];
        assert_eq!((&event["type"], &event["source"], &event["data"]), (&json!(kind), &json!("shops"), data));
        assert!(event["gocoffeehops"].as_str().unwrap().starts_with(&format!("{NAME}.")), "{event}");
    }
    let different: BTreeSet<&str> = came.iter().map(|event| event["detail"]["id"].as_str().unwrap()).collect();
    assert_eq!(different.len(), 25);
    until_told(&place, "gocoffee_events_accepted_total{bus=\"from-aws\"} 25").await;

    // A function's reply: to both buses, to the function's queue by its rule, and round to the router, where it ends.
    publish(&place, "reply-1", "coffee.order.updated", json!({"order": 7})).await;
    until_told(&place, "gocoffee_events_looped_total{bus=\"from-aws\"} 1").await;
    assert_eq!(moto.take("other", 1).await[0]["detail"]["id"], "reply-1");
    let for_function = moto.take(&format!("{NAME}-order-processor"), 6).await;
    assert_eq!(for_function.len(), 6, "the orders and the reply, and nothing else");

    // The queue waits for a router that is down.
    assert!(router.terminate().await.success());
    moto.put(NAME, &(20..27).map(order).collect::<Vec<_>>()).await;
    let router = start(&place, &yaml, &moto).await;
    assert_eq!(moto.take("other", 7).await.len(), 7);
    router.settled(PATIENCE).await;
    for queue in ["router", "router-dead-letters", "order-processor-dead-letters"] {
        moto.drained(&format!("{NAME}-{queue}")).await;
    }
    assert!(router.dead_letters().await.is_empty());
    assert!(router.terminate().await.success());
}

/// `cargo xtask deploy` on this checkout, with a target folder of its own.
struct Deploy<'a> {
    terraform: &'a Terraform,
    moto: &'a Moto,
    target: &'a Path,
    common: Vec<String>,
}

impl Deploy<'_> {
    fn command(&self, program: &Path, before: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(before).args(args).args(&self.common);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("ENABLE_")) {
            command.env_remove(name);
        }
        command.env("CARGO_TARGET_DIR", self.target).env("TERRAFORM", &self.terraform.program).envs(self.moto.env());
        if let Some(file) = &self.terraform.configuration {
            command.env("TF_CLI_CONFIG_FILE", file);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn end(child: Child) -> (i32, String) {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    /// Where nobody can be asked.
    fn run(&self, args: &[&str]) -> (i32, String) {
        Self::end(self.command(&xtask(), &["deploy"], args).spawn().expect("it starts"))
    }

    /// At a terminal, where somebody writes this.
    fn answered(&self, args: &[&str], answer: &str) -> (i32, String) {
        let terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
        let (python, xtask) = (target().join("peers/bin/python"), xtask());
        let before = ["-c", terminal, xtask.to_str().unwrap(), "deploy"];
        let mut child = self.command(&python, &before, args).spawn().expect("it starts");
        // Kept open: the end of the input would be the end of the terminal.
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{answer}").unwrap();
        let ended = Self::end(child);
        drop(input);
        ended
    }
}

/// The program of `cargo xtask`, which the test command has built.
fn xtask() -> PathBuf {
    target().join("debug/xtask")
}

/// Goal: what the command deploys to AWS is taken by something that behaves like it, is then as it was made, carries
/// events, tells when somebody changes it, and goes away again when the right name is written.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_deploys_to_aws_finds_drift_and_destroys() {
    if !is_long() {
        return;
    }
    let Some(terraform) = Terraform::with_aws() else { return };
    let Some(moto) = Moto::start().await else { return };
    if !xtask().is_file() {
        eprintln!("skipped: {} is not built", xtask().display());
        return;
    }
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let package = packages(folder.path()).join("order-processor-aws.zip");
    let write = |name: &str, value: Value| {
        let file = folder.path().join(name);
        fs::write(&file, value.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let given = json!({"functions": {"order-processor": {}}, "router": settings(&place)});
    let files =
        [write("settings.json", given), write("backend.json", json!({"local": {"path": folder.path().join("state")}}))];
    let common = ["--environment", "test", "--enable-aws", "--output-url", "https://router.example.com/events"];
    let mut common: Vec<String> = common.map(str::to_owned).into();
    common.extend(["--settings".into(), files[0].clone(), "--backend".into(), files[1].clone()]);
    let deploy = Deploy { terraform: &terraform, moto: &moto, target: folder.path(), common };

    let (code, said) = deploy.run(&["--dry-run"]);
    assert!(code == 0 && said.contains("paid for by request") && said.contains("nothing was changed"), "{said}");
    let (code, said) = deploy.run(&["--drift-check"]);
    assert!(code == 2 && said.contains("aws_sqs_queue"), "nothing is there yet: {code} {said}");
    let (code, said) = deploy.run(&[]);
    assert!(code == 1 && said.contains("say --yes"), "nobody can be asked: {said}");
    let (code, said) = deploy.answered(&[], "yes");
    assert_eq!(code, 0, "{said}");
    let (code, said) = deploy.run(&["--drift-check"]);
    assert!(code == 0 && said.contains("no changes"), "{code} {said}");

    let yaml = fs::read_to_string(folder.path().join("deploy/test/gocoffee.yaml")).unwrap();
    let router = start(&place, &yaml, &moto).await;
    moto.put(NAME, &[("coffee.order.created", json!({"order": 1}))]).await;
    until_told(&place, "gocoffee_events_accepted_total{bus=\"from-aws\"} 1").await;
    publish(&place, "reply-1", "coffee.order.updated", json!({"order": 1})).await;
    assert_eq!(moto.take(&format!("{NAME}-order-processor"), 2).await.len(), 2);
    until_told(&place, "gocoffee_events_looped_total{bus=\"from-aws\"} 1").await;
    assert!(router.terminate().await.success());

    let changed =
        json!({"QueueUrl": moto.queue_url(&format!("{NAME}-router")).await, "Attributes": {"VisibilityTimeout": "7"}});
    moto.call("AmazonSQS.SetQueueAttributes", changed).await;
    let (code, said) = deploy.run(&["--drift-check"]);
    assert!(code == 2 && said.contains("visibility_timeout_seconds"), "somebody changed it: {code} {said}");
    let (code, said) = deploy.run(&["--yes"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = deploy.run(&["--drift-check"]);
    assert_eq!(code, 0, "it is mended: {said}");

    // Who destroys has perhaps never packaged.
    fs::remove_file(package).unwrap();
    let (code, said) = deploy.answered(&["destroy"], "tset");
    assert!(code == 0 && said.contains("nothing was changed"), "the wrong name: {code} {said}");
    let (code, said) = deploy.answered(&["destroy"], "test");
    assert!(code == 0 && said.contains("0 added, 0 changed, "), "{code} {said}");
    let queues = moto.call("AmazonSQS.ListQueues", json!({})).await;
    assert!(queues["QueueUrls"].as_array().is_none_or(Vec::is_empty), "{queues}");
}
