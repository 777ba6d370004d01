//! Each target in each mapping, and the source that reads what it sends. Where a cloud stands between, what it is known to
//! do to an event is done here.

use bytes::Bytes;
use router_aws::wire::{Mapping, envelope};
use router_azure::wire::Schema;
use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId},
    target::Delivery,
};
use router_gcp::wire::{Came, Mode};
use schemas::Event;
use serde_json::{Value, json};

/// What came of an event: the event at the other end, or the code of why it is a dead letter.
pub type Went = Result<Event, String>;

/// A way there and back.
pub struct Way {
    /// The target's kind.
    pub target: &'static str,
    /// What it is told.
    pub mapping: &'static str,
    /// A target with that, as it is configured.
    pub config: &'static str,
    pub go: fn(&Event) -> Went,
}

/// When EventBridge got what has no time of its own.
const RECEIVED: &str = "2026-01-15T07:00:00Z";

/// An event as it is owed.
pub fn owed(event: &Event) -> Delivery {
    let lane = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
    Delivery {
        id: DeliveryId { epoch: Epoch(1), lane, offset: Offset(0) },
        attempt: 1,
        route: RouteName::new("r").unwrap(),
        appended: Timestamp(1_768_460_400_000_000),
        event: event.clone(),
        reply: None,
    }
}

fn http_binary(event: &Event) -> Went {
    if schemas::http::needs_structured(event) {
        return json(event);
    }
    let (headers, body) = schemas::http::encode_binary(event);
    Ok(schemas::http::decode_binary(&headers, body).unwrap())
}

fn json(event: &Event) -> Went {
    Ok(schemas::json::decode(&schemas::json::encode(event)).unwrap())
}

fn list(event: &Event) -> Went {
    Ok(schemas::json::decode_batch(&schemas::json::encode_batch([event]), 1).unwrap().remove(0).unwrap())
}

/// By a bus and a rule to a queue, as EventBridge writes what it passes on.
fn eventbridge(event: &Event, mapping: Mapping) -> Went {
    let entry =
        router_aws::wire::entry(&owed(event), mapping, "coffee").map_err(|misfit| misfit.code.0.to_owned())?.entry;
    let time = entry.time().map(|time| seconds(time.secs()));
    let mut sent = json!({
        "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "account": "123456789012", "region": "us-east-1",
        "source": entry.source(), "detail-type": entry.detail_type(), "time": time.unwrap_or_else(|| RECEIVED.into()),
        "resources": entry.resources(),
    })
    .to_string();
    let detail: Value = serde_json::from_str(entry.detail().unwrap()).unwrap();
    sent.truncate(sent.len() - 1);
    sent.push_str(&format!(",\"detail\":{}}}", anew(&detail)));
    Ok(envelope::read(Bytes::from(sent), "message-1").event.unwrap())
}

/// JSON with its numbers and its spaces written anew, as whoever parses and prints it does.
fn anew(value: &Value) -> String {
    let each = |values: Vec<String>| values.join(", ");
    match value {
        Value::Number(number) => number.as_f64().unwrap().to_string(),
        Value::Array(values) => format!("[{}]", each(values.iter().map(anew).collect())),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{}: {}", json!(name), anew(value));
            format!("{{{}}}", each(members.iter().map(member).collect()))
        }
        other => other.to_string(),
    }
}

/// Seconds of UNIX time as EventBridge writes a time.
fn seconds(seconds: i64) -> String {
    Timestamp(u64::try_from(seconds).unwrap() * 1_000_000).rfc3339()
}

/// By a custom event bus and a subscriber with the transformer RAW, which change nothing, to a queue.
fn eventbridge_v2(event: &Event) -> Went {
    let entry = router_aws::wire::raw::entry(&owed(event)).map_err(|misfit| misfit.code.0.to_owned())?.entry;
    Ok(envelope::read(Bytes::copy_from_slice(entry.data().as_ref()), "message-1").event.unwrap())
}

/// The body of a message of SQS, which SQS does not change.
fn queue(event: &Event) -> Went {
    Ok(envelope::read(schemas::json::encode(event).into(), "message-1").event.unwrap())
}

fn pubsub(event: &Event, mode: Mode) -> Went {
    let message = router_gcp::wire::encode(event, mode);
    Ok(router_gcp::wire::decode(&message, &Came::default()).unwrap())
}

