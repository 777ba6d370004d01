//! What clients publish: keys, signatures, both schemas, and the errors that they read.

use std::time::{Duration, SystemTime};

use router_azure::{
    auth::sas::Signer,
    source::{Publish, PublishConfig},
};
use router_core::source::{Kind, Rejection};
use router_http::Secret;
use schemas::{Code, Place};
use serde_json::json;

use super::{grid::KEY, world::*};

const EVENT_GRID: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json; charset=utf-8");
const CUSTOM: &str = "/api/events?api-version=2018-01-01";
const NAMESPACE: &str = "/topics/coffee:publish?api-version=2024-06-01";

async fn publish(fake: Fake) -> Served {
    let config =
        PublishConfig { keys: keys(&["other", KEY]), topics: vec!["coffee".into()], ..PublishConfig::new(az()) };
    serve(Publish::new(config).unwrap(), fake).await
}

fn own() -> String {
    json!([{"id": "1", "subject": "s", "eventType": "t", "eventTime": "2026-01-02T03:04:05Z", "data": [1], "dataVersion": "1"}])
        .to_string()
}

fn cloud() -> String {
    json!([{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}]).to_string()
}

#[tokio::test]
async fn both_paths_take_what_the_clients_send() {
    let served = publish(Fake::new()).await;
    let key = ("aeg-sas-key", KEY);
    let answer = served.post(CUSTOM, &[EVENT_GRID, key], own()).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, &b""[..]));
    assert_eq!(served.post(CUSTOM, &[BATCH, key], cloud()).await.status.as_u16(), 200);
    let shared = format!("SharedAccessKey {KEY}");
    let answer = served.post(NAMESPACE, &[BATCH, ("authorization", &shared)], cloud()).await;
    assert_eq!((answer.status.as_u16(), json(&answer)), (200, json!({})));
    let one = [("content-type", "application/cloudevents+json; charset=utf-8"), ("authorization", &*shared)];
    assert_eq!(served.post(NAMESPACE, &one, cloud().trim_matches(['[', ']']).to_owned()).await.status.as_u16(), 200);
    let events = served.fake.events();
    assert_eq!(events.iter().map(|e| e.source()).collect::<Vec<_>>(), ["/eventgrid/az", "/s", "/s", "/s"]);
    let answer = served.post(NAMESPACE, &[EVENT_GRID, ("authorization", &shared)], own()).await;
    assert_eq!(
        (answer.status.as_u16(), json(&answer)["error"]["details"][0]["code"].clone()),
        (400, json!("event-schema"))
    );
}

#[tokio::test]
async fn only_who_shows_a_key_or_what_it_signed_may_publish() {
    let served = publish(Fake::new()).await;
    let signer = Signer::new(&Secret::new(KEY), "https://coffee.westeurope-1.eventgrid.azure.net/api/events").unwrap();
    let now = SystemTime::now();
    let good = signer.sign(now + Duration::from_secs(60));
    let ended = signer.sign(now - Duration::from_secs(1));
    let shared = format!("SharedAccessSignature {good}");
    let in_query = format!("{CUSTOM}&aeg-sas-key={KEY}");
    for (path, header, status) in [
        (CUSTOM, ("aeg-sas-key", KEY), 200),
        (CUSTOM, ("aeg-sas-key", "other"), 200),
        (CUSTOM, ("aeg-sas-key", "wrong"), 401),
        (CUSTOM, ("x-none", ""), 401),
        (CUSTOM, ("aeg-sas-token", &good), 200),
        (CUSTOM, ("authorization", &shared), 200),
        (CUSTOM, ("aeg-sas-token", &ended), 401),
        (NAMESPACE, ("aeg-sas-token", &good), 401),
        (CUSTOM, ("authorization", "Bearer x.y.z"), 401),
        (CUSTOM, ("authorization", "SharedAccessKey"), 401),
        (&in_query, ("x-none", ""), 200),
    ] {
        let answer = served.post(path, &[BATCH, header], cloud()).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {header:?}: {answer:?}");
        if status == 401 {
            assert_eq!(json(&answer)["error"]["code"], "Unauthorized");
            assert!(!String::from_utf8_lossy(&answer.body).contains(KEY));
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_told_as_azure_tells_it() {
    let key = ("aeg-sas-key", KEY);
    let served = publish(Fake::new()).await;
    for (body, status) in [("[", 400), (r#"[{"specversion":"1.0","id":"1"}]"#, 400), ("{}", 400)] {
        let answer = served.post(CUSTOM, &[BATCH, key], body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert!(json(&answer)["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    let busy = Fake::script(|_, _| {
        let kind = Kind::Busy { retry_after: Duration::from_secs(3) };
        Err(Rejection { code: Code::new("intake-full"), place: Place::Event, message: "full".into(), kind })
    });
    let served = publish(busy).await;
    let answer = served.post(CUSTOM, &[BATCH, key], cloud()).await;
    assert_eq!((answer.status.as_u16(), answer.headers["retry-after"].as_bytes()), (503, &b"3"[..]));
    let served = publish(Fake { closed: true, ..Fake::new() }).await;
    assert_eq!(served.post(CUSTOM, &[BATCH, key], cloud()).await.status.as_u16(), 503);
}
