//! Targets that answer with events. Goal: a reply is durable before its delivery is settled and there once, whatever
//! is repeated; what is no event is a dead letter with its bytes, and a chain of replies ends.

use bytes::Bytes;
use router_core::{
    id::Offset,
    path::{self, Asked, Budgets, EditError},
    replay::Replies,
    reply::{CAUSE_DEPTH_MAX, ReplySpec},
    retain::{DiskBudget, Level},
    source::RawEvent,
    store::DeadLetter,
};
use router_store::store::{DiskStore, Options};
use schemas::{Invalid, Place};

use super::*;

/// What a target answers with.
type Script = fn(&Delivery) -> Vec<RawEvent>;

/// A target that answers with events.
struct Replier {
    name: TargetName,
    script: Script,
    down: AtomicBool,
    calls: Mutex<BTreeMap<String, u64>>,
    got: Mutex<Vec<Event>>,
}

#[async_trait]
impl Target for Replier {
    fn name(&self) -> &TargetName {
        &self.name
    }
    fn limits(&self) -> BatchLimits {
        BatchLimits { in_flight_max: 4, ..BatchLimits::default() }
    }
    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let one = |d: &Delivery| {
            if self.down.load(Ordering::SeqCst) {
                return Outcome::Retry { facts: Facts::default(), scope: Scope::Target, not_before: None };
            }
            *self.calls.lock().unwrap().entry(d.id.to_string()).or_default() += 1;
            self.got.lock().unwrap().push(d.event.clone());
            Outcome::Delivered { facts: Facts { status: Some(200), ..Facts::default() }, replies: (self.script)(d) }
        };
        batch.iter().map(one).collect()
    }
}

