//! Steps 1 to 3 of one bus: submissions are gathered, told from what was there already, and appended
//! in one group commit; then every sender is answered.

use std::{collections::HashMap, sync::Arc, time::Duration};

use schemas::{Code, Event, Place};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Short};
use crate::{
    admit::{self, Judged, Rules, Schemas, Window},
    clock::Clock,
    codes,
    id::{Offset, SourceName},
    own_thread,
    source::{Accepted, IntakeClosed, Kind, RawEvent, Rejection},
    stats::BusStats,
    store::{Admitted, Error, Log},
};

/// Events in one group commit.
pub const BATCH_EVENTS_MAX: usize = 4_096;
/// Submissions that wait for a group commit.
pub const SUBMISSIONS_MAX: usize = 1_024;
/// Bytes of events that wait for a group commit, over all senders of a bus.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
/// How long a sender waits for room before it is told to come back.
pub const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);
/// What a sender is told to wait when there is no room, or no space on the disk.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// About what a record takes on disk beside its event: head, index, key, an entry or two in the ledger.
const RECORD_BYTES: usize = 128;

type Answer = Result<Accepted, Rejection>;

/// What one sender submitted, less what was rejected at once.
pub(super) struct Submission {
    from: SourceName,
    events: Vec<Admitted>,
    reply: oneshot::Sender<Vec<Answer>>,
    _room: OwnedSemaphorePermit,
}

/// Who brings events in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// A source: it can come again.
    Source,
    /// The path itself, with what it can neither give back nor let go, see [`super::gate`].
    Reply,
    /// The path itself, with what it tells of itself: the last that is let go of when space is short, but for replies.
    Fact,
}

/// Hands events to one bus. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    rules: Rules,
    schemas: Option<Schemas>,
    /// Sources are told that nothing is taken in any more.
    closing: CancellationToken,
    tx: mpsc::Sender<Submission>,
    room: Arc<Semaphore>,
    gate: Arc<Gate>,
    stats: Arc<BusStats>,
}

impl Intake {
    pub(super) fn new(
        rules: Rules,
        gate: Arc<Gate>,
        stats: Arc<BusStats>,
        closing: CancellationToken,
    ) -> (Self, mpsc::Receiver<Submission>) {
        let (tx, rx) = mpsc::channel(SUBMISSIONS_MAX);
        (
            Intake {
                rules,
                schemas: None,
                closing,
                tx,
                room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
                gate,
                stats,
            },
            rx,
        )
    }

    /// The same intake, for a source whose events are judged by schemas.
    #[must_use]
    pub fn judging(&self, schemas: Schemas) -> Self {
        Intake { schemas: Some(schemas), ..self.clone() }
    }

    /// Takes a batch; resolves when every event is durable, a duplicate, looped or rejected, one answer
    /// for each in order: acknowledge upstream right after. A caller that goes away leaves nothing
    /// behind but, perhaps, its events.
    ///
    /// # Errors
    /// [`IntakeClosed`]: nothing may be acknowledged, though some of it may be durable.
    pub async fn submit(&self, from: &SourceName, batch: Vec<RawEvent>) -> Result<Vec<Answer>, IntakeClosed> {
        let answers = self.submit_by(Door::Source, from, batch).await?;
        for rejection in answers.iter().filter_map(|a| a.as_ref().err()) {
            self.stats.refuse(rejection.code);
        }
        Ok(answers)
    }

    /// [`Intake::submit`] for whoever comes by this door.
    pub(super) async fn submit_by(
        &self,
        door: Door,
        from: &SourceName,
        batch: Vec<RawEvent>,
    ) -> Result<Vec<Answer>, IntakeClosed> {
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(batch.len());
        let mut events = Vec::with_capacity(batch.len());
        for raw in batch {
            match self.admit(raw) {
                Ok(Some(admitted)) => {
                    events.push(admitted);
                    answers.push(None);
                }
                Ok(None) => answers.push(Some(Ok(Accepted::Looped))),
                Err(rejection) => answers.push(Some(Err(rejection))),
            }
        }
        let mut taken = if events.is_empty() { Vec::new() } else { self.send(door, from, events).await? }.into_iter();
        let looped = answers.iter().filter(|a| matches!(a, Some(Ok(Accepted::Looped)))).count();
        self.stats.looped.add(u64::try_from(looped).unwrap_or(u64::MAX));
        let answers = answers
            .into_iter()
            .map(|known| {
                known
                    .or_else(|| taken.next())
                    .unwrap_or_else(|| Err(busy(codes::NO_ANSWER, "the router lost count of the batch; send it again")))
            })
            .collect();
        Ok(answers)
    }

