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
