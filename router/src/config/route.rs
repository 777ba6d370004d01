//! Which events go where, and how hard it is tried.

use std::time::Duration;

use router_core::{
    filter,
    id::{BusName, TargetName},
    reply::ReplySpec,
    settle::RetryPolicy,
    transform,
};
use serde::Deserialize;

use super::{
    Start, default_bus,
    value::{self, Json},
};

/// Which events go where.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The bus it reads. Default `default`.
    #[serde(default = "default_bus")]
    pub bus: BusName,
    /// What it wants. Default: every event of the bus.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// What the target gets in place of the event. Default: the event.
    #[serde(default)]
    pub transform: Option<Transform>,
    /// The target. Required.
    pub to: TargetName,
    /// How often and how long it tries.
    #[serde(default)]
    pub retry: Retry,
    /// How much it may be owed.
    #[serde(default)]
    pub backlog: Backlog,
    /// Whether the events in its target's answers are taken in, and by which bus. Default: they are not.
    #[serde(default)]
    pub reply: Reply,
    /// The context attribute whose value is the key: deliveries of one key keep their order. Default: none is kept.
    #[serde(default)]
    pub order: Option<String>,
    /// What a key does after one of its deliveries became a dead letter. Default `continue`.
    #[serde(default)]
    pub on_dead_letter: OnDeadLetter,
    /// Keys that may be stuck at a time. Default 10,000.
    #[serde(default)]
    pub stuck_keys_max: Option<u32>,
    /// From where on it gets events when it is new: `latest` from the next one on, `earliest` all that are kept, or from
    /// a time on; what is there already comes as a replay. Default `latest`.
    #[serde(default)]
    pub start: Start,
}

/// What becomes of the events in the answers of a route's target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reply {
    /// They are counted and left: `false`.
    #[default]
    No,
    /// The route's own bus takes them: `true`.
    Own,
    /// This bus takes them: `{ bus: NAME }`.
    Bus(BusName),
}

impl Reply {
    /// As the path takes it.
    pub fn spec(&self) -> Option<ReplySpec> {
        match self {
            Reply::No => None,
            Reply::Own => Some(ReplySpec { bus: None }),
            Reply::Bus(bus) => Some(ReplySpec { bus: Some(bus.clone()) }),
        }
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let Json(value) = Json::deserialize(d)?;
        match value {
            serde_json::Value::Bool(false) => Ok(Reply::No),
            serde_json::Value::Bool(true) => Ok(Reply::Own),
            serde_json::Value::Object(members) if members.len() == 1 => match members.get("bus") {
                Some(serde_json::Value::String(bus)) => BusName::new(bus).map(Reply::Bus).map_err(D::Error::custom),
                _ => Err(D::Error::custom("`reply` has the one key `bus`, the name of a bus")),
            },
            _ => Err(D::Error::custom("`reply` is `true`, `false`, or `{ bus: NAME }`")),
        }
    }
}

/// What a key does after a dead letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDeadLetter {
    /// It goes on with the next.
    #[default]
    Continue,
    /// It waits until the dead letter is redriven or purged.
    Hold,
}

impl<'de> Deserialize<'de> for OnDeadLetter {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "continue" => Ok(OnDeadLetter::Continue),
            "hold" => Ok(OnDeadLetter::Hold),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `continue` and `hold`"))),
        }
    }
}

/// How much a route may be owed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backlog {
    /// Running time after which a delivery becomes a dead letter, tried or not. Default: `retry.age_max`.
    #[serde(deserialize_with = "value::duration_some")]
    pub age_max: Option<Duration>,
    /// Bytes of the events that are owed. Default: no limit.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
    /// What happens at `bytes_max`. Default `dead-letter`.
    pub then: Then,
}

/// What happens to a backlog at its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Then {
    /// Its oldest deliveries become dead letters.
    #[default]
    DeadLetter,
    /// Its bus takes nothing in until it has drained.
    Hold,
}

impl<'de> Deserialize<'de> for Then {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "dead-letter" => Ok(Then::DeadLetter),
            "hold" => Ok(Then::Hold),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `dead-letter` and `hold`"))),
        }
    }
}

/// What a route wants, in one language.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// An event pattern over the CloudEvents JSON of the event.
    Pattern(Json),
    /// An event pattern over the EventBridge view of the event.
    Eventbridge(Json),
    /// A CESQL expression.
    Sql(Json),
    /// Attributes that are equal.
    Exact(Json),
    /// Attributes that begin so.
    Prefix(Json),
    /// Attributes that end so.
    Suffix(Json),
    /// Filters that all match.
    All(Json),
    /// Filters of which one matches.
    Any(Json),
    /// A filter that does not match.
    Not(Json),
}

impl Filter {
    /// As the path takes it.
    pub fn spec(&self) -> filter::Spec {
        match self.clone() {
            Filter::Pattern(Json(value)) => filter::Spec::Pattern(value),
            Filter::Eventbridge(Json(value)) => filter::Spec::Eventbridge(value),
            Filter::Sql(Json(value)) => filter::Spec::Sql(value),
            Filter::Exact(Json(value)) => filter::Spec::Exact(value),
            Filter::Prefix(Json(value)) => filter::Spec::Prefix(value),
            Filter::Suffix(Json(value)) => filter::Spec::Suffix(value),
            Filter::All(Json(value)) => filter::Spec::All(value),
            Filter::Any(Json(value)) => filter::Spec::Any(value),
            Filter::Not(Json(value)) => filter::Spec::Not(value),
        }
    }
}

/// What a target gets in place of the event, made in one way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// What stands at a path of the EventBridge view is the data.
    InputPath(Json),
    /// EventBridge's input transformer makes the data.
    Input(Json),
    /// Attributes and data are set.
    Set(Json),
}

impl Transform {
    /// As the path takes it.
    pub fn spec(&self) -> transform::Spec {
        match self.clone() {
            Transform::InputPath(Json(value)) => transform::Spec::InputPath(value),
            Transform::Input(Json(value)) => transform::Spec::Input(value),
            Transform::Set(Json(value)) => transform::Spec::Set(value),
        }
    }
}

/// How often and how long a delivery is tried.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Failed attempts, after which the delivery becomes a dead letter. Default 12.
    pub attempts_max: u32,
    /// Running time after which it becomes one. Default `24h`.
    #[serde(deserialize_with = "value::duration")]
    pub age_max: Duration,
    /// The first delay is drawn between zero and this. Default `500ms`.
    #[serde(deserialize_with = "value::duration")]
    pub delay_min: Duration,
    /// No delay is longer. Default `10m`.
    #[serde(deserialize_with = "value::duration")]
    pub delay_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let RetryPolicy { attempts_max, age_max, delay_min, delay_max, .. } = RetryPolicy::default();
        Retry { attempts_max, age_max, delay_min, delay_max }
    }
}
