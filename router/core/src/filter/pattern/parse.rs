//! Reading patterns. Refusals carry the place and AWS's reason, as event-ruler's compiler words it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    super::{Error, value::Number, view::Names},
    Combination, Field, Pattern,
    test::{Cidr, Compare, Test, Tests, Text, Wildcard, equal},
};

/// Ways through all `$or`s together, as AWS limits them.
pub const COMBINATIONS_MAX: usize = 1_000;
/// Names of a path.
pub const LEVELS_MAX: usize = 100;
/// Stars of one wildcard.
const STARS_MAX: usize = 100;

const MATCH_TYPES: &str = "prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, cidr, exists";

/// Names that make an object in `$or` a match and `$or` an ordinary field. [ER: README, "And and Or Relationship"]
const RESERVED: [&str; 9] =
    ["exactly", "prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists"];

type Fields = BTreeMap<String, Arc<Tests>>;
type Read<T> = Result<T, Error>;

fn error<T>(path: &str, message: impl Into<String>) -> Read<T> {
    Err(Error { path: path.into(), message: message.into() })
}

impl Pattern {
    /// Reads a pattern; `path` is what errors call it. With `any_name` the top has no attributes' names:
    /// the pattern is for documents of any kind.
    pub fn parse(path: &str, value: &Value, names: Names, any_name: bool) -> Read<Self> {
        let Value::Object(fields) = value else {
            return error(path, "Filter is not an object; a pattern is one, e.g. { type: [\"coffee.order.created\"] }");
        };
        if fields.is_empty() {
            return error(path, "Empty objects are not allowed; leave the filter out to match every event");
        }
        let mut ways = vec![Fields::new()];
        object(&mut ways, &At { path: path.into(), field: String::new(), levels: 0 }, fields)?;
        if names == Names::CloudEvents && !any_name {
            check_names(path, &ways)?;
        }
        let combination = |fields: Fields| {
            let field =
                |(path, tests): (String, Arc<Tests>)| Field { path: path.into(), absence: tests.absence(), tests };
            Combination::new(fields.into_iter().map(field).collect())
        };
        Ok(Pattern { names, combinations: ways.into_iter().map(combination).collect() })
    }

    /// About how many comparisons an event costs.
    pub fn cost(&self) -> usize {
        self.combinations.iter().flat_map(|c| &c.fields).map(|f| f.tests.cost()).sum()
    }
}

/// Attributes are values, and have names of their own.
fn check_names(path: &str, ways: &[Fields]) -> Read<()> {
    for field in ways.iter().flat_map(Fields::keys) {
        let (name, below) = field.split_once('.').map_or((field.as_str(), false), |(name, _)| (name, true));
        let path = format!("{path}.{name}");
        if name == "data" {
            continue;
        }
        if name == "data_base64" || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            let hint = match name {
                "detail" | "detail-type" | "replay-name" => {
                    "; for an EventBridge rule write `eventbridge:` instead of `pattern:`"
                }
                _ => "; fields of the payload stand below `data`",
            };
            return error(&path, format!("there is no such attribute: names are lower-case letters and digits{hint}"));
        }
        if below {
            return error(&path, "an attribute has no fields: write a list of values");
        }
    }
    Ok(())
}

struct At {
    /// For errors.
    path: String,
    /// Names joined by dots.
    field: String,
    levels: usize,
}

impl At {
    fn below(&self, name: &str) -> Read<At> {
        let path = format!("{}.{name}", self.path);
        let levels = self.levels + 1 + name.matches('.').count();
        if levels > LEVELS_MAX {
            return error(&path, format!("more than {LEVELS_MAX} names below each other"));
        }
        let field = if self.field.is_empty() { name.into() } else { format!("{}.{name}", self.field) };
        Ok(At { path, field, levels })
    }
}

fn object(ways: &mut Vec<Fields>, at: &At, fields: &Map<String, Value>) -> Read<()> {
    if fields.is_empty() {
        return error(&at.path, "Empty objects are not allowed");
    }
    for (name, value) in fields {
        match value {
            Value::Array(list) if name == "$or" && is_or(list) => or(ways, at, list)?,
            Value::Object(fields) => object(ways, &at.below(name)?, fields)?,
            Value::Array(alternatives) => {
                let at = at.below(name)?;
                let tests = Arc::new(tests(&at.path, alternatives)?);
                // The last one holds, as for a key that is written twice.
                ways.iter_mut().for_each(|way| {
                    way.insert(at.field.clone(), tests.clone());
                });
            }
            _ => {
                let path = format!("{}.{name}", at.path);
                return error(&path, format!("\"{name}\" must be an object or an array; put the value into [ ]"));
            }
        }
    }
    Ok(())
}

fn is_or(list: &[Value]) -> bool {
    let is_pattern = |v: &Value| v.as_object().is_some_and(|o| !o.keys().any(|k| RESERVED.contains(&k.as_str())));
    list.len() >= 2 && list.iter().all(is_pattern)
}

