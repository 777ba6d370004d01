//! From words to an expression. Ranks, the tightest first: calls; `NOT` and `-` before a value; `LIKE`;
//! `EXISTS`; `IN`; `* / %`; `+ -`; comparisons; `AND OR XOR`.

use super::{
    Arithmetic, Compare, ErrorKind, Invalid, Like, Logic, Node, What,
    functions::Function,
    read::{Placed, Word, invalid, words},
};

/// Bytes of an expression.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Parts inside each other.
const DEPTH_MAX: usize = 100;

type Read<T> = Result<T, Invalid>;

/// The expression that the whole text is.
pub fn parse(text: &str, strict: bool) -> Read<Node> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid(text, TEXT_BYTES_MAX, format!("an expression is at most {TEXT_BYTES_MAX} bytes long")));
    }
    let mut parser = Parser { text, words: words(text)?, at: 0, depth: 0, strict };
    let root = parser.expression(0)?;
    match parser.peek() {
        Word::End => Ok(root),
        _ => Err(parser.unexpected("the expression ends here, or goes on with an operator")),
    }
}

struct Parser<'t> {
    text: &'t str,
    words: Vec<Placed>,
    at: usize,
    depth: usize,
    strict: bool,
}

enum Operator {
    Logic(Logic),
    Compare(Compare),
    Arithmetic(Arithmetic),
    In,
    Like,
}

