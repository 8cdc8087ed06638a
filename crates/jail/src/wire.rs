//! The lines that caller, supervisor and inside stage tell each other, as JSON over a socket pair.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest line a stage accepts: a spec with a large environment and many binds, and room to spare.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// How a jailed command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It returned this code.
    Exited(i32),
    /// A signal of this number ended it.
    Signaled(i32),
    /// The wall time was over, and the whole tree was killed.
    TimedOut,
    /// The memory limit of the control group was reached and the kernel killed a process of the jail.
    OutOfMemory,
    /// The process that made the jail went away.
    Abandoned,
}

impl Ending {
    /// Whether the command did what it should: exit code 0.
    pub fn is_success(self) -> bool {
        self == Ending::Exited(0)
    }

    /// The exit code of the supervisor, as a shell would give it; 124 for time (as `timeout`), 137 for memory.
    pub fn code(self) -> i32 {
        match self {
            Ending::Exited(code) => code,
            Ending::Signaled(signal) => 128 + signal,
            Ending::TimedOut => 124,
            Ending::OutOfMemory | Ending::Abandoned => 137,
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Exited(code) => write!(f, "exit code {code}"),
            Ending::Signaled(signal) => write!(f, "killed by signal {signal}"),
            Ending::TimedOut => f.write_str("killed at its time limit"),
            Ending::OutOfMemory => f.write_str("killed at its memory limit"),
            Ending::Abandoned => f.write_str("killed because its maker went away"),
        }
    }
}

/// How the walls came out on this machine, for provenance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Whether a user namespace was needed to make the others.
    pub user_namespace: bool,
    /// What enforces the limits: `cgroup v2`, `cgroup v1` or `rlimits`.
    pub limits_by: String,
    /// Limits that were asked for and could not be set, in words.
    pub not_enforced: Vec<String>,
}

/// The end of a jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How the command ended.
    pub ending: Ending,
    /// The most memory the jail held, in bytes, when a control group counted it.
    pub memory_bytes_max: Option<u64>,
}

/// What the supervisor tells the caller.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    Failed { step: String, error: String },
    Started { pid: u32, notes: Notes },
    Ended(Outcome),
}

/// What the inside stage tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InnerTold {
    Failed {
        step: String,
        error: String,
    },
    Ready,
    /// Only from the small init: from here on a signal reaches the command.
    Running,
    Ended(Ending),
}

/// The supervisor's word that the inside stage is in its control group and may become the command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Go;

/// A failed step of making the jail: what was tried, and what the system answered.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) step: String,
    pub(crate) error: String,
}

/// Names the step that an error belongs to.
pub(crate) trait InStep<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Step>;
}

impl<T, E: std::fmt::Display> InStep<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Step> {
        self.map_err(|error| Step { step: step.into(), error: error.to_string() })
    }
}

/// One end of the socket between two stages.
pub(crate) struct Wire {
    reader: BufReader<UnixStream>,
}

impl Wire {
    pub(crate) fn new(stream: UnixStream) -> Wire {
        Wire { reader: BufReader::new(stream) }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    pub(crate) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.reader.get_ref().write_all(&line)
    }

    /// The next message, or `None` when the other side is gone.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        match self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(serde_json::from_slice(&line)?)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }
}
