//! Bodies that stream through: the caller's, with its limit, and the instance's, which drives its own connection.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::flight::Cut;
use crate::pool::{Endpoint, Link};
use crate::worker::{Busy, Flight};

/// Why a body stopped before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is longer than {limit} bytes")]
    TooLong { limit: u64 },
    #[error("the request was cut: {0:?}")]
    Cut(Cut),
    #[error("the connection to the instance ended within the body")]
    Ended,
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

/// What the handler learns about a request body that hyper owns.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) too_long: Cell<bool>,
    /// The caller stopped sending; not the fault of any instance.
    pub(crate) broken: Cell<bool>,
    /// When the body last moved, so that a slow upload is not taken for a slow answer.
    pub(crate) moved: Cell<Option<Instant>>,
}

/// The body of a request on its way to an instance.
pub(crate) enum RequestBody {
    Empty,
    Streaming { incoming: Incoming, left: u64, limit: u64, upload: Rc<Upload> },
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit: u64, upload: &Rc<Upload>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Streaming { incoming, left: limit, limit, upload: upload.clone() }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Streaming { incoming, left, limit, upload } = self.get_mut() else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(incoming).poll_frame(cx));
        upload.moved.set(Some(Instant::now()));
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => {
                upload.broken.set(true);
                Some(Err(BodyError::Broken(error)))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |d| d.len() as u64);
                match left.checked_sub(length) {
                    Some(rest) => {
                        *left = rest;
                        Some(Ok(frame))
                    }
                    None => {
                        upload.too_long.set(true);
                        Some(Err(BodyError::TooLong { limit: *limit }))
                    }
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// An answer to the caller: the edge's own words or an instance's stream.
pub(crate) enum AnswerBody {
    Own { text: Option<Bytes>, _busy: Busy },
    Streaming(Streaming),
}

pub(crate) struct Streaming {
    pub(crate) incoming: Incoming,
    /// The HTTP/1.1 connection that carries the answer; it returns to its endpoint after the last byte.
    pub(crate) link: Option<(Link, Rc<Endpoint>)>,
    pub(crate) flight: Flight,
    pub(crate) ended: bool,
    /// The connection ended; what is buffered may still be read.
    pub(crate) closed: bool,
    pub(crate) _busy: Busy,
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(cut) = self.flight.wait.poll_cut(cx)
            && cut != Cut::Leaving
        {
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        let Some((link, _)) = &mut self.link else {
            return Pin::new(&mut self.incoming).poll_frame(cx).map_err(BodyError::Broken);
        };
        // Frames appear only while the connection is driven just below, so their channel need not wake this task.
        let quiet = &mut Context::from_waker(Waker::noop());
        for _ in 0..2 {
            if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(quiet) {
                self.ended |= frame.is_none() || self.incoming.is_end_stream();
                return Poll::Ready(frame.map(|f| f.map_err(BodyError::Broken)));
            }
            if self.closed {
                return Poll::Ready(Some(Err(BodyError::Ended)));
            }
            self.closed = link.drive(cx).is_ready();
        }
        // The drive may have filled the channel after the last look.
        match Pin::new(&mut self.incoming).poll_frame(quiet) {
            Poll::Ready(frame) => {
                self.ended |= frame.is_none() || self.incoming.is_end_stream();
                Poll::Ready(frame.map(|f| f.map_err(BodyError::Broken)))
            }
            Poll::Pending if self.closed => Poll::Ready(Some(Err(BodyError::Ended))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some((link, endpoint)) = self.link.take()
            && !self.closed
            && (self.ended || self.incoming.is_end_stream())
        {
            endpoint.give_back(link);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own { text, .. } => Poll::Ready(text.take().map(|t| Ok(Frame::data(t)))),
            Self::Streaming(streaming) => streaming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { text, .. } => text.is_none(),
            Self::Streaming(s) => s.ended || s.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { text, .. } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64))
            }
            Self::Streaming(s) => s.incoming.size_hint(),
        }
    }
}
