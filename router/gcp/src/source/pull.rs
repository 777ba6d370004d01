//! What a subscription of Pub/Sub holds, taken by streaming pull: Google's own client keeps the stream, holds the leases
//! of what is under way, and sends acknowledgements.
//!
//! One batch is under way at a time, in the order in which it came, so that a subscription that keeps an order keeps it
//! here; while it is submitted nothing is read, and Pub/Sub stops at `messages_max` and `bytes_max`.
//!
//! | what came of a message | what Pub/Sub is told |
//! |---|---|
//! | durable, there before, went through here before, or quarantined | acknowledge; with exactly-once delivery the acknowledgement is confirmed |
//! | the intake is full | nothing: it is offered again, and its lease is extended meanwhile |
//! | it is no event, and `on_invalid` is `reject` | after a while, that it was not taken: it comes again, or goes to the subscription's dead-letter topic |
//! | the intake is closed, the process is killed | nothing: it comes again when its lease ends, and is a duplicate |

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use google_cloud_gax::{error::rpc::Code, retry_policy::NeverRetry};
use google_cloud_pubsub::{
    client::{SchemaService, Subscriber, SubscriptionAdmin},
    model,
    subscriber::{MessageStream, handler::Handler},
};
use router_core::{
    id::SourceName,
    source::{Fate, Inlet, IntakeClosed, OnInvalid, Pulled, RawEvent, Source, SourceError, take},
    target::Reason,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Account, Accounts, ConfigError, Settings},
    codes,
    target::{Failure, context},
    wire::{self, Came, Message},
};

/// Messages that are under way, when nothing else is configured.
pub const MESSAGES_MAX: u32 = 1000;
/// Their bytes, when nothing else is configured.
pub const BYTES_MAX: usize = 100 << 20;
/// How long a message is held at a time, when nothing else is configured.
pub const LEASE: Duration = Duration::from_secs(60);
/// The shortest and the longest that Pub/Sub lets a message be held at a time.
pub const LEASE_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// Messages of one batch, and their bytes.
const BATCH_COUNT_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long leases are extended at most while the bus takes nothing in.
const HELD_MAX: Duration = Duration::from_secs(43_200);
/// How long a message that is rejected is kept from coming again: without it Pub/Sub would send it again at once.
const REJECTED_WAIT: Duration = Duration::from_secs(10);
/// How long nothing may come before the subscription is asked for: Google's client opens a broken stream again and
/// again, and says nothing of it.
pub const QUIET: Duration = Duration::from_secs(60);
/// How long a stop waits for what is being submitted, and for acknowledgements to be sent.
const GRACE: Duration = Duration::from_secs(5);
/// What a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// What receiving needs.
const CONSUME: &str = "pubsub.subscriptions.consume";

/// A subscription as it is configured.
#[derive(Clone, Debug)]
pub struct PullConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// `projects/PROJECT/subscriptions/SUBSCRIPTION`.
    pub subscription: String,
    /// Who the router is to Google, and where.
    pub settings: Settings,
    /// The topic, which is the source of plain messages; `None`: the subscription is.
    pub topic: Option<String>,
    /// The attribute that holds the type of plain messages.
    pub type_attribute: Option<String>,
    /// What becomes of messages that are no event.
    pub on_invalid: OnInvalid,
    /// Messages that are under way at most.
    pub messages_max: u32,
    /// Their bytes.
    pub bytes_max: usize,
    /// How long a message is held at a time; extended while it is under way.
    pub lease: Duration,
    /// How long nothing may come before the subscription is asked for: [`QUIET`].
    pub quiet: Duration,
}

impl PullConfig {
    /// With everything as it is unless it is said otherwise.
    pub fn new(name: SourceName, subscription: impl Into<String>) -> Self {
        PullConfig {
            name,
            subscription: subscription.into(),
            settings: Settings::default(),
            topic: None,
            type_attribute: None,
            on_invalid: OnInvalid::Quarantine,
            messages_max: MESSAGES_MAX,
            bytes_max: BYTES_MAX,
            lease: LEASE,
            quiet: QUIET,
        }
    }
}

