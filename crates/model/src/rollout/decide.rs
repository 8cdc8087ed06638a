//! Commands to a placement and what follows from each.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::advance::Draft;
use super::event::Event;
use super::plan::Step;
use super::state::{
    Admission, Ended, Kind, OnRegression, Outcome, Paused, Placement, Seen, StageVerdict,
};
use super::{guardrail, strategy};
use crate::gate::{self, Facts};
use crate::hold::{Hold, HoldSubject};
use crate::judge::Verdict;
use crate::name::Slot;
use crate::report::{Refusal, Report, percent, spoken};
use crate::route::RouteStatus;
use crate::unit::UnitStatus;

/// The rule of the approvals policy that another person can mend.
const APPROVAL_LACKS: &str = "approval-lacks";

/// What may be asked of a placement, or told to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Admit(Box<Admission>),
    /// A person lets the waiting rollout go on.
    Approve {
        by: String,
    },
    /// A person ends the rollout: weight 0 first, then the slot.
    Abort {
        by: String,
        why: String,
    },
    /// A person wants the former release back. The new one is held.
    Rollback {
        by: String,
        why: String,
        deployment_id: String,
    },
    /// A hold was placed that covers the release under way.
    HoldPlaced {
        hold: Hold,
    },
    FactsGathered {
        deployment_id: String,
        index: usize,
        facts: Box<Facts>,
    },
    SmokeDone {
        deployment_id: String,
        index: usize,
        failure: Option<String>,
        detail: String,
    },
    UnitSeen {
        slot: Slot,
        status: Box<UnitStatus>,
        known: Option<u64>,
    },
    /// The agent refused (`for_good`: asking again gives the same answer) or cannot be asked.
    UnitFailed {
        slot: Slot,
        problem: String,
        for_good: bool,
    },
    /// `known`: the table that was confirmed before the edge was asked; an older one found now is drift.
    RouteSeen {
        status: Box<RouteStatus>,
        known: Option<u64>,
    },
    RouteFailed {
        problem: String,
    },
    /// The judge ruled the stage's regression out.
    StagePassed {
        deployment_id: String,
        verdict: StageVerdict,
    },
    /// The judge came to an end: FAIL at any time, the others at the stage's deadline.
    VerdictReached {
        deployment_id: String,
        verdict: StageVerdict,
    },
    /// Time passed.
    Tick,
}

impl Placement {
    /// May it be, and what follows. Pure: the same state, command and time always give the same events.
    pub fn decide(
        &self,
        command: &Command,
        now: Timestamp,
    ) -> Result<(Vec<Event>, Report), Refusal> {
        let mut draft = Draft::new(self, now);
        let report = match command {
            Command::Admit(admission) => admit(&mut draft, admission)?,
            Command::Approve { by } => approve(&mut draft, by)?,
            Command::Abort { by, why } => abort(&mut draft, by, why)?,
            Command::Rollback { by, why, deployment_id } => {
                rollback(&mut draft, by, why, deployment_id)?
            }
            Command::HoldPlaced { hold } => hold_placed(&mut draft, hold),
            Command::FactsGathered { deployment_id, index, facts } => {
                facts_gathered(&mut draft, deployment_id, *index, facts)
            }
            Command::SmokeDone { deployment_id, index, failure, detail } => {
                smoke_done(&mut draft, deployment_id, *index, failure.as_deref(), detail)
            }
            Command::UnitSeen { slot, status, known } => {
                unit_seen(&mut draft, *slot, status, *known)
            }
            Command::UnitFailed { slot, problem, for_good } => {
                unit_failed(&mut draft, *slot, problem, *for_good)
            }
            Command::RouteSeen { status, known } => route_seen(&mut draft, status, *known),
            Command::RouteFailed { problem } => route_problem(&mut draft, Some(problem.clone())),
            Command::StagePassed { deployment_id, verdict } => {
                stage_passed(&mut draft, deployment_id, verdict)
            }
            Command::VerdictReached { deployment_id, verdict } => {
                verdict_reached(&mut draft, deployment_id, verdict)
            }
            Command::Tick => Report::default(),
        };
        draft.advance();
        let (events, done) = draft.finish();
        Ok((events, if report.sentences.is_empty() { done } else { report }))
    }
}

