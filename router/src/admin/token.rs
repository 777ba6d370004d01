//! The token of the admin API: configured, or drawn at the first start and kept in `DATA/admin.token`, which
//! only its owner can read and where the command line finds it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use router_http::Secret;

/// The file's name in the data folder.
pub const FILE: &str = "admin.token";

/// Reads the token of a data folder; draws one when there is none. The file appears under its name only
/// when it is whole.
///
/// # Errors
/// The system's; or the file holds no token.
pub fn read_or_draw(data: &Path) -> io::Result<Secret> {
    let path = data.join(FILE);
    match read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => draw(data, &path),
        other => other,
    }
}

/// Reads a token from a file.
///
/// # Errors
/// The system's; or the file holds no token.
pub fn read(path: &Path) -> io::Result<Secret> {
    let text = fs::read_to_string(path)?;
    match text.trim() {
        "" => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty; remove it, a start draws a new token"))
        }
        token => Ok(Secret::new(token)),
    }
}

fn draw(data: &Path, path: &Path) -> io::Result<Secret> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    fs::create_dir_all(data)?;
    let new: PathBuf = data.join(format!("{FILE}.new"));
    // What a start that was interrupted left behind may have other rights: it is made anew.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_drawn_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = read_or_draw(&data).unwrap();
        assert_eq!(first.expose().len(), 64);
        assert_eq!(read_or_draw(&data).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(data.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(data.join(FILE), "\n").unwrap();
        assert!(read_or_draw(&data).is_err());
    }
}
