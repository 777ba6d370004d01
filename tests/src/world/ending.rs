//! How a run ends: what everybody wrote down, against what the routes wanted.

use super::{
    process::{Place, Router},
    publisher::Publisher,
    setup::Chronicle,
    sink::Sink,
};
use crate::oracle::{self, Case, Parked, Replayed, Verdict};

/// Judges what arrived at these sinks and what is parked.
pub fn judge(publisher: &Publisher, chronicle: &Chronicle, sinks: &[&Sink], parked: Vec<Parked>) -> Verdict {
    judge_with(publisher, chronicle, sinks, parked, Vec::new())
}

/// The same where there were replays.
pub fn judge_with(
    publisher: &Publisher,
    chronicle: &Chronicle,
    sinks: &[&Sink],
    parked: Vec<Parked>,
    replays: Vec<Replayed>,
) -> Verdict {
    for sink in sinks {
        assert_eq!(sink.unreadable(), Vec::<String>::new(), "every delivery is a CloudEvent");
    }
    oracle::judge(&Case {
        published: publisher.journal(),
        routes: chronicle.histories(),
        received: sinks.iter().flat_map(|sink| sink.journal()).collect(),
        parked,
        replays,
        tried: Vec::new(),
        given_up: Vec::new(),
        damaged: Default::default(),
        missing: Vec::new(),
    })
}

/// Stops a router that owes nothing any more, in order, and judges: the verdict holds.
pub async fn end(
    router: Router<'_>,
    place: &Place,
    publisher: &Publisher,
    chronicle: &Chronicle,
    sinks: &[&Sink],
) -> Verdict {
    let parked = router.parked().await;
    let ended = router.terminate().await;
    assert!(ended.success(), "it stops in order: {ended}\n{}", place.logged());
    let verdict = judge(publisher, chronicle, sinks, parked);
    println!("{} requests were sent again\n{verdict}", publisher.resent());
    verdict.assert_holds();
    verdict
}
