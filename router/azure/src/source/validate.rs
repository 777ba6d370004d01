//! The handshake by a call back, for operators who ask for it: Event Grid names a URL, and is called there after its
//! request was answered [learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema].
//!
//! The URL comes from whoever sent the request, so that only Event Grid's own names are called, over https, without
//! following a redirect, within [`CALL_TIMEOUT`], and only at public addresses.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use router_core::id::SourceName;
use router_http::{
    address::Private,
    client::{self, Client, Settings, USER_AGENT},
    listener::TlsError,
    problem::Problem,
};
use tokio::task::JoinSet;

use crate::codes;

/// How long a call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls at a time.
const CALLS_MAX: usize = 8;
/// The call follows the answer: Event Grid refuses one that comes before.
const CALL_AFTER: Duration = Duration::from_secs(1);
/// Names under which Event Grid asks to be called: the public cloud, the governments' and China's.
const NAMES: [&str; 3] = [".eventgrid.azure.net", ".eventgrid.azure.us", ".eventgrid.azure.cn"];

/// Calls Event Grid back.
pub struct Validation {
    client: Client,
    calls: Arc<Mutex<JoinSet<()>>>,
}

impl Validation {
    /// With a client of its own, that connects to public addresses alone.
    ///
    /// # Errors
    /// What TLS says about its own setup.
    pub fn new() -> Result<Self, TlsError> {
        let settings =
            Settings { private: Some(Private::Refused), connect_timeout: CALL_TIMEOUT, ..Settings::default() };
        Ok(Validation { client: Client::with(&settings)?, calls: Arc::default() })
    }

    /// Calls a URL, after the request that named it was answered.
    pub(super) fn call_back(&self, source: &SourceName, url: &str) -> Result<(), Problem> {
        let Some(uri) = event_grids(url) else {
            let detail = "the handshake names no https URL of Event Grid that could be called back";
            return Err(Problem::new(StatusCode::BAD_REQUEST, codes::VALIDATION_EVENT, detail));
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        while calls.try_join_next().is_some() {}
        if calls.len() >= CALLS_MAX {
            let detail = "too many handshakes at once; make the subscription again";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, codes::VALIDATION_EVENT, detail));
        }
        let (client, source) = (self.client.clone(), source.clone());
        calls.spawn(async move {
            tokio::time::sleep(CALL_AFTER).await;
            let host = client::host(&uri);
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = uri;
            request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
            match client.send(request, CALL_TIMEOUT, 1 << 10).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    tracing::info!(%source, host, "a subscription of Event Grid was validated by a call back");
                }
                Ok(answer) => {
                    tracing::warn!(code = %codes::VALIDATION_FAILED, %source, host, status = answer.status.as_u16(), "Event Grid did not take the validation of a subscription; make it again");
                }
                Err(error) => {
                    tracing::warn!(code = %codes::VALIDATION_FAILED, %source, host, %error, "Event Grid could not be called back to validate a subscription; make it again");
                }
            }
        });
        Ok(())
    }
}

/// The URL, when it is one of Event Grid's own.
fn event_grids(url: &str) -> Option<Uri> {
    let uri = client::url(url).ok().filter(|uri| uri.scheme_str() == Some("https"))?;
    let host = uri.host()?.to_ascii_lowercase();
    NAMES.iter().any(|name| host.ends_with(name)).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_event_grids_own_names_are_called() {
        for url in [
            "https://rp-eastus2.eventgrid.azure.net:553/eventsubscriptions/s/validate?id=1&t=2&token=3",
            "https://RP-x.EventGrid.Azure.NET/validate",
            "https://rp-usgovvirginia.eventgrid.azure.us/validate",
        ] {
            assert!(event_grids(url).is_some(), "{url}");
        }
        for url in [
            "",
            "http://rp-eastus2.eventgrid.azure.net/validate",
            "https://eventgrid.azure.net.evil.example/validate",
            "https://evil.example/?.eventgrid.azure.net",
            "https://evil-eventgrid.azure.net/",
            "https://u:p@rp.eventgrid.azure.net/",
            "https://127.0.0.1/",
            "https://eventgrid.azure.net/",
        ] {
            assert!(event_grids(url).is_none(), "{url}");
        }
    }
}
