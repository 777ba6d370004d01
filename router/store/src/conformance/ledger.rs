//! Cases of [`Ledger`](router_core::store::Ledger).

use router_core::{
    clock::Timestamp,
    id::{BusId, BusName, Epoch, LaneId, Offset, OrderKey, RouteId, RouteName, RunId, TargetName},
    replay::{Run, RunEnd, RunState},
    store::{
        Change, DeadLetter, Durability, Error, KeyLetters, KeyState, LaneCount, LaneState, Ledger, LetterOrder, Needed,
        Page, Pause, Pending, Place, RouteVersion, Selection,
    },
};

/// What is parked under keys.
mod keys;

/// What must not be let go.
mod needed;

pub use self::{keys::*, needed::*};
use super::{LedgerForm, attempts, bytes_of, dead_letter, lane, parked, pending, replay_run};

/// Makes every case of the ledger a test of the form.
#[macro_export]
macro_rules! ledger_suite {
    ($form:ty) => {
        $crate::suite!($form, ledger:
            fresh_ledger_holds_only_its_epoch_and_secret
            epoch_and_secret_stay_through_a_restart
            commit_applies_every_kind_of_change
            changes_apply_in_the_order_given
            planned_never_goes_back
            entry_moves_between_ready_and_waiting
            entry_moves_to_another_due_time
            dropped_entry_is_gone
            ready_lists_by_offset_from_the_asked_one
            due_lists_the_earliest_first_up_to_now
            next_due_is_after_the_asked_time
            lanes_do_not_mix
            attempts_read_back_ready_and_waiting
            first_entry_is_found_behind_many_dropped_ones
            entry_below_all_others_is_found
            other_epoch_is_fenced_and_changes_nothing
            fenced_ledger_takes_nothing_more
            dead_letters_list_by_id_in_pages
            dead_letters_are_selected_by_all_conditions
            dead_letter_is_replaced_and_dropped_by_id
            versions_list_by_route_bus_and_offset
            counts_are_exact_also_after_a_restart
            state_tells_of_each_lane
            needed_lists_what_entries_and_dead_letters_refer_to
            needed_follows_each_change
            needed_is_of_one_moment
            runs_list_by_id_and_read_back
            open_run_holds_what_it_has_yet_to_read
            restart_keeps_everything
            empty_commit_is_a_commit
            commits_at_once_are_all_applied
            asking_for_none_gives_none
            parked_entries_list_by_key_then_offset
            parked_entry_moves_to_the_other_places
            keys_that_hold_something_up_are_told
            dead_letter_keeps_its_key
        );
    };
}

use Durability::{Lazy, Now};

async fn commit(ledger: &dyn Ledger, changes: Vec<Change>) {
    let epoch = ledger.state().await.unwrap().epoch;
    ledger.commit(epoch, changes, Lazy).await.unwrap();
}

fn put(pending: Pending) -> Change {
    Change::Put { pending, replaces: None }
}

fn replace(pending: Pending, due: Option<u64>) -> Change {
    Change::Put { pending, replaces: Some(due.map(Timestamp).into()) }
}

fn settle(lane: LaneId, offset: u64, due: Option<u64>) -> Change {
    Change::Drop { lane, offset: Offset(offset), place: due.map(Timestamp).into(), bytes: bytes_of(offset) }
}

async fn ready(ledger: &dyn Ledger, lane: LaneId, from: u64) -> Vec<u64> {
    ledger.ready(lane, Offset(from), 100).await.unwrap().iter().map(|p| p.offset.0).collect()
}

async fn due(ledger: &dyn Ledger, lane: LaneId, now: u64) -> Vec<(u64, u64)> {
    let due = ledger.due(lane, Timestamp(now), 100).await.unwrap();
    due.iter().map(|p| (p.due.unwrap().0, p.offset.0)).collect()
}

async fn letters(ledger: &dyn Ledger, which: Selection) -> Vec<DeadLetter> {
    ledger.dead_letters(&which, Page { after: None, count_max: 100 }).await.unwrap()
}

async fn needed(ledger: &dyn Ledger, bus: u16, range: std::ops::Range<u64>) -> Needed {
    ledger.needed(BusId(bus), Offset(range.start)..Offset(range.end)).await.unwrap()
}