    /// `None`: the event has been here before.
    fn admit(&self, raw: RawEvent) -> Result<Option<Admitted>, Rejection> {
        if admit::is_loop(&raw, &self.rules) {
            return Ok(None);
        }
        let admitted = admit::admit(raw, &self.rules)?;
        let Some(schemas) = &self.schemas else { return Ok(Some(admitted)) };
        let Judged { admitted, warned } = schemas.judge(admitted)?;
        self.stats.schema_warned.add(warned.into());
        Ok(Some(admitted))
    }

    /// Why nothing is taken in now, when that is so.
    pub fn refuses(&self) -> Option<String> {
        self.gate.refusal(Door::Source, 0).map(|refusal| refusal.message.into())
    }

    async fn send(&self, door: Door, from: &SourceName, events: Vec<Admitted>) -> Result<Vec<Answer>, IntakeClosed> {
        let count = events.len();
        if door == Door::Source && self.closing.is_cancelled() {
            return Err(IntakeClosed);
        }
        let bytes_all = events.iter().map(|e| e.event.body().len() + RECORD_BYTES).sum();
        if let Some(refusal) = self.gate.refusal(door, bytes_all) {
            return Ok(vec![Err(refusal); count]);
        }
        let bytes = events.iter().map(|e| e.event.body().len()).sum::<usize>().min(WAITING_BYTES_MAX);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(ROOM_WAIT_MAX, self.room.clone().acquire_many_owned(permits)).await;
        let Ok(room) = room else {
            let full = busy(
                codes::INTAKE_FULL,
                "more events are waiting for the disk than the router keeps in memory; send it again later",
            );
            return Ok(vec![Err(full); count]);
        };
        let (reply, answer) = oneshot::channel();
        let submission = Submission { from: from.clone(), events, reply, _room: room.map_err(|_| IntakeClosed)? };
        self.tx.send(submission).await.map_err(|_| IntakeClosed)?;
        answer.await.map_err(|_| IntakeClosed)
    }
}

fn busy(code: Code, message: &str) -> Rejection {
    let kind = Kind::Busy { retry_after: RETRY_AFTER };
    Rejection { code, place: Place::Event, message: message.into(), kind }
}

/// Tells senders what became of their events, and gives up the room that these took.
fn tell(answered: Vec<(oneshot::Sender<Vec<Answer>>, Vec<Answer>, OwnedSemaphorePermit)>) {
    for (reply, answers, _room) in answered {
        // A sender that is gone learns it when it sends again: duplicate.
        reply.send(answers).unwrap_or_default();
    }
}

/// A moment between two batches in which nothing is appended.
pub(super) struct Stand {
    /// Answered with the offset that the next record will have at least.
    pub stands: oneshot::Sender<Offset>,
    /// Until this is over, however it ends.
    pub until: oneshot::Receiver<()>,
}

impl Stand {
    async fn keep(self, next: Offset) {
        // Whoever asked may be gone: then it is over at once.
        if self.stands.send(next).is_ok() {
            self.until.await.unwrap_or_default();
        }
    }
}

/// The loop of one bus.
pub(super) struct Appender {
    pub log: Arc<dyn Log>,
    pub window: Window,
    pub clock: Arc<dyn Clock>,
    pub gate: Arc<Gate>,
    pub stats: Arc<BusStats>,
}

/// Where the answer for an event of the batch comes from.
enum Found {
    /// It is this one of those that are appended.
    New(usize),
    /// It has the identity of that one of those that are appended.
    Twin(usize),
    /// It was there already.
    Old(Offset),
}

impl Appender {
    /// Runs until it is closed and has answered what it took, or the log fails.
    pub async fn run(
        mut self,
        mut rx: mpsc::Receiver<Submission>,
        mut stands: mpsc::Receiver<Stand>,
        close: CancellationToken,
    ) -> Result<(), Error> {
        loop {
            let first = tokio::select! {
                biased;
                Some(stand) = stands.recv() => {
                    stand.keep(self.log.bounds().1).await;
                    continue;
                }
                first = rx.recv() => first,
                () = close.cancelled(), if !rx.is_closed() => {
                    // Senders learn it at once; what they sent before is taken as ever.
                    rx.close();
                    continue;
                }
            };
            let Some(first) = first else { return Ok(()) };
            let mut submissions = vec![first];
            let mut events: usize = submissions.iter().map(|s| s.events.len()).sum();
            while events < BATCH_EVENTS_MAX
                && let Ok(more) = rx.try_recv()
            {
                events += more.events.len();
                submissions.push(more);
            }
            self.append(submissions).await?;
        }
    }

