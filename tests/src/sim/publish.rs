//! Publishers that send again what was not answered, through all lives of the router, and sometimes twice.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use router_core::{
    id::SourceName,
    path::Intake,
    source::{Accepted, Kind},
};
use schemas::{Event, Form};

use super::{Totals, rng::Rng, trace::Trace};
use crate::{
    coffee::{Coffee, Key, coffee},
    oracle::{Moment, Published},
};

/// Events of one submission.
const BATCH_MAX: u64 = 48;

/// Publishers and their journal.
pub struct Publishers {
    state: Mutex<State>,
    trace: Arc<Trace>,
}

struct State {
    rng: Rng,
    now: Moment,
    next: u64,
    events: u64,
    again_max: u64,
    /// To be sent again.
    again: VecDeque<Coffee>,
    /// Sent and not answered.
    out: BTreeMap<u64, Vec<Coffee>>,
    batches: u64,
    journal: BTreeMap<Key, Published>,
    totals: Totals,
}

impl Publishers {
    /// Those of so many events; only the youngest `again_max` are sent again after they were answered.
    pub fn new(rng: Rng, trace: Arc<Trace>, events: u64, again_max: u64) -> Arc<Publishers> {
        let state = State {
            rng,
            now: 0,
            next: 0,
            events,
            again_max,
            again: VecDeque::new(),
            out: BTreeMap::new(),
            batches: 0,
            journal: BTreeMap::new(),
            totals: Totals::default(),
        };
        Arc::new(Publishers { state: Mutex::new(state), trace })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new moment, later than all before it.
    pub fn tick(&self) -> Moment {
        let mut state = self.state();
        state.now += 1;
        state.now
    }

    /// The router is gone: what was not answered is sent again.
    pub fn interrupted(&self) {
        let state = &mut *self.state();
        for batch in std::mem::take(&mut state.out).into_values() {
            state.again.extend(batch);
        }
    }

    /// Whether everything was answered for good.
    pub fn done(&self) -> bool {
        let state = self.state();
        state.next >= state.events && state.again.is_empty() && state.out.is_empty()
    }

    /// Submissions that are not answered.
    pub fn out(&self) -> u64 {
        self.state().out.len() as u64
    }

    /// What was sent and answered.
    pub fn journal(&self) -> Vec<Published> {
        self.state().journal.values().cloned().collect()
    }

    /// What happened how often.
    pub fn totals(&self) -> Totals {
        self.state().totals.clone()
    }

    /// Sends until the intake closes; one of several at a time.
    pub async fn run(&self, intake: Intake, hurry: bool) {
        let source = SourceName::new("sim").expect("a name");
        loop {
            let wait = if hurry { self.state().rng.ms(0, 5) } else { self.state().rng.ms(0, 250) };
            tokio::time::sleep(wait).await;
            let Some((number, batch)) = self.take() else { continue };
            let events = batch.iter().map(|c| event(c).into()).collect();
            let answers = match intake.submit(&source, events).await {
                Ok(answers) => answers,
                Err(_closed) => return,
            };
            let state = &mut *self.state();
            state.out.remove(&number);
            state.now += 1;
            for (coffee, answer) in batch.into_iter().zip(answers) {
                self.trace.note("answer", &[&coffee.key.id, &format!("{answer:?}")]);
                match answer {
                    Ok(accepted) => {
                        if let Accepted::Duplicate(_) = accepted {
                            state.totals.add("duplicates", 1);
                        }
                        let (Accepted::Appended(at) | Accepted::Duplicate(at)) = accepted else { continue };
                        let now = state.now;
                        state.journal.entry(coffee.key).and_modify(|p| {
                            p.acked.get_or_insert(now);
                            p.offset.get_or_insert(at.0);
                        });
                    }
                    Err(no) if matches!(no.kind, Kind::Busy { .. }) => {
                        state.totals.add("told to come again", 1);
                        state.again.push_back(coffee);
                    }
                    Err(_) => {
                        state.journal.entry(coffee.key).and_modify(|p| p.refused = Some(422));
                    }
                }
            }
        }
    }

    fn take(&self) -> Option<(u64, Vec<Coffee>)> {
        let state = &mut *self.state();
        let count = state.rng.between(1, BATCH_MAX);
        let mut batch: Vec<Coffee> = Vec::new();
        for _ in 0..count {
            let coffee = match state.again.pop_front() {
                Some(again) => again,
                None if state.next < state.events => {
                    state.next += 1;
                    coffee("sim", state.next - 1)
                }
                None => break,
            };
            batch.push(coffee);
        }
        if batch.is_empty() {
            return None;
        }
        if state.rng.chance(20) && state.next > 1 {
            let young = state.next.min(state.again_max);
            let n = state.next - 1 - state.rng.below(young);
            batch.push(coffee("sim", n));
        }
        state.now += 1;
        let at = state.now;
        for coffee in &batch {
            state.journal.entry(coffee.key.clone()).or_insert_with(|| Published {
                event: Arc::new(coffee.clone()),
                first_sent: at,
                acked: None,
                refused: None,
                offset: None,
            });
        }
        state.batches += 1;
        state.out.insert(state.batches, batch.clone());
        Some((state.batches, batch))
    }
}

/// As the router takes it.
pub fn event(coffee: &Coffee) -> Event {
    let mut event = Event::builder(&coffee.key.id, &coffee.key.source, &coffee.kind);
    for (name, value) in &coffee.attrs {
        event = event.set(name, value.as_str());
    }
    event.data(Form::Json, coffee.data.clone()).build().expect("a valid event")
}