fn admit(draft: &mut Draft<'_>, admission: &Admission) -> Result<Report, Refusal> {
    let state = &draft.state;
    let release = &admission.bundle.release;
    if !release.is_intact() {
        return Err(Refusal::new(
            "release-changed",
            format!("Release {} does not hash to its id.", release.id),
        ));
    }
    let known = |ended: &&Ended| ended.deployment_id == admission.deployment_id;
    let running =
        |rollout: &super::state::Rollout| rollout.deployment_id == admission.deployment_id;
    if state.rollout.as_ref().is_some_and(running)
        || state.history.iter().any(|ended| known(&ended))
    {
        return Ok(Report::new([format!(
            "Deployment {} was admitted before.",
            admission.deployment_id
        )]));
    }
    let Some(rollout) = &state.rollout else {
        draft.start(admission);
        return Ok(Report::new([format!("Release {} enters {}.", release.id, draft.state.id)]));
    };
    if rollout.bundle.release.id == release.id && rollout.returning.is_none() {
        return Err(Refusal::new(
            "under-way",
            format!(
                "Release {} is on its way into {} already ({}).",
                release.id, state.id, rollout.deployment_id
            ),
        )
        .next(format!("humdrum watch {}", rollout.deployment_id)));
    }
    // By rule the newer release wins: first the older one's weight goes to 0, then its slot is used again.
    let sentence =
        format!("Release {} supersedes {} in {}.", release.id, rollout.bundle.release.id, state.id);
    draft.queue(admission);
    let why = Report::new([
        format!("A newer release, {} (commit {}), was shipped to {} while this one was at {}.", release.id, release.commit.short(), draft.state.id, percent(draft.weight())),
        "By rule the newest release wins: this one's traffic goes to 0 % first, then the slot is used again.".into(),
    ])
    .next(format!("humdrum watch {}", admission.deployment_id));
    draft.go_back(Outcome::Superseded, why);
    Ok(Report::new([sentence]))
}

fn approve(draft: &mut Draft<'_>, by: &str) -> Result<Report, Refusal> {
    let id = draft.state.id.clone();
    let Some(rollout) = &draft.state.rollout else {
        return Err(Refusal::new("not-waiting", format!("No rollout waits for approval in {id}."))
            .next("humdrum status"));
    };
    let (by, at) = (by.to_owned(), draft.now);
    if rollout.returning.is_none() && rollout.paused.is_some() {
        let weight = percent(rollout.weight);
        draft.push(Event::RolloutResumed { by: by.clone(), at });
        draft.next_step();
        return Ok(Report::new([format!("{by} lets {id} go on from {weight}.")]));
    }
    if rollout.returning.is_none() && matches!(rollout.step(), Some(Step::Approve)) {
        draft.push(Event::Approved { by: by.clone(), at });
        draft.next_step();
        return Ok(Report::new([format!("{by} approved {id}; the gates are checked again.")]));
    }
    let doing = rollout.step().map_or_else(|| "end".into(), Step::words);
    Err(Refusal::new(
        "not-waiting",
        format!("The rollout in {id} does not wait for a person: it is about to {doing}."),
    )
    .next(format!("humdrum watch {}", rollout.deployment_id)))
}

fn abort(draft: &mut Draft<'_>, by: &str, why: &str) -> Result<Report, Refusal> {
    let id = draft.state.id.clone();
    let Some(rollout) = &draft.state.rollout else {
        return Err(Refusal::new("nothing-to-abort", format!("No rollout is under way in {id}."))
            .next("humdrum rollback"));
    };
    if rollout.returning.is_some() {
        return Ok(Report::new([format!("The rollout in {id} is on its way back already.")]));
    }
    let report =
        Report::new([format!("{by} aborted the rollout at {}: {why}.", percent(rollout.weight))]);
    draft.drop_queued(by);
    draft.go_back(Outcome::Aborted, report.clone());
    Ok(report)
}

