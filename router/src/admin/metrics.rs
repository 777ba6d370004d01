//! `/metrics`: the path's own counters and its status of this moment, written as Prometheus reads them.
//! Nothing is kept here, so that no figure can differ from what the path counts.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};
use router_core::{
    clock::Timestamp,
    retain::Level,
    shelf::Waiting,
    stats::{BUCKETS_US, BreakerState, Histogram, LaneStateName, RouteStats, RouteStatus, Stats, Status},
};

use super::names::{self, Name};
use crate::reload::Reloads;

/// The media type of [`render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes everything that is counted, as OpenMetrics text. Without a status, what only it knows is left out.
///
/// # Errors
/// None that a `String` can have.
pub fn render(
    stats: Arc<Stats>,
    status: Option<Status>,
    reloads: Arc<Reloads>,
    now: Timestamp,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot { stats, status, reloads, now }));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Snapshot {
    stats: Arc<Stats>,
    status: Option<Status>,
    reloads: Arc<Reloads>,
    now: Timestamp,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        gauges(out, names::BUILD, [(vec![(names::VERSION, env!("CARGO_PKG_VERSION"))], 1u64)])?;
        counters(out, names::RELOADS, self.reloads.counts().map(|(result, n)| (vec![(names::RESULT, result)], n)))?;
        let (last_us, applied) = self.reloads.last();
        gauges(out, names::RELOAD_LAST, [(Vec::new(), seconds(last_us))])?;
        gauges(out, names::RELOAD_APPLIED, [(Vec::new(), u64::from(applied))])?;
        self.buses(out)?;
        histograms(out, names::COMMIT, [(Vec::new(), &self.stats.commit)])?;
        self.disk(out)?;
        self.archive(out)?;
        self.routes(out)?;
        self.replays(out)?;
        match &self.status {
            Some(status) => self.now(status, out),
            None => Ok(()),
        }
    }
}

impl Snapshot {
    fn buses(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let buses = self.stats.buses();
        let by_bus = |of: fn(&router_core::stats::BusStats) -> u64| {
            buses.iter().map(move |(name, bus)| (vec![(names::BUS, name.as_str())], of(bus))).collect::<Vec<_>>()
        };
        counters(out, names::ACCEPTED, by_bus(|b| b.accepted.get()))?;
        counters(out, names::DUPLICATE, by_bus(|b| b.duplicate.get()))?;
        counters(out, names::DUPLICATE_DIFFERS, by_bus(|b| b.duplicate_differs.get()))?;
        counters(out, names::LOOPED, by_bus(|b| b.looped.get()))?;
        counters(out, names::SCHEMA_WARNED, by_bus(|b| b.schema_warned.get()))?;
        let refused = buses.iter().flat_map(|(name, bus)| {
            let labels = |code: &'static str| vec![(names::BUS, name.as_str()), (names::CODE, code)];
            bus.refused().into_iter().map(move |(code, count)| (labels(code.0), count))
        });
        counters(out, names::REFUSED, refused.collect::<Vec<_>>())?;
        histograms(out, names::APPEND, buses.iter().map(|(name, bus)| (vec![(names::BUS, name.as_str())], &bus.append)))
    }

    fn disk(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let disk = &self.stats.disk;
        let levels = disk.all_levels().map(|(level, count)| (vec![(names::LEVEL, level.as_str())], count));
        counters(out, names::DISK_LEVELS, levels)?;
        let reduced = disk.all_reduced().map(|(why, count)| (vec![(names::REASON, why.as_str())], count));
        counters(out, names::REDUCED, reduced)?;
        counters(out, names::CONVERSIONS, [(Vec::new(), disk.conversions.get())])?;
        let facts = &self.stats.facts;
        counters(out, names::FACTS_TOLD, [(Vec::new(), facts.told.get())])?;
        counters(out, names::FACTS_LOST, [(Vec::new(), facts.lost.get())])?;
        counters(out, names::FACTS_ABOUT_ITSELF, [(Vec::new(), facts.about_itself.get())])
    }

    /// The archive in object storage, where there is one.
    fn archive(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let archive = &self.stats.archive;
        let Some(status) = archive.status() else { return Ok(()) };
        counters(out, names::COPIED, [(Vec::new(), archive.copied.get())])?;
        counters(out, names::COPIED_BYTES, [(Vec::new(), archive.copied_bytes.get())])?;
        counters(out, names::COPY_FAILURES, [(Vec::new(), archive.failures.get())])?;
        counters(out, names::COPIES_REMOVED, [(Vec::new(), archive.removed.get())])?;
        gauges(out, names::ARCHIVE_FAILING, [(Vec::new(), u64::from(status.failing.is_some()))])?;
        let by_bus = |of: fn(&Waiting) -> u64| {
            status.waiting.iter().map(move |(bus, w)| (vec![(names::BUS, bus.as_str())], of(w))).collect::<Vec<_>>()
        };
        gauges(out, names::UNCOPIED, by_bus(|w| w.segments))?;
        gauges(out, names::UNCOPIED_BYTES, by_bus(|w| w.bytes))?;
        let oldest = status.waiting.iter().map(|(bus, w)| {
            let age = w.oldest.map_or(0.0, |oldest| self.now.since(oldest).as_secs_f64());
            (vec![(names::BUS, bus.as_str())], age)
        });
        gauges(out, names::UNCOPIED_OLDEST, oldest)
    }

