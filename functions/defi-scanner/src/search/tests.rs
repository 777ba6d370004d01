//! Goal: every report gains when simulated exactly, and no better cycle is missed.

use proptest::prelude::*;

use super::{Base, Found, Search, Terms, search};
use crate::{
    amount::{Amount, Step},
    graph::{Graph, Key, Update, Updated},
    market::{Market, Priced, Side, less},
};

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn base(token: &str) -> Base {
    Base { token: token.into(), gas: amount("0.01"), profit_min: amount("0.001"), input_max: amount("100000") }
}

fn terms(hops_max: usize, slippage_parts: u32) -> Terms {
    Terms { bases: vec![base("T0"), base("T1")], hops_max, slippage_parts, gain_parts_max: 5_000_000 }
}

fn priced(market: Market) -> Priced {
    Priced { market, steps: [Step::of(18).unwrap(), Step::of(6).unwrap()] }
}

fn pool(base: f64, quote: f64) -> Market {
    Market::Pool { base: Amount::from_f64(base).unwrap(), quote: Amount::from_f64(quote).unwrap(), fee_parts: 3_000 }
}

fn graph_of(markets: &[(&str, &str, Market)], slippage_parts: u32) -> (Graph, usize) {
    let mut graph = Graph::new(slippage_parts);
    let mut last = 0;
    for (venue, pair, market) in markets {
        let key = Key { venue: (*venue).into(), market: "".into(), pair: (*pair).into() };
        let update = Update { key, priced: priced(*market), at_ms: 0, fresh_until_ms: 100 };
        let Updated::Market(place) = graph.update(update, 0) else { panic!() };
        last = place;
    }
    (graph, last)
}

/// Simulates a report without anything of the search: hop by hop, as it says.
fn check(graph: &Graph, terms: &Terms, found: &Found) {
    let base = &terms.bases[found.base];
    let (mut amount, mut least) = (found.amount_in, found.amount_in);
    let mut token = base.token.to_string();
    for step in &found.steps {
        let listing = graph.market(step.market).unwrap();
        let (one, other) = listing.key.pair.split_once('/').unwrap();
        let (from, to) = if step.side == Side::Sell { (one, other) } else { (other, one) };
        assert_eq!(token, from, "the hops hang together");
        token = to.to_owned();
        assert_eq!(step.amount_in, amount);
        amount = listing.priced.output(step.side, amount).unwrap();
        least = less(listing.priced.output(step.side, least).unwrap(), terms.slippage_parts).unwrap();
        least = least.floor(listing.priced.step_out(step.side));
        assert_eq!((step.amount_out, step.amount_out_min), (amount, least));
    }
    assert_eq!(token, &*base.token, "the way comes back");
    let gas = base.gas.times(found.steps.len() as u32).unwrap();
    let spent = found.amount_in.plus(gas).unwrap();
    assert_eq!(Some(found.profit), amount.minus(spent));
    assert_eq!(Some(found.profit_min), least.minus(spent));
    assert!(found.profit_min >= base.profit_min && !found.profit_min.is_zero());
    assert!(found.amount_in <= base.input_max);
    assert!(found.steps.len() <= terms.hops_max);
    let mut markets: Vec<usize> = found.steps.iter().map(|step| step.market).collect();
    markets.sort_unstable();
    markets.dedup();
    assert_eq!(markets.len(), found.steps.len(), "no market twice");
}

#[test]
fn two_venues_with_different_prices_are_found() {
    let (graph, changed) = graph_of(&[("a", "T1/T0", pool(1e3, 2e6)), ("b", "T1/T0", pool(1e3, 2.1e6))], 500);
    let all = search(&graph, changed, &terms(2, 500), 0);
    assert_eq!((all.found.len(), all.gaining, all.implausible), (1, 1, 0));
    let found = &all.found[0];
    check(&graph, &terms(2, 500), found);
    // Bought where it is cheap, sold where it is dear.
    assert_eq!((found.steps[0].market, found.steps[0].side), (0, Side::Buy));
    assert_eq!((found.steps[1].market, found.steps[1].side), (1, Side::Sell));
    assert!(found.profit_min > amount("400"), "{found:?}");
}

#[test]
fn three_hops_are_found_and_two_allowed_ones_are_not_enough() {
    let markets = [("a", "T1/T0", pool(1e3, 2e6)), ("a", "T2/T1", pool(1e4, 1e2)), ("b", "T2/T0", pool(1e4, 2.1e5))];
    let (graph, changed) = graph_of(&markets, 0);
    let all = search(&graph, changed, &terms(3, 0), 0);
    check(&graph, &terms(3, 0), &all.found[0]);
    assert_eq!(all.found[0].steps.len(), 3);
    assert_eq!(search(&graph, changed, &terms(2, 0), 0), Search::default());
}

