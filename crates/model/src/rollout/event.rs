//! What happened to a placement. Past tense; every event ever written stays readable.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{Admission, Ended, Outcome, Paused, Seen, StageVerdict};
use crate::gate::GateResult;
use crate::hold::{HoldCommand, HoldSubject};
use crate::name::Slot;
use crate::report::Report;
use crate::route::RouteTable;
use crate::unit::UnitSpec;

/// What happened. The name of the variant is the event's type in the feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    RolloutStarted {
        admission: Box<Admission>,
        slot: Slot,
        plan: super::plan::Plan,
        at: Timestamp,
    },
    /// Waits until the active rollout has left the slot.
    AdmissionQueued {
        admission: Box<Admission>,
    },
    /// A newer one took its place before it began.
    QueuedDropped {
        ended: Box<Ended>,
    },
    /// `table`: fence and generation in force when a judged stage began; older blocks are not its own.
    StepEntered {
        index: usize,
        at: Timestamp,
        until: Option<Timestamp>,
        table: Option<(u64, u64)>,
    },
    GatesChecked {
        results: Vec<GateResult>,
        at: Timestamp,
    },
    Approved {
        by: String,
        at: Timestamp,
    },
    SlotFilled {
        slot: Slot,
    },
    SlotRetired {
        slot: Slot,
    },
    UnitWished {
        slot: Slot,
        generation: u64,
        spec: Box<UnitSpec>,
    },
    UnitAccepted {
        slot: Slot,
        generation: u64,
    },
    /// The agent runs an older wish than it confirmed: wished again.
    UnitDrifted {
        slot: Slot,
        found: u64,
    },
    InstancesChanged {
        slot: Slot,
        seen: Vec<Seen>,
        problem: Option<String>,
    },
    Exposed {
        weight: u32,
        at: Timestamp,
    },
    RouteWished {
        table: Box<RouteTable>,
    },
    RouteAccepted {
        fence: u64,
        generation: u64,
        at: Timestamp,
    },
    RouteDrifted {
        found: u64,
    },
    RouteProblem {
        problem: Option<String>,
    },
    FlightSeen {
        slot: Slot,
        requests: u32,
        quiet_ms: u64,
    },
    SmokePassed {
        index: usize,
        detail: String,
    },
    Judged {
        verdict: StageVerdict,
    },
    RolloutPaused {
        paused: Paused,
    },
    RolloutResumed {
        by: String,
        at: Timestamp,
    },
    ReturnStarted {
        outcome: Outcome,
        report: Report,
        at: Timestamp,
        drain_until: Timestamp,
    },
    ReleaseHeld {
        subject: HoldSubject,
        why: String,
    },
    StableMoved {
        slot: Slot,
    },
    RolloutEnded {
        ended: Box<Ended>,
    },
}

impl Event {
    /// The type name in the feed.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RolloutStarted { .. } => "rollout_started",
            Self::AdmissionQueued { .. } => "admission_queued",
            Self::QueuedDropped { .. } => "queued_dropped",
            Self::StepEntered { .. } => "step_entered",
            Self::GatesChecked { .. } => "gates_checked",
            Self::Approved { .. } => "approved",
            Self::SlotFilled { .. } => "slot_filled",
            Self::SlotRetired { .. } => "slot_retired",
            Self::UnitWished { .. } => "unit_wished",
            Self::UnitAccepted { .. } => "unit_accepted",
            Self::UnitDrifted { .. } => "unit_drifted",
            Self::InstancesChanged { .. } => "instances_changed",
            Self::Exposed { .. } => "exposed",
            Self::RouteWished { .. } => "route_wished",
            Self::RouteAccepted { .. } => "route_accepted",
            Self::RouteDrifted { .. } => "route_drifted",
            Self::RouteProblem { .. } => "route_problem",
            Self::FlightSeen { .. } => "flight_seen",
            Self::SmokePassed { .. } => "smoke_passed",
            Self::Judged { .. } => "judged",
            Self::RolloutPaused { .. } => "rollout_paused",
            Self::RolloutResumed { .. } => "rollout_resumed",
            Self::ReturnStarted { .. } => "return_started",
            Self::ReleaseHeld { .. } => "release_held",
            Self::StableMoved { .. } => "stable_moved",
            Self::RolloutEnded { .. } => "rollout_ended",
        }
    }

    /// What other runs must hear of it; sent in the transaction that appends the event.
    pub fn outgoing(&self) -> Option<Outgoing> {
        match self {
            Self::RolloutEnded { ended } | Self::QueuedDropped { ended } => {
                let ship = ended.ship.clone()?;
                Some(Outgoing::RolloutEnded { ship, ended: ended.clone() })
            }
            Self::ReleaseHeld { subject, why } => Some(Outgoing::Hold(HoldCommand::Place {
                subject: subject.clone(),
                by: "humdrum".into(),
                why: why.clone(),
            })),
            _ => None,
        }
    }
}

/// A message to another run.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    RolloutEnded { ship: String, ended: Box<Ended> },
    Hold(HoldCommand),
}

/// The address of an instance, for lists.
pub(super) fn addresses(seen: &[Seen]) -> Vec<SocketAddr> {
    seen.iter().map(|seen| seen.addr).collect()
}
