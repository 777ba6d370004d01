//! Goal: the Rust types and the JSON Schemas of the platform's events say the same, in both directions, and
//! the samples are what both say.
//!
//! For each type there is one sample with every member that the type has. The schema and the type must name
//! the same members, and must judge every mutation of the sample alike: each member taken away, and each
//! value replaced by values of every other kind.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeSet, fs, path::Path};

use jsonschema::Validator;
use schemas::payload::{ai, defi, inventory, notifications, orders, system};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// One type of event: its name, its sample, and what its Rust type makes of a value.
struct Entry {
    kind: &'static str,
    sample: Value,
    /// Reads a value and writes it again.
    through: fn(Value) -> Option<Value>,
}

fn through<T: DeserializeOwned + Serialize>(value: Value) -> Option<Value> {
    serde_json::from_value::<T>(value).ok().map(|read| serde_json::to_value(read).unwrap())
}

fn entry<T: DeserializeOwned + Serialize>(kind: &'static str, sample: Value) -> Entry {
    Entry { kind, sample, through: through::<T> }
}

/// Each sample has every member of its type.
fn entries() -> Vec<Entry> {
    vec![
        entry::<orders::Created>(
            "coffee.order.created",
            json!({
                "order": "order-10007", "shop": 4, "customer": {"name": "Zoë Müller", "loyalty_points": 967},
                "lines": [{"line": 1, "item": "Flat White", "quantity": 2, "price_cents": 460, "extras": ["oat milk"]}],
                "total": 920, "currency": "EUR", "pickup": true, "promotions": ["RAINY-DAY"], "redeem_points": 100,
            }),
        ),
        entry::<orders::Updated>(
            "coffee.order.updated",
            json!({"order": "order-10007", "from": "accepted", "to": "cancelled", "total": 920, "currency": "EUR",
                "barista": "Sam Lee", "reason": "no more oat milk"}),
        ),
        entry::<orders::Accepted>(
            "coffee.order.accepted",
            json!({
                "order": "order-10007", "shop": 4, "customer": "Zoë Müller", "currency": "EUR",
                "lines": [{"line": 1, "item": "Flat White", "quantity": 2, "extras": ["oat milk"], "unit_cents": 520,
                    "discount_cents": 100, "net_cents": 940}],
                "subtotal_cents": 1040, "discounts": [{"promotion": "loyalty", "cents": 100}],
                "taxes": [{"name": "VAT", "rate_ppm": 190_000, "included": true, "base_cents": 790, "tax_cents": 150}],
                "total_cents": 940, "points_redeemed": 100, "points_earned": 9, "pickup": true,
            }),
        ),
        entry::<orders::Rejected>(
            "coffee.order.rejected",
            json!({"order": "order-10007", "what": "order",
                "reasons": [{"code": "item-unknown", "place": "lines[0].item", "message": "tea is not on the menu"}]}),
        ),
        entry::<orders::Changed>(
            "coffee.order.changed",
            json!({"order": "order-10007", "from": "accepted", "to": "cancelled", "releases_stock": true}),
        ),
        entry::<orders::Reserved>(
            "inventory.reserved",
            json!({"order": "order-10007", "shop": 4, "items": [{"item": "oat-milk", "amount": 300, "unit": "ml"}]}),
        ),
        entry::<notifications::Send>(
            "notification.send",
            json!({"channel": "push", "to": "Zoë Müller", "title": "Ready", "text": "Your coffee is ready", "quiet_hours": false,
                "template": "order-ready", "values": {"order": "order-10007"}, "locale": "de-AT", "dedupe": "order-10007"}),
        ),
    ]
    .into_iter()
    .chain(of_stock())
    .chain(of_prices())
    .chain(of_messages())
    .chain(of_models())
    .chain(of_the_router())
    .collect()
}

fn of_messages() -> Vec<Entry> {
    let tried = json!([{"channel": "email", "code": "smtp-550", "message": "no such mailbox"}]);
    vec![
        entry::<notifications::Trigger>(
            "alert.trigger",
            json!({"alert": "grinder-4", "severity": "critical", "title": "Too hot", "text": "It stands at 90 °C",
                "state": "resolved", "to": ["oncall"]}),
        ),
        entry::<notifications::Delivered>(
            "notification.delivered",
            json!({"notification": "1", "to": "Zoë Müller", "how": "sent", "channel": "sms", "reference": "SM1",
                "at": "2026-01-15T06:30:01Z", "tried": tried}),
        ),
        entry::<notifications::Failed>(
            "notification.failed",
            json!({"notification": "1", "to": "Zoë Müller", "reasons": tried}),
        ),
    ]
}

