//! What a target can do beyond one plain POST: batches, tokens, signatures, its own authority and
//! certificate, HTTP/2, and the addresses that it does not connect to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::Engine;
use router_core::{
    id::Offset,
    target::{Delivery, Outcome, Partial, Scope, Target},
};
use router_http::{
    HttpTarget, HttpTargetConfig, Limits, Secret, TlsFiles,
    address::Private,
    client::{self, Clients},
    target::{Auth, Batch, ClientAuth, Mode, OAuth},
};
use schemas::Event;
use tokio::net::{TcpListener, TcpStream};

use super::{
    edge::file,
    target::{config, deliver, delivery, event, note, target},
    world::*,
};

/// Deliveries with the ids and offsets 1 to `count`.
fn several(count: u64) -> Vec<Delivery> {
    let one = |n: u64| {
        let mut one = delivery(Event::builder(&n.to_string(), "/shop/7", "t").attr("ext", "é\"").build().unwrap());
        one.id.offset = Offset(n);
        one
    };
    (1..=count).map(one).collect()
}

fn batched(url: String) -> HttpTarget {
    target(HttpTargetConfig { mode: Mode::Batch(Batch::default()), ..config(url) })
}

#[tokio::test]
async fn batch_is_what_the_listener_reads_as_one() {
    let served = served(Fake::new()).await;
    let target = batched(format!("http://{}/events", served.addr));
    assert_eq!((target.limits().count_max, target.limits().partial), (100, Partial::AllOrNothing));
    let sent = several(64);
    let outcomes = target.deliver(&sent).await;
    assert_eq!(outcomes.len(), 64);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
    let read: Vec<_> = served.fake.events().iter().map(content).collect();
    assert_eq!(read, sent.iter().map(|d| content(&d.event)).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_a_batch_of_one_has_the_id_of_a_delivery() {
    let sink = Sink::new(&[&status(200, "", "")]).await;
    let target = batched(format!("http://{}/", sink.addr));
    target.deliver(&several(2)).await;
    target.deliver(&several(1)).await;
    let seen = sink.seen();
    for (head, _) in &seen {
        assert_eq!(header(head, "content-type"), Some("application/cloudevents-batch+json"));
        assert_eq!(header(head, "gocoffee-route"), Some("new-orders"));
    }
    let of = |name| seen.iter().map(|(head, _)| header(head, name)).collect::<Vec<_>>();
    assert_eq!(of("idempotency-key"), [None, Some("0000000000c0ffee-0-1-2-0")]);
    assert_eq!(of("gocoffee-attempt"), [None, Some("3")]);
    assert!(seen[1].1.starts_with(b"[{") && seen[1].1.ends_with(b"}]"));
}

#[tokio::test]
async fn answer_to_a_batch_is_for_all_of_it() {
    let slow = "retry-after: 7\r\n";
    for (code, headers, scope) in [
        (500, "", Some(Scope::Event)),
        (500, slow, Some(Scope::Target)),
        (404, "", Some(Scope::Target)),
        (503, "", Some(Scope::Target)),
        (422, "", None),
    ] {
        let sink = Sink::new(&[&status(code, headers, "")]).await;
        for outcome in batched(format!("http://{}/", sink.addr)).deliver(&several(3)).await {
            let told = match outcome {
                Outcome::Retry { scope, .. } => Some(scope),
                Outcome::Refused { .. } => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(told, scope, "{code} {headers}");
        }
        assert_eq!(sink.seen().len(), 1);
    }
}

#[tokio::test]
async fn operators_statuses_go_before_the_table() {
    let sink = Sink::new(&[&status(409, "", ""), &status(422, "", "no"), &status(200, "", "")]).await;
    let mut config = config(format!("http://{}/", sink.addr));
    config.statuses.set("409", "delivered").unwrap();
    config.statuses.set("4xx", "wait").unwrap();
    let target = target(config);
    assert!(matches!(deliver(&target).await, Outcome::Delivered { .. }));
    assert!(matches!(deliver(&target).await, Outcome::Retry { scope: Scope::Target, .. }));
    assert!(matches!(deliver(&target).await, Outcome::Delivered { .. }));
}

// ------------------------------------------------------------------------------ tokens

fn token(text: &str, seconds: u64) -> String {
    status(200, "", &format!(r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":{seconds}}}"#))
}

fn oauth(server: SocketAddr) -> OAuth {
    OAuth {
        token_url: format!("http://{server}/token"),
        client_id: "router one".into(),
        client_secret: Secret::new("hunter/2"),
        scope: Some("orders:write events".into()),
        audience: None,
        client_auth: ClientAuth::Basic,
    }
}

fn with_token(sink: &Sink, oauth: OAuth) -> HttpTarget {
    target(HttpTargetConfig { auth: Auth::OAuth(oauth), ..config(format!("http://{}/", sink.addr)) })
}

fn shown(sink: &Sink) -> Vec<String> {
    sink.seen().iter().map(|(head, _)| header(head, "authorization").unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn token_is_had_once_and_shown_to_the_target() {
    let (server, sink) = (Sink::new(&[&token("t0ken", 3600)]).await, Sink::new(&[&status(204, "", "")]).await);
    let target = with_token(&sink, oauth(server.addr));
    let both = tokio::join!(deliver(&target), deliver(&target), deliver(&target));
    assert!(matches!(both, (Outcome::Delivered { .. }, Outcome::Delivered { .. }, Outcome::Delivered { .. })));
    assert_eq!(shown(&sink), ["Bearer t0ken"; 3]);
    let (head, body) = server.seen().remove(0);
    assert_eq!(server.seen().len(), 1, "one request for all who wait");
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "content-type"), Some("application/x-www-form-urlencoded"));
    let basic = base64::engine::general_purpose::STANDARD.encode("router+one:hunter%2F2");
    assert_eq!(header(&head, "authorization"), Some(format!("Basic {basic}").as_str()));
    assert_eq!(String::from_utf8(body).unwrap(), "grant_type=client_credentials&scope=orders%3Awrite+events");
    target.check().await.unwrap();
}

#[tokio::test]
async fn client_may_name_itself_in_the_body() {
    let (server, sink) = (Sink::new(&[&token("t", 60)]).await, Sink::new(&[&status(204, "", "")]).await);
    let audience = Some("https://orders".to_owned());
    deliver(&with_token(&sink, OAuth { client_auth: ClientAuth::Post, scope: None, audience, ..oauth(server.addr) }))
        .await;
    let (head, body) = server.seen().remove(0);
    assert_eq!(header(&head, "authorization"), None);
    let expected =
        "grant_type=client_credentials&audience=https%3A%2F%2Forders&client_id=router+one&client_secret=hunter%2F2";
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[tokio::test]
async fn token_is_renewed_before_it_ends() {
    let server = Sink::new(&[&token("first", 1), &token("second", 3600)]).await;
    let sink = Sink::new(&[&status(204, "", "")]).await;
    let target = with_token(&sink, oauth(server.addr));
    deliver(&target).await;
    // At half its life.
    tokio::time::sleep(Duration::from_millis(600)).await;
    deliver(&target).await;
    assert_eq!(shown(&sink), ["Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn token_that_the_target_rejects_is_dropped_once() {
    let server = Sink::new(&[&token("old", 3600), &token("new", 3600), &token("newer", 3600)]).await;
    let sink = Sink::new(&[&status(401, "", "expired"), &status(204, "", ""), &status(401, "", "no new")]).await;
    let target = with_token(&sink, oauth(server.addr));
    assert!(matches!(deliver(&target).await, Outcome::Delivered { .. }), "a new token within the attempt");
    assert_eq!(shown(&sink), ["Bearer old", "Bearer new"]);
    let outcome = deliver(&target).await;
    let slow = Some(Duration::from_secs(60));
    assert!(
        matches!(&outcome, Outcome::Retry { scope: Scope::Target, not_before, .. } if *not_before == slow),
        "{outcome:?}"
    );
    assert_eq!(note(&outcome), "no ***", "a token that is echoed is masked");
    assert_eq!(server.seen().len(), 2, "the token server is not asked for each 401");
}

#[tokio::test]
async fn failing_token_server_is_the_targets_fault_and_tells_no_secret() {
    let sink = Sink::new(&[&status(204, "", "")]).await;
    let said = r#"{"error":"invalid_client","error_description":"hunter/2 of cm91dGVyK29uZTpodW50ZXIlMkYy"}"#;
    for (answer, part, seconds) in [
        (status(401, "", said), "answered 401", Some(60)),
        (status(503, "retry-after: 9\r\n", "busy"), "answered 503: busy", Some(9)),
        (status(200, "", r#"{"token":"hunter/2"}"#), "no JSON object with an `access_token`", Some(60)),
    ] {
        let server = Sink::new(&[&answer]).await;
        let target = with_token(&sink, oauth(server.addr));
        let outcome = deliver(&target).await;
        let wait = seconds.map(Duration::from_secs);
        assert!(
            matches!(&outcome, Outcome::Retry { scope: Scope::Target, not_before, .. } if *not_before == wait),
            "{outcome:?}"
        );
        let note = note(&outcome);
        assert!(note.contains(part) && note.contains(&server.addr.to_string()), "{note}");
        assert!(!note.contains("hunter") && !note.contains("cm91"), "{note}");
        assert!(target.check().await.is_err());
        assert_eq!(server.seen().len(), 1, "a failure is kept for a second");
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = deliver(&with_token(&sink, oauth(gone))).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, not_before: None, .. }), "{outcome:?}");
    assert!(sink.seen().is_empty(), "nothing is sent without a token");
}

// ------------------------------------------------------------------------------ signatures

/// Goal: what the receiver's side computes by the specification is what was sent.
#[tokio::test]
async fn request_is_signed_by_each_secret() {
    let sink = Sink::new(&[&status(204, "", "")]).await;
    let keys = [[7u8; 24], [9; 24]];
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let webhook_secrets = keys.iter().map(|key| Secret::new(format!("whsec_{}", encode(key)))).collect();
    let mode = Mode::Batch(Batch::default());
    let target = target(HttpTargetConfig { mode, webhook_secrets, ..config(format!("http://{}/", sink.addr)) });
    target.deliver(&[delivery(event())]).await;
    target.deliver(&several(3)).await;
    target.deliver(&several(3)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut ids = Vec::new();
    for (head, body) in sink.seen() {
        let [id, time, signature] =
            ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(&head, name).unwrap());
        assert!(now.abs_diff(time.parse().unwrap()) < 60, "{time}");
        let signed = [format!("{id}.{time}.").as_bytes(), &body].concat();
        let expected = keys.map(|key| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
            format!("v1,{}", encode(ring::hmac::sign(&key, &signed).as_ref()))
        });
        assert_eq!(signature, expected.join(" "));
        ids.push(id.to_owned());
    }
    assert_eq!(ids[0], "0000000000c0ffee-0-17-2-0");
    assert!(ids[1].starts_with("batch-") && ids[1] == ids[2], "{ids:?}");
}

// ------------------------------------------------------------------------------ TLS and connections

/// Passes bytes on to another address and counts connections.
async fn counted(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
            });
        }
    });
    (at, count)
}

fn behind_tls(client_ca: Option<&str>) -> TlsFiles {
    TlsFiles { cert: file("cert.pem"), key: file("key.pem"), client_ca: client_ca.map(file) }
}

#[tokio::test]
async fn requests_at_a_time_share_one_http_2_connection() {
    let served =
        serve_with(Limits::default(), vec![], Some(behind_tls(None)), Fake::slow(Duration::from_millis(50))).await;
    let (at, connections) = counted(served.addr).await;
    let tls = client::TlsFiles { ca: Some(file("ca.pem")), identity: None };
    let target = Arc::new(target(HttpTargetConfig { tls, ..config(format!("https://{at}/events")) }));
    let round = async || {
        let sent: Vec<_> = (0..16)
            .map(|_| {
                tokio::spawn({
                    let target = target.clone();
                    async move { deliver(&target).await }
                })
            })
            .collect();
        for one in sent {
            let outcome = one.await.unwrap();
            assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
        }
    };
    deliver(&target).await;
    round().await;
    round().await;
    assert_eq!((served.fake.events().len(), connections.load(Ordering::SeqCst)), (33, 1));
}

#[tokio::test]
async fn target_that_asks_for_a_certificate_gets_it() {
    let served = serve_with(Limits::default(), vec![], Some(behind_tls(Some("other-ca.pem"))), Fake::new()).await;
    let with = |ca: Option<&str>, identity: Option<(&str, &str)>| {
        let identity = identity.map(|(cert, key)| (file(cert), file(key)));
        let tls = client::TlsFiles { ca: ca.map(file), identity };
        target(HttpTargetConfig { tls, ..config(format!("https://{}/events", served.addr)) })
    };
    let own = Some(("client-cert.pem", "client-key.pem"));
    let outcome = deliver(&with(Some("ca.pem"), own)).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
    for (target, part) in [(with(Some("ca.pem"), None), ""), (with(None, own), "certificate")] {
        let outcome = deliver(&target).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
        assert!(note(&outcome).contains(part), "{outcome:?}");
    }
    assert_eq!(served.fake.events().len(), 1);
}

#[test]
fn tls_files_that_cannot_be_used_are_named() {
    let clients = Clients::default();
    let with = |ca: Option<&str>, identity: Option<(&str, &str)>| {
        let identity = identity.map(|(cert, key)| (file(cert), file(key)));
        let tls = client::TlsFiles { ca: ca.map(file), identity };
        let error = clients.get(client::Settings { tls, ..client::Settings::default() }).err();
        error.map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(with(Some("absent.pem"), None).contains("absent.pem"));
    assert!(with(Some("key.pem"), None).contains("no certificate"));
    assert!(with(None, Some(("client-cert.pem", "key.pem"))).contains("client-cert.pem"));
    assert_eq!(with(Some("ca.pem"), Some(("client-cert.pem", "client-key.pem"))), "");
}

// ------------------------------------------------------------------------------ addresses

#[test]
fn address_that_is_no_target_is_refused_in_the_configuration() {
    let refusal = |url: &str, private| {
        let config = HttpTargetConfig { private, ..config(url.into()) };
        let client = client::Client::with(&config.client()).unwrap();
        HttpTarget::new(config, client).err().map(|e| e.to_string()).unwrap_or_default()
    };
    for private in [Private::Unsaid, Private::Allowed, Private::Refused] {
        for url in ["http://169.254.169.254/", "https://[fd00:ec2::254]/", "http://0.0.0.0:8080/", "http://[::]/"] {
            assert!(refusal(url, private).contains("no event is ever sent there"), "{url}");
        }
    }
    assert!(refusal("http://169.254.7.7/", Private::Unsaid).contains("allow_private: true"));
    assert_eq!(refusal("http://169.254.7.7/", Private::Allowed), "");
    assert_eq!(refusal("http://127.0.0.1:9001/", Private::Unsaid), "");
    assert!(refusal("http://10.0.0.1/", Private::Refused).contains("allow_private: false"));
    let auth =
        Auth::OAuth(OAuth { token_url: "http://169.254.169.254/token".into(), ..oauth(([127, 0, 0, 1], 1).into()) });
    let config = HttpTargetConfig { auth, ..config("http://127.0.0.1/".into()) };
    let error = HttpTarget::new(config, client::Client::new().unwrap()).err().unwrap().to_string();
    assert!(error.contains("169.254.169.254"), "{error}");
}

#[tokio::test]
async fn refused_address_is_a_target_fault_with_a_note() {
    // A spelling of 127.0.0.1 that only the system's lookup reads: a name, as far as a URL goes.
    let sink = Sink::new(&[&status(204, "", "")]).await;
    let url = format!("http://2130706433:{}/", sink.addr.port());
    let outcome = deliver(&target(config(url.clone()))).await;
    assert!(matches!(&outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
    let said = note(&outcome);
    assert!(said.contains("127.0.0.1") && said.contains("allow_private: true"), "{said}");
    assert_eq!(sink.connections(), 0);
    let allowed = HttpTargetConfig { private: Private::Allowed, ..config(url) };
    assert!(matches!(deliver(&target(allowed)).await, Outcome::Delivered { .. }));
}
