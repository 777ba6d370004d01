//! Entries that are parked under keys, and what is told of the keys.

use super::*;

fn unpark(lane: LaneId, key: u64, offset: u64) -> Change {
    Change::Drop { lane, offset: Offset(offset), place: Place::parked(OrderKey(key)), bytes: bytes_of(offset) }
}

async fn parked_of(ledger: &dyn Ledger, lane: LaneId, from: (u64, u64), to: (u64, u64)) -> Vec<(u64, u64)> {
    let place = |(key, offset)| (OrderKey(key), Offset(offset));
    let found = ledger.parked(lane, place(from)..place(to), 100).await.unwrap();
    found.iter().map(|p| (p.key.unwrap().0, p.offset.0)).collect()
}

/// Within the asked range, of this lane alone; they are neither ready nor due.
pub async fn parked_entries_list_by_key_then_offset<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let entries = [(2, 9), (1, 300), (1, 2), (256, 1), (255, 7), (1, 256)];
    let mut changes: Vec<_> = entries.map(|(key, offset)| put(parked(lane(1), key, offset))).to_vec();
    changes.extend([put(parked(lane(2), 1, 3)), put(pending(lane(1), 5, None)), put(pending(lane(1), 6, Some(1)))]);
    commit(ledger, changes).await;
    let end = (u64::MAX, u64::MAX);
    let all = [(1, 2), (1, 256), (1, 300), (2, 9), (255, 7), (256, 1)];
    assert_eq!(parked_of(ledger, lane(1), (0, 0), end).await, all);
    assert_eq!(parked_of(ledger, lane(1), (1, 3), (1, 300)).await, [(1, 256)]);
    assert_eq!(parked_of(ledger, lane(1), (1, 301), (255, 8)).await, [(2, 9), (255, 7)]);
    assert_eq!(parked_of(ledger, lane(1), (2, 0), (1, 0)).await, []);
    assert_eq!((ready(ledger, lane(1), 0).await, due(ledger, lane(1), 99).await), (vec![5], vec![(1, 6)]));
    let two = ledger.parked(lane(1), (OrderKey(1), Offset(0))..(OrderKey(3), Offset(0)), 2).await.unwrap();
    assert_eq!(two, [parked(lane(1), 1, 2), parked(lane(1), 1, 256)]);
    assert_eq!(ledger.count().await.unwrap()[0], LaneCount { lane: lane(1), pending: 8, dead_letters: 0 });
    let form = form.reopen().await;
    assert_eq!(parked_of(form.ledger(), lane(1), (0, 0), end).await, all);
    assert_eq!(offsets(&needed(form.ledger(), 1, 0..300).await), [1, 2, 3, 5, 6, 7, 9, 256]);
}

/// And is in one at a time, with all that is said of it.
pub async fn parked_entry_moves_to_the_other_places<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let end = (u64::MAX, u64::MAX);
    let late = |pending| Pending { late: true, attempts: attempts(), ..pending };
    let from = |place| move |pending| Change::Put { pending, replaces: Some(place) };
    let under = Place::parked(OrderKey(4));
    commit(ledger, vec![put(pending(lane(1), 1, None))]).await;
    commit(ledger, vec![from(Place::default())(late(parked(lane(1), 4, 1)))]).await;
    assert_eq!((ready(ledger, lane(1), 0).await, offsets(&needed(ledger, 1, 0..9).await)), (vec![], vec![1]));
    let all = (OrderKey(0), Offset(0))..(OrderKey(9), Offset(0));
    assert_eq!(ledger.parked(lane(1), all, 9).await.unwrap(), [late(parked(lane(1), 4, 1))]);
    let waits = late(Pending { key: Some(OrderKey(4)), ..pending(lane(1), 1, Some(70)) });
    commit(ledger, vec![from(under)(waits.clone())]).await;
    assert_eq!(parked_of(ledger, lane(1), (0, 0), end).await, []);
    assert_eq!(ledger.due(lane(1), Timestamp(70), 9).await.unwrap(), std::slice::from_ref(&waits));
    commit(ledger, vec![from(waits.place())(parked(lane(1), 5, 1))]).await;
    assert_eq!(due(ledger, lane(1), 99).await, []);
    assert_eq!(parked_of(ledger, lane(1), (0, 0), end).await, [(5, 1)]);
    commit(ledger, vec![from(Place::parked(OrderKey(5)))(pending(lane(1), 1, None))]).await;
    assert_eq!((ready(ledger, lane(1), 0).await, parked_of(ledger, lane(1), (0, 0), end).await), (vec![1], vec![]));
    commit(ledger, vec![put(parked(lane(1), 6, 2)), unpark(lane(1), 6, 2), settle(lane(1), 1, None)]).await;
    assert_eq!(ledger.count().await.unwrap(), []);
    assert_eq!(offsets(&needed(ledger, 1, 0..9).await), [0; 0]);
}

