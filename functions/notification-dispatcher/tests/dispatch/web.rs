use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use function_host::{
    Call, Kind,
    testing::endpoint::{Endpoint, Say},
};
use ring::hmac;
use serde_json::{Value, json};

use super::{NOON, failure, host, one, send};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn a_webhook_gets_a_signed_message_with_the_same_id_each_time() {
    let endpoint = Endpoint::start([Say::json(500, "down"), Say::json(200, "{}")]).await;
    let push = json!({"webhook": {"url": endpoint.url, "secret": SECRET, "bearer": "t0ken"}});
    let host = host(&json!({"channels": {"push": push}}), NOON);
    let late = failure(&host, send("1", "push", "Zoë Müller"), 1).await;
    assert_eq!((late.kind, late.code.0), (Kind::Retry, "channel-later"));
    assert!(late.message.contains("channel push: it answered 500"), "{late}");
    let (kind, data) = one(&host, send("1", "push", "Zoë Müller")).await;
    assert_eq!(
        (kind.as_str(), &data["channel"], &data["how"]),
        ("notification.delivered", &json!("push"), &json!("sent"))
    );
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].header("webhook-id"), asked[1].header("webhook-id"));
    assert_eq!(asked[1].header("authorization"), Some("Bearer t0ken"));
    // As a receiver checks it.
    let (id, at) = (asked[1].header("webhook-id").unwrap(), asked[1].header("webhook-timestamp").unwrap());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap());
    let signature = asked[1].header("webhook-signature").unwrap().strip_prefix("v1,").unwrap();
    let signed = format!("{id}.{at}.{}", asked[1].body);
    hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();
    let body: Value = serde_json::from_str(&asked[1].body).unwrap();
    assert_eq!((&body["to"], &body["title"]), (&json!("Zoë Müller"), &json!("Ready ☕")));
    // A repeat sends nothing and says the same.
    assert_eq!(one(&host, send("1", "push", "Zoë Müller")).await.1, data);
    assert_eq!(endpoint.asked().len(), 2);
}

/// What becomes of a message at a channel that answers so: `taken`, `later`, or the code of its refusal.
async fn becomes(channel: &str, say: Say) -> (String, Option<Duration>) {
    let endpoint = Endpoint::start([say]).await;
    let settings = match channel {
        "twilio" => json!({"url": endpoint.url, "account": "AC1", "token": "t", "from": "+100", "timeout_ms": 300}),
        _ => json!({"url": endpoint.url, "timeout_ms": 300}),
    };
    let host = host(&json!({"channels": {"c": {channel: settings}}, "addresses_from_events": true}), NOON);
    match host.call(send("1", "c", "+4930123456")).await {
        Ok(replies) => {
            let data: Value = serde_json::from_slice(replies[0].data()).unwrap();
            let code = data["reasons"][0]["code"].as_str().unwrap_or("taken").to_owned();
            (code, None)
        }
        Err(failure) => {
            assert_eq!(failure.kind, Kind::Retry, "{failure}");
            ("later".into(), failure.after)
        }
    }
}

