//! The edge as it is configured: what `check` says of targets, keys in files, the paths of buses.

use std::{sync::Arc, time::Duration};

use gocoffee::{
    config,
    serve::{Options, Running, serve},
};
use router_http::client::Client;
use router_store::memory::MemoryStore;

use super::world::order;

/// What `check` says of one target beside its URL.
fn target(url: &str, rest: &str) -> String {
    let text = format!(
        "sources: {{ w: {{ http: {{ path: /e }} }} }}\nroutes: {{ r: {{ to: a }} }}\n\
         targets: {{ a: {{ http: {{ url: '{url}'{}{rest} }} }} }}\n",
        if rest.is_empty() { "" } else { ", " }
    );
    config::load("gocoffee.yaml", &text).report.to_text(false)
}

#[test]
fn what_a_target_cannot_be_told_is_found() {
    for (rest, says) in [
        ("batch: { count_max: 0 }", "a batch of 0 events or bytes holds nothing"),
        ("rate: { events_per_second_max: 0 }", "nothing is ever sent"),
        ("rate: { burst: 1 }", "`events_per_second_max` is missing"),
        ("retry: { statuses: { 99: retry } }", "`99` is no status"),
        ("retry: { statuses: { 5xx: ignore } }", "`ignore` is no verdict"),
        ("webhook_secrets: [whsec_short]", "written as `whsec_` and base64"),
        ("tls: { cert: /etc/hostname }", "belong together"),
        ("tls: { ca: /etc/passwd }", "holds no certificate"),
        ("allow_private: false", "allow_private: false"),
        ("oauth: { token_url: ftp://x, client_id: a, client_secret: b }", "no token can be had"),
        ("oauth: { token_url: 'http://169.254.169.254/', client_id: a, client_secret: b }", "metadata"),
        ("oauth: { token_url: 'https://x/', client_id: a, client_secret: b }, bearer: c", "keep one of them"),
        ("oauth: { token_url: 'https://x/', client_id: a, client_secret: b, client_auth: c }", "`basic` or `post`"),
    ] {
        let said = target("http://127.0.0.1:9001/", rest);
        assert!(said.starts_with("error[") && said.contains(says), "{rest}: {said}");
        assert!(!said.contains("whsec_short"), "{said}");
    }
    assert!(target("http://169.254.169.254/", "").contains("hands out a machine's metadata"));
    let all = "batch: { count_max: 10, bytes_max: 64KiB, delay_max: 50ms }, rate: { events_per_second_max: 5, burst: 1 }, \
               retry: { statuses: { 409: delivered, 5xx: wait } }, webhook_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw], \
               oauth: { token_url: 'https://x/', client_id: a, client_secret: b, scope: c, audience: d, client_auth: post }, \
               allow_private: true";
    assert_eq!(target("https://orders.example/", all), "gocoffee.yaml: ok");
}

#[test]
fn what_works_and_is_worth_a_look_is_a_warning() {
    let first = |url: &str, rest: &str| target(url, rest).lines().next().unwrap().to_owned();
    for here in ["http://127.0.0.1/", "http://[::1]:9/", "http://localhost/", "https://orders.example/"] {
        assert_eq!(first(here, ""), "gocoffee.yaml: ok", "{here}");
    }
    let said = first("http://orders.example/", "");
    assert!(said.starts_with("warning[") && said.contains("without TLS events cross the network"), "{said}");
    let said = first("http://10.0.0.7/", "bearer: s3cret");
    assert!(said.starts_with("warning[") && said.contains("without TLS events and credentials"), "{said}");
    let secrets = "webhook_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]";
    let said = first("https://orders.example/", secrets);
    assert!(said.starts_with("warning[") && said.contains("in binary mode"), "{said}");
    assert_eq!(first("https://orders.example/", &format!("{secrets}, mode: structured")), "gocoffee.yaml: ok");
    let token = "oauth: { token_url: 'http://login.example/', client_id: a, client_secret: b }";
    let said = first("https://orders.example/", token);
    assert!(said.starts_with("warning[") && said.contains("without TLS the secret of `a`"), "{said}");
    let missing = first("https://orders.example/", "tls: { ca: /no/ca.pem }");
    assert!(missing.starts_with("warning[") && missing.contains("the file `/no/ca.pem` cannot be read"), "{missing}");
}

