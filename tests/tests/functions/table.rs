//! One table of samples: every function, with what it is told and what it gets, which drives every host. What each
//! event is answered with is the same everywhere, by whatever way it came.

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
};

use ai_coordinator::AiCoordinator;
use defi_scanner::DefiScanner;
use function_host::{
    Function,
    testing::{
        Came, FORMS,
        endpoint::{Endpoint, Say},
        send_all,
    },
};
use inventory_optimizer::InventoryOptimizer;
use jiff::Timestamp;
use notification_dispatcher::NotificationDispatcher;
use order_processor::OrderProcessor;
use router_tests::world::process::binary;
use schemas::{Event, json as codec};
use serde_json::{Value, json};

/// What a function gives for each event.
type Sent<'a> = Pin<Box<dyn Future<Output = Vec<Came>> + 'a>>;

/// Sends events to one host of a function, in one form.
type Drive = for<'a> fn(&'a str, &'a [(&'a str, &'a str)], Timestamp, &'a [Event]) -> Sent<'a>;

/// A function, and what is done with it.
pub struct Row {
    pub name: &'static str,
    /// What it is told, beside what the platform says.
    settings: Vec<(&'static str, String)>,
    /// What it gets, one after the other: it may remember.
    pub events: Vec<Event>,
    /// The types of what each is answered with.
    kinds: Vec<Vec<&'static str>>,
    drive: Drive,
}

impl Row {
    fn of<F: Function>(settings: Vec<(&'static str, String)>, told: &[(&str, &[&'static str])]) -> Row {
        let events = told.iter().map(|(sample, _)| sample_of(F::NAME, sample)).collect();
        let kinds = told.iter().map(|(_, kinds)| kinds.to_vec()).collect();
        let drive: Drive = |form, settings, now, events| Box::pin(send_all::<F>(form, settings, now, events));
        Row { name: F::NAME, settings, events, kinds, drive }
    }

    /// What it is told.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// What each event is answered with, in one form.
    async fn by(&self, form: &str, now: Timestamp) -> Vec<Vec<Value>> {
        let all = (self.drive)(form, &self.settings(), now, &self.events).await;
        let replies = all.into_iter().map(|came| match came {
            Came::Replies(replies) => plain(replies.iter().map(value).collect()),
            Came::Failed(said) => panic!("{} by {form}: {said}", self.name),
        });
        replies.collect()
    }

    /// What each event is answered with, as its own test in memory says; what a process on a platform gives is held
    /// to it.
    pub async fn wanted(&self) -> Vec<Vec<Value>> {
        let wanted = self.by("local-structured", self.now()).await;
        let kinds = wanted.iter().map(|replies| replies.iter().map(|reply| reply["type"].as_str().unwrap()).collect());
        assert_eq!(kinds.collect::<Vec<Vec<&str>>>(), self.kinds, "{}", self.name);
        wanted
    }

    /// The same with the prices of now: a process has the machine's clock, and does not trust what is old.
    pub fn at_once(mut self) -> Row {
        if self.name == DefiScanner::NAME {
            let now = Timestamp::now().to_string();
            self.events = self.events.iter().map(|e| e.rebuild().set("time", now.as_str()).build().unwrap()).collect();
        }
        self
    }

    /// When the last event was made.
    fn now(&self) -> Timestamp {
        self.events.iter().map(|event| event.get("time").unwrap().to_string().parse().unwrap()).max().unwrap()
    }

    /// The function's own program, which stands beside the router's; `None`, and one line, where it is not built.
    pub fn program(&self) -> Option<PathBuf> {
        program(self.name)
    }
}

/// A function's own program.
pub fn program(name: &str) -> Option<PathBuf> {
    let program = binary().with_file_name(name);
    if !program.is_file() {
        eprintln!("{} is not built, so this test is skipped: `cargo build --workspace`", program.display());
        return None;
    }
    Some(program)
}

