//! The router's own HTTP client, as the stores use it.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use router_http::{client, listener::TlsError};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer: a copy whole, which is what `archive verify` reads at most at once.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// Connections of its own.
#[derive(Clone)]
pub(crate) struct Transport(client::Client);

impl Transport {
    /// With no connections yet. The addresses are the operator's own word: those of metadata services, which give
    /// identities, are among them.
    pub fn new() -> Result<Self, TlsError> {
        client::Client::new().map(Transport)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        // A body of the store is in memory already.
        let body = body.collect().await?.to_bytes();
        let request = http::Request::from_parts(head, body);
        let answer = self.0.send(request, REQUEST_TIMEOUT, ANSWER_BYTES_MAX).await.map_err(|e| {
            let kind = match &e {
                client::Error::Connect { .. } => HttpErrorKind::Connect,
                client::Error::Timeout { .. } => HttpErrorKind::Timeout,
                _ => HttpErrorKind::Interrupted,
            };
            HttpError::new(kind, e)
        })?;
        if answer.cut {
            let why = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer broke off");
            return Err(HttpError::new(HttpErrorKind::Interrupted, why));
        }
        let body = Full::new(answer.body).map_err(|never| match never {});
        let mut response = http::Response::new(HttpResponseBody::new(body));
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        Ok(response)
    }
}
