//! A topic of Pub/Sub: several events in one request, each with an outcome of its own.
//!
//! Each call has a publisher of its own over the one connection that is shared. The crate's publisher keeps a task for
//! each ordering key that it has ever seen, puts messages of different calls into one request, and holds a key back
//! after a failure until it is told to go on; one that lives as long as a call does none of that, so that memory does
//! not grow with the keys, a call's messages stand and fall by themselves, and a key recovers at its next attempt.
//! Requests are not hedged: that publishes duplicates by design.
//!
//! A request is taken whole or not at all, so that one message that Pub/Sub refuses would cost the others of its
//! request. What is refused is therefore halved here, until the guilty message stands alone.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use google_cloud_gax::{
    error::{Error, rpc::Code},
    retry_policy::{NeverRetry, RetryPolicyExt},
};
use google_cloud_pubsub::{
    client::{BasePublisher, SchemaService, TopicAdmin},
    model,
};
use router_core::{
    id::TargetName,
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Rate, Reason, Target},
};
use router_http::target::{Verdict, trace};
use schemas::Code as Word;
use tokio::{sync::OnceCell, time::Instant};

use super::{DEADLINE_MARGIN, Failure, IN_FLIGHT_MAX, TIMEOUT, note, verdict::context};
use crate::{
    auth::{Account, Accounts, ConfigError, Settings},
    codes,
    wire::{self, BYTES_MAX, COUNT_MAX, Message, Mode, ORDERING_KEY_BYTES_MAX},
};

/// What deliveries need.
const PUBLISH: &str = "pubsub.topics.publish";
/// How long the crate waits for more messages before it sends a request that is not full: it is told when there are
/// no more.
const NO_MORE_AFTER: Duration = Duration::from_millis(50);

/// How many events go in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Messages.
    pub count_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more: not at all.
    pub delay_max: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { count_max: COUNT_MAX, bytes_max: 1 << 20, delay_max: Duration::ZERO }
    }
}

/// A topic as it is configured.
#[derive(Clone, Debug)]
pub struct PubSubConfig {
    /// The operator's name for it.
    pub name: TargetName,
    /// `projects/PROJECT/topics/TOPIC`.
    pub topic: String,
    /// Who the router is to Google, and where.
    pub settings: Settings,
    /// How events are written.
    pub mode: Mode,
    /// Whether an event's `partitionkey` is its message's ordering key.
    pub ordering: bool,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many events go in one request.
    pub batch: Batch,
    /// Calls at a time.
    pub in_flight_max: usize,
    /// How fast.
    pub rate: Option<Rate>,
}

impl PubSubConfig {
    /// With everything as it is unless it is said otherwise.
    pub fn new(name: TargetName, topic: impl Into<String>) -> Self {
        PubSubConfig {
            name,
            topic: topic.into(),
            settings: Settings::default(),
            mode: Mode::default(),
            ordering: true,
            timeout: TIMEOUT,
            batch: Batch::default(),
            in_flight_max: IN_FLIGHT_MAX,
            rate: None,
        }
    }
}

/// A topic of Pub/Sub.
pub struct PubSub {
    config: PubSubConfig,
    account: Arc<Account>,
    base: OnceCell<BasePublisher>,
}

/// Messages of one call: whose, by their places in the batch.
type Call = Vec<(usize, model::Message)>;

