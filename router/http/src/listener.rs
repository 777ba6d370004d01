//! The public listener: HTTP/1.1 and 2 on one socket, each path served by one [`Endpoint`] into one bus.
//!
//! Every resource that a client can use up has a limit in [`Limits`], and an answer when it is reached:
//!
//! | limit | answer |
//! |---|---|
//! | `header_bytes_max`, `header_count_max` | 431 |
//! | `event_bytes_max`, `batch_bytes_max`, `batch_count_max` | 413 |
//! | `bodies_bytes_max` | 503, Retry-After |
//! | `connections_max` | 503, Retry-After, at once: waiting in the kernel's queue would look like a dead router; with TLS the connection is closed |
//! | `requests_max` | 503, Retry-After |
//! | `header_read_timeout`, `body_read_timeout` | 408; a TLS handshake that takes longer than the first is closed |
//! | [`HTTP2_STREAMS_MAX`], [`HTTP2_WINDOW_BYTES`] | told to the client, who has to wait |
//! | `idle_timeout` | the connection is closed between requests |
//! | `request_timeout` | 503, Retry-After |
//!
//! On a stop, connections between requests are closed, new ones get 503 with `Connection: close`, and
//! requests under way have `drain_timeout` to end.
//!
//! With TLS the handshake agrees on the version (ALPN); without, the first bytes of a connection tell it.
//! On an address that is not loopback, [`exposed`] says what [`Edge`] has to hold.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioTimer;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{
    codes,
    endpoint::{Endpoint, Request, Response},
    intake::Submit,
    problem::Problem,
};

/// An answer as it goes out.
mod answer;

/// One connection: what is known about it while it is served.
mod connection;

/// Which endpoint a request is for.
mod routes;

/// Its bytes, behind TLS or not.
mod stream;

/// Certificates, read again when they change.
pub mod tls;

pub(crate) use connection::Watch;
use routes::Routes;
use stream::Stream;
pub use tls::{TlsError, TlsFiles};

/// Connections past `connections_max` that are being told so; further ones are closed without a word.
pub const REFUSALS_MAX: usize = 64;
/// What `Retry-After` says when the listener is full or stopping.
pub const BUSY_RETRY_AFTER: Duration = Duration::from_secs(2);
/// Requests at a time on one HTTP/2 connection.
pub const HTTP2_STREAMS_MAX: u32 = 128;
/// Bytes of bodies that an HTTP/2 client may send on one connection before they are read.
pub const HTTP2_WINDOW_BYTES: u32 = 256 << 10;
/// How long the listener waits after the system refused to accept a connection, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Every limit of the listener; a field's value is its default in [`Limits::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head: 64 KiB, since all attributes of a binary event are headers.
    pub header_bytes_max: usize,
    /// Headers of a request: 128, room for the 100 attributes that an event may have.
    pub header_count_max: usize,
    /// Bytes of one event: 1 MiB. A structured event's body may be larger by what JSON adds.
    pub event_bytes_max: usize,
    /// Bytes of a batch's body: 8 MiB.
    pub batch_bytes_max: usize,
    /// Events of a batch: 1,000.
    pub batch_count_max: usize,
    /// Bytes of all bodies that are held at a time: 256 MiB.
    pub bodies_bytes_max: usize,
    /// Connections at a time: 1,024.
    pub connections_max: usize,
    /// Requests at a time, over all connections: 4,096.
    pub requests_max: usize,
    /// From the first byte of a head to its last: 10 s.
    pub header_read_timeout: Duration,
    /// From the head to the last byte of the body: 30 s.
    pub body_read_timeout: Duration,
    /// Between two requests of a connection: 75 s.
    pub idle_timeout: Duration,
    /// From the head to the answer, the body's time included: 60 s.
    pub request_timeout: Duration,
    /// What requests under way have to end on a stop: 10 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes_max: 64 << 10,
            header_count_max: 128,
            event_bytes_max: 1 << 20,
            batch_bytes_max: 8 << 20,
            batch_count_max: 1_000,
            bodies_bytes_max: 256 << 20,
            connections_max: 1_024,
            requests_max: 4_096,
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            request_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// An endpoint, and the bus that it feeds.
#[derive(Clone)]
pub struct Mount {
    /// The endpoint.
    pub endpoint: Arc<dyn Endpoint>,
    /// The way into its bus: a [`router_core::source::Intake`].
    pub intake: Arc<dyn Submit>,
}