/// A subscription of Pub/Sub.
pub struct Pull {
    config: PullConfig,
    account: Arc<Account>,
    plain_source: String,
}

/// What Pub/Sub is still to be told, or to confirm.
#[derive(Default)]
struct Untold {
    /// Acknowledgements that are not confirmed yet.
    confirming: JoinSet<Result<(), String>>,
    /// What was rejected, and when Pub/Sub is told.
    rejected: VecDeque<(Instant, Handler)>,
}

impl Untold {
    /// Waits until the oldest rejected message has waited for long enough, and gives it back.
    async fn give_back(&mut self) {
        match self.rejected.front() {
            Some((due, _)) => tokio::time::sleep_until(*due).await,
            None => std::future::pending().await,
        }
        // A handler that is dropped says that its message was not taken.
        self.rejected.pop_front();
    }
}

/// What is under way: messages as the inlet takes them, and who tells Pub/Sub of each.
#[derive(Default)]
struct Batch {
    pulled: Vec<Pulled>,
    handlers: Vec<Handler>,
    bytes: usize,
    /// What ended the stream behind them.
    failed: Option<SourceError>,
}

impl Pull {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: PullConfig, accounts: &Accounts) -> Result<Self, ConfigError> {
        let subscription = &config.subscription;
        if !is_subscription(subscription) {
            let message = format!(
                "`{subscription}` is no subscription; write it whole, e.g. `projects/go-coffee/subscriptions/router`"
            );
            return Err(ConfigError::new(&["subscription"], message));
        }
        if config.messages_max == 0 || config.bytes_max == 0 {
            let key: &'static [&'static str] =
                if config.messages_max == 0 { &["messages_max"] } else { &["bytes_max"] };
            return Err(ConfigError::new(key, "with 0 nothing is ever received; write more, or leave it out"));
        }
        if !(LEASE_RANGE.0..=LEASE_RANGE.1).contains(&config.lease) || config.lease.subsec_nanos() > 0 {
            let message = "messages are held for whole seconds, from `10s` to `10m`";
            return Err(ConfigError::new(&["lease"], message));
        }
        config.settings.check()?;
        let account = accounts.get(&config.settings);
        let from = config.topic.as_deref().unwrap_or(subscription);
        let plain_source = format!("//pubsub.googleapis.com/{from}");
        Ok(Pull { config, account, plain_source })
    }

    async fn stream(&self) -> Result<MessageStream, Box<str>> {
        let builder = Subscriber::builder().with_credentials(self.account.credentials().await?);
        let builder = match self.account.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let client = builder.build().await.map_err(|e| context(&e))?;
        let PullConfig { subscription, messages_max, bytes_max, lease, .. } = &self.config;
        let stream = client
            .subscribe(subscription.as_str())
            .set_max_outstanding_messages(i64::from(*messages_max))
            .set_max_outstanding_bytes(i64::try_from(*bytes_max).unwrap_or(i64::MAX))
            .set_max_lease_extension(*lease)
            .set_max_lease(HELD_MAX);
        Ok(stream.build())
    }

    /// The next messages: waits for the first, and takes what is there with it.
    async fn next(&self, stream: &mut MessageStream) -> Result<Batch, SourceError> {
        let ended = || SourceError("the stream ended by itself".into());
        let failed = |e: google_cloud_pubsub::Error| SourceError(Failure::from(&e).note);
        let mut batch = Batch::default();
        let (message, handler) = stream.next().await.ok_or_else(ended)?.map_err(failed)?;
        self.add(&mut batch, message, handler);
        while batch.handlers.len() < BATCH_COUNT_MAX && batch.bytes < BATCH_BYTES_MAX {
            // Only what is there: a batch that has begun never waits, so that whoever drops this future drops none.
            let more = tokio::select! {
                biased;
                more = stream.next() => more,
                () = std::future::ready(()) => break,
            };
            match more {
                Some(Ok((message, handler))) => self.add(&mut batch, message, handler),
                // What is here goes first.
                Some(Err(e)) => {
                    batch.failed = Some(failed(e));
                    break;
                }
                None => break,
            }
        }
        Ok(batch)
    }

    /// Why nothing comes; never, where the subscription is there and may be received from.
    async fn doubt(&self) -> SourceError {
        loop {
            tokio::time::sleep(self.config.quiet).await;
            if let Err(Reason(why)) = self.check().await {
                return SourceError(why);
            }
        }
    }

    fn add(&self, batch: &mut Batch, message: model::Message, handler: Handler) {
        batch.bytes += message.data.len();
        let id = message.message_id.clone();
        let publish_time = message.publish_time.map(String::from).unwrap_or_default();
        let attributes: BTreeMap<String, String> = message.attributes.into_iter().collect();
        let message = Message { data: message.data, attributes, ordering_key: message.ordering_key };
        let came = Came {
            message_id: &id,
            publish_time: &publish_time,
            subscription: &self.config.subscription,
            delivery_attempt: handler.delivery_attempt().map(i64::from),
            plain_source: &self.plain_source,
            type_attribute: self.config.type_attribute.as_deref(),
        };
        let event = wire::decode(&message, &came);
        // What is no event is kept as Pub/Sub would push it: with its attributes.
        let raw: Option<Bytes> = event.is_err().then(|| wrapped(&message, &came).into());
        let content_type = raw.is_some().then(|| "application/json".into());
        batch.pulled.push(Pulled { raw: RawEvent { event, raw, content_type }, origin: id.into() });
        batch.handlers.push(handler);
    }

    /// Tells Pub/Sub what came of messages. What it is not told comes again, and is a duplicate.
    fn tell(&self, batch: Batch, fates: &[Fate], untold: &mut Untold) {
        for ((handler, fate), pulled) in batch.handlers.into_iter().zip(fates).zip(&batch.pulled) {
            match fate {
                fate if fate.is_done() => match handler {
                    Handler::ExactlyOnce(handler) => {
                        untold.confirming.spawn(async move { handler.confirmed_ack().await.map_err(|e| context(&e)) });
                    }
                    handler => handler.ack(),
                },
                Fate::Rejected(why) => {
                    tracing::warn!(code = %codes::PULL_REJECTED, source_name = %self.config.name, message_id = &*pulled.origin, %why, "a message is no event that is ever taken in; it comes again, or goes to the subscription's dead-letter topic");
                    untold.rejected.push_back((Instant::now() + REJECTED_WAIT, handler));
                }
                _ => handler.nack(),
            }
        }
        // They count as under way: half of that is left to what is taken.
        let rejected_max = usize::try_from(self.config.messages_max / 2).unwrap_or(usize::MAX);
        while untold.rejected.len() > rejected_max {
            untold.rejected.pop_front();
        }
        while let Some(confirmed) = untold.confirming.try_join_next() {
            self.confirmed(confirmed);
        }
    }

    fn confirmed(&self, confirmed: Result<Result<(), String>, tokio::task::JoinError>) {
        if let Some(why) = confirmed.map_err(|e| e.to_string()).and_then(|confirmed| confirmed).err() {
            tracing::warn!(code = %codes::ACK_LOST, source_name = %self.config.name, why, "an acknowledgement was not confirmed; the message comes again, as a duplicate");
        }
    }

    /// Takes batch after batch, until it is told to end.
    async fn pull(
        &self,
        stream: &mut MessageStream,
        inlet: &dyn Inlet,
        stop: &CancellationToken,
        untold: &mut Untold,
    ) -> Result<(), SourceError> {
        loop {
            let mut batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                batch = self.next(stream) => batch?,
                () = untold.give_back() => continue,
                why = self.doubt() => return Err(why),
            };
            let fates = tokio::select! {
                fates = take(inlet, &self.config.name, self.config.on_invalid, &batch.pulled) => fates,
                // The bus takes nothing in: they stay where they are, and come again.
                () = long_after(stop) => return Ok(()),
            };
            let failed = batch.failed.take();
            match fates {
                Ok(fates) => self.tell(batch, &fates, untold),
                Err(IntakeClosed) => return Ok(()),
            }
            if let Some(failed) = failed {
                return Err(failed);
            }
        }
    }

    async fn may_receive(&self) -> Result<(), Box<str>> {
        let builder = SchemaService::builder().with_credentials(self.account.credentials().await?);
        let builder = builder.with_retry_policy(NeverRetry);
        let builder = match self.account.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let client = builder.build().await.map_err(|e| context(&e))?;
        let name = self.config.subscription.as_str();
        match client.test_iam_permissions().set_resource(name).set_permissions([CONSUME]).send().await {
            Ok(answer) if answer.permissions.iter().any(|right| right == CONSUME) => Ok(()),
            Ok(_) => Err(format!(
                "the router may not receive from {name}, or it is not there; give its account `roles/pubsub.subscriber` on the subscription"
            )
            .into()),
            // Emulators know no rights, but subscriptions.
            Err(e) if e.status().is_some_and(|status| status.code == Code::Unimplemented) => self.is_there().await,
            Err(e) => Err(Failure::from(&e).note),
        }
    }

    async fn is_there(&self) -> Result<(), Box<str>> {
        let builder = SubscriptionAdmin::builder().with_credentials(self.account.credentials().await?);
        let builder = builder.with_retry_policy(NeverRetry);
        let builder = match self.account.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let client = builder.build().await.map_err(|e| context(&e))?;
        let asked = client.get_subscription().set_subscription(self.config.subscription.as_str()).send().await;
        asked.map(drop).map_err(|e| Failure::from(&e).note)
    }
}