    fn routes(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let routes = self.stats.routes();
        let by_route = |of: fn(&RouteStats) -> u64| {
            routes.iter().map(move |(name, route)| (vec![(names::ROUTE, name.as_str())], of(route))).collect::<Vec<_>>()
        };
        counters(out, names::MATCHED, by_route(|r| r.matched.get()))?;
        counters(out, names::RESUMED, by_route(|r| r.resumed.get()))?;
        counters(out, names::REDRIVEN, by_route(|r| r.redriven.get()))?;
        counters(out, names::DELIVERED, by_route(|r| r.delivered.get()))?;
        counters(out, names::DEAD_LETTERED, by_route(|r| r.dead_lettered.get()))?;
        counters(out, names::ENDED, by_route(|r| r.ended.get()))?;
        counters(out, names::BATCHES_HALVED, by_route(|r| r.batches_halved.get()))?;
        counters(out, names::UNORDERED, by_route(|r| r.unordered.get()))?;
        counters(out, names::KEYS_ENDED, by_route(|r| r.keys_ended.get()))?;
        counters(out, names::REPLIES_IGNORED, by_route(|r| r.replies_ignored.get()))?;
        counters(out, names::REPLIES_APPENDED, by_route(|r| r.replies_appended.get()))?;
        counters(out, names::REPLIES_DUPLICATE, by_route(|r| r.replies_duplicate.get()))?;
        counters(out, names::REPLIES_QUARANTINED, by_route(|r| r.replies_quarantined.get()))?;
        let letters = routes.iter().flat_map(|(name, r)| {
            let labels = |reason| vec![(names::ROUTE, name.as_str()), (names::REASON, reason)];
            r.letters_ended().into_iter().map(move |(reason, count)| (labels(reason), count))
        });
        counters(out, names::LETTERS_ENDED, letters.collect::<Vec<_>>())?;
        let attempts = routes.iter().flat_map(|(name, r)| {
            let outcomes = [
                ("delivered", r.attempts_delivered.get()),
                ("retry", r.attempts_retry.get()),
                ("refused", r.attempts_refused.get()),
                ("stop", r.attempts_stop.get()),
            ];
            outcomes.map(|(outcome, count)| (vec![(names::ROUTE, name.as_str()), (names::OUTCOME, outcome)], count))
        });
        counters(out, names::ATTEMPTS, attempts.collect::<Vec<_>>())?;
        let latencies = routes.iter().map(|(name, route)| (vec![(names::ROUTE, name.as_str())], &route.latency));
        histograms(out, names::LATENCY, latencies)
    }

    fn replays(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let replay = &self.stats.replay;
        counters(out, names::REPLAYS_STARTED, [(Vec::new(), replay.started.get())])?;
        let ended = replay.all_ended();
        counters(out, names::REPLAYS_ENDED, ended.iter().map(|(end, n)| (vec![(names::REASON, end.as_str())], *n)))?;
        counters(out, names::REPLAY_READ, [(Vec::new(), replay.read.get())])?;
        let outcomes = [
            ("opened", replay.opened.get()),
            ("delivered", replay.delivered.get()),
            ("dead-lettered", replay.dead_lettered.get()),
            ("ended", replay.dropped.get()),
        ];
        let outcomes = outcomes.map(|(outcome, count)| (vec![(names::OUTCOME, outcome)], count));
        counters(out, names::REPLAY_DELIVERIES, outcomes)?;
        counters(out, names::REPLAY_REPLIES, [(Vec::new(), replay.replies_discarded.get())])
    }

