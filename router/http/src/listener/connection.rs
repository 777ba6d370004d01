//! One connection of the listener: where it stands between requests, so that a slow head and an idle
//! connection have their own deadlines, and an ending that lets the client read the last answer.
//!
//! Over HTTP/2 there are many requests at a time and no moment between two of them: there only
//! `idle_timeout` counts, from the end of the last request, and what a client sends meanwhile (pings, half
//! a head) does not prolong it. A request that is cut short ends its stream and not the connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::{
    rt::ReadBufCursor,
    server::conn::{http1, http2},
    service::HttpService,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{BUSY_RETRY_AFTER, Limits, answer::Answer, stream::Stream};
use crate::codes;

/// How long the rest of a refused request is read and thrown away, so that the client sees the answer
/// and not a reset of its connection.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Bytes of it.
const LINGER_BYTES_MAX: usize = 4 << 20;
/// How long an idle connection is left open at a stop, so that a request that is on its way is answered.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// The deadlines of a connection are looked at this often, at most and at least.
const TICK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(5));

/// An answer that is written without hyper, because there is no whole request.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    Full,
    Stopping,
    HeadTimeout,
}

impl Refusal {
    fn bytes(self) -> String {
        let (status, code, detail) = match self {
            Refusal::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                codes::CONNECTIONS_FULL,
                "the listener has as many connections as it may; use one for many requests, or try again",
            ),
            Refusal::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, codes::STOPPING, "the router is stopping; send this again")
            }
            Refusal::HeadTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                codes::HEADER_TIMEOUT,
                "the headers were not complete in time; send them faster",
            ),
        };
        let title = status.canonical_reason().unwrap_or_default();
        let number = status.as_u16();
        let body = format!(r#"{{"title":"{title}","status":{number},"code":"{code}","detail":"{detail}"}}"#);
        let retry = match status {
            StatusCode::SERVICE_UNAVAILABLE => format!("retry-after: {}\r\n", BUSY_RETRY_AFTER.as_secs()),
            _ => String::new(),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {number} {title}\r\ncontent-type: application/problem+json\r\n{retry}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }
}

/// Sends a connection away with an answer.
pub(super) async fn refuse(mut stream: Stream, refusal: Refusal) {
    let written = tokio::time::timeout(LINGER_MAX, stream.write_all(refusal.bytes().as_bytes())).await;
    if matches!(written, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Ends the sending side, and reads what the client still sends: a socket closed over unread bytes is
/// reset, and a reset takes the answer with it.
async fn linger(mut stream: Stream) {
    let drained = tokio::time::timeout(LINGER_MAX, async {
        stream.shutdown().await?;
        let mut sink = vec![0; 16 << 10];
        let mut total = 0usize;
        while total < LINGER_BYTES_MAX {
            match stream.read(&mut sink).await? {
                0 => break,
                n => total = total.saturating_add(n),
            }
        }
        io::Result::Ok(())
    });
    // Whether the client went away early or stays on, the connection is dropped here.
    drop(drained.await);
}

/// The beginning of every HTTP/2 connection (RFC 9113, section 3.4), as far as no HTTP/1 method reaches.
const PREFACE: &[u8; 4] = b"PRI ";

/// What the first bytes of a connection without TLS say.
pub(super) enum Sniffed {
    /// Which version, and the bytes that were read to know it.
    Version { http2: bool, prefix: Bytes },
    /// Something else to answer.
    Refused(Refusal),
    /// Nothing came, or the listener stops.
    Gone,
}

/// Reads the first bytes of a connection without TLS, where no handshake agrees on a version.
pub(super) async fn sniff(stream: &mut Stream, limits: &Limits, stop: &CancellationToken) -> Sniffed {
    let mut seen: Vec<u8> = Vec::with_capacity(PREFACE.len());
    let mut wait = limits.idle_timeout;
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        let mut rest = (&mut *stream).take((PREFACE.len() - seen.len()) as u64);
        let read = tokio::select! {
            biased;
            () = stop.cancelled(), if seen.is_empty() => return Sniffed::Gone,
            read = tokio::time::timeout(wait, rest.read_buf(&mut seen)) => read,
        };
        match read {
            Err(_) if !seen.is_empty() => return Sniffed::Refused(Refusal::HeadTimeout),
            Ok(Ok(n)) if n > 0 => wait = limits.header_read_timeout,
            Err(_) | Ok(_) => return Sniffed::Gone,
        }
    }
    Sniffed::Version { http2: seen == PREFACE, prefix: seen.into() }
}

/// Where a connection stands. Written by its own tasks only; atomics because tasks move between threads.
pub(crate) struct Watch {
    start: Instant,
    http2: bool,
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// When the first byte of a head came, as milliseconds since `start` and 1; 0 while there is none.
    head_since: AtomicU64,
    /// When the last request ended, in the same form.
    idle_since: AtomicU64,
    /// Part of a request is unread: the connection ends after the answer.
    cut: AtomicBool,
    stopping: AtomicBool,
}

/// What is overdue on a connection.
#[derive(Debug, PartialEq, Eq)]
enum Overdue {
    Head,
    Idle,
}

impl Watch {
    pub(super) fn new(http2: bool) -> Self {
        Watch {
            start: Instant::now(),
            http2,
            busy: AtomicUsize::new(0),
            head_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(1),
            cut: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Bytes have come.
    fn read(&self) {
        if !self.http2 && !self.is_busy() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) != 0
    }

    /// A head is complete; the request ends when the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Over HTTP/2 hyper ends the stream of a body that is dropped, and the others go on.
    pub(crate) fn cut(&self) {
        self.cut.store(!self.http2, Ordering::Relaxed);
    }

    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// No request is under way, nor has one begun.
    fn is_idle(&self) -> bool {
        !self.is_busy() && self.head_since.load(Ordering::Relaxed) == 0
    }

    fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        if self.is_busy() {
            return None;
        }
        let past = |since: u64, wait: Duration| u128::from(self.now().saturating_sub(since)) >= wait.as_millis();
        let head = self.head_since.load(Ordering::Relaxed);
        if head != 0 {
            return past(head, limits.header_read_timeout).then_some(Overdue::Head);
        }
        past(self.idle_since.load(Ordering::Relaxed), limits.idle_timeout).then_some(Overdue::Idle)
    }
}

/// While it lives, a request is under way.
pub(super) struct Busy(Arc<Watch>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that tells its watch when bytes come.
pub(super) struct Watched {
    /// Bytes that were read already.
    prefix: Bytes,
    io: TokioIo<Stream>,
    watch: Arc<Watch>,
}

impl Watched {
    pub(super) fn new(stream: Stream, prefix: Bytes, watch: Arc<Watch>) -> Self {
        Watched { prefix, io: TokioIo::new(stream), watch }
    }

    fn into_stream(self) -> Stream {
        self.io.into_inner()
    }
}

impl hyper::rt::Read for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            let length = this.prefix.len().min(buf.remaining());
            buf.put_slice(this.prefix.get(..length).unwrap_or_default());
            this.prefix.advance(length);
            this.watch.read();
            return Poll::Ready(Ok(()));
        }
        // The end of the stream counts as bytes too, which does no harm: hyper closes on it.
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.watch.read();
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }
}

