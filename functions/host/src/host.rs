//! One invocation, the same on every platform: check the type, run the handler with a deadline, make events
//! of its replies. A handler that panics fails one event and never the process.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use schemas::{Event, Value};
use tokio::time::Instant;

use crate::{
    context::{Clock, Context, key_of},
    function::{Attr, Data, Failure, Function, Reply},
    http::Pool,
    log::{Log, Severity},
    output::{Outlet, Reader},
    settings::{SettingError, Settings},
    state::{self, Reach, State},
};

/// How long an attempt may take where the platform sets no limit.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// How many replies may follow from each other: a chain that is longer is a loop.
pub const CAUSE_DEPTH_MAX: i32 = 16;
/// Replies to one event.
pub const REPLIES_MAX: usize = 1_000;
/// Bytes of the replies of one request, as JSON: what a router takes of an answer, and below the 6 MB of a Lambda's.
pub const REPLIES_BYTES_MAX: usize = 4 << 20;

/// A function, ready to be called.
pub struct Host<F> {
    function: F,
    settings: Arc<Settings>,
    state: Arc<dyn State>,
    reach: Reach,
    clock: Clock,
    log: Log,
    outlet: Outlet,
    pool: Pool,
}

/// An event as a platform brings it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The event.
    pub event: Event,
    /// What the sender says keeps this delivery apart (`Idempotency-Key`).
    pub key: Option<Box<str>>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the platform ends it.
    pub deadline: Option<Instant>,
}

impl From<Event> for Call {
    /// A first attempt without a key of the sender.
    fn from(event: Event) -> Self {
        Call { event, key: None, attempt: 1, deadline: None }
    }
}

/// What became of one event.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The events that the function replies with, or why there are none.
    pub answer: Result<Vec<Event>, Failure>,
    /// The lines of its log.
    pub logs: Vec<String>,
}

impl<F: Function> Host<F> {
    /// A host with the machine's clock and the state that the settings name.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingError> {
        Self::with(settings, None, Clock::System, Log::new(F::NAME, false))
    }

    /// A host for tests: a clock that stands, a log that is not printed.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn for_tests(settings: Settings, now: jiff::Timestamp) -> Result<Self, SettingError> {
        Self::with(settings, None, Clock::Fixed(now), Log::new(F::NAME, true))
    }

    fn with(settings: Settings, state: Option<Arc<dyn State>>, clock: Clock, log: Log) -> Result<Self, SettingError> {
        let (function, outlet) = (F::start(&settings)?, Outlet::new(&settings)?);
        let pool = Pool::new().map_err(|e| SettingError::new("SSL_CERT_FILE", format!("no TLS client: {e}")))?;
        let (state, reach) = match state {
            Some(state) => (state, Reach::Shared),
            None => state::open(&settings, &pool)?,
        };
        Ok(Host { function, settings: Arc::new(settings), state, reach, clock, log, outlet, pool })
    }

    /// The log of the process, outside of any invocation.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// How far repeats are recognised.
    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    /// The settings.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Handles one event of a platform: replies go where [`crate::output`] says, before the event counts as
    /// handled.
    pub(crate) async fn deliver(&self, call: Call, reader: Reader) -> Invocation {
        if let Err(failure) = self.outlet.check::<F>(reader) {
            self.log.line(Severity::Error, &failure.to_string());
            return Invocation { answer: Err(failure), logs: Vec::new() };
        }
        let deadline = call.deadline.unwrap_or_else(|| Instant::now() + DEADLINE_DEFAULT);
        let mut invocation = self.invoke(Call { deadline: Some(deadline), ..call }).await;
        if let Ok(events) = &mut invocation.answer {
            match self.outlet.send(events, &self.pool, deadline).await {
                Ok(true) => events.clear(),
                Ok(false) => {}
                Err(failure) => {
                    self.log.line(Severity::Error, &failure.to_string());
                    invocation.answer = Err(failure);
                }
            }
        }
        invocation
    }

    /// Handles the events of one request, in their order, until one fails: then none of the request counts
    /// as handled, and a repeat does again what was done, or gets it from the state.
    pub(crate) async fn deliver_all(&self, calls: Vec<Call>, reader: Reader) -> Invocation {
        let (mut all, mut logs, count) = (Vec::new(), Vec::new(), calls.len());
        for (index, call) in calls.into_iter().enumerate() {
            let one = self.deliver(call, reader).await;
            logs.extend(one.logs);
            match one.answer {
                Ok(events) => all.extend(events),
                Err(failure) if count > 1 => {
                    let message = format!("event {index} of {count}: {}", failure.message).into();
                    return Invocation { answer: Err(Failure { message, ..failure }), logs };
                }
                Err(failure) => return Invocation { answer: Err(failure), logs },
            }
        }
        if let Err(failure) = bounded(&all) {
            self.log.line(Severity::Error, &failure.to_string());
            return Invocation { answer: Err(failure), logs };
        }
        Invocation { answer: Ok(all), logs }
    }

    /// Handles one event: gives the events that the function replies with.
    ///
    /// # Errors
    /// What the function says, or what is wrong with its replies.
    pub async fn call(&self, call: impl Into<Call>) -> Result<Vec<Event>, Failure> {
        self.invoke(call.into()).await.answer
    }

    /// Handles one event: the answer, and what was logged meanwhile.
    pub async fn invoke(&self, call: Call) -> Invocation {
        let key = match &call.key {
            Some(key) => crate::key::safe(key).into(),
            None => key_of(&call.event),
        };
        let ctx = Context {
            name: F::NAME,
            log: self.log.fresh().of(&key),
            key,
            attempt: call.attempt.max(1),
            deadline: call.deadline.unwrap_or_else(|| Instant::now() + DEADLINE_DEFAULT),
            clock: self.clock,
            settings: self.settings.clone(),
            state: self.state.clone(),
            pool: self.pool.clone(),
        };
        let answer = self.attempt(&call.event, &ctx).await;
        if let Err(failure) = &answer {
            let what = format!("{} {}: {failure}", call.event.source(), call.event.id());
            ctx.log(Severity::Error, &what);
        }
        Invocation { answer, logs: ctx.log.kept() }
    }

    async fn attempt(&self, event: &Event, ctx: &Context) -> Result<Vec<Event>, Failure> {
        if !F::CONSUMES.contains(&event.kind()) {
            let takes = F::CONSUMES.join(", ");
            let message = format!("attribute type: {} takes {takes}, not {}; mend the route", F::NAME, event.kind());
            return Err(Failure::refuse("type-unexpected", message));
        }
        let work = no_panic(self.function.handle(event, ctx));
        let done = tokio::time::timeout_at(ctx.deadline, work).await;
        let late = |_| Failure::retry("deadline", format!("attempt {} was not done by its deadline", ctx.attempt));
        let replies = done.map_err(late)??;
        if replies.len() > REPLIES_MAX {
            let message = format!("{} replies; at most {REPLIES_MAX} are sent", replies.len());
            return Err(Failure::refuse("reply-too-many", message));
        }
        let events: Vec<Event> = replies
            .into_iter()
            .enumerate()
            .map(|(index, reply)| reply_event::<F>(event, index, &reply))
            .collect::<Result<_, _>>()?;
        bounded(&events)?;
        Ok(events)
    }
}

