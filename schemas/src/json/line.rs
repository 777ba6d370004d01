//! One event on one line: what an archive is exported as and published from.
//!
//! The JSON format of CloudEvents leaves white space inside JSON data as it came, line breaks too. Such data
//! goes as `data_base64` here, byte for byte; [`decode_line`] knows it by the line break inside and makes JSON
//! data of it again. What came as bytes and happens to be JSON with a line break is JSON data afterwards, too:
//! its bytes are the same.

use super::{decode, encode_into, push_attrs, push_base64};
use crate::{
    event::{Event, Form, Value},
    invalid::Invalid,
    {doc, media},
};

/// Appends one event to `out`, without a line break in it or behind it.
pub fn encode_line_into(event: &Event, out: &mut Vec<u8>) {
    let start = out.len();
    if event.form() != Form::Json || !has_break(event.data()) {
        encode_into(event, out);
    } else {
        push_attrs(out, event);
        push_base64(out, event.data());
        out.push(b'}');
    }
    // What is left can only stand between the tokens of an attribute that is JSON itself.
    out.iter_mut().skip(start).filter(|b| is_break(**b)).for_each(|b| *b = b' ');
}

/// Reads one event that [`encode_line_into`] or anybody else wrote.
///
/// # Errors
/// As [`decode`].
pub fn decode_line(line: &[u8]) -> Result<Event, Invalid> {
    let event = decode(line)?;
    let json = match event.get("datacontenttype") {
        Some(Value::String(media_type)) => media::is_json(media_type),
        other => other.is_none(),
    };
    if json && event.form() == Form::Binary && has_break(event.data()) && doc::validate(event.data()).is_ok() {
        return event.rebuild().data(Form::Json, event.data_bytes()).build();
    }
    Ok(event)
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn has_break(bytes: &[u8]) -> bool {
    bytes.iter().copied().any(is_break)
}
