//! A log and its copies, read as one: what the log has let go is read from the copies.

use std::sync::Arc;

use super::Shelf;
use crate::{
    clock::Timestamp,
    id::{BusName, Offset},
    store::{Chunk, Error, Log, Record},
};

/// The log of one bus as far back as anything of it is kept.
#[derive(Clone)]
pub struct Reach {
    bus: BusName,
    log: Arc<dyn Log>,
    shelf: Option<Arc<Shelf>>,
}

impl Reach {
    /// Of this bus; without a shelf, the log alone.
    pub fn new(bus: BusName, log: Arc<dyn Log>, shelf: Option<Arc<Shelf>>) -> Self {
        Reach { bus, log, shelf }
    }

    /// The log on this machine.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// The copies, where there are any.
    pub fn shelf(&self) -> Option<&Arc<Shelf>> {
        self.shelf.as_ref()
    }

    /// The copies of the bus, by offset.
    pub fn copies(&self) -> Vec<super::Copied> {
        self.shelf.as_ref().map(|shelf| shelf.copies(&self.bus)).unwrap_or_default()
    }

    /// The first offset that can be read, here or from a copy, and the tail. Between copies offsets may be missing:
    /// what was let go before it was copied.
    pub fn bounds(&self) -> (Offset, Offset) {
        let (first, tail) = self.log.bounds();
        let copied = self.shelf.as_ref().and_then(|shelf| shelf.bounds(&self.bus));
        (copied.map_or(first, |(copied, _)| copied.min(first)), tail)
    }

    /// Whether it is known what there is from an offset on: where the log has let go, the copies have to be listed.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn known(&self, from: Offset) -> Result<(), Error> {
        let below = from < self.log.bounds().0;
        match self.shelf.as_ref().and_then(|shelf| shelf.unlisted()).filter(|_| below) {
            Some(unlisted) => Err(unlisted),
            None => Ok(()),
        }
    }

    /// As [`Log::read`], from copies below what the log holds.
    ///
    /// # Errors
    /// The store's; [`Error::Lost`] names offsets whose copy is missing or damaged, which the caller passes over;
    /// [`Error::Unreachable`] when the copies cannot be read now.
    pub async fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, Error> {
        match self.log.read(from, bytes_max).await {
            Err(Error::Trimmed { first }) => match &self.shelf {
                Some(shelf) => self.copied(shelf, from, first).await,
                None => Err(Error::Trimmed { first }),
            },
            other => other,
        }
    }

    async fn copied(&self, shelf: &Shelf, from: Offset, first: Offset) -> Result<Chunk, Error> {
        if let Some(unlisted) = shelf.unlisted() {
            return Err(unlisted);
        }
        let Some((lowest, _)) = shelf.bounds(&self.bus).filter(|(lowest, _)| *lowest < first) else {
            return Err(Error::Trimmed { first });
        };
        if from < lowest {
            return Err(Error::Trimmed { first: lowest });
        }
        if shelf.covered(&self.bus, from) == from {
            // Nobody has it: let go before it was copied.
            let to = shelf.next_copied(&self.bus, from).map_or(first, |next| next.min(first));
            let what = "let go before they were copied";
            return Err(Error::Lost { from, to, place: shelf.place().into(), what: what.into() });
        }
        let chunk = shelf.read(&self.bus, from, first).await?;
        // What the log holds it reads itself: a copy may reach over the place where it begins.
        let within = chunk.records.partition_point(|(offset, ..)| *offset < first);
        let records = chunk.records.get(..within).unwrap_or_default().to_vec();
        Ok(Chunk { next: chunk.next.min(first), records, buffer: chunk.buffer })
    }

    /// As [`Log::seek`], through the copies.
    ///
    /// # Errors
    /// As [`Reach::read`].
    pub async fn seek(&self, t: Timestamp) -> Result<Offset, Error> {
        let (first, _) = self.log.bounds();
        if let Some(shelf) = &self.shelf
            && shelf.bounds(&self.bus).is_some_and(|(lowest, _)| lowest < first)
            && let Some(found) = shelf.seek(&self.bus, t).await?.filter(|found| *found < first)
        {
            return Ok(found);
        }
        let found = self.log.seek(t).await?;
        // What is older may be in copies that are not known yet.
        match self.shelf.as_ref().and_then(|shelf| shelf.unlisted()).filter(|_| found <= first && first > Offset(1)) {
            Some(unlisted) => Err(unlisted),
            None => Ok(found),
        }
    }

    /// The record at exactly this offset: in the log, in a remnant, or in a copy.
    ///
    /// # Errors
    /// As [`Reach::read`].
    pub async fn record(&self, offset: Offset) -> Result<Option<Record>, Error> {
        let found = self.log.record(offset).await?;
        match &self.shelf {
            None => Ok(found),
            Some(_) if found.is_some() || offset >= self.log.bounds().0 => Ok(found),
            Some(shelf) => shelf.record(&self.bus, offset).await,
        }
    }
}
