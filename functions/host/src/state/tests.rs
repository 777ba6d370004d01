//! Goal: every store holds the port's conditions, one of many writers wins, and a write whose answer was lost is known
//! again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::*;
use crate::{http::Pool, server, settings::Settings};

/// What every store does.
async fn holds(state: Arc<dyn State>, keys: [&str; 3]) {
    for key in keys {
        assert_eq!(state.get(key).await.unwrap(), None, "{key}");
        let conflict = Err(Error::Conflict(key.into()));
        let put = async |value: &'static str, condition| {
            state.put(key, Bytes::from_static(value.as_bytes()), condition).await
        };
        let first = put("one", If::Absent).await.unwrap();
        assert_eq!(put("two", If::Absent).await, conflict, "{key}");
        let stored = Stored { value: Bytes::from_static(b"one"), version: first.clone() };
        assert_eq!(state.get(key).await.unwrap(), Some(stored), "{key}");
        let second = put("", If::Version(first.clone())).await.unwrap();
        assert_eq!(put("three", If::Version(first.clone())).await, conflict, "{key}");
        assert_eq!(state.get(key).await.unwrap().unwrap().value, Bytes::new());
        assert_eq!(state.remove(key, &first).await, Err(Error::Conflict(key.into())));
        state.remove(key, &second).await.unwrap();
        assert_eq!(state.get(key).await.unwrap(), None, "{key}");
        state.remove(key, &second).await.unwrap();
        assert_eq!(put("four", If::Version(second.clone())).await, conflict, "{key}");
        // The same bytes again are another version: a writer from before must not take it for its own.
        let again = put("one", If::Absent).await.unwrap();
        assert!(again != first && again != second, "{key}");
        assert_eq!(put("five", If::Version(first)).await, conflict, "{key}");
        assert_eq!(state.get(key).await.unwrap().unwrap().value, "one");
    }
}

