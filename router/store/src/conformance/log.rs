//! Cases of [`Log`](router_core::store::Log).

use std::time::Duration;

use router_core::{clock::Timestamp, id::Offset, store::Admitted};

use super::{LogForm, admitted, batch, event, read_all};

/// Makes every case of the log a test of the form.
#[macro_export]
macro_rules! log_suite {
    ($form:ty) => {
        $crate::suite!($form, log:
            fresh_log_is_empty
            records_read_back_as_they_were_appended_in_order
            offsets_rise_and_lie_below_the_tail
            append_time_never_goes_back
            empty_batch_changes_nothing
            read_gives_at_least_one_record_and_about_the_asked_bytes
            read_inside_a_gap_begins_at_the_next_record
            read_at_or_after_the_tail_is_empty
            chunk_of_a_large_event_is_whole
            seek_finds_the_first_record_at_or_after_a_time
            tail_is_announced
            keys_of_the_last_minutes_before_the_last_append
            keys_are_the_newest_when_there_are_too_many
            restart_keeps_records_bounds_and_keys
            offsets_and_times_go_on_after_a_restart
            readers_beside_an_appender_see_whole_batches_in_order
        );
    };
}

const SECOND: u64 = 1_000_000;

/// Nothing to read, nothing to seek, and no tail beyond the first offset, which is 1 or more.
pub async fn fresh_log_is_empty<F: LogForm>() {
    let form = F::create().await;
    let (first, tail) = form.log().bounds();
    assert_eq!(first, tail);
    assert!(first >= Offset(1));
    assert_eq!(*form.log().tail().borrow(), tail);
    assert_eq!(form.log().seek(Timestamp(0)).await.unwrap(), tail);
    assert_eq!(form.log().keys(Duration::MAX, 10).await.unwrap(), []);
    assert!(form.log().read(tail, 1000).await.unwrap().records.is_empty());
}

/// Bytes, facts, order and time, whatever the size of a read.
pub async fn records_read_back_as_they_were_appended_in_order<F: LogForm>() {
    let form = F::create().await;
    let mut expected = Vec::new();
    for (now, ids) in [(10, 0..5), (20, 5..6), (30, 6..40)] {
        let offsets = form.log().append(Timestamp(now), batch(ids.clone())).await.unwrap();
        expected.extend(offsets.into_iter().zip(ids).map(|(offset, id)| (offset, Timestamp(now), event(id, 20))));
    }
    for bytes_max in [1, 300, 1 << 20] {
        let read = read_all(form.log(), form.log().bounds().0, bytes_max).await;
        let read: Vec<_> = read.into_iter().map(|r| (r.offset, r.appended, r.event)).collect();
        assert_eq!(read, expected, "in pieces of {bytes_max}");
    }
}

/// Inside a batch, between batches, and against the tail.
pub async fn offsets_rise_and_lie_below_the_tail<F: LogForm>() {
    let form = F::create().await;
    let mut last = Offset(0);
    for i in 0..50 {
        let tail = form.log().bounds().1;
        let offsets = form.log().append(Timestamp(1), batch(i * 3..i * 3 + 3)).await.unwrap();
        assert_eq!(offsets.len(), 3);
        assert!(offsets[0] >= tail, "the next record has the tail's offset at least");
        for offset in offsets {
            assert!(offset > last);
            last = offset;
        }
        assert!(form.log().bounds().1 > last);
    }
}

/// A clock that jumps back does not make a record older than the one before.
pub async fn append_time_never_goes_back<F: LogForm>() {
    let form = F::create().await;
    for now in [50, 40, 60] {
        form.log().append(Timestamp(now), batch(now..now + 1)).await.unwrap();
    }
    let times: Vec<_> = read_all(form.log(), form.log().bounds().0, 1).await.iter().map(|r| r.appended.0).collect();
    assert_eq!(times, [50, 50, 60]);
}

