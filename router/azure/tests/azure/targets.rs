//! Topics and functions: what goes over the wire, and what each answer means.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use router_azure::{
    auth::{Auth, Entra, Identity, SAS_LIFE, entra::SCOPE},
    target::{EventGridConfig, EventGridTarget, FunctionConfig, Mode, To, function},
    wire::Schema,
};
use router_core::{
    id::TargetName,
    target::{Outcome, Partial, Scope, Target},
};
use router_http::{HttpTargetConfig, Secret, client::Client, target::Batch};
use schemas::{Event, Form};

use super::{
    grid::{CLIENT, Grid, KEY, Play},
    world::*,
};

fn name() -> TargetName {
    TargetName::new("az-bus").unwrap()
}

fn key() -> Auth {
    Auth::Key(Secret::new(KEY))
}

fn topic(grid: &Grid, schema: Schema) -> To {
    To::Topic { endpoint: grid.url(""), schema, topic: None, channel: None }
}

fn namespace(grid: &Grid, mode: Mode) -> To {
    To::Namespace { endpoint: grid.url(""), topic: "coffee".into(), mode }
}

fn target(to: To, auth: Auth) -> EventGridTarget {
    EventGridTarget::new(EventGridConfig::new(name(), to, auth), Client::new().unwrap()).unwrap()
}

fn entra(grid: &Grid, identity: Identity) -> Auth {
    Auth::Entra(Entra { identity, authority: grid.url(""), scope: SCOPE.into() })
}

fn client(secret: &str) -> Identity {
    let (client_id, client_secret) = (CLIENT.0.to_owned(), Secret::new(secret));
    Identity::Client { tenant: "tenant".into(), client_id, client_secret }
}

async fn one(target: &impl Target, event: Event) -> Outcome {
    let mut outcomes = target.deliver(&[delivery(1, event)]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn delivered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered { .. })
}

fn note(outcome: &Outcome) -> &str {
    outcome.facts().note.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_custom_topic_gets_lists_of_cloudevents_unchanged() {
    let grid = Grid::start(Play::default()).await;
    let target = target(topic(&grid, Schema::CloudEvents), key());
    assert_eq!((target.limits().count_max, target.limits().partial), (5_000, Partial::AllOrNothing));
    let batch = [delivery(1, event("1")), delivery(2, event("2"))];
    let outcomes = target.deliver(&batch).await;
    assert!(outcomes.len() == 2 && outcomes.iter().all(delivered), "{outcomes:?}");
    assert_eq!(outcomes[0].facts().reference.as_deref(), Some("played-1"));
    let taken = grid.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].header("content-type"), Some("application/cloudevents-batch+json; charset=utf-8"));
    assert_eq!(taken[0].header("x-ms-client-request-id"), Some("0000000000c0ffee-0-1-2-0"));
    let read = schemas::json::decode_batch(&taken[0].body, 2).unwrap();
    assert_eq!(read, [Ok(event("1")), Ok(event("2"))]);
    assert!(target.check().await.is_ok());
    assert_eq!(grid.taken().len(), 2, "the check is an empty list");
    assert_eq!(grid.taken()[1].body.as_ref(), b"[]");
}

#[tokio::test]
async fn a_topic_of_event_grids_schema_gets_that() {
    let grid = Grid::start(Play { own_schema: true, ..Play::default() }).await;
    let to = To::Topic {
        endpoint: grid.url("/api/events"),
        schema: Schema::EventGrid,
        topic: Some("orders".into()),
        channel: Some("partner-1".into()),
    };
    assert!(delivered(&one(&target(to, key()), event("1")).await));
    let taken = grid.taken();
    assert_eq!(taken[0].header("aeg-channel-name"), Some("partner-1"));
    let text = r#"[{"id":"1","topic":"orders","subject":"/shop/7","eventType":"coffee.order.created","eventTime":"2026-01-02T03:04:05Z","dataVersion":"","data":{"n": 1.50}}]"#;
    assert_eq!(String::from_utf8_lossy(&taken[0].body), text);
}

#[tokio::test]
async fn a_namespace_topic_is_written_to_in_each_mode() {
    let grid = Grid::start(Play::default()).await;
    for (mode, count_max, kind) in [
        (Mode::Binary, 1, "application/json"),
        (Mode::Structured, 1, "application/cloudevents+json; charset=utf-8"),
        (Mode::Batch, 1_000, "application/cloudevents-batch+json; charset=utf-8"),
    ] {
        let target = target(namespace(&grid, mode), key());
        assert_eq!(target.limits().count_max, count_max);
        assert!(delivered(&one(&target, event("1")).await), "{mode:?}");
        let taken = grid.taken().pop().unwrap();
        assert_eq!((taken.path.as_str(), taken.header("content-type")), ("/topics/coffee:publish", Some(kind)));
        assert_eq!(taken.header("ce-tenant"), (mode == Mode::Binary).then_some("blue"));
    }
    // What headers cannot carry goes out structured.
    let odd = Event::builder("1", "/s", "t").data(Form::Json, "{}").build().unwrap();
    let binary = target(namespace(&grid, Mode::Binary), key());
    assert!(delivered(&one(&binary, odd.rebuild().attr("datacontenttype", "text/x").build().unwrap()).await));
    assert_eq!(grid.waiting(), 4);
    assert!(target(namespace(&grid, Mode::Batch), key()).check().await.is_ok());
}