impl Replier {
    fn new(name: &str, script: Script) -> Arc<Replier> {
        Arc::new(Replier {
            name: TargetName::new(name).unwrap(),
            script,
            down: AtomicBool::new(false),
            calls: Mutex::default(),
            got: Mutex::default(),
        })
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

/// A reply to a delivery, whose id is the path's where none is given.
fn said(d: &Delivery, index: usize, id: Option<&str>, kind: &str) -> RawEvent {
    let to = d.reply.as_ref().expect("replies are asked for");
    let given = to.id(index);
    let data = format!("{{\"to\":\"{}\",\"index\":{index}}}", d.event.id());
    let event = Event::builder(id.unwrap_or(&given), "/pricer", kind).data(Form::Json, data).build().unwrap();
    RawEvent { raw: Some(schemas::json::encode(&event).into()), ..RawEvent::from(event) }
}

fn bus(name: &str) -> BusSpec {
    BusSpec {
        name: BusName::new(name).unwrap(),
        dedupe_age: Duration::from_secs(600),
        dedupe_entries_max: 100_000,
        retention: Default::default(),
    }
}

/// A route from events of a type to a target that answers.
fn asks(to: &Arc<Replier>, kind: Option<&str>, reply: Option<ReplySpec>) -> (Arc<Replier>, RouteSpec) {
    let retry = RetryPolicy {
        delay_min: Duration::from_millis(10),
        delay_max: Duration::from_millis(50),
        ..RetryPolicy::default()
    };
    let route = RouteSpec {
        name: RouteName::new(to.name.as_str()).unwrap(),
        bus: BusName::new("default").unwrap(),
        transform: None,
        filter: kind.map(|k| Spec::Pattern(serde_json::json!({ "type": [k] }))),
        target: to.name.clone(),
        retry,
        backlog: Default::default(),
        reply,
        order: None,
        start: Default::default(),
    };
    (to.clone(), route)
}

fn connected(routes: Vec<(Arc<Replier>, RouteSpec)>) -> Topology {
    Topology {
        buses: vec![bus("default"), bus("answers")],
        targets: routes.iter().map(|(target, _)| target.clone() as Arc<dyn Target>).collect(),
        routes: routes.into_iter().map(|(_, route)| route).collect(),
        event_bytes_max: 4_096,
        budgets: Budgets { sweep_every: Duration::from_millis(20), ..Budgets::default() },
        router: None,
        quarantine: false,
    }
}

async fn start_with(store: Arc<dyn Store>, topology: Topology) -> Path {
    Path::start(store, topology, Arc::new(SystemClock::new())).await.unwrap()
}

async fn letters(path: &Path) -> Vec<DeadLetter> {
    path.dead_letters(&Selection::default(), Page { after: None, count_max: 100_000 }).await.unwrap()
}

fn own() -> Option<ReplySpec> {
    Some(ReplySpec::default())
}

fn nothing(_: &Delivery) -> Vec<RawEvent> {
    Vec::new()
}

/// One with an id of its own, one without.
fn two(d: &Delivery) -> Vec<RawEvent> {
    let own = format!("for-{}", d.event.id());
    vec![said(d, 0, Some(&own), "priced"), said(d, 1, None, "priced")]
}

/// Every order is answered twice, and what follows reaches who wants it.
async fn answers_come_in(store: Arc<dyn Store>) {
    let (pricer, priced) = (Replier::new("pricer", two), Replier::new("priced", nothing));
    let path =
        start_with(store, connected(vec![asks(&pricer, Some("order"), own()), asks(&priced, Some("priced"), None)]))
            .await;
    publish(&path, 0, 300, |_| "order").await;
    until("the replies", || priced.count() == 600).await;
    settled(&path).await;
    let mut ids: Vec<String> = Vec::new();
    for event in priced.got.lock().unwrap().iter() {
        let data: serde_json::Value = serde_json::from_slice(event.data()).unwrap();
        let attr = |name: &str| event.get(name).unwrap().to_string();
        assert_eq!((attr("causeid"), attr("causesource")), (data["to"].as_str().unwrap().into(), "/t".into()));
        assert_eq!(attr("causedepth"), "1");
        ids.push(event.id().into());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 600);
    let stats = path.stats().route(&RouteName::new("pricer").unwrap());
    assert_eq!((stats.replies_appended.get(), stats.delivered.get()), (600, 300));
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_events_of_the_bus() {
    answers_come_in(Arc::new(MemoryStore::with_gaps(3))).await;
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(DiskStore::open(dir.path(), Options::default()).await.unwrap());
    answers_come_in(disk.clone()).await;
    disk.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bus_takes_them_where_the_route_says_so() {
    let pricer = Replier::new("pricer", two);
    let reply = Some(ReplySpec { bus: Some(BusName::new("answers").unwrap()) });
    let path = start_with(Arc::new(MemoryStore::new()), connected(vec![asks(&pricer, Some("order"), reply)])).await;
    publish(&path, 0, 20, |_| "order").await;
    let answers = path.stats().bus(&BusName::new("answers").unwrap());
    until("the replies", || answers.accepted.get() == 40).await;
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_reply_answers_are_counted_and_left() {
    let pricer = Replier::new("pricer", |_| vec![Event::builder("1", "/p", "priced").build().unwrap().into()]);
    let path = start_with(Arc::new(MemoryStore::new()), connected(vec![asks(&pricer, None, None)])).await;
    publish(&path, 0, 20, |_| "order").await;
    until("the deliveries", || pricer.count() == 20).await;
    settled(&path).await;
    assert_eq!(path.stats().route(&RouteName::new("pricer").unwrap()).replies_ignored.get(), 20);
    assert!(path.quarantine().is_none());
    path.stop(Duration::from_secs(5)).await.unwrap();
}

/// Replays everything to the pricer; how many of its replies were dropped.
async fn discarded(path: &Path, replies: Replies) -> u64 {
    let asked = Asked {
        bus: BusName::new("default").unwrap(),
        from: path::Place::Offset(Offset(1)),
        to: None,
        filter: None,
        routes: vec![RouteName::new("pricer").unwrap()],
        rate: None,
        replies,
    };
    let id = path.replay(&asked).await.unwrap().id;
    for _ in 0..1_500 {
        let all = path.replays().await.unwrap();
        let run = all.into_iter().map(|status| status.run).find(|run| run.id == id && run.state.is_over());
        if let Some(run) = run {
            return run.routes.iter().map(|route| route.counts.replies_discarded).sum();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the replay is not over");
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_to_a_replay_are_taken_in_where_it_says_so() {
    let pricer = Replier::new("pricer", two);
    let topology = connected(vec![asks(&pricer, Some("order"), own())]);
    let path = start_with(Arc::new(MemoryStore::new()), topology).await;
    publish(&path, 0, 20, |_| "order").await;
    let stats = path.stats().route(&RouteName::new("pricer").unwrap());
    until("the replies", || stats.replies_appended.get() == 40).await;
    settled(&path).await;
    assert_eq!(discarded(&path, Replies::Discard).await, 40);
    let bus = path.stats().bus(&BusName::new("default").unwrap());
    assert_eq!((bus.accepted.get(), bus.duplicate.get()), (60, 0));
    assert_eq!(discarded(&path, Replies::Admit).await, 0);
    // They are the same events as those of the live flow.
    assert_eq!((bus.accepted.get(), bus.duplicate.get()), (60, 40));
    assert_eq!(pricer.count(), 60);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_called_again_after_a_crash_adds_nothing() {
    let store = MemoryStore::with_gaps(2);
    let pricer = Replier::new("pricer", |d| {
        let mut all = two(d);
        all.push(broken(d, 2));
        all
    });
    let topology = || connected(vec![asks(&pricer, Some("order"), own())]);
    let path = start_with(Arc::new(store.clone()), topology()).await;
    publish(&path, 0, 50, |_| "order").await;
    until("the deliveries", || pricer.count() == 50).await;
    settled(&path).await;
    let tail = path.status().await.unwrap().buses.iter().map(|b| (b.name.clone(), b.tail)).collect::<Vec<_>>();
    drop(path);
    // The commits that settled them are lost; the events of the logs are not.
    let store = store.crash(usize::MAX);
    let path = start_with(Arc::new(store.clone()), topology()).await;
    until("the deliveries again", || pricer.calls.lock().unwrap().values().any(|calls| *calls > 1)).await;
    settled(&path).await;
    let parked = letters(&path).await;
    assert_eq!(parked.len(), 50, "they are planned again, and no more of them");
    let now = path.status().await.unwrap().buses.iter().map(|b| (b.name.clone(), b.tail)).collect::<Vec<_>>();
    assert_eq!(now, tail, "every reply was there already");
    let stats = path.stats().route(&RouteName::new("pricer").unwrap());
    assert_eq!((stats.replies_appended.get(), stats.replies_duplicate.get() % 2), (0, 0));
    assert!(stats.replies_duplicate.get() > 0);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

/// What is no event.
fn broken(d: &Delivery, index: usize) -> RawEvent {
    let why = Invalid::new(schemas::codes::NOT_AN_OBJECT, Place::Byte(3), "an event is a JSON object");
    let raw = format!("\u{0}no event {} {index}", d.event.id());
    RawEvent { raw: Some(Bytes::from(raw)), content_type: Some("text/x".into()), ..RawEvent::from(Err(why)) }
}

/// Everything that an answer can have wrong, and one good reply in the middle.
fn mixed(d: &Delivery) -> Vec<RawEvent> {
    let same = Event::builder(d.event.id(), d.event.source(), "t").build().unwrap();
    let large = Event::builder("large", "/pricer", "t").data(Form::Text, "x".repeat(5_000)).build().unwrap();
    vec![broken(d, 0), same.into(), said(d, 2, None, "priced"), large.into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_quarantined_and_the_others_go_on() {
    let store = MemoryStore::new();
    let (pricer, priced) = (Replier::new("pricer", mixed), Replier::new("priced", nothing));
    let path = start_with(
        Arc::new(store.clone()),
        connected(vec![asks(&pricer, Some("order"), own()), asks(&priced, Some("priced"), None)]),
    )
    .await;
    publish(&path, 7, 8, |_| "order").await;
    until("the good one", || priced.count() == 1).await;
    settled(&path).await;
    let parked = letters(&path).await;
    let reasons: Vec<_> = parked.iter().map(|l| (&*l.reason, l.route.as_str(), l.target.as_str())).collect();
    let expected = ["not-an-object", "reply-same-identity", "event-too-large"].map(|r| (r, "quarantine", "pricer"));
    assert_eq!(reasons, expected);
    assert!(
        parked[0].note.contains("reply 0 of pricer to /t 7: byte 3: an event is a JSON object"),
        "{}",
        parked[0].note
    );
    let record = path.record(&parked[0].id).await.unwrap().unwrap();
    let kept = router_core::quarantine::Quarantined::read(&record.event).unwrap();
    assert_eq!((&*kept.bytes, kept.content_type.as_deref()), (&b"\0no event 7 0"[..], Some("text/x")));
    assert_eq!((kept.route.as_deref(), &*kept.bus), (Some("pricer"), "default"));
    let status = path.status().await.unwrap();
    let row = status.routes.iter().find(|r| r.name.as_str() == "quarantine").unwrap();
    assert_eq!((row.dead_letters, row.waiting, row.target.as_ref()), (3, 0, None));
    assert_eq!(row.state, router_core::stats::LaneStateName::Active);
    assert_eq!(pricer.calls.lock().unwrap().values().max(), Some(&1), "the function did its work");
    // Nothing can be delivered of them as they are; they can be ended.
    let all = path.redrive(&Selection::default()).await.unwrap();
    assert_eq!((all.redriven, letters(&path).await.len()), (0, 3));
    let which = Selection { reason: Some("event-too-large".into()), ..Selection::default() };
    assert_eq!(path.purge(&which).await.unwrap().purged, 1);
    path.stop(Duration::from_secs(5)).await.unwrap();
    drop(path);
    // The quarantine is there without a route that asks for replies, too.
    let path = start_with(Arc::new(store), connected(vec![asks(&priced, Some("priced"), None)])).await;
    assert_eq!(letters(&path).await.len(), 2);
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_replies_ends_at_its_depth() {
    let echo = Replier::new("echo", |d| vec![said(d, 0, None, "again")]);
    let path = start_with(Arc::new(MemoryStore::new()), connected(vec![asks(&echo, None, own())])).await;
    publish(&path, 0, 3, |_| "order").await;
    let depth = usize::try_from(CAUSE_DEPTH_MAX).unwrap();
    until("the end of the chains", || echo.count() == 3 * (depth + 1)).await;
    settled(&path).await;
    let reasons: Vec<_> = letters(&path).await.iter().map(|l| l.reason.to_string()).collect();
    assert_eq!(reasons, ["loop-depth"; 3]);
    assert_eq!(echo.count(), 3 * (depth + 1));
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_replies_and_calls_nobody_twice() {
    let store = MemoryStore::new().segment_bytes(8 << 10);
    let pricer = Replier::new("pricer", |d| vec![said(d, 0, None, "priced")]);
    let stuck = Replier::new("stuck", nothing);
    for target in [&pricer, &stuck] {
        target.down.store(true, Ordering::SeqCst);
    }
    let mut topology = connected(vec![asks(&pricer, Some("order"), own()), asks(&stuck, None, None)]);
    topology.budgets.disk = DiskBudget { bytes_max: Some(192 << 10), free_min: 0 };
    let path = start_with(Arc::new(store), topology).await;
    let intake = path.intake(&BusName::new("default").unwrap()).unwrap();
    let source = SourceName::new("test").unwrap();
    let mut taken = 0;
    // Until senders are refused, and it was measured that they have to be.
    while path.status().await.unwrap().disk.level != Level::Full {
        let event =
            Event::builder(&taken.to_string(), "/t", "order").data(Form::Text, "y".repeat(600)).build().unwrap();
        match intake.submit(&source, vec![event.into()]).await.unwrap().remove(0) {
            Ok(_) => taken += 1,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    pricer.down.store(false, Ordering::SeqCst);
    let appended = || path.stats().route(&RouteName::new("pricer").unwrap()).replies_appended.get();
    until("replies that use the reserve", || appended() > 0).await;
    stuck.down.store(false, Ordering::SeqCst);
    let replies = u64::try_from(taken).unwrap();
    until("all of them", || appended() == replies).await;
    settled(&path).await;
    assert!(pricer.calls.lock().unwrap().values().all(|calls| *calls == 1), "nobody is called twice");
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_the_router_keeps_are_refused() {
    let mut topology = connected(Vec::new());
    topology.buses.push(bus("quarantine"));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let Err(refused) = Path::start(store, topology, Arc::new(SystemClock::new())).await else { panic!("quarantine") };
    assert!(refused.to_string().contains("bus quarantine is a name that the router keeps"), "{refused}");
    let pricer = Replier::new("pricer", nothing);
    let reply = Some(ReplySpec { bus: Some(BusName::new("system").unwrap()) });
    let mut topology = connected(vec![asks(&pricer, None, reply)]);
    topology.buses.push(bus("system"));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let Err(refused) = Path::start(store, topology, Arc::new(SystemClock::new())).await else { panic!("system") };
    assert!(refused.to_string().contains("nothing but the router itself feeds the bus system"), "{refused}");
    let pricer = Replier::new("pricer", nothing);
    let reply = Some(ReplySpec { bus: Some(BusName::new("gone").unwrap()) });
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let topology = connected(vec![asks(&pricer, None, reply)]);
    let Err(refused) = Path::start(store, topology, Arc::new(SystemClock::new())).await else { panic!("no such bus") };
    assert!(refused.to_string().contains("there is no bus gone, which would take its replies"), "{refused}");
}

/// An event as an operator edits it, with this id.
fn edited(id: &str, kind: &str, data: &str) -> Event {
    Event::builder(id, "/t", kind).data(Form::Json, data.to_string()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_dead_letter_is_a_new_event_that_names_its_cause() {
    let store = Arc::new(MemoryStore::with_gaps(2));
    let picky = sink("picky");
    picky.refuse.store(true, Ordering::SeqCst);
    let path = start(&store, &[(&picky, None)]).await;
    publish(&path, 0, 3, |_| "bad").await;
    publish(&path, 3, 4, |_| "good").await;
    settled(&path).await;
    let parked = letters(&path).await;
    assert_eq!(parked.len(), 3);
    let id = parked[0].id;
    let same = path.redrive_edited(&id, &edited("0", "good", "{\"n\":0}"), false).await;
    assert!(matches!(same, Err(EditError::SameIdentity)), "{same:?}");
    let taken = path.redrive_edited(&id, &edited("3", "good", "{\"n\":3}"), false).await;
    assert!(matches!(taken, Err(EditError::Taken(_))), "{taken:?}");
    assert_eq!(letters(&path).await, parked, "a refusal changes nothing");
    let done = path.redrive_edited(&id, &edited("100", "good", "{\"n\":100}"), false).await.unwrap();
    assert_eq!(done.event.get("causeid").unwrap().to_string(), "0");
    until("the new event", || picky.got.lock().unwrap().contains_key("100")).await;
    let again = path.redrive_edited(&id, &edited("100", "good", "{\"n\":100}"), false).await;
    assert!(matches!(again, Err(EditError::NoLetter(_))), "{again:?}");
    // The process died between the new event and the end of the dead letter: the same edit ends it.
    let id = parked[1].id;
    let begun = router_core::reply::caused(&edited("101", "good", "{\"n\":101}"), ("1", "/t"), 1).unwrap();
    let intake = path.intake(&BusName::new("default").unwrap()).unwrap();
    intake.submit(&SourceName::new("test").unwrap(), vec![begun.into()]).await.unwrap().remove(0).unwrap();
    path.redrive_edited(&id, &edited("101", "good", "{\"n\":101}"), false).await.unwrap();
    // With a new id it may say the old one.
    let done = path.redrive_edited(&parked[2].id, &edited("2", "good", "{\"n\":2}"), true).await.unwrap();
    assert_eq!(done.event.id().len(), 32);
    assert_eq!(letters(&path).await, []);
    settled(&path).await;
    let ended = path.stats().route(&RouteName::new("picky").unwrap()).letters_ended();
    assert_eq!(ended.get("edited"), Some(&3));
    path.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_quarantined_reaches_its_bus_after_an_edit() {
    let (pricer, priced) = (Replier::new("pricer", |d| vec![broken(d, 0)]), Replier::new("priced", nothing));
    let reply = Some(ReplySpec { bus: Some(BusName::new("answers").unwrap()) });
    let (target, mut route) = asks(&priced, Some("priced"), None);
    route.bus = BusName::new("answers").unwrap();
    let topology = connected(vec![asks(&pricer, Some("order"), reply), (target, route)]);
    let path = start_with(Arc::new(MemoryStore::new()), topology).await;
    publish(&path, 7, 8, |_| "order").await;
    settled(&path).await;
    let parked = letters(&path).await;
    assert_eq!(parked.len(), 1);
    let same = path.redrive_edited(&parked[0].id, &edited("7", "priced", "{}"), false).await;
    assert!(matches!(same, Err(EditError::SameIdentity)), "{same:?}");
    let done = path.redrive_edited(&parked[0].id, &edited("7-priced", "priced", "{}"), false).await.unwrap();
    assert_eq!(done.bus.as_str(), "answers");
    until("the edited one", || priced.count() == 1).await;
    let got = priced.got.lock().unwrap()[0].clone();
    let attr = |name: &str| got.get(name).unwrap().to_string();
    assert_eq!((attr("causeid"), attr("causesource"), attr("causedepth")), ("7".into(), "/t".into(), "1".into()));
    assert_eq!(letters(&path).await, []);
    settled(&path).await;
    path.stop(Duration::from_secs(5)).await.unwrap();
}
