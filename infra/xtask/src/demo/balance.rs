//! Who gets what, and whether the figures add up. Pure.
//!
//! A route balances when all of this holds:
//!
//! * it matched exactly the events that it should: those of the file, as this program reads the file; or one answer for
//!   each event of another route, where it takes what a function answers;
//! * matched = delivered + open dead letters + ended by an operator or a limit + waiting;
//! * nothing waits any more;
//! * its target, where it counts, took as many different events as the router has delivered to it. A function does not
//!   count: what it was given is held by its answers.

use serde_json::{Value, json};

use super::day::Day;
use crate::Error;

/// Cents from which on an order is large.
const LARGE: u64 = 2_000;

/// Who a route delivers to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A function of the platform, whose answers are taken in.
    Function(&'static str),
    /// Somebody else, who counts what comes under the route's name.
    Counter(&'static str),
}

impl To {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            To::Function(name) | To::Counter(name) => name,
        }
    }
}

/// What a route should match.
#[derive(Clone, Copy)]
pub enum Wants {
    /// These events of the file, and nothing else.
    File(fn(&Value) -> bool),
    /// These events of the file, and some that functions answer with.
    More(fn(&Value) -> bool),
    /// One answer for each event that this route matches.
    AnswersOf(&'static str),
}

/// A route of the demo.
pub struct Route {
    /// Its name, and the path of its counter.
    pub name: &'static str,
    /// Who it delivers to.
    pub to: To,
    /// Its filter, as the router reads it.
    pub pattern: fn() -> Value,
    /// The same rule, as this program reads it.
    pub wants: Wants,
    /// Whether events of one key go one after the other.
    pub ordered: bool,
}

impl Route {
    const fn new(name: &'static str, to: To, pattern: fn() -> Value, wants: Wants) -> Route {
        Route { name, to, pattern, wants, ordered: false }
    }

    const fn ordered(self) -> Route {
        Route { ordered: true, ..self }
    }

    /// How many events of the file it wants.
    pub fn in_file(&self, day: &Day) -> u64 {
        match self.wants {
            Wants::File(wants) | Wants::More(wants) => day.events.iter().filter(|event| wants(event)).count() as u64,
            Wants::AnswersOf(_) => 0,
        }
    }
}

/// All routes.
pub const ROUTES: [Route; 10] = [
    Route::new(
        "orders",
        To::Function("order-processor"),
        || json!({"type": ["coffee.order.created", "coffee.order.updated"]}),
        Wants::File(is_order),
    )
    .ordered(),
    Route::new(
        "confirmations",
        To::Counter("shops"),
        || json!({"type": ["coffee.order.accepted", "coffee.order.rejected", "coffee.order.changed"]}),
        Wants::File(is_answered),
    ),
    Route::new(
        "kitchen",
        To::Counter("kitchen"),
        || json!({"type": [{"prefix": "coffee.order."}], "causeid": [{"exists": false}]}),
        Wants::File(is_order),
    )
    .ordered(),
    Route::new(
        "large-orders",
        To::Counter("auditors"),
        || json!({"type": ["coffee.order.created"], "data": {"total": [{"numeric": [">=", LARGE]}]}}),
        Wants::File(large),
    ),
    Route::new("agents", To::Function("ai-coordinator"), || json!({"type": ["ai.task.created"]}), Wants::File(task)),
    Route::new("prices", To::Function("defi-scanner"), || json!({"type": ["defi.price.update"]}), Wants::File(price)),
    Route::new("stock", To::Function("inventory-optimizer"), || json!({"type": ["inventory.low"]}), Wants::File(low)),
    Route::new(
        "notices",
        To::Function("notification-dispatcher"),
        || json!({"type": ["notification.send"]}),
        Wants::More(notice),
    ),
    Route::new(
        "receipts",
        To::Counter("support"),
        || json!({"type": ["notification.delivered", "notification.failed"]}),
        Wants::AnswersOf("notices"),
    ),
    Route::new("published", To::Counter("auditors"), || json!({"causeid": [{"exists": false}]}), Wants::File(|_| true)),
];

/// A route by its name.
///
/// # Errors
/// When there is none.
pub fn route(name: &str) -> Result<&'static Route, Error> {
    ROUTES.iter().find(|r| r.name == name).ok_or_else(|| Error(format!("the demo has no route `{name}`")))
}

