//! Messages to people.

use serde::{Deserialize, Serialize};

/// Data of `notification.send`: tell somebody something.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
}
