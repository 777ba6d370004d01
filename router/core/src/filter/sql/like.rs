//! Patterns of `LIKE`: `%` is any run of characters, `_` one, `\` before either the character itself.

/// A pattern: stretches between the `%`, in order; one stretch: no `%`.
#[derive(Debug)]
pub struct Like(Vec<Part>);

#[derive(Debug)]
enum Part {
    Literal(Box<str>),
    /// `None`: any character.
    Mixed(Vec<Option<char>>),
}

/// Characters of a stretch with `_` that has to be searched for: the search may look at each of them once
/// for each character of the value.
const SEARCHED_MAX: usize = 64;

impl Like {
    /// # Errors
    /// The pattern costs too much; the message says how much.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts: Vec<Vec<Option<char>>> = vec![Vec::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let next = match (c, chars.peek()) {
                ('\\', Some(escaped @ ('%' | '_'))) => Some(*escaped),
                _ => None,
            };
            let one = match (c, next) {
                (_, Some(escaped)) => {
                    chars.next();
                    Some(escaped)
                }
                ('%', None) => {
                    parts.push(Vec::new());
                    continue;
                }
                ('_', None) => None,
                (c, None) => Some(c),
            };
            parts.last_mut().into_iter().for_each(|part| part.push(one));
        }
        let part = |chars: Vec<Option<char>>| match chars.iter().copied().collect::<Option<String>>() {
            Some(literal) => Part::Literal(literal.into()),
            None => Part::Mixed(chars),
        };
        let like = Like(parts.into_iter().map(part).collect());
        let longest = like.searched().map(Part::cost).max().unwrap_or(0);
        if longest > SEARCHED_MAX {
            return Err(format!(
                "the pattern may cost {longest} comparisons for each character of the value, at most {SEARCHED_MAX} are \
                 allowed; put fewer characters beside a `_` between two `%`"
            ));
        }
        Ok(like)
    }

    /// Stretches that stand neither at the beginning nor at the end.
    fn searched(&self) -> impl Iterator<Item = &Part> {
        self.0.iter().skip(1).take(self.0.len().saturating_sub(2))
    }

    /// About how many comparisons a value costs.
    pub fn cost(&self) -> usize {
        1 + self.searched().map(Part::cost).sum::<usize>()
    }

    /// The text that is meant, when there is neither `%` nor `_`.
    pub fn literal(&self) -> Option<Box<str>> {
        match self.0.as_slice() {
            [Part::Literal(text)] => Some(text.clone()),
            _ => None,
        }
    }

    /// What every value that matches begins with.
    pub fn prefix(&self) -> Box<str> {
        match self.0.first() {
            Some(Part::Literal(text)) => text.clone(),
            Some(Part::Mixed(chars)) => chars.iter().map_while(|c| *c).collect::<String>().into(),
            None => "".into(),
        }
    }

    /// What every value that matches ends with.
    pub fn suffix(&self) -> Box<str> {
        match self.0.as_slice() {
            [_, .., Part::Literal(text)] => text.clone(),
            _ => "".into(),
        }
    }

    /// The longest text that stands somewhere in every value that matches.
    pub fn inside(&self) -> Option<Box<str>> {
        let literal = |part: &Part| if let Part::Literal(text) = part { Some(text.clone()) } else { None };
        self.searched().filter_map(literal).max_by_key(|text| text.len())
    }

    pub fn matches(&self, text: &str) -> bool {
        let [first, rest @ ..] = self.0.as_slice() else { return false };
        let Some(text) = first.strip(text) else { return false };
        let [middle @ .., last] = rest else { return text.is_empty() };
        let Some(text) = last.strip_back(text) else { return false };
        middle.iter().try_fold(text, |text, part| part.find(text)).is_some()
    }
}

fn is(c: char, wanted: &Option<char>) -> bool {
    wanted.is_none_or(|w| w == c)
}

impl Part {
    fn cost(&self) -> usize {
        match self {
            Part::Literal(_) => 1,
            Part::Mixed(chars) => chars.len(),
        }
    }

    /// What follows it at the beginning.
    fn strip<'t>(&self, text: &'t str) -> Option<&'t str> {
        let wanted = match self {
            Part::Literal(literal) => return text.strip_prefix(&**literal),
            Part::Mixed(wanted) => wanted,
        };
        let mut chars = text.chars();
        wanted.iter().all(|w| chars.next().is_some_and(|c| is(c, w))).then_some(chars.as_str())
    }

    /// What precedes it at the end.
    fn strip_back<'t>(&self, text: &'t str) -> Option<&'t str> {
        let wanted = match self {
            Part::Literal(literal) => return text.strip_suffix(&**literal),
            Part::Mixed(wanted) => wanted,
        };
        let mut chars = text.chars();
        wanted.iter().rev().all(|w| chars.next_back().is_some_and(|c| is(c, w))).then_some(chars.as_str())
    }

    /// What follows it at its first place.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        if let Part::Literal(literal) = self {
            return text.get(text.find(&**literal)? + literal.len()..);
        }
        let starts = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
        starts.filter_map(|at| text.get(at..)).find_map(|from| self.strip(from))
    }
}
