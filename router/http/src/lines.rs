//! A body that is made while it is sent: lines, handed over one piece at a time, so that a reader that is slow
//! holds one piece in memory and no more.

use std::{
    any::Any,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// Why nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// The reader went away.
    #[error("the reader went away")]
    Closed,
    /// The reader took nothing for too long.
    #[error("the reader took nothing for too long")]
    Stalled,
}

/// The end at which lines are made. Dropped without [`Sender::finish`] the body breaks off, so that its reader
/// can tell.
pub struct Sender {
    pieces: mpsc::Sender<Bytes>,
    whole: Arc<AtomicBool>,
}

/// The body. It keeps what it was given until it is dropped.
pub struct Lines {
    pieces: mpsc::Receiver<Bytes>,
    whole: Arc<AtomicBool>,
    _held: Box<dyn Any + Send + Sync>,
}

/// A body that broke off.
#[derive(Debug, thiserror::Error)]
#[error("what makes the lines has ended before its end")]
pub struct Broken;

/// A body and where its lines are made; `held` is dropped with the body.
pub fn lines(held: impl Any + Send + Sync) -> (Sender, Lines) {
    let (sender, pieces) = mpsc::channel(1);
    let whole = Arc::new(AtomicBool::new(false));
    (Sender { pieces: sender, whole: whole.clone() }, Lines { pieces, whole, _held: Box::new(held) })
}

impl Sender {
    /// Hands a piece over, once the one before it was taken.
    ///
    /// # Errors
    /// [`Gone`], at the latest after this wait.
    pub async fn send(&self, piece: Bytes, wait_max: Duration) -> Result<(), Gone> {
        match tokio::time::timeout(wait_max, self.pieces.send(piece)).await {
            Ok(sent) => sent.map_err(|_| Gone::Closed),
            Err(_) => Err(Gone::Stalled),
        }
    }

    /// Resolves when the reader is gone.
    pub async fn closed(&self) {
        self.pieces.closed().await;
    }

    /// That was all.
    pub fn finish(self) {
        self.whole.store(true, Ordering::Release);
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if self.whole.load(Ordering::Acquire) => None,
            None => Some(Err(Broken)),
        })
    }
}
