//! Evaluating expressions.

use std::borrow::Cow;

use schemas::doc::Kind;

use super::{
    super::{
        value::{Found, Place},
        view::View,
    },
    Arithmetic, Compare, ErrorKind, Function, Logic, Node, What,
    functions::{left, right, substring},
};

/// Bytes of all strings that one evaluation makes. More is a function evaluation error: an expression of a
/// few lines can ask for gigabytes.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// What an expression evaluated to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// A Boolean.
    Boolean(bool),
    /// An Integer.
    Integer(i32),
    /// A String.
    String(String),
}

/// A value and the errors on the way to it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Evaluated {
    /// The value.
    pub value: Outcome,
    /// The errors, in the order of evaluation.
    pub errors: Vec<ErrorKind>,
}

#[derive(Clone, Debug)]
enum Value<'v> {
    Text(Cow<'v, str>),
    Integer(i32),
    Boolean(bool),
    /// Of an attribute that is not there: the zero value of whatever type is asked for.
    Missing,
}

/// A value, and whether an error lies on the way to it.
struct Got<'v> {
    value: Value<'v>,
    failed: bool,
}

struct Evaluation<'v, 'e> {
    view: &'v View<'e>,
    errors: Vec<ErrorKind>,
    text_bytes: usize,
}

/// TRUE without any error.
pub fn is_true(node: &Node, view: &View<'_>) -> bool {
    let mut evaluation = Evaluation { view, errors: Vec::new(), text_bytes: 0 };
    let got = evaluation.node(node);
    matches!(got.value, Value::Boolean(true)) && evaluation.errors.is_empty()
}

/// Value and errors.
pub fn evaluate(node: &Node, view: &View<'_>) -> Evaluated {
    let mut evaluation = Evaluation { view, errors: Vec::new(), text_bytes: 0 };
    let value = match evaluation.node(node).value {
        Value::Text(text) => Outcome::String(text.into_owned()),
        Value::Integer(i) => Outcome::Integer(i),
        Value::Boolean(b) => Outcome::Boolean(b),
        Value::Missing => Outcome::Boolean(false),
    };
    Evaluated { value, errors: evaluation.errors }
}

