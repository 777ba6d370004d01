//! What Event Grid delivers: handshakes, both schemas, who may deliver, and a status for whatever happens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents},
};
use router_azure::source::{Validation, Webhook, WebhookConfig};
use router_core::{
    id::Offset,
    source::{Accepted, Kind, Rejection},
};
use router_http::{
    client::{Answer, Client},
    jwt::{Claim, Rules, Verifier},
};
use schemas::{Code, Place};
use serde_json::json;

use super::{
    grid::{Grid, Play},
    world::*,
};

const EVENT_GRID: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json; charset=utf-8");
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json; charset=utf-8");
const NOTIFICATION: (&str, &str) = ("aeg-event-type", "Notification");

fn config() -> WebhookConfig {
    WebhookConfig::new(az(), "/azure")
}

async fn webhook(config: WebhookConfig, fake: Fake) -> Served {
    serve(Webhook::new(config).unwrap(), fake).await
}

fn own(id: &str) -> String {
    json!({"id": id, "topic": "/subscriptions/S/topics/coffee", "subject": "orders/7", "eventType": "order",
        "eventTime": "2026-01-02T03:04:05Z", "data": {"n": 1}, "dataVersion": "1", "metadataVersion": "1"})
    .to_string()
}

fn cloud(id: &str) -> String {
    json!({"specversion": "1.0", "id": id, "source": "/s", "type": "order", "data": {"n": 1}}).to_string()
}

fn validation() -> String {
    json!([{"id": "v", "topic": "/t", "subject": "", "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-01-02T03:04:05Z", "dataVersion": "2", "metadataVersion": "1",
        "data": {"validationCode": "512d38b6", "validationUrl": "https://evil.example/validate"}}])
    .to_string()
}

fn code(answer: &Answer) -> String {
    json(answer)["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn both_handshakes_are_answered_and_leave_no_event() {
    let served = webhook(config(), Fake::new()).await;
    let headers = [EVENT_GRID, ("aeg-event-type", "SubscriptionValidation")];
    let answer = served.post("/azure", &headers, validation()).await;
    assert_eq!((answer.status.as_u16(), json(&answer)), (200, json!({"validationResponse": "512d38b6"})));
    let without_header = served.post("/azure", &[EVENT_GRID], validation()).await;
    assert_eq!(json(&without_header), json!({"validationResponse": "512d38b6"}));
    let none = served.post("/azure", &headers, format!("[{}]", own("1"))).await;
    assert_eq!((none.status.as_u16(), code(&none)), (400, "validation-event".into()));
    let asks = [
        ("webhook-request-origin", "eventgrid.azure.net"),
        ("webhook-request-rate", "120"),
        ("webhook-request-callback", "https://evil.example/x"),
    ];
    let granted = served.send(Method::OPTIONS, "/azure", &asks, "").await;
    assert_eq!(granted.status.as_u16(), 200);
    assert_eq!(granted.headers["webhook-allowed-origin"], "eventgrid.azure.net");
    assert_eq!(granted.headers["webhook-allowed-rate"], "120");
    assert_eq!(served.send(Method::OPTIONS, "/azure", &[], "").await.status.as_u16(), 405);
    assert!(served.fake.events().is_empty());
}

#[tokio::test]
async fn a_manual_handshake_is_not_answered_and_strangers_are_not_called() {
    let manual = WebhookConfig { manual_validation: Some(Validation::new().unwrap()), ..config() };
    let served = webhook(manual, Fake::new()).await;
    let headers = [EVENT_GRID, ("aeg-event-type", "SubscriptionValidation")];
    let answer = served.post("/azure", &headers, validation()).await;
    assert_eq!((answer.status.as_u16(), code(&answer)), (400, "validation-event".into()));
    let url = "https://rp-eastus2.eventgrid.azure.net:553/eventsubscriptions/s/validate?id=1";
    let answer = served.post("/azure", &headers, validation().replace("https://evil.example/validate", url)).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, &b""[..]));
    let asks = [("webhook-request-origin", "eventgrid.azure.net"), ("webhook-request-callback", "http://127.0.0.1/")];
    assert_eq!(served.send(Method::OPTIONS, "/azure", &asks, "").await.status.as_u16(), 400);
}