#[tokio::test]
async fn signatures_and_tokens_open_as_keys_do() {
    let grid = Grid::start(Play::default()).await;
    let sas = || Auth::Sas { key: Secret::new(KEY), life: SAS_LIFE };
    for to in [topic(&grid, Schema::CloudEvents), namespace(&grid, Mode::Batch)] {
        assert!(delivered(&one(&target(to.clone(), sas()), event("1")).await));
        assert!(delivered(&one(&target(to, entra(&grid, client(CLIENT.1))), event("1")).await));
    }
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    let identity =
        Identity::Workload { tenant: "tenant".into(), client_id: CLIENT.0.into(), token_file: token_file.clone() };
    let workload = target(topic(&grid, Schema::CloudEvents), entra(&grid, identity));
    let missing = one(&workload, event("1")).await;
    assert!(matches!(missing, Outcome::Retry { scope: Scope::Target, .. }), "{missing:?}");
    assert!(note(&missing).contains("cannot be read"), "{missing:?}");
    std::fs::write(&token_file, "assertion-1\n").unwrap();
    // What was said last is said again for a second.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !delivered(&one(&workload, event("1")).await) {
        assert!(Instant::now() < deadline, "the token is read anew");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let endpoint = Some((grid.url("/msi/token"), Secret::new("header-secret")));
    let machine = entra(&grid, Identity::Managed { client_id: Some("mine".into()), endpoint });
    assert!(delivered(&one(&target(topic(&grid, Schema::CloudEvents), machine), event("1")).await));
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_had_anew_once() {
    let grid = Grid::start(Play::default()).await;
    let target = target(topic(&grid, Schema::CloudEvents), entra(&grid, client(CLIENT.1)));
    grid.refuse_tokens(1);
    assert!(delivered(&one(&target, event("1")).await));
    assert_eq!(grid.tokens(), 2);
    grid.refuse_tokens(5);
    let refused = one(&target, event("2")).await;
    assert!(
        matches!(refused, Outcome::Retry { scope: Scope::Target, not_before: Some(wait), .. } if wait >= Duration::from_secs(60))
    );
    assert!(!note(&refused).contains("token-"), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_secret_waits_and_is_told_without_it() {
    let grid = Grid::start(Play::default()).await;
    let wrong = Auth::Key(Secret::new("d3Jvbmcga2V5"));
    let wrong_key = target(topic(&grid, Schema::CloudEvents), wrong);
    let outcome = one(&wrong_key, event("1")).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, not_before: Some(_), .. }), "{outcome:?}");
    assert!(note(&outcome).contains("***") && !note(&outcome).contains("d3Jvbmcga2V5"), "{outcome:?}");
    let reason = wrong_key.check().await.unwrap_err().to_string();
    assert!(reason.contains("compare the key") && !reason.contains("d3Jvbmcga2V5"), "{reason}");
    let wrong_client = target(topic(&grid, Schema::CloudEvents), entra(&grid, client("hunter2/+=")));
    let outcome = one(&wrong_client, event("1")).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
    assert!(note(&outcome).contains("invalid_client") && !note(&outcome).contains("hunter2"), "{outcome:?}");
    assert!(wrong_client.check().await.is_err());
    let elsewhere = To::Namespace { endpoint: grid.url(""), topic: "tea".into(), mode: Mode::Batch };
    grid.script(&[(404, "")]);
    let reason = target(elsewhere, key()).check().await.unwrap_err().to_string();
    assert!(reason.contains("no such topic"), "{reason}");
}

