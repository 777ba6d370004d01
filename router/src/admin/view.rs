//! What the admin API says, as types that both ends share. Times are RFC 3339, ids are text.

use std::collections::BTreeMap;

use base64::Engine;
use router_core::{
    clock::Timestamp,
    quarantine,
    settle::RetryPolicy,
    shelf::ArchiveStatus,
    stats::{BreakerState, BusStatus, DiskStatus, LaneStateName, RouteStatus, Status as PathStatus, TargetStatus},
    store::{Attempt as StoredAttempt, DeadLetter as StoredLetter, Record},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Replays.
mod replay;

pub use self::replay::{Replay, ReplayId, ReplayPlace, ReplayRoute, Replays, StartReplay, StartedReplay, WouldReplay};

/// A time as RFC 3339, UTC, to the millisecond.
pub fn time_text(t: Timestamp) -> String {
    let ms = i64::try_from(t.0 / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| t.to_string(), |t| format!("{t:.3}"))
}

/// `GET /api/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The router's version.
    pub version: String,
    /// Since when it runs.
    pub started: String,
    /// The store's epoch, 16 hexadecimal digits.
    pub epoch: String,
    /// Buses by name.
    pub buses: Vec<BusStatus>,
    /// Routes by name, orphaned ones too.
    pub routes: Vec<Route>,
    /// Targets by name.
    pub targets: Vec<TargetStatus>,
    /// The store's space.
    #[serde(default)]
    pub disk: DiskStatus,
    /// The archive in object storage; none where none is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
}

/// The archive in object storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Archive {
    /// Where it is, as it is configured.
    pub place: String,
    /// Its copies are known; until then none counts.
    pub ready: bool,
    /// Why nothing can be copied, when that is so.
    #[serde(default)]
    pub failing: Option<String>,
    /// What waits to be copied, by bus.
    pub waiting: Vec<Waiting>,
}

/// What of a bus waits to be copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    /// The bus.
    pub bus: String,
    /// Sealed segments without a copy.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last event of the oldest of them came in.
    #[serde(default)]
    pub oldest: Option<String>,
}

impl From<ArchiveStatus> for Archive {
    fn from(status: ArchiveStatus) -> Self {
        let ArchiveStatus { place, ready, failing, waiting } = status;
        let waiting = waiting.into_iter().map(|(bus, w)| Waiting {
            bus: bus.to_string(),
            segments: w.segments,
            bytes: w.bytes,
            oldest: w.oldest.map(time_text),
        });
        Archive { place, ready, failing, waiting: waiting.collect() }
    }
}

impl Status {
    /// Of a path that was started then.
    pub fn new(status: PathStatus, archive: Option<ArchiveStatus>, started: Timestamp) -> Self {
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            started: time_text(started),
            epoch: format!("{:016x}", status.epoch.0),
            buses: status.buses,
            routes: status.routes.into_iter().map(Route::from).collect(),
            targets: status.targets,
            disk: status.disk,
            archive: archive.map(Archive::from),
        }
    }
}

/// A route at one moment; counts since the start where [`RouteStatus`] says so.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Its bus.
    pub bus: String,
    /// Its target; none for a route that is not configured any more.
    pub target: Option<String>,
    /// What it is doing.
    pub state: LaneStateName,
    /// Since when an operator has paused it.
    #[serde(default)]
    pub paused_since: Option<String>,
    /// Events that are not matched yet.
    pub lag_events: u64,
    /// Deliveries that are owed.
    pub waiting: u64,
    /// Of those: an attempt is made right now.
    pub in_flight: u64,
    /// Of those: wait for their next try.
    pub retrying: u64,
    /// Of those: only in the ledger.
    pub in_ledger: u64,
    /// Of those: parked behind another of their key.
    #[serde(default)]
    pub parked: u64,
    /// Keys that wait for the next try of their first delivery, or for a dead letter.
    #[serde(default)]
    pub stuck_keys: u64,
    /// Bytes of the events that are owed.
    #[serde(default)]
    pub waiting_bytes: u64,
    /// Append time of the oldest delivery that is owed.
    pub oldest: Option<String>,
    /// Dead letters that are open.
    pub dead_letters: u64,
    /// Opened by a match.
    pub matched: u64,
    /// Owed at the start.
    pub resumed: u64,
    /// Opened again out of dead letters.
    pub redriven: u64,
    /// Delivered.
    pub delivered: u64,
    /// Ended by an operator or a limit.
    pub ended: u64,
}

