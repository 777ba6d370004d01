//! What queues and buses put events together by, and know duplicates by. Pure: the same on every machine, at each
//! attempt, and after every update.

use std::hash::Hasher;

use ring::digest::{SHA256, digest};
use schemas::Event;
use siphasher::sip128::{Hasher128, SipHasher13};

/// Characters of a group's name.
const GROUP_CHARS_MAX: usize = 128;
/// The attribute whose value is the group.
const GROUP: &str = "partitionkey";

/// The group of an event, as SQS takes names, and custom event buses do: letters, digits and punctuation, at most 128.
/// `None`: it has no key, so no order.
pub(crate) fn group(event: &Event) -> Option<String> {
    let key = event.get(GROUP).map(|key| key.to_string()).filter(|key| !key.is_empty())?;
    if key.len() <= GROUP_CHARS_MAX && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(key);
    }
    // Keyed with nothing, to be the same everywhere. Two keys that fall together wait for each other; nothing is lost.
    let mut hasher = SipHasher13::new();
    hasher.write(key.as_bytes());
    Some(format!("{:032x}", hasher.finish128().as_u128()))
}

/// What an event is known again by: its `source` and `id`, which may be longer than AWS takes, as 64 characters. Two
/// events that fell together would be one, so nobody may be able to make two that do: SHA-256.
pub(crate) fn identity(event: &Event) -> String {
    let (source, id) = (event.source(), event.id());
    // With its length in front, so that no other cut of the same letters is the same.
    let text = [&(source.len() as u64).to_be_bytes()[..], source.as_bytes(), id.as_bytes()].concat();
    digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: &str, id: &str, key: Option<&str>) -> Event {
        let event = Event::builder(id, source, "t");
        key.into_iter().fold(event, |event, key| event.attr(GROUP, key)).build().unwrap()
    }

    #[test]
    fn a_key_is_a_group_that_aws_takes() {
        let of = |key: &str| group(&event("/s", "1", Some(key)));
        assert_eq!(group(&event("/s", "1", None)), None, "no key, no order");
        assert_eq!(of("shop-7").as_deref(), Some("shop-7"));
        let most = "k".repeat(GROUP_CHARS_MAX);
        assert_eq!(of(&most), Some(most));
        let long = "k".repeat(GROUP_CHARS_MAX + 1);
        for key in [long.as_str(), "shop é", "two words"] {
            assert_eq!((of(key).map(|key| key.len()), of(key)), (Some(32), of(key)), "{key}");
        }
        assert_ne!(of("shop é"), of("shop è"));
    }

    #[test]
    fn an_identity_is_the_events_own_and_bounded() {
        let of = |source: &str, id: &str| identity(&event(source, id, None));
        assert_eq!(of("/s", "1"), "696d5126bbe55c858b39f3f87e3a83df8ff7e0cdfe25e20fd709c188946ded9d");
        let of_more = identity(&event("/s", "1", Some("k")).rebuild().set("type", "other").build().unwrap());
        assert_eq!(of("/s", "1"), of_more, "nothing else is in it");
        assert_ne!(of("/s", "1"), of("/s", "2"));
        assert_ne!(of("/s", "11"), of("/s1", "1"), "where the source ends is in it");
        assert_eq!(of(&format!("/{}", "s".repeat(2_000)), &"é".repeat(2_000)).len(), 64);
    }
}
