//! What can be ordered, for how much, and under which terms: a JSON document, `MENU` (the document itself) or
//! `MENU_FILE` (its path), else the coffee platform's own.
//!
//! It is checked whole at the start: a menu with a mistake in it ends the process with its place, and never
//! prices an order.

use std::collections::{BTreeSet, HashMap};

use function_host::{SettingError, Settings};
use schemas::payload::orders::Stock;
use serde::Deserialize;

use crate::price::QUANTITY_MAX;

/// The menu that is used where none is set.
const DEFAULT: &str = include_str!("menu.json");
/// Bytes of a menu.
pub const MENU_BYTES_MAX: u64 = 4 << 20;
/// The largest price, in the smallest unit of a currency: sums of a whole order stay far from 64 bits.
pub const PRICE_CENTS_MAX: u64 = 100_000_000;

/// The document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    items: Vec<Item>,
    #[serde(default)]
    extras: Vec<Item>,
    taxes: Vec<TaxRule>,
    #[serde(default)]
    promotions: Vec<Promotion>,
    #[serde(default)]
    loyalty: Loyalty,
}

/// Something that can be ordered, or an extra.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// The price of one, in the smallest unit of each currency.
    pub price_cents: u64,
    /// The tax on it, by the rule's `class`.
    #[serde(default)]
    pub tax_class: String,
    /// What one of it uses of the stock.
    #[serde(default)]
    pub uses: Vec<Stock>,
    /// Extras that cannot be had with it.
    #[serde(default)]
    pub without_extras: BTreeSet<String>,
}

/// A tax for a class of items in a currency.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaxRule {
    /// The currency that it is for.
    pub currency: String,
    /// The class of items.
    #[serde(default)]
    pub class: String,
    /// Its name on the bill.
    pub name: String,
    /// Parts per million.
    pub rate_ppm: u64,
    /// Whether prices have it in them.
    pub included: bool,
}

/// A reason to take something off.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// Its name on the bill.
    pub name: String,
    /// The code that asks for it; one without a code is given to everybody.
    pub code: Option<String>,
    /// The items that it is for; all, if there are none.
    #[serde(default)]
    pub items: BTreeSet<String>,
    /// Percent off each of these items.
    #[serde(default)]
    pub percent_off: u64,
    /// Of each `buy + free` of these items, the `free` cheapest cost nothing.
    #[serde(default)]
    pub buy: u64,
    /// See `buy`.
    #[serde(default)]
    pub free: u64,
    /// The subtotal from which it holds.
    #[serde(default)]
    pub subtotal_cents_min: u64,
    /// The first moment, as RFC 3339 writes it.
    pub from: Option<jiff::Timestamp>,
    /// The first moment after it.
    pub until: Option<jiff::Timestamp>,
}

/// What loyalty earns and pays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loyalty {
    /// Points for each whole 100 cents paid.
    pub points_per_100_cents: u64,
    /// What a point pays.
    pub cents_per_point: u64,
    /// The largest part of an order that points pay.
    pub redeem_percent_max: u64,
}

/// Hashes by a function that is quick and withstands nobody's design: an order looks names up, and adds none.
type ByName = HashMap<String, Item, foldhash::fast::RandomState>;

/// A menu, checked, ready to look up.
#[derive(Debug)]
pub struct Menu {
    items: ByName,
    extras: ByName,
    taxes: Vec<TaxRule>,
    /// In the order of the document.
    pub promotions: Vec<Promotion>,
    /// What loyalty earns and pays.
    pub loyalty: Loyalty,
}

impl Menu {
    /// Reads the menu that the settings name.
    ///
    /// # Errors
    /// The setting, and the place in the menu.
    pub fn load(settings: &Settings) -> Result<Self, SettingError> {
        let (name, text) = match (settings.get("MENU"), settings.get("MENU_FILE")) {
            (Some(_), Some(_)) => {
                return Err(SettingError::new("MENU_FILE", "is set beside MENU; leave one of them out"));
            }
            (Some(text), None) => ("MENU", text.to_owned()),
            (None, Some(path)) => {
                ("MENU_FILE", read(path).map_err(|e| SettingError::new("MENU_FILE", format!("{path}: {e}")))?)
            }
            (None, None) => ("MENU", DEFAULT.to_owned()),
        };
        Self::parse(&text).map_err(|e| SettingError::new(name, e))
    }

