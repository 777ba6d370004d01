use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A moment on the eleventh day.
const NOW: Timestamp = Timestamp(11 * 24 * 3_600_000_000);

fn days(n: u64) -> Timestamp {
    Timestamp(n * 24 * 3_600_000_000)
}

/// A stretch of a hundred offsets and a hundred bytes, whose newest record is from that day.
fn piece(kind: SegmentKind, first: u64, day: u64, needed: Option<u64>) -> Piece {
    let segment = Segment { first: Offset(first), next: Offset(first + 100), newest: days(day), bytes: 100, kind };
    Piece { segment, needed: needed.map(|count| NeededOf { count, planned: true }), kept: None, copied: false }
}

fn sealed(first: u64, day: u64, needed: Option<u64>) -> Piece {
    piece(SegmentKind::Sealed, first, day, needed)
}

fn unsealed(first: u64, day: u64) -> Piece {
    piece(SegmentKind::Unsealed, first, day, None)
}

fn remnant(first: u64, needed: Option<u64>, kept: Option<u64>) -> Piece {
    Piece { kept, ..piece(SegmentKind::Remnant, first, 1, needed) }
}

fn bus(id: u16, retention: Retention, pieces: Vec<Piece>) -> BusNow {
    BusNow { bus: BusId(id), retention, pieces, uncopied: None }
}

fn calm(retention: Retention, pieces: Vec<Piece>) -> Option<Step> {
    archive(NOW, Level::Calm, &[bus(1, retention, pieces)])
}

const KEEP: Retention = Retention { age_max: None, bytes_max: None };
const WEEK: Retention = Retention { age_max: Some(Duration::from_secs(7 * 24 * 3600)), bytes_max: None };
const SMALL: Retention = Retention { age_max: None, bytes_max: Some(250) };

#[test]
fn settled_segments_go_when_they_are_old() {
    let ask = |first| Some(Step::Ask(BusId(1), Offset(first)));
    let reduce = |first, why| Some(Step::Reduce(BusId(1), Offset(first), why));
    assert_eq!(calm(KEEP, vec![sealed(1, 1, None), unsealed(101, 10)]), None, "without a limit everything stays");
    assert_eq!(calm(WEEK, vec![sealed(1, 5, None), unsealed(101, 10)]), None, "it is young");
    assert_eq!(calm(WEEK, vec![sealed(1, 3, None), unsealed(101, 10)]), ask(1));
    assert_eq!(calm(WEEK, vec![sealed(1, 3, Some(0)), unsealed(101, 10)]), reduce(1, Why::Age));
    assert_eq!(calm(WEEK, vec![sealed(1, 3, Some(50)), unsealed(101, 10)]), reduce(1, Why::Age), "half is needed");
    assert_eq!(calm(WEEK, vec![sealed(1, 3, Some(51)), unsealed(101, 10)]), None, "more than half is needed");
    let mut unplanned = sealed(1, 3, Some(0));
    unplanned.needed = Some(NeededOf { count: 0, planned: false });
    assert_eq!(calm(WEEK, vec![unplanned, unsealed(101, 10)]), None, "not all of it is planned");
}

#[test]
fn a_quiet_bus_is_sealed_when_its_newest_record_is_old() {
    assert_eq!(calm(WEEK, vec![unsealed(1, 3)]), Some(Step::Seal(BusId(1))));
    assert_eq!(calm(WEEK, vec![unsealed(1, 10)]), None);
    let mut empty = unsealed(1, 3);
    empty.segment.next = empty.segment.first;
    assert_eq!(calm(WEEK, vec![empty]), None, "it holds nothing");
    assert_eq!(calm(SMALL, vec![Piece { segment: Segment { bytes: 999, ..empty.segment }, ..empty }]), None);
}

