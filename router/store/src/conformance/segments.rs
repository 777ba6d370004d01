//! Cases of the stretches of a [`Log`](router_core::store::Log).

use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Admitted, Error, Log, Segment, SegmentKind},
};

use super::{LogForm, admitted, batch, event, read_all, trim};

/// Makes every case of sealing, and of letting go whole, a test of the form.
#[macro_export]
macro_rules! segments_suite {
    ($form:ty) => {
        $crate::suite!($form, segments:
            segments_cover_the_log_in_order
            sealing_ends_a_segment_once
            sealed_segments_stay_through_a_restart
            trim_keeps_what_is_at_and_above
            trimmed_offset_is_refused_with_the_first_kept
            only_the_oldest_sealed_segment_is_reduced
            record_is_found_at_its_own_offset_only
        );
    };
}

/// Makes every case of what is kept of a segment a test of the form.
#[macro_export]
macro_rules! remnants_suite {
    ($form:ty) => {
        $crate::suite!($form, segments:
            reduced_segment_keeps_what_was_asked_for
            remnant_is_reduced_until_it_is_gone
            remnants_stay_through_a_restart
            large_and_many_records_are_kept_whole
            log_goes_on_beside_its_remnants
        );
    };
}

use SegmentKind::{Remnant, Sealed, Unsealed};

/// Batches of three small events with times 10, 20, …, each sealed; their offsets.
async fn sealed(log: &dyn Log, batches: u64) -> Vec<Vec<Offset>> {
    let mut all = Vec::new();
    for i in 0..batches {
        all.push(log.append(Timestamp(10 + i * 10), batch(i * 3..i * 3 + 3)).await.unwrap());
        log.seal().await.unwrap();
    }
    all
}

fn of(log: &dyn Log, kind: SegmentKind) -> Vec<Segment> {
    log.segments().into_iter().filter(|s| s.kind == kind).collect()
}

/// Which of the offsets have a record, each with the right event and time.
async fn found(log: &dyn Log, offsets: &[Vec<Offset>]) -> Vec<Offset> {
    let mut found = Vec::new();
    for (i, batch) in (0u64..).zip(offsets) {
        for (j, offset) in (0u64..).zip(batch) {
            if let Some(record) = log.record(*offset).await.unwrap() {
                assert_eq!((record.offset, record.appended), (*offset, Timestamp(10 + i * 10)));
                assert_eq!(record.event, event(i * 3 + j, 20));
                found.push(record.offset);
            }
        }
    }
    found
}

/// Without a hole, the unsealed one last.
pub async fn segments_cover_the_log_in_order<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    let check = |newest: u64| {
        let segments = log.segments();
        let (first, tail) = log.bounds();
        assert_eq!(segments.first().map(|s| s.first), Some(first));
        assert_eq!(segments.last().map(|s| (s.next, s.kind, s.newest)), Some((tail, Unsealed, Timestamp(newest))));
        assert!(segments.windows(2).all(|w| w[0].next == w[1].first && w[0].newest <= w[1].newest), "{segments:?}");
        assert!(segments.iter().rev().skip(1).all(|s| s.kind == Sealed), "{segments:?}");
        assert!(segments.iter().all(|s| s.bytes > 0), "{segments:?}");
    };
    check(0);
    for i in 1..40 {
        log.append(Timestamp(i), batch(i * 2..i * 2 + 2)).await.unwrap();
        if i % 7 == 0 {
            log.seal().await.unwrap();
        }
        check(i);
    }
    assert!(of(log, Sealed).len() >= 5);
}

/// An empty one is not sealed: a quiet log does not grow.
pub async fn sealing_ends_a_segment_once<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    log.seal().await.unwrap();
    assert_eq!(of(log, Sealed), []);
    let offsets = sealed(log, 1).await;
    log.seal().await.unwrap();
    let segments = of(log, Sealed);
    assert_eq!(segments.len(), 1, "{segments:?}");
    assert_eq!(segments[0].newest, Timestamp(10));
    assert!(segments[0].first <= offsets[0][0] && segments[0].next > offsets[0][2]);
    let after = log.append(Timestamp(9), batch(3..4)).await.unwrap();
    assert!(after[0] >= segments[0].next);
    assert_eq!(of(log, Sealed), segments, "a sealed one does not change");
    assert_eq!(log.segments()[1].newest, Timestamp(10), "the clock stood still");
}

/// Where each begins and ends, and how young it is.
pub async fn sealed_segments_stay_through_a_restart<F: LogForm>() {
    let form = F::create().await;
    sealed(form.log(), 4).await;
    let facts =
        |log: &dyn Log| log.segments().into_iter().map(|s| (s.first, s.next, s.newest, s.kind)).collect::<Vec<_>>();
    let before = facts(form.log());
    let form = form.reopen().await;
    assert_eq!(facts(form.log()), before);
    assert_eq!(read_all(form.log(), form.log().bounds().0, 100).await.len(), 12);
}

