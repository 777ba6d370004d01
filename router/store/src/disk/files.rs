//! The one seam through which the log touches files.
//!
//! What is durable when, on POSIX and in [`super::sim`]: bytes and length of a file after
//! [`File::sync_data`]; that a name exists, was renamed or removed after [`Files::sync_dir`] of its
//! folder. A failed sync tells nothing about what is on disk, and a later one that succeeds does not
//! either: the kernel may have dropped the bytes in between.

use std::{
    any::Any,
    fs::{self, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files and folders. Calls block.
pub trait Files: Send + Sync + 'static {
    /// Makes a folder whose parent exists. `AlreadyExists` when there is one.
    ///
    /// # Errors
    /// The file system's.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether there is a folder.
    ///
    /// # Errors
    /// The file system's.
    fn is_dir(&self, dir: &Path) -> io::Result<bool>;

    /// Names in a folder, in no order; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// The file system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes an empty file, in place of one that is there, to read and write.
    ///
    /// # Errors
    /// The file system's.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists, to read and write.
    ///
    /// # Errors
    /// The file system's.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name in the same folder, in place of one that has it.
    ///
    /// # Errors
    /// The file system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; who has it open can go on reading.
    ///
    /// # Errors
    /// The file system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which names a folder holds.
    ///
    /// # Errors
    /// The file system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, which is made when there is none; `None` when another holds
    /// it. Held until what is returned is dropped, or the process ends.
    ///
    /// # Errors
    /// The file system's.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// An open file. Calls block; reads go on beside a write.
pub trait File: Send + Sync + 'static {
    /// Reads at a place; fewer bytes than asked for, perhaps 0 at the end.
    ///
    /// # Errors
    /// The file system's.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes at a place; perhaps fewer bytes than given.
    ///
    /// # Errors
    /// The file system's; none of these bytes were written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Reserves space up to `bytes` and makes the file at least that long; what is new reads as zeros.
    ///
    /// # Errors
    /// The file system's; of kind `StorageFull` when there is no space.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Cuts the file, or makes it longer without reserving space.
    ///
    /// # Errors
    /// The file system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// The file system's.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no bytes.
    ///
    /// # Errors
    /// The file system's.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// The file system's; nothing is known about any byte since the last sync.
    fn sync_data(&self) -> io::Result<()>;
}

/// Whether a call failed because the disk, or the owner's share of it, is full.
pub(super) fn is_no_space(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes all bytes. The number in an error says how many were written before it.
pub(super) fn write_all_at(file: &dyn File, bytes: &[u8], at: u64) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, at + done as u64) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err((done, e)),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; says how many bytes it read.
pub(super) fn read_full_at(file: &dyn File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// The machine's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn is_dir(&self, dir: &Path) -> io::Result<bool> {
        match fs::metadata(dir) {
            Ok(meta) => Ok(meta.is_dir()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

impl File for fs::File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // A file system that cannot reserve space finds out at the write that there is none.
            Err(rustix::io::Errno::OPNOTSUPP) if fs::File::metadata(self)?.len() < bytes => {
                fs::File::set_len(self, bytes)
            }
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        fs::File::set_len(self, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }
}

/// Makes a folder with its parents, each durable in the one above it.
pub(super) fn create_dirs(files: &dyn Files, dir: &Path) -> io::Result<()> {
    if !files.is_dir(dir)? {
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent {
            create_dirs(files, parent)?;
        }
        match files.create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        files.sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Why a data folder cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process works on it.
    #[error(
        "another router uses the data folder {0}; stop it first, or give this one a folder of its own \
         (`--data DIR`, or `store.disk.path` in the config)"
    )]
    Held(PathBuf),
    /// The folder or the file cannot be made or opened.
    #[error("cannot lock the data folder {0}: {1}; it must exist or be makeable, and be writable for this user")]
    Io(PathBuf, io::Error),
}

/// The lock of a data folder: one router at a time works on it. Held until dropped; a process that
/// ends in any way lets it go.
pub struct Lock {
    _held: Box<dyn Any + Send + Sync>,
    dir: PathBuf,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Lock {
    /// Makes the data folder if there is none, and locks it.
    ///
    /// # Errors
    /// [`LockError`], which names the folder and says what to do.
    pub fn acquire(files: &dyn Files, dir: &Path) -> Result<Lock, LockError> {
        let io = |e| LockError::Io(dir.into(), e);
        create_dirs(files, dir).map_err(io)?;
        let held = files.lock(&dir.join("lock")).map_err(io)?;
        held.map(|held| Lock { _held: held, dir: dir.into() }).ok_or_else(|| LockError::Held(dir.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_folder_is_locked_once_and_free_after_the_drop() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        let lock = Lock::acquire(&RealFiles, &dir).unwrap();
        let refused = Lock::acquire(&RealFiles, &dir).unwrap_err();
        assert!(matches!(refused, LockError::Held(_)));
        assert!(refused.to_string().contains(dir.to_str().unwrap()), "{refused}");
        drop(lock);
        Lock::acquire(&RealFiles, &dir).unwrap();
    }

    #[test]
    fn allocation_reserves_zeros_and_keeps_what_is_there() {
        let home = tempfile::tempdir().unwrap();
        let file = RealFiles.create(&home.path().join("f")).unwrap();
        write_all_at(&*file, b"abc", 0).unwrap();
        file.allocate(8).unwrap();
        file.allocate(4).unwrap();
        let mut bytes = [1; 9];
        assert_eq!(read_full_at(&*file, &mut bytes, 0).unwrap(), 8);
        assert_eq!(&bytes, b"abc\0\0\0\0\0\x01");
    }
}
