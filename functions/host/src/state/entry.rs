//! A value as files and objects hold it: one line, then the bytes.
//!
//! `gocoffee-state 1 MARK value` or `gocoffee-state 1 MARK gone`, a line break, the value. `MARK` is 32 hexadecimal digits,
//! drawn anew for each write: no two writes are the same bytes, so that no version comes back, and a writer that lost the
//! answer to its own write knows it again. A value that was removed where nothing can be removed under a condition is
//! `gone`, and counts as absent.

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};

use super::Error;

const NAME: &str = "gocoffee-state";
const VERSION: &str = "1";
/// Bytes of the line, its end not counted: what is longer is no line of ours.
const LINE_BYTES_MAX: usize = 128;

/// What tells one write from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub(super) Box<str>);

impl Mark {
    /// One that nobody has.
    pub(super) fn draw() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        let drawn = SystemRandom::new().fill(&mut bytes);
        drawn.map_err(|_| Error::Unavailable("the system gives no random bytes".into()))?;
        Ok(Mark(format!("{:032x}", u128::from_be_bytes(bytes)).into()))
    }
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mark: Mark,
    /// None: it was removed.
    pub(super) value: Option<Bytes>,
}

impl Entry {
    pub(super) fn write(&self) -> Bytes {
        let word = if self.value.is_some() { "value" } else { "gone" };
        let mut bytes = format!("{NAME} {VERSION} {} {word}\n", self.mark.0).into_bytes();
        bytes.extend_from_slice(self.value.as_deref().unwrap_or_default());
        bytes.into()
    }

    pub(super) fn read(key: &str, bytes: &Bytes) -> Result<Self, Error> {
        let foreign = || Error::Unavailable(format!("{key} is nothing that this program wrote; remove it").into());
        let end = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n').ok_or_else(foreign)?;
        let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or_else(foreign)?;
        let mut words = line.split(' ');
        let head = (words.next(), words.next(), words.next(), words.next(), words.next());
        let (Some(NAME), Some(VERSION), Some(mark), Some(word @ ("value" | "gone")), None) = head else {
            return Err(foreign());
        };
        let value = (word == "value").then(|| bytes.slice(end + 1..));
        Ok(Entry { mark: Mark(mark.into()), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_and_what_is_none_is_refused() {
        let mark = Mark::draw().unwrap();
        assert!(mark.0.len() == 32 && mark != Mark::draw().unwrap());
        for value in [None, Some(Bytes::new()), Some(Bytes::from_static(b"a\nb\0"))] {
            let entry = Entry { mark: mark.clone(), value };
            assert_eq!(Entry::read("k", &entry.write()), Ok(entry));
        }
        for bytes in ["", "{}", "gocoffee-state 1 x\n", "gocoffee-state 2 x value\n", "gocoffee-state 1 x value more\n"]
        {
            assert!(Entry::read("k", &Bytes::from(bytes)).is_err(), "{bytes:?}");
        }
    }
}
