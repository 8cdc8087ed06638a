//! Accepting connections and serving them in the protocol that they begin with.
//!
//! `select!` is used in [`accept`]: a new connection or the end of the listener.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::flight::Cut;
use crate::head::{Caller, HEAD_BYTES_MAX};
use crate::pool::LocalExecutor;
use crate::proxy;
use crate::worker::{Port, Session, Worker};

/// Connections of callers on one worker; more are closed at once, because file handles end somewhere.
const CONNECTIONS_MAX: usize = 30_000;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Until the first request of a connection names its route, and with it the route's own limit.
const FIRST_REQUEST: Duration = Duration::from_secs(75);
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

pub(crate) async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    port: Rc<RefCell<Port>>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if worker.connections.len() < CONNECTIONS_MAX => {
                drop(tokio::task::spawn_local(connection(
                    worker.clone(),
                    stream,
                    peer,
                    port.clone(),
                )));
            }
            Ok((_, peer)) => tracing::warn!(%peer, limit = CONNECTIONS_MAX, "too many connections"),
            Err(error) => {
                // Out of file handles, for example: without a pause this loop would eat the core.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    port: Rc<RefCell<Port>>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection is gone before it began");
        return;
    }
    let wait = worker.connections.enter(None);
    wait.until(Some((Instant::now() + FIRST_REQUEST, Cut::Idle)));
    let session = Rc::new(Session {
        caller: Caller::new(peer.ip()),
        wait,
        open: Cell::new(0),
        idle: Cell::new(FIRST_REQUEST),
    });
    let Some(is_http2) = begins_with_preface(&stream, &session).await else { return };
    let service = {
        let session = session.clone();
        service_fn(move |request: hyper::Request<Incoming>| {
            let (worker, session, port) = (worker.clone(), session.clone(), port.clone());
            async move { Ok::<_, Infallible>(proxy::answer(worker, session, port, request).await) }
        })
    };
    let io = TokioIo::new(stream);
    let ended = if is_http2 {
        let served = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .keep_alive_interval(Duration::from_secs(20))
            .serve_connection(io, service);
        until_cut(pin!(served), &session, http2::Connection::graceful_shutdown).await
    } else {
        let served = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(io, service)
            .with_upgrades();
        until_cut(pin!(served), &session, http1::UpgradeableConnection::graceful_shutdown).await
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

/// Whether the caller speaks HTTP/2 by prior knowledge; `None` when it left. Reads nothing away.
async fn begins_with_preface(stream: &TcpStream, session: &Session) -> Option<bool> {
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        let n = peek(stream, session, &mut first).await?;
        match n {
            0 => return None,
            n if first[..n] == HTTP2_PREFACE[..n] && n < HTTP2_PREFACE.len() => {
                // `P` may still become POST. Peeking again at once would spin.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            n => return Some(first[..n] == HTTP2_PREFACE[..n]),
        }
    }
}

async fn peek(stream: &TcpStream, session: &Session, first: &mut [u8]) -> Option<usize> {
    let mut peek = pin!(stream.peek(first));
    poll_fn(|cx| match session.wait.poll_cut(cx) {
        Some(_) => Poll::Ready(None),
        None => peek.as_mut().poll(cx).map(|r| r.ok()),
    })
    .await
}

/// Runs a connection to its end, or until it was idle for too long, or gracefully out of a leaving process.
async fn until_cut<C>(
    mut served: Pin<&mut C>,
    session: &Session,
    finish: fn(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    poll_fn(|cx| {
        match session.wait.poll_cut(cx) {
            Some(Cut::Leaving) => {
                session.wait.clear();
                finish(served.as_mut());
            }
            // A request may have begun since the deadline passed.
            Some(_) if session.open.get() == 0 => return Poll::Ready(Ok(())),
            Some(_) => session.wait.clear(),
            None => {}
        }
        served.as_mut().poll(cx)
    })
    .await
}
