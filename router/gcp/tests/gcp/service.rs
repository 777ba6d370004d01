//! A service of Cloud Run that asks who calls, and who gives identity tokens, both played.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId, TargetName},
    target::{Delivery, Outcome, Scope, Target},
};
use router_gcp::{
    Accounts, Credentials, Settings,
    target::{CloudRunConfig, cloud_run},
};
use router_http::{HttpTarget, HttpTargetConfig, client::Client};
use schemas::Event;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What both were asked, and what they answer.
#[derive(Default)]
struct Play {
    /// Tokens that were given.
    given: usize,
    /// What callers showed.
    shown: Vec<String>,
    /// Whether nobody is let in.
    closed: bool,
    /// Whether no token is given.
    silent: bool,
}

fn id_token(n: usize) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(json!({"exp": now + 3600, "n": n})))
}

async fn serve(play: Arc<Mutex<Play>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let header = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(':'));
                lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).next()
            };
            let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).await.unwrap();
            let (status, answer) = {
                let mut play = play.lock().unwrap();
                if head.contains(" /token ") && play.silent {
                    (400, json!({"error": "invalid_grant"}).to_string())
                } else if head.contains(" /token ") {
                    play.given += 1;
                    let token = id_token(play.given);
                    let answer =
                        json!({"access_token": "a", "id_token": token, "token_type": "Bearer", "expires_in": 3600});
                    (200, answer.to_string())
                } else {
                    play.shown.push(header("authorization").unwrap_or_default());
                    (if play.closed { 403 } else { 204 }, String::new())
                }
            };
            let length = answer.len();
            let kind = "content-type: application/json\r\nconnection: close";
            let text = format!("HTTP/1.1 {status} x\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{answer}");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    url
}

/// The target, known by a file of credentials whose tokens come from there.
fn target(url: &str, folder: &tempfile::TempDir) -> HttpTarget {
    let path = folder.path().join("google.json");
    let file = json!({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "token_uri": format!("{url}/token")});
    std::fs::File::create(&path).unwrap().write_all(file.to_string().as_bytes()).unwrap();
    let http = HttpTargetConfig::new(TargetName::new("price").unwrap(), format!("{url}/price"));
    let settings = Settings { credentials: Credentials::File(path), ..Settings::default() };
    let client = Client::with(&http.client()).unwrap();
    cloud_run(CloudRunConfig { http, audience: None, settings }, client, &Accounts::default()).unwrap()
}

fn delivery() -> Delivery {
    let lane = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
    let id = DeliveryId { epoch: Epoch(1), lane, offset: Offset(1) };
    let (route, event) = (RouteName::new("r").unwrap(), Event::builder("1", "s", "t").build().unwrap());
    Delivery { id, attempt: 1, route, appended: Timestamp(0), event, reply: None }
}

async fn deliver(target: &HttpTarget) -> Outcome {
    target.deliver(&[delivery()]).await.pop().unwrap()
}

#[tokio::test]
async fn a_service_is_shown_an_identity_token_that_is_kept() {
    let (play, folder) = (Arc::new(Mutex::new(Play::default())), tempfile::tempdir().unwrap());
    let target = target(&serve(play.clone()).await, &folder);
    for _ in 0..3 {
        assert!(matches!(deliver(&target).await, Outcome::Delivered { .. }));
    }
    let play = play.lock().unwrap();
    assert_eq!((play.given, &play.shown[..]), (1, &[(); 3].map(|()| format!("Bearer {}", id_token(1)))[..]));
}

#[tokio::test]
async fn a_service_that_lets_nobody_in_waits_for_who_can_mend_it() {
    let play = Arc::new(Mutex::new(Play { closed: true, ..Play::default() }));
    let folder = tempfile::tempdir().unwrap();
    let target = target(&serve(play.clone()).await, &folder);
    let outcome = deliver(&target).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, not_before: Some(_), .. }), "{outcome:?}");
    assert_eq!(outcome.facts().status, Some(403));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_secret_is_not_told() {
    let play = Arc::new(Mutex::new(Play { silent: true, ..Play::default() }));
    let folder = tempfile::tempdir().unwrap();
    let target = target(&serve(play.clone()).await, &folder);
    let outcome = deliver(&target).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
    let note = outcome.facts().note.as_deref().unwrap_or_default();
    assert!(note.starts_with("no token: "), "{note}");
    assert!(play.lock().unwrap().shown.is_empty());
}
