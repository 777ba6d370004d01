//! Deliveries whose target has answered with events: they are done once those are durable, and until then they
//! count as in flight. Lanes that ask for replies send nothing more while there is no room for their answers.

use super::{
    super::{lane::Lane, replies::Answered},
    Now, OpenSet,
};
use crate::{
    id::{DeliveryId, Offset, RunId},
    source::RawEvent,
};

/// Bytes of answers that wait to be taken in, past which lanes that ask for replies send nothing more; what is in
/// flight then comes on top.
pub const ANSWERS_BYTES_MAX: usize = 32 << 20;

/// Where the answers are.
#[derive(Default)]
pub(super) struct Answers {
    /// To be taken in: the dispatcher begins with each at once.
    next: std::collections::VecDeque<Answered>,
    /// Those that are not durable yet, and their bytes.
    count: usize,
    bytes: usize,
    /// The disk is full, and its reserve for replies is short.
    reserve_short: bool,
}

impl Answers {
    /// Whether lanes that ask for replies send nothing now.
    fn full(&self) -> bool {
        self.reserve_short || self.bytes >= ANSWERS_BYTES_MAX
    }
}

fn bytes_of(replies: &[RawEvent]) -> usize {
    let of = |r: &RawEvent| {
        r.raw.as_ref().map_or(0, bytes::Bytes::len) + r.event.as_ref().map_or(0, |event| event.body().len())
    };
    replies.iter().map(of).sum()
}

impl OpenSet {
    /// The target has it. Where its answer holds events that are taken in, that comes first.
    pub(super) fn delivered(&mut self, (target, at): (usize, usize), offset: Offset, replies: Vec<RawEvent>, now: Now) {
        let Some(lane) = self.lanes.get(at) else { return };
        let (route, run) = (lane.route.clone(), lane.id.run);
        let count = u64::try_from(replies.len()).unwrap_or(u64::MAX);
        match &route.reply {
            _ if replies.is_empty() => {}
            None => route.stats.replies_ignored.add(count),
            // Counted with the run's deliveries.
            Some(_) if !self.admits(run) => {}
            Some(_) => return self.take_first((target, at), offset, replies),
        }
        self.done(at, offset, count, now);
    }

    /// Whether the replies of deliveries of this run are taken in: the live flow's, and those of a replay that says so.
    fn admits(&self, run: RunId) -> bool {
        run == RunId(0) || self.run_admits(run)
    }

    /// Done; so many of its replies were left.
    fn done(&mut self, at: usize, offset: Offset, left: u64, now: Now) {
        let Some(lane) = self.lanes.get(at) else { return };
        let id = lane.id;
        let Some(open) = lane.open.get(&offset) else { return };
        lane.route.stats.delivered.add(1);
        lane.route.stats.latency.observe(now.wall.since(open.appended));
        if let Some(key) = open.key {
            self.note_delivered(at, key, offset);
        }
        self.end(at, offset);
        self.delivered_by_run(id, left);
    }

    fn take_first(&mut self, (target, at): (usize, usize), offset: Offset, replies: Vec<RawEvent>) {
        let Some(lane) = self.lanes.get(at) else { return };
        let Some(open) = lane.open.get(&offset) else { return };
        let Some(goal) = self.targets.get(target) else { return };
        self.answers.count += 1;
        self.answers.bytes += bytes_of(&replies);
        self.answers.next.push_back(Answered {
            lane: at,
            offset,
            id: DeliveryId { epoch: self.epochs.of(lane.id.bus, offset), lane: lane.id, offset },
            route: lane.route.clone(),
            target: goal.target.name().clone(),
            cause: open.event.clone(),
            replies,
        });
    }

    /// The next answer to take in.
    pub fn next_answer(&mut self) -> Option<Answered> {
        self.answers.next.pop_front()
    }

    /// Everything in an answer is durable; or the path stops, and the delivery is made again after the next start.
    pub fn answered(&mut self, answered: &Answered, durable: bool, now: Now) {
        self.answers.count = self.answers.count.saturating_sub(1);
        let full = self.answers.full();
        self.answers.bytes = self.answers.bytes.saturating_sub(bytes_of(&answered.replies));
        let (at, offset) = (answered.lane, answered.offset);
        if durable {
            self.done(at, offset, 0, now);
        } else if let Some(lane) = self.lanes.get_mut(at) {
            lane.set(offset, super::State::Ready);
        }
        self.queue(at);
        if full {
            self.resume_repliers();
        }
    }

    /// Answers that are not durable yet.
    pub fn answers(&self) -> usize {
        self.answers.count
    }

    /// Whether the disk is full and its reserve for replies is short.
    pub fn reserve_short(&mut self, short: bool) {
        if std::mem::replace(&mut self.answers.reserve_short, short) && !short {
            self.resume_repliers();
        }
    }

    /// Whether a lane sends nothing, because there is no room for what may be answered.
    pub(super) fn pauses(&self, lane: &Lane) -> bool {
        lane.route.reply.is_some() && self.answers.full() && self.admits(lane.id.run)
    }

    /// [`OpenSet::pauses`] for the lane of this index.
    pub(super) fn pauses_at(&self, at: usize) -> bool {
        self.lanes.get(at).is_some_and(|lane| self.pauses(lane))
    }

    fn resume_repliers(&mut self) {
        if self.answers.full() {
            return;
        }
        for at in 0..self.lanes.len() {
            if self.lanes.get(at).is_some_and(|lane| lane.route.reply.is_some()) {
                self.queue(at);
            }
        }
    }
}
