//! What Event Grid delivers to a webhook: both handshakes, both schemas, one event or a list.
//!
//! Event Grid gives an event up at once when a webhook answers 400, 401, 403 or 413
//! [MicrosoftDocs/azure-docs, articles/event-grid/delivery-and-retry.md], and tries again for hours after any other
//! failure. So those four are answered only where another try cannot help:
//!
//! | what | answer |
//! |---|---|
//! | everything is durable, was there before, or went through here before | 200 |
//! | the intake is full or closed, the answer would be late ([`ANSWER_WITHIN`]), keys cannot be had | 503, Retry-After |
//! | a delivery without a secret or a token, or with a wrong one: somebody may be rotating it | 503, Retry-After |
//! | a handshake without, or with a wrong one: nothing is lost, and who makes the subscription sees it | 401 |
//! | an event that is none, or a body that is no list of events | 400 |
//! | an event that is too large | 413 |
//!
//! The headers that Event Grid adds (`aeg-…`) are kept with each event as facts: shown, and never delivered.

use std::{sync::Arc, time::Duration, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::Full;
use router_core::{
    id::SourceName,
    source::{IntakeClosed, Kind, RawEvent, Rejection},
};
use router_http::{
    Endpoint, Key, KeyError, PathSpec,
    endpoint::{Request, Response},
    events::{self, EventsError},
    intake::{CLOSED_RETRY_AFTER, Submit},
    jwt::{Denied, Verifier},
    keys::Keys,
    listener::is_path,
    problem::Problem,
};
use schemas::{Event, Invalid, http::Mode};

use super::{validate::Validation, verdict};
use crate::{auth::sas::percent_decode, codes, wire};

/// An answer comes within this time, whatever happens; Event Grid waits 30 s.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(25);
/// What `Retry-After` says to a delivery that nobody is known to have sent.
const UNKNOWN_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The parameter of the query that holds the secret.
pub const SECRET_PARAMETER: &str = "key";

/// A webhook as it is configured.
pub struct WebhookConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// Where it is mounted.
    pub path: String,
    /// The secrets that the URL's `?key=` may hold, several at once so that they can be rotated; none: not asked for.
    pub keys: Vec<Arc<Key>>,
    /// Checks the token of Entra ID; `None`: not asked for. With both, both are asked for.
    pub tokens: Option<Verifier>,
    /// Answers a handshake without its code, and calls Event Grid back instead.
    pub manual_validation: Option<Validation>,
    /// An answer comes within this time: [`ANSWER_WITHIN`].
    pub answer_within: Duration,
}

impl WebhookConfig {
    /// The defaults for a name and a path.
    pub fn new(name: SourceName, path: impl Into<String>) -> Self {
        let (path, answer_within) = (path.into(), ANSWER_WITHIN);
        WebhookConfig { name, path, keys: Vec::new(), tokens: None, manual_validation: None, answer_within }
    }
}

/// The endpoint of a webhook subscription.
pub struct Webhook {
    paths: [PathSpec; 1],
    name: SourceName,
    keys: Keys,
    tokens: Option<Verifier>,
    manual: Option<Validation>,
    answer_within: Duration,
}

