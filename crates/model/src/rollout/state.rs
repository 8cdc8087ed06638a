//! The state of a placement: two slots, a stable pointer, at most one rollout, and what was wished of and seen in the world.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Step};
use super::strategy::Strategy;
use crate::approval::Approval;
use crate::gate::GateResult;
use crate::judge::Verdict;
use crate::manifest::{Probe, Smoke};
use crate::name::{PlacementId, Slot};
use crate::release::Release;
use crate::report::Report;
use crate::route::{HeaderRule, Listen, RouteLimits, RouteTable, Sticky};
use crate::unit::{Health, InstanceState, Stop, UnitLimits, UnitSpec};

/// Ended rollouts that a placement remembers; older ones are in the feed.
pub(super) const HISTORY_MAX: usize = 20;

/// A service in an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    pub id: PlacementId,
    pub a: SlotState,
    pub b: SlotState,
    /// The slot that has proven itself; a pointer, nothing is ever copied.
    pub stable: Option<Slot>,
    pub rollout: Option<Rollout>,
    /// The newest admission that waits for the active rollout to end.
    pub queued: Option<Box<Admission>>,
    pub route: RouteState,
    pub history: Vec<Ended>,
    /// Numbers wishes; a repaired drift is a new number.
    pub sequence: u64,
}

/// A wish to deploy: what, by whom, under which id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    pub deployment_id: String,
    pub kind: Kind,
    pub bundle: Bundle,
    pub by: String,
    /// The run that wants to know how it ends.
    pub ship: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Deploy,
    Rollback,
}

/// A release with everything that decides how it runs here, frozen at admission: a rollback restores it byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    pub release: Release,
    pub deploy: Deploy,
    /// Of the deployment that first put it here; on logs, metrics and events.
    pub deployment_id: String,
}

/// How a release runs and is exposed in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    pub owner: String,
    /// Registry that instances pull from: `127.0.0.1:7070`.
    pub registry: String,
    pub instances: u32,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub workdir: Option<String>,
    pub health: Health,
    pub limits: UnitLimits,
    pub stop: Stop,
    pub uid: Option<u32>,
    pub listen: Listen,
    pub sticky: Option<Sticky>,
    pub testers: Option<HeaderRule>,
    pub route_limits: RouteLimits,
    /// Length of the edge's counting block, ms.
    pub count_ms: u32,
    pub smoke: Vec<Smoke>,
    /// Traffic of our own through the edge while the judge listens; it counts.
    #[serde(default)]
    pub probe: Option<Probe>,
    pub approve: bool,
    pub strategy: Strategy,
    pub judge: JudgeSettings,
    pub on_regression: OnRegression,
    /// Longest wait for all instances to be ready, ms.
    pub prepare_ms: u64,
    /// Longest smoke run, ms.
    pub smoke_ms: u64,
    /// At 100 %, before the former slot is given up, ms.
    pub watch_ms: u64,
    /// Longest wait for open requests to end, ms.
    pub drain_ms: u64,
}

/// What the judge is told; the ladder's stages are those below 100 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeSettings {
    pub alpha: f64,
    pub beta: f64,
    pub margin: f64,
    pub absolute_margin: f64,
    pub latency_margin: Option<f64>,
    pub metrics: Vec<String>,
    /// Length of a judged block, ms: a multiple of the counting block.
    pub block_ms: u64,
    /// After the first exposure, not judged, ms.
    pub warmup_ms: u64,
    /// Longest time of one stage, ms.
    pub deadline_ms: u64,
    pub stages: Vec<StageSettings>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSettings {
    /// Parts of [`crate::route::WEIGHT_TOTAL`].
    pub weight: u32,
    /// The regression (ratio of rates) that the stage must rule out.
    pub rule_out: f64,
    /// Least time of the stage, ms.
    pub soak_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRegression {
    Rollback,
    /// Stay at the share and ask a person.
    Hold,
}

/// One of the two places; it keeps its content until the next release needs it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotState {
    pub content: Option<Bundle>,
    /// Whether its instances should run.
    pub run: bool,
    /// Was healthy with all traffic: can be rolled back to.
    pub verified: bool,
    pub wish: Option<UnitWish>,
    /// Newest wish that the agent confirmed.
    pub accepted: u64,
    /// The agent was found with an older wish than it confirmed: a new wish repairs it.
    pub drifted: bool,
    pub seen: Vec<Seen>,
    pub problem: Option<String>,
    /// Requests in flight, and how long without any, ms.
    pub in_flight: u32,
    pub quiet_ms: u64,
}

/// The newest wish for a unit. The fence is added when it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitWish {
    pub generation: u64,
    pub spec: UnitSpec,
}

