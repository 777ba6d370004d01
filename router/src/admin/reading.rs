//! Events of a bus as a stream of lines, one JSON object each: `GET /api/tail` as they come, and
//! `GET /api/archive/events` from one offset to another.
//!
//! A reader is a guest: it reads behind the synced tail, takes a bounded share of the disk, holds nothing from
//! being let go, and one that is slow holds one piece of lines in memory. There are at most [`READERS_MAX`].

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::IntoResponse,
};
use router_core::{
    archive::{Archive, Follow, Manner, Next, Passed, Why},
    clock::Clock,
    filter::{Filter, Spec},
    id::{BusName, Offset},
    store::{Chunk, Error},
};
use router_http::{
    lines::{Gone, Sender, lines},
    problem::Problem,
};
use schemas::Code;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Answer, Refusal, Shared, bad, letters::time, view::time_text};
use crate::{codes, config};

/// Readers at a time; further ones are told to come back.
pub const READERS_MAX: usize = 16;
/// Bytes of the log that a tail reads in a second.
pub const TAIL_BYTES_PER_SECOND_MAX: u64 = 16 << 20;
/// Bytes of the log that an export reads in a second.
pub const EXPORT_BYTES_PER_SECOND_MAX: u64 = 64 << 20;
/// Bytes of the log that are read at a time; one event may be larger.
const READ_BYTES: usize = 128 << 10;
/// After how long without an event a line says where the reader is.
pub const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// How long a reader may take nothing before it is let go.
pub const STALLED_MAX: Duration = Duration::from_secs(30);
/// How long the last line waits for its reader.
const LAST_WAIT: Duration = Duration::from_millis(500);
/// What they are.
const MEDIA_TYPE: &str = "application/x-ndjson";

/// Room for readers, and what ends them all.
pub struct Readers {
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Default for Readers {
    fn default() -> Self {
        Readers { room: Arc::new(Semaphore::new(READERS_MAX)), stop: CancellationToken::new() }
    }
}

impl Readers {
    /// Ends all of them; each says so in its last line.
    pub fn end(&self) {
        self.stop.cancel();
    }

    /// Ends all of them when it is dropped.
    pub fn guard(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }
}

// ---------------------------------------------------------------------------------- what is said

/// One line: an event with its offset, or one of the other members.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Line {
    /// What is going to be shown: the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Begin>,
    /// The event's offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When it was appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended: Option<String>,
    /// What its source told beside the event, e.g. how often it had tried; never delivered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// The event as CloudEvents JSON on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// Events that are not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
    /// Everything below this offset was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Why nothing more comes: `done` or `stopping`. The last line, unless there was an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// What went wrong: the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<LineError>,
}

/// What is going to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The store's epoch, 16 hexadecimal digits.
    pub epoch: String,
    /// The bus.
    pub bus: String,
    /// The first offset that is looked at.
    pub from: u64,
    /// The first one that is not; none for a tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// Offsets that are not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The first of them.
    pub from: u64,
    /// The first one behind them.
    pub to: u64,
    /// How many, all events and not only those that the filter would have shown.
    pub events: u64,
    /// `behind`: the flow is faster than the reader; `trimmed`: they are no longer kept; `lost`: their copy in the
    /// archive is missing or damaged.
    pub why: String,
}

/// Why a stream ends before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

