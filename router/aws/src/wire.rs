//! Events as entries of `PutEvents`, and how AWS counts them; those of `PutRawEvents` are in [`raw`]. Pure.
//!
//! EventBridge gives each event an id, a region and an account of its own and knows no attributes but `source`,
//! `detail-type` and `time`, so a mapping says what of the CloudEvent becomes of its `Detail`:
//!
//! | mapping | `Detail` | what comes out at the other end |
//! |---|---|---|
//! | structured | the CloudEvent as JSON, with its data | all attributes; data equal as JSON, though numbers and spaces may be written anew; rules can filter by it |
//! | opaque | the CloudEvent as JSON, with its data as `data_base64` | all attributes, data byte for byte; rules can filter by attributes |
//! | data | the data, which is a JSON object | `source`, `type`, `time` to the second, and the data; no other attribute, but who it was and its hops, see [`identity`] |
//!
//! The size of an entry is that of its texts, and 14 bytes where it has a time (Amazon EventBridge User Guide,
//! "Calculating PutEvents event entry size").

/// What EventBridge sends.
pub mod envelope;
/// Who an event was.
pub mod identity;
/// What events are put together by.
pub(crate) mod keys;
/// Events of custom event buses.
pub mod raw;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_smithy_types::{DateTime, date_time::Format};
use router_core::target::Delivery;
use schemas::{Code, Event, Form};

use crate::codes;

/// Entries of one call, of EventBridge as of SQS.
pub const COUNT_MAX: usize = 10;
/// Bytes of the entries of one call, of EventBridge as of SQS.
pub const BYTES_MAX: usize = 1 << 20;
/// Characters of `DetailType`.
pub const DETAIL_TYPE_CHARS_MAX: usize = 128;
/// What a time adds to the size of an entry.
pub(crate) const TIME_BYTES: usize = 14;

/// What of an event becomes of `Detail`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// The CloudEvent as JSON.
    #[default]
    Structured,
    /// The CloudEvent as JSON, its data as base64.
    Opaque,
    /// The data alone.
    Data,
}

/// An event that a mapping cannot write, or that AWS would never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people, and what to do.
    pub note: String,
}

/// An entry of a call, and its bytes as AWS counts them.
#[derive(Clone, Debug)]
pub struct Weighed<T> {
    /// What is sent.
    pub entry: T,
    /// What counts.
    pub bytes: usize,
}

/// Writes a delivery for that bus.
///
/// # Errors
/// [`Misfit`]: no try can change it.
pub fn entry(delivery: &Delivery, mapping: Mapping, bus: &str) -> Result<Weighed<PutEventsRequestEntry>, Misfit> {
    let event = &delivery.event;
    check_names(event)?;
    let detail = detail(event, mapping)?;
    let time =
        event.get("time").and_then(|time| DateTime::from_str(&time.to_string(), Format::DateTimeWithOffset).ok());
    let original = (mapping == Mapping::Data).then(|| identity::resource(event));
    let bytes = size(event, &detail, time.is_some()) + original.as_ref().map_or(0, String::len);
    let entry = PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(event.source())
        .detail_type(event.kind())
        .detail(detail)
        .set_time(time)
        .set_resources(original.map(|original| vec![original]))
        .set_trace_header(trace_header(&router_http::target::trace::traceparent(delivery)))
        .build();
    Ok(Weighed { entry, bytes })
}

fn size(event: &Event, detail: &str, timed: bool) -> usize {
    let time = if timed { TIME_BYTES } else { 0 };
    event.source().len() + event.kind().len() + detail.len() + time
}

/// What AWS refuses of `Source` and `DetailType`, said with the names of CloudEvents.
fn check_names(event: &Event) -> Result<(), Misfit> {
    if event.source().starts_with("aws.") {
        let note = format!(
            "the source `{}` begins with `aws.`, which AWS keeps to its own services; give the event another source, e.g. by a `transform` of the route",
            event.source()
        );
        return Err(Misfit { code: codes::SOURCE, note });
    }
    let chars = event.kind().chars().count();
    if chars > DETAIL_TYPE_CHARS_MAX {
        let note = format!(
            "the type has {chars} characters, and EventBridge takes {DETAIL_TYPE_CHARS_MAX}; give the event a shorter one, e.g. by a `transform` of the route"
        );
        return Err(Misfit { code: codes::DETAIL_TYPE, note });
    }
    Ok(())
}

fn detail(event: &Event, mapping: Mapping) -> Result<String, Misfit> {
    let misfit = |note: String| Misfit { code: codes::NOT_AN_OBJECT, note };
    let bytes = match mapping {
        Mapping::Structured => schemas::json::encode(event),
        Mapping::Opaque => {
            let opaque = match event.form() {
                Form::None => event.clone(),
                // The bytes were taken once, so they are taken again under another form.
                _ => event
                    .rebuild()
                    .data(Form::Binary, event.data_bytes())
                    .build()
                    .map_err(|invalid| misfit(invalid.to_string()))?,
            };
            schemas::json::encode(&opaque)
        }
        Mapping::Data => {
            let object = event.form() == Form::Json && event.data().trim_ascii_start().starts_with(b"{");
            if !object {
                let what = match event.form() {
                    Form::None => "the event has no data",
                    Form::Json => "the data is JSON, but no object",
                    Form::Text | Form::Binary => "the data is no JSON",
                };
                let note = format!(
                    "{what}, and with `mapping: data` it becomes the event's detail, which is a JSON object; write `mapping: structured`, or filter such events out"
                );
                return Err(misfit(note));
            }
            event.data().to_vec()
        }
    };
    String::from_utf8(bytes).map_err(|e| misfit(format!("the event is no text: {e}")))
}

/// The trace as AWS X-Ray writes it, from what W3C Trace Context says: `00-TRACE-PARENT-FLAGS`.
pub fn trace_header(traceparent: &str) -> Option<String> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let (time, rest) = trace.split_at_checked(8)?;
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
    Some(format!("Root=1-{time}-{rest};Parent={parent};Sampled={sampled}"))
}

/// The trace of AWS X-Ray as W3C Trace Context writes it: what [`trace_header`] wrote, read back.
pub fn traceparent(header: &str) -> Option<String> {
    let part = |name: &str| {
        let mut parts = header.split(';').filter_map(|part| part.trim().split_once('='));
        parts.find_map(|(n, value)| (n == name).then_some(value))
    };
    let hex = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let (time, rest) = part("Root")?.strip_prefix("1-")?.split_once('-')?;
    let parent = part("Parent")?;
    let sampled = part("Sampled") == Some("1");
    let good = hex(time, 8) && hex(rest, 24) && hex(parent, 16);
    good.then(|| format!("00-{time}{rest}-{parent}-{:02x}", u8::from(sampled)))
}

/// Puts entries together as calls take them, in their order: at most so many, and so many bytes, of one call.
pub fn calls<T, E>(entries: Vec<(T, Weighed<E>)>, count_max: usize, bytes_max: usize) -> Vec<Vec<(T, Weighed<E>)>> {
    let (mut calls, mut bytes) = (Vec::<Vec<(T, Weighed<E>)>>::new(), 0usize);
    for (whose, entry) in entries {
        let size = entry.bytes;
        match calls.last_mut().filter(|call| call.len() < count_max && bytes.saturating_add(size) <= bytes_max) {
            Some(call) => {
                bytes += size;
                call.push((whose, entry));
            }
            None => {
                bytes = size;
                calls.push(vec![(whose, entry)]);
            }
        }
    }
    calls
}

#[cfg(test)]
pub(crate) mod tests;
