//! A Pub/Sub of this suite's own, in Google's protocol: it keeps what is published, holds what subscriptions have, fails
//! when it is told to, and counts what it is asked.

/// What a subscription holds.
#[path = "own/held.rs"]
mod held;

/// What subscribers talk to.
#[path = "own/subscriber.rs"]
mod subscriber;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use router_gcp::proto::{
    PublishRequest, PublishResponse, PubsubMessage,
    publisher_server::{Publisher, PublisherServer},
    subscriber_server::SubscriberServer,
};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status, service::Routes};

pub use held::Held;
use subscriber::Subscriptions;
pub use subscriber::{AckFault, StreamFault};

/// What happens to a request to publish.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is refused with this code.
    Refuse(Code),
    /// It is taken, and its answer is lost with the code of a broken connection.
    Lose,
    /// It is never answered.
    Hang,
}

/// What a request is answered with, by the messages in it.
type Judge = Box<dyn FnMut(&[PubsubMessage]) -> Option<Fault> + Send>;

#[derive(Default)]
pub struct Kept {
    /// What the next requests meet; after them `judge` decides.
    faults: VecDeque<Option<Fault>>,
    judge: Option<Judge>,
    /// How many messages each request had.
    requests: Vec<usize>,
    messages: Vec<PubsubMessage>,
    /// Subscriptions by their whole names.
    held: BTreeMap<String, Held>,
    /// What the next streams meet.
    stream_faults: VecDeque<Option<StreamFault>>,
    /// What the next acknowledgements meet.
    ack_faults: VecDeque<AckFault>,
    /// Streams that were opened.
    streams: u64,
}

/// The server; it ends when it is dropped.
pub struct Own {
    pub url: String,
    kept: Arc<Mutex<Kept>>,
    serving: JoinHandle<()>,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Own {
    /// Starts one that meets its first requests with these faults, one after the other.
    pub async fn with(faults: impl IntoIterator<Item = Option<Fault>>) -> Own {
        Own::serve(Kept { faults: faults.into_iter().collect(), ..Kept::default() }).await
    }

    /// Starts one that looks at the messages of each request.
    pub async fn judging(judge: Judge) -> Own {
        Own::serve(Kept { judge: Some(judge), ..Kept::default() }).await
    }

    async fn serve(kept: Kept) -> Own {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Mutex::new(kept));
        let asked = kept.clone();
        let app = Routes::new(PublisherServer::new(Topics { kept: kept.clone() }))
            .add_service(SubscriberServer::new(Subscriptions { kept: kept.clone() }))
            .into_axum_router()
            .fallback(move |uri: http::Uri| async move { in_json(&asked.lock().unwrap(), uri.path()) });
        let serving = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().accept_http1(true);
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            server.serve_with_incoming(app, incoming).await.unwrap();
        });
        Own { url, kept, serving }
    }

    /// Starts one with a subscription of that name, whose streams meet these faults, and then none.
    pub async fn holding(name: &str, held: Held, faults: impl IntoIterator<Item = Option<StreamFault>>) -> Own {
        let held = [(name.to_owned(), held)].into_iter().collect();
        Own::serve(Kept { held, stream_faults: faults.into_iter().collect(), ..Kept::default() }).await
    }

    /// Has the next acknowledgements meet these.
    pub fn lose(&self, faults: impl IntoIterator<Item = AckFault>) {
        self.kept.lock().unwrap().ack_faults.extend(faults);
    }

    /// Looks at a subscription.
    pub fn see<T>(&self, name: &str, look: impl FnOnce(&mut Held) -> T) -> T {
        look(self.kept.lock().unwrap().held.get_mut(name).unwrap())
    }

    /// Streams that were opened, those that were refused too.
    pub fn streams(&self) -> u64 {
        self.kept.lock().unwrap().streams
    }

    /// How many messages each request had, so far.
    pub fn requests(&self) -> Vec<usize> {
        self.kept.lock().unwrap().requests.clone()
    }

    /// What was published, in the order in which it came.
    pub fn messages(&self) -> Vec<PubsubMessage> {
        self.kept.lock().unwrap().messages.clone()
    }
}

/// What clients ask for in JSON: whether a subscription is there. It knows no rights, as the emulator.
fn in_json(kept: &Kept, path: &str) -> (http::StatusCode, [(http::HeaderName, &'static str); 1], String) {
    let name = path.trim_start_matches("/v1/");
    let error = |status: http::StatusCode, code: &str| {
        let error = serde_json::json!({"error": {"code": status.as_u16(), "message": "not here", "status": code}});
        (status, error)
    };
    let (status, body) = if kept.held.contains_key(name) {
        (http::StatusCode::OK, serde_json::json!({"name": name, "topic": "projects/coffee/topics/t"}))
    } else if path.ends_with(":testIamPermissions") {
        error(http::StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED")
    } else {
        error(http::StatusCode::NOT_FOUND, "NOT_FOUND")
    };
    (status, [(http::header::CONTENT_TYPE, "application/json")], body.to_string())
}

struct Topics {
    kept: Arc<Mutex<Kept>>,
}

#[tonic::async_trait]
impl Publisher for Topics {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let messages = request.into_inner().messages;
        let (fault, first) = {
            let mut kept = self.kept.lock().unwrap();
            kept.requests.push(messages.len());
            let fault = match kept.faults.pop_front() {
                Some(fault) => fault,
                None => kept.judge.as_mut().and_then(|judge| judge(&messages)),
            };
            let first = kept.messages.len();
            if matches!(fault, None | Some(Fault::Lose)) {
                kept.messages.extend(messages.iter().cloned());
            }
            (fault, first)
        };
        match fault {
            None => {
                let message_ids = (first..first + messages.len()).map(|n| n.to_string()).collect();
                Ok(Response::new(PublishResponse { message_ids }))
            }
            Some(Fault::Refuse(code)) => Err(Status::new(code, "as the test says")),
            Some(Fault::Lose) => Err(Status::new(Code::Unavailable, "the answer is lost")),
            Some(Fault::Hang) => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                Err(Status::new(Code::Aborted, "nobody waits any more"))
            }
        }
    }
}
