//! The functions of CESQL 1.0, section 3.5.

/// A function, found by name and number of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Length,
    Concat,
    ConcatWs,
    Lower,
    Upper,
    Trim,
    Left,
    Right,
    Substring,
    Abs,
    Int,
    Bool,
    Text,
    IsInt,
    IsBool,
}

/// Name, fewest and most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 15] = [
    ("LENGTH", Function::Length, 1, 1),
    ("CONCAT", Function::Concat, 0, usize::MAX),
    ("CONCAT_WS", Function::ConcatWs, 1, usize::MAX),
    ("LOWER", Function::Lower, 1, 1),
    ("UPPER", Function::Upper, 1, 1),
    ("TRIM", Function::Trim, 1, 1),
    ("LEFT", Function::Left, 2, 2),
    ("RIGHT", Function::Right, 2, 2),
    ("SUBSTRING", Function::Substring, 2, 3),
    ("ABS", Function::Abs, 1, 1),
    ("INT", Function::Int, 1, 1),
    ("BOOL", Function::Bool, 1, 1),
    ("STRING", Function::Text, 1, 1),
    ("IS_INT", Function::IsInt, 1, 1),
    ("IS_BOOL", Function::IsBool, 1, 1),
];

impl Function {
    /// The function that takes so many arguments.
    ///
    /// # Errors
    /// There is none; the message says what there is.
    pub fn find(name: &str, arguments: usize) -> Result<Self, String> {
        let named = FUNCTIONS.iter().find(|(n, ..)| n.eq_ignore_ascii_case(name));
        let Some((name, function, min, max)) = named else {
            let names: Vec<_> = FUNCTIONS.iter().map(|(n, ..)| *n).collect();
            return Err(format!("there is no function `{name}`; there are {}", names.join(", ")));
        };
        if (*min..=*max).contains(&arguments) {
            return Ok(*function);
        }
        let takes = match (min, max) {
            (min, max) if min == max => format!("{min}"),
            (min, &usize::MAX) => format!("{min} or more"),
            (min, max) => format!("{min} to {max}"),
        };
        Err(format!("{name} takes {takes} arguments, not {arguments}"))
    }
}

/// The first characters; all of them when there are fewer.
pub fn left(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// The last characters; all of them when there are fewer.
pub fn right(text: &str, count: usize) -> &str {
    let skip = text.chars().count().saturating_sub(count);
    text.char_indices().nth(skip).map_or("", |(at, _)| text.get(at..).unwrap_or_default())
}

/// From the character at `from`, counted from 1, or from the end when negative. `None`: there is no such
/// place, or the length is negative.
pub fn substring(text: &str, from: i32, length: Option<i32>) -> Option<&str> {
    let characters = i64::try_from(text.chars().count()).ok()?;
    let from = i64::from(from);
    if from > characters || from < -characters || length.is_some_and(|l| l < 0) {
        return None;
    }
    if from == 0 {
        return Some("");
    }
    let skip = if from > 0 { from - 1 } else { characters + from };
    let rest = right(text, usize::try_from(characters - skip).ok()?);
    Some(length.map_or(rest, |length| left(rest, usize::try_from(length).unwrap_or(0))))
}
