//! An answer as it goes out: its body, and what comes behind it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::endpoint::{Response, Trailers};

/// A body, with trailers perhaps.
pub(super) struct Answer {
    body: Full<Bytes>,
    trailers: Option<HeaderMap>,
}

/// An endpoint's answer, with its trailers taken out of the extensions.
pub(super) fn whole(mut response: Response) -> http::Response<Answer> {
    let trailers = response.extensions_mut().remove::<Trailers>().map(|Trailers(trailers)| trailers);
    response.map(|body| Answer { body, trailers })
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            data => data,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
