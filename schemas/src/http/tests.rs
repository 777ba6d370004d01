//! Goal: binary mode reads and writes headers as the binding says, and names the header of everything else.

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

const REQUIRED: [(&str, &str); 4] = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

fn read(more: &[(&str, &str)], body: &'static [u8]) -> Result<Event, Invalid> {
    decode_binary(&headers(&[&REQUIRED, more].concat()), Bytes::from_static(body))
}

fn value_of(header: &str) -> Result<String, &'static str> {
    let event = read(&[("ce-x", header)], b"").map_err(|e| e.code.0)?;
    Ok(event.get("x").unwrap().to_string())
}

#[test]
fn mode_is_told_by_the_content_type() {
    for (content_type, want) in [
        (None, Mode::Binary),
        (Some(""), Mode::Binary),
        (Some("application/json"), Mode::Binary),
        (Some("application/cloudevents+json; charset=UTF-8"), Mode::Structured),
        (Some("Application/CloudEvents+JSON"), Mode::Structured),
        (Some("application/cloudevents+avro"), Mode::Structured),
        (Some("application/cloudevents"), Mode::Structured),
        (Some("application/cloudevents-batch+json"), Mode::Batch),
        (Some(" APPLICATION/CLOUDEVENTS-BATCH+json;a=b"), Mode::Batch),
        (Some("application/cloudevent"), Mode::Binary),
        (Some("text/application/cloudevents"), Mode::Binary),
        (Some("application/cloudévénts+json"), Mode::Binary),
    ] {
        assert_eq!(mode(content_type), want, "{content_type:?}");
    }
    assert!(
        is_json_format("application/CloudEvents+json; charset=utf-8")
            && is_json_format("application/cloudevents-batch+json")
    );
    assert!(!is_json_format("application/cloudevents+avro") && !is_json_format("application/cloudevents-batch+xml"));
}

#[test]
fn headers_become_attributes() {
    let event = read(
        &[("CE-Subject", "latte"), ("ce-n", "5"), ("x-other", "y"), ("Content-Type", "application/json")],
        b" {} ",
    )
    .unwrap();
    assert_eq!((event.id(), event.source(), event.kind()), ("1", "/s", "t"));
    assert_eq!(event.get("subject"), Some(Value::String("latte")));
    assert_eq!(event.get("n"), Some(Value::String("5")), "binary mode has strings alone");
    assert_eq!(event.get("datacontenttype"), Some(Value::String("application/json")));
    assert_eq!((event.attrs().count(), event.form(), event.data()), (6, Form::Json, b" {} ".as_slice()));
}