#[test]
fn the_oldest_segments_of_a_large_bus_go() {
    let pieces = |n: u64| (0..n).map(|i| sealed(1 + i * 100, 10, Some(0))).collect::<Vec<_>>();
    assert_eq!(calm(SMALL, pieces(2)), None);
    assert_eq!(calm(SMALL, pieces(3)), Some(Step::Reduce(BusId(1), Offset(1), Why::Bytes)));
    let with_remnant = [vec![remnant(1, Some(9), Some(9))], pieces(2)].concat();
    assert_eq!(calm(SMALL, with_remnant), None, "what is owed is no archive");
}

#[test]
fn remnants_are_reduced_once_less_than_half_is_needed() {
    let reduce = Some(Step::Reduce(BusId(1), Offset(1), Why::Remnant));
    assert_eq!(calm(KEEP, vec![remnant(1, None, Some(9))]), Some(Step::Ask(BusId(1), Offset(1))));
    assert_eq!(calm(KEEP, vec![remnant(1, Some(5), Some(9))]), None);
    assert_eq!(calm(KEEP, vec![remnant(1, Some(4), Some(9))]), reduce);
    assert_eq!(calm(KEEP, vec![remnant(1, Some(1), None)]), None, "nobody knows how much is in it");
    let full = |needed, kept| archive(NOW, Level::Full, &[bus(1, KEEP, vec![remnant(1, Some(needed), Some(kept))])]);
    assert_eq!(full(9, 9), None, "all of it is needed");
    assert_eq!(full(7, 9), reduce, "without space, an eighth is enough: it may be most of the bytes");
    assert_eq!(full(15, 16), None);
    assert_eq!(calm(KEEP, vec![remnant(1, Some(0), None)]), reduce, "nothing needs it");
}

#[test]
fn when_space_is_short_the_oldest_of_all_buses_goes_whatever_retention_says() {
    let short = |buses: &[BusNow]| archive(NOW, Level::Short, buses);
    let a = bus(1, KEEP, vec![sealed(1, 9, Some(0)), unsealed(101, 10)]);
    let b = bus(2, KEEP, vec![sealed(1, 8, Some(0)), unsealed(101, 10)]);
    assert_eq!(short(&[a.clone(), b.clone()]), Some(Step::Reduce(BusId(2), Offset(1), Why::Space)));
    let owed = bus(2, KEEP, vec![sealed(1, 8, Some(100)), unsealed(101, 10)]);
    assert_eq!(
        short(&[a, owed.clone()]),
        Some(Step::Reduce(BusId(1), Offset(1), Why::Space)),
        "that one gains nothing"
    );
    assert_eq!(short(&[owed]), None);
    let behind = bus(1, KEEP, vec![sealed(1, 8, Some(100)), sealed(101, 8, Some(10)), unsealed(201, 9)]);
    assert_eq!(short(&[behind]), Some(Step::Reduce(BusId(1), Offset(1), Why::Space)), "the second is worth both");
    let unknown = bus(1, KEEP, vec![sealed(1, 8, Some(100)), sealed(101, 8, None), unsealed(201, 9)]);
    assert_eq!(short(&[unknown]), Some(Step::Ask(BusId(1), Offset(101))));
}

#[test]
fn levels_are_left_below_where_they_were_entered() {
    let budget = DiskBudget { bytes_max: Some(1_600), free_min: 0 };
    let at = |used, before| level(&budget, used, Some(0), before);
    use Level::{Calm, Full, Short};
    for (used, before, expected) in [
        (1_399, Calm, Calm),
        (1_400, Calm, Short),
        (1_399, Short, Short),
        (1_299, Short, Calm),
        (1_499, Short, Short),
        (1_500, Short, Full),
        (1_499, Full, Full),
        (1_399, Full, Short),
        (1_299, Full, Calm),
    ] {
        assert_eq!(at(used, before).0, expected, "{used} after {before:?}");
    }
    assert_eq!(at(1_500, Short).1, 200, "what has to go");
    let budget = DiskBudget { bytes_max: None, free_min: 100 };
    let at = |free, before| level(&budget, 0, Some(free), before);
    for (free, before, expected) in [
        (200, Calm, Calm),
        (199, Calm, Short),
        (249, Short, Short),
        (250, Short, Calm),
        (99, Short, Full),
        (149, Full, Full),
        (150, Full, Short),
        (250, Full, Calm),
    ] {
        assert_eq!(at(free, before).0, expected, "{free} free after {before:?}");
    }
    assert_eq!(at(50, Calm).1, 200);
    let both = DiskBudget { bytes_max: Some(1_600), free_min: 100 };
    assert_eq!(level(&both, 1_500, Some(1_000), Calm).0, Full, "the worse of both");
    assert_eq!(level(&both, 0, Some(10), Calm).0, Full);
    assert_eq!(level(&DiskBudget::default(), u64::MAX, Some(0), Calm), (Calm, 0), "no budget, no level");
}

