//! A function of Lambda, invoked for each event: the payload is the CloudEvent as JSON.
//!
//! | invocation | what is delivered | what the answer is |
//! |---|---|---|
//! | request-response | what the function has done its work for | its result: nothing, a CloudEvent, or an array of them, for routes with `reply` |
//! | event | what Lambda has queued; it calls the function by itself, up to three times | none |
//!
//! One call of the API is made, and signed with the SDK's own signer: the whole client of Lambda would cost more time to
//! build than all the rest of AWS together.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use router_core::{
    id::TargetName,
    reply::{REPLIES_BYTES_MAX, ReplyTo},
    source::RawEvent,
    target::{BatchLimits, Delivery, Facts, Outcome, Partial, Rate, Reason, Scope, Target},
};
use router_http::{
    client::{self, Answer, Client, ERROR_BYTES_MAX},
    target::{Verdict, answer, trace, verdict},
};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{DEADLINE_MARGIN, Failure, TIMEOUT, note, of_code, timed};
use crate::{
    auth::{self, Account, Accounts, ConfigError, Settings},
    wire,
};

/// Calls at a time, when nothing else is configured.
pub const LAMBDA_IN_FLIGHT_MAX: usize = 64;
/// Lambda lets no function run longer.
pub const LAMBDA_TIMEOUT_MAX: Duration = Duration::from_secs(900);
/// Credentials that end sooner are had anew.
const CREDENTIALS_LEFT_MIN: Duration = Duration::from_secs(300);
/// What is encoded in a function's name, so that it is one part of a path.
const HEX: &[u8; 16] = b"0123456789ABCDEF";

const INVOCATION_TYPE: &str = "x-amz-invocation-type";
const FUNCTION_ERROR: &str = "x-amz-function-error";
const ERROR_TYPE: &str = "x-amzn-errortype";
const REQUEST_ID: &str = "x-amzn-requestid";
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Who waits for the function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Invocation {
    /// The router: a delivery is done when the function is.
    #[default]
    RequestResponse,
    /// Lambda: a delivery is done when it is queued there.
    Event,
}

/// A function as it is configured.
#[derive(Clone, Debug)]
pub struct LambdaConfig {
    /// The operator's name for it.
    pub name: TargetName,
    /// Its name, `NAME:ALIAS`, or its ARN.
    pub function: String,
    /// Who the router is to AWS, and where; without a region, that of the ARN.
    pub settings: Settings,
    /// Who waits for it.
    pub invocation: Invocation,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Calls at a time.
    pub in_flight_max: usize,
    /// How fast.
    pub rate: Option<Rate>,
}

impl LambdaConfig {
    /// With everything as it is unless it is said otherwise.
    pub fn new(name: TargetName, function: impl Into<String>) -> Self {
        LambdaConfig {
            name,
            function: function.into(),
            settings: Settings::default(),
            invocation: Invocation::default(),
            timeout: TIMEOUT,
            in_flight_max: LAMBDA_IN_FLIGHT_MAX,
            rate: None,
        }
    }
}

/// A function of Lambda.
pub struct Lambda {
    config: LambdaConfig,
    account: Arc<Account>,
    client: Client,
    credentials: Mutex<Option<Credentials>>,
}

