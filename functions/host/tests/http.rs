//! Goal: a call ends in time whatever the other side does, and says whether it may have been taken.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use bytes::Bytes;
use function_host::{
    Call, Context, Failure, Function, Host, Reply, SettingError, Settings,
    http::Error,
    testing::endpoint::{Endpoint, Say},
};
use schemas::{Event, Form};
use tokio::time::Instant;

/// Calls the URL in its data and says what came of it in the code of a failure.
struct Caller;

impl Function for Caller {
    const NAME: &'static str = "caller";
    const CONSUMES: &'static [&'static str] = &["call.asked"];
    const EMITS: &'static [&'static str] = &["call.answered"];

    fn start(_: &Settings) -> Result<Self, SettingError> {
        Ok(Caller)
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let url: String = function_host::data(event)?;
        let request = http::Request::post(url).body(Bytes::from_static(b"hello")).unwrap();
        let code = match ctx.http().send(request, Duration::from_secs(5), 10).await {
            Ok(answer) => return Ok(vec![Reply::json("call.answered", &answer.status.as_u16())?]),
            Err(Error::Connect { .. }) => "connect",
            Err(Error::Broken { .. }) => "broken",
            Err(Error::Timeout { .. }) => "timeout",
            Err(Error::TooLarge { .. }) => "too-large",
            Err(_) => "other",
        };
        Err(Failure::retry(code, "no answer"))
    }
}

async fn call(url: &str, within: Duration) -> Result<String, &'static str> {
    let host = Host::<Caller>::for_tests(Settings::default(), jiff::Timestamp::UNIX_EPOCH).unwrap();
    let event = Event::builder("1", "/s", "call.asked").data(Form::Json, format!("{url:?}")).build().unwrap();
    let call = Call { deadline: Some(Instant::now() + within), ..event.into() };
    host.call(call).await.map(|r| String::from_utf8_lossy(r[0].data()).into_owned()).map_err(|f| f.code.0)
}

#[tokio::test]
async fn every_end_of_a_call_is_told() {
    let redirect = Say::Answer(302, vec![("location", "http://127.0.0.1:1/".into())], String::new());
    let cut = Say::Cut("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal".into());
    for (say, wanted) in [
        (Say::Answer(200, vec![], "x".repeat(10)), Ok("200".to_owned())),
        (redirect, Ok("302".to_owned())),
        (Say::Answer(200, vec![], "x".repeat(11)), Err("too-large")),
        (cut, Err("broken")),
        (Say::Cut(String::new()), Err("broken")),
    ] {
        let endpoint = Endpoint::start([say.clone()]).await;
        assert_eq!(call(&endpoint.url, Duration::from_secs(30)).await, wanted, "{say:?}");
        let asked = endpoint.asked();
        assert_eq!((asked.len(), asked[0].body.as_str()), (1, "hello"), "{say:?}");
    }
    assert_eq!(call("http://127.0.0.1:1/", Duration::from_secs(30)).await, Err("connect"));
}

#[tokio::test]
async fn a_call_ends_before_the_attempt_so_that_the_function_can_say_why() {
    let endpoint = Endpoint::start([Say::Silence]).await;
    let within = Duration::from_millis(1_500);
    let begun = Instant::now();
    // Not `deadline`, which would say nothing of what was waited for.
    assert_eq!(call(&endpoint.url, within).await, Err("timeout"));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_url_that_cannot_be_called_is_refused_and_not_shown() {
    use function_host::http::url;
    assert!(url("http://127.0.0.1:9/a?b=c").is_ok());
    for text in ["ftp://host/", "/path", "http://user:s3cret@host/", "http://host/#s3cret", "s3cret"] {
        assert!(!url(text).unwrap_err().contains("s3cret"), "{text}");
    }
}
