//! The HTTP client that a function calls others with: [`crate::Context::http`]. It keeps connections open and
//! uses them again, never follows a redirect, reads no more of an answer than it is told, and is done before
//! the attempt's deadline, so that the function can still say what went wrong.
//!
//! A URL comes from the settings, never from an event: no event makes a function connect to an address that
//! its operator did not write down.

use std::{
    error::Error as StdError,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;

/// How long an idle connection is kept: below the 60 s after which many load balancers drop theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// What is left of an attempt for the function itself, after a call that took all the time it had.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(500);
/// What a function calls itself.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("gocoffee-function/", env!("CARGO_PKG_VERSION")));

/// Why there is no answer.
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
    #[error("the connection to {host} broke before the answer was there: {why}")]
    Broken {
        /// Host and port.
        host: String,
        /// What the system or the peer said.
        why: String,
    },
    /// No answer in time, though the request was sent: whether it was taken is unknown.
    #[error("no whole answer from {host} within {after:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The answer is larger than what is read of it.
    #[error("the answer of {host} is larger than {bytes_max} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The limit.
        bytes_max: usize,
    },
}

/// Reads an absolute URL without user name, password and fragment.
///
/// # Errors
/// What is wrong with it, as a part of a sentence; never the URL, which may hold a secret.
pub fn url(text: &str) -> Result<Uri, &'static str> {
    if text.contains('#') {
        return Err("has a fragment (#…), which is never sent; leave it out");
    }
    let uri: Uri = text.parse().map_err(|_| "is no URL like https://host/path")?;
    let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("holds a user name or a password, which would be logged; leave them out");
    }
    match uri.scheme_str() {
        Some("http") => Ok(uri),
        Some("https") if cfg!(feature = "tls") => Ok(uri),
        Some("https") => Err("begins with https://, and this program is built without tls"),
        _ => Err("begins neither with https:// nor with http://"),
    }
}

/// Host and port of a URL: what of it may be shown.
fn host(uri: &Uri) -> String {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

/// The connections of a process; clones share them.
#[derive(Clone)]
pub(crate) struct Pool {
    plain: Client<HttpConnector, Sent>,
    #[cfg(feature = "tls")]
    tls: Arc<tls::Connections>,
}

impl Pool {
    /// No connections yet.
    ///
    /// # Errors
    /// What rustls says about its own setup.
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Pool {
            plain: client(tcp()),
            #[cfg(feature = "tls")]
            tls: Arc::new(tls::Connections::new().map_err(|e| e.to_string())?),
        })
    }

    /// Sends a request as it is, for who has limits of its own.
    #[cfg(any(feature = "state-s3", feature = "state-gs", feature = "state-az"))]
    pub(crate) async fn raw(
        &self,
        request: Request<Bytes>,
    ) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        self.request(request.map(|body| Sent { body: Some(body), begun: Arc::default() })).await
    }

    fn request(&self, request: Request<Sent>) -> ResponseFuture {
        #[cfg(feature = "tls")]
        if request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
            return self.tls.client().request(request);
        }
        self.plain.request(request)
    }

    /// A client that is done at a moment, whatever it is asked to do.
    pub(crate) fn until(&self, deadline: Instant) -> Http<'_> {
        Http { pool: self, deadline }
    }
}