/// Drives an HTTP/1.1 connection to its end.
pub(super) async fn drive<S>(
    mut conn: http1::Connection<Watched, S>,
    watch: &Watch,
    limits: &Limits,
    stop: &CancellationToken,
) where
    S: HttpService<hyper::body::Incoming, ResBody = Answer, Error = std::convert::Infallible>,
{
    let mut ticks = ticks(limits);
    let mut leave_at: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            ended = &mut conn => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                }
                break;
            }
            () = stop.cancelled(), if !watch.is_stopping() => {
                watch.stopping.store(true, Ordering::Relaxed);
                if watch.is_idle() {
                    // A request may be on its way: it is told to leave, which is more than a reset says.
                    leave_at = Some(Instant::now() + STOP_GRACE);
                } else {
                    // What is under way ends, and nothing follows it.
                    Pin::new(&mut conn).graceful_shutdown();
                }
            }
            () = tokio::time::sleep_until(leave_at.unwrap_or_else(Instant::now)), if leave_at.is_some() => {
                if watch.is_idle() {
                    return;
                }
                // Its answer says that the connection closes.
                leave_at = None;
            }
            _ = ticks.tick() => match watch.overdue(limits) {
                Some(Overdue::Head) => {
                    return refuse(conn.into_parts().io.into_stream(), Refusal::HeadTimeout).await;
                }
                Some(Overdue::Idle) => return,
                None => {}
            }
        }
    }
    if watch.is_cut() {
        linger(conn.into_parts().io.into_stream()).await;
    }
}

fn ticks(limits: &Limits) -> tokio::time::Interval {
    let tick = limits.header_read_timeout.min(limits.idle_timeout) / 4;
    let mut ticks = tokio::time::interval(tick.clamp(TICK.0, TICK.1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Runs the requests of an HTTP/2 connection, each in a task that ends with its connection.
#[derive(Clone)]
pub(super) struct Tasks(pub(super) CancellationToken);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        let ended = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = request => {}
            }
        });
    }
}

/// Drives an HTTP/2 connection to its end. A client that is told to leave and does not is left after
/// `header_read_timeout`.
pub(super) async fn drive_http2<S>(
    mut conn: http2::Connection<Watched, S, Tasks>,
    watch: &Watch,
    limits: &Limits,
    stop: &CancellationToken,
) where
    S: HttpService<hyper::body::Incoming, ResBody = Answer, Error = std::convert::Infallible>,
    S::Future: Send + 'static,
{
    let mut ticks = ticks(limits);
    let mut leave_since: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            ended = &mut conn => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                }
                return;
            }
            () = stop.cancelled(), if !watch.is_stopping() => {
                watch.stopping.store(true, Ordering::Relaxed);
                leave_since.get_or_insert_with(Instant::now);
                Pin::new(&mut conn).graceful_shutdown();
            }
            _ = ticks.tick() => match leave_since {
                Some(since) if since.elapsed() >= limits.header_read_timeout && !watch.is_busy() => return,
                None if watch.overdue(limits).is_some() => {
                    leave_since = Some(Instant::now());
                    Pin::new(&mut conn).graceful_shutdown();
                }
                Some(_) | None => {}
            }
        }
    }
}