#[test]
fn secret_under_a_mistyped_or_repeated_key_is_not_shown() {
    for rest in [
        "baerer: s3cr3t",
        "oauht: { client_secret: s3cr3t, scopes: [s3cr3t] }",
        "bearer: s3cr3t, bearer: s3cr3t",
        "bearer: [s3cr3t]",
        "header: { X-Key: s3cr3t }",
    ] {
        let said = target("http://127.0.0.1/", rest);
        assert!(said.starts_with("error[") && !said.contains("s3cr3t"), "{said}");
    }
    let said = target("http://127.0.0.1/", "baerer: '${env:TOKEN}'");
    assert!(said.contains("${env:TOKEN}") && said.contains("did you mean `bearer`?"), "{said}");
    let report = config::load("gocoffee.yaml", "targets: { a: { htpp: { bearer: s3cr3t } } }\nkyes: [s3cr3t]\n").report;
    assert_eq!(report.errors(), 2, "{}", report.to_text(false));
    assert!(!report.to_text(false).contains("s3cr3t") && !report.to_json().to_string().contains("s3cr3t"));
}

// ------------------------------------------------------------------------------ a router

async fn router(text: &str) -> (Running, tempfile::TempDir) {
    let loaded = config::load("test.yaml", &format!("listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\n{text}"));
    assert_eq!(loaded.report.errors(), 0, "{}", loaded.report.to_text(false));
    let data = tempfile::tempdir().unwrap();
    let options = Options {
        data: Some(data.path().into()),
        store: Some(Arc::new(MemoryStore::new())),
        reload_every: Some(Duration::from_millis(20)),
        ..Options::default()
    };
    (serve(loaded.config.unwrap(), options).await.unwrap(), data)
}