/// How the listener stands on the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// TLS; without, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// A proxy before the listener ends TLS, and nobody else reaches it. Nothing that a proxy adds to a
    /// request is believed.
    pub behind_proxy: bool,
    /// Everyone who reaches the listener may send.
    pub open: bool,
}

/// Why a listener must not stand on an address that other machines reach.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exposure {
    /// Nobody is asked who he is.
    #[error(
        "{addr} is not a loopback address, and everyone who reaches it can send events to {path}: give `keys`, or `tls.client_ca`, or say `open: true`"
    )]
    Open {
        /// Where it would listen.
        addr: SocketAddr,
        /// A path without keys.
        path: Box<str>,
    },
    /// Keys would be sent without TLS.
    #[error(
        "{0} is not a loopback address, and without TLS keys and events cross the network readable: give `tls: {{ cert, key }}`, or say `behind_proxy: true` where a proxy ends TLS"
    )]
    Readable(SocketAddr),
}

/// Whether a listener may stand at this address. `paths` are its paths, and whether each asks for a key.
///
/// # Errors
/// [`Exposure`], never for a loopback address.
pub fn exposed<'a>(
    addr: SocketAddr,
    edge: &Edge,
    paths: impl IntoIterator<Item = (&'a str, bool)>,
) -> Result<(), Exposure> {
    if addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let private = edge.tls.is_some() || edge.behind_proxy;
    let known = edge.open || edge.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    for (path, keyed) in paths {
        if !keyed && !known {
            return Err(Exposure::Open { addr, path: path.into() });
        }
        if keyed && !private {
            return Err(Exposure::Readable(addr));
        }
    }
    Ok(())
}

/// Why a listener cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Other machines reach it, and that is not safe.
    #[error(transparent)]
    Exposed(#[from] Exposure),
    /// Certificates that cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The system refused the address.
    #[error("cannot listen on {addr}: {source}")]
    Io {
        /// The address that was asked for.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Two endpoints on one path.
    #[error("two sources listen on the path {0}; give each its own")]
    PathTaken(Box<str>),
    /// A path that no request can have.
    #[error("`{0}` is no path: it begins with `/` and holds no space, `?` or `#`")]
    Path(Box<str>),
}

impl BindError {
    /// Which page says more.
    pub fn code(&self) -> schemas::Code {
        match self {
            BindError::Exposed(_) => codes::EXPOSED,
            BindError::Tls(_) => codes::TLS_FILES,
            BindError::Io { .. } => codes::LISTEN_ADDRESS,
            BindError::PathTaken(_) | BindError::Path(_) => codes::LISTEN_PATH,
        }
    }
}

/// Whether a request can have exactly this path.
pub fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path
            .parse::<http::uri::PathAndQuery>()
            .is_ok_and(|parsed| parsed.as_str() == path && parsed.query().is_none())
}

/// Everything that all connections share.
struct Shared {
    routes: Routes,
    limits: Arc<Limits>,
    /// Bytes of all bodies that are held now.
    bodies: Arc<AtomicUsize>,
    /// Requests that are being answered now.
    requests: AtomicUsize,
    tls: Option<Arc<tls::Tls>>,
    http1: http1::Builder,
}

