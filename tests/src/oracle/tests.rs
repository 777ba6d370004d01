//! Goal: the oracle passes what is right and names each of the deliberate breaks.

use super::*;
use crate::coffee::coffee;

fn wants(f: impl Fn(&Coffee) -> bool + Send + Sync + 'static) -> Wants {
    Some(Arc::new(f))
}

fn take(event: &Coffee, route: &str, offset: u64, number: u32) -> Received {
    Received {
        at: 0,
        route: route.into(),
        key: event.key.clone(),
        print: event.fingerprint(),
        delivery: format!("00c0ffee00c0ffee-0-{offset}-{number}-0").into(),
        attempt: 1,
        status: Some(200),
    }
}

/// Twenty events; `all` wants every one; `some` wants those of shop 3 and less, and from the change at
/// 1,000 on those of shop 4 and more. Events 0 to 9 are acknowledged before it, the others sent after it.
fn good() -> Case {
    let mut case = Case::default();
    let low = |e: &Coffee| e.shop <= 3;
    let high = |e: &Coffee| e.shop > 3;
    let first = |w| Version { requested: 1, confirmed: 2, wants: w };
    let change = Version { requested: 1_000, confirmed: 1_100, wants: wants(high) };
    case.routes = vec![
        RouteHistory { name: "all".into(), versions: vec![first(wants(|_| true))] },
        RouteHistory { name: "some".into(), versions: vec![first(wants(low)), change] },
    ];
    for n in 0..20 {
        let event = Arc::new(coffee("o", n));
        let sent = if n < 10 { 10 + n } else { 2_000 + n };
        case.received.push(take(&event, "all", n, 1));
        if if n < 10 { low(&event) } else { high(&event) } {
            case.received.push(take(&event, "some", n, 2));
        }
        case.published.push(Published { event, first_sent: sent, acked: Some(sent + 5), refused: None, offset: None });
    }
    case
}

fn broken(tamper: impl FnOnce(&mut Case)) -> BTreeSet<&'static str> {
    let mut case = good();
    tamper(&mut case);
    judge(&case).words()
}

fn at(case: &Case, route: &str, n: usize) -> usize {
    let key = &case.published[n].event.key;
    case.received.iter().position(|r| &*r.route == route && r.key == *key).expect("it was delivered")
}

#[test]
fn what_is_right_passes_with_resends_and_dead_letters() {
    let mut case = good();
    let again = case.received[at(&case, "all", 3)].clone();
    case.received.push(Received { attempt: 2, ..again });
    let i = at(&case, "all", 7);
    let failed = &mut case.received[i];
    failed.status = Some(500);
    let parked = Parked {
        route: "all".into(),
        key: failed.key.clone(),
        print: failed.print,
        delivery: failed.delivery.to_string(),
    };
    case.parked.push(parked);
    let verdict = judge(&case);
    verdict.assert_holds();
    let all = verdict.balance["all"];
    assert_eq!(all, Balance { owed: 20, delivered: 19, parked: 1, requests: 20 + 1 });
}

#[test]
fn a_delivery_dropped_is_lost() {
    let dropped = broken(|case| {
        let i = at(case, "some", 2);
        case.received.remove(i);
    });
    assert_eq!(dropped, BTreeSet::from(["lost"]));
}

#[test]
fn an_attempt_that_failed_or_was_never_answered_is_no_delivery() {
    for status in [Some(503), None] {
        let lost = broken(|case| {
            let i = at(case, "some", 2);
            case.received[i].status = status;
        });
        assert_eq!(lost, BTreeSet::from(["lost"]), "{status:?}");
    }
}

#[test]
fn a_delivery_invented_is_named() {
    let stranger = broken(|case| case.received.push(take(&coffee("stranger", 1), "all", 99, 1)));
    assert_eq!(stranger, BTreeSet::from(["invented"]));
    // Event 5 is of shop 5, which `some` did not want then.
    let astray = broken(|case| {
        let event = case.published[5].event.clone();
        case.received.push(take(&event, "some", 5, 2));
    });
    assert_eq!(astray, BTreeSet::from(["not owed"]));
    let nowhere = broken(|case| {
        let event = case.published[5].event.clone();
        case.received.push(take(&event, "nowhere", 5, 3));
    });
    assert_eq!(nowhere, BTreeSet::from(["not owed"]));
}