fn offsets(needed: &Needed) -> Vec<u64> {
    needed.offsets.iter().map(|o| o.0).collect()
}

fn version(route: u32, bus: u16, from: u64, filter: Option<&str>) -> RouteVersion {
    let name = RouteName::new("mirror").unwrap();
    let (route, bus) = (RouteId(route), BusId(bus));
    RouteVersion { route, name, bus, from: Offset(from), filter: filter.map(Into::into) }
}

/// And the secret is no constant zero.
pub async fn fresh_ledger_holds_only_its_epoch_and_secret<F: LedgerForm>() {
    let form = F::create().await;
    let state = form.ledger().state().await.unwrap();
    assert_ne!(state.epoch, Epoch(0));
    assert_ne!(state.secret, [0; 16]);
    assert_eq!(state.running_ms, 0);
    assert!(state.buses.is_empty() && state.routes.is_empty() && state.versions.is_empty() && state.lanes.is_empty());
    assert_eq!(form.ledger().planned(BusId(1)).await.unwrap(), None);
    assert_eq!(form.ledger().count().await.unwrap(), []);
}

/// They are drawn at creation, once.
pub async fn epoch_and_secret_stay_through_a_restart<F: LedgerForm>() {
    let form = F::create().await;
    let before = form.ledger().state().await.unwrap();
    let form = form.reopen().await;
    let after = form.ledger().state().await.unwrap();
    assert_eq!((before.epoch, before.secret), (after.epoch, after.secret));
}

/// All at once.
pub async fn commit_applies_every_kind_of_change<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let bus = BusName::new("default").unwrap();
    let route = RouteName::new("mirror").unwrap();
    let changes = vec![
        Change::Planned(BusId(1), Offset(9)),
        Change::Running(1234),
        put(pending(lane(2), 4, None)),
        put(pending(lane(2), 3, Some(77))),
        Change::PutDeadLetter(Box::new(dead_letter(2, 1, "refused"))),
        Change::NameBus(bus.clone(), BusId(1)),
        Change::NameRoute(route.clone(), RouteId(2)),
        Change::PutVersion(version(2, 1, 1, Some("{}"))),
        Change::Pause(RouteId(2), Pause::Since(Timestamp(7))),
    ];
    commit(ledger, changes).await;
    let state = ledger.state().await.unwrap();
    assert_eq!(ledger.planned(BusId(1)).await.unwrap(), Some(Offset(9)));
    assert_eq!(state.running_ms, 1234);
    assert_eq!(ready(ledger, lane(2), 0).await, [4]);
    assert_eq!(due(ledger, lane(2), 77).await, [(77, 3)]);
    assert_eq!(letters(ledger, Selection::default()).await, [dead_letter(2, 1, "refused")]);
    assert_eq!(state.buses, [(bus, BusId(1))]);
    assert_eq!(state.routes, [(route, RouteId(2))]);
    assert_eq!(state.versions, [version(2, 1, 1, Some("{}"))]);
    assert_eq!(state.pauses, [(RouteId(2), Pause::Since(Timestamp(7)))]);
}

/// Also when they are about one key.
pub async fn changes_apply_in_the_order_given<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let changes = vec![
        put(pending(lane(1), 1, None)),
        settle(lane(1), 1, None),
        put(pending(lane(1), 2, None)),
        replace(pending(lane(1), 2, Some(5)), None),
        replace(pending(lane(1), 2, None), Some(5)),
        put(pending(lane(1), 3, None)),
        settle(lane(1), 3, None),
        put(pending(lane(1), 3, Some(8))),
        Change::Running(1),
        Change::Running(2),
        Change::PutDeadLetter(Box::new(dead_letter(1, 1, "refused"))),
        Change::DropDeadLetter(dead_letter(1, 1, "").id),
        Change::DropDeadLetter(dead_letter(1, 2, "").id),
        Change::PutDeadLetter(Box::new(dead_letter(1, 2, "refused"))),
        Change::PutDeadLetter(Box::new(dead_letter(1, 2, "too-old"))),
        Change::PutVersion(version(1, 1, 1, None)),
        Change::DropVersion { route: RouteId(1), bus: BusId(1), from: Offset(1) },
        Change::Pause(RouteId(1), Pause::Since(Timestamp(7))),
        Change::Pause(RouteId(1), Pause::Over(9)),
    ];
    commit(ledger, changes).await;
    assert_eq!(ready(ledger, lane(1), 0).await, [2]);
    assert_eq!(due(ledger, lane(1), 100).await, [(8, 3)]);
    let state = ledger.state().await.unwrap();
    assert_eq!((state.running_ms, state.versions.len()), (2, 0));
    assert_eq!(state.pauses, [(RouteId(1), Pause::Over(9))]);
    assert_eq!(letters(ledger, Selection::default()).await, [dead_letter(1, 2, "too-old")]);
    assert_eq!(ledger.count().await.unwrap(), [LaneCount { lane: lane(1), pending: 2, dead_letters: 1 }]);
}

