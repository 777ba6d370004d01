//! The admin side: a JSON API for operators and the command line, metrics for scrapers, health for
//! probes. Who may call what is in [`guard`]; errors are `application/problem+json`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the process answers |
//! | `GET /readyz` | 200 while events are taken in, else 503 |
//! | `GET /metrics` | OpenMetrics text, names in [`names`] |
//! | `GET /api/status` | [`view::Status`] |
//! | `GET /api/routes` | [`view::Routes`] |
//! | `GET /api/dead-letters?route=&reason=&after=&count=` | [`view::DeadLetters`] |
//! | `GET /api/dead-letters/ID` | [`view::DeadLetter`] with its event |
//! | `POST /api/filters/explain` with [`explain::Question`] | [`router_core::filter::Explanation`] |
//! | `POST /api/dead-letters/redrive` with [`view::Redrive`] | [`view::Redriven`] |

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path as UrlPath, Query, State, rejection::JsonRejection, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use router_core::{
    clock::Clock,
    id::{DeliveryId, RouteName},
    path::{Path, RouteSpec},
    stats::LaneStateName,
    store::{self, Page, Selection},
};
use router_http::problem::Problem;
use schemas::Code;
use serde::Deserialize;

use crate::codes;

/// Who may call.
pub mod guard;

/// Why an event does not reach a route.
pub mod explain;

/// Figures for scrapers.
pub mod metrics;

/// Names of figures.
pub mod names;

/// The token.
pub mod token;

/// What the API says.
pub mod view;

/// Dead letters of one page, when nothing is asked.
pub const COUNT: usize = 100;
/// Dead letters of one page at most.
pub const COUNT_MAX: usize = 1_000;
/// Ids of one redrive at most.
pub const IDS_MAX: usize = 10_000;
/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 2 << 20;

/// What the handlers answer from.
pub struct Api {
    /// The running path.
    pub path: Arc<Path>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When the router was started.
    pub started: router_core::clock::Timestamp,
    /// The routes as they are configured.
    pub routes: Vec<RouteSpec>,
    /// Whether events are taken in.
    pub ready: AtomicBool,
}

type Shared = State<Arc<Api>>;
type Answer = Result<Response, Refusal>;

/// All paths, behind the guard.
pub fn router(api: Arc<Api>, guard: guard::Guard) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/status", get(status))
        .route("/api/routes", get(routes))
        .route("/api/filters/explain", post(explain::explain))
        .route("/api/dead-letters", get(dead_letters))
        .route("/api/dead-letters/redrive", post(redrive))
        .route("/api/dead-letters/{id}", get(dead_letter))
        .fallback(async || {
            Refusal(Problem::new(
                StatusCode::NOT_FOUND,
                codes::NO_SUCH_PATH,
                "nothing is here; the API is under `/api`",
            ))
        })
        .method_not_allowed_fallback(async || {
            Refusal(Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                codes::METHOD_NOT_ALLOWED,
                "this path takes another method",
            ))
        })
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .with_state(api)
}

/// An answer of `router-http` as one of axum.
fn answer(response: router_http::endpoint::Response) -> Response {
    response.map(Body::new)
}

/// An error answer.
struct Refusal(Problem);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        answer(self.0.into_response())
    }
}

impl From<store::Error> for Refusal {
    fn from(e: store::Error) -> Self {
        Refusal(Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::STORE, e.to_string()))
    }
}

impl From<JsonRejection> for Refusal {
    fn from(e: JsonRejection) -> Self {
        Refusal(Problem::new(e.status(), codes::BODY, e.body_text()))
    }
}

impl From<QueryRejection> for Refusal {
    fn from(e: QueryRejection) -> Self {
        Refusal(Problem::new(e.status(), codes::QUERY, e.body_text()))
    }
}

fn bad(code: Code, detail: impl Into<String>) -> Refusal {
    Refusal(Problem::new(StatusCode::BAD_REQUEST, code, detail.into()))
}

async fn readyz(State(api): Shared) -> Response {
    if api.ready.load(Ordering::Relaxed) {
        "ready\n".into_response()
    } else {
        let detail = "no events are taken in: the router is starting or stopping, or its store has failed";
        Refusal(Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::NOT_READY, detail)).into_response()
    }
}

async fn metrics_text(State(api): Shared) -> Answer {
    // A store that failed still leaves the counters to be seen.
    let status = api.path.status().await.ok();
    match metrics::render(api.path.stats(), status, api.clock.wall()) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()),
        Err(e) => Err(Refusal(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, codes::METRICS, e.to_string()))),
    }
}