impl Lambda {
    /// Checks the configuration; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(config: LambdaConfig, accounts: &Accounts, client: Client) -> Result<Self, ConfigError> {
        let mut config = config;
        let name = |c: char| c.is_ascii_alphanumeric() || ":-_$".contains(c);
        let function = &config.function;
        if function.is_empty() || function.len() > 170 || !function.chars().all(name) {
            let message = format!("`{function}` is no function; write its name, `NAME:ALIAS`, or its ARN");
            return Err(ConfigError::new(&["function"], message));
        }
        if config.in_flight_max == 0 {
            return Err(ConfigError::new(&["in_flight_max"], "without a call nothing is delivered; write 1 or more"));
        }
        if config.timeout > LAMBDA_TIMEOUT_MAX {
            return Err(ConfigError::new(&["timeout"], "Lambda ends every function after `15m`; write that or less"));
        }
        config.settings.check()?;
        if config.settings.region.is_none() && auth::is_arn_of(&config.function, "lambda") {
            config.settings.region = auth::region_of(&config.function).map(str::to_owned);
        }
        let account = accounts.get(&config.settings);
        Ok(Lambda { config, account, client, credentials: Mutex::new(None) })
    }

    /// Credentials that last for a while.
    async fn credentials(&self) -> Result<Credentials, Box<str>> {
        let mut kept = self.credentials.lock().await;
        let least = SystemTime::now() + CREDENTIALS_LEFT_MIN;
        if let Some(known) = kept.as_ref().filter(|known| known.expiry().is_none_or(|end| end > least)) {
            return Ok(known.clone());
        }
        let provider = self.account.config().await?.credentials_provider();
        let provider = provider.ok_or("no credentials are configured, and the environment has none")?;
        let fresh = provider.provide_credentials().await.map_err(|e| format!("no credentials can be had: {e}"))?;
        Ok(kept.insert(fresh).clone())
    }

    /// Where the function is called.
    async fn url(&self) -> Result<(String, String), Box<str>> {
        let config = self.account.config().await?;
        let region = config.region().map(|region| region.as_ref().to_owned()).unwrap_or_default();
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let own = || format!("https://lambda.{region}.{domain}");
        let base = self.account.endpoint().map_or_else(own, |url| url.trim_end_matches('/').to_owned());
        Ok((format!("{base}/2015-03-31/functions/{}/invocations", encoded(&self.config.function)), region))
    }

    /// A request, signed.
    async fn request(
        &self,
        body: Bytes,
        kind: &'static str,
        traced: Option<String>,
    ) -> Result<Request<Bytes>, Box<str>> {
        let (url, region) = self.url().await?;
        let identity: Identity = self.credentials().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name("lambda")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|e| format!("the request cannot be signed: {e}"))?;
        let params = SigningParams::from(params);
        let unsigned = |e: &dyn std::fmt::Display| Box::<str>::from(format!("the request cannot be signed: {e}"));
        let headers = [(INVOCATION_TYPE, kind)];
        let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(&body));
        let signed = sign(signable.map_err(|e| unsigned(&e))?, &params).map_err(|e| unsigned(&e))?;
        let mut request = Request::new(body.clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.parse().map_err(|e| unsigned(&e))?;
        request.headers_mut().insert(HeaderName::from_static(INVOCATION_TYPE), HeaderValue::from_static(kind));
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(Ok(trace)) = traced.map(HeaderValue::try_from) {
            request.headers_mut().insert(TRACE_ID, trace);
        }
        signed.into_parts().0.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    async fn invoke(&self, delivery: &Delivery) -> Outcome {
        let start = Instant::now();
        let took = |outcome: Outcome| timed(outcome, start);
        let body = Bytes::from(schemas::json::encode(&delivery.event));
        let kind = match self.config.invocation {
            Invocation::RequestResponse => "RequestResponse",
            Invocation::Event => "Event",
        };
        let traced = wire::trace_header(&trace::traceparent(delivery));
        let request = match tokio::time::timeout(self.config.timeout, self.request(body, kind, traced)).await {
            Ok(Ok(request)) => request,
            Ok(Err(why)) => return took(Failure::of_target(&why).outcome(Facts::default())),
            Err(_) => {
                let none = Failure::of_target("no credentials could be had in time");
                return took(none.outcome(Facts::default()));
            }
        };
        let left = self.config.timeout.saturating_sub(start.elapsed());
        let bytes_max = if delivery.reply.is_some() { REPLIES_BYTES_MAX } else { ERROR_BYTES_MAX };
        match self.client.send(request, left, bytes_max).await {
            Ok(answer) => took(judge(&answer, delivery.reply.as_ref())),
            Err(error @ client::Error::Connect { .. }) => {
                took(Failure::of_target(&error.to_string()).outcome(Facts::default()))
            }
            Err(error) => took(Failure::of_event(&error.to_string()).outcome(Facts::default())),
        }
    }
}

