//! Takes secrets and personal data out of a text before a model sees it, by rule. What is found becomes the
//! rule's name in brackets. A rule finds what has a form; a name or a street it does not know.

use regex::Regex;

/// The rules that there are, in the order in which they work.
const RULES: [(&str, &str); 5] = [
    (
        "key",
        r#"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----|\b(?:sk|pk|rk|ghp|gho|ghs|github_pat|glpat|xox[abprs]|whsec|AKIA|ASIA|AIza|eyJ)[-_A-Za-z0-9.+/=]{12,}|(?i:(?:password|passwd|secret|token|api[_-]?key)["']?\s*[:=]\s*["']?)[^\s,;"']+|(?i:\bbearer\s+)[-_A-Za-z0-9.+/=]{12,}"#,
    ),
    ("email", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"),
    ("iban", r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    ("card", r"\b[0-9](?:[ -]?[0-9]){12,}\b"),
    ("phone", r"\+[0-9](?:[ ()/.-]{0,2}[0-9]){7,14}"),
];

/// Bytes of the longest part that is one: an IBAN of 34 characters in groups of four.
const PART_BYTES_MAX: usize = 42;

/// Rules, ready to work.
pub struct Redactor(Vec<(String, Regex)>);

impl Redactor {
    /// These of the rules (all, where nothing is said), and further patterns by name.
    ///
    /// # Errors
    /// The rule that there is none of, or the pattern that is none.
    pub fn new<'a>(
        rules: Option<&[String]>,
        patterns: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, String> {
        let known: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = rules.iter().copied().flatten().find(|rule| !known.contains(&rule.as_str())) {
            return Err(format!("redact: no rule is called {unknown:?}; there are {}", known.join(", ")));
        }
        let wanted = |name: &str| rules.is_none_or(|rules| rules.iter().any(|rule| rule == name));
        let mut all = Vec::new();
        for (name, pattern) in RULES.into_iter().filter(|(name, _)| wanted(name)) {
            all.push((name.to_owned(), Regex::new(pattern).map_err(|e| format!("redact.{name}: {e}"))?));
        }
        for (name, pattern) in patterns {
            all.push((name.clone(), Regex::new(pattern).map_err(|e| format!("redact_patterns.{name}: {e}"))?));
        }
        Ok(Redactor(all))
    }

    /// The text without them, and how many there were.
    pub fn redact(&self, text: &str) -> (String, u64) {
        let (mut text, mut count) = (text.to_owned(), 0);
        for (name, pattern) in &self.0 {
            let replaced = pattern.replace_all(&text, |found: &regex::Captures<'_>| {
                let found = found.get(0).map_or("", |found| found.as_str());
                let (without, there) = match name.as_str() {
                    "card" => parts(found, "[card]", card),
                    "iban" => parts(found, "[iban]", iban),
                    _ => (format!("[{name}]"), 1),
                };
                count += there;
                without
            });
            text = replaced.into_owned();
        }
        (text, count)
    }
}

/// Takes what is one out of what looks like one: other groups, as the month of a card or an amount, may stand
/// before and after it. `text` is ASCII, in groups between spaces and hyphens.
fn parts(text: &str, name: &str, is_one: fn(&str) -> bool) -> (String, u64) {
    let (mut without, mut count, mut at) = (String::new(), 0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let ends = rest.match_indices([' ', '-']).map(|(end, _)| end).take_while(|end| *end <= PART_BYTES_MAX);
        let mut ends: Vec<usize> = ends.collect();
        ends.extend((rest.len() <= PART_BYTES_MAX).then_some(rest.len()));
        let found = ends.iter().rev().find(|end| rest.get(..**end).is_some_and(is_one));
        if let Some(end) = found {
            without.push_str(name);
            count += 1;
            at += end;
            continue;
        }
        // The next group, with what stands between.
        let next = rest.find([' ', '-']).map_or(rest.len(), |separator| separator + 1);
        without.push_str(rest.get(..next).unwrap_or_default());
        at += next;
    }
    (without, count)
}

/// ISO/IEC 7812-1, annex B.
fn card(text: &str) -> bool {
    if !(13..=19).contains(&text.bytes().filter(u8::is_ascii_digit).count()) {
        return false;
    }
    let digits = text.chars().rev().filter_map(|c| c.to_digit(10));
    let sum: u32 = digits.enumerate().map(|(i, d)| if i % 2 == 0 { d } else { d * 2 / 10 + d * 2 % 10 }).sum();
    sum.is_multiple_of(10)
}

/// ISO 13616: the first four characters to the end, letters as numbers, modulo 97.
fn iban(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| *c != ' ').collect();
    let begins = plain.iter().take(4).map(char::is_ascii_digit).eq([false, false, true, true]);
    if !begins || !(15..=34).contains(&plain.len()) {
        return false;
    }
    let turned = plain.iter().cycle().skip(4).take(plain.len());
    let rest = turned.filter_map(|c| c.to_digit(36)).fold(0, |rest, d| (rest * if d < 10 { 10 } else { 100 } + d) % 97);
    rest == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_form_of_a_secret_is_taken_out_and_the_rest_stays() {
        let redactor = Redactor::new(None, [(&"order".to_owned(), &"order-[0-9]+".to_owned())].into_iter()).unwrap();
        for (text, wanted) in [
            ("write to zoe.m+x@mail.example.com, please", "write to [email], please"),
            ("pay DE89 3704 0044 0532 0130 00 now", "pay [iban] now"),
            ("pay GB82WEST12345698765432 now", "pay [iban] now"),
            ("card 4111 1111 1111 1111, thanks", "card [card], thanks"),
            ("card 4111 1111 1111 1111 12/27", "card [card] 12/27"),
            ("flat 7 4111-1111-1111-1111 123", "flat 7 [card] 123"),
            ("pay BE68 5390 0754 7034 100 EUR", "pay [iban] 100 EUR"),
            ("pay AB12 DE89 3704 0044 0532 0130 00", "pay AB12 [iban]"),
            (r#"{"password": "hunter2"}"#, r#"{"[key]"}"#),
            ("DB_PASSWORD=hunter2", "DB_[key]"),
            ("call +49 (0)30 1234567 today", "call [phone] today"),
            ("the key is sk-proj-abcdefghijklmnop1234", "the key is [key]"),
            ("password: hunter2, ok", "[key], ok"),
            ("Authorization: Bearer abcdefghijklmnop", "Authorization: [key]"),
            ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----!", "[key]!"),
            ("order-10077", "[order]"),
        ] {
            assert_eq!(redactor.redact(text), (wanted.to_owned(), 1), "{text}");
        }
        for text in [
            "4111 1111 1111 1112",
            "2026-01-15T07:38:02.952Z",
            "460 cents for 12 flat whites",
            "DE88 3704 0044 0532 0130 00",
            "a @ b",
            "5 tokens: a lot",
            "111111111111111111111111111111111111111111111111111111111111",
        ] {
            assert_eq!(redactor.redact(text), (text.to_owned(), 0), "{text}");
        }
    }

    #[test]
    fn only_the_rules_that_are_wanted_work() {
        let only = Redactor::new(Some(&["email".to_owned()]), std::iter::empty()).unwrap();
        assert_eq!(only.redact("a@b.com +4930123456789").0, "[email] +4930123456789");
        let error = Redactor::new(Some(&["name".to_owned()]), std::iter::empty()).map(|_| ()).unwrap_err();
        assert!(error.contains("key, email, iban, card, phone"), "{error}");
        let bad = Redactor::new(None, [(&"x".to_owned(), &"(".to_owned())].into_iter()).map(|_| ()).unwrap_err();
        assert!(bad.starts_with("redact_patterns.x: "), "{bad}");
    }
}
