//! Declared probe traffic: requests of our own through the edge to both arms, for services with too little traffic to be judged.
//!
//! They count like anybody's: they carry no mark that would keep them from the judge.

use std::time::Duration;

use humdrum_adapters::http::{Ask, Peer, exchange, request};
use humdrum_model::manifest::Probe;
use humdrum_model::rollout::Placement;
use humdrum_model::route::Listen;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Probes that wait for an answer; beyond them none is sent, so that a stuck service is not buried.
const OPEN_MAX: usize = 200;
/// An answer that takes longer is given up; the edge has counted the request by then.
const ANSWER: Duration = Duration::from_secs(35);
/// How often due probes are sent. A timer tells no single milliseconds, so a high rate is several at a time.
const TICK: Duration = Duration::from_millis(5);
/// What a pause of the whole machine held up is sent for at most this time: it is no reason for a burst.
const BURST: Duration = Duration::from_millis(100);

/// Sends the rollout's declared probes at their rate. Never returns: the caller drops it when the judge is done.
pub(crate) async fn probe(placement: &Placement) {
    let declared = placement.rollout.as_ref().and_then(|rollout| {
        let deploy = &rollout.bundle.deploy;
        Some((deploy.probe.clone()?, deploy.listen.clone()))
    });
    let Some((probe, listen)) = declared else { return std::future::pending().await };
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut open, mut paid, mut last) = (JoinSet::new(), 0.0, Instant::now());
    loop {
        clock.tick().await;
        while open.try_join_next().is_some() {}
        let now = Instant::now();
        let (count, left) = due(probe.rps, paid, now.duration_since(last), OPEN_MAX - open.len());
        (paid, last) = (left, now);
        for _ in 0..count {
            let (ask, peer) = (question(&probe, &listen), Peer::Tcp(listen.addr));
            // Whatever comes of it is the edge's to count.
            open.spawn(async move { exchange(&peer, ask, ANSWER).await.is_ok() });
        }
    }
}

/// How many probes are sent now, and the fraction of one that is kept for the next time. Those that find no room are left out, not made up
/// for later: the declared rate is never exceeded.
fn due(rps: f64, kept: f64, elapsed: Duration, room: usize) -> (usize, f64) {
    let all = kept + rps * elapsed.as_secs_f64();
    let whole = all.floor();
    (room.min(whole.min(rps * BURST.as_secs_f64() + 1.0) as usize), all - whole)
}

/// The declared request. Its host is the route's, which a route by host name needs.
fn question(probe: &Probe, listen: &Listen) -> Ask {
    let host = listen.host.clone().unwrap_or_else(|| listen.addr.to_string());
    let mut ask = request("GET", &probe.get, None::<&()>);
    let headers = ask.headers_mut();
    for (name, value) in probe.headers.iter().chain([(&"host".to_owned(), &host)]) {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value.parse()) {
            headers.insert(name, value);
        }
    }
    ask
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes of a second that is looked at so often.
    fn in_a_second(rps: f64, looks: u32) -> usize {
        let mut kept = 0.0;
        let mut sent = 0;
        for _ in 0..looks {
            let (count, left) = due(rps, kept, Duration::from_secs(1) / looks, OPEN_MAX);
            (sent, kept) = (sent + count, left);
        }
        sent
    }

    #[test]
    fn the_declared_rate_is_kept_and_never_exceeded() {
        for rps in [1.0, 7.0, 400.0, 3_000.0, 10_000.0] {
            for looks in [100, 200, 997] {
                let sent = in_a_second(rps, looks) as f64;
                assert!(sent <= rps && sent >= rps - 1.0, "{sent} of {rps} in {looks} looks");
            }
        }
    }

    #[test]
    fn a_full_or_paused_machine_gets_no_burst() {
        let (sent, left) = due(1_000.0, 0.5, Duration::from_secs(60), OPEN_MAX);
        assert!(sent <= 101, "{sent} after a pause");
        assert!(left < 1.0, "{left} kept");
        assert_eq!(due(1_000.0, 0.0, Duration::from_millis(50), 0).0, 0, "no room");
        assert_eq!(due(0.01, 0.0, Duration::from_secs(99), OPEN_MAX).0, 0);
        assert_eq!(due(0.01, 0.99, Duration::from_secs(1), OPEN_MAX).0, 1);
    }
}
