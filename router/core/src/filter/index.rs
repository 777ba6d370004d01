//! The index over all filters: one pass over an event finds those that may want it, and judges most of them
//! from what that pass took out.
//!
//! A filter is one or more *clauses*: a pattern has one for each combination of its fields, anything else one.
//! Each is filed under the keys of its [`Need`] that look rarest. An event's values are looked up path by
//! path; the clauses that are hit are judged exactly, patterns by the values that were taken out, the other
//! languages by themselves. Data is not read at all when nobody that the attributes leave asks for it.

mod blocks;
mod intervals;
mod scan;
mod tree;
mod values;

use std::{hash::Hasher, sync::Arc};

use schemas::{Event, Form, Value, doc::Doc};

use self::{
    scan::{NONE, Taken, owned},
    tree::{Leaf, Tree},
    values::{Map, Quick, Room, Table},
};
use super::{
    Filter, Is,
    need::{Key, Path, Wanted},
    pattern::{Combination, Pattern},
    value::Found,
    view::Names,
};

/// Combinations of elements that are tried for one clause before the pattern judges by walking the document.
const TRIES_MAX: u32 = 1_000;

/// Part of a filter: when it matches, the filter does.
#[derive(Debug)]
struct Clause {
    /// The filter's number.
    filter: u32,
    judge: Judge,
}

#[derive(Debug)]
enum Judge {
    /// By the values at these leaves, one for each field.
    Values { pattern: Arc<Pattern>, combination: u32, leaves: Box<[Leaf]>, reads_data: bool },
    /// By the filter itself.
    Filter,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    tree: Tree,
    attributes: Vec<(Box<str>, Leaf)>,
    tables: Vec<Table>,
    clauses: Vec<Clause>,
    /// Clauses without a key.
    always: Vec<u32>,
    /// Whether some key is below the data.
    keys_in_data: bool,
}

/// Working memory for [`Index::hits`].
#[derive(Debug, Default)]
pub struct Memory {
    taken: Taken<'static>,
    hits: Hits,
    room: Room,
    chosen: Vec<u32>,
}

/// The clauses that were hit, once each.
#[derive(Debug, Default)]
struct Hits {
    list: Vec<u32>,
    /// By clause: the round in which it was hit.
    rounds: Vec<u32>,
    round: u32,
}

impl Hits {
    fn begin(&mut self, clauses: usize) {
        self.list.clear();
        if self.rounds.len() < clauses {
            self.rounds.resize(clauses, 0);
        }
        if self.round == u32::MAX {
            self.rounds.fill(0);
            self.round = 0;
        }
        self.round += 1;
    }

    #[inline]
    fn add(&mut self, clauses: &[u32]) {
        for clause in clauses {
            if let Some(round) = self.rounds.get_mut(*clause as usize)
                && std::mem::replace(round, self.round) != self.round
            {
                self.list.push(*clause);
            }
        }
    }
}

/// Where a pattern's field stands; `None` where only the pattern itself knows.
pub fn located(names: Names, path: &str) -> Option<Path> {
    let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
    let data = match names {
        Names::CloudEvents => "data",
        Names::EventBridge => "detail",
    };
    if name == data {
        return Some(Path::Data(below.map(Into::into)));
    }
    let attribute = match (names, name) {
        (Names::CloudEvents, name) => name,
        (Names::EventBridge, "detail-type") => "type",
        (Names::EventBridge, "replay-name") => "replayname",
        (Names::EventBridge, "id" | "source" | "time" | "account" | "region") => name,
        (Names::EventBridge, _) => return None,
    };
    below.is_none().then(|| Path::Attribute(attribute.into()))
}

/// One number for equal keys.
fn fingerprint(key: &Key) -> u64 {
    let mut hash = Quick::default();
    let (kind, path) = match &key.path {
        Path::Attribute(name) => (0, &**name),
        Path::Data(None) => (1, ""),
        Path::Data(Some(path)) => (2, &**path),
    };
    hash.write_u8(kind);
    hash.write(path.as_bytes());
    let (kind, text) = match &key.wanted {
        Wanted::Text(s) => (0, s),
        Wanted::Prefix(s) => (1, s),
        Wanted::Suffix(s) => (2, s),
        Wanted::Inside(s) => (3, s),
        Wanted::Folded(s) => (4, s),
        Wanted::FoldedPrefix(s) => (5, s),
        Wanted::FoldedSuffix(s) => (6, s),
        Wanted::Number(n) => return also(hash, n.to_bits(), 7),
        Wanted::Range(low, high) => return also(hash, low.to_bits(), high.to_bits()),
        Wanted::Bool(_) | Wanted::Null | Wanted::Present => return also(hash, 8, 0),
        Wanted::Address(address) | Wanted::Block(address, _) => return also(hash, 9, address_word(*address)),
    };
    hash.write_u8(kind);
    hash.write(text.as_bytes());
    hash.finish()
}

