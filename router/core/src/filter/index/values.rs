//! What stands at one path, and which clauses want it: a table for each kind of question, each answered in
//! about the time of one look-up, however many clauses ask.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    net::IpAddr,
};

use super::{
    super::{
        need::{GRAM_BYTES, Wanted},
        pattern::test::parse_address,
        value::{Found, folded},
    },
    intervals::Intervals,
};

/// Clauses by their numbers.
type List = Vec<u32>;

/// A map whose keys come from the configuration: nobody else can make them collide, so that the quick hash
/// of rustc's tables will do.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// See [`Map`].
#[derive(Default, Clone, Copy)]
pub struct Quick(u64);

impl Quick {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }
}

impl Hasher for Quick {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let tail = rest.iter().fold(bytes.len() as u64, |tail, byte| (tail << 8) | u64::from(*byte));
        self.add(tail);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The table takes its tag from the upper bits and its place from the lower ones.
        self.0 ^ (self.0 >> 32)
    }
}

/// The clauses that want something of the values at one path.
#[derive(Debug, Default)]
pub struct Table {
    /// Numbers and booleans count as the texts and numbers that they cast to.
    cast: bool,
    present: List,
    null: List,
    bools: [List; 2],
    texts: Map<Box<str>, List>,
    prefixes: Chains,
    suffixes: Chains,
    inside: Map<[u8; GRAM_BYTES], List>,
    folded: Option<Box<Folded>>,
    numbers: Map<u64, List>,
    ranges: Intervals<f64>,
    addresses: Map<u128, List>,
    blocks: Intervals<u128>,
}

#[derive(Debug, Default)]
struct Folded {
    texts: Map<Box<str>, List>,
    prefixes: Chains,
    suffixes: Chains,
}

/// Room for a text that is folded or reversed.
#[derive(Debug, Default)]
pub struct Room {
    folded: String,
    reversed: Vec<u8>,
}

/// As all addresses are IPv6 ones. Those in IPv4's place there are IPv4, by event-ruler's reading.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// One key for what is equal: zero has two signs.
fn number_key(number: f64) -> u64 {
    (number + 0.0).to_bits()
}

impl Table {
    /// Adds a clause that wants this.
    pub fn add(&mut self, wanted: Wanted, cast: bool, clause: u32) {
        self.cast |= cast;
        let folded = |s: &str| -> Box<str> { folded(s).collect::<String>().into() };
        let list = match wanted {
            Wanted::Present => &mut self.present,
            Wanted::Null => &mut self.null,
            Wanted::Bool(b) => match (&mut self.bools, b) {
                ([_, yes], true) => yes,
                ([no, _], false) => no,
            },
            Wanted::Text(s) => self.texts.entry(s).or_default(),
            Wanted::Prefix(s) => return self.prefixes.add(s.as_bytes().into(), clause),
            Wanted::Suffix(s) => return self.suffixes.add(s.bytes().rev().collect(), clause),
            Wanted::Inside(s) => match s.as_bytes().first_chunk() {
                Some(gram) => self.inside.entry(*gram).or_default(),
                None => &mut self.present,
            },
            Wanted::Folded(s) => self.folded.get_or_insert_default().texts.entry(folded(&s)).or_default(),
            Wanted::FoldedPrefix(s) => {
                return self.folded.get_or_insert_default().prefixes.add(folded(&s).as_bytes().into(), clause);
            }
            Wanted::FoldedSuffix(s) => {
                let reversed = folded(&s).bytes().rev().collect();
                return self.folded.get_or_insert_default().suffixes.add(reversed, clause);
            }
            Wanted::Number(n) => self.numbers.entry(number_key(n)).or_default(),
            Wanted::Range(low, high) => return self.ranges.add(low, high, clause),
            Wanted::Address(a) => self.addresses.entry(bits(a)).or_default(),
            Wanted::Block(first, last) => return self.blocks.add(bits(first), bits(last), clause),
        };
        list.push(clause);
    }

    /// To be called once, after the last [`Table::add`].
    pub fn finish(&mut self) {
        self.prefixes.finish();
        self.suffixes.finish();
        self.ranges.finish();
        self.blocks.finish();
        if let Some(folded) = &mut self.folded {
            folded.prefixes.finish();
            folded.suffixes.finish();
        }
    }