/// And never moves the tail.
pub async fn trim_keeps_what_is_at_and_above<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    let offsets = sealed(log, 7).await.concat();
    let tail = log.bounds().1;
    let before = offsets[12];
    trim(log, before).await;
    let (first, tail_after) = log.bounds();
    assert!(first <= before && first > offsets[11], "{first}");
    assert_eq!(tail_after, tail);
    let read = read_all(log, first, 100).await;
    assert_eq!(read.iter().map(|r| r.offset).collect::<Vec<_>>(), offsets[12..]);
    assert_eq!(log.seek(Timestamp(0)).await.unwrap(), offsets[12]);
    assert_eq!(log.keys(std::time::Duration::MAX, 100).await.unwrap().len(), offsets.len() - 12);
    trim(log, offsets[3]).await;
    assert_eq!(log.bounds(), (first, tail), "nothing comes back");
    let form = form.reopen().await;
    assert_eq!(form.log().bounds(), (first, tail));
}

/// Also when all sealed ones went.
pub async fn trimmed_offset_is_refused_with_the_first_kept<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    let offsets = sealed(log, 3).await.concat();
    trim(log, Offset(u64::MAX)).await;
    let (first, tail) = log.bounds();
    assert!(first > offsets[8] && first <= tail);
    for offset in [offsets[0], offsets[8], Offset(first.0 - 1)] {
        let error = log.read(offset, 100).await.unwrap_err();
        assert!(matches!(error, Error::Trimmed { first: f } if f == first), "{error}");
    }
    let next = log.append(Timestamp(99), batch(0..1)).await.unwrap();
    assert!(next[0] >= tail);
    assert_eq!(read_all(log, first, 100).await.len(), 1);
}

/// Any other stretch is refused, and nothing changes.
pub async fn only_the_oldest_sealed_segment_is_reduced<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    sealed(log, 3).await;
    log.append(Timestamp(50), batch(0..1)).await.unwrap();
    let segments = log.segments();
    for first in [segments[1].first, segments[3].first, segments[0].first.next(), Offset(u64::MAX)] {
        let error = log.reduce(first, vec![]).await.unwrap_err();
        assert!(matches!(error, Error::NoSegment { first: f } if f == first), "{error}");
    }
    assert_eq!(log.segments(), segments);
    log.reduce(segments[0].first, vec![]).await.unwrap();
    let error = log.reduce(segments[0].first, vec![]).await.unwrap_err();
    assert!(matches!(error, Error::NoSegment { .. }), "it is gone: {error}");
    assert_eq!(log.segments(), segments[1..]);
}

/// And none is found in a gap, at the tail, or where it was let go.
pub async fn record_is_found_at_its_own_offset_only<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    let mut offsets = sealed(log, 4).await;
    offsets.push(log.append(Timestamp(50), batch(12..15)).await.unwrap());
    let all = offsets.concat();
    assert_eq!(found(log, &offsets).await, all);
    let (first, tail) = log.bounds();
    for offset in (0..tail.0 + 3).map(Offset).filter(|o| !all.contains(o)) {
        assert_eq!(log.record(offset).await.unwrap(), None, "{offset}");
    }
    log.reduce(first, vec![]).await.unwrap();
    assert_eq!(found(log, &offsets).await, all[3..]);
}

/// As it was, and nothing else; bounds, reads and keys are those of the rest.
pub async fn reduced_segment_keeps_what_was_asked_for<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    let offsets = sealed(log, 4).await;
    let before = log.segments();
    // Offsets without a record, before, between and behind, mean nothing.
    let keep = vec![Offset(0), offsets[0][0], offsets[0][2], offsets[0][2].next(), offsets[2][0], Offset(u64::MAX)];
    log.reduce(before[0].first, keep).await.unwrap();
    assert_eq!(found(log, &offsets).await, [&[offsets[0][0], offsets[0][2]], &offsets[1..].concat()[..]].concat());
    let remnants = of(log, Remnant);
    assert_eq!(remnants.len(), 1);
    let facts = |s: &Segment| (s.first, s.next, s.newest);
    assert_eq!(facts(&remnants[0]), facts(&before[0]));
    assert_eq!(log.bounds().0, before[1].first);
    assert!(matches!(log.read(offsets[0][0], 9).await, Err(Error::Trimmed { .. })), "it is not part of the log");
    assert_eq!(log.seek(Timestamp(0)).await.unwrap(), offsets[1][0]);
    assert_eq!(log.keys(std::time::Duration::MAX, 100).await.unwrap().len(), 9);
    log.reduce(before[1].first, vec![offsets[1][1]]).await.unwrap();
    assert_eq!(found(log, &offsets).await[..3], [offsets[0][0], offsets[0][2], offsets[1][1]]);
    log.reduce(before[2].first, vec![]).await.unwrap();
    assert_eq!(found(log, &offsets).await[3..], offsets[3]);
}

