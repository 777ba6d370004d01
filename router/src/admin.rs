//! The admin side: a JSON API for operators and the command line, metrics for scrapers, health for
//! probes. Who may call what is in [`guard`]; errors are `application/problem+json`.
//!
//! [`Operation`] is the table of what there is; `docs/openapi.json`, which is served too, says it in full.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{State, rejection::JsonRejection, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{self, MethodFilter, MethodRouter},
};
use router_core::{clock::Clock, path::Path, store};
use router_http::problem::Problem;
use schemas::Code;

use crate::{codes, reload::Reloader};

/// What was changed, and by whom.
pub mod audit;

/// Who may call.
pub mod guard;

/// Why an event does not reach a route.
pub mod explain;

/// Dead letters.
mod letters;

/// Routes, held and let go.
mod routes;

/// What is kept of each bus.
pub mod archive;

/// Events as streams of lines.
pub mod reading;

/// Replays.
mod replay;

/// The configuration, read again.
mod reload;

/// What routes are owed, given up.
mod skip;

/// Targets, looked at.
mod targets;

/// What there is.
pub mod operations;

/// Figures for scrapers.
pub mod metrics;

/// Health and figures for who is not on this machine.
pub mod probes;

/// Names of figures.
pub mod names;

/// The token.
pub mod token;

/// What the API says.
pub mod view;

pub use operations::Operation;

/// The document of the API, OpenAPI 3.1.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");
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
    /// The configuration as it is in force.
    pub reloader: Arc<Reloader>,
    /// Whether events are taken in.
    pub ready: AtomicBool,
    /// Who reads events beside the flow.
    pub readers: reading::Readers,
}

type Shared = State<Arc<Api>>;
type Answer = Result<Response, Refusal>;

/// All paths, behind the guard.
pub fn router(api: Arc<Api>, guard: guard::Guard) -> Router {
    let served = Operation::ALL.iter().fold(Router::new(), |router, op| router.route(op.path(), handler(*op)));
    served
        .fallback(async || Refusal::not_found(codes::NO_SUCH_PATH, "nothing is here; the API is under `/api`"))
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .with_state(api)
}

/// Who answers an operation. Its method is the table's, so that what is served is what the table says.
fn handler(op: Operation) -> MethodRouter<Arc<Api>> {
    // The table holds methods that a filter exists for; another would be answered 405 and found by every test.
    let on = MethodFilter::try_from(op.method()).unwrap_or(MethodFilter::GET);
    match op {
        Operation::Health => routing::on(on, async || "ok\n"),
        Operation::Ready => routing::on(on, readyz),
        Operation::Metrics => routing::on(on, metrics_text),
        Operation::Document => routing::on(on, async || ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)),
        Operation::Status => routing::on(on, status),
        Operation::Routes => routing::on(on, routes::list),
        Operation::PauseRoute => routing::on(on, routes::pause),
        Operation::ResumeRoute => routing::on(on, routes::resume),
        Operation::SkipRoute => routing::on(on, skip::skip),
        Operation::DropRoute => routing::on(on, skip::drop),
        Operation::Targets => routing::on(on, targets::list),
        Operation::ProbeTarget => routing::on(on, targets::probe),
        Operation::Reload => routing::on(on, reload::reload),
        Operation::ExplainFilter => routing::on(on, explain::explain),
        Operation::Tail => routing::on(on, reading::tail),
        Operation::Archive => routing::on(on, archive::list),
        Operation::ExportArchive => routing::on(on, reading::export),
        Operation::ListDeadLetters => routing::on(on, letters::list),
        Operation::ShowDeadLetter => routing::on(on, letters::show),
        Operation::RedriveDeadLetters => routing::on(on, letters::redrive),
        Operation::EditDeadLetter => routing::on(on, letters::edit),
        Operation::PurgeDeadLetters => routing::on(on, letters::purge),
        Operation::StartReplay => routing::on(on, replay::start),
        Operation::Replays => routing::on(on, replay::list),
        Operation::ShowReplay => routing::on(on, replay::show),
        Operation::PauseReplay => {
            routing::on(on, async |api: Shared, who, body| replay::act(api, who, body, replay::Act::Pause).await)
        }
        Operation::ResumeReplay => {
            routing::on(on, async |api: Shared, who, body| replay::act(api, who, body, replay::Act::Resume).await)
        }
        Operation::CancelReplay => {
            routing::on(on, async |api: Shared, who, body| replay::act(api, who, body, replay::Act::Cancel).await)
        }
    }
}

async fn wrong_method() -> Refusal {
    let detail = "this path takes another method";
    Refusal(Problem::new(StatusCode::METHOD_NOT_ALLOWED, codes::METHOD_NOT_ALLOWED, detail))
}

/// An answer of `router-http` as one of axum.
fn answer(response: router_http::endpoint::Response) -> Response {
    response.map(Body::new)
}

/// An error answer.
struct Refusal(Problem);

impl Refusal {
    fn not_found(code: Code, detail: &'static str) -> Refusal {
        Refusal(Problem::new(StatusCode::NOT_FOUND, code, detail))
    }
}

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

/// Ready as long as any bus takes events in. One that does not is named in the body either way.
async fn readyz(State(api): Shared) -> Response {
    if api.ready.load(Ordering::Relaxed) {
        let refusals = api.path.refusals();
        let lines: String = refusals.iter().map(|(bus, why)| format!("bus {bus} takes nothing in: {why}\n")).collect();
        if !refusals.is_empty() && refusals.len() == api.path.bus_count() {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::NOT_READY, lines.trim_end().to_owned());
            return Refusal(problem).into_response();
        }
        format!("ready\n{lines}").into_response()
    } else {
        let detail = "no events are taken in: the router is starting or stopping, or its store has failed";
        Refusal(Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::NOT_READY, detail)).into_response()
    }
}

async fn metrics_text(State(api): Shared) -> Answer {
    // A store that failed still leaves the counters to be seen.
    let status = api.path.status().await.ok();
    match metrics::render(api.path.stats(), status, api.reloader.reloads.clone(), api.clock.wall()) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()),
        Err(e) => Err(Refusal(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, codes::METRICS, e.to_string()))),
    }
}

async fn status(State(api): Shared) -> Answer {
    Ok(Json(view::Status::new(api.path.status().await?, api.path.stats().archive.status(), api.started))
        .into_response())
}
