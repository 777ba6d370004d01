//! Has work done by language models.
//!
//! Settings and words: docs/ai-coordinator.md.
//!
//! An `ai.task.created` is split into its steps ([`plan`]), each of which goes to the best model that can do it
//! ([`pick`]) over an endpoint ([`endpoint`]); secrets and personal data are taken out before ([`redact`]). A model
//! that fails is tried again a few times, then the next one is. `ai.task.completed` comes with an
//! `ai.task.assigned` for each step. When no model can ever do it: `ai.task.failed`; while one may later, the event
//! fails and comes again, and what was done is not done again. An `ai.response.needed` is one step, and becomes an
//! `ai.response.ready`.

mod budget;
pub mod config;
pub mod endpoint;
pub mod pick;
pub mod plan;
pub mod redact;

use std::time::Duration;

use function_host::{Context, Failure, Function, Reply, SettingError, Settings, Severity, data};
use schemas::{
    Event,
    payload::ai::{
        Fault, ResponseNeeded, ResponseReady, Role, StepDone, Surroundings, TaskAssigned, TaskCompleted, TaskCreated,
        TaskFailed, Usage,
    },
};

use config::Config;
use endpoint::{Answer, Line, NoAnswer};
use pick::{Candidate, Work};

/// Bytes of a prompt, with what was said before.
pub const PROMPT_BYTES_MAX: usize = 1 << 20;
/// Bytes of the name of a language, as BCP 47 counts its longest without extensions.
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// Longest wait between two tries within one attempt; a longer one is the next attempt's.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
/// First wait between two tries, where the endpoint does not say.
const WAIT_FIRST: Duration = Duration::from_millis(250);

/// The function.
pub struct AiCoordinator {
    config: Config,
}

/// One thing to ask.
struct Job<'a> {
    event: &'a Event,
    /// The task's name, or the request's.
    task: &'a str,
    step: Option<&'a str>,
    kind: &'a str,
    before: Vec<Line>,
    prompt: String,
    temperature: Option<f64>,
    tokens_max: Option<u64>,
    context: Option<&'a Surroundings>,
    budget_micros: u64,
}

/// What came of a job: all of it, or why no model can ever do it.
type Came = Result<Done, Vec<Fault>>;

/// A job that is done, as it is remembered.
struct Done {
    assigned: Reply,
    step: StepDone,
}

impl Function for AiCoordinator {
    const NAME: &'static str = "ai-coordinator";
    const CONSUMES: &'static [&'static str] = &["ai.task.created", "ai.response.needed"];
    const EMITS: &'static [&'static str] =
        &["ai.task.assigned", "ai.task.completed", "ai.task.failed", "ai.response.ready"];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        Ok(AiCoordinator { config: Config::read(settings)? })
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let key = ctx.event_key(event);
        match event.kind() {
            "ai.task.created" => {
                let task: TaskCreated = data(event)?;
                ctx.once(&key, self.task(event, &task, ctx)).await
            }
            _ => {
                let request: ResponseNeeded = data(event)?;
                ctx.once(&key, self.response(event, &request, ctx)).await
            }
        }
    }
}

