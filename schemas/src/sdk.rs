//! To and from the events of `cloudevents-sdk` (feature `sdk`), for programs that hold those.
//!
//! The SDK parses what it holds: JSON data becomes a `serde_json::Value`, a time an instant in UTC. What it
//! cannot hold at all is an error here, never a silent change: extensions that are no string, boolean or
//! integer, and a `dataschema` that its URL type would write differently.

use cloudevents::event::{ExtensionValue, SpecVersion, TryIntoTime, TryIntoUrl};
use cloudevents::{AttributesReader, AttributesWriter, Data, EventBuilder, EventBuilderV10};

use crate::codes;
use crate::event::{Builder, Event, Form, Value, integer};
use crate::invalid::{Invalid, Place};

fn cannot_carry(name: &str, message: impl std::fmt::Display) -> Invalid {
    Invalid::new(
        codes::SDK_CANNOT_CARRY,
        Place::attribute(name),
        format!("cloudevents-sdk cannot hold this: {message}"),
    )
}

impl TryFrom<&Event> for cloudevents::Event {
    type Error = Invalid;

    fn try_from(event: &Event) -> Result<Self, Invalid> {
        let builder = EventBuilderV10::new().id(event.id()).source(event.source()).ty(event.kind());
        let mut out = builder.build().map_err(|e| cannot_carry("id", e))?;
        for (name, value) in event.attrs().skip(3) {
            let text = value.to_string();
            match (name, value) {
                ("subject", _) => drop(out.set_subject(Some(text))),
                ("datacontenttype", _) => drop(out.set_datacontenttype(Some(text))),
                ("time", _) => {
                    let time = text.as_str().into_time().map_err(|e| cannot_carry(name, e))?;
                    out.set_time(Some(time));
                }
                ("dataschema", _) => {
                    let url = text.as_str().into_url().map_err(|e| cannot_carry(name, e))?;
                    if url.as_str() != text {
                        return Err(cannot_carry(name, format_args!("it would become {url}")));
                    }
                    out.set_dataschema(Some(url));
                }
                (_, Value::String(s)) => out.set_extension(name, s),
                (_, Value::Boolean(b)) => out.set_extension(name, b),
                (_, Value::Integer(i)) => out.set_extension(name, i64::from(i)),
                (_, Value::Json(_)) => return Err(cannot_carry(name, "it is a JSON value")),
            }
        }
        let not_data = |e: &dyn std::fmt::Display| {
            Invalid::new(codes::SDK_CANNOT_CARRY, Place::Data, format!("cloudevents-sdk cannot hold this: {e}"))
        };
        let data = match event.form() {
            Form::None => return Ok(out),
            Form::Json => Data::Json(serde_json::from_slice(event.data()).map_err(|e| not_data(&e))?),
            Form::Text => Data::String(String::from_utf8(event.data().to_vec()).map_err(|e| not_data(&e))?),
            Form::Binary => Data::Binary(event.data().to_vec()),
        };
        out.set_data_unchecked(data);
        Ok(out)
    }
}

impl TryFrom<&cloudevents::Event> for Event {
    type Error = Invalid;

    fn try_from(event: &cloudevents::Event) -> Result<Self, Invalid> {
        if event.specversion() != SpecVersion::V10 {
            return Err(Invalid::new(codes::SPECVERSION, Place::attribute("specversion"), "only 1.0 is taken"));
        }
        let time = event.time().map(|t| t.to_rfc3339());
        let integers: Vec<(&str, String)> = event
            .iter_extensions()
            .filter_map(|(name, value)| match value {
                ExtensionValue::Integer(i) => Some((name, i.to_string())),
                _ => None,
            })
            .collect();
        let mut attrs: Vec<(&str, Value<'_>)> =
            vec![("id", event.id().into()), ("source", event.source().as_str().into()), ("type", event.ty().into())];
        attrs.extend(event.subject().map(|s| ("subject", s.into())));
        attrs.extend(time.as_deref().map(|t| ("time", t.into())));
        attrs.extend(event.datacontenttype().map(|t| ("datacontenttype", t.into())));
        attrs.extend(event.dataschema().map(|u| ("dataschema", u.as_str().into())));
        for (name, value) in event.iter_extensions() {
            match value {
                ExtensionValue::String(s) => attrs.push((name, Value::String(s))),
                ExtensionValue::Boolean(b) => attrs.push((name, Value::Boolean(*b))),
                ExtensionValue::Integer(_) => {}
            }
        }
        // The SDK's integers have 64 bits, those of CloudEvents 32: larger ones stay JSON numbers.
        attrs.extend(integers.iter().map(|(n, digits)| (*n, integer(digits).map_or(Value::Json(digits), Value::from))));
        let builder = Builder::from_attrs(attrs);
        match event.data() {
            None => builder,
            Some(Data::Json(value)) => builder.data(Form::Json, value.to_string()),
            Some(Data::String(text)) => builder.data_slice(Form::Text, text.as_bytes()),
            Some(Data::Binary(bytes)) => builder.data_slice(Form::Binary, bytes),
        }
        .build()
    }
}

#[cfg(test)]
mod tests {
    //! Goal: what the SDK can hold goes there and comes back; what it cannot is named.

    use super::*;

    fn there_and_back(event: &Event) -> Event {
        Event::try_from(&cloudevents::Event::try_from(event).unwrap()).unwrap()
    }

    #[test]
    fn events_of_each_form_come_back_equal() {
        let start = || {
            Event::builder("1", "/s", "t")
                .attr("subject", "latte")
                .attr("time", "2018-04-05T17:31:00+00:00")
                .attr("datacontenttype", "a/b")
                .attr("dataschema", "https://example.com/schema")
        };
        for event in [
            Event::builder("1", "/s", "t").build(),
            start().attr("ext", "é").data(Form::Json, r#"{"b":1,"a":[null,4.50]}"#).build(),
            start().attr("yes", true).data(Form::Text, "text").build(),
            start().attr("n", -5).data(Form::Binary, b"\xFF".as_slice()).build(),
        ] {
            let event = event.unwrap();
            assert_eq!(there_and_back(&event), event);
        }
    }

    #[test]
    fn what_the_sdk_cannot_hold_is_named() {
        let start = || Event::builder("1", "/s", "t");
        for (builder, place) in [
            (start().attr("j", Value::Json("[1]")), "attribute j"),
            (start().attr("dataschema", "relative"), "attribute dataschema"),
            (start().attr("dataschema", "https://EXAMPLE.com"), "attribute dataschema"),
            (start().data(Form::Json, "[".repeat(500) + &"]".repeat(500)), "data"),
        ] {
            let refused = cloudevents::Event::try_from(&builder.build().unwrap()).unwrap_err();
            assert_eq!((refused.code.0, refused.place.to_string().as_str()), ("sdk-cannot-carry", place));
        }
        let old = cloudevents::EventBuilderV03::new().id("1").source("/s").ty("t").build().unwrap();
        assert_eq!(Event::try_from(&old).unwrap_err().code.0, "specversion");
    }

    #[test]
    fn large_integer_of_the_sdk_stays_a_number() {
        let theirs = EventBuilderV10::new().id("1").source("/s").ty("t").extension("n", 1i64 << 40).build().unwrap();
        assert_eq!(Event::try_from(&theirs).unwrap().get("n"), Some(Value::Json("1099511627776")));
    }
}
