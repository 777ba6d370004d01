use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents},
};
use router_core::{
    id::{Offset, SourceName},
    source::{Accepted, IntakeClosed, RawEvent, Rejection},
};
use router_http::{
    Endpoint, Limits, Listener, Mount,
    client::{Answer, Client},
    intake::{Results, Submit},
};
use schemas::Event;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

type Script = Box<dyn Fn(&RawEvent) -> Result<Accepted, Rejection> + Send + Sync>;

/// An intake that keeps what it was given and answers as its script says.
pub struct Fake {
    pub script: Script,
    pub closed: bool,
    pub seen: Mutex<Vec<RawEvent>>,
}

impl Fake {
    /// Appends every valid event; rejects the others.
    pub fn new() -> Self {
        Self::script(|raw| match &raw.event {
            Ok(_) => Ok(Accepted::Appended(Offset(1))),
            Err(invalid) => Err(invalid.clone().into()),
        })
    }

    pub fn script(script: impl Fn(&RawEvent) -> Result<Accepted, Rejection> + Send + Sync + 'static) -> Self {
        Fake { script: Box::new(script), closed: false, seen: Mutex::default() }
    }

    /// The valid events that it was given.
    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().unwrap().iter().filter_map(|raw| raw.event.clone().ok()).collect()
    }
}

#[async_trait]
impl Submit for Fake {
    async fn submit(&self, from: &SourceName, batch: Vec<RawEvent>) -> Results {
        assert_eq!(from.as_str(), "google");
        if self.closed {
            return Err(IntakeClosed);
        }
        let results = batch.iter().map(|raw| (self.script)(raw)).collect();
        self.seen.lock().unwrap().extend(batch);
        Ok(results)
    }
}

/// A listener with one endpoint.
pub struct Served {
    pub addr: SocketAddr,
    pub fake: Arc<Fake>,
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn serve(endpoint: impl Endpoint, fake: Fake) -> Served {
    let fake = Arc::new(fake);
    let mount = Mount { endpoint: Arc::new(endpoint), intake: fake.clone() };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Limits::default(), vec![mount]).await.unwrap();
    let addr = listener.addr();
    let task = tokio::spawn(listener.run(CancellationToken::new()));
    Served { addr, fake, client: Client::new().unwrap(), task }
}

impl Served {
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri(format!("http://{}{path}", self.addr));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        self.client.send(request, Duration::from_secs(30), 1 << 20).await.unwrap()
    }
}

pub fn code(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    body["code"].as_str().unwrap_or_default().to_owned()
}

pub fn name() -> SourceName {
    SourceName::new("google").unwrap()
}

/// Two keys, of which Google publishes one after the other.
pub const FIRST: (&str, &[u8]) = ("first", include_bytes!("../../../http/tests/jwt/signing.der"));
pub const SECOND: (&str, &[u8]) = ("second", include_bytes!("../../../http/tests/jwt/other.der"));

/// What a token of a push says, for a while from now on.
pub fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"iss": "https://accounts.google.com", "aud": "https://router.example/google", "exp": now + 3600, "iat": now,
        "email": "push@coffee.iam.gserviceaccount.com", "email_verified": true, "sub": "1"})
}

/// A token of these claims, as it is shown.
pub fn token((kid, der): (&str, &[u8]), claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "kid": kid, "typ": "JWT"})), part(claims));
    let key = RsaKeyPair::from_der(der).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Where keys are published.
pub struct KeyServer {
    pub url: String,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl KeyServer {
    /// One that publishes these keys, or, without one, is broken.
    pub async fn start(keys: &[(&str, &[u8])]) -> KeyServer {
        let published: Vec<Value> = keys
            .iter()
            .map(|(kid, der)| {
                let key = RsaKeyPair::from_der(der).unwrap();
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
                    "n": URL_SAFE_NO_PAD.encode(parts.n), "e": URL_SAFE_NO_PAD.encode(parts.e)})
            })
            .collect();
        let status = if published.is_empty() { 500 } else { 200 };
        let body = json!({ "keys": published }).to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/oauth2/v3/certs", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let answer =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        KeyServer { url, asked, serving }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
