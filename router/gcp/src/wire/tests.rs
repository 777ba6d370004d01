use super::*;

fn event() -> Event {
    let event =
        Event::builder("1", "/shops/7", "coffee.order.created").attr("subject", "café 100%").attr("priority", 3);
    event.attr("datacontenttype", "application/json").data(Form::Json, r#"{"a":1.10,"c":"é"}"#).build().unwrap()
}

fn back(message: &Message) -> Event {
    decode(message, &Came::default()).unwrap()
}

fn attrs(event: &Event) -> Vec<String> {
    let mut attrs: Vec<String> = event.attrs().map(|(name, value)| format!("{name}={value}")).collect();
    attrs.sort();
    attrs
}

#[test]
fn binary_keeps_attributes_and_bytes() {
    let message = encode(&event(), Mode::Binary);
    let told = [("ce-subject", "café 100%"), ("ce-priority", "3"), ("content-type", "application/json")];
    for (key, value) in told {
        assert_eq!(message.attributes[key], value);
    }
    assert_eq!(&message.data[..], event().data());
    let back = back(&message);
    assert_eq!((attrs(&back), back.form(), back.data()), (attrs(&event()), Form::Json, event().data()));
}

#[test]
fn structured_keeps_what_attributes_cannot_hold() {
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    let fits = "x".repeat(VALUE_BYTES_MAX);
    let with = |name: &str, value: &str| event().rebuild().set(name, value).build().unwrap();
    let names: Vec<String> = (0..96).map(|n| format!("x{n}")).collect();
    let many =
        |count: usize| names.iter().take(count).fold(event().rebuild(), |e, name| e.set(name, "v")).build().unwrap();
    let json = schemas::json::decode(br#"{"specversion":"1.0","id":"1","source":"s","type":"t","x":[1]}"#).unwrap();
    // The event has six attributes, a delivery adds five.
    for (event, structured) in [
        (with("source", &fits), false),
        (with("source", &long), true),
        (many(89), false),
        (many(90), true),
        (with("datacontenttype", "application/cloudevents+json"), true),
        (json, true),
    ] {
        let message = encode(&event, Mode::Binary);
        assert_eq!(message.attributes[CONTENT_TYPE].starts_with("application/cloudevents+json;"), structured);
        let back = back(&message);
        assert_eq!((attrs(&back), back.form(), back.data()), (attrs(&event), event.form(), event.data()));
    }
    assert!(encode(&event(), Mode::Structured).attributes.len() == 1);
}

#[test]
fn every_form_of_data_comes_back() {
    let of = |media_type: Option<&str>, form, data: &'static [u8]| {
        let event = Event::builder("1", "s", "t");
        let event = match media_type {
            Some(media_type) => event.attr("datacontenttype", media_type),
            None => event,
        };
        event.data(form, data).build().unwrap()
    };
    for event in [
        of(None, Form::None, b""),
        of(Some("text/plain"), Form::Text, "grüß".as_bytes()),
        of(Some("image/png"), Form::Binary, &[0, 255, 1]),
        of(None, Form::Binary, &[0, 255]),
        of(Some("application/json"), Form::Json, b" [1 , 2]"),
    ] {
        for mode in [Mode::Binary, Mode::Structured] {
            let back = back(&encode(&event, mode));
            let same = (attrs(&back), back.form(), back.data().trim_ascii());
            assert_eq!(same, (attrs(&event), event.form(), event.data().trim_ascii()), "{mode:?}");
        }
    }
}

#[test]
fn the_ordering_key_is_the_partition_key() {
    let keyed = event().rebuild().attr(PARTITION_KEY, "table 4").build().unwrap();
    for mode in [Mode::Binary, Mode::Structured] {
        let message = encode(&keyed, mode);
        assert_eq!(message.ordering_key, "table 4");
        assert_eq!(back(&message).facts().collect::<Vec<_>>(), [("pubsub-ordering-key", "table 4")]);
    }
    // One that another publisher set becomes the event's, unless it has its own.
    let message = Message { ordering_key: "k".into(), ..encode(&event(), Mode::Binary) };
    assert_eq!(back(&message).get(PARTITION_KEY), Some(Value::String("k")));
    let message = Message { ordering_key: "other".into(), ..encode(&keyed, Mode::Binary) };
    assert_eq!(back(&message).get(PARTITION_KEY), Some(Value::String("table 4")));
}

fn came() -> Came<'static> {
    Came {
        message_id: "11",
        publish_time: "2026-01-02T03:04:05.678Z",
        subscription: "projects/p/subscriptions/s",
        delivery_attempt: Some(2),
        plain_source: "//pubsub.googleapis.com/projects/p/topics/t",
        type_attribute: None,
    }
}

