use router_core::{
    clock::Timestamp,
    hops,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId},
};
use serde_json::{Value, json};

use super::*;

pub(crate) fn delivery(event: Event) -> Delivery {
    let lane = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
    let id = DeliveryId { epoch: Epoch(1), lane, offset: Offset(7) };
    let route = RouteName::new("r").unwrap();
    Delivery { id, attempt: 1, route, appended: Timestamp(0), event, reply: None }
}

fn event() -> schemas::event::Builder<'static> {
    Event::builder("1", "/shops/7", "coffee.order.created")
        .attr("subject", "latte")
        .attr("priority", 3)
        .data(Form::Json, r#"{"a":1.10,"b":1e2,"c":"é"}"#)
}

fn written(event: &Event, mapping: Mapping) -> (PutEventsRequestEntry, Value) {
    let entry = entry(&delivery(event.clone()), mapping, "coffee").unwrap().entry;
    let detail = serde_json::from_str(entry.detail().unwrap()).unwrap();
    (entry, detail)
}

#[test]
fn each_mapping_carries_what_its_row_says() {
    let event = event().build().unwrap();
    let (entry, detail) = written(&event, Mapping::Structured);
    assert_eq!((entry.source(), entry.detail_type()), (Some("/shops/7"), Some("coffee.order.created")));
    assert_eq!(entry.event_bus_name(), Some("coffee"));
    let shown = [&detail["specversion"], &detail["id"], &detail["source"], &detail["subject"], &detail["priority"]];
    assert_eq!(shown, [&json!("1.0"), &json!("1"), &json!("/shops/7"), &json!("latte"), &json!(3)]);
    assert!(entry.detail().unwrap().contains(r#"{"a":1.10,"b":1e2,"c":"é"}"#), "as it came: {detail}");

    let (entry, _) = written(&event, Mapping::Opaque);
    let back = schemas::json::decode(entry.detail().unwrap().as_bytes()).unwrap();
    assert_eq!(back.data(), event.data());
    assert_eq!(back.get("subject"), event.get("subject"));

    let (entry, _) = written(&event, Mapping::Data);
    assert_eq!(entry.detail().map(str::as_bytes), Some(event.data()));
}

#[test]
fn each_mapping_carries_the_hops() {
    let router = hops::Router::new(None, &[7; 32]).unwrap();
    let event = event().build().unwrap();
    let left = router.stamp(&event, &event).unwrap();
    for mapping in [Mapping::Structured, Mapping::Opaque] {
        let (entry, _) = written(&left, mapping);
        let back = schemas::json::decode(entry.detail().unwrap().as_bytes()).unwrap();
        assert!(router.knows(&back) && entry.resources().is_empty(), "{mapping:?}");
    }
    let (entry, detail) = written(&left, Mapping::Data);
    assert!(detail.get("gocoffeehops").is_none(), "the data are the data");
    let original = identity::original(entry.resources().iter().map(String::as_str)).unwrap();
    let back = Event::builder(&original.id, &original.source, "t").attr(hops::HOPS, original.hops.as_deref().unwrap());
    assert!(router.knows(&back.build().unwrap()));
}

#[test]
fn what_aws_never_takes_is_refused_with_what_to_do() {
    let refused = |event: Event, mapping| entry(&delivery(event), mapping, "b").unwrap_err();
    let aws = Event::builder("1", "aws.ec2", "t").build().unwrap();
    assert_eq!(refused(aws, Mapping::Structured).code, codes::SOURCE);
    let long = Event::builder("1", "/s", &"é".repeat(129)).build().unwrap();
    let misfit = refused(long, Mapping::Opaque);
    assert_eq!(misfit.code, codes::DETAIL_TYPE);
    assert!(misfit.note.contains("129 characters"), "{}", misfit.note);
    let fits = Event::builder("1", "/s", &"é".repeat(128)).build().unwrap();
    assert!(entry(&delivery(fits), Mapping::Opaque, "b").is_ok());
    for data in [(Form::Json, "[1]"), (Form::Text, "{}"), (Form::Binary, "{}")] {
        let event = Event::builder("1", "/s", "t").data(data.0, data.1).build().unwrap();
        assert_eq!(refused(event, Mapping::Data).code, codes::NOT_AN_OBJECT, "{data:?}");
    }
    let none = Event::builder("1", "/s", "t").build().unwrap();
    assert!(refused(none, Mapping::Data).note.contains("has no data"));
}

#[test]
fn entries_are_counted_as_aws_counts_them() {
    let event = Event::builder("1", "/é", "tt").data(Form::Json, "{}").build().unwrap();
    let size = |event: &Event| entry(&delivery(event.clone()), Mapping::Data, "bus").unwrap().bytes;
    let who = identity::resource(&event).len();
    assert_eq!(size(&event), 3 + 2 + 2 + who);
    let timed = event.rebuild().attr("time", "2026-01-02T03:04:05.678+02:00").build().unwrap();
    assert_eq!(size(&timed), 3 + 2 + 2 + 14 + who);
    let (entry, _) = written(&timed, Mapping::Data);
    assert_eq!(entry.time().map(DateTime::secs), Some(1_767_315_845));
}

#[test]
fn calls_hold_what_aws_takes_and_keep_the_order() {
    let sized = |(n, bytes): (usize, usize)| {
        let Weighed { entry, .. } = entry(&delivery(event().build().unwrap()), Mapping::Data, "b").unwrap();
        (n, Weighed { entry, bytes })
    };
    let made = |sizes: &[usize], count_max, bytes_max| -> Vec<Vec<usize>> {
        let entries = sizes.iter().copied().enumerate().map(sized).collect();
        calls(entries, count_max, bytes_max).iter().map(|call| call.iter().map(|(n, _)| *n).collect()).collect()
    };
    assert_eq!(made(&[1; 5], 2, 100), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!(made(&[60, 40, 1, 100, 2], 10, 100), [vec![0, 1], vec![2], vec![3], vec![4]]);
    assert_eq!(made(&[], 10, 100), [[0; 0]; 0]);
}

#[test]
fn the_trace_goes_on_at_aws() {
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = event().attr("traceparent", given).build().unwrap();
    let (entry, _) = written(&traced, Mapping::Structured);
    let header = "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1";
    assert_eq!(entry.trace_header(), Some(header));
    let (derived, _) = written(&event().build().unwrap(), Mapping::Structured);
    assert!(derived.trace_header().is_some_and(|h| h.starts_with("Root=1-")), "{derived:?}");
    for bad in ["", "00-12-34-01", "00", "00-ééééé-b7ad6b7169203331-zz"] {
        assert_eq!(trace_header(bad), None, "{bad}");
    }
}