fn also(mut hash: Quick, a: u64, b: u64) -> u64 {
    hash.write_u64(a);
    hash.write_u64(b);
    hash.finish()
}

fn address_word(address: std::net::IpAddr) -> u64 {
    match address {
        std::net::IpAddr::V4(v4) => v4.to_bits().into(),
        std::net::IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

/// Filters that name a key that others name, too, are likely to be hit together.
struct Shares(Map<u64, u32>, f64);

impl Shares {
    fn of(&self, key: &Key) -> f64 {
        f64::from(self.0.get(&fingerprint(key)).copied().unwrap_or(0)) / self.1
    }
}

impl Index {
    /// Over filters, whose numbers are their places.
    pub fn new<'f>(filters: impl Iterator<Item = &'f Filter>) -> Self {
        let mut index = Index::default();
        let mut needs = Vec::new();
        for (number, filter) in (0u32..).zip(filters) {
            match &filter.0 {
                Is::Pattern(pattern) => {
                    for (at, combination) in (0u32..).zip(pattern.combinations()) {
                        let judge = index.judge(pattern, at, combination);
                        index.clauses.push(Clause { filter: number, judge });
                        needs.push(combination.need(pattern.names()));
                    }
                }
                _ => {
                    index.clauses.push(Clause { filter: number, judge: Judge::Filter });
                    needs.push(filter.need());
                }
            }
        }
        let mut shares = Shares(Map::default(), needs.len() as f64 + 1.0);
        needs.iter().for_each(|need| need.each(&mut |key| *shares.0.entry(fingerprint(key)).or_default() += 1));
        for (clause, need) in (0u32..).zip(needs) {
            match need.rarest(&|key| shares.of(key)) {
                Some((_, keys)) => keys.into_iter().for_each(|key| index.file(key, clause)),
                None => index.always.push(clause),
            }
        }
        index.tables.iter_mut().for_each(Table::finish);
        index
    }

    fn judge(&mut self, pattern: &Arc<Pattern>, number: u32, combination: &Combination) -> Judge {
        let paths: Option<Vec<Path>> = combination.fields.iter().map(|f| located(pattern.names(), &f.path)).collect();
        let Some(paths) = paths else { return Judge::Filter };
        let reads_data = paths.iter().any(|path| matches!(path, Path::Data(_)));
        let leaves = paths.into_iter().map(|path| self.leaf(&path)).collect();
        Judge::Values { pattern: pattern.clone(), combination: number, leaves, reads_data }
    }

    fn leaf(&mut self, path: &Path) -> Leaf {
        let new = u32::try_from(self.tables.len()).unwrap_or(u32::MAX);
        let leaf = match path {
            Path::Data(path) => self.tree.leaf(path.as_deref(), new),
            Path::Attribute(name) => match self.attributes.iter().find(|(n, _)| n == name) {
                Some((_, leaf)) => *leaf,
                None => {
                    self.attributes.push((name.clone(), new));
                    new
                }
            },
        };
        if leaf == new {
            self.tables.push(Table::default());
        }
        leaf
    }

    fn file(&mut self, key: Key, clause: u32) {
        let leaf = self.leaf(&key.path);
        self.keys_in_data |= matches!(key.path, Path::Data(_));
        if let Some(table) = self.tables.get_mut(leaf as usize) {
            table.add(key.wanted, key.cast, clause);
        }
    }

    /// Calls `ask` with the number of each filter that it cannot judge itself, and `to` with each that matches;
    /// a number may come several times.
    pub fn hits(
        &self,
        event: &Event,
        memory: &mut Memory,
        to: &mut impl FnMut(u32),
        ask: &mut impl FnMut(u32) -> bool,
    ) {
        let Memory { taken, hits, room, chosen } = memory;
        let mut now = std::mem::take(taken).room(self.tables.len(), self.tree.len());
        hits.begin(self.clauses.len());
        hits.add(&self.always);
        self.take_attributes(event, &mut now);
        self.look_up(&now, 0, hits, room);
        let mut has_data = self.keys_in_data;
        if has_data {
            self.take_data(event, &mut now, hits, room);
        }
        for clause in hits.list.iter().filter_map(|clause| self.clauses.get(*clause as usize)) {
            let matches = match &clause.judge {
                Judge::Filter => ask(clause.filter),
                Judge::Values { pattern, combination, leaves, reads_data } => {
                    if *reads_data && !has_data {
                        has_data = true;
                        self.read_data(event, &mut now);
                    }
                    match pattern.combinations().get(*combination as usize) {
                        Some(combination) => {
                            judged(&now, combination, leaves, chosen).unwrap_or_else(|Unclear| ask(clause.filter))
                        }
                        None => false,
                    }
                }
            };
            if matches {
                to(clause.filter);
            }
        }
        *taken = now.given_back();
    }

    fn take_attributes<'e>(&self, event: &'e Event, taken: &mut Taken<'e>) {
        for (name, leaf) in &self.attributes {
            match event.get(name) {
                None => {}
                Some(Value::String(s)) => taken.add(*leaf, NONE, Found::String(s.into())),
                Some(Value::Boolean(b)) => taken.add(*leaf, NONE, Found::Bool(b)),
                Some(Value::Integer(i)) => taken.add(*leaf, NONE, Found::Number(i.to_string().into())),
                Some(Value::Json(text)) => {
                    if let Ok(document) = Doc::parse(text.as_bytes()) {
                        let mut values = super::value::elements_or_self(document.root());
                        values.by_ref().filter_map(owned).for_each(|value| taken.add(*leaf, NONE, value));
                    }
                }
            }
        }
    }

    fn take_data<'e>(&self, event: &'e Event, taken: &mut Taken<'e>, hits: &mut Hits, room: &mut Room) {
        let from = taken.records.len();
        self.read_data(event, taken);
        self.look_up(taken, from, hits, room);
    }

    fn read_data<'e>(&self, event: &'e Event, taken: &mut Taken<'e>) {
        match event.form() {
            Form::Json => taken.take(&self.tree, event.data()),
            Form::Text => {
                let leaf = self.tree.get(tree::ROOT).and_then(|root| root.leaf);
                if let (Some(leaf), Ok(text)) = (leaf, std::str::from_utf8(event.data())) {
                    taken.add(leaf, NONE, Found::String(text.into()));
                }
            }
            Form::Binary | Form::None => {}
        }
    }

    fn look_up(&self, taken: &Taken<'_>, from: usize, hits: &mut Hits, room: &mut Room) {
        for record in taken.records.iter().skip(from) {
            if let Some(table) = self.tables.get(record.leaf as usize) {
                table.hits(&record.value, room, &mut |clauses| hits.add(clauses));
            }
        }
    }

    /// Clauses that every event is asked of.
    #[cfg(test)]
    pub fn always(&self) -> &[u32] {
        &self.always
    }
}