fn kind(event: &Value) -> &str {
    event.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Whether it says something of an order.
pub fn is_order(event: &Value) -> bool {
    kind(event).starts_with("coffee.order.")
}

/// Whether order-processor answers it: a change to the state that an order has already is news for nobody.
fn is_answered(event: &Value) -> bool {
    is_order(event) && event.pointer("/data/from").is_none_or(|from| event.pointer("/data/to") != Some(from))
}

/// Whether it is a large order.
pub fn large(event: &Value) -> bool {
    let total = event.pointer("/data/total").and_then(Value::as_u64);
    kind(event) == "coffee.order.created" && total.is_some_and(|cents| cents >= LARGE)
}

fn task(event: &Value) -> bool {
    kind(event) == "ai.task.created"
}

fn price(event: &Value) -> bool {
    kind(event) == "defi.price.update"
}

fn low(event: &Value) -> bool {
    kind(event) == "inventory.low"
}

fn notice(event: &Value) -> bool {
    kind(event) == "notification.send"
}

/// The router's configuration: any free ports, everything in `data`; `address` says where a target is.
pub fn config(data: &str, address: impl Fn(&Route) -> String) -> Value {
    // One target for each route: the path of its URL is what counters count by.
    let target = |r: &Route| format!("{}-{}", r.to.name(), r.name);
    let targets = ROUTES.iter().map(|r| (target(r), json!({"http": {"url": address(r)}})));
    let routes = ROUTES.iter().map(|r| {
        let mut route = json!({"to": target(r), "filter": {"pattern": (r.pattern)()}});
        if let Some(route) = route.as_object_mut() {
            if let To::Function(_) = r.to {
                route.insert("reply".into(), true.into());
            }
            if r.ordered {
                route.insert("order".into(), "partitionkey".into());
                // Nobody wants to wait for a minute to see a key go on.
                route.insert("retry".into(), json!({"attempts_max": 10_000, "delay_min": "200ms", "delay_max": "1s"}));
            }
        }
        (r.name.to_owned(), route)
    });
    json!({
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "store": {"disk": {"path": data}},
        "sources": {"web": {"http": {"path": "/events"}}},
        "targets": Value::Object(targets.collect()),
        "routes": Value::Object(routes.collect()),
    })
}

/// Where a route's events are, by the router's own count and by its target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    route: String,
    target: &'static str,
    /// How many it should match, or at least that many.
    expected: u64,
    exactly: bool,
    matched: u64,
    delivered: u64,
    dead_letters: u64,
    ended: u64,
    waiting: u64,
    /// What its target counts; a function does not.
    took: Option<u64>,
}

impl Line {
    /// Reads the figures of a route from the router's status and the counters.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(route: &Route, day: &Day, status: &Value, counts: &Value) -> Result<Line, Error> {
        let now = of_route(status, route.name)?;
        let figure = |key| figure(now, key);
        let expected = match route.wants {
            Wants::File(_) | Wants::More(_) => route.in_file(day),
            Wants::AnswersOf(other) => self::figure(of_route(status, other)?, "matched")?,
        };
        let took = || counts.get(route.name).and_then(|c| c.get("events")).and_then(Value::as_u64).unwrap_or(0);
        Ok(Line {
            route: route.name.to_owned(),
            target: route.to.name(),
            expected,
            exactly: !matches!(route.wants, Wants::More(_)),
            matched: figure("matched")?,
            delivered: figure("delivered")?,
            dead_letters: figure("dead_letters")?,
            ended: figure("ended")?,
            waiting: figure("waiting")? + figure("lag_events")?,
            // A counter that nobody called has no count.
            took: matches!(route.to, To::Counter(_)).then(took),
        })
    }

    fn cells(&self) -> [String; 7] {
        let more = if self.exactly { "" } else { "+" };
        let took = self.took.map_or_else(|| "-".to_owned(), |took| took.to_string());
        let [matched, delivered, dead_letters, ended, waiting] =
            [self.matched, self.delivered, self.dead_letters, self.ended, self.waiting].map(|n| n.to_string());
        [format!("{}{more}", self.expected), matched, delivered, dead_letters, ended, waiting, took]
    }
}

