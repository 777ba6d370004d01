//! The configuration, read again over the API.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
};
use router_http::problem::Problem;

use super::{
    Answer, Refusal, Shared,
    audit::{self, Who},
    view,
};
use crate::reload::Error;

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        let status = match &e {
            Error::NoFile | Error::NeedsRestart(_) => StatusCode::CONFLICT,
            Error::Unreadable(_) | Error::Findings(_) | Error::Connect(_) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        // Codes of problems are words; those of what the store and the path say are not all.
        let code = if e.code().0.starts_with('R') { crate::codes::STORE } else { e.code() };
        Refusal(Problem::new(status, code, e.to_string()))
    }
}

pub(super) async fn reload(State(api): Shared, who: Who, body: Result<Json<view::Reload>, JsonRejection>) -> Answer {
    let dry_run = body?.0.dry_run;
    let done = api.reloader.clone().reload(dry_run).await?;
    if done.applied {
        audit::reloaded(&api, &who, &done.changes).await;
    }
    Ok(Json(view::Reloaded {
        dry_run,
        applied: done.applied,
        changes: done.changes,
        needs_restart: done.needs_restart,
        warnings: done.warnings,
    })
    .into_response())
}
