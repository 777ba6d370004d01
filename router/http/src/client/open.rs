//! An answer that is read while it comes: for streams of lines.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Answer, Client, ERROR_BYTES_MAX, Error, JSON_TIMEOUT, causes, host, read, request_to, url};
use crate::secret::Secret;

/// An answer whose body is still on its way.
pub struct Open {
    /// The status.
    pub status: StatusCode,
    headers: HeaderMap,
    host: String,
    body: Incoming,
}

impl Client {
    /// Gets a URL, for the command line, and leaves its body to be read bit by bit.
    ///
    /// # Errors
    /// [`Error`]; a status that is no success is an answer.
    pub async fn open(&self, to: &str, token: Option<&Secret>) -> Result<Open, Error> {
        let uri = url(to)?;
        let host = host(&uri);
        let request = request_to(Method::GET, uri, token, None)?;
        let response = self.begin(request, Instant::now() + JSON_TIMEOUT, JSON_TIMEOUT).await?;
        let (head, body) = response.into_parts();
        Ok(Open { status: head.status, headers: head.headers, host, body })
    }
}

impl Open {
    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Broken`] before the end, [`Error::Timeout`] when nothing comes for so long.
    pub async fn next(&mut self, wait_max: Duration) -> Result<Option<Bytes>, Error> {
        let host = || self.host.clone();
        let deadline = Instant::now() + wait_max;
        loop {
            match tokio::time::timeout_at(deadline, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Ok(Some(Err(e))) => return Err(Error::Broken { host: host(), why: causes(&e) }),
                Err(_) => return Err(Error::Timeout { host: host(), after: wait_max }),
            }
        }
    }

    /// The beginning of its body, of an answer that is an error.
    pub async fn into_answer(self) -> Answer {
        let (body, cut) = read(self.body, ERROR_BYTES_MAX, Instant::now() + JSON_TIMEOUT).await;
        Answer { status: self.status, headers: self.headers, body, cut }
    }
}
