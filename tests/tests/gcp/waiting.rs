//! Goal: however many messages wait in a subscription, the router's memory stays what it is. The suite's own server makes
//! each message when it sends it: a million wait, and nobody holds them.

use std::time::{Duration, Instant};

use router_tests::world::{process::Place, sink::Sink};
use serde_json::json;

use super::{
    own::{Held, Own},
    pull::{NAME, config, message},
};

/// What all of them may take on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(1_500);
/// What the memory may grow by, from a tenth of the way to its end: what the allocator keeps. The data of the messages that
/// come meanwhile is twice as much, and with a million forty times.
const GROWTH_MAX: u64 = 24 << 20;

fn count() -> usize {
    if std::env::var_os("GOCOFFEE_TESTS_LONG").is_some() { 1_000_000 } else { 50_000 }
}

/// With a kibibyte of data.
fn large(n: usize) -> router_gcp::proto::PubsubMessage {
    let data = format!(r#"{{"n":{n},"note":"{:<1024}"}}"#, "coffee");
    router_gcp::proto::PubsubMessage { data: data.into(), ..message(n, false) }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_while_many_messages_wait() {
    let (count, end) = (count(), Instant::now() + DEADLINE);
    let own = Own::holding(NAME, Held::making(count, large), []).await;
    let (sink, place) = (Sink::start().await, Place::new());
    // Everything is taken in and nothing is owed: what is tried is the way in.
    let mut settings = config(&own.url, &sink, &json!({}));
    settings["routes"]["out"]["filter"] = json!({"exact": {"type": "nobody.wants.it"}});
    // What is remembered of events, so that a second one is found, is another matter, and has a bound of its own.
    settings["buses"] = json!({"default": {"dedupe": {"entries_max": 10_000}}});
    let router = place.start_with(&[], &settings).await;
    let (mut early, mut most, mut done) = (0, 0, 0);
    while done < count {
        assert!(Instant::now() < end, "{done} of {count} are acknowledged\n{}", place.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
        done = own.see(NAME, |held| held.acknowledged());
        match done < count / 10 {
            true => early = router.memory_bytes(),
            false => most = most.max(router.memory_bytes()),
        }
    }
    let mib = |bytes: u64| bytes >> 20;
    println!("{count} messages: {} MiB after a tenth, at most {} MiB", mib(early), mib(most));
    assert!(early > 0 && most < early + GROWTH_MAX, "from {} MiB to {} MiB", mib(early), mib(most));
    assert_eq!(own.see(NAME, |held| held.attempts_max()), 1, "none was sent a second time");
    assert!(router.terminate().await.success());
}
