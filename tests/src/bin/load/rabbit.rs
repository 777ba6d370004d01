//! The load of RabbitMQ: a publisher with confirms and a consumer, each on a connection of its own, as its users have them.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use amqprs::{
    Ack, BasicProperties, Cancel, CloseChannel, FieldTable, Nack, Return,
    callbacks::ChannelCallback,
    channel::{
        BasicAckArguments, BasicConsumeArguments, BasicPublishArguments, BasicQosArguments, Channel,
        ConfirmSelectArguments, QueueDeclareArguments,
    },
    connection::{Connection, OpenConnectionArguments},
    error::Error,
};
use async_trait::async_trait;
use serde_json::json;
use tokio::{runtime::Runtime, sync::Semaphore, time::timeout};

use crate::{publish::Load, say};

const QUEUE: &str = "coffee";
/// Deliveries that one acknowledgement is for.
const ACKNOWLEDGED: u64 = 100;
/// A consumer that gets nothing for so long has failed.
const STUCK: Duration = Duration::from_secs(60);

/// Publishes so many events of [`Load`] to a quorum queue, at most `in_flight` unconfirmed, and consumes them with as many
/// prefetched; says how long it took from the first one until the last was confirmed and came.
pub fn rabbit(runtime: &Runtime, port: u16, events: u64, in_flight: u16) {
    let seconds = runtime.block_on(through(port, events, in_flight)).expect("RabbitMQ serves");
    say(&json!({"seconds": seconds}));
}

async fn through(port: u16, events: u64, in_flight: u16) -> Result<f64, Error> {
    // A user of every RabbitMQ, who may come from this machine only.
    let arguments = OpenConnectionArguments::new("127.0.0.1", port, "guest", "guest");
    let (sending, taking) = (Connection::open(&arguments).await?, Connection::open(&arguments).await?);
    let (publisher, consumer) = (sending.open_channel(None).await?, taking.open_channel(None).await?);
    let mut quorum = FieldTable::new();
    let (name, kind) = ("x-queue-type".try_into(), "quorum".to_owned());
    quorum.insert(name.expect("a short name"), kind.into());
    publisher.queue_declare(QueueDeclareArguments::durable_client_named(QUEUE).arguments(quorum).finish()).await?;
    publisher.confirm_select(ConfirmSelectArguments::default()).await?;
    let room = Arc::new(Semaphore::new(usize::from(in_flight)));
    publisher.register_callback(Confirms { room: room.clone(), open: BTreeSet::new(), next: 1 }).await?;
    consumer.basic_qos(BasicQosArguments::new(0, in_flight, false)).await?;
    let (_, mut deliveries) = consumer.basic_consume_rx(BasicConsumeArguments::new(QUEUE, "sink")).await?;

    let load = Load::new("http://127.0.0.1/", events, 1, None, "bench").expect("a load");
    let started = Instant::now();
    let publish = async {
        let to = BasicPublishArguments::new("", QUEUE);
        let durable = BasicProperties::default().with_persistence(true).finish();
        for n in 0..events {
            room.acquire().await.expect("it is never closed").forget();
            let body = load.request(n, 1).1.to_vec();
            publisher.basic_publish(durable.clone(), body, to.clone()).await?;
        }
        let all = timeout(STUCK, room.acquire_many(u32::from(in_flight))).await;
        drop(all.expect("all are confirmed in time"));
        Ok::<(), Error>(())
    };
    let consume = async {
        for n in 1..=events {
            let delivery = timeout(STUCK, deliveries.recv()).await.expect("the next delivery comes in time");
            let delivery = delivery.and_then(|message| message.deliver).expect("a delivery");
            if n % ACKNOWLEDGED == 0 || n == events {
                consumer.basic_ack(BasicAckArguments::new(delivery.delivery_tag(), true)).await?;
            }
        }
        Ok::<(), Error>(())
    };
    tokio::try_join!(publish, consume)?;
    let seconds = started.elapsed().as_secs_f64();
    sending.close().await?;
    taking.close().await?;
    Ok(seconds)
}

/// Makes room for what is confirmed.
struct Confirms {
    room: Arc<Semaphore>,
    /// Messages above this one were not heard of yet.
    next: u64,
    /// Those below it that are not confirmed.
    open: BTreeSet<u64>,
}

impl Confirms {
    /// How many a confirmation is for: of one message, or of all up to it that are still open.
    fn count(&mut self, tag: u64, multiple: bool) -> usize {
        self.open.extend(self.next..=tag);
        self.next = self.next.max(tag + 1);
        if !multiple {
            return usize::from(self.open.remove(&tag));
        }
        let above = self.open.split_off(&(tag + 1));
        std::mem::replace(&mut self.open, above).len()
    }
}

#[async_trait]
impl ChannelCallback for Confirms {
    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let count = self.count(ack.delivery_tag(), ack.mutiple());
        self.room.add_permits(count);
    }
    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        panic!("RabbitMQ did not take {}", nack.delivery_tag());
    }
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Result<(), Error> {
        panic!("RabbitMQ closed the channel: {close}");
    }
    async fn cancel(&mut self, _: &Channel, cancel: Cancel) -> Result<(), Error> {
        panic!("RabbitMQ cancelled the consumer: {cancel:?}");
    }
    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, Error> {
        Ok(active)
    }
    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {
        panic!("RabbitMQ has no queue for a message");
    }
}