impl Webhook {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: WebhookConfig) -> Result<Self, EventsError> {
        let WebhookConfig { name, path, keys, tokens, manual_validation, answer_within } = config;
        if !is_path(&path) {
            return Err(EventsError::Path(path.into()));
        }
        let paths = [PathSpec { path: path.into(), methods: vec![Method::POST, Method::OPTIONS] }];
        let keys = Keys::new(keys).map_err(|e: KeyError| EventsError::Key(e))?;
        Ok(Webhook { paths, name, keys, tokens, manual: manual_validation, answer_within })
    }

    async fn take(&self, req: &mut Request, intake: &dyn Submit) -> Result<Response, Problem> {
        let known = self.known(req.uri(), req.headers()).await;
        if req.method() == Method::OPTIONS {
            known.map_err(unauthorised)?;
            return self.grant(req.headers());
        }
        let kind = header_text(req.headers(), "aeg-event-type").unwrap_or_default().to_owned();
        let validation = kind.eq_ignore_ascii_case("SubscriptionValidation");
        match known {
            Ok(()) => {}
            Err(why) if validation => return Err(unauthorised(why)),
            Err(why) => return Err(self.not_now(why)),
        }
        let body = req.body(req.limits().batch_bytes_max).await?;
        let batch = decode(req.headers(), &body, req.limits().batch_count_max).map_err(|e| self.not_events(&e))?;
        if let Some(code) = handshake(&batch, validation) {
            return self.validate(code?);
        }
        if kind.eq_ignore_ascii_case("SubscriptionDeletion") {
            let subscription = header_text(req.headers(), "aeg-subscription-name").unwrap_or_default();
            tracing::warn!(code = %codes::SUBSCRIPTION_DELETED, source = %self.name, subscription, "a subscription of Event Grid to this source was deleted: no more events come through it");
        }
        self.submit(batch, req.headers(), intake).await
    }

    /// Whether the request is Event Grid's.
    async fn known(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Unknown> {
        if !self.keys.is_empty() {
            let given = uri.query().and_then(|query| parameter(query, SECRET_PARAMETER));
            if given.is_none_or(|given| self.keys.find(given.as_bytes()).is_none()) {
                return Err(Unknown::Secret);
            }
        }
        match &self.tokens {
            None => Ok(()),
            Some(tokens) => tokens.check(headers, SystemTime::now()).await.map_err(Unknown::Token),
        }
    }

    /// A delivery that nobody is known to have sent: it stays with Event Grid.
    fn not_now(&self, why: Unknown) -> Problem {
        let (code, detail) = why.told();
        tracing::warn!(code = %codes::WEBHOOK_REFUSED, source = %self.name, why = detail, "a delivery is not taken in; if it is Event Grid's, it comes again");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(UNKNOWN_RETRY_AFTER)
    }

    fn not_events(&self, invalid: &Invalid) -> Problem {
        tracing::warn!(code = %codes::WEBHOOK_REFUSED, source = %self.name, why = %invalid, "a delivery that holds no events is refused for good; Event Grid keeps it only in a dead-letter container of the subscription");
        Problem::new(StatusCode::BAD_REQUEST, invalid.code, String::from(&*invalid.message))
            .at(invalid.place.to_string())
    }

    /// Answers the handshake of CloudEvents subscriptions (HTTP webhook, section 4).
    fn grant(&self, headers: &HeaderMap) -> Result<Response, Problem> {
        if !headers.contains_key(events::ORIGIN) {
            let detail = "OPTIONS is answered only with `WebHook-Request-Origin`, as Event Grid sends it";
            let allow = HeaderValue::from_static("POST, OPTIONS");
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, router_http::codes::METHOD, detail);
            return Err(problem.header(header::ALLOW, allow));
        }
        if let (Some(manual), Some(url)) = (&self.manual, header_text(headers, "webhook-request-callback")) {
            manual.call_back(&self.name, url)?;
            return Ok(Response::default());
        }
        events::grant(headers, None)
    }

    /// Answers the handshake of subscriptions in Event Grid's schema.
    fn validate(&self, code: Handshake) -> Result<Response, Problem> {
        if let Some(manual) = &self.manual {
            manual.call_back(&self.name, code.url.as_deref().unwrap_or_default())?;
            return Ok(Response::default());
        }
        tracing::info!(source = %self.name, "a subscription of Event Grid was validated");
        let answer = serde_json::json!({ "validationResponse": code.code });
        let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    async fn submit(
        &self,
        batch: Vec<Result<Event, Invalid>>,
        headers: &HeaderMap,
        intake: &dyn Submit,
    ) -> Result<Response, Problem> {
        let facts: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("aeg-"))
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let batch: Vec<RawEvent> = batch.into_iter().map(|event| with_facts(event, &facts).into()).collect();
        let count = batch.len();
        let results = intake.submit(&self.name, batch).await.map_err(|IntakeClosed| {
            let detail = format!("{IntakeClosed}; send this again");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, router_http::codes::INTAKE_CLOSED, detail)
                .retry_after(CLOSED_RETRY_AFTER)
        })?;
        let refused: Vec<&Rejection> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        match verdict(&refused) {
            None => Ok(accepted(count)),
            Some((status, first)) => {
                if status != StatusCode::SERVICE_UNAVAILABLE {
                    tracing::warn!(code = %codes::WEBHOOK_REFUSED, source = %self.name, refused = refused.len(), of = count, why = %first, "events are refused for good; Event Grid keeps them only in a dead-letter container of the subscription");
                }
                let detail = format!("{} of {count} events are refused, the first: {}", refused.len(), first.message);
                let mut problem = Problem::new(status, first.code, detail).at(first.place.to_string());
                if let Kind::Busy { retry_after } = first.kind {
                    problem = problem.retry_after(retry_after);
                }
                Err(problem)
            }
        }
    }
}