/// By a custom topic to a webhook; in Event Grid's own schema the service sets the topic.
fn topic(event: &Event, schema: Schema) -> Went {
    let body = router_azure::wire::encode(schema, None, [(event, owed(event).appended)]);
    let list = router_azure::wire::split(&body, 1).unwrap();
    let topic = "/subscriptions/S/resourceGroups/G/providers/Microsoft.EventGrid/topics/T";
    Ok(router_azure::wire::decode(list[0], Some(topic)).unwrap())
}

/// By a namespace topic to a subscription, which hands events out as JSON.
fn namespace(event: &Event, written: fn(&Event) -> Went) -> Went {
    let handed = schemas::json::encode(&written(event)?);
    Ok(router_azure::wire::decode(std::str::from_utf8(&handed).unwrap(), None).unwrap())
}

/// All of them.
pub fn ways() -> Vec<Way> {
    let way = |target, mapping, config, go| Way { target, mapping, config, go };
    vec![
        way(
            "`http`, `cloud_run`, `azure_function`",
            "`mode: binary` (default)",
            "{ http: { url: 'http://127.0.0.1:9001/' } }",
            http_binary,
        ),
        way("the same", "`mode: structured`", "{ http: { url: 'http://127.0.0.1:9001/', mode: structured } }", json),
        way("the same", "`batch`", "{ http: { url: 'http://127.0.0.1:9001/', batch: { count_max: 10 } } }", list),
        way(
            "`eventbridge`",
            "none is written: as `structured`",
            "{ eventbridge: { bus: coffee, region: us-east-1 } }",
            |e| eventbridge(e, Mapping::Structured),
        ),
        way(
            "`eventbridge`",
            "`mapping: opaque`",
            "{ eventbridge: { bus: coffee, region: us-east-1, mapping: opaque } }",
            |e| eventbridge(e, Mapping::Opaque),
        ),
        way(
            "`eventbridge`",
            "`mapping: data`",
            "{ eventbridge: { bus: coffee, region: us-east-1, mapping: data } }",
            |e| eventbridge(e, Mapping::Data),
        ),
        way(
            "`eventbridge_v2`",
            "",
            "{ eventbridge_v2: { bus: 'arn:aws:events:us-east-1:123456789012:event-busv2/b/abcdefghij0123456789abcde' } }",
            eventbridge_v2,
        ),
        way("`sqs`", "", "{ sqs: { queue_url: 'https://sqs.us-east-1.amazonaws.com/1/q' } }", queue),
        way("`lambda`", "", "{ lambda: { function: f, region: us-east-1 } }", json),
        way("`pubsub`", "`mode: binary` (default)", "{ pubsub: { topic: projects/p/topics/t } }", |e| {
            pubsub(e, Mode::Binary)
        }),
        way("`pubsub`", "`mode: structured`", "{ pubsub: { topic: projects/p/topics/t, mode: structured } }", |e| {
            pubsub(e, Mode::Structured)
        }),
        way(
            "`event_grid`",
            "`schema: cloud_events` (default)",
            "{ event_grid: { endpoint: 'https://t.westeurope-1.eventgrid.azure.net/api/events', key: k } }",
            |e| topic(e, Schema::CloudEvents),
        ),
        way(
            "`event_grid`",
            "`schema: event_grid`",
            "{ event_grid: { endpoint: 'https://t.westeurope-1.eventgrid.azure.net/api/events', key: k, schema: event_grid } }",
            |e| topic(e, Schema::EventGrid),
        ),
        way(
            "`event_grid_namespace`",
            "`mode: batch` (default)",
            "{ event_grid_namespace: { endpoint: 'https://n.westeurope-1.eventgrid.azure.net', topic: t, key: k } }",
            |e| namespace(e, list),
        ),
        way(
            "`event_grid_namespace`",
            "`mode: structured`",
            "{ event_grid_namespace: { endpoint: 'https://n.westeurope-1.eventgrid.azure.net', topic: t, key: k, mode: structured } }",
            |e| namespace(e, json),
        ),
        way(
            "`event_grid_namespace`",
            "`mode: binary`",
            "{ event_grid_namespace: { endpoint: 'https://n.westeurope-1.eventgrid.azure.net', topic: t, key: k, mode: binary } }",
            |e| namespace(e, http_binary),
        ),
    ]
}
