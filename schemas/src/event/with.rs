//! One attribute more or another, in a copy of the body. Every event that leaves gets one on its way, so that nothing
//! else of it is read again.

use super::{
    ATTRIBUTES_MAX, ENTRY_HEAD, Entries, Event, HEAD, Value, check_attr, check_count, len32, push_entry, value_len,
};
use crate::invalid::Invalid;

impl Event {
    /// The same event with this attribute, in place of one of that name. Its data, which are known to be valid, are
    /// not read again.
    ///
    /// # Errors
    /// The name or the value is none of CloudEvents 1.0, or there are too many attributes.
    pub fn with<'a>(&self, name: &str, value: impl Into<Value<'a>>) -> Result<Event, Invalid> {
        let value = value.into();
        check_attr(name, &value)?;
        let (from, to, count) = self.place_of(name);
        // An attribute takes the place of one of its name, or stands behind the last.
        let added = usize::from(from == to);
        if count + added > ATTRIBUTES_MAX {
            check_count(self.attrs().map(|(name, _)| name).chain((added > 0).then_some(name)))?;
        }
        let mut body = Vec::with_capacity(self.body.len() + ENTRY_HEAD + name.len() + value_len(&value));
        body.extend_from_slice(self.body.get(..from).unwrap_or_default());
        push_entry(&mut body, name, &value)?;
        let grown = body.len() - from;
        body.extend_from_slice(self.body.get(to..).unwrap_or_default());
        let facts_at = self.facts_at - (to - from) + grown;
        let count = u16::try_from(count + added).unwrap_or(u16::MAX).to_le_bytes();
        let length = len32(facts_at - HEAD)?.to_le_bytes();
        for (slot, byte) in body.iter_mut().skip(2).zip(count.into_iter().chain(length)) {
            *slot = byte;
        }
        Ok(Event { body: body.into(), facts_at, data_at: self.data_at - self.facts_at + facts_at })
    }

    /// From where to where the attribute of that name stands, an empty stretch where it would, and how many there are.
    fn place_of(&self, name: &str) -> (usize, usize, usize) {
        let mut entries = Entries { rest: self.body.get(HEAD..self.facts_at).unwrap_or_default() };
        let (mut found, mut count) = (None, 0);
        loop {
            let from = self.facts_at - entries.rest.len();
            let Some(entry) = entries.next() else { break };
            count += 1;
            if entry.name == name.as_bytes() {
                found = Some((from, self.facts_at - entries.rest.len()));
            }
        }
        let (from, to) = found.unwrap_or((self.facts_at, self.facts_at));
        (from, to, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Form;

    #[test]
    fn it_is_what_a_builder_makes_of_it() {
        let base = || {
            let event = Event::builder("1", "/s", "t").attr("subject", "größe").attr("n", 7).attr("b", true);
            event.fact("beside", "it").data(Form::Json, r#"{"a": 1.50}"#.as_bytes())
        };
        let event = base().build().unwrap();
        for (name, value) in [
            ("gocoffeehops", Value::String("a.0123456789abcdef")),
            ("new", Value::Integer(-5)),
            ("another", Value::Boolean(false)),
            ("subject", Value::String("x")),
            ("n", Value::String("longer than it was")),
            ("b", Value::Json(r#"{"x":[]}"#)),
            ("id", Value::String("another")),
            ("type", Value::String("u")),
        ] {
            let with = event.with(name, value).unwrap();
            let built = base().set(name, value).build().unwrap();
            assert_eq!(with, built, "{name}");
            assert_eq!(Event::from_body(with.body().clone()).unwrap(), with, "{name}");
            assert_eq!((with.data(), with.facts().count()), (event.data(), 1));
        }
    }

    #[test]
    fn it_is_held_to_the_same_rules() {
        let event = Event::builder("1", "/s", "t").build().unwrap();
        let code = |name: &str, value: &str| event.with(name, value).unwrap_err().code.0;
        assert_eq!(code("Big", "v"), "attribute-name");
        assert_eq!(code("data", "v"), "reserved-name");
        assert_eq!(code("source", "a b"), "not-a-uri");
        assert_eq!(code("new", "\u{1}"), "attribute-character");
        let names: Vec<String> = (0..ATTRIBUTES_MAX - 3).map(|n| format!("a{n}")).collect();
        let full = names.iter().fold(Event::builder("1", "/s", "t"), |b, n| b.attr(n, "v")).build().unwrap();
        assert_eq!(full.with("more", "v").unwrap_err().code.0, "too-many-attributes");
        assert_eq!(full.with("a7", "w").unwrap().get("a7"), Some(Value::String("w")));
        let routed = full.with("gocoffeehops", "v").and_then(|event| event.with("gocoffeelate", true)).unwrap();
        assert_eq!(routed.attrs().count(), ATTRIBUTES_MAX + 2);
    }
}