    /// The clauses that want a value like this; one of them may come several times.
    pub fn hits(&self, value: &Found<'_>, room: &mut Room, to: &mut impl FnMut(&[u32])) {
        to(&self.present);
        match value {
            Found::Null => to(&self.null),
            Found::Bool(b) => {
                to(self.bools.get(usize::from(*b)).map_or(&[], Vec::as_slice));
                if self.cast {
                    self.text(if *b { "true" } else { "false" }, room, to);
                    self.number(f64::from(u8::from(*b)), to);
                }
            }
            Found::Number(n) => self.digits(n, room, to),
            Found::String(s) => {
                self.text(s, room, to);
                if self.cast
                    && let Ok(integer) = s.parse::<i32>()
                {
                    self.number(f64::from(integer), to);
                }
            }
        }
    }

    #[inline]
    fn digits(&self, digits: &str, room: &mut Room, to: &mut impl FnMut(&[u32])) {
        if !(self.numbers.is_empty() && self.ranges.is_empty())
            && let Ok(number) = digits.parse::<f64>()
        {
            self.number(number, to);
        }
        if self.cast {
            self.text(digits, room, to);
            // The only Integer that JSON writes in another way than CESQL.
            if digits == "-0" {
                self.text("0", room, to);
            }
        }
    }

    #[inline]
    fn number(&self, number: f64, to: &mut impl FnMut(&[u32])) {
        if let Some(list) = self.numbers.get(&number_key(number)) {
            to(list);
        }
        self.ranges.holding(number, to);
    }

    fn text(&self, s: &str, room: &mut Room, to: &mut impl FnMut(&[u32])) {
        if !self.texts.is_empty()
            && let Some(list) = self.texts.get(s)
        {
            to(list);
        }
        self.prefixes.beginning(s.as_bytes(), to);
        self.suffixes.ending(s.as_bytes(), &mut room.reversed, to);
        if !self.inside.is_empty() {
            for gram in s.as_bytes().array_windows::<GRAM_BYTES>() {
                if let Some(list) = self.inside.get(gram) {
                    to(list);
                }
            }
        }
        if !(self.addresses.is_empty() && self.blocks.is_empty())
            && let Some(address) = parse_address(s)
        {
            if let Some(list) = self.addresses.get(&bits(address)) {
                to(list);
            }
            self.blocks.holding(bits(address), to);
        }
        if let Some(table) = &self.folded {
            let Room { folded: text, reversed } = room;
            text.clear();
            if s.is_ascii() {
                text.push_str(s);
                text.make_ascii_lowercase();
            } else {
                text.extend(folded(s));
            }
            if let Some(list) = table.texts.get(text.as_str()) {
                to(list);
            }
            table.prefixes.beginning(text.as_bytes(), to);
            table.suffixes.ending(text.as_bytes(), reversed, to);
        }
    }
}

/// Texts of which a value may begin with several. Sorted; each knows the longest other one that it begins
/// with. Those that a value begins with are then the last one that is not above the value, or what that one
/// begins with: everything between a beginning of the value and the value begins with it, too.
#[derive(Debug, Default)]
struct Chains(Vec<Link>);

#[derive(Debug)]
struct Link {
    text: Box<[u8]>,
    shorter: Option<u32>,
    clauses: List,
}

impl Chains {
    fn add(&mut self, text: Box<[u8]>, clause: u32) {
        self.0.push(Link { text, shorter: None, clauses: vec![clause] });
    }

    fn finish(&mut self) {
        self.0.sort_by(|a, b| a.text.cmp(&b.text));
        self.0.dedup_by(|again, first| {
            let same = again.text == first.text;
            if same {
                first.clauses.append(&mut again.clauses);
            }
            same
        });
        let mut open: Vec<(u32, Box<[u8]>)> = Vec::new();
        for (number, link) in (0u32..).zip(&mut self.0) {
            while open.last().is_some_and(|(_, text)| !link.text.starts_with(text)) {
                open.pop();
            }
            link.shorter = open.last().map(|(number, _)| *number);
            open.push((number, link.text.clone()));
        }
    }

    /// The clauses whose text the value begins with.
    #[inline]
    fn beginning(&self, value: &[u8], to: &mut impl FnMut(&[u32])) {
        if self.0.is_empty() {
            return;
        }
        let at = self.0.partition_point(|link| *link.text <= *value);
        let mut next = at.checked_sub(1);
        let mut begins = false;
        while let Some(link) = next.and_then(|at| self.0.get(at)) {
            begins = begins || value.starts_with(&link.text);
            if begins {
                to(&link.clauses);
            }
            next = link.shorter.map(|at| at as usize);
        }
    }

    /// The clauses whose text, kept reversed, the value ends with.
    #[inline]
    fn ending(&self, value: &[u8], reversed: &mut Vec<u8>, to: &mut impl FnMut(&[u32])) {
        if self.0.is_empty() {
            return;
        }
        reversed.clear();
        reversed.extend(value.iter().rev());
        self.beginning(reversed, to);
    }
}
