//! What an author of a function writes: a type with [`Function`], which turns an event into replies or a
//! [`Failure`]. It sees no platform.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use schemas::{Code, Event, Form, Invalid, Written};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    context::Context,
    settings::{SettingError, Settings},
};

/// One function: pure but for what its [`Context`] gives it.
///
/// A type in [`Function::EMITS`] must not be one that a function consumes which leads back here: a test walks
/// the graph of all functions.
pub trait Function: Sized + Send + Sync + 'static {
    /// Its name, as the platform knows it, e.g. `order-processor`. Its replies' source is `/functions/NAME`.
    const NAME: &'static str;
    /// The types of events that it takes; any other is refused before it is called.
    const CONSUMES: &'static [&'static str];
    /// The types of the events that it replies with; any other is a fault of the function.
    const EMITS: &'static [&'static str];

    /// Reads its settings, once for each process, before the first event.
    ///
    /// # Errors
    /// The setting that cannot be used; the process ends and says so.
    fn start(settings: &Settings) -> Result<Self, SettingError>;

    /// Answers one event. It may run again for the same event: [`Context::once`] makes a repeat harmless.
    ///
    /// # Errors
    /// [`Failure`] says whether another attempt can help.
    fn handle(&self, event: &Event, ctx: &Context) -> impl Future<Output = Result<Vec<Reply>, Failure>> + Send;
}

/// What another attempt can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// This event failed and may work later.
    Retry,
    /// Nothing works at the moment, whichever event: something that the function needs is away.
    Unavailable,
    /// This event can never work.
    Refuse,
}

/// Why an event was not handled, and whether to try it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Failure {
    /// Whether another attempt can help.
    pub kind: Kind,
    /// For programs: short and kebab-case.
    pub code: Code,
    /// For people: what is wrong, where, and what to do.
    pub message: Box<str>,
    /// When another attempt makes sense, if the function knows.
    pub after: Option<Duration>,
}

impl Failure {
    /// This event may work later.
    pub fn retry(code: &'static str, message: impl Into<Box<str>>) -> Self {
        Failure { kind: Kind::Retry, code: Code::new(code), message: message.into(), after: None }
    }

    /// No event works now.
    pub fn unavailable(code: &'static str, message: impl Into<Box<str>>) -> Self {
        Failure { kind: Kind::Unavailable, ..Self::retry(code, message) }
    }

    /// This event never works.
    pub fn refuse(code: &'static str, message: impl Into<Box<str>>) -> Self {
        Failure { kind: Kind::Refuse, ..Self::retry(code, message) }
    }

    /// Says when another attempt makes sense.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.after = Some(wait);
        self
    }
}

/// What is no valid event stays none.
impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Failure::refuse(invalid.code.0, format!("{}: {}", invalid.place, invalid.message))
    }
}

/// Reads the JSON data of an event.
///
/// # Errors
/// A refusal that names the member and its place.
pub fn data<T: DeserializeOwned>(event: &Event) -> Result<T, Failure> {
    if event.form() != Form::Json {
        let message = format!("data: {} has JSON data; send datacontenttype application/json", event.kind());
        return Err(Failure::refuse("data-not-json", message));
    }
    // Keeping the path doubles the time, so it is looked for only where something is wrong. JSON data is UTF-8, which is seen
    // sooner in the whole than in each string.
    if let Some(data) = std::str::from_utf8(event.data()).ok().and_then(|text| serde_json::from_str(text).ok()) {
        return Ok(data);
    }
    let mut reader = serde_json::Deserializer::from_slice(event.data());
    serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let message = format!("data.{}: {} does not fit {}", e.path(), e.inner(), event.kind());
        Failure::refuse("data-invalid", message)
    })
}

/// An event on its way out. Without an id it gets one from a hash of its cause and its index, so that a
/// repeat of the cause gives the same events; without a time it has its cause's, for the same reason.
#[derive(Clone, PartialEq)]
pub struct Reply {
    pub(crate) kind: Box<str>,
    pub(crate) id: Option<Box<str>>,
    pub(crate) source: Option<Box<str>>,
    pub(crate) attrs: Vec<(Box<str>, Attr)>,
    pub(crate) data: Data,
}

/// The data of a reply: what the function wrote, or what a state kept of it.
#[derive(Clone)]
pub(crate) enum Data {
    Written(Written),
    Kept(Form, Bytes),
}

impl Data {
    pub(crate) fn form(&self) -> Form {
        match self {
            Data::Written(_) => Form::Json,
            Data::Kept(form, _) => *form,
        }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        match self {
            Data::Written(written) => written.bytes(),
            Data::Kept(_, bytes) => bytes,
        }
    }
}

impl PartialEq for Data {
    /// By what it is, not by where it is from: a repeat gives the same.
    fn eq(&self, other: &Self) -> bool {
        (self.form(), self.bytes()) == (other.form(), other.bytes())
    }
}

/// The value of a reply's attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attr {
    /// Text.
    Text(Box<str>),
    /// A CloudEvents Integer.
    Integer(i32),
    /// A boolean.
    Boolean(bool),
}

impl From<&str> for Attr {
    fn from(text: &str) -> Self {
        Attr::Text(text.into())
    }
}

impl From<String> for Attr {
    fn from(text: String) -> Self {
        Attr::Text(text.into())
    }
}

impl From<i32> for Attr {
    fn from(number: i32) -> Self {
        Attr::Integer(number)
    }
}

impl From<bool> for Attr {
    fn from(truth: bool) -> Self {
        Attr::Boolean(truth)
    }
}

impl Reply {
    /// A reply with JSON data.
    ///
    /// # Errors
    /// A value that JSON cannot say, which is a fault of the function.
    pub fn json(kind: &str, data: &impl Serialize) -> Result<Self, Failure> {
        let written = Written::of(data);
        let written = written.map_err(|e| Failure::refuse("reply-invalid", format!("data of a {kind}: {e}")))?;
        let attrs = vec![("datacontenttype".into(), "application/json".into())];
        Ok(Reply { kind: kind.into(), id: None, source: None, attrs, data: Data::Written(written) })
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its data.
    pub fn data(&self) -> &Bytes {
        self.data.bytes()
    }

    /// Sets `id`, in place of the derived one.
    #[must_use]
    pub fn id(mut self, id: impl Into<Box<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets `source`, in place of `/functions/NAME`.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<str>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets `subject`.
    #[must_use]
    pub fn subject(self, subject: impl Into<Attr>) -> Self {
        self.attr("subject", subject)
    }

    /// Sets any other attribute, e.g. `partitionkey`.
    #[must_use]
    pub fn attr(mut self, name: &str, value: impl Into<Attr>) -> Self {
        let value = value.into();
        match self.attrs.iter_mut().find(|(n, _)| &**n == name) {
            Some((_, old)) => *old = value,
            None => self.attrs.push((name.into(), value)),
        }
        self
    }
}

impl fmt::Debug for Reply {
    /// Type and size; the payload is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("type", &self.kind).field("data_bytes", &self.data.bytes().len()).finish()
    }
}
