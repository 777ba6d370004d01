//! Filters and events that are drawn, and the matcher held to the plain filters on each: lists in lists, names
//! with dots and escapes, members that are repeated, numbers at the edges, letters whose case is no letter.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

use router_core::{
    filter::{Filter, Matcher, Scratch, Spec},
    id::RouteId,
};
use schemas::{Event, Form, Value as Attr};
use serde_json::{Map, Value, json};

use crate::corpus::Draw;

/// Bits by which filters are told apart: a few that share one are counted once.
const MARKS_BITS: u32 = 27;
/// Events that one set of filters is asked of.
const EVENTS: usize = 24;

/// What a run did.
pub struct Found {
    seed: u64,
    /// Sets of filters with an event.
    pub cases: u64,
    filters: u64,
    hits: u64,
    refused: u64,
    hash: u64,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Found { seed, cases, filters, hits, refused, hash } = self;
        write!(
            f,
            "no difference: {cases} cases, at least {filters} distinct filters, {refused} refused, {hits} hits, seed {seed}, hash {hash:016x}"
        )
    }
}

/// Draws until the time or the number of cases is over; the first difference ends it.
pub fn run(seed: u64, time: Duration, cases_max: u64) -> Result<Found, String> {
    let end = Instant::now() + time;
    let mut draw = Draw(seed);
    let mut marks = vec![0u64; 1 << (MARKS_BITS - 6)];
    let mut found = Found { seed, cases: 0, filters: 0, hits: 0, refused: 0, hash: 0 };
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    while found.cases < cases_max && Instant::now() < end {
        let mut filters = Vec::new();
        for _ in 0..=draw.below(12) {
            let spec = any_filter(&mut draw, 0);
            mark(&spec, &mut marks, &mut found.filters);
            match serde_json::from_value::<Spec>(spec.clone()).map(Filter::parse) {
                Ok(Ok(filter)) => filters.push((spec, filter)),
                _ => found.refused += 1,
            }
        }
        let matcher = Matcher::compile((0..).map(RouteId).zip(filters.iter().map(|(_, filter)| filter.clone())));
        for _ in 0..EVENTS {
            let Some(event) = any_event(&mut draw) else { continue };
            found.cases += 1;
            out.clear();
            matcher.matches(&event, &mut scratch, &mut out);
            let numbered = (0..).map(RouteId).zip(&filters);
            let plain: Vec<RouteId> = numbered.filter(|(_, (_, f))| f.matches(&event)).map(|(id, _)| id).collect();
            found.hits += plain.len() as u64;
            let mut hash = DefaultHasher::new();
            (found.hash, &out, event.body().as_ref()).hash(&mut hash);
            found.hash = hash.finish();
            if plain != out {
                return Err(difference(&found, &filters, &event, &plain, &out));
            }
        }
    }
    Ok(found)
}

fn difference(found: &Found, filters: &[(Value, Filter)], event: &Event, plain: &[RouteId], out: &[RouteId]) -> String {
    let differs = |id: &RouteId| plain.contains(id) != out.contains(id);
    let numbered = (0..).map(RouteId).zip(filters).filter(|(id, _)| differs(id));
    let filters: Vec<String> = numbered.map(|(id, (spec, _))| format!("{id:?}: {spec}")).collect();
    let attributes: Vec<_> = event.attrs().collect();
    format!(
        "a difference with seed {}, case {}:\nthe plain filters say {plain:?}, the matcher {out:?}\n{}\n{attributes:?} {:?}",
        found.seed,
        found.cases,
        filters.join("\n"),
        String::from_utf8_lossy(event.data())
    )
}

fn mark(spec: &Value, marks: &mut [u64], count: &mut u64) {
    let mut hash = DefaultHasher::new();
    spec.to_string().hash(&mut hash);
    let bit = hash.finish() >> (64 - MARKS_BITS);
    let word = usize::try_from(bit >> 6).ok().and_then(|at| marks.get_mut(at));
    if let Some(word) = word {
        *count += u64::from(*word >> (bit & 63) & 1 == 0);
        *word |= 1 << (bit & 63);
    }
}

const WORDS: [&str; 22] = [
    "",
    "a",
    "b",
    "ab",
    "ba",
    "aab",
    "A",
    "aB",
    "é",
    "É",
    "ß",
    "İ",
    "ς",
    "日本",
    "10.0.0.1",
    "010.0.0.1",
    "::ffff:10.0.0.1",
    "1",
    "true",
    "+1",
    "a*b",
    "ab\\\"",
];
const NAMES: [&str; 14] = ["a", "a", "b", "b", "c", "a.b", "a-", "", "é", "0", "1", "b.c", ".a", "ab"];
const NUMBERS: [&str; 20] = [
    "0",
    "-0",
    "1",
    "1.0",
    "1e0",
    "-1",
    "2",
    "0.1",
    "1e-1",
    "300",
    "3e2",
    "9007199254740992",
    "9007199254740993",
    "1e400",
    "-1e400",
    "1e-400",
    "0.10000000000000001",
    "0.1000000000000000055511151231257827",
    "12345678901234567890",
    "4294967297",
];

