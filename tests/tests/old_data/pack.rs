//! A data folder in one small file: gzip over, for each file, its path, its length and its blocks that are not zeros.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const BLOCK: usize = 4096;

/// The files below a folder, and the folders that hold nothing, by name; of the folder itself, some are left out.
fn files(root: &Path, left_out: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let inside: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        if inside.is_empty() {
            found.push(folder);
        }
        for path in inside {
            if left_out.iter().any(|name| path == root.join(name)) {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn number(out: &mut impl Write, n: u64) {
    out.write_all(&n.to_le_bytes()).unwrap();
}

/// Packs a folder, and a text that belongs to it.
pub fn pack(root: &Path, text: &str, left_out: &[&str]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    number(&mut out, text.len() as u64);
    out.write_all(text.as_bytes()).unwrap();
    for path in files(root, left_out) {
        // A folder's name ends with a slash.
        let (end, bytes) = if path.is_dir() { ("/", Vec::new()) } else { ("", fs::read(&path).unwrap()) };
        let name = format!("{}{end}", path.strip_prefix(root).unwrap().to_str().unwrap());
        let blocks: Vec<_> = bytes.chunks(BLOCK).enumerate().filter(|(_, b)| b.iter().any(|b| *b != 0)).collect();
        for n in [name.len(), bytes.len(), blocks.len()] {
            number(&mut out, n as u64);
        }
        out.write_all(name.as_bytes()).unwrap();
        for (at, block) in blocks {
            number(&mut out, at as u64);
            out.write_all(block).unwrap();
        }
    }
    out.finish().unwrap()
}

struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> usize {
        u64::from_le_bytes(self.take(8).try_into().unwrap()) as usize
    }

    fn text(&mut self, bytes: usize) -> &'a str {
        std::str::from_utf8(self.take(bytes)).unwrap()
    }
}

/// Puts what was packed below a folder, which is made; the text that belongs to it.
pub fn unpack(packed: &[u8], root: &Path) -> String {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    let mut packed = Packed(&bytes);
    let length = packed.number();
    let text = packed.text(length).to_owned();
    while !packed.0.is_empty() {
        let [name, length, blocks] = [packed.number(), packed.number(), packed.number()];
        let name = packed.text(name);
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        file.set_len(length as u64).unwrap();
        for _ in 0..blocks {
            let at = packed.number() * BLOCK;
            file.write_all_at(packed.take(BLOCK.min(length - at)), at as u64).unwrap();
        }
    }
    text
}