#[async_trait]
impl Endpoint for Webhook {
    fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    fn asks_for_a_key(&self) -> bool {
        !self.keys.is_empty() || self.tokens.is_some()
    }

    async fn handle(&self, mut req: Request, intake: &dyn Submit) -> Response {
        match tokio::time::timeout(self.answer_within, self.take(&mut req, intake)).await {
            Ok(answer) => answer.unwrap_or_else(Problem::into_response),
            Err(_) => {
                let detail = "this was not durable in time; send it again, what is in already deduplicates";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::ANSWER_LATE, detail);
                problem.retry_after(CLOSED_RETRY_AFTER).into_response()
            }
        }
    }
}

/// Why a request is not known to be Event Grid's.
enum Unknown {
    Secret,
    Token(Denied),
}

impl Unknown {
    fn told(&self) -> (schemas::Code, String) {
        match self {
            Unknown::Secret => {
                (codes::WEBHOOK_SECRET, "the URL has no `?key=` with one of the secrets of this source".into())
            }
            Unknown::Token(Denied::Unknown(why)) => (codes::KEYS_UNREACHABLE, format!("{why}; send this again")),
            Unknown::Token(denied) => (codes::WEBHOOK_TOKEN, denied.to_string()),
        }
    }
}

/// A handshake that is not Event Grid's, or is not known to be.
fn unauthorised(why: Unknown) -> Problem {
    let (code, detail) = why.told();
    if let Unknown::Token(Denied::Unknown(_)) = why {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(UNKNOWN_RETRY_AFTER);
    }
    Problem::new(StatusCode::UNAUTHORIZED, code, detail)
}

/// The value of a parameter of a query.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(n, _)| *n == name).and_then(|(_, value)| percent_decode(value))
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The events of a delivery; one that is none stands among the others.
///
/// # Errors
/// A body of which nothing can be told apart.
fn decode(headers: &HeaderMap, body: &Bytes, count_max: usize) -> Result<Vec<Result<Event, Invalid>>, Invalid> {
    let kind = header_text(headers, header::CONTENT_TYPE.as_str());
    match schemas::http::mode(kind) {
        Mode::Batch => schemas::json::decode_batch(body, count_max),
        Mode::Structured => Ok(vec![schemas::json::decode(body)]),
        Mode::Binary if headers.contains_key("ce-specversion") => {
            Ok(vec![schemas::http::decode_binary(headers, body.clone())])
        }
        Mode::Binary => {
            Ok(wire::split(body, count_max)?.into_iter().map(|event| wire::decode_event_grid(event, None)).collect())
        }
    }
}

/// What a handshake in Event Grid's schema says.
struct Handshake {
    code: String,
    url: Option<String>,
}

const VALIDATION: &str = "Microsoft.EventGrid.SubscriptionValidationEvent";

/// The handshake that a delivery is, by its header or by its only event.
fn handshake(batch: &[Result<Event, Invalid>], by_header: bool) -> Option<Result<Handshake, Problem>> {
    let event = if let [Ok(event)] = batch { Some(event) } else { None };
    if !by_header && event.is_none_or(|event| event.kind() != VALIDATION) {
        return None;
    }
    let data = event.and_then(|event| serde_json::from_slice::<serde_json::Value>(event.data()).ok());
    let text = |name: &str| data.as_ref().and_then(|data| data.get(name)?.as_str().map(str::to_owned));
    let read = text("validationCode").filter(|code| code.len() <= 1024);
    let detail = "a handshake is one event whose data has a `validationCode`";
    let none = || Problem::new(StatusCode::BAD_REQUEST, codes::VALIDATION_EVENT, detail);
    Some(read.map(|code| Handshake { code, url: text("validationUrl") }).ok_or_else(none))
}

fn with_facts(event: Result<Event, Invalid>, facts: &[(&str, &str)]) -> Result<Event, Invalid> {
    let event = event?;
    if facts.is_empty() {
        return Ok(event);
    }
    facts.iter().fold(event.rebuild(), |event, (name, value)| event.fact(name, value)).build()
}

fn accepted(count: usize) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(format!(r#"{{"accepted":{count}}}"#))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