fn rollback(
    draft: &mut Draft<'_>,
    by: &str,
    why: &str,
    deployment_id: &str,
) -> Result<Report, Refusal> {
    let id = draft.state.id.clone();
    if let Some(rollout) = &draft.state.rollout {
        if rollout.kind == Kind::Rollback && rollout.returning.is_none() {
            return Ok(Report::new([format!("{id} is being rolled back already.")])
                .next(format!("humdrum watch {}", rollout.deployment_id)));
        }
        if rollout.returning.is_none() {
            let release = rollout.bundle.release.clone();
            let report = Report::new([format!(
                "{by} rolled release {} back from {}: {why}.",
                release.id,
                percent(rollout.weight)
            )])
            .next(format!("humdrum unhold release:{}", release.id));
            draft.hold_release(&release.id, format!("rolled back by {by}: {why}"));
            draft.drop_queued(by);
            draft.go_back(Outcome::RolledBack, report.clone());
            return Ok(report);
        }
    }
    let Some(stable) = draft.state.stable else {
        return Err(Refusal::new(
            "no-way-back",
            format!("Nothing runs in {id}, so there is nothing to roll back."),
        )
        .next("humdrum status"));
    };
    let former = draft.state.slot(stable.other());
    let Some(bundle) = former.content.clone().filter(|_| former.verified) else {
        return Err(Refusal::new(
            "no-way-back",
            format!("{id} has had no other verified release: there is none to go back to."),
        )
        .next("humdrum ship COMMIT"));
    };
    let bad = draft.state.stable_bundle().map(|bundle| bundle.release.id.clone());
    if let Some(bad) = &bad {
        draft.hold_release(bad, format!("rolled back by {by}: {why}"));
    }
    let release = bundle.release.id.clone();
    let admission = Admission {
        deployment_id: deployment_id.into(),
        kind: Kind::Rollback,
        bundle,
        by: by.into(),
        ship: None,
    };
    if draft.state.rollout.is_some() {
        draft.queue(&admission);
    } else {
        draft.start(&admission);
    }
    Ok(Report::new([
        format!("{id} goes back to release {release}: {why}."),
        bad.map_or_else(String::new, |bad| {
            format!("Release {bad} is held until a person lifts it.")
        }),
    ])
    .next(format!("humdrum watch {deployment_id}")))
}

fn hold_placed(draft: &mut Draft<'_>, hold: &Hold) -> Report {
    let environment = draft.state.id.environment.clone();
    if let Some(queued) = &draft.state.queued
        && hold.subject.covers(&queued.bundle.release, &environment)
    {
        draft.drop_queued(&hold.by);
    }
    let Some(rollout) = &draft.state.rollout else { return Report::default() };
    if rollout.returning.is_some() || !hold.subject.covers(&rollout.bundle.release, &environment) {
        return Report::default();
    }
    let report = Report::new([
        format!(
            "{} placed a hold on the {} while it was at {}: {}.",
            hold.by,
            hold.subject,
            percent(rollout.weight),
            hold.why
        ),
        "What is held is not deployed further; its traffic goes back to 0 %.".into(),
    ])
    .next(format!("humdrum unhold {}", hold.subject.word()));
    draft.go_back(Outcome::Held, report.clone());
    report
}

fn facts_gathered(
    draft: &mut Draft<'_>,
    deployment_id: &str,
    index: usize,
    facts: &Facts,
) -> Report {
    if !draft.is_at(deployment_id, index) {
        return Report::default();
    }
    let results = gate::check(facts, &draft.state.id.environment, draft.now);
    let denied: Vec<_> = results.iter().filter(|result| !result.passed).cloned().collect();
    let asked = results.len();
    draft.push(Event::GatesChecked { results, at: draft.now });
    if let Some(report) = more_approvals(draft, &denied) {
        return report;
    }
    if denied.is_empty() {
        draft.next_step();
        return Report::default();
    }
    let held = denied.iter().any(|result| result.gate == "hold");
    let first = &denied[0];
    // The command inside the fix, where it names one, is what to paste.
    let command = first.fix.as_deref().and_then(|fix| fix.split('`').nth(1));
    let next = command.unwrap_or("humdrum ship").to_owned();
    let report = Report::new([
        format!(
            "{} of {} gates refused the release: {}: {}.",
            denied.len(),
            asked,
            first.gate,
            first.what.trim_end_matches('.')
        ),
        format!("Owner: {}.", first.owner.as_deref().unwrap_or("unknown")),
        format!("To mend it: {}.", first.fix.as_deref().unwrap_or("see `humdrum explain`")),
    ])
    .next(next);
    draft.go_back(if held { Outcome::Held } else { Outcome::Refused }, report.clone());
    report
}

