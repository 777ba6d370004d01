//! A queue of SQS, for the source that pulls it and the target that feeds it.

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::{Client, types::QueueAttributeName};
use http::Uri;
use router_core::target::Reason;
use tokio::sync::OnceCell;

use crate::{
    auth::{self, Account, Accounts, ConfigError, Settings},
    target::{Failure, failure},
};

/// A queue, and how it is reached.
pub(crate) struct Queue {
    pub url: String,
    account: Arc<Account>,
    timeout: Duration,
    client: OnceCell<Client>,
}

impl Queue {
    /// Checks the URL and the settings; connects nowhere. Without a region or an endpoint, those of the URL hold.
    pub fn new(url: &str, settings: Settings, timeout: Duration, accounts: &Accounts) -> Result<Self, ConfigError> {
        let settings = with_url(url, settings)?;
        settings.check()?;
        Ok(Queue { url: url.to_owned(), account: accounts.get(&settings), timeout, client: OnceCell::new() })
    }

    /// What calls are made with.
    pub async fn client(&self) -> Result<&Client, Box<str>> {
        let make = || async { Ok(auth::client!(aws_sdk_sqs, self.account, self.timeout)) };
        self.client.get_or_try_init(make).await
    }

    /// Whether it is there and may be asked; `rights` are what its user needs beside that.
    pub async fn check(&self, rights: &str) -> Result<(), Reason> {
        let client = self.client().await.map_err(Reason)?;
        let asked = client.get_queue_attributes().queue_url(&self.url).attribute_names(QueueAttributeName::QueueArn);
        let Err(error) = asked.send().await else { return Ok(()) };
        let Failure { note, .. } = failure(&error);
        let help = match note.starts_with("AccessDenied") {
            true => format!("; `check` asks for sqs:GetQueueAttributes, and {rights} is needed beside it"),
            false => String::new(),
        };
        Err(Reason(format!("{note}{help}").into()))
    }
}

fn with_url(url: &str, mut settings: Settings) -> Result<Settings, ConfigError> {
    let parsed: Option<Uri> = url.parse().ok().filter(|uri: &Uri| uri.path().len() > 1 && uri.query().is_none());
    let Some(host) = parsed.as_ref().filter(|uri| uri.scheme().is_some()).and_then(Uri::host) else {
        let message = format!(
            "`{url}` is no queue; write its URL, e.g. `https://sqs.us-east-1.amazonaws.com/123456789012/coffee`"
        );
        return Err(ConfigError::new(&["queue_url"], message));
    };
    let of_aws = host.contains(".amazonaws.com");
    if settings.region.is_none() && of_aws {
        // sqs.REGION.amazonaws.com
        settings.region = host.split('.').nth(1).map(str::to_owned);
    }
    if settings.endpoint.is_none() && !of_aws {
        let end = url.match_indices('/').nth(2).map(|(at, _)| at);
        settings.endpoint = end.and_then(|end| url.get(..end)).map(str::to_owned);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_says_where_the_queue_is() {
        let settings = |url| with_url(url, Settings::default()).unwrap();
        let aws = settings("https://sqs.eu-west-1.amazonaws.com/123456789012/q");
        assert_eq!((aws.region.as_deref(), aws.endpoint), (Some("eu-west-1"), None));
        let own = settings("http://127.0.0.1:4566/000000000000/q");
        assert_eq!((own.region, own.endpoint.as_deref()), (None, Some("http://127.0.0.1:4566")));
        for bad in ["coffee", "https://sqs.us-east-1.amazonaws.com/", "/1/q"] {
            assert_eq!(with_url(bad, Settings::default()).unwrap_err().keys, ["queue_url"], "{bad}");
        }
    }
}