/// What a route still owes, events that are not matched yet included.
///
/// # Errors
/// When the status does not say.
pub fn owed(status: &Value, route: &str) -> Result<u64, Error> {
    let now = of_route(status, route)?;
    Ok(figure(now, "waiting")? + figure(now, "lag_events")?)
}

/// The same of all routes.
///
/// # Errors
/// When the status does not say.
pub fn owed_by_all(status: &Value) -> Result<u64, Error> {
    ROUTES.iter().map(|r| owed(status, r.name)).sum()
}

/// What the status says of a route.
///
/// # Errors
/// When it says nothing.
pub fn of_route<'a>(status: &'a Value, route: &str) -> Result<&'a Value, Error> {
    let routes = status.get("routes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let found = routes.iter().find(|r| r.get("name").is_some_and(|n| n == route));
    found.ok_or_else(|| Error(format!("the router's status has no route `{route}`")))
}

/// A figure of a route.
///
/// # Errors
/// When there is none of this name.
pub fn figure(route: &Value, key: &str) -> Result<u64, Error> {
    route.get(key).and_then(Value::as_u64).ok_or_else(|| Error(format!("the router's status has no figure `{key}`")))
}

/// Everything that does not add up, as sentences.
pub fn faults(lines: &[Line]) -> Vec<String> {
    let mut faults = Vec::new();
    for line in lines {
        let Line { route, expected, exactly, matched, delivered, dead_letters, ended, waiting, took, .. } = line;
        if matched < expected || (*exactly && matched != expected) {
            faults.push(format!("route {route} matched {matched} events, and there are {expected} for it"));
        }
        let found = delivered + dead_letters + ended + waiting;
        if *matched != found {
            faults.push(format!("route {route} matched {matched} events, and {found} are accounted for"));
        }
        if *waiting > 0 {
            faults.push(format!("route {route} has {waiting} deliveries that still wait"));
        }
        if let Some(took) = took.filter(|took| took != delivered) {
            faults.push(format!("route {route} delivered {delivered} events, and its target has {took}"));
        }
    }
    faults
}

