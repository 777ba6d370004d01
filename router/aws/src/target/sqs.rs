//! A queue of SQS: several events in one call of `SendMessageBatch`, each with an outcome of its own.
//!
//! The body of a message is the CloudEvent as JSON, which SQS passes on byte for byte; beside it stand
//! `content-type` and `idempotency-key`, as a request over HTTP has them. In a queue in order (its name ends in `.fifo`)
//! events of one `partitionkey` are one group, an event without one is a group of its own, and the key of the delivery
//! is the deduplication id: a delivery that is tried again within five minutes is one message.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry,
};
use router_core::{
    id::TargetName,
    target::{BatchLimits, Delivery, Facts, Outcome, Rate, Reason, Target},
};
use router_http::target::{Verdict, trace};

use super::{
    Batch, Failure, IN_FLIGHT_MAX, TIMEOUT,
    calls::{self, Call, Service},
    failure,
    verdict::{self, AGAIN},
};
use crate::{
    auth::{Accounts, ConfigError, Settings},
    codes,
    queue::Queue,
    wire::{self, COUNT_MAX, Misfit, Weighed, keys},
};

/// A queue as it is configured.
#[derive(Clone, Debug)]
pub struct SqsConfig {
    /// The operator's name for it.
    pub name: TargetName,
    /// Its URL.
    pub queue_url: String,
    /// Who the router is to AWS, and where; without a region or an endpoint, those of the URL.
    pub settings: Settings,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many events go in one call.
    pub batch: Batch,
    /// Calls at a time.
    pub in_flight_max: usize,
    /// How fast.
    pub rate: Option<Rate>,
}

impl SqsConfig {
    /// With everything as it is unless it is said otherwise.
    pub fn new(name: TargetName, queue_url: impl Into<String>) -> Self {
        SqsConfig {
            name,
            queue_url: queue_url.into(),
            settings: Settings::default(),
            timeout: TIMEOUT,
            batch: Batch::default(),
            in_flight_max: IN_FLIGHT_MAX,
            rate: None,
        }
    }
}

/// A queue of SQS.
pub struct Sqs {
    config: SqsConfig,
    queue: Queue,
}

impl Sqs {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: SqsConfig, accounts: &Accounts) -> Result<Self, ConfigError> {
        config.batch.check(COUNT_MAX, config.in_flight_max)?;
        let queue = Queue::new(&config.queue_url, config.settings.clone(), config.timeout, accounts)?;
        Ok(Sqs { config, queue })
    }

    fn is_fifo(&self) -> bool {
        self.config.queue_url.ends_with(".fifo")
    }
}

fn text(value: impl Into<String>) -> Option<MessageAttributeValue> {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().ok()
}

/// What SQS says of an entry that it did not take.
fn outcome_of(failed: &BatchResultErrorEntry) -> Outcome {
    let unknown = if failed.sender_fault() { Verdict::Refused } else { AGAIN };
    verdict::not_taken(failed.code(), failed.message(), unknown)
}

#[async_trait]
impl Service for Sqs {
    type Entry = SendMessageBatchRequestEntry;