#[test]
fn a_backlog_gives_way_only_where_that_frees_something() {
    let backlog = |name: &str, bytes, gives| Backlog { route: RouteName::new(name).unwrap(), bytes, gives };
    let route = |name: &str| GiveWay::Refuse(Holder::Route(RouteName::new(name).unwrap()));
    let all = [backlog("a", 500, true), backlog("b", 900, false), backlog("c", 600, true), backlog("d", 0, true)];
    let none = LetterLimits::default();
    let some = LetterLimits { bytes_max: Some(100), age_max: None };
    assert_eq!(give_way(50, &all, 0, &none), route("b"), "a dead letter takes as much space");
    let convert = |bytes| GiveWay::Convert(RouteName::new("c").unwrap(), bytes);
    assert_eq!(give_way(50, &all, 0, &some), convert(50), "the largest that does not hold");
    assert_eq!(give_way(5_000, &all, 0, &some), convert(600));
    let held = all.get(1..2).unwrap();
    assert_eq!(give_way(50, held, 0, &some), route("b"));
    assert_eq!(give_way(50, held, 1_000, &some), GiveWay::Refuse(Holder::DeadLetters));
    assert_eq!(give_way(50, &[], 0, &some), GiveWay::Refuse(Holder::Archive));
}

#[test]
fn the_oldest_dead_letters_are_in_excess() {
    let mut book = LetterBook::default();
    for n in 0..10 {
        book.add(Timestamp(1_000_000 * (20 - n)), 100);
    }
    assert_eq!((book.bytes(), book.oldest()), (1_000, Some(Timestamp(11_000_000))));
    assert_eq!(book.excess(1_000), None);
    let at = |before, bytes| {
        let before = Timestamp(before);
        Some(Excess { before, until: before.after(Duration::from_millis(1)), bytes })
    };
    assert_eq!(book.excess(999), at(11_000_000, 1), "one must go");
    assert_eq!(book.excess(750), at(13_000_000, 50), "two and part of the third");
}

#[test]
fn a_book_of_many_moments_stays_small_and_exact_in_sum() {
    let mut book = LetterBook::default();
    for n in 0..100_000u64 {
        book.add(NOW.after(DAY * u32::try_from(n % 14).unwrap()).after(Duration::from_millis(n)), 10);
    }
    assert!(book.buckets.len() <= BUCKETS_MAX);
    assert_eq!(book.bytes(), 1_000_000);
    let excess = book.excess(900_000).unwrap();
    let before: u64 = book.buckets.range(..excess.before.0 / book.width).map(|(_, bytes)| bytes).sum();
    assert_eq!(before + excess.bytes, 100_000);
}

#[test]
fn replies_may_take_a_twentieth_and_leave_half_of_what_stays_free() {
    let budget = |bytes_max, free_min| DiskBudget { bytes_max, free_min };
    assert_eq!(reserve(&budget(Some(1_000), 0), None), 50);
    assert_eq!(reserve(&budget(None, 400), Some(1_000)), 100);
    assert_eq!(reserve(&budget(Some(100_000), 400), Some(300)), 100);
    assert_eq!(reserve(&budget(Some(100_000), 400), Some(100)), 0);
}
