//! How Event Grid knows us, and how we know it.
//!
//! | | to a topic | to a namespace | to a function |
//! |---|---|---|---|
//! | key | `aeg-sas-key` | `Authorization: SharedAccessKey` | `x-functions-key` |
//! | signature, made here | `aeg-sas-token` | `Authorization: SharedAccessSignature` | |
//! | Entra ID | `Authorization: Bearer` | the same | the same |

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, header};
use router_http::{Secret, client::Client, secret, target::Tokens};

/// Signatures that a key makes, and those that it made.
pub mod sas;

/// Tokens of Microsoft Entra ID.
pub mod entra;

pub use entra::{Entra, Identity};

/// How long a signature is good for.
pub const SAS_LIFE: Duration = Duration::from_secs(3600);

/// How a service of Azure knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// One of the two access keys.
    Key(Secret),
    /// Signatures that one of the keys makes, each good for that long; the key itself is never sent.
    Sas {
        /// The access key, in base64 as Azure gives it.
        key: Secret,
        /// How long: [`SAS_LIFE`].
        life: Duration,
    },
    /// A token of Microsoft Entra ID.
    Entra(Entra),
}

/// What shows who we are, by the service that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A custom topic, a domain or a partner channel.
    Topic,
    /// A namespace.
    Namespace,
    /// A function.
    Function,
}

/// Why a service cannot know us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A key that no header can carry.
    #[error("the key is empty, or holds what no header can carry; it is one line, as the portal shows it")]
    Key,
    /// A key that signs nothing.
    #[error("the key is no base64, so that no signature can be made with it; it is one line, as the portal shows it")]
    NotBase64,
    /// A signature that is good for no time.
    #[error("a signature that is good for less than a minute has ended before it is used; the default is {SAS_LIFE:?}")]
    Life,
    /// Signatures where none are known.
    #[error("a function knows no signatures; give it its key, or a token")]
    NoSignature,
    /// Entra ID.
    #[error("{0}")]
    Entra(String),
}

/// Makes the header that shows who we are.
pub struct Authoriser {
    how: How,
    secrets: Vec<Secret>,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each target, made at the start")]
enum How {
    Fixed(HeaderName, HeaderValue),
    Signed {
        header: HeaderName,
        scheme: &'static str,
        signer: sas::Signer,
        life: Duration,
        last: Mutex<Option<Signed>>,
    },
    Tokens(Tokens),
}

/// A signature in use.
struct Signed {
    header: HeaderValue,
    renew_at: SystemTime,
}

/// What a request carries.
pub enum Shown {
    /// This header.
    Header(HeaderName, HeaderValue),
    /// A token, which has to be had first.
    Token,
}

impl Authoriser {
    /// Checks what is configured; connects nowhere. `resource` is what signatures are for: the URL of the endpoint.
    ///
    /// # Errors
    /// [`AuthError`], never showing a secret.
    pub fn new(auth: &Auth, service: Service, resource: &str, client: &Client) -> Result<Self, AuthError> {
        let (key_header, key_scheme) = match service {
            Service::Topic => (HeaderName::from_static("aeg-sas-key"), ""),
            Service::Namespace => (header::AUTHORIZATION, "SharedAccessKey "),
            Service::Function => (HeaderName::from_static("x-functions-key"), ""),
        };
        match auth {
            Auth::Key(key) => {
                let value = sensitive(&format!("{key_scheme}{}", key.expose())).filter(|_| is_key(key));
                let how = How::Fixed(key_header, value.ok_or(AuthError::Key)?);
                Ok(Authoriser { how, secrets: secret::echoes([key.expose().to_owned()]) })
            }
            Auth::Sas { key, life } => {
                let (header, scheme) = match service {
                    Service::Topic => (HeaderName::from_static("aeg-sas-token"), ""),
                    Service::Namespace => (header::AUTHORIZATION, "SharedAccessSignature "),
                    Service::Function => return Err(AuthError::NoSignature),
                };
                if *life < Duration::from_secs(60) {
                    return Err(AuthError::Life);
                }
                let signer = sas::Signer::new(key, resource).ok_or(AuthError::NotBase64)?;
                let how = How::Signed { header, scheme, signer, life: *life, last: Mutex::default() };
                Ok(Authoriser { how, secrets: secret::echoes([key.expose().to_owned()]) })
            }
            Auth::Entra(entra) => {
                let tokens = entra.tokens(client)?;
                let secrets = tokens.secrets().to_vec();
                Ok(Authoriser { how: How::Tokens(tokens), secrets })
            }
        }
    }