impl From<RouteStatus> for Route {
    fn from(r: RouteStatus) -> Self {
        Route {
            name: r.name.into(),
            bus: r.bus.into(),
            target: r.target.map(Into::into),
            state: r.state,
            paused_since: r.paused_since.map(time_text),
            lag_events: r.lag_events,
            waiting: r.waiting,
            in_flight: r.in_flight,
            retrying: r.retrying,
            in_ledger: r.in_ledger,
            parked: r.parked,
            stuck_keys: r.stuck_keys,
            waiting_bytes: r.waiting_bytes,
            oldest: r.oldest.map(time_text),
            dead_letters: r.dead_letters,
            matched: r.matched,
            resumed: r.resumed,
            redriven: r.redriven,
            delivered: r.delivered,
            ended: r.ended,
        }
    }
}

/// `GET /api/routes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Routes {
    /// By name.
    pub routes: Vec<Configured>,
}

/// A route as it is configured, and what it is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Configured {
    /// Its name.
    pub name: String,
    /// Its bus.
    pub bus: String,
    /// Its target; none for a route that is not configured any more.
    pub target: Option<String>,
    /// What it wants; none for every event.
    pub filter: Option<serde_json::Value>,
    /// How often and how long it tries; none for a route that is not configured any more.
    pub retry: Option<Retry>,
    /// What it is doing.
    pub state: LaneStateName,
    /// Its target's breaker.
    pub breaker: Option<BreakerState>,
    /// Deliveries that are owed.
    pub waiting: u64,
    /// Dead letters that are open.
    pub dead_letters: u64,
}

/// Body of `POST /api/routes/pause` and `…/resume`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneRoute {
    /// Its name.
    pub route: String,
}

/// Body of `POST /api/routes/skip`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipRoute {
    /// The route.
    pub route: String,
    /// What lies before it ends: `end`, an offset, or the time of an append.
    pub to: String,
    /// The bus, where it is not the one that the route reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// Count only.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /api/routes/drop`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropRoute {
    /// The route.
    pub route: String,
    /// Count only.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was given up; with `dry_run`, what would be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Skipped {
    /// The route.
    pub route: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Deliveries that ended, without a dead letter.
    pub ended: u64,
    /// Events that were not matched yet: what they would be owed ends too.
    pub unmatched: u64,
    /// Below which offset of which bus.
    pub below: std::collections::BTreeMap<String, u64>,
}

/// `GET /api/targets`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Targets {
    /// By name.
    pub targets: Vec<TargetStatus>,
}

/// Body of `POST /api/targets/probe`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneTarget {
    /// Its name.
    pub target: String,
}

/// What a look at a target found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probed {
    /// Its name.
    pub target: String,
    /// It can be reached.
    pub reached: bool,
    /// Why it cannot.
    pub why: Option<String>,
    /// Its breaker was open, and the next delivery goes now.
    pub hastened: bool,
}

/// Body of `POST /api/reload`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// Change nothing, only say what would change.
    pub dry_run: bool,
}

/// What a reload did; with `dry_run`, what it would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reloaded {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The file is in force.
    pub applied: bool,
    /// What changes, a sentence each.
    pub changes: Vec<String>,
    /// Keys that need a restart: with any of them nothing is applied.
    pub needs_restart: Vec<String>,
    /// Warnings of the file, as `gocoffee check` writes them.
    pub warnings: Option<String>,
}

/// What an act on a route did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteChanged {
    /// Its name.
    pub route: String,
    /// It was not so before.
    pub changed: bool,
    /// Deliveries that it owes now.
    pub waiting: u64,
}

/// How often and how long a delivery is tried; durations as the configuration writes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts that count.
    pub attempts_max: u32,
    /// Running time.
    pub age_max: String,
    /// Shortest delay.
    pub delay_min: String,
    /// Longest delay.
    pub delay_max: String,
}

impl From<&RetryPolicy> for Retry {
    fn from(p: &RetryPolicy) -> Self {
        let text = crate::config::value::duration_text;
        Retry {
            attempts_max: p.attempts_max,
            age_max: text(p.age_max),
            delay_min: text(p.delay_min),
            delay_max: text(p.delay_max),
        }
    }
}

/// `GET /api/dead-letters`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetters {
    /// By id.
    pub dead_letters: Vec<DeadLetter>,
    /// The value of `after` for the page that follows; none on the last one.
    pub next: Option<String>,
}

/// `GET /api/dead-letters/ID`, and a row of the listing, which has no event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The delivery: what the target got as its idempotency key.
    pub id: String,
    /// The route.
    pub route: String,
    /// The target at that time.
    pub target: String,
    /// Why, for programs.
    pub reason: String,
    /// Why, for people.
    pub note: String,
    /// When it was parked.
    pub at: String,
    /// How many attempts there were.
    pub attempts_count: u32,
    /// The first attempt and the last ten.
    pub attempts: Vec<Attempt>,
    /// When the event was appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended: Option<String>,
    /// What its source told beside the event, e.g. how often it had tried; never delivered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// The event as CloudEvents JSON, byte for byte where it came so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// In place of the event, for what is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<Quarantined>,
}

