//! Keys that are the same on every machine and in every release: the first 128 bits of SHA-256 over
//! length-prefixed parts, in hexadecimal.

use ring::digest::{Context, SHA256};

/// Bytes of a hash that count.
const HASH_BYTES: usize = 16;
/// Bytes of a key that is kept as it is.
const PLAIN_BYTES_MAX: usize = 128;

/// The hash of some parts, 32 characters: the same on every machine and in every release, to name things by.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut text = [0; 2 * HASH_BYTES];
    for (two, byte) in text.chunks_exact_mut(2).zip(context.finish().as_ref()) {
        two.copy_from_slice(&[byte >> 4, byte & 15].map(|four| four + if four < 10 { b'0' } else { b'a' - 10 }));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A name as part of a key: as it is where that is safe in a file's or an object's name, else its hash.
pub(crate) fn safe(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    // A hash begins with a character that no plain name begins with, so that both never meet.
    let is_plain = !name.is_empty()
        && name.len() <= PLAIN_BYTES_MAX
        && name.bytes().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_plain { name.to_owned() } else { format!("_{}", hash(&[name.as_bytes()])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_the_same_over_releases() {
        // printf '\x01\0\0\0\0\0\0\0a\x01\0\0\0\0\0\0\0b' | sha256sum
        assert_eq!(hash(&[b"a", b"b"]), "cf6ab613e3942391f88ed698557e1680");
        assert_ne!(hash(&[b"ab", b""]), hash(&[b"a", b"b"]));
    }

    #[test]
    fn unsafe_names_become_hashes_that_no_safe_name_is() {
        assert_eq!(safe("7f-default-12-orders-0"), "7f-default-12-orders-0");
        for name in ["", "../x", "a/b", "_x", ".hidden", "größe", "a b", &"x".repeat(129)] {
            let safe = safe(name);
            assert!(safe.starts_with('_') && safe.len() == 33, "{name}: {safe}");
        }
    }
}
