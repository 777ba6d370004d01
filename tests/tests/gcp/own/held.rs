//! What a subscription of the suite's own server holds: leases that end, redelivery, order by key, attempts. Pure: `now`
//! is an argument.
//!
//! By Google's own words: a message that is not acknowledged in time, or is given back, comes again under a new ack id,
//! and with an ordering key all that came after it do; with exactly-once delivery an ack id whose lease has ended is
//! refused by name; a stream gets no more than it has asked to have under way. What a stream held when it broke off
//! stays leased until its deadline.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use router_gcp::proto::{PubsubMessage, ReceivedMessage};

/// A message that somebody has.
#[derive(Clone, Copy, Debug)]
struct Lease {
    message: usize,
    until: Instant,
    stream: u64,
}

/// What a stream has asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Which stream it is.
    pub stream: u64,
    /// How long it has a message at a time.
    pub lease: Duration,
    /// Messages that it has at a time; 0: any number.
    pub messages_max: usize,
    /// Their bytes; 0: any number.
    pub bytes_max: usize,
}

/// Messages that nobody holds.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// How many there are in all.
    count: usize,
    make: fn(usize) -> PubsubMessage,
}

/// A subscription.
#[derive(Debug, Default)]
pub struct Held {
    /// Whether it keeps the order of messages with one key.
    pub ordered: bool,
    /// Whether acknowledgements are confirmed.
    pub exactly_once: bool,
    messages: Vec<PubsubMessage>,
    /// Messages that come after these, and are made when they are sent.
    made: Option<Made>,
    attempts: Vec<i32>,
    acknowledged: BTreeSet<usize>,
    ready: BTreeSet<usize>,
    leases: BTreeMap<String, Lease>,
    ids: u64,
    /// The most messages that one stream had at a time.
    pub under_way_max: usize,
    /// Leases that were made longer.
    pub extended: usize,
}

impl Held {
    /// One that keeps the order of keys.
    pub fn ordered() -> Held {
        Held { ordered: true, ..Held::default() }
    }

    /// One whose acknowledgements are confirmed.
    pub fn exactly_once() -> Held {
        Held { exactly_once: true, ..Held::default() }
    }

    /// One in which so many wait, each made by its number when it is sent, and not held.
    pub fn making(count: usize, make: fn(usize) -> PubsubMessage) -> Held {
        Held { made: Some(Made { count, make }), ..Held::default() }
    }

    fn message(&self, n: usize) -> PubsubMessage {
        match (self.messages.get(n), self.made) {
            (Some(message), _) => message.clone(),
            (None, Some(Made { make, .. })) => PubsubMessage { message_id: (n + 1).to_string(), ..make(n) },
            (None, None) => panic!("nobody has published message {n}"),
        }
    }

    /// The next that is ready; of those that are made, the next that was never sent.
    fn first(&mut self) -> Option<usize> {
        if self.ready.is_empty() && self.made.is_some_and(|made| self.attempts.len() < made.count) {
            self.ready.insert(self.attempts.len());
            self.attempts.push(0);
        }
        self.ready.first().copied()
    }

    /// Takes messages in.
    pub fn publish(&mut self, messages: impl IntoIterator<Item = PubsubMessage>) {
        for message in messages {
            let n = self.messages.len();
            let at = prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 };
            let message = PubsubMessage { message_id: (n + 1).to_string(), publish_time: Some(at), ..message };
            self.messages.push(message);
            self.attempts.push(0);
            self.ready.insert(n);
        }
    }

    /// How many are acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The most often that a message was sent.
    pub fn attempts_max(&self) -> i32 {
        self.attempts.iter().copied().max().unwrap_or_default()
    }

    /// The next messages for a stream.
    pub fn take(&mut self, wants: Wants, count_max: usize, now: Instant) -> Vec<ReceivedMessage> {
        self.expire(now);
        let mine = |lease: &&Lease| lease.stream == wants.stream;
        let mut count = self.leases.values().filter(mine).count();
        let size = |held: &Held, n: usize| held.message(n).data.len();
        let mut bytes: usize = self.leases.values().filter(mine).map(|lease| size(self, lease.message)).sum();
        let mut taken = Vec::new();
        while taken.len() < count_max && (wants.messages_max == 0 || count < wants.messages_max) {
            let Some(n) = self.first() else { break };
            if wants.bytes_max > 0 && bytes > 0 && bytes + size(self, n) > wants.bytes_max {
                break;
            }
            self.ready.remove(&n);
            (count, bytes) = (count + 1, bytes + size(self, n));
            self.ids += 1;
            self.attempts[n] += 1;
            let ack_id = format!("ack-{}", self.ids);
            self.leases.insert(ack_id.clone(), Lease { message: n, until: now + wants.lease, stream: wants.stream });
            let (message, delivery_attempt) = (Some(self.message(n)), self.attempts[n]);
            taken.push(ReceivedMessage { ack_id, message, delivery_attempt });
        }
        self.under_way_max = self.under_way_max.max(count);
        taken
    }

    /// Takes acknowledgements; those whose lease has ended are given back.
    pub fn acknowledge(&mut self, ack_ids: &[String], now: Instant) -> Vec<String> {
        self.expire(now);
        let mut ended = Vec::new();
        for id in ack_ids {
            match self.leases.remove(id) {
                Some(lease) => drop(self.acknowledged.insert(lease.message)),
                None => ended.push(id.clone()),
            }
        }
        ended
    }

    /// Leases anew, for so long; those whose lease has ended are given back.
    pub fn modify(&mut self, ack_ids: &[String], lease: Duration, now: Instant) -> Vec<String> {
        self.expire(now);
        let mut ended = Vec::new();
        for id in ack_ids {
            match self.leases.get_mut(id) {
                Some(held) if !lease.is_zero() => {
                    held.until = now + lease;
                    self.extended += 1;
                }
                Some(_) => self.give_back(id),
                None => ended.push(id.clone()),
            }
        }
        ended
    }

    fn expire(&mut self, now: Instant) {
        let ended: Vec<String> =
            self.leases.iter().filter(|(_, lease)| lease.until <= now).map(|(id, _)| id.clone()).collect();
        ended.iter().for_each(|id| self.give_back(id));
    }

    /// A message comes again; with a key, all that came after it do.
    fn give_back(&mut self, ack_id: &str) {
        let Some(lease) = self.leases.remove(ack_id) else { return };
        self.ready.insert(lease.message);
        let key = self.message(lease.message).ordering_key;
        if !self.ordered || key.is_empty() {
            return;
        }
        for n in lease.message + 1..self.attempts.len() {
            if self.message(n).ordering_key == key && self.attempts[n] > 0 {
                self.leases.retain(|_, lease| lease.message != n);
                self.acknowledged.remove(&n);
                self.ready.insert(n);
            }
        }
    }
}
