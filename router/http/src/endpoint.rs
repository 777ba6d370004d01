//! What is mounted at a path of the listener. An endpoint reads a request, submits what it holds, and
//! answers; the listener has chosen it by path and method, and enforces every limit of connection and time.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};

use crate::{
    codes,
    intake::Submit,
    listener::{Limits, Watch},
    problem::Problem,
};

/// What an endpoint answers.
pub type Response = http::Response<Body>;

/// The body of an answer: whole, in memory.
pub type Body = Full<Bytes>;

/// What comes behind the body of an answer, put among the answer's extensions by an endpoint whose protocol has such;
/// over HTTP/1.1 it is left out where the client has not asked for it.
#[derive(Clone, Debug)]
pub struct Trailers(pub HeaderMap);

/// A path of the listener: exactly this one, with these methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSpec {
    /// Exactly this path, with its leading slash.
    pub path: Box<str>,
    /// The methods that are taken there; others get 405.
    pub methods: Vec<Method>,
}

/// Something mounted at paths of the listener.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    /// Where it is mounted; asked once, at the start.
    fn paths(&self) -> &[PathSpec];

    /// Beginnings of paths, each with a slash at its end: what is below them and is nobody's own path comes here, too.
    /// Asked once, at the start.
    fn below(&self) -> &[PathSpec] {
        &[]
    }

    /// Whether nobody is answered there without a key: such a listener may stand where others reach it.
    fn asks_for_a_key(&self) -> bool;

    /// Answers one request. It may be dropped at any await, when the request takes longer than
    /// [`Limits::request_timeout`]: then the listener answers 503.
    async fn handle(&self, req: Request, intake: &dyn Submit) -> Response;
}

/// A request whose body is still on its way.
pub struct Request {
    head: http::request::Parts,
    body: Incoming,
    budget: BodyBudget,
    limits: Arc<Limits>,
    watch: Arc<Watch>,
}

impl Request {
    pub(crate) fn new(
        req: http::Request<Incoming>,
        limits: Arc<Limits>,
        held: Arc<AtomicUsize>,
        watch: Arc<Watch>,
    ) -> Self {
        let (head, body) = req.into_parts();
        let budget = BodyBudget { held, bytes_max: limits.bodies_bytes_max, mine: 0 };
        Request { head, body, budget, limits, watch }
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// Its path and query.
    pub fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The limits of the listener.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads the body, which may be called once; the bytes count against
    /// [`Limits::bodies_bytes_max`] until the request is dropped.
    ///
    /// A body with `Content-Encoding: gzip` is inflated; `bytes_max` holds before and after.
    ///
    /// # Errors
    /// 413 past `bytes_max`, 415 for another encoding, 408 past [`Limits::body_read_timeout`], 503 when all bodies together are
    /// too many bytes, 400 when the body breaks off.
    pub async fn body(&mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        let gzip = is_gzip(&self.head.headers)?;
        let wait = self.limits.body_read_timeout;
        let read = tokio::time::timeout(wait, read(&mut self.body, &mut self.budget, bytes_max)).await;
        match read {
            Ok(Ok(body)) if gzip => inflate(&body, &mut self.budget, bytes_max).await,
            Ok(read) => read,
            Err(_) => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                codes::BODY_TIMEOUT,
                format!("the body was not complete after {wait:?}; send it faster, or in smaller batches"),
            )),
        }
    }

    /// Inflates what is gzip inside of the body, e.g. a message of gRPC: at most `bytes_max`, which count as the body's do.
    ///
    /// # Errors
    /// 400 for what is no gzip, 413 past `bytes_max`, 503 when all bodies together are too many bytes.
    pub async fn inflate(&mut self, part: &[u8], bytes_max: usize) -> Result<Bytes, Problem> {
        inflate(part, &mut self.budget, bytes_max).await
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // What is left of the body would be read as the next request: this connection ends after the answer.
        if !self.body.is_end_stream() {
            self.watch.cut();
        }
    }
}

async fn read(body: &mut Incoming, budget: &mut BodyBudget, bytes_max: usize) -> Result<Bytes, Problem> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    budget.take(announced)?;
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    let mut length = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            Problem::new(StatusCode::BAD_REQUEST, codes::BODY_INCOMPLETE, format!("the body could not be read: {e}"))
        })?;
        // Trailers carry nothing that an event could need.
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        budget.take(length)?;
        if length == data.len() {
            // Most bodies come in one piece, which is then used as it is.
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(announced.max(length));
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Bytes that are inflated before other requests have a turn.
const INFLATE_STEP: usize = 256 << 10;

/// Whether a body has to be inflated.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let first = encodings.next().map(HeaderValue::as_bytes);
    match (first, encodings.next()) {
        (None, _) => Ok(false),
        (Some(one), None) if one.eq_ignore_ascii_case(b"identity") => Ok(false),
        // RFC 9110, section 8.4.1.3: x-gzip is the same.
        (Some(one), None) if one.eq_ignore_ascii_case(b"gzip") || one.eq_ignore_ascii_case(b"x-gzip") => Ok(true),
        _ => {
            let detail = "of the content encodings only gzip is taken, once; send it so, or without Content-Encoding";
            let accept = HeaderValue::from_static("gzip");
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::CONTENT_ENCODING, detail);
            Err(problem.header(header::ACCEPT_ENCODING, accept))
        }
    }
}

/// Inflates a body as far as it may reach: what would be more is never made.
async fn inflate(body: &[u8], budget: &mut BodyBudget, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut decoder = flate2::bufread::MultiGzDecoder::new(body);
    let mut whole = Vec::new();
    loop {
        let room = bytes_max.saturating_sub(whole.len()).saturating_add(1).min(INFLATE_STEP);
        let step = (&mut decoder).take(room as u64).read_to_end(&mut whole).map_err(|e| {
            let detail = format!("the body says that it is gzip, and cannot be inflated: {e}");
            Problem::new(StatusCode::BAD_REQUEST, codes::BODY_GZIP, detail)
        })?;
        if whole.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        budget.take(body.len().saturating_add(whole.len()))?;
        if step == 0 {
            return Ok(whole.into());
        }
        tokio::task::yield_now().await;
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!(
        "the body is larger than {bytes_max} bytes (after it was inflated, if it is gzip), which is the limit for this content type"
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, codes::BODY_TOO_LARGE, detail)
}

/// This request's part of all bytes of bodies that the listener holds; given back when it is dropped.
struct BodyBudget {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
    mine: usize,
}

impl BodyBudget {
    /// Raises this request's part to `total` bytes.
    fn take(&mut self, total: usize) -> Result<(), Problem> {
        let more = total.saturating_sub(self.mine);
        if more == 0 {
            return Ok(());
        }
        let before = self.held.fetch_add(more, Ordering::Relaxed);
        self.mine = self.mine.saturating_add(more);
        if before.saturating_add(more) > self.bytes_max {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                codes::BODIES_FULL,
                "the listener holds as many bytes of requests as it may; send this again",
            )
            .retry_after(Duration::from_secs(1)));
        }
        Ok(())
    }
}

impl Drop for BodyBudget {
    fn drop(&mut self) {
        self.held.fetch_sub(self.mine, Ordering::Relaxed);
    }
}
