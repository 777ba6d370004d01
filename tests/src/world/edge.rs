//! How the router stands on the network: plain on this machine, or over TLS with keys, as elsewhere.

use std::path::PathBuf;

use router_http::{Key, KeySpec, Secret, TlsFiles};

/// The key that publishers show where one is asked for.
pub const KEY: &str = "key-of-the-path-suite";

/// One of the two forms in which the path suite runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// HTTP without keys.
    Plain,
    /// HTTPS, and a key whose rights are just enough.
    Keyed,
}

/// A certificate for 127.0.0.1 and its authority, which ended with its making: those of router-http's tests.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../router/http/tests/tls")).join(name)
}

impl Edge {
    /// The scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Edge::Plain => "http",
            Edge::Keyed => "https",
        }
    }

    /// The listener's side.
    pub(super) fn edge(self) -> router_http::Edge {
        let tls = TlsFiles { cert: file("cert.pem"), key: file("key.pem"), client_ca: None };
        router_http::Edge { tls: (self == Edge::Keyed).then_some(tls), ..router_http::Edge::default() }
    }

    /// The keys that are asked for: one that may do nothing here, and the publishers'.
    pub(super) fn keys(self, bus: &router_core::id::BusName) -> Vec<std::sync::Arc<Key>> {
        if self == Edge::Plain {
            return Vec::new();
        }
        let other = KeySpec { types: vec!["no.such.type".into()], ..KeySpec::new("other", Secret::new("other")) };
        let own = KeySpec { buses: vec![bus.clone()], ..KeySpec::new("publisher", Secret::new(KEY)) };
        [other, own].map(|spec| Key::new(spec).expect("a key")).into()
    }
}
