//! Messages to people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Data of `notification.send`: tell somebody something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Send {
    /// The way: `push`, `sms`, `email`, `slack` or one that the dispatcher is told of.
    pub channel: String,
    /// The recipient, as the channel knows them.
    pub to: String,
    /// One line.
    pub title: String,
    /// The message.
    pub text: String,
    /// Whether it waits for the end of the recipient's quiet hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<bool>,
    /// A template of the dispatcher, in place of title and text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// What the template is filled with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<BTreeMap<String, String>>,
    /// The language, e.g. `de-AT`; the recipient's own where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// What says the same under this name to the same recipient within the dispatcher's window is said once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<String>,
}

/// Data of `alert.trigger`: something needs people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Trigger {
    /// What it is about, the same each time: alerts of one name are one group.
    pub alert: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The message.
    pub text: String,
    /// Whether it goes on; `firing` where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AlertState>,
    /// The recipients; those that the dispatcher has for the severity where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
}

/// How bad an alert is, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// To be looked at now, at any hour.
    Critical,
}

impl Severity {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Whether an alert goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// It does.
    Firing,
    /// It is over.
    Resolved,
}

/// Data of `notification.delivered`: a message was taken by a channel, or did not have to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Delivered {
    /// The id of the event that asked for it.
    pub notification: String,
    /// The recipient.
    pub to: String,
    /// What was done.
    pub how: How,
    /// The channel that took it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The channel's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When.
    pub at: String,
    /// Channels that did not take it before.
    pub tried: Vec<Tried>,
}

/// What was done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It was sent.
    Sent,
    /// It was counted with an alert of its group that was sent before; the group's next message says how many.
    Grouped,
    /// The same was sent before.
    Duplicate,
}

/// Data of `notification.failed`: no channel takes a message, for good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Failed {
    /// The id of the event that asked for it.
    pub notification: String,
    /// The recipient.
    pub to: String,
    /// Why, for each channel; at least one.
    pub reasons: Vec<Tried>,
}

/// A channel that did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Tried {
    /// The channel.
    pub channel: String,
    /// For programs, e.g. `smtp-550`.
    pub code: String,
    /// For people: what is wrong and what to do.
    pub message: String,
}
