//! Who gets what, and whether the figures add up. Pure.
//!
//! A route balances when all of this holds:
//!
//! * it matched exactly the events of the file that it should, as this program reads the file;
//! * matched = delivered + open dead letters + ended by an operator or a limit + waiting;
//! * nothing waits any more;
//! * its function took as many different events as the router has delivered to it.

use serde_json::{Value, json};

use crate::Error;

/// A route of the demo.
pub struct Route {
    /// Its name, and the path of its function.
    pub name: &'static str,
    /// The function that it delivers to.
    pub target: &'static str,
    /// Its filter, as the router reads it; none for every event.
    pub pattern: fn() -> Option<Value>,
    /// The same rule, as this program reads it.
    pub wants: fn(&Value) -> bool,
}

/// All routes.
pub const ROUTES: [Route; 6] = [
    Route {
        name: "orders",
        target: "order-processor",
        pattern: || Some(json!({"type": [{"prefix": "coffee.order."}]})),
        wants: |e| kind(e).starts_with("coffee.order."),
    },
    Route {
        name: "large-orders",
        target: "audit",
        pattern: || Some(json!({"type": ["coffee.order.created"], "data": {"total": [{"numeric": [">=", 2000]}]}})),
        wants: |e| kind(e) == "coffee.order.created" && total(e).is_some_and(|cents| cents >= 2_000),
    },
    Route {
        name: "agents",
        target: "ai-coordinator",
        pattern: || Some(json!({"type": ["ai.task.created"]})),
        wants: |e| kind(e) == "ai.task.created",
    },
    Route {
        name: "prices",
        target: "defi-scanner",
        pattern: || Some(json!({"type": ["defi.price.update"]})),
        wants: |e| kind(e) == "defi.price.update",
    },
    Route {
        name: "stock",
        target: "inventory-optimizer",
        pattern: || Some(json!({"type": [{"prefix": "inventory."}, "notification.send"]})),
        wants: |e| kind(e).starts_with("inventory.") || kind(e) == "notification.send",
    },
    Route { name: "everything", target: "audit", pattern: || None, wants: |_| true },
];

