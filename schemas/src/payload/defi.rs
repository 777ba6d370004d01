//! Prices and arbitrage. Amounts and prices are decimal texts (`"1234.5"`, at most 18 decimals), because a JSON number
//! would be rounded on its way.

use serde::{Deserialize, Serialize};

/// Data of `defi.price.update`: a market's state at the event's `time`. With `quote` or `pool` it can be traded
/// against; with neither it is an indication.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PriceUpdate {
    /// `BASE/QUOTE`, e.g. `ETH/USDC`: prices are in QUOTE for one BASE.
    pub pair: String,
    /// The exchange, e.g. `uniswap-v2`.
    pub venue: String,
    /// The market's own name where the venue has several of one pair, e.g. a pool's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<String>,
    /// The last price in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_micros: Option<u64>,
    /// Its change in hundredths of a percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_basis_points: Option<i64>,
    /// QUOTE traded in a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_24h: Option<u64>,
    /// The chain's block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// Decimals that BASE moves in; 18 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_decimals: Option<u32>,
    /// Decimals that QUOTE moves in; 18 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_decimals: Option<u32>,
    /// The best bid and ask of an order book.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// The reserves of a constant-product pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
}

/// The best bid and ask. A size of `"0"` says that there is none on that side.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quote {
    /// What is paid for one BASE.
    pub bid: String,
    /// BASE wanted at that price.
    pub bid_size: String,
    /// What one BASE costs.
    pub ask: String,
    /// BASE offered at that price.
    pub ask_size: String,
    /// The taker's fee in millionths of what comes out.
    pub fee_parts: u32,
}

/// A constant-product pool.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// BASE in the pool.
    pub reserve_base: String,
    /// QUOTE in the pool.
    pub reserve_quote: String,
    /// The fee in millionths of what goes in, e.g. 3000.
    pub fee_parts: u32,
}

/// Data of `defi.arbitrage.opportunity`: a proposal. Nothing was traded.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Opportunity {
    /// The token that is paid in and comes out; all amounts without a hop are in it.
    pub token: String,
    /// What to pay in: the input with the highest `profit_min`.
    pub amount_in: String,
    /// What comes out at the prices as they are.
    pub amount_out: String,
    /// What comes out when every hop gives less by the slippage.
    pub amount_out_min: String,
    /// What the transactions cost.
    pub gas: String,
    /// `amount_out - amount_in - gas`.
    pub profit: String,
    /// `amount_out_min - amount_in - gas`.
    pub profit_min: String,
    /// The slippage that every hop may have, in millionths.
    pub slippage_parts: u32,
    /// The way, in order; at least two.
    pub path: Vec<Hop>,
    /// When it was found.
    pub found_at: String,
    /// From when on a price on the way is too old to be trusted.
    pub expires_at: String,
    /// Other profitable ways through the same price.
    pub alternatives: u32,
}

/// One trade on the way.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Hop {
    /// The exchange.
    pub venue: String,
    /// The market's own name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<String>,
    /// `BASE/QUOTE`.
    pub pair: String,
    /// Whether BASE is sold or bought.
    pub side: Side,
    /// The token that goes in.
    pub from: String,
    /// The token that comes out.
    pub to: String,
    /// What goes in.
    pub amount_in: String,
    /// What comes out.
    pub amount_out: String,
    /// The least to accept.
    pub amount_out_min: String,
    /// The time of the price.
    pub priced_at: String,
}

/// What happens to BASE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// BASE goes in, QUOTE comes out.
    Sell,
    /// QUOTE goes in, BASE comes out.
    Buy,
}