impl DeadLetter {
    /// With its record, when that is asked for.
    pub fn new(letter: StoredLetter, record: Option<&Record>) -> Self {
        let quarantined = record.and_then(Quarantined::read);
        let event = record.filter(|_| quarantined.is_none());
        let facts = event.map(|r| r.event.facts().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
        let event = event.and_then(|r| String::from_utf8(schemas::json::encode(&r.event)).ok());
        DeadLetter {
            id: letter.id.to_string(),
            route: letter.route.into(),
            target: letter.target.into(),
            reason: letter.reason.into(),
            note: letter.note.into(),
            at: time_text(letter.at),
            attempts_count: letter.attempts.count,
            attempts: letter.attempts.first.into_iter().chain(letter.attempts.last).map(Attempt::from).collect(),
            appended: record.map(|r| time_text(r.appended)),
            facts: facts.unwrap_or_default(),
            event: event.and_then(|json| RawValue::from_string(json).ok()),
            quarantined,
        }
    }
}

/// One attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it ended.
    pub at: String,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
    /// The status of the answer.
    pub status: Option<u16>,
    /// What came of it.
    pub note: String,
}

impl From<StoredAttempt> for Attempt {
    fn from(a: StoredAttempt) -> Self {
        Attempt { number: a.number, at: time_text(a.at), took_ms: a.took_ms, status: a.status, note: a.note.into() }
    }
}

/// Body of `POST /api/dead-letters/redrive` and `…/purge`: all conditions given must hold; one at least, or `all`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Of this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// To this target, as it was called when they were parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// With this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Parked then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Parked before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Whose event this filter wants.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<serde_json::Value>,
    /// Exactly these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// All of them: asked for by name, never by leaving something out.
    #[serde(default)]
    pub all: bool,
    /// Change nothing, only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a redrive did; with `dry_run`, what it would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Redriven {
    /// Deliveries opened again.
    pub redriven: u64,
    /// Dead letters left as they were, because their route is not configured any more.
    pub orphaned: u64,
    /// Dead letters left as they were, because they are no events: they have to be edited first.
    #[serde(default)]
    pub quarantined: u64,
    /// Of those opened again: later ones of their key were delivered before, and they say so.
    #[serde(default)]
    pub late: u64,
    /// Nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /api/dead-letters/edit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The dead letter.
    pub id: String,
    /// What is taken in instead, as CloudEvents JSON, byte for byte.
    pub event: Box<RawValue>,
    /// It gets a new id, whatever it says.
    #[serde(default)]
    pub new_id: bool,
}

/// What an edit did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Edited {
    /// The bus that took the event.
    pub bus: String,
    /// Where.
    pub offset: u64,
    /// Its id.
    pub event_id: String,
    /// Its source.
    pub source: String,
}

/// What came and is no event, and what is known of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quarantined {
    /// The bus that it was meant for.
    pub bus: String,
    /// The route whose target answered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The target that answered, or the source.
    pub from: String,
    /// The delivery and the place in its answer, or what the source calls its message.
    pub origin: String,
    /// The media type of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The event that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause_id: Option<String>,
    /// The event that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause_source: Option<String>,
    /// The bytes, where they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl Quarantined {
    fn read(record: &Record) -> Option<Quarantined> {
        let q = quarantine::Quarantined::read(&record.event)?;
        let text = String::from_utf8(q.bytes.to_vec()).ok();
        let base64 = text.is_none().then(|| base64::engine::general_purpose::STANDARD.encode(&q.bytes));
        let (cause_id, cause_source) = q.cause.map(|(id, source)| (id.into(), source.into())).unzip();
        Some(Quarantined {
            bus: q.bus.into(),
            route: q.route.map(Into::into),
            from: q.from.into(),
            origin: q.origin.into(),
            content_type: q.content_type.map(Into::into),
            cause_id,
            cause_source,
            text,
            base64,
        })
    }
}

/// What a purge did; with `dry_run`, what it would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purged {
    /// Dead letters that were ended.
    pub purged: u64,
    /// Nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_to_the_millisecond() {
        assert_eq!(time_text(Timestamp(1_767_323_045_678_901)), "2026-01-02T03:04:05.678Z");
        assert_eq!(time_text(Timestamp(0)), "1970-01-01T00:00:00.000Z");
    }
}
