//! Keys whose secrets stand in files (`${file:PATH}`), read again when they change: the next request after
//! at most one look at the files is held to the new secret. What cannot be used changes nothing: the router
//! goes on with the secrets that it has, and says so in its log, once for each reason.

use std::time::Duration;

use router_http::{Secret, keys};
use tokio::task::JoinSet;

use crate::{
    codes,
    config::value,
    connect::{Connected, KnownKey},
};

/// The keys of all paths, path by path.
pub struct Keys {
    groups: Vec<Vec<KnownKey>>,
    /// Why the files could not be used when they were looked at last.
    refused: Option<String>,
}

impl Keys {
    /// The keys of these sources.
    pub fn new(sources: &[Connected]) -> Self {
        let keys = |source: &Connected| match source {
            Connected::Push { keys, .. } => Some(keys.clone()),
            Connected::Pull { .. } => None,
        };
        let groups = sources.iter().filter_map(keys).collect();
        Keys { groups, refused: None }
    }

    /// Looks at the files for ever, until the set is dropped; not at all where no key stands in one.
    pub fn spawn(mut self, every: Duration) -> JoinSet<()> {
        let mut set = JoinSet::new();
        if self.groups.iter().flatten().any(|known| known.secret.in_file()) {
            set.spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    self = match tokio::task::spawn_blocking(move || self.look()).await {
                        Ok(keys) => keys,
                        Err(error) => {
                            tracing::error!(code = %codes::KEYS_NOT_READ, %error, "keys are not read again any more until a restart");
                            return;
                        }
                    };
                }
            });
        }
        set
    }

    fn look(mut self) -> Self {
        match self.read().and_then(|groups| keys::renew(&groups).map_err(|e| e.to_string())) {
            Ok(changed) => {
                self.refused = None;
                for key in changed {
                    tracing::info!(key, "the secret of a key was read again");
                }
            }
            Err(why) => {
                if self.refused.as_ref() != Some(&why) {
                    tracing::error!(code = %codes::KEYS_NOT_READ, %why, "changed keys cannot be used; the router goes on with the old ones");
                }
                self.refused = Some(why);
            }
        }
        self
    }

    fn read(&self) -> Result<Vec<keys::Renewal>, String> {
        let one = |known: &KnownKey| {
            let text = known.secret.resolve().map_err(|value::Unreadable { message }| message)?;
            Ok((known.key.clone(), Secret::new(text)))
        };
        self.groups.iter().map(|group| group.iter().map(one).collect()).collect()
    }
}