#[test]
fn header_values_are_unquoted_then_decoded_once() {
    for (header, want) in [
        ("plain", "plain"),
        ("", ""),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("Euro%20%e2%82%ac%20%f0%9f%98%80", "Euro € 😀"),
        ("%41%62c", "Abc"),
        ("%2541", "%41"),
        ("\"a b\"", "a b"),
        (r#""a\"b\\c\d""#, r#"a"bcd"#),
        (r#""%20\%20""#, "  "),
        (r#"x"y z"w"#, "xy zw"),
        (r"a\b", r"a\b"),
        ("a b", "a b"),
        ("\u{e9}", "é"),
        ("a+b", "a+b"),
    ] {
        let want = if header.contains(r"\\c") { r#"a"b\cd"# } else { want };
        assert_eq!(value_of(header).as_deref(), Ok(want), "{header}");
    }
    for (header, code) in [
        ("%C0%A0", "header-value"),
        ("%ED%A0%80", "header-value"),
        ("%80", "header-value"),
        ("%", "percent-encoding"),
        ("50%off", "percent-encoding"),
        ("%4", "percent-encoding"),
        ("%+1", "percent-encoding"),
        ("%é", "percent-encoding"),
        ("\"a", "header-quotes"),
        ("5\"", "header-quotes"),
        (r#""a\"#, "header-quotes"),
        ("%00", "attribute-character"),
        ("%0D%0Ax:y", "attribute-character"),
    ] {
        assert_eq!(value_of(header), Err(code), "{header}");
    }
    let mut raw = headers(&REQUIRED);
    raw.insert("ce-x", HeaderValue::from_bytes(b"\xE9").unwrap());
    assert_eq!(decode_binary(&raw, Bytes::new()).unwrap_err().code.0, "header-value");
}

#[test]
fn header_values_are_encoded_as_the_binding_shows() {
    assert_eq!(encode_value("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
    assert_eq!(encode_value("a\"b%c\u{1}\u{7f}~!"), "a%22b%25c%01%7F~!");
    assert_eq!(encode_value(""), "");
}

#[test]
fn body_has_the_form_that_its_type_declares() {
    let json = Some("application/json");
    for (media_type, body, form) in [
        (None, b"".as_slice(), Form::None),
        (json, b"", Form::None),
        (None, b"{}", Form::Binary),
        (json, b"[1]", Form::Json),
        (Some("application/x+JSON; charset=\"UTF-8\""), b"1", Form::Json),
        (Some("application/json; charset=utf-16"), b"\0{\0}", Form::Binary),
        (Some("text/plain"), b"a\0", Form::Text),
        (Some("text/plain; charset=iso-8859-1"), b"a", Form::Binary),
        (Some("text/plain"), b"\xFF", Form::Binary),
        (Some("image/svg+xml"), b"<svg/>", Form::Text),
        (Some("application/octet-stream"), b"a", Form::Binary),
        (Some("application/x-www-form-urlencoded"), b"a=b", Form::Binary),
    ] {
        let more: Vec<_> = media_type.map(|m| ("content-type", m)).into_iter().collect();
        let event = read(&more, body).unwrap();
        assert_eq!((event.form(), event.data()), (form, body), "{media_type:?}");
        assert_eq!(event.get("datacontenttype").map(|v| v.to_string()).as_deref(), media_type);
        let (headers, sent) = encode_binary(&event);
        assert_eq!(decode_binary(&headers, sent).unwrap(), event);
    }
}

#[test]
fn invalid_messages_are_refused_at_their_header() {
    for (more, body, code, place) in [
        (&[("ce-id", "2")][..], b"".as_slice(), "repeated-header", "header ce-id"),
        (&[("ce-x", "a"), ("ce-x", "a")], b"", "repeated-header", "header ce-x"),
        (&[("content-type", "a/b"), ("content-type", "a/b")], b"", "repeated-header", "header content-type"),
        (&[("ce-datacontenttype", "a/b")], b"", "reserved-name", "header ce-datacontenttype"),
        (&[("ce-data", "x")], b"", "reserved-name", "header ce-data"),
        (&[("ce-", "x")], b"", "attribute-name", "header ce-"),
        (&[("ce-foo-bar", "x")], b"", "attribute-name", "header ce-foo-bar"),
        (&[("ce-foo_bar", "x")], b"", "attribute-name", "header ce-foo_bar"),
        (&[("ce-subject", "")], b"", "empty-attribute", "header ce-subject"),
        (&[("ce-time", "now")], b"", "not-a-time", "header ce-time"),
        (&[("content-type", "application/json")], b"{", "data-not-json", "data"),
        (&[("content-type", "application/json")], b"\xFF", "data-not-json", "data"),
        (&[("content-type", "application/json")], b"\xEF\xBB\xBF{}", "data-not-json", "data"),
    ] {
        let invalid = read(more, body).unwrap_err();
        assert_eq!((invalid.code.0, invalid.place.to_string().as_str()), (code, place), "{invalid}");
    }
    for (i, (missing, _)) in REQUIRED.iter().enumerate() {
        let rest: Vec<_> = REQUIRED.iter().enumerate().filter(|(n, _)| *n != i).map(|(_, pair)| *pair).collect();
        let invalid = decode_binary(&headers(&rest), Bytes::new()).unwrap_err();
        assert_eq!((invalid.code.0, invalid.place), ("missing-attribute", Place::header(missing)));
    }
    let old = headers(&[("ce-specversion", "0.3"), ("ce-id", "1")]);
    assert_eq!(decode_binary(&old, Bytes::new()).unwrap_err().code.0, "specversion");
    let deep = Bytes::from("[".repeat(100_000));
    let json = headers(&[&REQUIRED[..], &[("content-type", "application/json")]].concat());
    assert_eq!(decode_binary(&json, deep).unwrap_err().code.0, "json-too-deep");
}

#[test]
fn implied_json_is_said_aloud() {
    let event = Event::builder("1", "/s", "t").data(Form::Json, "\"x\"").build().unwrap();
    let (headers, body) = encode_binary(&event);
    assert_eq!((headers[CONTENT_TYPE].to_str().unwrap(), body.as_ref()), ("application/json", b"\"x\"".as_slice()));
    let bare = Event::builder("1", "/s", "t").data(Form::Binary, "x").build().unwrap();
    assert!(!encode_binary(&bare).0.contains_key(CONTENT_TYPE));
}

#[test]
fn encoding_replaces_what_the_headers_said_before() {
    let event =
        Event::builder("1", "/s", "t").attr("n", 5).attr("b", true).attr("j", Value::Json("[1, 2]")).build().unwrap();
    let mut headers = headers(&[("ce-id", "old"), ("content-type", "a/b"), ("authorization", "kept")]);
    let body = encode_binary_into(&event, &mut headers);
    let mut found: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    found.sort();
    let want = [
        "authorization: kept",
        "ce-b: true",
        "ce-id: 1",
        "ce-j: [1,%202]",
        "ce-n: 5",
        "ce-source: /s",
        "ce-specversion: 1.0",
        "ce-type: t",
    ];
    assert_eq!(found, want);
    assert!(body.is_empty());
}

#[test]
fn json_extension_becomes_a_string_that_an_attribute_may_be() {
    let json = "{\n\t\"a\u{7f}\" :\r\"\u{1ffff}\u{e9}\" }";
    let event = Event::builder("1", "/s", "t").attr("x", Value::Json(json)).build().unwrap();
    let (headers, body) = encode_binary(&event);
    let arrived = decode_binary(&headers, body).unwrap();
    assert_eq!(arrived.get("x"), Some(Value::String(r#"{  "a\u007f" : "\ud83f\udfffé" }"#)));
}

#[test]
fn event_that_binary_mode_would_change_needs_structured_mode() {
    let needs = |media_type: &str, form: Form, data: &'static str| {
        needs_structured(
            &Event::builder("1", "/s", "t").attr("datacontenttype", media_type).data(form, data).build().unwrap(),
        )
    };
    assert!(needs("application/cloudevents+json", Form::Json, "{}"), "an event in an event");
    assert!(needs("text/plain; charset=iso-8859-1", Form::Text, "é"));
    assert!(needs(" text/plain", Form::Text, "a"));
    assert!(!needs("text/plain; charset=iso-8859-1", Form::Binary, "é"));
    assert!(!needs("text/plain", Form::Text, "é"));
    assert!(!needs("application/json", Form::Json, "{}"));
    assert!(!needs_structured(&Event::builder("1", "/s", "t").build().unwrap()));
}
