//! What a sink answers, per path: the first rule that fits, else 200.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::coffee::hash;

/// What the sink does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Answers with this status.
    Status(u16),
    /// Takes the request and never answers.
    Hang,
    /// Answers 200 and keeps nothing of it: the fault of a target that loses events.
    Swallow,
}

/// An answer, and the conditions for it, which must all hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it does.
    pub answer: Answer,
    /// For events of this type.
    #[serde(default)]
    pub kind: Option<String>,
    /// For the event with this id.
    #[serde(default)]
    pub id: Option<String>,
    /// For every n-th event, chosen by a hash of its id, so that all attempts of an event fare alike.
    #[serde(default)]
    pub every: Option<u64>,
    /// For attempts up to this number.
    #[serde(default)]
    pub attempts_max: Option<u32>,
    /// For the first requests that the rule fits.
    #[serde(default)]
    pub requests_max: Option<u64>,
    /// For so long after the script was set.
    #[serde(default)]
    pub for_ms: Option<u64>,
}

impl Rule {
    /// Always this answer.
    pub fn new(answer: Answer) -> Self {
        Rule { answer, kind: None, id: None, every: None, attempts_max: None, requests_max: None, for_ms: None }
    }

    /// Always this status.
    pub fn status(status: u16) -> Self {
        Rule::new(Answer::Status(status))
    }

    /// Only for events of this type.
    #[must_use]
    pub fn of_kind(self, kind: &str) -> Self {
        Rule { kind: Some(kind.into()), ..self }
    }

    /// Only for every `n`th event.
    #[must_use]
    pub fn every(self, n: u64) -> Self {
        Rule { every: Some(n), ..self }
    }

    /// Only for the first attempts of each event.
    #[must_use]
    pub fn attempts_max(self, attempts_max: u32) -> Self {
        Rule { attempts_max: Some(attempts_max), ..self }
    }

    /// Only for the first requests.
    #[must_use]
    pub fn requests_max(self, requests_max: u64) -> Self {
        Rule { requests_max: Some(requests_max), ..self }
    }

    /// Only for so long.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Rule { for_ms: Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)), ..self }
    }
}

/// The behaviour of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The first that fits decides; 200 if none does.
    pub rules: Vec<Rule>,
    /// Before each answer.
    pub delay_ms: u64,
}

impl Script {
    /// Always 200.
    pub fn good() -> Self {
        Script::default()
    }

    /// 200 after a while.
    pub fn slow(delay: Duration) -> Self {
        Script { rules: Vec::new(), delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl From<Rule> for Script {
    fn from(rule: Rule) -> Self {
        Script { rules: vec![rule], delay_ms: 0 }
    }
}

/// A script at work.
#[derive(Debug)]
pub(super) struct Running {
    script: Script,
    since: Instant,
    used: Vec<u64>,
}

impl Running {
    pub(super) fn new(script: Script) -> Self {
        Running { used: vec![0; script.rules.len()], since: Instant::now(), script }
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.script.delay_ms)
    }

    /// Decides for one request.
    pub(super) fn decide(&mut self, kind: &str, id: &str, attempt: u32) -> Answer {
        let elapsed_ms = self.since.elapsed().as_millis();
        for (rule, used) in self.script.rules.iter().zip(&mut self.used) {
            let fits = rule.kind.as_ref().is_none_or(|k| k == kind)
                && rule.id.as_ref().is_none_or(|i| i == id)
                && rule.every.is_none_or(|n| hash(id.as_bytes()).is_multiple_of(n.max(1)))
                && rule.attempts_max.is_none_or(|max| attempt <= max)
                && rule.requests_max.is_none_or(|max| *used < max)
                && rule.for_ms.is_none_or(|ms| elapsed_ms < u128::from(ms));
            if fits {
                *used += 1;
                return rule.answer;
            }
        }
        Answer::Status(200)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_rule_whose_conditions_all_hold_decides() {
        let rules = vec![
            Rule::status(422).of_kind("a"),
            Rule::status(500).attempts_max(1).requests_max(2),
            Rule::new(Answer::Hang).lasting(Duration::ZERO),
        ];
        let mut running = Running::new(Script { rules, delay_ms: 0 });
        let mut decide = |kind: &str, attempt| running.decide(kind, "1", attempt);
        assert_eq!(decide("a", 1), Answer::Status(422));
        assert_eq!(decide("b", 1), Answer::Status(500));
        assert_eq!(decide("b", 2), Answer::Status(200));
        assert_eq!(decide("b", 1), Answer::Status(500));
        assert_eq!(decide("b", 1), Answer::Status(200), "two requests were enough");
    }

    #[test]
    fn every_chooses_events_and_not_requests() {
        let mut running = Running::new(Rule::status(500).every(4).into());
        let mut failed = 0;
        for n in 0..1_000 {
            let id = n.to_string();
            let first = running.decide("a", &id, 1);
            assert_eq!(running.decide("a", &id, 2), first);
            failed += u32::from(first == Answer::Status(500));
        }
        assert!((200..300).contains(&failed), "{failed} of 1000");
    }

    #[test]
    fn one_event_is_chosen_by_its_id() {
        let rule: Rule = serde_json::from_str(r#"{"answer":{"status":500},"id":"7"}"#).unwrap();
        let mut running = Running::new(rule.into());
        assert_eq!(running.decide("a", "7", 3), Answer::Status(500));
        assert_eq!(running.decide("a", "77", 1), Answer::Status(200));
    }

    #[test]
    fn a_script_is_readable_json() {
        let json = r#"{"rules":[{"answer":{"status":503},"for_ms":3000},{"answer":"swallow","requests_max":1}]}"#;
        let script: Script = serde_json::from_str(json).unwrap();
        assert_eq!(script.rules[0], Rule::status(503).lasting(Duration::from_secs(3)));
        assert_eq!(script.rules[1], Rule::new(Answer::Swallow).requests_max(1));
    }
}