impl PubSub {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: PubSubConfig, accounts: &Accounts) -> Result<Self, ConfigError> {
        check(&config)?;
        let account = accounts.get(&config.settings);
        Ok(PubSub { config, account, base: OnceCell::new() })
    }

    /// The connection that all calls share.
    async fn base(&self) -> Result<&BasePublisher, Box<str>> {
        let make = || async {
            // A request ends with the attempt that made it, also where nobody waits for it any more.
            let once = NeverRetry.with_time_limit(self.config.timeout);
            let builder = BasePublisher::builder().with_credentials(self.account.credentials().await?);
            let mut builder = builder.with_retry_policy(once);
            if let Some(endpoint) = self.account.endpoint() {
                builder = builder.with_endpoint(endpoint);
            }
            builder.build().await.map_err(|e| Box::from(context(&e)))
        };
        self.base.get_or_try_init(make).await
    }

    /// What of these deliveries can be sent; what cannot has its outcome then.
    fn write(&self, batch: &[Delivery], places: &[usize], outcomes: &mut [Option<Outcome>]) -> Call {
        let mut call = Vec::with_capacity(places.len());
        for at in places {
            let (Some(delivery), Some(outcome)) = (batch.get(*at), outcomes.get_mut(*at)) else { continue };
            match message(delivery, self.config.mode, self.config.ordering) {
                Ok(message) => call.push((*at, message)),
                Err((code, why)) => {
                    let facts = Facts { note: Some(note(&why)), ..Facts::default() };
                    *outcome = Some(Outcome::Refused { facts, code });
                }
            }
        }
        call
    }

    /// Publishes one call; the id that each message got, or what became of it.
    async fn publish(&self, base: &BasePublisher, call: Call, until: Instant) -> Vec<(usize, Result<String, Failure>)> {
        // The path has made the batch as large as it may be: it is one request, unless Pub/Sub does not take so much.
        let publisher = base
            .publisher(self.config.topic.as_str())
            .set_message_count_threshold(u32::try_from(COUNT_MAX).unwrap_or(u32::MAX))
            .set_byte_threshold(u32::try_from(BYTES_MAX).unwrap_or(u32::MAX))
            .set_delay_threshold(NO_MORE_AFTER)
            .build();
        let published: Vec<_> = call.into_iter().map(|(at, message)| (at, publisher.publish(message))).collect();
        // What is not full is sent now.
        drop(publisher);
        let mut results = Vec::with_capacity(published.len());
        for (at, one) in published {
            let result = match tokio::time::timeout_at(until, one).await {
                Ok(result) => result.map_err(|e| Failure::from(&e)),
                Err(_) => Err(Failure::of_event("no answer in time")),
            };
            results.push((at, result));
        }
        results
    }
}

/// A delivery as the message that is sent, with what a function is told of it over HTTP, too.
fn message(delivery: &Delivery, mode: Mode, ordering: bool) -> Result<model::Message, (Word, String)> {
    let mut message = wire::encode(&delivery.event, mode);
    if !ordering {
        message.ordering_key.clear();
    }
    let attributes = &mut message.attributes;
    attributes.insert("idempotency-key".into(), delivery.id.to_string());
    attributes.insert("traceparent".into(), trace::traceparent(delivery));
    if let Some(state) = trace::tracestate(delivery).filter(|state| state.len() <= wire::VALUE_BYTES_MAX) {
        attributes.insert("tracestate".into(), state);
    }
    let key = message.ordering_key.len();
    if key > ORDERING_KEY_BYTES_MAX {
        let why = format!(
            "the `partitionkey` has {key} bytes, and Pub/Sub takes {ORDERING_KEY_BYTES_MAX} as an ordering key; write `ordering: false`, or give the event a shorter one, e.g. by a `transform` of the route"
        );
        return Err((codes::ORDERING_KEY, why));
    }
    let bytes = message.bytes();
    if bytes > BYTES_MAX {
        let why = format!(
            "the message has {bytes} bytes, and Pub/Sub takes {BYTES_MAX}; put the data elsewhere and send a `dataref`"
        );
        return Err((codes::MESSAGE_TOO_LARGE, why));
    }
    let Message { data, attributes, ordering_key } = message;
    Ok(model::Message::new().set_data(data).set_attributes(attributes).set_ordering_key(ordering_key))
}

fn check(config: &PubSubConfig) -> Result<(), ConfigError> {
    topic_of(&config.topic).ok_or_else(|| {
        let message =
            format!("`{}` is no topic; write it whole, e.g. `projects/go-coffee/topics/coffee`", config.topic);
        ConfigError::new(&["topic"], message)
    })?;
    let Batch { count_max, bytes_max, .. } = config.batch;
    if !(1..=COUNT_MAX).contains(&count_max) {
        let message = format!("a request takes 1 to {COUNT_MAX} messages, not {count_max}");
        return Err(ConfigError::new(&["batch", "count_max"], message));
    }
    if !(1..=BYTES_MAX).contains(&bytes_max) {
        let message = format!("a request takes 1 to {BYTES_MAX} bytes, not {bytes_max}");
        return Err(ConfigError::new(&["batch", "bytes_max"], message));
    }
    if config.in_flight_max == 0 {
        return Err(ConfigError::new(&["in_flight_max"], "without a call nothing is delivered; write 1 or more"));
    }
    config.settings.check()
}

