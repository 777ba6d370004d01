//! Goal: what is wrong with a target at AWS is said at its place, offline; and what a mapping changes is named.

use gocoffee::config;

const TARGETS: &str = r#"
sources:
  web: { http: { path: /events } }
  fine: { eventbridge: { queue_url: "https://sqs.us-east-1.amazonaws.com/1/q" } }
  url: { eventbridge: { queue_url: coffee, on_invalid: quarantine } }
  shown: { eventbridge: { queue_url: "https://sqs.us-east-1.amazonaws.com/1/q", visibility: 1s, bus: missing } }
  left: { eventbridge: { queue_url: "https://sqs.us-east-1.amazonaws.com/1/q", on_invalid: drop } }
  crowd: { eventbridge: { queue_url: "https://sqs.us-east-1.amazonaws.com/1/q", receivers: 65 } }
targets:
  fine: { eventbridge: { bus: coffee, mapping: opaque } }
  unsaid: { eventbridge: { bus: coffee, region: us-east-1 } }
  bare: { eventbridge: { bus: "arn:aws:events:eu-west-1:1:event-bus/b", mapping: data } }
  no-bus: { eventbridge: { bus: "two words", mapping: raw } }
  bad-bus: { eventbridge: { bus: "two words" } }
  region: { eventbridge: { bus: b, mapping: opaque, region: "us east" } }
  endpoint: { eventbridge: { bus: b, mapping: opaque, endpoint: localhost } }
  many: { eventbridge: { bus: b, mapping: opaque, batch: { count_max: 11 } } }
  none: { eventbridge: { bus: b, mapping: opaque, in_flight_max: 0 } }
  slow: { eventbridge: { bus: b, mapping: opaque, rate: { events_per_second_max: 0 } } }
  half: { eventbridge: { bus: b, mapping: opaque, credentials: { access_key_id: AKID, session_token: "${env:GOCOFFEE_TEST_UNSET}" } } }
  role: { eventbridge: { bus: b, mapping: opaque, credentials: { role_arn: router } } }
  idle: { eventbridge: { bus: b, mapping: opaque, credentials: { external_id: x } } }
  custom: { eventbridge_v2: { bus: "arn:aws:events:eu-west-1:123456789012:event-busv2/orders/abcdefghij0123456789abcde" } }
  no-arn: { eventbridge_v2: { bus: orders } }
  too-many: { eventbridge_v2: { bus: "arn:aws:events:eu-west-1:123456789012:event-busv2/o/a1", batch: { count_max: 101 } } }
  raw-key: { eventbridge_v2: { bus: "arn:aws:events:eu-west-1:123456789012:event-busv2/o/a1", credentials: { access_key_id: AKID } } }
  raw-mapping: { eventbridge_v2: { bus: "arn:aws:events:eu-west-1:123456789012:event-busv2/o/a1", mapping: data } }
  queue: { sqs: { queue_url: "https://sqs.us-east-1.amazonaws.com/1/q.fifo" } }
  no-queue: { sqs: { queue_url: "q", batch: { count_max: 11 } } }
  no-url: { sqs: { queue_url: "q" } }
  function: { lambda: { function: "two words" } }
  queued-there: { lambda: { function: f, invocation: event } }
  strange: { lambda: { function: f, invocation: later } }
routes:
  unanswered: { to: queued-there, reply: true }
  answers: { to: fine, reply: true }
  queued: { to: queue, reply: true }
  raw: { to: custom, reply: true }
"#;

#[test]
fn every_mistake_at_aws_is_found_at_its_place() {
    let text = config::load("gocoffee.yaml", TARGETS).report.to_text(false);
    let kept: String = text.split("\n\n").filter(|finding| !finding.contains("R0012")).collect::<Vec<_>>().join("\n\n");
    insta::assert_snapshot!(kept);
}
