//! Events as people read them in a trace or a scenario's output.

use humdrum_model::hold::HoldEvent;
use humdrum_model::report::percent;
use humdrum_model::rollout::Event as PlacementEvent;
use humdrum_model::route::RouteTable;
use humdrum_model::run::Event;
use humdrum_model::ship::{Phase, ShipEvent};

use crate::cast::Cast;
use crate::stage::Stage;

/// `a95 b5`, or why nothing is served.
pub(crate) fn weights(table: &RouteTable) -> String {
    if let Some(closed) = &table.closed_reason {
        return format!("closed ({closed})");
    }
    let arm = |arm: &humdrum_model::route::Arm| {
        format!("{}{}", arm.slot, percent(arm.weight).trim_end_matches(" %"))
    };
    table.arms.iter().map(arm).collect::<Vec<_>>().join(" ")
}

impl Stage {
    pub(crate) fn count_events(&mut self, events: &[Event]) {
        for event in events {
            self.seen.count("recorded", event.kind());
            self.count_details(event);
        }
    }

    pub(crate) fn say_events(&mut self, run: &str, events: &[Event]) {
        if self.trace.is_none() {
            return;
        }
        for line in
            events.iter().filter_map(|it| event(run, it, &self.world.cast)).collect::<Vec<_>>()
        {
            self.say(|_| line);
        }
    }

    fn count_details(&mut self, event: &Event) {
        match event {
            Event::Placement(PlacementEvent::RolloutStarted { plan, .. }) => {
                self.seen.count("rollout", &plan.strategy);
                for step in &plan.steps {
                    let word = step_word(step);
                    self.seen.count("planned step", word);
                }
            }
            Event::Placement(
                PlacementEvent::RolloutEnded { ended } | PlacementEvent::QueuedDropped { ended },
            ) => self.seen.count("outcome", ended.outcome.word()),
            Event::Placement(PlacementEvent::Judged { verdict }) => {
                self.seen.count("verdict", verdict.verdict.name());
            }
            Event::Ship(ShipEvent::ShipEnded { outcome, .. }) => {
                self.seen.count("ship ended", outcome.word());
            }
            _ => {}
        }
    }
}

pub(crate) fn step_word(step: &humdrum_model::rollout::plan::Step) -> &'static str {
    use humdrum_model::rollout::plan::Step;
    match step {
        Step::Gate => "gate",
        Step::Approve => "approve",
        Step::Prepare { .. } => "prepare",
        Step::Smoke { through_edge: false, .. } => "smoke",
        Step::Smoke { through_edge: true, .. } => "smoke through edge",
        Step::Expose { .. } => "expose",
        Step::Judge { .. } => "judge",
        Step::Hold { .. } => "hold",
        Step::Drain { .. } => "drain",
    }
}

/// One event in words; none for what only repeats another line.
pub(crate) fn event(run: &str, event: &Event, cast: &Cast) -> Option<String> {
    let text = match event {
        Event::Placement(event) => of_placement(event, cast)?,
        Event::Ship(event) => of_ship(event)?,
        Event::Holds(HoldEvent::HoldPlaced { hold }) => {
            format!("{} holds the {}: {}", hold.by, hold.subject, hold.why)
        }
        Event::Holds(HoldEvent::HoldLifted { subject, by, .. }) => {
            format!("{by} lifts the hold on the {subject}")
        }
        // The simulated people grant no waivers.
        Event::Waivers(event) => event.kind().replace('_', " "),
    };
    Some(format!("{run}: {text}"))
}

fn of_placement(event: &PlacementEvent, cast: &Cast) -> Option<String> {
    Some(match event {
        PlacementEvent::RolloutStarted { admission, slot, plan, .. } => {
            let name = cast.name(admission.bundle.release.commit.as_str());
            format!("rollout of {name} starts in slot {slot}, {}", plan.strategy)
        }
        PlacementEvent::AdmissionQueued { admission } => {
            format!("{} waits for its turn", cast.name(admission.bundle.release.commit.as_str()))
        }
        PlacementEvent::GatesChecked { results, .. } => {
            let denied: Vec<_> =
                results.iter().filter(|it| !it.passed).map(|it| it.gate.as_str()).collect();
            if denied.is_empty() {
                format!("{} gates passed", results.len())
            } else {
                format!("gates refused: {}", denied.join(", "))
            }
        }
        PlacementEvent::Approved { by, .. } => format!("{by} approved"),
        PlacementEvent::UnitDrifted { slot, .. } => {
            format!("slot {slot} is not what was confirmed")
        }
        PlacementEvent::RouteDrifted { .. } => "the traffic table is not what was confirmed".into(),
        PlacementEvent::Exposed { weight, .. } => format!("the release gets {}", percent(*weight)),
        PlacementEvent::SmokePassed { detail, .. } => format!("smoke checks passed ({detail})"),
        PlacementEvent::Judged { verdict } => {
            format!("the judge says {} at stage {}", verdict.verdict.name(), verdict.stage + 1)
        }
        PlacementEvent::RolloutPaused { .. } => "the rollout waits for a person".into(),
        PlacementEvent::RolloutResumed { by, .. } => format!("{by} lets it go on"),
        PlacementEvent::ReturnStarted { outcome, .. } => {
            format!("the rollout turns round: {}", outcome.word())
        }
        PlacementEvent::ReleaseHeld { subject, .. } => format!("the {subject} is to be held"),
        PlacementEvent::SlotRetired { slot } => format!("slot {slot} may stop"),
        PlacementEvent::StableMoved { slot } => format!("slot {slot} is stable now"),
        PlacementEvent::RolloutEnded { ended } => format!(
            "the rollout of {} ended: {}",
            cast.name(ended.release.commit.as_str()),
            ended.outcome.word()
        ),
        PlacementEvent::QueuedDropped { ended } => format!(
            "{} ended before it began: {}",
            cast.name(ended.release.commit.as_str()),
            ended.outcome.word()
        ),
        _ => return None,
    })
}

fn of_ship(event: &ShipEvent) -> Option<String> {
    Some(match event {
        ShipEvent::Built { facts } => format!("built {}", facts.artifact.digest.short()),
        ShipEvent::BuildFailed { failure } => format!("the build failed ({})", failure.code),
        ShipEvent::PhaseEntered { phase: Phase::Deploying { index, .. } } => {
            format!("deploys to environment {}", index + 1)
        }
        ShipEvent::PhaseEntered { phase: Phase::Verifying { index, .. } } => {
            format!("verifies environment {}", index + 1)
        }
        ShipEvent::ShipEnded { outcome, .. } => format!("ended: {}", outcome.word()),
        _ => return None,
    })
}
