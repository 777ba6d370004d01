use std::collections::BTreeMap;

use super::*;

fn config(url: &str) -> HttpTargetConfig {
    HttpTargetConfig::new(TargetName::new("orders").unwrap(), url)
}

fn refusal(config: HttpTargetConfig) -> String {
    match HttpTarget::new(config, Client::new().unwrap()) {
        Ok(_) => "taken".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn url_that_cannot_be_posted_to_is_refused_without_being_shown() {
    for (url, part) in [
        ("", "cannot be read"),
        ("orders", "begins with http"),
        ("/path", "begins with http"),
        ("ftp://host/", "begins with http"),
        ("http://", "cannot be read"),
        ("http://:80/", "no host"),
        ("http://user:hunter2@host/", "user name"),
        ("http://host/#hunter2", "fragment"),
        ("http://host/a b", "cannot be read"),
    ] {
        let error = refusal(config(url));
        assert!(error.contains(part) && !error.contains("hunter2"), "{url}: {error}");
    }
    for url in ["http://host", "https://host:1/path?key=1", "http://[::1]:9/"] {
        assert_eq!(refusal(config(url)), "taken", "{url}");
    }
}

#[test]
fn header_that_is_not_the_operators_is_refused() {
    let with = |name: &str, value: &str| {
        let headers = BTreeMap::from([(name.to_owned(), Secret::new(value))]);
        refusal(HttpTargetConfig { headers, ..config("http://host/") })
    };
    for name in [
        "Host",
        "content-length",
        "Content-Type",
        "Transfer-Encoding",
        "connection",
        "TE",
        "upgrade",
        "expect",
        "trailer",
        "keep-alive",
        "ce-id",
        "CE-Anything",
        "idempotency-key",
        "gocoffee-attempt",
        "traceparent",
        "a b",
        "",
    ] {
        let error = with(name, "hunter2");
        assert!(error.starts_with(&format!("header `{name}` ")) && !error.contains("hunter2"), "{error}");
    }
    for value in ["hunter2\r\nx: y", "hunter2\0", "hunter2é"] {
        let error = with("x-key", value);
        assert!(error.contains("no header can carry") && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(with("x-key", "hunter2"), "taken");
    assert_eq!(with("authorization", "Custom hunter2"), "taken");
}

#[test]
fn one_of_two_authorizations_is_refused() {
    let headers = BTreeMap::from([("Authorization".to_owned(), Secret::new("Custom x"))]);
    let auth = Auth::Bearer(Secret::new("t"));
    let error = refusal(HttpTargetConfig { headers, auth, ..config("http://host/") });
    assert_eq!(error, "header `Authorization` is set by `auth` already; give one of them");
}

#[test]
fn header_in_two_spellings_is_refused() {
    let headers = ["X-Key", "x-key"].map(|name| (name.to_owned(), Secret::new("v")));
    let error = refusal(HttpTargetConfig { headers: headers.into(), ..config("http://host/") });
    assert_eq!(error, "header `x-key` is there twice, in other letters; give it once");
}

#[test]
fn auth_and_numbers_that_cannot_be_are_refused() {
    let auth = |auth| refusal(HttpTargetConfig { auth, ..config("http://host/") });
    assert!(auth(Auth::Bearer(Secret::new(""))).contains("empty"));
    assert!(auth(Auth::Bearer(Secret::new("a\nb"))).contains("no header can carry"));
    let basic = Auth::Basic { user: "a:b".into(), password: Secret::new("p") };
    assert!(auth(basic).contains("no colon"));
    assert!(refusal(HttpTargetConfig { timeout: Duration::ZERO, ..config("http://host/") }).contains("timeout"));
    assert!(refusal(HttpTargetConfig { in_flight_max: 0, ..config("http://host/") }).contains("in_flight_max"));
}

#[test]
fn configuration_prints_no_secret() {
    let headers = BTreeMap::from([("x-key".to_owned(), Secret::new("hunter2"))]);
    let auth = Auth::Basic { user: "me".into(), password: Secret::new("hunter3") };
    let text = format!("{:?}", HttpTargetConfig { headers, auth, ..config("http://host/") });
    assert!(text.contains("***") && !text.contains("hunter"), "{text}");
}
