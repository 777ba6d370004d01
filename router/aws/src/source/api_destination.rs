//! What a rule of EventBridge sends to an API destination: one event in a request, with the credentials of its connection.
//!
//! EventBridge waits 5 s for an answer. It tries again, for a day, after 409, 429, every 5xx and no answer; after a 401 it
//! has a new token, where its connection is one of OAuth, and tries again. Every other 4xx ends an event: it goes to the
//! rule's dead-letter queue if there is one, and is gone otherwise [docs.aws.amazon.com/eventbridge, API destinations].
//! So these are answered only where another try cannot help:
//!
//! | what | answer |
//! |---|---|
//! | the event is durable, was there before, or went through here before | 200 |
//! | the intake is full or closed, the answer would be late ([`ANSWER_WITHIN`]), keys of tokens cannot be had | 503, Retry-After |
//! | no key or password, or a wrong one: somebody may be rotating it | 503, Retry-After |
//! | no token, or one that has ended or is for somebody else | 401 |
//! | a body that is no event | 422 |
//! | an event that is too large | 413 |

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use router_core::{
    id::SourceName,
    source::{IntakeClosed, Kind, Rejection},
};
use router_http::{
    Endpoint, Key, PathSpec,
    endpoint::{Request, Response},
    events::EventsError,
    intake::{CLOSED_RETRY_AFTER, Submit},
    jwt::{Denied, Verifier},
    keys::Keys,
    listener::is_path,
    problem::Problem,
};

use crate::{codes, wire::envelope};

/// An answer comes within this time; EventBridge waits 5 s.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// What `Retry-After` says to a request that nobody is known to have sent.
const UNKNOWN_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The header that an API key stands in, unless another is configured.
pub const API_KEY_HEADER: &str = "x-api-key";

/// Who a connection of EventBridge is, as it is told there.
pub enum Credentials {
    /// Everybody is let in.
    None,
    /// A header that holds one of these keys; several, so that they can be rotated.
    ApiKey(HeaderName, Vec<Arc<Key>>),
    /// A name, and one of these passwords.
    Basic(String, Vec<Arc<Key>>),
    /// A token of an authorization server.
    OAuth(Box<Verifier>),
}

/// An API destination's endpoint as it is configured.
pub struct ApiDestinationConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// Where it is mounted.
    pub path: String,
    /// Who may send.
    pub credentials: Credentials,
    /// An answer comes within this time: [`ANSWER_WITHIN`].
    pub answer_within: Duration,
}

impl ApiDestinationConfig {
    /// The defaults for a name and a path.
    pub fn new(name: SourceName, path: impl Into<String>) -> Self {
        let (path, credentials, answer_within) = (path.into(), Credentials::None, ANSWER_WITHIN);
        ApiDestinationConfig { name, path, credentials, answer_within }
    }
}

/// The endpoint of an API destination.
pub struct ApiDestination {
    paths: [PathSpec; 1],
    name: SourceName,
    known: Known,
    answer_within: Duration,
}

/// [`Credentials`], ready to be compared.
enum Known {
    Everybody,
    ApiKey(HeaderName, Keys),
    Basic(String, Keys),
    OAuth(Box<Verifier>),
}

