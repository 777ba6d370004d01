use function_host::{
    Kind,
    testing::endpoint::{Endpoint, Say},
};
use schemas::Event;
use serde_json::{Value, json};

use super::{NOON, event, failure, host, one, send};

/// A dispatcher with one channel, `push`, to one endpoint.
async fn with(extra: Value) -> (Endpoint, Value) {
    let endpoint = Endpoint::start([Say::json(200, "")]).await;
    let mut config = json!({"channels": {"push": {"webhook": {"url": endpoint.url}}}});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    (endpoint, config)
}

fn bodies(endpoint: &Endpoint) -> Vec<Value> {
    endpoint.asked().iter().map(|asked| serde_json::from_str(&asked.body).unwrap()).collect()
}

fn notification(id: &str, data: Value) -> Event {
    let mut all = json!({"channel": "push", "to": "Zoë", "title": "Ready", "text": "Your coffee"});
    all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    event(id, "notification.send", &all)
}

fn alert(id: &str, data: Value) -> Event {
    let mut all = json!({"alert": "grinder-4", "severity": "warning", "title": "Hot", "text": "90 °C"});
    all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    event(id, "alert.trigger", &all)
}

#[tokio::test]
async fn who_waits_for_the_morning_is_told_in_the_morning() {
    let quiet = json!({"from": "22:00", "to": "07:00"});
    let (endpoint, config) =
        with(json!({"recipients": {"Zoë": {"time_zone": "Europe/Vienna", "quiet_hours": quiet}}})).await;
    let night = host(&config, "2026-01-15T22:30:00Z");
    let wait = failure(&night, notification("1", json!({"quiet_hours": true})), 1).await;
    assert_eq!((wait.kind, wait.code.0), (Kind::Retry, "quiet-hours"));
    assert_eq!(wait.after.unwrap().as_secs(), 7 * 3600 + 1800);
    assert_eq!(endpoint.asked().len(), 0);
    // Others do not wait, and neither does who waits for their coffee.
    assert_eq!(one(&night, notification("2", json!({}))).await.1["how"], "sent");
    assert_eq!(one(&night, notification("3", json!({"quiet_hours": true, "to": "Sam"}))).await.1["how"], "sent");
    let morning = host(&config, "2026-01-16T06:00:00Z");
    assert_eq!(one(&morning, notification("1", json!({"quiet_hours": true}))).await.1["how"], "sent");
}

#[tokio::test]
async fn a_rate_holds_for_each_recipient() {
    let (endpoint, config) = with(json!({"rate": {"count_max": 2, "per_s": 60}})).await;
    let host = host(&config, NOON);
    for id in ["1", "2"] {
        one(&host, send(id, "push", "Zoë")).await;
    }
    let wait = failure(&host, send("3", "push", "Zoë"), 1).await;
    assert_eq!((wait.code.0, wait.after.unwrap().as_secs()), ("recipient-rate", 60));
    one(&host, send("4", "push", "Sam")).await;
    assert_eq!(endpoint.asked().len(), 3);
}

#[tokio::test]
async fn the_same_is_said_once_and_what_failed_does_not_keep_it_back() {
    let endpoint = Endpoint::start([Say::json(410, ""), Say::json(200, "")]).await;
    let host = host(&json!({"channels": {"push": {"webhook": {"url": endpoint.url}}}}), NOON);
    let same = |id| notification(id, json!({"dedupe": "order-1"}));
    assert_eq!(one(&host, same("1")).await.0, "notification.failed");
    assert_eq!(one(&host, same("2")).await.1["how"], "sent");
    assert_eq!(one(&host, same("3")).await.1["how"], "duplicate");
    assert_eq!(one(&host, notification("4", json!({"dedupe": "order-1", "to": "Sam"}))).await.1["how"], "sent");
    assert_eq!(endpoint.asked().len(), 3);
}

