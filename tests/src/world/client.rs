//! A plain HTTP client: it keeps connections, follows nothing, and says in words what went wrong.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

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
    deadline: Duration,
}

impl Client {
    /// One that waits for an answer for so long.
    pub fn new(deadline: Duration) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let inner = legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Client { inner, deadline }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// That there was no whole answer within the deadline, in words.
    pub async fn send(&self, method: Method, url: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
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
