//! What Event Grid's official clients publish, taken in directly: a program that publishes to a topic publishes to the
//! router when it is given the router's URL, and nothing else of it changes.
//!
//! | path | what |
//! |---|---|
//! | `POST /api/events` | a custom topic: CloudEvents, or Event Grid's own schema, as the `Content-Type` says |
//! | `POST /topics/NAME:publish` | a namespace topic: CloudEvents, one or a list |
//!
//! Who publishes shows a key of the source, as the clients do: `aeg-sas-key` (or in the query),
//! `Authorization: SharedAccessKey`, a signature made with it (`aeg-sas-token`, `Authorization: SharedAccessSignature`),
//! or a token of Entra ID.
//!
//! The answers are those of Event Grid: 200 when everything is durable; 400 for what is never taken, 401, 413; 503 with
//! `Retry-After`, which the clients heed. Of a list of which some is refused, what was taken is durable, and is found
//! as a duplicate when the list is sent again.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::Full;
use router_core::{
    id::SourceName,
    source::{IntakeClosed, Kind, RawEvent, Rejection},
};
use router_http::{
    Endpoint, Key, PathSpec, Secret,
    endpoint::{Request, Response},
    events::EventsError,
    intake::{CLOSED_RETRY_AFTER, Submit},
    jwt::{Denied, Verifier},
    keys::Keys,
    listener::is_path,
    problem::Problem,
};
use schemas::{Code, Event, Invalid, http::Mode};

use super::verdict;
use crate::{
    auth::sas::{self, percent_decode},
    codes, wire,
};

/// Where a custom topic is published to.
pub const PATH: &str = "/api/events";
/// Keys, signatures and tokens that a client may show.
const KEY_HEADER: &str = "aeg-sas-key";
const TOKEN_HEADER: &str = "aeg-sas-token";
/// What a publisher is told to wait when nobody can say who it is.
const UNKNOWN_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(10);

/// What official clients publish to, as it is configured.
pub struct PublishConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// Where custom topics are published to: [`PATH`].
    pub path: String,
    /// Namespace topics that are published to beside it, each at `/topics/NAME:publish`.
    pub topics: Vec<String>,
    /// The source of events in Event Grid's schema, which name none: the service would set the topic's resource id.
    pub topic: String,
    /// Keys, in base64 where signatures are made with them; none and no tokens: everyone may publish.
    pub keys: Vec<Arc<Key>>,
    /// Checks tokens of Entra ID.
    pub tokens: Option<Verifier>,
}

impl PublishConfig {
    /// The defaults for a name.
    pub fn new(name: SourceName) -> Self {
        let topic = format!("/eventgrid/{name}");
        PublishConfig { name, path: PATH.into(), topics: Vec::new(), topic, keys: Vec::new(), tokens: None }
    }
}

/// The endpoint that stands for a topic of Event Grid.
pub struct Publish {
    paths: Vec<PathSpec>,
    name: SourceName,
    custom: Box<str>,
    topic: String,
    keys: Keys,
    tokens: Option<Verifier>,
}

/// What a request is refused with.
struct Refusal {
    status: StatusCode,
    code: Code,
    message: String,
    retry_after: Option<std::time::Duration>,
}

impl Refusal {
    fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Refusal { status, code, message: message.into(), retry_after: None }
    }

    /// As Azure writes errors [microsoft/api-guidelines, azure/Guidelines.md, "Error response body"].
    fn into_response(self) -> Response {
        let code = match self.status {
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            _ => "BadRequest",
        };
        let inner = serde_json::json!([{ "code": self.code.0, "message": self.message }]);
        let error = serde_json::json!({ "error": { "code": code, "message": self.message, "details": inner } });
        let mut response = json(error.to_string());
        *response.status_mut() = self.status;
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}