/// Neither within a commit, nor over commits, nor over a restart; each bus has its own.
pub async fn planned_never_goes_back<F: LedgerForm>() {
    let form = F::create().await;
    let planned = |offset| Change::Planned(BusId(1), Offset(offset));
    commit(form.ledger(), vec![planned(5), planned(9), planned(7)]).await;
    assert_eq!(form.ledger().planned(BusId(1)).await.unwrap(), Some(Offset(9)));
    commit(form.ledger(), vec![planned(8), Change::Planned(BusId(2), Offset(1))]).await;
    assert_eq!(form.ledger().planned(BusId(1)).await.unwrap(), Some(Offset(9)));
    let form = form.reopen().await;
    commit(form.ledger(), vec![planned(3)]).await;
    assert_eq!(form.ledger().planned(BusId(1)).await.unwrap(), Some(Offset(9)));
    assert_eq!(form.ledger().planned(BusId(2)).await.unwrap(), Some(Offset(1)));
}

/// There is one entry of a lane and offset.
pub async fn entry_moves_between_ready_and_waiting<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    commit(ledger, vec![put(pending(lane(1), 1, None))]).await;
    commit(ledger, vec![replace(pending(lane(1), 1, Some(50)), None)]).await;
    assert_eq!((ready(ledger, lane(1), 0).await, due(ledger, lane(1), 99).await), (vec![], vec![(50, 1)]));
    commit(ledger, vec![replace(pending(lane(1), 1, None), Some(50))]).await;
    assert_eq!((ready(ledger, lane(1), 0).await, due(ledger, lane(1), 99).await), (vec![1], vec![]));
    let kept = Pending { opened_ms: 7777, ..pending(lane(1), 1, None) };
    commit(ledger, vec![replace(kept.clone(), None)]).await;
    assert_eq!(ledger.ready(lane(1), Offset(0), 9).await.unwrap(), [kept]);
}

/// And leaves nothing at the old one.
pub async fn entry_moves_to_another_due_time<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    commit(ledger, vec![put(pending(lane(1), 1, Some(50)))]).await;
    commit(ledger, vec![replace(pending(lane(1), 1, Some(80)), Some(50))]).await;
    assert_eq!(due(ledger, lane(1), 79).await, []);
    commit(ledger, vec![replace(pending(lane(1), 1, Some(20)), Some(80))]).await;
    assert_eq!(due(ledger, lane(1), 99).await, [(20, 1)]);
    assert_eq!(ledger.next_due(lane(1), Timestamp(20)).await.unwrap(), None);
}

/// Ready or waiting, and its neighbours stay.
pub async fn dropped_entry_is_gone<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let entries = [(1, None), (2, None), (3, Some(50)), (4, Some(50))];
    commit(ledger, entries.map(|(offset, due)| put(pending(lane(1), offset, due))).to_vec()).await;
    commit(ledger, vec![settle(lane(1), 1, None), settle(lane(1), 3, Some(50))]).await;
    assert_eq!((ready(ledger, lane(1), 0).await, due(ledger, lane(1), 99).await), (vec![2], vec![(50, 4)]));
    commit(ledger, vec![settle(lane(1), 2, None), settle(lane(1), 4, Some(50))]).await;
    assert_eq!((ready(ledger, lane(1), 0).await, due(ledger, lane(1), 99).await), (vec![], vec![]));
    assert!(ledger.state().await.unwrap().lanes.is_empty());
}