/// An instance as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub name: String,
    pub addr: SocketAddr,
    pub state: InstanceState,
    pub restarts: u32,
    #[serde(default)]
    pub last_exit: Option<String>,
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// The newest wished table and the newest one that the edge confirmed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteState {
    pub wish: Option<RouteTable>,
    /// Of the newest confirmed table.
    pub fence: u64,
    pub accepted: u64,
    /// The edge was found with an older table than it confirmed: a new one repairs it.
    pub drifted: bool,
    /// The edge said why it cannot (port taken …).
    pub problem: Option<String>,
}

impl RouteState {
    /// Whether the edge does what was last wished.
    pub fn settled(&self) -> bool {
        self.wish.as_ref().is_some_and(|table| self.accepted >= table.generation)
    }
}

/// The gradual exposure of one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    pub deployment_id: String,
    pub kind: Kind,
    pub bundle: Bundle,
    pub slot: Slot,
    pub by: String,
    pub ship: Option<String>,
    pub plan: Plan,
    /// Index of the step that is under way.
    pub at: usize,
    pub started: Timestamp,
    pub entered: Timestamp,
    /// The step's deadline.
    pub until: Option<Timestamp>,
    /// Fence and generation of the table in force when the judged stage began.
    pub table: Option<(u64, u64)>,
    /// Wanted weight of the new release, parts of [`crate::route::WEIGHT_TOTAL`].
    pub weight: u32,
    pub weight_max: u32,
    pub gates: Vec<GateResult>,
    pub approved_by: Option<String>,
    /// Everybody who agreed, in order.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    pub verdicts: Vec<StageVerdict>,
    pub paused: Option<Paused>,
    pub returning: Option<Returning>,
}

impl Rollout {
    pub fn step(&self) -> Option<&Step> {
        self.plan.steps.get(self.at)
    }
}

/// What the judge said at the end of a stage, or why the rollout ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageVerdict {
    pub stage: usize,
    pub verdict: Verdict,
    pub at: Timestamp,
    /// Number of judged blocks so far.
    pub blocks: u64,
    pub log_e: f64,
    pub log_e_safe: f64,
    /// With numbers, for people.
    pub sentence: String,
}

/// Stays at its share until a person decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paused {
    pub since: Timestamp,
    pub report: Report,
    pub verdict: Option<Verdict>,
}

/// On the way back to weight 0; nothing turns it round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Returning {
    pub since: Timestamp,
    pub outcome: Outcome,
    pub report: Report,
    /// When the edge confirmed weight 0.
    pub zero_at: Option<Timestamp>,
    /// Open requests are waited for until then.
    pub drain_until: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Promoted,
    /// The release ran here already; nothing was to do.
    AlreadyThere,
    /// The judge, a guardrail or a person sent it back.
    RolledBack,
    Aborted,
    Superseded,
    /// A gate denied it before anything ran.
    Refused,
    /// It never became healthy, or its smoke checks failed, before any traffic.
    Failed,
    /// A person placed a hold on it while it was under way.
    Held,
}

impl Outcome {
    /// The word people and scripts read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::AlreadyThere => "already_there",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Held => "held",
        }
    }

    pub fn is_good(self) -> bool {
        matches!(self, Self::Promoted | Self::AlreadyThere)
    }
}

/// A rollout that is over, with why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub deployment_id: String,
    pub kind: Kind,
    pub release: Release,
    pub by: String,
    pub ship: Option<String>,
    pub outcome: Outcome,
    pub report: Report,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub weight_max: u32,
    /// When the decision to go back fell, and when the edge confirmed weight 0.
    pub decided_at: Option<Timestamp>,
    pub zero_at: Option<Timestamp>,
    pub verdicts: Vec<StageVerdict>,
    pub gates: Vec<GateResult>,
}

impl Placement {
    pub fn new(id: PlacementId) -> Self {
        Self {
            id,
            a: SlotState::default(),
            b: SlotState::default(),
            stable: None,
            rollout: None,
            queued: None,
            route: RouteState::default(),
            history: Vec::new(),
            sequence: 0,
        }
    }

    pub fn slot(&self, slot: Slot) -> &SlotState {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    pub fn slot_mut(&mut self, slot: Slot) -> &mut SlotState {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// The release that has proven itself here.
    pub fn stable_bundle(&self) -> Option<&Bundle> {
        self.slot(self.stable?).content.as_ref()
    }

    /// The slot that the running rollout would go back to: verified, and not the rollout's own.
    pub fn way_back(&self) -> Option<Slot> {
        let slot = self.stable?;
        self.slot(slot).verified.then_some(slot)
    }
}

impl SlotState {
    pub fn ready(&self) -> usize {
        self.seen.iter().filter(|seen| seen.state == InstanceState::Ready).count()
    }

    pub fn wanted(&self) -> usize {
        self.wish.as_ref().map_or(0, |wish| wish.spec.instances as usize)
    }

    /// Runs what was wished, all of it, ready: it can take all traffic.
    pub fn at_full_strength(&self) -> bool {
        let Some(wish) = &self.wish else { return false };
        self.run
            && self.accepted >= wish.generation
            && wish.spec.instances > 0
            && self.ready() >= self.wanted()
    }
}