impl AiCoordinator {
    async fn task(&self, event: &Event, task: &TaskCreated, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let steps = task.steps.as_deref().unwrap_or_default();
        let ordered = plan::order(steps).map_err(|why| Failure::refuse("steps-invalid", why))?;
        // Said before any step is paid for.
        if task.prompt.trim().is_empty() {
            return Err(Failure::refuse("prompt-invalid", "data.prompt: is empty"));
        }
        let budget_micros = task.budget_micros.unwrap_or(u64::MAX).min(self.config.task_micros_max);
        let (mut replies, mut done, mut spent): (_, Vec<StepDone>, u64) = (Vec::new(), Vec::new(), 0);
        for step in ordered.into_iter().map(Some).chain([None]) {
            let (name, prompt) = match step {
                Some(step) => (Some(step.step.as_str()), &step.prompt),
                None => (None, &task.prompt),
            };
            // The task's own prompt sees all results, a step those that it needs.
            let sees = |name: &str| step.is_none_or(|step| plan::needs(step).any(|needed| needed == name));
            let job = Job {
                event,
                task: &task.task,
                step: name,
                kind: step.and_then(|step| step.kind.as_deref()).unwrap_or(&task.kind),
                before: Vec::new(),
                prompt: with_results(prompt, done.iter().filter(|d| d.step.as_deref().is_some_and(sees))),
                temperature: task.temperature,
                tokens_max: task.tokens_max,
                context: task.context.as_ref(),
                budget_micros: budget_micros.saturating_sub(spent),
            };
            match self.done(&job, ctx).await? {
                Ok(one) => {
                    spent = spent.saturating_add(one.step.usage.cost_micros);
                    replies.push(one.assigned);
                    done.push(one.step);
                }
                Err(reasons) => {
                    return failed(&job, reasons).map(|failed| replies.into_iter().chain([failed]).collect());
                }
            }
        }
        let text = done.last().map(|last| last.text.clone()).unwrap_or_default();
        let completed = TaskCompleted { task: task.task.clone(), text, steps: done, cost_micros: spent };
        replies.push(of(event, Reply::json("ai.task.completed", &completed)?));
        Ok(replies)
    }

    async fn response(&self, event: &Event, request: &ResponseNeeded, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let role = |role| match role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let history = request.history.iter().flatten();
        let job = Job {
            event,
            task: &request.request,
            step: None,
            kind: request.kind.as_deref().unwrap_or("respond"),
            before: history.map(|turn| Line { role: role(turn.role), content: turn.text.clone() }).collect(),
            prompt: request.prompt.clone(),
            temperature: request.temperature,
            tokens_max: request.tokens_max,
            context: request.context.as_ref(),
            budget_micros: self.config.task_micros_max,
        };
        match self.done(&job, ctx).await? {
            Ok(Done { step, .. }) => {
                let ready = ResponseReady { request: request.request.clone(), text: step.text, usage: step.usage };
                Ok(vec![of(event, Reply::json("ai.response.ready", &ready)?)])
            }
            Err(reasons) => Ok(vec![failed(&job, reasons)?]),
        }
    }

    /// Does a job, or finds that an earlier attempt at the event did it.
    async fn done(&self, job: &Job<'_>, ctx: &Context) -> Result<Came, Failure> {
        let key = function_host::key(&[ctx.event_key(job.event).as_bytes(), job.step.unwrap_or_default().as_bytes()]);
        // What no model can do is an answer to the event, not the result of a step.
        let mut faults = None;
        let work = async {
            match self.work(job, ctx).await? {
                Ok(Done { assigned, step }) => Ok(vec![assigned, Reply::json("ai.step", &step)?]),
                Err(all) => {
                    faults = Some(all);
                    Err(Failure::refuse("no-model", "no model can do it"))
                }
            }
        };
        let known = ctx.once(&format!("{key}-step"), work).await;
        if let Some(faults) = faults {
            return Ok(Err(faults));
        }
        let known = known?;
        let damaged = || Failure::unavailable("state-damaged", "the state of a step is not one; remove it");
        let [assigned, step] = <[Reply; 2]>::try_from(known).map_err(|_| damaged())?;
        let step = serde_json::from_slice(step.data()).map_err(|_| damaged())?;
        Ok(Ok(Done { assigned, step }))
    }

