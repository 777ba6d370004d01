//! The way into a bus for sources that pull: what is no event is kept in the quarantine, where the source asks for it.

use async_trait::async_trait;

use super::{append::Intake, replies::Quarantine};
use crate::{
    id::{BusName, SourceName},
    quarantine::Quarantined,
    source::{Fate, Inlet, IntakeClosed, Kind, OnInvalid, Pulled, Rejection},
};

/// A bus's [`Inlet`]. Cheap to clone.
#[derive(Clone)]
pub struct Doorway {
    pub(super) bus: BusName,
    pub(super) intake: Intake,
    pub(super) quarantine: Option<Quarantine>,
}

#[async_trait]
impl Inlet for Doorway {
    async fn offer(
        &self,
        from: &SourceName,
        on_invalid: OnInvalid,
        batch: &[Pulled],
    ) -> Result<Vec<Fate>, IntakeClosed> {
        let raws = batch.iter().map(|pulled| pulled.raw.clone()).collect();
        let answers = self.intake.submit(from, raws).await?;
        let mut fates: Vec<Fate> = answers.into_iter().map(|a| a.map_or_else(fate, |_| Fate::Taken)).collect();
        if let (OnInvalid::Quarantine, Some(quarantine)) = (on_invalid, &self.quarantine) {
            self.keep(quarantine, from, batch, &mut fates).await?;
        }
        Ok(fates)
    }
}

/// What becomes of a message that the bus did not take.
fn fate(rejection: Rejection) -> Fate {
    match rejection.kind {
        Kind::Busy { retry_after } => Fate::Busy { retry_after },
        Kind::Invalid | Kind::Unauthorised | Kind::TooLarge => Fate::Rejected(rejection),
    }
}

impl Doorway {
    /// Keeps what was rejected.
    async fn keep(
        &self,
        quarantine: &Quarantine,
        from: &SourceName,
        batch: &[Pulled],
        fates: &mut [Fate],
    ) -> Result<(), IntakeClosed> {
        let mut rejected = Vec::new();
        let mut records = Vec::new();
        for (pulled, fate) in batch.iter().zip(fates) {
            if let Fate::Rejected(why) = &*fate {
                records.push(self.record(from, pulled, why));
                rejected.push(fate);
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let answers = quarantine.keep(from, &records).await?;
        for (slot, answer) in rejected.into_iter().zip(answers) {
            // A record that the quarantine itself never takes stays where it is: upstream has it still.
            *slot = answer.map_or_else(fate, |_| Fate::Quarantined);
        }
        Ok(())
    }

    fn record(&self, from: &SourceName, pulled: &Pulled, why: &Rejection) -> Quarantined {
        let as_json = || pulled.raw.event.as_ref().map(schemas::json::encode).unwrap_or_default().into();
        Quarantined {
            reason: why.code.0.into(),
            note: format!("{}: {}", why.place, why.message).into(),
            bus: self.bus.as_str().into(),
            route: None,
            from: from.as_str().into(),
            origin: pulled.origin.clone(),
            content_type: pulled.raw.content_type.clone(),
            cause: None,
            bytes: pulled.raw.raw.clone().unwrap_or_else(as_json),
        }
    }
}
