//! A bus of EventBridge: several events in one call of `PutEvents`, each with an outcome of its own.
//!
//! The answer is per entry, in the order of the request: what failed is tried again, what was taken is not. A call
//! that is refused as a whole (AWS counts otherwise than we do, or one entry breaks the request) is halved here, until
//! the guilty entry stands alone: the others must not pay for it.

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use aws_sdk_eventbridge::{Client, types::PutEventsResultEntry};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use router_core::{
    id::TargetName,
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Rate, Reason, Target},
};
use router_http::target::Verdict;
use tokio::{sync::OnceCell, time::Instant};

use super::{DEADLINE_MARGIN, Failure, IN_FLIGHT_MAX, TIMEOUT, failure, note, of_code};
use crate::{
    auth::{self, Account, Accounts, ConfigError, Settings},
    codes,
    wire::{self, EVENTBRIDGE_BYTES_MAX, EVENTBRIDGE_COUNT_MAX, Entry, Mapping},
};

/// How many events go in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Entries.
    pub count_max: usize,
    /// Their bytes, as AWS counts them.
    pub bytes_max: usize,
    /// How long a batch that is not full waits for more: not at all.
    pub delay_max: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { count_max: EVENTBRIDGE_COUNT_MAX, bytes_max: EVENTBRIDGE_BYTES_MAX, delay_max: Duration::ZERO }
    }
}

/// A bus as it is configured.
#[derive(Clone, Debug)]
pub struct EventBridgeConfig {
    /// The operator's name for it.
    pub name: TargetName,
    /// Its name, or its ARN.
    pub bus: String,
    /// Who the router is to AWS, and where; without a region, that of the ARN.
    pub settings: Settings,
    /// What of an event becomes of `Detail`.
    pub mapping: Mapping,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many events go in one call.
    pub batch: Batch,
    /// Calls at a time.
    pub in_flight_max: usize,
    /// How fast.
    pub rate: Option<Rate>,
}

impl EventBridgeConfig {
    /// With everything as it is unless it is said otherwise.
    pub fn new(name: TargetName, bus: impl Into<String>) -> Self {
        EventBridgeConfig {
            name,
            bus: bus.into(),
            settings: Settings::default(),
            mapping: Mapping::default(),
            timeout: TIMEOUT,
            batch: Batch::default(),
            in_flight_max: IN_FLIGHT_MAX,
            rate: None,
        }
    }
}

/// A bus of EventBridge.
pub struct EventBridge {
    config: EventBridgeConfig,
    account: std::sync::Arc<Account>,
    client: OnceCell<Client>,
}

/// A call on its way: whose entries, by their places in the batch.
type Call = Vec<(usize, Entry)>;

impl EventBridge {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: EventBridgeConfig, accounts: &Accounts) -> Result<Self, ConfigError> {
        let mut config = config;
        check(&config)?;
        if config.settings.region.is_none() {
            config.settings.region = auth::region_of(&config.bus).map(str::to_owned);
        }
        let account = accounts.get(&config.settings);
        Ok(EventBridge { config, account, client: OnceCell::new() })
    }

    async fn client(&self) -> Result<&Client, Box<str>> {
        let make = || async {
            let (retry, times) = auth::once(self.config.timeout);
            let config = aws_sdk_eventbridge::config::Builder::from(self.account.config().await?);
            let mut config = config.retry_config(retry).timeout_config(times);
            if let Some(endpoint) = self.account.endpoint() {
                config = config.endpoint_url(endpoint);
            }
            Ok(Client::from_conf(config.build()))
        };
        self.client.get_or_try_init(make).await
    }

    /// What of a batch can be sent, call by call; what cannot has its outcome already.
    fn write(&self, batch: &[Delivery], outcomes: &mut [Option<Outcome>]) -> VecDeque<Call> {
        let EventBridgeConfig { mapping, bus, batch: limits, .. } = &self.config;
        let mut entries = Vec::with_capacity(batch.len());
        for (at, (delivery, outcome)) in batch.iter().zip(outcomes).enumerate() {
            let written = wire::entry(delivery, *mapping, bus).and_then(|entry| fits(entry, limits.bytes_max));
            match written {
                Ok(entry) => entries.push((at, entry)),
                Err(wire::Misfit { code, note: why }) => {
                    let facts = Facts { note: Some(note(&why)), ..Facts::default() };
                    *outcome = Some(Outcome::Refused { facts, code });
                }
            }
        }
        wire::calls(entries, limits.count_max, limits.bytes_max).into()
    }

    /// Sends one call; what became of each entry, or of the call as a whole.
    async fn put(&self, client: &Client, call: &Call) -> Result<Vec<PutEventsResultEntry>, Failure> {
        let entries = call.iter().map(|(_, entry)| entry.entry.clone()).collect();
        let put = client.put_events().set_entries(Some(entries)).send().await;
        let answer = put.map_err(|e| failure(&e))?;
        Ok(answer.entries.unwrap_or_default())
    }
}

