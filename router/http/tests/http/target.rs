use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use router_core::{
    clock::Timestamp,
    id::{BusId, DeliveryId, Epoch, LaneId, Offset, RouteId, RouteName, RunId, TargetName},
    target::{Delivery, Outcome, Scope, Target},
};
use router_http::{
    HttpTarget, HttpTargetConfig, Secret,
    client::{Client, Error, Settings},
    target::{Auth, Mode},
};
use schemas::{Event, Form};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::world::*;

pub fn config(url: String) -> HttpTargetConfig {
    let timeout = Duration::from_secs(5);
    HttpTargetConfig { timeout, ..HttpTargetConfig::new(TargetName::new("orders").unwrap(), url) }
}

pub fn target(config: HttpTargetConfig) -> HttpTarget {
    let client = Client::with(&config.client()).unwrap();
    HttpTarget::new(config, client).unwrap()
}

pub fn delivery(event: Event) -> Delivery {
    let lane = LaneId { bus: BusId(0), route: RouteId(2), run: RunId(0) };
    let id = DeliveryId { epoch: Epoch(0xc0ffee), lane, offset: Offset(17) };
    Delivery {
        id,
        attempt: 3,
        route: RouteName::new("new-orders").unwrap(),
        appended: Timestamp(0),
        event,
        reply: None,
    }
}