/// The project and the topic of a topic's name.
pub(crate) fn topic_of(name: &str) -> Option<(&str, &str)> {
    let (project, topic) = name.strip_prefix("projects/")?.split_once("/topics/")?;
    let word =
        |text: &str| !text.is_empty() && text.len() <= 255 && !text.contains(|c: char| c == '/' || c.is_whitespace());
    (word(project) && word(topic)).then_some((project, topic))
}

#[async_trait]
impl Target for PubSub {
    fn name(&self) -> &TargetName {
        &self.config.name
    }

    fn limits(&self) -> BatchLimits {
        let PubSubConfig { batch, in_flight_max, timeout, rate, .. } = &self.config;
        BatchLimits {
            count_max: batch.count_max,
            // Bodies are about what messages are.
            bytes_max: batch.bytes_max,
            delay_max: batch.delay_max,
            in_flight_max: *in_flight_max,
            partial: Partial::PerEvent,
            deadline: timeout.saturating_add(DEADLINE_MARGIN),
            rate: *rate,
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        match tokio::time::timeout(self.config.timeout, self.may_publish()).await {
            Ok(may) => may.map_err(Reason),
            Err(_) => Err(Reason("no answer in time".into())),
        }
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let start = Instant::now();
        let until = start + self.config.timeout;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        // Written anew where a request is halved: a copy of each message would cost more than the few that are refused.
        let mut calls = VecDeque::from([(0..batch.len()).collect::<Vec<usize>>()]);
        let base = match tokio::time::timeout_at(until, self.base()).await {
            Ok(base) => base.map_err(|why| Failure::of_target(&why)),
            Err(_) => Err(Failure::of_target("no credentials could be had in time")),
        };
        while let Some(places) = calls.pop_front() {
            let call = self.write(batch, &places, &mut outcomes);
            let alone = call.len() == 1;
            let results = match &base {
                Ok(base) => self.publish(base, call, until).await,
                Err(none) => call.into_iter().map(|(at, _)| (at, Err(none.clone()))).collect(),
            };
            let took = start.elapsed();
            let mut refused = Vec::new();
            for (at, result) in results {
                let facts = Facts { took, ..Facts::default() };
                let outcome = match result {
                    Ok(id) => {
                        let facts = Facts { reference: Some(id.into()), ..facts };
                        Outcome::Delivered { facts, replies: Vec::new() }
                    }
                    Err(failed) if failed.verdict == Verdict::Refused && !alone => {
                        refused.push(at);
                        continue;
                    }
                    Err(failed) => failed.outcome(facts),
                };
                if let Some(slot) = outcomes.get_mut(at) {
                    *slot = Some(outcome);
                }
            }
            let newer = refused.split_off(refused.len().div_ceil(2));
            for half in [newer, refused].into_iter().filter(|half| !half.is_empty()) {
                calls.push_front(half);
            }
        }
        let unanswered = || Failure::of_event("the delivery was not sent").outcome(Facts::default());
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unanswered)).collect()
    }
}

impl PubSub {
    /// Asks Google which rights there are: that needs none itself.
    async fn may_publish(&self) -> Result<(), Box<str>> {
        let credentials = self.account.credentials().await?;
        let builder = SchemaService::builder().with_credentials(credentials).with_retry_policy(NeverRetry);
        let builder = match self.account.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let client = builder.build().await.map_err(|e| context(&e))?;
        let topic = self.config.topic.as_str();
        let asked = client.test_iam_permissions().set_resource(topic).set_permissions([PUBLISH]).send().await;
        match asked {
            Ok(answer) if answer.permissions.iter().any(|right| right == PUBLISH) => Ok(()),
            Ok(_) => Err(format!(
                "the router may not publish to {topic}, or it is not there; give its account `roles/pubsub.publisher` on the topic"
            )
            .into()),
            // Emulators know no rights, but topics.
            Err(e) if e.status().is_some_and(|status| status.code == Code::Unimplemented) => self.topic_is_there().await,
            Err(e) => Err(Failure::from(&e).note),
        }
    }

    async fn topic_is_there(&self) -> Result<(), Box<str>> {
        let told = |e: Error| Failure::from(&e).note;
        let builder = TopicAdmin::builder().with_credentials(self.account.credentials().await?);
        let builder = builder.with_retry_policy(NeverRetry);
        let builder = match self.account.endpoint() {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let client = builder.build().await.map_err(|e| context(&e))?;
        client.get_topic().set_topic(self.config.topic.as_str()).send().await.map(drop).map_err(told)
    }
}

#[cfg(test)]
mod tests;
