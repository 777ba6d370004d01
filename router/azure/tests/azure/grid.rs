//! Event Grid, played: nothing of it can be installed on one machine. What it does is taken from Microsoft's
//! documentation and API specification:
//!
//! * a custom topic takes lists of at most 5,000 events and 1 MiB, in the schema that it was made with, whole or not at
//!   all, from who shows its key or a signature made with it;
//! * a namespace topic takes CloudEvents in three modes, and answers with a JSON object;
//! * a subscription of it hands events out under locks (`:receive`), and hears of them (`:acknowledge`, `:release`,
//!   `:reject`, `:renewLock`); what it hears nothing of is there again when its lock ends;
//! * Entra ID gives a token for a client's secret.

#![expect(clippy::result_large_err, reason = "what is played answers a few hundred requests")]

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use router_azure::auth::sas;
use router_http::Secret;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

/// The key of the topic and of the namespace.
pub const KEY: &str = "a2V5IG9mIHRoZSBwbGF5ZWQgRXZlbnQgR3JpZA==";
/// The client that may have tokens, and what shows it.
pub const CLIENT: (&str, &str) = ("11111111-2222-3333-4444-555555555555", "client secret/+=");

/// A request that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Taken {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A message of the subscription.
#[derive(Clone, Debug)]
struct Message {
    event: Box<str>,
    deliveries: u32,
    /// Its lock, and when that ends.
    lock: Option<(String, Instant)>,
    /// Not handed out before.
    after: Instant,
}