/// One part of a path.
fn encoded(name: &str) -> String {
    let mut part = String::with_capacity(name.len() + 8);
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            part.push(char::from(b));
        } else {
            part.push('%');
            for digit in [b >> 4, b & 15] {
                part.push(HEX.get(usize::from(digit)).copied().map_or('0', char::from));
            }
        }
    }
    part
}

/// What a function says that failed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    #[serde(rename = "errorType")]
    kind: Option<String>,
    #[serde(rename = "errorMessage", alias = "message", alias = "Message")]
    message: Option<String>,
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What an answer means.
fn judge(answer: &Answer, to: Option<&ReplyTo>) -> Outcome {
    let status = answer.status.as_u16();
    let facts = Facts {
        status: Some(status),
        reference: text(&answer.headers, REQUEST_ID).map(Into::into),
        ..Facts::default()
    };
    let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
    let message = said.message.as_deref().unwrap_or("no reason is given");
    if !(200..300).contains(&status) {
        // `TYPE:http://…` of the service.
        let code = text(&answer.headers, ERROR_TYPE).and_then(|kind| kind.split(':').next()).unwrap_or_default();
        let verdict = of_code(code).unwrap_or_else(|| verdict(status));
        return Failure { verdict, status: Some(status), note: note(&format!("{code}: {message}")) }.outcome(facts);
    }
    if text(&answer.headers, FUNCTION_ERROR).is_some() {
        let kind = said.kind.as_deref().unwrap_or("the function failed");
        // What functions of our own host say by the beginning of the type; any other failure may pass.
        let verdict = match kind.split('.').next() {
            Some("Refused") => Verdict::Refused,
            Some("Unavailable") => Verdict::Retry { scope: Scope::Target, slow: false },
            _ => Verdict::Retry { scope: Scope::Event, slow: false },
        };
        return Failure { verdict, status: Some(status), note: note(&format!("{kind}: {message}")) }.outcome(facts);
    }
    match to {
        None => Outcome::Delivered { facts, replies: Vec::new() },
        // What broke off says nothing; the function is asked again.
        Some(_) if answer.cut && answer.body.len() < REPLIES_BYTES_MAX => {
            let broke = "the answer, whose events are wanted, broke off or was not complete in time";
            Failure::of_event(broke).outcome(facts)
        }
        Some(to) => Outcome::Delivered { facts, replies: replies(&answer.body, answer.cut, to) },
    }
}

