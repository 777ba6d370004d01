//! Endpoints that take what lies below a path, and answers with trailers.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use router_core::id::SourceName;
use router_http::{
    Endpoint, Events, Limits, Listener, Mount, PathSpec,
    endpoint::{Request, Response, Trailers},
    intake::Submit,
    listener::BindError,
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::world::*;

/// Says at which path it was called, and `ended: well` behind that.
struct Below(PathSpec);

impl Below {
    fn at(path: &str) -> Mount {
        let endpoint = Arc::new(Below(PathSpec { path: path.into(), methods: vec![Method::POST] }));
        Mount { endpoint, intake: Arc::new(Fake::new()) }
    }
}

#[async_trait]
impl Endpoint for Below {
    fn paths(&self) -> &[PathSpec] {
        &[]
    }

    fn below(&self) -> &[PathSpec] {
        std::slice::from_ref(&self.0)
    }

    fn asks_for_a_key(&self) -> bool {
        false
    }

    async fn handle(&self, req: Request, _intake: &dyn Submit) -> Response {
        let mut response = Response::new(Full::new(Bytes::from(req.uri().path().to_owned())));
        let trailers = HeaderMap::from_iter([("ended".parse().unwrap(), "well".parse().unwrap())]);
        response.extensions_mut().insert(Trailers(trailers));
        response
    }
}

async fn bind(mounts: Vec<Mount>) -> Result<Listener, BindError> {
    Listener::bind("127.0.0.1:0".parse().unwrap(), Limits::default(), mounts).await
}

struct Running(std::net::SocketAddr, JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.abort();
    }
}

async fn running(mounts: Vec<Mount>) -> Running {
    let listener = bind(mounts).await.unwrap();
    Running(listener.addr(), tokio::spawn(listener.run(CancellationToken::new())))
}

#[tokio::test]
async fn what_lies_below_a_path_is_its_endpoints_unless_it_is_anothers_own() {
    let own = Events::new("/v1/events", SourceName::new("web").unwrap(), &[]).unwrap();
    let own = Mount { endpoint: Arc::new(own), intake: Arc::new(Fake::new()) };
    let running = running(vec![Below::at("/v1/"), own]).await;
    let asked = async |method: &str, path: &str| {
        exchange(running.0, format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")).await
    };
    for path in ["/v1/", "/v1/a", "/v1/a/b:c"] {
        let reply = asked("POST", path).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, path));
    }
    assert_eq!(asked("PUT", "/v1/a").await.status, 405);
    for path in ["/v1", "/v2/a", "/"] {
        let reply = asked("POST", path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.body.contains("/v1/events") && reply.body.contains("/v1/,"), "{}", reply.body);
    }
    let reply = exchange(running.0, post(BINARY, "x").replace("/events", "/v1/events")).await;
    assert_eq!(reply.status, 202);
}

#[tokio::test]
async fn two_endpoints_below_one_path_are_refused() {
    for (first, second) in [("/v1/", "/v1/"), ("/v1/", "/v1/projects/"), ("/v1/projects/", "/v1/")] {
        let error = bind(vec![Below::at(first), Below::at(second)]).await.err().unwrap();
        assert!(matches!(error, BindError::PathTaken(path) if &*path == second), "{first} {second}");
    }
    for path in ["/v1", "v1/", "/v 1/"] {
        assert!(matches!(bind(vec![Below::at(path)]).await, Err(BindError::Path(_))), "{path}");
    }
}

#[tokio::test]
async fn trailers_come_behind_the_body() {
    let running = running(vec![Below::at("/v1/")]).await;
    let io = TokioIo::new(TcpStream::connect(running.0).await.unwrap());
    let (mut send, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driven = tokio::spawn(conn);
    let request = http::Request::post(format!("http://{}/v1/a", running.0)).body(Full::new(Bytes::new())).unwrap();
    let answer = send.send_request(request).await.unwrap();
    let whole = answer.into_body().collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["ended"], "well");
    assert_eq!(whole.to_bytes(), "/v1/a");
    driven.abort();
}
