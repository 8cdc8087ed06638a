//! Connections to instances, one pool for each worker and address.
//!
//! An HTTP/1.1 connection is not a task of its own: who uses it drives it, inside the task of the caller's connection. That
//! saves two wake-ups for each request. An HTTP/2 connection is shared by many requests and therefore is a task.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::body::RequestBody;
use crate::head::HEAD_BYTES_MAX;
use crate::sniff::{Greeting, Sniffed};

/// Idle connections kept for one instance by one worker; more are closed.
const IDLE_MAX: usize = 512;
/// Shorter than the 5 s after which Node, the strictest common server, closes an idle connection: so we close first.
const IDLE_FOR: Duration = Duration::from_secs(4);
/// How long an instance that does not speak HTTP/2 is asked in HTTP/1.1 before the next try.
const HTTP1_ONLY_FOR: Duration = Duration::from_secs(60);

type Http1Connection = http1::Connection<TokioIo<TcpStream>, RequestBody>;

/// An HTTP/1.1 connection together with the machine that drives it.
pub(crate) struct Link {
    pub(crate) sender: http1::SendRequest<RequestBody>,
    /// Boxed, because a link moves several times for each request and the connection is large.
    connection: Box<Http1Connection>,
    /// Answered at least one request, so that its end may be mere age.
    pub(crate) used: bool,
    idle_since: Instant,
}

impl Link {
    /// Drives the connection; `Ready` when it is over.
    #[inline]
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut *self.connection).poll(cx).map(|_| ())
    }

    /// Gives up driving by hand, for a connection that changes its protocol.
    pub(crate) fn into_parts(self) -> (http1::SendRequest<RequestBody>, Http1Connection) {
        (self.sender, *self.connection)
    }
}

/// Everything a worker keeps about one address.
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    idle: RefCell<Vec<Link>>,
    http2: RefCell<Option<http2::SendRequest<RequestBody>>>,
    http1_only_until: Cell<Option<Instant>>,
    /// One caller at a time opens the shared connection.
    opening: tokio::sync::Semaphore,
}

impl Endpoint {
    fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            idle: RefCell::default(),
            http2: RefCell::default(),
            http1_only_until: Cell::new(None),
            opening: tokio::sync::Semaphore::new(1),
        }
    }

    /// An idle connection that is not known to be dead.
    pub(crate) fn checkout(&self, cx: &mut Context<'_>) -> Option<Link> {
        loop {
            let mut link = self.idle.borrow_mut().pop()?;
            // Also notices an end that the instance announced meanwhile.
            if link.drive(cx).is_pending() && link.sender.is_ready() {
                return Some(link);
            }
        }
    }

    /// Takes a connection back, if it can carry another request.
    pub(crate) fn give_back(&self, mut link: Link) {
        let over = link.drive(&mut Context::from_waker(Waker::noop())).is_ready();
        let mut idle = self.idle.borrow_mut();
        if !over && link.sender.is_ready() && idle.len() < IDLE_MAX {
            link.used = true;
            link.idle_since = Instant::now();
            idle.push(link);
        }
    }

    /// Opens a connection for one request after the other.
    pub(crate) async fn connect(&self, within: Duration) -> io::Result<Link> {
        let stream = tcp(self.addr, within).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Link {
            sender,
            connection: Box::new(connection),
            used: false,
            idle_since: Instant::now(),
        })
    }

    /// The shared HTTP/2 connection; `None` when the instance does not speak it.
    pub(crate) async fn http2(
        &self,
        within: Duration,
    ) -> io::Result<Option<http2::SendRequest<RequestBody>>> {
        let _turn = self.opening.acquire().await.map_err(io::Error::other)?;
        if self.http1_only_until.get().is_some_and(|until| until > Instant::now()) {
            return Ok(None);
        }
        let known = self.http2.borrow().clone().filter(|s| !s.is_closed());
        if known.is_some() {
            return Ok(known);
        }
        let (stream, mut greeting) = Sniffed::new(tcp(self.addr, within).await?);
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP/2 connection to an instance ended");
            }
        });
        match tokio::time::timeout(within, greeting.heard()).await {
            Ok(Greeting::Http2) => {
                *self.http2.borrow_mut() = Some(sender.clone());
                Ok(Some(sender))
            }
            Ok(Greeting::Other) => {
                self.http1_only_until.set(Some(Instant::now() + HTTP1_ONLY_FOR));
                Ok(None)
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no HTTP/2 settings came")),
        }
    }
}

async fn tcp(addr: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(within, TcpStream::connect(addr)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The endpoints of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    endpoints: RefCell<HashMap<SocketAddr, Rc<Endpoint>>>,
}

impl Pool {
    pub(crate) fn endpoint(&self, addr: SocketAddr) -> Rc<Endpoint> {
        self.endpoints
            .borrow_mut()
            .entry(addr)
            .or_insert_with(|| Rc::new(Endpoint::new(addr)))
            .clone()
    }

    /// Closes what stood idle for too long and forgets addresses that nobody uses.
    pub(crate) fn sweep(&self, now: Instant) {
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            endpoint.idle.borrow_mut().retain(|link| now - link.idle_since < IDLE_FOR);
            Rc::strong_count(endpoint) > 1
        });
    }
}

/// Runs hyper's own tasks on the worker that started them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(async move {
            future.await;
        }));
    }
}
