//! One authorised request to a service of Azure: the deadline holds for the token as well, a token that is not
//! accepted is had anew once, and what may be told of an answer shows no secret.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use router_core::target::{Facts, Outcome, Scope};
use router_http::{
    client::{self, Answer, Client, ERROR_BYTES_MAX, USER_AGENT},
    secret,
    target::{NOTE_BYTES_MAX, NoToken, SLOW, Token, Verdict, verdict, wait_of},
};
use tokio::time::Instant;

use crate::auth::{Authoriser, Shown};

/// Sends requests as one identity.
pub struct Caller {
    client: Client,
    auth: Authoriser,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failed {
    /// There is no token to show.
    Token(NoToken),
    /// Nothing came back.
    Client(client::Error),
}

/// What came of a request, and the token that it showed.
pub struct Sent {
    /// The answer, or why there is none.
    pub answer: Result<Answer, Failed>,
    token: Option<Token>,
}

impl Caller {
    /// A caller whose requests have that long.
    pub fn new(client: Client, auth: Authoriser, timeout: Duration) -> Self {
        Caller { client, auth, timeout }
    }

    /// How long a request has.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Posts a body; reads at most `bytes_max` of the answer.
    pub async fn post(&self, uri: &Uri, headers: HeaderMap, body: Bytes, start: Instant, bytes_max: usize) -> Sent {
        let deadline = start + self.timeout;
        let mut again = true;
        loop {
            let (token, mut headers) = match self.shown(headers.clone(), deadline).await {
                Ok(shown) => shown,
                Err(none) => return Sent { answer: Err(Failed::Token(none)), token: None },
            };
            headers.insert(header::USER_AGENT, USER_AGENT);
            let mut request = Request::new(body.clone());
            *request.method_mut() = Method::POST;
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers;
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.client.send(request, left, bytes_max).await;
            let refused = answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::UNAUTHORIZED);
            if let (true, Some(tokens), Some(token)) = (refused, self.auth.tokens(), &token)
                && std::mem::take(&mut again)
                && tokens.rejected(token).await
            {
                continue;
            }
            return Sent { answer: answer.map_err(Failed::Client), token };
        }
    }

    async fn shown(&self, mut headers: HeaderMap, deadline: Instant) -> Result<(Option<Token>, HeaderMap), NoToken> {
        let token = match (self.auth.shown(SystemTime::now()), self.auth.tokens()) {
            (Shown::Header(name, value), _) => {
                headers.insert(name, value);
                None
            }
            (Shown::Token, None) => None,
            (Shown::Token, Some(tokens)) => {
                let token = tokens.get(deadline).await?;
                headers.insert(header::AUTHORIZATION, token.header.clone());
                Some(token)
            }
        };
        Ok((token, headers))
    }

    /// Connects to where a URL points, after a token was had where one is shown; sends nothing.
    ///
    /// # Errors
    /// One sentence, without a secret.
    pub async fn reach(&self, uri: &Uri) -> Result<(), String> {
        if let Some(tokens) = self.auth.tokens() {
            tokens.get(Instant::now() + self.timeout).await.map_err(|none| none.note)?;
        }
        self.client.connect(uri).await.map_err(|e| self.clean(e.to_string().as_bytes(), false, None))
    }

    /// What may be shown of a text.
    fn clean(&self, text: &[u8], cut: bool, token: Option<&Token>) -> String {
        let mut secrets = token.map(|t| secret::echoes([t.secret.expose().to_owned()])).unwrap_or_default();
        secrets.extend(self.auth.secrets().iter().cloned());
        secret::redact(text, cut, &secrets, NOTE_BYTES_MAX)
    }

    /// What may be told of a request that was not taken: one line.
    pub fn told(&self, sent: &Sent) -> String {
        match &sent.answer {
            Err(Failed::Token(none)) => none.note.clone(),
            Err(Failed::Client(error)) => self.clean(error.to_string().as_bytes(), false, sent.token.as_ref()),
            Ok(answer) => self.clean(&answer.body, answer.cut, sent.token.as_ref()),
        }
    }

    /// What the answer means for what was sent; `several` share it.
    pub fn outcome(&self, sent: &Sent, several: bool, start: Instant) -> Outcome {
        let note = Some(self.told(sent)).filter(|note| !note.is_empty()).map(String::into_boxed_str);
        let facts = Facts { took: start.elapsed(), note, ..Facts::default() };
        let answer = match &sent.answer {
            Ok(answer) => answer,
            Err(Failed::Token(none)) => {
                return Outcome::Retry { facts, scope: Scope::Target, not_before: none.not_before };
            }
            Err(Failed::Client(error)) => {
                // What was sent may have been taken, and it may be this event that the service cannot bear.
                let refused = matches!(error, client::Error::Connect { .. });
                let scope = if refused { Scope::Target } else { Scope::Event };
                return Outcome::Retry { facts, scope, not_before: None };
            }
        };
        let status = answer.status.as_u16();
        let reference = answer.headers.get("x-ms-request-id").and_then(|id| id.to_str().ok()).map(Box::from);
        let facts = Facts { status: Some(status), reference, ..facts };
        match publish_verdict(status) {
            Verdict::Delivered => Outcome::Delivered { facts: Facts { note: None, ..facts }, replies: Vec::new() },
            Verdict::Retry { scope, slow } => {
                let asked = wait_of(&answer.headers);
                let not_before = if slow { Some(asked.unwrap_or_default().max(SLOW)) } else { asked };
                // Which of several would have to wait is not known.
                let scope = if several && not_before.is_some() { Scope::Target } else { scope };
                Outcome::Retry { facts, scope, not_before }
            }
            Verdict::Refused => Outcome::Refused { facts, code: router_core::codes::REFUSED },
            Verdict::Stop => Outcome::Stop { facts, code: router_core::codes::GONE },
        }
    }
}

/// What a status means of who publishes to Event Grid: the webhook's table, but for those that no event is to blame
/// for. A topic that was deleted, moved, or whose name is spelled wrong answers 404, 410 or sends elsewhere, whatever
/// is published; somebody has to mend that, and no event is given up for it meanwhile.
///
/// | status | verdict |
/// |---|---|
/// | 3xx, 401, 403, 404, 405, 410 | retry slowly, the target's fault |
/// | any other | as [`verdict`] |
pub fn publish_verdict(status: u16) -> Verdict {
    match status {
        300..=399 | 404 | 405 | 410 => Verdict::Retry { scope: Scope::Target, slow: true },
        other => verdict(other),
    }
}

/// The head of a request with a JSON body.
pub(crate) fn content_type(kind: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// Bytes that are read of an answer that says little.
pub(crate) const SAID_BYTES_MAX: usize = ERROR_BYTES_MAX;