#[tokio::test]
async fn events_of_both_schemas_come_in_with_the_headers_as_facts() {
    let served = webhook(config(), Fake::new()).await;
    let facts = [NOTIFICATION, ("aeg-subscription-name", "ROUTER"), ("aeg-delivery-count", "2")];
    let with = |kind| [&[kind], &facts[..]].concat();
    for (headers, body, ids) in [
        (with(EVENT_GRID), format!("[{},{}]", own("1"), own("2")), vec!["1", "2"]),
        (with(EVENT_GRID), own("3"), vec!["3"]),
        (with(EVENT_GRID), "[]".into(), vec![]),
        (with(BATCH), format!("[{},{}]", cloud("4"), cloud("5")), vec!["4", "5"]),
        (with(STRUCTURED), cloud("6"), vec!["6"]),
    ] {
        let before = served.fake.events().len();
        let answer = served.post("/azure", &headers, body).await;
        assert_eq!((answer.status.as_u16(), json(&answer)), (200, json!({"accepted": ids.len()})));
        let events = served.fake.events().split_off(before);
        assert_eq!(events.iter().map(|e| e.id()).collect::<Vec<_>>(), ids);
        for event in events {
            let kept: Vec<_> = event.facts().filter(|(name, _)| name.starts_with("aeg-")).collect();
            assert_eq!(kept, facts);
            assert!(event.get("aeg-subscription-name").is_none());
        }
    }
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        NOTIFICATION,
        ("content-type", "application/json"),
    ];
    assert_eq!(served.post("/azure", &binary, "{}").await.status.as_u16(), 200);
    let deleted = [EVENT_GRID, ("aeg-event-type", "SubscriptionDeletion")];
    assert_eq!(served.post("/azure", &deleted, format!("[{}]", own("8"))).await.status.as_u16(), 200);
    assert_eq!(served.fake.events().iter().rev().map(|e| e.id().to_owned()).take(2).collect::<Vec<_>>(), ["8", "7"]);
}

/// Goal: Event Grid gives up at 400, 401, 403 and 413, so that none of them answers what another try can heal.
#[tokio::test]
async fn each_answer_makes_event_grid_do_the_right_thing() {
    fn refuse(kind: Kind) -> Fake {
        Fake::script(move |i, _| match i {
            1 => Err(Rejection { code: Code::new("word"), place: Place::Event, message: "no".into(), kind }),
            _ => Ok(Accepted::Appended(Offset(1))),
        })
    }
    let two = || format!("[{},{}]", own("1"), own("2"));
    let busy = Kind::Busy { retry_after: Duration::from_secs(7) };
    for (fake, body, status, retry_after) in [
        (refuse(busy), two(), 503, Some("7")),
        (refuse(Kind::Invalid), two(), 400, None),
        (refuse(Kind::TooLarge), two(), 413, None),
        (Fake { closed: true, ..Fake::new() }, two(), 503, Some("5")),
        (Fake { delay: Duration::from_secs(60), ..Fake::new() }, two(), 503, Some("5")),
        (Fake::new(), "[".into(), 400, None),
        (Fake::new(), format!("[{},7]", own("1")), 400, None),
    ] {
        // Only what never comes is cut short: the others may take their time on a loaded machine.
        let answer_within = if fake.delay.is_zero() { config().answer_within } else { Duration::from_millis(300) };
        let served = webhook(WebhookConfig { answer_within, ..config() }, fake).await;
        let answer = served.post("/azure", &[EVENT_GRID, NOTIFICATION], body.clone()).await;
        let asked = answer.headers.get("retry-after").map(|v| v.to_str().unwrap());
        assert_eq!((answer.status.as_u16(), asked), (status, retry_after), "{body}: {answer:?}");
    }
    // A passing reason outweighs one for good, since what is not in has to come again.
    let mixed = Fake::script(move |i, _| {
        let kind = if i == 0 { Kind::Invalid } else { busy };
        Err(Rejection { code: Code::new("word"), place: Place::Event, message: "no".into(), kind })
    });
    let served = webhook(config(), mixed).await;
    assert_eq!(served.post("/azure", &[EVENT_GRID, NOTIFICATION], two()).await.status.as_u16(), 503);
}

