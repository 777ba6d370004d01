//! Whether a request was signed with one of our keys: AWS Signature Version 4, checked. Pure.
//!
//! Source: AWS IAM User Guide, "Create a signed AWS API request". What is signed is the method, the path, the query, the
//! headers that the signature names, and the SHA-256 of the body; the key is derived from the secret, the day, the region,
//! the service and the word `aws4_request`.

use std::time::Duration;

use http::{HeaderMap, Method, Uri, header};
use jiff::Timestamp;
use ring::{digest, hmac};
use router_http::Secret;

/// How far a request's date may be from ours.
pub const SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What ends the scope of a key.
const TERMINATOR: &str = "aws4_request";
const DATE: &str = "x-amz-date";
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// Why a request is not known, with what AWS calls it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsigned {
    /// AWS's name of the error.
    pub name: &'static str,
    /// The status that goes with it.
    pub status: u16,
    /// What is wrong, and what to do.
    pub message: String,
}

/// [API reference of EventBridge, "Common Errors"]
fn unsigned(name: &'static str, status: u16, message: impl Into<String>) -> Unsigned {
    Unsigned { name, status, message: message.into() }
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its path and query.
    pub uri: &'r Uri,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its body, as it came.
    pub body: &'r [u8],
}

/// What the header `Authorization` says.
#[derive(Debug)]
struct Claim<'r> {
    id: &'r str,
    day: &'r str,
    region: &'r str,
    headers: Vec<&'r str>,
    signature: Vec<u8>,
}

/// Checks the signature of a request to this service. `secret` finds the secret of a key by its id.
///
/// # Errors
/// [`Unsigned`]: what AWS would answer. A key that is not known costs as much time as a wrong signature.
pub fn verify(
    request: Signed<'_>,
    service: &str,
    now: Timestamp,
    secret: impl FnOnce(&str) -> Option<Secret>,
) -> Result<(), Unsigned> {
    let claim = claim(request.headers, service)?;
    let date = date(request.headers, &claim, now)?;
    covers(request.headers, &claim)?;
    let payload = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    if let Some(said) = request.headers.get(CONTENT_SHA256)
        && said.as_bytes() != payload.as_bytes()
    {
        let message = "the header x-amz-content-sha256 is not the SHA-256 of the body, which has to be signed";
        return Err(unsigned("InvalidSignatureException", 403, message));
    }
    let canonical = canonical(request, &claim.headers, &payload)?;
    let scope = format!("{}/{}/{service}/{TERMINATOR}", claim.day, claim.region);
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
    let known = secret(claim.id);
    let key = signing_key(known.as_ref().map_or("", Secret::expose), claim.day, claim.region, service);
    let good = hmac::verify(&key, to_sign.as_bytes(), &claim.signature).is_ok();
    match known {
        None => {
            Err(unsigned("UnrecognizedClientException", 400, "the access key is none of this source's `access_keys`"))
        }
        Some(_) if good => Ok(()),
        Some(_) => Err(unsigned(
            "InvalidSignatureException",
            403,
            "the signature is not the one that the secret of this access key makes; compare the secret, and whether a proxy changes the path or the header Host",
        )),
    }
}

fn claim<'r>(headers: &'r HeaderMap, service: &str) -> Result<Claim<'r>, Unsigned> {
    let incomplete = |what: &str| {
        unsigned("IncompleteSignatureException", 400, format!("the header Authorization {what}; let an AWS SDK sign"))
    };
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        let message = "the request is not signed; give the SDK an access key of this source";
        return Err(unsigned("MissingAuthenticationTokenException", 403, message));
    };
    let given = given.to_str().map_err(|_| incomplete("is no text"))?;
    let rest = given.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with([' ', '\t']));
    let rest = rest.ok_or_else(|| incomplete("is not one of AWS4-HMAC-SHA256"))?;
    let (mut credential, mut names, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or_else(|| incomplete("has a part without `=`"))?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut names,
            "Signature" => &mut signature,
            _ => return Err(incomplete("has a part that means nothing")),
        };
        if slot.replace(value).is_some() {
            return Err(incomplete("has a part twice"));
        }
    }
    let (Some(credential), Some(names), Some(signature)) = (credential, names, signature) else {
        return Err(incomplete("needs Credential, SignedHeaders and Signature"));
    };
    let scope: Vec<&str> = credential.split('/').collect();
    let [id, day, region, of, TERMINATOR] = scope[..] else {
        return Err(incomplete("needs Credential=KEY/DATE/REGION/SERVICE/aws4_request"));
    };
    if of != service {
        let message = format!("the request is signed for the service `{of}`; this is `{service}`");
        return Err(unsigned("InvalidSignatureException", 403, message));
    }
    let headers: Vec<&str> = names.split(';').collect();
    if !headers.is_sorted() || headers.iter().any(|name| name.bytes().any(|b| b.is_ascii_uppercase())) {
        return Err(incomplete("has SignedHeaders that are not in order, in lower case"));
    }
    let signature = unhex(signature).ok_or_else(|| incomplete("has a Signature that is no hexadecimal number"))?;
    Ok(Claim { id, day, region, headers, signature })
}

