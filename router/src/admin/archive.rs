//! `GET /api/archive`: the stretches that the logs are made of, and what holds them.

use axum::{Json, extract::State, response::IntoResponse};
use router_core::{
    archive::Archive,
    id::Offset,
    replay::Run,
    store::{Error, Segment, SegmentKind},
};
use serde::{Deserialize, Serialize};

use super::{Answer, Shared, view::time_text};

/// `GET /api/archive`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Buses {
    /// By name.
    pub buses: Vec<Bus>,
}

/// What is kept of a bus.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bus {
    /// Its name.
    pub name: String,
    /// The first offset that is kept whole.
    pub first: u64,
    /// The offset that the next event gets.
    pub tail: u64,
    /// By offset.
    pub stretches: Vec<Stretch>,
}

/// A stretch of a log, which goes as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stretch {
    /// What of it is kept.
    pub kind: Kind,
    /// Its first offset.
    pub first: u64,
    /// The offset behind it.
    pub next: u64,
    /// When its first event was appended; none for a remnant, and where there is none yet.
    pub oldest: Option<String>,
    /// When its last event was appended.
    pub newest: Option<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Its events that deliveries or dead letters still need.
    pub needed: u64,
    /// Whether all of its events were matched.
    pub matched: bool,
    /// The replays that have yet to read something of it, by number: it stays for them.
    #[serde(default)]
    pub replays: Vec<u32>,
}

/// What of a stretch is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only what is still needed.
    Remnant,
    /// All, and nothing is added.
    Sealed,
    /// All, and new events come to it.
    Unsealed,
    /// All, as copies in the archive; it may be kept here, too.
    Copied,
}

pub(super) async fn list(State(api): Shared) -> Answer {
    let mut buses = Vec::new();
    let runs: Vec<Run> = api.path.replays().await?.into_iter().map(|status| status.run).collect();
    for (name, archive) in api.path.archives() {
        let (first, tail) = archive.bounds();
        let mut stretches = Vec::new();
        stretches.extend(copied(archive, &runs));
        for segment in archive.segments() {
            stretches.push(stretch(archive, segment, &runs).await?);
        }
        buses.push(Bus { name: name.to_string(), first: first.0, tail: tail.0, stretches });
    }
    Ok(Json(Buses { buses }).into_response())
}

/// What lies in the archive in object storage: copies that follow each other are one stretch.
fn copied(archive: &Archive, runs: &[Run]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for copy in archive.copies() {
        let (first, next) = (copy.first, copy.next);
        match stretches.last_mut().filter(|last| last.next == first.0) {
            Some(last) => {
                (last.next, last.newest) = (next.0, Some(time_text(copy.newest)));
                last.bytes += copy.bytes;
            }
            None => stretches.push(Stretch {
                kind: Kind::Copied,
                first: first.0,
                next: next.0,
                oldest: Some(time_text(copy.oldest)),
                newest: Some(time_text(copy.newest)),
                bytes: copy.bytes,
                needed: 0,
                matched: true,
                replays: Vec::new(),
            }),
        }
    }
    let held = |s: &Stretch, run: &Run| run.holds_any_of(archive.bus(), &(Offset(s.first)..Offset(s.next)));
    for stretch in &mut stretches {
        stretch.replays = runs.iter().filter(|run| held(stretch, run)).map(|run| run.id.0).collect();
    }
    stretches
}

async fn stretch(archive: &Archive, segment: Segment, runs: &[Run]) -> Result<Stretch, Error> {
    let Segment { first, next, newest, bytes, kind } = segment;
    let kind = match kind {
        SegmentKind::Remnant => Kind::Remnant,
        SegmentKind::Sealed => Kind::Sealed,
        SegmentKind::Unsealed => Kind::Unsealed,
    };
    let oldest = match archive.read(first, 1).await {
        Ok(chunk) => chunk.records.first().filter(|(at, ..)| kind != Kind::Remnant && *at < next).map(|(_, at, _)| *at),
        // It was let go a moment ago, or its first event is damaged: what is known is told all the same.
        Err(Error::Trimmed { .. } | Error::Damaged { .. }) => None,
        Err(e) => return Err(e),
    };
    let needed = archive.needed(first..next).await?;
    Ok(Stretch {
        kind,
        first: first.0,
        next: next.0,
        oldest: oldest.map(time_text),
        newest: (first < next && newest.0 > 0).then(|| time_text(newest)),
        bytes,
        needed: u64::try_from(needed.offsets.len()).unwrap_or(u64::MAX),
        matched: needed.planned >= next,
        replays: runs
            .iter()
            .filter(|run| run.holds_any_of(archive.bus(), &(first..next)))
            .map(|run| run.id.0)
            .collect(),
    })
}
