//! Invariants of time: what the truth of the world must lead to within a bound, while nothing keeps control from it.

use super::*;

/// From a fault of the world to the edge's table, when control is healthy, ms: a look every few seconds, a message, a commit, a message.
const REACTION_MS: i64 = 12_000;

/// A rollout that is being watched.
#[derive(Debug, Clone)]
pub(crate) struct OnTrial {
    route: String,
    unit: String,
    slot: Slot,
    active: bool,
    deployment: String,
    /// Since when it is on its way back.
    returning_since: Option<i64>,
    /// Since when fewer than half of its instances are ready while it has weight.
    sick_since: Option<i64>,
}

impl OnTrial {
    pub(crate) fn of(now: i64, placement: &Placement, former: Option<&Self>) -> Self {
        let rollout = placement.rollout.as_ref();
        let slot = rollout.map_or(Slot::A, |it| it.slot);
        let deployment = rollout.map_or_else(String::new, |it| it.deployment_id.clone());
        let former = former.filter(|it| it.deployment == deployment);
        let returning = rollout.is_some_and(|it| it.returning.is_some());
        Self {
            route: placement.id.route(),
            unit: placement.id.unit(slot),
            slot,
            active: rollout.is_some_and(humdrum_model::rollout::Rollout::has_slot),
            returning_since: returning
                .then(|| former.and_then(|it| it.returning_since).unwrap_or(now)),
            sick_since: former.and_then(|it| it.sick_since),
            deployment,
        }
    }
}

impl Ledger {
    /// Looks at the world after every event.
    pub(crate) fn world(&mut self, now: i64, world: &World) -> Option<Broken> {
        let calm_since = self.troubled_until;
        self.trials.values_mut().filter(|it| it.active).find_map(|it| {
            let weight =
                world.edge.routes.get(&it.route).map_or(0, |route| route.flight(it.slot).weight);
            v3_zero_within_bound(now, it, weight, calm_since)
                .or_else(|| v2_sickness_is_answered(now, it, weight, world, calm_since))
        })
    }
}

/// V3: after the decision to go back, the edge gives the release nothing within the bound.
fn v3_zero_within_bound(now: i64, it: &OnTrial, weight: u32, calm_since: i64) -> Option<Broken> {
    let since = it.returning_since?;
    must(weight == 0 || now - since.max(calm_since) <= REACTION_MS, "V3", || {
        format!("{} turned round {} ms ago and still has {weight}", it.deployment, now - since)
    })
}

/// V2: a release on trial with too few healthy instances loses its weight.
fn v2_sickness_is_answered(
    now: i64,
    it: &mut OnTrial,
    weight: u32,
    world: &World,
    calm_since: i64,
) -> Option<Broken> {
    let sick = world.agent.units.get(&it.unit).is_some_and(|unit| unit.ready() * 2 < unit.wanted());
    if weight == 0 || !sick {
        it.sick_since = None;
        return None;
    }
    let since = *it.sick_since.get_or_insert(now);
    must(now - since.max(calm_since) <= REACTION_MS, "V2", || {
        format!(
            "{} has {weight} for {} ms with too few healthy instances",
            it.deployment,
            now - since
        )
    })
}