/// At most as many as asked; those that wait are not ready.
pub async fn ready_lists_by_offset_from_the_asked_one<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let offsets = [300, 2, 70_000, 255, 256, 1 << 40];
    let mut changes: Vec<_> = offsets.map(|offset| put(pending(lane(1), offset, None))).to_vec();
    changes.push(put(pending(lane(1), 260, Some(1))));
    commit(ledger, changes).await;
    assert_eq!(ready(ledger, lane(1), 0).await, [2, 255, 256, 300, 70_000, 1 << 40]);
    assert_eq!(ready(ledger, lane(1), 256).await, [256, 300, 70_000, 1 << 40]);
    assert_eq!(ready(ledger, lane(1), 257).await, [300, 70_000, 1 << 40]);
    assert_eq!(ready(ledger, lane(1), (1 << 40) + 1).await, [0; 0]);
    let two = ledger.ready(lane(1), Offset(3), 2).await.unwrap();
    assert_eq!(two, [pending(lane(1), 255, None), pending(lane(1), 256, None)]);
}

/// Of one time in offset order; at most as many as asked.
pub async fn due_lists_the_earliest_first_up_to_now<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let entries = [(9, Some(100)), (2, Some(100)), (5, Some(70)), (7, Some(256)), (8, Some(255)), (1, None)];
    commit(ledger, entries.map(|(offset, due)| put(pending(lane(1), offset, due))).to_vec()).await;
    assert_eq!(due(ledger, lane(1), 69).await, []);
    assert_eq!(due(ledger, lane(1), 70).await, [(70, 5)]);
    assert_eq!(due(ledger, lane(1), 255).await, [(70, 5), (100, 2), (100, 9), (255, 8)]);
    assert_eq!(due(ledger, lane(1), u64::MAX).await.len(), 5);
    let two = ledger.due(lane(1), Timestamp(1000), 2).await.unwrap();
    assert_eq!(two, [pending(lane(1), 5, Some(70)), pending(lane(1), 2, Some(100))]);
    let from = async |due: u64, offset: u64, count_max| {
        let found = ledger.waiting(lane(1), (Timestamp(due), Offset(offset)), count_max).await.unwrap();
        found.iter().map(|p| p.offset.0).collect::<Vec<_>>()
    };
    assert_eq!(from(0, 0, 9).await, [5, 2, 9, 8, 7]);
    assert_eq!(from(100, 2, 2).await, [2, 9], "from a place on, itself included");
    assert_eq!(from(100, 3, 9).await, [9, 8, 7]);
    assert_eq!(from(256, 8, 9).await, [0; 0]);
    assert_eq!(from(0, 0, 0).await, [0; 0]);
}

/// Not at it.
pub async fn next_due_is_after_the_asked_time<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let entries = [(9, Some(100)), (2, Some(300)), (5, Some(300)), (1, None)];
    commit(ledger, entries.map(|(offset, due)| put(pending(lane(1), offset, due))).to_vec()).await;
    for (after, expected) in [(0, Some(100)), (99, Some(100)), (100, Some(300)), (300, None), (u64::MAX, None)] {
        let next = ledger.next_due(lane(1), Timestamp(after)).await.unwrap();
        assert_eq!(next, expected.map(Timestamp), "after {after}");
    }
    commit(ledger, vec![settle(lane(1), 9, Some(100))]).await;
    assert_eq!(ledger.next_due(lane(1), Timestamp(0)).await.unwrap(), Some(Timestamp(300)));
}

/// Bus, route and run each tell lanes apart, and the state lists them in this order.
pub async fn lanes_do_not_mix<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let lane = |bus, route, run| LaneId { bus: BusId(bus), route: RouteId(route), run: RunId(run) };
    let lanes = [lane(1, 1, 0), lane(1, 1, 1), lane(1, 256, 0), lane(2, 1, 0)];
    let mut changes = Vec::new();
    for (i, lane) in (0..).zip(lanes) {
        changes.extend([put(pending(lane, 10 + i, None)), put(pending(lane, 20 + i, Some(30 + i)))]);
    }
    changes.reverse();
    commit(ledger, changes).await;
    for (i, lane) in (0..).zip(lanes) {
        assert_eq!(ready(ledger, lane, 0).await, [10 + i]);
        assert_eq!(due(ledger, lane, u64::MAX).await, [(30 + i, 20 + i)]);
        assert_eq!(ledger.next_due(lane, Timestamp(0)).await.unwrap(), Some(Timestamp(30 + i)));
        assert_eq!(ledger.next_due(lane, Timestamp(30 + i)).await.unwrap(), None);
    }
    let state = ledger.state().await.unwrap();
    assert_eq!(state.lanes.iter().map(|l| l.lane).collect::<Vec<_>>(), lanes);
    assert_eq!(ready(ledger, lane(9, 9, 9), 0).await, [0; 0]);
}

