//! The target `eventbridge_v2`, by itself and in a router. The bus is played: [`super::custom_bus`].

use std::{
    collections::BTreeSet,
    process::{Command, Output},
    time::Duration,
};

use router_aws::{Accounts, EventBridgeV2, EventBridgeV2Config};
use router_core::{
    id::TargetName,
    target::{Outcome, Scope, Target},
};
use router_tests::world::{client::Client, process::Place};
use schemas::{Event, Form};
use serde_json::{Value, json};

use super::{
    custom_bus::{ARN, CustomBus, Fault},
    peers,
    publish::{batch, event, note},
};

/// Calls the bus with AWS's own client, or holds calls to AWS's own model of the service.
const PYTHON: &str = r#"
import base64, json, re, sys, boto3, botocore.session
what, url, arn = sys.argv[1], sys.argv[2], sys.argv[3]
if "eventbridgev2" not in boto3.Session().get_available_services():
    print(json.dumps("absent"))
    sys.exit()
if what == "call":
    client = boto3.client("eventbridgev2", endpoint_url=url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
    entry = lambda data, kind: {"Data": data, "SystemMetadata": {"ContentType": kind, "EventGroupId": "g", "DeduplicationId": data.decode()}}
    good, other = entry(b'{"n": 1}', "application/json"), entry(b"no JSON", "application/json")
    answers = [client.put_raw_events(EventBusArn=arn, Entries=[good, other, good])]
    answers.append(client.describe_event_bus(EventBusArn=arn))
    for answer in answers:
        answer.pop("ResponseMetadata")
    try:
        client.put_raw_events(EventBusArn=arn.replace("orders", "others"), Entries=[good])
    except client.exceptions.ResourceNotFoundException as e:
        answers.append(e.response["ResponseMetadata"]["HTTPStatusCode"])
    print(json.dumps(answers))
else:
    model = botocore.session.get_session().get_service_model("eventbridgev2")
    wrong = []
    def hold(value, shape, at):
        bounds, kind = shape.metadata, shape.type_name
        size = len(value) if kind in ("string", "list", "map") else None
        if size is not None and not bounds.get("min", 0) <= size <= bounds.get("max", size):
            wrong.append(f"{at}: {size}")
        if kind == "string" and "pattern" in bounds and not re.fullmatch(bounds["pattern"], value):
            wrong.append(f"{at}: {value!r}")
        if kind == "structure":
            wrong.extend(f"{at}: no {name}" for name in shape.required_members if name not in value)
            for name, member in value.items():
                if name not in shape.members:
                    wrong.append(f"{at}: {name} is unknown")
                else:
                    hold(member, shape.members[name], f"{at}.{name}")
        elif kind == "list":
            for n, member in enumerate(value):
                hold(member, shape.member, f"{at}[{n}]")
        elif kind == "blob":
            base64.b64decode(value, validate=True)
    for n, call in enumerate(json.load(sys.stdin)):
        hold(call, model.operation_model("PutRawEvents").input_shape, f"call {n}")
    print(json.dumps(wrong))
"#;

/// What AWS's Python says; `None`, and one line, where it is not there or too old.
async fn python(what: &str, url: &str, input: Value) -> Option<Value> {
    let Some(program) = peers::find("python3").filter(|p| p.ends_with("peers/bin/python3")) else {
        eprintln!("skipped: boto3 is not installed; `cargo xtask test` puts it into the target folder");
        return None;
    };
    let mut command = Command::new(program);
    command.args(["-c", PYTHON, what, url, ARN]).env("AWS_MAX_ATTEMPTS", "1");
    let calls = tempfile::tempfile().unwrap();
    serde_json::to_writer(&calls, &input).unwrap();
    std::io::Seek::rewind(&mut &calls).unwrap();
    command.stdin(calls);
    let run: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let said: Value = serde_json::from_slice(&run.stdout).unwrap();
    if said == "absent" {
        eprintln!("skipped: this boto3 does not know custom event buses; `cargo xtask test` installs one that does");
        return None;
    }
    Some(said)
}

fn target(bus: &CustomBus) -> EventBridgeV2 {
    let config = EventBridgeV2Config::new(TargetName::new("t").unwrap(), ARN);
    let config =
        EventBridgeV2Config { settings: peers::settings(&bus.url), timeout: Duration::from_secs(60), ..config };
    EventBridgeV2::new(config, &Accounts::default()).unwrap()
}

fn keyed(id: usize, key: &str) -> Event {
    event(&id.to_string()).rebuild().attr("partitionkey", key).build().unwrap()
}

/// How each delivery fared: delivered, known already, tried again, refused.
fn said(outcomes: &[Outcome]) -> String {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Delivered { .. } if note(outcome).starts_with("DEDUPLICATED") => 'k',
        Outcome::Delivered { facts, .. } if facts.reference.is_some() => 'd',
        Outcome::Retry { scope: Scope::Event, .. } => 'e',
        Outcome::Retry { scope: Scope::Target, not_before: None, .. } => 't',
        Outcome::Retry { scope: Scope::Target, not_before: Some(_), .. } => 's',
        Outcome::Refused { .. } => 'r',
        _ => '?',
    };
    outcomes.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_that_is_played_speaks_as_awss_own_client_does() {
    let bus = CustomBus::with([]).await;
    let Some(answers) = python("call", &bus.url, Value::Null).await else { return };
    assert_eq!(answers[0]["FailedEntryCount"], 1, "{answers}");
    let entries = answers[0]["Entries"].as_array().unwrap();
    assert_eq!(
        (&entries[0]["SuccessCode"], &entries[1]["ErrorCode"]),
        (&json!("PUBLISHED"), &json!("VALIDATION_ERROR"))
    );
    assert_eq!((&entries[2]["SuccessCode"], &entries[2]["EventId"]), (&json!("DEDUPLICATED"), &entries[0]["EventId"]));
    assert_eq!((&answers[1]["State"], &answers[2]), (&json!("ACTIVE"), &json!(404)));
    assert_eq!(bus.wrong(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_kept_byte_for_byte_in_their_groups_and_once() {
    let bus = CustomBus::with([]).await;
    let target = target(&bus);
    let long = "k".repeat(300);
    let mut events: Vec<Event> = (0..230)
        .map(|n| match n % 5 {
            0 => event(&n.to_string()),
            1 => keyed(n, "shop 7, counter é"),
            2 => keyed(n, &long),
            _ => keyed(n, &format!("shop-{}", n % 3)),
        })
        .collect();
    // What a classic bus would never take, and what has no JSON.
    events[8] = Event::builder("8", "aws.ec2", &"t".repeat(300)).build().unwrap();
    events[9] = event("9").rebuild().data(Form::Binary, (0..=255).collect::<Vec<u8>>()).build().unwrap();
    events[10] = event("10").rebuild().data(Form::Text, "x".repeat(1 << 20)).build().unwrap();
    let deliveries = batch(events.clone());
    let outcomes = target.deliver(&deliveries).await;
    assert_eq!(said(&outcomes), format!("{}r{}", "d".repeat(10), "d".repeat(219)));
    assert!(matches!(&outcomes[10], Outcome::Refused { code, .. } if code.0 == "eventbridge-size"), "{outcomes:?}");
    assert_eq!(bus.entries(), [100, 100, 29]);

    events.remove(10);
    let kept = bus.events();
    let bytes: Vec<Vec<u8>> = kept.iter().map(|kept| kept.data.clone()).collect();
    assert!(bytes == events.iter().map(schemas::json::encode).collect::<Vec<_>>(), "byte for byte, in order");
    assert!(kept.iter().all(|kept| kept.content_type == "application/json"));
    for (n, (kept, event)) in kept.iter().zip(&events).enumerate() {
        assert_eq!(kept.group.is_some(), event.get("partitionkey").is_some(), "{n}");
    }
    let groups: BTreeSet<_> = kept.iter().filter_map(|kept| kept.group.clone()).collect();
    assert_eq!(groups.len(), 5, "{groups:?}");
    let identities: BTreeSet<_> = kept.iter().filter_map(|kept| kept.deduplication.clone()).collect();
    assert_eq!(identities.len(), 229, "each has its own");

    // All answers were lost, and everything is sent again, by a router that knows nothing of the first time.
    let mut again = deliveries;
    again.iter_mut().for_each(|delivery| delivery.attempt += 1);
    let outcomes = target.deliver(&again).await;
    assert_eq!(said(&outcomes), format!("{}r{}", "k".repeat(10), "k".repeat(219)));
    assert_eq!(bus.events().len(), 229);
    assert_eq!(bus.wrong(), Vec::<String>::new());
    let Some(wrong) = python("hold", &bus.url, json!(bus.calls())).await else { return };
    assert_eq!(wrong, json!([]), "AWS's model of the service has nothing against them");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_as_large_as_they_may_be() {
    let bus = CustomBus::with([]).await;
    // Text where JSON is said goes as base64: a third more.
    let of = |n: usize| event(&n.to_string()).rebuild().data(Form::Text, "x".repeat(200 << 10)).build().unwrap();
    let outcomes = target(&bus).deliver(&batch((0..7).map(of))).await;
    assert_eq!(said(&outcomes), "ddddddd");
    assert_eq!(bus.entries(), [3, 3, 1], "a mebibyte at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_bus_are_told_apart() {
    let half: fn(usize) -> Option<&'static str> = |n| match n % 4 {
        1 => Some("InternalException"),
        3 => Some("VALIDATION_ERROR"),
        _ => None,
    };
    let bus = CustomBus::with(
        [
            Fault::Entries(half),
            Fault::Error(429, "ThrottlingException"),
            Fault::Error(403, "AccessDeniedException"),
            Fault::Error(403, "ExpiredTokenException"),
            Fault::Error(404, "ResourceNotFoundException"),
            Fault::Error(409, "InvalidStateException"),
            Fault::Error(500, "InternalException"),
            Fault::Text(503, "<html>Service Unavailable</html>"),
            Fault::Break,
        ]
        .map(Some),
    )
    .await;
    let target = target(&bus);
    let eight = || batch((0..8).map(|n| event(&n.to_string())));
    let outcomes = target.deliver(&eight()).await;
    assert_eq!(said(&outcomes), "dedrdedr");
    assert_eq!(note(&outcomes[3]), "VALIDATION_ERROR: on purpose");
    for (what, wanted) in [
        ("throttling", 't'),
        ("denied", 's'),
        ("expired", 's'),
        ("the bus is not there", 's'),
        ("the bus is being made", 's'),
        ("internal", 'e'),
        ("not the service", 't'),
        ("a broken connection", 'e'),
    ] {
        let outcomes = target.deliver(&eight()).await;
        let same = said(&outcomes) == wanted.to_string().repeat(8);
        // Before a request is known to be sent, it is the target's fault.
        let broken = what == "a broken connection" && said(&outcomes) == "t".repeat(8);
        assert!(same || broken, "{what}: {outcomes:?}");
    }
    // What failed had been taken but for the answer: it is known, and not there twice.
    assert_eq!(said(&target.deliver(&eight()).await), "k".repeat(8));
    assert_eq!(bus.events().len(), 8);
    assert_eq!(bus.entries(), [8; 10], "the router tries again, the SDK does not");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_the_call_is_found_and_the_others_are_kept() {
    let poison = |input: &Value| {
        let mut ids = input["Entries"].as_array().unwrap().iter().map(|entry| &entry["SystemMetadata"]["EventGroupId"]);
        ids.any(|group| group == "poison").then_some(Fault::Error(400, "InvalidInputException"))
    };
    let bus = CustomBus::start(Box::new(poison)).await;
    let of = |n| if n == 6 { keyed(n, "poison") } else { event(&n.to_string()) };
    let outcomes = target(&bus).deliver(&batch((0..10).map(of))).await;
    assert_eq!(said(&outcomes), "ddddddrddd");
    assert_eq!(bus.events().len(), 9);
    assert_eq!(bus.entries(), [10, 5, 5, 3, 2, 1, 1, 1, 2], "it is looked for by halves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_asks_for_the_bus_and_sends_nothing() {
    let bus = CustomBus::with([]).await;
    let asked = target(&bus);
    for state in ["ACTIVE", "UPDATE_FAILED"] {
        bus.is(state);
        asked.check().await.unwrap();
    }
    bus.is("CREATING");
    let why = asked.check().await.unwrap_err().to_string();
    assert_eq!(why, "the bus takes no events, it is CREATING");
    assert_eq!(said(&asked.deliver(&batch([event("1")])).await), "s", "it will be there");
    bus.is("ACTIVE");
    let other = EventBridgeV2Config::new(TargetName::new("t").unwrap(), ARN.replace("orders", "others"));
    let other = EventBridgeV2Config { settings: peers::settings(&bus.url), ..other };
    let gone = EventBridgeV2::new(other, &Accounts::default()).unwrap();
    let why = gone.check().await.unwrap_err().to_string();
    assert!(why.starts_with("ResourceNotFoundException: "), "{why}");
    assert_eq!(said(&gone.deliver(&batch([event("1")])).await), "s", "a bus can be made");
    assert!(bus.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_publishes_through_faults_and_each_event_is_there_once() {
    let some: fn(usize) -> Option<&'static str> = |n| match n {
        0 => Some("VALIDATION_ERROR"),
        n if n % 3 == 1 => Some("ThrottlingException"),
        _ => None,
    };
    let faults = [Fault::Error(429, "ThrottlingException"), Fault::Entries(some), Fault::Break];
    let bus = CustomBus::with(faults.map(Some)).await;
    let place = Place::new();
    let mut target = peers::configured(&bus.url);
    target["bus"] = json!(ARN);
    // One call at a time, so that each fault meets what the one before it left.
    target["in_flight_max"] = json!(1);
    let more = json!({
        "targets": {"aws": {"eventbridge_v2": target}},
        "routes": {"out": {"to": "aws", "retry": {"delay_min": "20ms", "delay_max": "200ms"}}},
    });
    let router = place.start_with(&[], &more).await;
    let events: Vec<Event> = (0..50).map(|n| event(&n.to_string())).collect();
    let headers =
        [(http::header::CONTENT_TYPE, schemas::json::BATCH_MEDIA_TYPE.parse().unwrap())].into_iter().collect();
    let body = schemas::json::encode_batch(&events).into();
    let answer = Client::new(Duration::from_secs(30)).send(http::Method::POST, &place.url(), headers, body).await;
    assert_eq!(answer.unwrap().status, 202);
    let status = router.settled(Duration::from_secs(60)).await;
    assert_eq!(status.routes.iter().map(|r| r.dead_letters).sum::<u64>(), 1, "{status:#?}");
    let ids: Vec<Value> =
        bus.events().iter().map(|kept| serde_json::from_slice::<Value>(&kept.data).unwrap()["id"].clone()).collect();
    assert_eq!((ids.len(), ids.iter().map(Value::to_string).collect::<BTreeSet<_>>().len()), (49, 49), "{ids:?}");
    assert!(bus.entries().len() > 3, "every fault was met: {:?}", bus.entries());
    assert!(router.terminate().await.success());
}
