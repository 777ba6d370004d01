//! What errors of AWS mean for a delivery. Pure: a table of codes, and of statuses where a code is not known.
//!
//! What is wrong with the account, and not with the event, is a fault of the target: denied, expired, a bus that is
//! not there. Somebody has to mend it, and no night of orders becomes dead letters meanwhile; see `age_max`.

use std::error::Error;

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use router_core::target::{Facts, Outcome, Scope};
use router_http::target::{SLOW, Verdict, verdict};

use super::note;

/// A call, or an entry of one, that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub verdict: Verdict,
    pub status: Option<u16>,
    pub note: Box<str>,
}

impl Failure {
    /// A fault of the target: nothing gets through now.
    pub fn of_target(text: &str) -> Self {
        Failure { verdict: Verdict::Retry { scope: Scope::Target, slow: false }, status: None, note: note(text) }
    }

    /// A fault that may be this event's: it is tried again.
    pub fn of_event(text: &str) -> Self {
        Failure { verdict: AGAIN, status: None, note: note(text) }
    }

    /// What the path is told.
    pub fn outcome(self, facts: Facts) -> Outcome {
        let facts = Facts { status: self.status.or(facts.status), note: Some(self.note), ..facts };
        match self.verdict {
            Verdict::Delivered => Outcome::Delivered { facts, replies: Vec::new() },
            Verdict::Retry { scope, slow } => Outcome::Retry { facts, scope, not_before: slow.then_some(SLOW) },
            Verdict::Refused => Outcome::Refused { facts, code: router_core::codes::REFUSED },
            Verdict::Stop => Outcome::Stop { facts, code: router_core::codes::GONE },
        }
    }
}

/// A fault that may be this event's, tried again.
pub(super) const AGAIN: Verdict = Verdict::Retry { scope: Scope::Event, slow: false };

/// What becomes of an entry that was taken, and is called so there.
pub(super) fn taken(reference: Option<&str>) -> Outcome {
    let facts = Facts { status: Some(200), reference: reference.map(Into::into), ..Facts::default() };
    Outcome::Delivered { facts, replies: Vec::new() }
}

/// What becomes of an entry that was not taken; `unknown` is what a code means that no table has.
pub(super) fn not_taken(code: &str, message: Option<&str>, unknown: Verdict) -> Outcome {
    let said = format!("{code}: {}", message.unwrap_or("no reason is given"));
    let verdict = of_code(code).unwrap_or(unknown);
    Failure { verdict, status: None, note: note(&said) }.outcome(Facts { status: Some(200), ..Facts::default() })
}

/// What a code of AWS means; `None` for one that says nothing more than its status.
pub(crate) fn of_code(code: &str) -> Option<Verdict> {
    let retry = |scope, slow| Some(Verdict::Retry { scope, slow });
    // Services that speak the query protocol put a name space in front, and older ones say `AWS.`.
    let code = code.rsplit(['#', '.']).next().unwrap_or(code);
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "KmsThrottled"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "LimitExceededException" => retry(Scope::Target, false),
        "InternalFailure"
        | "InternalException"
        | "InternalError"
        | "InternalServerError"
        | "ServiceException"
        | "RequestTimeout"
        | "RequestTimeoutException" => retry(Scope::Event, false),
        // The clock of one side is wrong, or credentials are, or rights: people mend that.
        "AccessDenied"
        | "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "OptInRequired"
        | "NotAuthorized"
        | "InvalidSecurity"
        | "KmsAccessDenied"
        | "KmsDisabled"
        | "KMSAccessDeniedException" => retry(Scope::Target, true),
        // A bus that is being made, or cannot be, is none either.
        "ResourceNotFoundException"
        | "InvalidStateException"
        | "QueueDoesNotExist"
        | "NonExistentQueue"
        | "QueueDeletedRecently" => retry(Scope::Target, true),
        "MalformedDetail"
        | "InvalidArgument"
        | "NotAuthorizedForSourceException"
        | "NotAuthorizedForDetailTypeException"
        | "ValidationException"
        | "VALIDATION_ERROR"
        | "InvalidInputException"
        | "RequestEntityTooLarge"
        | "RequestTooLargeException"
        | "InvalidMessageContents" => Some(Verdict::Refused),
        _ => None,
    }
}

/// What became of a call that failed.
pub(crate) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        // Credentials that cannot be had end here, too.
        SdkError::ConstructionFailure(_) => Failure::of_target(&context(error)),
        SdkError::DispatchFailure(_) => Failure::of_target(&context(error)),
        // It was sent: perhaps it is this event that the target cannot bear.
        SdkError::TimeoutError(_) => Failure::of_event("no answer in time"),
        SdkError::ServiceError(service) => {
            let (status, meta) = (service.raw().status().as_u16(), service.err().meta());
            let said = match (meta.code(), meta.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                (None, _) => context(error),
            };
            let verdict = meta.code().and_then(of_code).unwrap_or_else(|| verdict(status));
            Failure { verdict, status: Some(status), note: note(&said) }
        }
        other => {
            let status = other.raw_response().map(|response| response.status().as_u16());
            Failure { status, ..Failure::of_event(&context(other)) }
        }
    }
}

/// An error with everything that it follows from.
fn context<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    let causes = std::iter::successors(Some(error as &(dyn Error + 'static)), |e| (*e).source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_table_says() {
        let retry = |scope, slow| Some(Verdict::Retry { scope, slow });
        let cases = [
            ("ThrottlingException", retry(Scope::Target, false)),
            ("InternalFailure", retry(Scope::Event, false)),
            ("AccessDeniedException", retry(Scope::Target, true)),
            ("ExpiredTokenException", retry(Scope::Target, true)),
            ("com.amazonaws.eventbridge#ResourceNotFoundException", retry(Scope::Target, true)),
            ("AWS.SimpleQueueService.NonExistentQueue", retry(Scope::Target, true)),
            ("MalformedDetail", Some(Verdict::Refused)),
            ("InvalidStateException", retry(Scope::Target, true)),
            ("com.amazonaws.eventbridgev2#InvalidInputException", Some(Verdict::Refused)),
            ("VALIDATION_ERROR", Some(Verdict::Refused)),
            ("NotAuthorizedForSourceException", Some(Verdict::Refused)),
            ("SomethingOfTomorrow", None),
        ];
        for (code, verdict) in cases {
            assert_eq!(of_code(code), verdict, "{code}");
        }
    }
}