/// With every field.
pub async fn attempts_read_back_ready_and_waiting<F: LedgerForm>() {
    let form = F::create().await;
    let tried = |offset, due| Pending { attempts: attempts(), opened_ms: u64::MAX, ..pending(lane(1), offset, due) };
    commit(form.ledger(), vec![put(tried(1, None)), put(tried(2, Some(9)))]).await;
    let form = form.reopen().await;
    assert_eq!(form.ledger().ready(lane(1), Offset(1), 9).await.unwrap(), [tried(1, None)]);
    assert_eq!(form.ledger().due(lane(1), Timestamp(9), 9).await.unwrap(), [tried(2, Some(9))]);
}

/// Of both kinds, however often it is asked between.
pub async fn first_entry_is_found_behind_many_dropped_ones<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let due_of = |offset: u64| (offset % 2 == 1).then_some(offset + 1000);
    commit(ledger, (0..4000).map(|offset| put(pending(lane(1), offset, due_of(offset)))).collect()).await;
    for at in (0..3990u64).step_by(190) {
        let last = (at + 190).min(3990);
        commit(ledger, (at..last).map(|offset| settle(lane(1), offset, due_of(offset))).collect()).await;
        assert_eq!(ledger.ready(lane(1), Offset(0), 1).await.unwrap()[0].offset, Offset(last));
        assert_eq!(ledger.due(lane(1), Timestamp(u64::MAX), 1).await.unwrap()[0].offset, Offset(last + 1));
        assert_eq!(ledger.next_due(lane(1), Timestamp(0)).await.unwrap(), Some(Timestamp(last + 1001)));
    }
}

/// Though a search before has seen where the others begin.
pub async fn entry_below_all_others_is_found<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    commit(ledger, vec![put(pending(lane(1), 50, None)), put(pending(lane(1), 60, Some(600)))]).await;
    assert_eq!(ready(ledger, lane(1), 0).await, [50]);
    assert_eq!(due(ledger, lane(1), 599).await, []);
    commit(ledger, vec![put(pending(lane(1), 40, None)), put(pending(lane(1), 61, Some(590)))]).await;
    assert_eq!(ready(ledger, lane(1), 0).await, [40, 50]);
    assert_eq!(due(ledger, lane(1), 599).await, [(590, 61)]);
    assert_eq!(ledger.next_due(lane(1), Timestamp(0)).await.unwrap(), Some(Timestamp(590)));
}

/// Also after a restart.
pub async fn other_epoch_is_fenced_and_changes_nothing<F: LedgerForm>() {
    let form = F::create().await;
    let Epoch(epoch) = form.ledger().state().await.unwrap().epoch;
    let changes = vec![put(pending(lane(1), 1, None)), Change::Planned(BusId(1), Offset(5))];
    let error = form.ledger().commit(Epoch(epoch ^ 1), changes, Now).await.unwrap_err();
    assert!(matches!(error, Error::Fenced), "{error}");
    let form = form.reopen().await;
    assert_eq!(form.ledger().count().await.unwrap(), []);
    assert_eq!(form.ledger().planned(BusId(1)).await.unwrap(), None);
}

/// Whatever the epoch, and no reads either.
pub async fn fenced_ledger_takes_nothing_more<F: LedgerForm>() {
    let form = F::create().await;
    let epoch = form.ledger().state().await.unwrap().epoch;
    form.ledger().commit(Epoch(epoch.0 ^ 1), vec![], Lazy).await.unwrap_err();
    assert!(form.ledger().commit(epoch, vec![], Lazy).await.is_err());
    assert!(form.ledger().state().await.is_err());
    assert!(form.ledger().planned(BusId(1)).await.is_err());
    assert!(form.ledger().count().await.is_err());
}