impl Parser<'_> {
    fn peek(&self) -> &Word {
        self.words.get(self.at).map_or(&Word::End, |(word, _)| word)
    }

    fn start(&self) -> usize {
        self.words.get(self.at).map_or(self.text.len(), |(_, span)| span.start)
    }

    /// Where the last word that was read ends.
    fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.words.get(at)).map_or(0, |(_, span)| span.end)
    }

    fn is_keyword(&self, ahead: usize, keyword: &str) -> bool {
        matches!(self.words.get(self.at + ahead), Some((Word::Name(name, path), _)) if path.is_empty() && name.eq_ignore_ascii_case(keyword))
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Word::Sign(s) if *s == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = self.is_sign(sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Read<()> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}` is missing"))) }
    }

    fn unexpected(&self, expected: &str) -> Invalid {
        let found = match self.words.get(self.at) {
            None | Some((Word::End, _)) => "the end".into(),
            Some((_, span)) => format!("`{}`", self.text.get(span.clone()).unwrap_or_default()),
        };
        invalid(self.text, self.start(), format!("found {found}, but {expected}"))
    }

    fn node(&self, what: What, start: usize) -> Read<Node> {
        let mut node = Node { what, span: start..self.end(), depth: 1 };
        node.depth += node.children().iter().map(|child| child.depth).max().unwrap_or(0);
        if node.depth > DEPTH_MAX { Err(self.too_deep(start)) } else { Ok(node) }
    }

    fn too_deep(&self, at: usize) -> Invalid {
        invalid(self.text, at, format!("more than {DEPTH_MAX} parts inside each other"))
    }

    /// Reads operators of at least that rank.
    fn expression(&mut self, rank: u8) -> Read<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_deep(self.start()));
        }
        let start = self.start();
        let mut left = self.unary()?;
        while let Some((operator, own)) = self.operator().filter(|(_, own)| *own >= rank) {
            left = self.operation(left, operator, own, start)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operator(&self) -> Option<(Operator, u8)> {
        use {Arithmetic as A, Compare as C};
        if let Word::Sign(sign) = self.peek() {
            return Some(match *sign {
                "=" => (Operator::Compare(C::Equal), 2),
                "!=" | "<>" => (Operator::Compare(C::NotEqual), 2),
                "<" => (Operator::Compare(C::Less), 2),
                "<=" => (Operator::Compare(C::LessOrEqual), 2),
                ">" => (Operator::Compare(C::Greater), 2),
                ">=" => (Operator::Compare(C::GreaterOrEqual), 2),
                "+" => (Operator::Arithmetic(A::Add), 3),
                "-" => (Operator::Arithmetic(A::Subtract), 3),
                "*" => (Operator::Arithmetic(A::Multiply), 4),
                "/" => (Operator::Arithmetic(A::Divide), 4),
                "%" => (Operator::Arithmetic(A::Remainder), 4),
                _ => return None,
            });
        }
        let logic = [("AND", Logic::And), ("OR", Logic::Or), ("XOR", Logic::Xor)];
        if let Some((_, logic)) = logic.into_iter().find(|(keyword, _)| self.is_keyword(0, keyword)) {
            return Some((Operator::Logic(logic), 1));
        }
        let not = usize::from(self.is_keyword(0, "NOT"));
        if self.is_keyword(not, "IN") {
            return Some((Operator::In, 5));
        }
        self.is_keyword(not, "LIKE").then_some((Operator::Like, 6))
    }

    fn operation(&mut self, left: Node, operator: Operator, rank: u8, start: usize) -> Read<Node> {
        let not = matches!(operator, Operator::In | Operator::Like) && self.is_keyword(0, "NOT");
        self.at += 1 + usize::from(not);
        let what = match operator {
            Operator::In => What::In { value: Box::new(left), set: self.list("IN")?, not },
            Operator::Like => What::Like { value: Box::new(left), like: self.pattern()?, not },
            Operator::Compare(compare) => What::Compare(compare, Box::new(left), Box::new(self.expression(rank + 1)?)),
            Operator::Arithmetic(a) => What::Arithmetic(a, Box::new(left), Box::new(self.expression(rank + 1)?)),
            Operator::Logic(logic) => {
                let right = self.expression(rank + 1)?;
                // A chain of one operator is one part, however long it is: all three are associative.
                match left {
                    Node { what: What::Logic(same, mut parts), .. } if same == logic => {
                        parts.push(right);
                        What::Logic(logic, parts)
                    }
                    left => What::Logic(logic, vec![left, right]),
                }
            }
        };
        self.node(what, start)
    }

    fn pattern(&mut self) -> Read<Like> {
        let Word::Text(pattern) = self.peek().clone() else {
            return Err(self.unexpected("`LIKE` takes a string"));
        };
        let like = Like::parse(&pattern).map_err(|message| invalid(self.text, self.start(), message))?;
        self.at += 1;
        Ok(like)
    }

    /// `(a, b, …)`, at least one.
    fn list(&mut self, what: &str) -> Read<Vec<Node>> {
        if !self.takes("(") {
            return Err(self.unexpected(&format!("`{what}` takes a list, e.g. ('a', 'b')")));
        }
        let mut list = vec![self.expression(0)?];
        while self.takes(",") {
            list.push(self.expression(0)?);
        }
        self.expect(")")?;
        Ok(list)
    }

    /// `NOT` and `-` before a value, and the value.
    fn unary(&mut self) -> Read<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_deep(self.start()));
        }
        let start = self.start();
        let node = if self.is_keyword(0, "NOT") {
            self.at += 1;
            let of = Box::new(self.unary()?);
            self.node(What::Not(of), start)
        } else if self.takes("-") {
            if let Word::Number(digits) = self.peek().clone() {
                self.integer(&format!("-{digits}"), start)
            } else {
                let of = Box::new(self.unary()?);
                self.node(What::Minus(of), start)
            }
        } else if self.takes("+") {
            match self.peek().clone() {
                Word::Number(digits) => self.integer(&digits, start),
                _ => Err(self.unexpected("`+` stands before digits only")),
            }
        } else if self.is_keyword(0, "EXISTS") {
            self.at += 1;
            self.exists(start)
        } else {
            self.atom(start)
        };
        self.depth -= 1;
        node
    }

    fn integer(&mut self, text: &str, start: usize) -> Read<Node> {
        let integer: i32 = text.parse().map_err(|_| {
            invalid(self.text, start, format!("`{text}` is no 32-bit integer (-2147483648 to 2147483647)"))
        })?;
        self.at += 1;
        self.node(What::Integer(integer), start)
    }

    fn exists(&mut self, start: usize) -> Read<Node> {
        let Word::Name(name, path) = self.peek().clone() else {
            return Err(self.unexpected("`EXISTS` takes an attribute's name"));
        };
        let what = match self.place(name, path)? {
            What::Attribute(name) => What::ExistsAttribute(name),
            What::Data(path) => What::ExistsData(path),
            other => other,
        };
        self.at += 1;
        self.node(what, start)
    }

    /// An attribute, or a place in the data.
    fn place(&self, name: String, path: Vec<Box<str>>) -> Read<What> {
        let fail = |message: String| Err(invalid(self.text, self.start(), message));
        if !path.is_empty() {
            return match (name.as_str(), self.strict) {
                ("data", false) => Ok(What::Data(path)),
                ("data", true) => fail("`data.` paths are an extension of CESQL, and strict mode has none".into()),
                _ => fail(format!("`{name}` has no fields; only `data` has")),
            };
        }
        if name.contains('_') {
            return fail(format!(
                "`{name}` is no attribute: names are letters and digits; a function is called with ( )"
            ));
        }
        Ok(What::Attribute(name.to_ascii_lowercase().into()))
    }

    fn atom(&mut self, start: usize) -> Read<Node> {
        match self.peek().clone() {
            Word::Sign("(") => {
                self.at += 1;
                let inner = self.expression(0)?;
                self.expect(")")?;
                Ok(Node { span: start..self.end(), ..inner })
            }
            Word::Number(digits) => self.integer(&digits, start),
            Word::Text(text) => {
                self.at += 1;
                self.node(What::Text(text.into()), start)
            }
            Word::Name(name, path) => {
                let called = matches!(self.words.get(self.at + 1), Some((Word::Sign("("), _)));
                let what = if ["AND", "OR", "XOR", "IN", "LIKE"].iter().any(|k| self.is_keyword(0, k)) {
                    return Err(self.unexpected("a value stands here"));
                } else if self.is_keyword(0, "TRUE") || self.is_keyword(0, "FALSE") {
                    What::Boolean(name.eq_ignore_ascii_case("true"))
                } else if called && path.is_empty() {
                    return self.call(&name, start);
                } else {
                    self.place(name, path)?
                };
                self.at += 1;
                self.node(what, start)
            }
            Word::End | Word::Sign(_) => Err(self.unexpected("a value stands here")),
        }
    }

    fn call(&mut self, name: &str, start: usize) -> Read<Node> {
        self.at += 2;
        let mut arguments = Vec::new();
        if !self.takes(")") {
            arguments.push(self.expression(0)?);
            while self.takes(",") {
                arguments.push(self.expression(0)?);
            }
            self.expect(")")?;
        }
        let function = Function::find(name, arguments.len())
            .map_err(|message| Invalid { kind: ErrorKind::MissingFunction, ..invalid(self.text, start, message) })?;
        self.node(What::Call(function, arguments), start)
    }
}
