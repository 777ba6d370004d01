//! A target behind TLS. The certificates under `tests/tls` are for 127.0.0.1 alone, were made with
//! `openssl`, end in a hundred years, and their authority's key was thrown away.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::Arc,
    thread,
};

use router_core::target::{Outcome, Scope, Target};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::target::{config, deliver, target};

const URL: &str = "ROUTER_HTTP_TEST_TLS_URL";

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// A server that answers 204 to one request of each connection; its URL.
fn server() -> String {
    let certs = vec![CertificateDer::from_pem_file(file("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certs, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut seen = Vec::new();
            let mut byte = [0];
            // A client that does not trust the certificate, or only checks, sends no request.
            while !seen.ends_with(b"\r\n\r\n") && tls.read_exact(&mut byte).is_ok() {
                seen.push(byte[0]);
            }
            if seen.starts_with(b"POST / HTTP/1.1\r\n") {
                tls.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            }
        }
    });
    url
}

/// Goal: the machine's own roots are what is trusted. They are read from where `SSL_CERT_FILE` points,
/// so that this test runs itself once more, as a process that trusts the test's authority.
#[tokio::test]
async fn https_target_is_trusted_by_the_roots_of_the_machine() {
    if let Ok(url) = std::env::var(URL) {
        let target = target(config(url));
        target.check().await.unwrap();
        let outcome = deliver(&target).await;
        assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
        return;
    }
    let url = server();
    let name = "suite::tls::https_target_is_trusted_by_the_roots_of_the_machine";
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(URL, &url)
        .env("SSL_CERT_FILE", file("ca.pem"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(trusting.status.success() && said.contains("1 passed"), "{said}");
    let outcome = deliver(&target(config(url))).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
    assert!(outcome.facts().note.as_deref().unwrap_or_default().contains("certificate"), "{outcome:?}");
}
