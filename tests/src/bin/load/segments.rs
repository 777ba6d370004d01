//! A bare segmented log: each record with its length and checksum, one write and one sync for a batch, and a new
//! file when one is full. No index, no deduplication, no recovery.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;

/// Bytes of a segment, as the router's.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Segments that are kept.
const KEPT: u64 = 4;

pub struct Segments {
    dir: PathBuf,
    file: File,
    number: u64,
    at: u64,
    buffer: Vec<u8>,
}

impl Segments {
    pub fn new(dir: &Path) -> Segments {
        std::fs::create_dir_all(dir).expect("a folder");
        Segments { dir: dir.to_owned(), file: segment(dir, 0), number: 0, at: 0, buffer: Vec::new() }
    }

    /// Writes them all, and syncs once.
    pub fn append<'a>(&mut self, records: impl Iterator<Item = &'a Bytes>) {
        self.buffer.clear();
        for record in records {
            let length = u32::try_from(record.len()).expect("a small record");
            self.buffer.extend_from_slice(&length.to_le_bytes());
            self.buffer.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
            self.buffer.extend_from_slice(record);
        }
        if self.at + self.buffer.len() as u64 > SEGMENT_BYTES {
            self.number += 1;
            self.file = segment(&self.dir, self.number);
            self.at = 0;
            if let Some(old) = self.number.checked_sub(KEPT) {
                std::fs::remove_file(path(&self.dir, old)).expect("an old segment");
            }
        }
        self.file.write_all_at(&self.buffer, self.at).expect("a write");
        self.file.sync_data().expect("a sync");
        self.at += self.buffer.len() as u64;
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number}.segment"))
}

fn segment(dir: &Path, number: u64) -> File {
    let file = OpenOptions::new().create_new(true).write(true).open(path(dir, number)).expect("a segment");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT_BYTES).expect("space");
    file.sync_all().expect("a sync");
    File::open(dir).and_then(|dir| dir.sync_all()).expect("a sync of the folder");
    file
}
