//! The loop that reads JSON, and what it makes of strings.

use super::{DEPTH_MAX, Kind, MEMBERS_MAX, TEXT_BYTES_MAX};
use crate::codes;
use crate::invalid::{Invalid, Place};

/// What [`Reader::value`] tells of what it reads.
pub(crate) trait Sink {
    /// A value that holds no others, or a member's name.
    fn scalar(&mut self, span: Span);
    /// An array or object begins.
    fn open(&mut self, kind: Kind, start: usize);
    /// The innermost open one ends before `end`.
    fn close(&mut self, end: usize);
}

/// Where a value is, and what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// Keeps nothing: validation.
pub(crate) struct Ignore;

impl Sink for Ignore {
    fn scalar(&mut self, _: Span) {}
    fn open(&mut self, _: Kind, _: usize) {}
    fn close(&mut self, _: usize) {}
}

/// Which of the open levels are objects, one bit each.
struct Levels {
    bits: [u64; DEPTH_MAX.div_ceil(64)],
    depth: usize,
}

impl Levels {
    fn push(&mut self, is_object: bool) -> Option<()> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        let bit = 1u64 << (self.depth % 64);
        let word = self.bits.get_mut(self.depth / 64)?;
        *word = if is_object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Some(())
    }

    fn innermost_is_object(&self) -> Option<bool> {
        let level = self.depth.checked_sub(1)?;
        self.bits.get(level / 64).map(|word| word >> (level % 64) & 1 == 1)
    }
}