#[test]
fn price_that_is_too_old_is_not_used() {
    let (graph, changed) = graph_of(&[("a", "T1/T0", pool(1e3, 2e6)), ("b", "T1/T0", pool(1e3, 2.1e6))], 0);
    assert_eq!(search(&graph, changed, &terms(2, 0), 100).found.len(), 1);
    assert_eq!(search(&graph, changed, &terms(2, 0), 101), Search::default());
}

#[test]
fn gas_slippage_and_the_least_profit_decide() {
    let markets = [("a", "T1/T0", pool(1e3, 2e6)), ("b", "T1/T0", pool(1e3, 2.02e6))];
    let (graph, changed) = graph_of(&markets, 0);
    let profit = search(&graph, changed, &terms(2, 0), 0).found[0].profit_min;
    assert!(profit > amount("1") && profit < amount("20"), "{profit}");
    let mut dear = terms(2, 0);
    dear.bases[0].gas = amount("10");
    assert_eq!(search(&graph, changed, &dear, 0).found, []);
    let mut proud = terms(2, 0);
    proud.bases[0].profit_min = amount("20");
    assert_eq!(search(&graph, changed, &proud, 0).found, []);
    let (graph, changed) = graph_of(&markets, 3_000);
    assert_eq!(search(&graph, changed, &terms(2, 3_000), 0), Search::default());
}

#[test]
fn gain_that_is_too_good_to_be_true_is_told_apart() {
    let (graph, changed) = graph_of(&[("a", "T1/T0", pool(1e3, 2e6)), ("b", "T1/T0", pool(1e3, 2e8))], 0);
    let all = search(&graph, changed, &Terms { gain_parts_max: 200_000, ..terms(2, 0) }, 0);
    assert_eq!((all.found.len(), all.implausible), (0, 1));
}

#[test]
fn cycle_through_no_base_is_not_reported() {
    let (graph, changed) = graph_of(&[("a", "T7/T8", pool(1e3, 2e6)), ("b", "T7/T8", pool(1e3, 2.1e6))], 0);
    assert_eq!(search(&graph, changed, &terms(2, 0), 0), Search::default());
}

#[test]
fn book_is_used_up_to_its_size_even_where_slippage_would_leave_room() {
    let book = Market::Book {
        bid: amount("2100"),
        bid_size: amount("0.5"),
        ask: amount("2101"),
        ask_size: amount("1"),
        fee_parts: 1_000,
    };
    let (graph, changed) = graph_of(&[("a", "T1/T0", pool(1e5, 2e8)), ("b", "T1/T0", book)], 1_000);
    let found = search(&graph, changed, &terms(2, 1_000), 0).found.remove(0);
    check(&graph, &terms(2, 1_000), &found);
    let sold = found.steps[1].amount_in;
    assert!(sold <= amount("0.5") && sold > amount("0.49999"), "{sold}");
}

/// Every cycle through a market up to some hops, by trying all.
fn all_cycles(graph: &Graph, changed: usize, hops_max: usize) -> Vec<Vec<(usize, Side)>> {
    fn deeper(
        graph: &Graph,
        start: usize,
        token: usize,
        hops_max: usize,
        path: &mut Vec<(usize, Side, usize)>,
        out: &mut Vec<Vec<(usize, Side)>>,
    ) {
        for edge in graph.edges(token) {
            if path.iter().any(|(market, _, to)| *market == edge.market || *to == edge.to) || path.len() == hops_max {
                continue;
            }
            path.push((edge.market, edge.side, edge.to));
            if edge.to == start {
                out.push(path.iter().map(|(market, side, _)| (*market, *side)).collect());
            } else {
                deeper(graph, start, edge.to, hops_max, path, out);
            }
            path.pop();
        }
    }
    let mut out = Vec::new();
    for start in 0..graph.tokens() {
        deeper(graph, start, start, hops_max, &mut Vec::new(), &mut out);
    }
    out.retain(|path| path.iter().any(|(market, _)| *market == changed));
    out
}

/// What a cycle gains at an input, exactly; minus infinity when it does not take it.
fn gain(graph: &Graph, terms: &Terms, base: &Base, path: &[(usize, Side)], input: f64) -> f64 {
    let start = Amount::from_f64(input).unwrap();
    let (mut amount, mut least) = (start, start);
    for (market, side) in path {
        let priced = &graph.market(*market).unwrap().priced;
        let Some(out) = priced.output(*side, amount) else { return f64::NEG_INFINITY };
        let Some(low) = priced.output(*side, least) else { return f64::NEG_INFINITY };
        least = less(low, terms.slippage_parts).unwrap().floor(priced.step_out(*side));
        amount = out;
    }
    least.to_f64() - start.to_f64() - base.gas.to_f64() * path.len() as f64
}

