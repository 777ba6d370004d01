//! The one HTTP client: targets send with it, and so does the command line. It keeps connections open
//! and uses them again, never follows a redirect, and reads no more of an answer than it is told.
//! Over TLS it speaks HTTP/2 where the server does, all requests on one connection, else HTTP/1.1.
//!
//! [`tls`] says whom it trusts, [`crate::address`] where it connects to.

use std::{
    collections::HashMap,
    error::Error as StdError,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;
use tower_service::Service;

pub use self::{open::Open, tls::TlsFiles};
use crate::{
    address::{Private, Resolver},
    listener::TlsError,
    secret::Secret,
};

/// Whom it trusts, and what it shows.
pub mod tls;

/// Answers that are read while they come.
mod open;

/// How long a connection may take, from the name to the end of the TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: below the 60 s after which many load balancers drop theirs.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// An HTTP/2 connection is asked this often whether it is still there, while requests are under way.
pub const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
/// How long it has to answer; then its requests have failed.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are read of an error's body.
pub const ERROR_BYTES_MAX: usize = 64 << 10;
/// Bytes that [`Client::get`] and [`Client::post_json`] read of an answer.
pub const JSON_BYTES_MAX: usize = 64 << 20;
/// How long [`Client::get`] and [`Client::post_json`] wait for an answer.
pub const JSON_TIMEOUT: Duration = Duration::from_secs(60);
/// What the router calls itself.
pub const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("gocoffee/", env!("CARGO_PKG_VERSION")));

type BoxError = Box<dyn StdError + Send + Sync>;

/// Why there is no answer: whose fault that is differs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection: the name, the address, or TLS. Nothing was sent.
    #[error("no connection to {host}: {why}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system or the peer said.
        why: String,
    },
    /// The connection broke after the request was begun: whether it was taken is unknown.
    #[error("the connection to {host} broke before an answer came: {why}")]
    Broken {
        /// Host and port.
        host: String,
        /// What the system or the peer said.
        why: String,
    },
    /// No answer in time, though the request was sent: whether it was taken is unknown.
    #[error("no answer from {host} within {after:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A URL that cannot be called.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// The answer is larger than what is read of it.
    #[error("the answer of {host} is larger than {bytes_max} bytes; ask for less at a time")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The limit.
        bytes_max: usize,
    },
    /// The token holds what no header can.
    #[error("the token holds characters that no header can carry; it is one line of visible ASCII")]
    Token,
}

/// A URL that no request can be sent to. The URL itself is not shown: it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the URL {0}")]
pub struct UrlError(pub &'static str);

/// Reads an absolute `http` or `https` URL without user name, password and fragment.
///
/// # Errors
/// [`UrlError`] says which part is wrong, never the URL.
pub fn url(text: &str) -> Result<Uri, UrlError> {
    if text.contains('#') {
        return Err(UrlError("has a fragment (#…), which is never sent; leave it out"));
    }
    let uri: Uri = text.parse().map_err(|_| UrlError("cannot be read; it is written as http://host:port/path"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(UrlError("begins with http:// or https://"));
    }
    let authority = uri.authority().ok_or(UrlError("has no host"))?;
    if authority.as_str().contains('@') {
        return Err(UrlError("holds a user name or a password; give them as `auth` instead"));
    }
    if authority.host().is_empty() {
        return Err(UrlError("has no host"));
    }
    Ok(uri)
}

/// Host and port of a URL: what of it may be shown.
pub fn host(uri: &Uri) -> String {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

/// An answer, its body read as far as was asked.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether there was, or may have been, more of it.
    pub cut: bool,
}

/// How a client connects. Clients with equal settings share their connections: see [`Clients`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// What its addresses may be; `None` for the command line, where the URL is the caller's own word.
    pub private: Option<Private>,
    /// Whom it trusts beside the machine's roots, and what it shows.
    pub tls: TlsFiles,
    /// From the name to the end of the TLS handshake: [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { private: None, tls: TlsFiles::default(), connect_timeout: CONNECT_TIMEOUT }
    }
}

/// All clients of a process: one for each kind of settings, made when first asked for.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<Settings, Client>>);

impl Clients {
    /// The client with these settings.
    ///
    /// # Errors
    /// A file that cannot be read or used.
    pub fn get(&self, settings: Settings) -> Result<Client, TlsError> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&settings) {
            return Ok(client.clone());
        }
        let client = Client::with(&settings)?;
        clients.insert(settings, client.clone());
        Ok(client)
    }
}

/// Sends requests. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    pool: legacy::Client<Connector, Sent>,
}

impl Client {
    /// A client for the command line, with no connections yet.
    ///
    /// # Errors
    /// What rustls says about its own setup.
    pub fn new() -> Result<Self, TlsError> {
        Self::with(&Settings::default())
    }

    /// A client with no connections yet.
    ///
    /// # Errors
    /// A file that cannot be read or used.
    pub fn with(settings: &Settings) -> Result<Self, TlsError> {
        Self::resolving(settings, Resolver::new(settings.private))
    }

