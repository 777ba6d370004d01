//! An HTTP server that answers as it is told, faults included: for what functions call.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What it says to a request.
#[derive(Clone, Debug)]
pub enum Say {
    /// A whole answer.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// These bytes, and then the connection ends: a body that was promised longer is cut.
    Cut(String),
    /// Nothing, and the connection stays.
    Silence,
}

impl Say {
    /// An answer with JSON.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Say::Answer(status, vec![("content-type", "application/json".into())], body.into())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The first line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Asked {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().find(|l| line(l)).and_then(|l| l.split_once(':')).map(|(_, value)| value.trim())
    }
}

/// The server.
pub struct Endpoint {
    /// Where it listens, without a path.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Endpoint {
    /// Starts one that says these things in turn, the last of them again and again.
    ///
    /// # Panics
    /// When no port can be had.
    #[expect(clippy::panic, reason = "for tests only")]
    pub async fn start(says: impl IntoIterator<Item = Say>) -> Self {
        let Ok(listener) = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await else { panic!("no port") };
        let url = listener.local_addr().map(|a| format!("http://{a}")).unwrap_or_default();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let says: Arc<Mutex<VecDeque<Say>>> = Arc::new(Mutex::new(says.into_iter().collect()));
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, says.clone(), seen.clone()));
            }
        });
        Endpoint { url, asked, task }
    }

    /// Everything that it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request and ends the connection.
async fn answer(mut stream: TcpStream, says: Arc<Mutex<VecDeque<Say>>>, seen: Arc<Mutex<Vec<Asked>>>) -> Option<()> {
    let asked = read(&mut stream).await?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let say = {
        let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
        if says.len() > 1 { says.pop_front()? } else { says.front()?.clone() }
    };
    match say {
        Say::Answer(status, headers, body) => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
        }
        Say::Cut(bytes) => stream.write_all(bytes.as_bytes()).await.ok()?,
        Say::Silence => std::future::pending().await,
    }
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let asked = Asked { head: head.to_owned(), body: body.to_owned() };
            let length = asked.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
            if bytes.len() >= head.len() + 4 + length {
                return Some(asked);
            }
        }
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(piece.get(..read)?);
    }
}
