//! The listener behind TLS and over HTTP/2. `tests/tls` holds two authorities: `ca.pem` signed `cert.pem`,
//! `other-ca.pem` signed `other-cert.pem` and, for clients, `client-cert.pem`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use router_http::{Limits, TlsFiles};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::world::*;

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn files() -> TlsFiles {
    TlsFiles { cert: file("cert.pem"), key: file("key.pem"), client_ca: None }
}

/// A client that trusts both authorities, with a certificate of its own or without.
async fn connect(addr: SocketAddr, alpn: &str, identity: bool) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for name in ["ca.pem", "other-ca.pem"] {
        roots.add(CertificateDer::from_pem_file(file(name)).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let mut config = if identity {
        let certs = vec![CertificateDer::from_pem_file(file("client-cert.pem")).unwrap()];
        config.with_client_auth_cert(certs, PrivateKeyDer::from_pem_file(file("client-key.pem")).unwrap()).unwrap()
    } else {
        config.with_no_client_auth()
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Sends one request by hand and reads to the end.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> std::io::Result<String> {
    stream.write_all(request.replace("host: x\r\n", "host: x\r\nconnection: close\r\n").as_bytes()).await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Full<Bytes>> {
    let io = TokioIo::new(stream);
    let (send, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    send
}

fn event(body: &str) -> Request<Full<Bytes>> {
    let request = Request::post("http://x/events").header("content-type", "application/cloudevents+json");
    request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

async fn whole(response: Response<hyper::body::Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn event_comes_in_over_tls_by_http_1_and_2() {
    let served = serve_with(Limits::default(), vec![], Some(files()), Fake::new()).await;
    let stream = connect(served.addr, "http/1.1", false).await.unwrap();
    let said = say(stream, &post(BINARY, "x")).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 202"), "{said}");
    let stream = connect(served.addr, "h2", false).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut send = http2(stream).await;
    let (one, two) = (send.send_request(event(&json("1"))), send.clone().send_request(event(&json("2"))));
    let (one, two) = tokio::join!(one, two);
    assert_eq!((one.unwrap().status().as_u16(), two.unwrap().status().as_u16()), (202, 202));
    assert_eq!(served.fake.events().len(), 3);
}

#[tokio::test]
async fn http_2_is_understood_without_tls() {
    let served = served(Fake::new()).await;
    let mut send = http2(TcpStream::connect(served.addr).await.unwrap()).await;
    assert_eq!(whole(send.send_request(event(&json("1"))).await.unwrap()).await.0, 202);
    let mut slow = TcpStream::connect(served.addr).await.unwrap();
    for byte in post(BINARY, "x").bytes().take(6) {
        slow.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow.write_all(&post(BINARY, "x").as_bytes()[6..]).await.unwrap();
    assert_eq!(read_reply(&mut slow).await.unwrap().status, 202);
}

#[tokio::test]
async fn limits_hold_over_http_2_and_end_one_stream_only() {
    let limits = Limits { event_bytes_max: 1000, header_count_max: 8, requests_max: 2, ..Limits::default() };
    let served = serve_with(limits, vec![], None, Fake::slow(Duration::from_millis(300))).await;
    let mut send = http2(TcpStream::connect(served.addr).await.unwrap()).await;
    let mut many = event(&json("1"));
    for n in 0..9 {
        many.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), "x".parse().unwrap());
    }
    let (status, body) = whole(send.send_request(many).await.unwrap()).await;
    assert_eq!((status, body.contains("header-count")), (431, true), "{body}");
    let large = event(&"x".repeat(200_000));
    let (status, body) = whole(send.send_request(large).await.unwrap()).await;
    assert_eq!((status, body.contains("body-too-large")), (413, true), "{body}");
    let three = (0..3).map(|n| send.send_request(event(&json(&n.to_string())))).collect::<Vec<_>>();
    let mut statuses = Vec::new();
    for one in three {
        let (status, body) = whole(one.await.unwrap()).await;
        assert_eq!(status == 503, body.contains("requests-full"), "{body}");
        statuses.push(status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 202, 503]);
    assert_eq!((served.held)(), 0);
}

#[tokio::test]
async fn idle_http_2_connection_ends_and_a_stop_waits_for_its_requests() {
    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut served = serve_with(limits, vec![], None, Fake::slow(Duration::from_millis(500))).await;
    let mut send = http2(TcpStream::connect(served.addr).await.unwrap()).await;
    let under_way = send.send_request(event(&json("1")));
    let stop = served.stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
    });
    assert_eq!(whole(under_way.await.unwrap()).await.0, 202);
    tokio::time::timeout(Duration::from_secs(5), &mut served.task).await.unwrap().unwrap();

    let limits = Limits { idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let served = serve_with(limits, vec![], None, Fake::new()).await;
    let mut send = http2(TcpStream::connect(served.addr).await.unwrap()).await;
    assert_eq!(whole(send.send_request(event(&json("1"))).await.unwrap()).await.0, 202);
    let start = Instant::now();
    while !send.is_closed() {
        assert!(start.elapsed() < Duration::from_secs(5), "an idle connection stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn only_clients_of_the_authority_connect() {
    let tls = TlsFiles { client_ca: Some(file("other-ca.pem")), ..files() };
    let served = serve_with(Limits::default(), vec![], Some(tls), Fake::new()).await;
    let known = connect(served.addr, "http/1.1", true).await.unwrap();
    assert!(say(known, &post(BINARY, "x")).await.unwrap().starts_with("HTTP/1.1 202"));
    // TLS 1.3 tells a client of its refusal only when it reads.
    let refused = match connect(served.addr, "http/1.1", false).await {
        Ok(stranger) => say(stranger, &post(BINARY, "x")).await,
        Err(error) => Err(error),
    };
    assert!(refused.unwrap_err().to_string().contains("CertificateRequired"));
    assert_eq!(served.fake.events().len(), 1);
}

/// Goal: a renewed certificate is served without a restart, and half a renewal changes nothing.
#[tokio::test]
async fn changed_certificate_is_served_and_an_unusable_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| std::fs::copy(file(from), folder.path().join(to)).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    copy("cert.pem", "cert.pem");
    copy("key.pem", "key.pem");
    let served =
        serve_with(Limits::default(), vec![], Some(TlsFiles { cert, key, client_ca: None }), Fake::new()).await;
    let shown = async || {
        let stream = connect(served.addr, "http/1.1", false).await.unwrap();
        let certs = stream.get_ref().1.peer_certificates().unwrap().to_vec();
        certs.first().unwrap().clone().into_owned()
    };
    let of = |name| CertificateDer::from_pem_file(file(name)).unwrap();
    let first = connect(served.addr, "http/1.1", false).await.unwrap();
    copy("other-cert.pem", "cert.pem");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shown().await, of("cert.pem"), "a certificate without its key is served");
    copy("other-key.pem", "key.pem");
    let start = Instant::now();
    while shown().await != of("other-cert.pem") {
        assert!(start.elapsed() < Duration::from_secs(5), "the new certificate is not served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(say(first, &post(BINARY, "x")).await.unwrap().starts_with("HTTP/1.1 202"));
}

#[tokio::test]
async fn client_that_never_ends_its_handshake_is_left() {
    let limits = Limits { header_read_timeout: Duration::from_millis(200), ..Limits::default() };
    let served = serve_with(limits, vec![], Some(files()), Fake::new()).await;
    let mut silent = TcpStream::connect(served.addr).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
}
