//! What one field of a pattern asks of a value.

use std::{
    borrow::Cow,
    cmp::Ordering,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::super::{
    need::{Need, Path, Wanted},
    value::{Found, Number, begins, folded, folded_back, quoted},
};

/// The alternatives of one field: one is enough.
#[derive(Debug, Default)]
pub struct Tests {
    /// Strings that are equal; sorted, so that a list of thousands costs a dozen comparisons.
    pub strings: Vec<Box<str>>,
    pub others: Vec<Test>,
}

/// An alternative that is no plain string.
#[derive(Debug)]
pub enum Test {
    Null,
    Bool(bool),
    Number(Number),
    /// A string that is an address: event-ruler compares the address, however it is written.
    Address(Box<str>, IpAddr),
    Text(Text),
    AnythingBut(Vec<Box<str>>),
    AnythingButNumber(Vec<Number>),
    AnythingButText(Vec<Text>),
    Numeric(Vec<(Compare, Number)>),
    Cidr(Cidr),
    Exists(bool),
}

/// What can be asked of a string.
#[derive(Debug)]
pub enum Text {
    Exactly(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    IgnoreCase(Box<str>),
    PrefixIgnoreCase(Box<str>),
    SuffixIgnoreCase(Box<str>),
    Wildcard(Wildcard),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The stretches of text between the stars, in order; one stretch: no star.
#[derive(Debug)]
pub struct Wildcard {
    parts: Vec<Box<str>>,
    written: Box<str>,
}

/// A block of addresses.
#[derive(Debug)]
pub struct Cidr {
    first: IpAddr,
    last: IpAddr,
    written: Box<str>,
}

impl Tests {
    /// Whether a value passes. Absence is not judged here.
    pub fn pass(&self, value: &Found<'_>) -> bool {
        let listed = |s: &str| self.strings.binary_search_by(|t| (**t).cmp(s)).is_ok();
        matches!(value, Found::String(s) if listed(s)) || self.others.iter().any(|test| test.passes(value))
    }

    /// Whether the field may be absent.
    pub fn absence(&self) -> bool {
        self.others.iter().any(|t| matches!(t, Test::Exists(false)))
    }

    /// About how many comparisons one value costs.
    pub fn cost(&self) -> usize {
        let texts = |list: &[Text]| list.iter().map(Text::cost).sum::<usize>();
        let one = |test: &Test| match test {
            Test::Text(text) => text.cost(),
            Test::AnythingButText(list) => texts(list),
            Test::AnythingButNumber(list) => list.len(),
            Test::Numeric(bounds) => bounds.len(),
            _ => 1,
        };
        usize::from(!self.strings.is_empty()) + self.others.iter().map(one).sum::<usize>()
    }

    /// What every event that passes here must have at the path.
    pub fn need(&self, path: &Path) -> Need {
        let strings = self.strings.iter().map(|s| Need::key(path.clone(), Wanted::Text(s.clone())));
        strings.chain(self.others.iter().map(|test| test.need(path))).fold(Need::Never, Need::or)
    }

    /// Each alternative as it was written.
    pub fn shown(&self) -> impl Iterator<Item = String> + '_ {
        self.strings.iter().map(|s| quoted(s)).chain(self.others.iter().map(Test::show))
    }
}

impl Test {
    fn passes(&self, value: &Found<'_>) -> bool {
        match (self, value) {
            (Test::Null, Found::Null) => true,
            (Test::Bool(a), Found::Bool(b)) => a == b,
            (Test::Number(a), Found::Number(b)) => a.order_of(b) == Some(Ordering::Equal),
            (Test::Address(written, address), Found::String(s)) => {
                **written == **s || parse_address(s) == Some(*address)
            }
            (Test::Text(text), Found::String(s)) => text.passes(s),
            (Test::AnythingBut(list), Found::String(s)) => list.binary_search_by(|t| (**t).cmp(s)).is_err(),
            (Test::AnythingButNumber(list), Found::Number(n)) => {
                !list.iter().any(|not| not.order_of(n) == Some(Ordering::Equal))
            }
            (Test::AnythingButText(list), Found::String(s)) => !list.iter().any(|not| not.passes(s)),
            // A value of another type is anything but that.
            (Test::AnythingBut(_) | Test::AnythingButNumber(_) | Test::AnythingButText(_), _) => true,
            (Test::Numeric(bounds), Found::Number(n)) => {
                bounds.iter().all(|(compare, bound)| bound.order_of(n).is_some_and(|order| compare.holds(order)))
            }
            (Test::Cidr(block), Found::String(s)) => parse_address(s).is_some_and(|a| block.holds(a)),
            (Test::Exists(true), _) => true,
            _ => false,
        }
    }

    fn need(&self, path: &Path) -> Need {
        Need::key(
            path.clone(),
            match self {
                Test::Exists(false) => return Need::Any,
                Test::Text(text) => return text.need(path),
                Test::Null => Wanted::Null,
                Test::Bool(b) => Wanted::Bool(*b),
                Test::Number(n) => Wanted::Number(n.double()),
                Test::Address(_, address) => Wanted::Address(*address),
                Test::Cidr(block) => Wanted::Block(block.first, block.last),
                Test::Numeric(bounds) => range(bounds),
                Test::AnythingBut(_) | Test::AnythingButNumber(_) | Test::AnythingButText(_) | Test::Exists(true) => {
                    Wanted::Present
                }
            },
        )
    }

    fn show(&self) -> String {
        let strings = |list: &[Box<str>]| match list {
            [one] => quoted(one),
            list => format!("[{}]", list.iter().map(|s| quoted(s)).collect::<Vec<_>>().join(",")),
        };
        match self {
            Test::Null => "null".into(),
            Test::Bool(b) => b.to_string(),
            Test::Number(n) => n.text().into(),
            Test::Address(written, _) => quoted(written),
            Test::Text(text) => text.show(),
            Test::AnythingBut(list) => format!("{{\"anything-but\":{}}}", strings(list)),
            Test::AnythingButNumber(list) => {
                let list: Vec<_> = list.iter().map(Number::text).collect();
                format!("{{\"anything-but\":[{}]}}", list.join(","))
            }
            Test::AnythingButText(list) => {
                let list: Vec<_> = list.iter().map(Text::show).collect();
                format!("{{\"anything-but\":{}}}", list.join(" or "))
            }
            Test::Numeric(bounds) => {
                let bounds: Vec<_> = bounds.iter().map(|(c, n)| format!("\"{}\",{}", c.sign(), n.text())).collect();
                format!("{{\"numeric\":[{}]}}", bounds.join(","))
            }
            Test::Cidr(block) => format!("{{\"cidr\":{}}}", quoted(&block.written)),
            Test::Exists(exists) => format!("{{\"exists\":{exists}}}"),
        }
    }
}

/// Bounds as doubles, which a number within the bounds is within, too.
fn range(bounds: &[(Compare, Number)]) -> Wanted {
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    for (compare, bound) in bounds {
        match compare {
            Compare::Equal => return Wanted::Number(bound.double()),
            Compare::Less | Compare::LessOrEqual => high = bound.double(),
            Compare::Greater | Compare::GreaterOrEqual => low = bound.double(),
        }
    }
    Wanted::Range(low, high)
}

impl Text {
    fn need(&self, path: &Path) -> Need {
        let key = |wanted| Need::key(path.clone(), wanted);
        match self {
            Text::Exactly(s) => key(Wanted::Text(s.clone())),
            Text::Prefix(s) => key(Wanted::Prefix(s.clone())),
            Text::Suffix(s) => key(Wanted::Suffix(s.clone())),
            Text::IgnoreCase(s) => key(Wanted::Folded(s.clone())),
            Text::PrefixIgnoreCase(s) => key(Wanted::FoldedPrefix(s.clone())),
            Text::SuffixIgnoreCase(s) => key(Wanted::FoldedSuffix(s.clone())),
            Text::Wildcard(wildcard) => match wildcard.parts.as_slice() {
                [whole] => key(Wanted::Text(whole.clone())),
                [first, middle @ .., last] => {
                    let inside = middle.iter().max_by_key(|part| part.len());
                    let ends = key(Wanted::Prefix(first.clone())).and(key(Wanted::Suffix(last.clone())));
                    inside.map_or(Need::Any, |part| key(Wanted::Inside(part.clone()))).and(ends)
                }
                [] => Need::Never,
            },
        }
    }

    pub fn passes(&self, s: &str) -> bool {
        match self {
            Text::Exactly(text) => **text == *s,
            Text::Prefix(prefix) => s.starts_with(&**prefix),
            Text::Suffix(suffix) => s.ends_with(&**suffix),
            Text::IgnoreCase(text) => folded(s).eq(folded(text)),
            Text::PrefixIgnoreCase(prefix) => begins(folded(s), folded(prefix)),
            Text::SuffixIgnoreCase(suffix) => begins(folded_back(s), folded_back(suffix)),
            Text::Wildcard(wildcard) => wildcard.passes(s),
        }
    }

    fn cost(&self) -> usize {
        match self {
            Text::Wildcard(wildcard) => wildcard.parts.len(),
            _ => 1,
        }
    }

    fn show(&self) -> String {
        match self {
            Text::Exactly(s) => format!("{{\"exactly\":{}}}", quoted(s)),
            Text::Prefix(s) => format!("{{\"prefix\":{}}}", quoted(s)),
            Text::Suffix(s) => format!("{{\"suffix\":{}}}", quoted(s)),
            Text::IgnoreCase(s) => format!("{{\"equals-ignore-case\":{}}}", quoted(s)),
            Text::PrefixIgnoreCase(s) => format!("{{\"prefix\":{{\"equals-ignore-case\":{}}}}}", quoted(s)),
            Text::SuffixIgnoreCase(s) => format!("{{\"suffix\":{{\"equals-ignore-case\":{}}}}}", quoted(s)),
            Text::Wildcard(w) => format!("{{\"wildcard\":{}}}", quoted(&w.written)),
        }
    }
}

impl Compare {
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Compare::Equal => order.is_eq(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterOrEqual => order.is_ge(),
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Compare::Equal => "=",
            Compare::Less => "<",
            Compare::LessOrEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterOrEqual => ">=",
        }
    }
}

impl Wildcard {
    /// `*` is any run of characters, `\*` a star, `\\` a backslash.
    ///
    /// # Errors
    /// AWS's reason; its positions count bytes from the opening quote.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match (c, chars.peek().map(|(_, next)| *next)) {
                ('*', Some('*')) => return Err(format!("Consecutive wildcard characters at pos {}", at + 1)),
                ('*', _) => parts.push(String::new()),
                ('\\', Some(escaped @ ('*' | '\\'))) => {
                    chars.next();
                    parts.last_mut().into_iter().for_each(|p| p.push(escaped));
                }
                ('\\', _) => return Err(format!("Invalid escape character at pos {}", at + 1)),
                (c, _) => parts.last_mut().into_iter().for_each(|p| p.push(c)),
            }
        }
        Ok(Wildcard { parts: parts.into_iter().map(Into::into).collect(), written: text.into() })
    }

    /// Stars in it.
    pub fn stars(&self) -> usize {
        self.parts.len() - 1
    }

    /// Each stretch at its first place after the one before: one pass over the text.
    fn passes(&self, s: &str) -> bool {
        let (Some((first, rest)), whole) = (self.parts.split_first(), s) else { return false };
        let Some((last, middle)) = rest.split_last() else { return whole == &**first };
        let Some(s) = whole.strip_prefix(&**first).and_then(|s| s.strip_suffix(&**last)) else { return false };
        middle.iter().try_fold(s, |s, part| s.get(s.find(&**part)? + part.len()..)).is_some()
    }
}