/// One record after the other.
pub async fn remnant_is_reduced_until_it_is_gone<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    let offsets = sealed(log, 3).await;
    let mut kept = offsets.concat();
    for _ in 0..3 {
        log.reduce(of(log, Sealed)[0].first, kept.clone()).await.unwrap();
    }
    assert_eq!(found(log, &offsets).await, kept);
    while let Some(gone) = kept.pop() {
        let remnant = of(log, Remnant).into_iter().find(|s| (s.first..s.next).contains(&gone)).unwrap();
        log.reduce(remnant.first, kept.clone()).await.unwrap();
        assert_eq!(found(log, &offsets).await, kept);
    }
    assert_eq!(of(log, Remnant), []);
    assert_eq!(log.segments().len(), 1);
}

/// With what they keep, and as what they are.
pub async fn remnants_stay_through_a_restart<F: LogForm>() {
    let form = F::create().await;
    let offsets = sealed(form.log(), 4).await;
    let keep = vec![offsets[0][1], offsets[2][0], offsets[2][1]];
    for _ in 0..3 {
        form.log().reduce(of(form.log(), Sealed)[0].first, keep.clone()).await.unwrap();
    }
    let (segments, bounds) = (form.log().segments(), form.log().bounds());
    let form = form.reopen().await;
    let log = form.log();
    assert_eq!(found(log, &offsets).await, [&keep[..], &offsets[3]].concat());
    let mut kept = 0;
    for remnant in of(log, Remnant) {
        kept += log.kept(remnant.first).await.unwrap().unwrap();
    }
    assert_eq!(kept, 3, "what an earlier run kept is counted");
    assert_eq!(log.kept(log.bounds().0).await.unwrap(), None, "that is no remnant");
    assert_eq!((of(log, Remnant), log.bounds()), (of_kind(&segments, Remnant), bounds));
    let last = of(log, Remnant).last().copied().unwrap();
    log.reduce(last.first, vec![keep[2]]).await.unwrap();
    let form = form.reopen().await;
    let left = found(form.log(), &offsets).await;
    assert!(left.contains(&keep[2]) && !left.contains(&keep[1]), "{left:?}");
}

fn of_kind(segments: &[Segment], kind: SegmentKind) -> Vec<Segment> {
    segments.iter().copied().filter(|s| s.kind == kind).collect()
}

/// More than fits into one read or one block.
pub async fn large_and_many_records_are_kept_whole<F: LogForm>() {
    let form = F::create().await;
    let log = form.log();
    let sizes: Vec<usize> = (0..400).map(|i| if i % 90 == 5 { 300_000 } else { i * 7 % 500 }).collect();
    let events: Vec<_> =
        (0u64..).zip(&sizes).map(|(id, bytes)| Admitted { event: event(id, *bytes), key: id }).collect();
    let offsets = log.append(Timestamp(1), events).await.unwrap();
    log.seal().await.unwrap();
    let is_kept = |i: usize| !i.is_multiple_of(3) || i % 90 == 5;
    let keep: Vec<_> = (0..sizes.len()).filter(|i| is_kept(*i)).map(|i| offsets[i]).collect();
    let before = of(log, Sealed)[0];
    log.reduce(before.first, keep).await.unwrap();
    assert!(of(log, Remnant)[0].bytes < before.bytes, "{:?}", log.segments());
    let form = form.reopen().await;
    let kept = (0..sizes.len()).filter(|i| is_kept(*i)).count() as u64;
    assert_eq!(form.log().kept(before.first).await.unwrap(), Some(kept));
    for (i, bytes) in sizes.iter().enumerate() {
        let record = form.log().record(offsets[i]).await.unwrap();
        let expected = is_kept(i).then(|| event(i as u64, *bytes));
        assert_eq!(record.map(|r| r.event), expected, "{i}");
    }
}

/// Appends, reads and seals as if they were not there.
pub async fn log_goes_on_beside_its_remnants<F: LogForm>() {
    let form = F::create().await;
    let offsets = sealed(form.log(), 1).await;
    form.log().reduce(form.log().bounds().0, vec![offsets[0][0]]).await.unwrap();
    let form = form.reopen().await;
    let log = form.log();
    assert_eq!(read_all(log, log.bounds().0, 9).await, []);
    let next = log.append(Timestamp(5), vec![admitted(7)]).await.unwrap();
    assert!(next[0] > offsets[0][2]);
    let read = read_all(log, log.bounds().0, 9).await;
    assert_eq!(read.iter().map(|r| (r.offset, r.appended)).collect::<Vec<_>>(), [(next[0], Timestamp(10))]);
    log.seal().await.unwrap();
    let kinds: Vec<_> = log.segments().iter().map(|s| s.kind).collect();
    assert_eq!(kinds, [Remnant, Sealed, Unsealed]);
    assert_eq!(log.record(offsets[0][0]).await.unwrap().map(|r| r.appended), Some(Timestamp(10)));
}
