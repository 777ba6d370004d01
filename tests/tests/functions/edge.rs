//! Replies of a function's program to a router as it stands on a network: over TLS, with keys.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use router_store::memory::MemoryStore;
use router_tests::world::{
    client::Client,
    edge::{self, Edge, KEY},
    inside::Inside,
    setup::Route,
    sink::Sink,
};

use super::{
    lambda::{order, program},
    state::Running,
};

/// What a delivery may take.
const SETTLED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn replies_reach_a_router_over_tls_with_a_key() {
    let Some(program) = program() else { return };
    let (sink, store) = (Sink::start().await, Arc::new(MemoryStore::new()));
    let routes = [Route::all("seen", &sink.url("seen"))];
    let router = Inside::start_with(Edge::Keyed, store, &routes, &|target| target).await;
    let client = Client::new(Duration::from_secs(60));
    let answer = async |key: Option<&str>, authority: &str| {
        let mut command = Command::new(&program);
        command.env_clear().env("K_SERVICE", "orders").env("PORT", "0").env("OUTPUT_URL", router.url());
        command.env("SSL_CERT_FILE", edge::file(authority)).stdin(Stdio::null());
        let function = Running::of(command.envs(key.map(|key| ("OUTPUT_BEARER", key))));
        let headers: HeaderMap =
            [(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"))].into_iter().collect();
        client.send(Method::POST, &function.url, headers, order(1).to_string().into()).await.unwrap()
    };
    for (key, authority, said) in [
        (Some(KEY), "other-ca.pem", "invalid peer certificate: UnknownIssuer"),
        (None, "ca.pem", "missing-key"),
        (Some("not-this-one"), "ca.pem", "wrong-key"),
    ] {
        let refused = answer(key, authority).await;
        // Google brings it again.
        assert_eq!(refused.status, 503, "{}", refused.text());
        let text = refused.text();
        assert!(text.contains("output-failed") && text.contains(said), "{text}");
        assert!(!text.contains("not-this-one"), "{text}");
    }
    assert_eq!(sink.journal().len(), 0);
    let taken = answer(Some(KEY), "ca.pem").await;
    assert_eq!(taken.status, 204, "{}", taken.text());
    router.until("delivered", SETTLED, |_| sink.journal().len() == 3).await;
}
