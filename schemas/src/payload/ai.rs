//! Work for language models.

use serde::{Deserialize, Serialize};

/// Data of `ai.task.created`: something is to be done by a model.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TaskCreated {
    /// The task's name, e.g. `task-698940`.
    pub task: String,
    /// What has to be possible, e.g. `translate-menu`: a capability of a model.
    pub kind: String,
    /// What is to be done.
    pub prompt: String,
    /// How freely, from 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Tokens of the answer at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<u64>,
    /// Where it came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Surroundings>,
    /// What it may cost, all steps together, in millionths of the currency that costs are set in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_micros: Option<u64>,
    /// Parts that are done before the prompt, which then sees their results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
}

/// Where a task came up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Surroundings {
    /// The shop's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shop: Option<u64>,
    /// The language of the answer, e.g. `de`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A part of a task.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Step {
    /// Its name in the task.
    pub step: String,
    /// What has to be possible; the task's own kind where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is to be done.
    pub prompt: String,
    /// Steps that are done before, and whose results it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
}

/// Data of `ai.response.needed`: somebody waits for an answer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ResponseNeeded {
    /// The request's name.
    pub request: String,
    /// What was said.
    pub prompt: String,
    /// What has to be possible; `respond` where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How freely, from 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Tokens of the answer at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<u64>,
    /// Where it came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Surroundings>,
    /// What was said before, the first first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Turn>>,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Turn {
    /// Who.
    pub role: Role,
    /// What.
    pub text: String,
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A person.
    User,
    /// A model.
    Assistant,
}

/// Data of `ai.task.assigned`: a model was chosen, and asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TaskAssigned {
    /// The task's name.
    pub task: String,
    /// The step, where it is not the task's own prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The model that did it.
    pub model: String,
    /// Models that were chosen before and failed.
    pub failed: Vec<Fault>,
    /// What the answer could cost at most, in millionths.
    pub cost_micros_max: u64,
}

/// A model that did not answer, or could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Fault {
    /// The model.
    pub model: String,
    /// For programs, e.g. `budget`.
    pub code: String,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// Data of `ai.task.completed`: the task is done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TaskCompleted {
    /// The task's name.
    pub task: String,
    /// The result.
    pub text: String,
    /// Each step in the order in which it was done, the task's own prompt last.
    pub steps: Vec<StepDone>,
    /// What all of it cost, in millionths.
    pub cost_micros: u64,
}

/// A step that is done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StepDone {
    /// Its name; the task's own prompt has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What came of it.
    pub text: String,
    /// What it took.
    pub usage: Usage,
}

/// What an answer took.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Usage {
    /// The model.
    pub model: String,
    /// Tokens that it was sent.
    pub tokens_in: u64,
    /// Tokens that it answered.
    pub tokens_out: u64,
    /// Whether the tokens are counted by the endpoint, or estimated because it did not say.
    pub counted: bool,
    /// What it cost, in millionths.
    pub cost_micros: u64,
    /// Secrets and personal data that were taken out before it was asked.
    pub redacted: u64,
}

/// Data of `ai.task.failed`: a task, or an answer, that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TaskFailed {
    /// The task's name, or the request's.
    pub task: String,
    /// The step that failed, where it is not the task's own prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why, for each model that could have done it; at least one.
    pub reasons: Vec<Fault>,
}

/// Data of `ai.response.ready`: the answer that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ResponseReady {
    /// The request's name.
    pub request: String,
    /// The answer.
    pub text: String,
    /// What it took.
    pub usage: Usage,
}