    /// Asks the models in turn.
    async fn work(&self, job: &Job<'_>, ctx: &Context) -> Result<Came, Failure> {
        check(job)?;
        let (mut lines, redacted) = self.lines(job);
        let longest = self.config.models.iter().filter_map(|model| model.system.as_deref()).map(pick::tokens).max();
        let tokens_in = lines.iter().map(|line| pick::tokens(&line.content)).sum::<u64>() + longest.unwrap_or(0);
        let Job { kind, tokens_max, budget_micros, .. } = *job;
        let work = Work { kind, tokens_in, tokens_max, budget_micros };
        let (candidates, mut faults) = pick::pick(&self.config.models, &work, self.config.prefer);
        let mut later: Option<(String, Option<Duration>)> = None;
        let mut asked = Vec::new();
        for (i, candidate) in candidates.iter().enumerate() {
            let model = &candidate.model.name;
            let own = candidate.model.system.as_ref().map(|text| Line { role: "system", content: text.clone() });
            if let Some(own) = &own {
                lines.insert(0, own.clone());
            }
            // Half of what is left is the next one's: a model that never answers must not take all of each attempt.
            let others = if i + 1 < candidates.len() { ctx.remaining() / 2 } else { Duration::ZERO };
            let came = self.ask(candidate, (&lines, job.temperature), others, ctx).await?;
            if own.is_some() {
                lines.remove(0);
            }
            match came {
                Ok(answer) => return self.finished(job, candidate, (answer, tokens_in, redacted), asked).map(Ok),
                Err(mut no) => {
                    // An endpoint may repeat what it was sent.
                    no.why = self.config.redactor.redact(&no.why).0;
                    ctx.log(Severity::Warning, &format!("{}: model {model}: {} ({})", job.task, no.why, no.code));
                    if no.later {
                        // One that does not say when may be back before those that do.
                        let after = match &later {
                            None => no.after,
                            Some((_, before)) => before.zip(no.after).map(|(one, other)| one.min(other)),
                        };
                        later = Some((format!("model {model}: {} ({})", no.why, no.code), after));
                    }
                    asked.push(Fault { model: model.clone(), code: no.code, message: no.why });
                }
            }
        }
        match later {
            // While one of them may do it later, nothing is given up.
            Some((why, after)) => Err(after.into_iter().fold(Failure::retry("model-later", why), Failure::after)),
            None => {
                faults.splice(0..0, asked);
                Ok(Err(faults))
            }
        }
    }

    /// Asks one model, a few times where that may help, and leaves `others` of the attempt to those after it.
    async fn ask(
        &self,
        candidate: &Candidate<'_>,
        (lines, temperature): (&[Line], Option<f64>),
        others: Duration,
        ctx: &Context,
    ) -> Result<Result<Answer, NoAnswer>, Failure> {
        let mut wait = WAIT_FIRST;
        for tries_left in (0..self.config.tries_max).rev() {
            let reserved = match self.reserve(candidate.cost_micros_max, ctx).await? {
                Ok(reserved) => reserved,
                Err(no) => return Ok(Err(no)),
            };
            let timeout = candidate.model.timeout.min(ctx.remaining().saturating_sub(others));
            let came = endpoint::ask(ctx, candidate.model, lines, (candidate.tokens_out, temperature), timeout).await;
            let cost = match &came {
                Ok(Answer { tokens: Some((sent, answered)), .. }) => candidate.model.cost(*sent, *answered),
                Ok(_) => candidate.cost_micros_max,
                Err(_) => 0,
            };
            // An answer that is paid for is not lost over the sum, which then stays too high.
            if let Err(e) = self.settle(reserved, cost, ctx).await {
                ctx.log(Severity::Warning, &format!("the day's sum keeps what was set aside: {e}"));
            }
            let no = match came {
                Err(no) if no.later && tries_left > 0 => no,
                came => return Ok(came),
            };
            let pause = no.after.unwrap_or(wait);
            if pause > WAIT_MAX || pause > ctx.remaining().saturating_sub(others) / 2 {
                return Ok(Err(no));
            }
            tokio::time::sleep(pause).await;
            wait *= 2;
        }
        Ok(Err(NoAnswer { later: true, code: "tries".into(), why: "it was not tried".into(), after: None }))
    }

