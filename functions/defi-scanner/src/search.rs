//! Cycles that gain, through a price that changed.
//!
//! A cycle gains on a very small input exactly when the product of its rates is above 1, so when the sum of their -ln is
//! negative. A new price can only make cycles through itself gain, so only those are looked for: Bellman-Ford, bounded by
//! the number of hops, gives for every token the least sum to the start of the changed edge (R. Bellman, *Quarterly of
//! Applied Mathematics* 16, 1958, pages 87-90); and with these sums as a bound that is never too high, a search in depth
//! visits only beginnings that can still become a gaining cycle. So none is missed within [`VISITS_MAX`], and mostly
//! nothing is visited.
//!
//! Doubles only *find* the candidates. Each is then one virtual pool ([`Curve`]) with its best input in closed form, and
//! is walked through with exact amounts; what does not gain exactly, with every output less by the slippage and after
//! gas, is not reported.

use crate::{
    amount::{Amount, PARTS},
    graph::{Edge, Graph},
    market::{Curve, Side, less},
};

/// Hops that a cycle may have at most, whatever is configured.
pub const HOPS_LIMIT: usize = 6;
/// Edges looked at in one search in depth; past it the rest is left, counted and told.
pub const VISITS_MAX: usize = 50_000;
/// Sums above this are taken as no gain: rounding of doubles.
const LOG_MAX: f64 = -1e-12;

/// A token in which gains are counted: cycles start and end in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its name.
    pub token: Box<str>,
    /// What one hop's transaction costs, in it.
    pub gas: Amount,
    /// Gains below this are not worth it.
    pub profit_min: Amount,
    /// The largest input.
    pub input_max: Amount,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tokens to count in, the preferred first; a cycle is counted in the first that it goes through.
    pub bases: Vec<Base>,
    /// Hops of a cycle, from 2 to [`HOPS_LIMIT`].
    pub hops_max: usize,
    /// Slippage of each hop, in millionths.
    pub slippage_parts: u32,
    /// A gain on a small input above this many millionths is a wrong price rather than a chance.
    pub gain_parts_max: u32,
}

/// One hop with its amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The market.
    pub market: usize,
    /// What happens to base.
    pub side: Side,
    /// What goes in.
    pub amount_in: Amount,
    /// What comes out at the price as it is.
    pub amount_out: Amount,
    /// The least to accept.
    pub amount_out_min: Amount,
}

/// A cycle that gains, with exact amounts in its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which of the [`Terms`]' bases.
    pub base: usize,
    /// The hops from the base back to it.
    pub steps: Vec<Step>,
    /// The best input.
    pub amount_in: Amount,
    /// What comes out.
    pub amount_out: Amount,
    /// What comes out when every hop gives less by the slippage.
    pub amount_out_min: Amount,
    /// What the transactions cost.
    pub gas: Amount,
    /// `amount_out - amount_in - gas`.
    pub profit: Amount,
    /// `amount_out_min - amount_in - gas`.
    pub profit_min: Amount,
}

/// What a search gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// For each base the cycle with the highest `profit_min`, if any.
    pub found: Vec<Found>,
    /// Cycles that gain, those included.
    pub gaining: u32,
    /// Cycles whose gain is too good to be true.
    pub implausible: u32,
    /// Whether [`VISITS_MAX`] ended it early.
    pub cut: bool,
}

/// Looks for gaining cycles through a market whose price changed.
pub fn search(graph: &Graph, market: usize, terms: &Terms, now_ms: i64) -> Search {
    let mut all = Search::default();
    let Some(listing) = graph.market(market) else { return all };
    let [base, quote] = listing.tokens;
    for (from, to, side) in [(base, quote, Side::Sell), (quote, base, Side::Buy)] {
        let changed = graph.edges(from).iter().find(|e| e.market == market && e.side == side);
        if let Some(changed) = changed.filter(|e| e.log.is_finite() && e.fresh_until_ms >= now_ms && from != to) {
            Walk::new(graph, terms, now_ms, from).run(changed, &mut all);
        }
    }
    all
}

