//! Doing a piece of work once for a key, across attempts and processes.
//!
//! A key's value is JSON: `{"started":MS}` while the work runs, then `{"done":[…replies…]}`. `MS` is when it
//! began, in milliseconds since 1970. The answer is stored before it is given. Work that failed removes its
//! mark, so that the next attempt runs it; a mark older than [`STARTED_AGE_MAX`] is one whose process died.

use std::{future::Future, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use schemas::Form;
use serde::{Deserialize, Serialize};

use super::{Error, If, State, Version};
use crate::function::{Attr, Data, Failure, Reply};

/// How long work may be under way before another attempt takes it over: past the longest run that a platform
/// allows (Lambda, 15 minutes).
pub const STARTED_AGE_MAX: Duration = Duration::from_secs(960);
/// When an attempt that finds the work under way is told to come back.
const UNDER_WAY_WAIT: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Started(i64),
    Done(Vec<Kept>),
}

/// A reply as it is stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    kind: Box<str>,
    id: Option<Box<str>>,
    source: Option<Box<str>>,
    attrs: Vec<(Box<str>, KeptAttr)>,
    form: char,
    data: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum KeptAttr {
    Text(Box<str>),
    Integer(i32),
    Boolean(bool),
}

/// One piece of work under one key.
pub(crate) struct Once<'a> {
    pub(crate) state: &'a dyn State,
    pub(crate) key: String,
    /// Milliseconds since 1970.
    pub(crate) now_ms: i64,
}

impl Once<'_> {
    /// Gives the stored answer, or runs the work and stores it.
    pub(crate) async fn run<W>(self, work: W) -> Result<Vec<Reply>, Failure>
    where
        W: Future<Output = Result<Vec<Reply>, Failure>>,
    {
        let version = match self.begin().await? {
            Begun::Done(replies) => return Ok(replies),
            Begun::Ours(version) => version,
        };
        match work.await {
            Ok(replies) => {
                let mark = write(&Mark::Done(replies.iter().map(keep).collect()))?;
                self.state.put(&self.key, mark, If::Version(version)).await?;
                Ok(replies)
            }
            Err(failure) => {
                // Best effort: where this fails too, the mark grows old and is taken over.
                let _left = self.state.remove(&self.key, &version).await;
                Err(failure)
            }
        }
    }

    async fn begin(&self) -> Result<Begun, Failure> {
        let started = write(&Mark::Started(self.now_ms))?;
        match self.state.put(&self.key, started.clone(), If::Absent).await {
            Ok(version) => return Ok(Begun::Ours(version)),
            Err(Error::Conflict(_)) => {}
            Err(other) => return Err(other.into()),
        }
        // Gone since: its owner failed just now, and the next attempt finds room.
        let Some(stored) = self.state.get(&self.key).await? else { return Err(under_way()) };
        let damaged = |e: &dyn std::fmt::Display| {
            Failure::unavailable("state-damaged", format!("state {}: {e}; remove this entry", self.key))
        };
        let mark = serde_json::from_slice(&stored.value).map_err(|e| damaged(&e))?;
        match mark {
            Mark::Done(kept) => {
                let replies = kept.into_iter().map(restore).collect::<Result<_, _>>();
                Ok(Begun::Done(replies.map_err(|e| damaged(&e))?))
            }
            Mark::Started(at) if u128::from(self.now_ms.abs_diff(at)) < STARTED_AGE_MAX.as_millis() => Err(under_way()),
            Mark::Started(_) => Ok(Begun::Ours(self.state.put(&self.key, started, If::Version(stored.version)).await?)),
        }
    }
}

enum Begun {
    Done(Vec<Reply>),
    Ours(Version),
}

fn under_way() -> Failure {
    let message = "another attempt at this event is under way; come back when it is done";
    Failure::retry("under-way", message).after(UNDER_WAY_WAIT)
}

fn write(mark: &Mark) -> Result<Bytes, Failure> {
    let written = serde_json::to_vec(mark).map(Bytes::from);
    written.map_err(|e| Failure::unavailable("state-unavailable", format!("the state cannot be written: {e}")))
}

fn keep(reply: &Reply) -> Kept {
    let attr = |(name, value): &(Box<str>, Attr)| {
        let value = match value {
            Attr::Text(text) => KeptAttr::Text(text.clone()),
            Attr::Integer(number) => KeptAttr::Integer(*number),
            Attr::Boolean(truth) => KeptAttr::Boolean(*truth),
        };
        (name.clone(), value)
    };
    let form = match reply.data.form() {
        Form::None => 'n',
        Form::Json => 'j',
        Form::Text => 't',
        Form::Binary => 'b',
    };
    Kept {
        kind: reply.kind.clone(),
        id: reply.id.clone(),
        source: reply.source.clone(),
        attrs: reply.attrs.iter().map(attr).collect(),
        form,
        data: STANDARD.encode(reply.data.bytes()),
    }
}

fn restore(kept: Kept) -> Result<Reply, String> {
    let attr = |(name, value)| {
        let value = match value {
            KeptAttr::Text(text) => Attr::Text(text),
            KeptAttr::Integer(number) => Attr::Integer(number),
            KeptAttr::Boolean(truth) => Attr::Boolean(truth),
        };
        (name, value)
    };
    let form = match kept.form {
        'n' => Form::None,
        'j' => Form::Json,
        't' => Form::Text,
        'b' => Form::Binary,
        other => return Err(format!("no form of data is called {other:?}")),
    };
    let data = STANDARD.decode(&kept.data).map_err(|e| e.to_string())?;
    Ok(Reply {
        kind: kept.kind,
        id: kept.id,
        source: kept.source,
        attrs: kept.attrs.into_iter().map(attr).collect(),
        data: Data::Kept(form, data.into()),
    })
}
