//! What errors of Google mean for a delivery. Pure: a table of gRPC's codes, and of what goes wrong before there is one.
//!
//! What is wrong with the account or the topic, and not with the event, is a fault of the target: denied, expired, a
//! topic that is not there. Somebody has to mend it, and no night of orders becomes dead letters meanwhile; see
//! `age_max`.

use google_cloud_gax::error::{Error, rpc::Code};
use google_cloud_pubsub::error::PublishError;
use router_core::target::{Facts, Outcome, Scope};
use router_http::target::{SLOW, Verdict};

use super::note;

/// A call, or a message of one, that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub verdict: Verdict,
    pub note: Box<str>,
}

impl Failure {
    /// A fault of the target: nothing gets through now.
    pub fn of_target(text: &str) -> Self {
        Failure { verdict: Verdict::Retry { scope: Scope::Target, slow: false }, note: note(text) }
    }

    /// A fault that may be this event's: it is tried again.
    pub fn of_event(text: &str) -> Self {
        Failure { verdict: Verdict::Retry { scope: Scope::Event, slow: false }, note: note(text) }
    }

    /// What the path is told.
    pub fn outcome(self, facts: Facts) -> Outcome {
        let facts = Facts { note: Some(self.note), ..facts };
        match self.verdict {
            Verdict::Delivered => Outcome::Delivered { facts, replies: Vec::new() },
            Verdict::Retry { scope, slow } => Outcome::Retry { facts, scope, not_before: slow.then_some(SLOW) },
            Verdict::Refused => Outcome::Refused { facts, code: router_core::codes::REFUSED },
            Verdict::Stop => Outcome::Stop { facts, code: router_core::codes::GONE },
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let said = context(error);
        match error.status() {
            Some(status) => {
                let said = format!("{}: {}", status.code.name(), status.message);
                Failure { verdict: of_code(status.code), note: note(&said) }
            }
            // It was sent: perhaps it is this event that the service cannot bear.
            None if error.is_timeout() || error.is_exhausted() || error.is_deserialization() => {
                Failure::of_event(&said)
            }
            None if error.is_serialization() || error.is_binding() => {
                Failure { verdict: Verdict::Refused, note: note(&said) }
            }
            // No connection, no credentials, something on the way that speaks no gRPC.
            None => Failure::of_target(&said),
        }
    }
}

impl From<&PublishError> for Failure {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::Rpc(error) => Failure::from(&**error),
            PublishError::OrderingKeyPaused => {
                Failure::of_event("an earlier message of the same ordering key was not taken, so this one was not sent")
            }
            other => Failure::of_event(&other.to_string()),
        }
    }
}

/// What a code of gRPC means.
pub(crate) fn of_code(code: Code) -> Verdict {
    let retry = |scope, slow| Verdict::Retry { scope, slow };
    match code {
        Code::Unavailable | Code::ResourceExhausted => retry(Scope::Target, false),
        // Credentials, rights, a topic that is gone, a key that encrypts it, an address that is no Pub/Sub: people mend
        // that.
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::Unimplemented => retry(Scope::Target, true),
        Code::InvalidArgument | Code::OutOfRange => Verdict::Refused,
        // Deadline, aborted, cancelled, internal, unknown, lost data, and what comes tomorrow.
        _ => retry(Scope::Event, false),
    }
}

/// An error with everything that it follows from, each once.
pub(crate) fn context(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| (*e).source());
    let mut words = String::new();
    for cause in causes.map(ToString::to_string) {
        if !words.contains(&cause) {
            let between = if words.is_empty() { "" } else { ": " };
            words = format!("{words}{between}{cause}");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;

    use super::*;

    #[test]
    fn codes_mean_what_the_table_says() {
        let retry = |scope, slow| Verdict::Retry { scope, slow };
        let cases = [
            (Code::Unavailable, retry(Scope::Target, false)),
            (Code::ResourceExhausted, retry(Scope::Target, false)),
            (Code::PermissionDenied, retry(Scope::Target, true)),
            (Code::NotFound, retry(Scope::Target, true)),
            (Code::DeadlineExceeded, retry(Scope::Event, false)),
            (Code::Aborted, retry(Scope::Event, false)),
            (Code::InvalidArgument, Verdict::Refused),
        ];
        for (code, verdict) in cases {
            let error = Error::service(Status::default().set_code(code).set_message("why"));
            let failure = Failure::from(&error);
            assert_eq!((failure.verdict, &*failure.note), (verdict, &*format!("{}: why", code.name())));
        }
    }

    #[test]
    fn what_was_never_sent_is_the_targets_fault() {
        let retry = |scope| Verdict::Retry { scope, slow: false };
        for (error, verdict) in [
            (Error::connect("refused"), retry(Scope::Target)),
            (Error::io("broken"), retry(Scope::Target)),
            (Error::timeout("late"), retry(Scope::Event)),
        ] {
            assert_eq!(Failure::from(&error).verdict, verdict, "{error}");
        }
    }
}