/// The date that was signed, which is near ours.
fn date<'r>(headers: &'r HeaderMap, claim: &Claim<'_>, now: Timestamp) -> Result<&'r str, Unsigned> {
    let said = headers.get(DATE).and_then(|date| date.to_str().ok());
    let read = |text: &str| {
        // 20260102T030405Z
        let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
        let digits = [day, time].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
        if day.len() != 8 || time.len() != 6 || !digits {
            return None;
        }
        let cut = |part: &str, at: std::ops::Range<usize>| part.get(at).map(str::to_owned);
        let (y, m, d) = (cut(day, 0..4)?, cut(day, 4..6)?, cut(day, 6..8)?);
        let (h, min, s) = (cut(time, 0..2)?, cut(time, 2..4)?, cut(time, 4..6)?);
        format!("{y}-{m}-{d}T{h}:{min}:{s}Z").parse::<Timestamp>().ok()
    };
    let Some((text, at)) = said.and_then(|text| Some((text, read(text)?))) else {
        let message = "the header x-amz-date is missing or no date like 20260102T030405Z; let an AWS SDK sign";
        return Err(unsigned("IncompleteSignatureException", 400, message));
    };
    if !text.starts_with(claim.day) {
        let message = "the day of the Credential is not that of x-amz-date";
        return Err(unsigned("InvalidSignatureException", 403, message));
    }
    let apart = now.duration_since(at).unsigned_abs();
    if apart > SKEW_MAX {
        let way = if at < now { "expired" } else { "not yet current" };
        // SDKs that read `Signature expired` or `not yet current` look at the header Date and correct their clock.
        let message = format!("Signature {way}: x-amz-date is {} s from this router's clock", apart.as_secs());
        return Err(unsigned("InvalidSignatureException", 403, message));
    }
    Ok(text)
}

/// Whether all that means something is signed.
fn covers(headers: &HeaderMap, claim: &Claim<'_>) -> Result<(), Unsigned> {
    let is_signed = |name: &str| claim.headers.contains(&name);
    let means = |name: &str| name == "host" || name.starts_with("x-amz-");
    let host = std::iter::once("host");
    match host.chain(headers.keys().map(header::HeaderName::as_str)).find(|name| means(name) && !is_signed(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("the header `{name}` is not signed; let an AWS SDK sign");
            Err(unsigned("InvalidSignatureException", 403, message))
        }
    }
}

fn canonical(request: Signed<'_>, names: &[&str], payload: &str) -> Result<String, Unsigned> {
    let mut text = format!("{}\n", request.method);
    // Everything but S3 encodes the path, as it was sent, once more.
    for (n, segment) in request.uri.path().split('/').enumerate() {
        if n > 0 {
            text.push('/');
        }
        encode(segment, &mut text);
    }
    text.push('\n');
    let mut pairs: Vec<(&str, &str)> = (request.uri.query().unwrap_or_default().split('&'))
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    text.push_str(&pairs.join("&"));
    text.push('\n');
    for name in names {
        text.push_str(&format!("{name}:{}\n", value_of(request, name)?));
    }
    text.push_str(&format!("\n{}\n{payload}", names.join(";")));
    Ok(text)
}

/// The values of a header, without spaces around or runs of them within.
fn value_of(request: Signed<'_>, name: &str) -> Result<String, Unsigned> {
    let missing = || {
        let message = format!("the header `{name}` is signed and did not arrive; does a proxy remove it?");
        unsigned("InvalidSignatureException", 403, message)
    };
    let mut values = Vec::new();
    for value in request.headers.get_all(name) {
        values.push(value.to_str().map_err(|_| missing())?.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    // HTTP/2 has it in the URI.
    if values.is_empty() && name == "host" {
        values.extend(request.uri.authority().map(ToString::to_string));
    }
    if values.is_empty() { Err(missing()) } else { Ok(values.join(",")) }
}

fn signing_key(secret: &str, day: &str, region: &str, service: &str) -> hmac::Key {
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    for part in [day, region, service, TERMINATOR] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

/// Everything but RFC 3986's unreserved characters becomes `%XY`.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests;
