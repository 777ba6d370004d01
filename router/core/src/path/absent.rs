//! Events that replays owe, and that the log has let go: read from copies in the archive.

use std::{collections::BTreeSet, time::Duration};

use schemas::Event;

use crate::{
    clock::Timestamp,
    id::{LaneId, Offset, RunId},
    shelf::Reach,
    store::{Error, Pending, Record},
};

/// After how long an archive that does not answer is read again, first and at most.
pub(super) const ARCHIVE_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A record that is owed: here, in a remnant, or, of a replay, in a copy, for which it waits while the archive does not
/// answer.
pub(super) async fn owed_record(reach: &Reach, id: LaneId, offset: Offset) -> Result<Option<Record>, Error> {
    if id.run == RunId(0) {
        return reach.log().record(offset).await;
    }
    let mut wait = ARCHIVE_WAIT.0;
    loop {
        match reach.record(offset).await {
            Err(Error::Unreachable(_)) => {}
            Err(Error::Lost { .. }) => return Ok(None),
            found => return found,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(ARCHIVE_WAIT.1);
    }
}

/// An entry with its record. Of a replay the record may be gone: then something of its length stands for it, which is
/// never sent. `None`: nobody may be without it.
pub(super) fn owed(pending: Pending, record: Option<Record>, lost: &mut BTreeSet<Offset>) -> Option<(Pending, Record)> {
    if let Some(record) = record {
        return Some((pending, Record { event: record.event.detached(), ..record }));
    }
    let stands_for = stand_in(pending.bytes).filter(|_| pending.lane.run != RunId(0))?;
    lost.insert(pending.offset);
    let record = Record { offset: pending.offset, appended: Timestamp::default(), event: stands_for };
    Some((pending, record))
}

/// An event whose body has about so many bytes.
fn stand_in(bytes: u32) -> Option<Event> {
    let event = |data: usize| Event::builder("-", "/", "-").data(schemas::Form::Binary, vec![0; data]).build().ok();
    let empty = event(0)?.body().len();
    event(usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(empty))
}