/// The events of a function's result.
fn replies(body: &Bytes, cut: bool, to: &ReplyTo) -> Vec<RawEvent> {
    let kind = match body.trim_ascii() {
        b"" | b"null" => return Vec::new(),
        [b'[', ..] => schemas::json::BATCH_MEDIA_TYPE,
        [b'{', ..] => schemas::json::MEDIA_TYPE,
        _ => "application/json",
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
    answer::replies(&headers, body, cut, to)
}

#[async_trait]
impl Target for Lambda {
    fn name(&self) -> &TargetName {
        &self.config.name
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            in_flight_max: self.config.in_flight_max,
            partial: Partial::PerEvent,
            deadline: self.config.timeout.saturating_add(DEADLINE_MARGIN),
            rate: self.config.rate,
            ..BatchLimits::default()
        }
    }

    /// A dry run: Lambda looks whether the function is there and may be called, and calls nothing.
    async fn check(&self) -> Result<(), Reason> {
        let request = self.request(Bytes::from_static(b"{}"), "DryRun", None).await.map_err(Reason)?;
        let answer = self.client.send(request, self.config.timeout, ERROR_BYTES_MAX).await;
        let answer = answer.map_err(|e| Reason(note(&e.to_string())))?;
        match judge(&answer, None) {
            Outcome::Delivered { .. } => Ok(()),
            other => Err(Reason(other.facts().note.clone().unwrap_or_default())),
        }
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            outcomes.push(self.invoke(delivery).await);
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use router_core::id::RouteName;
    use schemas::Event;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let headers = headers.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
            cut: false,
        }
    }

    #[test]
    fn an_answer_means_what_lambda_and_the_function_say() {
        let failed = |kind: &'static str| answer(200, &[("x-amz-function-error", "Unhandled")], kind);
        let is = |answer: Answer| match judge(&answer, None) {
            Outcome::Delivered { .. } => "delivered",
            Outcome::Refused { .. } => "refused",
            Outcome::Retry { scope: Scope::Event, .. } => "event",
            Outcome::Retry { not_before: Some(_), .. } => "slow",
            Outcome::Retry { .. } => "target",
            Outcome::Stop { .. } => "stop",
        };
        assert_eq!(is(answer(200, &[], "null")), "delivered");
        assert_eq!(is(answer(202, &[], "")), "delivered");
        assert_eq!(is(failed(r#"{"errorType":"Refused.bad-order","errorMessage":"no"}"#)), "refused");
        assert_eq!(is(failed(r#"{"errorType":"Unavailable.store","errorMessage":"no"}"#)), "target");
        assert_eq!(is(failed(r#"{"errorType":"ValueError"}"#)), "event");
        assert_eq!(is(failed("no json")), "event");
        assert_eq!(is(answer(404, &[(ERROR_TYPE, "ResourceNotFoundException:http://x")], "{}")), "slow");
        assert_eq!(is(answer(429, &[(ERROR_TYPE, "TooManyRequestsException")], "{}")), "target");
        assert_eq!(is(answer(413, &[(ERROR_TYPE, "RequestTooLargeException")], "{}")), "refused");
        assert_eq!(is(answer(500, &[], "")), "event");
        let outcome = judge(&failed(r#"{"errorType":"Refused.x","errorMessage":"because"}"#), None);
        assert_eq!(outcome.facts().note.as_deref(), Some("Refused.x: because"));
    }

    #[test]
    fn replies_are_what_our_functions_answer_with() {
        let cause = Event::builder("1", "/s", "t").build().unwrap();
        let to = ReplyTo::new(&cause, &RouteName::new("r").unwrap(), &[0; 16]);
        let count = |body: &'static str| {
            let Outcome::Delivered { replies, .. } = judge(&answer(200, &[], body), Some(&to)) else {
                panic!("{body}")
            };
            (replies.len(), replies.iter().filter(|r| r.event.is_ok()).count())
        };
        let event = r#"{"specversion":"1.0","source":"/f","type":"t"}"#;
        assert_eq!(count("null"), (0, 0));
        assert_eq!(count(" "), (0, 0));
        assert_eq!(count(event), (1, 1), "without an id it gets one");
        assert_eq!(count(r#"[{"specversion":"1.0","id":"1","source":"/f","type":"t"},{"no":"event"}]"#), (2, 1));
        assert_eq!(count(r#"{"statusCode":200}"#), (1, 0), "kept, and no event");
        assert_eq!(count(r#""done""#), (1, 0));
    }

    #[test]
    fn names_are_one_part_of_a_path() {
        assert_eq!(
            encoded("arn:aws:lambda:us-east-1:1:function:f:$LATEST"),
            "arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af%3A%24LATEST"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let client = || router_http::client::Clients::default().get(router_http::client::Settings::default()).unwrap();
        let config = |function: &str| LambdaConfig::new(TargetName::new("t").unwrap(), function);
        let cases = [
            (config(""), "function"),
            (config("two words"), "function"),
            (config("../x"), "function"),
            (LambdaConfig { in_flight_max: 0, ..config("f") }, "in_flight_max"),
            (LambdaConfig { timeout: Duration::from_secs(901), ..config("f") }, "timeout"),
        ];
        for (config, key) in cases {
            let refused = Lambda::new(config, &Accounts::default(), client()).err().unwrap();
            assert_eq!(refused.keys.last(), Some(&key), "{refused}");
        }
    }
}
