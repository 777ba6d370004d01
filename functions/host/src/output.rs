//! Where replies go: into the answer, or to `OUTPUT_URL` before the event counts as handled.
//!
//! | `OUTPUT_URL` | a trigger whose answer is read (HTTP, the router) | any other (push, buses) | an SQS batch |
//! |---|---|---|---|
//! | not set | in the answer | refused | refused |
//! | `answer` | in the answer | in the answer: for a Lambda destination, an Azure output binding | refused |
//! | a URL | posted there as CloudEvents | posted there | posted there |
//!
//! Refused means that a function that may reply fails before it works: its events would be lost.

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use schemas::Event;
use tokio::time::Instant;

use crate::{
    function::{Failure, Function},
    http::{DEADLINE_MARGIN, Pool},
    settings::{SettingError, Settings},
};

/// The setting.
pub const OUTPUT_URL: &str = "OUTPUT_URL";
/// The setting of what is shown there, as `Authorization: Bearer …`: a key of a source of the router, or another's token.
pub const OUTPUT_BEARER: &str = "OUTPUT_BEARER";
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
    Url { uri: Uri, shown: String, bearer: Option<HeaderValue> },
}

impl Outlet {
    /// Reads the setting.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingError> {
        let bearer = bearer(settings)?;
        let url = match settings.get(OUTPUT_URL) {
            None | Some("answer") if bearer.is_some() => {
                let message =
                    format!("is shown to where replies are posted, and {OUTPUT_URL} is no URL; set both or none");
                return Err(SettingError::new(OUTPUT_BEARER, message));
            }
            None => return Ok(Outlet::Unset),
            Some("answer") => return Ok(Outlet::Answer),
            Some(url) => url,
        };
        let uri = crate::http::url(url).map_err(|why| SettingError::new(OUTPUT_URL, why))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let shown = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        Ok(Outlet::Url { uri, shown, bearer })
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
    pub(crate) async fn send(&self, events: &[Event], pool: &Pool, deadline: Instant) -> Result<bool, Failure> {
        let Outlet::Url { uri, shown, bearer } = self else { return Ok(false) };
        if events.is_empty() {
            return Ok(true);
        }
        let failed = |why: String| Failure::unavailable("output-failed", format!("{OUTPUT_URL} {shown}: {why}"));
        let (media_type, body) = match events {
            [event] => (schemas::json::MEDIA_TYPE, schemas::json::encode(event)),
            events => (schemas::json::BATCH_MEDIA_TYPE, schemas::json::encode_batch(events)),
        };
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(bearer) = bearer {
            request.headers_mut().insert(header::AUTHORIZATION, bearer.clone());
        }
        // The whole deadline is the answer's: nothing is left to do after it.
        let http = pool.until(deadline + DEADLINE_MARGIN);
        let answer = http.stream(request, deadline.saturating_duration_since(Instant::now()), ANSWER_BYTES_MAX).await;
        let mut answer = answer.map_err(|e| failed(e.to_string()))?;
        let (status, mut said) = (answer.status, Vec::new());
        while let Ok(Some(chunk)) = answer.chunk().await {
            said.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(true);
        }
        let said: String = String::from_utf8_lossy(&said).chars().take(ANSWER_CHARS_SHOWN_MAX).collect();
        let why = format!("answered {status}: {said}");
        // It took nothing, or not all of it. What it refuses for good is refused for good.
        match status.as_u16() {
            400 | 405 | 413 | 414 | 415 | 422 => Err(Failure { kind: crate::Kind::Refuse, ..failed(why) }),
            _ => Err(failed(why)),
        }
    }
}

/// The header that shows it.
fn bearer(settings: &Settings) -> Result<Option<HeaderValue>, SettingError> {
    let Some(token) = settings.get(OUTPUT_BEARER).map(str::trim) else { return Ok(None) };
    // RFC 6750, section 2.1, writes a token in fewer characters; keys of the router have any that a header may.
    let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = fits.then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok()).flatten();
    let message =
        "is empty or holds a space, a line break or a character outside ASCII: give the token alone, without `Bearer`";
    let mut value = value.ok_or_else(|| SettingError::new(OUTPUT_BEARER, message))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