#[test]
fn a_byte_changed_is_named() {
    assert_eq!(broken(|case| case.received[4].print.data ^= 1), BTreeSet::from(["changed"]));
    assert_eq!(broken(|case| case.received[4].print.attrs ^= 1), BTreeSet::from(["changed"]));
}

#[test]
fn a_second_delivery_id_is_named() {
    let second = broken(|case| {
        let again = case.received[4].clone();
        case.received.push(Received { delivery: "00c0ffee00c0ffee-0-400-1-0".into(), ..again });
    });
    assert_eq!(second, BTreeSet::from(["second id"]));
    let shared = broken(|case| {
        let id = case.received[at(case, "all", 3)].delivery.clone();
        let i = at(case, "all", 4);
        case.received[i].delivery = id;
    });
    assert_eq!(shared, BTreeSet::from(["shared id"]));
    let none = broken(|case| case.received[4].delivery = "".into());
    assert_eq!(none, BTreeSet::from(["no id"]));
    // Another run is another debt, with its own id.
    let replay = broken(|case| {
        let every: Wanted = Arc::new(|_: &Coffee| true);
        let routes = vec![("all".into(), every)];
        case.replays = vec![Replayed { run: 7, from: 0, to: 20, routes, done: false }];
        let again = case.received[at(case, "all", 4)].clone();
        let delivery = format!("{}7", again.delivery.strip_suffix('0').expect("run 0"));
        case.received.push(Received { delivery: delivery.into(), ..again });
    });
    assert_eq!(replay, BTreeSet::new());
}

#[test]
fn an_answer_before_the_sync_loses_what_was_acknowledged() {
    // The publisher holds a 202; the crash took the event, so that nothing of it arrives anywhere.
    let early = broken(|case| {
        let event = Arc::new(coffee("early", 1));
        case.published.push(Published { event, first_sent: 3_000, acked: Some(3_010), refused: None, offset: None });
    });
    assert_eq!(early, BTreeSet::from(["lost"]));
    // Without the 202 the same event is nobody's debt, whether it arrives or not.
    for arrives in [false, true] {
        let free = broken(|case| {
            let event = Arc::new(coffee("early", 1));
            if arrives {
                case.received.push(take(&event, "all", 99, 1));
            }
            case.published.push(Published { event, first_sent: 3_000, acked: None, refused: None, offset: None });
        });
        assert_eq!(free, BTreeSet::new(), "arrives: {arrives}");
    }
}

#[test]
fn a_version_boundary_off_by_one_is_named() {
    // The last event before the change is judged by the new version …
    let early = broken(|case| {
        let event = case.published[9].event.clone();
        case.received.push(take(&event, "some", 9, 2));
    });
    assert_eq!(early, BTreeSet::from(["not owed"]));
    // … or the first one after it by the old version.
    let late = broken(|case| {
        let i = at(case, "some", 10);
        case.received.remove(i);
    });
    assert_eq!(late, BTreeSet::from(["lost"]));
}

#[test]
fn an_event_around_a_change_may_go_either_way() {
    for (first_sent, acked) in [(990, 1_050), (1_050, 1_080), (1_050, 1_200), (990, 1_200)] {
        for arrives in [false, true] {
            let either = broken(|case| {
                let event = Arc::new(coffee("around", 6));
                case.received.push(take(&event, "all", 99, 1));
                if arrives {
                    case.received.push(take(&event, "some", 99, 2));
                }
                case.published.push(Published { event, first_sent, acked: Some(acked), refused: None, offset: None });
            });
            assert_eq!(either, BTreeSet::new(), "{first_sent} {acked} {arrives}");
        }
    }
}

#[test]
fn a_refused_event_is_named_and_must_not_arrive() {
    let refused = broken(|case| case.published[4].refused = Some(422));
    assert_eq!(refused, BTreeSet::from(["not owed", "refused"]));
}

#[test]
fn a_verdict_is_readable_and_bounded() {
    let mut case = good();
    case.received.clear();
    let text = judge(&case).to_string();
    assert!(text.contains("lost: /shops/0 o-0 was acknowledged and is owed to all"), "{text}");
    assert!(text.lines().count() <= 2 + 1 + SHOWN_MAX + 1, "{text}");
    assert!(text.contains(" more"), "{text}");
}

