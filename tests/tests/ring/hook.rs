//! How the played Event Grid delivers what a custom topic took to a webhook, by Microsoft's documentation: after a
//! handshake in CloudEvents' way, one event in a request, again after what a retry can heal, and given up for good after
//! the answers that the service gives up at.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use router_tests::world::client::Client;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use super::grid::{Grid, Taken};

/// From one look at the topic to the next, and from one try to the next; Event Grid waits ten seconds.
const LOOK: Duration = Duration::from_millis(20);
const AGAIN: Duration = Duration::from_millis(200);

/// A subscription; it ends when it is dropped.
pub struct Hook {
    given_up: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    /// Makes one to that URL, which must grant it.
    pub async fn subscribe(grid: Arc<Grid>, url: &str) -> Hook {
        let client = Client::new(Duration::from_secs(30));
        let asks = [("webhook-request-origin", "eventgrid.azure.net"), ("webhook-request-rate", "120")];
        let answer = client.send(Method::OPTIONS, url, headers(&asks), Bytes::new()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.headers["webhook-allowed-origin"], "eventgrid.azure.net");
        let (given_up, url) = (Arc::<Mutex<Vec<String>>>::default(), url.to_owned());
        let noted = given_up.clone();
        let task = tokio::spawn(async move {
            let mut done = 0;
            loop {
                let taken = grid.taken().split_off(done);
                done += taken.len();
                for event in taken.iter().filter(|taken| taken.path == "/api/events").flat_map(events) {
                    if let Err(status) = deliver(&client, &url, &event).await {
                        noted.lock().unwrap().push(format!("{status}: {event}"));
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Hook { given_up, task }
    }

    /// What was given up, with the answer that it was given up at.
    pub fn given_up(&self) -> Vec<String> {
        self.given_up.lock().unwrap().clone()
    }
}

/// The events of a list, each as its own text.
fn events(taken: &Taken) -> Vec<String> {
    let list: Vec<Box<RawValue>> = serde_json::from_slice(&taken.body).unwrap();
    list.into_iter().map(|event| event.get().to_owned()).collect()
}

/// Delivers one, for as long as it takes; the status at which Event Grid gives it up.
async fn deliver(client: &Client, url: &str, event: &str) -> Result<(), u16> {
    let told = [
        ("content-type", "application/cloudevents+json; charset=utf-8"),
        ("aeg-event-type", "Notification"),
        ("aeg-delivery-count", "0"),
    ];
    loop {
        match client.send(Method::POST, url, headers(&told), Bytes::from(event.to_owned())).await {
            Ok(answer) => match answer.status {
                200..=204 => return Ok(()),
                status @ (400 | 401 | 403 | 404 | 413) => return Err(status),
                _ => {}
            },
            Err(_nobody) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
    let of = |(name, value): &(&'static str, &'static str)| {
        (header::HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    given.iter().map(of).collect()
}