async fn status(State(api): Shared) -> Answer {
    Ok(Json(view::Status::new(api.path.status().await?, api.started)).into_response())
}

async fn routes(State(api): Shared) -> Answer {
    let status = api.path.status().await?;
    let breaker =
        |target: Option<&str>| status.targets.iter().find(|t| Some(t.name.as_str()) == target).map(|t| t.breaker);
    let mut routes: Vec<view::Configured> = Vec::with_capacity(status.routes.len());
    for now in &status.routes {
        let spec = api.routes.iter().find(|r| r.name == now.name).filter(|_| now.state != LaneStateName::Orphaned);
        let target = now.target.as_ref().map(|t| t.as_str());
        routes.push(view::Configured {
            name: now.name.to_string(),
            bus: now.bus.to_string(),
            target: target.map(Into::into),
            filter: spec.and_then(|s| s.filter.as_ref()).and_then(|f| serde_json::to_value(f).ok()),
            retry: spec.map(|s| view::Retry::from(&s.retry)),
            state: now.state,
            breaker: breaker(target),
            waiting: now.waiting,
            dead_letters: now.dead_letters,
        });
    }
    Ok(Json(view::Routes { routes }).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    route: Option<String>,
    reason: Option<String>,
    after: Option<String>,
    count: Option<usize>,
}

fn route_name(name: Option<&str>) -> Result<Option<RouteName>, Refusal> {
    name.map(RouteName::new).transpose().map_err(|e| bad(codes::ROUTE, e.to_string()))
}

fn delivery_id(id: &str) -> Result<DeliveryId, Refusal> {
    id.parse().map_err(|e: router_core::id::DeliveryIdError| bad(codes::ID, e.to_string()))
}

async fn dead_letters(State(api): Shared, query: Result<Query<Listing>, QueryRejection>) -> Answer {
    let Query(listing) = query?;
    let count = listing.count.unwrap_or(COUNT);
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(bad(codes::COUNT, format!("count is 1 to {COUNT_MAX}; ask for further ones with `after`")));
    }
    let which = Selection {
        route: route_name(listing.route.as_deref())?,
        reason: listing.reason.map(Into::into),
        ..Selection::default()
    };
    let after = listing.after.as_deref().map(delivery_id).transpose()?;
    // One more than asked for tells whether a page follows.
    let mut found = api.path.dead_letters(&which, Page { after, count_max: count + 1 }).await?;
    let more = found.len() > count;
    found.truncate(count);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    let dead_letters = found.into_iter().map(|letter| view::DeadLetter::new(letter, None)).collect();
    Ok(Json(view::DeadLetters { dead_letters, next }).into_response())
}

async fn dead_letter(State(api): Shared, UrlPath(id): UrlPath<String>) -> Answer {
    let id = delivery_id(&id)?;
    let which = Selection { ids: Some(vec![id]), ..Selection::default() };
    let found = api.path.dead_letters(&which, Page { after: None, count_max: 1 }).await?;
    let Some(letter) = found.into_iter().next() else {
        let detail = format!("there is no open dead letter {id}; it may have been redriven meanwhile");
        return Err(Refusal(Problem::new(StatusCode::NOT_FOUND, codes::NO_SUCH_DEAD_LETTER, detail)));
    };
    let record = api.path.record(&id).await?;
    Ok(Json(view::DeadLetter::new(letter, record.as_ref())).into_response())
}

async fn redrive(State(api): Shared, body: Result<Json<view::Redrive>, JsonRejection>) -> Answer {
    let Json(asked) = body?;
    let narrowed = asked.route.is_some() || asked.reason.is_some() || asked.ids.is_some();
    if asked.all == narrowed {
        let detail = "give `route`, `reason` or `ids`, or else `\"all\": true` for every dead letter there is";
        return Err(bad(codes::SELECTION, detail));
    }
    if asked.ids.as_ref().is_some_and(|ids| ids.len() > IDS_MAX) {
        return Err(bad(codes::IDS, format!("at most {IDS_MAX} ids at a time")));
    }
    let ids = asked.ids.map(|ids| ids.iter().map(|id| delivery_id(id)).collect()).transpose()?;
    let which = Selection {
        route: route_name(asked.route.as_deref())?,
        reason: asked.reason.map(Into::into),
        ids,
        ..Selection::default()
    };
    let done = api.path.redrive(&which).await?;
    tracing::info!(
        redriven = done.redriven,
        orphaned = done.orphaned,
        route = which.route.as_ref().map(|r| r.as_str()),
        reason = which.reason.as_deref(),
        "dead letters redriven by an operator"
    );
    Ok(Json(done).into_response())
}
