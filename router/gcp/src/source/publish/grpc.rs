//! gRPC as far as four calls need it, each one message there and one back: a frame is a byte that says whether it is
//! compressed, four bytes of length, and the message; how a call ended stands in the trailers, or in the head where there
//! is no message [grpc/grpc, doc/PROTOCOL-HTTP2.md].

use bytes::{BufMut, Bytes, BytesMut};
use google_cloud_gax::error::rpc::Code;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::Full;
use router_http::{
    endpoint::{Request, Response, Trailers},
    intake::Submit,
};

use super::{Publish, Refusal};
use crate::{
    proto::{
        GetTopicRequest, ListTopicsRequest, ListTopicsResponse, PublishRequest, PublishResponse, PubsubMessage, Topic,
    },
    wire::Message,
};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Bytes before a message.
const HEAD: usize = 5;
/// Bytes of a message for people: a head holds no more than some.
const MESSAGE_BYTES_MAX: usize = 1024;

impl Publish {
    /// Answers a call of this method.
    pub(super) async fn grpc(&self, method: &str, req: &mut Request, intake: &dyn Submit) -> Result<Bytes, Refusal> {
        let body = self.read(req).await?;
        let body = match message(&body)? {
            Framed::Plain(message) => message,
            Framed::Compressed(message) => {
                let encoding = req.headers().get(ENCODING).map_or(&b"identity"[..], HeaderValue::as_bytes);
                if !encoding.eq_ignore_ascii_case(b"gzip") {
                    let encoding = String::from_utf8_lossy(encoding);
                    let message = format!("of the compressions of gRPC only gzip is taken, and this is `{encoding}`");
                    return Err(Refusal::new(Code::Unimplemented, message));
                }
                let bytes_max = req.limits().batch_bytes_max;
                req.inflate(&message, bytes_max).await.map_err(|problem| Refusal::of(&problem))?
            }
        };
        match method {
            "Publish" => {
                let PublishRequest { topic, messages } = decoded(body)?;
                let messages: Vec<Message> = messages.into_iter().map(Message::from).collect();
                let message_ids = self.publish(&topic, &messages, req.limits(), intake).await?;
                Ok(frame(&PublishResponse { message_ids }))
            }
            "GetTopic" => {
                let GetTopicRequest { topic } = decoded(body)?;
                self.known(&topic)?;
                Ok(frame(&named(&topic)))
            }
            "CreateTopic" => {
                // What a topic is told beside its name is the business of who keeps messages there.
                let Topic { name, .. } = decoded(body)?;
                self.known(&name)?;
                Ok(frame(&named(&name)))
            }
            "ListTopics" => {
                let ListTopicsRequest { project, .. } = decoded(body)?;
                let topics = self.list(&project).into_iter().map(named).collect();
                Ok(frame(&ListTopicsResponse { topics, next_page_token: String::new() }))
            }
            other => {
                let message = format!(
                    "`{other}` is not answered here; this source takes Publish, GetTopic, ListTopics and CreateTopic"
                );
                Err(Refusal::new(Code::Unimplemented, message))
            }
        }
    }
}

fn named(name: &str) -> Topic {
    Topic { name: name.to_owned(), ..Topic::default() }
}

impl From<PubsubMessage> for Message {
    fn from(message: PubsubMessage) -> Self {
        let PubsubMessage { data, attributes, ordering_key, .. } = message;
        Message { data, attributes, ordering_key }
    }
}

/// A message as it stands in a frame.
#[derive(Debug, PartialEq)]
pub(super) enum Framed {
    Plain(Bytes),
    /// As the head's [`ENCODING`] says.
    Compressed(Bytes),
}

/// The one message of a request.
pub(super) fn message(body: &Bytes) -> Result<Framed, Refusal> {
    let broken = || Refusal::invalid("the body is no message of gRPC; let a client of Pub/Sub publish");
    let (head, rest) = body.split_at_checked(HEAD).ok_or_else(broken)?;
    let (compressed, length) = head.split_first().ok_or_else(broken)?;
    let length = u32::from_be_bytes(length.try_into().map_err(|_| broken())?);
    if usize::try_from(length) != Ok(rest.len()) {
        return Err(broken());
    }
    match compressed {
        0 => Ok(Framed::Plain(body.slice(HEAD..))),
        1 => Ok(Framed::Compressed(body.slice(HEAD..))),
        _ => Err(broken()),
    }
}

fn decoded<T: prost::Message + Default>(message: Bytes) -> Result<T, Refusal> {
    T::decode(message).map_err(|e| Refusal::invalid(format!("the message cannot be read: {e}")))
}

fn frame(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(HEAD + length);
    out.put_u8(0);
    // An answer is as long as its request at most.
    out.put_u32(u32::try_from(length).unwrap_or_default());
    out.put_slice(&message.encode_to_vec());
    out.freeze()
}

/// The answer to a call.
pub(super) fn answer(called: Result<Bytes, Refusal>) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(ACCEPTED, HeaderValue::from_static("identity,gzip"));
    match called {
        Ok(message) => {
            *response.body_mut() = Full::new(message);
            let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
            response.extensions_mut().insert(Trailers(trailers));
        }
        Err(Refusal { code, message, .. }) => {
            headers.insert(STATUS, HeaderValue::from(code as i32));
            headers.insert(MESSAGE, escaped(&message));
        }
    }
    response
}

/// A message as a header can hold it: what is not visible is percent-encoded.
fn escaped(message: &str) -> HeaderValue {
    let mut out = String::new();
    for byte in message.bytes().take(MESSAGE_BYTES_MAX) {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(out).unwrap_or(HeaderValue::from_static("refused"))
}
