//! What waits in a subscription of a namespace topic: received, and acknowledged once it is durable
//! [Azure/azure-rest-api-specs, specification/eventgrid/data-plane, EventGridNamespace, 2024-06-01].
//!
//! | what came of an event | what Event Grid is told |
//! |---|---|
//! | durable, there before, or went through here before | acknowledge |
//! | the intake is full, or closed | release, with a delay; the poll waits as well |
//! | it is no event, or one that is never taken | reject: it goes to the subscription's dead letters |
//! | that, and it is quarantined here | acknowledge |
//!
//! While events wait for the intake their locks are renewed. Whatever cannot be told in time is there again when its
//! lock ends, and found as a duplicate: nothing is lost by a call that fails, nor by a process that is killed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Uri};
use router_core::{
    id::SourceName,
    source::{Fate, Inlet, IntakeClosed, OnInvalid, Pulled, RawEvent, Rejection, Source, SourceError},
    target::Reason,
};
use router_http::{
    address::Private,
    client::{self, Client, Settings, TlsFiles},
};
use schemas::{Event, Invalid};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Auth, Authoriser, Service},
    call::{Caller, SAID_BYTES_MAX, content_type},
    codes,
    target::{ConfigError, namespace},
};

/// Events of one answer: as many as the service gives.
pub const EVENTS_MAX: u16 = 100;
/// How long a poll waits for events, when nothing else is configured.
pub const WAIT: Duration = Duration::from_secs(60);
/// Polls at a time, when nothing else is configured.
pub const POLLS: usize = 2;
/// How often locks are renewed; a subscription's are held for 60 s unless it says more.
pub const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Bytes of one answer: a hundred events of 1 MiB, and what JSON adds.
const RECEIVED_BYTES_MAX: usize = 128 << 20;
/// What the service takes longer than it was asked to wait.
const ANSWER_MARGIN: Duration = Duration::from_secs(20);
/// How long a call that settles events may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often such a call is made in vain before the locks are left to end.
const SETTLE_ATTEMPTS: u32 = 3;
/// The first and the longest wait after a poll that failed.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What each event comes as.
const CLOUDEVENT: &str = "application/cloudevents+json";
/// The delays that a release may ask for, in seconds.
const RELEASE_DELAYS: [u64; 5] = [0, 10, 60, 600, 3600];

/// A subscription as it is configured.
#[derive(Clone, Debug)]
pub struct PullConfig {
    /// The operator's name for it.
    pub name: SourceName,
    /// The namespace's HTTP host: `https://NAME.REGION-1.eventgrid.azure.net`.
    pub endpoint: String,
    /// The topic's name.
    pub topic: String,
    /// The subscription's name.
    pub subscription: String,
    /// How Event Grid knows us.
    pub auth: Auth,
    /// Events of one answer, 1 to [`EVENTS_MAX`].
    pub events_max: u16,
    /// How long a poll waits for events, 10 to 120 s: [`WAIT`].
    pub wait: Duration,
    /// Polls at a time: [`POLLS`].
    pub polls: usize,
    /// How often locks are renewed: [`RENEW_EVERY`].
    pub renew_every: Duration,
    /// What becomes of what is no event: [`OnInvalid::Reject`].
    pub on_invalid: OnInvalid,
    /// What its addresses may be.
    pub private: Private,
    /// Whom it trusts beside the machine's roots, and what it shows.
    pub tls: TlsFiles,
}

impl PullConfig {
    /// The defaults for a subscription.
    pub fn new(
        name: SourceName,
        endpoint: impl Into<String>,
        topic: impl Into<String>,
        subscription: impl Into<String>,
        auth: Auth,
    ) -> Self {
        PullConfig {
            name,
            endpoint: endpoint.into(),
            topic: topic.into(),
            subscription: subscription.into(),
            auth,
            events_max: EVENTS_MAX,
            wait: WAIT,
            polls: POLLS,
            renew_every: RENEW_EVERY,
            on_invalid: OnInvalid::Reject,
            private: Private::default(),
            tls: TlsFiles::default(),
        }
    }

    /// How its client connects.
    pub fn client(&self) -> Settings {
        Settings { private: Some(self.private), tls: self.tls.clone(), ..Settings::default() }
    }
}

/// A setting of a pull that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// Where it is, and how it is known.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A number that the service does not take.
    #[error("{0}")]
    Number(&'static str),
}