impl ApiDestination {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: ApiDestinationConfig) -> Result<Self, EventsError> {
        let ApiDestinationConfig { name, path, credentials, answer_within } = config;
        if !is_path(&path) {
            return Err(EventsError::Path(path.into()));
        }
        let known = match credentials {
            Credentials::None => Known::Everybody,
            Credentials::ApiKey(header, keys) => Known::ApiKey(header, Keys::new(keys)?),
            Credentials::Basic(name, keys) => Known::Basic(name, Keys::new(keys)?),
            Credentials::OAuth(tokens) => Known::OAuth(tokens),
        };
        // What EventBridge lets one choose, where it carries a body.
        let methods = vec![Method::POST, Method::PUT, Method::PATCH];
        let paths = [PathSpec { path: path.into(), methods }];
        Ok(ApiDestination { paths, name, known, answer_within })
    }

    async fn take(&self, req: &mut Request, intake: &dyn Submit) -> Result<Response, Problem> {
        self.known.let_in(req.headers()).await.inspect_err(|problem| {
            tracing::warn!(code = %codes::NOT_LET_IN, source_name = %self.name, why = %problem.detail(), "a request at an API destination's path is not let in; if it is EventBridge's, it comes again");
        })?;
        let body = req.body(req.limits().batch_bytes_max).await?;
        let answered = intake.submit(&self.name, vec![envelope::read(body, "")]).await;
        match answered.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(_))) => Ok(Response::default()),
            Ok(Some(Err(rejection))) => Err(self.refused(&rejection)),
            // Nothing is known of it, which is the same to EventBridge.
            Ok(None) | Err(IntakeClosed) => {
                let detail = format!("{IntakeClosed}; send this again");
                let closed = Problem::new(StatusCode::SERVICE_UNAVAILABLE, router_http::codes::INTAKE_CLOSED, detail);
                Err(closed.retry_after(CLOSED_RETRY_AFTER))
            }
        }
    }

    fn refused(&self, rejection: &Rejection) -> Problem {
        let status = match rejection.kind {
            Kind::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Unauthorised => StatusCode::FORBIDDEN,
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let problem = Problem::new(status, rejection.code, String::from(&*rejection.message));
        let problem = problem.at(rejection.place.to_string());
        if let Kind::Busy { retry_after } = rejection.kind {
            return problem.retry_after(retry_after);
        }
        tracing::warn!(code = %codes::GIVEN_UP, source_name = %self.name, why = %rejection, "what EventBridge sent is never taken in: it ends in the dead-letter queue of its rule, or is gone if there is none");
        problem
    }
}

impl Known {
    async fn let_in(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Known::Everybody => Ok(()),
            Known::ApiKey(name, keys) => {
                let given = only(headers, name).ok_or_else(|| not_now(&format!("there is no header `{name}`")))?;
                keys.find(given.as_bytes()).map(drop).ok_or_else(|| not_now("the API key is none of this source's"))
            }
            Known::Basic(name, keys) => {
                let given = only(headers, &header::AUTHORIZATION).and_then(basic);
                let (user, password) = given.ok_or_else(|| not_now("there is no `Authorization: Basic …`"))?;
                // Both are looked at, whichever is wrong.
                let key = keys.find(password.as_bytes());
                let same = subtle::ConstantTimeEq::ct_eq(user.as_bytes(), name.as_bytes());
                key.filter(|_| same.into()).map(drop).ok_or_else(|| not_now("the name or the password is wrong"))
            }
            Known::OAuth(tokens) => tokens.check(headers, SystemTime::now()).await.map_err(|denied| match denied {
                Denied::Unknown(_) => not_now(&denied.to_string()),
                // EventBridge has a new one, and comes again.
                _ => Problem::new(StatusCode::UNAUTHORIZED, codes::CREDENTIALS, denied.to_string()),
            }),
        }
    }
}

/// A header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// RFC 7617.
fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, given) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let given = String::from_utf8(STANDARD.decode(given.trim()).ok()?).ok()?;
    given.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

/// A 401 or 403 would end the event.
fn not_now(why: &str) -> Problem {
    let detail = format!("{why}; write what the connection of the API destination sends into this source");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::CREDENTIALS, detail).retry_after(UNKNOWN_RETRY_AFTER)
}

#[async_trait]
impl Endpoint for ApiDestination {
    fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    fn asks_for_a_key(&self) -> bool {
        !matches!(self.known, Known::Everybody)
    }

    async fn handle(&self, mut req: Request, intake: &dyn Submit) -> Response {
        let within = self.answer_within;
        let answered = tokio::time::timeout(within, self.take(&mut req, intake)).await;
        let answered = answered.unwrap_or_else(|_| {
            let detail = format!("no answer within {within:?}; send this again, what is in already deduplicates");
            let late = Problem::new(StatusCode::SERVICE_UNAVAILABLE, router_http::codes::REQUEST_TIMEOUT, detail);
            Err(late.retry_after(CLOSED_RETRY_AFTER))
        });
        answered.unwrap_or_else(Problem::into_response)
    }
}