fn or(ways: &mut Vec<Fields>, at: &At, list: &[Value]) -> Read<()> {
    let before = std::mem::take(ways);
    for (i, one) in list.iter().enumerate() {
        let path = format!("{}.$or[{i}]", at.path);
        let mut branch = before.clone();
        let at = At { path, field: at.field.clone(), levels: at.levels };
        if let Value::Object(fields) = one {
            object(&mut branch, &at, fields)?;
        }
        ways.append(&mut branch);
        if ways.len() > COMBINATIONS_MAX {
            return error(
                &at.path,
                format!(
                    "the `$or`s multiply to more than {COMBINATIONS_MAX} combinations; split the rule into several routes"
                ),
            );
        }
    }
    Ok(())
}

fn tests(path: &str, alternatives: &[Value]) -> Read<Tests> {
    if alternatives.is_empty() {
        return error(path, "Empty arrays are not allowed");
    }
    let mut tests = Tests::default();
    for (i, value) in alternatives.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match value {
            Value::Null => tests.others.push(Test::Null),
            Value::Bool(b) => tests.others.push(Test::Bool(*b)),
            Value::Number(n) => tests.others.push(Test::Number(number(&path, n)?)),
            Value::String(s) => match equal(s) {
                Ok(text) => tests.strings.push(text),
                Err(address) => tests.others.push(address),
            },
            Value::Object(o) => tests.others.push(match_type(&path, o)?),
            Value::Array(_) => {
                return error(
                    &path,
                    "Match value must be String, number, true, false, or null; an array stands for itself",
                );
            }
        }
    }
    tests.strings.sort_unstable();
    tests.strings.dedup();
    Ok(tests)
}

fn number(path: &str, n: &serde_json::Number) -> Read<Number> {
    Number::parse(&n.to_string()).map_or_else(|| error(path, format!("`{n}` is no number")), Ok)
}

fn match_type(path: &str, object: &Map<String, Value>) -> Read<Test> {
    let mut members = object.iter();
    let Some((kind, argument)) = members.next() else {
        return error(path, format!("Match expression name not found; the match types are {MATCH_TYPES}"));
    };
    if !RESERVED.contains(&kind.as_str()) {
        let path = format!("{path}.{kind}");
        return error(&path, format!("Unrecognized match type {kind}; the match types are {MATCH_TYPES}"));
    }
    if members.next().is_some() {
        return error(path, "Only one key allowed in match expression; write one object for each alternative");
    }
    let path = format!("{path}.{kind}");
    let string = |what: &str| match argument {
        Value::String(s) => Ok(s.as_str()),
        _ => error(&path, format!("{what} match pattern must be a string")),
    };
    match kind.as_str() {
        "exactly" => Ok(Test::Text(Text::Exactly(string("exact")?.into()))),
        "prefix" | "suffix" => affix(&path, kind, argument).map(Test::Text),
        "equals-ignore-case" => Ok(Test::Text(Text::IgnoreCase(string(kind)?.into()))),
        "wildcard" => wildcard(&path, string(kind)?).map(|w| Test::Text(Text::Wildcard(w))),
        "anything-but" => anything_but(&path, argument),
        "numeric" => numeric(&path, argument),
        // AWS says "prefix" here, too.
        "cidr" => match Cidr::parse(string("prefix")?) {
            Ok(block) => Ok(Test::Cidr(block)),
            Err(reason) => error(&path, reason),
        },
        _ => match argument {
            Value::Bool(exists) => Ok(Test::Exists(*exists)),
            _ => error(&path, "exists match pattern must be either true or false."),
        },
    }
}

/// A string, or a string that is compared without case.
fn affix(path: &str, kind: &str, argument: &Value) -> Read<Text> {
    let folded = argument.as_object().filter(|o| o.len() == 1).and_then(|o| o.get("equals-ignore-case"));
    match (kind, argument, folded) {
        ("prefix", Value::String(s), _) => Ok(Text::Prefix(s.as_str().into())),
        (_, Value::String(s), _) => Ok(Text::Suffix(s.as_str().into())),
        ("prefix", _, Some(Value::String(s))) => Ok(Text::PrefixIgnoreCase(s.as_str().into())),
        (_, _, Some(Value::String(s))) => Ok(Text::SuffixIgnoreCase(s.as_str().into())),
        _ => error(path, format!("{kind} match pattern must be a string")),
    }
}

fn wildcard(path: &str, text: &str) -> Read<Wildcard> {
    let wildcard = Wildcard::parse(text).or_else(|reason| error(path, reason))?;
    if wildcard.stars() > STARS_MAX {
        let stars = wildcard.stars();
        return error(
            path,
            format!(
                "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences \
                 after a wildcard character; it has {stars}, and each is a search through the value: at most {STARS_MAX}"
            ),
        );
    }
    Ok(wildcard)
}