/// A bound listener; [`Listener::run`] serves.
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Listener {
    /// Binds to a loopback address, without TLS; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`BindError`]: nothing is bound.
    pub async fn bind(addr: SocketAddr, limits: Limits, mounts: Vec<Mount>) -> Result<Listener, BindError> {
        Self::bind_with(addr, limits, Edge::default(), tls::RELOAD_EVERY, mounts).await
    }

    /// Binds; `reload_every` is how often changed certificates are looked for: [`tls::RELOAD_EVERY`].
    ///
    /// # Errors
    /// [`BindError`]: nothing is bound.
    pub async fn bind_with(
        addr: SocketAddr,
        limits: Limits,
        edge: Edge,
        reload_every: Duration,
        mounts: Vec<Mount>,
    ) -> Result<Listener, BindError> {
        let paths = mounts.iter().flat_map(|mount| {
            let keyed = mount.endpoint.asks_for_a_key();
            mount.endpoint.paths().iter().chain(mount.endpoint.below()).map(move |spec| (&*spec.path, keyed))
        });
        exposed(addr, &edge, paths)?;
        let routes = Routes::new(mounts)?;
        let tls = edge.tls.map(|files| tls::Tls::load(files, reload_every)).transpose()?.map(Arc::new);
        let failed = |source| BindError::Io { addr, source };
        let socket = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = socket.local_addr().map_err(failed)?;
        let mut http1 = http1::Builder::new();
        // The connection's own watch holds these two times apart, and needs no timer per request.
        // An answer is small: copied behind its head it is one `send`, which costs less than `writev`.
        http1.writev(false);
        http1.header_read_timeout(None).max_headers(limits.header_count_max).max_header_size(limits.header_bytes_max);
        let (bodies, requests) = (Arc::default(), AtomicUsize::new(0));
        let shared = Shared { routes, limits: Arc::new(limits), bodies, requests, tls, http1 };
        Ok(Listener { socket, addr, shared: Arc::new(shared) })
    }

    /// The address that it is bound to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`, then drains. Dropping it ends every connection at once.
    pub async fn run(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut refusals = JoinSet::new();
        let mut renewal = JoinSet::new();
        if let Some(tls) = &self.shared.tls {
            renewal.spawn(tls.clone().watch());
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => {
                    let Some(stream) = accept(accepted).await else { continue };
                    if connections.len() < self.shared.limits.connections_max {
                        connections.spawn(serve(stream, self.shared.clone(), stop.child_token()));
                    } else if refusals.len() < REFUSALS_MAX && self.shared.tls.is_none() {
                        refusals.spawn(connection::refuse(Stream::Plain(stream), connection::Refusal::Full));
                    }
                }
                Some(_) = connections.join_next() => {}
                Some(_) = refusals.join_next() => {}
            }
        }
        self.drain(connections, refusals).await;
    }

    /// Lets requests under way end until the deadline; whoever connects meanwhile is sent away.
    async fn drain(self, mut connections: JoinSet<()>, mut refusals: JoinSet<()>) {
        let deadline = Instant::now() + self.shared.limits.drain_timeout;
        while !connections.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(code = %codes::REQUESTS_CUT, connections = connections.len(), "listener stopped before all requests had ended");
                    break;
                }
                accepted = self.socket.accept() => {
                    let Some(stream) = accept(accepted).await else { continue };
                    if refusals.len() < REFUSALS_MAX && self.shared.tls.is_none() {
                        refusals.spawn(connection::refuse(Stream::Plain(stream), connection::Refusal::Stopping));
                    }
                }
                Some(_) = connections.join_next() => {}
                Some(_) = refusals.join_next() => {}
            }
        }
        connections.shutdown().await;
        refusals.shutdown().await;
    }
}

