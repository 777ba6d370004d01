//! Slack's incoming webhooks: `{"text": …}` to a URL that holds its own secret; the answer is `ok`, or a word
//! that says what is wrong (api.slack.com/messaging/webhooks).

use std::time::Duration;

use function_host::Context;
use http::Uri;
use serde::Deserialize;
use serde_json::json;

use super::{Message, Outcome, Secret, post, timeout, typed, url, verdict};

/// As the settings have it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackText {
    url: Secret,
    timeout_ms: Option<u64>,
}

/// One place in Slack.
pub struct Slack {
    uri: Uri,
    timeout: Duration,
}

impl Slack {
    pub(crate) fn new(text: SlackText) -> Result<Self, String> {
        Ok(Slack { uri: url(&text.url)?, timeout: timeout(text.timeout_ms)? })
    }

    pub(crate) async fn send(&self, ctx: &Context, message: Message<'_>) -> Outcome {
        let text = format!("*{}*\n{}", escape(message.title), escape(message.text));
        let body = json!({ "text": text }).to_string().into_bytes();
        let answer = match post(ctx, (&self.uri, typed("application/json")), body, self.timeout).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        match (verdict(&answer), answer.status.as_u16()) {
            // The channel or the whole webhook is gone, or forbidden to us: another attempt changes nothing.
            (Outcome::Later { code, why, .. }, 403 | 404) => Outcome::refused(code, why),
            (outcome, _) => outcome,
        }
    }
}

/// The three characters that mean something to Slack.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_cannot_mention_anybody() {
        assert_eq!(super::escape("<!channel> & <@U1>"), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
    }
}