/// The source of one subscription.
pub struct Pull {
    name: SourceName,
    receive: Uri,
    /// Where what came of events is told; the verb and a query follow.
    settle: String,
    poller: Caller,
    settler: Caller,
    /// Where what is no event is from.
    origin: Box<str>,
    on_invalid: OnInvalid,
    polls: usize,
    renew_every: Duration,
}

/// An answer to `:receive`.
#[derive(Deserialize)]
struct Received<'a> {
    #[serde(borrow)]
    value: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "brokerProperties")]
    broker: Broker,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Broker {
    lock_token: String,
    #[serde(default)]
    delivery_count: u32,
}

/// An answer to what was told.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settled {
    failed_lock_tokens: Vec<serde_json::Value>,
}

/// What Event Grid is told of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Acknowledge,
    Release(u64),
    Reject,
    Renew,
}

impl Verb {
    fn text(self) -> &'static str {
        match self {
            Verb::Acknowledge => "acknowledge",
            Verb::Release(_) => "release",
            Verb::Reject => "reject",
            Verb::Renew => "renewLock",
        }
    }
}

impl Pull {
    /// Checks the configuration; connects nowhere. The client is one that connects as [`PullConfig::client`] says.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: PullConfig, client: &Client) -> Result<Self, PullError> {
        if !(1..=EVENTS_MAX).contains(&config.events_max) {
            return Err(PullError::Number("`events_max` is 1 to 100"));
        }
        if !(10..=120).contains(&config.wait.as_secs()) {
            return Err(PullError::Number("`wait` is 10s to 120s"));
        }
        if config.polls == 0 || config.renew_every.is_zero() {
            return Err(PullError::Number("with `polls` or `renew_every` 0 nothing is ever received"));
        }
        let (topic, subscription) = (&config.topic, &config.subscription);
        let origin = namespace(&config.endpoint, topic, config.private)?;
        let subscription = crate::target::name("subscription", subscription)?;
        let settle = format!("{origin}/topics/{topic}/eventsubscriptions/{subscription}");
        let version = crate::target::NAMESPACE_API_VERSION;
        let (count, wait) = (config.events_max, config.wait.as_secs());
        let receive = format!("{settle}:receive?api-version={version}&maxEvents={count}&maxWaitTime={wait}");
        let receive = client::url(&receive).map_err(ConfigError::from)?;
        let caller = |timeout: Duration| {
            let auth = Authoriser::new(&config.auth, Service::Namespace, &origin, client).map_err(ConfigError::from)?;
            Ok::<_, ConfigError>(Caller::new(client.clone(), auth, timeout))
        };
        let (poller, settler) = (caller(config.wait + ANSWER_MARGIN)?, caller(SETTLE_TIMEOUT)?);
        let PullConfig { name, on_invalid, polls, renew_every, .. } = config;
        let origin = format!("{topic}/{subscription}").into();
        Ok(Pull { name, receive, settle, poller, settler, origin, on_invalid, polls, renew_every })
    }

    /// Polls until `stop`.
    async fn poll(self: Arc<Self>, inlet: Arc<dyn Inlet>, stop: CancellationToken) {
        let mut failed = 0u32;
        loop {
            let began = Instant::now();
            // A poll that is given up leaves locks that end by themselves.
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.receive() => received,
            };
            let pause = match received {
                Ok((_, 0)) => {
                    failed = 0;
                    // A service that does not wait is not asked in a circle.
                    Duration::from_secs(1).saturating_sub(began.elapsed())
                }
                Ok((body, _)) => {
                    failed = 0;
                    self.take(&body, &*inlet).await
                }
                Err(why) => {
                    failed = failed.saturating_add(1);
                    let pause = PAUSES.0.saturating_mul(1 << failed.min(6).saturating_sub(1)).min(PAUSES.1);
                    tracing::warn!(code = %codes::PULL_FAILED, source = %self.name, why, failed, ?pause, "events cannot be received from Event Grid; it is tried again");
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One poll: the body of its answer, and how many events are in it.
    async fn receive(&self) -> Result<(Bytes, usize), String> {
        let start = Instant::now();
        let head = content_type("application/json");
        let sent = self.poller.post(&self.receive, head, Bytes::new(), start, RECEIVED_BYTES_MAX).await;
        match &sent.answer {
            Ok(answer) if answer.status.is_success() && !answer.cut => {
                let received: Received<'_> = serde_json::from_slice(&answer.body)
                    .map_err(|e| format!("the answer is none that Event Grid gives: {e}"))?;
                Ok((answer.body.clone(), received.value.len()))
            }
            Ok(answer) => Err(format!("status {}: {}", answer.status.as_u16(), self.poller.told(&sent))),
            Err(_) => Err(self.poller.told(&sent)),
        }
    }

    /// Takes the events of an answer in, and tells Event Grid what came of them; how long to wait before the next.
    async fn take(&self, body: &Bytes, inlet: &dyn Inlet) -> Duration {
        // It was read before, and is read again rather than kept beside what it borrows from.
        let Ok(received) = serde_json::from_slice::<Received<'_>>(body) else { return PAUSES.0 };
        let mut tokens = Vec::with_capacity(received.value.len());
        let mut events = Vec::with_capacity(received.value.len());
        for Message { broker, event } in received.value {
            let bytes = body.slice_ref(event.get().as_bytes());
            let raw = RawEvent {
                event: read(event, broker.delivery_count),
                raw: Some(bytes),
                content_type: Some(CLOUDEVENT.into()),
            };
            events.push(Pulled { raw, origin: self.origin.clone() });
            tokens.push(broker.lock_token);
        }
        let Ok(fates) = self.offer(&events, &tokens, inlet).await else {
            self.tell(Verb::Release(0), tokens).await;
            return PAUSES.0;
        };
        let mut sorted = Sorted::default();
        for (index, token) in tokens.into_iter().enumerate() {
            sorted.add(token, fates.get(index));
        }
        for rejection in &sorted.why {
            tracing::warn!(code = %codes::MESSAGE_REJECTED, source = %self.name, why = %rejection, "an event is never taken in; it goes to the subscription's dead letters");
        }
        self.tell(Verb::Acknowledge, sorted.done).await;
        self.tell(Verb::Reject, sorted.rejected).await;
        self.tell(Verb::Release(release_delay(sorted.wait)), sorted.released).await;
        sorted.wait
    }

    /// Offers events to the bus, and holds their locks meanwhile.
    async fn offer(&self, events: &[Pulled], tokens: &[String], inlet: &dyn Inlet) -> Result<Vec<Fate>, IntakeClosed> {
        let offered = inlet.offer(&self.name, self.on_invalid, events);
        tokio::pin!(offered);
        loop {
            tokio::select! {
                fates = &mut offered => return fates,
                () = tokio::time::sleep(self.renew_every) => self.tell(Verb::Renew, tokens.to_vec()).await,
            }
        }
    }

    /// Tells Event Grid what came of events. What it does not hear is there again when the locks end.
    async fn tell(&self, verb: Verb, tokens: Vec<String>) {
        if tokens.is_empty() {
            return;
        }
        let count = tokens.len();
        let mut why = String::new();
        for attempt in 0..SETTLE_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSES.0).await;
            }
            match self.tell_once(verb, &tokens).await {
                Ok(0) => return,
                Ok(lost) => {
                    // Told again they would be as unknown: somebody else has them, or they were settled before.
                    tracing::warn!(code = %codes::LOCKS_LOST, source = %self.name, verb = verb.text(), lost, of = count, "Event Grid holds no lock for these events any more; they come again, and are found as duplicates");
                    return;
                }
                Err(failed) => why = failed,
            }
        }
        tracing::warn!(code = %codes::LOCKS_LOST, source = %self.name, verb = verb.text(), lost = count, of = count, why, "Event Grid could not be told what came of these events; they come again when their locks end");
    }

    /// Where something is told of events, and how.
    fn telling(&self, verb: Verb, tokens: &[String]) -> Result<(Uri, Bytes), String> {
        let delay =
            if let Verb::Release(delay) = verb { format!("&releaseDelayInSeconds={delay}") } else { String::new() };
        let version = crate::target::NAMESPACE_API_VERSION;
        let uri = format!("{}:{}?api-version={version}{delay}", self.settle, verb.text());
        let body = Bytes::from(serde_json::json!({ "lockTokens": tokens }).to_string());
        Ok((client::url(&uri).map_err(|e| e.to_string())?, body))
    }

    /// How many locks it does not know.
    async fn tell_once(&self, verb: Verb, tokens: &[String]) -> Result<usize, String> {
        let (uri, body) = self.telling(verb, tokens)?;
        let sent =
            self.settler.post(&uri, content_type("application/json"), body, Instant::now(), SAID_BYTES_MAX).await;
        match &sent.answer {
            Ok(answer) if answer.status.is_success() => {
                let settled: Settled = serde_json::from_slice(&answer.body).unwrap_or_default();
                Ok(settled.failed_lock_tokens.len())
            }
            Ok(answer) => Err(format!("status {}: {}", answer.status.as_u16(), self.settler.told(&sent))),
            Err(_) => Err(self.settler.told(&sent)),
        }
    }
}

