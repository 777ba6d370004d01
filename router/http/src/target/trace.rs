//! The trace of a delivery, as W3C Trace Context writes it: `00-TRACE-PARENT-FLAGS`.
//!
//! An event that carries a valid `traceparent` (CloudEvents extension "distributed tracing") goes on in
//! its own trace. Any other gets one made from its `DeliveryId`, so that all attempts of a delivery lie
//! in one trace whatever happened in between, and each attempt is a span of its own.

use std::hash::Hasher;

use router_core::target::Delivery;
use schemas::Value;
use siphasher::sip128::{Hasher128, SipHasher13};

/// The value of the `traceparent` header.
pub fn traceparent(delivery: &Delivery) -> String {
    match delivery.event.get("traceparent") {
        Some(Value::String(given)) if is_traceparent(given) => given.to_owned(),
        _ => derived(delivery),
    }
}

/// The value of `tracestate`, which means something only beside the event's own `traceparent`.
pub fn tracestate(delivery: &Delivery) -> Option<String> {
    match (delivery.event.get("traceparent"), delivery.event.get("tracestate")) {
        (Some(Value::String(parent)), Some(Value::String(state))) if is_traceparent(parent) => Some(state.to_owned()),
        _ => None,
    }
}

fn derived(delivery: &Delivery) -> String {
    let id = delivery.id;
    // Keyed with nothing: the value has to be the same on every machine and after every update.
    let mut hasher = SipHasher13::new();
    hasher.write(b"gocoffee-trace");
    hasher.write(&id.epoch.0.to_le_bytes());
    hasher.write(&id.lane.bus.0.to_le_bytes());
    hasher.write(&id.offset.0.to_le_bytes());
    hasher.write(&id.lane.route.0.to_le_bytes());
    hasher.write(&id.lane.run.0.to_le_bytes());
    let trace = u128::from(hasher.finish128()).max(1);
    hasher.write(&delivery.attempt.to_le_bytes());
    let parent = hasher.finish128().h1.max(1);
    format!("00-{trace:032x}-{parent:016x}-01")
}

/// W3C Trace Context, section 3.2: version 00, and later versions as far as they begin like it.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let set = |part: &str| part.bytes().any(|b| b != b'0');
    let mut parts = text.splitn(5, '-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && hex(trace, 32)
        && set(trace)
        && hex(parent, 16)
        && set(parent)
        && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use router_core::{
        clock::Timestamp,
        id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId},
    };
    use schemas::Event;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn delivery(offset: u64, attempt: u32, parent: Option<&str>) -> Delivery {
        let event = Event::builder("1", "/s", "t");
        let event = parent.into_iter().fold(event, |event, parent| event.attr("traceparent", parent)).build().unwrap();
        let lane = LaneId { bus: BusId(0), route: RouteId(1), run: RunId(0) };
        let id = DeliveryId { epoch: Epoch(7), lane, offset: Offset(offset) };
        Delivery { id, attempt, route: RouteName::new("r").unwrap(), appended: Timestamp(0), event, reply: None }
    }

    #[test]
    fn valid_traceparent_of_the_event_is_passed_on() {
        assert_eq!(traceparent(&delivery(1, 1, Some(GIVEN))), GIVEN);
    }

    #[test]
    fn attempts_of_a_delivery_share_a_trace_and_not_a_span() {
        let [first, again, second, other] =
            [delivery(1, 1, None), delivery(1, 1, None), delivery(1, 2, None), delivery(2, 1, None)]
                .map(|d| traceparent(&d));
        assert!(is_traceparent(&first), "{first}");
        assert_eq!(first, again);
        assert_ne!(first, second);
        assert_eq!(first.get(..36), second.get(..36));
        assert_ne!(first.get(..36), other.get(..36));
    }

    #[test]
    fn derived_trace_stays_the_same_over_releases() {
        assert_eq!(traceparent(&delivery(1, 1, None)), "00-6561510c1a7ca56bb8ccba183fa1d36a-442e7dfcf272f88c-01");
    }

    #[test]
    fn malformed_traceparent_is_replaced() {
        for bad in [
            "x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
            assert_ne!(traceparent(&delivery(1, 1, Some(bad))), bad);
        }
        assert!(is_traceparent("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"));
    }
}
