//! What is known of the markets: tokens as nodes, each side of a market as an edge, the latest price of each.
//!
//! Bounded: at most [`MARKETS_MAX`] markets and [`TOKENS_MAX`] tokens; when full, those whose price is too old go first.

use std::collections::HashMap;

use crate::market::{Curve, Priced, Side};

/// Markets kept. Each takes about 300 bytes.
pub const MARKETS_MAX: usize = 20_000;
/// Tokens kept.
pub const TOKENS_MAX: usize = 2_000;

/// Which market, across updates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The exchange.
    pub venue: Box<str>,
    /// Its own name for the market, where it has several of one pair; else empty.
    pub market: Box<str>,
    /// `BASE/QUOTE`.
    pub pair: Box<str>,
}

/// A market with its latest price.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Which market.
    pub key: Key,
    /// Base and quote, as indices of tokens.
    pub tokens: [usize; 2],
    /// What can be traded.
    pub priced: Priced,
    /// When it was so, in milliseconds since 1970.
    pub at_ms: i64,
    /// Until when that is trusted.
    pub fresh_until_ms: i64,
    /// The shape of selling and of buying, slippage included; `None` where there is nothing.
    pub curves: [Option<Curve>; 2],
    /// Where its edges are: of base, of quote.
    edges: [usize; 2],
}

impl Listing {
    /// The shape of a side.
    pub fn curve(&self, side: Side) -> Option<&Curve> {
        let [sell, buy] = &self.curves;
        if side == Side::Sell { sell.as_ref() } else { buy.as_ref() }
    }
}

/// One side of a market, seen from the token that goes in.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The token that comes out.
    pub to: usize,
    /// The market.
    pub market: usize,
    /// What happens to base.
    pub side: Side,
    /// -ln of the rate for a very small input; infinite where there is nothing.
    pub log: f64,
    /// The same of the way back.
    pub log_back: f64,
    /// Until when the price is trusted.
    pub fresh_until_ms: i64,
}

/// A market's new price.
#[derive(Clone, Debug)]
pub struct Update {
    /// Which market.
    pub key: Key,
    /// What can be traded.
    pub priced: Priced,
    /// When it was so, in milliseconds since 1970.
    pub at_ms: i64,
    /// Until when that is trusted.
    pub fresh_until_ms: i64,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The market has this price now.
    Market(usize),
    /// A later price is known already.
    Older,
    /// There is no room for another market or token, though what was too old is gone.
    Full,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    tokens: HashMap<Box<str>, usize>,
    names: Vec<Box<str>>,
    keys: HashMap<Key, usize>,
    markets: Vec<Listing>,
    edges: Vec<Vec<Edge>>,
    slippage_parts: u32,
}

impl Graph {
    /// With nothing in it. Every output is taken to be less by `slippage_parts` millionths.
    pub fn new(slippage_parts: u32) -> Self {
        Graph { slippage_parts, ..Graph::default() }
    }

    /// Takes a price in. `now_ms` says what is too old when there is no room.
    pub fn update(&mut self, update: Update, now_ms: i64) -> Updated {
        if let Some(place) = self.keys.get(&update.key).copied() {
            return self.replace(place, update);
        }
        if self.is_full(&update.key) {
            self.forget(now_ms);
            if self.is_full(&update.key) {
                return Updated::Full;
            }
        }
        Updated::Market(self.insert(update))
    }

    fn is_full(&self, key: &Key) -> bool {
        let new = tokens_of(&key.pair).iter().filter(|token| !self.tokens.contains_key(**token)).count();
        self.markets.len() >= MARKETS_MAX || self.names.len() + new > TOKENS_MAX
    }

