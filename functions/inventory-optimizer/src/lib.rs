//! Forecasts the demand of items and proposes what to order.
//!
//! Settings and terms: docs/inventory-optimizer.md.
//!
//! `inventory.forecast` brings the history of up to a thousand items of a shop, `inventory.low` one item that fell to
//! its threshold. Each item whose position is at or below its reorder point is answered by an `inventory.reorder` with
//! its reasoning; the others by nothing. The work is [`forecast`] (what will be used, and how sure that is), [`stock`]
//! (when and how much to order) and [`plan`] (both together); [`policy`] says under which terms.
//!
//! The same event gives the same answer on every platform: no randomness, no clock, no memory of earlier events.

pub mod forecast;
pub mod plan;
pub mod policy;
pub mod stock;

use function_host::{Context, Failure, Function, Reply, SettingError, Settings};
use schemas::{
    Event,
    payload::inventory::{self, ITEMS_MAX, Period},
};

use forecast::{HISTORY_MAX, holt_winters::FIT_STEPS_MAX};
use plan::{Label, Stock};
use policy::{Defaults, Policy, QUANTITY_MAX, Unusable};

/// Work of all fits of one event together, in observations times compass steps: what a large event has more of items,
/// each of them is searched less finely for. A single item always gets its full search.
pub const FIT_WORK_MAX: usize = 120_000;
/// Compass steps that every item gets.
pub const FIT_STEPS_MIN: usize = 2;

/// The function.
#[derive(Clone, Copy, Debug, Default)]
pub struct InventoryOptimizer {
    defaults: Defaults,
}

impl Function for InventoryOptimizer {
    const NAME: &'static str = "inventory-optimizer";
    const CONSUMES: &'static [&'static str] = &["inventory.low", "inventory.forecast"];
    const EMITS: &'static [&'static str] = &["inventory.reorder"];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        let usual = Defaults::default();
        let defaults = Defaults {
            service_level: settings.read("INVENTORY_SERVICE_LEVEL", usual.service_level)?,
            lead_time: settings.read("INVENTORY_LEAD_TIME", usual.lead_time)?,
            holding_rate: settings.read("INVENTORY_HOLDING_RATE", usual.holding_rate)?,
        };
        let unusable = |u: Unusable| {
            let name = format!("INVENTORY_{}", u.name.trim_start_matches("policy.").to_uppercase());
            SettingError::new(&name, u.rule)
        };
        Policy::of(None, None, Period::Day, &defaults).map_err(unusable)?;
        Ok(InventoryOptimizer { defaults })
    }

    /// A repeat gives the same replies with the same ids, so nothing has to be remembered.
    async fn handle(&self, event: &Event, _: &Context) -> Result<Vec<Reply>, Failure> {
        match event.kind() {
            "inventory.low" => self.low(&function_host::data(event)?).map(|order| reply(&order?)).into_iter().collect(),
            _ => self.forecast(&function_host::data(event)?)?.map(|order| reply(&order?)).collect(),
        }
    }
}

/// A proposal as an event: its subject is the item, its key the shop, so that a shop's orders stay in order.
///
/// # Errors
/// A figure that JSON cannot say, which is a fault of this function.
pub fn reply(order: &inventory::Reorder) -> Result<Reply, Failure> {
    let key = format!("shop-{}", order.shop);
    Ok(Reply::json("inventory.reorder", order)?.subject(order.item.as_str()).attr("partitionkey", key))
}

impl InventoryOptimizer {
    /// With these defaults instead of the settings'.
    pub fn with(defaults: Defaults) -> Self {
        InventoryOptimizer { defaults }
    }

    /// What to order of one item that is low.
    ///
    /// # Errors
    /// A figure that cannot be used, with its place.
    pub fn low(&self, low: &inventory::Low) -> Option<Result<inventory::Reorder, Failure>> {
        let label =
            Label { shop: low.shop, item: &low.item, unit: low.unit.as_deref(), supplier: low.supplier.as_deref() };
        let history = low.history.as_deref().unwrap_or_default();
        let stock = Stock {
            left: low.left,
            on_order: low.on_order.unwrap_or(0.0),
            owed: low.owed.unwrap_or(0.0),
            threshold: Some(low.threshold),
        };
        let policy = Policy::of(low.policy.as_ref(), None, low.period.unwrap_or_default(), &self.defaults);
        one(label, &stock, history, policy, FIT_STEPS_MAX).map_err(|u| refusal("data", &u)).transpose()
    }

    /// What to order of each item of a forecast that needs it, calculated when it is asked for.
    ///
    /// # Errors
    /// More items than [`ITEMS_MAX`]. The others are in place of the item's order: one bad figure refuses the event.
    pub fn forecast<'a>(
        &'a self,
        data: &'a inventory::Forecast,
    ) -> Result<impl Iterator<Item = Result<inventory::Reorder, Failure>> + 'a, Failure> {
        if data.items.len() > ITEMS_MAX {
            let count = data.items.len();
            let message = format!("data.items: {count} items; send at most {ITEMS_MAX} in one event");
            return Err(Failure::refuse("items-too-many", message));
        }
        let observations: usize = data.items.iter().map(|item| item.history.len().min(HISTORY_MAX)).sum();
        let steps_max = (FIT_WORK_MAX / observations.max(1)).clamp(FIT_STEPS_MIN, FIT_STEPS_MAX);
        let period = data.period.unwrap_or_default();
        let orders = data.items.iter().enumerate().filter_map(move |(place, item)| {
            let label = Label {
                shop: data.shop,
                item: &item.item,
                unit: item.unit.as_deref(),
                supplier: item.supplier.as_deref(),
            };
            let stock = Stock {
                left: item.left,
                on_order: item.on_order.unwrap_or(0.0),
                owed: item.owed.unwrap_or(0.0),
                threshold: None,
            };
            let policy = Policy::of(item.policy.as_ref(), data.policy.as_ref(), period, &self.defaults);
            let order = one(label, &stock, &item.history, policy, steps_max);
            order.map_err(|u| refusal(&format!("data.items[{place}]"), &u)).transpose()
        });
        Ok(orders)
    }
}

fn one(
    label: Label<'_>,
    stock: &Stock,
    history: &[f64],
    policy: Result<Policy, Unusable>,
    steps_max: usize,
) -> Result<Option<inventory::Reorder>, Unusable> {
    let policy = policy?;
    let rule = "it is a number from 0 to 1e12";
    let quantity = |name: &str, value: f64| policy::figure(name, value, 0.0, QUANTITY_MAX, rule);
    if label.item.is_empty() {
        let rule = "an item has a name";
        return Err(Unusable { name: "item".to_owned(), value: "\"\"".to_owned(), rule });
    }
    quantity("left", stock.left)?;
    quantity("on_order", stock.on_order)?;
    quantity("owed", stock.owed)?;
    quantity("threshold", stock.threshold.unwrap_or(0.0))?;
    if let Some((place, value)) = history.iter().enumerate().find(|(_, y)| !(0.0..=QUANTITY_MAX).contains(*y)) {
        quantity(&format!("history[{place}]"), *value)?;
    }
    let forecast = forecast::forecast(history, policy.season, policy.choice, steps_max);
    Ok(plan::plan(label, stock, &forecast, &policy))
}

fn refusal(place: &str, unusable: &Unusable) -> Failure {
    Failure::refuse("figure-unusable", format!("{place}.{unusable}"))
}

#[cfg(test)]
mod tests;
