//! What the agent is told and what it answers: the instances of one slot, absolute and numbered.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::name::Digest;

/// Everything the agent must run for one unit (`shop.production.a`). Replaces the former wish as a whole; `instances: 0` retires it.
///
/// The agent refuses a lower `fence`, or the same fence and a lower `generation`, than the newest it has accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSpec {
    /// `service.environment.slot`.
    pub unit: String,
    pub fence: u64,
    pub generation: u64,
    pub image: ImageSource,
    /// Arguments; `{port}` is replaced by the allocated port.
    pub command: Vec<String>,
    /// Environment of the instance. The agent adds `PORT` and `HUMDRUM_*` labels; nothing of the host's environment passes.
    pub env: BTreeMap<String, String>,
    /// Working directory inside the image; `/` when none.
    #[serde(default)]
    pub workdir: Option<String>,
    pub health: Health,
    pub instances: u32,
    /// The user that instances run as when the agent is root; else the agent's own.
    #[serde(default)]
    pub uid: Option<u32>,
    #[serde(default)]
    pub limits: UnitLimits,
    pub stop: Stop,
    pub labels: Labels,
}

/// Where the image is pulled from: always by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// `127.0.0.1:7070`, plain HTTP on loopback.
    pub registry: String,
    /// `shop`.
    pub repository: String,
    /// Of the image manifest.
    pub digest: Digest,
}

/// How readiness is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub check: HealthCheck,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    /// Consecutive successes until ready.
    pub healthy_after: u32,
    /// Consecutive failures until unhealthy.
    pub unhealthy_after: u32,
    /// An instance not ready after this is stopped and counts as a failed start.
    pub start_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// GET of this path answers 200–399.
    Http(String),
    /// The port accepts a connection.
    Tcp,
}

/// Limits where the machine permits them (control groups v1 or v2, else rlimits).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnitLimits {
    pub memory_bytes: Option<u64>,
    pub cpu_millis: Option<u64>,
    pub open_files: Option<u64>,
}

/// How an instance is asked to end: SIGTERM, then SIGKILL after `grace_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub grace_ms: u64,
}

/// What every log line, metric and event of the instance carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    pub service: String,
    pub environment: String,
    pub release: String,
    pub deployment_id: String,
    pub commit: String,
    pub build_id: String,
}

/// What runs now, as the agent sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitStatus {
    pub unit: String,
    /// The newest accepted wish.
    pub fence: u64,
    pub generation: u64,
    /// What is left of a former wish is `stopping` or `exited` as soon as this generation is shown, never `ready`.
    pub instances: Vec<InstanceStatus>,
    /// Why the wish cannot be met (image missing, command not found …), in words.
    #[serde(default)]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Unique for each start wish of an index under one release: `shop.production.a.<release 8>.0`. A restart keeps it.
    pub name: String,
    pub index: u32,
    /// Of the running process.
    #[serde(default)]
    pub pid: Option<u32>,
    pub addr: SocketAddr,
    pub state: InstanceState,
    /// Unix time of the last change of `state`, ms.
    pub since_ms: i64,
    /// Ends that nobody asked for, since this release was wished for.
    pub restarts: u32,
    /// `exit 1`, `signal 9`, `not ready within 30 s`.
    #[serde(default)]
    pub last_exit: Option<String>,
    /// The last 20 log lines, after a failed start or an unwished end.
    #[serde(default)]
    pub last_lines: Vec<String>,
    /// What kept a limit or wall from being set (`no own root: not permitted`).
    #[serde(default)]
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    Starting,
    Ready,
    /// Runs, but its health check fails.
    Unhealthy,
    /// Ended; will be started again after a pause.
    BackingOff,
    Stopping,
    Exited,
}
