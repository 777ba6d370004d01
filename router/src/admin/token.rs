//! The token of the admin API: configured, or drawn at the first start and kept in `DATA/admin.token`, where the
//! command line finds it.

use std::{io, path::Path};

use router_http::Secret;

use crate::drawn;

/// The file's name in the data folder.
pub const FILE: &str = "admin.token";

/// Reads the token of a data folder; draws one when there is none.
///
/// # Errors
/// As [`drawn::read_or_draw`].
pub fn read_or_draw(data: &Path) -> io::Result<Secret> {
    drawn::read_or_draw(data, FILE)
}

/// Reads a token from a file.
///
/// # Errors
/// As [`drawn::read`].
pub fn read(path: &Path) -> io::Result<Secret> {
    drawn::read(path)
}