fn of_the_router() -> Vec<Entry> {
    vec![
        entry::<system::Parked>(
            "gocoffee.dead-letters.parked",
            json!({"route": "orders", "target": "order-processor", "count": 2, "reasons": {"refused": 2},
                "first": "0000000000c0ffee-0-1-2-0", "last": "0000000000c0ffee-0-3-2-0"}),
        ),
        entry::<system::LettersEnded>(
            "gocoffee.dead-letters.ended",
            json!({"reason": "dead-letters-age", "count": 12}),
        ),
        entry::<system::BreakerOpened>(
            "gocoffee.breaker.opened",
            json!({"target": "order-processor", "count": 1, "wait_ms": 1000, "why": "503"}),
        ),
        entry::<system::BreakerClosed>("gocoffee.breaker.closed", json!({"target": "order-processor", "count": 1})),
        entry::<system::BacklogFull>(
            "gocoffee.backlog.full",
            json!({"route": "orders", "count": 1, "bytes": 1_048_600, "bytes_max": 1_048_576}),
        ),
        entry::<system::BacklogDrained>("gocoffee.backlog.drained", json!({"route": "orders", "count": 1})),
        entry::<system::Orphaned>(
            "gocoffee.route.orphaned",
            json!({"route": "orders", "bus": "default", "waiting": 3}),
        ),
        entry::<system::Stopped>(
            "gocoffee.route.stopped",
            json!({"route": "orders", "target": "order-processor", "count": 1, "why": "410"}),
        ),
        entry::<system::StoreLevel>(
            "gocoffee.store.level",
            json!({"level": "short", "used_bytes": 900, "bytes_max": 1000, "free_bytes": 5000}),
        ),
        entry::<system::Refusing>("gocoffee.intake.refusing", json!({"why": "route orders is owed 900", "count": 1})),
        entry::<system::Resumed>("gocoffee.intake.resumed", json!({"count": 1})),
        entry::<system::ArchiveFailing>(
            "gocoffee.archive.failing",
            json!({"place": "s3://coffee/a", "count": 1, "why": "no answer within 120 s"}),
        ),
        entry::<system::ArchiveWorks>("gocoffee.archive.works", json!({"place": "s3://coffee/a", "count": 1})),
        entry::<system::ArchiveUncopied>(
            "gocoffee.archive.uncopied",
            json!({"bus": "default", "count": 1, "from": 1, "to": 9}),
        ),
        entry::<system::ReplayEnded>(
            "gocoffee.replay.ended",
            json!({"replay": 1, "bus": "default", "end": "done", "from": 1, "to": 9, "next": 9, "read": 8, "skipped": 2,
                "matched": 6, "delivered": 5, "dead_lettered": 1, "ended": 0}),
        ),
        entry::<system::Audit>(
            "gocoffee.audit",
            json!({"what": "dead letters redriven", "about": "route orders", "who": "127.0.0.1:50312", "count": 2}),
        ),
    ]
}

fn of_models() -> Vec<Entry> {
    let context = json!({"shop": 4, "language": "de"});
    let faults = json!([{"model": "small", "code": "http-500", "message": "it answered 500"}]);
    let usage = json!({"model": "large", "tokens_in": 120, "tokens_out": 40, "counted": true, "cost_micros": 90, "redacted": 1});
    vec![
        entry::<ai::TaskCreated>(
            "ai.task.created",
            json!({"task": "task-1", "kind": "translate-menu", "prompt": "Translate", "temperature": 0.5, "tokens_max": 512,
                "context": context, "budget_micros": 5000,
                "steps": [{"step": "read", "kind": "summarise", "prompt": "Read", "after": ["fetch"]}]}),
        ),
        entry::<ai::ResponseNeeded>(
            "ai.response.needed",
            json!({"request": "r-1", "prompt": "When do you open?", "kind": "respond", "temperature": 0.5,
                "tokens_max": 512, "context": context, "history": [{"role": "user", "text": "Hello"}]}),
        ),
        entry::<ai::TaskAssigned>(
            "ai.task.assigned",
            json!({"task": "task-1", "step": "read", "model": "large", "failed": faults, "cost_micros_max": 900}),
        ),
        entry::<ai::TaskCompleted>(
            "ai.task.completed",
            json!({"task": "task-1", "text": "Speisekarte", "cost_micros": 90,
                "steps": [{"step": "read", "text": "Speisekarte", "usage": usage}]}),
        ),
        entry::<ai::TaskFailed>("ai.task.failed", json!({"task": "task-1", "step": "read", "reasons": faults})),
        entry::<ai::ResponseReady>("ai.response.ready", json!({"request": "r-1", "text": "At seven", "usage": usage})),
    ]
}

