//! Listens to the first bytes of a server: HTTP/2 begins with a SETTINGS frame (RFC 9113, 3.4), anything else is not HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Bytes up to and including the type of the first frame: length (3), type (1).
const NEEDED: usize = 4;
const SETTINGS: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    Http2,
    Other,
}

/// A stream that reports what its first bytes were.
pub(crate) struct Sniffed {
    stream: TcpStream,
    first: Vec<u8>,
    tell: Option<oneshot::Sender<Greeting>>,
}

/// Learns the greeting once it came.
pub(crate) struct Ear(oneshot::Receiver<Greeting>);

impl Ear {
    /// A stream that ended without a word did not speak HTTP/2.
    pub(crate) async fn heard(&mut self) -> Greeting {
        (&mut self.0).await.unwrap_or(Greeting::Other)
    }
}

impl Sniffed {
    pub(crate) fn new(stream: TcpStream) -> (Self, Ear) {
        let (tell, ear) = oneshot::channel();
        (Self { stream, first: Vec::new(), tell: Some(tell) }, Ear(ear))
    }

    fn hear(&mut self, bytes: &[u8]) {
        if self.tell.is_none() {
            return;
        }
        self.first.extend(bytes.iter().take(NEEDED - self.first.len()));
        // An ASCII answer would be a frame of about 4 MB, so its length tells it apart before the type does.
        let greeting = match self.first.as_slice() {
            [0, _, _, SETTINGS] => Greeting::Http2,
            [_, _, _, _] => Greeting::Other,
            _ if bytes.is_empty() => Greeting::Other,
            _ => return,
        };
        if let Some(tell) = self.tell.take() {
            // The caller may have given up waiting; then nobody needs to know.
            let _ = tell.send(greeting);
        }
    }
}

impl AsyncRead for Sniffed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if result.is_ready() {
            self.hear(&buf.filled()[before..]);
        }
        result
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
