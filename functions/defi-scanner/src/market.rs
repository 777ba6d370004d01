//! A market: what it takes, what it gives, exactly; and its shape for the search.
//!
//! A constant-product pool with reserves x and y and a fee f (parts of the input) gives for an input `a`
//! `y · a(1 - f) / (x + a(1 - f))`, rounded down: in whole numbers the formula of Uniswap V2's `getAmountOut`
//! (`in · 997 · y / (x · 1000 + in · 997)`) with any fee. An order book gives its best price up to that price's size, less
//! the taker's fee.

use crate::amount::{Amount, ONE, PARTS, Step};

/// Which token goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Base goes in, quote comes out.
    Sell,
    /// Quote goes in, base comes out.
    Buy,
}

/// What can be traded against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Market {
    /// A constant-product pool.
    Pool {
        /// Base in it.
        base: Amount,
        /// Quote in it.
        quote: Amount,
        /// Millionths of the input.
        fee_parts: u32,
    },
    /// The best prices of an order book.
    Book {
        /// Quote paid for one base.
        bid: Amount,
        /// Base wanted at that price.
        bid_size: Amount,
        /// Quote asked for one base.
        ask: Amount,
        /// Base offered at that price.
        ask_size: Amount,
        /// Millionths of the output.
        fee_parts: u32,
    },
}

/// A market with the steps of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// What can be traded against.
    pub market: Market,
    /// The steps in which base and quote move.
    pub steps: [Step; 2],
}

/// What a market does with a small and a growing input: `x ↦ rate · x / (1 + bend · x)` for `x ≤ input_max`, in whole
/// tokens and doubles. Chains of such functions are such functions, which is why the best input of a whole chain has a
/// closed form: one virtual pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// Output for each unit of a very small input.
    pub rate: f64,
    /// How fast that falls.
    pub bend: f64,
    /// The largest input.
    pub input_max: f64,
}

impl Priced {
    /// What comes out for `input`; `None` when the market does not take that much, or gives nothing.
    pub fn output(&self, side: Side, input: Amount) -> Option<Amount> {
        let [base_step, quote_step] = self.steps;
        let (gross, step) = match (self.market, side) {
            (Market::Pool { base, quote, fee_parts }, Side::Sell) => (pool(base, quote, fee_parts, input)?, quote_step),
            (Market::Pool { base, quote, fee_parts }, Side::Buy) => (pool(quote, base, fee_parts, input)?, base_step),
            (Market::Book { bid, bid_size, fee_parts, .. }, Side::Sell) => {
                let gross = (input <= bid_size).then(|| input.ratio(bid.units(), ONE))??;
                (less(gross, fee_parts)?, quote_step)
            }
            (Market::Book { ask, ask_size, fee_parts, .. }, Side::Buy) => {
                let gross = input.ratio(ONE, ask.units()).filter(|gross| *gross <= ask_size)?;
                (less(gross, fee_parts)?, base_step)
            }
        };
        Some(gross.floor(step)).filter(|out| !out.is_zero())
    }

    /// The step of the token that goes in.
    pub fn step_in(&self, side: Side) -> Step {
        let [base, quote] = self.steps;
        if side == Side::Sell { base } else { quote }
    }

    /// The step of the token that comes out.
    pub fn step_out(&self, side: Side) -> Step {
        let [base, quote] = self.steps;
        if side == Side::Sell { quote } else { base }
    }

    /// The shape of a side, each output taken less by `slippage_parts`; `None` when there is nothing on that side.
    pub fn curve(&self, side: Side, slippage_parts: u32) -> Option<Curve> {
        let kept = |parts: u32| 1.0 - f64::from(parts) / PARTS as f64;
        let slip = kept(slippage_parts);
        let curve = match (self.market, side) {
            (Market::Pool { base, quote, fee_parts }, _) => {
                let (reserve_in, reserve_out) = if side == Side::Sell { (base, quote) } else { (quote, base) };
                let bend = kept(fee_parts) / reserve_in.to_f64();
                // No pool is asked for more than it holds: it would give next to nothing for it.
                let input_max = crate::amount::AMOUNT_MAX as f64 / ONE as f64 / 2.0;
                Curve { rate: bend * reserve_out.to_f64() * slip, bend, input_max }
            }
            (Market::Book { bid, bid_size, fee_parts, .. }, Side::Sell) => {
                Curve { rate: bid.to_f64() * kept(fee_parts) * slip, bend: 0.0, input_max: bid_size.to_f64() }
            }
            (Market::Book { ask, ask_size, fee_parts, .. }, Side::Buy) => {
                let input_max = ask_size.to_f64() * ask.to_f64();
                Curve { rate: kept(fee_parts) * slip / ask.to_f64(), bend: 0.0, input_max }
            }
        };
        let usable = curve.rate.is_finite() && curve.rate > 0.0 && curve.bend.is_finite() && curve.input_max > 0.0;
        usable.then_some(curve)
    }
}

/// `out · in(1 - f) / (reserve + in(1 - f))`. All products but the last fit in 128 bits because of `AMOUNT_MAX`.
fn pool(reserve_in: Amount, reserve_out: Amount, fee_parts: u32, input: Amount) -> Option<Amount> {
    let kept = input.units().checked_mul(PARTS.checked_sub(u128::from(fee_parts))?)?;
    let all = reserve_in.units().checked_mul(PARTS)?.checked_add(kept)?;
    reserve_out.ratio(kept, all)
}

/// An amount less so many millionths, rounded down.
pub fn less(amount: Amount, parts: u32) -> Option<Amount> {
    amount.ratio(PARTS.checked_sub(u128::from(parts))?, PARTS)
}

impl Curve {
    /// What changes nothing.
    pub const SAME: Curve = Curve { rate: 1.0, bend: 0.0, input_max: f64::INFINITY };

    /// This one, and with its output the next.
    #[must_use]
    pub fn then(&self, next: &Curve) -> Curve {
        // The largest input whose output the next still takes.
        let room = self.rate - self.bend * next.input_max;
        let fits = if room > 0.0 { next.input_max / room } else { f64::INFINITY };
        Curve {
            rate: self.rate * next.rate,
            bend: self.bend + next.bend * self.rate,
            input_max: self.input_max.min(fits),
        }
    }

    /// The output.
    pub fn output(&self, input: f64) -> f64 {
        self.rate * input / (1.0 + self.bend * input)
    }

    /// The input with the largest `output - input`: where the derivative rate / (1 + bend x)² is 1, so
    /// x = (√rate - 1) / bend; the largest one when the curve is straight. `None` when no input gains.
    ///
    /// For two pools this is the known closed form (√(Ea Eb) - Ea) / (1 - f) of their virtual pool.
    pub fn best_input(&self) -> Option<f64> {
        if self.rate <= 1.0 {
            return None;
        }
        let peak = if self.bend > 0.0 { (self.rate.sqrt() - 1.0) / self.bend } else { f64::INFINITY };
        Some(peak.min(self.input_max)).filter(|input| input.is_finite() && *input > 0.0)
    }
}

#[cfg(test)]
mod tests;
