//! Declared probe traffic: requests of our own through the edge to both arms, for services with too little traffic to be judged.
//!
//! They count like anybody's: they carry no mark that would keep them from the judge.

use std::time::Duration;

use humdrum_adapters::http::{Peer, exchange, request};
use humdrum_model::rollout::Placement;
use tokio::task::JoinSet;

/// Probes that wait for an answer; beyond them none is sent, so that a stuck service is not buried.
const OPEN_MAX: usize = 200;
/// An answer that takes longer is given up; the edge has counted the request by then.
const ANSWER: Duration = Duration::from_secs(35);

/// Sends the rollout's declared probes at their rate. Never returns: the caller drops it when the judge is done.
pub(crate) async fn probe(placement: &Placement) {
    let declared = placement.rollout.as_ref().and_then(|rollout| {
        let deploy = &rollout.bundle.deploy;
        Some((deploy.probe.clone()?, deploy.listen.clone()))
    });
    let Some((probe, listen)) = declared else { return std::future::pending().await };
    let host = listen.host.unwrap_or_else(|| listen.addr.to_string());
    let mut clock = tokio::time::interval(Duration::from_secs_f64(1.0 / probe.rps.max(0.01)));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut open = JoinSet::new();
    loop {
        clock.tick().await;
        while open.try_join_next().is_some() {}
        if open.len() >= OPEN_MAX {
            continue;
        }
        let mut ask = request("GET", &probe.get, None::<&()>);
        let headers = ask.headers_mut();
        for (name, value) in probe.headers.iter().chain([(&"host".to_owned(), &host)]) {
            let name = http::HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, value.parse()) {
                headers.insert(name, value);
            }
        }
        // Whatever comes of it is the edge's to count.
        open.spawn(async move { exchange(&Peer::Tcp(listen.addr), ask, ANSWER).await.is_ok() });
    }
}
