//! Goal: the latest price counts, and what is kept is bounded.

use super::{Graph, Key, MARKETS_MAX, TOKENS_MAX, Update, Updated};
use crate::{
    amount::Step,
    market::{Market, Priced, Side},
};

fn update(pair: &str, venue: &str, quote: &str, at_ms: i64) -> Update {
    let fine = Step::of(18).unwrap();
    let market = Market::Pool { base: "100".parse().unwrap(), quote: quote.parse().unwrap(), fee_parts: 3_000 };
    let key = Key { venue: venue.into(), market: "".into(), pair: pair.into() };
    Update { key, priced: Priced { market, steps: [fine, fine] }, at_ms, fresh_until_ms: at_ms + 100 }
}

fn rate(graph: &Graph, market: usize) -> f64 {
    let listing = graph.market(market).unwrap();
    let edge = graph.edges(listing.tokens[0]).iter().find(|e| e.market == market && e.side == Side::Sell).unwrap();
    let back = graph.edges(listing.tokens[1]).iter().find(|e| e.market == market && e.side == Side::Buy).unwrap();
    assert_eq!((edge.log, edge.log_back), (back.log_back, back.log));
    (-edge.log).exp()
}

#[test]
fn later_price_replaces_and_an_older_one_does_not() {
    let mut graph = Graph::new(0);
    assert_eq!(graph.update(update("A/B", "v", "200", 10), 10), Updated::Market(0));
    assert_eq!(graph.update(update("A/B", "w", "300", 10), 10), Updated::Market(1));
    assert_eq!(graph.update(update("A/B", "v", "400", 11), 11), Updated::Market(0));
    assert!((rate(&graph, 0) - 4.0 * 0.997).abs() < 1e-12);
    assert_eq!(graph.update(update("A/B", "v", "500", 10), 12), Updated::Older);
    assert!((rate(&graph, 0) - 4.0 * 0.997).abs() < 1e-12);
    assert!((rate(&graph, 1) - 3.0 * 0.997).abs() < 1e-12);
    assert_eq!((graph.markets(), graph.tokens()), (2, 2));
}

#[test]
fn empty_pool_is_no_way() {
    let mut graph = Graph::new(0);
    graph.update(update("A/B", "v", "0", 10), 10);
    assert!(graph.edges(0)[0].log.is_infinite() && graph.edges(1)[0].log.is_infinite());
}

#[test]
fn full_graph_forgets_what_is_too_old_and_else_says_so() {
    let mut graph = Graph::new(0);
    for i in 0..MARKETS_MAX {
        let at = if i % 2 == 0 { 0 } else { 1_000 };
        assert_eq!(graph.update(update("A/B", &i.to_string(), "1", at), 0), Updated::Market(i));
    }
    assert_eq!(graph.update(update("A/B", "new", "1", 5), 0), Updated::Full);
    assert_eq!(graph.update(update("A/B", "new", "7", 1_000), 1_000), Updated::Market(MARKETS_MAX / 2));
    assert!((rate(&graph, MARKETS_MAX / 2) - 0.07 * 0.997).abs() < 1e-12);
    // A market from before is found at its new place.
    let Updated::Market(place) = graph.update(update("A/B", "1", "9", 1_001), 1_001) else { panic!() };
    assert!((rate(&graph, place) - 0.09 * 0.997).abs() < 1e-12);
    assert_eq!(graph.markets(), MARKETS_MAX / 2 + 1);
}

#[test]
fn tokens_are_bounded_too() {
    let mut graph = Graph::new(0);
    for i in 0..TOKENS_MAX / 2 {
        graph.update(update(&format!("A{i}/B{i}"), "v", "1", 0), 0);
    }
    assert_eq!(graph.update(update("A0/B1", "v", "1", 0), 0), Updated::Market(TOKENS_MAX / 2));
    assert_eq!(graph.update(update("A0/C", "v", "1", 0), 0), Updated::Full);
}
