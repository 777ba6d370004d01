//! JSON text, sixty-four bytes at a time: where its quotes, brackets and commas are, as bits. The text is known
//! to be valid; what is not asked for is never looked at byte by byte. The method is that of simdjson's first
//! stage (G. Langdale, D. Lemire, "Parsing Gigabytes of JSON per Second", 2019).

use wide::u8x16;

const BLOCK: usize = 64;

/// One bit for each byte of a block that is such a character.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Masks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
    commas: u64,
}

/// Sixteen bytes at a time, with the processor's own instructions where there are any.
#[inline(always)]
fn masks(block: &[u8; BLOCK]) -> Masks {
    let bits = |word: u8x16, byte: u8| u64::from(word.simd_eq(u8x16::splat(byte)).to_bitmask());
    let mut masks = Masks::default();
    let (words, _) = block.as_chunks::<16>();
    for (i, word) in words.iter().enumerate() {
        let word = u8x16::from(*word);
        // `[` and `{`, `]` and `}` differ in this bit only.
        let bracket = word | u8x16::splat(0x20);
        let shift = i * 16;
        masks.quotes |= bits(word, b'"') << shift;
        masks.backslashes |= bits(word, b'\\') << shift;
        masks.commas |= bits(word, b',') << shift;
        masks.opens |= bits(bracket, b'{') << shift;
        masks.closes |= bits(bracket, b'}') << shift;
    }
    masks
}

/// For each bit whether an odd number of bits is set up to and with it.
fn prefix_xor(bits: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(bits, |bits, by| bits ^ (bits << by))
}

/// A text, read forward. Positions that are asked for never go back behind the block at hand.
pub struct Blocks<'t> {
    text: &'t [u8],
    /// Where the block at hand begins.
    base: usize,
    /// Quotes that begin or end a string.
    quotes: u64,
    /// Brackets and commas outside of strings.
    opens: u64,
    closes: u64,
    commas: u64,
    in_string: u64,
    escaped: u64,
    /// A backslash stood somewhere up to the end of the block at hand.
    pub backslashes: bool,
}

impl<'t> Blocks<'t> {
    pub fn new(text: &'t [u8]) -> Self {
        let mut blocks = Blocks {
            text,
            base: 0,
            quotes: 0,
            opens: 0,
            closes: 0,
            commas: 0,
            in_string: 0,
            escaped: 0,
            backslashes: false,
        };
        blocks.load();
        blocks
    }