/// Too many combinations of elements to try.
struct Unclear;

/// A combination, judged by its definition from the values that were taken out.
fn judged(
    taken: &Taken<'_>,
    combination: &Combination,
    leaves: &[Leaf],
    chosen: &mut Vec<u32>,
) -> Result<bool, Unclear> {
    let mut in_arrays = false;
    for (field, leaf) in combination.fields.iter().zip(leaves) {
        let (mut passes, mut present) = (false, false);
        for record in taken.at(*leaf) {
            present = true;
            in_arrays |= record.frame != NONE;
            passes = passes || field.tests.pass(&record.value);
            if passes && in_arrays {
                break;
            }
        }
        // What stands in an array may be out of reach of the others, and count as absent.
        if !(passes || (field.absence() && (!present || in_arrays))) {
            return Ok(false);
        }
    }
    if !in_arrays || combination.fields.len() == 1 && !combination.fields.iter().any(|f| f.absence()) {
        return Ok(true);
    }
    chosen.clear();
    search(taken, combination, leaves, 0, chosen, &mut 0)
}

fn search(
    taken: &Taken<'_>,
    combination: &Combination,
    leaves: &[Leaf],
    at: usize,
    chosen: &mut Vec<u32>,
    tries: &mut u32,
) -> Result<bool, Unclear> {
    let (Some(field), Some(leaf)) = (combination.fields.get(at), leaves.get(at)) else { return Ok(true) };
    let mut absent = field.absence();
    for record in taken.at(*leaf) {
        let passes = field.tests.pass(&record.value);
        if !passes && !absent {
            continue;
        }
        *tries += 1;
        if *tries > TRIES_MAX {
            return Err(Unclear);
        }
        if !chosen.iter().all(|frame| taken.together(*frame, record.frame)) {
            continue;
        }
        absent = false;
        if passes {
            chosen.push(record.frame);
            let matches = search(taken, combination, leaves, at + 1, chosen, tries)?;
            chosen.pop();
            if matches {
                return Ok(true);
            }
        }
    }
    if absent { search(taken, combination, leaves, at + 1, chosen, tries) } else { Ok(false) }
}
