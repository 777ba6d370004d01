use router_core::id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId};
use schemas::{Event, Form};

use super::*;

fn config() -> PubSubConfig {
    PubSubConfig::new(TargetName::new("t").unwrap(), "projects/p/topics/t")
}

fn delivery(event: Event) -> Delivery {
    let lane = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
    let id = DeliveryId { epoch: Epoch(1), lane, offset: Offset(7) };
    let (route, appended) = (RouteName::new("r").unwrap(), router_core::clock::Timestamp(0));
    Delivery { id, attempt: 1, route, appended, event, reply: None }
}

#[test]
fn what_cannot_be_is_refused_with_its_key() {
    let topic = |topic: &str| PubSubConfig { topic: topic.into(), ..config() };
    let batch =
        |count_max, bytes_max| PubSubConfig { batch: Batch { count_max, bytes_max, ..Batch::default() }, ..config() };
    let cases = [
        (topic(""), "topic"),
        (topic("coffee"), "topic"),
        (topic("projects/p/subscriptions/t"), "topic"),
        (topic("projects/p/topics/t/u"), "topic"),
        (topic("projects//topics/t"), "topic"),
        (batch(0, 1), "count_max"),
        (batch(1001, 1), "count_max"),
        (batch(1, 0), "bytes_max"),
        (batch(1, BYTES_MAX + 1), "bytes_max"),
        (PubSubConfig { in_flight_max: 0, ..config() }, "in_flight_max"),
    ];
    for (config, key) in cases {
        let refused = PubSub::new(config, &Accounts::default()).err().unwrap();
        assert_eq!(refused.keys.last(), Some(&key), "{refused}");
    }
    for fine in ["projects/go-coffee/topics/coffee", "projects/example.com:p/topics/a.b_c~d"] {
        assert!(PubSub::new(topic(fine), &Accounts::default()).is_ok(), "{fine}");
    }
}

#[test]
fn a_message_tells_what_a_request_would() {
    let event = Event::builder("1", "s", "t").attr("partitionkey", "k").build().unwrap();
    let sent = message(&delivery(event), Mode::Binary, true).unwrap();
    assert_eq!(sent.attributes["idempotency-key"], delivery_id());
    assert!(sent.attributes["traceparent"].starts_with("00-"));
    assert_eq!((sent.ordering_key.as_str(), sent.attributes["ce-partitionkey"].as_str()), ("k", "k"));
}

fn delivery_id() -> String {
    delivery(Event::builder("1", "s", "t").build().unwrap()).id.to_string()
}

#[test]
fn what_pubsub_would_never_take_is_refused_here() {
    let long = "k".repeat(ORDERING_KEY_BYTES_MAX + 1);
    let keyed = Event::builder("1", "s", "t").attr("partitionkey", long.as_str()).build().unwrap();
    assert_eq!(message(&delivery(keyed.clone()), Mode::Binary, true).unwrap_err().0, codes::ORDERING_KEY);
    assert!(message(&delivery(keyed), Mode::Binary, false).unwrap().ordering_key.is_empty());
    let large = Event::builder("1", "s", "t").data(Form::Binary, vec![0; BYTES_MAX]).build().unwrap();
    assert_eq!(message(&delivery(large), Mode::Binary, true).unwrap_err().0, codes::MESSAGE_TOO_LARGE);
}
