//! Goal: the sample gives the same replies on every platform.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use function_host::testing::{Came, FORMS, send};
use serde_json::Value;
use the_function::TheFunction;

#[tokio::test]
async fn every_platform_gives_the_replies_of_the_sample() {
    let sample: Value = serde_json::from_str(include_str!("../samples/answered.json")).unwrap();
    let event = schemas::json::decode(sample["event"].to_string().as_bytes()).unwrap();
    for form in FORMS {
        let came = send::<TheFunction>(form, &[], Default::default(), &event).await;
        let Came::Replies(replies) = came else { panic!("{form}: {came:?}") };
        let data: Vec<Value> = replies.iter().map(|reply| serde_json::from_slice(reply.data()).unwrap()).collect();
        assert_eq!(Value::from(data), sample["replies"], "{form}");
    }
}
