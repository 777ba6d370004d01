//! What a day may cost: what an answer may cost at most is set aside before a model is asked, and what it did
//! not cost is given back. A process that dies in between leaves too much set aside, never too little.

use std::time::Duration;

use bytes::Bytes;
use function_host::{
    Context, Failure,
    state::{Error, If},
};
use jiff::tz::TimeZone;

use crate::{AiCoordinator, endpoint::NoAnswer};

/// How often the day's sum is tried when others change it.
const TRIES_MAX: usize = 10;

/// What was set aside, and where.
pub(crate) struct Reserved {
    key: Option<String>,
    micros: u64,
}

impl AiCoordinator {
    /// Sets aside what an answer may cost, or says when there is room for it: a cheaper model may fit today.
    pub(crate) async fn reserve(&self, micros: u64, ctx: &Context) -> Result<Result<Reserved, NoAnswer>, Failure> {
        let Some(day_max) = self.config.day_micros_max else { return Ok(Ok(Reserved { key: None, micros })) };
        let now = ctx.now().to_zoned(TimeZone::UTC);
        let key = ctx.state_key("spent", &now.date().to_string());
        let taken = change(ctx, &key, |spent| spent.checked_add(micros).filter(|sum| *sum <= day_max)).await?;
        if taken {
            return Ok(Ok(Reserved { key: Some(key), micros }));
        }
        let tomorrow = now.tomorrow().and_then(|day| day.start_of_day()).map(|day| day.timestamp());
        let after = tomorrow.ok().and_then(|at| Duration::try_from(at.duration_since(ctx.now())).ok());
        let why = format!("the day's budget of {day_max} millionths has no room for {micros}; tomorrow (UTC) it has");
        Ok(Err(NoAnswer { later: true, code: "budget-day".into(), why, after }))
    }

    /// Gives back what was not needed.
    pub(crate) async fn settle(&self, reserved: Reserved, cost: u64, ctx: &Context) -> Result<(), Failure> {
        let Some(key) = reserved.key else { return Ok(()) };
        let settled = |spent: u64| Some(spent.saturating_sub(reserved.micros).saturating_add(cost));
        change(ctx, &key, settled).await.map(drop)
    }
}

/// Changes a sum; whether it was, or `next` said no.
async fn change(ctx: &Context, key: &str, next: impl Fn(u64) -> Option<u64>) -> Result<bool, Failure> {
    for _ in 0..TRIES_MAX {
        let (spent, condition) = match ctx.state().get(key).await? {
            None => (0, If::Absent),
            Some(stored) => {
                let text = std::str::from_utf8(&stored.value).ok().and_then(|text| text.parse().ok());
                let damaged = || Failure::unavailable("state-damaged", format!("state {key} is no sum; remove it"));
                (text.ok_or_else(damaged)?, If::Version(stored.version))
            }
        };
        let Some(next) = next(spent) else { return Ok(false) };
        match ctx.state().put(key, Bytes::from(next.to_string()), condition).await {
            Ok(_) => return Ok(true),
            Err(Error::Conflict(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(Error::Conflict(key.into()).into())
}
