//! A plain HTTP client: it keeps connections, follows nothing, and says in words what went wrong. To an
//! `https` URL it speaks as a sender of events does: it trusts the authority of the tests alone beside the
//! machine's own, and shows the publishers' key.

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use router_http::client;

use super::edge;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{} {}: {e}", self.status, self.text()))
    }
}

/// The client.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    /// Made when an `https` URL is first called: it reads the machine's roots.
    keyed: Arc<OnceLock<client::Client>>,
    deadline: Duration,
}

impl Client {
    /// One that waits for an answer for so long.
    pub fn new(deadline: Duration) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let inner = legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Client { inner, keyed: Arc::default(), deadline }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// That there was no whole answer within the deadline, in words.
    pub async fn send(&self, method: Method, url: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        if url.starts_with("https://") {
            return self.send_keyed(method, url, headers, body).await;
        }
        let mut request =
            Request::builder().method(method).uri(url).body(Full::new(body)).map_err(|e| e.to_string())?;
        *request.headers_mut() = headers;
        let exchange = async {
            let (head, body) = self.inner.request(request).await.map_err(|e| words(&e))?.into_parts();
            let body = body.collect().await.map_err(|e| words(&e))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(self.deadline, exchange).await.map_err(|_| format!("{url}: no answer in time"))?
    }

    async fn send_keyed(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, String> {
        let keyed = self.keyed.get_or_init(|| {
            let tls = client::TlsFiles { ca: Some(edge::file("ca.pem")), identity: None };
            client::Client::with(&client::Settings { tls, ..client::Settings::default() }).expect("a client")
        });
        let bearer = HeaderValue::from_str(&format!("Bearer {}", edge::KEY)).expect("a key is ASCII");
        headers.insert(header::AUTHORIZATION, bearer);
        let mut request = Request::builder().method(method).uri(url).body(body).map_err(|e| e.to_string())?;
        *request.headers_mut() = headers;
        let answer = keyed.send(request, self.deadline, ANSWER_BYTES_MAX).await.map_err(|e| e.to_string())?;
        if answer.cut {
            return Err(format!("{url}: the answer broke off"));
        }
        Ok(Answer { status: answer.status.as_u16(), headers: answer.headers, body: answer.body })
    }

    /// Gets a page.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, url: &str) -> Result<Answer, String> {
        self.send(Method::GET, url, HeaderMap::new(), Bytes::new()).await
    }
}

/// An error with its causes.
fn words(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| (*e).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
