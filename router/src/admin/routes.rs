//! Routes over the API: listed, paused, resumed.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
};
use router_core::{id::RouteName, path::RouteChanged, stats::LaneStateName};
use router_http::problem::Problem;

use super::{
    Answer, Refusal, Shared,
    audit::{self, Who},
    bad, view,
};
use crate::codes;

fn name(text: &str) -> Result<RouteName, Refusal> {
    RouteName::new(text).map_err(|e| bad(codes::ROUTE, e.to_string()))
}

fn known<T>(route: &RouteName, found: Option<T>) -> Result<T, Refusal> {
    found.ok_or_else(|| {
        let detail = format!("there is no route `{route}`; `GET /api/routes` lists them");
        Refusal(Problem::new(StatusCode::NOT_FOUND, codes::NO_SUCH_ROUTE, detail))
    })
}

fn changed(route: &RouteName, RouteChanged { changed, waiting }: RouteChanged) -> Answer {
    Ok(Json(view::RouteChanged { route: route.to_string(), changed, waiting }).into_response())
}

pub(super) async fn pause(State(api): Shared, who: Who, body: Result<Json<view::OneRoute>, JsonRejection>) -> Answer {
    let route = name(&body?.0.route)?;
    let done = known(&route, api.path.pause(&route).await?)?;
    audit::wrote(&api, &who, "route paused", route.as_str(), done.waiting).await;
    changed(&route, done)
}

pub(super) async fn resume(State(api): Shared, who: Who, body: Result<Json<view::OneRoute>, JsonRejection>) -> Answer {
    let route = name(&body?.0.route)?;
    let done = known(&route, api.path.resume(&route).await?)?;
    audit::wrote(&api, &who, "route resumed", route.as_str(), done.waiting).await;
    changed(&route, done)
}

pub(super) async fn list(State(api): Shared) -> Answer {
    let (status, specs) = (api.path.status().await?, api.reloader.routes());
    let breaker =
        |target: Option<&str>| status.targets.iter().find(|t| Some(t.name.as_str()) == target).map(|t| t.breaker);
    let mut routes: Vec<view::Configured> = Vec::with_capacity(status.routes.len());
    for now in &status.routes {
        let spec = specs.iter().find(|r| r.name == now.name).filter(|_| now.state != LaneStateName::Orphaned);
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