impl Cidr {
    /// # Errors
    /// AWS's reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split('/').collect::<Vec<_>>().as_slice() {
            [address, bits] => (*address, *bits),
            _ => return Err("Malformed CIDR, one '/' required".into()),
        };
        let bits: i64 = bits.parse().map_err(|_| "Malformed CIDR, mask bits must be an integer")?;
        let bits = u32::try_from(bits).map_err(|_| "Malformed CIDR, mask bits must not be negative")?;
        let address = parse_address(address).ok_or_else(|| format!("Nonstandard IP address: {address}"))?;
        let (first, last) = match address {
            IpAddr::V4(_) if bits > 31 => return Err("IPv4 mask bits must be < 32; write the address itself".into()),
            IpAddr::V6(_) if bits > 127 => return Err("IPv6 mask bits must be < 128; write the address itself".into()),
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                let base = v4.to_bits() & !host;
                (Ipv4Addr::from_bits(base).into(), Ipv4Addr::from_bits(base | host).into())
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                let base = v6.to_bits() & !host;
                (Ipv6Addr::from_bits(base).into(), Ipv6Addr::from_bits(base | host).into())
            }
        };
        Ok(Cidr { first, last, written: text.into() })
    }

    fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }
}

/// An address as event-ruler reads it: octets are decimal with or without zeros before them, and an IPv4
/// address in IPv6's clothes is IPv4.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|a| IpAddr::V6(a).to_canonical());
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