#[async_trait]
impl Source for Pull {
    fn name(&self) -> &SourceName {
        &self.name
    }

    /// Renews a lock that nobody holds, which changes nothing: the service says whether there is such a subscription
    /// and whether we may receive from it before it looks at the lock.
    async fn check(&self) -> Result<(), Reason> {
        self.settler.reach(&self.receive).await.map_err(|why| Reason(why.into()))?;
        let (uri, body) = self.telling(Verb::Renew, &["none".to_owned()]).map_err(|why| Reason(why.into()))?;
        let sent =
            self.settler.post(&uri, content_type("application/json"), body, Instant::now(), SAID_BYTES_MAX).await;
        let why = match &sent.answer {
            Err(_) => return Err(Reason(self.settler.told(&sent).into())),
            Ok(answer) => match answer.status {
                StatusCode::UNAUTHORIZED => "does not know us; compare the key, or the application and its secret",
                StatusCode::FORBIDDEN => "does not let us receive; give the role EventGrid Data Receiver",
                StatusCode::NOT_FOUND => "knows no such subscription; compare `topic` and `subscription`",
                _ => return Ok(()),
            },
        };
        Err(Reason(format!("Event Grid {why}: {}", self.settler.told(&sent)).into()))
    }

    async fn run(self: Arc<Self>, inlet: Arc<dyn Inlet>, stop: CancellationToken) -> Result<(), SourceError> {
        let mut polls = JoinSet::new();
        for _ in 0..self.polls {
            polls.spawn(self.clone().poll(inlet.clone(), stop.clone()));
        }
        while let Some(ended) = polls.join_next().await {
            ended.map_err(|e| SourceError(format!("a poll of Event Grid ended: {e}").into()))?;
        }
        Ok(())
    }
}

