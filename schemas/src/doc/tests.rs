//! Goal: the reader takes exactly RFC 8259 within its limits, and its document gives back what came.

use proptest::prelude::*;

use super::*;
use crate::invalid::Place;

fn code(json: impl AsRef<[u8]>) -> &'static str {
    validate(json.as_ref()).err().map_or("ok", |e| e.code.0)
}

#[test]
fn valid_texts_are_taken() {
    for json in [
        "0",
        "-0",
        "-0.0e-10",
        "1E+2",
        "123456789012345678901234567890",
        "\"\"",
        "\"\\u0000\\ud800\"",
        " [ ] ",
        "{}",
        "[[],{},[{}]]",
        "{\"\":0}",
        "{\"a\":1,\"a\":2}",
        "\t\r\n null \n",
        "true",
        "false",
        "[1,2 , 3]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\u{7f}\u{ffff}😀\"",
    ] {
        assert_eq!(code(json), "ok", "{json}");
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok(), "{json}");
    }
}

#[test]
fn invalid_texts_are_refused_at_their_byte() {
    for (json, at) in [
        ("", 0),
        (" ", 1),
        ("01", 1),
        ("-", 1),
        ("1.", 2),
        (".5", 0),
        ("1e", 2),
        ("1e+", 3),
        ("+1", 0),
        ("tru", 0),
        ("True", 0),
        ("nul", 0),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1 2]", 3),
        ("[1", 2),
        ("]", 0),
        ("{\"a\"}", 4),
        ("{\"a\":}", 5),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("{,}", 1),
        ("[}", 1),
        ("{]", 1),
        ("[1}", 2),
        ("{\"a\":1]", 6),
        ("\"", 1),
        ("\"a", 2),
        ("\"\\\"", 3),
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 5),
        ("\"\n\"", 1),
        ("1 2", 2),
        ("{} x", 3),
        ("NaN", 0),
        ("'a'", 0),
        ("/**/1", 0),
        ("\u{feff}1", 0),
        ("\0", 0),
        ("[1\0]", 2),
        ("1\0", 1),
        ("\"\0\"", 1),
        ("\u{a0}1", 0),
        ("\"aaaaaaaaaaaaaaa\u{1f}\"", 16),
    ] {
        let refused = validate(json.as_bytes()).unwrap_err();
        assert_eq!((refused.code.0, refused.place), ("json-syntax", Place::Byte(at)), "{json:?}");
    }
    assert_eq!(validate(b"\"\xC0\xA0\"").unwrap_err().place, Place::Byte(1));
    assert_eq!(validate(b"[\"a\", \"\xED\xA0\x80\"]").unwrap_err().place, Place::Byte(7));
}