    pub(crate) fn resolving(settings: &Settings, resolver: Resolver) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let tls = tls::config(&settings.tls)?;
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().wrap_connector(tcp);
        let connector = Connector { https, resolver, timeout: settings.connect_timeout };
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            // As many as were under way at a time stay open: with fewer, a busy target's connections close and open
            // again without a pause.
            .pool_max_idle_per_host(usize::MAX)
            .http2_keep_alive_interval(HTTP2_PING_EVERY)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector.clone());
        Ok(Client { connector, pool })
    }

    /// Sends a request and reads at most `bytes_max` bytes of its answer. A redirect is an answer like
    /// any other. Once the head of the answer is there it is returned, whatever happens to its body: a
    /// body that breaks off, or is not complete at the deadline, is `cut`.
    ///
    /// # Errors
    /// [`Error`], without an answer.
    pub async fn send(&self, request: Request<Bytes>, timeout: Duration, bytes_max: usize) -> Result<Answer, Error> {
        let deadline = Instant::now() + timeout;
        let response = self.begin(request, deadline, timeout).await?;
        let (head, body) = response.into_parts();
        let (body, cut) = read(body, bytes_max, deadline).await;
        Ok(Answer { status: head.status, headers: head.headers, body, cut })
    }

    /// Sends a request; resolves with the head of its answer.
    async fn begin(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<http::Response<Incoming>, Error> {
        let uri = request.uri().clone();
        let begun = Arc::new(AtomicBool::new(false));
        let request = request.map(|body| Sent { body: Some(body), begun: begun.clone() });
        let host = || host(&uri);
        match tokio::time::timeout_at(deadline, self.pool.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(Error::Connect { host: host(), why: causes(&error) }),
            Ok(Err(error)) => Err(Error::Broken { host: host(), why: causes(&error) }),
            Err(_) if begun.load(Ordering::Relaxed) => Err(Error::Timeout { host: host(), after: timeout }),
            Err(_) => Err(Error::Connect { host: host(), why: format!("not connected within {timeout:?}") }),
        }
    }

    /// Connects to where the URL points, TLS included, sends nothing, and closes.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(&self, uri: &Uri) -> Result<(), Error> {
        let connected = self.connector.clone().call(uri.clone()).await;
        connected.map(drop).map_err(|error| Error::Connect { host: host(uri), why: causes(&*error) })
    }

    /// Gets a URL, for the command line: whole answers only, with a bearer token when there is one.
    ///
    /// # Errors
    /// [`Error`]; a status that is no success is an answer.
    pub async fn get(&self, url: &str, token: Option<&Secret>) -> Result<Answer, Error> {
        self.call(Method::GET, url, token, None).await
    }

    /// Posts a JSON text to a URL, for the command line, as [`Client::get`].
    ///
    /// # Errors
    /// [`Error`]; a status that is no success is an answer.
    pub async fn post_json(&self, url: &str, token: Option<&Secret>, json: Bytes) -> Result<Answer, Error> {
        self.call(Method::POST, url, token, Some(json)).await
    }

    async fn call(
        &self,
        method: Method,
        to: &str,
        token: Option<&Secret>,
        json: Option<Bytes>,
    ) -> Result<Answer, Error> {
        let uri = url(to)?;
        let host = host(&uri);
        let request = request_to(method, uri, token, json)?;
        let answer = self.send(request, JSON_TIMEOUT, JSON_BYTES_MAX).await?;
        match answer.cut {
            true if answer.body.len() >= JSON_BYTES_MAX => Err(Error::TooLarge { host, bytes_max: JSON_BYTES_MAX }),
            true => Err(Error::Broken { host, why: "the answer broke off".into() }),
            false => Ok(answer),
        }
    }
}

/// A request of the command line.
fn request_to(method: Method, uri: Uri, token: Option<&Secret>, json: Option<Bytes>) -> Result<Request<Bytes>, Error> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| Error::Token)?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(json) = json {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = json;
    }
    Ok(request)
}

async fn read(mut body: Incoming, bytes_max: usize, deadline: Instant) -> (Bytes, bool) {
    let mut whole = BytesMut::new();
    loop {
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(None) => return (whole.freeze(), false),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                let room = bytes_max.saturating_sub(whole.len());
                whole.extend_from_slice(data.get(..room).unwrap_or(&data));
                if data.len() > room {
                    return (whole.freeze(), true);
                }
            }
            Ok(Some(Err(_))) | Err(_) => return (whole.freeze(), true),
        }
    }
}

/// The error's causes in one line, each said once.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(cause) = next {
        let text = cause.to_string();
        if all.last().is_none_or(|last| !last.contains(&text)) {
            all.push(text);
        }
        next = cause.source();
    }
    all.join(": ")
}

/// TCP and TLS with one deadline for both: a peer that takes the connection and never ends the handshake
/// must not hold an attempt for longer.
#[derive(Clone)]
struct Connector {
    https: HttpsConnector<HttpConnector<Resolver>>,
    resolver: Resolver,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector<Resolver>> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Err(refused) = self.resolver.check_written(uri.host().unwrap_or_default()) {
            return Box::pin(async move { Err(refused.into()) });
        }
        let (connecting, timeout) = (self.https.call(uri), self.timeout);
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("not connected within {timeout:?}").into()),
            }
        })
    }
}

/// A whole body that says when hyper begins to send it: what ends before that was never sent.
struct Sent {
    body: Option<Bytes>,
    begun: Arc<AtomicBool>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.begun.store(true, Ordering::Relaxed);
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        // Asked when the head is about to be written; then the request counts as begun, body or not.
        self.begun.store(true, Ordering::Relaxed);
        self.body.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

#[cfg(test)]
mod tests;
