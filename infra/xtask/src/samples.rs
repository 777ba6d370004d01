//! `cargo xtask samples`: 600 coffee events, the same ones each time, and as many more as `cargo demo` publishes.
//!
//! One structured CloudEvent per line. The seed is fixed and the generator is this file's own, so that no
//! update of a library changes the file. Amounts are integers in the smallest unit of their currency.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use crate::Error;

/// Where the events are kept, from the root of the checkout.
pub const PATH: &str = "schemas/samples/cloudevents/coffee-600.ndjson";

const COUNT: usize = 600;
const SEED: u64 = 0x00C0_FFEE_2026;

/// Name of a drink, and its price in cents.
const MENU: [(&str, u64); 10] = [
    ("Espresso", 280),
    ("Espresso doppio", 380),
    ("Cappuccino", 420),
    ("Café au lait", 450),
    ("Flat White", 460),
    ("Caffè latte", 440),
    ("Türk kahvesi", 390),
    ("抹茶ラテ", 520),
    ("Cold brew", 490),
    ("Chai ☕ dirty", 540),
];
const EXTRAS: [&str; 6] = ["oat milk", "extra shot", "crème fraîche", "no sugar", "cardamom", "to go"];
const CUSTOMERS: [&str; 8] = [
    "Zoë Müller",
    "José Álvarez",
    "Nguyễn Thị Hoa",
    "Ola Nordmann",
    "李小龍",
    "Amara Okafor",
    "Анна Иванова",
    "Sam Lee",
];
const CURRENCIES: [&str; 3] = ["USD", "EUR", "GBP"];
const STATES: [&str; 4] = ["accepted", "brewing", "ready", "handed-over"];
const PAIRS: [(&str, u64); 4] =
    [("COFFEE/USDT", 1_843_200), ("ETH/USDT", 3_412_770_000), ("BTC/USDT", 96_184_110_000), ("SOL/USDC", 187_330_000)];
const INGREDIENTS: [(&str, &str, u64); 5] = [
    ("arabica-beans", "g", 5_000),
    ("oat-milk", "ml", 12_000),
    ("whole-milk", "ml", 20_000),
    ("paper-cups-350", "pcs", 400),
    ("maté-syrup", "ml", 1_500),
];
const TASKS: [(&str, &str); 4] = [
    ("suggest-drink", "What goes well with a rainy morning and a croissant?"),
    ("summarise-feedback", "Summarise yesterday's reviews; name the three most frequent wishes."),
    ("forecast-demand", "How many flat whites will be ordered between 08:00 and 10:00?"),
    ("translate-menu", "Übersetze die Karte ins Französische und lass die Preise stehen."),
];

/// Writes the file.
pub fn write(root: &Path) -> Result<(), Error> {
    let path = root.join(PATH);
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, generate(COUNT)));
    written.map_err(|e| Error(format!("{}: {e}", path.display())))?;
    println!("{COUNT} events in {PATH}");
    Ok(())
}

/// So many events from the beginning of the day on, one a line.
pub fn generate(count: usize) -> String {
    let mut maker = Maker { random: Random(SEED), seconds: 0, orders: Vec::new() };
    let mut text = String::new();
    for _ in 0..count {
        text += &maker.event().to_string();
        text.push('\n');
    }
    text
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn pick<T: Copy + Default>(&mut self, of: &[T]) -> T {
        let at = self.below(of.len() as u64) as usize;
        of.get(at).copied().unwrap_or_default()
    }

    /// Text in the form of a UUID, version 4.
    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        let (a, b, c) = (high >> 32, (high >> 16) & 0xFFFF, high & 0xFFF);
        let (d, e) = ((low >> 48) & 0x3FFF | 0x8000, low & 0xFFFF_FFFF_FFFF);
        format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
    }
}

struct Order {
    number: u64,
    shop: u64,
    state: usize,
    total_cents: u64,
    currency: &'static str,
}

struct Maker {
    random: Random,
    /// Since 2026-01-15T06:30:00Z.
    seconds: u64,
    orders: Vec<Order>,
}

