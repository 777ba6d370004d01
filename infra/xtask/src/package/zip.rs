//! Archives in the form of PKWARE's APPNOTE 6.3, as small as Lambda and Azure read them: deflated entries, no data
//! descriptors, no extra fields, every time the first that the form can say. The same entries give the same bytes.

use std::io::Write;

use flate2::{Compression, Crc, write::DeflateEncoder};

/// The first moment that the form can say, 1 January 1980: day 1, month 1.
const DATE: u16 = 1 << 5 | 1;
/// Version 2.0, made on Unix: then the permissions are read.
const MADE_BY: u16 = 3 << 8 | 20;
const DEFLATED: u16 = 8;

/// A file of an archive.
pub struct Entry {
    name: String,
    bytes: Vec<u8>,
    mode: u16,
}

impl Entry {
    /// A program.
    pub fn program(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Entry { name: name.into(), bytes, mode: 0o755 }
    }

    /// A text.
    pub fn text(name: impl Into<String>, text: String) -> Self {
        Entry { name: name.into(), bytes: text.into_bytes(), mode: 0o644 }
    }
}

/// What both heads of an entry say, from the version that reads it to the length of its name.
fn common(entry: &Entry, packed: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(&entry.bytes);
    let mut head = Vec::new();
    // Version, flags, method, time of day, date.
    for word in [20, 0, DEFLATED, 0, DATE] {
        head.extend(word.to_le_bytes());
    }
    head.extend(crc.sum().to_le_bytes());
    for length in [packed.len(), entry.bytes.len()] {
        head.extend(low32(length).to_le_bytes());
    }
    head.extend(low16(entry.name.len()).to_le_bytes());
    // No extra field.
    head.extend(0u16.to_le_bytes());
    head
}

/// Packages are bounded far below what these cannot hold.
fn low32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn low16(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Writes an archive.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let packed = deflate(&entry.bytes);
        let (at, head) = (low32(out.len()), common(entry, &packed));
        out.extend(*b"PK\x03\x04");
        out.extend(&head);
        out.extend(entry.name.as_bytes());
        out.extend(packed);
        directory.extend(*b"PK\x01\x02");
        directory.extend(MADE_BY.to_le_bytes());
        directory.extend(head);
        // No comment, on the first disk, no internal attributes.
        directory.extend([0; 6]);
        // A regular file and its permissions, as Unix has them.
        directory.extend((u32::from(0o100_000 | entry.mode) << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let (at, count) = (low32(out.len()), low16(entries.len()).to_le_bytes());
    let length = low32(directory.len());
    out.extend(directory);
    out.extend(*b"PK\x05\x06\0\0\0\0");
    out.extend(count);
    out.extend(count);
    out.extend(length.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    // A vector takes whatever it is given.
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Archives as somebody else reads them: Python's own reader, with names, permissions and contents.
    #[test]
    fn an_archive_reads_as_others_read_it() {
        let entries =
            [Entry::program("bootstrap", b"abc".repeat(10_000)), Entry::text("f/function.json", "{}\n".into())];
        let path = std::env::temp_dir().join(format!("gocoffee-zip-{}.zip", std::process::id()));
        std::fs::write(&path, write(&entries)).unwrap();
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                      for i in z.infolist(): print(i.filename, oct(i.external_attr >> 16), len(z.read(i)), i.date_time[:3])";
        let read = Command::new("python3").args(["-c", script]).arg(&path).output();
        std::fs::remove_file(&path).unwrap();
        let Ok(read) = read else {
            println!("skipped: python3 is not there");
            return;
        };
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let said = String::from_utf8(read.stdout).unwrap();
        assert_eq!(said, "bootstrap 0o100755 30000 (1980, 1, 1)\nf/function.json 0o100644 3 (1980, 1, 1)\n");
    }
}