    /// What is so right now.
    fn now(&self, status: &Status, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let states = ["running", "paused", "ending"].map(|state| {
            let count = status.replays.iter().filter(|r| r.run.state.as_str() == state).count();
            (vec![(names::STATE, state)], u64::try_from(count).unwrap_or(u64::MAX))
        });
        gauges(out, names::REPLAYS, states)?;
        gauges(out, names::REPLAY_HELD, [(Vec::new(), status.replays.iter().map(|r| r.held_bytes).sum::<u64>())])?;
        let tails = status.buses.iter().map(|bus| (vec![(names::BUS, bus.name.as_str())], bus.tail.0));
        gauges(out, names::TAIL, tails)?;
        let by_route = |of: fn(&RouteStatus) -> u64| {
            status.routes.iter().map(move |r| (vec![(names::ROUTE, r.name.as_str())], of(r))).collect::<Vec<_>>()
        };
        gauges(out, names::LAG, by_route(|r| r.lag_events))?;
        let refuses =
            status.buses.iter().map(|bus| (vec![(names::BUS, bus.name.as_str())], u64::from(bus.refuses.is_some())));
        gauges(out, names::REFUSES, refuses)?;
        gauges(out, names::DISK_USED, [(Vec::new(), status.disk.used_bytes)])?;
        gauges(out, names::DISK_FREE, status.disk.free_bytes.map(|free| (Vec::new(), free)))?;
        let levels =
            Level::ALL.map(|level| (vec![(names::LEVEL, level.as_str())], u64::from(status.disk.level == level)));
        gauges(out, names::DISK_LEVEL, levels)?;
        gauges(out, names::WAITING_BYTES, by_route(|r| r.waiting_bytes))?;
        gauges(out, names::WAITING, by_route(|r| r.waiting))?;
        gauges(out, names::RETRYING, by_route(|r| r.retrying))?;
        gauges(out, names::IN_LEDGER, by_route(|r| r.in_ledger))?;
        gauges(out, names::PARKED, by_route(|r| r.parked))?;
        gauges(out, names::STUCK_KEYS, by_route(|r| r.stuck_keys))?;
        gauges(out, names::IN_FLIGHT, by_route(|r| r.in_flight))?;
        gauges(out, names::DEAD_LETTERS, by_route(|r| r.dead_letters))?;
        let oldest = status.routes.iter().map(|r| {
            let age = r.oldest.map_or(0.0, |oldest| self.now.since(oldest).as_secs_f64());
            (vec![(names::ROUTE, r.name.as_str())], age)
        });
        gauges(out, names::OLDEST, oldest)?;
        let states = status.routes.iter().flat_map(|r| {
            LANE_STATES.map(|(state, name)| {
                (vec![(names::ROUTE, r.name.as_str()), (names::STATE, name)], u64::from(r.state == state))
            })
        });
        gauges(out, names::ROUTE_STATE, states)?;
        let breakers = status.targets.iter().flat_map(|t| {
            BREAKER_STATES.map(|(state, name)| {
                (vec![(names::TARGET, t.name.as_str()), (names::STATE, name)], u64::from(t.breaker == state))
            })
        });
        gauges(out, names::BREAKER, breakers)?;
        let in_flight = status.targets.iter().map(|t| (vec![(names::TARGET, t.name.as_str())], t.in_flight));
        gauges(out, names::TARGET_IN_FLIGHT, in_flight)
    }
}

const LANE_STATES: [(LaneStateName, &str); 5] = [
    (LaneStateName::Active, "active"),
    (LaneStateName::Blocked, "blocked"),
    (LaneStateName::Paused, "paused"),
    (LaneStateName::Stopped, "stopped"),
    (LaneStateName::Orphaned, "orphaned"),
];

const BREAKER_STATES: [(BreakerState, &str); 3] =
    [(BreakerState::Closed, "closed"), (BreakerState::Open, "open"), (BreakerState::Probing, "probing")];

fn counters<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: Name,
    values: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name.0, name.1, None, MetricType::Counter)?;
    values.into_iter().try_for_each(|(labels, value)| {
        let none = None::<&Exemplar<NoLabelSet, f64>>;
        if labels.is_empty() {
            return metric.encode_counter(&value, none);
        }
        metric.encode_family(&labels)?.encode_counter(&value, none)
    })
}

fn gauges<'a, V: EncodeGaugeValue>(
    out: &mut DescriptorEncoder<'_>,
    name: Name,
    values: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name.0, name.1, None, MetricType::Gauge)?;
    values.into_iter().try_for_each(|(labels, value)| {
        if labels.is_empty() {
            return metric.encode_gauge(&value);
        }
        metric.encode_family(&labels)?.encode_gauge(&value)
    })
}

fn histograms<'a, 'h>(
    out: &mut DescriptorEncoder<'_>,
    name: Name,
    values: impl IntoIterator<Item = (Labels<'a>, &'h Histogram)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name.0, name.1, None, MetricType::Histogram)?;
    values.into_iter().try_for_each(|(labels, histogram)| {
        if labels.is_empty() {
            histogram_to(&mut metric, histogram)
        } else {
            histogram_to(&mut metric.encode_family(&labels)?, histogram)
        }
    })
}

fn histogram_to(metric: &mut MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let (counts, sum_us) = histogram.get();
    let bounds = BUCKETS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
    metric.encode_histogram::<NoLabelSet>(seconds(sum_us), counts.iter().sum(), &buckets, None)
}

#[allow(clippy::cast_precision_loss)] // Microseconds are exact in a double for 285 years.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