fn check(config: &EventBridgeConfig) -> Result<(), ConfigError> {
    let name = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
    let bus = &config.bus;
    if !auth::is_arn_of(bus, "events") && (bus.is_empty() || bus.len() > 256 || !bus.chars().all(name)) {
        let message = format!("`{bus}` is no bus; write its name, e.g. `default`, or its ARN");
        return Err(ConfigError::new(&["bus"], message));
    }
    let Batch { count_max, bytes_max, .. } = config.batch;
    if !(1..=EVENTBRIDGE_COUNT_MAX).contains(&count_max) {
        let message = format!("a call takes 1 to {EVENTBRIDGE_COUNT_MAX} events, not {count_max}");
        return Err(ConfigError::new(&["batch", "count_max"], message));
    }
    if bytes_max == 0 {
        return Err(ConfigError::new(&["batch", "bytes_max"], "no event fits into no bytes; write e.g. `256KiB`"));
    }
    if config.in_flight_max == 0 {
        return Err(ConfigError::new(&["in_flight_max"], "without a call nothing is delivered; write 1 or more"));
    }
    config.settings.check()
}

fn fits(entry: Entry, bytes_max: usize) -> Result<Entry, wire::Misfit> {
    if entry.bytes <= bytes_max {
        return Ok(entry);
    }
    let note = format!(
        "the entry has {} bytes as AWS counts them, and {bytes_max} are taken; put the data elsewhere and send a `dataref`, or raise `batch.bytes_max` where AWS takes more",
        entry.bytes
    );
    Err(wire::Misfit { code: codes::ENTRY_TOO_LARGE, note })
}

/// What AWS says of one entry.
fn outcome_of(entry: Option<&PutEventsResultEntry>, took: Duration) -> Outcome {
    let facts = Facts { status: Some(200), took, ..Facts::default() };
    let Some(entry) = entry else {
        return Failure::of_event("AWS answered for fewer entries than it got").outcome(facts);
    };
    let Some(code) = entry.error_code() else {
        let reference = entry.event_id().map(Into::into);
        return Outcome::Delivered { facts: Facts { reference, ..facts }, replies: Vec::new() };
    };
    let said = format!("{code}: {}", entry.error_message().unwrap_or("no reason is given"));
    // An entry's code that is not known is a judgement of this entry.
    let verdict = of_code(code).unwrap_or(Verdict::Refused);
    Failure { verdict, status: None, note: note(&said) }.outcome(facts)
}

#[async_trait]
impl Target for EventBridge {
    fn name(&self) -> &TargetName {
        &self.config.name
    }

    fn limits(&self) -> BatchLimits {
        let EventBridgeConfig { batch, in_flight_max, timeout, rate, .. } = &self.config;
        BatchLimits {
            count_max: batch.count_max,
            // Bodies are about what entries are; what they are exactly, calls are made by.
            bytes_max: batch.bytes_max,
            delay_max: batch.delay_max,
            in_flight_max: *in_flight_max,
            partial: Partial::PerEvent,
            deadline: timeout.saturating_add(DEADLINE_MARGIN),
            rate: *rate,
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        let client = self.client().await.map_err(Reason)?;
        let Err(error) = client.describe_event_bus().name(&self.config.bus).send().await else { return Ok(()) };
        let Failure { note, .. } = failure(&error);
        let denied = error.code().is_some_and(|code| code.starts_with("AccessDenied"));
        let help =
            if denied { "; `check` asks for events:DescribeEventBus, deliveries for events:PutEvents" } else { "" };
        Err(Reason(format!("{note}{help}").into()))
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let start = Instant::now();
        let until = start + self.config.timeout;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut calls = self.write(batch, &mut outcomes);
        let mut settle = |at: usize, outcome: Outcome| {
            if let Some(slot) = outcomes.get_mut(at) {
                *slot = Some(outcome);
            }
        };
        let client = match tokio::time::timeout_at(until, self.client()).await {
            Ok(client) => client.map_err(|why| Failure::of_target(&why)),
            Err(_) => Err(Failure::of_target("no credentials could be had in time")),
        };
        while let Some(mut call) = calls.pop_front() {
            let put = match &client {
                Ok(client) => match tokio::time::timeout_at(until, self.put(client, &call)).await {
                    Ok(put) => put,
                    Err(_) => Err(Failure::of_event("no answer in time")),
                },
                Err(none) => Err(none.clone()),
            };
            let took = start.elapsed();
            match put {
                Ok(entries) => {
                    for (n, (at, _)) in call.iter().enumerate() {
                        settle(*at, outcome_of(entries.get(n), took));
                    }
                }
                Err(failed) if failed.verdict == Verdict::Refused && call.len() > 1 => {
                    let newer = call.split_off(call.len().div_ceil(2));
                    calls.push_front(newer);
                    calls.push_front(call);
                }
                Err(failed) => {
                    for (at, _) in &call {
                        settle(*at, failed.clone().outcome(Facts { took, ..Facts::default() }));
                    }
                }
            }
        }
        let unanswered = || Failure::of_event("the delivery was not sent").outcome(Facts::default());
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unanswered)).collect()
    }
}

#[cfg(test)]
mod tests;