#[test]
fn depth_ends_at_its_limit() {
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert_eq!(code(nested(DEPTH_MAX)), "ok");
    assert_eq!(validate(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err().place, Place::Byte(DEPTH_MAX));
    assert_eq!(code(nested(100_000)), "json-too-deep");
    assert_eq!(code("{\"a\":".repeat(100_000)), "json-too-deep");
    let mixed = "[{\"a\":".repeat(DEPTH_MAX / 2) + "1" + &"}]".repeat(DEPTH_MAX / 2);
    assert_eq!(code(&mixed), "ok");
    let wrong = mixed.replacen("}]", "]}", 1);
    assert_eq!(code(&wrong), "json-syntax");
}

#[test]
fn members_end_at_their_limit() {
    let flat = |n: usize| format!("{{{}}}", vec!["\"a\":0"; n].join(","));
    assert_eq!(code(flat(MEMBERS_MAX)), "ok");
    assert_eq!(code(flat(MEMBERS_MAX + 1)), "json-too-many-members");
    assert_eq!(code(format!("[{}]", vec!["{\"a\":0}"; MEMBERS_MAX + 1].join(","))), "json-too-many-members");
    assert_eq!(code(format!("[{}]", vec!["0"; 1_000_000].join(","))), "ok", "elements are no members");
}

#[test]
fn document_gives_values_as_they_came() {
    let doc =
        Doc::parse(br#" {"n": 1.50, "s": "a\u00e9\/\ud83d\ude00", "l": [1, [2], {}, null], "b": true, "n": -0} "#)
            .unwrap();
    let root = doc.root();
    assert_eq!(root.kind(), Kind::Object);
    assert_eq!(root.get("n").unwrap().as_number(), Some("-0"), "the last of a repeated member");
    assert_eq!(root.get("s").unwrap().as_str().unwrap(), "aé/😀");
    assert_eq!(root.get("b").unwrap().as_bool(), Some(true));
    assert!(root.get("none").is_none());
    let names: Vec<_> = root.members().map(|(n, v)| format!("{n}={}", v.raw())).collect();
    assert_eq!(names, ["n=1.50", r#"s="a\u00e9\/\ud83d\ude00""#, "l=[1, [2], {}, null]", "b=true", "n=-0"]);
    let list = root.get("l").unwrap();
    assert_eq!(list.elements().map(|v| v.raw()).collect::<Vec<_>>(), ["1", "[2]", "{}", "null"]);
    assert!(list.elements().last().unwrap().is_null());
    assert_eq!(
        list.members().count() + root.elements().count() + list.elements().next().unwrap().elements().count(),
        0
    );
}

#[test]
fn escaped_name_is_found_by_its_meaning() {
    let doc = Doc::parse(br#"{"\u0069d": 1}"#).unwrap();
    assert_eq!(doc.root().get("id").unwrap().raw(), "1");
}

#[test]
fn lone_surrogate_becomes_the_replacement_character() {
    for (json, want) in [
        (r#""\ud800""#, "\u{fffd}"),
        (r#""\udc00x""#, "\u{fffd}x"),
        (r#""\ud800\ud800\udc00""#, "\u{fffd}\u{10000}"),
        (r#""\ud800\u0041""#, "\u{fffd}A"),
        (r#""\u0041\u0042""#, "AB"),
        (r#""\ud800\n""#, "\u{fffd}\n"),
        (r#""\ud83d\uDE00\\u""#, "😀\\u"),
    ] {
        assert_eq!(Doc::parse(json.as_bytes()).unwrap().root().as_str().unwrap(), want, "{json}");
    }
}

#[test]
fn nodes_are_used_again() {
    let mut nodes = Vec::new();
    assert_eq!(parse_into(b"[1,2,3]", &mut nodes).unwrap().elements().count(), 3);
    let capacity = nodes.capacity();
    assert_eq!(parse_into(b"[4]", &mut nodes).unwrap().raw(), "[4]");
    assert!(parse_into(b"[4", &mut nodes).is_err());
    assert_eq!(nodes.capacity(), capacity);
}

#[test]
fn refused_value_is_skipped_by_its_brackets() {
    let deep = "[".repeat(2_000) + "\"]\\\"\"" + &"]".repeat(2_000);
    let text = format!("{deep},1");
    let mut reader = Reader::new(text.as_bytes()).unwrap();
    assert!(is_limit(&reader.value(&mut Ignore).unwrap_err()));
    reader.at = 0;
    reader.skip_refused().unwrap();
    assert_eq!(reader.at, deep.len());
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

fn rebuilt(item: Item<'_>) -> serde_json::Value {
    match item.kind() {
        Kind::Array => item.elements().map(rebuilt).collect(),
        Kind::Object => serde_json::Value::Object(item.members().map(|(n, v)| (n.into_owned(), rebuilt(v))).collect()),
        Kind::String => item.as_str().unwrap().into(),
        _ => serde_json::from_str(item.raw()).unwrap(),
    }
}

proptest! {
    #[test]
    fn document_equals_serde_json(value in any_json(), pretty: bool) {
        let json = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(rebuilt(Doc::parse(&json).unwrap().root()), value);
    }

    #[test]
    fn verdict_equals_serde_json_on_noise(json in r#"[\[\]{}:,"\\u0-9aeE+.\- \ntrufalsnx]{0,12}"#) {
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&json).is_ok();
        prop_assert_eq!(validate(json.as_bytes()).is_ok(), theirs);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(validate(&bytes).is_ok(), Doc::parse(&bytes).is_ok());
    }

    #[test]
    fn plain_bytes_finds_the_first_special(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1e..0x24u8, 0x5b..0x5eu8, Just(b'a'), Just(b'a')], 0..40)) {
        let plain = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(bytes.len());
        prop_assert_eq!(plain_bytes(&bytes), plain);
    }
}
