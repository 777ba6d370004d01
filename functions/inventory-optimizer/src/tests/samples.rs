//! Goal: the samples are events that the function takes, and their answers are known.

use function_host::{Host, Settings};
use schemas::payload::inventory::Reorder;

use crate::InventoryOptimizer;

async fn orders(sample: &[u8]) -> Vec<(String, f64, String)> {
    let host = Host::<InventoryOptimizer>::for_tests(Settings::default(), Default::default()).unwrap();
    let replies = host.call(schemas::json::decode(sample).unwrap()).await.unwrap();
    let orders = replies.iter().map(|reply| serde_json::from_slice::<Reorder>(reply.data()).unwrap());
    orders.map(|order| (order.item, order.quantity, order.reasoning.method)).collect()
}

#[tokio::test]
async fn samples_are_answered_as_expected() {
    let low = orders(include_bytes!("../../samples/low.json")).await;
    assert_eq!(low, [("whole-milk".to_owned(), 36_204.0, "min-max".to_owned())]);
    let low = orders(include_bytes!("../../samples/low-with-history.json")).await;
    assert_eq!(low, [("oat-milk".to_owned(), 48.0, "holt-winters-multiplicative".to_owned())]);
    let forecast = orders(include_bytes!("../../samples/forecast.json")).await;
    let items: Vec<_> = forecast.iter().map(|(item, _, method)| (item.as_str(), method.as_str())).collect();
    assert_eq!(items, [("whole-milk", "holt-winters-multiplicative"), ("decaf-beans", "sba")]);
}
