//! Which models can do a piece of work, the best first: pure, so that a repeat picks the same.

use schemas::payload::ai::Fault;

use crate::config::{Model, Prefer};

/// What there is to do.
#[derive(Clone, Debug)]
pub struct Work<'a> {
    /// The capability that it needs.
    pub kind: &'a str,
    /// Tokens that are sent, as [`tokens`] estimates them.
    pub tokens_in: u64,
    /// Tokens of the answer that are asked for, if it is said.
    pub tokens_max: Option<u64>,
    /// What it may cost, in millionths.
    pub budget_micros: u64,
}

/// A model that can do it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The model.
    pub model: &'a Model,
    /// Tokens of its answer at most.
    pub tokens_out: u64,
    /// What the answer can cost at most.
    pub cost_micros_max: u64,
}

/// The models for a piece of work, the best first, and why those with the capability that are left out are.
pub fn pick<'a>(models: &'a [Model], work: &Work<'_>, prefer: Prefer) -> (Vec<Candidate<'a>>, Vec<Fault>) {
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for model in models.iter().filter(|model| model.can(work.kind)) {
        let tokens_out = work.tokens_max.unwrap_or(model.answer_tokens_max);
        let cost_micros_max = model.cost(work.tokens_in, tokens_out);
        let fault = |code: &str, message| Fault { model: model.name.clone(), code: code.into(), message };
        if tokens_out > model.answer_tokens_max {
            let most = model.answer_tokens_max;
            unfit.push(fault(
                "answer-too-long",
                format!("{tokens_out} tokens are asked for; it answers at most {most}"),
            ));
        } else if work.tokens_in.saturating_add(tokens_out) > model.context_tokens_max {
            let (sent, most) = (work.tokens_in, model.context_tokens_max);
            let message = format!("about {sent} tokens to send and {tokens_out} to answer; it holds {most}");
            unfit.push(fault("context-too-long", message));
        } else if cost_micros_max > work.budget_micros {
            let left = work.budget_micros;
            let message = format!("it may cost {cost_micros_max} millionths; {left} are left of the budget");
            unfit.push(fault("budget", message));
        } else {
            fit.push(Candidate { model, tokens_out, cost_micros_max });
        }
    }
    fit.sort_by_key(|candidate| {
        let (cost, latency) = (candidate.cost_micros_max, candidate.model.latency_ms);
        match prefer {
            Prefer::Cost => (cost, latency),
            Prefer::Latency => (latency, cost),
        }
    });
    if fit.is_empty() && unfit.is_empty() {
        let message = format!("no model can do {:?}; add it to a model's capabilities", work.kind);
        unfit.push(Fault { model: String::new(), code: "capability".into(), message });
    }
    (fit, unfit)
}

/// Tokens of a text, estimated from its bytes; rather too many than too few.
pub fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(3) + 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, cost: u64, latency_ms: u64, context: u64) -> Model {
        Model::for_tests(name, &["translate"], (cost, latency_ms, context))
    }

    #[test]
    fn the_best_that_fits_comes_first_and_the_rest_say_why_not() {
        let models = [model("dear", 900, 100, 100_000), model("cheap", 10, 900, 100_000), model("small", 1, 1, 500)];
        let names = |work: &Work<'_>, prefer| {
            let (fit, unfit) = pick(&models, work, prefer);
            let fit: Vec<String> = fit.iter().map(|c| c.model.name.clone()).collect();
            (fit.join(" "), unfit.iter().map(|f| format!("{}:{}", f.model, f.code)).collect::<Vec<_>>().join(" "))
        };
        let work = Work { kind: "translate", tokens_in: 1_000, tokens_max: Some(100), budget_micros: 5_000 };
        assert_eq!(names(&work, Prefer::Cost), ("cheap dear".into(), "small:context-too-long".into()));
        assert_eq!(names(&work, Prefer::Latency), ("dear cheap".into(), "small:context-too-long".into()));
        let poor = Work { budget_micros: 11, ..work.clone() };
        assert_eq!(names(&poor, Prefer::Latency), ("cheap".into(), "dear:budget small:context-too-long".into()));
        let long = Work { tokens_max: Some(9_999), ..work.clone() };
        assert_eq!(names(&long, Prefer::Cost).1.matches("answer-too-long").count(), 3);
        assert_eq!(names(&Work { kind: "paint", ..work }, Prefer::Cost), (String::new(), ":capability".into()));
    }
}
