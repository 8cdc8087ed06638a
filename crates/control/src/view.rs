//! What people and scripts are shown of runs: plain, documented shapes with the explanation in them. Fields are only ever added.

use humdrum_model::gate::GateResult;
use humdrum_model::hold::Hold;
use humdrum_model::name::Slot;
use humdrum_model::rollout::plan::Step;
use humdrum_model::rollout::{
    Ended, Explanation, Kind, Placement, Progress, Rollout, StageVerdict,
};
use humdrum_model::run::State;
use humdrum_model::ship::{Phase, Ship};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Snapshot;

/// A release as people name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseView {
    pub release: String,
    pub commit: String,
    pub digest: String,
    pub build_id: String,
}

/// One slot and what runs in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotView {
    pub slot: Slot,
    pub release: Option<ReleaseView>,
    /// Share of the traffic that is wanted, parts of 10 000.
    pub weight: u32,
    pub ready: usize,
    pub wanted: usize,
    /// Unwished ends of its instances, all together.
    pub restarts: u32,
    pub problem: Option<String>,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    pub deployment_id: String,
    pub kind: Kind,
    pub release: ReleaseView,
    pub by: String,
    pub strategy: String,
    /// Each step in words, done, running or to come.
    pub steps: Vec<StepView>,
    pub weight: u32,
    /// Share really seen in the judged blocks of the stage, parts of 10 000.
    pub weight_seen: Option<u32>,
    pub started: Timestamp,
    pub until: Option<Timestamp>,
    pub returning: bool,
    pub paused: bool,
    pub gates: Vec<GateResult>,
    pub verdicts: Vec<StageVerdict>,
    pub judge: Option<Progress>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    pub words: String,
    /// `done`, `running`, `waiting`.
    pub state: String,
}

/// A service in an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementView {
    pub id: String,
    pub service: String,
    pub environment: String,
    pub address: Option<String>,
    pub stable: Option<Slot>,
    pub slots: Vec<SlotView>,
    pub rollout: Option<RolloutView>,
    pub explanation: Explanation,
    /// Newest first.
    pub history: Vec<EndedView>,
    pub problem: Option<String>,
    pub updated_ms: i64,
}

/// A rollout that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndedView {
    pub deployment_id: String,
    pub placement: String,
    pub kind: Kind,
    pub release: ReleaseView,
    pub by: String,
    pub ship: Option<String>,
    pub outcome: String,
    pub sentences: Vec<String>,
    pub next: Option<String>,
    pub started: Timestamp,
    pub ended: Timestamp,
    /// The largest share it had, parts of 10 000.
    pub weight_max: u32,
    pub decided_at: Option<Timestamp>,
    pub zero_at: Option<Timestamp>,
    pub verdicts: Vec<StageVerdict>,
    pub gates: Vec<GateResult>,
}

/// A commit on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShipView {
    pub id: String,
    pub service: String,
    pub commit: String,
    pub reference: String,
    pub by: String,
    /// `building`, `deploying`, `verifying`, `done`.
    pub phase: String,
    /// Of the phase, when it is about one.
    pub environment: Option<String>,
    /// `promoted`, `rolled_back` … once it is over.
    pub outcome: Option<String>,
    pub digest: Option<String>,
    pub release: Option<String>,
    pub environments: Vec<String>,
    pub stops: Vec<StopView>,
    pub sentences: Vec<String>,
    pub next: Option<String>,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopView {
    pub environment: String,
    pub deployment_id: String,
    pub outcome: String,
    pub at: Timestamp,
}

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    pub placements: Vec<PlacementView>,
    /// Newest first.
    pub ships: Vec<ShipView>,
    pub holds: Vec<Hold>,
    /// Runs that are left alone, and why.
    pub quarantined: Vec<(String, String)>,
}

fn release(release: &humdrum_model::release::Release) -> ReleaseView {
    ReleaseView {
        release: release.id.to_string(),
        commit: release.commit.to_string(),
        digest: release.artifact.digest.to_string(),
        build_id: release.build_id.clone(),
    }
}

