//! What the world should look like, derived from the state: the traffic table and the two units. Weights are absolute.

use super::event::Event;
use super::state::{Bundle, Placement, SlotState};
use crate::name::Slot;
use crate::route::{Arm, Endpoint, RouteTable, WEIGHT_TOTAL};
use crate::unit::{ImageSource, InstanceState, Labels, UnitSpec};

/// The arm that everything is compared with, and the one that is on trial.
pub(super) const BASELINE: &str = "baseline";
pub(super) const CANARY: &str = "canary";

/// Events that bring the wishes up to date with the state; none when they are.
pub(super) fn settle(placement: &Placement) -> Vec<Event> {
    let mut events = Vec::new();
    let mut next = placement.sequence;
    for slot in [Slot::A, Slot::B] {
        let state = placement.slot(slot);
        let Some(bundle) = &state.content else { continue };
        let wished = unit(placement, slot, state, bundle);
        if state.drifted || state.wish.as_ref().is_none_or(|wish| !same_unit(&wish.spec, &wished)) {
            next += 1;
            let spec = Box::new(UnitSpec { generation: next, ..wished });
            events.push(Event::UnitWished { slot, generation: next, spec });
        }
    }
    if let Some(table) = table(placement)
        && (placement.route.drifted
            || placement.route.wish.as_ref().is_none_or(|wish| !same_table(wish, &table)))
    {
        next += 1;
        events
            .push(Event::RouteWished { table: Box::new(RouteTable { generation: next, ..table }) });
    }
    events
}

fn same_unit(a: &UnitSpec, b: &UnitSpec) -> bool {
    UnitSpec { generation: 0, ..a.clone() } == UnitSpec { generation: 0, ..b.clone() }
}

fn same_table(a: &RouteTable, b: &RouteTable) -> bool {
    RouteTable { generation: 0, ..a.clone() } == RouteTable { generation: 0, ..b.clone() }
}

fn unit(placement: &Placement, slot: Slot, state: &SlotState, bundle: &Bundle) -> UnitSpec {
    let (release, deploy) = (&bundle.release, &bundle.deploy);
    UnitSpec {
        unit: placement.id.unit(slot),
        fence: 0,
        generation: 0,
        image: ImageSource {
            registry: deploy.registry.clone(),
            repository: release.artifact.repository.clone(),
            digest: release.artifact.digest.clone(),
        },
        command: deploy.command.clone(),
        env: deploy.env.clone(),
        workdir: deploy.workdir.clone(),
        health: deploy.health.clone(),
        instances: if state.run { deploy.instances } else { 0 },
        uid: deploy.uid,
        limits: deploy.limits.clone(),
        stop: deploy.stop.clone(),
        labels: Labels {
            service: release.service.to_string(),
            environment: placement.id.environment.to_string(),
            release: release.id.to_string(),
            deployment_id: bundle.deployment_id.clone(),
            commit: release.commit.to_string(),
            build_id: release.build_id.clone(),
        },
    }
}

/// The table that the state asks for. None before anything was ever admitted.
fn table(placement: &Placement) -> Option<RouteTable> {
    let deploy = match (&placement.rollout, placement.stable_bundle()) {
        // The rollout's own settings rule only once it has the slot: before, nothing of it may change what users meet.
        (Some(rollout), None) => &rollout.bundle.deploy,
        (_, Some(bundle)) => &bundle.deploy,
        (None, None) => {
            &placement
                .slot(Slot::A)
                .content
                .as_ref()
                .or(placement.slot(Slot::B).content.as_ref())?
                .deploy
        }
    };
    let arms = arms(placement);
    let open = arms.iter().any(|arm| arm.weight > 0);
    Some(RouteTable {
        route: placement.id.route(),
        fence: 0,
        generation: 0,
        listen: deploy.listen.clone(),
        arms,
        closed_reason: (!open).then(|| closed_reason(placement)),
        sticky: deploy.sticky.clone(),
        testers: deploy.testers.clone(),
        limits: deploy.route_limits.clone(),
        block_ms: deploy.count_ms,
    })
}

fn closed_reason(placement: &Placement) -> String {
    match &placement.rollout {
        Some(rollout) => format!(
            "{}: the first release is not healthy yet ({})",
            placement.id,
            rollout.step().map_or_else(String::new, |step| step.words())
        ),
        None => format!("{}: no release has become healthy here yet", placement.id),
    }
}

/// Two arms at most: the stable slot and the one on trial. A weight of 0 is written, so that the edge drains the slot.
fn arms(placement: &Placement) -> Vec<Arm> {
    let trial = placement
        .rollout
        .as_ref()
        .filter(|rollout| rollout.has_slot())
        .map(|rollout| (rollout.slot, rollout.weight));
    let mut arms = Vec::new();
    match (placement.stable, trial) {
        (Some(stable), Some((slot, weight))) if stable != slot => {
            arms.extend(arm(placement, stable, BASELINE, WEIGHT_TOTAL - weight));
            arms.extend(arm(placement, slot, CANARY, weight));
        }
        (Some(stable), _) => {
            arms.extend(arm(placement, stable, BASELINE, WEIGHT_TOTAL));
            if placement.slot(stable.other()).run {
                arms.extend(arm(placement, stable.other(), CANARY, 0));
            }
        }
        (None, Some((slot, weight))) => arms.extend(arm(placement, slot, BASELINE, weight)),
        (None, None) => {}
    }
    arms
}

fn arm(placement: &Placement, slot: Slot, name: &str, weight: u32) -> Option<Arm> {
    let state = placement.slot(slot);
    let bundle = state.content.as_ref()?;
    let of_release = |seen: &&super::state::Seen| seen.state != InstanceState::Exited;
    let ready: Vec<_> =
        state.seen.iter().filter(|seen| seen.state == InstanceState::Ready).collect();
    // With nothing ready the edge still tries them all: a failing health check must not turn a slow service into an outage.
    let chosen = if ready.is_empty() && weight > 0 {
        state.seen.iter().filter(of_release).collect()
    } else {
        ready
    };
    Some(Arm {
        name: name.into(),
        slot,
        release: bundle.release.id.to_string(),
        deployment_id: bundle.deployment_id.clone(),
        weight,
        instances: chosen
            .into_iter()
            .map(|seen| Endpoint { instance: seen.name.clone(), addr: seen.addr })
            .collect(),
    })
}
