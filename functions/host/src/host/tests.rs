//! Goal: whatever a handler does, one event has one clear answer, and a repeat has the same one.

use std::sync::atomic::{AtomicUsize, Ordering};

use schemas::Form;
use tokio::sync::Semaphore;

use super::*;
use crate::{function::Kind, state::Memory};

/// Does what the subject of the event says.
struct Odd {
    runs: AtomicUsize,
    gate: Semaphore,
}

impl Function for Odd {
    const NAME: &'static str = "odd";
    const CONSUMES: &'static [&'static str] = &["odd.asked"];
    const EMITS: &'static [&'static str] = &["odd.answered"];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        settings.read("NUMBER", 0u8)?;
        Ok(Odd { runs: AtomicUsize::new(0), gate: Semaphore::new(0) })
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let subject = event.get("subject").map(|v| v.to_string()).unwrap_or_default();
        let reply = || Reply::json("odd.answered", &serde_json::json!({"attempt": ctx.attempt()}));
        match subject.as_str() {
            "panic" => panic!("on purpose"),
            "hang" => std::future::pending().await,
            "undeclared" => Ok(vec![Reply::json("odd.other", &1)?]),
            "cause" => Ok(vec![reply()?.id(event.id()).source(event.source())]),
            "bad-attribute" => Ok(vec![reply()?.attr("Not-Allowed", "x")]),
            "many" => Ok(vec![reply()?; REPLIES_MAX + 1]),
            "large" => Ok(vec![Reply::json("odd.answered", &"x".repeat(REPLIES_BYTES_MAX))?]),
            "half" => Ok(vec![Reply::json("odd.answered", &"x".repeat(REPLIES_BYTES_MAX / 2))?]),
            "two" => Ok(vec![reply()?, reply()?.attr("partitionkey", "p").attr("number", 7)]),
            "once" => {
                let work = async {
                    let run = self.runs.fetch_add(1, Ordering::SeqCst);
                    self.gate.acquire().await.unwrap().forget();
                    if run == 0 { Err(Failure::retry("first", "fails at first")) } else { Ok(vec![reply()?]) }
                };
                ctx.once(ctx.key(), work).await
            }
            _ => Ok(Vec::new()),
        }
    }
}

fn host() -> Host<Odd> {
    Host::for_tests(Settings::default(), "2026-01-15T06:30:00Z".parse().unwrap()).unwrap()
}

fn event(id: &str, subject: &str) -> Event {
    let event = Event::builder(id, "/s", "odd.asked").attr("subject", subject).attr("time", "2026-01-15T06:30:17Z");
    event.data(Form::Json, "{}").build().unwrap()
}

#[tokio::test]
async fn replies_are_derived_from_their_cause() {
    let (host, cause) = (host(), event("1", "two"));
    let replies = host.call(cause.clone()).await.unwrap();
    assert_eq!(replies, host.call(cause).await.unwrap());
    let attrs = |event: &Event| event.attrs().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ");
    let common = "source=/functions/odd type=odd.answered time=2026-01-15T06:30:17Z causeid=1 causesource=/s \
                  causedepth=1 datacontenttype=application/json";
    // printf '\x03\0\0\0\0\0\0\0odd\x02\0\0\0\0\0\0\0/s\x01\0\0\0\0\0\0\01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' | sha256sum
    let ids: Vec<&str> = replies.iter().map(Event::id).collect();
    assert_eq!(ids, ["c24c57767beef446b9288e3ab5ae5b25", "5f8765f9bf7100d8a8e47bfc9ef29877"]);
    assert_eq!(attrs(&replies[0]), format!("id={} {common}", ids[0]));
    assert_eq!(attrs(&replies[1]), format!("id={} {common} partitionkey=p number=7", ids[1]));
}

#[tokio::test]
async fn every_failure_says_whether_to_try_again() {
    let host = host();
    for (subject, kind, code, says) in [
        ("panic", Kind::Retry, "panic", "on purpose"),
        ("undeclared", Kind::Refuse, "reply-undeclared", "odd.other"),
        ("cause", Kind::Refuse, "reply-same-identity", "id and the source"),
        ("bad-attribute", Kind::Refuse, "reply-invalid", "reply 0: attribute Not-Allowed"),
        ("many", Kind::Refuse, "reply-too-many", "1001"),
    ] {
        let invocation = host.invoke(event("1", subject).into()).await;
        let failure = invocation.answer.unwrap_err();
        assert_eq!((failure.kind, failure.code.0), (kind, code), "{failure}");
        assert!(failure.message.contains(says), "{failure}");
        let [line] = &invocation.logs[..] else { panic!("{:?}", invocation.logs) };
        assert!(line.contains(r#""severity":"ERROR""#) && line.contains("/s 1") && line.contains(code), "{line}");
    }
    let other = Event::builder("1", "/s", "else").build().unwrap();
    let failure = host.call(other).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.0), (Kind::Refuse, "type-unexpected"));
    let deep = event("1", "two").rebuild().attr("causedepth", CAUSE_DEPTH_MAX).build().unwrap();
    assert_eq!(host.call(deep).await.unwrap_err().code.0, "loop-depth");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_at_its_deadline() {
    let deadline = Instant::now() + Duration::from_secs(2);
    let call = Call { deadline: Some(deadline), attempt: 3, ..event("1", "hang").into() };
    let failure = host().call(call).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.0), (Kind::Retry, "deadline"));
    assert!(failure.message.contains("attempt 3"), "{failure}");
    assert!(Instant::now() - deadline < Duration::from_secs(1));
}

