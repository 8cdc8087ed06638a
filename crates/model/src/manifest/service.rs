//! How instances of the service run and are asked for health: the section `run`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Cores, Millis, Size};
use crate::{route, unit};

/// How instances run.
///
/// An instance sees only the image. It listens on 127.0.0.1, on the port given as `PORT` and as `{port}` in `command`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments; no shell. `{port}` is replaced by the instance's port.
    #[schemars(length(min = 1, max = 200))]
    pub command: Vec<String>,
    /// Port at which users reach the last environment (the edge listens there; instances get their own). Other environments name theirs, or get one that is kept.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// How an instance is asked for health: a path for GET, or the long form. Without it, an open port is enough.
    #[serde(default)]
    pub health: Health,
    /// Copies of the service in each slot. Two, so that one may fail; three or more let the judge tell a bad instance from a bad release.
    #[serde(default = "instances_default")]
    #[schemars(range(min = 1, max = 100))]
    pub instances: u32,
    /// Environment variables. Nothing of the host's environment passes. No secrets: this file is in git.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 500, "propertyNames" = { "format": "env-name" }))]
    pub env: BTreeMap<String, String>,
    /// Working directory in the image.
    #[serde(default = "workdir_default")]
    pub workdir: String,
    /// Time between SIGTERM and SIGKILL when an instance is stopped.
    #[serde(default = "stop_grace_default")]
    pub stop_grace: Millis,
    /// Bounds of one instance, set where the machine permits.
    #[serde(default)]
    pub limits: RunLimits,
    /// Keeps each user on the version they first met, while it has traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Requests with this header reach the new version whatever its share; they are not counted by the judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testers: Option<Testers>,
    /// Bounds on requests at the edge.
    #[serde(default)]
    pub timeouts: Timeouts,
}

fn instances_default() -> u32 {
    2
}

fn workdir_default() -> String {
    "/".into()
}

fn stop_grace_default() -> Millis {
    // Longer than the 5 s in which most frameworks end by themselves, shorter than a person's patience.
    Millis::seconds(10)
}

/// How an instance is asked for health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "HealthForm", into = "HealthForm")]
#[schemars(with = "HealthForm")]
pub struct Health {
    /// Path for GET (200 to 399 is healthy); without it, an open port is healthy.
    pub path: Option<String>,
    /// Pause between two questions.
    pub interval: Millis,
    /// Time for one answer.
    pub timeout: Millis,
    /// Healthy answers in a row until an instance is ready.
    pub healthy_after: u32,
    /// Failures in a row until an instance is unhealthy.
    pub unhealthy_after: u32,
    /// Time in which a new instance must become ready, or its start has failed.
    pub start: Millis,
}

impl Default for Health {
    fn default() -> Self {
        let full = HealthFull::default();
        Self {
            path: None,
            interval: full.interval,
            timeout: full.timeout,
            healthy_after: full.healthy_after,
            unhealthy_after: full.unhealthy_after,
            start: full.start,
        }
    }
}

impl Health {
    /// The form that the agent takes.
    pub fn to_unit(&self) -> unit::Health {
        unit::Health {
            check: match &self.path {
                Some(path) => unit::HealthCheck::Http(path.clone()),
                None => unit::HealthCheck::Tcp,
            },
            interval_ms: self.interval.ms(),
            timeout_ms: self.timeout.ms(),
            healthy_after: self.healthy_after,
            unhealthy_after: self.unhealthy_after,
            start_ms: self.start.ms(),
        }
    }
}

/// A health check: a path, or the long form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum HealthForm {
    /// Path for GET; 200 to 399 is healthy.
    Path(#[schemars(extend("format" = "url-path"))] String),
    /// Path or port, with times.
    Full(HealthFull),
}