#[tokio::test]
async fn two_secrets_open_and_a_delivery_without_one_stays_with_event_grid() {
    let config = WebhookConfig { keys: keys(&["old-secret", "new/secret+1"]), ..config() };
    let served = webhook(config, Fake::new()).await;
    for path in ["/azure?key=old-secret", "/azure?x=1&key=new%2Fsecret%2B1"] {
        assert_eq!(served.post(path, &[STRUCTURED, NOTIFICATION], cloud("1")).await.status.as_u16(), 200, "{path}");
    }
    for path in ["/azure", "/azure?key=", "/azure?key=old-secre", "/azure?code=old-secret"] {
        let answer = served.post(path, &[STRUCTURED, NOTIFICATION], cloud("1")).await;
        assert_eq!((answer.status.as_u16(), code(&answer)), (503, "webhook-secret".into()), "{path}");
        assert_eq!(answer.headers["retry-after"], "60");
        let headers = [EVENT_GRID, ("aeg-event-type", "SubscriptionValidation")];
        assert_eq!(served.post(path, &headers, validation()).await.status.as_u16(), 401);
        let asks = [("webhook-request-origin", "eventgrid.azure.net")];
        assert_eq!(served.send(Method::OPTIONS, path, &asks, "").await.status.as_u16(), 401);
    }
    assert_eq!(served.fake.events().len(), 2);
}

const SIGNING: &[u8] = include_bytes!("../../../http/tests/jwt/signing.der");

fn token(audience: &str, appid: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"iss": "https://sts.windows.net/T/", "aud": audience, "appid": appid, "exp": now + 3600});
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(json!({"alg": "RS256", "kid": "k"}).to_string()), part(claims.to_string()));
    let key = RsaKeyPair::from_der(SIGNING).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_token_of_entra_id_opens_and_keys_that_cannot_be_had_are_no_refusal() {
    let grid = Grid::start(Play::default()).await;
    let rules = Rules {
        keys_url: grid.url("/keys"),
        issuers: vec!["https://sts.windows.net/T/".into()],
        audiences: vec!["api://router".into()],
        claims: vec![Claim { names: vec!["appid".into()], values: vec!["grid".into()] }],
    };
    let verifier = || Some(Verifier::new(rules.clone(), Client::new().unwrap()).unwrap());
    let send = async |served: &Served, token: &str, validation_event: bool| {
        let kind = if validation_event { "SubscriptionValidation" } else { "Notification" };
        let headers = [EVENT_GRID, ("aeg-event-type", kind), ("authorization", token)];
        let body = if validation_event { validation() } else { own("1") };
        let answer = served.post("/azure", &headers, body).await;
        (answer.status.as_u16(), json(&answer)["code"].as_str().unwrap_or_default().to_owned())
    };
    let served = webhook(WebhookConfig { tokens: verifier(), ..config() }, Fake::new()).await;
    let good = token("api://router", "grid");
    let unreachable = (503, "keys-unreachable".to_owned());
    assert_eq!(send(&served, &good, false).await, unreachable);
    assert_eq!(send(&served, &good, true).await, unreachable);
    let key = RsaKeyPair::from_der(SIGNING).unwrap();
    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    let (n, e) = (URL_SAFE_NO_PAD.encode(parts.n), URL_SAFE_NO_PAD.encode(parts.e));
    grid.publish_keys(json!({"keys": [{"kty": "RSA", "kid": "k", "n": n, "e": e}]}).to_string());
    let served = webhook(WebhookConfig { tokens: verifier(), ..config() }, Fake::new()).await;
    assert_eq!(send(&served, &good, false).await, (200, String::new()));
    assert_eq!(send(&served, &good, true).await, (200, String::new()));
    let stranger = token("api://router", "stranger");
    assert_eq!(send(&served, &stranger, false).await, (503, "webhook-token".into()));
    assert_eq!(send(&served, &stranger, true).await, (401, "webhook-token".into()));
    assert_eq!(send(&served, "Bearer x", false).await, (503, "webhook-token".into()));
}