/// A string as an alternative.
pub fn equal(text: &str) -> Result<Box<str>, Test> {
    match parse_address(text) {
        Some(address) => Err(Test::Address(text.into(), address)),
        None => Ok(text.into()),
    }
}

/// For [`super::super::explain`]: the string or bound nearest to what was found, with why it did not match.
pub fn nearest(tests: &Tests, found: &Found<'_>) -> Option<String> {
    if let Found::String(s) = found {
        let close = tests.strings.iter().map(|t| (super::super::explain::distance(t, s), t)).min();
        if let Some((_, text)) = close {
            return Some(quoted(text));
        }
    }
    tests.others.iter().find(|t| !matches!(t, Test::Exists(_))).map(Test::show)
}

/// A type that differs says more than a value that does.
pub fn type_hint(tests: &Tests, found: &Found<'_>) -> Option<Cow<'static, str>> {
    let numbers = tests.others.iter().any(|t| matches!(t, Test::Number(_) | Test::Numeric(_)));
    let texts = !tests.strings.is_empty() || tests.others.iter().any(|t| matches!(t, Test::Text(_) | Test::Cidr(_)));
    match found {
        Found::String(_) if numbers && !texts => Some("the event has a string, the filter asks for a number".into()),
        Found::Number(_) if texts && !numbers => Some("the event has a number, the filter asks for a string".into()),
        _ => None,
    }
}
