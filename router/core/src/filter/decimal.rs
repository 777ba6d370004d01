//! Numbers by value, exactly: `300`, `300.0` and `3e2` are one number, and no digit is lost to a
//! floating-point format.

use std::cmp::Ordering;

/// The value of a JSON number: `0.digits * 10^exponent`, negated where asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads a JSON number (RFC 8259, section 6). An exponent beyond 64 bits counts as the largest one.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (rest.get(..at)?, exponent(rest.get(at + 1..)?)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let zeros = all.iter().take_while(|d| **d == b'0').count();
        let mut digits = all.get(zeros..)?.to_vec();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Decimal { negative: false, digits, exponent: 0 });
        }
        let point = i64::try_from(whole.len()).ok()?.saturating_sub(i64::try_from(zeros).ok()?);
        Some(Decimal { negative, digits, exponent: exponent.saturating_add(point) })
    }
}

fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let huge = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.strip_prefix('+').unwrap_or(text).parse().unwrap_or(huge))
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |d: &Decimal| {
            if d.digits.is_empty() {
                0
            } else if d.negative {
                -1
            } else {
                1
            }
        };
        let size = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => size(),
            _ => size().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn one_value_however_it_is_written() {
        for same in [
            ["300", "300.0"],
            ["300", "3e2"],
            ["0.05", "5E-2"],
            ["-0", "0.000"],
            ["0e5", "0"],
            ["1e+2", "100"],
            ["10", "1000e-2"],
        ] {
            assert_eq!(d(same[0]), d(same[1]), "{same:?}");
        }
        assert_ne!(d("9007199254740993"), d("9007199254740992"), "no digit is lost");
    }

    #[test]
    fn order_is_that_of_the_values() {
        let rising = [
            "-1e99999999999999999999",
            "-200",
            "-20.5",
            "-20.05",
            "-0.001",
            "0",
            "1e-9",
            "0.5",
            "0.55",
            "5",
            "49",
            "50",
            "123456789012345678901",
            "1e99999999999999999999",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(d(a).cmp(&d(b)), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for bad in ["", "-", ".5", "1e", "1e+", "abc", "1a", "0x10", "1.2.3", "NaN"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }
}