/// By epoch, lane and offset, the last page shorter.
pub async fn dead_letters_list_by_id_in_pages<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let mut all = vec![dead_letter(2, 1, "refused")];
    all.extend((250..260).map(|offset| dead_letter(1, offset, "refused")));
    let mut older = dead_letter(9, 9, "refused");
    older.id.epoch = Epoch(6);
    all.push(older);
    commit(ledger, all.iter().cloned().map(Box::new).map(Change::PutDeadLetter).collect()).await;
    all.sort_by_key(|d| d.id);
    let (mut paged, mut after, mut sizes) = (Vec::new(), None, Vec::new());
    for _ in 0..4 {
        let page = ledger.dead_letters(&Selection::default(), Page { after, count_max: 5 }).await.unwrap();
        sizes.push(page.len());
        after = page.last().map(|d| d.id).or(after);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(sizes, [5, 5, 2, 0]);
}

/// Route, reason, ids, each alone and together, with pages.
pub async fn dead_letters_are_selected_by_all_conditions<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let letters_of = [(1, 1, "refused"), (1, 2, "too-old"), (1, 3, "refused"), (2, 1, "refused"), (2, 2, "too-old")];
    let mut all: Vec<_> =
        letters_of.iter().map(|(route, offset, reason)| dead_letter(*route, *offset, reason)).collect();
    for (i, letter) in (1..).zip(&mut all) {
        letter.at = Timestamp(i * 10);
    }
    all[3].target = TargetName::new("elsewhere").unwrap();
    commit(ledger, all.iter().cloned().map(Box::new).map(Change::PutDeadLetter).collect()).await;
    let ids = |which: &[usize]| which.iter().map(|i| all[*i].id).collect::<Vec<_>>();
    let route = Some(RouteName::new("route-1").unwrap());
    let reason = Some("refused".into());
    let missing = dead_letter(7, 7, "").id;
    let by_ids = Some([ids(&[4, 2, 0, 2]), vec![missing]].concat());
    let none = Selection::default();
    for (which, expected) in [
        (Selection { route: route.clone(), ..none.clone() }, vec![0, 1, 2]),
        (Selection { reason: reason.clone(), ..none.clone() }, vec![0, 2, 3]),
        (Selection { ids: by_ids.clone(), ..none.clone() }, vec![0, 2, 4]),
        (Selection { route: route.clone(), reason: reason.clone(), ..none.clone() }, vec![0, 2]),
        (Selection { route, reason, ids: by_ids.clone(), ..none.clone() }, vec![0, 2]),
        (Selection { ids: Some(vec![]), ..none.clone() }, vec![]),
        (Selection { target: Some(all[3].target.clone()), ..none.clone() }, vec![3]),
        (Selection { since: Some(Timestamp(30)), ..none.clone() }, vec![2, 3, 4]),
        (Selection { before: Some(Timestamp(30)), ..none.clone() }, vec![0, 1]),
        (Selection { since: Some(Timestamp(20)), before: Some(Timestamp(40)), ..none.clone() }, vec![1, 2]),
    ] {
        let found = letters(ledger, which.clone()).await;
        assert_eq!(found.iter().map(|d| d.id).collect::<Vec<_>>(), ids(&expected), "{which:?}");
    }
    let page = Page { after: Some(all[0].id), count_max: 1 };
    let which = Selection { ids: by_ids, ..none };
    assert_eq!(ledger.dead_letters(&which, page).await.unwrap(), [all[2].clone()]);
}

/// And counted once; dropping one that is not there is nothing.
pub async fn dead_letter_is_replaced_and_dropped_by_id<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let put = |reason| Change::PutDeadLetter(Box::new(dead_letter(1, 1, reason)));
    let count = |n| vec![LaneCount { lane: lane(1), pending: 0, dead_letters: n }];
    commit(ledger, vec![put("refused")]).await;
    commit(ledger, vec![put("too-old")]).await;
    assert_eq!(letters(ledger, Selection::default()).await, [dead_letter(1, 1, "too-old")]);
    assert_eq!(ledger.count().await.unwrap(), count(1));
    let form = form.reopen().await;
    let ledger = form.ledger();
    assert_eq!(ledger.count().await.unwrap(), count(1));
    commit(ledger, vec![Change::DropDeadLetter(dead_letter(1, 1, "").id)]).await;
    commit(ledger, vec![Change::DropDeadLetter(dead_letter(1, 1, "").id)]).await;
    assert!(letters(ledger, Selection::default()).await.is_empty());
    assert_eq!(ledger.count().await.unwrap(), []);
}

