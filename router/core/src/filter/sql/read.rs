//! From text to words.

use super::{ErrorKind, Invalid};

#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// Digits.
    Number(String),
    /// A quoted string's content.
    Text(String),
    /// A name or keyword, and its dotted continuation (`data.a."b c"`).
    Name(String, Vec<Box<str>>),
    Sign(&'static str),
    End,
}

/// Longer signs first.
const SIGNS: [&str; 15] = ["!=", "<>", ">=", "<=", "=", "<", ">", "(", ")", ",", "+", "-", "*", "/", "%"];

/// A word and where it stands.
pub type Placed = (Word, std::ops::Range<usize>);

/// An error at a byte of the text, told in characters from 1.
pub fn invalid(text: &str, at: usize, message: impl Into<String>) -> Invalid {
    let character = text.get(..at).map_or(1, |before| before.chars().count() + 1);
    Invalid { kind: ErrorKind::Parse, message: format!("at character {character}: {}", message.into()) }
}

/// All words, and the end.
pub fn words(text: &str) -> Result<Vec<Placed>, Invalid> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let Some(first) = trimmed.chars().next() else {
            out.push((Word::End, at..at));
            return Ok(out);
        };
        let (word, length) = match first {
            '\'' | '"' => quoted(text, at, trimmed, first)?,
            c if c.is_ascii_alphanumeric() || c == '_' => name(text, at, trimmed)?,
            c => match SIGNS.iter().find(|sign| trimmed.starts_with(**sign)) {
                Some(sign) => (Word::Sign(sign), sign.len()),
                None => return Err(invalid(text, at, format!("`{c}` means nothing here"))),
            },
        };
        out.push((word, at..at + length));
        at += length;
    }
}

/// A backslash before the quote makes it part of the string; before anything else it stands for itself.
fn quoted(text: &str, at: usize, rest: &str, quote: char) -> Result<(Word, usize), Invalid> {
    let mut content = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        match (c, chars.peek().map(|(_, next)| *next)) {
            ('\\', Some(next)) if next == quote => {
                content.push(quote);
                chars.next();
            }
            // Both are kept; the second one escapes no quote.
            ('\\', Some('\\')) => {
                content.push_str("\\\\");
                chars.next();
            }
            (c, _) if c == quote => return Ok((Word::Text(content), i + 1)),
            (c, _) => content.push(c),
        }
    }
    Err(invalid(text, at, "the string has no end"))
}

fn run(rest: &str) -> &str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

fn name(text: &str, at: usize, rest: &str) -> Result<(Word, usize), Invalid> {
    let first = run(rest);
    let mut length = first.len();
    let mut path: Vec<Box<str>> = Vec::new();
    while let Some(below) = rest.get(length..).and_then(|r| r.strip_prefix('.')) {
        length += 1;
        let segment = run(below);
        match below.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                let (word, used) = quoted(text, at + length, below, quote)?;
                if let Word::Text(content) = word {
                    path.push(content.into());
                }
                length += used;
            }
            _ if !segment.is_empty() => {
                path.push(segment.into());
                length += segment.len();
            }
            _ => return Err(invalid(text, at + length, "a name is missing after the dot")),
        }
    }
    if path.is_empty() && first.bytes().all(|b| b.is_ascii_digit()) {
        return Ok((Word::Number(first.into()), length));
    }
    Ok((Word::Name(first.into(), path), length))
}
