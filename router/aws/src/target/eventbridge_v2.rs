//! A custom event bus of EventBridge, the second generation: several events in one call of `PutRawEvents`, each with an
//! outcome of its own, in the order of the request.
//!
//! An event that the bus had within the last five minutes is delivered, whoever sent it: a try whose answer was lost is
//! one event there.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_eventbridgev2::{
    Client,
    types::{BusState, PutRawEventsRequestEntry, PutRawEventsResultEntry, SuccessCode},
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use router_core::{
    id::TargetName,
    target::{BatchLimits, Delivery, Outcome, Rate, Reason, Target},
};
use tokio::sync::OnceCell;

use super::{
    Batch, Failure, IN_FLIGHT_MAX, TIMEOUT,
    calls::{self, Call, Service},
    failure, note,
    verdict::{self, AGAIN},
};
use crate::{
    auth::{self, Account, Accounts, ConfigError, Settings},
    wire::{
        BYTES_MAX, Misfit, Weighed,
        raw::{self, RAW_COUNT_MAX},
    },
};

/// Characters of a bus's ARN.
const ARN_CHARS_MAX: usize = 1_011;
/// Where its name begins.
const RESOURCE: &str = "event-busv2/";

/// A custom event bus as it is configured.
#[derive(Clone, Debug)]
pub struct EventBridgeV2Config {
    /// The operator's name for it.
    pub name: TargetName,
    /// Its ARN.
    pub bus: String,
    /// Who the router is to AWS, and where; without a region, that of the ARN.
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

impl EventBridgeV2Config {
    /// With everything as it is unless it is said otherwise.
    pub fn new(name: TargetName, bus: impl Into<String>) -> Self {
        EventBridgeV2Config {
            name,
            bus: bus.into(),
            settings: Settings::default(),
            timeout: TIMEOUT,
            batch: Batch { count_max: RAW_COUNT_MAX, bytes_max: BYTES_MAX, delay_max: Duration::ZERO },
            in_flight_max: IN_FLIGHT_MAX,
            rate: None,
        }
    }
}

/// A custom event bus of EventBridge.
pub struct EventBridgeV2 {
    config: EventBridgeV2Config,
    account: Arc<Account>,
    client: OnceCell<Client>,
}

impl EventBridgeV2 {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: EventBridgeV2Config, accounts: &Accounts) -> Result<Self, ConfigError> {
        let mut config = config;
        check(&config)?;
        if config.settings.region.is_none() {
            config.settings.region = auth::region_of(&config.bus).map(str::to_owned);
        }
        let account = accounts.get(&config.settings);
        Ok(EventBridgeV2 { config, account, client: OnceCell::new() })
    }

    async fn client(&self) -> Result<&Client, Box<str>> {
        let make = || async { Ok(auth::client!(aws_sdk_eventbridgev2, self.account, self.config.timeout)) };
        self.client.get_or_try_init(make).await
    }
}

fn check(config: &EventBridgeV2Config) -> Result<(), ConfigError> {
    if !is_bus(&config.bus) {
        let message = format!(
            "`{}` is no custom event bus; write its ARN, which ends in `:event-busv2/NAME/ID`, as `aws eventsv2 list-event-buses` shows it; a bus with rules is a target `eventbridge`",
            config.bus
        );
        return Err(ConfigError::new(&["bus"], message));
    }
    config.batch.check(RAW_COUNT_MAX, config.in_flight_max)?;
    config.settings.check()
}

/// Whether a text is the ARN of a custom event bus: `arn:PARTITION:events:REGION:ACCOUNT:event-busv2/NAME/ID`.
fn is_bus(arn: &str) -> bool {
    let words =
        |text: &str, and: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || and.contains(c));
    let mut parts = arn.splitn(6, ':').skip(3);
    let (Some(region), Some(account), Some(resource)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let bus = resource.strip_prefix(RESOURCE).and_then(|bus| bus.split_once('/'));
    auth::is_arn_of(arn, "events")
        && arn.len() <= ARN_CHARS_MAX
        && words(region, "-")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && bus.is_some_and(|(name, id)| words(name, ".-_") && words(id, ""))
}

/// What AWS says of one entry.
fn outcome_of(entry: &PutRawEventsResultEntry) -> Outcome {
    if let Some(code) = entry.error_code() {
        // Which codes there are is not written down: one that is not known may be a fault that passes.
        return verdict::not_taken(code, entry.error_message(), AGAIN);
    }
    match (entry.success_code(), entry.event_id()) {
        (None, None) => verdict::not_taken("UNANSWERED", Some("neither an outcome nor an id is given"), AGAIN),
        (success, id) => {
            let mut taken = verdict::taken(id);
            if let (Some(SuccessCode::Deduplicated), Outcome::Delivered { facts, .. }) = (success, &mut taken) {
                facts.note = Some(note("DEDUPLICATED: the bus had it already"));
            }
            taken
        }
    }
}

/// Whether a bus in that state takes events.
fn takes_events(state: Option<&BusState>) -> bool {
    match state {
        Some(BusState::Creating | BusState::CreateFailed | BusState::Deleting) => false,
        // The others go on with what they were, and one of tomorrow is not for us to judge.
        _ => true,
    }
}

#[async_trait]
impl Service for EventBridgeV2 {
    type Entry = PutRawEventsRequestEntry;

    fn write(&self, delivery: &Delivery) -> Result<Weighed<Self::Entry>, Misfit> {
        raw::entry(delivery)
    }