/// The figures as text.
pub fn table(lines: &[Line]) -> String {
    let head = ["expected", "matched", "= delivered", "+ dead", "+ ended", "+ waiting", "target has"];
    let widest = |title: &'static str, of: fn(&Line) -> &str| {
        lines.iter().map(|l| of(l).len()).chain([title.len()]).max().unwrap_or_default()
    };
    let (first, second) = (widest("route", |l| &l.route), widest("target", |l| l.target));
    let mut text = format!("{:first$}  {:second$}", "route", "target");
    for title in head {
        text += &format!("  {title}");
    }
    text.push('\n');
    for line in lines {
        text += &format!("{:first$}  {:second$}", line.route, line.target);
        for (title, cell) in head.iter().zip(line.cells()) {
            text += &format!("  {cell:>width$}", width = title.len());
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    type Types = BTreeSet<String>;

    /// Functions on a ring, or on a way to one: those that stay when whoever replies to nobody is taken away.
    fn ring<'a>(functions: &'a [(&str, Types, Types)]) -> Vec<&'a str> {
        let mut left: Vec<_> = functions.iter().collect();
        loop {
            let (before, all) = (left.len(), left.clone());
            left.retain(|(_, _, replies)| all.iter().any(|(_, gets, _)| !gets.is_disjoint(replies)));
            if left.len() == before {
                return left.iter().map(|(name, ..)| *name).collect();
            }
        }
    }

    #[test]
    fn no_route_brings_a_function_what_follows_from_its_replies() {
        // The suite `functions` holds this page to the functions.
        let page = std::fs::read_to_string(crate::root().join("docs/functions.md")).unwrap();
        let types = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Types>();
        let of_page = |name: &str| {
            let row =
                page.lines().find(|line| line.starts_with(&format!("| [{name}]("))).unwrap_or_else(|| panic!("{name}"));
            let cells: Vec<&str> = row.split(" | ").collect();
            (types(cells[1]), types(cells[2]))
        };
        let mut functions = Vec::new();
        for route in &ROUTES {
            let To::Function(name) = route.to else { continue };
            let gets: Types = serde_json::from_value((route.pattern)()["type"].clone()).unwrap();
            let (takes, replies) = of_page(name);
            assert!(gets.is_subset(&takes), "{}: {name} takes {takes:?}", route.name);
            functions.push((name, gets, replies));
        }
        assert_eq!(functions.len(), 5);
        assert_eq!(ring(&functions), [""; 0]);
        let set = |kind: &str| Types::from([kind.to_owned()]);
        functions.push(("echo", set("notification.delivered"), set("inventory.low")));
        assert_eq!(ring(&functions), [""; 0], "it replies to somebody who replies to nobody");
        functions.push(("buyer", set("inventory.reorder"), set("notification.send")));
        let all = ["order-processor", "inventory-optimizer", "notification-dispatcher", "echo", "buyer"];
        assert_eq!(ring(&functions), all);
    }

    fn line() -> Line {
        Line {
            route: "orders".into(),
            target: "shops",
            expected: 10,
            exactly: true,
            matched: 10,
            delivered: 7,
            dead_letters: 2,
            ended: 1,
            waiting: 0,
            took: Some(7),
        }
    }

    #[test]
    fn each_figure_that_is_off_is_named() {
        assert!(faults(&[line()]).is_empty());
        let off = |change: fn(&mut Line)| {
            let mut line = line();
            change(&mut line);
            faults(&[line])
        };
        assert_eq!(off(|l| l.took = Some(6)), ["route orders delivered 7 events, and its target has 6"]);
        assert_eq!(off(|l| l.took = None), [""; 0], "a function does not count");
        assert_eq!(off(|l| l.expected = 11), ["route orders matched 10 events, and there are 11 for it"]);
        assert_eq!(off(|l| l.expected = 9), ["route orders matched 10 events, and there are 9 for it"]);
        assert_eq!(off(|l| (l.expected, l.exactly) = (9, false)), [""; 0], "answers come on top");
        assert_eq!(off(|l| l.ended = 0), ["route orders matched 10 events, and 9 are accounted for"]);
        let late = off(|l| (l.waiting, l.ended) = (1, 0));
        assert_eq!(late, ["route orders has 1 deliveries that still wait"]);
    }

    #[test]
    fn a_line_is_read_from_status_and_counts() {
        let one = |name: &str| {
            json!({"name": name, "matched": 1, "delivered": 1, "dead_letters": 0, "ended": 0, "waiting": 0,
                "lag_events": 0})
        };
        let status = json!({"routes": [one("large-orders"), one("notices"), one("receipts")]});
        let order = r#"{"type": "coffee.order.created", "id": "1", "partitionkey": "k", "data": {"total": 2000}}"#;
        let day = Day::new(format!("{order}\n{{\"type\": \"inventory.low\"}}\n")).unwrap();
        let of = |name: &str, counts: Value| Line::new(route(name).unwrap(), &day, &status, &counts).unwrap();
        let large = of("large-orders", json!({"large-orders": {"requests": 2, "events": 1}}));
        assert_eq!((large.expected, large.took), (1, Some(1)));
        assert_eq!(faults(std::slice::from_ref(&large)), Vec::<String>::new());
        assert_eq!(owed(&status, "large-orders").unwrap(), 0);
        assert!(owed(&status, "orders").is_err());
        assert_eq!(faults(&[of("large-orders", json!({}))]).len(), 1, "nobody has it");
        let receipts = of("receipts", json!({"receipts": {"requests": 1, "events": 1}}));
        assert_eq!((receipts.expected, faults(&[receipts]).len()), (1, 0), "one for each notice");
        let notices = of("notices", json!({}));
        assert_eq!((notices.expected, notices.took, faults(&[notices]).len()), (0, None, 0));
    }

    #[test]
    fn columns_stand_under_their_titles() {
        let text = table(&[line()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), lines[1].len());
    }
}
