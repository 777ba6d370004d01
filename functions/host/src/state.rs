//! The state port: small values by key, with conditional writes. It carries [`crate::Context::once`] and
//! what a function remembers between events.
//!
//! Contract: a write whose condition does not hold changes nothing and says so; of two writers with the same
//! condition, one wins. A read after a write that returned sees it, or a later one.

mod entry;
mod file;
mod memory;
#[cfg(any(feature = "state-s3", feature = "state-gs", feature = "state-az"))]
mod object;
mod once;
mod open;

use async_trait::async_trait;
use bytes::Bytes;

pub use file::Folder;
pub use memory::{ENTRIES_MAX, Memory};
pub(crate) use once::Once;
pub use once::STARTED_AGE_MAX;
pub use open::STATE_URL;
pub(crate) use open::{Reach, open};

/// A version of a value: an opaque word of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub Box<str>);

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bytes.
    pub value: Bytes,
    /// What to name when it is replaced.
    pub version: Version,
}

/// When a write takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum If {
    /// There is no value.
    Absent,
    /// The value is still the one that was read.
    Version(Version),
}

/// Why the state cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The condition does not hold: somebody else was first.
    #[error("the state of {0} was changed by somebody else")]
    Conflict(Box<str>),
    /// A value is larger than the store may hold.
    #[error("the state of {0} would have {1} bytes, more than are kept")]
    TooLarge(Box<str>, u64),
    /// The store does not answer, or refuses.
    #[error("state: {0}")]
    Unavailable(Box<str>),
}

impl From<Error> for crate::Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Conflict(_) => crate::Failure::retry("state-conflict", error.to_string()),
            Error::TooLarge(..) => crate::Failure::refuse("state-too-large", error.to_string()),
            Error::Unavailable(_) => crate::Failure::unavailable("state-unavailable", error.to_string()),
        }
    }
}

/// A store of small values. Keys are made of letters, digits, `-`, `_`, `.` and `/`.
#[async_trait]
pub trait State: Send + Sync + 'static {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Stored>, Error>;
    /// Writes a value if the condition holds; gives its version.
    async fn put(&self, key: &str, value: Bytes, condition: If) -> Result<Version, Error>;
    /// Removes a value if it is still this version. One that is gone already is no error.
    async fn remove(&self, key: &str, version: &Version) -> Result<(), Error>;
}

#[cfg(test)]
mod tests;
