//! Just enough HTTP/1.1 to talk to a server of our own on this machine: one request per connection, a body
//! of known length, no redirects, no TLS.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::Error;

/// How long each read or write may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Sends a request to `address`, e.g. `127.0.0.1:9001`; the status and the body of the answer.
///
/// # Errors
/// When there is no answer that can be read.
pub fn send(method: &str, address: &str, path: &str, body: &str) -> Result<(u16, String), Error> {
    let failed = |e: std::io::Error| Error(format!("{method} http://{address}{path}: {e}"));
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(failed)?;
    parse(&answer).ok_or_else(|| Error(format!("{method} http://{address}{path}: the answer cannot be read")))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener, thread};

    use super::*;

    #[test]
    fn status_and_body_of_an_answer_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = [0; 4096];
            let count = stream.read(&mut seen).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\ncaf\xc3\xa9").unwrap();
            String::from_utf8(seen[..count].to_vec()).unwrap()
        });
        assert_eq!(send("PUT", &address, "/a", "{}").unwrap(), (204, "café".to_owned()));
        let seen = server.join().unwrap();
        assert!(seen.starts_with("PUT /a HTTP/1.1\r\n") && seen.ends_with("\r\n\r\n{}"), "{seen}");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 abc\r\n\r\n", "hello\r\n\r\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
