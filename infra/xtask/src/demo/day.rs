//! What the file of the day has: its events, the key that gets stuck, the hour that is replayed. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Error;

use super::balance::{is_order, large};

/// A day.
pub struct Day {
    /// One event a line.
    pub text: String,
    /// The same, read.
    pub events: Vec<Value>,
    /// The event that is stuck: the first of its key.
    pub stuck_id: String,
    /// Its key: the one with the most events of an order.
    pub stuck_key: String,
    /// The hour that is replayed, as RFC 3339 begins: that with the most large orders.
    pub hour: String,
}

/// An attribute of an event.
fn attribute<'a>(event: &'a Value, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Date and hour of an event, as RFC 3339 begins.
fn hour(event: &Value) -> &str {
    attribute(event, "time").get(..13).unwrap_or_default()
}

/// The item that occurs most often, the first in their order among those that do.
fn most(items: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(item, _)| item)
}

impl Day {
    /// Reads it.
    ///
    /// # Errors
    /// When it has no orders.
    pub fn new(text: String) -> Result<Day, Error> {
        let read = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        let events = read.map_err(|e| Error(format!("the events of the day: {e}")))?;
        let orders = || events.iter().filter(|e| is_order(e));
        let none = || Error("the events of the day have no orders".into());
        let stuck_key = most(orders().map(|e| attribute(e, "partitionkey").to_owned())).ok_or_else(none)?;
        let first = orders().find(|e| attribute(e, "partitionkey") == stuck_key).ok_or_else(none)?;
        let stuck_id = attribute(first, "id").to_owned();
        let hour = most(events.iter().filter(|e| large(e)).map(|e| hour(e).to_owned())).ok_or_else(none)?;
        Ok(Day { text, events, stuck_id, stuck_key, hour })
    }

    /// How the times of that hour begin.
    pub fn hour_prefix(&self) -> String {
        format!("{}:", self.hour)
    }

    /// Its number.
    pub fn hour_of_day(&self) -> &str {
        self.hour.get(11..).unwrap_or_default()
    }

    /// Whether an event is of the hour that is replayed.
    pub fn in_hour(&self, event: &Value) -> bool {
        hour(event) == self.hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_day_has_a_key_with_several_orders_and_a_busy_hour() {
        for count in [300, 600, 5_000] {
            let day = Day::new(samples::generate(count)).unwrap();
            let of_key = |e: &&Value| is_order(e) && attribute(e, "partitionkey") == day.stuck_key;
            assert!(day.events.iter().filter(of_key).count() >= 3, "{count}");
            let first = day.events.iter().find(of_key).unwrap();
            assert_eq!(attribute(first, "id"), day.stuck_id);
            assert!(day.events.iter().filter(|e| day.in_hour(e) && large(e)).count() >= 10, "{count}: {}", day.hour);
        }
    }

    #[test]
    fn what_occurs_most_is_found() {
        let items = ["b", "a", "c", "a", "b"].map(String::from);
        assert_eq!(most(items.into_iter()).as_deref(), Some("a"));
        assert_eq!(most(std::iter::empty()), None);
    }
}
