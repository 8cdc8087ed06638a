//! Starts, supervises, stops and reports the instances of this host: absolute wishes in, status out.
//!
//! Three processes stand behind each instance: the *agent* (this crate's [`run`]), which decides; a *shim*
//! ([`shim_main`]), which owns the log files and the exit status; and the *jail* of `humdrum-jail`, in which the
//! instance sees only its image. The agent may die at any moment: wishes are on disk before they are accepted, and
//! what runs is found again by process id, start time and boot. It deliberately knows nothing of rollouts or traffic.

mod admin;
mod agent;
mod backoff;
mod board;
mod check;
mod durable;
mod environment;
mod health;
mod host;
mod identity;
mod image;
mod keeper;
mod listener;
mod logs;
mod order;
mod ports;
mod shim;
mod unit;

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use shim::{HIDDEN_COMMAND, shim_main};

/// The loopback ports of instances when nothing else is configured.
pub const PORT_RANGE: RangeInclusive<u16> = 21_000..=28_999;
/// How long logs and files of a retired unit stay for those who ask what happened.
pub const RETIRED_KEEP: Duration = Duration::from_hours(1);

/// What the agent is given.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Humdrum's data folder; the agent uses `agent/` in it and no second agent may.
    pub data: PathBuf,
    /// The unix socket for wishes and questions, made with mode 0600; its folder exists.
    pub admin_socket: PathBuf,
    pub registry_user: String,
    /// The token that the registry takes as a password.
    pub registry_password: String,
    /// From which instances get their ports.
    pub port_range: RangeInclusive<u16>,
    /// The executable that answers to the hidden commands `__shim` and `__jail`.
    pub exe: PathBuf,
    /// See [`RETIRED_KEEP`].
    pub retired_keep: Duration,
}

impl AgentConfig {
    /// A configuration with the defaults and no registry password.
    pub fn new(data: PathBuf, admin_socket: PathBuf, exe: PathBuf) -> AgentConfig {
        AgentConfig {
            data,
            admin_socket,
            registry_user: "agent".to_owned(),
            registry_password: String::new(),
            port_range: PORT_RANGE,
            exe,
            retired_keep: RETIRED_KEEP,
        }
    }
}

/// Why the agent cannot work. Each completes the sentence "the agent cannot run: …".
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("another agent works in `{}`", data.display())]
    Busy { data: PathBuf },
    #[error("`{}` cannot be used", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("the socket `{}` cannot be opened", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("the wish in `{}` cannot be read; a newer agent may have written it", path.display())]
    Wish { path: PathBuf, source: io::Error },
    #[error("the images in `{}` cannot be used: {why}", path.display())]
    Images { path: PathBuf, why: String },
}

/// Works until `shutdown`. Instances run on afterwards and are adopted by the next agent.
///
/// # Errors
/// When folder, socket or stored wishes cannot be used.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    agent::run(config, shutdown).await
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}
