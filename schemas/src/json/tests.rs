//! Goal: the JSON codec takes what the format allows, keeps it, and names the place of everything else.

use super::*;

/// An event with these members besides the required ones.
fn with(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{comma}{members}}}"#)
}

fn read(members: &str) -> Event {
    decode(with(members).as_bytes()).unwrap()
}

fn refused(json: &str) -> (&'static str, String) {
    let invalid = decode(json.as_bytes()).unwrap_err();
    (invalid.code.0, invalid.place.to_string())
}

#[test]
fn members_become_attributes_of_their_kind() {
    let event = read(
        r#""time":"2018-04-05T17:31:00Z","yes":true,"n":-5,"max":2147483647,"nothing":null,"s":"\u00e9\/","empty":"""#,
    );
    let attrs: Vec<_> = event.attrs().skip(3).collect();
    let want = [
        ("time", Value::String("2018-04-05T17:31:00Z")),
        ("yes", Value::Boolean(true)),
        ("n", Value::Integer(-5)),
        ("max", Value::Integer(i32::MAX)),
        ("s", Value::String("é/")),
        ("empty", Value::String("")),
    ];
    assert_eq!(attrs, want);
    assert_eq!((event.id(), event.source(), event.kind(), event.form()), ("1", "/s", "t", Form::None));
}

#[test]
fn values_outside_the_type_system_pass_unchanged() {
    for raw in [
        "1.0",
        "1e3",
        "-0",
        "2147483648",
        "-2147483649",
        "{\"a\" : [ ]}",
        "[1,\"\\u0041\"]",
        "123456789012345678901234567890",
    ] {
        let event = read(&format!("\"x\": {raw} "));
        assert_eq!(event.get("x"), Some(Value::Json(raw)));
        assert_eq!(encode(&event), with(&format!("\"x\":{raw}")).as_bytes());
    }
}

