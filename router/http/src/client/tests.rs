//! Goals: the address that a connection is made to is the one that was judged, each time anew; connections are used again,
//! however many there are.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

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

#[tokio::test]
async fn as_many_connections_as_were_busy_at_a_time_are_used_again() {
    const AT_A_TIME: usize = 400;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let (accepted, waiting) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Barrier::new(AT_A_TIME)));
    let counted = accepted.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let waiting = waiting.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.is_empty() {
                        // Nobody is answered before everybody is here.
                        waiting.wait().await;
                        lines.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    let client = Client::new().unwrap();
    for _ in 0..3 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..AT_A_TIME {
            let (client, mut request) = (client.clone(), Request::new(Bytes::new()));
            *request.uri_mut() = uri.clone();
            calls.spawn(async move { client.send(request, JSON_TIMEOUT, 0).await.unwrap().status });
        }
        assert!(calls.join_all().await.iter().all(|status| *status == StatusCode::OK));
        // A connection is idle again once its task has read the answer's end.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(accepted.load(Ordering::SeqCst), AT_A_TIME);
}