#[tokio::test]
async fn every_answer_of_a_channel_is_taken_for_what_it_says() {
    let after = |status| Say::Answer(status, vec![("retry-after", "7".into())], String::new());
    for (channel, say, wanted, wait) in [
        ("slack", Say::Answer(200, vec![], "ok".into()), "taken", None),
        ("slack", Say::Answer(404, vec![], "channel_not_found".into()), "http-404", None),
        ("slack", Say::Answer(400, vec![], "invalid_payload".into()), "http-400", None),
        ("slack", after(429), "later", Some(7)),
        ("webhook", Say::Answer(410, vec![], String::new()), "http-410", None),
        ("webhook", Say::Answer(404, vec![], String::new()), "later", Some(60)),
        ("webhook", Say::Answer(302, vec![("location", "http://x/".into())], String::new()), "http-302", None),
        ("webhook", after(503), "later", Some(7)),
        ("webhook", Say::Silence, "later", None),
        ("webhook", Say::Cut("HTTP".into()), "later", None),
        // The head was there: it was taken, whatever happened to the rest.
        ("webhook", Say::Cut("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".into()), "taken", None),
        ("twilio", Say::json(201, r#"{"sid": "SM1"}"#), "taken", None),
        ("twilio", Say::json(400, r#"{"code": 21211, "message": "no number"}"#), "twilio-21211", None),
        ("twilio", Say::json(401, r#"{"code": 20003, "message": "Authenticate"}"#), "later", Some(60)),
        ("twilio", after(429), "later", Some(7)),
        ("twilio", Say::Answer(500, vec![], "<html>".into()), "later", None),
    ] {
        let shown = format!("{channel}: {say:?}");
        let got = becomes(channel, say).await;
        assert_eq!(got, (wanted.to_owned(), wait.map(Duration::from_secs)), "{shown}");
    }
}

#[tokio::test]
async fn an_sms_is_twilios_form() {
    let endpoint = Endpoint::start([Say::json(201, r#"{"sid": "SM1"}"#)]).await;
    let sms = json!({"twilio": {"url": endpoint.url, "account": "AC1", "token": "t0ken", "from": "MG7"}});
    let config = json!({"channels": {"sms": sms}, "recipients": {"Zoë": {"addresses": {"sms": "+4930123456"}}}});
    let (_, data) = one(&host(&config, NOON), send("1", "sms", "Zoë")).await;
    assert_eq!(data["reference"], "SM1");
    let asked = &endpoint.asked()[0];
    assert!(asked.head.starts_with("POST /2010-04-01/Accounts/AC1/Messages.json HTTP/1.1"), "{}", asked.head);
    assert_eq!(asked.header("authorization"), Some("Basic QUMxOnQwa2Vu"));
    assert_eq!(asked.body, "To=%2B4930123456&MessagingServiceSid=MG7&Body=Ready%20%E2%98%95%0AYour%20coffee");
}

#[tokio::test]
async fn a_channel_that_refuses_is_left_for_the_next_and_one_that_is_away_after_a_few_attempts() {
    let (gone, away) = (Endpoint::start([Say::json(410, "gone")]).await, Endpoint::start([Say::json(503, "")]).await);
    let last = Endpoint::start([Say::json(200, "")]).await;
    let hook = |endpoint: &Endpoint| json!({"webhook": {"url": endpoint.url}});
    let config = json!({
        "channels": {"gone": hook(&gone), "away": hook(&away), "last": hook(&last)},
        "fallbacks": {"gone": ["away", "last"], "away": ["gone"]},
    });
    let host = host(&config, NOON);
    assert_eq!(failure(&host, send("1", "gone", "Zoë"), 2).await.code.0, "channel-later");
    assert_eq!(last.asked().len(), 0);
    let replies = host.call(Call { attempt: 3, ..send("1", "gone", "Zoë").into() }).await.unwrap();
    let data: Value = serde_json::from_slice(replies[0].data()).unwrap();
    let codes: Vec<&str> = data["tried"].as_array().unwrap().iter().map(|t| t["code"].as_str().unwrap()).collect();
    assert_eq!((data["channel"].as_str().unwrap(), codes), ("last", vec!["http-410", "http-503"]));
    // While one of them may work later, nothing is given up, however many attempts there were.
    assert_eq!(failure(&host, send("2", "away", "Zoë"), 99).await.code.0, "channel-later");
}

#[tokio::test]
async fn what_no_channel_takes_has_failed_and_what_nobody_could_be_asked_is_refused() {
    let gone = Endpoint::start([Say::json(410, "gone")]).await;
    let config = json!({"channels": {"gone": {"webhook": {"url": gone.url}},
        "sms": {"twilio": {"url": gone.url, "account": "AC1", "token": "t", "from": "+100"}}}});
    let host = host(&config, NOON);
    let (kind, data) = one(&host, send("1", "gone", "Zoë")).await;
    assert_eq!((kind.as_str(), &data["reasons"][0]["code"]), ("notification.failed", &json!("http-410")));
    for channel in ["sms", "fax"] {
        let refused = failure(&host, send("2", channel, "Zoë"), 1).await;
        assert_eq!((refused.kind, refused.code.0), (Kind::Refuse, "unreachable"), "{refused}");
    }
    // No event makes it connect to an address of its own.
    let refused = failure(&host, send("3", "sms", "+4930123456"), 1).await;
    assert!(refused.message.contains("add it to `recipients`"), "{refused}");
    let asked = gone.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
}