/// One for each route, bus and offset, also the one that ends a route.
pub async fn versions_list_by_route_bus_and_offset<F: LedgerForm>() {
    let form = F::create().await;
    let versions = [
        version(1, 1, 255, Some("a")),
        version(1, 1, 256, None),
        version(1, 2, 1, Some("b")),
        version(256, 1, 1, None),
    ];
    commit(form.ledger(), versions.iter().rev().cloned().map(Change::PutVersion).collect()).await;
    assert_eq!(form.ledger().state().await.unwrap().versions, versions);
    let changes = vec![
        Change::PutVersion(version(1, 1, 255, Some("c"))),
        Change::DropVersion { route: RouteId(1), bus: BusId(2), from: Offset(1) },
        Change::DropVersion { route: RouteId(1), bus: BusId(2), from: Offset(2) },
    ];
    commit(form.ledger(), changes).await;
    let form = form.reopen().await;
    let expected = [version(1, 1, 255, Some("c")), version(1, 1, 256, None), version(256, 1, 1, None)];
    assert_eq!(form.ledger().state().await.unwrap().versions, expected);
}

/// For each lane that holds anything.
pub async fn counts_are_exact_also_after_a_restart<F: LedgerForm>() {
    let form = F::create().await;
    let mut changes = Vec::new();
    for route in 1..5u32 {
        changes.extend((0..u64::from(route) * 3).map(|offset| put(pending(lane(route), offset, None))));
        changes.extend((100..105).map(|offset| put(pending(lane(route), offset, Some(offset)))));
        changes.push(Change::PutDeadLetter(Box::new(dead_letter(route, 1, "refused"))));
    }
    changes.push(Change::PutDeadLetter(Box::new(dead_letter(9, 1, "refused"))));
    commit(form.ledger(), changes).await;
    let changes = vec![
        settle(lane(1), 0, None),
        settle(lane(1), 100, Some(100)),
        replace(pending(lane(1), 1, Some(7)), None),
        Change::DropDeadLetter(dead_letter(1, 1, "").id),
    ];
    commit(form.ledger(), changes).await;
    let of = |route, pending, dead_letters| LaneCount { lane: lane(route), pending, dead_letters };
    let expected = [of(1, 6, 0), of(2, 11, 1), of(3, 14, 1), of(4, 17, 1), of(9, 0, 1)];
    assert_eq!(form.ledger().count().await.unwrap(), expected);
    let form = form.reopen().await;
    assert_eq!(form.ledger().count().await.unwrap(), expected);
}

/// How many, and the first of each kind.
pub async fn state_tells_of_each_lane<F: LedgerForm>() {
    let form = F::create().await;
    let entries = [(1, 30, None), (1, 20, None), (1, 5, Some(900)), (1, 6, Some(800)), (2, 1, Some(3)), (3, 8, None)];
    commit(form.ledger(), entries.map(|(route, offset, due)| put(pending(lane(route), offset, due))).to_vec()).await;
    let of = |route, [ready, waiting]: [u64; 2], offsets: &[u64], first: Option<u64>, due: Option<u64>| LaneState {
        lane: lane(route),
        ready,
        waiting,
        parked: 0,
        bytes: offsets.iter().map(|offset| u64::from(bytes_of(*offset))).sum(),
        ready_first: first.map(Offset),
        due_first: due.map(Timestamp),
    };
    let expected = [
        of(1, [2, 2], &[30, 20, 5, 6], Some(20), Some(800)),
        of(2, [0, 1], &[1], None, Some(3)),
        of(3, [1, 0], &[8], Some(8), None),
    ];
    assert_eq!(form.ledger().state().await.unwrap().lanes, expected);
    let form = form.reopen().await;
    assert_eq!(form.ledger().state().await.unwrap().lanes, expected);
    let changes = vec![
        settle(lane(1), 30, None),
        settle(lane(2), 1, Some(3)),
        replace(pending(lane(3), 8, Some(2)), None),
        replace(pending(lane(1), 5, Some(950)), Some(900)),
    ];
    commit(form.ledger(), changes).await;
    let expected = [of(1, [1, 2], &[20, 5, 6], Some(20), Some(800)), of(3, [0, 1], &[8], None, Some(2))];
    assert_eq!(form.ledger().state().await.unwrap().lanes, expected);
}