fn sample_of(function: &str, name: &str) -> Event {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../functions/{function}/samples/{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut sample: Value = serde_json::from_slice(&text).unwrap();
    // Samples that say their replies, too, hold the event beside them.
    let mut event = sample.get_mut("event").map(Value::take).unwrap_or(sample);
    if let Some(order) = event["data"].get_mut("order") {
        // Each is about an order of its own: none is the next state of another.
        *order = json!(format!("order-{name}"));
    }
    codec::decode(event.to_string().as_bytes()).unwrap()
}

/// An event as JSON, so that a difference can be read.
pub fn value(event: &Event) -> Value {
    serde_json::from_slice(&codec::encode(event)).unwrap()
}

/// Replies without what the clock alone makes of them.
pub fn plain(mut replies: Vec<Value>) -> Vec<Value> {
    for reply in &mut replies {
        for name in ["at", "found_at", "expires_at"] {
            if let Some(time) = reply["data"].get_mut(name) {
                time.as_str().unwrap().parse::<Timestamp>().unwrap_or_else(|e| panic!("{name}: {time}: {e}"));
                *time = json!("some time");
            }
        }
    }
    replies
}

/// Who functions call: a model that always says the same, and hooks that take everything.
pub struct Others {
    model: Endpoint,
    hook: Endpoint,
}

impl Others {
    pub async fn start() -> Others {
        let said = json!({"choices": [{"message": {"role": "assistant", "content": "Cocoa"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 10}});
        let model = Endpoint::start([Say::json(200, said.to_string())]).await;
        Others { model, hook: Endpoint::start([Say::json(200, "")]).await }
    }

    fn ai(&self) -> Value {
        json!({"models": {"one": {"url": format!("{}/v1", self.model.url), "model": "m", "key": "k",
            "capabilities": ["suggest-drink", "respond"], "context_tokens_max": 8000, "answer_tokens_max": 1000,
            "cost_in_micros": 1, "cost_out_micros": 1, "latency_ms": 500, "timeout_ms": 10_000}}})
    }

    fn notify(&self) -> Value {
        json!({"channels": {"push": {"webhook": {"url": self.hook.url}}, "slack": {"slack": {"url": self.hook.url}}},
            "templates": {"order-ready": {"en": {"title": "Ready", "text": "{{ order }}"}}},
            "alerts": {"to": {"critical": ["oncall"]}, "channels": ["slack"]}})
    }
}

/// The table.
pub fn table(others: &Others) -> Vec<Row> {
    let (taken, changed) =
        (["coffee.order.accepted", "inventory.reserved", "notification.send"], ["coffee.order.changed"]);
    let done: &[&str] = &["ai.task.assigned", "ai.task.assigned", "ai.task.assigned", "ai.task.completed"];
    let trusted = ["DEFI_QUOTE_AGE_MAX_MS", "DEFI_POOL_AGE_MAX_MS"].map(|name| (name, "600000".to_owned())).to_vec();
    vec![
        Row::of::<OrderProcessor>(
            vec![],
            &[
                ("accepted", &taken),
                ("accepted-usd", &taken),
                ("rejected", &["coffee.order.rejected"]),
                ("changed", &changed),
                ("cancelled", &changed),
                ("change-rejected", &["coffee.order.rejected"]),
            ],
        ),
        Row::of::<InventoryOptimizer>(
            vec![],
            &[
                ("low", &["inventory.reorder"]),
                ("low-with-history", &["inventory.reorder"]),
                ("forecast", &["inventory.reorder", "inventory.reorder"]),
            ],
        ),
        Row::of::<DefiScanner>(
            trusted,
            &[
                ("1-pool", &[]),
                ("2-quote", &[]),
                ("3-indication", &[]),
                ("4-opens-a-cycle", &["defi.arbitrage.opportunity"]),
            ],
        ),
        Row::of::<AiCoordinator>(
            vec![("AI", others.ai().to_string())],
            &[("task", done), ("response", &["ai.response.ready"])],
        ),
        Row::of::<NotificationDispatcher>(
            vec![("NOTIFY", others.notify().to_string())],
            &[("notification", &["notification.delivered"]), ("alert", &["notification.delivered"])],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_gives_the_same_replies_on_every_host() {
    let others = Others::start().await;
    let table = table(&others);
    assert_eq!(
        table.iter().map(|row| row.name).collect::<Vec<_>>(),
        super::all().iter().map(|(name, ..)| *name).collect::<Vec<_>>(),
        "the table has every function"
    );
    for row in &table {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../functions/{}/samples", row.name));
        assert_eq!(row.events.len(), std::fs::read_dir(folder).unwrap().count(), "{}: every sample", row.name);
        let wanted = row.wanted().await;
        for form in FORMS {
            assert_eq!(row.by(form, row.now()).await, wanted, "{} by {form}", row.name);
        }
    }
}
