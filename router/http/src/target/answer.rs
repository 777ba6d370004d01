//! The events in a target's answer: structured, batched or binary, as the `Content-Type` tells (CloudEvents 1.0.2,
//! HTTP protocol binding, section 3). An answer without a body and without a `ce-` header has none. Whatever else is
//! there is kept as it came with why it is no event, so that the path can quarantine it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use router_core::{
    reply::{REPLIES_BYTES_MAX, REPLIES_COUNT_MAX, ReplyTo},
    source::RawEvent,
};
use schemas::{Code, Invalid, Place, http::Mode};

use crate::codes;

/// The media type of what is kept of an answer in binary mode: its `ce-` headers and its body.
const HTTP_MESSAGE: &str = "message/http";

/// Reads the events of an answer. `cut`: it has more than [`REPLIES_BYTES_MAX`] bytes, the rest of which was not read.
pub fn replies(headers: &HeaderMap, body: &Bytes, cut: bool, to: &ReplyTo) -> Vec<RawEvent> {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str);
    let kind = kind.and_then(Result::ok);
    let invalid = |code: Code, message: String| Invalid::new(code, Place::Event, message);
    let whole = |event| RawEvent { event, raw: Some(body.clone()), content_type: kind.map(Into::into) };
    if cut {
        let message = format!(
            "the answer has more than {REPLIES_BYTES_MAX} bytes, the first of which are kept; answer with less, or publish the events"
        );
        return vec![whole(Err(invalid(codes::ANSWER_TOO_LARGE, message)))];
    }
    let mode = schemas::http::mode(kind);
    if mode != Mode::Binary && !kind.is_some_and(schemas::http::is_json_format) {
        let message = "of the event formats only JSON is read: application/cloudevents+json, or application/cloudevents-batch+json";
        return vec![whole(Err(invalid(codes::EVENT_FORMAT, message.into())))];
    }
    match mode {
        Mode::Structured => vec![whole(schemas::json::decode_with_id(body, &to.id(0)))],
        Mode::Batch => match schemas::json::decode_batch_with_ids(body, REPLIES_COUNT_MAX, |index| to.id(index)) {
            Ok(events) => {
                let one = |(range, event)| RawEvent { raw: Some(body.slice(range)), ..whole(event) };
                events.into_iter().map(one).map(in_json).collect()
            }
            Err(invalid) => vec![whole(Err(invalid))],
        },
        Mode::Binary if headers.keys().any(|name| name.as_str().starts_with("ce-")) => {
            let event = schemas::http::decode_binary_with_id(headers, body.clone(), &to.id(0));
            vec![RawEvent { event, raw: Some(message(headers, body)), content_type: Some(HTTP_MESSAGE.into()) }]
        }
        Mode::Binary if body.is_empty() => Vec::new(),
        Mode::Binary => {
            let message = "the answer is no CloudEvent; a target that has nothing to reply answers without a body, e.g. 204, and a route that wants no replies leaves out `reply`";
            vec![whole(Err(invalid(codes::NOT_A_CLOUDEVENT, message.into())))]
        }
    }
}

/// One event of a batch stands as one event.
fn in_json(one: RawEvent) -> RawEvent {
    RawEvent { content_type: Some(schemas::json::MEDIA_TYPE.into()), ..one }
}

/// What of an answer makes an event, as it went over the wire of HTTP/1.1.
fn message(headers: &HeaderMap, body: &Bytes) -> Bytes {
    let mut whole = b"HTTP/1.1 200\r\n".to_vec();
    for (name, value) in headers {
        if name.as_str().starts_with("ce-") || *name == header::CONTENT_TYPE {
            whole.extend_from_slice(name.as_str().as_bytes());
            whole.extend_from_slice(b": ");
            whole.extend_from_slice(value.as_bytes());
            whole.extend_from_slice(b"\r\n");
        }
    }
    whole.extend_from_slice(b"\r\n");
    whole.extend_from_slice(body);
    whole.into()
}

#[cfg(test)]
mod tests {
    use router_core::id::RouteName;
    use schemas::Event;