/// Path or port, with times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["path"] }, { "required": ["tcp"] }]))]
struct HealthFull {
    /// Path for GET; 200 to 399 is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url-path"))]
    path: Option<String>,
    /// `true`: an open port is healthy. Instead of `path`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("const" = true))]
    tcp: bool,
    /// Pause between two questions.
    interval: Millis,
    /// Time for one answer.
    timeout: Millis,
    /// Healthy answers in a row until an instance is ready.
    #[schemars(range(min = 1, max = 100))]
    healthy_after: u32,
    /// Failures in a row until an instance is unhealthy.
    #[schemars(range(min = 1, max = 100))]
    unhealthy_after: u32,
    /// Time in which a new instance must become ready, or its start has failed.
    start: Millis,
}

impl Default for HealthFull {
    fn default() -> Self {
        // One question a second costs nothing on loopback; three failures forgive one garbage collection, not an outage.
        Self {
            path: None,
            tcp: false,
            interval: Millis::seconds(1),
            timeout: Millis::seconds(1),
            healthy_after: 2,
            unhealthy_after: 3,
            start: Millis::seconds(60),
        }
    }
}

impl TryFrom<HealthForm> for Health {
    type Error = &'static str;
    fn try_from(form: HealthForm) -> Result<Self, Self::Error> {
        let full = match form {
            HealthForm::Path(path) => return Ok(Self { path: Some(path), ..Self::default() }),
            HealthForm::Full(full) => full,
        };
        if full.path.is_some() == full.tcp {
            return Err("a health check has either `path` or `tcp: true`");
        }
        Ok(Self {
            path: full.path,
            interval: full.interval,
            timeout: full.timeout,
            healthy_after: full.healthy_after,
            unhealthy_after: full.unhealthy_after,
            start: full.start,
        })
    }
}

impl From<Health> for HealthForm {
    fn from(health: Health) -> Self {
        Self::Full(HealthFull {
            tcp: health.path.is_none(),
            path: health.path,
            interval: health.interval,
            timeout: health.timeout,
            healthy_after: health.healthy_after,
            unhealthy_after: health.unhealthy_after,
            start: health.start,
        })
    }
}

/// Bounds of one instance, set where the machine permits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunLimits {
    /// Memory; an instance that needs more is killed and restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processor cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cores>,
    /// Open files and sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 10_000_000))]
    pub open_files: Option<u64>,
}

impl RunLimits {
    /// The form that the agent takes.
    pub fn to_unit(&self) -> unit::UnitLimits {
        unit::UnitLimits {
            memory_bytes: self.memory.map(Size::bytes),
            cpu_millis: self.cpu.map(Cores::millis),
            open_files: self.open_files,
        }
    }
}

/// Keeps each user on the version they first met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// Name of the cookie that the edge sets.
    #[schemars(extend("format" = "token"))]
    pub cookie: String,
}

/// Requests with this header reach the new version whatever its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Testers {
    /// Header name.
    #[schemars(extend("format" = "token"))]
    pub header: String,
    /// Exact value.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// Bounds on requests at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the head of the answer; then the caller gets 504 and the instance an error.
    pub response: Millis,
    /// Until a connection to an instance stands.
    pub connect: Millis,
    /// Open requests of a version without share may finish for this long.
    pub drain: Millis,
    /// A connection without a request is closed after this.
    pub idle: Millis,
    /// Largest request body; more is answered 413.
    pub body: Size,
    /// Requests in flight; more are answered 503.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub in_flight: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        let edge = route::RouteLimits::default();
        Self {
            response: Millis::new(edge.response_ms),
            connect: Millis::new(edge.connect_ms),
            drain: Millis::new(edge.drain_ms),
            idle: Millis::new(edge.idle_ms),
            body: Size::new(edge.body_bytes),
            in_flight: edge.in_flight,
        }
    }
}

impl Timeouts {
    /// The form that the edge takes.
    pub fn to_route(&self) -> route::RouteLimits {
        route::RouteLimits {
            response_ms: self.response.ms(),
            connect_ms: self.connect.ms(),
            body_bytes: self.body.bytes(),
            drain_ms: self.drain.ms(),
            idle_ms: self.idle.ms(),
            in_flight: self.in_flight,
        }
    }
}