fn of_stock() -> Vec<Entry> {
    let policy = json!({
        "lead_time": 2.0, "lead_time_deviation": 0.5, "review": 1.0, "service_level": 0.98, "season": 7,
        "order_cost": 20.0, "unit_cost": 1.5, "holding_rate": 0.25, "pack": 12.0, "order_min": 24.0, "shelf_life": 6.0,
        "method": "auto",
    });
    let item = json!({
        "item": "oat-milk", "left": 45.5, "history": [20.0, 22.5], "unit": "l", "supplier": "Dairy", "on_order": 0.5,
        "owed": 1.5, "policy": policy,
    });
    let parameters = json!({
        "level": 0.1, "trend": 0.01, "season": 0.2, "damping": 0.98, "size": 4.5, "interval": 2.5,
    });
    let reasoning = json!({
        "class": "smooth", "interval": 1.5, "variation": 0.2, "method": "holt-winters-additive", "parameters": parameters,
        "demand_next": 20.5, "demand_lead_time": 61.5, "deviation": 4.5, "service_level": 0.98, "safety_stock": 9.5,
        "economic_quantity": 1151.5, "steps": ["position 45.5"],
    });
    vec![
        entry::<inventory::Low>(
            "inventory.low",
            json!({
                "shop": 4, "item": "oat-milk", "left": 45.5, "threshold": 60.5, "unit": "l", "supplier": "Dairy",
                "on_order": 0.5, "owed": 1.5, "period": "day", "history": [20.0, 22.5], "policy": policy,
            }),
        ),
        entry::<inventory::Forecast>(
            "inventory.forecast",
            json!({"shop": 4, "period": "week", "policy": policy, "items": [item]}),
        ),
        entry::<inventory::Reorder>(
            "inventory.reorder",
            json!({
                "shop": 4, "item": "oat-milk", "unit": "l", "supplier": "Dairy", "quantity": 24.5, "packs": 2,
                "pack": 12.25, "position": 45.5, "reorder_point": 70.5, "urgent": true, "reasoning": reasoning,
            }),
        ),
    ]
}

fn of_prices() -> Vec<Entry> {
    let hop = json!({
        "venue": "sushiswap", "market": "0x06da", "pair": "WETH/USDC", "side": "buy", "from": "USDC", "to": "WETH",
        "amount_in": "2000", "amount_out": "1.01", "amount_out_min": "1", "priced_at": "2026-01-15T06:30:31Z",
    });
    vec![
        entry::<defi::PriceUpdate>(
            "defi.price.update",
            json!({
                "pair": "WETH/USDC", "venue": "sushiswap", "market": "0x06da", "price_micros": 2_000_000_000_u64,
                "change_basis_points": 164, "volume_24h": 72_514_664, "block": 21_600_002, "base_decimals": 18,
                "quote_decimals": 6,
                "quote": {"bid": "1999", "bid_size": "3", "ask": "2001", "ask_size": "3", "fee_parts": 1000},
                "pool": {"reserve_base": "1000", "reserve_quote": "2000000", "fee_parts": 3000},
            }),
        ),
        entry::<defi::Opportunity>(
            "defi.arbitrage.opportunity",
            json!({
                "token": "USDC", "amount_in": "2000", "amount_out": "2020", "amount_out_min": "2015", "gas": "1",
                "profit": "19", "profit_min": "14", "slippage_parts": 1000, "path": [hop],
                "found_at": "2026-01-15T06:30:31Z", "expires_at": "2026-01-15T06:31:01Z", "alternatives": 2,
            }),
        ),
    ]
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("payloads")
}