fn kind(event: &Value) -> &str {
    event.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn total(event: &Value) -> Option<u64> {
    event.pointer("/data/total").and_then(Value::as_u64)
}

/// The router's configuration: any free ports, everything in `data`, functions at `sink`.
pub fn config(data: &str, sink: &str) -> Value {
    let target = |r: &Route| format!("{}-{}", r.target, r.name);
    // One target for each route: its URL's path is what the function counts by.
    let targets = ROUTES.iter().map(|r| (target(r), json!({"http": {"url": format!("http://{sink}/{}", r.name)}})));
    let routes = ROUTES.iter().map(|r| {
        let mut route = json!({"to": target(r)});
        if let (Some(pattern), Some(route)) = ((r.pattern)(), route.as_object_mut()) {
            route.insert("filter".into(), json!({"pattern": pattern}));
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

/// Where a route's events are, by the router's own count and by the function's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    route: String,
    expected: u64,
    matched: u64,
    delivered: u64,
    dead_letters: u64,
    ended: u64,
    waiting: u64,
    took: u64,
}

impl Line {
    /// Reads the figures of a route from the router's status and the functions' counts.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(route: &Route, events: &[Value], status: &Value, counts: &Value) -> Result<Line, Error> {
        let now = of_route(status, route.name)?;
        let figure = |key| figure(now, key);
        Ok(Line {
            route: route.name.to_owned(),
            expected: events.iter().filter(|event| (route.wants)(event)).count() as u64,
            matched: figure("matched")?,
            delivered: figure("delivered")?,
            dead_letters: figure("dead_letters")?,
            ended: figure("ended")?,
            waiting: figure("waiting")? + figure("lag_events")?,
            // A function that nobody called has no count.
            took: counts.get(route.name).and_then(|c| c.get("events")).and_then(Value::as_u64).unwrap_or(0),
        })
    }

    fn cells(&self) -> [u64; 6] {
        [self.matched, self.delivered, self.dead_letters, self.ended, self.waiting, self.took]
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

fn of_route<'a>(status: &'a Value, route: &str) -> Result<&'a Value, Error> {
    let routes = status.get("routes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let found = routes.iter().find(|r| r.get("name").is_some_and(|n| n == route));
    found.ok_or_else(|| Error(format!("the router's status has no route `{route}`")))
}

fn figure(route: &Value, key: &str) -> Result<u64, Error> {
    route.get(key).and_then(Value::as_u64).ok_or_else(|| Error(format!("the router's status has no figure `{key}`")))
}

/// Everything that does not add up, as sentences.
pub fn faults(lines: &[Line]) -> Vec<String> {
    let mut faults = Vec::new();
    for line in lines {
        let Line { route, expected, matched, delivered, dead_letters, ended, waiting, took } = line;
        if matched != expected {
            faults.push(format!("route {route} matched {matched} events, and the file has {expected} for it"));
        }
        let found = delivered + dead_letters + ended + waiting;
        if *matched != found {
            faults.push(format!("route {route} matched {matched} events, and {found} are accounted for"));
        }
        if *waiting > 0 {
            faults.push(format!("route {route} has {waiting} deliveries that still wait"));
        }
        if took != delivered {
            faults.push(format!("route {route} delivered {delivered} events, and its function has {took}"));
        }
    }
    faults
}

/// The figures as text.
pub fn table(lines: &[Line]) -> String {
    let head = ["matched", "= delivered", "+ dead letters", "+ ended", "+ waiting", "function has"];
    let first = lines.iter().map(|l| l.route.len()).chain(["route".len()]).max().unwrap_or_default();
    let mut text = format!("{:first$}", "route");
    for title in head {
        text += &format!("  {title}");
    }
    text.push('\n');
    for line in lines {
        text += &format!("{:first$}", line.route);
        for (title, cell) in head.iter().zip(line.cells()) {
            text += &format!("  {cell:>width$}", width = title.len());
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            route: "orders".into(),
            expected: 10,
            matched: 10,
            delivered: 7,
            dead_letters: 2,
            ended: 1,
            waiting: 0,
            took: 7,
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
        assert_eq!(off(|l| l.took = 6), ["route orders delivered 7 events, and its function has 6"]);
        assert_eq!(off(|l| l.expected = 11), ["route orders matched 10 events, and the file has 11 for it"]);
        assert_eq!(off(|l| l.ended = 0), ["route orders matched 10 events, and 9 are accounted for"]);
        let late = off(|l| (l.waiting, l.ended) = (1, 0));
        assert_eq!(late, ["route orders has 1 deliveries that still wait"]);
    }

    #[test]
    fn a_line_is_read_from_status_and_counts() {
        let status = json!({"routes": [{"name": "prices", "matched": 1, "delivered": 1, "dead_letters": 0, "ended": 0,
            "waiting": 0, "lag_events": 0}]});
        let events = [json!({"type": "defi.price.update"}), json!({"type": "inventory.low"})];
        let route = ROUTES.iter().find(|r| r.name == "prices").unwrap();
        let line = Line::new(route, &events, &status, &json!({"prices": {"requests": 2, "events": 1}})).unwrap();
        assert_eq!((line.expected, line.took), (1, 1));
        assert_eq!(faults(std::slice::from_ref(&line)), Vec::<String>::new());
        assert_eq!(owed(&status, "prices").unwrap(), 0);
        assert!(owed(&status, "orders").is_err());
        let silent = Line::new(route, &events, &status, &json!({})).unwrap();
        assert_eq!(faults(&[silent]).len(), 1);
    }

    #[test]
    fn columns_stand_under_their_titles() {
        let text = table(&[line()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), lines[1].len());
    }
}
