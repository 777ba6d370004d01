//! Dead letters, as an operator handles them: looked at, opened again, ended.
//!
//! Each change goes page by page through the dispatcher, which owns what is counted, and is durable
//! when the call returns. One at a time: what a page lists is still so when it is changed.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    Path,
    dispatch::{Letters, Msg},
};
use crate::{
    filter::Filter,
    id::DeliveryId,
    quarantine,
    store::{self, DeadLetter, Page, Record, Selection},
};

/// Dead letters that are opened again or ended at a time.
const LETTERS_PAGE: usize = 1_000;

/// Which dead letters: those that hold for what the ledger knows of them, and whose event a filter wants.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    /// By what the ledger knows.
    pub selection: &'a Selection,
    /// By the event; `None` asks for none. What is no event, and an event that is no longer kept, no filter wants.
    pub filter: Option<&'a Filter>,
}

impl<'a> From<&'a Selection> for Which<'a> {
    fn from(selection: &'a Selection) -> Self {
        Which { selection, filter: None }
    }
}

/// Why [`Path::purge`] ended dead letters, as it is counted.
pub(super) const PURGED: &str = "purged";

/// What a redrive did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// Deliveries opened again.
    pub redriven: u64,
    /// Dead letters left as they were, because their route is not configured any more.
    pub orphaned: u64,
    /// Dead letters left as they were, because they are no events: they have to be edited first.
    #[serde(default)]
    pub quarantined: u64,
    /// Of those opened: later ones of their key were delivered before, as far as is known.
    #[serde(default)]
    pub late: u64,
}

/// What a purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Dead letters that were ended.
    pub purged: u64,
}

impl Path {
    /// Dead letters, by id: all that were parked before the call. With a filter it reads on until it found as many as
    /// the page asks for, or there are no further ones.
    ///
    /// # Errors
    /// The store's.
    pub async fn dead_letters<'a>(
        &self,
        which: impl Into<Which<'a>>,
        mut page: Page,
    ) -> Result<Vec<DeadLetter>, store::Error> {
        let Which { selection, filter } = which.into();
        self.flush().await?;
        let mut found = Vec::new();
        loop {
            let letters = self.ledger.dead_letters(selection, page).await?;
            let Some(last) = letters.last() else { return Ok(found) };
            page.after = Some(last.id);
            let Some(filter) = filter else { return Ok(letters) };
            let wanted = self.wanted(letters, filter).await?;
            page.count_max -= wanted.len();
            found.extend(wanted);
            if page.count_max == 0 {
                return Ok(found);
            }
        }
    }

    /// Those of the dead letters whose event the filter wants.
    async fn wanted(&self, letters: Vec<DeadLetter>, filter: &Filter) -> Result<Vec<DeadLetter>, store::Error> {
        let mut wanted = Vec::new();
        for letter in letters {
            if is_raw(&letter) {
                continue;
            }
            if self.event_of(&letter.id).await?.is_some_and(|record| filter.matches(&record.event)) {
                wanted.push(letter);
            }
        }
        Ok(wanted)
    }

    /// The record that a delivery is about; `None` when its bus is unknown or the record is gone.
    ///
    /// # Errors
    /// The store's.
    pub async fn record(&self, id: &DeliveryId) -> Result<Option<Record>, store::Error> {
        let found = self.event_of(id).await?;
        Ok(found.map(|r| Record { event: r.event.detached(), ..r }))
    }

    /// In the log, in a remnant, or in a copy.
    async fn event_of(&self, id: &DeliveryId) -> Result<Option<Record>, store::Error> {
        let Some(reach) = self.reaches.get(&id.lane.bus) else { return Ok(None) };
        match reach.record(id.offset).await {
            Err(store::Error::Lost { .. }) => Ok(None),
            found => found,
        }
    }

    /// Opens the selected dead letters again, under their own ids and with new budgets, in log order;
    /// resolves when that is durable. A dead letter whose route is not configured stays as it is.
    ///
    /// # Errors
    /// The store's: what was opened before stays open.
    pub async fn redrive<'a>(&self, which: impl Into<Which<'a>>) -> Result<Redriven, store::Error> {
        self.change(which.into(), Some(Letters::Redrive)).await
    }

    /// How many of the selected dead letters would be delivered after later ones of their key, were they redriven.
    ///
    /// # Errors
    /// The store's.
    pub async fn late<'a>(&self, which: impl Into<Which<'a>>) -> Result<u64, store::Error> {
        self.change(which.into(), None).await.map(|seen| seen.late)
    }

    /// Ends the selected dead letters for good, those of routes that are not configured too: their
    /// events are no longer kept for them. Resolves when that is durable.
    ///
    /// # Errors
    /// The store's: what was ended before stays ended.
    pub async fn purge<'a>(&self, which: impl Into<Which<'a>>) -> Result<Purged, store::Error> {
        let purged = self.change(which.into(), Some(Letters::End(PURGED))).await?.redriven;
        Ok(Purged { purged })
    }

    /// Changes all that are selected, or looks at them; how many were changed, how many left as they were, and how
    /// many are late where they are redriven.
    async fn change(&self, which: Which<'_>, what: Option<Letters>) -> Result<Redriven, store::Error> {
        let _one = self.changing.lock().await;
        self.flush().await?;
        let count = |letters: &[DeadLetter]| u64::try_from(letters.len()).unwrap_or(u64::MAX);
        let mut done = Redriven::default();
        let mut page = Page { after: None, count_max: LETTERS_PAGE };
        loop {
            let letters = self.ledger.dead_letters(which.selection, page).await?;
            let Some(last) = letters.last() else { return Ok(done) };
            page.after = Some(last.id);
            let letters = match which.filter {
                Some(filter) => self.wanted(letters, filter).await?,
                None => letters,
            };
            let ends = matches!(what, Some(Letters::End(_)));
            let stays = |l: &DeadLetter| !ends && is_raw(l);
            let (stay, letters): (Vec<_>, Vec<_>) = letters.into_iter().partition(stays);
            let all = count(&letters);
            if !ends {
                done.late += self.count_late(letters.clone()).await?;
            }
            let Some(what) = what else { continue };
            let changed = self.ask(letters, what).await?;
            done.redriven += changed;
            done.orphaned += all.saturating_sub(changed);
            done.quarantined += count(&stay);
        }
    }

    /// What was settled before the call is in the ledger after it.
    pub(super) async fn flush(&self) -> Result<(), store::Error> {
        self.ask(Vec::new(), Letters::Redrive).await.map(|_| ())
    }

    async fn count_late(&self, letters: Vec<DeadLetter>) -> Result<u64, store::Error> {
        let (reply, count) = oneshot::channel();
        self.dispatcher.send(Msg::Late(letters, reply)).map_err(|_| self.over())?;
        count.await.map_err(|_| self.over())
    }

    pub(super) async fn ask(&self, letters: Vec<DeadLetter>, what: Letters) -> Result<u64, store::Error> {
        let (reply, count) = oneshot::channel();
        self.dispatcher.send(Msg::Letters { what, letters, reply }).map_err(|_| self.over())?;
        count.await.map_err(|_| self.over())
    }
}

/// Whether it is no event but the bytes of what could not be read as one.
fn is_raw(letter: &DeadLetter) -> bool {
    letter.route.as_str() == quarantine::BUS
}
