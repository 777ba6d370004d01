//! `POST /api/filters/explain`: why an event does not match a filter, or the filter of a route.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
};
use router_core::filter::{Explanation, Filter, Spec};
use router_http::problem::Problem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answer, Refusal, Shared, bad};
use crate::codes;

/// What is asked: about a `route` or a `filter`, one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// A configured route.
    pub route: Option<String>,
    /// Any filter: one key, the language.
    pub filter: Option<Spec>,
    /// A CloudEvent in its JSON form.
    pub event: Box<RawValue>,
}

pub(super) async fn explain(State(api): Shared, body: Result<Json<Question>, JsonRejection>) -> Answer {
    let Json(asked) = body?;
    let spec = match (asked.filter, asked.route) {
        (Some(spec), None) => Some(spec),
        (None, Some(name)) => match api.reloader.routes().iter().find(|route| route.name.as_str() == name) {
            Some(route) => route.filter.clone(),
            None => {
                let detail = format!("there is no route `{name}`");
                return Err(Refusal(Problem::new(StatusCode::NOT_FOUND, codes::NO_SUCH_ROUTE, detail)));
            }
        },
        _ => return Err(bad(codes::QUESTION, "give `route` or `filter`, one of the two")),
    };
    let event = schemas::json::decode(asked.event.get().as_bytes()).map_err(|e| bad(codes::EVENT, e.to_string()))?;
    let explanation: Explanation =
        match spec.map(Filter::parse).transpose().map_err(|e| bad(codes::FILTER, e.to_string()))? {
            Some(filter) => filter.explain(&event),
            None => Filter::all().explain(&event),
        };
    Ok(Json(explanation).into_response())
}
