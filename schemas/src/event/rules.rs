//! What CloudEvents 1.0.2 asks of an attribute. [CE: cloudevents/spec.md, "Context Attributes", "Type System"]

use super::{NAME_BYTES_MAX, Value};
use crate::codes;
use crate::invalid::{Invalid, Place};

/// The rules of CloudEvents 1.0.2, "Context Attributes" and "Type System".
pub(super) fn check_attr(name: &str, value: &Value<'_>) -> Result<(), Invalid> {
    let place = || Place::attribute(name);
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    {
        return Err(Invalid::new(
            codes::ATTRIBUTE_NAME,
            place(),
            "a name is 1 to 255 lower-case letters and digits (a-z, 0-9)",
        ));
    }
    if name == "specversion" || name == "data" {
        return Err(Invalid::new(codes::RESERVED_NAME, place(), "this name is not free for an attribute"));
    }
    let text = match value {
        Value::String(s) => *s,
        Value::Json(_) | Value::Boolean(_) | Value::Integer(_) if is_core(name) => {
            return Err(Invalid::new(codes::ATTRIBUTE_TYPE, place(), "this attribute is a string"));
        }
        Value::Json(json) => {
            return check_json(json).map_err(|message| Invalid::new(codes::ATTRIBUTE_TYPE, place(), message));
        }
        Value::Boolean(_) | Value::Integer(_) => return Ok(()),
    };
    // The common case, told without decoding characters, and without a way out on the way, so that a processor looks at
    // many bytes at once.
    let printable_ascii = text.bytes().fold(true, |so_far, b| so_far & (0x20..0x7F).contains(&b));
    if !printable_ascii && let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
        let message = format!("the character U+{:04X} is not allowed in an attribute", c as u32);
        return Err(Invalid::new(codes::ATTRIBUTE_CHARACTER, place(), message));
    }
    match name {
        "id" | "source" | "type" | "subject" | "datacontenttype" | "dataschema" if text.is_empty() => {
            Err(Invalid::new(codes::EMPTY_ATTRIBUTE, place(), "this attribute is not empty when it is there"))
        }
        "source" | "dataschema" if text.contains(' ') => {
            Err(Invalid::new(codes::NOT_A_URI, place(), "a URI holds no space; write %20"))
        }
        "time" => match is_rfc3339(text) {
            true => Ok(()),
            false => Err(Invalid::new(
                codes::NOT_A_TIME,
                place(),
                "a time is written as RFC 3339, e.g. 2026-01-02T03:04:05Z",
            )),
        },
        _ => Ok(()),
    }
}

fn is_core(name: &str) -> bool {
    matches!(name, "id" | "source" | "type" | "subject" | "time" | "datacontenttype" | "dataschema")
}

/// CloudEvents 1.0.2, type String: no control characters, no noncharacters.
pub(crate) fn is_allowed(c: char) -> bool {
    let n = c as u32;
    !(n <= 0x1F || (0x7F..=0x9F).contains(&n) || (0xFDD0..=0xFDEF).contains(&n) || n & 0xFFFE == 0xFFFE)
}

/// [`Value::Json`] is for what no other kind holds, so that a value has one way to be written.
fn check_json(json: &str) -> Result<(), String> {
    if !json.starts_with(['{', '[', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        || json.ends_with([' ', '\t', '\r', '\n'])
        || integer(json).is_some()
    {
        return Err("strings, booleans and 32-bit integers have kinds of their own".into());
    }
    crate::doc::validate(json.as_bytes()).map_err(|e| format!("its JSON is not valid: {e}"))
}

/// A number that is a CloudEvents Integer and is written as one: writing it again gives the same digits.
pub(crate) fn integer(number: &str) -> Option<i32> {
    number.parse().ok().filter(|_| number != "-0" && !number.starts_with('+'))
}

/// RFC 3339 section 5.6: any number of digits of a second, leap seconds, offsets up to 23:59.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let Some(([y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T' | b't', h0, h1, b':', n0, n1, b':', s0, s1], rest)) =
        text.as_bytes().split_first_chunk::<19>()
    else {
        return false;
    };
    let number = |digits: &[&u8]| {
        digits.iter().try_fold(0u32, |n, d| d.is_ascii_digit().then(|| n * 10 + u32::from(**d - b'0'))).unwrap_or(9_999)
    };
    let year_is_number = [y0, y1, y2, y3].iter().all(|d| d.is_ascii_digit());
    let year = number(&[y0, y1, y2, y3]);
    let leap_year = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match number(&[m0, m1]) {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap_year),
        _ => 0,
    };
    let zone = match rest.strip_prefix(b".") {
        Some(fraction) => match fraction.iter().position(|b| !b.is_ascii_digit()) {
            Some(digits @ 1..) => fraction.get(digits..).unwrap_or_default(),
            _ => return false,
        },
        None => rest,
    };
    let zone_is_valid = match zone {
        b"Z" | b"z" => true,
        [b'+' | b'-', h0, h1, b':', m0, m1] => number(&[h0, h1]) <= 23 && number(&[m0, m1]) <= 59,
        _ => false,
    };
    let clock_is_valid = number(&[h0, h1]) <= 23 && number(&[n0, n1]) <= 59 && number(&[s0, s1]) <= 60;
    year_is_number && (1..=days).contains(&number(&[d0, d1])) && clock_is_valid && zone_is_valid
}
