//! Steady traffic to one loopback port, open loop: a slow answer does not slow the rest down. Every answer is accounted for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Users at a time; each waits for its answer before it asks again.
const USERS: u32 = 40;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// A demonstration ends by itself: no user asks more often than this.
const REQUESTS_MAX: u64 = 200_000;

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    /// Answers that the service itself did not give: the edge's own, broken connections, time-outs.
    pub(crate) lost: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// Traffic under way.
pub(crate) struct Traffic {
    pub(crate) counts: Arc<Counts>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Traffic {
    /// Starts `rps` requests a second, evenly spread over the users.
    pub(crate) fn start(addr: SocketAddr, rps: u32) -> Self {
        let (counts, stop, tracker) =
            (Arc::new(Counts::default()), CancellationToken::new(), TaskTracker::new());
        let pause = Duration::from_secs(1) * USERS / rps.max(1);
        for user in 0..USERS {
            let (counts, stop) = (counts.clone(), stop.clone());
            let offset = pause * user / USERS;
            tracker.spawn(async move {
                tokio::time::sleep(offset).await;
                self::user(addr, pause, &counts, &stop).await;
            });
        }
        tracker.close();
        Self { counts, stop, tracker }
    }

    /// Lets the open requests end.
    pub(crate) async fn end(self) -> Arc<Counts> {
        self.stop.cancel();
        self.tracker.wait().await;
        self.counts
    }
}

async fn user(addr: SocketAddr, pause: Duration, counts: &Counts, stop: &CancellationToken) {
    let mut clock = tokio::time::interval(pause);
    // After a hiccup of this process the missed requests are not sent in a burst.
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut connection: Option<SendRequest<Empty<Bytes>>> = None;
    for _ in 0..REQUESTS_MAX {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = clock.tick() => {}
        }
        counts.sent.fetch_add(1, Ordering::Relaxed);
        let asked = tokio::time::timeout(PATIENCE, ask(addr, &mut connection)).await;
        match asked {
            Ok(Some(status)) if status >= 500 => {
                counts.errors.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Some(_)) => {}
            _ => {
                counts.lost.fetch_add(1, Ordering::Relaxed);
                connection = None;
            }
        }
    }
}

/// One request; none when the service itself did not answer.
async fn ask(addr: SocketAddr, connection: &mut Option<SendRequest<Empty<Bytes>>>) -> Option<u16> {
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        *connection = Some(connect(addr).await?);
    }
    let sender = connection.as_mut()?;
    sender.ready().await.ok()?;
    let request = Request::get("/").header("host", "shop.localhost").body(Empty::new()).ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let status = answer.status().as_u16();
    let by_edge = answer.headers().contains_key("x-humdrum-edge");
    answer.into_body().collect().await.ok()?;
    (!by_edge).then_some(status)
}

async fn connect(addr: SocketAddr) -> Option<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(addr).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}