async fn accept(accepted: std::io::Result<(TcpStream, SocketAddr)>) -> Option<TcpStream> {
    match accepted {
        Ok((stream, _)) => {
            // Answers are small and written whole: waiting to fill a packet only adds delay.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "connection is gone already");
            }
            Some(stream)
        }
        Err(error) => {
            tracing::warn!(code = %codes::ACCEPT_REFUSED, %error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    let (stream, http2, prefix) = match &shared.tls {
        None => {
            let mut stream = Stream::Plain(stream);
            match connection::sniff(&mut stream, &shared.limits, &stop).await {
                connection::Sniffed::Version { http2, prefix } => (stream, http2, prefix),
                connection::Sniffed::Refused(refusal) => return connection::refuse(stream, refusal).await,
                connection::Sniffed::Gone => return,
            }
        }
        Some(tls) => {
            let Some(stream) = handshake(stream, tls, &shared.limits, &stop).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Stream::Tls(Box::new(stream)), http2, Bytes::new())
        }
    };
    let watch = Arc::new(Watch::new(http2));
    let io = connection::Watched::new(stream, prefix, watch.clone());
    let (service_shared, service_watch) = (shared.clone(), watch.clone());
    let service = service_fn(move |req| {
        let (shared, watch) = (service_shared.clone(), service_watch.clone());
        async move { Ok::<_, Infallible>(answer::whole(respond(&shared, watch, req).await)) }
    });
    if http2 {
        let ended = CancellationToken::new();
        let conn = http2_builder(&shared.limits, ended.clone()).serve_connection(io, service);
        // Whichever way the connection ends, dropped too, its requests end with it.
        let _ended = ended.drop_guard();
        connection::drive_http2(conn, &watch, &shared.limits, &stop).await;
    } else {
        let conn = shared.http1.serve_connection(io, service);
        connection::drive(conn, &watch, &shared.limits, &stop).await;
    }
}

fn http2_builder(limits: &Limits, ended: CancellationToken) -> http2::Builder<connection::Tasks> {
    let mut builder = http2::Builder::new(connection::Tasks(ended));
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES);
    builder
}

/// The TLS handshake, within the time that a head may take.
async fn handshake(
    stream: TcpStream,
    tls: &tls::Tls,
    limits: &Limits,
    stop: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let accepting = TlsAcceptor::from(tls.config()).accept(stream);
    tokio::select! {
        () = stop.cancelled() => None,
        accepted = tokio::time::timeout(limits.header_read_timeout, accepting) => match accepted {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS with a client");
                None
            }
            Err(_) => None,
        },
    }
}

async fn respond(shared: &Shared, watch: Arc<Watch>, req: http::Request<Incoming>) -> Response {
    let _busy = watch.request();
    // The request goes with the endpoint's future; only then it is known whether its body was read.
    let mut response = dispatch(shared, &watch, req).await;
    // HTTP/2 has no such header: there a frame tells it.
    if !watch.is_http2() && (watch.is_cut() || watch.is_stopping()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// One of the requests at a time; given back when it is dropped.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(requests: &'a AtomicUsize, count_max: usize) -> Result<Self, Problem> {
        let turn = Turn(requests);
        if requests.fetch_add(1, Ordering::Relaxed) < count_max {
            return Ok(turn);
        }
        let detail = "the listener answers as many requests at a time as it may; send this again";
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::REQUESTS_FULL, detail).retry_after(BUSY_RETRY_AFTER))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn dispatch(shared: &Shared, watch: &Arc<Watch>, req: http::Request<Incoming>) -> Response {
    let req = Request::new(req, shared.limits.clone(), shared.bodies.clone(), watch.clone());
    if watch.is_stopping() {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            codes::STOPPING,
            "the router is stopping; send this again",
        )
        .retry_after(BUSY_RETRY_AFTER)
        .into_response();
    }
    let _turn = match Turn::take(&shared.requests, shared.limits.requests_max) {
        Ok(turn) => turn,
        Err(problem) => return problem.into_response(),
    };
    let count_max = shared.limits.header_count_max;
    if req.headers().len() > count_max {
        // HTTP/1.1 does not come so far: hyper refuses it while it reads the head.
        let detail = format!("a request has at most {count_max} headers");
        return Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, codes::HEADER_COUNT, detail).into_response();
    }
    let mount = match shared.routes.find(&req) {
        Ok(mount) => mount,
        Err(problem) => return problem.into_response(),
    };
    let wait = shared.limits.request_timeout;
    match tokio::time::timeout(wait, mount.endpoint.handle(req, &*mount.intake)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {wait:?}; send this again, what is in already deduplicates");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::REQUEST_TIMEOUT, detail)
                .retry_after(BUSY_RETRY_AFTER)
                .into_response()
        }
    }
}

/// Bytes of bodies that a listener holds, for whoever watches.
impl Listener {
    /// A counter that outlives the listener: bytes of request bodies held now.
    pub fn bodies_bytes(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let bodies = self.shared.bodies.clone();
        move || bodies.load(Ordering::Relaxed)
    }
}
