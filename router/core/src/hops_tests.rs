use proptest::prelude::*;
use schemas::Form;

use super::*;

fn router(id: &str, key: u8) -> Router {
    Router::new(Some(RouterId::new(id).unwrap()), &[key; 32]).unwrap()
}

fn event(source: &str, id: &str) -> Event {
    Event::builder(id, source, "t").attr("x", "1").data(Form::Json, r#"{"a": 1.10}"#).build().unwrap()
}

fn hops(event: &Event) -> String {
    event.get(HOPS).map(|v| v.to_string()).unwrap_or_default()
}

#[test]
fn what_left_is_known_when_it_comes_back_and_nothing_else_is() {
    let (a, b) = (router("a", 1), router("b", 2));
    let first = event("/s", "1");
    assert!(!a.knows(&first));
    let left = a.stamp(&first, &first).unwrap();
    assert!(a.knows(&left) && !b.knows(&left));
    assert_eq!((left.data(), left.get("x")), (first.data(), first.get("x")));
    // Around the ring: the other adds its own, and the first knows it.
    let back = b.stamp(&left, &left).unwrap();
    assert!(a.knows(&back) && b.knows(&back), "{}", hops(&back));
    assert!(hops(&back).starts_with(&hops(&left)), "the oldest first");
    // The same id with another key, or another id with the same key, is another router.
    assert!(!router("a", 3).knows(&left) && !router("c", 1).knows(&left));
}

#[test]
fn new_event_that_copied_the_hops_is_a_new_event() {
    let a = router("a", 1);
    let left = a.stamp(&event("/s", "1"), &event("/s", "1")).unwrap();
    for (source, id) in [("/s", "2"), ("/t", "1"), ("/s1", ""), ("/s\u{1}", "1")] {
        let Ok(copy) = Event::builder(id, source, "t").attr(HOPS, hops(&left).as_str()).build() else { continue };
        assert!(!a.knows(&copy), "{source} {id}");
    }
    // The zero byte keeps source and id apart.
    let tag = |source: &str, id: &str| a.tag(&event(source, id));
    assert_ne!(tag("/s", "11"), tag("/s1", "1"));
}

#[test]
fn what_leaves_twice_has_one_hop_and_the_same_bytes() {
    let a = router("a", 1);
    let first = event("/s", "1");
    let left = a.stamp(&first, &first).unwrap();
    assert_eq!(a.stamp(&first, &first).unwrap(), left, "each attempt sends the same");
    assert_eq!(a.stamp(&left, &left).unwrap(), left);
}

#[test]
fn hop_is_of_the_identity_as_it_leaves_and_a_transform_drops_none() {
    let (a, b) = (router("a", 1), router("b", 2));
    let came = b.stamp(&event("/s", "1"), &event("/s", "1")).unwrap();
    // A transform made another event of it, and left the extension out, or wrote its own.
    for made in [event("/other", "9"), event("/other", "9").with(HOPS, "gone").unwrap()] {
        let left = a.stamp(&came, &made).unwrap();
        assert!(a.knows(&left), "it is this one that would come back");
        assert_eq!(hops(&left), format!("{},a.{}", hops(&came), a.tag(&made)));
    }
}

#[test]
fn seventeenth_hop_is_refused() {
    let mut event = event("/s", "1");
    for n in 0..HOPS_MAX {
        event = router(&format!("r{n}"), n as u8).stamp(&event, &event).unwrap();
    }
    assert_eq!(hops(&event).split(',').count(), 16);
    let refused = router("r16", 16).stamp(&event, &event).unwrap_err();
    assert_eq!(refused.code, codes::HOPS_FULL);
    assert!(refused.message.contains("16") && refused.message.contains(HOPS), "{}", refused.message);
}

#[test]
fn longest_list_fits_where_attributes_are_short() {
    let id = "x".repeat(ROUTER_ID_BYTES_MAX);
    let mut event = event("/s", "1");
    for key in 0..HOPS_MAX {
        event = router(&id, key as u8).stamp(&event, &event).unwrap();
    }
    assert_eq!(hops(&event).len(), 16 * (32 + 1 + 16) + 15);
    let foreign = vec!["f".repeat(HOP_BYTES_MAX); HOPS_MAX].join(",");
    assert!(foreign.len() <= 1_024);
}

#[test]
fn what_cannot_be_read_makes_no_loop_and_is_left_out_alone() {
    let a = router("a", 1);
    let plain = event("/s", "1");
    let tag = a.tag(&plain);
    let long = "l".repeat(HOP_BYTES_MAX + 1);
    for (came, known, leaves) in [
        ("", false, format!("a.{tag}")),
        (",,", false, format!("a.{tag}")),
        ("a.", false, format!("a.,a.{tag}")),
        ("a.0123456789abcdef", false, format!("a.0123456789abcdef,a.{tag}")),
        ("a", false, format!("a,a.{tag}")),
        (&long, false, format!("a.{tag}")),
        (&format!("{long},b.1,ü"), false, format!("b.1,a.{tag}")),
        ("b.1, c.2", false, format!("b.1,a.{tag}")),
        (&format!("b.1,a.{tag}"), true, format!("b.1,a.{tag}")),
        (&format!("a.{}", tag.to_uppercase()), tag == tag.to_uppercase(), String::new()),
        (&format!("a.{tag}0"), false, format!("a.{tag}0,a.{tag}")),
    ] {
        let event = plain.with(HOPS, came).unwrap();
        assert_eq!(a.knows(&event), known, "{came}");
        if !leaves.is_empty() {
            assert_eq!(hops(&a.stamp(&event, &event).unwrap()), leaves, "{came}");
        }
    }
    for odd in [Value::Integer(7), Value::Boolean(true), Value::Json("[1]")] {
        let event = plain.with(HOPS, odd).unwrap();
        assert!(!a.knows(&event));
        assert_eq!(hops(&a.stamp(&event, &event).unwrap()), format!("a.{tag}"));
    }
}

#[test]
fn only_a_list_as_routers_write_it_is_free() {
    let plain = event("/s", "1");
    let left = router("a", 1).stamp(&plain, &plain).unwrap();
    assert_eq!(own_bytes(&left), left.body().len() - plain.body().len());
    let many = vec!["a.1"; HOPS_MAX + 1].join(",");
    for list in ["", "a.1,", many.as_str(), "x".repeat(64).as_str()] {
        assert_eq!(own_bytes(&plain.with(HOPS, list).unwrap()), 0, "{list}");
    }
}

#[test]
fn ids_and_keys_are_held_to_their_form() {
    for id in ["", "A", "a.b", "-a", "x".repeat(33).as_str()] {
        assert!(RouterId::new(id).is_err(), "{id}");
    }
    assert_eq!(Router::new(None, &[1; 31]).unwrap_err(), KeyTooShort(31));
    let made = Router::new(None, &[1; 32]).unwrap();
    assert_eq!(made.id().as_str().len(), 8);
    assert_eq!(made.id(), Router::new(None, &[1; 32]).unwrap().id(), "replicas with one key are one router");
    assert_ne!(made.id(), Router::new(None, &[2; 32]).unwrap().id());
    let shown = format!("{:?}", router("a", 7));
    assert!(shown.contains("\"a\"") && !shown.contains('7'), "{shown}");
}

proptest! {
    /// Whatever the extension says, an event is taken for a loop only when this router wrote an entry for it, and what
    /// leaves is a list that the next router reads.
    #[test]
    fn foreign_text_is_never_a_loop(text in "[ -~]{0,80}", id in "[a-z0-9]{1,8}") {
        let a = router("a", 1);
        let event = event("/s", &id).with(HOPS, text.as_str()).unwrap();
        prop_assert!(!a.knows(&event));
        if let Ok(left) = a.stamp(&event, &event) {
            prop_assert!(a.knows(&left));
            prop_assert!(hops(&left).split(',').all(is_entry));
        }
    }

    /// A ring of any size ends when its first router sees the event again, wherever it came in.
    #[test]
    fn ring_ends_after_one_turn(size in 1usize..16, entry in 0usize..16) {
        let ring: Vec<Router> = (0..size).map(|n| router(&format!("r{n}"), n as u8)).collect();
        let mut event = event("/s", "1");
        let mut turns = 0;
        let mut at = entry % size;
        while !ring[at].knows(&event) {
            event = ring[at].stamp(&event, &event).unwrap();
            at = (at + 1) % size;
            turns += 1;
        }
        prop_assert_eq!(turns, size);
    }
}
