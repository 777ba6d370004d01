//! From the configuration to Azure.

use std::sync::Arc;

use router_azure::{
    auth::{Auth, Entra, Identity, entra},
    source::{Publish, PublishConfig, Pull, PullConfig, Validation, Webhook, WebhookConfig},
    target::{EventGridConfig, EventGridTarget, FunctionConfig, Mode, To, function},
    wire::Schema,
};
use router_core::{
    id::{SourceName, TargetName},
    target::{Rate, Target},
};
use router_http::{
    HttpTargetConfig, Key, KeySpec, Secret,
    client::{self, Client},
    jwt::{Claim, Rules, Verifier},
    target::{self, Batch},
};

use super::{Connected, Error, KnownKey, on_invalid, secret};
use crate::config::{
    self, AzureEntra, AzureFunctionTarget, AzureSas, AzureTokens, EventGridBatch, EventGridMode,
    EventGridNamespaceTarget, EventGridPublish, EventGridPull, EventGridSchema, EventGridSource,
    EventGridTarget as Topic, EventGridWebhook, TargetTls,
};

/// What shows who we are, of the three ways.
struct Shown<'c> {
    key: Option<&'c config::value::Secret>,
    sas: Option<&'c AzureSas>,
    entra: Option<&'c AzureEntra>,
}

impl Shown<'_> {
    /// The one way that is configured; `at` is where it stands.
    fn auth(&self, at: &str) -> Result<Option<Auth>, Error> {
        let read = |key: &str, value| secret(|| format!("{at}.{key}"), value);
        Ok(match (self.key, self.sas, self.entra) {
            (Some(key), ..) => Some(Auth::Key(read("key", key)?)),
            (None, Some(sas), _) => Some(Auth::Sas { key: read("sas.key", &sas.key)?, life: sas.life }),
            (None, None, Some(given)) => Some(Auth::Entra(entra_id(given, at)?)),
            (None, None, None) => None,
        })
    }
}

fn entra_id(given: &AzureEntra, at: &str) -> Result<Entra, Error> {
    let (tenant, client_id) = (given.tenant.clone().unwrap_or_default(), given.client_id.clone().unwrap_or_default());
    let identity = match (&given.client_secret, &given.token_file) {
        (Some(value), _) => {
            let client_secret = secret(|| format!("{at}.entra.client_secret"), value)?;
            Identity::Client { tenant, client_id, client_secret }
        }
        (None, Some(token_file)) => Identity::Workload { tenant, client_id, token_file: token_file.clone() },
        (None, None) => {
            // What App Service and Container Apps tell their programs.
            let told = std::env::var("IDENTITY_ENDPOINT").ok().zip(std::env::var("IDENTITY_HEADER").ok());
            let endpoint = told.map(|(endpoint, header)| (endpoint, Secret::new(header)));
            Identity::Managed { client_id: given.client_id.clone(), endpoint }
        }
    };
    Ok(Entra {
        identity,
        authority: given.authority.clone().unwrap_or_else(|| entra::AUTHORITY.into()),
        scope: given.scope.clone().unwrap_or_else(|| entra::SCOPE.into()),
    })
}

/// What is there when none of the three ways is: `check` says the same.
const NO_AUTH: &str = "nothing shows who the router is: give `key`, `sas` or `entra`";

fn tls(given: Option<&TargetTls>) -> client::TlsFiles {
    let given = given.cloned().unwrap_or_default();
    client::TlsFiles { ca: given.ca, identity: given.cert.zip(given.key) }
}

fn batch(given: &EventGridBatch, count_max: usize) -> Batch {
    Batch {
        count_max: given.count_max.map_or(count_max, usize::from),
        bytes_max: given.bytes_max,
        delay_max: given.delay_max.unwrap_or_default(),
    }
}