fn read(event: &RawValue, delivery_count: u32) -> Result<Event, Invalid> {
    let event = schemas::json::decode(event.get().as_bytes())?;
    let count = delivery_count.to_string();
    event.rebuild().fact("aeg-delivery-count", &count).build()
}

/// Lock tokens by what came of their events.
#[derive(Default)]
struct Sorted {
    done: Vec<String>,
    released: Vec<String>,
    rejected: Vec<String>,
    why: Vec<Rejection>,
    wait: Duration,
}

impl Sorted {
    fn add(&mut self, token: String, fate: Option<&Fate>) {
        match fate {
            Some(Fate::Taken | Fate::Quarantined) => self.done.push(token),
            Some(Fate::Busy { retry_after }) => {
                self.wait = self.wait.max(*retry_after);
                self.released.push(token);
            }
            Some(Fate::Rejected(rejection)) => {
                self.why.push(rejection.clone());
                self.rejected.push(token);
            }
            // The inlet lost count, which is its bug: the event comes again.
            None => self.released.push(token),
        }
    }
}

/// The shortest delay of a release that is not below this wait.
fn release_delay(wait: Duration) -> u64 {
    let at_least = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    RELEASE_DELAYS.into_iter().find(|delay| *delay >= at_least).unwrap_or(3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_waits_no_shorter_than_it_was_asked() {
        let of = |ms| release_delay(Duration::from_millis(ms));
        assert_eq!([of(0), of(1), of(2_000), of(10_000), of(10_001), of(3_600_000)], [0, 10, 10, 10, 60, 3600]);
        assert_eq!(of(9_999_999), 3600);
    }

    #[test]
    fn a_pull_that_cannot_be_is_refused() {
        let base = || {
            let auth = Auth::Key(router_http::Secret::new("k"));
            PullConfig::new(SourceName::new("az").unwrap(), "https://n.eventgrid.azure.net", "coffee", "router", auth)
        };
        let refused = |config: PullConfig| match Pull::new(config, &Client::new().unwrap()) {
            Ok(_) => "taken".to_owned(),
            Err(e) => e.to_string(),
        };
        assert_eq!(refused(base()), "taken");
        assert!(refused(PullConfig { events_max: 101, ..base() }).contains("1 to 100"));
        assert!(refused(PullConfig { wait: Duration::from_secs(9), ..base() }).contains("10s to 120s"));
        assert!(refused(PullConfig { subscription: "a/b".into(), ..base() }).contains("no name of a subscription"));
        assert!(refused(PullConfig { topic: "a b".into(), ..base() }).contains("no name of a topic"));
        assert!(refused(PullConfig { endpoint: "https://h/api/events".into(), ..base() }).contains("no path"));
    }
}
