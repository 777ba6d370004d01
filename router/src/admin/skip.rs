//! What routes are owed is given up over the API.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
};
use router_core::{
    id::{BusName, Offset, RouteName},
    path::{SkipError, Skipped},
};
use router_http::problem::Problem;

use super::{
    Answer, Refusal, Shared,
    audit::{self, Who},
    bad,
    reading::position,
    view,
};
use crate::codes;

impl From<SkipError> for Refusal {
    fn from(e: SkipError) -> Self {
        let (status, code) = match e {
            SkipError::Store(store) => return store.into(),
            SkipError::NoSuchRoute(_) => (StatusCode::NOT_FOUND, codes::NO_SUCH_ROUTE),
            SkipError::Configured(_) => (StatusCode::CONFLICT, codes::ROUTE_CONFIGURED),
            _ => (StatusCode::BAD_REQUEST, codes::ROUTE_BUS),
        };
        Refusal(Problem::new(status, code, e.to_string()))
    }
}

fn route(text: &str) -> Result<RouteName, Refusal> {
    RouteName::new(text).map_err(|e| bad(codes::ROUTE, e.to_string()))
}

fn answer(route: &RouteName, dry_run: bool, skipped: &[Skipped]) -> Answer {
    let view = view::Skipped {
        route: route.to_string(),
        dry_run,
        ended: skipped.iter().map(|s| s.ended).sum(),
        unmatched: skipped.iter().map(|s| s.unmatched).sum(),
        below: skipped.iter().map(|s| (s.bus.to_string(), s.below.0)).collect(),
    };
    Ok(Json(view).into_response())
}

pub(super) async fn skip(State(api): Shared, who: Who, body: Result<Json<view::SkipRoute>, JsonRejection>) -> Answer {
    let view::SkipRoute { route: name, to, bus, dry_run } = body?.0;
    let route = route(&name)?;
    let bus = bus.map(|bus| BusName::new(&bus)).transpose().map_err(|e| bad(codes::ROUTE_BUS, e.to_string()))?;
    let bus = api.path.skip_on(&route, bus.as_ref()).await?;
    let below = match (to.as_str(), api.path.archive(&bus)) {
        ("end", _) | (_, None) => Offset(u64::MAX),
        (text, Some(archive)) => position(archive, text).await?,
    };
    let skipped = api.path.skip(&route, &bus, below, dry_run).await?;
    if !dry_run {
        let about = format!("{route} on {bus} below {}", skipped.below);
        audit::wrote(&api, &who, "deliveries skipped", &about, skipped.ended).await;
    }
    answer(&route, dry_run, &[skipped])
}

pub(super) async fn drop(State(api): Shared, who: Who, body: Result<Json<view::DropRoute>, JsonRejection>) -> Answer {
    let view::DropRoute { route: name, dry_run } = body?.0;
    let route = route(&name)?;
    let skipped = api.path.drop_route(&route, dry_run).await?;
    if !dry_run {
        let ended = skipped.iter().map(|s| s.ended).sum();
        audit::wrote(&api, &who, "route dropped", route.as_str(), ended).await;
    }
    answer(&route, dry_run, &skipped)
}