fn word(draw: &mut Draw) -> String {
    match draw.below(6) {
        0 => draw.of(&WORDS).to_owned() + draw.of(&WORDS),
        _ => draw.of(&WORDS).to_owned(),
    }
}

fn number(draw: &mut Draw) -> Value {
    serde_json::from_str(draw.of(&NUMBERS)).unwrap_or_default()
}

fn test(draw: &mut Draw) -> Value {
    let s = word(draw);
    let kind = draw.of(&["prefix", "suffix"]);
    match draw.below(24) {
        0..=4 => json!(s),
        5..=7 => number(draw),
        8 => Value::Null,
        9 => json!(draw.once_in(2)),
        10 | 11 => json!({kind: s}),
        12 => json!({kind: {"equals-ignore-case": s}}),
        13 => json!({"equals-ignore-case": s}),
        14 => {
            json!({"wildcard": format!("{}*{}", s.replace(['*', '\\'], ""), draw.of(&["", "a", "b", "a*b", "aab*"]))})
        }
        15 => json!({"wildcard": format!("*{}*", draw.of(&["aab", "ab", "日本", "\\*b"]))}),
        16 => json!({"anything-but": draw.of(&[json!(s), number(&mut draw.clone()), json!([s, "a"])])}),
        17 => json!({"anything-but": {draw.of(&["prefix", "suffix", "equals-ignore-case"]): [s, "b"]}}),
        18 => json!({"anything-but": {"wildcard": "a*"}}),
        19 => json!({"numeric": [draw.of(&["<", "<=", ">", ">=", "="]), number(draw)]}),
        20 => json!({"numeric": [draw.of(&[">", ">="]), number(draw), draw.of(&["<", "<="]), number(draw)]}),
        21 => json!({"cidr": draw.of(&["10.0.0.0/8", "10.0.0.1/31", "::/0", "::ffff:0:0/96", "0.0.0.0/0"])}),
        _ => json!({"exists": draw.once_in(2)}),
    }
}

fn tests(draw: &mut Draw) -> Value {
    (0..=draw.below(3)).map(|_| test(draw)).collect()
}

fn fields(draw: &mut Draw, depth: usize) -> Value {
    if depth > 3 || draw.once_in(3) {
        return tests(draw);
    }
    let mut fields = Map::new();
    for _ in 0..=draw.below(3) {
        fields.insert(draw.of(&NAMES).to_owned(), self::fields(draw, depth + 1));
    }
    if draw.once_in(5) {
        let ways: Vec<Value> =
            (0..2 + draw.below(2)).map(|_| json!({draw.of(&NAMES): self::fields(draw, depth + 1)})).collect();
        fields.insert("$or".into(), json!(ways));
    }
    Value::Object(fields)
}

fn top(draw: &mut Draw, names: &[&str], data: &str) -> Value {
    let mut top = Map::new();
    for _ in 0..draw.below(3) {
        top.insert(draw.of(names).to_owned(), tests(draw));
    }
    if top.is_empty() || !draw.once_in(4) {
        top.insert(data.to_owned(), fields(draw, 0));
    }
    if draw.once_in(8) {
        let way = |draw: &mut Draw| json!({draw.of(names): tests(draw)});
        top.insert("$or".into(), json!([way(draw), way(draw)]));
    }
    Value::Object(top)
}

fn expression(draw: &mut Draw, depth: usize) -> String {
    if depth < 3 && draw.once_in(2) {
        let (a, b) = (expression(draw, depth + 1), expression(draw, depth + 1));
        return match draw.below(4) {
            0 => format!("({a}) OR ({b})"),
            1 => format!("({a}) XOR ({b})"),
            2 => format!("NOT ({a})"),
            _ => format!("({a}) AND ({b})"),
        };
    }
    let name =
        draw.of(&["type", "source", "subject", "ext", "num", "json", "data.a", "data.b.c", "data.a.0", "data.\"a.b\""]);
    let text = word(draw).replace(['\'', '\\'], "");
    match draw.below(12) {
        0 | 1 => format!("{name} = '{text}'"),
        2 => format!("'{text}' = {name}"),
        3 => format!("{name} LIKE '{text}%'"),
        4 => format!("{name} LIKE '%{text}'"),
        5 => format!("{name} LIKE '%{text}%a'"),
        6 => format!("{name} NOT LIKE '{text}%'"),
        7 => format!("{name} IN ('{text}', 'a', 'TRUE', '+1')"),
        8 => format!("EXISTS {}", draw.of(&["type", "subject", "ext", "data.a"])),
        9 => format!("{name} = {}", draw.of(&["1", "0", "TRUE", "false", "-1"])),
        10 => format!("{} = {name}", draw.of(&["1", "TRUE"])),
        _ => format!("{name} {} {}", draw.of(&["<", "<=", ">", ">=", "!="]), draw.of(&["0", "1", "2"])),
    }
}

