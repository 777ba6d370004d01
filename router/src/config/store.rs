//! Where events are kept.

use std::path::PathBuf;

use serde::Deserialize;

use super::value;

/// Where events are kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// In files of this machine: what was acknowledged survives a power loss.
    Disk(Disk),
    /// In memory: for trials and tests, everything is gone at the end.
    Memory(Memory),
}

impl Default for Store {
    fn default() -> Self {
        Store::Disk(Disk::default())
    }
}

/// The store on disk.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// Its folder, from the working directory; `--data` goes before it. Default `./data`.
    pub path: PathBuf,
    /// Bytes of everything in it. Default: as many as the file system has, less `free_min`.
    #[serde(deserialize_with = "value::size_some")]
    pub bytes_max: Option<u64>,
    /// Bytes of the file system that stay free; below them intake refuses. Default `256MiB`.
    #[serde(deserialize_with = "value::bytes")]
    pub free_min: u64,
}

/// Bytes of the file system that stay free, so that the ledger can go on while the disk is full.
pub const FREE_MIN: u64 = 256 << 20;
/// Bytes of a segment of a log, unless `bytes_max` asks for smaller ones.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// No segment is smaller.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// So many segments have to fit `bytes_max`.
pub const SEGMENTS_MIN: u64 = 16;

impl Disk {
    /// Bytes of a segment of a log.
    pub fn segment_bytes(&self) -> u64 {
        let part = self.bytes_max.map_or(SEGMENT_BYTES, |max| max / SEGMENTS_MIN);
        part.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES)
    }
}

impl Default for Disk {
    fn default() -> Self {
        Disk { path: "./data".into(), bytes_max: None, free_min: FREE_MIN }
    }
}

/// The store in memory has no options.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {}
