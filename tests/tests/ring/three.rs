//! AWS, Google and Azure in a ring.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use router_tests::world::{link::Link, process::Place, sink::Sink};
use serde_json::json;

use super::{
    hook::Hook,
    peers::{Fed, Kind},
    stations::{Clouds, Station, keys, sent},
};

/// Where events come in, and the series that each gets.
const AWS: usize = 0;
const GOOGLE: usize = 1;
const AZURE: usize = 2;

/// Events that come in at each router, in each of the phases.
fn count() -> u64 {
    if long() { 600 } else { 60 }
}

fn long() -> bool {
    std::env::var_os("GOCOFFEE_TESTS_LONG").is_some()
}

/// Starts the three routers.
async fn started<'p>(
    clouds: &Clouds,
    places: &'p [Place; 3],
    files: [&str; 3],
    fed: &Fed,
    mapping: &str,
) -> [Station<'p>; 3] {
    let config = |at: usize, sink: &Sink| clouds.config(files[at], &places[at], sink, fed, mapping);
    let start = |at: usize| Station::start(&places[at], move |sink| config(at, sink));
    let (aws, google, azure) = tokio::join!(start(AWS), start(GOOGLE), start(AZURE));
    [aws, google, azure]
}

/// What programs of the clouds' own send to them: what is no CloudEvent.
async fn natively(clouds: &Clouds, fed: &Fed) {
    let entry =
        json!({"Source": "my.app", "DetailType": "order made", "Detail": r#"{"total":450}"#, "EventBusName": fed.bus});
    clouds.aws.call("AWSEvents.PutEvents", json!({"Entries": [entry]})).await;
    let message = json!({"data": STANDARD.encode("no event"), "attributes": {"shop": "7"}});
    clouds.google.done(Method::POST, &format!("topics/{}:publish", fed.bus), json!({"messages": [message]})).await;
}

/// Publishes a series at each router; returns when all are taken.
async fn publish(stations: &[Station<'_>; 3], series: [&'static str; 3], count: u64) {
    let [aws, google, azure] = stations;
    tokio::join!(
        aws.publish(series[AWS], count),
        google.publish(series[GOOGLE], count),
        azure.publish(series[AZURE], count)
    );
}

/// The ring has come to rest: everything came back to where it came in, and nothing is left anywhere.
async fn at_rest(clouds: &Clouds, fed: &Fed, stations: &[Station<'_>; 3]) {
    for station in stations {
        station.settled().await;
    }
    clouds.emptied(fed).await;
    for station in stations {
        station.settled().await;
    }
}

/// The keys of a series came in order.
fn in_order(station: &Station<'_>, series: &str) {
    let order = station.order(series);
    assert!(order.len() > 1, "{series}: {order:?}");
    assert!(order.values().all(|numbers| numbers.is_sorted()), "{series}: {order:?}");
}

/// Cuts a cloud off, has events come in everywhere, and mends it: what need not pass that cloud goes on, the rest waits
/// before it, and arrives.
async fn cut_off(clouds: &mut Clouds, stations: &[Station<'_>; 3], cut: usize, series: [&'static str; 3]) {
    let (before, after) = ((cut + 2) % 3, (cut + 1) % 3);
    let had = stations.each_ref().map(|station| station.came().len());
    link(clouds, cut).cut().await;
    publish(stations, series, count()).await;
    let one = count() as usize;
    stations[before].until(had[before] + 3 * one).await;
    stations[after].until(had[after] + 2 * one).await;
    stations[before].owes(3 * count()).await;
    assert_eq!(stations[cut].came().len(), had[cut] + one, "only what came in there");
    link(clouds, cut).mend();
    for (station, had) in stations.iter().zip(had) {
        station.until(had + 3 * one).await;
    }
    stations[before].owes(0).await;
}

fn link(clouds: &mut Clouds, which: usize) -> &mut Link {
    match which {
        AWS => &mut clouds.to_aws,
        GOOGLE => &mut clouds.to_google,
        _ => &mut clouds.to_azure,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_reaches_each_cloud_once_and_a_cloud_that_is_cut_off_costs_none() {
    let Some(mut clouds) = Clouds::start(Kind::Moto).await else { return };
    let (places, fed) = ([Place::new(), Place::new(), Place::new()], clouds.make("ring").await);
    let stations = started(&clouds, &places, ["aws.yaml", "google.yaml", "azure.yaml"], &fed, "opaque").await;
    natively(&clouds, &fed).await;
    clouds
        .azure
        .put([json!({"specversion": "1.0", "id": "native", "source": "/azure", "type": "made", "data": [1.50]})
            .to_string()]);
    publish(&stations, ["aws", "google", "azure"], count()).await;
    for station in &stations {
        station.until(3 * count() as usize + 3).await;
        // Each comes back once to where it came in.
        station.came_back(count() + 1).await;
    }
    at_rest(&clouds, &fed, &stations).await;
    let came = stations[AWS].came();
    let wanted = sent(&[("aws", count()), ("google", count()), ("azure", count())]);
    assert_eq!(came.len(), wanted.len() + 3, "and three that came in natively");
    for station in &stations {
        assert_eq!(station.came(), came, "the same at each cloud, attributes and bytes");
        assert!(station.looped().await < 2 * count(), "once round");
    }
    assert!(wanted.iter().all(|(key, print)| came.get(key) == Some(print)), "as they were sent");
    cut_off(&mut clouds, &stations, GOOGLE, ["aws-2", "google-2", "azure-2"]).await;
    // From AWS to Google the order of keys is kept by all: the route, the topic, the subscription, the bus.
    in_order(&stations[AWS], "aws-2");
    in_order(&stations[GOOGLE], "aws-2");
    if long() {
        for (cut, series) in [(AZURE, ["aws-3", "google-3", "azure-3"]), (AWS, ["aws-4", "google-4", "azure-4"])] {
            // What has still to come back once round would count as owed to the cloud that is cut off.
            at_rest(&clouds, &fed, &stations).await;
            cut_off(&mut clouds, &stations, cut, series).await;
        }
    }
    at_rest(&clouds, &fed, &stations).await;
    for station in &stations {
        assert_eq!(station.came(), stations[AWS].came());
    }
    for station in stations {
        assert!(station.router.terminate().await.success());
    }
}

/// The same over a custom topic and a webhook, and with the mapping that AWS's rules can filter by: AWS may write the data
/// anew then.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_over_a_webhook_ends_and_keeps_every_attribute_in_structured_mapping() {
    let Some(clouds) = Clouds::start(Kind::Ministack).await else { return };
    let (places, fed) = ([Place::new(), Place::new(), Place::new()], clouds.make("hooked").await);
    let files = ["aws.yaml", "google.yaml with a topic", "azure.yaml with a webhook"];
    let stations = started(&clouds, &places, files, &fed, "structured").await;
    let url = places[AZURE].url().replace("/events", "/azure?key=hook-secret");
    let hook = Hook::subscribe(clouds.azure.clone(), &url).await;
    natively(&clouds, &fed).await;
    publish(&stations, ["aws", "google", "azure"], count()).await;
    for (station, back) in stations.iter().zip([1, 1, 0]) {
        station.until(3 * count() as usize + 2).await;
        station.came_back(count() + back).await;
    }
    at_rest(&clouds, &fed, &stations).await;
    assert_eq!(hook.given_up(), Vec::<String>::new());
    let wanted = sent(&[("aws", count()), ("google", count()), ("azure", count())]);
    for station in &stations {
        let came = station.came();
        assert_eq!(keys(&came), keys(&stations[AWS].came()));
        assert!(wanted.iter().all(|(key, print)| came[key].attrs == print.attrs), "every attribute");
    }
    // What came in at AWS has not been through EventBridge where Google and Azure stand.
    let past = sent(&[("aws", count())]);
    for station in &stations[GOOGLE..] {
        assert!(past.iter().all(|(key, print)| station.came()[key] == *print), "and every byte");
    }
    for station in stations {
        assert!(station.router.terminate().await.success());
    }
}