/// A message as a push would wrap it.
fn wrapped(message: &Message, came: &Came<'_>) -> String {
    serde_json::json!({
        "message": {
            "data": STANDARD.encode(&message.data),
            "attributes": message.attributes,
            "messageId": came.message_id,
            "publishTime": came.publish_time,
            "orderingKey": message.ordering_key,
        },
        "subscription": came.subscription,
    })
    .to_string()
}

/// When a stop has waited for long enough.
async fn long_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Whether a text is a subscription's whole name.
fn is_subscription(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let word = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    matches!(parts[..], ["projects", project, "subscriptions", name] if word(project) && word(name))
}

#[async_trait]
impl Source for Pull {
    fn name(&self) -> &SourceName {
        &self.config.name
    }

    async fn check(&self) -> Result<(), Reason> {
        match timeout(CHECK_TIMEOUT, self.may_receive()).await {
            Ok(may) => may.map_err(Reason),
            Err(_) => Err(Reason("no answer in time".into())),
        }
    }

    async fn run(self: Arc<Self>, inlet: Arc<dyn Inlet>, stop: CancellationToken) -> Result<(), SourceError> {
        let mut stream = self.stream().await.map_err(SourceError)?;
        let mut untold = Untold::default();
        let ended = self.pull(&mut stream, &*inlet, &stop, &mut untold).await;
        let Untold { mut confirming, rejected } = untold;
        drop(rejected);
        // What was acknowledged is sent; what is held and was not comes again. Confirmations come first: a stream that
        // shuts down gives up those that it has not sent.
        let sent = timeout(GRACE, async {
            while let Some(confirmed) = confirming.join_next().await {
                self.confirmed(confirmed);
            }
            stream.shutdown_token().shutdown().await;
        });
        if sent.await.is_err() {
            tracing::warn!(code = %codes::ACK_LOST, source_name = %self.config.name, why = "no answer in time", "acknowledgements were not sent; their messages come again, as duplicates");
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let config = |name: &str| PullConfig::new(SourceName::new("s").unwrap(), name);
        let good = "projects/go-coffee/subscriptions/router";
        for (config, key) in [
            (config("router"), "subscription"),
            (config("projects/p/topics/t"), "subscription"),
            (PullConfig { messages_max: 0, ..config(good) }, "messages_max"),
            (PullConfig { bytes_max: 0, ..config(good) }, "bytes_max"),
            (PullConfig { lease: Duration::from_secs(9), ..config(good) }, "lease"),
            (PullConfig { lease: Duration::from_millis(10_500), ..config(good) }, "lease"),
        ] {
            let refused = Pull::new(config, &Accounts::default()).err().unwrap();
            assert_eq!(refused.keys.last(), Some(&key), "{refused}");
        }
        assert!(Pull::new(config(good), &Accounts::default()).is_ok());
    }
}