    async fn reach(&self) -> Result<(), Box<str>> {
        self.client().await.map(drop)
    }

    async fn put(&self, call: &Call<Self::Entry>) -> Result<Vec<Outcome>, Failure> {
        let client = self.client().await.map_err(|why| Failure::of_target(&why))?;
        let entries = call.iter().map(|(_, sized)| sized.entry.clone()).collect();
        let put = client.put_raw_events().event_bus_arn(&self.config.bus).set_entries(Some(entries)).send().await;
        let answer = put.map_err(|e| failure(&e))?;
        Ok(answer.entries().iter().map(outcome_of).collect())
    }
}

#[async_trait]
impl Target for EventBridgeV2 {
    fn name(&self) -> &TargetName {
        &self.config.name
    }

    fn limits(&self) -> BatchLimits {
        let EventBridgeV2Config { batch, in_flight_max, timeout, rate, .. } = &self.config;
        batch.limits(*in_flight_max, *timeout, *rate)
    }

    async fn check(&self) -> Result<(), Reason> {
        let client = self.client().await.map_err(Reason)?;
        let answer = match client.describe_event_bus().event_bus_arn(&self.config.bus).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let Failure { note, .. } = failure(&error);
                let help = match error.code().is_some_and(|code| code.starts_with("AccessDenied")) {
                    true => "; `check` asks for events:DescribeEventBus, deliveries for events:PutRawEvents",
                    false => "",
                };
                return Err(Reason(format!("{note}{help}").into()));
            }
        };
        if takes_events(answer.state()) {
            return Ok(());
        }
        let state = answer.state().map_or("not there", BusState::as_str);
        let why = answer.state_reason().map(|why| format!(": {why}")).unwrap_or_default();
        Err(Reason(note(&format!("the bus takes no events, it is {state}{why}"))))
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let Batch { count_max, bytes_max, .. } = self.config.batch;
        calls::deliver(self, batch, (count_max, bytes_max), self.config.timeout).await
    }
}

#[cfg(test)]
mod tests {
    use router_core::target::Scope;

    use super::*;

    const BUS: &str = "arn:aws:events:eu-west-1:123456789012:event-busv2/orders/abcdefghij0123456789abcde";

    fn config(bus: &str) -> EventBridgeV2Config {
        EventBridgeV2Config::new(TargetName::new("t").unwrap(), bus)
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let batch = |count_max| Batch { count_max, ..config(BUS).batch };
        let cases = [
            (config("orders"), "bus"),
            (config("arn:aws:events:eu-west-1:123456789012:event-bus/orders"), "bus"),
            (config("arn:aws:events:eu-west-1:123456789012:event-busv2/orders"), "bus"),
            (config("arn:aws:events:eu-west-1:12:event-busv2/orders/abc"), "bus"),
            (config("arn:aws:events::123456789012:event-busv2/orders/abc"), "bus"),
            (config("arn:aws:events:eu-west-1:123456789012:event-busv2/two words/abc"), "bus"),
            (EventBridgeV2Config { batch: batch(101), ..config(BUS) }, "count_max"),
            (EventBridgeV2Config { batch: batch(0), ..config(BUS) }, "count_max"),
            (EventBridgeV2Config { in_flight_max: 0, ..config(BUS) }, "in_flight_max"),
        ];
        for (config, key) in cases {
            let refused = EventBridgeV2::new(config, &Accounts::default()).err().unwrap();
            assert_eq!(refused.keys.last(), Some(&key), "{refused}");
        }
        let fine = EventBridgeV2::new(config(BUS), &Accounts::default()).unwrap();
        assert_eq!(fine.config.settings.region.as_deref(), Some("eu-west-1"));
        assert_eq!(fine.limits().count_max, 100);
    }

    #[test]
    fn an_entry_fares_as_its_own_answer_says() {
        let entry = || PutRawEventsResultEntry::builder();
        let published = outcome_of(&entry().event_id("e-1").success_code(SuccessCode::Published).build());
        let Outcome::Delivered { facts, .. } = published else { panic!("{published:?}") };
        assert_eq!((facts.reference.as_deref(), facts.note), (Some("e-1"), None));
        let had = outcome_of(&entry().event_id("e-1").success_code(SuccessCode::Deduplicated).build());
        let Outcome::Delivered { facts, .. } = had else { panic!("{had:?}") };
        assert!(facts.note.is_some_and(|note| note.starts_with("DEDUPLICATED")));
        let failed = |code: &str| outcome_of(&entry().error_code(code).error_message("because").build());
        let Outcome::Refused { facts, .. } = failed("VALIDATION_ERROR") else { panic!("it is for good") };
        assert_eq!(facts.note.as_deref(), Some("VALIDATION_ERROR: because"));
        assert!(matches!(failed("ThrottlingException"), Outcome::Retry { scope: Scope::Target, not_before: None, .. }));
        for outcome in [failed("InternalException"), failed("SOMETHING_NEW"), outcome_of(&entry().build())] {
            assert!(matches!(outcome, Outcome::Retry { scope: Scope::Event, .. }), "{outcome:?}");
        }
    }

    #[test]
    fn a_bus_that_goes_on_as_it_was_takes_events() {
        for state in [BusState::Active, BusState::Updating, BusState::UpdateFailed, BusState::DeleteFailed] {
            assert!(takes_events(Some(&state)), "{state}");
        }
        for state in [BusState::Creating, BusState::CreateFailed, BusState::Deleting] {
            assert!(!takes_events(Some(&state)), "{state}");
        }
    }
}
