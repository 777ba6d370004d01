//! A proxy in front of a peer that spoils what it is told to spoil: requests are answered in the peer's place, or the
//! peer's answers are changed, or the connection breaks after the peer has taken the request.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use router_tests::world::client::Client;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// What becomes of one request.
pub enum Fault {
    /// It is answered so; the peer does not see it.
    Answer(u16, Value),
    /// The peer takes it, and its answer is changed.
    Change(fn(&mut Value)),
    /// The peer takes it, and the connection breaks without an answer.
    Break,
}

/// What becomes of a request with this body; `None`: it goes through.
pub type Rule = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

/// What was asked, and what was answered by the peer or in its place.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    pub headers: HeaderMap,
    pub body: String,
    pub answer: String,
}

impl Exchange {
    /// The access key that it was signed with.
    pub fn access_key(&self) -> &str {
        let signed = self.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        signed.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default()
    }
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    pub url: String,
    seen: Arc<Mutex<Vec<Exchange>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// In front of that URL.
    pub async fn start(to: &str, rule: Rule) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, rule, to) = (Arc::<Mutex<Vec<Exchange>>>::default(), Arc::new(Mutex::new(rule)), to.to_owned());
        let journal = seen.clone();
        let task = tokio::spawn(async move {
            let client = Client::new(Duration::from_secs(30));
            while let Ok((stream, _)) = listener.accept().await {
                let (client, to, rule, journal) = (client.clone(), to.clone(), rule.clone(), journal.clone());
                let service =
                    service_fn(move |request| pass(request, client.clone(), to.clone(), rule.clone(), journal.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Proxy { url, seen, task }
    }

    /// With these faults, one for each request in turn; what follows goes through.
    pub async fn with(to: &str, faults: impl IntoIterator<Item = Option<Fault>>) -> Proxy {
        let mut faults: VecDeque<Option<Fault>> = faults.into_iter().collect();
        Proxy::start(to, Box::new(move |_| faults.pop_front().flatten())).await
    }

    /// How many entries the requests so far had, one by one.
    pub fn entries(&self) -> Vec<usize> {
        let entries = |exchange: &Exchange| {
            let body: Value = serde_json::from_str(&exchange.body).ok()?;
            Some(body["Entries"].as_array()?.len())
        };
        self.seen.lock().unwrap().iter().filter_map(entries).collect()
    }

    /// Everything that went through it.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.seen.lock().unwrap().clone()
    }
}

/// A broken connection is an error of the service: hyper closes it.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for Broken {}

async fn pass(
    request: Request<Incoming>,
    client: Client,
    to: String,
    rule: Arc<Mutex<Rule>>,
    journal: Arc<Mutex<Vec<Exchange>>>,
) -> Result<Response<Full<Bytes>>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    let at = {
        let mut journal = journal.lock().unwrap();
        journal.push(Exchange { headers: head.headers.clone(), body: text.clone(), ..Exchange::default() });
        journal.len() - 1
    };
    let fault = (rule.lock().unwrap())(&text);
    if let Some(Fault::Answer(status, body)) = &fault {
        journal.lock().unwrap()[at].answer = body.to_string();
        return Ok(answer(*status, body));
    }
    let mut headers = head.headers;
    for gone in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(gone);
    }
    let url = format!("{to}{}", head.uri.path());
    let got = client.send(head.method, &url, headers, body).await.map_err(|_| Broken)?;
    journal.lock().unwrap()[at].answer = got.text();
    match fault {
        Some(Fault::Break) => Err(Broken),
        Some(Fault::Change(change)) => {
            let mut body = got.json();
            change(&mut body);
            Ok(answer(got.status, &body))
        }
        _ => {
            let mut response = Response::new(Full::new(got.body));
            *response.status_mut() = got.status.try_into().unwrap();
            let kept: HeaderMap = got.headers.into_iter().filter_map(|(n, v)| Some((n?, v))).collect();
            for (name, value) in
                kept.iter().filter(|(n, _)| **n != header::CONTENT_LENGTH && **n != header::TRANSFER_ENCODING)
            {
                response.headers_mut().insert(name, value.clone());
            }
            Ok(response)
        }
    }
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "application/x-amz-json-1.1");
    answer.body(Full::new(Bytes::from(body.to_string()))).unwrap_or_else(|_: http::Error| unreachable!())
}
