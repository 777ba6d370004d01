//! The target `lambda`: ministack runs the function.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use router_aws::{Accounts, Invocation, Lambda, LambdaConfig};
use router_core::{
    id::TargetName,
    reply::ReplyTo,
    target::{Outcome, Scope, Target},
};
use router_http::client::{Clients, Settings};
use router_tests::world::{process::Place, setup::Route, sink::Sink};
use serde_json::json;

use super::{
    peers::{self, Kind, Peer},
    publish::{batch, event},
};

/// Answers with what it got, or fails as it is told to.
const FUNCTION: &str = r#"
def handler(event, context):
    if event["type"] == "fail":
        raise ValueError("not today")
    return {"specversion": "1.0", "source": "/function", "type": "function.done", "data": event["id"]}
"#;
/// What a first call may take: the function is started for it.
const FIRST: Duration = Duration::from_secs(120);

/// The function as ministack takes it, by the Python that it runs on.
async fn deploy(peer: &Peer, name: &str) {
    let zip = "import base64,io,sys,zipfile\nb=io.BytesIO()\nz=zipfile.ZipFile(b,'w')\nz.writestr('index.py',sys.argv[1])\nz.close()\nprint(base64.b64encode(b.getvalue()).decode())";
    let python = peers::find("python3").expect("ministack runs on it");
    let made = Command::new(python).args(["-c", zip, FUNCTION]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let code = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(STANDARD.decode(&code).is_ok());
    let function = json!({"FunctionName": name, "Runtime": "python3.12", "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/f", "Timeout": 60, "Code": {"ZipFile": code}});
    peer.rest("/2015-03-31/functions", function).await;
}

fn target(url: &str, function: &str, invocation: Invocation) -> Lambda {
    let config = LambdaConfig::new(TargetName::new("t").unwrap(), function);
    let config = LambdaConfig { settings: peers::settings(url), timeout: FIRST, invocation, ..config };
    Lambda::new(config, &Accounts::default(), Clients::default().get(Settings::default()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_gets_events_and_its_answers_are_events() {
    let Some(peer) = Peer::start(Kind::Ministack).await else { return };
    deploy(&peer, "answers").await;
    let called = target(&peer.url, "answers", Invocation::RequestResponse);
    // A function becomes ready some time after it was made.
    let end = Instant::now() + FIRST;
    let mut one = batch([event("1")]);
    let to = ReplyTo::new(&one[0].event, &one[0].route, &[0; 16]);
    one[0].reply = Some(to);
    let replies = loop {
        match called.deliver(&one).await.remove(0) {
            Outcome::Delivered { replies, .. } => break replies,
            other => assert!(Instant::now() < end, "{other:?}"),
        }
    };
    let reply = replies[0].event.as_ref().unwrap();
    assert_eq!((reply.kind(), reply.data()), ("function.done", br#""1""#.as_slice()));

    let failing = event("2").rebuild().set("type", "fail").build().unwrap();
    let outcome = called.deliver(&batch([failing])).await.remove(0);
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Event, .. }), "{outcome:?}");
    assert!(outcome.facts().note.as_deref().is_some_and(|note| note.ends_with(": not today")), "{outcome:?}");
    let queued = target(&peer.url, "answers", Invocation::Event).deliver(&batch([event("3")])).await.remove(0);
    let Outcome::Delivered { facts, replies } = queued else { panic!("{queued:?}") };
    assert_eq!((facts.status, replies.len()), (Some(202), 0));

    let gone = target(&peer.url, "not-there", Invocation::RequestResponse);
    let outcome = gone.deliver(&batch([event("4")])).await.remove(0);
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, not_before: Some(_), .. }), "{outcome:?}");
    let why = gone.check().await.unwrap_err().to_string();
    assert!(why.starts_with("ResourceNotFoundException"), "{why}");
    called.check().await.unwrap();
    routed(&peer).await;
}

/// In a router the answer is an event like any other.
async fn routed(peer: &Peer) {
    let (sink, place) = (Sink::start().await, Place::new());
    let mut function = peers::configured(&peer.url);
    function["function"] = json!("answers");
    function["timeout"] = json!("60s");
    let more = json!({
        "targets": {"function": {"lambda": function}},
        "routes": {"calls": {"to": "function", "reply": true, "filter": {"exact": {"type": "coffee.order.created"}}}},
    });
    let done = Route::all("done", &sink.url("done")).kind("function.done");
    let router = place.start_with(&[done], &more).await;
    let headers = [(http::header::CONTENT_TYPE, schemas::json::MEDIA_TYPE.parse().unwrap())].into_iter().collect();
    let body = schemas::json::encode(&event("7")).into();
    let client = router_tests::world::client::Client::new(Duration::from_secs(30));
    let answer = client.send(http::Method::POST, &place.url(), headers, body).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    let end = Instant::now() + FIRST;
    while sink.journal().is_empty() {
        assert!(Instant::now() < end, "no reply came\n{}", place.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(&*sink.journal()[0].key.source, "/function");
    assert!(router.terminate().await.success());
}