#[test]
fn order_of_members_does_not_matter() {
    let json = r#" { "x" : "y", "data" : 1, "type" : "t", "source" : "/s", "\u0069d" : "1", "specversion" : "1.0" } "#;
    let event = decode(json.as_bytes()).unwrap();
    assert_eq!(encode(&event), with(r#""x":"y","data":1"#).as_bytes());
}

#[test]
fn data_keeps_its_bytes_and_its_form() {
    for (members, form, data) in [
        ("", Form::None, ""),
        (r#""data":null"#, Form::Json, "null"),
        (r#""data":"text""#, Form::Json, r#""text""#),
        (r#""data": { "a" : 1.50, "a" : "\u0041\ud800" } "#, Form::Json, r#"{ "a" : 1.50, "a" : "\u0041\ud800" }"#),
        (r#""datacontenttype":"Text/JSON; charset=utf-8","data":"x""#, Form::Json, r#""x""#),
        (r#""datacontenttype":"application/vnd.coffee+json","data":[]"#, Form::Json, "[]"),
        (r#""datacontenttype":null,"data":"x""#, Form::Json, r#""x""#),
        (r#""datacontenttype":"text/plain","data":"a\n\u0000\ud83d\ude00""#, Form::Text, "a\n\0😀"),
        (r#""datacontenttype":"application/xml","data":"<a b=\"c\"/>""#, Form::Text, r#"<a b="c"/>"#),
        (r#""datacontenttype":"text/plain","data":"""#, Form::Text, ""),
        (r#""datacontenttype":"application/xml","data":{"a":1}"#, Form::Json, r#"{"a":1}"#),
        (r#""datacontenttype":"text/plain","data":null"#, Form::Json, "null"),
        (r#""data_base64":"aGk=""#, Form::Binary, "hi"),
        (r#""data_base64":"aGk""#, Form::Binary, "hi"),
        (r#""data_base64":"\/\/8=""#, Form::Binary, "\u{0}"),
        (r#""datacontenttype":"application/json","data_base64":"e30=""#, Form::Binary, "{}"),
        (r#""data_base64":null,"data":1"#, Form::Json, "1"),
        (r#""data_base64":"""#, Form::Binary, ""),
    ] {
        let event = read(members);
        let want: &[u8] = if members.contains(r"\/") { b"\xFF\xFF" } else { data.as_bytes() };
        assert_eq!((event.form(), event.data()), (form, want), "{members}");
        let again = decode(&encode(&event)).unwrap();
        assert_eq!(again, event, "{members}");
    }
}

#[test]
fn built_data_of_any_form_and_type_reads_back_with_its_bytes() {
    for media_type in [None, Some("application/json"), Some("text/plain"), Some("application/xml"), Some("a/b")] {
        for (form, data) in [
            (Form::Json, "\"a\\n\""),
            (Form::Json, " \"a\" "),
            (Form::Json, "{\"a\":[1]}"),
            (Form::Json, "1"),
            (Form::Text, "a\"b\u{1}\\"),
            (Form::Text, "{}"),
            (Form::Text, ""),
            (Form::Binary, "{}"),
            (Form::Binary, ""),
        ] {
            let mut builder = Event::builder("1", "/s", "t").data(form, data);
            builder = media_type.into_iter().fold(builder, |b, m| b.attr("datacontenttype", m));
            let event = builder.build().unwrap();
            let again = decode(&encode(&event)).unwrap();
            // White space around a JSON text has no place inside another, unless that holds it as a string.
            let kept =
                again.data() == data.as_bytes() || (form == Form::Json && again.data() == data.trim().as_bytes());
            assert!(kept, "{media_type:?} {form:?} {data:?}: {again:?}");
        }
    }
}

#[test]
fn invalid_events_are_refused_at_their_place() {
    let place = |s: &str| s.to_string();
    for (json, code, at) in [
        (place("[]"), "not-an-object", "byte 0"),
        (place(" 1"), "not-an-object", "byte 1"),
        (place("{}"), "missing-attribute", "attribute specversion"),
        (place(r#"{"specversion":null}"#), "missing-attribute", "attribute specversion"),
        (place(r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#), "specversion", "attribute specversion"),
        (place(r#"{"specversion":1.0,"id":"1","source":"/s","type":"t"}"#), "specversion", "attribute specversion"),
        (place(r#"{"specversion":"1.0","source":"/s","type":"t"}"#), "missing-attribute", "attribute id"),
        (place(r#"{"specversion":"1.0","id":null,"source":"/s","type":"t"}"#), "missing-attribute", "attribute id"),
        (place(r#"{"specversion":"1.0","id":"1","type":"t"}"#), "missing-attribute", "attribute source"),
        (place(r#"{"specversion":"1.0","id":"1","source":"/s"}"#), "missing-attribute", "attribute type"),
        (place(r#"{"specversion":"1.0","id":7,"source":"/s","type":"t"}"#), "attribute-type", "attribute id"),
        (place(r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#), "empty-attribute", "attribute id"),
        (with(r#""id":"2""#), "repeated-member", "attribute id"),
        (with(r#""\u0069d":"2""#), "repeated-member", "attribute id"),
        (with(r#""data":1,"data":1"#), "repeated-member", "attribute data"),
        (with(r#""x":null,"x":null"#), "repeated-member", "attribute x"),
        (with(r#""Foo":1"#), "attribute-name", "attribute Foo"),
        (with(r#""foo_bar":1"#), "attribute-name", "attribute foo_bar"),
        (with(r#""":1"#), "attribute-name", "attribute "),
        (with(r#""data":1,"data_base64":"aGk=""#), "both-data-members", "byte 55"),
        (with(r#""data":null,"data_base64":"aGk=""#), "both-data-members", "byte 55"),
        (with(r#""data_base64":5"#), "data-not-base64", "byte 69"),
        (with(r#""data_base64":"a-_=""#), "data-not-base64", "byte 69"),
        (with(r#""data_base64":"a""#), "data-not-base64", "byte 69"),
        (with(r#""x":"\ud800""#), "lone-surrogate", "byte 59"),
        (with(r#""datacontenttype":"text/plain","data":"\udc00""#), "lone-surrogate", "byte 93"),
        (with(r#""datacontenttype":5,"data":1"#), "attribute-type", "attribute datacontenttype"),
        (with(r#""x":"\u0000""#), "attribute-character", "attribute x"),
        (with(r#""subject":"""#), "empty-attribute", "attribute subject"),
        (with(r#""time":"now""#), "not-a-time", "attribute time"),
        (with("") + "{", "json-syntax", "byte 55"),
        (with(r#""data":{"a":}"#), "json-syntax", "byte 67"),
        (place(""), "json-syntax", "byte 0"),
    ] {
        let (found, found_at) = refused(&json);
        assert_eq!((found, found_at.as_str()), (code, at), "{json}");
    }
}

#[test]
fn too_many_members_are_refused_however_they_are_spread() {
    let many = |n: usize| (0..n).map(|n| format!("\"x{n}\":null")).collect::<Vec<_>>().join(",");
    assert!(decode(with(&many(90)).as_bytes()).is_ok(), "unset attributes are not there");
    assert_eq!(refused(&with(&many(120))).0, "too-many-attributes");
    assert_eq!(refused(&with(&many(20_000))).0, "too-many-attributes");
}

#[test]
fn data_has_the_same_limits_in_every_mode() {
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert!(decode(with(&format!("\"data\":{}", nested(doc::DEPTH_MAX))).as_bytes()).is_ok());
    assert_eq!(refused(&with(&format!("\"data\":{}", nested(doc::DEPTH_MAX + 1)))).0, "json-too-deep");
    let members = |n: usize| format!("\"data\":{{{}}}", vec!["\"a\":0"; n].join(","));
    assert!(decode(with(&members(doc::MEMBERS_MAX)).as_bytes()).is_ok());
    assert_eq!(refused(&with(&members(doc::MEMBERS_MAX + 1))).0, "json-too-many-members");
}

#[test]
fn bad_event_does_not_stop_the_others() {
    let deep = with(&format!("\"data\":{}", "[".repeat(50_000) + "\"]}\\\"\"" + &"]".repeat(50_000)));
    let wide = with(&format!("\"data\":{{{}}}", vec!["\"a\":0"; 10_001].join(",")));
    let good = with("\"data\":[]");
    let batch = format!("[{good}, 5, {deep},\n{wide}, {{}}, {good}]");
    let events = decode_batch(batch.as_bytes(), 6).unwrap();
    let codes: Vec<_> = events.iter().map(|e| e.as_ref().err().map_or("ok", |e| e.code.0)).collect();
    assert_eq!(codes, ["ok", "not-an-object", "json-too-deep", "json-too-many-members", "missing-attribute", "ok"]);
    let at = batch.find(", 5").unwrap() + 2;
    assert_eq!(events[1].as_ref().unwrap_err().place, Place::Byte(at), "bytes are those of the whole batch");
}

#[test]
fn batch_that_cannot_be_read_is_refused_whole() {
    let good = with("");
    for (json, code) in [
        (good.clone(), "not-an-array"),
        (String::new(), "not-an-array"),
        (format!("[{good}"), "json-syntax"),
        (format!("[{good},]"), "json-syntax"),
        (format!("[{good} {good}]"), "json-syntax"),
        (format!("[{good}]]"), "json-syntax"),
        (format!("[{good},{{]"), "json-syntax"),
        (format!("[{good},{good},{good}]"), "batch-too-long"),
        ("[{\"a\":".repeat(10_000), "json-syntax"),
    ] {
        assert_eq!(decode_batch(json.as_bytes(), 2).unwrap_err().code.0, code, "{json:.80}");
    }
    assert!(decode_batch(b" [ ] ", 0).unwrap().is_empty());
}

#[test]
fn batch_writes_what_it_reads() {
    let batch = format!("[{},{}]", with("\"x\":1"), with("\"data_base64\":\"aGk=\""));
    let events: Vec<_> = decode_batch(batch.as_bytes(), 2).unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(encode_batch(&events), batch.as_bytes());
    assert_eq!(encode_batch([]), b"[]");
}

#[test]
fn every_cut_is_refused_and_none_panics() {
    let json = with(r#""x":{"a":"é\ud83d\ude00"},"data":[1.5e-3,{"b":null}]"#);
    assert!(decode(json.as_bytes()).is_ok());
    for end in 0..json.len() {
        assert!(decode(&json.as_bytes()[..end]).is_err(), "cut at {end}");
        let batch = format!("[{json},{json}]");
        assert!(decode_batch(&batch.as_bytes()[..end + json.len()], 9).is_err());
    }
}

#[test]
fn a_line_has_no_break_and_reads_back_byte_for_byte() {
    for (members, form) in [
        ("", Form::None),
        ("\"data\":{\"a\":1}", Form::Json),
        ("\"data\":{\n \"a\": [1,\r\n2]}", Form::Json),
        ("\"data\":\"one\\ntwo\"", Form::Json),
        ("\"datacontenttype\":\"text/plain\",\"data\":\"one\\ntwo\\r\"", Form::Text),
        ("\"data_base64\":\"AAoNAP8=\"", Form::Binary),
        ("\"datacontenttype\":\"image/png\",\"data_base64\":\"ewp9\"", Form::Binary),
        ("\"x\":{\"a\":\n1},\"data\":7", Form::Json),
    ] {
        let event = read(members);
        let mut line = b"before ".to_vec();
        encode_line_into(&event, &mut line);
        assert!(line.starts_with(b"before {") && !line.contains(&b'\n') && !line.contains(&b'\r'), "{members}");
        let back = decode_line(&line[7..]).unwrap();
        assert_eq!((back.form(), back.data()), (form, event.data()), "{members}");
        if !members.contains("\"x\"") {
            assert_eq!(back.body(), event.body(), "{members}");
        }
    }
}
