//! Secrets that are drawn at the first start and kept in the data folder, in files that only their owner can read.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use router_http::Secret;

/// Reads the secret in this file of a data folder; draws one of 64 hexadecimal digits when there is none. The file
/// appears under its name only when it is whole, and is durable before anybody sees what it holds.
///
/// # Errors
/// The system's; or the file holds nothing.
pub fn read_or_draw(data: &Path, file: &str) -> io::Result<Secret> {
    match read(&data.join(file)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => draw(data, file),
        other => other,
    }
}

/// Reads a secret from a file.
///
/// # Errors
/// The system's; or the file holds nothing.
pub fn read(path: &Path) -> io::Result<Secret> {
    let text = fs::read_to_string(path)?;
    match text.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty; remove it, a start draws a new one")),
        secret => Ok(Secret::new(secret)),
    }
}

fn draw(data: &Path, name: &str) -> io::Result<Secret> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    let secret: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    fs::create_dir_all(data)?;
    let new: PathBuf = data.join(format!("{name}.new"));
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
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, data.join(name))?;
    // The name is durable only when the folder is.
    #[cfg(unix)]
    fs::File::open(data)?.sync_all()?;
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_drawn_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = read_or_draw(&data, "a.key").unwrap();
        assert_eq!(first.expose().len(), 64);
        assert_eq!(read_or_draw(&data, "a.key").unwrap(), first);
        assert_ne!(read_or_draw(&data, "b.key").unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(data.join("a.key")).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(data.join("a.key"), "\n").unwrap();
        assert!(read_or_draw(&data, "a.key").is_err());
    }
}