/// Refuses replies that no answer has room for: whoever reads it would cut it off.
fn bounded(events: &[Event]) -> Result<(), Failure> {
    // An escaped character takes six bytes at most; what is far below the limit is not written out to be measured.
    let bytes: usize = events.iter().map(|event| event.body().len()).sum();
    if bytes <= REPLIES_BYTES_MAX / 8 {
        return Ok(());
    }
    let bytes: usize = events.iter().map(|event| schemas::json::encode(event).len() + 1).sum();
    if bytes <= REPLIES_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "{bytes} bytes of replies; at most {REPLIES_BYTES_MAX} are sent: reply with less, or take fewer events at a time"
    );
    Err(Failure::refuse("reply-too-large", message))
}

/// Turns a panic into a failure of this one event. What the handler shared may be half changed after it, as
/// after any failure half way.
async fn no_panic<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled,
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Poll::Ready(Err(Failure::retry("panic", format!("the function panicked: {said}"))))
        }
    })
    .await
}

/// Makes the event of a reply: what it leaves open follows from its cause and its index.
fn reply_event<F: Function>(cause: &Event, index: usize, reply: &Reply) -> Result<Event, Failure> {
    if !F::EMITS.contains(&&*reply.kind) {
        let message = format!("{} replied with {}, which it does not declare", F::NAME, reply.kind);
        return Err(Failure::refuse("reply-undeclared", message));
    }
    let depth = match cause.get("causedepth") {
        Some(Value::Integer(depth)) => depth,
        Some(Value::String(depth)) => depth.parse().unwrap_or(0),
        _ => 0,
    };
    if depth >= CAUSE_DEPTH_MAX {
        let message = format!("attribute causedepth: {depth} replies follow from each other, which is a loop");
        return Err(Failure::refuse("loop-depth", message));
    }
    let derived = || {
        let index = (index as u64).to_le_bytes();
        let parts = [F::NAME.as_bytes(), cause.source().as_bytes(), cause.id().as_bytes(), &index];
        crate::key::hash(&parts).into()
    };
    let id: Box<str> = reply.id.clone().unwrap_or_else(derived);
    let source: Box<str> = reply.source.clone().unwrap_or_else(|| format!("/functions/{}", F::NAME).into());
    if (&*id, &*source) == (cause.id(), cause.source()) {
        let message = "a reply must not have the id and the source of its cause";
        return Err(Failure::refuse("reply-same-identity", message));
    }
    let mut builder = Event::builder(&id, &source, &reply.kind);
    if let Some(time) = cause.get("time") {
        builder = builder.set("time", time);
    }
    builder = builder.set("causeid", cause.id()).set("causesource", cause.source()).set("causedepth", depth + 1);
    for (name, value) in &reply.attrs {
        builder = match value {
            Attr::Text(text) => builder.set(name, &**text),
            Attr::Integer(number) => builder.set(name, *number),
            Attr::Boolean(truth) => builder.set(name, *truth),
        };
    }
    let builder = match &reply.data {
        Data::Written(written) => builder.written(written.clone()),
        Data::Kept(form, bytes) => builder.data(*form, bytes.clone()),
    };
    builder.build().map_err(|invalid| Failure::refuse("reply-invalid", format!("reply {index}: {invalid}")))
}

#[cfg(test)]
mod tests;