/// The reading head. Codecs use it to walk an envelope and read each value in it as a text of its own.
///
/// What it does for each value is compiled into one function: an error is larger than all else that its parts give each
/// other, and would be made room for in memory at every name and string. That is a fifth of the time that a schema takes to judge
/// an order.
pub(crate) struct Reader<'a> {
    pub(crate) text: &'a str,
    bytes: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    /// At the first byte that is no white space.
    pub(crate) fn new(json: &'a [u8]) -> Result<Self, Invalid> {
        if json.len() > TEXT_BYTES_MAX {
            return Err(Invalid::new(codes::JSON_TOO_LONG, Place::Event, "a JSON text is at most 4 GiB"));
        }
        let text = std::str::from_utf8(json).map_err(|e| {
            Invalid::new(
                codes::JSON_SYNTAX,
                Place::Byte(e.valid_up_to()),
                "this is not UTF-8; JSON is written in UTF-8",
            )
        })?;
        if text.starts_with('\u{FEFF}') {
            let message = "the text starts with a byte order mark; JSON is written without one";
            return Err(Invalid::new(codes::JSON_SYNTAX, Place::Byte(0), message));
        }
        let mut reader = Reader { text, bytes: json, at: 0 };
        reader.whitespace();
        Ok(reader)
    }

    /// The byte here; 0, which no JSON has outside of nothing, at the end.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Steps over this byte and the white space behind it.
    #[inline(always)]
    pub(crate) fn take(&mut self) {
        self.at += 1;
        self.whitespace();
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Invalid> {
        self.whitespace();
        if self.at < self.bytes.len() { Err(self.unexpected("the end of the text")) } else { Ok(()) }
    }

    pub(crate) fn slice(&self, span: &Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Reads one value that starts here. Depth and members are counted from here.
    pub(crate) fn value(&mut self, sink: &mut impl Sink) -> Result<Span, Invalid> {
        let start = self.at;
        let mut levels = Levels { bits: [0; _], depth: 0 };
        let mut members = 0;
        let mut root = Span { kind: Kind::Null, start, end: start, escaped: false };
        loop {
            let here = self.at;
            let first = self.peek();
            if first == b'{' || first == b'[' {
                let (kind, closing) = if first == b'{' { (Kind::Object, b'}') } else { (Kind::Array, b']') };
                levels.push(first == b'{').ok_or_else(|| too_deep(here))?;
                sink.open(kind, here);
                root.kind = if here == start { kind } else { root.kind };
                self.take();
                if self.peek() != closing {
                    if first == b'{' {
                        self.name(&mut members, sink)?;
                    }
                    continue;
                }
            } else {
                let scalar = self.scalar()?;
                sink.scalar(scalar);
                if here == start {
                    return Ok(scalar);
                }
            }
            // A value has ended, or an empty container is about to.
            if self.after_value(&mut levels, &mut members, sink)? {
                return Ok(Span { end: self.at, ..root });
            }
        }
    }

    /// Closes what ends here, up to where the next value starts; true when all is closed.
    #[inline(always)]
    fn after_value(&mut self, levels: &mut Levels, members: &mut usize, sink: &mut impl Sink) -> Result<bool, Invalid> {
        while let Some(in_object) = levels.innermost_is_object() {
            self.whitespace();
            match (self.peek(), in_object) {
                (b',', true) => {
                    self.take();
                    self.name(members, sink)?;
                    return Ok(false);
                }
                (b',', false) => {
                    self.take();
                    return Ok(false);
                }
                (b'}', true) | (b']', false) => {
                    self.at += 1;
                    levels.depth -= 1;
                    sink.close(self.at);
                }
                (_, true) => return Err(self.unexpected("a comma or }")),
                (_, false) => return Err(self.unexpected("a comma or ]")),
            }
        }
        Ok(true)
    }

    #[inline(always)]
    fn name(&mut self, members: &mut usize, sink: &mut impl Sink) -> Result<(), Invalid> {
        *members += 1;
        if *members > MEMBERS_MAX {
            let message = format!("more than {MEMBERS_MAX} object members; send less in one event");
            return Err(Invalid::new(codes::JSON_TOO_MANY_MEMBERS, Place::Byte(self.at), message));
        }
        sink.scalar(self.member_name()?);
        Ok(())
    }

    /// Reads a member's name and its colon, up to where its value starts.
    #[inline(always)]
    pub(crate) fn member_name(&mut self) -> Result<Span, Invalid> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a member's name in double quotes"));
        }
        let name = self.string()?;
        self.whitespace();
        if self.peek() != b':' {
            return Err(self.unexpected("a colon"));
        }
        self.take();
        Ok(name)
    }

    #[inline(always)]
    fn scalar(&mut self) -> Result<Span, Invalid> {
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true", Kind::Bool),
            b'f' => self.literal("false", Kind::Bool),
            b'n' => self.literal("null", Kind::Null),
            _ => Err(self.unexpected("a JSON value")),
        }
    }

    #[inline(always)]
    fn literal(&mut self, word: &str, kind: Kind) -> Result<Span, Invalid> {
        let start = self.at;
        let end = start + word.len();
        if self.bytes.get(start..end) != Some(word.as_bytes()) {
            return Err(self.unexpected("a JSON value"));
        }
        self.at = end;
        Ok(Span { kind, start, end, escaped: false })
    }

    #[inline(always)]
    fn number(&mut self) -> Result<Span, Invalid> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Span { kind: Kind::Number, start, end: self.at, escaped: false })
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Invalid> {
        if !self.peek().is_ascii_digit() {
            return Err(self.unexpected("a digit"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    #[inline(always)]
    fn string(&mut self) -> Result<Span, Invalid> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_bytes(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(Span { kind: Kind::String, start, end: self.at, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ if self.at >= self.bytes.len() => {
                    let message = format!("the string that starts at byte {start} does not end");
                    return Err(Invalid::new(codes::JSON_SYNTAX, Place::Byte(self.at), message));
                }
                control => {
                    let message = format!("a control character in a string; write it as \\u{control:04x}");
                    return Err(Invalid::new(codes::JSON_SYNTAX, Place::Byte(self.at), message));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(self.unexpected("four hexadecimal digits behind \\u"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected("one of \" \\ / b f n r t u behind a backslash")),
        }
        Ok(())
    }

    /// Steps over a value that [`Reader::value`] refused for a limit, by its brackets alone. It is refused
    /// already, so it matters only that what follows is found.
    pub(crate) fn skip_refused(&mut self) -> Result<(), Invalid> {
        let mut depth = 0usize;
        while self.at < self.bytes.len() {
            match self.peek() {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.unexpected("a closing bracket"))
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn unexpected(&self, wanted: &str) -> Invalid {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("found {c:?} where {wanted} should be"),
            None => format!("the text ends where {wanted} should be"),
        };
        Invalid::new(codes::JSON_SYNTAX, Place::Byte(self.at), found)
    }
}

fn too_deep(at: usize) -> Invalid {
    let message = format!("more than {DEPTH_MAX} levels of arrays and objects; send flatter data");
    Invalid::new(codes::JSON_TOO_DEEP, Place::Byte(at), message)
}

/// Whether a text was refused for its size or shape, and may be JSON all the same.
pub(crate) fn is_limit(invalid: &Invalid) -> bool {
    [codes::JSON_TOO_DEEP, codes::JSON_TOO_MANY_MEMBERS].contains(&invalid.code)
}

/// How many of the first bytes may stand in a JSON string as they are: no quote, backslash or control.
///
/// Eight at a time: subtracting 1 (or 0x20) from each byte sets the high bit of those that were 0 (or
/// below 0x20). A borrow can only spoil bytes above the first hit, so the first hit is exact.
pub(crate) fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let zero_bytes = |x: u64| x.wrapping_sub(ONES) & !x;
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let x = u64::from_le_bytes(*chunk);
        let control = x.wrapping_sub(ONES * 0x20) & !x;
        let hits = (control | zero_bytes(x ^ (ONES * 0x22)) | zero_bytes(x ^ (ONES * 0x5C))) & HIGHS;
        if hits != 0 {
            return bytes.len() - rest.len() + hits.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let special = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
    bytes.len() - rest.len() + special.unwrap_or(rest.len())
}

/// A JSON string without its quotes.
pub(crate) fn string_content(raw: &str) -> &str {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// The content of a valid JSON string without its escapes, and whether a surrogate stood alone in it
/// (which became U+FFFD).
pub(crate) fn unescape(content: &str) -> (String, bool) {
    let mut out = String::with_capacity(content.len());
    let mut alone = false;
    let mut rest = content;
    while let Some((plain, behind)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = behind.chars();
        match chars.next() {
            Some('u') => {
                let (c, behind) = unescape_unicode(behind);
                alone |= c.is_none();
                out.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = behind;
                continue;
            }
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some(itself) => out.push(itself),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    (out, alone)
}

/// `uXXXX` or `uXXXX\uXXXX` at the start of `text`: its character (`None`: half a surrogate pair), and
/// what follows.
fn unescape_unicode(text: &str) -> (Option<char>, &str) {
    let unit = |text: &str| text.strip_prefix('u')?.get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let Some(first) = unit(text) else { return (None, "") };
    let behind = text.get(5..).unwrap_or_default();
    if let Some(second) = behind.strip_prefix('\\').and_then(unit)
        && let Some(Ok(c)) = char::decode_utf16([first, second]).next()
        && c as u32 > 0xFFFF
    {
        return (Some(c), behind.get(6..).unwrap_or_default());
    }
    (char::from_u32(u32::from(first)), behind)
}
