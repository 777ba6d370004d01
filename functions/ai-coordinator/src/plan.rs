//! The order of a task's steps: each after those that it needs, as far as that allows in the order in which
//! they were given.

use std::collections::BTreeSet;

use schemas::payload::ai::Step;

/// Steps of one task.
pub const STEPS_MAX: usize = 32;

/// Puts the steps in order.
///
/// # Errors
/// What is wrong, with the member: too many, a name twice, no prompt, a step that is not there, a cycle by its
/// names.
pub fn order(steps: &[Step]) -> Result<Vec<&Step>, String> {
    if steps.len() > STEPS_MAX {
        return Err(format!("data.steps: {} steps; a task has at most {STEPS_MAX}", steps.len()));
    }
    let mut names = BTreeSet::new();
    for (i, step) in steps.iter().enumerate() {
        if step.step.is_empty() || !names.insert(step.step.as_str()) {
            return Err(format!("data.steps[{i}].step: {:?} is empty or there twice", step.step));
        }
        if step.prompt.trim().is_empty() {
            return Err(format!("data.steps[{i}].prompt: is empty"));
        }
    }
    for (i, step) in steps.iter().enumerate() {
        if let Some(missing) = needs(step).find(|name| !names.contains(name)) {
            return Err(format!("data.steps[{i}].after: no step is called {missing:?}"));
        }
    }
    let (mut ordered, mut done): (Vec<&Step>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
    while ordered.len() < steps.len() {
        let open = |step: &&Step| !done.contains(step.step.as_str());
        let next = steps.iter().filter(open).find(|step| needs(step).all(|name| done.contains(name)));
        let Some(next) = next else { return Err(format!("data.steps: {} is a cycle", cycle(steps, &done))) };
        done.insert(&next.step);
        ordered.push(next);
    }
    Ok(ordered)
}

/// The names of the steps that a step needs.
pub fn needs(step: &Step) -> impl Iterator<Item = &str> {
    step.after.iter().flatten().map(String::as_str)
}

/// A cycle among the steps that are not done, as `a → b → a`. Each of them needs another one that is not done.
fn cycle(steps: &[Step], done: &BTreeSet<&str>) -> String {
    let open = |name: &str| steps.iter().find(|step| step.step == name && !done.contains(name));
    let mut at = steps.iter().find(|step| !done.contains(step.step.as_str()));
    let mut way: Vec<&str> = Vec::new();
    while let Some(step) = at {
        if let Some(first) = way.iter().position(|name| *name == step.step) {
            let mut ring: Vec<&str> = way.split_off(first);
            ring.push(&step.step);
            return ring.join(" → ");
        }
        way.push(&step.step);
        at = needs(step).find_map(open);
    }
    way.join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(all: &[(&str, &[&str])]) -> Vec<Step> {
        let step = |(name, after): &(&str, &[&str])| Step {
            step: (*name).into(),
            kind: None,
            prompt: "p".into(),
            after: Some(after.iter().map(|name| (*name).into()).collect()),
        };
        all.iter().map(step).collect()
    }

    #[test]
    fn steps_come_after_what_they_need_and_else_as_given() {
        let all = steps(&[("d", &["b", "c"]), ("c", &["a"]), ("a", &[]), ("b", &["a"]), ("e", &[])]);
        let names: Vec<&str> = order(&all).unwrap().iter().map(|step| step.step.as_str()).collect();
        assert_eq!(names, ["a", "c", "b", "d", "e"]);
    }

    #[test]
    fn what_has_no_order_is_refused_by_name() {
        for (all, wanted) in [
            (&[("a", &["d"] as &[&str]), ("b", &["c"]), ("c", &["b"]), ("d", &[])][..], "b → c → b is a cycle"),
            (&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])], "b → c → b is a cycle"),
            (&[("a", &["a"])], "a → a is a cycle"),
            (&[("a", &["x"])], "data.steps[0].after: no step is called \"x\""),
            (&[("a", &[]), ("a", &[])], "data.steps[1].step: \"a\""),
        ] {
            let error = order(&steps(all)).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        let mut empty = steps(&[("a", &[])]);
        empty[0].prompt = " ".into();
        assert_eq!(order(&empty).unwrap_err(), "data.steps[0].prompt: is empty");
        let many: Vec<String> = (0..=STEPS_MAX).map(|n| n.to_string()).collect();
        let many: Vec<(&str, &[&str])> = many.iter().map(|name| (name.as_str(), &[][..])).collect();
        assert!(order(&steps(&many)).unwrap_err().contains("at most 32"));
    }
}
