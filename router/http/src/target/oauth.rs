//! OAuth 2.0 client credentials (RFC 6749, section 4.4): a token from the target's authorization server,
//! kept until shortly before it ends and renewed by one request at a time, whoever waits for it.
//!
//! A target that answers 401 makes its token be dropped and another be had, at once and at most once in
//! [`DROP_EVERY`]; then 401 means what it means elsewhere. A server that gives no token is a fault of the
//! target: its deliveries wait, and the note says what the server said, without a secret.

use std::{future::Future, pin::Pin, time::Duration};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{SLOW, config::ConfigError, verdict::wait_of};
use crate::{
    client::{self, Client, ERROR_BYTES_MAX, USER_AGENT},
    secret::{self, Secret},
};

/// How long before its end a token is renewed; one that lives less than twice as long, at half its life.
pub const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// How long a token is taken to live when the server does not say.
pub const LIFE: Duration = Duration::from_secs(300);
/// A token that a target does not accept is dropped at most this often.
pub const DROP_EVERY: Duration = Duration::from_secs(60);
/// What the server said last is told to everybody who asks so soon after, in place of asking it again.
pub const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Bytes of what a server says that a note repeats.
const SAID_BYTES_MAX: usize = 512;

/// How the client names itself to the authorization server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// In `Authorization: Basic …`, which every server has to take (RFC 6749, section 2.3.1).
    #[default]
    Basic,
    /// As `client_id` and `client_secret` in the body.
    Post,
}

/// Client credentials as they are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth {
    /// Where tokens are had.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// What shows it.
    pub client_secret: Secret,
    /// What the token is for, as the server names it; several with spaces between.
    pub scope: Option<String>,
    /// For whom the token is, where a server asks for it.
    pub audience: Option<String>,
    /// How the client names itself.
    pub client_auth: ClientAuth,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub struct NoToken {
    /// What happened, without a secret.
    pub note: String,
    /// Not before this long.
    pub not_before: Option<Duration>,
}

/// A token in use.
#[derive(Clone)]
pub struct Token {
    /// What `Authorization` says.
    pub header: HeaderValue,
    /// The token itself, which no note may show.
    pub secret: Secret,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    dropped: Option<Instant>,
    failed: Option<(Instant, NoToken)>,
}

/// Makes the request for a token, anew each time: what shows who asks may have changed since.
pub type Ask = Box<dyn Fn() -> Result<Request<Bytes>, String> + Send + Sync>;

/// A token as a library of the service gives it.
pub struct Fetched {
    /// The token.
    pub token: String,
    /// How long it is good for.
    pub life: Duration,
}

/// A token on its way; an error is one sentence without a secret.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, String>> + Send>>;
/// Has a library give the token in use.
pub type Fetch = Box<dyn Fn() -> Fetching + Send + Sync>;

/// Has tokens and keeps them.
pub struct Tokens {
    from: From,
    secrets: Vec<Secret>,
    state: Mutex<State>,
}