/// Events 3 to 7 once more to `some`, in run 1.
fn replayed() -> Case {
    let mut case = good();
    for (n, published) in case.published.iter_mut().enumerate() {
        published.offset = Some(n as u64);
    }
    let wants: Wanted = Arc::new(|e: &Coffee| e.shop <= 3);
    for n in 3..8 {
        let event = case.published[n].event.clone();
        if wants(&event) {
            case.received.push(Received {
                delivery: format!("00c0ffee00c0ffee-0-{n}-2-1").into(),
                ..take(&event, "some", 0, 2)
            });
        }
    }
    case.replays = vec![Replayed { run: 1, from: 3, to: 8, routes: vec![("some".into(), wants)], done: true }];
    case
}

#[test]
fn replay_owes_what_its_range_held_and_nothing_else() {
    judge(&replayed()).assert_holds();
    let words = |tamper: &dyn Fn(&mut Case)| {
        let mut case = replayed();
        tamper(&mut case);
        judge(&case).words().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(words(&|case| drop(case.received.pop())), ["lost"]);
    assert_eq!(words(&|case| case.replays[0].to = 3), ["not owed"]);
    assert_eq!(words(&|case| case.replays[0].run = 2), ["lost", "not owed"]);
    assert_eq!(words(&|case| case.replays[0].routes[0].0 = "all".into()), ["lost", "not owed"]);
    let cancelled = |case: &mut Case| {
        case.received.pop();
        case.replays[0].done = false;
    };
    assert_eq!(words(&cancelled), [""; 0]);
    // What a replay delivers pays nothing of what the live flow owes.
    let live = |case: &mut Case| case.received.retain(|r| !(&*r.route == "some" && r.delivery.ends_with("-0")));
    assert_eq!(words(&live), ["lost"]);
}

/// One attempt of a group at a time, first attempts in the order of the log; a life may repeat what was before it,
/// a later attempt comes when it may, and one that says that it is late has been told of.
#[test]
fn what_overtakes_its_group_is_found() {
    let tried = |life, offset, attempt| Tried {
        life,
        route: "all".into(),
        group: "shop-1".into(),
        offset,
        attempt,
        late: false,
        beside: Vec::new(),
    };
    let words = |tried: Vec<Tried>| broken(|case| case.tried = tried);
    let other = Tried { group: "shop-2".into(), ..tried(1, 3, 1) };
    let fine = [tried(1, 4, 1), other, tried(1, 7, 1), tried(1, 4, 2), tried(2, 4, 1), tried(2, 7, 1)];
    assert_eq!(words(fine.to_vec()), [].into());
    assert_eq!(words(vec![tried(1, 7, 1), tried(1, 4, 1)]), ["overtook"].into());
    let late = Tried { late: true, ..tried(1, 4, 1) };
    assert_eq!(words(vec![tried(1, 7, 1), late]), [].into());
    let beside = Tried { beside: vec![4], ..tried(1, 7, 1) };
    assert_eq!(words(vec![tried(1, 4, 1), beside]), ["together"].into());
}

#[test]
fn what_is_given_up_need_not_come_and_must_not_come_later() {
    let given = |case: &mut Case, below, answered| {
        for (n, p) in case.published.iter_mut().enumerate() {
            p.offset = Some(n as u64);
        }
        for (n, r) in case.received.iter_mut().enumerate() {
            r.at = n as u64;
        }
        case.given_up = vec![GivenUp { route: "all".into(), below, asked: 5_000, answered }];
    };
    let lose = |case: &mut Case, n: usize| drop(case.received.remove(at(case, "all", n)));
    let lost = |below| {
        broken(|case| {
            lose(case, 7);
            given(case, below, None);
        })
    };
    assert_eq!(lost(8), BTreeSet::new());
    assert_eq!(lost(7), ["lost"].into());
    let came = |arrived_by: i64, letters: &[u64]| {
        broken(|case| {
            let last = at(case, "all", 7) as i64;
            given(case, 8, Some(((last + arrived_by) as u64, letters.iter().copied().collect())));
        })
    };
    assert_eq!(came(1, &[]), BTreeSet::new(), "it came before that was answered");
    assert_eq!(came(0, &[]), ["revived"].into());
    assert_eq!(came(0, &[7]), BTreeSet::new(), "a dead letter stays, and may be redriven");
    let unknown = broken(|case| {
        lose(case, 7);
        given(case, 8, None);
        case.published[7].offset = None;
    });
    assert_eq!(unknown, BTreeSet::new());
}