// ---------------------------------------------------------------------------------- what is asked

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailOf {
    bus: Option<String>,
    from: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
    #[serde(default = "yes")]
    follow: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeOf {
    bus: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
}

pub(super) async fn tail(State(api): Shared, query: Result<Query<TailOf>, QueryRejection>) -> Answer {
    let Query(TailOf { bus, from, filter, follow }) = query?;
    let (bus, archive, filter) = subject(&api, bus, filter)?;
    let from = position(&archive, from.as_deref().unwrap_or("latest")).await?;
    archive.known(from)?;
    let tail = archive.bounds().1;
    let manner = if follow { Manner::Live } else { Manner::Whole(tail) };
    let follow = Follow::new(manner, from, tail, TAIL_BYTES_PER_SECOND_MAX);
    stream(&api, bus, archive, filter, follow).await
}

pub(super) async fn export(State(api): Shared, query: Result<Query<RangeOf>, QueryRejection>) -> Answer {
    let Query(RangeOf { bus, from, to, filter }) = query?;
    let (bus, archive, filter) = subject(&api, bus, filter)?;
    let from = position(&archive, from.as_deref().unwrap_or("earliest")).await?;
    let to = position(&archive, to.as_deref().unwrap_or("latest")).await?;
    archive.known(from)?;
    let (first, tail) = archive.bounds();
    if from < first && to > from {
        return Err(bad(router_core::codes::TRIMMED, gone(from, first)));
    }
    let follow = Follow::new(Manner::Whole(to.min(tail)), from, tail, EXPORT_BYTES_PER_SECOND_MAX);
    stream(&api, bus, archive, filter, follow).await
}

fn gone(from: Offset, first: Offset) -> String {
    format!("offset {from} is no longer kept, the first one is {first}; begin there, or with `earliest`")
}

fn subject(
    api: &super::Api,
    bus: Option<String>,
    filter: Option<String>,
) -> Result<(BusName, Archive, Filter), Refusal> {
    let missing = |name: &str| {
        let detail = format!("there is no bus `{name}`; `gocoffee archive ls` lists them");
        Refusal(Problem::new(StatusCode::NOT_FOUND, codes::NO_SUCH_BUS, detail))
    };
    let bus = match bus {
        Some(name) => BusName::new(&name).map_err(|_| missing(&name))?,
        None => config::default_bus(),
    };
    let archive = api.path.archive(&bus).ok_or_else(|| missing(bus.as_str()))?.clone();
    let filter = match filter {
        None => Filter::all(),
        Some(text) => {
            let spec: Spec = serde_json::from_str(&text).map_err(|e| bad(codes::FILTER, format!("where: {e}")))?;
            Filter::parse(spec).map_err(|e| bad(codes::FILTER, format!("where: {e}")))?
        }
    };
    Ok((bus, archive, filter))
}

/// `earliest`, `latest`, an offset, or the time of an append.
pub(super) async fn position(archive: &Archive, text: &str) -> Result<Offset, Refusal> {
    match text {
        "earliest" => Ok(archive.bounds().0),
        "latest" => Ok(archive.bounds().1),
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map(Offset).map_err(|_| bad(codes::POSITION, format!("`{digits}` is no offset")))
        }
        text => match time(text) {
            Ok(at) => Ok(archive.seek(at).await?),
            Err(_) => {
                let detail = format!(
                    "`{text}` is no place in a log: `earliest`, `latest`, an offset, or a time such as 2026-01-02T03:04:05Z"
                );
                Err(bad(codes::POSITION, detail))
            }
        },
    }
}

async fn stream(api: &Arc<super::Api>, bus: BusName, archive: Archive, filter: Filter, follow: Follow) -> Answer {
    let Ok(held) = api.readers.room.clone().try_acquire_owned() else {
        let detail = format!(
            "{READERS_MAX} tails and exports are under way, which is all there is room for; end one, or come back"
        );
        let busy = Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::TOO_MANY_READERS, detail);
        return Err(Refusal(busy));
    };
    let epoch = format!("{:016x}", api.path.status().await?.epoch.0);
    let begin = Begin { epoch, bus: bus.to_string(), from: follow.at().0, to: follow.end().map(|to| to.0) };
    let (out, body) = lines(held);
    let reading = Reading { archive, filter, follow, clock: api.clock.clone(), spoken: tokio::time::Instant::now() };
    let stop = api.readers.stop.clone();
    // The body that axum holds is what it lives for: gone with it, with the router, or at its end.
    tokio::spawn(run(reading, begin, out, stop));
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")], Body::new(body)).into_response())
}

// ---------------------------------------------------------------------------------- the reader

/// Why a reader ends.
enum Ended {
    Done,
    Stopping,
    Failed(Code, String),
    /// Nobody is there to be told.
    Gone(Gone),
}

struct Reading {
    archive: Archive,
    filter: Filter,
    follow: Follow,
    clock: Arc<dyn Clock>,
    /// When it was heard of last.
    spoken: tokio::time::Instant,
}

async fn run(mut reading: Reading, begin: Begin, out: Sender, stop: CancellationToken) {
    let ended = tokio::select! {
        biased;
        () = out.closed() => Ended::Gone(Gone::Closed),
        () = stop.cancelled() => Ended::Stopping,
        ended = reading.read(begin, &out) => ended,
    };
    let next = Some(reading.follow.at().0);
    let last = match ended {
        Ended::Done => Line { end: Some("done".into()), next, ..Line::default() },
        Ended::Stopping => Line { end: Some("stopping".into()), next, ..Line::default() },
        Ended::Failed(code, message) => {
            Line { error: Some(LineError { code: code.0.into(), message }), next, ..Line::default() }
        }
        Ended::Gone(Gone::Closed) => return,
        Ended::Gone(Gone::Stalled) => {
            tracing::info!(
                stalled_s = STALLED_MAX.as_secs(),
                "a reader of events took nothing for too long: it was let go"
            );
            return;
        }
    };
    if out.send(written(&last).into(), LAST_WAIT).await.is_ok() {
        out.finish();
    }
}

