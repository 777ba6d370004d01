//! Where events come from at AWS: a queue of SQS that a rule of EventBridge feeds, or a subscriber of a custom event bus.
//!
//! Several receivers wait for messages at a time, each in long polls. What one got is submitted to the bus, and deleted
//! only once it is durable; while the bus takes its time, the messages are kept hidden from other receivers. A message
//! whose deletion is lost comes again and is a duplicate. What is no event is quarantined, or left in the queue, whose
//! redrive policy then has it; see [`OnInvalid`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_sqs::{
    Client,
    types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message},
};
use bytes::Bytes;
use router_core::{
    id::SourceName,
    source::{Fate, Inlet, IntakeClosed, OnInvalid, Pulled, Source, SourceError, take},
    target::Reason,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Accounts, ConfigError, Settings},
    codes,
    queue::Queue,
    target::{Failure, failure},
    wire::envelope,
};

/// Messages of one poll: SQS gives no more.
const MESSAGES_MAX: i32 = 10;
/// How long a poll waits for a message: SQS waits no longer.
const POLL: Duration = Duration::from_secs(20);
/// What one call may take beyond that.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a stop waits for what is being submitted.
const GRACE: Duration = Duration::from_secs(5);
/// Receivers, when nothing else is configured.
pub const RECEIVERS: usize = 4;
/// Receivers at most.
pub const RECEIVERS_MAX: usize = 64;
/// How long a message is hidden from other receivers, when nothing else is configured.
pub const VISIBILITY: Duration = Duration::from_secs(60);
/// The shortest and the longest that a message is hidden; what is shorter could end while it is submitted.
pub const VISIBILITY_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(43_200));

/// A queue as it is configured.
#[derive(Clone, Debug)]
pub struct EventBridgeSourceConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// The URL of the queue.
    pub queue_url: String,
    /// Who the router is to AWS, and where; without a region or an endpoint, those of the URL.
    pub settings: Settings,
    /// What becomes of messages that are no event.
    pub on_invalid: OnInvalid,
    /// Polls at a time.
    pub receivers: usize,
    /// How long a message is hidden from other receivers; renewed while it is submitted.
    pub visibility: Duration,
}

impl EventBridgeSourceConfig {
    /// With everything as it is unless it is said otherwise.
    pub fn new(name: SourceName, queue_url: impl Into<String>) -> Self {
        EventBridgeSourceConfig {
            name,
            queue_url: queue_url.into(),
            settings: Settings::default(),
            on_invalid: OnInvalid::Quarantine,
            receivers: RECEIVERS,
            visibility: VISIBILITY,
        }
    }
}

/// A queue that EventBridge feeds.
pub struct EventBridgeSource {
    pulled: Arc<Pulling>,
}

struct Pulling {
    config: EventBridgeSourceConfig,
    queue: Queue,
}

impl EventBridgeSource {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: EventBridgeSourceConfig, accounts: &Accounts) -> Result<Self, ConfigError> {
        if !(1..=RECEIVERS_MAX).contains(&config.receivers) {
            let message = format!("a queue has 1 to {RECEIVERS_MAX} receivers, not {}", config.receivers);
            return Err(ConfigError::new(&["receivers"], message));
        }
        let (least, most) = VISIBILITY_RANGE;
        if !(least..=most).contains(&config.visibility) || config.visibility.subsec_nanos() > 0 {
            let message = "messages are hidden for whole seconds, from `10s` to `12h`";
            return Err(ConfigError::new(&["visibility"], message));
        }
        let queue = Queue::new(&config.queue_url, config.settings.clone(), POLL + CALL_TIMEOUT, accounts)?;
        Ok(EventBridgeSource { pulled: Arc::new(Pulling { config, queue }) })
    }
}

impl Pulling {
    /// Receives until it is told to end, or a call fails.
    async fn receive(
        self: Arc<Self>,
        client: Client,
        inlet: Arc<dyn Inlet>,
        ending: CancellationToken,
    ) -> Result<(), SourceError> {
        loop {
            let messages = tokio::select! {
                biased;
                // What is given to a poll that nobody waits for any more comes again.
                () = ending.cancelled() => return Ok(()),
                messages = self.poll(&client) => messages?,
            };
            if messages.is_empty() {
                continue;
            }
            let batch = pulled(&messages);
            let taking = take(&*inlet, &self.config.name, self.config.on_invalid, &batch);
            let fates = tokio::select! {
                fates = taking => fates,
                never = self.keep_hidden(&client, &messages) => match never {},
                // The bus takes nothing in: they stay where they are, and come again.
                () = long_after(&ending) => return Ok(()),
            };
            match fates {
                Ok(fates) => self.delete(&client, &messages, &fates).await,
                Err(IntakeClosed) => return Ok(()),
            }
        }
    }

    async fn poll(&self, client: &Client) -> Result<Vec<Message>, SourceError> {
        let answer = client
            .receive_message()
            .queue_url(&self.config.queue_url)
            .max_number_of_messages(MESSAGES_MAX)
            .wait_time_seconds(seconds(POLL))
            .visibility_timeout(seconds(self.config.visibility))
            .send()
            .await;
        Ok(answer.map_err(|e| SourceError(failure(&e).note))?.messages.unwrap_or_default())
    }