/// Many writers at a time: of those who create one wins, and of those who count none is lost.
async fn lets_one_win(state: Arc<dyn State>, writers: u32) {
    let mut all = tokio::task::JoinSet::new();
    for n in 0..writers {
        let state = state.clone();
        all.spawn(async move {
            let won = state.put("race", n.to_string().into(), If::Absent).await.is_ok();
            loop {
                let (count, condition) = match state.get("count").await.unwrap() {
                    Some(Stored { value, version }) => {
                        (std::str::from_utf8(&value).unwrap().parse::<u32>().unwrap(), If::Version(version))
                    }
                    None => (0, If::Absent),
                };
                match state.put("count", (count + 1).to_string().into(), condition).await {
                    Ok(_) => return won,
                    Err(Error::Conflict(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let won = all.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!((won, state.get("count").await.unwrap().unwrap().value), (1, writers.to_string().into()));
}

const KEYS: [&str; 3] = ["f/once/0123abcd", "f/orders/order-7", "f/x/a..b_c"];

#[tokio::test]
async fn memory_holds_the_conditions() {
    holds(Arc::new(Memory::default()), KEYS).await;
    lets_one_win(Arc::new(Memory::default()), 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_the_conditions_and_outlives_who_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Arc::new(Folder::open(&dir.path().join("state")).unwrap());
    holds(open(), KEYS).await;
    holds(open(), ["..", ".", "a/../b"]).await;
    lets_one_win(open(), 8).await;
    assert_eq!(open().get("f/orders/order-7").await.unwrap().unwrap().value, "one");
    // Nothing was written beside the folder, and nothing half written is left.
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["state"]);
    let damaged = dir.path().join("state/d.state");
    std::fs::write(damaged, "not ours").unwrap();
    assert!(
        matches!(open().get("d").await, Err(Error::Unavailable(why)) if why.contains("nothing that this program wrote"))
    );
}

/// A bucket that speaks as much of S3 as the state needs, with its conditions.
#[derive(Default)]
struct Bucket {
    objects: HashMap<String, (u64, Bytes)>,
    writes: u64,
    /// Writes that are done and not answered for.
    answers_lost: u32,
}

impl Bucket {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let said = |status: StatusCode, code: &str| {
            let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
            Response::builder().status(status).body(body.into()).unwrap()
        };
        let path = request.uri().path().to_owned();
        let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().trim_matches('"').to_owned());
        let there = self.objects.get(&path).cloned();
        match *request.method() {
            Method::GET => match there {
                Some((tag, bytes)) => Response::builder()
                    .header("etag", format!("\"{tag}\""))
                    .header("last-modified", "Thu, 15 Jan 2026 06:30:17 GMT")
                    .header("content-length", bytes.len())
                    .body(bytes)
                    .unwrap(),
                None => said(StatusCode::NOT_FOUND, "NoSuchKey"),
            },
            Method::PUT => {
                let (wanted, none) = (header("if-match"), header("if-none-match").is_some());
                match (&there, wanted) {
                    (Some(_), _) if none => return said(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
                    (Some((tag, _)), Some(wanted)) if *tag.to_string() != wanted => {
                        return said(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                    }
                    (None, Some(_)) => return said(StatusCode::NOT_FOUND, "NoSuchKey"),
                    _ => {}
                }
                self.writes += 1;
                self.objects.insert(path, (self.writes, request.body().clone()));
                if self.answers_lost > 0 {
                    self.answers_lost -= 1;
                    return said(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
                }
                Response::builder().header("etag", format!("\"{}\"", self.writes)).body(Bytes::new()).unwrap()
            }
            _ => said(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }
}

async fn bucket() -> (Arc<Mutex<Bucket>>, String) {
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let inside = bucket.clone();
    let answer = move |request: Request<Bytes>| {
        let response = inside.lock().unwrap().answer(&request);
        async move { response }
    };
    tokio::spawn(server::serve(listener, answer, std::future::pending()));
    (bucket, url)
}

fn settings(endpoint: &str) -> Settings {
    let all = [
        (STATE_URL, "s3://states/shop/night"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    all.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_holds_the_conditions() {
    let (bucket, url) = bucket().await;
    let (state, reach) = open(&settings(&url), &Pool::new().unwrap()).unwrap();
    assert_eq!(reach, Reach::Shared);
    holds(state.clone(), KEYS).await;
    lets_one_win(state, 4).await;
    let bucket = bucket.lock().unwrap();
    assert!(bucket.objects.keys().all(|path| path.starts_with("/states/shop/night/")), "{:?}", bucket.objects.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_known_again() {
    let (bucket, url) = bucket().await;
    let (state, _) = open(&settings(&url), &Pool::new().unwrap()).unwrap();
    bucket.lock().unwrap().answers_lost = 1;
    let first = state.put("k", Bytes::from_static(b"a"), If::Absent).await.unwrap();
    bucket.lock().unwrap().answers_lost = 1;
    let second = state.put("k", Bytes::from_static(b"b"), If::Version(first)).await.unwrap();
    assert_eq!(state.get("k").await.unwrap(), Some(Stored { value: Bytes::from_static(b"b"), version: second }));
    assert_eq!(bucket.lock().unwrap().writes, 2);
}

/// The same conditions at a server that others wrote, where one is named: moto, with a bucket `states`.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_others_holds_the_conditions() {
    let Ok(endpoint) = std::env::var("GOCOFFEE_TESTS_S3") else {
        println!("skipped: GOCOFFEE_TESTS_S3 names no endpoint that speaks S3");
        return;
    };
    let pool = Pool::new().unwrap();
    let create = Request::put(format!("{endpoint}/states")).body(Bytes::new()).unwrap();
    assert!(pool.raw(create).await.unwrap().status().is_success());
    let (state, _) = open(&settings(&endpoint), &pool).unwrap();
    holds(state.clone(), KEYS).await;
    lets_one_win(state, 4).await;
}

#[test]
fn a_state_that_cannot_be_is_named() {
    let said = |url: &str| {
        let settings = [(STATE_URL, url)].into_iter().collect();
        open(&settings, &Pool::new().unwrap()).map(drop).unwrap_err().to_string()
    };
    for (url, wanted) in [
        ("folder", "is no URL"),
        ("file://relative", "from the root on"),
        ("file:///proc/none/state", "cannot be used"),
        ("s3://", "names no bucket"),
        ("ftp://host/x", "none of file, s3, gs and az"),
    ] {
        assert!(said(url).contains(wanted) && said(url).contains(STATE_URL), "{url}: {}", said(url));
    }
    for url in [None, Some("memory")] {
        let settings = url.map(|url| (STATE_URL, url)).into_iter().collect();
        assert_eq!(open(&settings, &Pool::new().unwrap()).unwrap().1, Reach::Process);
    }
}