    /// What the next request carries.
    pub fn shown(&self, now: SystemTime) -> Shown {
        match &self.how {
            How::Fixed(name, value) => Shown::Header(name.clone(), value.clone()),
            How::Tokens(_) => Shown::Token,
            How::Signed { header, scheme, signer, life, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                // Half of its life is left to a request that waits, and to a clock that goes wrong.
                let fresh = |signed: &&Signed| now < signed.renew_at && signed.renew_at <= now + *life / 2;
                if let Some(signed) = last.as_ref().filter(fresh) {
                    return Shown::Header(header.clone(), signed.header.clone());
                }
                let text = format!("{scheme}{}", signer.sign(now + *life));
                // What is percent-encoded is visible ASCII.
                let value = sensitive(&text).unwrap_or(HeaderValue::from_static(""));
                *last = Some(Signed { header: value.clone(), renew_at: now + *life / 2 });
                Shown::Header(header.clone(), value)
            }
        }
    }

    /// Where tokens are had, when they are what is shown.
    pub fn tokens(&self) -> Option<&Tokens> {
        match &self.how {
            How::Tokens(tokens) => Some(tokens),
            _ => None,
        }
    }

    /// What no note may show.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

fn is_key(key: &Secret) -> bool {
    !key.expose().is_empty() && key.expose().bytes().all(|b| b.is_ascii_graphic())
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2VjcmV0IGtleSBvZiBhIHRvcGlj";

    fn header(auth: Auth, service: Service) -> Result<(String, String), AuthError> {
        let client = Client::new().unwrap();
        let made = Authoriser::new(&auth, service, "https://t.westeurope-1.eventgrid.azure.net/api/events", &client)?;
        match made.shown(SystemTime::UNIX_EPOCH) {
            Shown::Header(name, value) => Ok((name.to_string(), value.to_str().unwrap().to_owned())),
            Shown::Token => Ok(("token".into(), String::new())),
        }
    }

    #[test]
    fn each_service_is_shown_what_it_knows() {
        let key = || Auth::Key(Secret::new(KEY));
        let pair = |name: &str, value: String| Ok((name.to_owned(), value));
        assert_eq!(header(key(), Service::Topic), pair("aeg-sas-key", KEY.into()));
        assert_eq!(header(key(), Service::Namespace), pair("authorization", format!("SharedAccessKey {KEY}")));
        assert_eq!(header(key(), Service::Function), pair("x-functions-key", KEY.into()));
        let sas = || Auth::Sas { key: Secret::new(KEY), life: SAS_LIFE };
        let (name, token) = header(sas(), Service::Topic).unwrap();
        assert!(name == "aeg-sas-token" && token.starts_with("r=https%3A%2F%2Ft."), "{token}");
        let (name, token) = header(sas(), Service::Namespace).unwrap();
        assert!(name == "authorization" && token.starts_with("SharedAccessSignature r="), "{token}");
        assert_eq!(header(sas(), Service::Function), Err(AuthError::NoSignature));
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        for bad in ["", "two words", "line\n"] {
            assert_eq!(header(Auth::Key(Secret::new(bad)), Service::Topic), Err(AuthError::Key), "{bad:?}");
        }
        let sas = |key: &str, life| Auth::Sas { key: Secret::new(key), life };
        assert_eq!(header(sas("no base64!", SAS_LIFE), Service::Topic), Err(AuthError::NotBase64));
        assert_eq!(header(sas(KEY, Duration::from_secs(59)), Service::Topic), Err(AuthError::Life));
    }

    #[test]
    fn a_signature_is_renewed_before_it_ends() {
        let auth = Auth::Sas { key: Secret::new(KEY), life: Duration::from_secs(600) };
        let made = Authoriser::new(&auth, Service::Topic, "https://t/api/events", &Client::new().unwrap()).unwrap();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let at = |seconds: u64| match made.shown(start + Duration::from_secs(seconds)) {
            Shown::Header(_, value) => value,
            Shown::Token => panic!("no token is asked for"),
        };
        let first = at(0);
        assert_eq!(at(299), first);
        let second = at(300);
        assert_ne!(second, first);
        assert_eq!(at(301), second);
        // A clock that was set back makes a new one, whose end that clock knows.
        assert_ne!(at(0), second);
    }
}
