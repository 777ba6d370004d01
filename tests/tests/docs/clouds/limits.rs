//! Events that go nowhere: the real targets, with nobody at the other end, say which they refuse by themselves.

use std::fmt::Write;

use router_aws::{
    AccessKey, Accounts as AwsAccounts, EventBridge, EventBridgeConfig, EventBridgeV2, EventBridgeV2Config,
    Settings as AwsSettings, Sqs, SqsConfig, wire::Mapping,
};
use router_core::{
    id::TargetName,
    target::{Outcome, Target},
};
use router_gcp::{Accounts as GoogleAccounts, Credentials, PubSub, PubSubConfig, Settings as GoogleSettings};
use router_http::Secret;
use schemas::{Event, Form};

use super::ways::owed;

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

const HEAD: &str = "
## What is refused

What a target refuses by itself is a dead letter with that code; what it sends, the cloud may still refuse. By default
no event of more than 1 MiB comes in at all (`limits.event_bytes_max`).

";

/// What a column is about, and the event.
fn events() -> Vec<(&'static str, Event)> {
    let plain = |source, kind| Event::builder("1", source, kind).data(Form::Json, "{}");
    let of = |bytes: usize| plain("/s", "t").data(Form::Text, vec![b'x'; bytes]).attr("datacontenttype", "text/plain");
    let key = "k".repeat(1_025);
    let long = "t".repeat(129);
    vec![
        ("source `aws.ec2`", plain("aws.ec2", "t").build().unwrap()),
        ("a type of 129 characters", plain("/s", &long).build().unwrap()),
        ("`partitionkey` of 1,025 bytes", plain("/s", "t").attr("partitionkey", key.as_str()).build().unwrap()),
        ("300 KiB of text", of(300 << 10).build().unwrap()),
        ("1 MiB of text", of(1 << 20).build().unwrap()),
        ("7 MiB of text", of(7 << 20).build().unwrap()),
        ("10 MB of text", of(10_000_000).build().unwrap()),
    ]
}

fn aws() -> AwsSettings {
    let access_key = AccessKey { id: "k".into(), secret: Secret::new("s"), session_token: None };
    let (region, endpoint) = (Some("us-east-1".into()), Some(NOBODY.into()));
    AwsSettings { region, endpoint, access_key: Some(access_key), ..AwsSettings::default() }
}

/// The targets that refuse anything by themselves.
fn targets() -> Vec<(&'static str, Box<dyn Target>)> {
    let (name, accounts) = (|| TargetName::new("t").unwrap(), AwsAccounts::default());
    let eventbridge = |mapping| {
        let config = EventBridgeConfig { settings: aws(), mapping, ..EventBridgeConfig::new(name(), "coffee") };
        Box::new(EventBridge::new(config, &accounts).unwrap())
    };
    let custom = {
        let bus = "arn:aws:events:us-east-1:123456789012:event-busv2/b/abcdefghij0123456789abcde";
        let config = EventBridgeV2Config { settings: aws(), ..EventBridgeV2Config::new(name(), bus) };
        Box::new(EventBridgeV2::new(config, &accounts).unwrap())
    };
    let queue = |url: &str| {
        let config = SqsConfig { settings: aws(), ..SqsConfig::new(name(), format!("{NOBODY}/1/{url}")) };
        Box::new(Sqs::new(config, &accounts).unwrap())
    };
    let settings =
        GoogleSettings { endpoint: Some(NOBODY.into()), credentials: Credentials::Anonymous, impersonate: None };
    let topic = PubSubConfig { settings, ..PubSubConfig::new(name(), "projects/p/topics/t") };
    vec![
        ("`eventbridge`, `mapping: structured`", eventbridge(Mapping::Structured)),
        ("`eventbridge`, `mapping: opaque`", eventbridge(Mapping::Opaque)),
        ("`eventbridge_v2`", custom),
        ("`sqs`", queue("q")),
        ("`pubsub`", Box::new(PubSub::new(topic, &GoogleAccounts::default()).unwrap())),
    ]
}

/// The section of the page.
pub async fn section() -> String {
    let events = events();
    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    let mut text = format!("{HEAD}| target | {} |\n|---{}|\n", names.join(" | "), "|---".repeat(names.len()));
    for (name, target) in targets() {
        let mut cells = Vec::new();
        for (_, event) in &events {
            cells.push(match target.deliver(&[owed(event)]).await.remove(0) {
                Outcome::Refused { code, .. } => format!("refused: `{}`", code.0),
                // Nobody is there.
                Outcome::Retry { .. } => "sent".to_owned(),
                other => panic!("{name}: {other:?}"),
            });
        }
        writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    text.push_str("\nHTTP, functions, Cloud Run and Event Grid are sent whatever there is: their answer decides.\n");
    text
}
