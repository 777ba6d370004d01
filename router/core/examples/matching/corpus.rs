//! Events of about 1 KiB, the same for the same seed: one half plots of land as in a city's GeoJSON, one half
//! orders.

use schemas::{Event, Form};

/// Numbers that look drawn: SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, 2014).
#[derive(Clone, Debug)]
pub struct Draw(pub u64);

impl Draw {
    /// The next one.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.word() % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// One of a list; the default of an empty one.
    pub fn of<T: Clone + Default>(&mut self, list: &[T]) -> T {
        list.get(self.below(list.len())).cloned().unwrap_or_default()
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Streets of plots.
pub const STREETS: [&str; 24] = [
    "FULTON",
    "MASON",
    "ACADIA",
    "BLANKEN",
    "DRUMM",
    "FUNSTON",
    "RHODE ISLAND",
    "JEFFERSON",
    "BEACH",
    "HYDE",
    "CHESTNUT",
    "TORRES",
    "UNION",
    "LAKE",
    "GRIMM",
    "KEYSTONE",
    "HARDING",
    "DIEGO",
    "MISSION",
    "VALENCIA",
    "GEARY",
    "MARKET",
    "NOE",
    "UNKNOWN",
];
/// Types of streets.
pub const STREET_TYPES: [&str; 5] = ["ST", "AV", "WY", "BL", "CT"];
/// Types of the orders' events.
pub const TYPES: [&str; 5] = [
    "coffee.order.created",
    "coffee.order.accepted",
    "coffee.order.started",
    "coffee.order.ready",
    "coffee.order.completed",
];
const ITEMS: [&str; 8] =
    ["Espresso", "Latte", "Flat white", "Cold brew", "Espresso doppio", "Cortado", "Mocha", "Americano"];
const CURRENCIES: [&str; 4] = ["EUR", "GBP", "USD", "VND"];
/// Plots of one block of land.
pub const LOTS: usize = 1_000;

/// The number of a plot, as its attributes write it.
pub fn plot(number: usize) -> String {
    format!("{:04}{:03}", number / LOTS % 10_000, number % LOTS)
}

/// Where plot `number` begins, west and north.
pub fn corner(number: usize) -> (String, String) {
    let mut draw = Draw(number as u64 ^ 0x5EED);
    let mut digits = || draw.word() % 1_000_000_000_000;
    (format!("-122.4{:012}", digits()), format!("37.7{:012}", digits()))
}

fn feature(number: usize, draw: &mut Draw) -> Event {
    let plot = plot(number);
    let (block, lot) = plot.split_at(4);
    let (street, kind) = (draw.of(&STREETS), draw.of(&STREET_TYPES));
    let (x, y) = corner(number);
    let points: Vec<String> = (0..11)
        .map(|i| {
            let (x, y) = if i == 0 { (x.clone(), y.clone()) } else { corner(draw.below(1 << 40)) };
            format!(r#"{{"x":{x},"y":{y},"z":0.0}}"#)
        })
        .collect();
    let shape = if draw.once_in(50) { "MultiPolygon" } else { "Polygon" };
    let data = format!(
        r#"{{"type":"Feature","properties":{{"MAPBLKLOT":"{plot}","BLKLOT":"{plot}","BLOCK_NUM":"{block}","LOT_NUM":"{lot}","FROM_ST":"{}","TO_ST":"{}","STREET":"{street}","ST_TYPE":"{kind}","ODD_EVEN":"{}"}},"geometry":{{"type":"{shape}","firstCoordinates":{{"x":{x},"y":{y},"z":0.0}},"coordinates":[{}]}}}}"#,
        draw.below(5_000),
        draw.below(5_000),
        if draw.once_in(2) { "E" } else { "O" },
        points.join(","),
    );
    event(number, "/city/plots", "city.plot.changed", &plot, data)
}

fn order(number: usize, draw: &mut Draw) -> Event {
    let lines: Vec<String> = (1..=10)
        .map(|line| {
            format!(
                r#"{{"line":{line},"item":"{}","quantity":{},"price_cents":{},"extras":["cardamom","oat milk"]}}"#,
                draw.of(&ITEMS),
                draw.below(4) + 1,
                draw.below(900) + 100,
            )
        })
        .collect();
    let shop = draw.below(500);
    let data = format!(
        r#"{{"order":"order-{number}","shop":{shop},"customer":{{"name":"Amara Okafor","loyalty_points":{}}},"lines":[{}],"total":{}.{:02},"currency":"{}","pickup":{},"table":null,"note":"please ring the bell, and leave it at the door"}}"#,
        draw.below(100_000),
        lines.join(","),
        draw.below(100_000),
        draw.below(100),
        draw.of(&CURRENCIES),
        draw.once_in(2),
    );
    event(number, &format!("/shops/{shop}"), draw.of(&TYPES), &format!("orders/order-{number}"), data)
}

#[expect(clippy::panic, reason = "a corpus that is no corpus measures nothing")]
fn event(number: usize, source: &str, kind: &str, subject: &str, data: String) -> Event {
    let id = format!("{number:08}-2bdb-4cbc-bede-1411ecad2f87");
    let event = Event::builder(&id, source, kind)
        .attr("subject", subject)
        .attr("time", "2026-01-15T06:30:17.459Z")
        .attr("datacontenttype", "application/json")
        .attr("partitionkey", subject)
        .data(Form::Json, data)
        .build();
    event.unwrap_or_else(|e| panic!("event {number}: {e}"))
}

/// So many events.
pub fn events(count: usize, seed: u64) -> Vec<Event> {
    let mut draw = Draw(seed);
    (0..count)
        .map(|number| if number % 2 == 0 { feature(number, &mut draw) } else { order(number, &mut draw) })
        .collect()
}
