//! Events as entries of `PutRawEvents`, which a custom event bus keeps and passes on byte for byte. Pure.
//!
//! | what | of what |
//! |---|---|
//! | `Data` | the CloudEvent as JSON, so that filters of subscribers see its attributes and its data |
//! | `ContentType` | `application/json`, as AWS asks for CloudEvents |
//! | `EventGroupId` | `partitionkey`; without one the event is in no group |
//! | `DeduplicationId` | `source` and `id`, the same at each attempt |
//!
//! AWS says how many entries a call takes, and of no limit in bytes; counted are the data and the texts beside it.

use aws_sdk_eventbridgev2::types::{PutRawEventsRequestEntry, PutRawEventsSystemMetadata};
use aws_smithy_types::Blob;
use router_core::target::Delivery;

use super::{Misfit, Weighed, keys};
use crate::codes;

/// Entries of one call.
pub const RAW_COUNT_MAX: usize = 100;
/// What the data are, by the names that custom event buses know.
const CONTENT_TYPE: &str = "application/json";

/// Writes a delivery for a custom event bus.
///
/// # Errors
/// [`Misfit`]: no try can change it.
pub fn entry(delivery: &Delivery) -> Result<Weighed<PutRawEventsRequestEntry>, Misfit> {
    let event = &delivery.event;
    let data = schemas::json::encode(event);
    let (group, identity) = (keys::group(event), keys::identity(event));
    let bytes = data.len() + CONTENT_TYPE.len() + identity.len() + group.as_ref().map_or(0, String::len);
    let misfit = |why: String| Misfit { code: codes::MESSAGE, note: why };
    let beside = PutRawEventsSystemMetadata::builder()
        .content_type(CONTENT_TYPE)
        .set_event_group_id(group)
        .deduplication_id(identity)
        .build()
        .map_err(|e| misfit(e.to_string()))?;
    let entry = PutRawEventsRequestEntry::builder().data(Blob::new(data)).system_metadata(beside).build();
    Ok(Weighed { entry: entry.map_err(|e| misfit(e.to_string()))?, bytes })
}

#[cfg(test)]
mod tests {
    use schemas::{Event, Form};

    use super::*;
    use crate::wire::tests::delivery;

    #[test]
    fn an_entry_is_the_cloudevent_byte_for_byte_and_what_it_goes_by() {
        let event = Event::builder("1", "aws.any", "t").data(Form::Json, r#"{"a":1.10,"b":1e2,"c":"é"}"#);
        let event = event.build().unwrap();
        let Weighed { entry, bytes } = super::entry(&delivery(event.clone())).unwrap();
        assert_eq!(entry.data().as_ref(), schemas::json::encode(&event));
        let beside = entry.system_metadata().unwrap();
        assert_eq!((beside.content_type(), beside.event_group_id()), ("application/json", None));
        let identity = beside.deduplication_id().unwrap().to_owned();
        assert_eq!(identity.len(), 64);
        assert_eq!(bytes, entry.data().as_ref().len() + "application/json".len() + 64);

        let keyed = event.rebuild().attr("partitionkey", "shop-7").build().unwrap();
        let again = Delivery { attempt: 9, ..delivery(keyed) };
        let Weighed { entry, bytes } = super::entry(&again).unwrap();
        let beside = entry.system_metadata().unwrap();
        assert_eq!(beside.event_group_id(), Some("shop-7"));
        assert_eq!(beside.deduplication_id(), Some(identity.as_str()), "the same at each attempt");
        assert_eq!(bytes, entry.data().as_ref().len() + "application/json".len() + 64 + "shop-7".len());
    }
}
