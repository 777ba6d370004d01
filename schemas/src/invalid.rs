//! What is wrong with an input, and where. Every refusal in the router carries these two.

use std::fmt;

use crate::event::is_allowed;

/// A short, stable name of what is wrong: in kebab-case what goes over the wire, e.g. `missing-attribute`; as a
/// number what people meet at the command line and in the log, e.g. `R0007`.
///
/// Codes are made by [`codes!`](crate::codes!) alone, so that each is in a list from which its page can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Code(pub &'static str);

impl Code {
    /// For [`codes!`](crate::codes!) and for tests.
    #[doc(hidden)]
    pub const fn new(word: &'static str) -> Self {
        Code(word)
    }
}

/// Makes the codes of a crate, in its file `codes.rs` and nowhere else, and `ALL`, the list of them.
#[macro_export]
macro_rules! codes {
    ($($name:ident = $word:literal,)+) => {
        $(
            #[doc = concat!("`", $word, "`")]
            pub const $name: $crate::Code = $crate::Code::new($word);
        )+

        /// All of them.
        pub const ALL: &[$crate::Code] = &[$($name),+];
    };
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Where in the input it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The event as a whole.
    Event,
    /// An attribute, by its CloudEvents name.
    Attribute(Box<str>),
    /// An HTTP header, by its name.
    Header(Box<str>),
    /// The data of the event.
    Data,
    /// A member or an element of the data, by its JSON Pointer.
    Member(Box<str>),
    /// A byte of the input, counted from 0.
    Byte(usize),
}

impl Place {
    /// An attribute or member by its name, which may come from anywhere: shortened and made printable.
    pub fn attribute(name: &str) -> Self {
        Place::Attribute(printable(name, NAME_CHARS_SHOWN_MAX))
    }

    /// A header by its name.
    pub fn header(name: &str) -> Self {
        Place::Header(printable(name, NAME_CHARS_SHOWN_MAX))
    }

    /// A place in the data by its JSON Pointer, whose names may come from anywhere: shortened and made printable.
    pub fn member(pointer: &str) -> Self {
        Place::Member(printable(pointer, POINTER_CHARS_SHOWN_MAX))
    }
}

/// Characters of a foreign name that a message repeats.
const NAME_CHARS_SHOWN_MAX: usize = 64;

/// Characters of a foreign pointer that a message repeats.
const POINTER_CHARS_SHOWN_MAX: usize = 200;

/// A foreign text as far as it is shown: so many characters, all of them such as an attribute may have.
pub(crate) fn printable(text: &str, chars_max: usize) -> Box<str> {
    let shown = text.chars().take(chars_max).map(|c| if is_allowed(c) { c } else { '\u{FFFD}' });
    let more = text.chars().nth(chars_max).map(|_| '…');
    shown.chain(more).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Event => f.write_str("event"),
            Place::Attribute(name) => write!(f, "attribute {name}"),
            Place::Header(name) => write!(f, "header {name}"),
            Place::Data => f.write_str("data"),
            Place::Member(pointer) => write!(f, "data{pointer}"),
            Place::Byte(at) => write!(f, "byte {at}"),
        }
    }
}

/// An input that is not a valid event: the code for programs, the place and the message for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message} ({code})")]
pub struct Invalid {
    /// What is wrong, for programs.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// What is wrong and what to do, for people: one sentence without a full stop.
    pub message: Box<str>,
}

impl Invalid {
    /// Puts the three together.
    pub fn new(code: Code, place: Place, message: impl Into<Box<str>>) -> Self {
        Invalid { code, place, message: message.into() }
    }
}