async fn send(running: &Running, path: &str, key: &str) -> u16 {
    let mut request = http::Request::post(format!("http://{}{path}", running.listen()))
        .header("content-type", "application/cloudevents+json");
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(order("1").into()).unwrap();
    Client::new().unwrap().send(request, Duration::from_secs(15), 1 << 16).await.unwrap().status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bus_has_a_path_for_the_shared_keys() {
    let (running, _data) = router(
        "buses: { audit: {} }\n\
         sources: { web: { http: { path: /events } }, own: { http: { path: /own, bus: audit, keys: [own] } } }\n\
         keys: [{ name: all, secret: all }, { name: one, secret: one, buses: [default] }]\n",
    )
    .await;
    for (path, key, status) in [
        ("/buses/default/events", "all", 202),
        ("/buses/audit/events", "all", 202),
        ("/buses/default/events", "one", 202),
        ("/buses/audit/events", "one", 403),
        ("/buses/audit/events", "own", 401),
        ("/buses/audit/events", "", 401),
        ("/own", "own", 202),
        ("/buses/nowhere/events", "all", 404),
    ] {
        assert_eq!(send(&running, path, key).await, status, "{path} {key}");
    }
    running.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn path_of_a_bus_opens_nothing_that_its_sources_close() {
    let (running, _data) = router(
        "buses: { audit: {}, spare: {} }\n\
         sources: { web: { http: { path: /events } }, own: { http: { path: /own, bus: audit, keys: [own] } } }\n",
    )
    .await;
    for (path, status) in
        [("/buses/default/events", 202), ("/buses/audit/events", 404), ("/buses/spare/events", 404), ("/own", 401)]
    {
        assert_eq!(send(&running, path, "").await, status, "{path}");
    }
    running.stop(Duration::from_secs(5)).await.unwrap();
}

/// Goal: who watches from another machine finds health and figures, and no way to the API.
#[tokio::test(flavor = "multi_thread")]
async fn probes_have_health_and_figures_and_nothing_else() {
    let text = "listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0, probes: 127.0.0.1:0 }\n\
                sources: { web: { http: { path: /events } } }\n";
    let options = Options { store: Some(Arc::new(MemoryStore::new())), ..Options::default() };
    let data = tempfile::tempdir().unwrap();
    let options = Options { data: Some(data.path().into()), ..options };
    let running = serve(config::load("test.yaml", text).config.unwrap(), options).await.unwrap();
    let (probes, token) = (running.probes().unwrap(), running.token().expose().to_owned());
    for (method, path, status, says) in [
        ("GET", "/healthz", 200, "ok"),
        ("GET", "/readyz", 200, "ready"),
        ("GET", "/metrics", 200, "gocoffee_build"),
        ("POST", "/metrics", 405, "method-not-allowed"),
        ("GET", "/api/status", 404, "no-such-path"),
        ("POST", "/api/dead-letters/purge", 404, "no-such-path"),
        ("GET", "/", 404, "no-such-path"),
    ] {
        let request = http::Request::builder().method(method).uri(format!("http://{probes}{path}"));
        let request = request.header("host", "gocoffee-0.example").header("authorization", format!("Bearer {token}"));
        let request = request.body("".into()).unwrap();
        let answer = Client::new().unwrap().send(request, Duration::from_secs(15), 1 << 20).await.unwrap();
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status.as_u16() == status && body.contains(says), "{method} {path}: {} {body}", answer.status);
    }
    running.stop(Duration::from_secs(5)).await.unwrap();
    for other in ["listen: 127.0.0.1:7", "listen: 127.0.0.1:9"] {
        let text = format!("{other}\nadmin: {{ listen: 127.0.0.1:9, probes: 127.0.0.1:7 }}\n");
        let same = config::load("test.yaml", &text).report.to_text(false);
        assert_eq!(same.contains("`listen` and `admin.probes` are the same"), other.ends_with('7'), "{same}");
    }
}

#[test]
fn source_on_the_path_of_a_bus_is_found() {
    let text = "sources: { w: { http: { path: /buses/default/events } } }\n";
    let said = config::load("gocoffee.yaml", text).report.to_text(false);
    assert!(said.contains("`/buses/default/events` is the path of the bus `default` itself"), "{said}");
    let text = "sources: { w: { http: { path: /buses/other/events } } }\n";
    assert_eq!(config::load("gocoffee.yaml", text).report.to_text(false), "gocoffee.yaml: ok");
}

/// Goal: a key in a file is rotated without a restart, and half a rotation changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn keys_in_files_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(file(name), text).unwrap();
    write("shared", "first\n");
    write("own", "mine");
    let (running, _data) = router(&format!(
        "keys: [{{ name: shared, secret: '${{file:{}}}' }}, {{ name: other, secret: other }}]\n\
         sources: {{ web: {{ http: {{ path: /events, keys: ['${{file:{}}}'] }} }} }}\n",
        file("shared").display(),
        file("own").display()
    ))
    .await;
    let until = async |key: &str, status: u16| {
        for _ in 0..750 {
            if send(&running, "/events", key).await == status {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never {status}");
    };
    assert_eq!(send(&running, "/events", "first").await, 202);
    write("shared", "second\n");
    until("second", 202).await;
    assert_eq!(send(&running, "/events", "first").await, 401);
    assert_eq!(send(&running, "/buses/default/events", "second").await, 202);
    // What two keys would share, and an empty file, change nothing; what is right again counts.
    write("shared", "other");
    write("own", "ours");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!([send(&running, "/events", "second").await, send(&running, "/events", "ours").await], [202, 401]);
    write("shared", "third");
    until("third", 202).await;
    assert_eq!([send(&running, "/events", "ours").await, send(&running, "/events", "mine").await], [202, 401]);
    running.stop(Duration::from_secs(5)).await.unwrap();
}
