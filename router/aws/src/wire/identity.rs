//! Who an event was, where EventBridge gives it another identity: with the mapping `data` an entry of its `resources`
//! says it, so that it comes back as the event that it is, with its hops.
//!
//! `gocoffee:event?source=SOURCE&id=ID&hops=HOPS`, each value with everything but letters, digits and `-._~/:,` as
//! `%XX` of its UTF-8; without hops the last part is not there. Pure.

use router_core::hops::HOPS;
use schemas::{Event, Value};

/// How such an entry begins.
const BEGINNING: &str = "gocoffee:event?";

/// Who an event was before EventBridge gave it an id of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its `source`.
    pub source: String,
    /// Its `id`.
    pub id: String,
    /// Its `gocoffeehops`, where it had any.
    pub hops: Option<String>,
}

/// The entry for an event.
pub fn resource(event: &Event) -> String {
    let mut text = String::from(BEGINNING);
    let hops = match event.get(HOPS) {
        Some(Value::String(hops)) => Some(hops),
        _ => None,
    };
    let parts = [("source", Some(event.source())), ("id", Some(event.id())), ("hops", hops)];
    for (n, (name, value)) in parts.into_iter().filter_map(|(name, value)| Some((name, value?))).enumerate() {
        if n > 0 {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// Who an event was, by the `resources` that came with it; `None` where no entry of ours is among them. An event
/// whose envelope has another source than this is another event: somebody copied the entry.
pub fn original<'r>(resources: impl IntoIterator<Item = &'r str>) -> Option<Original> {
    resources.into_iter().find_map(read)
}

fn read(entry: &str) -> Option<Original> {
    let (mut source, mut id, mut hops) = (None, None, None);
    for part in entry.strip_prefix(BEGINNING)?.split('&') {
        let (name, value) = part.split_once('=')?;
        let slot = match name {
            "source" => &mut source,
            "id" => &mut id,
            "hops" => &mut hops,
            // Of a later version.
            _ => continue,
        };
        *slot = Some(decode(value)?);
    }
    Some(Original { source: source?, id: id?, hops })
}

fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match char::from(byte) {
            c if c.is_ascii_alphanumeric() || "-._~/:,".contains(c) => out.push(c),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: &str, id: &str) -> Event {
        Event::builder(id, source, "t").build().unwrap()
    }

    #[test]
    fn entry_is_read_as_what_it_was_written_for() {
        for (source, id) in [("/shops/7", "1"), ("https://a.b/c?d=e&f=g#h", "50% of é & + 🫘"), ("urn:x", "%41")] {
            for hops in [None, Some("a.0123456789abcdef,b.1")] {
                let mut event = event(source, id);
                if let Some(hops) = hops {
                    event = event.with(HOPS, hops).unwrap();
                }
                let entry = resource(&event);
                assert!(entry.is_ascii() && !entry.contains(' '), "{entry}");
                let read = original(["arn:aws:s3:::bucket", entry.as_str()]).unwrap();
                assert_eq!((read.source.as_str(), read.id.as_str(), read.hops.as_deref()), (source, id, hops));
            }
        }
    }

    #[test]
    fn what_is_no_entry_of_ours_says_nothing() {
        for entry in
            ["", "gocoffee:event?", "gocoffee:event?id=1", "gocoffee:event?source=/s&id=%", "arn:aws:x?source=/s&id=1"]
        {
            assert_eq!(original([entry]), None, "{entry}");
        }
        let later = original(["gocoffee:event?source=/s&id=1&more=x"]).unwrap();
        assert_eq!((later.id.as_str(), later.hops), ("1", None));
    }
}