#[tokio::test]
async fn a_recipients_channels_hold_and_templates_speak_their_language() {
    let ready = json!({"en": {"title": "Ready", "text": "{{ order }} is ready"}, "de": {"title": "Fertig", "text": "{{ order }} ist fertig"}});
    let (endpoint, mut config) = with(json!({"templates": {"ready": ready},
        "recipients": {"Zoë": {"locale": "de-AT", "channels": ["push"]}}}))
    .await;
    config["channels"]["email"] =
        json!({"smtp": {"host": "127.0.0.1", "port": 1, "tls": "none", "from": "a@example.com"}});
    let host = host(&config, NOON);
    let asks = json!({"channel": "email", "template": "ready", "values": {"order": "order-1"}});
    assert_eq!(one(&host, notification("1", asks)).await.1["channel"], "push");
    let other = json!({"template": "ready", "values": {"order": "order-2"}, "to": "Sam"});
    one(&host, notification("2", other)).await;
    let texts: Vec<Value> = bodies(&endpoint).iter().map(|body| body["text"].clone()).collect();
    assert_eq!(texts, ["order-1 ist fertig", "order-2 is ready"]);
    let unknown = failure(&host, notification("3", json!({"template": "other"})), 1).await;
    assert_eq!((unknown.kind, unknown.code.0), (Kind::Refuse, "template-unknown"));
}

#[tokio::test]
async fn alerts_of_one_name_are_one_group() {
    let alerts = json!({"to": {"warning": ["oncall"], "critical": ["oncall", "boss"]}, "channels": ["push"]});
    let (endpoint, config) = with(json!({"alerts": alerts})).await;
    let host = host(&config, NOON);
    let how = async |event: Event| {
        let replies = host.call(event).await.unwrap();
        let how = |reply: &Event| serde_json::from_slice::<Value>(reply.data()).unwrap()["how"].clone();
        replies.iter().map(|reply| how(reply).as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(how(alert("1", json!({}))).await, ["sent"]);
    assert_eq!(how(alert("2", json!({}))).await, ["grouped"]);
    assert_eq!(how(alert("2", json!({}))).await, ["grouped"]);
    assert_eq!(how(alert("3", json!({}))).await, ["grouped"]);
    assert_eq!(how(alert("4", json!({"alert": "other"}))).await, ["sent"]);
    // Worse is news, and says what was counted; a repeat counts nothing twice.
    assert_eq!(how(alert("5", json!({"severity": "critical"}))).await, ["sent", "sent"]);
    assert_eq!(how(alert("6", json!({"state": "resolved"}))).await, ["sent"]);
    let said = bodies(&endpoint);
    let titles: Vec<&str> = said.iter().map(|body| body["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["[warning] Hot", "[warning] Hot", "[critical] Hot", "[critical] Hot", "[resolved] Hot"]);
    assert_eq!(said[2]["text"], "90 °C\n(and 2 more of grinder-4 since the last message)");
    assert_eq!(said[4]["text"], "90 °C");
    let unheard = failure(&host, alert("7", json!({"severity": "info"})), 1).await;
    assert_eq!((unheard.kind, unheard.code.0), (Kind::Refuse, "alert-unheard"));
}

#[tokio::test]
async fn an_alert_that_nobody_got_keeps_no_other_back_and_tells_nobody_twice() {
    let (well, ill) =
        (Endpoint::start([Say::json(200, "")]).await, Endpoint::start([Say::json(503, ""), Say::json(200, "")]).await);
    let hook = |endpoint: &Endpoint| json!({"webhook": {"url": endpoint.url}});
    let config = json!({
        "channels": {"well": hook(&well), "ill": hook(&ill)},
        "recipients": {"a": {"channels": ["well"]}, "b": {"channels": ["ill"]}},
        "alerts": {"to": {"warning": ["a", "b"]}},
    });
    let host = host(&config, NOON);
    assert_eq!(failure(&host, alert("1", json!({})), 1).await.code.0, "channel-later");
    let replies = host.call(alert("1", json!({}))).await.unwrap();
    assert_eq!((replies.len(), well.asked().len(), ill.asked().len()), (2, 1, 2));
    let gone = Endpoint::start([Say::json(410, ""), Say::json(200, "")]).await;
    let config = json!({"channels": {"c": hook(&gone)}, "alerts": {"to": {"warning": ["a"]}, "channels": ["c"]}});
    let host = super::host(&config, NOON);
    assert_eq!(one(&host, alert("1", json!({}))).await.0, "notification.failed");
    assert_eq!(one(&host, alert("2", json!({}))).await.1["how"], "sent");
}
