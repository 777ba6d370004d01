//! One question to an endpoint that speaks OpenAI's chat completions: `POST …/chat/completions`, whose answer
//! is JSON, or, with `stream`, server-sent events that end with `data: [DONE]`.
//!
//! An answer counts when it is whole: a stream that ends before its end, an answer that was cut at its limit
//! of tokens, and what is not the format, are faults.

use std::time::Duration;

use bytes::Bytes;
use function_host::{
    Context,
    http::{Streamed, retry_after},
};
use http::{HeaderValue, Request, header};
use serde::{Deserialize, Serialize};

use crate::config::{LimitAs, Model};

/// Bytes of an answer.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Characters of an answer that a message repeats.
const ANSWER_CHARS_SHOWN_MAX: usize = 200;
/// When to come back where our own settings are likely wrong.
const SLOW: Duration = Duration::from_secs(60);

/// Something said, as the endpoint takes it.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What.
    pub content: String,
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: &'a [Line],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What was said.
    pub text: String,
    /// Tokens in and out, if the endpoint counted them.
    pub tokens: Option<(u64, u64)>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// Whether another try can help.
    pub later: bool,
    /// For programs.
    pub code: String,
    /// For people.
    pub why: String,
    /// When another try makes sense, if the endpoint said so.
    pub after: Option<Duration>,
}

impl NoAnswer {
    fn later(code: &str, why: impl Into<String>) -> Self {
        NoAnswer { later: true, code: code.into(), why: why.into(), after: None }
    }

    fn never(code: &str, why: impl Into<String>) -> Self {
        NoAnswer { later: false, ..Self::later(code, why) }
    }
}

/// One piece of an answer: all of it, or one event of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Piece {
    choices: Vec<Choice>,
    usage: Option<Tokens>,
    error: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    message: Said,
    delta: Said,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    content: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
struct Tokens {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

/// Asks once, for at most `timeout`.
///
/// # Errors
/// [`NoAnswer`] says whether another try can help.
pub async fn ask(
    ctx: &Context,
    model: &Model,
    messages: &[Line],
    (tokens_out, temperature): (u64, Option<f64>),
    timeout: Duration,
) -> Result<Answer, NoAnswer> {
    let question = Question {
        model: &model.model,
        messages,
        max_tokens: (model.limit_as == LimitAs::MaxTokens).then_some(tokens_out),
        max_completion_tokens: (model.limit_as == LimitAs::MaxCompletionTokens).then_some(tokens_out),
        temperature,
        stream: model.stream,
        stream_options: model.stream.then_some(StreamOptions { include_usage: true }),
    };
    let body = serde_json::to_vec(&question).map_err(|e| NoAnswer::never("question-invalid", e.to_string()))?;
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = model.uri.clone();
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(authorization) = &model.authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    let lost = |e: function_host::http::Error| NoAnswer::later("no-answer", e.to_string());
    let mut streamed = ctx.http().stream(request, timeout, ANSWER_BYTES_MAX).await.map_err(lost)?;
    let mut reading = Reading::default();
    let streams = streamed.status.is_success() && is_stream(&streamed);
    while let Some(chunk) = streamed.chunk().await.map_err(lost)? {
        reading.bytes.extend_from_slice(&chunk);
        if streams && reading.events()? {
            return reading.end();
        }
    }
    if !streamed.status.is_success() {
        return Err(refused(&streamed, &reading.bytes));
    }
    if streams {
        // The last line may come without its end.
        reading.bytes.push(b'\n');
        if reading.events()? {
            return reading.end();
        }
        return Err(NoAnswer::later("answer-cut", "the stream ended before its end"));
    }
    let piece = reading.bytes.split_off(0);
    reading.take(&piece)?;
    reading.end()
}

fn is_stream(streamed: &Streamed) -> bool {
    let content_type = streamed.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.starts_with("text/event-stream"))
}

/// What a status means.
fn refused(streamed: &Streamed, body: &[u8]) -> NoAnswer {
    let status = streamed.status.as_u16();
    let (code, why) = (format!("http-{status}"), format!("it answered {}: {}", streamed.status, shown(body)));
    match status {
        // A key that was rotated, a model that was renamed, an account without money, an address that moved:
        // mended by the operator, and nothing is lost meanwhile.
        300..=399 | 401..=405 => NoAnswer { after: Some(SLOW), ..NoAnswer::later(&code, why) },
        408 | 409 | 425 | 429 | 500..=599 => {
            NoAnswer { after: retry_after(&streamed.headers), ..NoAnswer::later(&code, why) }
        }
        _ => NoAnswer::never(&code, why),
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(ANSWER_CHARS_SHOWN_MAX).collect()
}

/// An answer that is being read.
#[derive(Default)]
struct Reading {
    /// What was not taken yet.
    bytes: Vec<u8>,
    answer: Answer,
    finish: Option<String>,
}

impl Reading {
    /// Takes the whole lines that are there; whether the end was among them.
    fn events(&mut self) -> Result<bool, NoAnswer> {
        let Some(end) = self.bytes.iter().rposition(|b| *b == b'\n') else { return Ok(false) };
        let rest = self.bytes.split_off(end + 1);
        let lines = std::mem::replace(&mut self.bytes, rest);
        for line in lines.split(|b| *b == b'\n') {
            // Comments, names of events and the empty lines between them say nothing here.
            let Some(data) = line.trim_ascii_end().strip_prefix(b"data:") else { continue };
            match data.trim_ascii_start() {
                b"[DONE]" => return Ok(true),
                data => self.take(data)?,
            }
        }
        Ok(false)
    }

    fn take(&mut self, json: &[u8]) -> Result<(), NoAnswer> {
        let garbage =
            |e| NoAnswer::later("garbage", format!("{} bytes of its answer are no chat completion: {e}", json.len()));
        let piece: Piece = serde_json::from_slice(json).map_err(garbage)?;
        if let Some(error) = piece.error {
            return Err(NoAnswer::later("error", format!("it said {}", shown(error.to_string().as_bytes()))));
        }
        if let Some(tokens) = piece.usage {
            // A count that is only half there is none.
            self.answer.tokens = tokens.prompt_tokens.zip(tokens.completion_tokens);
        }
        if let Some(choice) = piece.choices.into_iter().next() {
            for said in [choice.message, choice.delta] {
                self.answer.text += &said.content.unwrap_or_default();
            }
            self.finish = choice.finish_reason.or(self.finish.take());
        }
        Ok(())
    }

    fn end(self) -> Result<Answer, NoAnswer> {
        match self.finish.as_deref() {
            Some("stop") if !self.answer.text.is_empty() => Ok(self.answer),
            Some("length") => {
                Err(NoAnswer::never("answer-cut", "its answer is longer than its tokens; ask for more in tokens_max"))
            }
            Some("content_filter") => Err(NoAnswer::never("content-filter", "it does not answer this")),
            Some(other) => Err(NoAnswer::later("garbage", format!("it ended with {other:?} and no text"))),
            None => Err(NoAnswer::later("garbage", "it did not say that its answer is whole")),
        }
    }
}