fn any_filter(draw: &mut Draw, depth: usize) -> Value {
    if depth < 2 && draw.once_in(6) {
        let list: Vec<Value> = (0..=draw.below(2)).map(|_| any_filter(draw, depth + 1)).collect();
        return match draw.below(3) {
            0 => json!({"all": list}),
            1 => json!({"any": list}),
            _ => json!({"not": list.first()}),
        };
    }
    match draw.below(12) {
        0..=5 => {
            json!({"pattern": top(draw, &["type", "source", "subject", "ext", "num", "json", "resources", "none"], "data")})
        }
        6 | 7 => {
            let names = ["detail-type", "source", "account", "resources", "version", "replay-name", "id"];
            json!({"eventbridge": top(draw, &names, "detail")})
        }
        8 | 9 => json!({"sql": expression(draw, 0)}),
        _ => {
            let names = ["type", "source", "subject", "ext", "num", "json"];
            let mut wanted = Map::new();
            for _ in 0..draw.below(3) {
                wanted.insert(draw.of(&names).to_owned(), json!(word(draw)));
            }
            json!({draw.of(&["exact", "prefix", "suffix"]): wanted})
        }
    }
}

/// A string or name, now and then with escapes where none are needed.
fn quoted(draw: &mut Draw, text: &str) -> String {
    if !draw.once_in(12) {
        return serde_json::to_string(text).unwrap_or_default();
    }
    let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{}\"", units.concat())
}

fn space(draw: &mut Draw) -> &'static str {
    if draw.once_in(10) {
        draw.of(&[" ", "\n", "\t ", "                                                  "])
    } else {
        ""
    }
}

/// JSON text; members are repeated now and then.
fn any_json(draw: &mut Draw, depth: usize) -> String {
    let kind = if depth > 5 { draw.below(6) } else { draw.below(16) };
    match kind {
        0..=2 => {
            let text = word(draw);
            quoted(draw, &text)
        }
        3 | 4 => draw.of(&NUMBERS).to_owned(),
        5 => draw.of(&["null", "true", "false", "[]", "{}", "[{}]"]).to_owned(),
        6..=9 => {
            let list: Vec<String> = (0..draw.below(5)).map(|_| any_json(draw, depth + 1)).collect();
            format!("{}[{}]", space(draw), list.join(&format!("{},", space(draw))))
        }
        _ => {
            let member = |draw: &mut Draw| {
                let name = draw.of(&NAMES);
                let name = quoted(draw, name);
                format!("{name}{}:{}{}", space(draw), space(draw), any_json(draw, depth + 1))
            };
            let members: Vec<String> = (0..draw.below(6)).map(|_| member(draw)).collect();
            format!("{{{}{}}}", space(draw), members.join(","))
        }
    }
}

/// Deeper than any filter looks.
fn deep(draw: &mut Draw) -> String {
    let depth = draw.below(300);
    let (open, close) = draw.of(&[("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")]);
    format!("{}{}{}", open.repeat(depth), any_json(draw, 5), close.repeat(depth))
}

fn any_event(draw: &mut Draw) -> Option<Event> {
    let word = |draw: &mut Draw| Some(self::word(draw)).filter(|w| !w.is_empty()).unwrap_or_else(|| "a".into());
    let (kind, source, subject, ext) = (word(draw), draw.of(&["a", "b", "ab", "1"]), word(draw), word(draw));
    let json = any_json(draw, 4);
    let mut builder = Event::builder("1", source, &kind);
    if draw.once_in(2) {
        builder = builder.attr("subject", subject.as_str());
    }
    builder = match draw.below(6) {
        0 => builder.attr("ext", draw.once_in(2)),
        1 => builder.attr("ext", 1),
        2 => builder.attr("ext", ext.as_str()),
        _ => builder,
    };
    if draw.once_in(3) {
        builder = builder.attr("num", i32::try_from(draw.below(3)).unwrap_or(0) - 1);
    }
    if draw.once_in(6) {
        builder = builder.attr("json", Attr::Json(&json));
    }
    if draw.once_in(6) {
        builder = builder.attr("resources", draw.of(&["a", "[\"a\",\"b\"]", "[1,[\"ab\"]]", "[", "b"]));
    }
    let data = match draw.below(12) {
        0 => return builder.data(Form::Text, self::word(draw)).build().ok(),
        1 => return builder.data(Form::Binary, "a").build().ok(),
        2 => return builder.build().ok(),
        3 => deep(draw),
        _ => any_json(draw, 0),
    };
    builder.data(Form::Json, data).build().ok()
}