#[tokio::test]
async fn a_repeat_gets_the_stored_answer_and_a_failure_is_not_remembered() {
    let host = host();
    let call = |attempt| Call { attempt, ..event("1", "once").into() };
    host.function.gate.add_permits(2);
    assert_eq!(host.call(call(1)).await.unwrap_err().code.0, "first");
    let second = host.call(call(2)).await.unwrap();
    assert_eq!(second[0].data(), br#"{"attempt":2}"#);
    assert_eq!(host.call(call(3)).await.unwrap(), second);
    assert_eq!(host.function.runs.load(Ordering::SeqCst), 2);
    // Another delivery of the same event is other work to the function.
    host.function.gate.add_permits(1);
    let other = Call { key: Some("EPOCH-default-1-orders-0".into()), ..call(4) };
    assert_eq!(host.call(other).await.unwrap()[0].data(), br#"{"attempt":4}"#);
}

#[tokio::test]
async fn replies_that_no_answer_has_room_for_are_refused() {
    let failure = host().call(event("1", "large")).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.0), (Kind::Refuse, "reply-too-large"));
    assert_eq!(host().call(event("1", "half")).await.map(|replies| replies.len()), Ok(1));
    // Two halves and what is around them are too much for one request, whichever way they go.
    let calls = ["1", "2"].map(|id| event(id, "half").into()).to_vec();
    let failure = host().deliver_all(calls, Reader::Sender).await.answer.unwrap_err();
    assert_eq!(failure.code.0, "reply-too-large");
}

#[tokio::test]
async fn processes_that_share_a_folder_recognise_each_others_work() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let host = || {
        let settings = [(crate::state::STATE_URL, url.as_str())].into_iter().collect();
        Host::<Odd>::for_tests(settings, "2026-01-15T06:30:00Z".parse().unwrap()).unwrap()
    };
    let (one, other) = (host(), host());
    for host in [&one, &other] {
        host.function.runs.store(1, Ordering::SeqCst);
        host.function.gate.add_permits(1);
    }
    let first = one.call(event("1", "once")).await.unwrap();
    assert_eq!(other.call(event("1", "once")).await.unwrap(), first);
    assert_eq!(other.function.runs.load(Ordering::SeqCst), 1, "the other one did not work");
}

#[tokio::test]
async fn of_two_attempts_at_a_time_one_works() {
    let host = host();
    host.function.runs.store(1, Ordering::SeqCst);
    let first = host.call(event("1", "once"));
    let second = async {
        while host.function.runs.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        let refused = host.call(event("1", "once")).await;
        host.function.gate.add_permits(1);
        refused
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap().len(), 1);
    let second = second.unwrap_err();
    assert_eq!((second.kind, second.code.0), (Kind::Retry, "under-way"));
    assert!(second.after.is_some());
}

#[tokio::test]
async fn work_whose_process_died_is_taken_over() {
    let state = Arc::new(Memory::default());
    let at = |ms| Clock::Fixed(jiff::Timestamp::from_millisecond(ms).unwrap());
    let host = |ms| Host::<Odd>::with(Settings::default(), Some(state.clone()), at(ms), Log::new("odd", true)).unwrap();
    let age_ms = i64::try_from(crate::state::STARTED_AGE_MAX.as_millis()).unwrap();
    let dead = host(0);
    dead.function.runs.store(1, Ordering::SeqCst);
    let mut began = Box::pin(dead.call(event("1", "once")));
    assert!(std::future::poll_fn(|cx| Poll::Ready(began.as_mut().poll(cx))).await.is_pending());
    drop(began);
    for (now, taken) in [(age_ms - 1, false), (age_ms, true)] {
        let host = host(now);
        host.function.runs.store(1, Ordering::SeqCst);
        host.function.gate.add_permits(1);
        assert_eq!(host.call(event("1", "once")).await.is_ok(), taken, "{now}");
    }
}

#[test]
fn a_setting_that_cannot_be_read_is_named_and_not_shown() {
    let settings = [("NUMBER", "s3cret")].into_iter().collect::<Settings>();
    let error = Host::<Odd>::for_tests(settings, jiff::Timestamp::UNIX_EPOCH).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment variable NUMBER: its value cannot be read: invalid digit found in string"
    );
}
