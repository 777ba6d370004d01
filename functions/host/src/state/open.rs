//! The state that the settings name: `STATE_URL`.
//!
//! | `STATE_URL` | what |
//! |---|---|
//! | not set, `memory` | the memory of the process |
//! | `file:///PATH` | a folder of this machine |
//! | `s3://BUCKET/PREFIX` | Amazon S3, and what speaks like it (`AWS_ENDPOINT_URL`) |
//! | `gs://BUCKET/PREFIX` | Google Cloud Storage |
//! | `az://CONTAINER/PREFIX` | Azure Blob Storage, of `AZURE_STORAGE_ACCOUNT_NAME` |

use std::{path::Path, sync::Arc};

use super::{Folder, Memory, State};
use crate::{
    http::Pool,
    settings::{SettingError, Settings},
};

/// The setting.
pub const STATE_URL: &str = "STATE_URL";

/// How far a repeat is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As long as the process lives, and by it alone.
    Process,
    /// By whoever shares the state.
    Shared,
}

/// Opens the state that the settings name.
///
/// # Errors
/// The setting that cannot be used.
pub(crate) fn open(settings: &Settings, pool: &Pool) -> Result<(Arc<dyn State>, Reach), SettingError> {
    let wrong = |message: String| SettingError::new(STATE_URL, message);
    let url = match settings.get(STATE_URL) {
        None | Some("memory") => return Ok((Arc::new(Memory::default()), Reach::Process)),
        Some(url) => url,
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(wrong("is no URL: memory, file:///PATH, s3://BUCKET/PREFIX, gs://… or az://…".into()));
    };
    if scheme == "file" {
        if !rest.starts_with('/') {
            return Err(wrong("names no folder from the root on, as file:///var/lib/state does".into()));
        }
        let folder =
            Folder::open(Path::new(rest)).map_err(|e| wrong(format!("names a folder that cannot be used: {e}")))?;
        return Ok((Arc::new(folder), Reach::Shared));
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(wrong(format!("names no bucket after {scheme}://")));
    }
    let store = store(scheme, bucket, prefix, settings, pool).map_err(wrong)?;
    Ok((store, Reach::Shared))
}

#[cfg(any(feature = "state-s3", feature = "state-gs", feature = "state-az"))]
fn store(scheme: &str, bucket: &str, prefix: &str, settings: &Settings, pool: &Pool) -> Result<Arc<dyn State>, String> {
    super::object::open(scheme, bucket, prefix, settings, pool)
}

#[cfg(not(any(feature = "state-s3", feature = "state-gs", feature = "state-az")))]
fn store(scheme: &str, _: &str, _: &str, _: &Settings, _: &Pool) -> Result<Arc<dyn State>, String> {
    Err(format!("begins with {scheme}://, and this program is built without state in buckets"))
}
