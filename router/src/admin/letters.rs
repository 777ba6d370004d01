//! Dead letters over the API: listed in pages, shown, delivered again, ended.

use axum::{
    Json,
    extract::{Path as UrlPath, Query, State, rejection::JsonRejection, rejection::QueryRejection},
    http::StatusCode,
    response::IntoResponse,
};
use router_core::{
    clock::Timestamp,
    filter::{Filter, Spec},
    id::{DeliveryId, RouteName, TargetName},
    path::{self, EditError},
    quarantine,
    source::Kind,
    store::{DeadLetter, Page, Selection},
};
use router_http::problem::Problem;
use serde::Deserialize;

use super::{
    Answer, Api, COUNT, COUNT_MAX, IDS_MAX, Refusal, Shared,
    audit::{self, Who},
    bad, view,
};
use crate::codes;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    route: Option<String>,
    target: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    before: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
    after: Option<String>,
    count: Option<usize>,
}

fn delivery_id(id: &str) -> Result<DeliveryId, Refusal> {
    id.parse().map_err(|e: router_core::id::DeliveryIdError| bad(codes::ID, e.to_string()))
}

pub(super) fn time(text: &str) -> Result<Timestamp, Refusal> {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    let micros = time.and_then(|time| u64::try_from(time.as_microsecond()).ok());
    let detail = || format!("`{text}` is no time: RFC 3339 since 1970, e.g. 2026-01-02T03:04:05Z");
    micros.map(Timestamp).ok_or_else(|| bad(codes::TIME, detail()))
}

/// Which dead letters a request is about.
struct Which {
    selection: Selection,
    filter: Option<Filter>,
    /// The filter as it was written.
    written: Option<String>,
}

impl<'a> From<&'a Which> for path::Which<'a> {
    fn from(which: &'a Which) -> Self {
        path::Which { selection: &which.selection, filter: which.filter.as_ref() }
    }
}

fn selected(asked: view::Which) -> Result<Which, Refusal> {
    let view::Which { route, target, reason, since, before, ids, filter, .. } = asked;
    if ids.as_ref().is_some_and(|ids| ids.len() > IDS_MAX) {
        return Err(bad(codes::IDS, format!("at most {IDS_MAX} ids at a time")));
    }
    let written = filter.as_ref().map(ToString::to_string);
    let filter = filter.map(self::filter).transpose()?;
    let selection = Selection {
        route: route.as_deref().map(RouteName::new).transpose().map_err(|e| bad(codes::ROUTE, e.to_string()))?,
        target: target.as_deref().map(TargetName::new).transpose().map_err(|e| bad(codes::TARGET, e.to_string()))?,
        reason: reason.map(Into::into),
        since: since.as_deref().map(time).transpose()?,
        before: before.as_deref().map(time).transpose()?,
        ids: ids.map(|ids| ids.iter().map(|id| delivery_id(id)).collect()).transpose()?,
    };
    Ok(Which { selection, filter, written })
}

fn filter(written: serde_json::Value) -> Result<Filter, Refusal> {
    let spec: Spec = serde_json::from_value(written).map_err(|e| bad(codes::FILTER, format!("where: {e}")))?;
    Filter::parse(spec).map_err(|e| bad(codes::FILTER, format!("where: {e}")))
}

/// What an act is asked to change: something, and never everything by leaving something out.
fn chosen(asked: view::Which) -> Result<Which, Refusal> {
    let all = asked.all;
    let which = selected(asked)?;
    let narrowed = which.selection != Selection::default() || which.filter.is_some();
    if all == narrowed {
        let detail = "give `route`, `target`, `reason`, `since`, `before`, `where` or `ids`, or else `\"all\": true` for every \
                      dead letter there is";
        return Err(bad(codes::SELECTION, detail));
    }
    Ok(which)
}

pub(super) async fn list(State(api): Shared, query: Result<Query<Listing>, QueryRejection>) -> Answer {
    let Query(Listing { route, target, reason, since, before, filter, after, count }) = query?;
    let count = count.unwrap_or(COUNT);
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(bad(codes::COUNT, format!("count is 1 to {COUNT_MAX}; ask for further ones with `after`")));
    }
    let filter = filter.map(|text| serde_json::from_str(&text)).transpose();
    let filter = filter.map_err(|e| bad(codes::FILTER, format!("where: {e}")))?;
    let which = selected(view::Which { route, target, reason, since, before, filter, ..view::Which::default() })?;
    let after = after.as_deref().map(delivery_id).transpose()?;
    // One more than asked for tells whether a page follows.
    let mut found = api.path.dead_letters(&which, Page { after, count_max: count + 1 }).await?;
    let more = found.len() > count;
    found.truncate(count);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    let dead_letters = found.into_iter().map(|letter| view::DeadLetter::new(letter, None)).collect();
    Ok(Json(view::DeadLetters { dead_letters, next }).into_response())
}

