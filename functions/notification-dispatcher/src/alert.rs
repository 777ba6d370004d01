//! One alert: who hears of it, and whether it is news.

use function_host::{Context, Failure, Kind, Reply};
use schemas::{
    Event,
    payload::notifications::{AlertState, Failed, How, Severity, Trigger},
};

use crate::{
    Errand, NotificationDispatcher,
    channel::Outcome,
    config::ALERT_RECIPIENTS_MAX,
    delivered,
    memory::{self, CLAIM_AGE_MAX, Decision, Group},
    recipient,
};

/// When an alert comes back that waits for another of its group.
const WAIT: std::time::Duration = std::time::Duration::from_secs(5);

impl NotificationDispatcher {
    /// Tells everybody who hears of it. Each of them is told once, whatever fails for the others.
    pub(crate) async fn alert(&self, event: &Event, alert: &Trigger, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let severity = alert.severity.as_str();
        let Some(to) = alert.to.as_ref().or_else(|| self.config.alerts.to.get(severity)).filter(|to| !to.is_empty())
        else {
            let message =
                format!("data.to: nobody hears of {severity} alerts; add alerts.to.{severity} to the settings");
            return Err(Failure::refuse("alert-unheard", message));
        };
        if to.len() > ALERT_RECIPIENTS_MAX {
            let message = format!("data.to: {} recipients; at most {ALERT_RECIPIENTS_MAX} are told", to.len());
            return Err(Failure::refuse("recipients-too-many", message));
        }
        let state = alert.state.unwrap_or(AlertState::Firing);
        let (key, cause) = (ctx.state_key("alerts", &alert.alert), ctx.event_key(event));
        let now_ms = ctx.now().as_millisecond();
        let decided = memory::change(ctx, &key, |group: Option<Group>| {
            Group::decide(group, &cause, (alert.severity, state), now_ms, self.config.alerts.group_s)
        });
        match decided.await? {
            Decision::Wait => {
                let message = format!("another alert {:?} is being sent; come back when it is", alert.alert);
                Err(Failure::retry("alert-under-way", message).after(WAIT))
            }
            Decision::Count => {
                let replies = to.iter().map(|to| {
                    let errand = self.errand(event, alert, to, 0)?;
                    delivered(&errand, How::Grouped, None, Vec::new(), ctx.now())
                });
                replies.collect::<Result<Vec<_>, _>>().map(|all| all.into_iter().flatten().collect())
            }
            Decision::Send { more, before } => {
                let told = self.tell_all(event, alert, (to, more), ctx).await;
                let taken = told.as_ref().is_ok_and(|(_, taken)| *taken);
                let settle = memory::change(ctx, &key, |group: Option<Group>| {
                    let group = group.filter(|group| group.cause == cause);
                    (group.map(|group| settled(group, taken, before.clone(), now_ms)), ())
                });
                // Where this fails too, the claim grows old and is taken over.
                let settled = settle.await;
                let (replies, _) = told?;
                settled.map(|()| replies)
            }
        }
    }

    /// Gives the replies, and whether anybody was reached.
    async fn tell_all(
        &self,
        event: &Event,
        alert: &Trigger,
        (to, more): (&[String], u32),
        ctx: &Context,
    ) -> Result<(Vec<Reply>, bool), Failure> {
        let (mut replies, mut later, mut refused): (Vec<Reply>, Option<Failure>, Vec<(&str, Failure)>) =
            (Vec::new(), None, Vec::new());
        for to in to {
            let told = match self.errand(event, alert, to, more) {
                Ok(errand) => self.tell(errand, ctx).await,
                Err(failure) => Err(failure),
            };
            match told {
                Ok(told) => replies.extend(told),
                Err(failure) if failure.kind == Kind::Refuse => refused.push((to, failure)),
                Err(failure) => later = later.or(Some(failure)),
            }
        }
        if let Some(failure) = later {
            return Err(failure);
        }
        // Where it works for nobody, the settings are wrong for all of it, and the event can go again.
        if replies.is_empty()
            && let Some((_, failure)) = refused.pop()
        {
            return Err(failure);
        }
        let taken = replies.iter().any(|reply| reply.kind() == "notification.delivered");
        for (to, Failure { code, message, .. }) in refused {
            let reasons = vec![Outcome::tried("", code.0, &message)];
            let failed = Failed { notification: event.id().to_owned(), to: to.to_owned(), reasons };
            replies.push(Reply::json("notification.failed", &failed)?);
        }
        Ok((replies, taken))
    }

    fn errand<'a>(&self, event: &'a Event, alert: &'a Trigger, to: &'a str, more: u32) -> Result<Errand<'a>, Failure> {
        let recipient = self.recipient(to)?;
        let title = match alert.state {
            Some(AlertState::Resolved) => format!("[resolved] {}", alert.title),
            _ => format!("[{}] {}", alert.severity.as_str(), alert.title),
        };
        let text = match more {
            0 => alert.text.clone(),
            more => format!("{}\n(and {more} more of {} since the last message)", alert.text, alert.alert),
        };
        Ok(Errand {
            event,
            to,
            channels: recipient::channels(&self.config, recipient, &self.config.alerts.channels),
            title,
            text,
            urgent: alert.severity == Severity::Critical,
            waits: alert.severity != Severity::Critical,
            dedupe: None,
        })
    }
}

/// What is remembered after an alert was sent, or was not.
fn settled(group: Group, taken: bool, before: Option<Group>, now_ms: i64) -> Group {
    if taken {
        return Group { sent: true, more: 0, ..group };
    }
    // Nobody has heard of it: the next one goes out at once.
    let old_ms = now_ms - i64::try_from(CLAIM_AGE_MAX.as_millis()).unwrap_or(0);
    before.unwrap_or(Group { at_ms: old_ms, ..group })
}