    /// What is sent, without what must not be, and how much that was.
    fn lines(&self, job: &Job<'_>) -> (Vec<Line>, u64) {
        let mut lines = Vec::new();
        if let Some(language) = job.context.and_then(|context| context.language.as_deref()) {
            lines.push(Line { role: "system", content: format!("Answer in the language {language}.") });
        }
        lines.extend(job.before.iter().cloned());
        lines.push(Line { role: "user", content: job.prompt.clone() });
        let mut count = 0;
        for line in &mut lines {
            let (content, found) = self.config.redactor.redact(&line.content);
            line.content = content;
            count += found;
        }
        (lines, count)
    }

    fn finished(
        &self,
        job: &Job<'_>,
        candidate: &Candidate<'_>,
        (answer, estimated, redacted): (Answer, u64, u64),
        failed: Vec<Fault>,
    ) -> Result<Done, Failure> {
        let (model, step) = (candidate.model.name.clone(), job.step.map(str::to_owned));
        let counted = answer.tokens.is_some();
        let (tokens_in, tokens_out) = answer.tokens.unwrap_or_else(|| (estimated, pick::tokens(&answer.text)));
        let cost_micros = candidate.model.cost(tokens_in, tokens_out);
        let cost_micros_max = candidate.cost_micros_max;
        let assigned = TaskAssigned {
            task: job.task.to_owned(),
            step: step.clone(),
            model: model.clone(),
            failed,
            cost_micros_max,
        };
        let usage = Usage { model, tokens_in, tokens_out, counted, cost_micros, redacted };
        let assigned = of(job.event, Reply::json("ai.task.assigned", &assigned)?);
        Ok(Done { assigned, step: StepDone { step, text: answer.text, usage } })
    }
}

/// Refuses what no model could do.
fn check(job: &Job<'_>) -> Result<(), Failure> {
    let bytes = job.prompt.len() + job.before.iter().map(|line| line.content.len()).sum::<usize>();
    if job.prompt.trim().is_empty() || bytes > PROMPT_BYTES_MAX {
        let step = job.step.map(|step| format!(" of step {step}")).unwrap_or_default();
        let message = format!(
            "data.prompt{step}: with what was said before, and the results that it needs, it has from 1 to \
             {PROMPT_BYTES_MAX} bytes, not {bytes}"
        );
        return Err(Failure::refuse("prompt-invalid", message));
    }
    if job.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        return Err(Failure::refuse("temperature-invalid", "data.temperature: it is from 0 to 2"));
    }
    let language = job.context.and_then(|context| context.language.as_deref()).unwrap_or("en");
    let is_tag = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    // It goes into the system's line, so it is a name and nothing that could be an order.
    if language.is_empty() || language.len() > LANGUAGE_BYTES_MAX || !language.bytes().all(is_tag) {
        let message = "data.context.language: is no language tag as `de` or `pt-BR`";
        return Err(Failure::refuse("language-invalid", message));
    }
    if job.tokens_max == Some(0) {
        return Err(Failure::refuse("tokens-invalid", "data.tokens_max: an answer has at least one token"));
    }
    Ok(())
}

/// A prompt with the results that it builds on.
fn with_results<'a>(prompt: &str, results: impl Iterator<Item = &'a StepDone>) -> String {
    let results: String = results
        .map(|done| format!("Result of {}:\n{}\n\n", done.step.as_deref().unwrap_or_default(), done.text))
        .collect();
    results + prompt
}

fn failed(job: &Job<'_>, reasons: Vec<Fault>) -> Result<Reply, Failure> {
    let failed = TaskFailed { task: job.task.to_owned(), step: job.step.map(str::to_owned), reasons };
    Ok(of(job.event, Reply::json("ai.task.failed", &failed)?))
}

/// An answer carries the partition key of what it answers.
fn of(event: &Event, reply: Reply) -> Reply {
    match event.get("partitionkey") {
        Some(key) => reply.attr("partitionkey", key.to_string()),
        None => reply,
    }
}
