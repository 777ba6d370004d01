//! What all of these tests use.

use std::{path::Path, sync::Arc};

use router_core::{
    clock::Timestamp,
    id::{BusName, Offset},
    store::{Admitted, Error, Log},
};
use router_store::disk::{DiskLog, Options, files::Files};
use schemas::{Event, Form};

/// An event whose id and key are `n`, with so many bytes of data, none of them 0, that differ from event to event.
pub fn admitted(n: u64, data_bytes: usize) -> Admitted {
    let data: Vec<u8> = (0..data_bytes).map(|i| (n as usize * 31 + i * 7) as u8 | 1).collect();
    let event = Event::builder(&n.to_string(), "/till", "coffee.order.created").data(Form::Binary, data).build();
    Admitted { event: event.unwrap(), key: n }
}

pub fn bus() -> BusName {
    BusName::new("default").unwrap()
}

pub async fn open(files: Arc<dyn Files>, dir: &Path, options: &Options) -> Result<DiskLog, Error> {
    DiskLog::open(files, dir, &bus(), options.clone()).await
}

/// Ids of all records from `from` on, read in chunks of about `bytes_max`; checks offsets and times on the way.
pub async fn ids(log: &dyn Log, from: Offset, bytes_max: usize) -> Result<Vec<u64>, Error> {
    Ok(records(log, from, bytes_max).await?.into_iter().map(|(_, _, id)| id).collect())
}

/// Offset, append time and id of all records from `from` on.
pub async fn records(log: &dyn Log, from: Offset, bytes_max: usize) -> Result<Vec<(u64, u64, u64)>, Error> {
    let (mut found, mut next, mut time) = (Vec::new(), from, Timestamp(0));
    while next < log.bounds().1 {
        let chunk = log.read(next, bytes_max).await?;
        assert!(chunk.next > next, "a read below the tail goes on");
        for record in chunk.records() {
            let record = record?;
            assert!(record.offset >= next && record.offset < chunk.next);
            assert!(record.appended >= time);
            (next, time) = (record.offset.next(), record.appended);
            let id = record.event.id().parse().unwrap();
            assert_eq!(record.event, admitted(id, record.event.data().len()).event);
            found.push((record.offset.0, record.appended.0, id));
        }
        next = chunk.next;
    }
    Ok(found)
}