/// Where tokens are had.
#[expect(clippy::large_enum_variant, reason = "there is one for each target, made at the start")]
enum From {
    Server { uri: Uri, ask: Ask, client: Client },
    Library { name: &'static str, fetch: Fetch },
}

impl From {
    /// What notes call it.
    fn name(&self) -> String {
        match self {
            From::Server { uri, .. } => client::host(uri),
            From::Library { name, .. } => (*name).to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl Tokens {
    /// Checks the settings; connects nowhere.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(oauth: &OAuth, client: Client) -> Result<Self, ConfigError> {
        let uri = client::url(&oauth.token_url).map_err(|e| ConfigError::TokenUrl(e.0))?;
        if oauth.client_id.is_empty() || oauth.client_secret.expose().is_empty() {
            return Err(ConfigError::OAuth("`client_id` and `client_secret` are not empty"));
        }
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(oauth.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(oauth.audience.as_deref().map(|audience| ("audience", audience)));
        let secret = oauth.client_secret.expose();
        let mut secrets = vec![secret.to_owned(), encoded(secret)];
        let mut headers = HeaderMap::new();
        match oauth.client_auth {
            ClientAuth::Basic => {
                // RFC 6749, section 2.3.1: both are encoded as in a form first.
                let pair = format!("{}:{}", encoded(&oauth.client_id), encoded(secret));
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
                    .map_err(|_| ConfigError::OAuth("no header can carry these credentials"))?;
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
                secrets.push(pair);
            }
            ClientAuth::Post => form.extend([("client_id", oauth.client_id.as_str()), ("client_secret", secret)]),
        }
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let body = Bytes::from(body.join("&"));
        let to = uri.clone();
        let ask = Box::new(move || Ok(request(Method::POST, &to, &headers, &body)));
        Ok(Self::asking(uri, ask, secret::echoes(secrets), client))
    }

    /// Tokens that are asked for in another way, at this URL. An answer is read as RFC 6749, section 5.1, writes it;
    /// `secrets` are what no note may show.
    pub fn asking(uri: Uri, ask: Ask, secrets: Vec<Secret>, client: Client) -> Self {
        Tokens { from: From::Server { uri, ask, client }, secrets, state: Mutex::default() }
    }

    /// Tokens that a library of this service has and renews.
    pub fn fetching(name: &'static str, fetch: Fetch) -> Self {
        Tokens { from: From::Library { name, fetch }, secrets: Vec::new(), state: Mutex::default() }
    }

    /// What notes must not show.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// The token in use, or a new one; waits for no longer than until `deadline`.
    ///
    /// # Errors
    /// [`NoToken`]: a fault of the target, whose deliveries wait.
    pub async fn get(&self, deadline: Instant) -> Result<Token, NoToken> {
        let name = self.from.name();
        let late = || NoToken { note: format!("no token from {name} in time"), not_before: None };
        let mut state = tokio::time::timeout_at(deadline, self.state.lock()).await.map_err(|_| late())?;
        let now = Instant::now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.clone());
        }
        if let Some((_, failed)) = state.failed.as_ref().filter(|(at, _)| now < *at + FAILURE_KEPT) {
            let old = state.token.as_ref().filter(|token| now < token.ends_at).cloned();
            return old.ok_or_else(|| failed.clone());
        }
        let asked = match &self.from {
            From::Server { uri, ask, client } => {
                self.ask(uri, ask, client, deadline.saturating_duration_since(now)).await
            }
            From::Library { fetch, .. } => match tokio::time::timeout_at(deadline, fetch()).await {
                Ok(fetched) => {
                    fetched.and_then(|f| token(&f.token, f.life, now).map_err(|why| format!("{name}: it {why}")))
                }
                Err(_) => return Err(late()),
            }
            .map_err(|why| NoToken {
                note: format!("no token: {}", secret::redact(why.as_bytes(), false, &self.secrets, SAID_BYTES_MAX)),
                not_before: None,
            }),
        };
        match asked {
            Ok(token) => {
                (state.token, state.failed) = (Some(token.clone()), None);
                Ok(token)
            }
            Err(failed) => {
                state.failed = Some((Instant::now(), failed.clone()));
                let Some(old) = state.token.as_ref().filter(|token| Instant::now() < token.ends_at) else {
                    return Err(failed);
                };
                tracing::warn!(code = %crate::codes::TOKEN_NOT_RENEWED, why = %failed.note, "a token was not renewed; the one in use goes on until it ends");
                Ok(old.clone())
            }
        }
    }

    /// The target did not accept this token: whether another try, with another token, makes sense.
    pub async fn rejected(&self, token: &Token) -> bool {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_none_or(|now| now.header != token.header) {
            return true;
        }
        if state.dropped.is_some_and(|at| at.elapsed() < DROP_EVERY) {
            return false;
        }
        (state.token, state.dropped) = (None, Some(Instant::now()));
        true
    }

    async fn ask(&self, uri: &Uri, ask: &Ask, client: &Client, timeout: Duration) -> Result<Token, NoToken> {
        let request = ask();
        let request = request.map_err(|why| NoToken { note: format!("no token: {why}"), not_before: None })?;
        let asked = Instant::now();
        let answer = client.send(request, timeout, ERROR_BYTES_MAX).await.map_err(|e| NoToken {
            note: format!(
                "no token: {}",
                secret::redact(e.to_string().as_bytes(), false, &self.secrets, SAID_BYTES_MAX)
            ),
            not_before: None,
        })?;
        let host = client::host(uri);
        if answer.status != StatusCode::OK {
            let said = secret::redact(&answer.body, answer.cut, &self.secrets, SAID_BYTES_MAX);
            let slow = answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS;
            let asked = wait_of(&answer.headers);
            let not_before = if slow { Some(asked.unwrap_or_default().max(SLOW)) } else { asked };
            return Err(NoToken {
                note: format!("no token: {host} answered {}: {said}", answer.status.as_u16()),
                not_before,
            });
        }
        // What a success says is never shown: it holds the token.
        granted(&answer.body, asked)
            .map_err(|why| NoToken { note: format!("no token: the answer of {host} {why}"), not_before: Some(SLOW) })
    }
}

fn request(method: Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Request<Bytes> {
    let mut request = Request::new(body.clone());
    *request.method_mut() = method;
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    request
}

fn granted(body: &[u8], asked: Instant) -> Result<Token, &'static str> {
    let granted: Granted = serde_json::from_slice(body).map_err(|_| "is no JSON object with an `access_token`")?;
    if granted.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("has a `token_type` other than Bearer");
    }
    let seconds = match &granted.expires_in {
        serde_json::Value::Number(number) => number.as_f64(),
        // Some servers write numbers as text.
        serde_json::Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // A day at most: a longer life is kept shorter, and no arithmetic of a stranger's number overflows.
    let life = seconds.map_or(LIFE, |s| Duration::try_from_secs_f64(s.clamp(0.0, 86_400.0)).unwrap_or(LIFE));
    token(&granted.access_token, life, asked)
}

/// A token that was asked for then, and is good for so long.
fn token(text: &str, life: Duration, asked: Instant) -> Result<Token, &'static str> {
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("has an `access_token` that no header can carry");
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| "has no usable `access_token`")?;
    header.set_sensitive(true);
    let life = life.min(Duration::from_secs(86_400));
    let renew_after = life.saturating_sub(RENEW_BEFORE).max(life / 2);
    Ok(Token { header, secret: Secret::new(text), renew_at: asked + renew_after, ends_at: asked + life })
}

/// As `application/x-www-form-urlencoded` writes it.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_as_the_web_does() {
        assert_eq!(encoded("a b+c/é*-._~:"), "a+b%2Bc%2F%C3%A9*-._%7E%3A");
    }

    #[test]
    fn answers_of_token_servers_are_read_with_care() {
        let now = Instant::now();
        let read = |body: &str| {
            granted(body.as_bytes(), now).map(|t| ((t.renew_at - now).as_secs(), (t.ends_at - now).as_secs()))
        };
        assert_eq!(read(r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#), Ok((3540, 3600)));
        assert_eq!(read(r#"{"access_token":"t","expires_in":"100"}"#), Ok((50, 100)));
        assert_eq!(read(r#"{"access_token":"t"}"#), Ok((240, 300)));
        assert_eq!(read(r#"{"access_token":"t","expires_in":1e300}"#), Ok((86_340, 86_400)));
        assert_eq!(read(r#"{"access_token":"t","expires_in":-5}"#), Ok((0, 0)));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
