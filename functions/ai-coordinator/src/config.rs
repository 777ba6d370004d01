//! What the coordinator is told: models, what they can and cost, budgets, what is taken out. JSON in `AI`, or in
//! the file that `AI_FILE` names.

use std::{collections::BTreeMap, time::Duration};

use function_host::{SettingError, Settings};
use http::{HeaderValue, Uri};
use serde::Deserialize;

use crate::redact::Redactor;

/// How long an answer may take where the settings do not say.
pub const TIMEOUT_MS_DEFAULT: u64 = 30_000;
/// Longest time that a model may be given.
pub const TIMEOUT_MS_MAX: u64 = 600_000;
/// Most tries of one model for one piece of work.
pub const TRIES_MAX: u32 = 5;
/// Models at most.
pub const MODELS_MAX: usize = 100;

/// All of it, read and checked.
pub struct Config {
    /// In the order of their names.
    pub models: Vec<Model>,
    /// What counts first among those that can do it.
    pub prefer: Prefer,
    /// What one task may cost, in millionths.
    pub task_micros_max: u64,
    /// What all tasks of a day (UTC) may cost, in millionths.
    pub day_micros_max: Option<u64>,
    /// How often a model is tried for one piece of work before the next is.
    pub tries_max: u32,
    /// What is taken out.
    pub redactor: Redactor,
}

/// The member of a question that says how many tokens the answer may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAs {
    /// What nearly all endpoints read.
    #[default]
    MaxTokens,
    /// What OpenAI's models that reason want in its place.
    MaxCompletionTokens,
}

/// What counts first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefer {
    /// The least cost.
    #[default]
    Cost,
    /// The shortest time.
    Latency,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    models: BTreeMap<String, ModelText>,
    #[serde(default)]
    prefer: Prefer,
    #[serde(default = "a_tenth")]
    task_micros_max: u64,
    day_micros_max: Option<u64>,
    #[serde(default = "two")]
    tries_max: u32,
    redact: Option<Vec<String>>,
    #[serde(default)]
    redact_patterns: BTreeMap<String, String>,
}

fn a_tenth() -> u64 {
    100_000
}

fn two() -> u32 {
    2
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelText {
    url: String,
    model: String,
    key: Option<String>,
    capabilities: Vec<String>,
    context_tokens_max: u64,
    answer_tokens_max: u64,
    cost_in_micros: u64,
    cost_out_micros: u64,
    latency_ms: u64,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    limit_as: LimitAs,
    timeout_ms: Option<u64>,
    system: Option<String>,
}

/// A model, or an agent: a model with words of its own to begin with.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name in the settings.
    pub name: String,
    /// Where it is asked.
    pub(crate) uri: Uri,
    pub(crate) authorization: Option<HeaderValue>,
    /// Its name at the endpoint.
    pub(crate) model: String,
    capabilities: Vec<String>,
    /// Tokens that it holds, sent and answered together.
    pub context_tokens_max: u64,
    /// Tokens that it answers.
    pub answer_tokens_max: u64,
    cost_in_micros: u64,
    cost_out_micros: u64,
    /// How long an answer usually takes.
    pub latency_ms: u64,
    pub(crate) stream: bool,
    pub(crate) limit_as: LimitAs,
    pub(crate) timeout: Duration,
    pub(crate) system: Option<String>,
}

impl Model {
    fn new(name: String, text: ModelText) -> Result<Self, String> {
        let url = format!("{}/chat/completions", text.url.trim_end_matches('/'));
        let uri = function_host::http::url(&url).map_err(|why| format!("url: it {why}"))?;
        let authorization = text.key.map(|key| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| "key: no header can carry it")?;
            value.set_sensitive(true);
            Ok::<_, &str>(value)
        });
        let timeout_ms = text.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT);
        if timeout_ms == 0 || timeout_ms > TIMEOUT_MS_MAX {
            return Err(format!("timeout_ms: {timeout_ms} is not from 1 to {TIMEOUT_MS_MAX}"));
        }
        if text.answer_tokens_max == 0 || text.answer_tokens_max > text.context_tokens_max {
            return Err("answer_tokens_max: it is from 1 to context_tokens_max".into());
        }
        Ok(Model {
            name,
            uri,
            authorization: authorization.transpose()?,
            model: text.model,
            capabilities: text.capabilities,
            context_tokens_max: text.context_tokens_max,
            answer_tokens_max: text.answer_tokens_max,
            cost_in_micros: text.cost_in_micros,
            cost_out_micros: text.cost_out_micros,
            latency_ms: text.latency_ms,
            stream: text.stream,
            limit_as: text.limit_as,
            timeout: Duration::from_millis(timeout_ms),
            system: text.system,
        })
    }

    /// Whether it can do something; `*` among its capabilities stands for anything.
    pub fn can(&self, kind: &str) -> bool {
        self.capabilities.iter().any(|can| can == kind || can == "*")
    }

    /// What so many tokens cost, in millionths, rounded up.
    pub fn cost(&self, tokens_in: u64, tokens_out: u64) -> u64 {
        let sum = u128::from(tokens_in) * u128::from(self.cost_in_micros)
            + u128::from(tokens_out) * u128::from(self.cost_out_micros);
        u64::try_from(sum.div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(name: &str, can: &[&str], (cost, latency_ms, context): (u64, u64, u64)) -> Self {
        let text = serde_json::json!({"url": "http://localhost/v1", "model": name, "capabilities": can,
            "context_tokens_max": context, "answer_tokens_max": context.min(1_000), "cost_in_micros": cost,
            "cost_out_micros": cost, "latency_ms": latency_ms});
        Model::new(name.into(), serde_json::from_value(text).unwrap()).unwrap()
    }
}

impl Config {
    /// Reads `AI` or the file that `AI_FILE` names.
    ///
    /// # Errors
    /// The setting, with the place in it.
    pub fn read(settings: &Settings) -> Result<Self, SettingError> {
        let (name, text): (_, Text) = settings.document("AI")?;
        Self::new(text).map_err(|e| SettingError::new(&name, e))
    }

    fn new(text: Text) -> Result<Self, String> {
        if text.models.is_empty() || text.models.len() > MODELS_MAX {
            return Err(format!("models: {} of them; from 1 to {MODELS_MAX} are used", text.models.len()));
        }
        if text.tries_max == 0 || text.tries_max > TRIES_MAX {
            return Err(format!("tries_max: {} is not from 1 to {TRIES_MAX}", text.tries_max));
        }
        let model = |(name, model): (String, ModelText)| {
            let place = format!("models.{name}.");
            Model::new(name, model).map_err(|e| format!("{place}{e}"))
        };
        Ok(Config {
            models: text.models.into_iter().map(model).collect::<Result<_, _>>()?,
            prefer: text.prefer,
            // What a day cannot hold can never be done, so it fails at once in place of waiting for tomorrow.
            task_micros_max: text.task_micros_max.min(text.day_micros_max.unwrap_or(u64::MAX)),
            day_micros_max: text.day_micros_max,
            tries_max: text.tries_max,
            redactor: Redactor::new(text.redact.as_deref(), text.redact_patterns.iter())?,
        })
    }
}
