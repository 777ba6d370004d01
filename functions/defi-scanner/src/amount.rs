//! Exact amounts: whole numbers of 10⁻¹⁸, as tokens on a chain count, so that what is calculated here is what a pool
//! would pay, to the last unit. See docs/decisions/0014-amounts-are-whole-numbers.md.
//!
//! A token with fewer decimals than 18 moves in larger steps ([`Step`]); results are rounded down to them, as the
//! contracts do.

use std::{fmt, str::FromStr};

/// Decimals of an [`Amount`]'s unit.
pub const DECIMALS: u32 = 18;
/// One whole token.
pub const ONE: u128 = 1_000_000_000_000_000_000;
/// The largest amount, 2¹⁰⁷ units or about 1.6 · 10¹⁴ tokens: times a million (the scale of fees) and doubled it stays
/// below 2¹²⁸.
pub const AMOUNT_MAX: u128 = 1 << 107;
/// The scale of fees: parts of a million.
pub const PARTS: u128 = 1_000_000;
/// Characters of an amount's text: more digits than it can have.
pub const TEXT_BYTES_MAX: usize = 64;

/// A quantity or a price, not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

/// The smallest quantity that a token can move in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(u128);

/// A text that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// Not digits with at most one point.
    #[error("{0:?} is not a decimal number such as \"1234.5\"")]
    NotDecimal(String),
    /// Digits after the eighteenth decimal that are not zero.
    #[error("{0:?} has more than 18 decimals")]
    TooFine(String),
    /// Above [`AMOUNT_MAX`].
    #[error("{0:?} is too large: at most 162259276829213 can be counted")]
    TooLarge(String),
    /// More decimals than 18.
    #[error("a token with {0} decimals cannot be counted: at most 18")]
    Decimals(u32),
}

impl Step {
    /// The step of a token with so many decimals.
    ///
    /// # Errors
    /// More than [`DECIMALS`].
    pub fn of(decimals: u32) -> Result<Self, AmountError> {
        let left = DECIMALS.checked_sub(decimals).ok_or(AmountError::Decimals(decimals))?;
        Ok(Step(10_u128.pow(left)))
    }
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// From units of 10⁻¹⁸; `None` above [`AMOUNT_MAX`].
    pub fn new(units: u128) -> Option<Self> {
        (units <= AMOUNT_MAX).then_some(Amount(units))
    }

    /// In units of 10⁻¹⁸.
    pub fn units(self) -> u128 {
        self.0
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum; `None` above [`AMOUNT_MAX`].
    pub fn plus(self, other: Self) -> Option<Self> {
        Self::new(self.0 + other.0)
    }

    /// The difference; `None` below zero.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// That many times; `None` above [`AMOUNT_MAX`].
    pub fn times(self, count: u32) -> Option<Self> {
        self.0.checked_mul(u128::from(count)).and_then(Self::new)
    }

    /// Rounded down to a token's step.
    #[must_use]
    pub fn floor(self, step: Step) -> Self {
        Amount(self.0 - self.0 % step.0)
    }

    /// `self · numerator / denominator`, rounded down; `None` when it is too large or the denominator is zero.
    pub fn ratio(self, numerator: u128, denominator: u128) -> Option<Self> {
        mul_div(self.0, numerator, denominator).and_then(Self::new)
    }

    /// Near enough for a search, in whole tokens.
    #[expect(clippy::cast_precision_loss, reason = "only candidates are found with it")]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / ONE as f64
    }

    /// The amount near a double of whole tokens, rounded down; `None` when it is none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the bounds are looked at before the cast"
    )]
    pub fn from_f64(tokens: f64) -> Option<Self> {
        let units = tokens * ONE as f64;
        (units >= 0.0 && units <= AMOUNT_MAX as f64).then(|| Amount((units as u128).min(AMOUNT_MAX)))
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let not = || AmountError::NotDecimal(text.chars().take(TEXT_BYTES_MAX).collect());
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let point_alone = text.contains('.') && part.is_empty();
        if text.len() > TEXT_BYTES_MAX || whole.is_empty() || point_alone || !digits(whole) || !digits(part) {
            return Err(not());
        }
        let part = part.trim_end_matches('0');
        if part.len() > DECIMALS as usize {
            return Err(AmountError::TooFine(text.to_owned()));
        }
        let too_large = || AmountError::TooLarge(text.to_owned());
        let digits = whole.bytes().chain(part.bytes()).map(|b| u128::from(b - b'0'));
        let digits = digits.chain(std::iter::repeat_n(0, DECIMALS as usize - part.len()));
        let mut units: u128 = 0;
        for digit in digits {
            units = units.checked_mul(10).and_then(|u| u.checked_add(digit)).ok_or_else(too_large)?;
        }
        Amount::new(units).ok_or_else(too_large)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / ONE, self.0 % ONE);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:018}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

/// `a · b / c`, rounded down, with all 256 bits of the product; `None` when it does not fit or `c` is zero.
pub fn mul_div(a: u128, b: u128, c: u128) -> Option<u128> {
    if let Some(product) = a.checked_mul(b) {
        return product.checked_div(c);
    }
    let (high, low) = wide_mul(a, b);
    if high >= c {
        return None;
    }
    Some(wide_div(high, low, c))
}

const HALF: u32 = 64;
const LOW: u128 = (1 << HALF) - 1;

/// The product of two 128-bit numbers, as its upper and lower half.
fn wide_mul(a: u128, b: u128) -> (u128, u128) {
    let (a1, a0, b1, b0) = (a >> HALF, a & LOW, b >> HALF, b & LOW);
    let (low, mid1, mid2, high) = (a0 * b0, a0 * b1, a1 * b0, a1 * b1);
    // Three numbers below 2⁶⁴: no overflow.
    let carry = (low >> HALF) + (mid1 & LOW) + (mid2 & LOW);
    (high + (mid1 >> HALF) + (mid2 >> HALF) + (carry >> HALF), (carry << HALF) | (low & LOW))
}

/// `(high · 2¹²⁸ + low) / c` for `high < c`: two steps of Knuth's algorithm D with digits of 64 bits (*The Art of Computer
/// Programming*, volume 2, section 4.3.1).
fn wide_div(high: u128, low: u128, c: u128) -> u128 {
    let shift = c.leading_zeros();
    let c = c << shift;
    let high = if shift == 0 { high } else { (high << shift) | (low >> (128 - shift)) };
    let low = low << shift;
    let (rest, upper) = digit(high, low >> HALF, c);
    let (_, lower) = digit(rest, low & LOW, c);
    (upper << HALF) | lower
}

/// The remainder and the digit of the quotient of `high · 2⁶⁴ + next` by a normalised `c`.
fn digit(high: u128, next: u128, c: u128) -> (u128, u128) {
    let (c1, c0) = (c >> HALF, c & LOW);
    let (mut guess, mut rest) = (high / c1, high % c1);
    // At most two too large.
    while guess > LOW || guess * c0 > ((rest << HALF) | next) {
        guess -= 1;
        rest += c1;
        if rest > LOW {
            break;
        }
    }
    let remainder = (high << HALF).wrapping_add(next).wrapping_sub(guess.wrapping_mul(c));
    (remainder, guess)
}

#[cfg(test)]
mod tests;
