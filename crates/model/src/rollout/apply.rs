//! Folds events into the state. Total: it cannot fail, so recovery is a fold.

use crate::approval::Approval;
use jiff::Timestamp;

use super::event::Event;
use super::plan::Step;
use super::state::{HISTORY_MAX, Placement, Returning, Rollout, SlotState, UnitWish};

impl Placement {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::RolloutStarted { admission, slot, plan, at } => {
                self.queued = None;
                self.rollout = Some(Rollout {
                    deployment_id: admission.deployment_id.clone(),
                    kind: admission.kind,
                    bundle: admission.bundle.clone(),
                    slot: *slot,
                    by: admission.by.clone(),
                    ship: admission.ship.clone(),
                    plan: plan.clone(),
                    at: 0,
                    started: *at,
                    entered: *at,
                    until: None,
                    table: None,
                    weight: 0,
                    weight_max: 0,
                    gates: Vec::new(),
                    approved_by: None,
                    approvals: Vec::new(),
                    verdicts: Vec::new(),
                    paused: None,
                    returning: None,
                });
            }
            Event::AdmissionQueued { admission } => self.queued = Some(admission.clone()),
            Event::QueuedDropped { .. } => self.queued = None,
            Event::UnitWished { .. }
            | Event::UnitAccepted { .. }
            | Event::UnitDrifted { .. }
            | Event::InstancesChanged { .. }
            | Event::SlotFilled { .. }
            | Event::SlotRetired { .. }
            | Event::FlightSeen { .. }
            | Event::StableMoved { .. } => self.apply_slot(event),
            Event::RouteWished { .. }
            | Event::RouteAccepted { .. }
            | Event::RouteDrifted { .. }
            | Event::RouteProblem { .. } => self.apply_route(event),
            Event::ReleaseHeld { .. } | Event::SmokePassed { .. } => {}
            Event::RolloutEnded { ended } => {
                self.rollout = None;
                // What waited for its turn and then had nothing to do is over as well.
                self.queued.take_if(|queued| queued.deployment_id == ended.deployment_id);
                self.history.push((**ended).clone());
                let surplus = self.history.len().saturating_sub(HISTORY_MAX);
                self.history.drain(..surplus);
            }
            _ => {
                if let Some(rollout) = &mut self.rollout {
                    rollout.apply(event);
                }
            }
        }
    }

    fn apply_slot(&mut self, event: &Event) {
        match event {
            Event::SlotFilled { slot } => {
                let Some(bundle) = self.rollout.as_ref().map(|rollout| rollout.bundle.clone())
                else {
                    return;
                };
                let state = self.slot_mut(*slot);
                let same = state.content.as_ref() == Some(&bundle);
                // A rollback finds its release in the slot, verified before; anything new has to prove itself.
                // What was seen belongs to the instances that were there before, whose crashes are not the new one's.
                *state = SlotState {
                    run: true,
                    verified: same && state.verified,
                    content: Some(bundle),
                    wish: state.wish.take(),
                    accepted: state.accepted,
                    ..SlotState::default()
                };
            }
            Event::SlotRetired { slot } => self.slot_mut(*slot).run = false,
            Event::UnitWished { slot, generation, spec } => {
                self.sequence = self.sequence.max(*generation);
                let state = self.slot_mut(*slot);
                state.wish = Some(UnitWish { generation: *generation, spec: (**spec).clone() });
                state.drifted = false;
            }
            Event::UnitAccepted { slot, generation } => self.slot_mut(*slot).accepted = *generation,
            Event::UnitDrifted { slot, .. } => self.slot_mut(*slot).drifted = true,
            Event::InstancesChanged { slot, seen, problem } => {
                let state = self.slot_mut(*slot);
                state.seen.clone_from(seen);
                state.problem.clone_from(problem);
            }
            Event::FlightSeen { slot, requests, quiet_ms } => {
                let state = self.slot_mut(*slot);
                state.in_flight = *requests;
                state.quiet_ms = *quiet_ms;
            }
            Event::StableMoved { slot } => {
                self.stable = Some(*slot);
                self.slot_mut(*slot).verified = true;
            }
            _ => {}
        }
    }

    fn apply_route(&mut self, event: &Event) {
        match event {
            Event::RouteWished { table } => {
                self.sequence = self.sequence.max(table.generation);
                self.route.wish = Some((**table).clone());
                self.route.drifted = false;
            }
            Event::RouteAccepted { fence, generation, at } => {
                self.route.fence = *fence;
                self.route.accepted = *generation;
                self.route.problem = None;
                let settled = self.route.settled();
                if let Some(rollout) = &mut self.rollout
                    && let Some(returning) = &mut rollout.returning
                    && settled
                    && returning.zero_at.is_none()
                {
                    // The drain time counts from the confirmed 0: an edge that was late gets no less time to drain.
                    let drain = returning.drain_until.duration_since(returning.since);
                    returning.zero_at = Some(*at);
                    returning.drain_until = at.checked_add(drain).unwrap_or(Timestamp::MAX);
                    rollout.until = Some(returning.drain_until);
                }
            }
            Event::RouteDrifted { .. } => self.route.drifted = true,
            Event::RouteProblem { problem } => self.route.problem.clone_from(problem),
            _ => {}
        }
    }
}

impl Rollout {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::StepEntered { index, at, until, table } => {
                self.table = *table;
                self.at = *index;
                self.entered = *at;
                self.until = *until;
                self.paused = None;
            }
            Event::GatesChecked { results, .. } => self.gates.clone_from(results),
            Event::Approved { by, at } => {
                self.approved_by = Some(by.clone());
                self.approvals.push(Approval { by: by.clone(), at: *at });
            }
            Event::Exposed { weight, .. } => {
                self.weight = *weight;
                self.weight_max = self.weight_max.max(*weight);
            }
            Event::Judged { verdict } => self.verdicts.push(verdict.clone()),
            Event::RolloutPaused { paused } => {
                // A person is awaited, not the stage's deadline any more.
                self.until = None;
                self.paused = Some(paused.clone());
            }
            Event::RolloutResumed { .. } => self.paused = None,
            Event::ReturnStarted { outcome, report, at, drain_until } => {
                self.weight = 0;
                self.paused = None;
                self.until = Some(*drain_until);
                self.returning = Some(Returning {
                    since: *at,
                    outcome: *outcome,
                    report: report.clone(),
                    zero_at: None,
                    drain_until: *drain_until,
                });
            }
            _ => {}
        }
    }

    /// Whether the release was given its slot: from `Prepare` on.
    pub fn has_slot(&self) -> bool {
        self.plan.steps.iter().take(self.at + 1).any(|step| matches!(step, Step::Prepare { .. }))
    }
}