struct Walk<'a> {
    graph: &'a Graph,
    terms: &'a Terms,
    now_ms: i64,
    /// Where the changed edge starts, and every cycle ends.
    start: usize,
    /// For each number of hops left: the least sum from each token to `start`.
    least: Vec<Vec<f64>>,
    /// The cycle so far: its edges, and the tokens that it left.
    path: Vec<Edge>,
    visits: usize,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph, terms: &'a Terms, now_ms: i64, start: usize) -> Self {
        Walk { graph, terms, now_ms, start, least: Vec::new(), path: Vec::new(), visits: 0 }
    }

    fn run(&mut self, changed: &Edge, all: &mut Search) {
        let hops_max = self.terms.hops_max.clamp(2, HOPS_LIMIT);
        self.relax(hops_max - 2);
        self.path.push(*changed);
        self.deeper(changed.to, changed.log, hops_max - 1, all);
    }

    /// Bellman-Ford backwards from `start`, one round for each hop. A token enters a round only over an edge, so the
    /// rounds cost what is near `start`, not all that is known.
    fn relax(&mut self, rounds: usize) {
        let mut layer = vec![f64::INFINITY; self.graph.tokens()];
        if let Some(own) = layer.get_mut(self.start) {
            *own = 0.0;
        }
        self.least.push(layer);
        for _ in 0..rounds {
            let Some(last) = self.least.last() else { return };
            let mut next = last.clone();
            for (token, sum) in last.iter().enumerate().filter(|(_, sum)| sum.is_finite()) {
                for edge in self.graph.edges(token) {
                    if let Some(least) = next.get_mut(edge.to).filter(|_| edge.fresh_until_ms >= self.now_ms) {
                        *least = least.min(edge.log_back + sum);
                    }
                }
            }
            self.least.push(next);
        }
    }

    /// Goes on from `token` with at most `left` hops to `start`, wherever the sum can still become negative.
    fn deeper(&mut self, token: usize, sum: f64, left: usize, all: &mut Search) {
        let graph = self.graph;
        for edge in graph.edges(token) {
            if self.visits >= VISITS_MAX {
                all.cut = true;
                return;
            }
            self.visits += 1;
            let least = self.least.get(left - 1).and_then(|layer| layer.get(edge.to)).copied();
            let sum = sum + edge.log;
            let hopeless = least.is_none_or(|least| sum + least >= LOG_MAX);
            if hopeless || edge.fresh_until_ms < self.now_ms || self.path.iter().any(|e| e.market == edge.market) {
                continue;
            }
            if edge.to == self.start {
                self.path.push(*edge);
                self.judge(all);
                self.path.pop();
            } else if left > 1 && !self.path.iter().any(|e| e.to == edge.to) {
                self.path.push(*edge);
                self.deeper(edge.to, sum, left - 1, all);
                self.path.pop();
            }
        }
    }

    /// A cycle that gains on a small input: with its best input, exactly.
    fn judge(&self, all: &mut Search) {
        let log: f64 = self.path.iter().map(|edge| edge.log).sum();
        if (-log).exp() - 1.0 > f64::from(self.terms.gain_parts_max) / PARTS as f64 {
            all.implausible += 1;
            return;
        }
        let Some(found) = self.in_base() else { return };
        all.gaining += 1;
        match all.found.iter_mut().find(|other| other.base == found.base) {
            Some(other) if other.profit_min >= found.profit_min => {}
            Some(other) => *other = found,
            None => all.found.push(found),
        }
    }

    /// Counts the cycle in the first base that it goes through.
    fn in_base(&self) -> Option<Found> {
        let goes_through = |base: &Base| self.path.iter().position(|edge| self.graph.name(edge.to) == &*base.token);
        let (index, base, last) =
            self.terms.bases.iter().enumerate().find_map(|(i, base)| Some((i, base, goes_through(base)?)))?;
        // The edge that enters the base is the last one.
        let mut path = self.path.clone();
        path.rotate_left(last + 1);
        exact(self.graph, &path, index, base, self.terms.slippage_parts)
    }
}

/// A cycle from a base back to it: its best input, and what exactly comes out of it. `None` when that does not gain.
fn exact(graph: &Graph, path: &[Edge], index: usize, base: &Base, slippage_parts: u32) -> Option<Found> {
    // The best input is that of the outputs less by the slippage; but it must fit through every size without it, too.
    let (mut least, mut plain) = (Curve::SAME, Curve::SAME);
    for edge in path {
        let listing = graph.market(edge.market)?;
        least = least.then(listing.curve(edge.side)?);
        plain = plain.then(&listing.priced.curve(edge.side, 0)?);
    }
    least.input_max = least.input_max.min(plain.input_max).min(base.input_max.to_f64());
    let input = least.best_input()?;
    let first = path.first().and_then(|edge| graph.market(edge.market).map(|m| m.priced.step_in(edge.side)))?;
    // A size on the way may be missed by the last bits of a double: then a hair less fits.
    let inputs = [input, input * (1.0 - 1e-12), input * (1.0 - 1e-9)];
    let walked = inputs.iter().find_map(|input| {
        let amount = Amount::from_f64(*input)?.min(base.input_max).floor(first);
        Some((amount, walk(graph, path, amount, slippage_parts)?))
    });
    let (amount_in, (steps, amount_out, amount_out_min)) = walked?;
    let gas = base.gas.times(u32::try_from(path.len()).ok()?)?;
    let spent = amount_in.plus(gas)?;
    let profit_min = amount_out_min.minus(spent)?;
    if profit_min < base.profit_min || profit_min.is_zero() {
        return None;
    }
    let profit = amount_out.minus(spent)?;
    Some(Found { base: index, steps, amount_in, amount_out, amount_out_min, gas, profit, profit_min })
}

/// Walks an input through the hops, once as the prices are and once with every output less by the slippage.
fn walk(graph: &Graph, path: &[Edge], input: Amount, slippage_parts: u32) -> Option<(Vec<Step>, Amount, Amount)> {
    let mut steps = Vec::with_capacity(path.len());
    let (mut amount, mut least) = (input, input);
    for Edge { market, side, .. } in path {
        let priced = &graph.market(*market)?.priced;
        let amount_out = priced.output(*side, amount)?;
        let amount_out_min = less(priced.output(*side, least)?, slippage_parts)?.floor(priced.step_out(*side));
        steps.push(Step { market: *market, side: *side, amount_in: amount, amount_out, amount_out_min });
        (amount, least) = (amount_out, amount_out_min);
    }
    Some((steps, amount, least))
}

#[cfg(test)]
mod tests;