/// The client of one attempt.
#[derive(Clone, Copy)]
pub struct Http<'a> {
    pool: &'a Pool,
    deadline: Instant,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Http<'_> {
    /// Sends a request and reads its whole answer, of at most `bytes_max` bytes, within `timeout` and what is
    /// left of the attempt. A redirect is an answer like any other.
    ///
    /// # Errors
    /// [`Error`] says whether the request may have been taken.
    pub async fn send(&self, request: Request<Bytes>, timeout: Duration, bytes_max: usize) -> Result<Answer, Error> {
        let mut streamed = self.stream(request, timeout, bytes_max).await?;
        let mut body = BytesMut::new();
        while let Some(chunk) = streamed.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: streamed.status, headers: streamed.headers, body: body.freeze() })
    }

    /// Sends a request and gives its answer as soon as its head is there; the body is read in pieces, under
    /// the same limits.
    ///
    /// # Errors
    /// [`Error`] says whether the request may have been taken.
    pub async fn stream(
        &self,
        mut request: Request<Bytes>,
        timeout: Duration,
        bytes_max: usize,
    ) -> Result<Streamed, Error> {
        let (now, host) = (Instant::now(), host(request.uri()));
        let last = self.deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(now);
        let deadline = (now + timeout).min(last);
        request.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
        let begun = Arc::new(AtomicBool::new(false));
        let request = request.map(|body| Sent { body: Some(body), begun: begun.clone() });
        let after = deadline.saturating_duration_since(now);
        let response = match tokio::time::timeout_at(deadline, self.pool.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(e)) if e.is_connect() => return Err(Error::Connect { host, why: causes(&e) }),
            Ok(Err(e)) => return Err(Error::Broken { host, why: causes(&e) }),
            Err(_) if begun.load(Ordering::Relaxed) => return Err(Error::Timeout { host, after }),
            Err(_) => return Err(Error::Connect { host, why: format!("not connected within {after:?}") }),
        };
        let (head, body) = response.into_parts();
        let limits = Limits { deadline, after, bytes_max };
        Ok(Streamed { status: head.status, headers: head.headers, body, host, read: 0, limits })
    }
}

struct Limits {
    deadline: Instant,
    /// The same, counted from the start.
    after: Duration,
    bytes_max: usize,
}

/// An answer whose body is still on its way.
pub struct Streamed {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    host: String,
    read: usize,
    limits: Limits,
}

impl Streamed {
    /// The next piece of the body; none at its end. A body that breaks off is an error, never an end.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let host = || self.host.clone();
            let frame = match tokio::time::timeout_at(self.limits.deadline, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(e))) => return Err(Error::Broken { host: host(), why: causes(&e) }),
                Err(_) => return Err(Error::Timeout { host: host(), after: self.limits.after }),
            };
            let Ok(data) = frame.into_data() else { continue };
            self.read = self.read.saturating_add(data.len());
            if self.read > self.limits.bytes_max {
                return Err(Error::TooLarge { host: host(), bytes_max: self.limits.bytes_max });
            }
            return Ok(Some(data));
        }
    }
}

/// `Retry-After` in seconds; the form with a date is not read, and means what no header means.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp
}

fn client<C>(connector: C) -> Client<C, Sent>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new()).build(connector)
}

/// Connections over TLS, ready when the first one is asked for: a system's root certificates are some hundred files,
/// which take longer to read than the whole start of a function that never calls another over TLS.
#[cfg(feature = "tls")]
mod tls {
    use std::sync::{Arc, OnceLock};

    use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
    use hyper_util::client::legacy::{Client, connect::HttpConnector};
    use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, crypto::ring};

    use super::Sent;

    pub(super) struct Connections {
        config: ConfigBuilder<ClientConfig, WantsVerifier>,
        client: OnceLock<Client<HttpsConnector<HttpConnector>, Sent>>,
    }

    impl Connections {
        pub(super) fn new() -> Result<Self, rustls::Error> {
            let provider = Arc::new(ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            Ok(Connections { config, client: OnceLock::new() })
        }

        /// The one client of all; the first call reads the system's root certificates.
        pub(super) fn client(&self) -> &Client<HttpsConnector<HttpConnector>, Sent> {
            self.client.get_or_init(|| {
                let config = match self.config.clone().with_native_roots() {
                    Ok(config) => config.with_no_client_auth(),
                    // Without roots every connection fails at its handshake, with a clear error.
                    Err(_) => {
                        let none = RootCertStore::empty();
                        self.config.clone().with_root_certificates(none).with_no_client_auth()
                    }
                };
                let mut tcp = super::tcp();
                tcp.enforce_http(false);
                super::client(
                    HttpsConnectorBuilder::new()
                        .with_tls_config(config)
                        .https_only()
                        .enable_http1()
                        .wrap_connector(tcp),
                )
            })
        }
    }
}

/// An error's causes in one line, each said once.
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

/// A whole body that says when hyper begins to send it: what ends before that was never sent.
pub(crate) struct Sent {
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
