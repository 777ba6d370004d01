//! Goal: under random actions, stops and power losses among them, the log is a vector.

use std::{path::Path, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestCaseError};
use router_core::{
    clock::Timestamp,
    id::Offset,
    store::{Error, Log},
};
use router_store::disk::{DiskLog, Options, files::Files, sim::SimFiles};

use router_store::conformance::trim;

use crate::common::{admitted, open, records};

const DIR: &str = "/data/buses/default";

#[derive(Clone, Copy, Debug)]
enum Stop {
    Clean,
    Kill,
    Power,
    Torn(u64),
}

#[derive(Clone, Debug)]
enum Action {
    Append { sizes: Vec<usize>, back: bool },
    Read { at: u64, bytes_max: usize },
    Seek { ago: u64 },
    Keys { age_us: u64, count_max: usize },
    Trim { at: u64 },
    Restart(Stop),
    LoseSides,
}

fn action() -> impl Strategy<Value = Action> {
    let size = prop_oneof![4 => 0..300usize, 1 => 1000..3000usize, 1 => Just(70_000)];
    let stop = prop_oneof![Just(Stop::Clean), Just(Stop::Kill), Just(Stop::Power), any::<u64>().prop_map(Stop::Torn),];
    prop_oneof![
        8 => (proptest::collection::vec(size, 0..6), any::<bool>()).prop_map(|(sizes, back)| Action::Append { sizes, back }),
        3 => (0..120u64, 0..5000usize).prop_map(|(at, bytes_max)| Action::Read { at, bytes_max }),
        2 => (0..60u64).prop_map(|ago| Action::Seek { ago }),
        2 => (0..60u64, 0..40usize).prop_map(|(age_us, count_max)| Action::Keys { age_us, count_max }),
        1 => (0..120u64).prop_map(|at| Action::Trim { at }),
        2 => stop.prop_map(Action::Restart),
        1 => Just(Action::LoseSides),
    ]
}

/// The model: offset, append time, id of each record; the first offset that is kept.
struct Model {
    sim: SimFiles,
    log: DiskLog,
    options: Options,
    records: Vec<(u64, u64, u64)>,
    first: u64,
    clock: u64,
}

impl Model {
    async fn step(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Append { sizes, back } => self.append(sizes, *back).await?,
            Action::Read { at, bytes_max } => self.read(*at, *bytes_max).await?,
            Action::Seek { ago } => {
                let t = self.clock.saturating_sub(*ago);
                let at = self.kept().find(|r| r.1 >= t).map_or(self.log.bounds().1.0, |r| r.0);
                prop_assert_eq!(self.log.seek(Timestamp(t)).await.unwrap(), Offset(at));
            }
            Action::Keys { age_us, count_max } => {
                let newest = self.records.last().map_or(0, |r| r.1);
                let mut young: Vec<_> = self.kept().filter(|r| newest - r.1 <= *age_us).collect();
                young.drain(..young.len().saturating_sub(*count_max));
                let keys = self.log.keys(Duration::from_micros(*age_us), *count_max).await.unwrap();
                let keys: Vec<_> = keys.into_iter().map(|k| (k.offset.0, k.appended.0, k.key)).collect();
                prop_assert_eq!(keys, young);
            }
            Action::Trim { at } => {
                trim(&self.log, Offset(*at)).await;
                let first = self.log.bounds().0.0;
                prop_assert!(first >= self.first && (first <= *at || first == self.first));
                self.first = first;
            }
            Action::Restart(stop) => self.restart(*stop).await,
            Action::LoseSides => {
                for name in self.sim.list(Path::new(DIR)).unwrap().iter().filter(|n| n.ends_with(".idx")) {
                    self.sim.remove(&Path::new(DIR).join(name)).unwrap();
                }
            }
        }
        let (first, tail) = self.log.bounds();
        prop_assert_eq!(first.0, self.first);
        prop_assert!(tail.0 > self.records.last().map_or(0, |r| r.0));
        prop_assert_eq!(*self.log.tail().borrow(), tail);
        Ok(())
    }

    fn kept(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.records.iter().copied().filter(|r| r.0 >= self.first)
    }

    async fn append(&mut self, sizes: &[usize], back: bool) -> Result<(), TestCaseError> {
        self.clock += 3;
        let now = if back { self.clock.saturating_sub(10) } else { self.clock };
        let id = self.records.len() as u64;
        let batch = (id..).zip(sizes).map(|(id, size)| admitted(id, *size)).collect();
        let tail = self.log.bounds().1;
        let offsets = self.log.append(Timestamp(now), batch).await.unwrap();
        prop_assert_eq!(offsets.len(), sizes.len());
        prop_assert!(offsets.first().is_none_or(|first| *first >= tail));
        prop_assert!(offsets.is_sorted_by(|a, b| a < b));
        let time = self.records.last().map_or(now, |r| r.1.max(now));
        self.records.extend((id..).zip(offsets).map(|(id, offset)| (offset.0, time, id)));
        Ok(())
    }

    async fn read(&mut self, at: u64, bytes_max: usize) -> Result<(), TestCaseError> {
        let chunk = match self.log.read(Offset(at), bytes_max).await {
            Err(Error::Trimmed { first }) => {
                prop_assert!(at < self.first && first.0 == self.first);
                return Ok(());
            }
            other => other.unwrap(),
        };
        prop_assert!(at >= self.first);
        let found: Vec<_> = chunk.records().map(|r| r.unwrap()).collect();
        let bytes: usize = found.iter().map(|r| r.event.body().len()).sum();
        prop_assert!(bytes <= bytes_max || found.len() == 1);
        let found: Vec<_> = found.iter().map(|r| (r.offset.0, r.appended.0, r.event.id().parse().unwrap())).collect();
        let expected: Vec<_> = self.kept().filter(|r| r.0 >= at && r.0 < chunk.next.0).collect();
        prop_assert_eq!(&found, &expected);
        let more = self.kept().any(|r| r.0 >= at);
        prop_assert_eq!(!found.is_empty(), more);
        prop_assert!(more || chunk.next.0 == at || chunk.next == self.log.bounds().1);
        Ok(())
    }

    async fn restart(&mut self, stop: Stop) {
        match stop {
            Stop::Clean => self.log.close().await.unwrap(),
            Stop::Kill => {}
            Stop::Power => self.sim.power_loss(),
            Stop::Torn(seed) => self.sim.power_loss_torn(seed),
        }
        self.log = open(Arc::new(self.sim.clone()), Path::new(DIR), &self.options).await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn log_is_a_vector(
        actions in proptest::collection::vec(action(), 1..60),
        gap in prop_oneof![Just(0u64), 1..4u64],
        segment_bytes in 1000..9000u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let sim = SimFiles::new();
            let options = Options::default().segment_bytes(segment_bytes).gap(gap);
            let log = open(Arc::new(sim.clone()), Path::new(DIR), &options).await.unwrap();
            let mut model = Model { sim, log, options, records: Vec::new(), first: 1, clock: 100 };
            for action in &actions {
                model.step(action).await?;
            }
            let all = records(&model.log, Offset(model.first), 2000).await.unwrap();
            prop_assert_eq!(all, model.kept().collect::<Vec<_>>());
            Ok(())
        })?;
    }
}