impl Maker {
    fn event(&mut self) -> Value {
        self.seconds += 1 + self.random.below(20);
        match self.random.below(100) {
            0..38 => self.order_created(),
            38..60 => self.order_updated(),
            60..72 => self.task_created(),
            72..87 => self.price_update(),
            87..94 => self.inventory_low(),
            _ => self.notification(),
        }
    }

    /// The attributes that every event of ours has, and its data.
    fn envelope(&mut self, source: String, kind: &str, subject: &str, key: &str, more: Value, data: Value) -> Value {
        let mut event = Map::new();
        event.insert("specversion".into(), "1.0".into());
        event.insert("id".into(), self.random.uuid().into());
        event.insert("source".into(), source.into());
        event.insert("type".into(), kind.into());
        event.insert("subject".into(), subject.into());
        event.insert("time".into(), self.time().into());
        event.insert("datacontenttype".into(), "application/json".into());
        event.insert("partitionkey".into(), key.into());
        if let Value::Object(more) = more {
            event.extend(more);
        }
        event.insert("data".into(), data);
        Value::Object(event)
    }

    fn time(&mut self) -> String {
        let seconds = 6 * 3600 + 30 * 60 + self.seconds;
        let (day, second) = (15 + seconds / 86_400, seconds % 86_400);
        let millis = self.random.below(1000);
        format!("2026-01-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z", second / 3600, second / 60 % 60, second % 60)
    }

    fn order_created(&mut self) -> Value {
        let number = 10_000 + self.orders.len() as u64;
        let (shop, currency) = (1 + self.random.below(12), self.random.pick(&CURRENCIES));
        let mut lines = Vec::new();
        let mut total_cents = 0;
        for line in 1..=1 + self.random.below(4) {
            let (drink, price_cents) = self.random.pick(&MENU);
            let quantity = 1 + self.random.below(3);
            let extras: Vec<&str> = (0..self.random.below(3)).map(|_| self.random.pick(&EXTRAS)).collect();
            total_cents += price_cents * quantity;
            lines.push(json!({"line": line, "item": drink, "quantity": quantity, "price_cents": price_cents, "extras": extras}));
        }
        self.orders.push(Order { number, shop, state: 0, total_cents, currency });
        let customer = self.random.pick(&CUSTOMERS);
        let data = json!({
            "order": format!("order-{number}"),
            "shop": shop,
            "customer": {"name": customer, "loyalty_points": self.random.below(2_000)},
            "lines": lines,
            "total": total_cents,
            "currency": currency,
            "pickup": self.random.below(2) == 0,
        });
        let more = json!({"priority": self.random.below(5), "rush": self.random.below(10) == 0});
        let subject = format!("orders/order-{number}");
        self.envelope(
            format!("/shops/{shop}"),
            "coffee.order.created",
            &subject,
            &format!("order-{number}"),
            more,
            data,
        )
    }

    fn order_updated(&mut self) -> Value {
        let at = self.random.below(self.orders.len() as u64) as usize;
        let Some(order) = self.orders.get_mut(at) else { return self.order_created() };
        let before = STATES.get(order.state).copied().unwrap_or("handed-over");
        order.state = (order.state + 1).min(STATES.len() - 1);
        let after = STATES.get(order.state).copied().unwrap_or("handed-over");
        let (name, shop) = (format!("order-{}", order.number), order.shop);
        let data = json!({
            "order": name,
            "from": before,
            "to": after,
            "total": order.total_cents,
            "currency": order.currency,
            "barista": self.random.pick(&CUSTOMERS),
        });
        let subject = format!("orders/{name}");
        self.envelope(format!("/shops/{shop}"), "coffee.order.updated", &subject, &name, Value::Null, data)
    }