pub fn event() -> Event {
    Event::builder("1", "/shop/7", "coffee.order.created").data(Form::Json, r#"{"total":4.50}"#).build().unwrap()
}

pub async fn deliver(target: &HttpTarget) -> Outcome {
    let mut outcomes = target.deliver(&[delivery(event())]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// Delivers once to a server that answers so.
async fn against(answer: &str) -> Outcome {
    let sink = Sink::new(&[answer]).await;
    deliver(&target(config(format!("http://{}/", sink.addr)))).await
}

pub fn note(outcome: &Outcome) -> String {
    outcome.facts().note.as_deref().unwrap_or_default().to_owned()
}

/// Events that are hard to carry, as far as binary mode can carry them.
fn events() -> Vec<Event> {
    let base = || Event::builder("id \"%\" é", "/shop/7?x=%20", "coffee.order.created");
    let json = base().attr("datacontenttype", "application/json");
    vec![
        event().rebuild().attr("datacontenttype", "application/json").build().unwrap(),
        json.clone().attr("subject", "Euro € 😀").attr("time", "2026-01-02T03:04:05.678901234Z").build().unwrap(),
        json.clone().attr("ext", "  spaces \"and\" 50%  ").data(Form::Json, "{\"a\": 1.10, \"a\": 2}").build().unwrap(),
        json.data(Form::Json, "null").build().unwrap(),
        base().attr("datacontenttype", "text/plain; charset=utf-8").data(Form::Text, "grüß\r\n").build().unwrap(),
        base().attr("datacontenttype", "image/png").data(Form::Binary, vec![0, 159, 146, 150]).build().unwrap(),
        base().data(Form::Binary, vec![255; 300_000]).build().unwrap(),
        base().attr("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").build().unwrap(),
    ]
}

#[tokio::test]
async fn what_the_target_sends_is_what_the_listener_reads() {
    for mode in [Mode::Binary, Mode::Structured] {
        let served = served(Fake::new()).await;
        let target = target(HttpTargetConfig { mode, ..config(format!("http://{}/events", served.addr)) });
        for event in events() {
            let outcomes = target.deliver(&[delivery(event)]).await;
            assert!(matches!(&outcomes[..], [Outcome::Delivered { .. }]), "{mode:?} {outcomes:?}");
        }
        let read: Vec<_> = served.fake.events().iter().map(content).collect();
        let sent: Vec<_> = events().iter().map(content).collect();
        for (read, sent) in read.iter().zip(&sent) {
            assert_eq!(read, sent, "{mode:?}");
        }
        assert_eq!(read.len(), sent.len());
    }
}

#[tokio::test]
async fn event_that_headers_would_change_goes_out_structured() {
    let served = served(Fake::new()).await;
    let target = target(config(format!("http://{}/events", served.addr)));
    // In a Content-Type this would say that the data is the event.
    let inner = event().rebuild().attr("datacontenttype", "application/cloudevents+json").build().unwrap();
    let outcomes = target.deliver(&[delivery(inner.clone())]).await;
    assert!(matches!(&outcomes[..], [Outcome::Delivered { .. }]), "{outcomes:?}");
    assert_eq!(served.fake.events().iter().map(content).collect::<Vec<_>>(), [content(&inner)]);
}

#[tokio::test]
async fn request_carries_delivery_and_trace() {
    let sink = Sink::new(&[&status(204, "", "")]).await;
    let headers = BTreeMap::from([("X-Key".to_owned(), Secret::new("hunter2"))]);
    let auth = Auth::Basic { user: "me".into(), password: Secret::new("hunter3") };
    let target = target(HttpTargetConfig { headers, auth, ..config(format!("http://{}/hook?a=1", sink.addr)) });
    let outcome = deliver(&target).await;
    assert!(
        matches!(&outcome, Outcome::Delivered { facts, replies } if facts.status == Some(204) && replies.is_empty())
    );
    let (head, body) = sink.seen().remove(0);
    assert!(head.starts_with("POST /hook?a=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", sink.addr.to_string().as_str()),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop/7"),
        ("ce-type", "coffee.order.created"),
        ("content-type", "application/json"),
        ("idempotency-key", "0000000000c0ffee-0-17-2-0"),
        ("gocoffee-attempt", "3"),
        ("gocoffee-route", "new-orders"),
        ("user-agent", concat!("gocoffee/", env!("CARGO_PKG_VERSION"))),
        ("x-key", "hunter2"),
        ("authorization", "Basic bWU6aHVudGVyMw=="),
    ] {
        assert_eq!(header(&head, name), Some(value), "{name}");
    }
    assert_eq!(header(&head, "traceparent").map(str::len), Some(55));
    assert_eq!(body, br#"{"total":4.50}"#);
}

#[tokio::test]
async fn structured_mode_and_bearer_go_out_as_configured() {
    let sink = Sink::new(&[&status(200, "", "fine")]).await;
    let auth = Auth::Bearer(Secret::new("hunter2"));
    let target = target(HttpTargetConfig { mode: Mode::Structured, auth, ..config(format!("http://{}/", sink.addr)) });
    assert!(matches!(deliver(&target).await, Outcome::Delivered { .. }));
    let (head, body) = sink.seen().remove(0);
    assert_eq!(header(&head, "content-type"), Some("application/cloudevents+json"));
    assert_eq!(header(&head, "authorization"), Some("Bearer hunter2"));
    assert_eq!(header(&head, "ce-id"), None);
    assert_eq!(schemas::json::decode(&body).unwrap().data(), br#"{"total":4.50}"#);
}

#[tokio::test]
async fn connection_is_used_again() {
    let sink = Sink::new(&[&status(200, "", "ok"), &status(500, "", "no"), &status(200, "", "ok")]).await;
    let target = target(config(format!("http://{}/", sink.addr)));
    for _ in 0..5 {
        deliver(&target).await;
    }
    assert_eq!((sink.seen().len(), sink.connections()), (5, 1));
}

#[tokio::test]
async fn redirect_is_refused_and_not_followed() {
    let elsewhere = Sink::new(&[&status(200, "", "")]).await;
    for code in [301, 302, 303, 307, 308] {
        let outcome = against(&status(code, &format!("location: http://{}/\r\n", elsewhere.addr), "")).await;
        assert!(matches!(&outcome, Outcome::Refused { facts, .. } if facts.status == Some(code)), "{outcome:?}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn answers_become_outcomes_with_their_waits() {
    let wait = |outcome: &Outcome| match outcome {
        Outcome::Retry { scope, not_before, .. } => (*scope, not_before.map(|d| d.as_secs())),
        other => panic!("{other:?}"),
    };
    let retry = |seconds: &str| format!("retry-after: {seconds}\r\n");
    for (code, headers, scope, seconds) in [
        (500, String::new(), Scope::Event, None),
        (500, retry("7"), Scope::Event, Some(7)),
        (503, retry("7"), Scope::Target, Some(7)),
        (429, retry("99999"), Scope::Target, Some(3600)),
        (429, retry("soon"), Scope::Target, None),
        (503, retry("Sun, 06 Nov 1994 08:49:37 GMT"), Scope::Target, None),
        (503, retry("Fri, 31 Dec 9999 23:59:59 GMT"), Scope::Target, Some(3600)),
        (404, String::new(), Scope::Event, Some(60)),
        (404, retry("5"), Scope::Event, Some(60)),
        (401, retry("120"), Scope::Target, Some(120)),
        (403, String::new(), Scope::Target, Some(60)),
    ] {
        assert_eq!(wait(&against(&status(code, &headers, "")).await), (scope, seconds), "{code} {headers}");
    }
    assert!(matches!(against(&status(410, "", "")).await, Outcome::Stop { code, .. } if code.0 == "gone"));
    let refused = against(&status(422, "", "no\x1b such\nflavour")).await;
    assert!(matches!(&refused, Outcome::Refused { code, .. } if code.0 == "refused"));
    assert_eq!(note(&refused), "no suchflavour");
}

#[tokio::test]
async fn note_is_short_and_shows_no_secret() {
    let echo = format!("Custom hunter2 a=1 code hunter4; me:pass\"word {} {}", "bWU6cGFzcyJ3b3Jk", "x".repeat(200_000));
    let sink = Sink::new(&[&status(400, "", &echo)]).await;
    let headers =
        BTreeMap::from([("x-key".to_owned(), Secret::new("Custom hunter2")), ("x-n".to_owned(), Secret::new("1"))]);
    let auth = Auth::Basic { user: "me".into(), password: Secret::new("pass\"word") };
    let target =
        target(HttpTargetConfig { headers, auth, ..config(format!("http://{}/?a=1&code=hunter4", sink.addr)) });
    let note = note(&deliver(&target).await);
    assert_eq!(note.len(), 1024);
    assert!(note.starts_with("*** a=1 code ***; me:*** *** xxx"), "{note}");
    assert!(!note.contains("hunter") && !note.contains("pass"));
}

#[tokio::test]
async fn refused_connection_is_the_targets_fault() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = target(config(format!("http://{free}/?code=hunter2")));
    let outcome = deliver(&target).await;
    assert!(matches!(&outcome, Outcome::Retry { scope: Scope::Target, not_before: None, .. }), "{outcome:?}");
    let note = note(&outcome);
    assert!(note.contains(&free.to_string()) && note.contains("refused") && !note.contains("hunter2"), "{note}");
    assert!(target.check().await.unwrap_err().to_string().contains("refused"));
}

#[tokio::test]
async fn unknown_name_is_the_targets_fault() {
    let outcome = deliver(&target(config("http://no-such-host.invalid/".into()))).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
}

#[tokio::test]
async fn peer_that_speaks_no_tls_is_the_targets_fault() {
    let sink = Sink::new(&[&status(200, "", "")]).await;
    let garbage = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = garbage.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = garbage.accept().await.unwrap();
            stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        }
    });
    let target = target(config(format!("https://{addr}/")));
    let outcome = deliver(&target).await;
    assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
    assert!(target.check().await.is_err());
    task.abort();
    assert!(sink.seen().is_empty());
}

#[tokio::test]
async fn peer_that_never_ends_the_handshake_is_the_targets_fault() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    for (connect, timeout) in [(200, 5000), (5000, 200)] {
        let settings = Settings { connect_timeout: Duration::from_millis(connect), ..Settings::default() };
        let client = Client::with(&settings).unwrap();
        let config = HttpTargetConfig { timeout: Duration::from_millis(timeout), ..config(url.clone()) };
        let start = Instant::now();
        let outcome = deliver(&HttpTarget::new(config, client).unwrap()).await;
        assert!(matches!(outcome, Outcome::Retry { scope: Scope::Target, .. }), "{outcome:?}");
        assert!(note(&outcome).contains("not connected within"), "{outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn target_that_takes_and_never_answers_is_timed_out_as_an_event_fault() {
    let silent = Sink::new(&[""]).await;
    let timeout = Duration::from_millis(300);
    for body in [Form::None, Form::Binary] {
        let target = target(HttpTargetConfig { timeout, ..config(format!("http://{}/", silent.addr)) });
        let data = if body == Form::None { "" } else { "x" };
        let event = Event::builder("1", "/s", "t").data(body, data).build().unwrap();
        let start = Instant::now();
        let outcome = target.deliver(&[delivery(event)]).await.remove(0);
        assert!(matches!(&outcome, Outcome::Retry { scope: Scope::Event, not_before: None, .. }), "{outcome:?}");
        assert!(note(&outcome).contains("no answer"), "{outcome:?}");
        assert!(outcome.facts().took >= timeout && start.elapsed() < target.limits().deadline);
        assert_eq!(outcome.facts().status, None);
    }
    assert_eq!(silent.seen().len(), 2);
}

#[tokio::test]
async fn connection_that_breaks_before_an_answer_is_an_event_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_message(&mut stream).await;
        }
    });
    let outcome = deliver(&target(config(url))).await;
    assert!(matches!(&outcome, Outcome::Retry { scope: Scope::Event, .. }), "{outcome:?}");
    assert!(note(&outcome).contains("broke before an answer"), "{outcome:?}");
    task.abort();
}

