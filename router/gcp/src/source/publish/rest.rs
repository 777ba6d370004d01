//! The calls of Pub/Sub in JSON, as its reference writes them [cloud.google.com/pubsub/docs/reference/rest].

use std::collections::BTreeMap;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use google_cloud_gax::error::rpc::Code;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use router_http::{
    endpoint::{Request, Response},
    intake::Submit,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{Publish, REST, Refusal};
use crate::wire::Message;

/// Bytes in JSON: of both alphabets, with or without padding, as every parser of protocol buffers takes them.
const LOOSE: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LOOSE);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LOOSE);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    #[serde(default)]
    messages: Vec<Given>,
}

/// A message, in either spelling. What only Pub/Sub itself sets is not looked at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    data: String,
    attributes: BTreeMap<String, String>,
    #[serde(alias = "ordering_key")]
    ordering_key: String,
    #[serde(rename = "messageId", alias = "message_id")]
    _message_id: Option<IgnoredAny>,
    #[serde(rename = "publishTime", alias = "publish_time")]
    _publish_time: Option<IgnoredAny>,
}

impl Publish {
    /// Answers a call at this path.
    pub(super) async fn rest(&self, path: &str, req: &mut Request, intake: &dyn Submit) -> Result<Value, Refusal> {
        let body = self.read(req).await?;
        // `projects/…`
        let name = path.strip_prefix(REST.trim_end_matches("projects/")).unwrap_or_default();
        let publishes = name.strip_suffix(":publish");
        match (req.method(), publishes) {
            (&Method::POST, Some(topic)) => {
                let messages = messages(&body)?;
                let ids = self.publish(topic, &messages, req.limits(), intake).await?;
                Ok(json!({ "messageIds": ids }))
            }
            (&Method::GET, None) if name.ends_with("/topics") => {
                let topics = self.list(name.trim_end_matches("/topics"));
                Ok(json!({ "topics": topics.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() }))
            }
            (&Method::GET | &Method::PUT, None) => {
                self.known(name)?;
                Ok(json!({ "name": name }))
            }
            _ => {
                let message =
                    "this is not answered here; there is POST projects/P/topics/T:publish, and GET and PUT of topics";
                Err(Refusal::new(Code::Unimplemented, message))
            }
        }
    }
}

fn messages(body: &Bytes) -> Result<Vec<Message>, Refusal> {
    let call: Call = serde_json::from_slice(body)
        .map_err(|e| Refusal::invalid(format!("the body is no call of publish: {e}; send {{\"messages\": [{{\"data\": \"BASE64\", \"attributes\": {{}}}}]}}")))?;
    let read = |(n, given): (usize, Given)| {
        let Given { data, attributes, ordering_key, .. } = given;
        let data = STANDARD.decode(&data).or_else(|_| URL_SAFE.decode(&data));
        let data = data.map_err(|e| Refusal::invalid(format!("message {n}: its data is no base64: {e}")))?;
        Ok(Message { data: data.into(), attributes, ordering_key })
    };
    call.messages.into_iter().enumerate().map(read).collect()
}

/// The answer to a call.
pub(super) fn answer(called: Result<Value, Refusal>) -> Response {
    let (status, body, retry_after) = match called {
        Ok(body) => (StatusCode::OK, body, None),
        Err(Refusal { code, message, retry_after }) => {
            let status = status(code);
            let error = json!({ "code": status.as_u16(), "message": message, "status": code.name() });
            (status, json!({ "error": error }), retry_after)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    if let Some(wait) = retry_after {
        headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
    }
    response
}

/// The status that stands for a code [googleapis, google/rpc/code.proto].
fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