fn written(line: &Line) -> Vec<u8> {
    // A line is plain data and always writes; an empty one would mean nothing to its reader.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

impl Reading {
    async fn read(&mut self, begin: Begin, out: &Sender) -> Ended {
        match self.steps(begin, out).await {
            Ok(()) => Ended::Done,
            Err(ended) => ended,
        }
    }

    async fn steps(&mut self, begin: Begin, out: &Sender) -> Result<(), Ended> {
        let mut tail = self.archive.tail();
        self.say(out, written(&Line { begin: Some(begin), ..Line::default() })).await?;
        loop {
            match self.follow.next(self.archive.bounds(), self.clock.monotonic()) {
                Next::End => return Ok(()),
                Next::Pause(wait) => tokio::time::sleep(wait).await,
                Next::Passed(passed) => self.passed(passed, out).await?,
                Next::Read(from) => self.chunk(from, out).await?,
                Next::Wait(at) => {
                    let moved = async { tail.wait_for(|tail| *tail > at).await.is_ok() };
                    match tokio::time::timeout_at(self.spoken + ALIVE_EVERY, moved).await {
                        Ok(true) => {}
                        // The log is closed: the router has stopped.
                        Ok(false) => return Err(Ended::Stopping),
                        Err(_) => self.alive(out).await?,
                    }
                }
            }
        }
    }

    async fn passed(&mut self, Passed { from, to, why }: Passed, out: &Sender) -> Result<(), Ended> {
        if self.follow.end().is_some() && why == Why::Trimmed {
            return Err(Ended::Failed(router_core::codes::TRIMMED, gone(from, to)));
        }
        let events = to.0.saturating_sub(from.0);
        let passed_over = Some(PassedOver { from: from.0, to: to.0, events, why: why.as_str().into() });
        self.say(out, written(&Line { passed_over, ..Line::default() })).await
    }

    async fn chunk(&mut self, from: Offset, out: &Sender) -> Result<(), Ended> {
        let chunk = match self.archive.read(from, READ_BYTES).await {
            Ok(chunk) => chunk,
            // Let go meanwhile: the bounds say so when they are asked next.
            Err(Error::Trimmed { .. }) => return Ok(()),
            // What is missing is told, and the rest goes on.
            Err(Error::Lost { from: _, to, .. }) => {
                let to = self.follow.end().map_or(to, |end| to.min(end));
                self.follow.read(0, to);
                let (events, why) = (to.0.saturating_sub(from.0), Why::Lost.as_str().into());
                let passed_over = Some(PassedOver { from: from.0, to: to.0, events, why });
                return self.say(out, written(&Line { passed_over, next: Some(to.0), ..Line::default() })).await;
            }
            Err(e) => return Err(Ended::Failed(e.code(), e.to_string())),
        };
        let text = self.lines(&chunk).map_err(|e| Ended::Failed(e.code(), e.to_string()))?;
        self.follow.read(chunk.buffer.len(), chunk.next);
        if !text.is_empty() {
            self.say(out, text).await
        } else if self.spoken.elapsed() >= ALIVE_EVERY {
            self.alive(out).await
        } else {
            Ok(())
        }
    }

    /// What the filter shows of a chunk.
    fn lines(&self, chunk: &Chunk) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        for record in chunk.records() {
            let record = record?;
            if self.follow.end().is_some_and(|to| record.offset >= to) {
                break;
            }
            if self.filter.matches(&record.event) {
                let mut head = String::new();
                // Writing to a string does not fail.
                write!(head, r#"{{"offset":{},"appended":"{}","#, record.offset, time_text(record.appended))
                    .unwrap_or_default();
                text.extend_from_slice(head.as_bytes());
                let facts: BTreeMap<&str, &str> = record.event.facts().collect();
                if !facts.is_empty() {
                    text.extend_from_slice(br#""facts":"#);
                    // Writing texts into memory does not fail.
                    serde_json::to_writer(&mut text, &facts).unwrap_or_default();
                    text.push(b',');
                }
                text.extend_from_slice(br#""event":"#);
                schemas::json::encode_line_into(&record.event, &mut text);
                text.extend_from_slice(b"}\n");
            }
        }
        Ok(text)
    }

    async fn alive(&mut self, out: &Sender) -> Result<(), Ended> {
        let next = Some(self.follow.at().0);
        self.say(out, written(&Line { next, ..Line::default() })).await
    }

    async fn say(&mut self, out: &Sender, text: Vec<u8>) -> Result<(), Ended> {
        self.spoken = tokio::time::Instant::now();
        out.send(text.into(), STALLED_MAX).await.map_err(Ended::Gone)
    }
}