/// No offset, no new tail, and no time of its own.
pub async fn empty_batch_changes_nothing<F: LogForm>() {
    let form = F::create().await;
    form.log().append(Timestamp(5), batch(0..1)).await.unwrap();
    let bounds = form.log().bounds();
    assert_eq!(form.log().append(Timestamp(90), vec![]).await.unwrap(), []);
    assert_eq!(form.log().bounds(), bounds);
    form.log().append(Timestamp(6), batch(1..2)).await.unwrap();
    assert_eq!(read_all(form.log(), bounds.0, 1).await[1].appended, Timestamp(6));
}

/// One at least, and not all when few bytes are asked.
pub async fn read_gives_at_least_one_record_and_about_the_asked_bytes<F: LogForm>() {
    let form = F::create().await;
    let events: Vec<_> = (0..100).map(|id| Admitted { event: event(id, 1000), key: id }).collect();
    form.log().append(Timestamp(1), events).await.unwrap();
    let first = form.log().bounds().0;
    for (bytes_max, most) in [(0, 1), (1, 1), (10_000, 12), (1 << 20, 100)] {
        let chunk = form.log().read(first, bytes_max).await.unwrap();
        assert!((1..=most).contains(&chunk.records.len()), "{} of {bytes_max} bytes", chunk.records.len());
    }
    assert!(form.log().read(first, 50_000).await.unwrap().records.len() > 20);
}

/// From every offset below the tail, whether or not there is a record at it.
pub async fn read_inside_a_gap_begins_at_the_next_record<F: LogForm>() {
    let form = F::create().await;
    let mut offsets = Vec::new();
    for i in 0..30 {
        offsets.extend(form.log().append(Timestamp(1), batch(i * 2..i * 2 + 2)).await.unwrap());
    }
    let (first, tail) = form.log().bounds();
    for from in (first.0..tail.0).map(Offset) {
        let chunk = form.log().read(from, 1).await.unwrap();
        let next = offsets.iter().copied().find(|offset| *offset >= from);
        assert_eq!(chunk.records.first().map(|r| r.0), next, "from {from}");
        assert!(chunk.next > from && chunk.next <= tail, "from {from} to {}", chunk.next);
    }
}

/// With `next` at the asked offset.
pub async fn read_at_or_after_the_tail_is_empty<F: LogForm>() {
    let form = F::create().await;
    form.log().append(Timestamp(1), batch(0..3)).await.unwrap();
    let tail = form.log().bounds().1;
    for from in [tail, tail.next(), Offset(u64::MAX)] {
        let chunk = form.log().read(from, 1000).await.unwrap();
        assert!(chunk.records.is_empty());
        assert_eq!(chunk.next, from);
    }
}

/// However few bytes are asked.
pub async fn chunk_of_a_large_event_is_whole<F: LogForm>() {
    let form = F::create().await;
    let large = event(1, 1 << 20);
    let events = vec![admitted(0), Admitted { event: large.clone(), key: 1 }, admitted(2)];
    form.log().append(Timestamp(1), events).await.unwrap();
    let read = read_all(form.log(), form.log().bounds().0, 10).await;
    assert_eq!(read.len(), 3);
    assert_eq!(read[1].event, large);
}

/// The tail when there is none; the first of several with one time.
pub async fn seek_finds_the_first_record_at_or_after_a_time<F: LogForm>() {
    let form = F::create().await;
    let a = form.log().append(Timestamp(100), batch(0..3)).await.unwrap();
    let b = form.log().append(Timestamp(200), batch(3..5)).await.unwrap();
    let c = form.log().append(Timestamp(200), batch(5..7)).await.unwrap();
    let d = form.log().append(Timestamp(300), batch(7..8)).await.unwrap();
    assert!(c > b);
    for (t, expected) in [(0, a[0]), (100, a[0]), (101, b[0]), (200, b[0]), (201, d[0]), (300, d[0])] {
        assert_eq!(form.log().seek(Timestamp(t)).await.unwrap(), expected, "at {t}");
    }
    assert_eq!(form.log().seek(Timestamp(301)).await.unwrap(), form.log().bounds().1);
}

/// A receiver wakes, and everything below what it sees can be read.
pub async fn tail_is_announced<F: LogForm>() {
    let form = F::create().await;
    let mut tail = form.log().tail();
    let seen = *tail.borrow_and_update();
    let offsets = form.log().append(Timestamp(1), batch(0..2)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), tail.changed()).await.unwrap().unwrap();
    let now = *tail.borrow_and_update();
    assert_eq!(now, form.log().bounds().1);
    assert!(now > offsets[1]);
    assert_eq!(read_all(form.log(), seen, 1).await.len(), 2);
}