    /// Reads a menu.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let Document { items, extras, taxes, promotions, loyalty } = document;
        let menu = Menu { items: index("items", items)?, extras: index("extras", extras)?, taxes, promotions, loyalty };
        menu.check()?;
        Ok(menu)
    }

    fn check(&self) -> Result<(), String> {
        for (i, tax) in self.taxes.iter().enumerate() {
            if tax.rate_ppm > 1_000_000 {
                return Err(format!("taxes[{i}].rate_ppm: {} is more than all, 1000000", tax.rate_ppm));
            }
            if self.taxes.iter().take(i).any(|t| (&t.currency, &t.class) == (&tax.currency, &tax.class)) {
                return Err(format!("taxes[{i}]: a second rule for {} and class {:?}", tax.currency, tax.class));
            }
        }
        let currencies: BTreeSet<&str> = self.taxes.iter().map(|t| t.currency.as_str()).collect();
        if currencies.is_empty() {
            return Err(
                "taxes: without a rule there is no currency to sell in; give a rate of 0 where there is no tax".into(),
            );
        }
        for item in self.items.values() {
            let missing = currencies.iter().find(|currency| self.tax(currency, &item.tax_class).is_none());
            if let Some(currency) = missing {
                return Err(format!("taxes: no rule for {currency} and class {:?} of {}", item.tax_class, item.name));
            }
        }
        for (i, promotion) in self.promotions.iter().enumerate() {
            promotion.check(self).map_err(|e| format!("promotions[{i}]{e}"))?;
        }
        if self.loyalty.redeem_percent_max > 100 {
            return Err(format!("loyalty.redeem_percent_max: {} is more than 100", self.loyalty.redeem_percent_max));
        }
        let large = |n: u64| n > PRICE_CENTS_MAX;
        if large(self.loyalty.cents_per_point) || large(self.loyalty.points_per_100_cents) {
            return Err(format!("loyalty: more than {PRICE_CENTS_MAX}"));
        }
        Ok(())
    }

    /// An item by its name.
    pub fn item(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }

    /// An extra by its name.
    pub fn extra(&self, name: &str) -> Option<&Item> {
        self.extras.get(name)
    }

    /// The tax on a class of items.
    pub fn tax(&self, currency: &str, class: &str) -> Option<&TaxRule> {
        self.taxes.iter().find(|tax| tax.currency == currency && tax.class == class)
    }

    /// Whether anything is sold in a currency.
    pub fn sells_in(&self, currency: &str) -> bool {
        self.taxes.iter().any(|tax| tax.currency == currency)
    }

    /// The currencies, for messages.
    pub fn currencies(&self) -> String {
        let all: BTreeSet<&str> = self.taxes.iter().map(|tax| tax.currency.as_str()).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    }
}

impl Promotion {
    fn check(&self, menu: &Menu) -> Result<(), String> {
        if let Some(unknown) = self.items.iter().find(|name| menu.item(name).is_none()) {
            return Err(format!(".items: {unknown} is not on the menu"));
        }
        if self.percent_off > 100 {
            return Err(format!(".percent_off: {} is more than 100", self.percent_off));
        }
        if self.buy > QUANTITY_MAX || self.free > QUANTITY_MAX {
            return Err(format!(".buy, .free: at most {QUANTITY_MAX}"));
        }
        match (self.percent_off > 0, self.buy > 0 && self.free > 0) {
            (true, false) | (false, true) => Ok(()),
            _ => Err(": it takes nothing off, or two things: give `percent_off`, or `buy` and `free`".into()),
        }
    }

    /// Whether it is for an item.
    pub fn is_for(&self, item: &str) -> bool {
        self.items.is_empty() || self.items.contains(item)
    }
}

fn index(what: &str, items: Vec<Item>) -> Result<ByName, String> {
    let mut found = ByName::with_capacity_and_hasher(items.len(), foldhash::fast::RandomState::default());
    for (i, item) in items.into_iter().enumerate() {
        if item.price_cents > PRICE_CENTS_MAX {
            return Err(format!("{what}[{i}].price_cents: at most {PRICE_CENTS_MAX}"));
        }
        if let Some(double) = found.insert(item.name.clone(), item) {
            return Err(format!("{what}[{i}].name: {} is there twice", double.name));
        }
    }
    Ok(found)
}

fn read(path: &str) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if bytes > MENU_BYTES_MAX {
        return Err(format!("{bytes} bytes; a menu has at most {MENU_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_menu_is_in_order() {
        let menu = Menu::load(&Settings::default()).unwrap();
        assert_eq!((menu.items.len(), menu.extras.len(), &*menu.currencies()), (10, 6, "EUR, GBP, USD"));
    }

    #[test]
    fn a_mistake_in_a_menu_is_named_with_its_place() {
        let menu = |edit: &dyn Fn(&mut serde_json::Value)| {
            let mut menu = serde_json::from_str(DEFAULT).unwrap();
            edit(&mut menu);
            Menu::parse(&menu.to_string()).unwrap_err()
        };
        let error = menu(&|m| m["items"][1]["name"] = "Espresso".into());
        assert_eq!(error, "items[1].name: Espresso is there twice");
        let error = menu(&|m| m["items"][1]["tax_class"] = "food".into());
        assert_eq!(error, "taxes: no rule for EUR and class \"food\" of Espresso doppio");
        let error = menu(&|m| m["promotions"][1]["items"][0] = "Tea".into());
        assert_eq!(error, "promotions[1].items: Tea is not on the menu");
        assert!(menu(&|m| m["promotions"][0]["percent_off"] = 0.into()).starts_with("promotions[0]: it takes nothing"));
        assert!(menu(&|m| m["promotions"][0]["percent_off"] = 101.into()).contains("more than 100"));
        assert!(menu(&|m| m["promotions"][0]["percent"] = 1.into()).contains("unknown field `percent`"));
        assert!(menu(&|m| m["taxes"][0]["currency"] = "EUR".into()).contains("second rule"));
        let both = [("MENU", "{}"), ("MENU_FILE", "x")].into_iter().collect();
        assert_eq!(&*Menu::load(&both).unwrap_err().name, "MENU_FILE");
        let missing = [("MENU_FILE", "/does/not/exist")].into_iter().collect();
        assert!(Menu::load(&missing).unwrap_err().to_string().contains("/does/not/exist"));
    }
}