/// Connects a custom topic, a domain or a channel.
pub(super) fn topic(
    name: &TargetName,
    given: &Topic,
    rate: Option<Rate>,
    clients: &client::Clients,
) -> Result<Arc<dyn Target>, Error> {
    let shown = Shown { key: given.key.as_ref(), sas: given.sas.as_ref(), entra: given.entra.as_ref() };
    let to = To::Topic {
        endpoint: given.endpoint.clone(),
        schema: match given.schema {
            EventGridSchema::CloudEvents => Schema::CloudEvents,
            EventGridSchema::EventGrid => Schema::EventGrid,
        },
        topic: given.topic.clone(),
        channel: given.channel.clone(),
    };
    let auth = shown.auth(&format!("targets.{name}.event_grid"))?.ok_or_else(|| refused(name, &NO_AUTH))?;
    let base = EventGridConfig::new(name.clone(), to, auth);
    let config = EventGridConfig {
        batch: batch(&given.batch, base.batch.count_max),
        request_bytes_max: given.batch.request_bytes_max,
        timeout: given.timeout,
        in_flight_max: given.in_flight_max.into(),
        rate,
        private: given.allow_private.into(),
        tls: tls(given.tls.as_ref()),
        ..base
    };
    connect(name, config, clients)
}

/// Connects a topic of a namespace.
pub(super) fn namespace(
    name: &TargetName,
    given: &EventGridNamespaceTarget,
    rate: Option<Rate>,
    clients: &client::Clients,
) -> Result<Arc<dyn Target>, Error> {
    let shown = Shown { key: given.key.as_ref(), sas: given.sas.as_ref(), entra: given.entra.as_ref() };
    let mode = match given.mode {
        EventGridMode::Batch => Mode::Batch,
        EventGridMode::Binary => Mode::Binary,
        EventGridMode::Structured => Mode::Structured,
    };
    let to = To::Namespace { endpoint: given.endpoint.clone(), topic: given.topic.clone(), mode };
    let auth = shown.auth(&format!("targets.{name}.event_grid_namespace"))?.ok_or_else(|| refused(name, &NO_AUTH))?;
    let base = EventGridConfig::new(name.clone(), to, auth);
    let config = EventGridConfig {
        batch: batch(&given.batch, base.batch.count_max),
        request_bytes_max: given.batch.request_bytes_max,
        timeout: given.timeout,
        in_flight_max: given.in_flight_max.into(),
        rate,
        private: given.allow_private.into(),
        tls: tls(given.tls.as_ref()),
        ..base
    };
    connect(name, config, clients)
}

fn connect(name: &TargetName, config: EventGridConfig, clients: &client::Clients) -> Result<Arc<dyn Target>, Error> {
    let client = clients.get(config.client()).map_err(|e| Error::TargetTls(name.clone(), e))?;
    Ok(Arc::new(EventGridTarget::new(config, client).map_err(|e| refused(name, &e))?))
}

/// Connects a function.
pub(super) fn azure_function(
    name: &TargetName,
    given: &AzureFunctionTarget,
    rate: Option<Rate>,
    clients: &client::Clients,
) -> Result<Arc<dyn Target>, Error> {
    let shown = Shown { key: given.key.as_ref(), sas: None, entra: given.entra.as_ref() };
    let auth = shown.auth(&format!("targets.{name}.azure_function"))?;
    let mut statuses = target::Statuses::default();
    for (status, verdict) in &given.retry.statuses {
        statuses.set(status, verdict).map_err(|e| refused(name, &e))?;
    }
    let http = HttpTargetConfig {
        mode: match given.mode {
            config::Mode::Binary => target::Mode::Binary,
            config::Mode::Structured => target::Mode::Structured,
        },
        timeout: given.timeout,
        in_flight_max: given.in_flight_max.into(),
        rate,
        statuses,
        ..HttpTargetConfig::new(name.clone(), given.url.clone())
    };
    let client = clients.get(http.client()).map_err(|e| Error::TargetTls(name.clone(), e))?;
    Ok(Arc::new(function(FunctionConfig { http, auth }, client).map_err(|e| refused(name, &e))?))
}

fn refused(name: &TargetName, why: &dyn std::fmt::Display) -> Error {
    Error::Azure(name.clone(), why.to_string())
}

/// Connects a source.
pub(super) fn source(name: &SourceName, given: &EventGridSource) -> Result<Connected, Error> {
    match given {
        EventGridSource::Webhook(webhook) => self::webhook(name, webhook),
        EventGridSource::Pull(pull) => self::pull(name, pull),
        EventGridSource::Publish(publish) => self::publish(name, publish),
    }
}

