//! Where replies go: into the answer, or to `OUTPUT_URL` before the event counts as handled.
//!
//! | `OUTPUT_URL` | a trigger whose answer is read (HTTP, the router) | any other (push, buses) | an SQS batch |
//! |---|---|---|---|
//! | not set | in the answer | refused | refused |
//! | `answer` | in the answer | in the answer: for a Lambda destination, an Azure output binding | refused |
//! | a URL | posted there as CloudEvents | posted there | posted there |
//!
//! Refused means that a function that may reply fails before it works: its events would be lost.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use schemas::Event;
use tokio::time::Instant;

use crate::{
    function::{Failure, Function},
    settings::{SettingError, Settings},
};

/// The setting.
pub const OUTPUT_URL: &str = "OUTPUT_URL";
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Bytes that are read of an answer, for the log.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of an answer that a message repeats.
const ANSWER_CHARS_SHOWN_MAX: usize = 300;

/// Whether whoever brought the event reads the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It does.
    Sender,
    /// It looks at success and failure only; something behind it may take the answer, if `OUTPUT_URL` says so.
    Nobody,
    /// The answer has no room for events.
    NoRoom,
}

/// Where replies go.
pub(crate) enum Outlet {
    Unset,
    Answer,
    Url { client: Box<HttpClient>, uri: Uri, shown: String },
}

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;
type HttpClient = Client<Connector, Full<Bytes>>;

impl Outlet {
    /// Reads the setting.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingError> {
        let url = match settings.get(OUTPUT_URL) {
            None => return Ok(Outlet::Unset),
            Some("answer") => return Ok(Outlet::Answer),
            Some(url) => url,
        };
        let invalid = |why: &str| SettingError::new(OUTPUT_URL, why);
        let uri: Uri = url.parse().map_err(|_| invalid("is neither `answer` nor a URL like https://host/events"))?;
        let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(|| invalid("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("holds a user name or a password, which would be logged; leave them out"));
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err(invalid("begins with https://, and this program is built without tls")),
            _ => return Err(invalid("begins neither with https:// nor with http://")),
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector().map_err(|e| invalid(&format!("cannot be called: {e}")))?);
        let shown = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        Ok(Outlet::Url { client: Box::new(client), uri, shown })
    }

    /// Whether replies have somewhere to go.
    pub(crate) fn check<F: Function>(&self, reader: Reader) -> Result<(), Failure> {
        let message = match (self, reader) {
            _ if F::EMITS.is_empty() => return Ok(()),
            (Outlet::Unset, Reader::Nobody) => {
                "nobody reads the answer of this trigger, and the function's events would be lost: set OUTPUT_URL to \
                 where they go, or to `answer` where a destination or a binding takes them"
            }
            (Outlet::Unset | Outlet::Answer, Reader::NoRoom) => {
                "the answer of this trigger has no room for events, and the function's would be lost: set OUTPUT_URL \
                 to where they go"
            }
            _ => return Ok(()),
        };
        Err(Failure::unavailable("output-nowhere", message))
    }

    /// Posts the events, if that is where they go: then `true`.
    pub(crate) async fn send(&self, events: &[Event], deadline: Instant) -> Result<bool, Failure> {
        let Outlet::Url { client, uri, shown } = self else { return Ok(false) };
        if events.is_empty() {
            return Ok(true);
        }
        let failed = |why: String| Failure::unavailable("output-failed", format!("{OUTPUT_URL} {shown}: {why}"));
        let (media_type, body) = match events {
            [event] => (schemas::json::MEDIA_TYPE, schemas::json::encode(event)),
            events => (schemas::json::BATCH_MEDIA_TYPE, schemas::json::encode_batch(events)),
        };
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        let sent = tokio::time::timeout_at(deadline, client.request(request)).await;
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => return Err(failed(format!("no answer: {}", causes(&e)))),
            Err(_) => return Err(failed("no answer before the deadline".into())),
        };
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = tokio::time::timeout_at(deadline, body).await.ok().and_then(Result::ok);
        if status.is_success() {
            return Ok(true);
        }
        let said = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).chars().take(ANSWER_CHARS_SHOWN_MAX).collect());
        let why = format!("answered {status}: {}", said.unwrap_or_else(String::new));
        // It took nothing, or not all of it. What it refuses for good is refused for good.
        match status.as_u16() {
            400 | 405 | 413 | 414 | 415 | 422 => Err(Failure { kind: crate::Kind::Refuse, ..failed(why) }),
            _ => Err(failed(why)),
        }
    }
}

#[cfg(feature = "tls")]
fn connector() -> Result<Connector, rustls::Error> {
    use hyper_rustls::ConfigBuilderExt;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = match builder.clone().with_native_roots() {
        Ok(config) => config.with_no_client_auth(),
        // Without roots every https connection fails at its handshake, with a clear error.
        Err(_) => builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
    };
    Ok(hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp))
}

#[cfg(not(feature = "tls"))]
fn connector() -> Result<Connector, std::convert::Infallible> {
    Ok(HttpConnector::new())
}

/// An error and its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
