//! Orders of coffee. Amounts are integers in the smallest unit of their currency; rates are parts per million.

use serde::{Deserialize, Serialize};

/// Lines of one order.
pub const LINES_MAX: usize = 100;

/// Data of `coffee.order.created`: somebody ordered something.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Created {
    /// The order's name, e.g. `order-10007`.
    pub order: String,
    /// The shop's number.
    pub shop: u64,
    /// Who ordered.
    pub customer: Customer,
    /// What was ordered; from 1 to [`LINES_MAX`].
    pub lines: Vec<Line>,
    /// What the customer was shown: the lines' prices times quantities, before extras, promotions and tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The currency, as ISO 4217 writes it.
    pub currency: String,
    /// Whether it is handed over at the counter, not brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup: Option<bool>,
    /// Codes of promotions that the customer gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotions: Option<Vec<String>>,
    /// Loyalty points that the customer pays with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeem_points: Option<u64>,
}

/// Who ordered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Customer {
    /// Their name.
    pub name: String,
    /// The loyalty points that they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loyalty_points: Option<u64>,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Line {
    /// Its number.
    pub line: u64,
    /// An item of the menu.
    pub item: String,
    /// How many.
    pub quantity: u64,
    /// What the customer was shown for one, without extras.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_cents: Option<u64>,
    /// Extras for each; one that is there twice is given twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extras: Option<Vec<String>>,
}

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Taken and priced.
    Accepted,
    /// Being made.
    Brewing,
    /// Waiting for the customer.
    Ready,
    /// Handed over: done.
    HandedOver,
    /// Ended before it was handed over.
    Cancelled,
    /// Paid back after it was handed over.
    Refunded,
}

impl State {
    /// All states, in the order of an order's life.
    pub const ALL: [State; 6] =
        [State::Accepted, State::Brewing, State::Ready, State::HandedOver, State::Cancelled, State::Refunded];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Accepted => "accepted",
            State::Brewing => "brewing",
            State::Ready => "ready",
            State::HandedOver => "handed-over",
            State::Cancelled => "cancelled",
            State::Refunded => "refunded",
        }
    }

    /// Whether an order may go from this state to that one.
    pub fn may_become(self, next: State) -> bool {
        use State::{Accepted, Brewing, Cancelled, HandedOver, Ready, Refunded};
        matches!(
            (self, next),
            (Accepted, Brewing)
                | (Brewing, Ready)
                | (Ready, HandedOver)
                | (Accepted | Brewing | Ready, Cancelled)
                | (HandedOver, Refunded)
        )
    }
}

/// Data of `coffee.order.updated`: somebody says that an order went on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Updated {
    /// The order's name.
    pub order: String,
    /// Where it was.
    pub from: State,
    /// Where it is to be.
    pub to: State,
    /// The order's total, as it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barista: Option<String>,
    /// Why, for a cancellation or a refund.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `coffee.order.accepted`: an order with its price.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Accepted {
    /// The order's name.
    pub order: String,
    /// The shop's number.
    pub shop: u64,
    /// Who ordered.
    pub customer: String,
    /// The lines with their prices.
    pub lines: Vec<PricedLine>,
    /// The currency.
    pub currency: String,
    /// All lines with extras, before discounts.
    pub subtotal_cents: u64,
    /// What was taken off, and why.
    pub discounts: Vec<Discount>,
    /// Tax by rate.
    pub taxes: Vec<Tax>,
    /// What is to be paid, tax included.
    pub total_cents: u64,
    /// Loyalty points that were paid with.
    pub points_redeemed: u64,
    /// Loyalty points that the order earns.
    pub points_earned: u64,
    /// Whether it is handed over at the counter.
    pub pickup: bool,
}

/// A line with its price.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PricedLine {
    /// Its number in the order.
    pub line: u64,
    /// The item.
    pub item: String,
    /// How many.
    pub quantity: u64,
    /// Extras for each.
    pub extras: Vec<String>,
    /// The price of one, with its extras.
    pub unit_cents: u64,
    /// What all discounts together take off the line.
    pub discount_cents: u64,
    /// What is left of it: `unit_cents` times `quantity`, less the discount.
    pub net_cents: u64,
}

/// Something that was taken off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Discount {
    /// The promotion's name, or `loyalty`.
    pub promotion: String,
    /// How much.
    pub cents: u64,
}

/// Tax at one rate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Tax {
    /// Its name.
    pub name: String,
    /// Parts per million of the base.
    pub rate_ppm: u64,
    /// Whether prices have it in them, as in Europe, or it is added, as in the United States.
    pub included: bool,
    /// What it is on, without it.
    pub base_cents: u64,
    /// How much it is.
    pub tax_cents: u64,
}

/// Data of `coffee.order.rejected`: an order, or a change of one, that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Rejected {
    /// The order's name.
    pub order: String,
    /// Whether the order itself was rejected, or a change of it.
    pub what: What,
    /// Everything that is wrong.
    pub reasons: Vec<Reason>,
}

/// What was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The order: there is none.
    Order,
    /// A change: the order stays as it was.
    Change,
}

/// Why something was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reason {
    /// For programs, e.g. `item-unknown`.
    pub code: String,
    /// The member, e.g. `lines[1].item`.
    pub place: String,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// Data of `coffee.order.changed`: an order went on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Changed {
    /// The order's name.
    pub order: String,
    /// Where it was.
    pub from: State,
    /// Where it is.
    pub to: State,
    /// Whether what was reserved for it is free again: it was cancelled before it was made.
    pub releases_stock: bool,
}

/// Data of `inventory.reserved`: stock that an order will use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reserved {
    /// The order's name.
    pub order: String,
    /// The shop's number.
    pub shop: u64,
    /// How much of what, each once.
    pub items: Vec<Stock>,
}

/// An amount of something.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stock {
    /// The item's name, as `inventory.low` has it.
    pub item: String,
    /// How much, in its unit.
    pub amount: u64,
    /// The unit, e.g. `g`.
    pub unit: String,
}
