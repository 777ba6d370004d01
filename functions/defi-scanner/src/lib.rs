//! Finds arbitrage over quotes and pools; proposes, never trades.
//!
//! Settings and terms: docs/defi-scanner.md.
//!
//! Every `defi.price.update` with a `quote` or a `pool` becomes the latest state of its market ([`graph`]); then cycles
//! through that market that gain are looked for ([`search`]) and simulated exactly ([`amount`], [`market`]). What still
//! gains after fees, gas, and with every hop less by the slippage, is a `defi.arbitrage.opportunity`: at most one for
//! each base token, the best.
//!
//! What is known lives in the memory of the process, bounded, and prices age within seconds: a process that starts anew
//! sees nothing until markets have spoken again, which is what a scanner that may not trust old prices should do. A
//! repeat of an event changes nothing, and its replies have the same ids.

pub mod amount;
pub mod graph;
pub mod market;
pub mod search;
pub mod settings;

use std::sync::{Mutex, PoisonError};

use function_host::{Context, Failure, Function, Reply, SettingError, Settings, Severity};
use jiff::Timestamp;
use schemas::{
    Event,
    payload::defi::{self, Hop, Opportunity, PriceUpdate},
};

use amount::{Amount, AmountError, PARTS, Step};
use graph::{Graph, Key, MARKETS_MAX, TOKENS_MAX, Update, Updated};
use market::{Market, Priced, Side};
use search::{Found, Search};
use settings::Config;

/// How far an event's time may be ahead of the clock.
pub const AHEAD_MAX_MS: i64 = 5_000;
/// Bytes of a venue's, a market's or a pair's name.
pub const NAME_BYTES_MAX: usize = 128;

/// The function, with what it knows of the markets.
#[derive(Debug)]
pub struct DefiScanner {
    config: Config,
    graph: Mutex<Graph>,
}

impl Function for DefiScanner {
    const NAME: &'static str = "defi-scanner";
    const CONSUMES: &'static [&'static str] = &["defi.price.update"];
    const EMITS: &'static [&'static str] = &["defi.arbitrage.opportunity"];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        Ok(Self::with(Config::read(settings)?))
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let data: PriceUpdate = function_host::data(event)?;
        let now = ctx.now();
        let taken = self.take(&data, time(event)?, now)?;
        for note in &taken.notes {
            ctx.log(Severity::Warning, note);
        }
        taken.opportunities.iter().map(reply).collect()
    }
}

/// A proposal as an event: its subject and key are the token that it is counted in.
///
/// # Errors
/// None in practice: all of it is text and counts.
pub fn reply(opportunity: &Opportunity) -> Result<Reply, Failure> {
    let token = opportunity.token.as_str();
    Ok(Reply::json("defi.arbitrage.opportunity", opportunity)?.subject(token).attr("partitionkey", token))
}

/// What became of one update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// What is proposed.
    pub opportunities: Vec<Opportunity>,
    /// What an operator should look at.
    pub notes: Vec<String>,
}

fn time(event: &Event) -> Result<Timestamp, Failure> {
    let Some(time) = event.get("time") else {
        let message = "attribute time: it is missing, and without it nobody knows how old the price is; send the time \
                       of the price";
        return Err(Failure::refuse("time-missing", message));
    };
    let time = time.to_string();
    time.parse().map_err(|e| Failure::refuse("time-invalid", format!("attribute time: {time}: {e}")))
}

impl DefiScanner {
    /// With these settings, and nothing known yet.
    pub fn with(config: Config) -> Self {
        let graph = Mutex::new(Graph::new(config.terms.slippage_parts));
        DefiScanner { config, graph }
    }

    /// Takes a price of `at` in, and gives what can be gained because of it.
    ///
    /// # Errors
    /// A refusal with the member that cannot be used; `markets-full` when there is no room for another market.
    pub fn take(&self, data: &PriceUpdate, at: Timestamp, now: Timestamp) -> Result<Taken, Failure> {
        let key = key(data)?;
        let Some((market, age_max_ms)) = self.market(data)? else {
            // An indication: nothing can be traded at it.
            return Ok(Taken::default());
        };
        let step = |name: &str, decimals: Option<u32>| {
            Step::of(decimals.unwrap_or(amount::DECIMALS)).map_err(|e| unusable(name, &e))
        };
        let steps = [step("base_decimals", data.base_decimals)?, step("quote_decimals", data.quote_decimals)?];
        let (at_ms, now_ms) = (at.as_millisecond(), now.as_millisecond());
        if at_ms - now_ms > AHEAD_MAX_MS {
            let message = format!("attribute time: {at} is ahead of the clock, {now}; mend the sender's clock");
            return Err(Failure::refuse("time-ahead", message));
        }
        let update = Update { key, priced: Priced { market, steps }, at_ms, fresh_until_ms: at_ms + age_max_ms };
        // A panic within the lock leaves at worst one market with an old price, which ages.
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        match graph.update(update, now_ms) {
            Updated::Older => Ok(Taken::default()),
            Updated::Full => {
                let message = format!(
                    "{} of {MARKETS_MAX} markets and {} of {TOKENS_MAX} tokens are in use by prices that are still good; \
                     route fewer venues to one scanner",
                    graph.markets(),
                    graph.tokens()
                );
                Err(Failure::retry("markets-full", message))
            }
            Updated::Market(market) => {
                let search = search::search(&graph, market, &self.config.terms, now_ms);
                Ok(Taken {
                    opportunities: search
                        .found
                        .iter()
                        .map(|found| self.opportunity(&graph, found, &search, now))
                        .collect(),
                    notes: notes(&search, data),
                })
            }
        }
    }

