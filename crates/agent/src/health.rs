//! Is an instance ready? One probe over loopback, and the counting of answers (pure).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use humdrum_model::unit::{Health, HealthCheck, InstanceState};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// While an instance starts it is asked this often, so that a fast start is seen at once; after its first good answer
/// the interval of the wish holds.
pub(crate) const STARTING_INTERVAL: Duration = Duration::from_millis(25);

/// Counts answers in a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter {
    good: u32,
    bad: u32,
}

impl Counter {
    /// A counter for an instance known to be ready.
    pub(crate) fn ready() -> Self {
        Self { good: u32::MAX, bad: 0 }
    }

    /// The state after one more answer.
    pub(crate) fn count(
        &mut self,
        good: bool,
        now: InstanceState,
        health: &Health,
    ) -> InstanceState {
        if good {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
        }
        match now {
            InstanceState::Starting | InstanceState::Unhealthy
                if self.good >= health.healthy_after =>
            {
                InstanceState::Ready
            }
            InstanceState::Ready if self.bad >= health.unhealthy_after => InstanceState::Unhealthy,
            other => other,
        }
    }

    /// How long until the next question.
    pub(crate) fn pause(&self, now: InstanceState, health: &Health) -> Duration {
        let interval = Duration::from_millis(health.interval_ms);
        if now == InstanceState::Starting && self.good == 0 {
            return interval.min(STARTING_INTERVAL);
        }
        interval
    }
}

/// Asks once; anything but a good answer within the time is bad, and why does not matter to the count.
pub(crate) async fn probe(addr: SocketAddr, health: &Health) -> bool {
    let limit = Duration::from_millis(health.timeout_ms);
    let asked = async {
        match &health.check {
            HealthCheck::Tcp => TcpStream::connect(addr).await.is_ok(),
            HealthCheck::Http(path) => {
                get(addr, path).await.is_some_and(|s| (200..400).contains(&s))
            }
        }
    };
    tokio::time::timeout(limit, asked).await.unwrap_or(false)
}

/// The status of one GET on a connection of its own. The body is not read: it may be endless.
async fn get(addr: SocketAddr, path: &str) -> Option<u16> {
    let stream = TcpStream::connect(addr).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(path)
        .header(http::header::HOST, addr.to_string())
        .header(http::header::USER_AGENT, "humdrum-agent")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answered = tokio::select! {
        answered = &mut answer => answered,
        // A connection that ends has either passed its answer on or failed it.
        _ = connection => answer.await,
    };
    answered.ok().map(|response| response.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Ready, Starting, Unhealthy};

    fn health(healthy_after: u32, unhealthy_after: u32) -> Health {
        Health {
            check: HealthCheck::Tcp,
            interval_ms: 1_000,
            timeout_ms: 1_000,
            healthy_after,
            unhealthy_after,
            start_ms: 1_000,
        }
    }

    #[tokio::test]
    async fn an_answer_that_closes_the_connection_counts() {
        use std::io::{Read, Write};
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            for status in [204, 399, 500] {
                let (mut stream, _) = server.accept().unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /h HTTP/1.1"));
                write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        let health = Health { check: HealthCheck::Http("/h".into()), ..health(1, 1) };
        for expected in [true, true, false] {
            assert_eq!(probe(addr, &health).await, expected);
        }
        serving.join().unwrap();
        assert!(!probe(addr, &health).await, "nobody listens any more");
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        #[rustfmt::skip]
        let cases = [
            // from      answers   becomes
            (Starting,  "+",       Starting),
            (Starting,  "++",      Ready),
            (Starting,  "+-+",     Starting),
            (Starting,  "-----",   Starting),
            (Starting,  "++---",   Unhealthy),
            (Starting,  "++--+--", Ready),
            (Unhealthy, "+",       Unhealthy),
            (Unhealthy, "++",      Ready),
        ];
        for (from, answers, expected) in cases {
            let mut counter = Counter::default();
            let end = answers
                .chars()
                .fold(from, |state, c| counter.count(c == '+', state, &health(2, 3)));
            assert_eq!(end, expected, "{from:?} {answers}");
        }
    }

    #[test]
    fn a_starting_instance_is_asked_often_until_it_answers() {
        let mut counter = Counter::default();
        assert_eq!(counter.pause(Starting, &health(2, 3)), STARTING_INTERVAL);
        counter.count(true, Starting, &health(2, 3));
        assert_eq!(counter.pause(Starting, &health(2, 3)), Duration::from_secs(1));
        assert_eq!(Counter::ready().pause(Ready, &health(2, 3)), Duration::from_secs(1));
    }
}
