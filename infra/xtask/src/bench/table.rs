//! Figures, each with its limit beside it.

use serde_json::{Value, json};

/// What a figure must not miss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    fn held(self, value: f64) -> bool {
        match self {
            Limit::AtLeast(limit) => value >= limit,
            Limit::AtMost(limit) => value <= limit,
        }
    }
}

struct Row {
    scenario: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    limit: Option<Limit>,
    /// What the figure is compared with, in words.
    note: String,
}

/// All figures of a run.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a figure that is only printed.
    pub fn show(
        &mut self,
        scenario: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        note: &str,
    ) {
        self.0.push(Row { scenario, what: what.into(), value, unit, limit: None, note: note.to_owned() });
    }

    /// Adds a figure that must be within its limit.
    pub fn hold(&mut self, scenario: &'static str, what: &str, value: f64, unit: &'static str, limit: Limit) {
        self.hold_with(scenario, what, value, unit, limit, "");
    }

    /// [`Table::hold`], with words.
    pub fn hold_with(
        &mut self,
        scenario: &'static str,
        what: &str,
        value: f64,
        unit: &'static str,
        limit: Limit,
        note: &str,
    ) {
        let (what, note) = (what.to_owned(), note.to_owned());
        self.0.push(Row { scenario, what, value, unit, limit: Some(limit), note });
    }

    /// Whether every limit is held.
    pub fn good(&self) -> bool {
        self.0.iter().all(|row| row.limit.is_none_or(|limit| limit.held(row.value)))
    }

    /// For people: Markdown, so that it can be kept as it is.
    pub fn to_text(&self) -> String {
        let mut cells = vec![["scenario", "figure", "value", "limit", "", ""].map(str::to_owned)];
        for row in &self.0 {
            let limit = row.limit.map_or(String::new(), |limit| match limit {
                Limit::AtLeast(limit) => format!("at least {}", number(limit)),
                Limit::AtMost(limit) => format!("at most {}", number(limit)),
            });
            let held = row.limit.map_or("", |limit| if limit.held(row.value) { "held" } else { "MISSED" });
            let value = format!("{} {}", number(row.value), row.unit);
            let value = value.trim_end().to_owned();
            cells.push([row.scenario.into(), row.what.clone(), value, limit, held.into(), row.note.clone()]);
        }
        let mut widths = [3; 6];
        for line in &cells {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |line: &[String; 6]| {
            let padded: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("| {} |\n", padded.join(" | "))
        };
        let mut text = String::new();
        for (i, cells) in cells.iter().enumerate() {
            text += &line(cells);
            if i == 0 {
                text += &line(&widths.map(|width| "-".repeat(width)));
            }
        }
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let (at_least, at_most) = match row.limit {
                Some(Limit::AtLeast(limit)) => (Some(limit), None),
                Some(Limit::AtMost(limit)) => (None, Some(limit)),
                None => (None, None),
            };
            json!({
                "scenario": row.scenario, "figure": row.what, "value": row.value, "unit": row.unit,
                "at_least": at_least, "at_most": at_most, "held": row.limit.map(|l| l.held(row.value)),
                "note": row.note,
            })
        };
        self.0.iter().map(row).collect()
    }
}

/// The middle one; the lower of the two in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Three digits that matter, and thousands set apart.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let whole = format!("{value:.0}");
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole.as_str()), |digits| ("-", digits));
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_limit_spoils_the_table() {
        let mut table = Table::default();
        table.show("a", "rate", 12_345.6, "events/s", "");
        table.hold("a", "ratio", 0.9, "", Limit::AtLeast(0.9));
        table.hold("a", "memory", 32.0, "MiB", Limit::AtMost(32.0));
        assert!(table.good());
        table.hold("a", "memory", 32.01, "MiB", Limit::AtMost(32.0));
        assert!(!table.good());
        let text = table.to_text();
        assert!(text.contains("| 12,346 events/s |"), "{text}");
        assert!(text.contains("| 32.01 MiB       | at most 32.00 | MISSED |"), "{text}");
        assert_eq!(table.to_json().pointer("/3/held"), Some(&Value::Bool(false)));
    }

    #[test]
    fn numbers_read_easily() {
        for (value, text) in [(0.5, "0.50"), (-3.256, "-3.26"), (999.4, "999"), (-1_234_567.0, "-1,234,567")] {
            assert_eq!(number(value), text);
        }
    }
}