    /// What can be traded, and how long it is trusted.
    fn market(&self, data: &PriceUpdate) -> Result<Option<(Market, i64)>, Failure> {
        match (&data.pool, &data.quote) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                let message = "data: a pool and a quote are two markets; send an event for each, with a name in market";
                Err(Failure::refuse("market-ambiguous", message))
            }
            (Some(pool), None) => {
                let base = amount("pool.reserve_base", &pool.reserve_base)?;
                let quote = amount("pool.reserve_quote", &pool.reserve_quote)?;
                let market = Market::Pool { base, quote, fee_parts: fee("pool.fee_parts", pool.fee_parts)? };
                Ok(Some((market, self.config.pool_age_max_ms)))
            }
            (None, Some(quote)) => {
                let market = Market::Book {
                    bid: amount("quote.bid", &quote.bid)?,
                    bid_size: amount("quote.bid_size", &quote.bid_size)?,
                    ask: amount("quote.ask", &quote.ask)?,
                    ask_size: amount("quote.ask_size", &quote.ask_size)?,
                    fee_parts: fee("quote.fee_parts", quote.fee_parts)?,
                };
                Ok(Some((market, self.config.quote_age_max_ms)))
            }
        }
    }

    fn opportunity(&self, graph: &Graph, found: &Found, search: &Search, now: Timestamp) -> Opportunity {
        let token = self.config.terms.bases.get(found.base).map_or("", |base| &base.token);
        let listings = found.steps.iter().filter_map(|step| graph.market(step.market));
        let expires_ms = listings.map(|listing| listing.fresh_until_ms).min().unwrap_or_default();
        Opportunity {
            token: token.to_owned(),
            amount_in: found.amount_in.to_string(),
            amount_out: found.amount_out.to_string(),
            amount_out_min: found.amount_out_min.to_string(),
            gas: found.gas.to_string(),
            profit: found.profit.to_string(),
            profit_min: found.profit_min.to_string(),
            slippage_parts: self.config.terms.slippage_parts,
            path: found.steps.iter().filter_map(|step| hop(graph, step)).collect(),
            found_at: now.to_string(),
            expires_at: moment(expires_ms),
            alternatives: search.gaining.saturating_sub(1),
        }
    }
}

fn moment(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| at.to_string())
}

fn hop(graph: &Graph, step: &search::Step) -> Option<Hop> {
    let listing = graph.market(step.market)?;
    let [base, quote] = listing.tokens.map(|token| graph.name(token).to_owned());
    let (side, from, to) = match step.side {
        Side::Sell => (defi::Side::Sell, base, quote),
        Side::Buy => (defi::Side::Buy, quote, base),
    };
    Some(Hop {
        venue: listing.key.venue.to_string(),
        market: (!listing.key.market.is_empty()).then(|| listing.key.market.to_string()),
        pair: listing.key.pair.to_string(),
        side,
        from,
        to,
        amount_in: step.amount_in.to_string(),
        amount_out: step.amount_out.to_string(),
        amount_out_min: step.amount_out_min.to_string(),
        priced_at: moment(listing.at_ms),
    })
}

fn key(data: &PriceUpdate) -> Result<Key, Failure> {
    let market = data.market.as_deref().unwrap_or_default();
    for (name, text) in [("pair", data.pair.as_str()), ("venue", &data.venue), ("market", market)] {
        if text.len() > NAME_BYTES_MAX || (text.is_empty() && name != "market") {
            let message = format!("data.{name}: it has from 1 to {NAME_BYTES_MAX} bytes, not {}", text.len());
            return Err(Failure::refuse("name-invalid", message));
        }
    }
    let sides = data.pair.split_once('/');
    if sides.is_none_or(|(base, quote)| base.is_empty() || quote.is_empty() || base == quote || quote.contains('/')) {
        let message = format!("data.pair: {:?} is not two tokens as BASE/QUOTE, e.g. ETH/USDC", data.pair);
        return Err(Failure::refuse("pair-invalid", message));
    }
    Ok(Key { venue: data.venue.as_str().into(), market: market.into(), pair: data.pair.as_str().into() })
}

fn unusable(name: &str, error: &AmountError) -> Failure {
    Failure::refuse("amount-invalid", format!("data.{name}: {error}"))
}

fn amount(name: &str, text: &str) -> Result<Amount, Failure> {
    text.parse().map_err(|e| unusable(name, &e))
}

fn fee(name: &str, parts: u32) -> Result<u32, Failure> {
    if u128::from(parts) < PARTS {
        return Ok(parts);
    }
    let message = format!("data.{name}: a fee of {parts} millionths leaves nothing; it is below {PARTS}");
    Err(Failure::refuse("fee-invalid", message))
}

fn notes(search: &Search, data: &PriceUpdate) -> Vec<String> {
    let mut notes = Vec::new();
    let PriceUpdate { pair, venue, .. } = data;
    if search.implausible > 0 {
        let count = search.implausible;
        notes.push(format!(
            "{pair} at {venue}: {count} cycles gain more than DEFI_GAIN_PARTS_MAX, which looks like a wrong price; not \
             reported"
        ));
    }
    if search.cut {
        let visits = search::VISITS_MAX;
        notes.push(format!("{pair} at {venue}: the search ended after {visits} edges; a better cycle may be left"));
    }
    notes
}

#[cfg(test)]
mod tests;
