//! State in a folder of this machine, shared by all processes that are told of it.
//!
//! A key is a file, written beside itself, synced and put in place by one rename, so that a reader sees a whole value
//! always. A writer holds the lock of the folder from its look at the condition to the rename. Not for a file system that
//! several machines share: their locks may not hold each other.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Error, If, State, Stored, Version,
    entry::{Entry, Mark},
};

/// The file that writers lock.
const LOCK: &str = ".lock";

/// State in a folder.
pub struct Folder(PathBuf);

impl Folder {
    /// The state of a folder, which is made where there is none.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let folder = Folder(path.to_path_buf());
        folder.lock().map(drop)?;
        Ok(folder)
    }

    fn lock(&self) -> io::Result<File> {
        let lock = File::options().create(true).truncate(false).write(true).open(self.0.join(LOCK))?;
        lock.lock()?;
        Ok(lock)
    }

    fn path(&self, key: &str) -> PathBuf {
        // The endings keep files and folders apart, and names from being places: `.` and `..`.
        let (folders, name) = key.rsplit_once('/').map_or((None, key), |(folders, name)| (Some(folders), name));
        let parts = folders.into_iter().flat_map(|folders| folders.split('/'));
        let folder = parts.fold(self.0.clone(), |path, part| path.join(format!("{part}.keys")));
        folder.join(format!("{name}.state"))
    }

    fn read(path: &Path, key: &str) -> Result<Option<Entry>, Error> {
        match fs::read(path) {
            Ok(bytes) => Entry::read(key, &bytes.into()).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unavailable(key, &e)),
        }
    }

    fn put(&self, key: &str, value: Bytes, condition: &If) -> Result<Version, Error> {
        let path = self.path(key);
        let _held = self.lock().map_err(|e| unavailable(key, &e))?;
        self.hold(&path, key, condition)?;
        let mark = Mark::draw()?;
        let version = Version(mark.0.clone());
        let bytes = Entry { mark, value: Some(value) }.write();
        replace(&path, &bytes).map_err(|e| unavailable(key, &e))?;
        Ok(version)
    }

    fn remove(&self, key: &str, version: &Version) -> Result<(), Error> {
        let path = self.path(key);
        let _held = self.lock().map_err(|e| unavailable(key, &e))?;
        if Self::read(&path, key)?.is_none() {
            return Ok(());
        }
        self.hold(&path, key, &If::Version(version.clone()))?;
        fs::remove_file(&path).and_then(|()| sync_folder(&path)).map_err(|e| unavailable(key, &e))
    }

    /// Whether the condition holds; the lock is held.
    fn hold(&self, path: &Path, key: &str, condition: &If) -> Result<(), Error> {
        match (Self::read(path, key)?, condition) {
            (None, If::Absent) => Ok(()),
            (Some(entry), If::Version(version)) if entry.mark.0 == version.0 => Ok(()),
            _ => Err(Error::Conflict(key.into())),
        }
    }
}

fn unavailable(key: &str, e: &io::Error) -> Error {
    Error::Unavailable(format!("{key}: {e}").into())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)?;
    // One writer at a time: the lock is held.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Runs what blocks where that disturbs nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Error::Unavailable(format!("the work on the folder broke: {e}").into())))
}

#[async_trait]
impl State for Folder {
    async fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        let (path, key) = (self.path(key), key.to_owned());
        let entry = blocking(move || Self::read(&path, &key)).await?;
        Ok(entry.and_then(|Entry { mark, value }| Some(Stored { value: value?, version: Version(mark.0) })))
    }

    async fn put(&self, key: &str, value: Bytes, condition: If) -> Result<Version, Error> {
        let (folder, key) = (Folder(self.0.clone()), key.to_owned());
        blocking(move || folder.put(&key, value, &condition)).await
    }

    async fn remove(&self, key: &str, version: &Version) -> Result<(), Error> {
        let (folder, key, version) = (Folder(self.0.clone()), key.to_owned(), version.clone());
        blocking(move || folder.remove(&key, &version)).await
    }
}