/// A value, a list of strings or of numbers, or one of the matches on strings with a string or a list.
fn anything_but(path: &str, argument: &Value) -> Read<Test> {
    let list = match argument {
        Value::Object(inner) => return anything_but_match(path, inner),
        Value::Array(list) => list.as_slice(),
        Value::String(_) | Value::Number(_) => std::slice::from_ref(argument),
        _ => return error(path, "Value of anything-but must be an array or single string/number value."),
    };
    if let Some(i) = list.iter().position(|v| !v.is_string() && !v.is_number()) {
        return error(&format!("{path}[{i}]"), "Inside anything but list, start|null|boolean is not supported.");
    }
    if list.is_empty() || (list.iter().any(Value::is_string) && list.iter().any(Value::is_number)) {
        let reason = "Inside anything but list, either all values are number or string, mixed type is not supported";
        return error(path, reason);
    }
    let numbers = list.iter().filter_map(|v| if let Value::Number(n) = v { Some(number(path, n)) } else { None });
    let numbers = numbers.collect::<Read<Vec<Number>>>()?;
    if !numbers.is_empty() {
        return Ok(Test::AnythingButNumber(numbers));
    }
    let mut strings: Vec<Box<str>> = list.iter().filter_map(Value::as_str).map(Into::into).collect();
    strings.sort_unstable();
    strings.dedup();
    Ok(Test::AnythingBut(strings))
}

fn anything_but_match(path: &str, inner: &Map<String, Value>) -> Read<Test> {
    let mut members = inner.iter();
    let (Some((kind, argument)), None) = (members.next(), members.next()) else {
        return error(path, "Only one key allowed in match expression");
    };
    let path = format!("{path}.{kind}");
    let list = if let Value::Array(list) = argument { list.as_slice() } else { std::slice::from_ref(argument) };
    if !["prefix", "suffix", "equals-ignore-case", "wildcard"].contains(&kind.as_str()) {
        let hint = "; it takes prefix, suffix, equals-ignore-case and wildcard";
        return error(&path, format!("Unsupported anything-but pattern: {kind}{hint}"));
    }
    let one = |value: &Value| {
        let Value::String(s) = value else {
            let reason = match kind.as_str() {
                "prefix" | "suffix" => format!("{kind} match pattern must be a string"),
                _ => format!("Inside anything-but/{kind} list, number|start|null|boolean is not supported."),
            };
            return error(&path, reason);
        };
        let text: Box<str> = s.as_str().into();
        match kind.as_str() {
            "prefix" | "suffix" if s.is_empty() => error(&path, "Null prefix/suffix not allowed"),
            "prefix" => Ok(Text::Prefix(text)),
            "suffix" => Ok(Text::Suffix(text)),
            "wildcard" => wildcard(&path, s).map(Text::Wildcard),
            _ => Ok(Text::IgnoreCase(text)),
        }
    };
    if list.is_empty() {
        return error(&path, "Empty arrays are not allowed");
    }
    list.iter().map(one).collect::<Read<_>>().map(Test::AnythingButText)
}

/// `["=", 5]`, or one or two bounds, the lower first.
fn numeric(path: &str, argument: &Value) -> Read<Test> {
    let Value::Array(parts) = argument else { return error(path, "Value of numeric must be an array.") };
    let place = |i: usize| format!("{path}[{i}]");
    let mut bounds: Vec<(Compare, Number)> = Vec::new();
    for (i, pair) in parts.chunks(2).enumerate() {
        let (operator, bound) = (pair.first(), pair.get(1));
        let Some(Value::String(sign)) = operator else {
            return error(
                &place(i * 2),
                "Invalid member in numeric match: an operator stands here, one of = < <= > >=",
            );
        };
        let compare = match (sign.as_str(), bounds.as_slice()) {
            (_, [_, _, ..]) => return error(&place(i * 2), "Too many terms in numeric range expression"),
            (_, [(Compare::Equal | Compare::Less | Compare::LessOrEqual, _)]) => {
                let hint = "; a range is written lower bound first, e.g. [\">\", 0, \"<=\", 5]";
                return error(&place(i * 2), format!("Too many elements in numeric expression{hint}"));
            }
            ("<", _) => Compare::Less,
            ("<=", _) => Compare::LessOrEqual,
            (sign, [_]) => return error(&place(i * 2), format!("Bad numeric range operator: {sign}")),
            ("=", []) => Compare::Equal,
            (">", []) => Compare::Greater,
            (">=", []) => Compare::GreaterOrEqual,
            (sign, []) => {
                let reason = format!("Unrecognized numeric range operator: {sign}; the operators are = < <= > >=");
                return error(&place(i * 2), reason);
            }
        };
        let Some(Value::Number(bound)) = bound else {
            let name = if compare == Compare::Equal { "equals" } else { compare.sign() };
            return error(&place(i * 2 + 1), format!("Value of {name} must be numeric"));
        };
        bounds.push((compare, number(&place(i * 2 + 1), bound)?));
    }
    match bounds.as_slice() {
        [] => error(path, "Invalid member in numeric match: nothing; write e.g. [\">\", 0]"),
        [(_, low), (_, high)] if !low.is_below(high) => error(path, "Bottom must be less than top"),
        _ => Ok(Test::Numeric(bounds)),
    }
}