/// Lazy commits too: a clean stop is no power loss.
pub async fn restart_keeps_everything<F: LedgerForm>() {
    let form = F::create().await;
    let epoch = form.ledger().state().await.unwrap().epoch;
    let changes = vec![
        Change::Planned(BusId(1), Offset(9)),
        put(pending(lane(2), 4, None)),
        Change::NameBus(BusName::new("default").unwrap(), BusId(1)),
        Change::PutDeadLetter(Box::new(dead_letter(2, 1, "refused"))),
    ];
    form.ledger().commit(epoch, changes, Now).await.unwrap();
    let changes = vec![Change::Running(55), put(pending(lane(2), 5, Some(6))), Change::Planned(BusId(1), Offset(11))];
    form.ledger().commit(epoch, changes, Lazy).await.unwrap();
    let before = format!("{:?}", form.ledger().state().await.unwrap());
    let form = form.reopen().await;
    assert_eq!(format!("{:?}", form.ledger().state().await.unwrap()), before);
    assert_eq!(form.ledger().planned(BusId(1)).await.unwrap(), Some(Offset(11)));
    assert_eq!(form.ledger().ready(lane(2), Offset(0), 9).await.unwrap(), [pending(lane(2), 4, None)]);
    assert_eq!(form.ledger().due(lane(2), Timestamp(6), 9).await.unwrap(), [pending(lane(2), 5, Some(6))]);
    assert_eq!(letters(form.ledger(), Selection::default()).await, [dead_letter(2, 1, "refused")]);
}

/// It has an epoch and a durability like any other.
pub async fn empty_commit_is_a_commit<F: LedgerForm>() {
    let form = F::create().await;
    let epoch = form.ledger().state().await.unwrap().epoch;
    form.ledger().commit(epoch, vec![], Lazy).await.unwrap();
    form.ledger().commit(epoch, vec![put(pending(lane(1), 1, None))], Lazy).await.unwrap();
    form.ledger().commit(epoch, vec![], Now).await.unwrap();
    let error = form.ledger().commit(Epoch(epoch.0 ^ 1), vec![], Now).await.unwrap_err();
    assert!(matches!(error, Error::Fenced), "{error}");
}

/// One after the other, in some order.
pub async fn commits_at_once_are_all_applied<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let offsets = |k: u64| (0..10).map(move |i| i * 4 + k);
    let one = |k| commit(ledger, offsets(k).map(|offset| put(pending(lane(1), offset, None))).collect());
    tokio::join!(one(0), one(1), one(2), one(3));
    assert_eq!(ready(ledger, lane(1), 0).await, (0..40).collect::<Vec<_>>());
    assert_eq!(ledger.count().await.unwrap(), [LaneCount { lane: lane(1), pending: 40, dead_letters: 0 }]);
}

/// It is no way to ask for all.
pub async fn asking_for_none_gives_none<F: LedgerForm>() {
    let form = F::create().await;
    let ledger = form.ledger();
    let letter = Change::PutDeadLetter(Box::new(dead_letter(1, 1, "refused")));
    commit(ledger, vec![put(pending(lane(1), 1, None)), put(pending(lane(1), 2, Some(1))), letter]).await;
    assert_eq!(ledger.ready(lane(1), Offset(0), 0).await.unwrap(), []);
    assert_eq!(ledger.due(lane(1), Timestamp(9), 0).await.unwrap(), []);
    assert_eq!(ledger.dead_letters(&Selection::default(), Page { after: None, count_max: 0 }).await.unwrap(), []);
    assert_eq!(ready(ledger, lane(1), 0).await, [1]);
    assert_eq!(due(ledger, lane(1), 9).await, [(1, 2)]);
}