/// When nothing lacks but another person's approval, the rollout waits for that person instead of being refused.
fn more_approvals(draft: &mut Draft<'_>, denied: &[gate::GateResult]) -> Option<Report> {
    let code = |result: &gate::GateResult| result.code.as_deref() == Some(APPROVAL_LACKS);
    let first = denied.first().filter(|_| denied.iter().all(code))?;
    let rollout = draft.state.rollout.as_ref()?;
    let index =
        rollout.plan.steps.iter().take(rollout.at).rposition(|step| *step == Step::Approve)?;
    draft.enter(index);
    Some(
        Report::new([format!("Another approval is needed: {}.", first.what)])
            .next(format!("humdrum approve {}", draft.state.id)),
    )
}

fn smoke_done(
    draft: &mut Draft<'_>,
    deployment_id: &str,
    index: usize,
    failure: Option<&str>,
    detail: &str,
) -> Report {
    if !draft.is_at(deployment_id, index) {
        return Report::default();
    }
    let Some(failure) = failure else {
        draft.push(Event::SmokePassed { index, detail: detail.into() });
        draft.next_step();
        return Report::default();
    };
    let weight = draft.weight();
    let report = Report::new([
        format!("The smoke checks failed at {}: {failure}.", percent(weight)),
        if weight == 0 {
            "No user met the release.".into()
        } else {
            "Its traffic went back to 0 %.".into()
        },
    ])
    .next(format!("humdrum log {}", draft.state.id));
    draft.fail(report.clone());
    report
}

fn unit_seen(draft: &mut Draft<'_>, slot: Slot, status: &UnitStatus, known: Option<u64>) -> Report {
    let state = draft.state.slot(slot);
    let Some(wish) = &state.wish else { return Report::default() };
    let (wished, accepted) = (wish.generation, state.accepted);
    if known == Some(accepted) && status.generation < accepted && !state.drifted {
        draft.push(Event::UnitDrifted { slot, found: status.generation });
        return Report::default();
    }
    if status.generation < wished {
        return Report::default(); // What runs there is still the former wish's.
    }
    if known.is_none() && accepted >= wished {
        return Report::default(); // A late answer to an order that was confirmed meanwhile: what confirmed it is newer.
    }
    if accepted < wished {
        draft.push(Event::UnitAccepted { slot, generation: wished });
    }
    let seen: Vec<Seen> = status
        .instances
        .iter()
        .map(|instance| Seen {
            name: instance.name.clone(),
            addr: instance.addr,
            state: instance.state,
            restarts: instance.restarts,
            last_exit: instance.last_exit.clone(),
            last_lines: instance.last_lines.clone(),
        })
        .collect();
    let state = draft.state.slot(slot);
    if state.seen != seen || state.problem != status.problem {
        draft.push(Event::InstancesChanged { slot, seen, problem: status.problem.clone() });
    }
    if let Some(why) = guardrail::broken(&draft.state) {
        let report = Report::new([
            format!("A guardrail fired at {}: {why}.", percent(draft.weight())),
            if draft.weight() == 0 {
                "No user met the release.".into()
            } else {
                "Its traffic goes back to 0 % at once.".into()
            },
        ])
        .next(format!("humdrum log {}", draft.state.id));
        draft.fail(report.clone());
        return report;
    }
    Report::default()
}

fn unit_failed(draft: &mut Draft<'_>, slot: Slot, problem: &str, for_good: bool) -> Report {
    let state = draft.state.slot(slot);
    if state.problem.as_deref() != Some(problem) {
        let seen = state.seen.clone();
        draft.push(Event::InstancesChanged { slot, seen, problem: Some(problem.into()) });
    }
    let on_trial = draft.state.rollout.as_ref().is_some_and(|rollout| {
        rollout.slot == slot && rollout.returning.is_none() && rollout.has_slot()
    });
    if for_good && on_trial {
        let report =
            Report::new([format!("The release cannot be run: {problem}.")]).next("humdrum doctor");
        draft.fail(report.clone());
        return report;
    }
    Report::default()
}