/// With how much is parked under each, how much it waits for, and its dead letters; the others are not.
pub async fn keys_that_hold_something_up_are_told<F: LedgerForm>() {
    let form = F::create().await;
    let known = |letters| KeyLetters { letters, holding: 1, since: Timestamp(8), delivered: Offset(77) };
    let waits = |offset, due, key| Pending { key: Some(OrderKey(key)), ..pending(lane(1), offset, Some(due)) };
    let changes = vec![
        put(parked(lane(1), 4, 1)),
        put(parked(lane(1), 4, 2)),
        put(waits(3, 50, 4)),
        put(waits(4, 60, 5)),
        put(parked(lane(2), 4, 1)),
        put(parked(lane(2), 7, 2)),
        unpark(lane(2), 7, 2),
        put(pending(lane(3), 1, None)),
        Change::PutKey(lane(1), OrderKey(5), known(1)),
        Change::PutKey(lane(1), OrderKey(5), known(2)),
        Change::PutKey(lane(9), OrderKey(1), known(3)),
        Change::PutKey(lane(9), OrderKey(2), known(3)),
        Change::DropKey(lane(9), OrderKey(2)),
    ];
    commit(form.ledger(), changes).await;
    let of = |route, key, parked, waiting, letters: Option<u32>| KeyState {
        lane: lane(route),
        key: OrderKey(key),
        parked,
        waiting,
        letters: letters.map(known),
    };
    let expected = [of(1, 4, 2, 1, None), of(1, 5, 0, 1, Some(2)), of(2, 4, 1, 0, None), of(9, 1, 0, 0, Some(3))];
    assert_eq!(form.ledger().state().await.unwrap().keys, expected);
    let form = form.reopen().await;
    let state = form.ledger().state().await.unwrap();
    assert_eq!(state.keys, expected);
    let counts: Vec<_> = state.lanes.iter().map(|l| (l.lane.route.0, l.ready, l.waiting, l.parked, l.bytes)).collect();
    let bytes = |offsets: &[u64]| offsets.iter().map(|o| u64::from(bytes_of(*o))).sum::<u64>();
    assert_eq!(counts, [(1, 0, 2, 2, bytes(&[1, 2, 3, 4])), (2, 0, 0, 1, bytes(&[1])), (3, 1, 0, 0, bytes(&[1]))]);
    let changes = vec![
        Change::DropKey(lane(1), OrderKey(5)),
        Change::Put { pending: waits(3, 90, 4), replaces: Some(waits(3, 50, 4).place()) },
        unpark(lane(1), 4, 1),
    ];
    commit(form.ledger(), changes).await;
    let expected = [of(1, 4, 1, 1, None), of(1, 5, 0, 1, None), of(2, 4, 1, 0, None), of(9, 1, 0, 0, Some(3))];
    assert_eq!(form.ledger().state().await.unwrap().keys, expected);
}

/// And one without a key has none.
pub async fn dead_letter_keeps_its_key<F: LedgerForm>() {
    let form = F::create().await;
    let of = |offset, order| DeadLetter { order, ..dead_letter(1, offset, "refused") };
    let order =
        |holds: Option<u64>| LetterOrder { key: OrderKey(u64::MAX), counted: true, holds: holds.map(Timestamp) };
    let all = [of(1, None), of(2, Some(order(None))), of(3, Some(order(Some(9))))];
    commit(form.ledger(), all.iter().cloned().map(Box::new).map(Change::PutDeadLetter).collect()).await;
    let form = form.reopen().await;
    assert_eq!(letters(form.ledger(), Selection::default()).await, all);
}
