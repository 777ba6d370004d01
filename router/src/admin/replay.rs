//! Replays over the API: started, tried dry, listed, paused, resumed, cancelled.

use axum::{
    Json,
    extract::{Path as UrlPath, State, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
};
use router_core::{
    filter,
    id::{BusName, Offset, RouteName, RunId},
    path::{Asked, Place, Refused},
};
use router_http::problem::Problem;

use super::{
    Answer, Refusal, Shared,
    audit::{self, Who},
    bad,
    letters::time,
    view,
};
use crate::codes;

impl From<Refused> for Refusal {
    fn from(e: Refused) -> Self {
        let status = match e {
            Refused::Store(store) => return store.into(),
            Refused::Unknown(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal(Problem::new(status, e.code(), e.to_string()))
    }
}

fn place(place: view::ReplayPlace) -> Result<Place, Refusal> {
    Ok(match place {
        view::ReplayPlace::Offset(offset) => Place::Offset(Offset(offset)),
        view::ReplayPlace::Time(text) => Place::Time(time(&text)?),
    })
}

fn asked(asked: view::StartReplay) -> Result<Asked, Refusal> {
    let view::StartReplay { bus, from, to, filter, routes, rate, replies, .. } = asked;
    let bus = bus.as_deref().unwrap_or("default");
    let unread = |e: serde_json::Error| bad(router_core::codes::REPLAY_FILTER, format!("the replay's filter: {e}"));
    let named = |name: &String| RouteName::new(name).map_err(|e| bad(codes::ROUTE, e.to_string()));
    Ok(Asked {
        bus: BusName::new(bus).map_err(|e| bad(router_core::codes::REPLAY_BUS, e.to_string()))?,
        from: place(from)?,
        to: to.map(place).transpose()?,
        filter: filter.map(serde_json::from_value::<filter::Spec>).transpose().map_err(unread)?,
        routes: routes.iter().map(named).collect::<Result<_, _>>()?,
        rate,
        replies,
    })
}

pub(super) async fn start(
    State(api): Shared,
    who: Who,
    body: Result<Json<view::StartReplay>, JsonRejection>,
) -> Answer {
    let Json(body) = body?;
    let dry_run = body.dry_run;
    let asked = asked(body)?;
    let answer = if dry_run {
        let found = api.path.replay_dry(&asked).await?;
        let would = |(name, matched): (RouteName, u64)| view::WouldReplay { name: name.to_string(), matched };
        view::StartedReplay {
            id: None,
            from: found.from.0,
            to: found.to.0,
            clamped: found.clamped,
            dry_run,
            read: Some(found.read),
            skipped: Some(found.skipped),
            lost: Some(found.lost),
            routes: Some(found.routes.into_iter().map(would).collect()),
        }
    } else {
        let started = api.path.replay(&asked).await?;
        let (from, to) = (started.span.from.0, started.span.to.0);
        let (id, clamped) = (Some(started.id.0), started.span.clamped);
        audit::wrote(&api, &who, "replay started", &started.id.to_string(), to.saturating_sub(from)).await;
        view::StartedReplay { id, from, to, clamped, dry_run, read: None, skipped: None, lost: None, routes: None }
    };
    Ok(Json(answer).into_response())
}

pub(super) async fn list(State(api): Shared) -> Answer {
    let replays = api.path.replays().await?.into_iter().map(view::Replay::from).collect();
    Ok(Json(view::Replays { replays }).into_response())
}

pub(super) async fn show(State(api): Shared, UrlPath(id): UrlPath<String>) -> Answer {
    let unknown = || {
        let detail = format!("there is no replay {id}");
        Refusal(Problem::new(StatusCode::NOT_FOUND, router_core::codes::NO_SUCH_REPLAY, detail))
    };
    let number: RunId = id.parse().map(RunId).map_err(|_| unknown())?;
    Ok(Json(one(&api, number).await?.ok_or_else(unknown)?).into_response())
}

async fn one(api: &super::Api, id: RunId) -> Result<Option<view::Replay>, Refusal> {
    Ok(api.path.replays().await?.into_iter().find(|r| r.run.id == id).map(view::Replay::from))
}

/// What is done with a replay.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Pause,
    Resume,
    Cancel,
}

pub(super) async fn act(api: Shared, who: Who, body: Result<Json<view::ReplayId>, JsonRejection>, act: Act) -> Answer {
    let (State(api), Json(view::ReplayId { id })) = (api, body?);
    let id = RunId(id);
    let what = match act {
        Act::Pause => api.path.pause_replay(id).await.map(|()| "replay paused"),
        Act::Resume => api.path.resume_replay(id).await.map(|()| "replay resumed"),
        Act::Cancel => api.path.cancel_replay(id).await.map(|()| "replay cancelled"),
    };
    audit::wrote(&api, &who, what?, &id.to_string(), 1).await;
    Ok(Json(one(&api, id).await?.ok_or(Refused::Unknown(id))?).into_response())
}