    async fn append(&mut self, submissions: Vec<Submission>) -> Result<(), Error> {
        self.window.advance(self.clock.monotonic());
        let mut batch: Vec<Admitted> = Vec::new();
        let mut twins: HashMap<u64, usize> = HashMap::new();
        let mut replies = Vec::with_capacity(submissions.len());
        for Submission { from, events, reply, _room } in submissions {
            let mut found = Vec::with_capacity(events.len());
            for admitted in events {
                found.push(self.find(&from, admitted, &mut batch, &mut twins).await?);
            }
            replies.push((reply, found, _room));
        }
        let keys: Vec<u64> = batch.iter().map(|a| a.key).collect();
        let bytes: usize = batch.iter().map(|a| a.event.body().len() + RECORD_BYTES).sum();
        let started = self.clock.monotonic();
        let offsets = match self.log.append(self.clock.wall(), batch).await {
            Ok(offsets) => {
                self.gate.space().appended(u64::try_from(bytes).unwrap_or(u64::MAX));
                Ok(offsets)
            }
            Err(Error::NoSpace(why)) => {
                self.gate.space().no_space(Short::Log);
                tracing::warn!(code = %codes::STORE_FULL, %why, "no space left for events: senders are told to come back");
                Err(busy(codes::NO_SPACE, "the router's disk is full; send it again later"))
            }
            Err(fatal) => return Err(fatal),
        };
        let now = self.clock.monotonic();
        self.stats.append.observe(now.saturating_sub(started));
        for (key, offset) in keys.iter().zip(offsets.iter().flatten()) {
            self.window.insert(*key, *offset, now);
        }
        let answers = |(reply, found, room): (_, Vec<Found>, _)| {
            (reply, found.into_iter().map(|f| self.answer(f, &offsets)).collect(), room)
        };
        let answered: Vec<_> = replies.into_iter().map(answers).collect();
        if own_thread::here() {
            // On the runtime, all of them in one turn: a sender that is woken from here goes on at once and by itself, and
            // fewer of the next batch come together.
            tokio::spawn(async move { tell(answered) });
        } else {
            tell(answered);
        }
        Ok(())
    }

    fn answer(&self, found: Found, offsets: &Result<Vec<Offset>, Rejection>) -> Answer {
        let at = |i: usize| match offsets {
            Ok(offsets) => offsets
                .get(i)
                .copied()
                .ok_or_else(|| busy(codes::NO_ANSWER, "the log lost count of the batch; send it again")),
            Err(busy) => Err(busy.clone()),
        };
        match found {
            Found::New(i) => at(i).map(|o| {
                self.stats.accepted.add(1);
                Accepted::Appended(o)
            }),
            Found::Twin(i) => at(i).map(|o| {
                self.stats.duplicate.add(1);
                Accepted::Duplicate(o)
            }),
            Found::Old(o) => {
                self.stats.duplicate.add(1);
                Ok(Accepted::Duplicate(o))
            }
        }
    }

    async fn find(
        &self,
        from: &SourceName,
        admitted: Admitted,
        batch: &mut Vec<Admitted>,
        twins: &mut HashMap<u64, usize>,
    ) -> Result<Found, Error> {
        if let Some(i) = twins.get(&admitted.key).copied()
            && let Some(first) = batch.get(i).filter(|first| admit::same_identity(&first.event, &admitted.event))
        {
            self.compare(from, &first.event, &admitted.event, "the same batch");
            return Ok(Found::Twin(i));
        }
        for candidate in self.window.candidates(admitted.key) {
            let chunk = match self.log.read(candidate, 1).await {
                Ok(chunk) => chunk,
                // Retention is shorter than the window: what is no longer kept for its own sake is no longer
                // known, though a remnant may still hold it for a delivery.
                Err(Error::Trimmed { .. }) => continue,
                Err(fatal) => return Err(fatal),
            };
            let Some(record) = chunk.records().next().transpose()? else { continue };
            if record.offset == candidate && admit::same_identity(&record.event, &admitted.event) {
                self.compare(from, &record.event, &admitted.event, "the log");
                return Ok(Found::Old(candidate));
            }
        }
        twins.insert(admitted.key, batch.len());
        batch.push(admitted);
        Ok(Found::New(batch.len() - 1))
    }

    /// A duplicate should be the same event; a sender that changed it should hear of it somewhere. What a queue says
    /// beside it, such as the count of its deliveries, is another one each time.
    fn compare(&self, from: &SourceName, kept: &Event, again: &Event, place: &str) {
        if !kept.same_but_facts(again) {
            self.stats.duplicate_differs.add(1);
            let (id, source) = (again.id(), again.source());
            tracing::warn!(code = %codes::DUPLICATE_DIFFERS, %from, id, source, "an event came again under the same source and id with other content; the first one, in {place}, is kept");
        }
    }
}
