//! What the edge is told: one absolute, numbered table for each route. Control writes it, the edge obeys and keeps it on disk.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::name::Slot;

/// The parts that weights of a table sum to: one part is a basis point of the traffic.
pub const WEIGHT_TOTAL: u32 = 10_000;

/// Everything the edge knows about one route (`shop.production`). Replaces the former table as a whole.
///
/// The edge refuses a table with a lower `fence`, or with the same fence and a lower `generation`, than the newest it has accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// `service.environment`.
    pub route: String,
    pub fence: u64,
    pub generation: u64,
    pub listen: Listen,
    /// Either no arm has weight (the listener answers 503 and says `closed_reason`), or weights sum to [`WEIGHT_TOTAL`]. A weight of 0 is written.
    pub arms: Vec<Arm>,
    /// Why nothing is served yet, in words for a caller.
    #[serde(default)]
    pub closed_reason: Option<String>,
    #[serde(default)]
    pub sticky: Option<Sticky>,
    #[serde(default)]
    pub testers: Option<HeaderRule>,
    #[serde(default)]
    pub limits: RouteLimits,
    /// Length of a counting block in ms, 100 to 60 000.
    pub block_ms: u32,
}

/// Where a route listens. Routes that share a port are told apart by host name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Address and port; the embedded default binds 127.0.0.1.
    pub addr: SocketAddr,
    /// Only requests for this host; none takes what no other route of the port claims.
    #[serde(default)]
    pub host: Option<String>,
}

/// One version that may receive traffic. The judge compares arms by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// `baseline` or `canary`, so that a paired baseline can follow as a third arm.
    pub name: String,
    pub slot: Slot,
    pub release: String,
    pub deployment_id: String,
    /// Parts of [`WEIGHT_TOTAL`].
    pub weight: u32,
    pub instances: Vec<Endpoint>,
}

/// A ready instance behind an arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The agent's instance name; the judge's `instance`.
    pub instance: String,
    pub addr: SocketAddr,
}

/// Users keep the arm they first met, by a cookie, while that arm has weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    pub cookie: String,
}

/// Requests that carry this header value go to this arm whatever its weight, and are not counted for the judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderRule {
    pub header: String,
    pub value: String,
    pub arm: String,
}

/// Bounds on one route; every wait and body has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteLimits {
    /// Until the head of the answer, ms. Then the caller gets 504 and the instance an error.
    pub response_ms: u64,
    /// Until a connection to an instance stands, ms.
    pub connect_ms: u64,
    /// Largest request body, bytes; more is answered 413.
    pub body_bytes: u64,
    /// After an arm's weight fell to 0, its open requests may finish for this long, ms.
    pub drain_ms: u64,
    /// A connection without a request is closed after this, ms.
    pub idle_ms: u64,
    /// Requests in flight on the route; more are answered 503.
    pub in_flight: u32,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            response_ms: 30_000,
            connect_ms: 1_000,
            body_bytes: 64 << 20,
            drain_ms: 30_000,
            idle_ms: 75_000,
            in_flight: 10_000,
        }
    }
}

/// The edge's answer to a table, and what `GET` of a route returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    pub route: String,
    /// The newest accepted table.
    pub fence: u64,
    pub generation: u64,
    /// Requests in flight by slot (`a`, `b`): drained when 0.
    pub in_flight: Vec<SlotFlight>,
    /// Why the listener could not be opened, when it could not.
    #[serde(default)]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFlight {
    pub slot: Slot,
    pub requests: u32,
    /// Ms since the slot last had a request in flight or weight; 0 while it has.
    pub quiet_ms: u64,
}

/// The edge's answer (409) to a table or removal that is not newer than what it has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConflict {
    pub route: String,
    /// The newest accepted.
    pub fence: u64,
    pub generation: u64,
}

/// The edge's answer (422) to a table that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteProblems {
    /// One sentence for each thing that is wrong.
    pub problems: Vec<String>,
}