/// The window ends at the last append, not at now: an outage takes nothing from it.
pub async fn keys_of_the_last_minutes_before_the_last_append<F: LogForm>() {
    let form = F::create().await;
    let mut offsets = Vec::new();
    for minute in 0..10u64 {
        let now = Timestamp(minute * 60 * SECOND);
        offsets.extend(form.log().append(now, batch(minute..minute + 1)).await.unwrap());
    }
    let keys = form.log().keys(Duration::from_secs(150), 100).await.unwrap();
    assert_eq!(keys.iter().map(|k| k.key).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(keys.iter().map(|k| k.offset).collect::<Vec<_>>(), offsets[7..]);
    assert_eq!(keys[0].appended, Timestamp(7 * 60 * SECOND));
    assert_eq!(form.log().keys(Duration::MAX, 100).await.unwrap().len(), 10);
}

/// In log order all the same.
pub async fn keys_are_the_newest_when_there_are_too_many<F: LogForm>() {
    let form = F::create().await;
    form.log().append(Timestamp(1), batch(0..10)).await.unwrap();
    let keys = form.log().keys(Duration::from_secs(60), 3).await.unwrap();
    assert_eq!(keys.iter().map(|k| k.key).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(form.log().keys(Duration::from_secs(60), 0).await.unwrap(), []);
}

/// Nothing is lost, nothing is new.
pub async fn restart_keeps_records_bounds_and_keys<F: LogForm>() {
    let form = F::create().await;
    for i in 0..20 {
        form.log().append(Timestamp(i * SECOND), batch(i..i + 1)).await.unwrap();
    }
    let first = form.log().bounds().0;
    let records = read_all(form.log(), first, 200).await;
    let keys = form.log().keys(Duration::from_secs(5), 100).await.unwrap();
    let sought = form.log().seek(Timestamp(7 * SECOND)).await.unwrap();
    let form = form.reopen().await;
    assert_eq!(read_all(form.log(), first, 200).await, records);
    assert_eq!(form.log().keys(Duration::from_secs(5), 100).await.unwrap(), keys);
    assert_eq!(form.log().seek(Timestamp(7 * SECOND)).await.unwrap(), sought);
    assert_eq!(form.log().bounds().0, first);
}

/// Also when the clock stands before the last append.
pub async fn offsets_and_times_go_on_after_a_restart<F: LogForm>() {
    let form = F::create().await;
    let before = form.log().append(Timestamp(90), batch(0..3)).await.unwrap();
    let form = form.reopen().await;
    assert!(form.log().bounds().1 > before[2]);
    let after = form.log().append(Timestamp(50), batch(3..4)).await.unwrap();
    assert!(after[0] > before[2]);
    let read = read_all(form.log(), before[0], 1 << 20).await;
    assert_eq!(read.iter().map(|r| r.appended.0).collect::<Vec<_>>(), [90, 90, 90, 90]);
    let form = form.reopen().await;
    assert_eq!(read_all(form.log(), before[0], 1 << 20).await, read);
}

/// Up to the tail that they saw, everything is there.
pub async fn readers_beside_an_appender_see_whole_batches_in_order<F: LogForm>() {
    let form = F::create().await;
    let first = form.log().bounds().0;
    let append = async {
        for i in 0..40u64 {
            form.log().append(Timestamp(i), batch(i * 5..i * 5 + 5)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        let mut seen = 0;
        while seen < 200 {
            let tail = form.log().bounds().1;
            let mut ids = Vec::new();
            let mut from = first;
            while from < tail {
                let chunk = form.log().read(from, 700).await.unwrap();
                ids.extend(chunk.records().map(|r| r.unwrap().event.id().parse::<u64>().unwrap()));
                assert!(chunk.next > from, "a read goes on");
                from = chunk.next;
            }
            assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>());
            assert!(ids.len() >= seen);
            seen = ids.len();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(append, read);
}