fn plain() -> Message {
    let attributes = [("kind", "coffee.sold"), ("shop", "7"), ("Odd Name", "x"), ("subject", "y")];
    let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    Message { data: Bytes::from_static(br#"{"n":1}"#), attributes, ordering_key: "k".into() }
}

#[test]
fn a_plain_message_becomes_what_googles_functions_get() {
    let event = decode(&plain(), &came()).unwrap();
    assert_eq!((event.id(), event.source(), event.kind()), ("11", came().plain_source, MESSAGE_PUBLISHED));
    let data: serde_json::Value = serde_json::from_slice(event.data()).unwrap();
    assert_eq!(data["subscription"], "projects/p/subscriptions/s");
    let message = &data["message"];
    assert_eq!((&message["data"], &message["messageId"]), (&json!("eyJuIjoxfQ=="), &json!("11")));
    assert_eq!((&message["attributes"]["Odd Name"], &message["orderingKey"]), (&json!("x"), &json!("k")));
    assert_eq!(event.get("time").map(|t| t.to_string()), Some(came().publish_time.to_owned()));
}

#[test]
fn a_plain_message_may_say_its_type() {
    let event = decode(&plain(), &Came { type_attribute: Some("kind"), ..came() }).unwrap();
    assert_eq!((event.id(), event.kind(), event.data()), ("11", "coffee.sold", &br#"{"n":1}"#[..]));
    assert_eq!(event.get("shop"), Some(Value::String("7")));
    assert_eq!(event.get("datacontenttype"), Some(Value::String("application/json")));
    // A name that CloudEvents has given a meaning is not taken from a stranger.
    assert_eq!((event.get("subject"), event.get("kind")), (None, None));
    let facts: Vec<_> = event.facts().collect();
    assert!(facts.contains(&("pubsub-delivery-attempt", "2")) && facts.contains(&("pubsub-message-id", "11")));
    let without = decode(&plain(), &Came { type_attribute: Some("not-there"), ..came() }).unwrap();
    assert_eq!(without.kind(), MESSAGE_PUBLISHED);
}

#[test]
fn what_is_no_event_says_where() {
    let with = |key: &str, value: &str| {
        let mut message = encode(&event(), Mode::Binary);
        message.attributes.insert(key.into(), value.into());
        decode(&message, &came()).unwrap_err()
    };
    let refused = with(CONTENT_TYPE, "application/cloudevents-batch+json");
    assert_eq!((refused.code, refused.place), (codes::MESSAGE_FORMAT, Place::header(CONTENT_TYPE)));
    assert_eq!(with(CONTENT_TYPE, "application/cloudevents+avro").code, codes::MESSAGE_FORMAT);
    assert_eq!(with("ce-specversion", "0.3").code, schemas::codes::SPECVERSION);
    assert_eq!(with("ce-datacontenttype", "text/plain").code, schemas::codes::RESERVED_NAME);
    let mut message = encode(&event(), Mode::Binary);
    message.attributes.remove("ce-id");
    let refused = decode(&message, &came()).unwrap_err();
    assert_eq!((refused.code, refused.place), (schemas::codes::MISSING_ATTRIBUTE, Place::header("ce-id")));
    let mut message = encode(&event(), Mode::Binary);
    message.data = Bytes::from_static(b"{");
    assert!(decode(&message, &came()).is_err());
}
