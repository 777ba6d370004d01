//! Email over SMTP (RFC 5321), with TLS from the start, with STARTTLS, or without where the server is near.
//!
//! | answer | |
//! |---|---|
//! | 2xx after the last byte | taken |
//! | 4xx at any stage, no connection, no TLS, silence | later |
//! | 530, 534, 535, 538: our own name or password | later: the operator mends it, and nothing is lost meanwhile |
//! | any other 5xx | refused |
//!
//! `Message-ID` is the same for all attempts at a message: mail programs show a repeat once.

use std::{time::Duration, time::SystemTime};

use function_host::{Context, http::DEADLINE_MARGIN};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{Mailbox, Message as Email, header::ContentType},
    transport::smtp::{AsyncSmtpTransportBuilder, Error, authentication::Credentials, extension::ClientId},
};
use serde::Deserialize;

use super::{Message, Outcome, Secret, timeout};

/// As the settings have it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpText {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: TlsText,
    /// PEM of an authority that the machine does not know.
    authority_file: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    from: String,
    timeout_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TlsText {
    #[default]
    Starttls,
    Tls,
    None,
}

/// One server.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
}

impl Smtp {
    pub(crate) fn new(text: SmtpText) -> Result<Self, String> {
        let from = mailbox(&text.from).map_err(|e| format!("from: {e}"))?;
        let timeout = timeout(text.timeout_ms)?;
        if text.password.is_some() && text.tls == TlsText::None && !is_near(&text.host) {
            return Err("tls: without it the password would be sent in the clear; use starttls or tls".into());
        }
        let port = text.port.unwrap_or(match text.tls {
            TlsText::Starttls => 587,
            TlsText::Tls => 465,
            TlsText::None => 25,
        });
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&text.host).port(port).timeout(Some(timeout));
        builder = secured(builder, &text)?;
        if let Some(host) = from.email.domain().is_ascii().then(|| from.email.domain().to_owned()) {
            builder = builder.hello_name(ClientId::Domain(host));
        }
        builder = match (text.user, text.password) {
            (Some(user), Some(password)) => builder.credentials(Credentials::new(user, password.0)),
            (None, None) => builder,
            _ => return Err("user, password: give both, or none".into()),
        };
        Ok(Smtp { transport: builder.build(), from, timeout })
    }

    pub(crate) async fn send(&self, ctx: &Context, message: Message<'_>) -> Outcome {
        let email = match self.email(message) {
            Ok(email) => email,
            Err(why) => return Outcome::refused("address-invalid", why),
        };
        let timeout = self.timeout.min(ctx.remaining().saturating_sub(DEADLINE_MARGIN));
        match tokio::time::timeout(timeout, self.transport.send(email)).await {
            Ok(Ok(response)) => Outcome::Taken(response.first_line().map(str::to_owned)),
            Ok(Err(error)) => verdict(&error),
            Err(_) => Outcome::later("smtp-timeout", format!("the mail server was not done within {timeout:?}")),
        }
    }

    fn email(&self, message: Message<'_>) -> Result<Email, String> {
        let to = mailbox(message.address.unwrap_or_default())?;
        Email::builder()
            .from(self.from.clone())
            .to(to)
            .subject(message.title)
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())))
            .date(SystemTime::from(message.now))
            .header(ContentType::TEXT_PLAIN)
            .body(message.text.to_owned())
            .map_err(|e| e.to_string())
    }
}

/// Whether a host is this machine.
fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(feature = "tls")]
fn secured(builder: AsyncSmtpTransportBuilder, text: &SmtpText) -> Result<AsyncSmtpTransportBuilder, String> {
    use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
    let mut parameters = TlsParameters::builder(text.host.clone());
    if let Some(path) = &text.authority_file {
        let pem = std::fs::read(path).map_err(|e| format!("authority_file: {path}: {e}"))?;
        let certificate = Certificate::from_pem(&pem).map_err(|e| format!("authority_file: {path}: {e}"))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let build = || parameters.build_rustls().map_err(|e| format!("tls: {e}"));
    Ok(builder.tls(match text.tls {
        TlsText::None => Tls::None,
        TlsText::Starttls => Tls::Required(build()?),
        TlsText::Tls => Tls::Wrapper(build()?),
    }))
}

#[cfg(not(feature = "tls"))]
fn secured(builder: AsyncSmtpTransportBuilder, text: &SmtpText) -> Result<AsyncSmtpTransportBuilder, String> {
    match (text.tls, &text.authority_file) {
        (TlsText::None, None) => Ok(builder),
        _ => Err("tls: this program is built without it; set it to none where the server is on this machine".into()),
    }
}

/// An address, with a name or without.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|e| format!("it is no address like zoe@example.com or Zoë <zoe@example.com>: {e}"))
}

fn verdict(error: &Error) -> Outcome {
    let why = causes(error);
    let Some(status) = error.status() else { return Outcome::later("smtp-no-answer", why) };
    let number = u16::from(status);
    let code = format!("smtp-{number}");
    match number {
        400..=499 | 530 | 534 | 535 | 538 => Outcome::later(code, why),
        _ => Outcome::refused(code, why),
    }
}

/// An error and its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
