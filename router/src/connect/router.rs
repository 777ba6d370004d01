//! Who the router is to others: as it is configured, with a key that is drawn where none is.

use std::path::Path;

use router_core::hops;

use super::{Error, secret};
use crate::{config, drawn};

/// The file of a drawn key in the data folder.
pub const FILE: &str = "router.key";

/// The router as it is configured; a key that is drawn is durable before it is used, since what it signed must be
/// known again after the next start.
///
/// # Errors
/// [`Error::Secret`], [`Error::Router`], [`Error::RouterKey`].
pub fn router(config: &config::Router, data: &Path) -> Result<hops::Router, Error> {
    let at = |why| Error::RouterKey { file: data.join(FILE), why };
    let key = match &config.key {
        Some(key) => secret(|| "router.key".into(), key)?,
        None => drawn::read_or_draw(data, FILE).map_err(|e| at(e.to_string()))?,
    };
    hops::Router::new(config.id.clone(), key.expose().as_bytes()).map_err(|short| match config.key {
        Some(_) => Error::Router(short.to_string()),
        None => at(short.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Router;

    #[test]
    fn drawn_key_is_the_same_at_the_next_start_and_another_in_another_folder() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let drawn = |n: usize| router(&Router::default(), folders[n].path()).unwrap().id().clone();
        assert_eq!(drawn(0), drawn(0));
        assert_ne!(drawn(0), drawn(1));
    }

    #[test]
    fn file_with_less_than_a_key_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "short\n").unwrap();
        let refused = router(&Router::default(), folder.path()).unwrap_err();
        assert!(refused.to_string().contains("router.key") && refused.to_string().contains("5 bytes"), "{refused}");
        assert_eq!(refused.code().0, "R0044");
    }
}
