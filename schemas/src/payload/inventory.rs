//! Stock: what is low, what was used, what to order. Quantities are in the item's own unit; times are in periods,
//! of which `period` says the length.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

/// Items in one `inventory.forecast`; each may be answered by an event of its own.
pub const ITEMS_MAX: usize = 1_000;

/// Data of `inventory.low`: an item of a shop fell to its threshold.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Low {
    /// The shop's number.
    pub shop: u64,
    /// The item's name, e.g. `whole-milk`.
    pub item: String,
    /// Units on hand.
    pub left: f64,
    /// The figure that it fell to or below.
    pub threshold: f64,
    /// The unit, e.g. `ml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Who delivers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Units ordered and not yet there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_order: Option<f64>,
    /// Units promised and not yet handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<f64>,
    /// The length of a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// Units used in each period, the oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<f64>>,
    /// How it is to be ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// Data of `inventory.forecast`: forecast these items of a shop, and propose what to order.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Forecast {
    /// The shop's number.
    pub shop: u64,
    /// The length of a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// How items are to be ordered that do not say it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// At most [`ITEMS_MAX`].
    pub items: Vec<Item>,
}

/// An item of a [`Forecast`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Item {
    /// The item's name.
    pub item: String,
    /// Units on hand.
    pub left: f64,
    /// Units used in each period, the oldest first.
    #[serde(deserialize_with = "figures")]
    pub history: Vec<f64>,
    /// The unit, e.g. `ml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Who delivers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Units ordered and not yet there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_order: Option<f64>,
    /// Units promised and not yet handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<f64>,
    /// What differs from the event's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// Reads figures with room for two months of days at first, since JSON does not say how many come: a list that grows from
/// nothing is moved five times until then.
fn figures<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    const AT_FIRST: usize = 64;
    struct Figures;
    impl<'de> Visitor<'de> for Figures {
        type Value = Vec<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut figures: A) -> Result<Vec<f64>, A::Error> {
            let mut all = Vec::with_capacity(AT_FIRST);
            while let Some(figure) = figures.next_element()? {
                all.push(figure);
            }
            Ok(all)
        }
    }
    from.deserialize_seq(Figures)
}

/// The length of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// A day; its season is a week.
    #[default]
    Day,
    /// A week; its season is a year.
    Week,
    /// A month; its season is a year.
    Month,
}

/// How an item is ordered. What is not said has the function's default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Periods from an order to its arrival, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_time: Option<f64>,
    /// Their standard deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_time_deviation: Option<f64>,
    /// Periods until stock is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<f64>,
    /// The probability to get through a cycle without a stock-out, e.g. 0.95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_level: Option<f64>,
    /// Periods in a season; 1 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<u32>,
    /// What an order costs, whatever its size; in the currency of `unit_cost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_cost: Option<f64>,
    /// What a unit costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_cost: Option<f64>,
    /// What it costs to hold a unit for a year, as a part of its cost, e.g. 0.25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding_rate: Option<f64>,
    /// Units in a pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<f64>,
    /// The supplier's least order, in units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_min: Option<f64>,
    /// Periods until it spoils, from its arrival on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shelf_life: Option<f64>,
    /// The forecast's method instead of the one that the history's class chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

/// A method that an order can insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// By the class of the history.
    Auto,
    /// Level, trend, season.
    HoltWinters,
    /// Croston's ratio of size and interval.
    Croston,
    /// With Syntetos' and Boylan's correction.
    Sba,
    /// By probability (Teunter, Syntetos, Babai).
    Tsb,
}

/// Data of `inventory.reorder`: a proposal to order, with how it came about.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Reorder {
    /// The shop's number.
    pub shop: u64,
    /// The item's name.
    pub item: String,
    /// The unit of all quantities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Who delivers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Units to order: `packs` times `pack`.
    pub quantity: f64,
    /// Whole packs.
    pub packs: u64,
    /// Units in a pack.
    pub pack: f64,
    /// On hand, plus on order, less what is owed.
    pub position: f64,
    /// The position at or below which is ordered.
    pub reorder_point: f64,
    /// Whether the position may not last until the order arrives.
    pub urgent: bool,
    /// How the figures came about.
    pub reasoning: Reasoning,
}

/// How a [`Reorder`] came about. Figures are rounded to four decimals.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Reasoning {
    /// `smooth`, `erratic`, `intermittent`, `lumpy`, or `none` without demand.
    pub class: String,
    /// Periods from demand to demand on average.
    pub interval: f64,
    /// The squared coefficient of variation of the demands' sizes.
    pub variation: f64,
    /// How the demand was forecast; `min-max` without a history.
    pub method: String,
    /// Its parameters, as far as it has them.
    pub parameters: Parameters,
    /// Expected demand in the next period.
    pub demand_next: f64,
    /// Expected demand until an order placed at the next review has arrived.
    pub demand_lead_time: f64,
    /// Its standard deviation, the lead time's own included.
    pub deviation: f64,
    /// The probability to get through a cycle without a stock-out.
    pub service_level: f64,
    /// What is kept against the deviation.
    pub safety_stock: f64,
    /// The order quantity with the least cost, before its bounds; absent when costs are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub economic_quantity: Option<f64>,
    /// The same in sentences, in order.
    pub steps: Vec<String>,
}

/// Parameters of a forecast.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Parameters {
    /// Weight of the level, or of a demand's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<f64>,
    /// Weight of the trend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trend: Option<f64>,
    /// Weight of the season.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<f64>,
    /// Damping of the trend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damping: Option<f64>,
    /// Smoothed size of a demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<f64>,
    /// Smoothed interval between demands, in periods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
}