    fn write(&self, delivery: &Delivery) -> Result<Weighed<Self::Entry>, Misfit> {
        let misfit = |why: String| Misfit { code: codes::MESSAGE, note: why };
        let body = String::from_utf8(schemas::json::encode(&delivery.event)).map_err(|e| misfit(e.to_string()))?;
        let id = delivery.id.to_string();
        let attributes = [("content-type", schemas::json::MEDIA_TYPE), ("idempotency-key", id.as_str())];
        // Name, type and value count.
        let bytes = attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum::<usize>()
            + body.len();
        let mut entry = SendMessageBatchRequestEntry::builder().id("0").message_body(body);
        for (name, value) in attributes {
            let value = text(value).ok_or_else(|| misfit("an attribute of the message cannot be written".into()))?;
            entry = entry.message_attributes(name, value);
        }
        let header = wire::trace_header(&trace::traceparent(delivery));
        let header = header.map(|h| MessageSystemAttributeValue::builder().data_type("String").string_value(h).build());
        if let Some(Ok(header)) = header {
            entry = entry.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, header);
        }
        if self.is_fifo() {
            let group = keys::group(&delivery.event).unwrap_or_else(|| id.clone());
            entry = entry.message_group_id(group).message_deduplication_id(id);
        }
        let entry = entry.build().map_err(|e| misfit(e.to_string()))?;
        Ok(Weighed { entry, bytes })
    }

    async fn reach(&self) -> Result<(), Box<str>> {
        self.queue.client().await.map(drop)
    }

    async fn put(&self, call: &Call<Self::Entry>) -> Result<Vec<Outcome>, Failure> {
        let client = self.queue.client().await.map_err(|why| Failure::of_target(&why))?;
        let numbered = call.iter().enumerate().map(|(n, (_, sized))| {
            let mut entry = sized.entry.clone();
            entry.id = n.to_string();
            entry
        });
        let sent = client.send_message_batch().queue_url(&self.config.queue_url).set_entries(Some(numbered.collect()));
        let answer = sent.send().await.map_err(|e| failure(&e))?;
        let place = |id: &str| id.parse::<usize>().ok();
        let mut said: BTreeMap<usize, Outcome> = BTreeMap::new();
        for entry in answer.successful() {
            said.extend(place(entry.id()).map(|n| (n, verdict::taken(Some(entry.message_id())))));
        }
        for entry in answer.failed() {
            said.extend(place(entry.id()).map(|n| (n, outcome_of(entry))));
        }
        let unanswered = || Failure::of_event("SQS said nothing of this message").outcome(Facts::default());
        Ok((0..call.len()).map(|n| said.remove(&n).unwrap_or_else(unanswered)).collect())
    }
}

#[async_trait]
impl Target for Sqs {
    fn name(&self) -> &TargetName {
        &self.config.name
    }

    fn limits(&self) -> BatchLimits {
        let SqsConfig { batch, in_flight_max, timeout, rate, .. } = &self.config;
        batch.limits(*in_flight_max, *timeout, *rate)
    }

    async fn check(&self) -> Result<(), Reason> {
        self.queue.check("sqs:SendMessage").await
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let Batch { count_max, bytes_max, .. } = self.config.batch;
        calls::deliver(self, batch, (count_max, bytes_max), self.config.timeout).await
    }
}

#[cfg(test)]
mod tests {
    use schemas::Event;

    use super::*;
    use crate::wire::tests::delivery;

    fn sqs(queue: &str) -> Sqs {
        let url = format!("https://sqs.us-east-1.amazonaws.com/1/{queue}");
        Sqs::new(SqsConfig::new(TargetName::new("t").unwrap(), url), &Accounts::default()).unwrap()
    }

    fn event(key: Option<&str>) -> Event {
        let event = Event::builder("1", "/s", "t");
        key.into_iter().fold(event, |event, key| event.attr("partitionkey", key)).build().unwrap()
    }

    #[test]
    fn only_a_queue_in_order_gets_groups() {
        let plain = sqs("q").write(&delivery(event(Some("shop-7")))).unwrap().entry;
        assert_eq!((plain.message_group_id(), plain.message_deduplication_id()), (None, None));
        let of = |key| sqs("q.fifo").write(&delivery(event(key))).unwrap().entry;
        let id = delivery(event(None)).id.to_string();
        assert_eq!(of(Some("shop-7")).message_group_id(), Some("shop-7"));
        assert_eq!(of(Some("shop-7")).message_deduplication_id(), Some(id.as_str()));
        assert_eq!(of(None).message_group_id(), Some(id.as_str()), "no key, no order");
    }

    #[test]
    fn a_message_is_the_cloudevent_and_counts_its_attributes() {
        let Weighed { entry, bytes } = sqs("q").write(&delivery(event(None))).unwrap();
        assert_eq!(entry.message_body(), r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#);
        let id = delivery(event(None)).id.to_string();
        let attributes = 12 + 6 + "application/cloudevents+json".len() + 15 + 6 + id.len();
        assert_eq!(bytes, entry.message_body().len() + attributes);
    }

    #[test]
    fn an_entry_fares_as_sqs_says() {
        let of = |code: &str, sender_fault| {
            let entry = BatchResultErrorEntry::builder().id("0").code(code).sender_fault(sender_fault).build().unwrap();
            outcome_of(&entry)
        };
        assert!(matches!(of("InvalidMessageContents", true), Outcome::Refused { .. }));
        assert!(matches!(of("SomethingNew", true), Outcome::Refused { .. }));
        assert!(matches!(of("SomethingNew", false), Outcome::Retry { .. }));
        assert!(matches!(of("InternalError", false), Outcome::Retry { .. }));
    }
}
