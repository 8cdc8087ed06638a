//! What should be done in the world now: absolute, idempotent effects with keys. The key is unit, kind and generation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::addresses;
use super::plan::Step;
use super::state::{Bundle, Placement};
use crate::manifest::Smoke;
use crate::name::Slot;
use crate::route::RouteTable;
use crate::unit::UnitSpec;

/// Something to do outside. What is wanted already and has not been confirmed; never a step relative to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Tell the agent; confirmed by the unit's status.
    Unit { slot: Slot, spec: Box<UnitSpec> },
    /// Tell the edge; confirmed by the route's status.
    Route { table: Box<RouteTable> },
    /// Verify signature, SBOM and provenance again and look for holds.
    Facts { deployment_id: String, index: usize, bundle: Box<Bundle> },
    /// Run the smoke checks.
    Smoke {
        deployment_id: String,
        index: usize,
        slot: Slot,
        through: SmokeThrough,
        checks: Vec<Smoke>,
        addrs: Vec<std::net::SocketAddr>,
        until: Option<Timestamp>,
    },
}

/// Where smoke checks are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmokeThrough {
    /// Each instance of the slot, before any traffic.
    Instances,
    Edge,
}

impl Effect {
    /// `unit/kind/generation`: one act in the world for each key.
    pub fn key(&self) -> String {
        match self {
            Self::Unit { spec, .. } => format!("{}/unit/{}", spec.unit, spec.generation),
            Self::Route { table } => format!("{}/route/{}", table.route, table.generation),
            Self::Facts { deployment_id, index, .. } => format!("{deployment_id}/facts/{index}"),
            Self::Smoke { deployment_id, index, .. } => format!("{deployment_id}/smoke/{index}"),
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unit { .. } => "unit",
            Self::Route { .. } => "route",
            Self::Facts { .. } => "facts",
            Self::Smoke { .. } => "smoke",
        }
    }

    /// What it acts on: effects on the same target are done in order, the newest replaces those that wait.
    pub fn target(&self) -> String {
        match self {
            Self::Unit { spec, .. } => format!("agent:{}", spec.unit),
            Self::Route { table } => format!("edge:{}", table.route),
            Self::Facts { deployment_id, .. } => format!("facts:{deployment_id}"),
            Self::Smoke { deployment_id, .. } => format!("smoke:{deployment_id}"),
        }
    }
}

impl Placement {
    /// Everything that is wished and not confirmed.
    pub fn wanted(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for slot in [Slot::A, Slot::B] {
            let state = self.slot(slot);
            if let Some(wish) = &state.wish
                && state.accepted < wish.generation
            {
                effects.push(Effect::Unit { slot, spec: Box::new(wish.spec.clone()) });
            }
        }
        if let Some(table) = &self.route.wish
            && self.route.accepted < table.generation
        {
            effects.push(Effect::Route { table: Box::new(table.clone()) });
        }
        effects.extend(self.wanted_by_step());
        effects
    }

    fn wanted_by_step(&self) -> Option<Effect> {
        let rollout = self.rollout.as_ref()?;
        if rollout.returning.is_some() || rollout.paused.is_some() {
            return None;
        }
        let (deployment_id, index) = (rollout.deployment_id.clone(), rollout.at);
        match rollout.step()? {
            Step::Gate => Some(Effect::Facts {
                deployment_id,
                index,
                bundle: Box::new(rollout.bundle.clone()),
            }),
            Step::Smoke { through_edge, .. } => Some(Effect::Smoke {
                deployment_id,
                index,
                slot: rollout.slot,
                through: if *through_edge { SmokeThrough::Edge } else { SmokeThrough::Instances },
                checks: rollout.bundle.deploy.smoke.clone(),
                addrs: addresses(&self.slot(rollout.slot).seen),
                until: rollout.until,
            }),
            _ => None,
        }
    }
}

impl Placement {
    /// When to look again, and who is awaited: never neither while a rollout is under way.
    pub fn awaits(&self) -> (Option<Timestamp>, String) {
        let Some(rollout) = &self.rollout else { return (None, "a release".into()) };
        let party = match (&rollout.returning, &rollout.paused, rollout.step()) {
            (Some(_), _, _) if !self.route.settled() => "the edge",
            (Some(_), _, _) | (_, _, Some(Step::Drain { .. })) => "open requests",
            (_, Some(_), _) | (_, _, Some(Step::Approve)) => "a person",
            (_, _, Some(Step::Gate)) => "the evidence",
            (_, _, Some(Step::Prepare { .. })) => "the agent",
            (_, _, Some(Step::Smoke { .. })) => "the smoke checks",
            (_, _, Some(Step::Expose { .. })) => "the edge",
            (_, _, Some(Step::Judge { .. })) => "the judge",
            (_, _, Some(Step::Hold { .. })) => "the soak",
            (_, _, None) => "the next step",
        };
        let until = match (&rollout.returning, rollout.step()) {
            // Nothing is taken away before the edge has confirmed 0, however late it is: time alone changes nothing.
            (Some(_), _) if !self.route.settled() => None,
            (None, Some(Step::Judge { .. })) => rollout.silent_at(),
            _ => rollout.until,
        };
        (until, party.into())
    }
}
