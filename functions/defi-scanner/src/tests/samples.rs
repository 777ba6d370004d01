//! Goal: the samples are events that the function takes, and together they open a cycle.

use function_host::{Host, Settings};
use jiff::Timestamp;
use schemas::payload::defi::Opportunity;

use crate::DefiScanner;

#[tokio::test]
async fn samples_open_a_cycle_of_three_hops() {
    let now: Timestamp = "2026-01-15T06:30:31.2Z".parse().unwrap();
    let host = Host::<DefiScanner>::for_tests(Settings::default(), now).unwrap();
    let quiet = [
        &include_bytes!("../../samples/1-pool.json")[..],
        include_bytes!("../../samples/2-quote.json"),
        include_bytes!("../../samples/3-indication.json"),
    ];
    for sample in quiet {
        assert_eq!(host.call(schemas::json::decode(sample).unwrap()).await.unwrap(), []);
    }
    let last = schemas::json::decode(include_bytes!("../../samples/4-opens-a-cycle.json")).unwrap();
    let replies = host.call(last).await.unwrap();
    let found: Opportunity = serde_json::from_slice(replies[0].data()).unwrap();
    let way: Vec<_> = found.path.iter().map(|hop| hop.to.as_str()).collect();
    assert_eq!((found.token.as_str(), way), ("USDC", vec!["COFFEE", "WETH", "USDC"]));
    assert!(found.profit_min.parse::<f64>().unwrap() > 1.0, "{found:?}");
}
