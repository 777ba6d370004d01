//! Goal: a mistake in the settings is named with its place, and no secret is shown.

use serde_json::{Value, json};

use super::*;

fn parse(edit: impl FnOnce(&mut Value)) -> Result<Config, String> {
    let mut value = json!({
        "channels": {
            "push": {"webhook": {"url": "http://127.0.0.1:9/push", "secret": "${env:PUSH_SECRET}"}},
            "email": {"smtp": {"host": "localhost", "tls": "none", "from": "Go Coffee <no-reply@example.com>"}},
        },
        "fallbacks": {"push": ["email"]},
        "recipients": {"Zoë": {"addresses": {"email": "zoe@example.com"}, "time_zone": "Europe/Vienna",
            "quiet_hours": {"from": "22:00", "to": "07:00"}, "rate": {"count_max": 5, "per_s": 3600}}},
        "alerts": {"to": {"critical": ["Zoë"]}, "channels": ["email"]},
    });
    edit(&mut value);
    let settings =
        [("PUSH_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()), ("NOTIFY", value.to_string())];
    Config::read(&settings.into_iter().collect()).map_err(|e| e.message.into())
}

#[test]
fn mistakes_are_named_with_their_place() {
    assert!(parse(|_| {}).is_ok());
    let error = |edit: fn(&mut Value)| parse(edit).map(|_| ()).unwrap_err();
    for (edit, wanted) in [
        ((|v| v["chanels"] = json!({})) as fn(&mut Value), "unknown field `chanels`"),
        (|v| v["channels"] = json!({}), "channels: there is none"),
        (
            |v| v["channels"]["push"]["webhook"]["secret"] = json!("${env:NONE}"),
            "channels.push.webhook.secret: the env",
        ),
        (|v| v["channels"]["push"]["webhook"]["secret"] = json!("s3cret"), "channels.push: secret: it is `whsec_`"),
        (|v| v["channels"]["push"]["webhook"]["url"] = json!("ftp://x"), "channels.push: url: it begins neither"),
        (|v| v["channels"]["email"]["smtp"]["from"] = json!("nobody"), "channels.email: from: it is no address"),
        (|v| v["channels"]["email"]["smtp"]["timeout_ms"] = json!(0), "channels.email: timeout_ms: 0"),
        (|v| v["channels"]["email"]["smtp"]["user"] = json!("u"), "channels.email: user, password"),
        (
            |v| v["fallbacks"]["push"] = json!(["fax"]),
            "fallbacks.push: no channel is called fax; there are email, push",
        ),
        (|v| v["recipients"]["Zoë"]["channels"] = json!(["fax"]), "recipients.Zoë.channels: no channel"),
        (|v| v["recipients"]["Zoë"]["time_zone"] = json!("Mars"), "recipients.Zoë.time_zone: no zone is called Mars"),
        (|v| v["recipients"]["Zoë"]["quiet_hours"]["to"] = json!("25:00"), "recipients.Zoë.quiet_hours.to: "),
        (|v| v["recipients"]["Zoë"]["quiet_hours"]["to"] = json!("22:00"), "recipients.Zoë.quiet_hours: from and to"),
        (|v| v["recipients"]["Zoë"]["rate"]["count_max"] = json!(0), "recipients.Zoë.rate: count_max is from 1"),
        (|v| v["alerts"]["to"]["grave"] = json!([]), "alerts.to: grave is none of info, warning, critical"),
        (|v| v["dedupe_s"] = json!(9_999_999), "dedupe_s: 9999999 is more"),
        (|v| v["fall_back_after"] = json!(0), "fall_back_after"),
    ] {
        let error = error(edit);
        assert!(
            error.starts_with(wanted) || error.contains("unknown field") && error.contains(wanted),
            "{wanted}: {error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_password_is_not_sent_in_the_clear() {
    let error = |host: &str| {
        let edit = |v: &mut Value| {
            let smtp = &mut v["channels"]["email"]["smtp"];
            (smtp["user"], smtp["password"], smtp["host"]) = (json!("u"), json!("p"), json!(host));
        };
        parse(edit).map(|_| ()).err()
    };
    assert!(error("mail.example.com").unwrap().starts_with("channels.email: tls: without it the password"));
    assert_eq!(error("127.0.0.1"), None);
}

#[test]
fn one_setting_says_where_it_stands() {
    for (settings, wanted) in [
        (vec![], "NOTIFY"),
        (vec![("NOTIFY", "{}"), ("NOTIFY_FILE", "x")], "NOTIFY_FILE"),
        (vec![("NOTIFY_FILE", "/does/not/exist")], "/does/not/exist"),
    ] {
        let error = Config::read(&settings.into_iter().collect()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}
