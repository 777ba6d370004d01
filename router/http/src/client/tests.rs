//! Goal: the address that a connection is made to is the one that was judged, each time anew.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::net::TcpListener;

use super::*;

/// A client for which every name is at the next of these addresses.
fn at(private: Private, addresses: Vec<&'static str>, asked: Arc<AtomicUsize>) -> Client {
    let lookup = move |_: &str| -> io::Result<Vec<SocketAddr>> {
        let at = asked.fetch_add(1, Ordering::SeqCst).min(addresses.len() - 1);
        Ok(vec![SocketAddr::new(addresses[at].parse().unwrap(), 0)])
    };
    let settings = Settings { private: Some(private), ..Settings::default() };
    Client::resolving(&settings, Resolver::with(settings.private, lookup)).unwrap()
}

#[tokio::test]
async fn name_that_changes_its_address_is_judged_at_every_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: Uri = format!("http://hook.example:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let client = at(Private::Allowed, vec!["127.0.0.1", "169.254.169.254"], asked.clone());
    client.connect(&uri).await.unwrap();
    let error = client.connect(&uri).await.unwrap_err().to_string();
    assert!(error.contains("hook.example") && error.contains("169.254.169.254"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one look at each name: what is judged is what is connected");
}

#[tokio::test]
async fn name_of_this_machine_is_refused_before_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri = |host: &str| -> Uri { format!("http://{host}:{port}/").parse().unwrap() };
    let client = at(Private::Unsaid, vec!["127.0.0.1"], Arc::default());
    let error = client.connect(&uri("rebound.example")).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { why, .. } if why.contains("allow_private: true")), "{error}");
    let reached = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(reached.is_err(), "nothing was connected");
    client.connect(&uri("127.0.0.1")).await.unwrap();
    client.connect(&uri("localhost")).await.unwrap();
    let settings = Settings { private: Some(Private::Unsaid), ..Settings::default() };
    // Spellings of an address that only the system's own lookup reads.
    for host in ["2130706433", "0x7f.1"] {
        let error = Client::with(&settings).unwrap().connect(&uri(host)).await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1"), "{host}: {error}");
    }
    let error = client.connect(&uri("[::ffff:a9fe:a9fe]")).await.unwrap_err().to_string();
    assert!(error.contains("metadata"), "{error}");
}