fn fine(value: Value<'_>) -> Got<'_> {
    Got { value, failed: false }
}

fn failed(value: Value<'_>) -> Got<'_> {
    Got { value, failed: true }
}

impl<'v> Evaluation<'v, '_> {
    fn error(&mut self, kind: ErrorKind, value: Value<'v>) -> Got<'v> {
        self.errors.push(kind);
        failed(value)
    }

    fn node(&mut self, node: &'v Node) -> Got<'v> {
        match &node.what {
            What::Text(text) => fine(Value::Text(Cow::Borrowed(text))),
            What::Integer(i) => fine(Value::Integer(*i)),
            What::Boolean(b) => fine(Value::Boolean(*b)),
            What::Attribute(name) => {
                let value = self.view.attribute(name).and_then(|place| value(&place));
                self.present(value)
            }
            What::Data(path) => {
                let value = self.data(path).and_then(|place| value(&place));
                self.present(value)
            }
            What::ExistsAttribute(name) => {
                let exists = self.view.attribute(name).is_some_and(|place| value(&place).is_some());
                fine(Value::Boolean(exists))
            }
            What::ExistsData(path) => {
                let exists = self.data(path).is_some_and(|place| value(&place).is_some());
                fine(Value::Boolean(exists))
            }
            What::Not(of) => self.not(of),
            What::Minus(of) => match self.integer(of) {
                Ok(i) => match i.checked_neg() {
                    Some(negative) => fine(Value::Integer(negative)),
                    None => self.error(ErrorKind::Math, Value::Integer(i32::MAX)),
                },
                Err(()) => failed(Value::Integer(0)),
            },
            What::Arithmetic(operator, a, b) => self.arithmetic(*operator, a, b),
            What::Compare(compare, a, b) => self.compare(*compare, a, b),
            What::Logic(logic, parts) => self.logic(*logic, parts),
            What::Like { value, like, not } => match self.text(value) {
                Ok(text) => fine(Value::Boolean(like.matches(&text) != *not)),
                Err(()) => failed(Value::Boolean(false)),
            },
            What::In { value, set, not } => self.is_in(value, set, *not),
            What::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    fn present(&mut self, value: Option<Value<'v>>) -> Got<'v> {
        match value {
            Some(value) => fine(value),
            None => self.error(ErrorKind::MissingAttribute, Value::Missing),
        }
    }

    fn data(&self, path: &[Box<str>]) -> Option<Place<'v>> {
        let Some(Place::Item(mut item)) = self.view.data() else { return None };
        for name in path {
            item = match item.kind() {
                Kind::Array => item.elements().nth(name.parse().ok()?)?,
                _ => item.get(name)?,
            };
        }
        Some(Place::Item(item))
    }

    // -------------------------------------------------------------------------------- casts

    fn cast_to_text(&mut self, value: Value<'v>) -> Cow<'v, str> {
        match value {
            Value::Text(text) => text,
            Value::Integer(i) => Cow::Owned(i.to_string()),
            Value::Boolean(b) => Cow::Borrowed(if b { "true" } else { "false" }),
            Value::Missing => Cow::Borrowed(""),
        }
    }

    fn cast_to_integer(&mut self, value: &Value<'_>) -> Result<i32, ()> {
        let integer = match value {
            Value::Text(text) => text.parse().ok(),
            Value::Integer(i) => Some(*i),
            Value::Boolean(b) => Some(i32::from(*b)),
            Value::Missing => Some(0),
        };
        integer.ok_or_else(|| self.errors.push(ErrorKind::Cast))
    }

    fn cast_to_boolean(&mut self, value: &Value<'_>) -> Result<bool, ()> {
        let boolean = match value {
            Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Value::Text(_) => None,
            Value::Integer(i) => Some(*i != 0),
            Value::Boolean(b) => Some(*b),
            Value::Missing => Some(false),
        };
        boolean.ok_or_else(|| self.errors.push(ErrorKind::Cast))
    }

    fn text(&mut self, node: &'v Node) -> Result<Cow<'v, str>, ()> {
        let got = self.node(node);
        if got.failed { Err(()) } else { Ok(self.cast_to_text(got.value)) }
    }

    fn integer(&mut self, node: &'v Node) -> Result<i32, ()> {
        let got = self.node(node);
        if got.failed { Err(()) } else { self.cast_to_integer(&got.value) }
    }

    // ---------------------------------------------------------------------------- operators

    fn not(&mut self, of: &'v Node) -> Got<'v> {
        let got = self.node(of);
        if got.failed {
            return failed(Value::Boolean(false));
        }
        // The test kit has it so: an Integer here cannot be cast, and NOT is applied to what stands for it.
        if let Value::Integer(_) = got.value {
            return self.error(ErrorKind::Cast, Value::Boolean(true));
        }
        match self.cast_to_boolean(&got.value) {
            Ok(b) => fine(Value::Boolean(!b)),
            Err(()) => failed(Value::Boolean(true)),
        }
    }

    fn arithmetic(&mut self, operator: Arithmetic, a: &'v Node, b: &'v Node) -> Got<'v> {
        let (a, b) = (self.integer(a), self.integer(b));
        let (Ok(a), Ok(b)) = (a, b) else { return failed(Value::Integer(0)) };
        let result = match operator {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Subtract => a.checked_sub(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide => a.checked_div(b),
            Arithmetic::Remainder if b == -1 => Some(0),
            Arithmetic::Remainder => a.checked_rem(b),
        };
        match result {
            Some(result) => fine(Value::Integer(result)),
            None => self.error(ErrorKind::Math, Value::Integer(0)),
        }
    }

    /// Equality casts the left operand to the type of the right one; the order is one of Integers.
    fn compare(&mut self, compare: Compare, a: &'v Node, b: &'v Node) -> Got<'v> {
        if !matches!(compare, Compare::Equal | Compare::NotEqual) {
            let (a, b) = (self.integer(a), self.integer(b));
            let (Ok(a), Ok(b)) = (a, b) else { return failed(Value::Boolean(false)) };
            let holds = match compare {
                Compare::Less => a < b,
                Compare::LessOrEqual => a <= b,
                Compare::Greater => a > b,
                _ => a >= b,
            };
            return fine(Value::Boolean(holds));
        }
        let (a, b) = (self.node(a), self.node(b));
        if a.failed || b.failed {
            return failed(Value::Boolean(false));
        }
        match self.equals(a.value, &b.value) {
            Ok(equal) => fine(Value::Boolean(equal == (compare == Compare::Equal))),
            Err(()) => failed(Value::Boolean(false)),
        }
    }

    /// Whether `a`, cast to the type of `b`, is `b`.
    fn equals(&mut self, a: Value<'v>, b: &Value<'_>) -> Result<bool, ()> {
        Ok(match b {
            Value::Text(b) => self.cast_to_text(a) == *b,
            Value::Integer(b) => self.cast_to_integer(&a)? == *b,
            Value::Boolean(b) => self.cast_to_boolean(&a)? == *b,
            Value::Missing => false,
        })
    }

    /// From the left, and no further than needed. A part that fails ends it with FALSE.
    fn logic(&mut self, logic: Logic, parts: &'v [Node]) -> Got<'v> {
        let mut so_far = logic == Logic::And;
        for part in parts {
            let got = self.node(part);
            if got.failed {
                return failed(Value::Boolean(false));
            }
            let Ok(value) = self.cast_to_boolean(&got.value) else { return failed(Value::Boolean(false)) };
            so_far = match logic {
                Logic::And | Logic::Or => value,
                Logic::Xor => so_far != value,
            };
            if (logic == Logic::And && !value) || (logic == Logic::Or && value) {
                break;
            }
        }
        fine(Value::Boolean(so_far))
    }

    /// Elements are cast to the type of the value, from the left, until one is equal.
    fn is_in(&mut self, value: &'v Node, set: &'v [Node], not: bool) -> Got<'v> {
        let value = self.node(value);
        if value.failed {
            return failed(Value::Boolean(false));
        }
        for element in set {
            let element = self.node(element);
            if element.failed {
                return failed(Value::Boolean(false));
            }
            match self.equals(element.value, &value.value) {
                Ok(true) => return fine(Value::Boolean(!not)),
                Ok(false) => {}
                Err(()) => return failed(Value::Boolean(false)),
            }
        }
        fine(Value::Boolean(not))
    }

    // ---------------------------------------------------------------------------- functions

    fn call(&mut self, function: Function, arguments: &'v [Node]) -> Got<'v> {
        let [first, rest @ ..] = arguments else { return fine(Value::Text(Cow::Borrowed(""))) };
        match function {
            Function::Concat => self.concat("", arguments),
            Function::ConcatWs => match self.text(first) {
                Ok(delimiter) => self.concat(&delimiter, rest),
                Err(()) => failed(Value::Text(Cow::Borrowed(""))),
            },
            Function::Length => match self.text(first) {
                Ok(text) => fine(Value::Integer(i32::try_from(text.chars().count()).unwrap_or(i32::MAX))),
                Err(()) => failed(Value::Integer(0)),
            },
            Function::Lower | Function::Upper | Function::Trim => self.changed(function, first),
            Function::Left | Function::Right | Function::Substring => self.part(function, first, rest),
            Function::Abs => match self.integer(first) {
                Ok(i32::MIN) => self.error(ErrorKind::Math, Value::Integer(i32::MAX)),
                Ok(i) => fine(Value::Integer(i.abs())),
                Err(()) => failed(Value::Integer(0)),
            },
            Function::Int => match self.integer(first) {
                Ok(i) => fine(Value::Integer(i)),
                Err(()) => failed(Value::Integer(0)),
            },
            Function::Text => match self.text(first) {
                Ok(text) => fine(Value::Text(text)),
                Err(()) => failed(Value::Text(Cow::Borrowed(""))),
            },
            Function::Bool | Function::IsInt | Function::IsBool => self.typed(function, first),
        }
    }

    fn typed(&mut self, function: Function, of: &'v Node) -> Got<'v> {
        let got = self.node(of);
        if got.failed {
            return failed(Value::Boolean(false));
        }
        let errors = self.errors.len();
        let result = match function {
            Function::IsInt => self.cast_to_integer(&got.value).map(|_| true),
            Function::IsBool => self.cast_to_boolean(&got.value).map(|_| true),
            _ => self.cast_to_boolean(&got.value),
        };
        match (function, result) {
            (_, Ok(b)) => fine(Value::Boolean(b)),
            (Function::Bool, Err(())) => failed(Value::Boolean(false)),
            // That it cannot be cast is the answer, not an error.
            (_, Err(())) => {
                self.errors.truncate(errors);
                fine(Value::Boolean(false))
            }
        }
    }

    /// A string that is made anew, within the budget.
    fn made(&mut self, text: String) -> Got<'v> {
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if self.text_bytes > TEXT_BYTES_MAX {
            return self.error(ErrorKind::FunctionEvaluation, Value::Text(Cow::Borrowed("")));
        }
        fine(Value::Text(Cow::Owned(text)))
    }

    fn concat(&mut self, delimiter: &str, parts: &'v [Node]) -> Got<'v> {
        let mut all = String::new();
        let mut fails = false;
        for (i, part) in parts.iter().enumerate() {
            match self.text(part) {
                Ok(text) if all.len() + text.len() + delimiter.len() <= TEXT_BYTES_MAX => {
                    all.push_str(if i > 0 { delimiter } else { "" });
                    all.push_str(&text);
                }
                Ok(_) => return self.error(ErrorKind::FunctionEvaluation, Value::Text(Cow::Borrowed(""))),
                Err(()) => fails = true,
            }
        }
        if fails { failed(Value::Text(Cow::Borrowed(""))) } else { self.made(all) }
    }

    fn changed(&mut self, function: Function, of: &'v Node) -> Got<'v> {
        match (self.text(of), function) {
            (Err(()), _) => failed(Value::Text(Cow::Borrowed(""))),
            (Ok(text), Function::Lower) => self.made(text.to_lowercase()),
            (Ok(text), Function::Upper) => self.made(text.to_uppercase()),
            (Ok(text), _) => self.made(text.trim().into()),
        }
    }

    fn part(&mut self, function: Function, text: &'v Node, numbers: &'v [Node]) -> Got<'v> {
        let text = self.text(text);
        let numbers: Vec<Result<i32, ()>> = numbers.iter().map(|n| self.integer(n)).collect();
        let (Ok(text), Ok(numbers)) = (text, numbers.into_iter().collect::<Result<Vec<i32>, ()>>()) else {
            return failed(Value::Text(Cow::Borrowed("")));
        };
        let [number, length @ ..] = numbers.as_slice() else { return failed(Value::Text(Cow::Borrowed(""))) };
        let part = match (function, usize::try_from(*number)) {
            (Function::Substring, _) => substring(&text, *number, length.first().copied()),
            (Function::Left, Ok(count)) => Some(left(&text, count)),
            (_, Ok(count)) => Some(right(&text, count)),
            // A negative count: the whole string, and an error.
            (_, Err(_)) => return self.error(ErrorKind::FunctionEvaluation, Value::Text(text)),
        };
        match part.map(str::to_owned) {
            Some(part) => self.made(part),
            None => self.error(ErrorKind::FunctionEvaluation, Value::Text(Cow::Borrowed(""))),
        }
    }
}

/// The event's value in CESQL's types; null is nothing.
fn value<'v>(place: &Place<'v>) -> Option<Value<'v>> {
    let found = match place {
        Place::Scalar(found) => found.clone(),
        Place::Item(item) => match Found::scalar(*item) {
            Some(found) => found,
            None => return Some(Value::Text(Cow::Borrowed(item.raw()))),
        },
    };
    Some(match found {
        Found::Null => return None,
        Found::Bool(b) => Value::Boolean(b),
        Found::Number(n) => match n.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Text(n),
        },
        Found::String(s) => Value::Text(s),
    })
}
