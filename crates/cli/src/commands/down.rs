//! `humdrum down`: instances first, gracefully; then control, edge and agent. Nothing that was accepted is lost.

use std::time::Duration;

use clap::Args;
use humdrum_adapters::http::{Peer, exchange, request};

use super::block_on;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::supervisor::{Role, stop};
use crate::ui::Ui;

/// Longest wait for all instances to end.
const HALT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Leave instances and traffic alone; only control and the supervisor stop.
    #[arg(long)]
    control_only: bool,
}

impl Down {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        stop_supervisor(places);
        let mut stopped = Vec::new();
        if stop(places, Role::Control) {
            stopped.push("control");
        }
        if !self.control_only {
            // Traffic before instances: nobody is sent to a service that is being stopped.
            if stop(places, Role::Edge) {
                stopped.push("edge");
            }
            halt(places)?;
            if stop(places, Role::Agent) {
                stopped.push("agent");
            }
        }
        ui.document(&serde_json::json!({ "status": "down", "stopped": stopped }));
        match stopped.is_empty() {
            true => ui.line(format!("Nothing ran on {}.", places.data.display())),
            false => ui.line(format!(
                "Stopped: {}. Everything is kept in {}.",
                stopped.join(", "),
                places.data.display()
            )),
        }
        Ok(Exit::Ok)
    }
}

/// Asks the agent to end every instance; one that does not answer has none that could be asked.
pub(crate) fn halt(places: &Places) -> Result<(), Failure> {
    let peer = Peer::Unix(places.agent_socket());
    let answer = block_on(exchange(&peer, request("POST", "/halt", None::<&()>), HALT));
    match answer {
        Ok(answer) if answer.text().contains("false") => {
            Err(Failure::new(Exit::Failed, "instances-left", "not every instance ended")
                .at(places.agent().display().to_string())
                .next("humdrum down"))
        }
        _ => Ok(()),
    }
}

/// The supervisor holds a lock while it lives; its pid counts only then.
fn stop_supervisor(places: &Places) {
    let Ok(text) = std::fs::read_to_string(places.run().join("up.pid")) else { return };
    let Some(pid) = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw) else {
        return;
    };
    if super::up::single(places).is_ok() {
        return; // Nobody holds the lock, so the pid is somebody else's now.
    }
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while super::up::single(places).is_err() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
}
