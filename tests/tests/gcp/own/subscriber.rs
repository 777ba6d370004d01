//! The half of the server that subscribers talk to: streaming pull, acknowledgements and leases, with their faults.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use router_gcp::proto::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, StreamingPullRequest, StreamingPullResponse,
    streaming_pull_response::SubscriptionProperties, subscriber_server::Subscriber,
};
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, Streaming, codegen::BoxStream, codegen::tokio_stream::wrappers};

use super::{Kept, held::Wants};

/// What happens to a stream.
#[derive(Clone, Copy, Debug)]
pub enum StreamFault {
    /// It is refused with this code.
    Refuse(Code),
    /// It breaks off with this code after so many messages.
    Break(usize, Code),
    /// The server ends it, as if all were well, after so many messages.
    End(usize),
    /// One message at a time, so far apart.
    Slow(Duration),
}

/// What happens to an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub enum AckFault {
    /// It is refused with this code, and nothing is acknowledged.
    Refuse(Code),
    /// It is taken, and its answer is lost.
    LoseAnswer,
}

/// Messages of one answer, and from one to the next.
const ANSWER_COUNT_MAX: usize = 100;
const TICK: Duration = Duration::from_millis(10);

pub struct Subscriptions {
    pub kept: Arc<Mutex<Kept>>,
}

type Sender = mpsc::Sender<Result<StreamingPullResponse, Status>>;

#[tonic::async_trait]
impl Subscriber for Subscriptions {
    async fn streaming_pull(
        &self,
        request: Request<Streaming<StreamingPullRequest>>,
    ) -> Result<Response<BoxStream<StreamingPullResponse>>, Status> {
        let mut asked = request.into_inner();
        let first = asked.message().await?.ok_or_else(|| Status::invalid_argument("nothing is asked for"))?;
        let (fault, stream) = {
            let mut kept = self.kept.lock().unwrap();
            if !kept.held.contains_key(&first.subscription) {
                return Err(not_found(&first.subscription));
            }
            kept.streams += 1;
            (kept.stream_faults.pop_front().flatten(), kept.streams)
        };
        if let Some(StreamFault::Refuse(code)) = fault {
            return Err(Status::new(code, "as the test says"));
        }
        let wants = Wants {
            stream,
            lease: Duration::from_secs(first.stream_ack_deadline_seconds.try_into().unwrap()),
            messages_max: first.max_outstanding_messages.try_into().unwrap(),
            bytes_max: first.max_outstanding_bytes.try_into().unwrap(),
        };
        let (sender, receiver) = mpsc::channel(1);
        let kept = self.kept.clone();
        tokio::spawn(async move {
            let sending = send(&kept, &first.subscription, wants, fault, &sender);
            // The subscriber's half carries nothing but signs of life.
            let hearing = async { while let Ok(Some(_)) = asked.message().await {} };
            let failed = tokio::select! {
                ended = sending => ended,
                () = hearing => None,
            };
            if let Some(status) = failed {
                let _gone = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(wrappers::ReceiverStream::new(receiver))))
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<()>, Status> {
        let AcknowledgeRequest { subscription, ack_ids } = request.into_inner();
        let mut kept = self.kept.lock().unwrap();
        let fault = kept.ack_faults.pop_front();
        if let Some(AckFault::Refuse(code)) = fault {
            return Err(Status::new(code, "as the test says"));
        }
        let held = kept.held.get_mut(&subscription).ok_or_else(|| not_found(&subscription))?;
        let ended = held.acknowledge(&ack_ids, Instant::now());
        if fault.is_some() {
            return Err(Status::unavailable("the answer is lost"));
        }
        if held.exactly_once && !ended.is_empty() { Err(ended_leases(&ended)) } else { Ok(Response::new(())) }
    }

    async fn modify_ack_deadline(&self, request: Request<ModifyAckDeadlineRequest>) -> Result<Response<()>, Status> {
        let ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds } = request.into_inner();
        let mut kept = self.kept.lock().unwrap();
        let held = kept.held.get_mut(&subscription).ok_or_else(|| not_found(&subscription))?;
        let lease = Duration::from_secs(ack_deadline_seconds.try_into().unwrap());
        let ended = held.modify(&ack_ids, lease, Instant::now());
        if held.exactly_once && !ended.is_empty() { Err(ended_leases(&ended)) } else { Ok(Response::new(())) }
    }
}

/// Sends what there is until the subscriber is gone, or the test has it end; the error that ends it, where one does.
async fn send(
    kept: &Mutex<Kept>,
    name: &str,
    wants: Wants,
    fault: Option<StreamFault>,
    sender: &Sender,
) -> Option<Status> {
    let (mut sent, mut alive) = (0, false);
    loop {
        let (count_max, wait) = match fault {
            Some(StreamFault::Break(after, code)) if sent >= after => {
                return Some(Status::new(code, "as the test says"));
            }
            Some(StreamFault::End(after)) if sent >= after => return None,
            Some(StreamFault::Break(after, _) | StreamFault::End(after)) => (after - sent, TICK),
            Some(StreamFault::Slow(wait)) => (1, wait),
            Some(StreamFault::Refuse(_)) | None => (ANSWER_COUNT_MAX, TICK),
        };
        let room = sender.reserve().await.ok()?;
        let answer = {
            let mut kept = kept.lock().unwrap();
            let held = kept.held.get_mut(name)?;
            let received_messages = held.take(wants, count_max.min(ANSWER_COUNT_MAX), Instant::now());
            sent += received_messages.len();
            let properties = SubscriptionProperties {
                exactly_once_delivery_enabled: held.exactly_once,
                message_ordering_enabled: held.ordered,
            };
            StreamingPullResponse { received_messages, subscription_properties: Some(properties) }
        };
        let nothing = answer.received_messages.is_empty();
        if !nothing || !alive {
            // The first answer goes out even with nothing in it, as a sign of life.
            alive = true;
            room.send(Ok(answer));
        } else {
            drop(room);
        }
        if nothing || matches!(fault, Some(StreamFault::Slow(_))) {
            tokio::select! {
                () = sender.closed() => return None,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

fn not_found(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={name})."))
}

/// Google's refusal of ack ids whose lease has ended: the reason of each stands in the details.
fn ended_leases(ack_ids: &[String]) -> Status {
    let metadata = ack_ids.iter().map(|id| (id.clone(), "PERMANENT_FAILURE_INVALID_ACK_ID".to_owned())).collect();
    let info =
        ErrorInfo { reason: "EXACTLY_ONCE_ACKID_FAILURE".into(), domain: "pubsub.googleapis.com".into(), metadata };
    let any = prost_types::Any {
        type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(),
        value: prost::Message::encode_to_vec(&info),
    };
    let message = "Some acknowledgement ids in the request were invalid";
    let status = RpcStatus { code: Code::InvalidArgument as i32, message: message.into(), details: vec![any] };
    Status::with_details(Code::InvalidArgument, message, prost::Message::encode_to_vec(&status).into())
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: std::collections::BTreeMap<String, String>,
}
