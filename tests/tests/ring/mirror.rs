//! Two routers that mirror a bus of EventBridge and a topic of Pub/Sub: AWS, the one router, Google, the other, AWS.

use http::Method;
use router_tests::world::process::Place;
use serde_json::json;

use super::{
    peers::Kind,
    stations::{Clouds, Station, keys, sent},
};

/// Events that come in at each.
const COUNT: u64 = 50;

/// What each has of what came in at both; `bytes`: whether the mapping keeps each byte.
async fn mirrored(clouds: &Clouds, name: &str, mapping: &str, bytes: bool) {
    let (fed, places) = (clouds.make(name).await, [Place::new(), Place::new()]);
    let (aws, google) = tokio::join!(
        Station::start(&places[0], |sink| clouds.config("aws.yaml", &places[0], sink, &fed, mapping)),
        Station::start(&places[1], |sink| clouds.config("mirror.yaml", &places[1], sink, &fed, mapping)),
    );
    let entry =
        json!({"Source": "my.app", "DetailType": "order made", "Detail": r#"{"total":450}"#, "EventBusName": name});
    clouds.aws.call("AWSEvents.PutEvents", json!({"Entries": [entry]})).await;
    let message = json!({"data": "bm8gZXZlbnQ="});
    clouds.google.done(Method::POST, &format!("topics/{name}:publish"), json!({"messages": [message]})).await;
    tokio::join!(aws.publish("aws", COUNT), google.publish("google", COUNT));
    for station in [&aws, &google] {
        station.until(2 * COUNT as usize + 2).await;
        station.came_back(COUNT + 1).await;
    }
    aws.settled().await;
    google.settled().await;
    clouds.emptied(&fed).await;
    let (at_aws, at_google) = (aws.came(), google.came());
    assert_eq!(keys(&at_aws), keys(&at_google), "{mapping}");
    assert_eq!(at_aws.len() as u64, 2 * COUNT + 2, "{mapping}");
    for (key, print) in sent(&[("aws", COUNT), ("google", COUNT)]) {
        assert_eq!(at_google[&key], print, "{mapping}: by Pub/Sub, as it was sent");
        assert_eq!(at_aws[&key].attrs, print.attrs, "{mapping}: every attribute of {key}");
        assert!(!bytes || at_aws[&key] == print, "{mapping}: every byte of {key}");
    }
    assert!(aws.router.terminate().await.success() && google.router.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_two_clouds_keeps_what_its_mapping_promises_and_ends() {
    let Some(clouds) = Clouds::start(Kind::Ministack).await else { return };
    mirrored(&clouds, "opaque", "opaque", true).await;
    mirrored(&clouds, "structured", "structured", false).await;
}