    /// The byte there; 0 behind the end.
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    #[inline]
    pub fn slice(&self, from: usize, to: usize) -> &'t [u8] {
        self.text.get(from..to).unwrap_or_default()
    }

    /// The first place from there on that is no white space.
    #[inline]
    pub fn solid(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    #[inline(always)]
    fn load(&mut self) {
        let masks = match self.text.get(self.base..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
            Some(block) => masks(block),
            None => self.last(),
        };
        let mut quotes = masks.quotes;
        if masks.backslashes | self.escaped != 0 {
            self.backslashes = true;
            quotes &= !self.escapes(masks.backslashes);
        }
        let inside = prefix_xor(quotes) ^ self.in_string;
        // All ones when the block ends in a string.
        self.in_string = (inside.cast_signed() >> 63).cast_unsigned();
        self.quotes = quotes;
        self.opens = masks.opens & !inside;
        self.closes = masks.closes & !inside;
        self.commas = masks.commas & !inside;
    }

    #[cold]
    fn last(&self) -> Masks {
        let mut block = [b' '; BLOCK];
        for (to, from) in block.iter_mut().zip(self.text.get(self.base..).unwrap_or_default()) {
            *to = *from;
        }
        masks(&block)
    }

    /// The bytes that a backslash stands for another meaning of: behind an odd run of them.
    fn escapes(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let starts = backslashes & !self.escaped;
        let follows = (starts << 1) | self.escaped;
        let odd = starts & !EVEN & !follows;
        let (even, over) = odd.overflowing_add(starts);
        self.escaped = u64::from(over);
        (EVEN ^ (even << 1)) & follows
    }

    /// The next block; `None` at the end of the text.
    #[inline]
    fn next(&mut self) -> Option<()> {
        self.base += BLOCK;
        if self.base >= self.text.len() {
            return None;
        }
        self.load();
        Some(())
    }

    /// Bits of the block at hand from a place on, once the place is in it.
    #[inline]
    fn reach(&mut self, at: usize) -> Option<u64> {
        while at >= self.base + BLOCK {
            self.next()?;
        }
        Some(u64::MAX << at.saturating_sub(self.base))
    }

    /// Where the next quote is that begins or ends a string.
    #[inline]
    pub fn quote(&mut self, from: usize) -> Option<usize> {
        let mut live = self.reach(from)?;
        loop {
            let found = self.quotes & live;
            if found != 0 {
                return Some(self.base + found.trailing_zeros() as usize);
            }
            self.next()?;
            live = u64::MAX;
        }
    }

    /// Where the next comma or closing bracket is, outside of strings.
    #[inline]
    pub fn comma_or_close(&mut self, from: usize) -> Option<usize> {
        let mut live = self.reach(from)?;
        loop {
            let found = (self.commas | self.closes) & live;
            if found != 0 {
                return Some(self.base + found.trailing_zeros() as usize);
            }
            self.next()?;
            live = u64::MAX;
        }
    }

    /// Behind the array or object that begins there.
    #[inline]
    pub fn skip(&mut self, from: usize) -> Option<usize> {
        let mut live = self.reach(from)?;
        let mut depth = 0u32;
        loop {
            let (opens, closes) = (self.opens & live, self.closes & live);
            let closed = closes.count_ones();
            if depth > closed {
                depth = depth + opens.count_ones() - closed;
            } else {
                let mut both = opens | closes;
                while both != 0 {
                    let bit = both & both.wrapping_neg();
                    if opens & bit != 0 {
                        depth += 1;
                    } else {
                        depth = depth.checked_sub(1)?;
                        if depth == 0 {
                            return Some(self.base + bit.trailing_zeros() as usize + 1);
                        }
                    }
                    both ^= bit;
                }
            }
            self.next()?;
            live = u64::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader that looks at each byte says.
    fn slow_skip(text: &[u8], from: usize) -> Option<usize> {
        let (mut depth, mut string, mut escaped) = (0, false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if string => escaped = true,
                b'"' => string = !string,
                b'[' | b'{' if !string && at >= from => depth += 1,
                b']' | b'}' if !string && at >= from => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    proptest! {
        #[test]
        fn masks_tell_where_characters_are(block in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\"\\[]{},".to_vec())], BLOCK)) {
            let block: [u8; BLOCK] = block.try_into().unwrap();
            let bits = |bytes: &[u8]| block.iter().rev().fold(0, |bits, b| bits << 1 | u64::from(bytes.contains(b)));
            let expected = Masks { quotes: bits(b"\""), backslashes: bits(b"\\"), opens: bits(b"[{"), closes: bits(b"]}"), commas: bits(b",") };
            prop_assert_eq!(masks(&block), expected);
        }

        #[test]
        fn a_value_ends_where_its_bracket_closes(strings in prop::collection::vec("[ab\\\\\"\\[\\]{},é]{0,30}", 0..12), spaces in 0usize..70) {
            let inner: Vec<String> = strings.iter().map(|s| format!("[{{}},{}]", serde_json::to_string(s).unwrap())).collect();
            let text = format!("{}[{}], 1", " ".repeat(spaces), inner.join(" , "));
            let mut blocks = Blocks::new(text.as_bytes());
            prop_assert_eq!(blocks.skip(spaces), slow_skip(text.as_bytes(), spaces));
            prop_assert_eq!(Blocks::new(text.as_bytes()).skip(spaces), Some(text.len() - 3));
        }
    }
}
