//! HTTP/1.1 by hand, for what sends and what takes in: a message is one write and few reads, in one task, so that as little of
//! the machine as can be goes into the measuring. Only what the router and the bare servers speak is read: bodies with a length.

use std::io::Write;

use bytes::{Buf, BytesMut};
use httparse::{EMPTY_HEADER, Header, Request, Response, Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const HEADERS_MAX: usize = 64;
/// Room for what is read at once, in bytes.
const ROOM: usize = 64 * 1024;

/// The value of a header.
pub fn header<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// Bytes of the body.
fn length(headers: &[Header<'_>]) -> usize {
    let said = header(headers, "content-length").and_then(|value| std::str::from_utf8(value).ok());
    said.and_then(|digits| digits.parse().ok()).expect("a body's length stands in its head")
}

/// Reads more; `None` at the end of the stream.
async fn more(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<()> {
    buffer.reserve(ROOM);
    stream.read_buf(buffer).await.ok().filter(|read| *read > 0).map(drop)
}

/// One connection to a server, made anew where it ended.
pub struct Connection {
    address: String,
    path: String,
    open: Option<TcpStream>,
    written: Vec<u8>,
    read: BytesMut,
}

impl Connection {
    pub fn new(address: &str, path: &str) -> Connection {
        let (written, read) = (Vec::new(), BytesMut::new());
        Connection { address: address.to_owned(), path: path.to_owned(), open: None, written, read }
    }

    /// The status of the answer; `None` when there was none.
    pub async fn post(&mut self, content_type: &str, body: &[u8]) -> Option<u16> {
        let mut stream = match self.open.take() {
            Some(open) => open,
            None => {
                let stream = TcpStream::connect(&self.address).await.ok()?;
                stream.set_nodelay(true).unwrap_or_default();
                stream
            }
        };
        let (address, path, bytes) = (&self.address, &self.path, body.len());
        self.written.clear();
        write!(
            self.written,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {content_type}\r\ncontent-length: {bytes}\r\n\r\n"
        )
        .expect("memory takes it");
        self.written.extend_from_slice(body);
        stream.write_all(&self.written).await.ok()?;
        self.read.clear();
        loop {
            more(&mut stream, &mut self.read).await?;
            let mut headers = [EMPTY_HEADER; HEADERS_MAX];
            let mut answer = Response::new(&mut headers);
            if let Status::Complete(head) = answer.parse(&self.read).expect("an answer of HTTP/1.1") {
                let stays = header(answer.headers, "connection").is_none_or(|said| said != b"close");
                let (status, whole) = (answer.code, head + length(answer.headers));
                while self.read.len() < whole {
                    more(&mut stream, &mut self.read).await?;
                }
                self.open = stays.then_some(stream);
                return status;
            }
        }
    }
}

/// Serves what is answered at once.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&[Header<'_>], &[u8]) -> u16 + Clone + Send + Sync + 'static,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).unwrap_or_default();
        // A router that is killed breaks its connections: nothing to report.
        tokio::spawn(converse(stream, answer.clone()));
    }
}

async fn converse(mut stream: TcpStream, answer: impl Fn(&[Header<'_>], &[u8]) -> u16) -> Option<()> {
    let mut read = BytesMut::new();
    loop {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        let status = request.parse(&read).expect("a request of HTTP/1.1");
        let whole = match status {
            Status::Complete(head) => Some((head, head + length(request.headers))),
            Status::Partial => None,
        };
        let Some((head, whole)) = whole.filter(|(_, whole)| read.len() >= *whole) else {
            more(&mut stream, &mut read).await?;
            continue;
        };
        let status = answer(request.headers, &read[head..whole]);
        read.advance(whole);
        let answer = format!("HTTP/1.1 {status} \r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