fn schema(kind: &str) -> Value {
    let path = folder().join(format!("{kind}.schema.json"));
    let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn validator(kind: &str) -> Validator {
    jsonschema::draft202012::new(&schema(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"))
}

/// All places in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, inner)| places(inner, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, inner)| places(inner, &format!("{at}/{i}"), found))
        }
        _ => {}
    }
}

/// The value with what stands at a place replaced, or taken away.
fn mutated(sample: &Value, place: &str, with: Option<Value>) -> Option<Value> {
    let mut value = sample.clone();
    match with {
        Some(with) => *value.pointer_mut(place)? = with,
        None => {
            let (parent, name) = place.rsplit_once('/')?;
            value.pointer_mut(parent)?.as_object_mut()?.remove(name)?;
        }
    }
    Some(value)
}

#[test]
fn types_and_schemas_judge_every_mutation_alike() {
    let junk = [
        json!(null),
        json!("other"),
        json!(-1),
        json!(1.5),
        json!(7),
        json!(true),
        json!([]),
        json!({}),
        json!([1]),
        json!(["x"]),
    ];
    let mut judged = 0;
    for Entry { kind, sample, through } in entries() {
        let validator = validator(kind);
        let (mut found, mut refused) = (Vec::new(), 0);
        places(&sample, "", &mut found);
        for place in &found {
            for with in junk.iter().cloned().map(Some).chain([None]) {
                // serde reads an object's members from an array, too, in their order; nobody sends that.
                let for_object = sample.pointer(place).is_some_and(Value::is_object);
                if for_object && with.as_ref().is_some_and(Value::is_array) {
                    continue;
                }
                let Some(value) = mutated(&sample, place, with.clone()) else { continue };
                let (by_type, by_schema) = (through(value.clone()).is_some(), validator.is_valid(&value));
                assert_eq!(by_type, by_schema, "{kind}{place} = {with:?}: taken by the type, and by the schema");
                judged += 1;
                refused += usize::from(!by_schema);
            }
        }
        assert!(refused > found.len(), "{kind}: {refused} mutations refused");
    }
    assert!(judged > 500, "{judged} mutations");
}

#[test]
fn samples_have_every_member_and_come_through_unchanged() {
    for Entry { kind, sample, through } in entries() {
        let errors: Vec<String> = validator(kind).iter_errors(&sample).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{kind}: {errors:?}");
        assert_eq!(through(sample.clone()).as_ref(), Some(&sample), "{kind}: the type loses something");
        let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(members(&schema(kind)["properties"]), members(&sample), "{kind}: members");
        for (name, inner) in sample.as_object().unwrap() {
            let (inner, inside) = match inner {
                Value::Array(items) if items[0].is_object() => (&items[0], &schema(kind)["properties"][name]["items"]),
                Value::Object(_) => (inner, &schema(kind)["properties"][name]),
                _ => continue,
            };
            // A map of names to values has no members of its own.
            if inside["properties"].is_object() {
                assert_eq!(members(&inside["properties"]), members(inner), "{kind}: members of {name}");
            }
        }
    }
}

#[test]
fn every_state_is_on_the_wire_as_it_is_called() {
    let listed = schema("coffee.order.changed")["properties"]["to"]["enum"].clone();
    let named: Vec<&str> = orders::State::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(listed, json!(named));
    assert_eq!(serde_json::to_value(orders::State::ALL).unwrap(), listed);
}

#[test]
fn every_schema_names_itself_and_has_its_type() {
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let kind = name.strip_suffix(".schema.json").unwrap_or_else(|| panic!("{name} is no schema"));
        let schema = schema(kind);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{kind}");
        assert_eq!(schema["$id"], format!("urn:gocoffee:schema:{kind}:1"));
        assert!(jsonschema::meta::is_valid(&schema), "{kind} is no valid schema");
        assert!(entries().iter().any(|entry| entry.kind == kind), "{kind} has no Rust type in this test");
    }
}

#[test]
fn the_published_samples_are_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/cloudevents/coffee-600.ndjson");
    let (text, mut held) = (fs::read_to_string(path).unwrap(), 0);
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let Some(entry) = entries().into_iter().find(|entry| event["type"] == entry.kind) else { continue };
        let errors: Vec<String> = validator(entry.kind).iter_errors(&event["data"]).map(|e| e.to_string()).collect();
        assert!(errors.is_empty() && (entry.through)(event["data"].clone()).is_some(), "{line}: {errors:?}");
        held += 1;
    }
    assert!(held > 300, "{held} samples");
}
