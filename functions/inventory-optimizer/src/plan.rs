//! From a forecast and a policy to an order, or to none, with every figure on the way.

use std::fmt;

use schemas::payload::inventory::{Parameters, Reasoning, Reorder};

use crate::{
    forecast::{Forecast, Model},
    policy::Policy,
    stock::{self, Adjustment, Bounds},
};

/// Without a history the position is brought back to this many thresholds.
pub const THRESHOLDS_TARGET: f64 = 2.0;

/// What is known of an item's stock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stock {
    /// Units on hand.
    pub left: f64,
    /// Units on their way.
    pub on_order: f64,
    /// Units promised.
    pub owed: f64,
    /// The figure at which somebody raised the alarm, if somebody did.
    pub threshold: Option<f64>,
}

impl Stock {
    /// On hand, plus on order, less what is owed.
    pub fn position(&self) -> f64 {
        self.left + self.on_order - self.owed
    }
}

/// Whose stock it is: copied into the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label<'a> {
    /// The shop's number.
    pub shop: u64,
    /// The item's name.
    pub item: &'a str,
    /// Its unit.
    pub unit: Option<&'a str>,
    /// Who delivers it.
    pub supplier: Option<&'a str>,
}

/// What to order, if anything.
pub fn plan(label: Label<'_>, stock: &Stock, forecast: &Forecast, policy: &Policy) -> Option<Reorder> {
    let horizon = policy.lead_time + policy.review;
    let demand = forecast.demand(horizon);
    let rate = if horizon > 0.0 { demand / horizon } else { forecast.demand(1.0) };
    let lead_time_part = rate * policy.lead_time_deviation;
    let variance = forecast.variance(horizon);
    let deviation = (variance + lead_time_part * lead_time_part).sqrt();
    let safety = stock::safety_stock(policy.service_level, variance, rate, policy.lead_time_deviation);
    let computed = demand + safety;
    // A threshold that somebody set is a promise too: the higher of both counts.
    let reorder_point = computed.max(stock.threshold.unwrap_or(0.0));
    let position = stock.position();
    if position > reorder_point || reorder_point <= 0.0 {
        return None;
    }
    let no_demand = matches!(forecast.model, Model::None);
    let economic = economic(forecast, policy);
    let wish = match economic {
        _ if no_demand => THRESHOLDS_TARGET * reorder_point - position,
        Some(quantity) => quantity,
        // Costs unknown: what is used in one more lead time, so that orders come no closer than that.
        None => forecast.demand(horizon.max(1.0)),
    };
    let usable_max = match policy.shelf_life {
        // What is there when it arrives is used first; the rest has the shelf life to be used.
        Some(life) if !no_demand => {
            let until = forecast.demand(policy.lead_time + life) - position.max(0.0);
            until.min(forecast.demand(policy.lead_time + life) - forecast.demand(policy.lead_time)).max(0.0)
        }
        _ => f64::INFINITY,
    };
    let bounds =
        Bounds { pack: policy.pack, order_min: policy.order_min, usable_max, missing: reorder_point - position };
    let mut adjustments = Vec::new();
    let quantity = stock::bounded_quantity(wish, &bounds, &mut adjustments);
    let figures = Figures { demand, deviation, safety, computed, reorder_point, horizon, economic, wish, no_demand };
    Some(Reorder {
        shop: label.shop,
        item: label.item.to_owned(),
        unit: label.unit.map(str::to_owned),
        supplier: label.supplier.map(str::to_owned),
        quantity,
        packs: packs(quantity, policy.pack),
        pack: policy.pack,
        position: round(position),
        reorder_point: round(reorder_point),
        urgent: position < forecast.demand(policy.lead_time),
        reasoning: reasoning(stock, forecast, policy, &figures, &adjustments),
    })
}

struct Figures {
    demand: f64,
    deviation: f64,
    safety: f64,
    computed: f64,
    reorder_point: f64,
    horizon: f64,
    economic: Option<f64>,
    wish: f64,
    no_demand: bool,
}

/// The economic order quantity of the demand as it is now, carried over a year.
fn economic(forecast: &Forecast, policy: &Policy) -> Option<f64> {
    // One whole season, so that a busy day does not stand for the year.
    let span = (policy.season as f64).clamp(1.0, policy.periods_year);
    let year = forecast.demand(span) / span * policy.periods_year;
    stock::economic_quantity(year, policy.order_cost?, policy.holding_cost?)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "packs are at most PACKS_MAX, and whole")]
fn packs(quantity: f64, pack: f64) -> u64 {
    (quantity / pack).round() as u64
}