fn route_seen(draft: &mut Draft<'_>, status: &RouteStatus, known: Option<u64>) -> Report {
    let route = &draft.state.route;
    let Some(wish) = &route.wish else { return Report::default() };
    let wished = wish.generation;
    if known == Some(route.accepted) && status.generation < route.accepted && !route.drifted {
        draft.push(Event::RouteDrifted { found: status.generation });
        return Report::default();
    }
    route_problem(draft, status.problem.clone());
    // A table that gives nobody traffic is in force even where the listener could not be opened: nothing waits for it.
    let nothing = |table: &crate::route::RouteTable| table.arms.iter().all(|arm| arm.weight == 0);
    let closed = draft.state.route.wish.as_ref().is_some_and(nothing);
    if status.generation >= wished
        && draft.state.route.accepted < wished
        && (status.problem.is_none() || closed)
    {
        draft.push(Event::RouteAccepted { fence: status.fence, generation: wished, at: draft.now });
    }
    // Gauges of an older table are from before the slot's weight changed: they say nothing about its draining.
    let present = status.generation >= wished;
    for flight in status.in_flight.iter().filter(|_| present) {
        let slot = draft.state.slot(flight.slot);
        // Only a slot that is being drained is of interest; the rest would fill the feed with gauges.
        if draft.drains(flight.slot)
            && (slot.in_flight, slot.quiet_ms) != (flight.requests, flight.quiet_ms)
        {
            draft.push(Event::FlightSeen {
                slot: flight.slot,
                requests: flight.requests,
                quiet_ms: flight.quiet_ms,
            });
        }
    }
    Report::default()
}

fn route_problem(draft: &mut Draft<'_>, problem: Option<String>) -> Report {
    if draft.state.route.problem != problem {
        draft.push(Event::RouteProblem { problem });
    }
    Report::default()
}

fn stage_passed(draft: &mut Draft<'_>, deployment_id: &str, verdict: &StageVerdict) -> Report {
    let Some(rollout) = &draft.state.rollout else { return Report::default() };
    let here = matches!(rollout.step(), Some(Step::Judge { stage }) if *stage == verdict.stage);
    if rollout.deployment_id != deployment_id
        || rollout.returning.is_some()
        || rollout.paused.is_some()
        || !here
    {
        return Report::default(); // The stage is over, so a late word changes nothing.
    }
    draft.push(Event::Judged { verdict: verdict.clone() });
    draft.next_step();
    Report::new([verdict.sentence.clone()])
}

fn verdict_reached(draft: &mut Draft<'_>, deployment_id: &str, verdict: &StageVerdict) -> Report {
    let Some(rollout) = &draft.state.rollout else { return Report::default() };
    if rollout.deployment_id != deployment_id || rollout.returning.is_some() {
        return Report::default();
    }
    let judging = matches!(rollout.step(), Some(Step::Judge { .. } | Step::Expose { .. }));
    let harm = verdict.verdict == Verdict::Fail;
    if !judging || (rollout.paused.is_some() && !harm) {
        return Report::default();
    }
    let (release, weight, on_regression) =
        (rollout.bundle.release.clone(), rollout.weight, rollout.bundle.deploy.on_regression);
    draft.push(Event::Judged { verdict: verdict.clone() });
    if harm && on_regression == OnRegression::Rollback {
        let report = Report::new([
            verdict.sentence.clone(),
            format!("Traffic for release {} went from {} back to 0 % at once, and {} serves everything again.", release.id, percent(weight), draft.way_back_words()),
            format!("Release {} is held in every environment until a person lifts it.", release.id),
        ])
        .next(format!("humdrum explain {deployment_id}"));
        draft.hold_release(
            &release.id,
            format!("rolled back in {}: {}", draft.state.id, verdict.sentence),
        );
        draft.go_back(Outcome::RolledBack, report.clone());
        return report;
    }
    let report = Report::new([
        verdict.sentence.clone(),
        format!(
            "The rollout stays at {} and waits for a person since {}.",
            percent(weight),
            draft.now.strftime("%T UTC")
        ),
    ])
    .next(format!("humdrum approve {0} (go on) or humdrum abort {0}", draft.state.id));
    draft.push(Event::RolloutPaused {
        paused: Paused { since: draft.now, report: report.clone(), verdict: Some(verdict.verdict) },
    });
    report
}

/// How long ago, for reports.
pub(super) fn ago(from: Timestamp, now: Timestamp) -> String {
    spoken(now.as_millisecond() - from.as_millisecond())
}

/// The subject of an automatic hold.
pub(super) fn release_subject(id: &crate::release::ReleaseId) -> HoldSubject {
    HoldSubject::Release(id.clone())
}

/// The plan of an admission.
pub(super) fn plan_of(admission: &Admission, first: bool) -> super::plan::Plan {
    match admission.kind {
        Kind::Deploy => strategy::plan(&admission.bundle.deploy, first),
        Kind::Rollback => strategy::plan_rollback(&admission.bundle.deploy),
    }
}