    use super::*;

    fn to() -> ReplyTo {
        let cause = Event::builder("1", "/s", "t").build().unwrap();
        ReplyTo::new(&cause, &RouteName::new("r").unwrap(), &[0; 16])
    }

    fn read(headers: &[(&'static str, &'static str)], body: &'static str) -> Vec<RawEvent> {
        let headers = headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        replies(&headers, &Bytes::from_static(body.as_bytes()), false, &to())
    }

    fn codes(replies: &[RawEvent]) -> Vec<Option<&'static str>> {
        replies.iter().map(|r| r.event.as_ref().err().map(|invalid| invalid.code.0)).collect()
    }

    #[test]
    fn each_mode_is_read_and_an_id_is_given_where_there_is_none() {
        let structured = read(
            &[("content-type", "application/cloudevents+json")],
            r#"{"specversion":"1.0","source":"/f","type":"a","data":{"n": 1.50}}"#,
        );
        let event = structured[0].event.as_ref().unwrap();
        assert_eq!((event.id(), event.data()), (to().id(0).as_str(), &br#"{"n": 1.50}"#[..]));
        let binary = read(
            &[("ce-specversion", "1.0"), ("ce-source", "/f"), ("ce-type", "a"), ("content-type", "text/plain")],
            "hello",
        );
        assert_eq!(binary[0].event.as_ref().unwrap().id(), to().id(0));
        let batch = read(
            &[("content-type", "application/cloudevents-batch+json")],
            r#"[ {"specversion":"1.0","id":"own","source":"/f","type":"a"}, {"specversion":"1.0","source":"/f","type":"b"}, 7 ]"#,
        );
        let ids: Vec<_> = batch.iter().filter_map(|r| Some(r.event.as_ref().ok()?.id().to_owned())).collect();
        assert_eq!(ids, ["own".to_owned(), to().id(1)]);
        assert_eq!(codes(&batch), [None, None, Some("not-an-object")]);
        assert_eq!(batch[2].raw.as_ref().unwrap().trim_ascii(), b"7");
    }

    #[test]
    fn an_answer_without_events_has_none_and_other_answers_are_kept() {
        assert!(read(&[], "").is_empty());
        assert!(read(&[("content-type", "application/json")], "").is_empty());
        assert!(read(&[("content-type", "application/cloudevents-batch+json")], "[]").is_empty());
        let ok = read(&[("content-type", "text/plain")], "ok");
        assert_eq!((codes(&ok), ok[0].raw.as_deref()), (vec![Some("not-a-cloudevent")], Some(&b"ok"[..])));
        assert_eq!(codes(&read(&[("content-type", "application/cloudevents+avro")], "x")), [Some("event-format")]);
        let broken = read(&[("content-type", "application/cloudevents-batch+json")], "[{]");
        assert_eq!(codes(&broken), [Some("json-syntax")]);
        let binary = read(&[("ce-type", "a"), ("x-other", "b")], "hello");
        assert_eq!(codes(&binary), [Some("missing-attribute")]);
        assert_eq!(binary[0].raw.as_deref(), Some(&b"HTTP/1.1 200\r\nce-type: a\r\n\r\nhello"[..]));
        let cut = replies(&HeaderMap::new(), &Bytes::from_static(b"x"), true, &to());
        assert_eq!(codes(&cut), [Some("answer-too-large")]);
    }

    #[test]
    fn a_batch_past_its_limit_is_kept_whole() {
        let one = r#"{"specversion":"1.0","source":"/f","type":"a"}"#;
        let body = format!("[{}]", vec![one; REPLIES_COUNT_MAX + 1].join(","));
        let headers = [(header::CONTENT_TYPE, "application/cloudevents-batch+json".parse().unwrap())];
        let kept = replies(&headers.into_iter().collect(), &Bytes::from(body.clone()), false, &to());
        assert_eq!((codes(&kept), kept[0].raw.as_deref()), (vec![Some("batch-too-long")], Some(body.as_bytes())));
    }
}
