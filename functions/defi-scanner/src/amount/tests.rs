//! Goal: amounts are exact, whatever their size, and their text comes back.

use proptest::prelude::*;

use super::{AMOUNT_MAX, Amount, AmountError, ONE, Step, mul_div, wide_mul};

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

#[test]
fn text_is_read_and_written_exactly() {
    for text in ["0", "1", "0.1", "1234.5", "0.000000000000000001", "96776.390972", "162259276829213"] {
        assert_eq!(amount(text).to_string(), text);
    }
    assert_eq!(amount("1.50").to_string(), "1.5");
    assert_eq!(amount("007").to_string(), "7");
    assert_eq!(amount("1.0000000000000000000000").units(), ONE);
}

#[test]
fn text_that_is_no_amount_is_refused_with_the_reason() {
    for text in ["", ".", "1.", ".5", "-1", "+1", "1e5", "1,5", " 1", "NaN", "1.2.3", "٣"] {
        assert!(matches!(text.parse::<Amount>(), Err(AmountError::NotDecimal(_))), "{text}");
    }
    assert!(matches!("0.0000000000000000001".parse::<Amount>(), Err(AmountError::TooFine(_))));
    for text in ["162259276829214", "99999999999999999999999999999999999999999999999"] {
        assert!(matches!(text.parse::<Amount>(), Err(AmountError::TooLarge(_))), "{text}");
    }
    assert!(matches!(Step::of(19), Err(AmountError::Decimals(19))));
}

#[test]
fn steps_round_down() {
    assert_eq!(amount("1.23456789").floor(Step::of(6).unwrap()), amount("1.234567"));
    assert_eq!(amount("1.23456789").floor(Step::of(0).unwrap()), amount("1"));
    assert_eq!(amount("1.23456789").floor(Step::of(18).unwrap()), amount("1.23456789"));
}

#[test]
fn quotient_at_the_edges() {
    assert_eq!(mul_div(u128::MAX, u128::MAX, u128::MAX), Some(u128::MAX));
    assert_eq!(mul_div(u128::MAX, 2, 1), None);
    assert_eq!(mul_div(1, 1, 0), None);
    assert_eq!(mul_div(u128::MAX, u128::MAX, 0), None);
    assert_eq!(mul_div(u128::MAX - 1, u128::MAX - 1, u128::MAX), Some(u128::MAX - 2));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn quotient_times_divisor_plus_remainder_is_the_product(a: u128, b: u128, c: u128, shift in 0..127_u32) {
        let (a, c) = (a >> (shift / 2), (c >> (shift / 3)).max(1));
        match mul_div(a, b, c) {
            // Only when the quotient does not fit: c · 2¹²⁸ ≤ a · b.
            None => prop_assert!(wide_mul(a, b).0 >= c),
            Some(q) => {
                // q · c ≤ a · b < (q + 1) · c, compared in 256 bits.
                prop_assert!(wide_mul(q, c) <= wide_mul(a, b));
                let (high, low) = wide_mul(q, c);
                let (next, carried) = low.overflowing_add(c);
                prop_assert!((high + u128::from(carried), next) > wide_mul(a, b));
            }
        }
    }

    #[test]
    fn text_comes_back(units in 0..=AMOUNT_MAX) {
        let amount = Amount::new(units).unwrap();
        prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
    }

    #[test]
    fn doubles_are_near(units in 0..=AMOUNT_MAX) {
        let amount = Amount::new(units).unwrap();
        let back = Amount::from_f64(amount.to_f64()).unwrap();
        prop_assert!(back.units().abs_diff(units) <= units / (1 << 50) + 1, "{} {}", back, amount);
    }
}