pub(super) async fn show(State(api): Shared, UrlPath(id): UrlPath<String>) -> Answer {
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

pub(super) async fn redrive(State(api): Shared, who: Who, body: Result<Json<view::Which>, JsonRejection>) -> Answer {
    let Json(asked) = body?;
    let dry_run = asked.dry_run;
    let which = chosen(asked)?;
    if dry_run {
        let routes = api.reloader.routes();
        let configured = |letter: &DeadLetter| routes.iter().any(|route| route.name == letter.route);
        let (redriven, left) = count(&api, &which, configured).await?;
        // Those of the quarantine are counted apart, as they are when it is done.
        let own = |letter: &DeadLetter| letter.route.as_str() == quarantine::BUS;
        let (quarantined, _) = count(&api, &which, own).await?;
        let orphaned = left.saturating_sub(quarantined);
        let late = api.path.late(&which).await?;
        return Ok(Json(view::Redriven { redriven, orphaned, quarantined, late, dry_run }).into_response());
    }
    let done = api.path.redrive(&which).await?;
    audit::wrote(&api, &who, "dead letters redriven", &about(&which), done.redriven).await;
    let router_core::path::Redriven { redriven, orphaned, quarantined, late } = done;
    let view = view::Redriven { redriven, orphaned, quarantined, late, dry_run };
    Ok(Json(view).into_response())
}

pub(super) async fn edit(State(api): Shared, who: Who, body: Result<Json<view::Edit>, JsonRejection>) -> Answer {
    let Json(view::Edit { id, event, new_id }) = body?;
    let id = delivery_id(&id)?;
    // With a new id the event need not have one of its own.
    let event = match new_id {
        true => schemas::json::decode_with_id(event.get().as_bytes(), "new"),
        false => schemas::json::decode(event.get().as_bytes()),
    };
    let event = event.map_err(|invalid| bad(codes::EVENT, format!("the edited event: {invalid}")))?;
    let edited = api.path.redrive_edited(&id, &event, new_id).await.map_err(refused)?;
    audit::wrote(&api, &who, "dead letter edited", &id.to_string(), 1).await;
    let (event_id, source) = (edited.event.id().into(), edited.event.source().into());
    Ok(Json(view::Edited { bus: edited.bus.into(), offset: edited.offset.0, event_id, source }).into_response())
}

fn refused(e: EditError) -> Refusal {
    let detail = e.to_string();
    match e {
        EditError::NoLetter(_) => Refusal(Problem::new(StatusCode::NOT_FOUND, codes::NO_SUCH_DEAD_LETTER, detail)),
        EditError::NoEvent(_) | EditError::NoBus(_) | EditError::OwnFact => bad(codes::EDIT_IMPOSSIBLE, detail),
        EditError::SameIdentity | EditError::Taken(_) => bad(codes::EDIT_IDENTITY, detail),
        EditError::Invalid(_) => bad(codes::EVENT, detail),
        EditError::Refused(rejection) if !matches!(rejection.kind, Kind::Busy { .. }) => bad(rejection.code, detail),
        EditError::Refused(rejection) => Refusal(Problem::new(StatusCode::SERVICE_UNAVAILABLE, rejection.code, detail)),
        _ => Refusal(Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::STORE, detail)),
    }
}

pub(super) async fn purge(State(api): Shared, who: Who, body: Result<Json<view::Which>, JsonRejection>) -> Answer {
    let Json(asked) = body?;
    let dry_run = asked.dry_run;
    let which = chosen(asked)?;
    if dry_run {
        let (purged, _) = count(&api, &which, |_| true).await?;
        return Ok(Json(view::Purged { purged, dry_run }).into_response());
    }
    let purged = api.path.purge(&which).await?.purged;
    audit::wrote(&api, &who, "dead letters purged", &about(&which), purged).await;
    Ok(Json(view::Purged { purged, dry_run }).into_response())
}

/// The conditions that were given, in words.
fn about(Which { selection, written, .. }: &Which) -> String {
    let Selection { route, reason, target, since, before, ids } = selection;
    let conditions = [
        route.as_ref().map(|route| format!("route {route}")),
        target.as_ref().map(|target| format!("target {target}")),
        reason.as_ref().map(|reason| format!("reason {reason}")),
        since.map(|since| format!("since {}", view::time_text(since))),
        before.map(|before| format!("before {}", view::time_text(before))),
        written.as_ref().map(|filter| format!("where {filter}")),
        ids.as_ref().map(|ids| format!("{} ids", ids.len())),
    ];
    let given: Vec<String> = conditions.into_iter().flatten().collect();
    if given.is_empty() { "all".into() } else { given.join(", ") }
}

/// How many there are that hold, and how many others; page by page, so that any number may be selected.
async fn count(api: &Api, which: &Which, holds: impl Fn(&DeadLetter) -> bool) -> Result<(u64, u64), Refusal> {
    let (mut held, mut others) = (0, 0);
    let mut page = Page { after: None, count_max: COUNT_MAX };
    loop {
        let letters = api.path.dead_letters(which, page).await?;
        let Some(last) = letters.last() else { return Ok((held, others)) };
        page.after = Some(last.id);
        for letter in &letters {
            *(if holds(letter) { &mut held } else { &mut others }) += 1;
        }
    }
}
