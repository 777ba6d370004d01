use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign},
    sign::v4,
};
use http::{HeaderValue, Request};

use super::*;

const ID: &str = "AKIDCOFFEE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const BODY: &str = r#"{"Entries":[]}"#;

/// A request as AWS's own library signs it.
fn signed(url: &str, service: &str, at: Timestamp) -> Request<String> {
    let identity = Credentials::new(ID, SECRET, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name(service)
        .time(SystemTime::from(at))
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let headers =
        [("x-amz-target", "AWSEvents.PutEvents"), ("content-type", "application/x-amz-json-1.1"), ("x-two", "a   b")];
    let signable = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(BODY.as_bytes()));
    let (instructions, _) = sign(signable.unwrap(), &SigningParams::from(params)).unwrap().into_parts();
    let mut request = Request::post(url).body(BODY.to_owned()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    instructions.apply_to_request_http1x(&mut request);
    let host = request.uri().authority().unwrap().to_string();
    request.headers_mut().insert("host", host.parse().unwrap());
    request
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn check(request: &Request<String>, now: Timestamp) -> Result<(), Unsigned> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let signed = Signed { method, uri, headers, body: request.body().as_bytes() };
    verify(signed, "events", now, |id| (id == ID).then(|| Secret::new(SECRET)))
}

fn refused(change: impl FnOnce(&mut Request<String>)) -> (&'static str, u16) {
    let mut request = signed("http://router:8080/aws", "events", now());
    change(&mut request);
    let why = check(&request, now()).unwrap_err();
    assert!(!why.message.contains(SECRET) && !why.message.is_empty());
    (why.name, why.status)
}

fn set(request: &mut Request<String>, name: &'static str, change: impl FnOnce(&str) -> String) {
    let old = request.headers()[name].to_str().unwrap();
    let new = change(old).parse().unwrap();
    request.headers_mut().insert(name, new);
}

#[test]
fn what_aws_signs_is_known() {
    for url in [
        "http://router:8080/aws",
        "http://router:8080/aws/",
        "http://router/",
        "http://router:8080/a%20b/c?z=1&a=2&a=1&empty=&bare",
    ] {
        check(&signed(url, "events", now()), now()).unwrap_or_else(|why| panic!("{url}: {why}"));
    }
}

#[test]
fn a_clock_may_be_five_minutes_off_and_no_more() {
    let request = signed("http://router/aws", "events", now());
    let at = |seconds: i64| now() + jiff::SignedDuration::from_secs(seconds);
    for seconds in [-300, 0, 300] {
        assert_eq!(check(&request, at(seconds)), Ok(()));
    }
    for (seconds, word) in [(-301, "not yet current"), (301, "expired")] {
        let why = check(&request, at(seconds)).unwrap_err();
        assert_eq!((why.name, why.status), ("InvalidSignatureException", 403));
        assert!(why.message.contains(word), "{why}");
    }
}

#[test]
fn whatever_changes_on_the_way_is_found() {
    let wrong = ("InvalidSignatureException", 403);
    assert_eq!(refused(|r| r.body_mut().push(' ')), wrong);
    assert_eq!(refused(|r| set(r, "x-amz-target", |_| "AWSEvents.TestEventPattern".into())), wrong);
    assert_eq!(refused(|r| set(r, "host", |_| "elsewhere".into())), wrong);
    assert_eq!(refused(|r| *r.uri_mut() = "http://router:8080/aws/x".parse().unwrap()), wrong);
    assert_eq!(refused(|r| *r.uri_mut() = "http://router:8080/aws?x=1".parse().unwrap()), wrong);
    assert_eq!(refused(|r| *r.method_mut() = Method::PUT), wrong);
    assert_eq!(refused(|r| drop(r.headers_mut().remove("x-amz-target"))), wrong, "it was signed");
    assert_eq!(refused(|r| set(r, "authorization", |a| a.replace("eu-central-1", "us-east-1"))), wrong);
    assert_eq!(refused(|r| drop(r.headers_mut().insert("x-amz-security-token", "t".parse().unwrap()))), wrong);
    assert_eq!(refused(|r| drop(r.headers_mut().insert("x-amz-content-sha256", "t".parse().unwrap()))), wrong);
    let last = |a: &str| if a.ends_with('0') { "1" } else { "0" };
    assert_eq!(refused(|r| set(r, "authorization", |a| format!("{}{}", &a[..a.len() - 1], last(a)))), wrong);
    assert_eq!(check(&signed("http://router/aws", "sqs", now()), now()).unwrap_err().name, wrong.0);
}

#[test]
fn who_shows_nothing_or_nonsense_is_told_what_aws_says() {
    let incomplete = ("IncompleteSignatureException", 400);
    assert_eq!(
        refused(|r| drop(r.headers_mut().remove("authorization"))),
        ("MissingAuthenticationTokenException", 403)
    );
    assert_eq!(
        refused(|r| set(r, "authorization", |a| a.replace(ID, "AKIDNOBODY"))),
        ("UnrecognizedClientException", 400)
    );
    assert_eq!(refused(|r| set(r, "authorization", |_| "Bearer x".into())), incomplete);
    assert_eq!(refused(|r| set(r, "authorization", |_| "AWS4-HMAC-SHA256".into())), incomplete);
    assert_eq!(refused(|r| set(r, "authorization", |_| "AWS4-HMAC-SHA256 ,,".into())), incomplete);
    assert_eq!(refused(|r| set(r, "authorization", |a| format!("{a}, Signature=00"))), incomplete);
    assert_eq!(refused(|r| set(r, "authorization", |a| a.replace("aws4_request", "x"))), incomplete);
    assert_eq!(refused(|r| set(r, "authorization", |a| a.replace("Signature=", "Signature=xyz"))), incomplete);
    assert_eq!(
        refused(|r| set(r, "authorization", |a| a.replace("content-type;host", "host;content-type"))),
        incomplete
    );
    assert_eq!(refused(|r| drop(r.headers_mut().remove("x-amz-date"))), incomplete);
    assert_eq!(refused(|r| set(r, "x-amz-date", |_| "20260230T030405Z".into())), incomplete);
    assert_eq!(refused(|r| set(r, "x-amz-date", |_| "2026010éT030405Z".into())), incomplete);
}
