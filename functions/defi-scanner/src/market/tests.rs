//! Goal: a market gives exactly what its contract would, and the closed form finds the best input.

use super::{Curve, Market, Priced, Side};
use crate::amount::{Amount, Step};

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn pool(base: &str, quote: &str) -> Priced {
    let fine = Step::of(18).unwrap();
    let market = Market::Pool { base: amount(base), quote: amount(quote), fee_parts: 3_000 };
    Priced { market, steps: [fine, fine] }
}

#[test]
fn pool_gives_what_uniswaps_test_vectors_say() {
    // Uniswap/v2-core, test/UniswapV2Pair.spec.ts, swapTestCases: input, reserve in, reserve out, output.
    for (input, reserve_in, reserve_out, output) in [
        ("1", "5", "10", "1.662497915624478906"),
        ("1", "10", "5", "0.453305446940074565"),
        ("2", "5", "10", "2.851015155847869602"),
        ("2", "10", "5", "0.831248957812239453"),
        ("1", "10", "10", "0.906610893880149131"),
        ("1", "100", "100", "0.987158034397061298"),
        ("1", "1000", "1000", "0.996006981039903216"),
    ] {
        let found = pool(reserve_in, reserve_out).output(Side::Sell, amount(input)).unwrap();
        assert_eq!(found.to_string(), output, "{input} into {reserve_in}/{reserve_out}");
        let other = pool(reserve_out, reserve_in).output(Side::Buy, amount(input)).unwrap();
        assert_eq!(other.to_string(), output);
    }
}

#[test]
fn outputs_are_rounded_down_to_the_tokens_step() {
    let mut pool = pool("5", "10");
    pool.steps[1] = Step::of(6).unwrap();
    assert_eq!(pool.output(Side::Sell, amount("1")).unwrap().to_string(), "1.662497");
    assert_eq!(pool.output(Side::Sell, amount("0.0000001")), None);
}

#[test]
fn book_gives_its_price_up_to_its_size_less_the_fee() {
    let fine = Step::of(18).unwrap();
    let market = Market::Book {
        bid: amount("2000"),
        bid_size: amount("3"),
        ask: amount("2001"),
        ask_size: amount("2"),
        fee_parts: 1_000,
    };
    let book = Priced { market, steps: [fine, fine] };
    assert_eq!(book.output(Side::Sell, amount("3")).unwrap().to_string(), "5994");
    assert_eq!(book.output(Side::Sell, amount("3.000000000000000001")), None);
    assert_eq!(book.output(Side::Buy, amount("4002")).unwrap().to_string(), "1.998");
    assert_eq!(book.output(Side::Buy, amount("4002.01")), None);
}

#[test]
fn virtual_pool_is_the_chain() {
    let chain = [pool("1000", "2000"), pool("500", "900"), pool("10", "7")];
    let curves = chain.map(|pool| pool.curve(Side::Sell, 0).unwrap());
    let whole = curves.iter().fold(Curve::SAME, |sum, next| sum.then(next));
    for input in [0.001, 1.0, 50.0] {
        let exact = chain.iter().fold(Amount::from_f64(input).unwrap(), |a, pool| pool.output(Side::Sell, a).unwrap());
        assert!((whole.output(input) - exact.to_f64()).abs() < 1e-9, "{input} {exact}");
    }
}

#[test]
fn best_input_of_two_pools_is_the_known_closed_form() {
    // Pool A: 1000 token for 1000 base; pool B: 1000 base for 1200 token. With r = 0.997:
    // Ea = x₀ x₁ / (x₁ + r y₀), Eb = r y₀ y₁ / (x₁ + r y₀), best = (√(r Ea Eb) - Ea) / r.
    let (first, second, kept) = (pool("1000", "1000"), pool("1000", "1200"), 0.997_f64);
    let (ea, eb) = (1000.0 * 1000.0 / (1000.0 + kept * 1000.0), kept * 1000.0 * 1200.0 / (1000.0 + kept * 1000.0));
    let known = ((kept * ea * eb).sqrt() - ea) / kept;
    let chain = first.curve(Side::Sell, 0).unwrap().then(&second.curve(Side::Sell, 0).unwrap());
    let best = chain.best_input().unwrap();
    assert!((best - known).abs() < 1e-9, "{best} {known}");
    // And no input near it gains more.
    let gain = |input: f64| chain.output(input) - input;
    assert!(gain(best) > gain(best * 1.001) && gain(best) > gain(best * 0.999));
    assert!(gain(best) > 0.0);
}

#[test]
fn chain_that_loses_has_no_best_input() {
    let chain =
        pool("1000", "1000").curve(Side::Sell, 0).unwrap().then(&pool("1000", "1005").curve(Side::Sell, 0).unwrap());
    assert_eq!(chain.best_input(), None);
}

#[test]
fn input_stays_within_every_size_on_the_way() {
    let take = |rate: f64, input_max: f64| Curve { rate, bend: 0.0, input_max };
    let bent = Curve { rate: 2.0, bend: 0.01, input_max: f64::INFINITY };
    // The second takes at most 10: 2x / (1 + 0.01x) = 10 at x = 10 / (2 - 0.1).
    let chain = bent.then(&take(1.0, 10.0));
    assert!((chain.input_max - 10.0 / 1.9).abs() < 1e-12);
    assert_eq!(take(2.0, 7.0).then(&take(1.0, 100.0)).best_input(), Some(7.0));
    // A pool that can never give that much does not bound the input.
    assert_eq!(bent.then(&take(1.0, 500.0)).input_max, f64::INFINITY);
}