#[derive(Default)]
struct State {
    script: VecDeque<(u16, &'static str)>,
    taken: Vec<Taken>,
    asked: BTreeMap<String, usize>,
    messages: VecDeque<Message>,
    acknowledged: Vec<Value>,
    rejected: Vec<Value>,
    released: Vec<(Value, u64)>,
    renewed: usize,
    locks: u64,
    tokens: usize,
    tokens_refused: usize,
    keys: Option<String>,
}

/// How it is played.
#[derive(Clone, Debug)]
pub struct Play {
    /// The custom topic takes Event Grid's own schema.
    pub own_schema: bool,
    /// How long a lock is held.
    pub lock: Duration,
}

impl Default for Play {
    fn default() -> Self {
        Play { own_schema: false, lock: Duration::from_secs(60) }
    }
}

/// A played Event Grid, at a port of its own.
pub struct Grid {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    woken: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Grid {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Grid {
    pub async fn start(play: Play) -> Grid {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (state, woken) = (Arc::new(Mutex::new(State::default())), Arc::new(Notify::new()));
        let (shared, wake) = (state.clone(), woken.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, woken, play) = (shared.clone(), wake.clone(), play.clone());
                let service = service_fn(move |request| {
                    let (state, woken, play) = (state.clone(), woken.clone(), play.clone());
                    async move { Ok::<_, std::convert::Infallible>(answer(request, &state, &woken, &play).await) }
                });
                tokio::spawn(async move {
                    // Who breaks a connection off has reasons of its own.
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Grid { addr, state, woken, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next publishes are answered with these statuses, and `Retry-After` where there is one.
    pub fn script(&self, answers: &[(u16, &'static str)]) {
        self.state().script.extend(answers);
    }

    /// The next so many tokens are refused where they are shown.
    pub fn refuse_tokens(&self, count: usize) {
        self.state().tokens_refused = count;
    }

    /// Tokens that were given.
    pub fn tokens(&self) -> usize {
        self.state().tokens
    }

    /// Keys that are published at `/keys`; without, it answers 500.
    pub fn publish_keys(&self, keys: String) {
        self.state().keys = Some(keys);
    }

    /// What was taken, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    /// Puts events into the subscription.
    pub fn put(&self, events: impl IntoIterator<Item = String>) {
        let after = Instant::now();
        let message = |event: String| Message { event: event.into(), deliveries: 0, lock: None, after };
        self.state().messages.extend(events.into_iter().map(message));
        self.woken.notify_waiters();
    }

    /// Messages that are neither acknowledged nor rejected.
    pub fn waiting(&self) -> usize {
        self.state().messages.len()
    }

    pub fn acknowledged(&self) -> Vec<Value> {
        self.state().acknowledged.clone()
    }

    pub fn rejected(&self) -> Vec<Value> {
        self.state().rejected.clone()
    }

    /// What was released, and with which delay.
    pub fn released(&self) -> Vec<(Value, u64)> {
        self.state().released.clone()
    }

    pub fn renewed(&self) -> usize {
        self.state().renewed
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.state().asked.get(path).copied().unwrap_or(0)
    }
}

type Answer = Response<Full<Bytes>>;

fn said(status: u16, body: impl Into<String>) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body.into())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json; charset=utf-8".parse().unwrap());
    response.headers_mut().insert("x-ms-request-id", "played-1".parse().unwrap());
    response
}

fn error(status: u16, message: &str) -> Answer {
    said(status, json!({"error": {"code": "Played", "message": message}}).to_string())
}

async fn answer(request: Request<Incoming>, state: &Mutex<State>, woken: &Notify, play: &Play) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return error(400, "the body broke off") };
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    *state.lock().unwrap().asked.entry(path.clone()).or_default() += 1;
    let taken = Taken { path: path.clone(), headers: head.headers, body: body.to_bytes() };
    let verb = path.rsplit_once(':').map(|(_, verb)| verb.to_owned());
    match (path.as_str(), verb.as_deref()) {
        ("/keys", _) => {
            state.lock().unwrap().keys.clone().map_or_else(|| error(500, "no keys"), |keys| said(200, keys))
        }
        ("/tenant/oauth2/v2.0/token", _) => token(&taken, state),
        ("/msi/token", _) => machine_token(&taken, &query, state),
        ("/api/events", _) => publish(taken, state, |taken| custom(taken, play), &query, "2018-01-01"),
        (path, Some("publish")) if path.starts_with("/topics/") => {
            publish(taken, state, namespace, &query, "2024-06-01")
        }
        ("/topics/coffee/eventsubscriptions/router:receive", _) => receive(&taken, &query, state, woken, play).await,
        (path, Some(verb)) if path.starts_with("/topics/coffee/eventsubscriptions/router:") => {
            settle(&taken, verb, &query, state, play)
        }
        _ => error(404, "no such resource"),
    }
}

/// Whether a request shows the key, a signature made with it, or a token that was given.
fn known(taken: &Taken, state: &Mutex<State>) -> Result<(), Answer> {
    let authorization = taken.header("authorization").unwrap_or_default();
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        let mut state = state.lock().unwrap();
        if state.tokens_refused > 0 {
            state.tokens_refused -= 1;
            return Err(error(401, &format!("the token {token} is not accepted")));
        }
        let given = token.strip_prefix("token-").and_then(|n| n.parse::<usize>().ok());
        return match given.is_some_and(|n| n <= state.tokens) {
            true => Ok(()),
            false => Err(error(401, "no such token")),
        };
    }
    let signature = taken.header("aeg-sas-token").or_else(|| authorization.strip_prefix("SharedAccessSignature "));
    if let Some(signature) = signature {
        let checked = sas::verify(signature, [&Secret::new(KEY)], &taken.path, SystemTime::now());
        return checked.map_err(|e| error(401, &e.to_string()));
    }
    let key = taken.header("aeg-sas-key").or_else(|| authorization.strip_prefix("SharedAccessKey "));
    match key {
        Some(KEY) => Ok(()),
        // The real one repeats nothing; one that does must not put the key into a note.
        other => Err(error(401, &format!("the key {other:?} is wrong"))),
    }
}

fn publish(
    taken: Taken,
    state: &Mutex<State>,
    check: impl Fn(&Taken) -> Result<Vec<String>, Answer>,
    query: &str,
    version: &str,
) -> Answer {
    if let Err(unknown) = known(&taken, state) {
        return unknown;
    }
    if query != format!("api-version={version}") {
        return error(400, "no such version");
    }
    let scripted = state.lock().unwrap().script.pop_front();
    if let Some((status, retry_after)) = scripted {
        let mut answer = error(status, &format!("scripted; you sent {KEY}"));
        if !retry_after.is_empty() {
            answer.headers_mut().insert("retry-after", retry_after.parse().unwrap());
        }
        return answer;
    }
    if taken.body.len() > 1 << 20 {
        return error(413, "larger than 1 MB");
    }
    match check(&taken) {
        Err(refused) => refused,
        Ok(events) => {
            let body = if taken.path.starts_with("/topics/") { "{}" } else { "" };
            let after = Instant::now();
            let mut state = state.lock().unwrap();
            if taken.path == "/topics/coffee:publish" {
                let message = |event: String| Message { event: event.into(), deliveries: 0, lock: None, after };
                state.messages.extend(events.into_iter().map(message));
            }
            state.taken.push(taken);
            said(200, body)
        }
    }
}

/// What a custom topic takes.
fn custom(taken: &Taken, play: &Play) -> Result<Vec<String>, Answer> {
    let kind = if play.own_schema { "application/json" } else { "application/cloudevents-batch+json" };
    if !taken.header("content-type").unwrap_or_default().starts_with(kind) {
        return Err(error(400, "this topic takes another schema"));
    }
    let events: Vec<Value> = serde_json::from_slice(&taken.body).map_err(|_| error(400, "no list"))?;
    if events.len() > 5_000 {
        return Err(error(413, "more than 5000 events"));
    }
    let members: &[&str] = match play.own_schema {
        true => &["id", "subject", "eventType", "eventTime", "dataVersion"],
        false => &["id", "source", "type", "specversion"],
    };
    let whole = |event: &Value| members.iter().all(|name| event[name].is_string());
    // A topic that was told to: for events that no topic takes.
    if !events.iter().all(|event| whole(event) && event["type"] != "poison") {
        return Err(error(400, "an event is not of the schema"));
    }
    Ok(Vec::new())
}

/// What a namespace topic takes: one event, binary or structured, or a list.
fn namespace(taken: &Taken) -> Result<Vec<String>, Answer> {
    let text = String::from_utf8(taken.body.to_vec()).map_err(|_| error(400, "no text"))?;
    let kind = taken.header("content-type").unwrap_or_default();
    if kind.starts_with("application/cloudevents-batch+json") {
        let events: Vec<Box<serde_json::value::RawValue>> =
            serde_json::from_str(&text).map_err(|_| error(400, "no list"))?;
        return Ok(events.into_iter().map(|event| event.get().to_owned()).collect());
    }
    if kind.starts_with("application/cloudevents+json") {
        return Ok(vec![text]);
    }
    match taken.header("ce-id") {
        Some(_) => {
            let event = schemas::http::decode_binary(&taken.headers, taken.body.clone());
            let event = event.map_err(|e| error(400, &e.to_string()))?;
            Ok(vec![String::from_utf8(schemas::json::encode(&event)).unwrap()])
        }
        None => Err(error(400, "no CloudEvent")),
    }
}

fn parameter(query: &str, name: &str) -> Option<u64> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(n, _)| *n == name).and_then(|(_, value)| value.parse().ok())
}

async fn receive(taken: &Taken, query: &str, state: &Mutex<State>, woken: &Notify, play: &Play) -> Answer {
    if let Err(unknown) = known(taken, state) {
        return unknown;
    }
    let count = parameter(query, "maxEvents").unwrap_or(1) as usize;
    let wait = parameter(query, "maxWaitTime").unwrap_or(60);
    if !(1..=100).contains(&count) || !(10..=120).contains(&wait) {
        return error(400, "maxEvents is 1 to 100, maxWaitTime 10 to 120");
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        let handed = hand_out(&mut state.lock().unwrap(), count, play.lock);
        if !handed.is_empty() || Instant::now() >= deadline {
            // The event's own text goes out as it came in.
            return said(200, format!("{{\"value\":[{}]}}", handed.join(",")));
        }
        // Locks that end wake nobody.
        tokio::time::timeout(Duration::from_millis(20), woken.notified()).await.ok();
    }
}

fn hand_out(state: &mut State, count: usize, lock: Duration) -> Vec<String> {
    let now = Instant::now();
    let mut handed = Vec::new();
    let mut locks = state.locks;
    for message in &mut state.messages {
        let locked = message.lock.as_ref().is_some_and(|(_, end)| now < *end);
        if handed.len() >= count || locked || now < message.after {
            continue;
        }
        locks += 1;
        message.deliveries += 1;
        message.lock = Some((format!("lock-{locks}"), now + lock));
        let broker = json!({"lockToken": format!("lock-{locks}"), "deliveryCount": message.deliveries});
        handed.push(format!("{{\"brokerProperties\":{broker},\"event\":{}}}", message.event));
    }
    state.locks = locks;
    handed
}

fn settle(taken: &Taken, verb: &str, query: &str, state: &Mutex<State>, play: &Play) -> Answer {
    if let Err(unknown) = known(taken, state) {
        return unknown;
    }
    let asked = taken.json();
    let Some(tokens) = asked["lockTokens"].as_array() else { return error(400, "no lockTokens") };
    let delay = parameter(query, "releaseDelayInSeconds").unwrap_or(0);
    if ![0, 10, 60, 600, 3600].contains(&delay) {
        return error(400, "no such delay");
    }
    let state = &mut *state.lock().unwrap();
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    let now = Instant::now();
    for token in tokens.iter().filter_map(Value::as_str) {
        let held = |m: &Message| m.lock.as_ref().is_some_and(|(lock, end)| lock == token && now < *end);
        let Some(at) = state.messages.iter().position(held) else {
            failed.push(json!({"lockToken": token, "error": {"code": "TokenLost"}}));
            continue;
        };
        succeeded.push(token);
        // The text was put in by a test; what is no event is kept as a string.
        let event = serde_json::from_str(&state.messages[at].event).unwrap_or(Value::Null);
        match verb {
            "acknowledge" => {
                state.acknowledged.push(event);
                state.messages.remove(at);
            }
            "reject" => {
                state.rejected.push(event);
                state.messages.remove(at);
            }
            "release" => {
                state.released.push((event, delay));
                state.messages[at].lock = None;
                state.messages[at].after = now + Duration::from_secs(delay);
            }
            "renewLock" => {
                state.renewed += 1;
                state.messages[at].lock = Some((token.to_owned(), now + play.lock));
            }
            _ => return error(404, "no such verb"),
        }
    }
    said(200, json!({"succeededLockTokens": succeeded, "failedLockTokens": failed}).to_string())
}

/// Entra ID, for a client with a secret or an assertion.
fn token(taken: &Taken, state: &Mutex<State>) -> Answer {
    let form = String::from_utf8(taken.body.to_vec()).unwrap();
    let field = |name: &str| {
        let value = form.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name);
        value.and_then(|(_, value)| decoded(value)).unwrap_or_default()
    };
    let scope = field("scope") == "https://eventgrid.azure.net/.default";
    let by_secret = field("client_secret") == CLIENT.1;
    let by_assertion = field("client_assertion").starts_with("assertion")
        && field("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let client = field("client_id") == CLIENT.0 && field("grant_type") == "client_credentials";
    if !(scope && client && (by_secret || by_assertion)) {
        return said(401, json!({"error": "invalid_client", "error_description": form}).to_string());
    }
    grant(state)
}

/// A machine's own tokens, as App Service hands them out.
fn machine_token(taken: &Taken, query: &str, state: &Mutex<State>) -> Answer {
    let asked = "api-version=2019-08-01&resource=https%3A%2F%2Feventgrid.azure.net&client_id=mine";
    match taken.header("x-identity-header") == Some("header-secret") && query == asked {
        true => grant(state),
        false => said(400, query.to_owned()),
    }
}

fn grant(state: &Mutex<State>) -> Answer {
    let mut state = state.lock().unwrap();
    state.tokens += 1;
    let token = format!("token-{}", state.tokens);
    said(200, json!({"token_type": "Bearer", "expires_in": "3599", "access_token": token}).to_string())
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?,
            b'+' => b' ',
            plain => plain,
        });
    }
    String::from_utf8(out).ok()
}
