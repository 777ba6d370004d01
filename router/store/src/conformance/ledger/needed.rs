//! What a ledger says must not be let go: what entries, dead letters and open runs refer to.

use super::*;

/// Ready, waiting and dead-lettered, of every lane of the bus, each offset once, with B.
pub async fn needed_lists_what_entries_and_dead_letters_refer_to<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let other_bus = LaneId { bus: BusId(2), ..lane(1) };
    let run = LaneId { run: RunId(3), ..lane(1) };
    let mut old = dead_letter(2, 30, "refused");
    old.id.epoch = Epoch(6);
    let letters = [dead_letter(2, 7, "refused"), dead_letter(2, 30, "refused"), old, dead_letter(9, 256, "too-old")];
    let mut changes: Vec<_> = letters.iter().cloned().map(Box::new).map(Change::PutDeadLetter).collect();
    let entries = [
        (lane(1), 20, None),
        (lane(1), 255, None),
        (lane(3), 20, Some(5)),
        (lane(2), 8, Some(900)),
        (run, 9, None),
        (run, 300, Some(1)),
        (other_bus, 10, None),
        (other_bus, 11, Some(1)),
    ];
    changes.extend(entries.map(|(lane, offset, due)| put(pending(lane, offset, due))));
    changes.push(Change::Planned(BusId(1), Offset(400)));
    commit(ledger, changes).await;
    let all = [7, 8, 9, 20, 30, 255, 256, 300];
    let form = form.reopen().await;
    let ledger = form.ledger();
    assert_eq!(offsets(&needed(ledger, 1, 0..u64::MAX).await), all);
    assert_eq!(needed(ledger, 1, 0..u64::MAX).await.planned, Offset(400));
    assert_eq!(offsets(&needed(ledger, 2, 0..u64::MAX).await), [10, 11]);
    assert_eq!(needed(ledger, 2, 0..100).await.planned, Offset(0), "it was never planned");
    for from in 0..40 {
        for to in [from, from + 1, from + 13, 256, 257] {
            let expected: Vec<_> = all.iter().copied().filter(|o| (from..to).contains(o)).collect();
            assert_eq!(offsets(&needed(ledger, 1, from..to).await), expected, "{from}..{to}");
        }
    }
    let (high, low) = (50, 20);
    assert_eq!(offsets(&needed(ledger, 1, high..low).await), [0; 0]);
}

/// Whatever way it went: settled, moved, redriven, parked.
pub async fn needed_follows_each_change<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let letter = || Box::new(dead_letter(1, 5, "refused"));
    let all = async || offsets(&needed(ledger, 1, 0..100).await);
    commit(ledger, vec![put(pending(lane(1), 5, None))]).await;
    assert_eq!(all().await, [5]);
    commit(ledger, vec![replace(pending(lane(1), 5, Some(9)), None)]).await;
    assert_eq!(all().await, [5]);
    commit(ledger, vec![replace(pending(lane(1), 5, Some(20)), Some(9))]).await;
    assert_eq!(all().await, [5]);
    commit(ledger, vec![settle(lane(1), 5, Some(20)), Change::PutDeadLetter(letter())]).await;
    assert_eq!(all().await, [5]);
    commit(ledger, vec![Change::DropDeadLetter(letter().id), put(pending(lane(1), 5, None))]).await;
    assert_eq!(all().await, [5]);
    commit(ledger, vec![replace(pending(lane(1), 5, Some(7)), None), settle(lane(1), 5, Some(7))]).await;
    assert_eq!(all().await, [0; 0]);
    commit(ledger, vec![Change::PutDeadLetter(letter()), put(pending(lane(2), 5, Some(1)))]).await;
    commit(ledger, vec![Change::DropDeadLetter(letter().id)]).await;
    assert_eq!(all().await, [5], "another lane still refers to it");
    commit(ledger, vec![settle(lane(2), 5, Some(1))]).await;
    assert_eq!(all().await, [0; 0]);
}

/// With commits beside it: B and the offsets are of one commit.
pub async fn needed_is_of_one_moment<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let owe = |b: u64| vec![put(pending(lane(1), b, None)), Change::Planned(BusId(1), Offset(b + 1))];
    commit(ledger, owe(1)).await;
    let writer = async {
        for b in 2..60 {
            // The one entry is always the last event below B.
            let changes = [vec![settle(lane(1), b - 1, None)], owe(b)].concat();
            commit(ledger, changes).await;
            tokio::task::yield_now().await;
        }
    };
    let reader = async {
        loop {
            let now = needed(ledger, 1, 0..1000).await;
            assert_eq!(now.offsets, [Offset(now.planned.0 - 1)]);
            if now.planned == Offset(60) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writer, reader);
}

/// With every field, in place of the one before; over a restart.
pub async fn runs_list_by_id_and_read_back<F: LedgerForm>() {
    let form = F::create().await;
    let done = RunState::Ended(RunEnd::Done);
    let put = |run: Run| Change::PutRun(Box::new(run));
    let first = replay_run(1, 20, RunState::Running);
    commit(form.ledger(), vec![put(replay_run(256, 30, RunState::Paused)), put(first.clone())]).await;
    commit(form.ledger(), vec![put(replay_run(2, 30, done)), put(replay_run(1, 25, RunState::Running))]).await;
    let form = form.reopen().await;
    let [one, two, last] = [(1, 25, RunState::Running), (2, 30, done), (256, 30, RunState::Paused)]
        .map(|(id, next, s)| replay_run(id, next, s));
    assert_ne!(one, first);
    assert_eq!(form.ledger().state().await.unwrap().runs, [one, two.clone(), last]);
    commit(form.ledger(), vec![Change::DropRun(RunId(1)), Change::DropRun(RunId(256)), Change::DropRun(RunId(9))])
        .await;
    assert_eq!(form.ledger().state().await.unwrap().runs, [two]);
}

/// From its B to its end, of its own bus, as long as it goes on or may be resumed.
pub async fn open_run_holds_what_it_has_yet_to_read<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let put = async |next, state| commit(ledger, vec![Change::PutRun(Box::new(replay_run(1, next, state)))]).await;
    let held = async |from, to| needed(ledger, 1, from..to).await.held;
    assert!(!held(0, 1_000).await);
    // Its end is 60.
    put(20, RunState::Running).await;
    for (from, to, expected) in [(0, 20, false), (0, 21, true), (30, 40, true), (59, 90, true), (60, 90, false)] {
        assert_eq!(held(from, to).await, expected, "{from}..{to}");
    }
    assert!(!needed(ledger, 2, 0..1_000).await.held, "another bus");
    put(50, RunState::Paused).await;
    assert_eq!((held(0, 50).await, held(0, 51).await), (false, true));
    put(60, RunState::Running).await;
    assert!(!held(0, 1_000).await, "all of it is read");
    for over in [RunState::Ending(RunEnd::Cancelled), RunState::Ended(RunEnd::NoSpace)] {
        put(20, over).await;
        assert!(!held(0, 1_000).await, "{over:?}");
    }
    put(20, RunState::Running).await;
    commit(ledger, vec![Change::DropRun(RunId(1))]).await;
    assert!(!held(0, 1_000).await, "it is gone");
}
