//! What a run reads: its range, and what of it is wanted.

use bytes::BytesMut;

use super::*;
use crate::{filter::Spec, plan::filter_text};

const fn at(offset: u64) -> Place {
    Place::Offset(Offset(offset))
}

const fn time(found: u64) -> Place {
    Place::Time { at: Timestamp(7), found: Offset(found) }
}

fn ranged(from: Place, to: Option<Place>) -> Result<(u64, u64, bool), RangeError> {
    span(from, to, (Offset(10), Offset(50))).map(|s| (s.from.0, s.to.0, s.clamped))
}

#[test]
fn range_is_fixed_to_offsets_that_are_kept() {
    assert_eq!(ranged(at(10), None), Ok((10, 50, false)));
    assert_eq!(ranged(at(20), Some(at(30))), Ok((20, 30, false)));
    assert_eq!(ranged(time(20), Some(time(50))), Ok((20, 50, false)));
    assert_eq!(ranged(at(9), None), Err(RangeError::Trimmed { from: Offset(9), first: Offset(10) }));
    assert_eq!(ranged(at(10), Some(at(51))), Err(RangeError::Beyond { to: Offset(51), tail: Offset(50) }));
    for (from, to) in [(at(30), at(30)), (at(31), at(30)), (time(50), at(50)), (at(60), time(50))] {
        assert!(matches!(ranged(from, Some(to)), Err(RangeError::Empty { .. })), "{from:?} {to:?}");
    }
}

#[test]
fn time_before_what_is_kept_takes_what_is_kept_and_says_so() {
    assert_eq!(ranged(time(10), None), Ok((10, 50, true)));
    assert_eq!(ranged(time(11), None), Ok((11, 50, false)));
    let whole = span(time(1), None, (Offset(1), Offset(50)));
    assert_eq!(whole, Ok(Span { from: Offset(1), to: Offset(50), clamped: false }), "nothing was ever let go");
}

fn route(id: u32, kind: &str) -> RunRoute {
    let filter = filter_text(Some(&Spec::Pattern(serde_json::json!({ "type": [kind] }))));
    let name = RouteName::new(&format!("r{id}")).unwrap();
    RunRoute { route: RouteId(id), name, filter, counts: RunCounts::default() }
}

/// Events `a` and `b` in turn at the even offsets from 2 on.
fn chunk(count: u64) -> Chunk {
    let (mut buffer, mut records) = (BytesMut::new(), Vec::new());
    for n in 0..count {
        let event = Event::builder(&n.to_string(), "/s", if n % 2 == 0 { "a" } else { "b" }).build().unwrap();
        let start = buffer.len();
        buffer.extend_from_slice(event.body());
        records.push((Offset(2 * n + 2), Timestamp(n), start..buffer.len()));
    }
    Chunk { buffer: buffer.freeze(), records, next: Offset(2 * count + 2) }
}

fn found(own: Option<&str>, to: u64, hits_max: usize) -> (u64, u64, Vec<(u64, Vec<u32>)>) {
    let own = own.map(|id| filter_text(Some(&Spec::Pattern(serde_json::json!({ "id": [id] })))));
    let selector = Selector::new(&[route(1, "a"), route(3, "a"), route(4, "b")], own.as_deref()).unwrap();
    let read = select(&selector, &chunk(6), Offset(to), hits_max).unwrap();
    let hits = read.hits.iter().map(|(r, routes)| (r.offset.0, routes.iter().map(|r| r.0).collect()));
    (read.next.0, read.read, hits.collect())
}

#[test]
fn run_reads_what_its_routes_want_within_its_range() {
    assert_eq!(found(None, 7, 99), (7, 3, vec![(2, vec![1, 3]), (4, vec![4]), (6, vec![1, 3])]));
    assert_eq!(found(None, 6, 99), (6, 2, vec![(2, vec![1, 3]), (4, vec![4])]), "its end is not in it");
    assert_eq!(found(None, 99, 99).0, 14, "the chunk ends first");
}

#[test]
fn run_stops_before_the_first_event_that_is_too_many() {
    assert_eq!(found(None, 99, 2), (6, 2, vec![(2, vec![1, 3]), (4, vec![4])]));
}

#[test]
fn filter_of_the_run_comes_on_top_of_those_of_its_routes() {
    assert_eq!(found(Some("3"), 99, 99), (14, 6, vec![(8, vec![4])]));
}

#[test]
fn range_ends_where_the_log_does() {
    let selector = Selector::new(&[route(1, "a")], None).unwrap();
    let empty = Chunk { buffer: bytes::Bytes::new(), records: vec![], next: Offset(20) };
    assert_eq!(select(&selector, &empty, Offset(40), 9).unwrap().next, Offset(40));
}

#[test]
fn filter_of_the_future_is_refused_with_its_route() {
    let strange = RunRoute { filter: r#"{"telepathy":1}"#.into(), ..route(1, "a") };
    assert!(matches!(Selector::new(&[strange], None), Err((Some(name), _)) if name.as_str() == "r1"));
    assert!(matches!(Selector::new(&[], Some("{")), Err((None, _))));
}
