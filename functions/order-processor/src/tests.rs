//! Goal: an order lives once, moves only forward, and a repeat says the same again.

use function_host::{Host, Kind};
use schemas::Form;
use serde_json::{Value, json};

use super::*;

fn host(settings: &[(&str, &str)]) -> Host<OrderProcessor> {
    Host::for_tests(settings.iter().copied().collect(), "2026-01-15T06:30:00Z".parse().unwrap()).unwrap()
}

fn event(id: &str, kind: &str, data: &Value) -> Event {
    Event::builder(id, "/shops/4", kind).data(Form::Json, data.to_string()).build().unwrap()
}

fn created(id: &str) -> Event {
    let data = json!({"order": "order-1", "shop": 4, "customer": {"name": "Zoë"}, "currency": "EUR",
        "lines": [{"line": 1, "item": "Espresso", "quantity": 1}]});
    event(id, "coffee.order.created", &data)
}

fn updated(id: &str, from: &str, to: &str) -> Event {
    event(id, "coffee.order.updated", &json!({"order": "order-1", "from": from, "to": to, "reason": "rain"}))
}

/// The replies in short: their types, and the code of a rejection.
async fn short(host: &Host<OrderProcessor>, event: &Event) -> Vec<String> {
    let replies = host.call(event.clone()).await.unwrap();
    let code = |reply: &Event| {
        let data: Value = serde_json::from_slice(reply.data()).unwrap();
        data["reasons"][0]["code"].as_str().map(|code| format!(" {code}")).unwrap_or_default()
    };
    replies.iter().map(|reply| format!("{}{}", reply.kind().trim_start_matches("coffee.order."), code(reply))).collect()
}

const TAKEN: [&str; 3] = ["accepted", "inventory.reserved", "notification.send"];

#[tokio::test]
async fn an_order_lives_from_accepted_to_handed_over() {
    let host = host(&[("ORDERS_UNKNOWN", "reject")]);
    assert_eq!(short(&host, &created("1")).await, TAKEN);
    assert_eq!(short(&host, &updated("2", "accepted", "brewing")).await, ["changed"]);
    assert_eq!(short(&host, &updated("3", "brewing", "ready")).await, ["changed", "notification.send"]);
    assert_eq!(short(&host, &updated("4", "ready", "ready")).await, [""; 0]);
    assert_eq!(short(&host, &updated("5", "ready", "handed-over")).await, ["changed"]);
    assert_eq!(short(&host, &updated("6", "handed-over", "cancelled")).await, ["rejected state-order"]);
    assert_eq!(short(&host, &updated("7", "handed-over", "refunded")).await, ["changed", "notification.send"]);
}

#[tokio::test]
async fn a_repeat_says_the_same_again_whatever_happened_since() {
    let host = host(&[]);
    let (early, create, brew) =
        (updated("0", "ready", "handed-over"), created("1"), updated("2", "accepted", "brewing"));
    let taken = host.call(create.clone()).await.unwrap();
    assert_eq!(short(&host, &early).await, ["rejected state-differs"]);
    let brewing = host.call(brew.clone()).await.unwrap();
    host.call(updated("3", "brewing", "ready")).await.unwrap();
    assert_eq!(host.call(create).await.unwrap(), taken);
    assert_eq!(host.call(brew).await.unwrap(), brewing);
    // What came too early stays rejected, under the same id, though it would be in time now.
    assert_eq!(short(&host, &early).await, ["rejected state-differs"]);
    // Another event cannot take what is taken.
    assert_eq!(short(&host, &created("9")).await, ["rejected order-exists"]);
    assert_eq!(short(&host, &updated("8", "brewing", "cancelled")).await, ["rejected state-differs"]);
}

#[tokio::test]
async fn a_change_of_an_unknown_order_is_trusted_or_rejected_as_set() {
    let brew = updated("2", "accepted", "brewing");
    assert_eq!(short(&host(&[]), &brew).await, ["changed"]);
    assert_eq!(short(&host(&[("ORDERS_UNKNOWN", "reject")]), &brew).await, ["rejected order-unknown"]);
    // Whoever is not known is not told.
    assert_eq!(short(&host(&[]), &updated("3", "brewing", "ready")).await, ["changed"]);
    let settings = [("ORDERS_UNKNOWN", "maybe")].into_iter().collect();
    assert!(OrderProcessor::start(&settings).is_err());
}

#[tokio::test]
async fn stock_is_released_when_nothing_was_made_of_it() {
    for (from, releases) in [("accepted", true), ("brewing", false)] {
        let replies = host(&[]).call(updated("2", from, "cancelled")).await.unwrap();
        let changed: Changed = data(&replies[0]).unwrap();
        assert_eq!(changed.releases_stock, releases, "{from}");
    }
}

#[tokio::test]
async fn data_that_is_no_order_is_refused_with_its_place() {
    let host = host(&[]);
    let cases = [
        (json!({"order": 1}), "data.order"),
        (
            json!({"order": "o", "shop": 4, "customer": {"name": "Z"}, "currency": "EUR", "lines": [{"line": 1, "item": "x", "quantity": -1}]}),
            "data.lines[0].quantity",
        ),
        (json!({"order": "o", "shop": 4, "customer": {"name": "Z"}, "currency": "EUR"}), "missing field `lines`"),
    ];
    for (data, place) in cases {
        let failure = host.call(event("1", "coffee.order.created", &data)).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.0), (Kind::Refuse, "data-invalid"));
        assert!(failure.message.contains(place), "{failure}");
    }
    let text = Event::builder("1", "/s", "coffee.order.created").data(Form::Text, "latte").build().unwrap();
    assert_eq!(host.call(text).await.unwrap_err().code.0, "data-not-json");
}