/// A placement and its judge as they are now.
pub fn placement(
    run: &Snapshot,
    placement: &Placement,
    progress: Option<&Progress>,
    now: Timestamp,
) -> PlacementView {
    let weight = |slot: Slot| {
        let table = placement.route.wish.as_ref();
        table
            .and_then(|table| table.arms.iter().find(|arm| arm.slot == slot))
            .map_or(0, |arm| arm.weight)
    };
    let slots = [Slot::A, Slot::B].map(|slot| {
        let state = placement.slot(slot);
        SlotView {
            slot,
            release: state.content.as_ref().map(|bundle| release(&bundle.release)),
            weight: weight(slot),
            ready: state.ready(),
            wanted: state.wanted(),
            restarts: state.seen.iter().map(|seen| seen.restarts).sum(),
            problem: state.problem.clone(),
        }
    });
    let address = placement.route.wish.as_ref().map(|table| match &table.listen.host {
        Some(host) => format!("http://{host}:{}", table.listen.addr.port()),
        None => format!("http://{}", table.listen.addr),
    });
    PlacementView {
        id: placement.id.to_string(),
        service: placement.id.service.to_string(),
        environment: placement.id.environment.to_string(),
        address,
        stable: placement.stable,
        slots: slots.to_vec(),
        rollout: placement.rollout.as_ref().map(|rollout| self::rollout(rollout, progress)),
        explanation: placement.explain(progress, now),
        history: placement
            .history
            .iter()
            .rev()
            .map(|ended| self::ended(placement, ended))
            .collect(),
        problem: run.quarantined.clone().or_else(|| placement.route.problem.clone()),
        updated_ms: run.updated_ms,
    }
}

fn rollout(rollout: &Rollout, progress: Option<&Progress>) -> RolloutView {
    let step = |(index, step): (usize, &Step)| StepView {
        words: step.words(),
        state: match index.cmp(&rollout.at) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal => "running",
            std::cmp::Ordering::Greater => "waiting",
        }
        .into(),
    };
    RolloutView {
        deployment_id: rollout.deployment_id.clone(),
        kind: rollout.kind,
        release: release(&rollout.bundle.release),
        by: rollout.by.clone(),
        strategy: rollout.plan.strategy.clone(),
        steps: rollout.plan.steps.iter().enumerate().map(step).collect(),
        weight: rollout.weight,
        weight_seen: progress.and_then(|progress| progress.weight_seen),
        started: rollout.started,
        until: rollout.until,
        returning: rollout.returning.is_some(),
        paused: rollout.paused.is_some(),
        gates: rollout.gates.clone(),
        verdicts: rollout.verdicts.clone(),
        judge: progress.cloned(),
    }
}

/// A rollout that is over, with its explanation.
pub fn ended(placement: &Placement, ended: &Ended) -> EndedView {
    let report = ended.explain(placement);
    EndedView {
        deployment_id: ended.deployment_id.clone(),
        placement: placement.id.to_string(),
        kind: ended.kind,
        release: release(&ended.release),
        by: ended.by.clone(),
        ship: ended.ship.clone(),
        outcome: ended.outcome.word().into(),
        sentences: report.sentences,
        next: report.next,
        started: ended.started,
        ended: ended.ended,
        weight_max: ended.weight_max,
        decided_at: ended.decided_at,
        zero_at: ended.zero_at,
        verdicts: ended.verdicts.clone(),
        gates: ended.gates.clone(),
    }
}

/// A ship as it is now.
pub fn ship(ship: &Ship, now: Timestamp) -> ShipView {
    let name = |index: usize| {
        ship.build
            .as_ref()
            .and_then(|build| build.environments.get(index))
            .map(|stop| stop.name.to_string())
    };
    let (phase, environment, outcome, ended) = match &ship.phase {
        Phase::Building { .. } => ("building", None, None, None),
        Phase::Deploying { index, .. } => ("deploying", name(*index), None, None),
        Phase::Verifying { index, .. } => ("verifying", name(*index), None, None),
        Phase::Done { outcome, at } => ("done", None, Some(outcome.word().to_owned()), Some(*at)),
    };
    let report = ship.explain(now);
    ShipView {
        id: ship.id.clone(),
        service: ship.request.service.to_string(),
        commit: ship.request.commit.to_string(),
        reference: ship.request.reference.clone(),
        by: ship.request.by.clone(),
        phase: phase.into(),
        environment,
        outcome,
        digest: ship.build.as_ref().map(|build| build.artifact.digest.to_string()),
        release: ship.release().map(|release| release.id.to_string()),
        environments: ship
            .build
            .iter()
            .flat_map(|build| &build.environments)
            .map(|stop| stop.name.to_string())
            .collect(),
        stops: ship
            .stops
            .iter()
            .map(|stop| StopView {
                environment: stop.environment.to_string(),
                deployment_id: stop.deployment_id.clone(),
                outcome: stop.outcome.word().into(),
                at: stop.at,
            })
            .collect(),
        sentences: report.sentences,
        next: report.next,
        started: ship.started,
        ended,
    }
}

/// The state of a run that is a ship.
pub fn as_ship(state: &State) -> Option<&Ship> {
    match state {
        State::Ship(ship) => Some(ship),
        _ => None,
    }
}

/// The state of a run that is a placement.
pub fn as_placement(state: &State) -> Option<&Placement> {
    match state {
        State::Placement(placement) => Some(placement),
        _ => None,
    }
}
