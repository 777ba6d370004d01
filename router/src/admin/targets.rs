//! Targets over the API: listed, looked at.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
};
use router_core::{id::TargetName, path::Probed};
use router_http::problem::Problem;

use super::{
    Answer, Refusal, Shared,
    audit::{self, Who},
    bad, view,
};
use crate::codes;

pub(super) async fn list(State(api): Shared) -> Answer {
    Ok(Json(view::Targets { targets: api.path.status().await?.targets }).into_response())
}

pub(super) async fn probe(State(api): Shared, who: Who, body: Result<Json<view::OneTarget>, JsonRejection>) -> Answer {
    let target = TargetName::new(&body?.0.target).map_err(|e| bad(codes::TARGET, e.to_string()))?;
    let Some(Probed { reached, hastened }) = api.path.probe(&target).await? else {
        let detail = format!("there is no target `{target}`; `gocoffee targets ls` lists them");
        return Err(Refusal(Problem::new(StatusCode::NOT_FOUND, codes::NO_SUCH_TARGET, detail)));
    };
    if hastened {
        audit::wrote(&api, &who, "target tried again at once", target.as_str(), 1).await;
    }
    let why = reached.err().map(|why| why.to_string());
    Ok(Json(view::Probed { target: target.to_string(), reached: why.is_none(), why, hastened }).into_response())
}