#[tokio::test]
async fn status_counts_even_when_its_body_never_ends() {
    for (head, delivered) in [("HTTP/1.1 200 OK", true), ("HTTP/1.1 422 No", false)] {
        let sink = Sink::new(&[&format!("{head}\r\ncontent-length: 100\r\n\r\nbecause")]).await;
        let timeout = Duration::from_millis(300);
        let outcome = deliver(&target(HttpTargetConfig { timeout, ..config(format!("http://{}/", sink.addr)) })).await;
        assert_eq!(matches!(outcome, Outcome::Delivered { .. }), delivered, "{outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Refused { .. }), !delivered, "{outcome:?}");
    }
}

#[tokio::test]
async fn check_connects_and_sends_nothing() {
    let sink = Sink::new(&[&status(200, "", "")]).await;
    let target = target(config(format!("http://{}/", sink.addr)));
    target.check().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((sink.connections(), sink.seen().len()), (1, 0));
}

#[tokio::test]
async fn command_line_gets_and_posts_json() {
    let sink = Sink::new(&[&status(200, "", r#"{"a":1}"#), &status(403, "", "no")]).await;
    let client = Client::new().unwrap();
    let token = Secret::new("t0ken");
    let answer = client.get(&format!("http://{}/api/status", sink.addr), Some(&token)).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &br#"{"a":1}"#[..]));
    let answer = client.post_json(&format!("http://{}/api/x", sink.addr), None, "{}".into()).await.unwrap();
    assert_eq!(answer.status.as_u16(), 403);
    let seen = sink.seen();
    assert!(seen[0].0.starts_with("GET /api/status ") && seen[1].0.starts_with("POST /api/x "));
    assert_eq!(header(&seen[0].0, "authorization"), Some("Bearer t0ken"));
    assert_eq!(header(&seen[1].0, "authorization"), None);
    assert_eq!(header(&seen[1].0, "content-type"), Some("application/json"));
    assert!(matches!(client.get("nowhere", None).await, Err(Error::Url(_))));
}

#[tokio::test]
async fn command_line_takes_no_half_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_message(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
    });
    let error = Client::new().unwrap().get(&url, None).await.unwrap_err();
    assert!(matches!(&error, Error::Broken { .. }), "{error:?}");
    task.await.unwrap();
}
