//! Goal: the handler answers each event with what to order and why, and says what is wrong with one that cannot be.

mod samples;

use function_host::{Function, Host, Settings};
use schemas::{Event, Form, payload::inventory::Reorder};
use serde_json::{Value, json};

use crate::InventoryOptimizer;

fn event(kind: &str, data: &Value) -> Event {
    Event::builder("1", "/shops/7/stock", kind).data(Form::Json, data.to_string()).build().unwrap()
}

async fn call(kind: &str, data: Value) -> Result<Vec<(Event, Reorder)>, function_host::Failure> {
    let host = Host::<InventoryOptimizer>::for_tests(Settings::default(), Default::default()).unwrap();
    let events = host.call(event(kind, &data)).await?;
    Ok(events.into_iter().map(|e| (e.clone(), serde_json::from_slice(e.data()).unwrap())).collect())
}

fn weeks(count: usize) -> Vec<u32> {
    (0..count).flat_map(|_| [20, 22, 21, 25, 40, 60, 50]).collect()
}

#[tokio::test]
async fn item_below_its_reorder_point_is_ordered_with_its_reasoning() {
    let policy = json!({"lead_time": 3, "review": 1, "pack": 12, "order_cost": 20, "unit_cost": 1.5});
    let items = json!([
        {"item": "whole-milk", "left": 30, "history": weeks(8), "supplier": "Dairy"},
        {"item": "oat-milk", "left": 5_000, "history": weeks(8)},
    ]);
    let found = call("inventory.forecast", json!({"shop": 7, "policy": policy, "items": items})).await.unwrap();
    let [(event, order)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((event.kind(), event.source()), ("inventory.reorder", "/functions/inventory-optimizer"));
    assert_eq!(event.get("subject").unwrap().to_string(), "whole-milk");
    assert_eq!(event.get("partitionkey").unwrap().to_string(), "shop-7");
    // Four days at 20 + 22 + 21 + 25; a year at 238 a week: √(2 · 12410 · 20 / 0.375) = 1151, in packs of 12.
    assert!((order.reasoning.demand_lead_time - 88.0).abs() < 2.0, "{order:?}");
    assert!((order.reasoning.economic_quantity.unwrap() - 1_151.0).abs() < 30.0, "{order:?}");
    assert_eq!(order.quantity, order.packs as f64 * 12.0);
    assert!((order.quantity - 1_151.0).abs() < 40.0, "{order:?}");
    assert!(order.urgent && order.reasoning.method.starts_with("holt-winters"), "{order:?}");
    assert_eq!(order.supplier.as_deref(), Some("Dairy"));
    assert!(order.reasoning.steps[0].contains("30 on hand + 0 on order - 0 owed"), "{order:?}");
}

#[tokio::test]
async fn what_is_on_order_counts_and_what_is_owed_too() {
    let item = |on_order: u32, owed: u32| json!({"shop": 1, "items": [{"item": "beans", "left": 10, "on_order": on_order, "owed": owed, "history": weeks(4)}]});
    assert_eq!(call("inventory.forecast", item(0, 0)).await.unwrap().len(), 1);
    assert_eq!(call("inventory.forecast", item(500, 0)).await.unwrap().len(), 0);
    assert_eq!(call("inventory.forecast", item(500, 500)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn shelf_life_bounds_the_order_and_the_reasoning_says_so() {
    let policy = json!({"lead_time": 1, "order_cost": 500, "unit_cost": 0.1, "shelf_life": 4});
    let data = json!({"shop": 1, "policy": policy, "items": [{"item": "milk", "left": 5, "history": weeks(8)}]});
    let found = call("inventory.forecast", data).await.unwrap();
    let (_, order) = &found[0];
    // What arrives tomorrow has four days: 22 + 21 + 25 + 40.
    assert!(order.quantity <= 110.0 && order.quantity > 90.0, "{order:?}");
    assert!(order.reasoning.steps.iter().any(|step| step.contains("more would spoil")), "{order:?}");
}

#[tokio::test]
async fn low_item_without_a_history_is_filled_up_by_its_threshold() {
    let data =
        json!({"shop": 4, "item": "whole-milk", "left": 3796, "threshold": 20000, "unit": "ml", "supplier": "Finca"});
    let found = call("inventory.low", data).await.unwrap();
    let (_, order) = &found[0];
    assert_eq!((order.quantity, order.reasoning.method.as_str()), (36_204.0, "min-max"));
    assert_eq!(order.unit.as_deref(), Some("ml"));
}

#[tokio::test]
async fn low_item_with_a_history_keeps_the_higher_of_threshold_and_need() {
    let low = |left: u32, threshold: u32| json!({"shop": 4, "item": "m", "left": left, "threshold": threshold, "history": weeks(8)});
    assert_eq!(call("inventory.low", low(60, 10)).await.unwrap().len(), 0);
    let found = call("inventory.low", low(60, 100)).await.unwrap();
    let (_, order) = &found[0];
    assert_eq!(order.reorder_point, 100.0);
    assert!(order.quantity >= 40.0, "{order:?}");
    assert!(order.reasoning.steps.iter().any(|step| step.contains("the threshold")), "{order:?}");
}

#[tokio::test]
async fn higher_service_level_keeps_more() {
    let noisy: Vec<u32> = (0..56).map(|day| 20 + day * 7 % 13).collect();
    let at = |level: f64| json!({"shop": 4, "item": "m", "left": 0, "threshold": 0, "history": noisy, "policy": {"service_level": level}});
    let low = call("inventory.low", at(0.8)).await.unwrap();
    let high = call("inventory.low", at(0.99)).await.unwrap();
    assert!(high[0].1.reasoning.safety_stock > 2.0 * low[0].1.reasoning.safety_stock);
}

#[tokio::test]
async fn figure_that_cannot_be_used_is_refused_with_its_place() {
    let item = |change: Value| {
        let mut item = json!({"item": "m", "left": 1, "history": [1, 2, 3]});
        item.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"shop": 1, "items": [{"item": "fine", "left": 1, "history": []}, item]})
    };
    for (change, place) in [
        (json!({"history": [1, -2]}), "data.items[1].history[1]: -2"),
        (json!({"left": -1}), "data.items[1].left: -1"),
        (json!({"left": 1e300}), "data.items[1].left: 1"),
        (json!({"item": ""}), "data.items[1].item"),
        (json!({"policy": {"service_level": 1.0}}), "data.items[1].policy.service_level: 1 "),
        (json!({"policy": {"pack": 0}}), "data.items[1].policy.pack: 0"),
        (json!({"policy": {"season": 0}}), "data.items[1].policy.season: 0"),
        (json!({"policy": {"lead_time": 367}}), "data.items[1].policy.lead_time: 367"),
        (json!({"policy": {"leadtime": 3}}), "data.items[1].policy"),
        (json!({"history": "much"}), "data.items[1].history"),
    ] {
        let failure = call("inventory.forecast", item(change)).await.unwrap_err();
        assert_eq!(failure.kind, function_host::Kind::Refuse);
        assert!(failure.message.starts_with(place), "{}: {}", place, failure.message);
    }
}

#[tokio::test]
async fn too_many_items_are_refused_whole() {
    let items: Vec<Value> = (0..1_001).map(|_| json!({"item": "m", "left": 1, "history": []})).collect();
    let failure = call("inventory.forecast", json!({"shop": 1, "items": items})).await.unwrap_err();
    assert_eq!(failure.code.0, "items-too-many");
}

#[test]
fn setting_that_cannot_be_used_ends_the_start() {
    let start = |name: &str, value: &str| InventoryOptimizer::start(&[(name, value)].into_iter().collect());
    assert!(start("INVENTORY_SERVICE_LEVEL", "0.9").is_ok());
    let error = start("INVENTORY_SERVICE_LEVEL", "1.5").unwrap_err();
    assert_eq!(&*error.name, "INVENTORY_SERVICE_LEVEL");
    assert_eq!(&*start("INVENTORY_LEAD_TIME", "soon").unwrap_err().name, "INVENTORY_LEAD_TIME");
}
