//! The agent as a process.

use humdrum_agent::AgentConfig;
use tokio_util::sync::CancellationToken;

use super::{secrets, until_signal};
use crate::commands::block_on;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;

pub(crate) fn agent(places: &Places) -> Outcome {
    super::log();
    places.make()?;
    let token = secrets::token(places)?;
    let exe = std::env::current_exe().map_err(|error| {
        Failure::new(Exit::Failed, "executable", "this executable cannot be found").cause(&error)
    })?;
    let mut config = AgentConfig::new(places.data.clone(), places.agent_socket(), exe);
    config.registry_user = crate::roles::control::REGISTRY_USER.into();
    config.registry_password = token;
    config.port_range = port_range(places);
    block_on(async move {
        let stop = CancellationToken::new();
        let watched = stop.clone();
        let signals = tokio::spawn(until_signal(watched));
        let result = humdrum_agent::run(config, stop.clone()).await;
        stop.cancel();
        let _ = signals.await;
        result.map_err(|error| {
            Failure::new(Exit::Failed, "agent", "the agent cannot run")
                .cause(&error)
                .next("humdrum doctor")
        })
    })?;
    Ok(Exit::Ok)
}

/// Installations on one machine begin at different ports: an agent knows only its own, and two that look for the lowest free one at the
/// same moment would find the same.
fn port_range(places: &Places) -> std::ops::RangeInclusive<u16> {
    let digest = humdrum_model::name::Digest::of(places.data.as_os_str().as_encoded_bytes());
    let place = u16::from_str_radix(&digest.hex()[..4], 16).unwrap_or(0) % STARTS;
    humdrum_agent::PORT_RANGE.start() + place * STRIDE..=*humdrum_agent::PORT_RANGE.end()
}

/// Different first ports, and how far they lie apart; the last leaves 2,000 ports.
const STARTS: u16 = 60;
const STRIDE: u16 = 100;