fn unusable(name: &SourceName, why: &dyn std::fmt::Display) -> Error {
    Error::Source(name.clone(), why.to_string())
}

fn keys(name: &SourceName, kind: &str, given: &[config::value::Secret]) -> Result<Vec<KnownKey>, Error> {
    let key = |(n, named): (usize, &config::value::Secret)| {
        let text = secret(|| format!("sources.{name}.event_grid.{kind}.keys"), named)?;
        let key = Key::new(KeySpec::new(format!("{name}/{n}"), text)).map_err(|e| unusable(name, &e))?;
        Ok(KnownKey { key, secret: named.clone() })
    };
    (1..).zip(given).map(key).collect()
}

fn tokens(name: &SourceName, given: Option<&AzureTokens>) -> Result<Option<Verifier>, Error> {
    let Some(AzureTokens { tenant, audiences, applications, keys_url }) = given else { return Ok(None) };
    let authority = entra::AUTHORITY;
    let keys_url = keys_url.clone().unwrap_or_else(|| format!("{authority}/{tenant}/discovery/v2.0/keys"));
    let rules = Rules {
        keys_url,
        // Tokens of the first version of the platform and of the second.
        issuers: vec![format!("https://sts.windows.net/{tenant}/"), format!("{authority}/{tenant}/v2.0")],
        audiences: audiences.clone(),
        claims: vec![Claim { names: vec!["appid".into(), "azp".into()], values: applications.clone() }],
    };
    let client = Client::with(&client::Settings::default()).map_err(|e| unusable(name, &e))?;
    Verifier::new(rules, client).map(Some).map_err(|e| unusable(name, &e))
}

fn webhook(name: &SourceName, given: &EventGridWebhook) -> Result<Connected, Error> {
    let known = keys(name, "webhook", &given.keys)?;
    let manual = given.manual_validation.then(Validation::new).transpose().map_err(|e| unusable(name, &e))?;
    let config = WebhookConfig {
        keys: known.iter().map(|known| known.key.clone()).collect(),
        tokens: tokens(name, given.entra.as_ref())?,
        manual_validation: manual,
        ..WebhookConfig::new(name.clone(), given.path.clone())
    };
    let endpoint = Webhook::new(config).map_err(|e| unusable(name, &e))?;
    Ok(Connected::Push { endpoint: Box::new(endpoint), bus: given.bus.clone(), keys: known, validate: given.validate })
}

fn publish(name: &SourceName, given: &EventGridPublish) -> Result<Connected, Error> {
    let known = keys(name, "publish", &given.keys)?;
    let base = PublishConfig::new(name.clone());
    let config = PublishConfig {
        path: given.path.clone(),
        topics: given.topics.clone(),
        topic: given.topic.clone().unwrap_or_else(|| base.topic.clone()),
        keys: known.iter().map(|known| known.key.clone()).collect(),
        tokens: tokens(name, given.entra.as_ref())?,
        ..base
    };
    let endpoint = Publish::new(config).map_err(|e| unusable(name, &e))?;
    Ok(Connected::Push { endpoint: Box::new(endpoint), bus: given.bus.clone(), keys: known, validate: given.validate })
}

fn pull(name: &SourceName, given: &EventGridPull) -> Result<Connected, Error> {
    let shown = Shown { key: given.key.as_ref(), sas: given.sas.as_ref(), entra: given.entra.as_ref() };
    let auth = shown.auth(&format!("sources.{name}.event_grid.pull"))?.ok_or_else(|| unusable(name, &NO_AUTH))?;
    let (topic, subscription) = (given.topic.clone(), given.subscription.clone());
    let config = PullConfig {
        events_max: given.events_max,
        wait: given.wait,
        polls: given.polls.into(),
        renew_every: given.renew_every,
        on_invalid: on_invalid(given.on_invalid),
        private: given.allow_private.into(),
        tls: tls(given.tls.as_ref()),
        ..PullConfig::new(name.clone(), given.endpoint.clone(), topic, subscription, auth)
    };
    let client = Client::with(&config.client()).map_err(|e| unusable(name, &e))?;
    let source = Arc::new(Pull::new(config, &client).map_err(|e| unusable(name, &e))?);
    Ok(Connected::Pull { source, bus: given.bus.clone(), validate: given.validate })
}