/// Goal: each status means what the page says, and `Retry-After` is heeded.
#[tokio::test]
async fn every_answer_has_its_outcome() {
    let grid = Grid::start(Play::default()).await;
    let target = target(topic(&grid, Schema::CloudEvents), key());
    let batch = [delivery(1, event("1")), delivery(2, event("2"))];
    for (status, retry_after, several, expected) in [
        (400, "", true, "refused"),
        (413, "", true, "refused"),
        (400, "", false, "refused"),
        (500, "", true, "event"),
        (503, "", true, "target"),
        (503, "7", true, "target 7"),
        (429, "9", false, "target 9"),
        (500, "9", true, "target 9"),
        (500, "9", false, "event 9"),
        (404, "", true, "target 60"),
        (307, "", false, "target 60"),
        (410, "", true, "target 60"),
        (401, "", true, "target 60"),
        (403, "120", true, "target 120"),
        (408, "", true, "event"),
    ] {
        grid.script(&[(status, retry_after)]);
        let sent = if several { &batch[..] } else { &batch[..1] };
        let outcomes = target.deliver(sent).await;
        assert_eq!(outcomes.len(), sent.len());
        for outcome in &outcomes {
            let found = match outcome {
                Outcome::Refused { .. } => "refused".to_owned(),
                Outcome::Retry { scope, not_before, .. } => {
                    let scope = if *scope == Scope::Target { "target" } else { "event" };
                    not_before.map_or(scope.to_owned(), |wait| format!("{scope} {}", wait.as_secs()))
                }
                other => format!("{other:?}"),
            };
            assert_eq!((found.as_str(), outcome.facts().status), (expected, Some(status)), "{status} {retry_after}");
            assert!(note(outcome).contains("scripted") && !note(outcome).contains(KEY), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_list_that_is_too_large_is_left_to_the_path_to_halve() {
    let grid = Grid::start(Play::default()).await;
    let config = EventGridConfig {
        batch: Batch { count_max: 10, bytes_max: 1 << 20, delay_max: Duration::ZERO },
        request_bytes_max: 400,
        ..EventGridConfig::new(name(), topic(&grid, Schema::CloudEvents), key())
    };
    let target = EventGridTarget::new(config, Client::new().unwrap()).unwrap();
    let batch: Vec<_> = (1..=4).map(|n| delivery(n, event("1"))).collect();
    let outcomes = target.deliver(&batch).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Refused { .. })), "{outcomes:?}");
    assert!(note(&outcomes[0]).contains("at most 400"), "{outcomes:?}");
    assert!(grid.taken().is_empty(), "it is not sent");
    // One alone is the service's to judge.
    let large = event("1").rebuild().data(Form::Json, format!("\"{}\"", "x".repeat(500))).build().unwrap();
    assert!(delivered(&one(&target, large).await));
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_its_own_fault() {
    let grid = Grid::start(Play::default()).await;
    let url = grid.url("");
    drop(grid);
    let to = To::Topic { endpoint: url, schema: Schema::CloudEvents, topic: None, channel: None };
    let outcome = one(&target(to, key()), event("1")).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_function_is_shown_its_key_or_a_token() {
    let grid = Grid::start(Play::default()).await;
    // The played topic stands for the function: it looks at what is shown, and answers.
    let http = || HttpTargetConfig::new(name(), grid.url("/api/events?api-version=2018-01-01"));
    let call = async |auth| {
        let target = function(FunctionConfig { http: http(), auth }, Client::new().unwrap()).unwrap();
        one(&target, event("1")).await
    };
    let outcome = call(Some(Auth::Key(Secret::new("function-key")))).await;
    assert_eq!(outcome.facts().status, Some(401));
    // A token opens; that the topic then misses a list is another matter.
    let outcome = call(Some(entra(&grid, client(CLIENT.1)))).await;
    assert_eq!((outcome.facts().status, grid.tokens()), (Some(400), 1));
    let config = FunctionConfig { http: http(), auth: Some(Auth::Sas { key: Secret::new(KEY), life: SAS_LIFE }) };
    assert!(function(config, Client::new().unwrap()).is_err());
    let mut headers = BTreeMap::new();
    headers.insert("x-functions-key".to_owned(), Secret::new("a"));
    let config = FunctionConfig { http: HttpTargetConfig { headers, ..http() }, auth: None };
    assert!(function(config, Client::new().unwrap()).is_ok());
}

#[tokio::test]
async fn what_cannot_be_a_topic_is_refused_with_what_to_do() {
    let refused = |to: To| match EventGridTarget::new(EventGridConfig::new(name(), to, key()), Client::new().unwrap()) {
        Ok(_) => "taken".to_owned(),
        Err(e) => e.to_string(),
    };
    let custom = |endpoint: &str| {
        refused(To::Topic { endpoint: endpoint.into(), schema: Schema::CloudEvents, topic: None, channel: None })
    };
    assert_eq!(custom("https://t.westeurope-1.eventgrid.azure.net"), "taken");
    assert_eq!(custom("https://t.westeurope-1.eventgrid.azure.net/api/events"), "taken");
    assert!(custom("t.westeurope-1.eventgrid.azure.net").contains("begins with http"));
    assert!(custom("https://t.eventgrid.azure.net/api/events?aeg-sas-key=k").contains("no query"));
    assert!(custom("http://169.254.169.254/").contains("metadata"));
    let space = |endpoint: &str, topic: &str| {
        refused(To::Namespace { endpoint: endpoint.into(), topic: topic.into(), mode: Mode::Batch })
    };
    assert!(space("https://n.eventgrid.azure.net/topics/x", "coffee").contains("no path"));
    assert!(space("https://n.eventgrid.azure.net", "a/b").contains("no name of a topic"));
}
