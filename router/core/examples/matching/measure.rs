//! Measuring: processor time of one thread, runs that are compared taking turns.

use std::{
    fs,
    hint::black_box,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use router_core::{
    filter::{Filter, Matcher, Scratch, Spec},
    id::RouteId,
};
use schemas::Event;
use serde_json::{Value, json};

use crate::{corpus, rules};

/// Runs of each, whose median counts.
const ROUNDS: usize = 3;
const SEED: u64 = 8;
/// Events between two looks at the clock while matchers are swapped.
const SWAP_EVENTS: usize = 64;

/// Processor time of this thread.
fn spent(start: &Instant) -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
    // Where the system does not tell, time on the wall is an upper bound.
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Events per second of processor time.
fn rate(events: usize, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    let before = spent(&start);
    run();
    let took = spent(&start).saturating_sub(before);
    events as f64 / took.as_secs_f64().max(1e-9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn resident_bytes() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4096.0
}

/// Prints a figure, with its limit where it has one.
fn tell(figure: &str, value: f64, unit: &str, limit: Option<(&str, f64)>, note: &str) {
    let mut line = json!({"figure": figure, "value": value, "unit": unit, "note": note});
    if let (Some((name, limit)), Some(line)) = (limit, line.as_object_mut()) {
        line.insert(name.into(), json!(limit));
    }
    println!("{line}");
}

#[expect(clippy::panic, reason = "a rule that is none measures nothing")]
fn matcher(rules: impl Iterator<Item = Spec>) -> Matcher {
    let parse = |spec: Spec| Filter::parse(spec).unwrap_or_else(|e| panic!("{e}"));
    Matcher::compile((0..).map(RouteId).zip(rules.map(parse)))
}

fn over_data(rule: &Value) -> Spec {
    Spec::Pattern(json!({"data": rule}))
}

/// Hits, to see that something was found.
fn run(matcher: &Matcher, events: &[Event], scratch: &mut Scratch) -> usize {
    let mut out = Vec::new();
    let mut hits = 0;
    for event in events {
        out.clear();
        matcher.matches(black_box(event), scratch, &mut out);
        hits += out.len();
    }
    hits
}

/// quamina over the data, with the rules that it takes.
fn quamina(rules: &[Value]) -> (quamina::Quamina<u32>, usize) {
    let mut matcher = quamina::Quamina::<u32>::new();
    let taken =
        (0..).zip(rules).filter(|(number, rule)| matcher.add_pattern(*number, &rule.to_string()).is_ok()).count();
    (matcher, taken)
}

fn class(name: &str, rules: &[Value], at_least: Option<(f64, f64, f64)>, events: &[Event]) {
    let ours = matcher(rules.iter().map(over_data));
    let (theirs, taken) = quamina(rules);
    let mut scratch = Scratch::default();
    let (mut rates, mut their_rates) = (Vec::new(), Vec::new());
    let (mut hits, mut their_hits) = (0, 0);
    for _ in 0..ROUNDS {
        rates.push(rate(events.len(), || hits = run(&ours, events, &mut scratch)));
        let mut theirs = || {
            their_hits =
                events.iter().map(|e| theirs.matches_for_event(black_box(e.data())).map_or(0, |m| m.len())).sum();
        };
        their_rates.push(rate(events.len(), &mut theirs));
    }
    let (rate, their_rate) = (median(rates), median(their_rates));
    let note = format!("{:.3} hits an event", hits as f64 / events.len() as f64);
    match at_least {
        Some((times, ruler, part)) => {
            tell(name, rate, "events/s", Some(("at_least", times * ruler)), &note);
            let note =
                format!("quamina {their_rate:.0}/s, {taken} of {} rules, {their_hits} hits to our {hits}", rules.len());
            tell(&format!("{name}, of quamina"), rate / their_rate, "", Some(("at_least", part)), &note);
        }
        None => tell(name, rate, "events/s", None, &note),
    }
}

fn sizes(events: &[Event]) {
    let mut rates = Vec::new();
    for count in [10, 1_000, 10_000, 100_000] {
        let specs: Vec<Spec> = rules::mixed(count, SEED).into_iter().map(Spec::Pattern).collect();
        let before = resident_bytes();
        let start = Instant::now();
        let ours = matcher(specs.into_iter());
        let (took, grown) = (start.elapsed(), resident_bytes() - before);
        let mut scratch = Scratch::default();
        let mut hits = 0;
        let measured = (0..ROUNDS).map(|_| rate(events.len(), || hits = run(&ours, events, &mut scratch))).collect();
        let rate = median(measured);
        let note = format!("{:.4} hits an event", hits as f64 / events.len() as f64);
        tell(&format!("{count} mixed rules"), rate, "events/s", None, &note);
        tell(
            &format!("memory of {count} mixed rules"),
            grown / f64::from(1 << 20),
            "MiB",
            None,
            "resident, with the filters",
        );
        let limit = (count == 100_000).then_some(("at_most", 5.0));
        tell(&format!("parsing and building {count} mixed rules"), took.as_secs_f64(), "s", limit, "");
        rates.push(rate);
    }
    if let (Some(first), Some(last)) = (rates.first(), rates.last()) {
        tell("10 mixed rules, of 100,000", first / last, "", Some(("at_most", 2.0)), "");
    }
}

/// The longest time that one event took while another thread built the next matcher and swapped it.
fn swap(events: &[Event]) {
    let specs: Vec<Spec> = rules::mixed(100_000, SEED).into_iter().map(Spec::Pattern).collect();
    let current = Arc::new(RwLock::new(Arc::new(matcher(specs.clone().into_iter()))));
    let done = Arc::new(AtomicBool::new(false));
    let longest = thread::scope(|threads| {
        let (shared, ended) = (current.clone(), done.clone());
        threads.spawn(move || {
            let next = Arc::new(matcher(specs.into_iter()));
            // Who builds also drops: a large matcher takes a while to be freed.
            let old = shared.write().map(|mut slot| std::mem::replace(&mut *slot, next));
            thread::sleep(Duration::from_millis(100));
            drop(old);
            ended.store(true, Ordering::Release);
        });
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        let (mut count, mut busy, mut wall) = (0, Duration::ZERO, Duration::ZERO);
        for few in events.chunks(SWAP_EVENTS).cycle() {
            let start = Instant::now();
            let before = spent(&start);
            for event in few {
                out.clear();
                if let Ok(matcher) = current.read().map(|slot| slot.clone()) {
                    matcher.matches(event, &mut scratch, &mut out);
                }
            }
            count += few.len();
            busy = busy.max(spent(&start).saturating_sub(before));
            wall = wall.max(start.elapsed());
            if done.load(Ordering::Acquire) {
                break;
            }
        }
        (count, busy, wall)
    });
    let (count, busy, wall) = longest;
    let note = format!(
        "processor time of the slowest {SWAP_EVENTS} of {count} events; on the clock {:.1} ms, waiting for a processor included",
        wall.as_secs_f64() * 1e3
    );
    let figure = "pause of the flow while 100,000 rules were built and swapped";
    tell(figure, busy.as_secs_f64() * 1e3, "ms", Some(("at_most", 5.0)), &note);
}

/// Everything.
pub fn all(count: usize) {
    let events = corpus::events(count, SEED);
    let bytes: usize = events.iter().map(|e| e.data().len()).sum();
    tell("data of an event", bytes as f64 / events.len().max(1) as f64, "B", None, "");
    let mut scratch = Scratch::default();
    let none = matcher([Spec::Pattern(json!({"data": {"nothing": ["x"]}}))].into_iter());
    tell(
        "a rule whose field no event has",
        rate(events.len(), || {
            run(&none, &events, &mut scratch);
        }),
        "events/s",
        None,
        "",
    );
    let classes = rules::classes();
    for rules::Class { name, rules, at_least } in &classes {
        class(name, rules, *at_least, &events);
    }
    let every: Vec<Value> = classes.into_iter().flat_map(|class| class.rules).collect();
    let ours = matcher(every.iter().map(over_data));
    let measured = (0..ROUNDS)
        .map(|_| {
            rate(events.len(), || {
                run(&ours, &events, &mut scratch);
            })
        })
        .collect();
    tell("all 45 rules together", median(measured), "events/s", Some(("at_least", 5.0 * 25_300.0)), "");
    for (figure, unfound, limit) in [
        ("1,000 CESQL routes", 0, Some(("at_least", 200_000.0))),
        ("1,000 CESQL routes, 100 of them found by their type only", 100, None),
    ] {
        let expressions = rules::expressions(1_000, unfound, SEED);
        let ours = matcher(expressions.into_iter().map(|text| Spec::Sql(json!(text))));
        let mut hits = 0;
        let measured = (0..ROUNDS).map(|_| rate(events.len(), || hits = run(&ours, &events, &mut scratch))).collect();
        let note = format!("{:.4} hits an event", hits as f64 / events.len() as f64);
        tell(figure, median(measured), "events/s", limit, &note);
    }
    sizes(&events);
    swap(&events);
}
