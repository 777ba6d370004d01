use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request};
use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId, SourceName},
    source::{Accepted, Fate, Inlet, IntakeClosed, Kind, OnInvalid, Pulled, RawEvent, Rejection},
    target::Delivery,
};
use router_http::{
    Endpoint, Key, KeySpec, Limits, Listener, Mount, Secret,
    client::{Answer, Client},
    intake::{Results, Submit},
};
use schemas::{Event, Form};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Script = Box<dyn Fn(usize, &RawEvent) -> Result<Accepted, Rejection> + Send + Sync>;

/// An intake that keeps what it was given and answers as its script says.
pub struct Fake {
    pub script: Script,
    pub closed: bool,
    pub delay: Duration,
    pub seen: Mutex<Vec<RawEvent>>,
}

impl Fake {
    /// Appends every valid event at offset 1, 2, …; rejects the others.
    pub fn new() -> Self {
        Self::script(|i, raw| match &raw.event {
            Ok(_) => Ok(Accepted::Appended(Offset(i as u64 + 1))),
            Err(invalid) => Err(invalid.clone().into()),
        })
    }

    pub fn script(script: impl Fn(usize, &RawEvent) -> Result<Accepted, Rejection> + Send + Sync + 'static) -> Self {
        Fake { script: Box::new(script), closed: false, delay: Duration::ZERO, seen: Mutex::default() }
    }

    /// The valid events that it was given.
    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().unwrap().iter().filter_map(|raw| raw.event.clone().ok()).collect()
    }
}

#[async_trait]
impl Submit for Fake {
    async fn submit(&self, from: &SourceName, batch: Vec<RawEvent>) -> Results {
        assert_eq!(from.as_str(), "az");
        tokio::time::sleep(self.delay).await;
        if self.closed {
            return Err(IntakeClosed);
        }
        let results = batch.iter().enumerate().map(|(i, raw)| (self.script)(i, raw)).collect();
        self.seen.lock().unwrap().extend(batch);
        Ok(results)
    }
}

#[async_trait]
impl Inlet for Fake {
    async fn offer(&self, from: &SourceName, what: OnInvalid, batch: &[Pulled]) -> Result<Vec<Fate>, IntakeClosed> {
        let answers = self.submit(from, batch.iter().map(|pulled| pulled.raw.clone()).collect()).await?;
        let fate = |answer| match answer {
            Ok(_) => Fate::Taken,
            Err(Rejection { kind: Kind::Busy { retry_after }, .. }) => Fate::Busy { retry_after },
            Err(_) if what == OnInvalid::Quarantine => Fate::Quarantined,
            Err(why) => Fate::Rejected(why),
        };
        Ok(answers.into_iter().map(fate).collect())
    }
}

/// A listener with one endpoint.
pub struct Served {
    pub addr: SocketAddr,
    pub fake: Arc<Fake>,
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn serve(endpoint: impl Endpoint, fake: Fake) -> Served {
    let fake = Arc::new(fake);
    let mount = Mount { endpoint: Arc::new(endpoint), intake: fake.clone() };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Limits::default(), vec![mount]).await.unwrap();
    let addr = listener.addr();
    let task = tokio::spawn(listener.run(CancellationToken::new()));
    Served { addr, fake, client: Client::new().unwrap(), task }
}

impl Served {
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        self.client.send(request, Duration::from_secs(30), 1 << 20).await.unwrap()
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, path, headers, body).await
    }
}

pub fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

pub fn az() -> SourceName {
    SourceName::new("az").unwrap()
}

pub fn keys(secrets: &[&str]) -> Vec<Arc<Key>> {
    let key = |(n, secret): (usize, &&str)| Key::new(KeySpec::new(format!("az/{n}"), Secret::new(*secret))).unwrap();
    secrets.iter().enumerate().map(key).collect()
}

/// A delivery of an event with an id and a size of its data.
pub fn delivery(offset: u64, event: Event) -> Delivery {
    let lane = LaneId { bus: BusId(0), route: RouteId(2), run: RunId(0) };
    let id = DeliveryId { epoch: Epoch(0xc0ffee), lane, offset: Offset(offset) };
    let route = RouteName::new("mirror").unwrap();
    Delivery { id, attempt: 1, route, appended: Timestamp(1_767_323_045_000_000), event, reply: None }
}

pub fn event(id: &str) -> Event {
    let event = Event::builder(id, "/shop/7", "coffee.order.created").attr("tenant", "blue");
    event.attr("datacontenttype", "application/json").data(Form::Json, r#"{"n": 1.50}"#).build().unwrap()
}

/// Waits until it is so; at most 20 s.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