/// Four decimals: enough for any unit, and the same text on every platform.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The text of a figure that [`round`] makes, written by whole numbers, which is quicker.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = (self.0 * 1e4).round();
        // Beyond that not every whole number is a double.
        if !(-9e15..=9e15).contains(&scaled) {
            return write!(f, "{}", round(self.0));
        }
        #[expect(clippy::cast_possible_truncation, reason = "within 9e15, and whole")]
        let scaled = scaled as i64;
        let sign = if scaled < 0 { "-" } else { "" };
        let (units, mut rest, mut places) = (scaled.unsigned_abs() / 10_000, scaled.unsigned_abs() % 10_000, 4);
        if rest == 0 {
            return write!(f, "{sign}{units}");
        }
        while rest.is_multiple_of(10) {
            rest /= 10;
            places -= 1;
        }
        write!(f, "{sign}{units}.{rest:0places$}")
    }
}

fn reasoning(stock: &Stock, forecast: &Forecast, policy: &Policy, f: &Figures, done: &[Adjustment]) -> Reasoning {
    let profile = &forecast.profile;
    Reasoning {
        class: profile.class.name().to_owned(),
        interval: round(profile.interval),
        variation: round(profile.variation),
        method: if f.no_demand { "min-max" } else { forecast.method() }.to_owned(),
        parameters: parameters(forecast),
        demand_next: round(forecast.demand(1.0)),
        demand_lead_time: round(f.demand),
        deviation: round(f.deviation),
        service_level: policy.service_level,
        safety_stock: round(f.safety),
        economic_quantity: f.economic.map(round),
        steps: steps(stock, forecast, policy, f, done),
    }
}

fn parameters(forecast: &Forecast) -> Parameters {
    match &forecast.model {
        Model::HoltWinters(fit) => Parameters {
            level: Some(round(fit.params.level)),
            trend: Some(round(fit.params.trend)),
            season: (fit.state.season.len() > 1).then(|| round(fit.params.season)),
            damping: Some(round(fit.params.damping)),
            ..Parameters::default()
        },
        Model::Croston(fit) => Parameters {
            level: Some(crate::forecast::croston::WEIGHT_DEFAULT),
            size: Some(round(fit.size)),
            interval: Some(round(fit.interval)),
            ..Parameters::default()
        },
        Model::Mean { .. } | Model::None => Parameters::default(),
    }
}

fn steps(stock: &Stock, forecast: &Forecast, policy: &Policy, f: &Figures, done: &[Adjustment]) -> Vec<String> {
    let mut steps = Vec::with_capacity(5 + done.len());
    let Stock { left, on_order, owed, .. } = stock;
    let position = Rounded(stock.position());
    steps.push(format!("position {position}: {left} on hand + {on_order} on order - {owed} owed"));
    if f.no_demand {
        let point = Rounded(f.reorder_point);
        steps.push(format!("no demand is known: threshold {point}, back to {THRESHOLDS_TARGET} times that"));
    } else {
        let (demand, periods) = (Rounded(f.demand), Rounded(f.horizon));
        steps.push(format!("{}: {demand} expected in {periods} periods until an order arrives", forecast.method()));
        let (safety, deviation, level) = (Rounded(f.safety), Rounded(f.deviation), policy.service_level);
        steps.push(format!("safety stock {safety}: service level {level} with a deviation of {deviation}"));
        let (point, computed) = (Rounded(f.reorder_point), Rounded(f.computed));
        if f.reorder_point > f.computed {
            steps
                .push(format!("reorder point {point}: the threshold, above the {computed} of demand and safety stock"));
        } else {
            steps.push(format!("reorder point {point}: expected demand + safety stock"));
        }
        let wish = Rounded(f.wish);
        steps.push(match f.economic {
            Some(_) => format!("economic order quantity {wish}"),
            None => format!("costs are not known: the demand of another lead time, {wish}"),
        });
    }
    steps.extend(done.iter().map(adjustment));
    steps
}

fn adjustment(done: &Adjustment) -> String {
    match done {
        Adjustment::RaisedToMissing(to) => format!("raised to {}, back to the reorder point", Rounded(*to)),
        Adjustment::LoweredToShelfLife(to) => format!("lowered to {}: more would spoil", Rounded(*to)),
        Adjustment::RaisedToMinimum(to) => format!("raised to the least order, {}", Rounded(*to)),
        Adjustment::WholePacks { packs, pack } => format!("{packs} whole packs of {pack}"),
        Adjustment::WillSpoil(units) => {
            format!("about {} of it will spoil: the least order is too large", Rounded(*units))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_is_the_text_of_the_rounded_figure() {
        let small = (-30_000..30_000).map(|n| f64::from(n) / 7_919.0);
        let large = (0..200).map(|n| 1.1_f64.powi(n) * 3.7);
        let edges = [0.5, 0.00005, 0.00004, -0.00005, 12.34, 100.0, 8.9e11, 9.1e11, 1e15, -1e15, 1e300, f64::MAX];
        for value in small.chain(large).chain(edges) {
            // Nothing is not less than nothing.
            let text = if round(value) == 0.0 { "0".to_owned() } else { round(value).to_string() };
            assert_eq!(Rounded(value).to_string(), text, "{value:?}");
        }
        assert_eq!(Rounded(f64::INFINITY).to_string(), "inf");
        assert_eq!(Rounded(f64::NAN).to_string(), "NaN");
    }
}