    fn task_created(&mut self) -> Value {
        let (kind, prompt) = self.random.pick(&TASKS);
        let task = format!("task-{:06}", self.random.below(1_000_000));
        let data = json!({
            "task": task,
            "kind": kind,
            "prompt": prompt,
            "temperature": self.random.below(100) as f64 / 100.0,
            "tokens_max": 256 << self.random.below(4),
            "context": {"shop": 1 + self.random.below(12), "language": self.random.pick(&["en", "de", "fr", "vi", "ja"])},
        });
        let more = json!({"priority": self.random.below(3)});
        let agent = self.random.pick(&["beverage-inventor", "feedback-analyst", "scheduler"]);
        self.envelope(format!("/agents/{agent}"), "ai.task.created", kind, &task, more, data)
    }

    fn price_update(&mut self) -> Value {
        let (pair, base) = self.random.pick(&PAIRS);
        let price = base - base / 50 + self.random.below(base / 25);
        let data = json!({
            "pair": pair,
            "price_micros": price,
            "change_basis_points": self.random.below(400) as i64 - 200,
            "volume_24h": self.random.below(90_000_000),
            "block": 21_600_000 + self.seconds / 12,
            "venue": self.random.pick(&["uniswap-v3", "raydium", "one-inch"]),
        });
        self.envelope("/defi/scanner".into(), "defi.price.update", pair, pair, json!({"severity": "info"}), data)
    }

    fn inventory_low(&mut self) -> Value {
        let (item, unit, threshold) = self.random.pick(&INGREDIENTS);
        let shop = 1 + self.random.below(12);
        let data = json!({
            "shop": shop,
            "item": item,
            "left": self.random.below(threshold),
            "threshold": threshold,
            "unit": unit,
            "supplier": self.random.pick(&["Röstwerk Süd", "Finca El Paraíso", "Cup & Co."]),
        });
        let key = format!("shop-{shop}");
        self.envelope(format!("/shops/{shop}/stock"), "inventory.low", item, &key, Value::Null, data)
    }

    fn notification(&mut self) -> Value {
        let customer = self.random.pick(&CUSTOMERS);
        let channel = self.random.pick(&["push", "sms", "email", "slack"]);
        let number = 10_000 + self.random.below(self.orders.len() as u64);
        let data = json!({
            "channel": channel,
            "to": customer,
            "title": "Your coffee is ready ☕",
            "text": format!("{customer}, order-{number} waits for you at the counter. Bon appétit – & see you soon!"),
            "quiet_hours": self.random.below(4) == 0,
        });
        self.envelope(
            "/notifications".into(),
            "notification.send",
            channel,
            &format!("order-{number}"),
            Value::Null,
            data,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn committed_samples_are_what_the_generator_writes() {
        let kept = fs::read_to_string(crate::root().join(PATH)).unwrap();
        assert!(
            kept == generate(COUNT),
            "{PATH} differs from its generator: run `cargo xtask samples` and commit the file"
        );
    }

    #[test]
    fn samples_are_600_distinct_events_of_six_types() {
        let text = generate(COUNT);
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), COUNT);
        let identities: BTreeSet<_> = events.iter().map(|e| (e["source"].to_string(), e["id"].to_string())).collect();
        assert_eq!(identities.len(), COUNT, "source and id together are unique");
        let mut types = BTreeMap::new();
        for event in &events {
            *types.entry(event["type"].as_str().unwrap()).or_insert(0) += 1;
        }
        assert_eq!(types.len(), 6, "{types:?}");
        assert!(types.values().all(|count| *count >= 20), "{types:?}");
        assert!(text.lines().all(|line| (300..=1_500).contains(&line.len())), "300 to 1,500 bytes each");
    }

    #[test]
    fn totals_of_orders_are_the_sums_of_their_lines() {
        for line in generate(COUNT).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            if event["type"] == "coffee.order.created" {
                let sum = |line: &Value| line["quantity"].as_u64().unwrap() * line["price_cents"].as_u64().unwrap();
                let total: u64 = event["data"]["lines"].as_array().unwrap().iter().map(sum).sum();
                assert_eq!(event["data"]["total"].as_u64(), Some(total), "{line}");
            }
        }
    }
}
