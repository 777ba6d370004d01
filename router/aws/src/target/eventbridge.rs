//! A bus of EventBridge: several events in one call of `PutEvents`, each with an outcome of its own.
//!
//! The answer is per entry, in the order of the request: what failed is tried again, what was taken is not.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eventbridge::{
    Client,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use router_core::{
    id::TargetName,
    target::{BatchLimits, Delivery, Outcome, Rate, Reason, Target},
};
use router_http::target::Verdict;
use tokio::sync::OnceCell;

use super::{
    Batch, Failure, IN_FLIGHT_MAX, TIMEOUT,
    calls::{self, Call, Service},
    failure, verdict,
};
use crate::{
    auth::{self, Account, Accounts, ConfigError, Settings},
    wire::{self, COUNT_MAX, Mapping, Misfit, Weighed},
};

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
        let make = || async { Ok(auth::client!(aws_sdk_eventbridge, self.account, self.config.timeout)) };
        self.client.get_or_try_init(make).await
    }
}

fn check(config: &EventBridgeConfig) -> Result<(), ConfigError> {
    let name = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
    let bus = &config.bus;
    if !auth::is_arn_of(bus, "events") && (bus.is_empty() || bus.len() > 256 || !bus.chars().all(name)) {
        let message = format!("`{bus}` is no bus; write its name, e.g. `default`, or its ARN");
        return Err(ConfigError::new(&["bus"], message));
    }
    config.batch.check(COUNT_MAX, config.in_flight_max)?;
    config.settings.check()
}

/// What AWS says of one entry.
fn outcome_of(entry: &PutEventsResultEntry) -> Outcome {
    match entry.error_code() {
        None => verdict::taken(entry.event_id()),
        // An entry's code that is not known is a judgement of this entry.
        Some(code) => verdict::not_taken(code, entry.error_message(), Verdict::Refused),
    }
}

#[async_trait]
impl Service for EventBridge {
    type Entry = PutEventsRequestEntry;

    fn write(&self, delivery: &Delivery) -> Result<Weighed<Self::Entry>, Misfit> {
        wire::entry(delivery, self.config.mapping, &self.config.bus)
    }

    async fn reach(&self) -> Result<(), Box<str>> {
        self.client().await.map(drop)
    }

    async fn put(&self, call: &Call<Self::Entry>) -> Result<Vec<Outcome>, Failure> {
        let client = self.client().await.map_err(|why| Failure::of_target(&why))?;
        let entries = call.iter().map(|(_, sized)| sized.entry.clone()).collect();
        let put = client.put_events().set_entries(Some(entries)).send().await;
        let answer = put.map_err(|e| failure(&e))?;
        Ok(answer.entries().iter().map(outcome_of).collect())
    }
}

#[async_trait]
impl Target for EventBridge {
    fn name(&self) -> &TargetName {
        &self.config.name
    }

    fn limits(&self) -> BatchLimits {
        let EventBridgeConfig { batch, in_flight_max, timeout, rate, .. } = &self.config;
        batch.limits(*in_flight_max, *timeout, *rate)
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
        let Batch { count_max, bytes_max, .. } = self.config.batch;
        calls::deliver(self, batch, (count_max, bytes_max), self.config.timeout).await
    }
}

#[cfg(test)]
mod tests;
