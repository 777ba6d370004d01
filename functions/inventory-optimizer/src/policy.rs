//! How an item is ordered: what the item says, else the event, else the function's settings; checked once, with the
//! name of what is wrong.

use schemas::payload::inventory::{self, Method, Period};

use crate::{
    forecast::{Choice, LEAD_TIME_MAX, SEASON_MAX, croston::Variant},
    stock::{SERVICE_LEVEL_MAX, SERVICE_LEVEL_MIN},
};

/// Largest quantity, cost or figure of a history: beyond it doubles no longer count single units.
pub const QUANTITY_MAX: f64 = 1e12;

/// The function's own defaults, from its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// `INVENTORY_SERVICE_LEVEL`.
    pub service_level: f64,
    /// `INVENTORY_LEAD_TIME`, in periods.
    pub lead_time: f64,
    /// `INVENTORY_HOLDING_RATE`, a part of the unit's cost in a year.
    pub holding_rate: f64,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults { service_level: 0.95, lead_time: 2.0, holding_rate: 0.25 }
    }
}

/// A policy with nothing left open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Periods from an order to its arrival.
    pub lead_time: f64,
    /// Their standard deviation.
    pub lead_time_deviation: f64,
    /// Periods until stock is looked at again; 0 when every change is seen.
    pub review: f64,
    /// The probability to get through a cycle without a stock-out.
    pub service_level: f64,
    /// Periods in a season.
    pub season: usize,
    /// Periods in a year.
    pub periods_year: f64,
    /// What an order costs.
    pub order_cost: Option<f64>,
    /// What holding a unit for a year costs.
    pub holding_cost: Option<f64>,
    /// Units in a pack.
    pub pack: f64,
    /// The least order in units.
    pub order_min: f64,
    /// Periods until it spoils.
    pub shelf_life: Option<f64>,
    /// The forecast's method.
    pub choice: Choice,
}

/// A figure that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {value} is not usable: {rule}")]
pub struct Unusable {
    /// The member, e.g. `policy.lead_time`.
    pub name: String,
    /// What it says.
    pub value: String,
    /// What it has to be.
    pub rule: &'static str,
}

/// A figure within `[least, most]`.
pub(crate) fn figure(name: &str, value: f64, least: f64, most: f64, rule: &'static str) -> Result<f64, Unusable> {
    if value >= least && value <= most {
        return Ok(value);
    }
    Err(Unusable { name: name.to_owned(), value: value.to_string(), rule })
}

impl Policy {
    /// The policy of an item: `own` first, then `common`, then the defaults.
    ///
    /// # Errors
    /// The first figure that cannot be used.
    pub fn of(
        own: Option<&inventory::Policy>,
        common: Option<&inventory::Policy>,
        period: Period,
        defaults: &Defaults,
    ) -> Result<Self, Unusable> {
        let (season, periods_year) = match period {
            Period::Day => (7, 365.0),
            Period::Week => (52, 52.0),
            Period::Month => (12, 12.0),
        };
        let find = |get: fn(&inventory::Policy) -> Option<f64>| own.and_then(get).or_else(|| common.and_then(get));
        let lead_rule = "it is at least 0 and at most 366 periods";
        let cost_rule = "it is at least 0 and at most 1e12";
        let positive_rule = "it is above 0 and at most 1e12";
        let level_rule = "it is a probability from 0.5 to 0.9999";
        let lead = |name, value| figure(name, value, 0.0, LEAD_TIME_MAX, lead_rule);
        let cost = |name, value: Option<f64>| value.map(|v| figure(name, v, 0.0, QUANTITY_MAX, cost_rule)).transpose();
        let positive = |name, value| figure(name, value, f64::MIN_POSITIVE, QUANTITY_MAX, positive_rule);
        let unit_cost = cost("policy.unit_cost", find(|p| p.unit_cost))?;
        let holding_rate = find(|p| p.holding_rate).unwrap_or(defaults.holding_rate);
        let holding_rate = figure("policy.holding_rate", holding_rate, 0.0, 10.0, "it is at least 0 and at most 10")?;
        let service_level = find(|p| p.service_level).unwrap_or(defaults.service_level);
        let longest = own.and_then(|p| p.season).or_else(|| common.and_then(|p| p.season));
        let longest = longest.map_or(season, |s| s as usize);
        if longest == 0 || longest > SEASON_MAX {
            let rule = "a season has from 1 (none) to 366 periods";
            return Err(Unusable { name: "policy.season".to_owned(), value: longest.to_string(), rule });
        }
        let method = own.and_then(|p| p.method).or_else(|| common.and_then(|p| p.method));
        let shelf_life = find(|p| p.shelf_life).map(|v| positive("policy.shelf_life", v)).transpose()?;
        Ok(Policy {
            lead_time: lead("policy.lead_time", find(|p| p.lead_time).unwrap_or(defaults.lead_time))?,
            lead_time_deviation: lead("policy.lead_time_deviation", find(|p| p.lead_time_deviation).unwrap_or(0.0))?,
            review: lead("policy.review", find(|p| p.review).unwrap_or(0.0))?,
            service_level: figure(
                "policy.service_level",
                service_level,
                SERVICE_LEVEL_MIN,
                SERVICE_LEVEL_MAX,
                level_rule,
            )?,
            season: longest,
            periods_year,
            order_cost: cost("policy.order_cost", find(|p| p.order_cost))?,
            holding_cost: unit_cost.map(|cost| cost * holding_rate),
            pack: positive("policy.pack", find(|p| p.pack).unwrap_or(1.0))?,
            order_min: cost("policy.order_min", find(|p| p.order_min))?.unwrap_or(0.0),
            shelf_life,
            choice: choice(method),
        })
    }
}

fn choice(method: Option<Method>) -> Choice {
    match method {
        None | Some(Method::Auto) => Choice::ByClass,
        Some(Method::HoltWinters) => Choice::HoltWinters,
        Some(Method::Croston) => Choice::Croston(Variant::Croston),
        Some(Method::Sba) => Choice::Croston(Variant::Sba),
        Some(Method::Tsb) => Choice::Croston(Variant::Tsb),
    }
}