    /// Hides messages anew for as long as it is asked; never ends by itself.
    async fn keep_hidden(&self, client: &Client, messages: &[Message]) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(self.config.visibility / 2).await;
            let entry = |(n, message): (usize, &Message)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(n.to_string())
                    .receipt_handle(message.receipt_handle().unwrap_or_default())
                    .visibility_timeout(seconds(self.config.visibility))
                    .build()
                    .ok()
            };
            let entries = messages.iter().enumerate().filter_map(entry).collect();
            let call = client.change_message_visibility_batch().queue_url(&self.config.queue_url);
            if let Err(error) = call.set_entries(Some(entries)).send().await {
                let Failure { note, .. } = failure(&error);
                tracing::warn!(code = %codes::NOT_HIDDEN, source_name = %self.config.name, why = %note, "messages that wait for the bus could not be hidden for longer; they may come a second time, as duplicates");
            }
        }
    }

    /// Deletes what nobody needs there any more. What is not deleted comes again, and is a duplicate.
    async fn delete(&self, client: &Client, messages: &[Message], fates: &[Fate]) {
        let entry = |(n, (message, _)): (usize, (&Message, &Fate))| {
            let handle = message.receipt_handle().unwrap_or_default();
            DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(handle).build().ok()
        };
        let done = messages.iter().zip(fates).filter(|(_, fate)| fate.is_done());
        let entries: Vec<_> = done.enumerate().filter_map(entry).collect();
        for (message, fate) in messages.iter().zip(fates) {
            if let Fate::Rejected(why) = fate {
                let id = message.message_id().unwrap_or_default();
                tracing::warn!(code = %codes::REJECTED, source_name = %self.config.name, message_id = id, %why, "a message is no event, and is left in its queue");
            }
        }
        if entries.is_empty() {
            return;
        }
        let call = client.delete_message_batch().queue_url(&self.config.queue_url).set_entries(Some(entries));
        let why = match call.send().await {
            Ok(answer) => match answer.failed() {
                [] => return,
                [first, ..] => format!("{} of them, the first: {}", answer.failed().len(), first.code()),
            },
            Err(error) => failure(&error).note.into(),
        };
        tracing::warn!(code = %codes::NOT_DELETED, source_name = %self.config.name, %why, "messages whose events are durable could not be deleted; they come again, as duplicates");
    }
}

/// When a stop has waited for long enough.
async fn long_after(ending: &CancellationToken) {
    ending.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn pulled(messages: &[Message]) -> Vec<Pulled> {
    let one = |message: &Message| {
        let id = message.message_id().unwrap_or_default();
        let body = Bytes::copy_from_slice(message.body().unwrap_or_default().as_bytes());
        Pulled { raw: envelope::read(body, id), origin: id.into() }
    };
    messages.iter().map(one).collect()
}

#[async_trait]
impl Source for EventBridgeSource {
    fn name(&self) -> &SourceName {
        &self.pulled.config.name
    }

    async fn check(&self) -> Result<(), Reason> {
        let rights = "sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility";
        self.pulled.queue.check(rights).await
    }

    async fn run(self: Arc<Self>, inlet: Arc<dyn Inlet>, stop: CancellationToken) -> Result<(), SourceError> {
        let client = self.pulled.queue.client().await.map_err(SourceError)?;
        let ending = stop.child_token();
        let mut receivers = JoinSet::new();
        for _ in 0..self.pulled.config.receivers {
            receivers.spawn(self.pulled.clone().receive(client.clone(), inlet.clone(), ending.clone()));
        }
        let mut first = Ok(());
        while let Some(ended) = receivers.join_next().await {
            let ended = ended.unwrap_or_else(|e| Err(SourceError(format!("a receiver failed: {e}").into())));
            // The others submit and delete what they have.
            ending.cancel();
            first = first.and(ended);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> EventBridgeSourceConfig {
        EventBridgeSourceConfig::new(SourceName::new("s").unwrap(), url)
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let good = "https://sqs.us-east-1.amazonaws.com/1/q";
        let cases = [
            (config("coffee"), "queue_url"),
            (config("https://sqs.us-east-1.amazonaws.com/"), "queue_url"),
            (EventBridgeSourceConfig { receivers: 0, ..config(good) }, "receivers"),
            (EventBridgeSourceConfig { receivers: 65, ..config(good) }, "receivers"),
            (EventBridgeSourceConfig { visibility: Duration::from_secs(9), ..config(good) }, "visibility"),
            (EventBridgeSourceConfig { visibility: Duration::from_millis(10_500), ..config(good) }, "visibility"),
        ];
        for (config, key) in cases {
            let refused = EventBridgeSource::new(config, &Accounts::default()).err().unwrap();
            assert_eq!(refused.keys.last(), Some(&key), "{refused}");
        }
    }
}
