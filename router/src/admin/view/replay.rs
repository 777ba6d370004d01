//! What the API says of replays.

use std::num::NonZeroU32;

use router_core::{
    replay::Replies,
    stats::{LaneStateName, RunStatus},
};
use serde::{Deserialize, Serialize};

use super::time_text;

/// An end of a replay's range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayPlace {
    /// This offset.
    Offset(u64),
    /// The first event that was appended then or later.
    Time(String),
}

/// `POST /api/replays/start`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartReplay {
    /// The bus; `default` when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// Where the range begins.
    pub from: ReplayPlace,
    /// Where it ends, that not included; none: at the tail of this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ReplayPlace>,
    /// What it wants of the events, on top of what its routes want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<serde_json::Value>,
    /// The routes.
    pub routes: Vec<String>,
    /// Events a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<NonZeroU32>,
    /// What becomes of the events that targets answer with.
    #[serde(default)]
    pub replies: Replies,
    /// Start nothing, only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a start did; with `dry_run`, what it would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartedReplay {
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its first offset.
    pub from: u64,
    /// The offset behind its last one.
    pub to: u64,
    /// It was to begin at a time from which on not everything may be kept any more.
    pub clamped: bool,
    /// Nothing was started.
    pub dry_run: bool,
    /// Events of the range, of a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// Those that none of the routes wants, of a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// Offsets that cannot be read, of a dry run: their copy in the archive is missing or damaged, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// What each route would get, of a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<WouldReplay>>,
}

/// What a route would get.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WouldReplay {
    /// The route.
    pub name: String,
    /// Deliveries.
    pub matched: u64,
}

/// Which replay.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayId {
    /// Its number.
    pub id: u32,
}

/// `GET /api/replays`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replays {
    /// By number.
    pub replays: Vec<Replay>,
}

/// A replay at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replay {
    /// Its number.
    pub id: u32,
    /// Its bus.
    pub bus: String,
    /// `running`, `paused` or `ending`; when it is over: `done`, `cancelled`, `no-space` or `too-old`.
    pub state: String,
    /// Its first offset.
    pub from: u64,
    /// The offset behind its last one.
    pub to: u64,
    /// Everything below is settled, but for what is waiting.
    pub next: u64,
    /// How much of the range that is.
    pub percent: u8,
    /// Its routes.
    pub routes: Vec<ReplayRoute>,
    /// Its own filter.
    pub filter: Option<serde_json::Value>,
    /// Events a second at most.
    pub rate: Option<u32>,
    /// What becomes of replies.
    pub replies: Replies,
    /// When it was started.
    pub started: String,
    /// When it was over.
    pub ended: Option<String>,
    /// Events of its range that were read.
    pub read: u64,
    /// Those of them that none of its routes wanted.
    pub skipped: u64,
    /// Offsets of its range that could not be read: their copy in the archive is missing or damaged, or there is none.
    #[serde(default)]
    pub lost: u64,
    /// Bytes of segments that it holds from trimming.
    pub held_bytes: u64,
    /// How long it still takes, as fast as it has been going.
    pub left_seconds: Option<u64>,
    /// Why it does not go on.
    pub waits: Option<String>,
}

/// A route of a replay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplayRoute {
    /// Its name.
    pub name: String,
    /// What it is doing; none when the replay is over.
    pub state: Option<LaneStateName>,
    /// Deliveries that were opened.
    pub matched: u64,
    /// Delivered.
    pub delivered: u64,
    /// Parked as dead letters.
    pub dead_lettered: u64,
    /// Ended with the replay.
    pub ended: u64,
    /// Owed now, those in flight included.
    pub waiting: u64,
    /// An attempt is made right now.
    pub in_flight: u64,
    /// Replies that were counted and dropped.
    pub replies_discarded: u64,
}

impl From<RunStatus> for Replay {
    fn from(status: RunStatus) -> Self {
        let RunStatus { run, bus, lanes, waits, held_bytes, left_ms } = status;
        let done = u128::from(run.next.0.saturating_sub(run.from.0)) * 100;
        let percent = done / u128::from(run.to.0.saturating_sub(run.from.0).max(1));
        let route = |(at, r): (usize, &router_core::replay::RunRoute)| {
            let lane = lanes.get(at).filter(|_| !run.state.is_over());
            ReplayRoute {
                name: r.name.to_string(),
                state: lane.map(|l| l.state),
                matched: r.counts.matched,
                delivered: r.counts.delivered,
                dead_lettered: r.counts.dead_lettered,
                ended: r.counts.ended,
                waiting: lane.map_or(0, |l| l.waiting),
                in_flight: lane.map_or(0, |l| l.in_flight),
                replies_discarded: r.counts.replies_discarded,
            }
        };
        Replay {
            id: run.id.0,
            bus: bus.to_string(),
            state: run.state.as_str().into(),
            from: run.from.0,
            to: run.to.0,
            next: run.next.0,
            percent: u8::try_from(percent).unwrap_or(100),
            routes: run.routes.iter().enumerate().map(route).collect(),
            filter: run.filter.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            rate: run.rate.map(NonZeroU32::get),
            replies: run.replies,
            started: time_text(run.started),
            ended: run.ended.map(time_text),
            read: run.read,
            skipped: run.skipped,
            lost: run.lost,
            held_bytes,
            left_seconds: left_ms.filter(|_| !run.state.is_over()).map(|ms| ms / 1_000),
            waits,
        }
    }
}