impl Publish {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: PublishConfig) -> Result<Self, EventsError> {
        let PublishConfig { name, path, topics, topic, keys, tokens } = config;
        let namespaces = topics.iter().map(|topic| format!("/topics/{topic}:publish"));
        let paths: Vec<PathSpec> = std::iter::once(path.clone())
            .chain(namespaces)
            .map(|path| PathSpec { path: path.into(), methods: vec![Method::POST] })
            .collect();
        if let Some(wrong) = paths.iter().find(|spec| !is_path(&spec.path)) {
            return Err(EventsError::Path(wrong.path.clone()));
        }
        Ok(Publish { paths, name, custom: path.into(), topic, keys: Keys::new(keys)?, tokens })
    }

    async fn take(&self, req: &mut Request, intake: &dyn Submit) -> Result<Response, Refusal> {
        self.known(req.uri(), req.headers()).await?;
        let body = req.body(req.limits().batch_bytes_max).await.map_err(|problem| told(&problem))?;
        let custom = req.uri().path() == &*self.custom;
        let batch = self.decode(req.headers(), &body, custom, req.limits().batch_count_max)?;
        let count = batch.len();
        let raw: Vec<RawEvent> = batch.into_iter().map(RawEvent::from).collect();
        let results = intake.submit(&self.name, raw).await.map_err(|IntakeClosed| Refusal {
            retry_after: Some(CLOSED_RETRY_AFTER),
            ..Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                router_http::codes::INTAKE_CLOSED,
                format!("{IntakeClosed}; send this again"),
            )
        })?;
        let refused: Vec<&Rejection> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        let Some((status, first)) = verdict(&refused) else {
            // The clients of namespaces read JSON, those of topics read nothing.
            return Ok(if custom { Response::default() } else { json("{}".into()) });
        };
        let message = format!("{} of {count} events are refused, the first: {first}", refused.len());
        let retry_after = if let Kind::Busy { retry_after } = first.kind { Some(retry_after) } else { None };
        Err(Refusal { retry_after, ..Refusal::new(status, first.code, message) })
    }

    fn decode(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        custom: bool,
        count_max: usize,
    ) -> Result<Vec<Result<Event, Invalid>>, Refusal> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let read = match schemas::http::mode(kind) {
            Mode::Batch => schemas::json::decode_batch(body, count_max),
            Mode::Structured => Ok(vec![schemas::json::decode(body)]),
            Mode::Binary if headers.contains_key("ce-specversion") => {
                Ok(vec![schemas::http::decode_binary(headers, body.clone())])
            }
            Mode::Binary if custom => {
                let topic = Some(self.topic.as_str());
                wire::split(body, count_max).map(|events| events.into_iter().map(|e| wire::decode(e, topic)).collect())
            }
            Mode::Binary => {
                let message = "a namespace topic takes CloudEvents: as `ce-` headers, application/cloudevents+json, or application/cloudevents-batch+json";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, codes::EVENT_SCHEMA, message));
            }
        };
        read.map_err(|invalid| {
            let status = match invalid.code == schemas::codes::BATCH_TOO_LONG {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            };
            Refusal::new(status, invalid.code, invalid.to_string())
        })
    }

    /// Whether a request shows one of the keys, something signed with one, or a token.
    async fn known(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.keys.is_empty() && self.tokens.is_none() {
            return Ok(());
        }
        match shown(uri, headers) {
            Some(Shown::Key(key)) if self.keys.find(key.as_bytes()).is_some() => Ok(()),
            Some(Shown::Key(_)) => Err(unknown("the key is none of this source's")),
            Some(Shown::Signature(token)) => {
                let keys: Vec<Secret> = self.keys.iter().map(|key| key.secret()).collect();
                sas::verify(&token, &keys, uri.path(), SystemTime::now()).map_err(|why| unknown(why.to_string()))
            }
            Some(Shown::Bearer) => match &self.tokens {
                None => Err(unknown("this source takes keys and signatures, and no tokens")),
                Some(tokens) => tokens.check(headers, SystemTime::now()).await.map_err(|denied| match denied {
                    Denied::Unknown(_) => Refusal {
                        retry_after: Some(UNKNOWN_RETRY_AFTER),
                        ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, codes::KEYS_UNREACHABLE, denied.to_string())
                    },
                    denied => unknown(denied.to_string()),
                }),
            },
            None => Err(unknown("send the key as `aeg-sas-key`, as the official clients do with AzureKeyCredential")),
        }
    }
}

#[async_trait]
impl Endpoint for Publish {
    fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    fn asks_for_a_key(&self) -> bool {
        !self.keys.is_empty() || self.tokens.is_some()
    }

    async fn handle(&self, mut req: Request, intake: &dyn Submit) -> Response {
        self.take(&mut req, intake).await.unwrap_or_else(Refusal::into_response)
    }
}

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Key(String),
    Signature(String),
    Bearer,
}

fn shown(uri: &Uri, headers: &HeaderMap) -> Option<Shown> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = |given: &str, scheme: &str| {
        let (head, rest) = given.split_at_checked(scheme.len())?;
        (head.eq_ignore_ascii_case(scheme) && rest.starts_with(' ')).then(|| rest.trim().to_owned())
    };
    let query = |name: &str| {
        let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        // In a query `+` is left as it stands: keys are base64.
        pairs.find(|(n, _)| *n == name).and_then(|(_, value)| percent_decode(&value.replace('+', "%2B")))
    };
    if let Some(key) = text(KEY_HEADER) {
        return Some(Shown::Key(key.to_owned()));
    }
    if let Some(token) = text(TOKEN_HEADER) {
        return Some(Shown::Signature(token.to_owned()));
    }
    if let Some(given) = text(header::AUTHORIZATION.as_str()) {
        let key = scheme(given, "SharedAccessKey").map(Shown::Key);
        let signature = || scheme(given, "SharedAccessSignature").map(Shown::Signature);
        let bearer = || scheme(given, "Bearer").map(|_| Shown::Bearer);
        return key.or_else(signature).or_else(bearer);
    }
    query(KEY_HEADER).map(Shown::Key)
}

fn unknown(why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, codes::PUBLISHER_UNKNOWN, why)
}

/// A body that could not be read.
fn told(problem: &Problem) -> Refusal {
    let passing = problem.status().is_server_error();
    let retry_after = passing.then_some(UNKNOWN_RETRY_AFTER);
    Refusal { retry_after, ..Refusal::new(problem.status(), problem.code(), problem.detail()) }
}

fn json(body: String) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
