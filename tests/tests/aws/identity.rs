//! Who the router is to AWS where nothing is written out: a web identity, as in a cluster of Kubernetes, and a container's
//! role, as in ECS; and a role that is assumed. moto is the Security Token Service, which gives credentials of its own
//! making; the endpoint of a container is played. What the bus is asked with afterwards must be what was given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use router_tests::world::{client::Client, process::Place};
use serde_json::{Value, json};

use super::{
    peers::{Fed, Kind, Peer},
    proxy::{Exchange, Fault, Proxy},
    publish::event,
};

const ROLE: &str = "arn:aws:iam::123456789012:role/router";
/// What nobody but AWS off this machine would answer is not asked.
const OFF_AWS: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

/// Publishes one event to that bus by a router in that environment, and what went through the proxy.
async fn published(
    peer: &Peer,
    Fed { bus, queue_url }: &Fed,
    proxy: &Proxy,
    variables: &[(&str, &str)],
    credentials: Value,
) -> Vec<Exchange> {
    let place = Place::new();
    let target = json!({"bus": bus, "region": "us-east-1", "endpoint": proxy.url, "credentials": credentials});
    let more = json!({
        "targets": {"aws": {"eventbridge": target}},
        "routes": {"out": {"to": "aws", "retry": {"delay_min": "20ms", "delay_max": "200ms"}}},
    });
    let router = place.start_in("AWS_", variables, &[], &more).await;
    let client = Client::new(Duration::from_secs(30));
    for id in ["1", "2"] {
        let headers = [(http::header::CONTENT_TYPE, schemas::json::MEDIA_TYPE.parse().unwrap())].into_iter().collect();
        let body = schemas::json::encode(&event(id)).into();
        let answer = client.send(http::Method::POST, &place.url(), headers, body).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        let message = peer.take(queue_url, 1).await.remove(0);
        assert_eq!(message["detail"]["id"], json!(id), "{}", place.logged());
    }
    assert!(router.terminate().await.success());
    proxy.exchanges()
}

/// What stands between two tags of an answer of the query protocol.
fn between<'a>(text: &'a str, tag: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("no {tag} in {text}"));
    rest.split_once("</").unwrap().0
}

/// The one exchange with the Security Token Service, and those with the bus, which all have what it gave.
fn asked_once(exchanges: &[Exchange], action: &str) -> Exchange {
    let asks = |exchange: &&Exchange| exchange.body.contains(&format!("Action={action}&"));
    let given: Vec<&Exchange> = exchanges.iter().filter(asks).collect();
    assert_eq!(given.len(), 1, "credentials are had once: {exchanges:#?}");
    let (key, token) = (between(&given[0].answer, "AccessKeyId"), between(&given[0].answer, "SessionToken"));
    let published: Vec<&Exchange> = exchanges.iter().filter(|exchange| exchange.body.contains("Entries")).collect();
    assert!(published.len() >= 2, "{exchanges:#?}");
    for exchange in published {
        assert_eq!((exchange.access_key(), exchange.headers["x-amz-security-token"].to_str().unwrap()), (key, token));
    }
    given[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_identity_becomes_the_role_that_publishes() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let fed = peer.fed("identity", json!({"source": ["/shops/7"]})).await;
    let proxy = Proxy::with(&peer.url, []).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "token-of-the-cluster").unwrap();
    let variables = [
        OFF_AWS,
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ROLE_SESSION_NAME", "pod-7"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_STS", proxy.url.as_str()),
    ];
    let exchanges = published(&peer, &fed, &proxy, &variables, json!({})).await;
    let asked = asked_once(&exchanges, "AssumeRoleWithWebIdentity");
    assert!(asked.body.contains("WebIdentityToken=token-of-the-cluster"), "{asked:?}");
    assert!(asked.body.contains("role%2Frouter") && asked.body.contains("RoleSessionName=pod-7"), "{asked:?}");
    assert_eq!(asked.access_key(), "", "the token is who it is: nothing is signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_with_the_keys_that_are_written_out() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let fed = peer.fed("assumed", json!({"source": ["/shops/7"]})).await;
    let proxy = Proxy::with(&peer.url, []).await;
    let credentials = json!({"access_key_id": "test", "secret_access_key": "test", "role_arn": ROLE,
        "external_id": "shop-7", "session_name": "router-1"});
    let variables = [OFF_AWS, ("AWS_ENDPOINT_URL_STS", proxy.url.as_str())];
    let exchanges = published(&peer, &fed, &proxy, &variables, credentials).await;
    let asked = asked_once(&exchanges, "AssumeRole");
    assert!(asked.body.contains("ExternalId=shop-7") && asked.body.contains("RoleSessionName=router-1"), "{asked:?}");
    assert_eq!(asked.access_key(), "test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containers_credentials_are_renewed_before_they_expire() {
    let Some(peer) = Peer::start(Kind::Moto).await else { return };
    let fed = peer.fed("container", json!({"source": ["/shops/7"]})).await;
    let proxy = Proxy::with(&peer.url, []).await;
    // They end at once: the next call needs others.
    let mut nth = 0;
    let give = move |_: &str| {
        nth += 1;
        let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(2);
        let ends = router_core::clock::Timestamp(u64::try_from(ends.as_micros()).unwrap()).rfc3339();
        let given = json!({"AccessKeyId": format!("ASIACONTAINER{nth}"), "SecretAccessKey": "s", "Token": format!("t{nth}"),
            "Expiration": ends});
        Some(Fault::Answer(200, given))
    };
    let endpoint = Proxy::start("http://127.0.0.1:1", Box::new(give)).await;
    let uri = format!("{}/credentials", endpoint.url);
    let variables = [
        OFF_AWS,
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me-in"),
    ];
    let exchanges = published(&peer, &fed, &proxy, &variables, json!({})).await;
    let asked = endpoint.exchanges();
    assert!(asked.iter().all(|exchange| exchange.headers["authorization"] == "let-me-in"), "{asked:#?}");
    let keys: Vec<&str> = exchanges.iter().map(Exchange::access_key).collect();
    assert!(keys.len() >= 2 && keys.iter().all(|key| key.starts_with("ASIACONTAINER")), "{keys:?}");
    assert_ne!(keys.first(), keys.last(), "the second event goes with later credentials");
}