    fn replace(&mut self, place: usize, update: Update) -> Updated {
        let Some(listing) = self.markets.get_mut(place) else { return Updated::Older };
        if update.at_ms < listing.at_ms {
            return Updated::Older;
        }
        listing.priced = update.priced;
        listing.at_ms = update.at_ms;
        listing.fresh_until_ms = update.fresh_until_ms;
        listing.curves = curves(&update.priced, self.slippage_parts);
        let logs = logs(&listing.curves);
        let [base, quote] = listing.tokens;
        let [at_base, at_quote] = listing.edges;
        for (token, at, (log, log_back)) in [(base, at_base, logs), (quote, at_quote, (logs.1, logs.0))] {
            if let Some(edge) = self.edges.get_mut(token).and_then(|edges| edges.get_mut(at)) {
                (edge.log, edge.log_back, edge.fresh_until_ms) = (log, log_back, update.fresh_until_ms);
            }
        }
        Updated::Market(place)
    }

    fn insert(&mut self, update: Update) -> usize {
        let tokens = tokens_of(&update.key.pair).map(|token| self.token(token));
        let [base, quote] = tokens;
        let place = self.markets.len();
        let curves = curves(&update.priced, self.slippage_parts);
        let (sell, buy) = logs(&curves);
        let fresh_until_ms = update.fresh_until_ms;
        let edges = [
            self.edge(
                base,
                Edge { to: quote, market: place, side: Side::Sell, log: sell, log_back: buy, fresh_until_ms },
            ),
            self.edge(
                quote,
                Edge { to: base, market: place, side: Side::Buy, log: buy, log_back: sell, fresh_until_ms },
            ),
        ];
        self.keys.insert(update.key.clone(), place);
        let Update { key, priced, at_ms, .. } = update;
        self.markets.push(Listing { key, tokens, priced, at_ms, fresh_until_ms, curves, edges });
        place
    }

    fn edge(&mut self, token: usize, edge: Edge) -> usize {
        let Some(edges) = self.edges.get_mut(token) else { return 0 };
        edges.push(edge);
        edges.len() - 1
    }

    fn token(&mut self, name: &str) -> usize {
        if let Some(token) = self.tokens.get(name) {
            return *token;
        }
        let token = self.names.len();
        self.names.push(name.into());
        self.tokens.insert(name.into(), token);
        self.edges.push(Vec::new());
        token
    }

    /// Drops every market whose price is too old, and the tokens that only they had.
    fn forget(&mut self, now_ms: i64) {
        let old = std::mem::replace(self, Graph::new(self.slippage_parts));
        for listing in old.markets.into_iter().filter(|listing| listing.fresh_until_ms >= now_ms) {
            let Listing { key, priced, at_ms, fresh_until_ms, .. } = listing;
            self.insert(Update { key, priced, at_ms, fresh_until_ms });
        }
    }

    /// A market.
    pub fn market(&self, place: usize) -> Option<&Listing> {
        self.markets.get(place)
    }

    /// How many markets there are.
    pub fn markets(&self) -> usize {
        self.markets.len()
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.names.len()
    }

    /// A token's name.
    pub fn name(&self, token: usize) -> &str {
        self.names.get(token).map_or("", |name| name)
    }

    /// What goes out of a token.
    pub fn edges(&self, token: usize) -> &[Edge] {
        self.edges.get(token).map_or(&[], Vec::as_slice)
    }
}

/// Base and quote of a pair; both the same when there is no `/`, which a reader of updates refuses before.
fn tokens_of(pair: &str) -> [&str; 2] {
    pair.split_once('/').map_or([pair, pair], |(base, quote)| [base, quote])
}

fn curves(priced: &Priced, slippage_parts: u32) -> [Option<Curve>; 2] {
    [Side::Sell, Side::Buy].map(|side| priced.curve(side, slippage_parts))
}

fn logs([sell, buy]: &[Option<Curve>; 2]) -> (f64, f64) {
    let log = |curve: &Option<Curve>| curve.map_or(f64::INFINITY, |curve| -curve.rate.ln());
    (log(sell), log(buy))
}

#[cfg(test)]
mod tests;