/// The best gain of a cycle by a search over the input alone: a grid, then thirds around its best.
fn best_gain(graph: &Graph, terms: &Terms, base: &Base, path: &[(usize, Side)]) -> f64 {
    let gain = |input: f64| gain(graph, terms, base, path, input);
    let grid: Vec<f64> =
        (0..=200).map(|i| base.input_max.to_f64() * 10_f64.powf(-8.0 + 8.0 * f64::from(i) / 200.0)).collect();
    let best = (0..grid.len()).max_by(|a, b| gain(grid[*a]).total_cmp(&gain(grid[*b]))).unwrap();
    let (mut low, mut high) = (grid[best.saturating_sub(1)], grid[(best + 1).min(grid.len() - 1)]);
    for _ in 0..80 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if gain(a) < gain(b) { low = a } else { high = b }
    }
    gain(low).max(gain(grid[best]))
}

/// A small world: a few tokens, each with a price; markets near those prices.
fn world() -> impl Strategy<Value = (Vec<(String, String, Market)>, usize, u32)> {
    let market = (0..4_usize, 1..4_usize, 0..3_usize, any::<bool>(), 2.0..6.0_f64, 0.93..1.07_f64, 0.01..50.0_f64);
    (prop::collection::vec(market, 2..9), 2..=5_usize, prop::sample::select(vec![0_u32, 1_000])).prop_map(
        |(markets, hops_max, slippage_parts)| {
            let price = [1.0, 3.0, 0.2, 40.0];
            let markets = markets.into_iter().map(|(one, other, venue, is_pool, depth, shift, size)| {
                let other = (one + other) % 4;
                let worth = price[one] / price[other] * shift;
                let deep = 10_f64.powf(depth) / price[one];
                let text = |n: f64| Amount::from_f64(n).unwrap();
                let market = if is_pool {
                    pool(deep, deep * worth)
                } else {
                    let (bid, ask) = (text(worth * 0.999), text(worth * 1.001));
                    Market::Book { bid, bid_size: text(size), ask, ask_size: text(size / 2.0), fee_parts: 1_000 }
                };
                (format!("v{venue}"), format!("T{one}/T{other}"), market)
            });
            (markets.collect(), hops_max, slippage_parts)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn every_report_gains_exactly_and_brute_force_finds_nothing_better((markets, hops_max, slippage_parts) in world()) {
        let listed: Vec<(&str, &str, Market)> = markets.iter().map(|(v, p, m)| (v.as_str(), p.as_str(), *m)).collect();
        let (graph, changed) = graph_of(&listed, slippage_parts);
        let terms = terms(hops_max, slippage_parts);
        let all = search(&graph, changed, &terms, 0);
        prop_assert!(!all.cut && all.implausible == 0);
        for found in &all.found {
            check(&graph, &terms, found);
        }
        // Cycles are counted in the first base that they go through, as the search does.
        let cycles = all_cycles(&graph, changed, hops_max);
        for (index, base) in terms.bases.iter().enumerate() {
            let starts_at = |path: &[(usize, Side)], token: &str| {
                let (market, side) = path[0];
                let listing = graph.market(market).unwrap();
                graph.name(listing.tokens[usize::from(side == Side::Buy)]) == token
            };
            let through_first = |path: &[(usize, Side)]| {
                (0..path.len()).any(|i| { let mut p = path.to_vec(); p.rotate_left(i); starts_at(&p, "T0") })
            };
            let counted = cycles.iter().filter(|path| starts_at(path, &base.token) && (index == 0 || !through_first(path)));
            let best = counted.map(|path| best_gain(&graph, &terms, base, path)).fold(f64::NEG_INFINITY, f64::max);
            let reported = all.found.iter().find(|f| f.base == index).map(|f| f.profit_min.to_f64());
            // One step of the coarser token, and the doubles of the search over the input.
            let tolerance = 1e-4 + best.abs() * 1e-6;
            match reported {
                Some(reported) => prop_assert!(reported >= best - tolerance, "{reported} {best}"),
                None => prop_assert!(best <= base.profit_min.to_f64() + tolerance, "missed {best}"),
            }
        }
    }
}

fn cases() -> u32 {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 20_000 } else { 300 }
}
