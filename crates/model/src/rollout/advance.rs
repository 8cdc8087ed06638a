//! The step machine: walks a rollout's plan as far as the state permits, and back when it must.

use jiff::{SignedDuration, Timestamp};

use super::decide::{ago, plan_of, release_subject};
use super::event::Event;
use super::plan::Step;
use super::settle::settle;
use super::state::{Admission, Ended, Outcome, Paused, Placement, Rollout};
use crate::name::Slot;
use crate::release::ReleaseId;
use crate::report::{Report, counted, percent, spoken};

/// Evidence is gathered within this, or the gate fails closed.
pub(super) const GATE_MS: u64 = 60_000;
/// A step that only waits for the edge's or the stable release's word gives up after this.
pub(super) const CONFIRM_MS: u64 = 30_000;
/// A drained slot has been without a request for this long.
pub(super) const QUIET_MS: u64 = 300;
/// After a stage's deadline the judge has so long to say how it ended: a block, a look and a message.
pub(super) const WORD_MS: i64 = 10_000;
/// Steps that one command may walk: plans are far shorter.
const WALK_MAX: usize = 200;

/// A state that events are tried on: each pushed event is applied at once, so that the next rule sees it.
pub(super) struct Draft<'a> {
    before: &'a Placement,
    pub(super) state: Placement,
    pub(super) now: Timestamp,
    events: Vec<Event>,
    report: Report,
}

impl<'a> Draft<'a> {
    pub(super) fn new(before: &'a Placement, now: Timestamp) -> Self {
        Self { before, state: before.clone(), now, events: Vec::new(), report: Report::default() }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.state.apply(&event);
        self.events.push(event);
    }

    pub(super) fn finish(self) -> (Vec<Event>, Report) {
        debug_assert!(
            !self.events.is_empty() || *self.before == self.state,
            "a state changes by events only"
        );
        (self.events, self.report)
    }

    pub(super) fn weight(&self) -> u32 {
        self.state.rollout.as_ref().map_or(0, |rollout| rollout.weight)
    }

    /// Whether this step of this rollout is under way.
    pub(super) fn is_at(&self, deployment_id: &str, index: usize) -> bool {
        self.state.rollout.as_ref().is_some_and(|rollout| {
            rollout.deployment_id == deployment_id
                && rollout.at == index
                && rollout.returning.is_none()
                && rollout.paused.is_none()
        })
    }

    /// Whether the slot's open requests are waited for.
    pub(super) fn drains(&self, slot: Slot) -> bool {
        self.state.rollout.as_ref().is_some_and(|rollout| match &rollout.returning {
            Some(_) => rollout.slot == slot,
            None => rollout.slot != slot && matches!(rollout.step(), Some(Step::Drain { .. })),
        })
    }

    pub(super) fn way_back_words(&self) -> String {
        match self.state.stable_bundle() {
            Some(bundle) => {
                format!("release {} (commit {})", bundle.release.id, bundle.release.commit.short())
            }
            None => "nothing".into(),
        }
    }

    fn after_ms(&self, ms: u64) -> Timestamp {
        let span = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
        self.now.checked_add(span).unwrap_or(Timestamp::MAX)
    }

    /// Begins a rollout in the idle slot. A release that is stable here already needs none.
    pub(super) fn start(&mut self, admission: &Admission) {
        let stable = self.state.stable;
        if let Some(bundle) = self.state.stable_bundle()
            && bundle.release.id == admission.bundle.release.id
            && bundle.deploy == admission.bundle.deploy
        {
            let why = Report::new([format!(
                "Release {} runs in {} already; nothing was to do.",
                bundle.release.id, self.state.id
            )]);
            let ended = self.ended_unstarted(admission, Outcome::AlreadyThere, why);
            self.push(Event::RolloutEnded { ended: Box::new(ended) });
            return;
        }
        let slot = stable.map_or(Slot::A, Slot::other);
        let plan = plan_of(admission, stable.is_none());
        self.push(Event::RolloutStarted {
            admission: Box::new(admission.clone()),
            slot,
            plan,
            at: self.now,
        });
        self.enter(0);
    }

    pub(super) fn queue(&mut self, admission: &Admission) {
        if let Some(older) = self.state.queued.clone() {
            let why = Report::new([format!(
                "A newer release, {}, was shipped before this one began.",
                admission.bundle.release.id
            )])
            .next(format!("humdrum watch {}", admission.deployment_id));
            let ended = self.ended_unstarted(&older, Outcome::Superseded, why);
            self.push(Event::QueuedDropped { ended: Box::new(ended) });
        }
        self.push(Event::AdmissionQueued { admission: Box::new(admission.clone()) });
    }

    pub(super) fn drop_queued(&mut self, by: &str) {
        if let Some(older) = self.state.queued.clone() {
            let why = Report::new([format!("{by} ended it before it began.")]);
            let ended = self.ended_unstarted(&older, Outcome::Aborted, why);
            self.push(Event::QueuedDropped { ended: Box::new(ended) });
        }
    }

    fn ended_unstarted(&self, admission: &Admission, outcome: Outcome, report: Report) -> Ended {
        Ended {
            deployment_id: admission.deployment_id.clone(),
            kind: admission.kind,
            release: admission.bundle.release.clone(),
            by: admission.by.clone(),
            ship: admission.ship.clone(),
            outcome,
            report,
            started: self.now,
            ended: self.now,
            weight_max: 0,
            decided_at: None,
            zero_at: None,
            verdicts: Vec::new(),
            gates: Vec::new(),
        }
    }

    pub(super) fn hold_release(&mut self, id: &ReleaseId, why: String) {
        self.push(Event::ReleaseHeld { subject: release_subject(id), why });
    }

    /// Turns the rollout round. Where nothing was exposed or started there is nothing to take back, and it ends at once.
    pub(super) fn go_back(&mut self, outcome: Outcome, report: Report) {
        let Some(rollout) = &self.state.rollout else { return };
        let drain_until = self.after_ms(rollout.bundle.deploy.drain_ms);
        self.push(Event::ReturnStarted { outcome, report, at: self.now, drain_until });
    }

    /// A failure that is the release's own: before any traffic it merely failed, after that it is rolled back and held.
    pub(super) fn fail(&mut self, report: Report) {
        let Some(rollout) = &self.state.rollout else { return };
        if rollout.weight == 0 {
            self.go_back(Outcome::Failed, report);
            return;
        }
        let (id, kind) = (rollout.bundle.release.id.clone(), rollout.kind);
        if kind == super::state::Kind::Deploy {
            self.hold_release(&id, format!("rolled back in {}: {}", self.state.id, report.text()));
        }
        self.go_back(Outcome::RolledBack, report);
    }

    pub(super) fn next_step(&mut self) {
        let Some(index) = self.state.rollout.as_ref().map(|rollout| rollout.at + 1) else { return };
        self.enter(index);
    }

    pub(super) fn enter(&mut self, index: usize) {
        let Some(rollout) = &self.state.rollout else { return };
        let until = match rollout.plan.steps.get(index) {
            Some(Step::Gate) => Some(self.after_ms(GATE_MS)),
            Some(
                Step::Prepare { within_ms }
                | Step::Smoke { within_ms, .. }
                | Step::Drain { within_ms },
            ) => Some(self.after_ms(*within_ms)),
            Some(Step::Expose { .. }) => Some(self.after_ms(CONFIRM_MS)),
            Some(Step::Hold { ms }) => Some(self.after_ms(*ms)),
            Some(Step::Judge { .. }) => {
                Some(self.after_ms(rollout.bundle.deploy.judge.deadline_ms))
            }
            Some(Step::Approve) | None => None,
        };
        let fills = matches!(rollout.plan.steps.get(index), Some(Step::Prepare { .. }));
        let slot = rollout.slot;
        let judged = matches!(rollout.plan.steps.get(index), Some(Step::Judge { .. }));
        let table = judged.then_some((self.state.route.fence, self.state.route.accepted));
        self.push(Event::StepEntered { index, at: self.now, until, table });
        if fills {
            self.push(Event::SlotFilled { slot });
        }
    }

    /// Walks on while the present step's condition holds, then brings the wishes up to date.
    pub(super) fn advance(&mut self) {
        for _ in 0..WALK_MAX {
            self.settle();
            if !self.walk() {
                return;
            }
        }
    }

    fn settle(&mut self) {
        for event in settle(&self.state) {
            self.push(event);
        }
    }

    /// One step of the machine; `true` when something changed and another look is due.
    fn walk(&mut self) -> bool {
        let Some(rollout) = self.state.rollout.clone() else {
            let Some(next) = self.state.queued.clone() else { return false };
            self.start(&next);
            return true;
        };
        if rollout.returning.is_some() {
            return self.walk_back(&rollout);
        }
        if rollout.paused.is_some() {
            return false;
        }
        let late = rollout.until.is_some_and(|until| self.now >= until);
        match rollout.step() {
            None => self.complete(&rollout),
            Some(Step::Gate) if late => {
                let why = format!(
                    "No evidence could be gathered within {}; a gate never fails open.",
                    spoken(GATE_MS as i64)
                );
                self.go_back(Outcome::Refused, Report::new([why]).next("humdrum doctor"));
            }
            Some(Step::Prepare { .. }) => return self.walk_prepare(&rollout, late),
            Some(Step::Smoke { .. }) if late => {
                let why = format!(
                    "The smoke checks did not end within {}.",
                    ago(rollout.entered, self.now)
                );
                self.fail(Report::new([why]).next(format!("humdrum log {}", self.state.id)));
            }
            Some(Step::Expose { weight }) => return self.walk_expose(&rollout, *weight, late),
            Some(Step::Judge { .. }) => return self.walk_judged(&rollout),
            Some(Step::Hold { .. }) if late => self.next_step(),
            Some(Step::Drain { .. }) => {
                let former = self.state.slot(rollout.slot.other());
                let quiet = former.in_flight == 0 && former.quiet_ms >= QUIET_MS;
                if !(late || quiet || !former.run) {
                    return false;
                }
                self.next_step();
            }
            _ => return false,
        }
        true
    }

    fn walk_prepare(&mut self, rollout: &Rollout, late: bool) -> bool {
        let slot = self.state.slot(rollout.slot);
        if slot.at_full_strength() {
            self.next_step();
            return true;
        }
        if !late {
            return false;
        }
        let sick =
            slot.seen.iter().find(|seen| !seen.last_lines.is_empty() || seen.last_exit.is_some());
        let problem = slot.problem.clone().or_else(|| sick.and_then(|seen| seen.last_exit.clone()));
        let mut sentences = vec![format!(
            "Only {} of {} instances became ready within {}{}.",
            slot.ready(),
            slot.wanted(),
            ago(rollout.entered, self.now),
            problem.map(|problem| format!(" ({problem})")).unwrap_or_default()
        )];
        if let Some(line) = sick.and_then(|seen| seen.last_lines.last()) {
            sentences.push(format!("Its last words: {}", line.trim()));
        }
        sentences.push("No user met the release.".into());
        self.fail(Report::new(sentences).next(format!("humdrum log {}", self.state.id)));
        true
    }

    /// A judge that says nothing at all, not even that it cannot tell, neither promotes nor rolls back: a person decides.
    fn walk_judged(&mut self, rollout: &Rollout) -> bool {
        if rollout.silent_at().is_none_or(|silent_at| self.now < silent_at) {
            return false;
        }
        let report = Report::new([
            format!(
                "The judge gave no word within {}: the edge's counts could not be read.",
                ago(rollout.entered, self.now)
            ),
            format!(
                "The rollout stays at {} and waits for a person since {}.",
                percent(rollout.weight),
                self.now.strftime("%T UTC")
            ),
        ])
        .next(format!("humdrum approve {0} (go on) or humdrum abort {0}", self.state.id));
        let paused = Paused { since: self.now, report: report.clone(), verdict: None };
        self.report = report;
        self.push(Event::RolloutPaused { paused });
        true
    }

    /// More traffic only while the release is ready for it and another one could take everything back.
    fn walk_expose(&mut self, rollout: &Rollout, weight: u32, late: bool) -> bool {
        if rollout.weight == weight && self.state.route.settled() {
            self.next_step();
            return true;
        }
        if rollout.weight != weight {
            let able = self.state.slot(rollout.slot).at_full_strength();
            let back = match self.state.stable {
                None => true,
                // A rollback leaves a release that failed its users: that one need not be healthy for it.
                Some(_) if rollout.kind == super::state::Kind::Rollback => true,
                Some(_) => self
                    .state
                    .way_back()
                    .is_some_and(|slot| self.state.slot(slot).at_full_strength()),
            };
            if able && back {
                self.push(Event::Exposed { weight, at: self.now });
                return true;
            }
        }
        if late {
            let why = format!(
                "{} could not be reached within {}: {}.",
                percent(weight),
                spoken(CONFIRM_MS as i64),
                self.state.expose_blocker()
            );
            self.fail(Report::new([why]).next("humdrum doctor"));
            return true;
        }
        false
    }

    fn walk_back(&mut self, rollout: &Rollout) -> bool {
        let Some(returning) = &rollout.returning else { return false };
        if !self.state.route.settled() && self.state.route.wish.is_some() {
            return false; // Until the edge has confirmed 0, nothing is taken away.
        }
        let slot = self.state.slot(rollout.slot);
        let started = rollout.has_slot();
        let exposed = rollout.weight_max > 0;
        let quiet = slot.in_flight == 0 && slot.quiet_ms >= QUIET_MS;
        if started && exposed && !quiet && self.now < returning.drain_until {
            return false;
        }
        if started && slot.run {
            self.push(Event::SlotRetired { slot: rollout.slot });
        }
        let ended = ended(rollout, returning.outcome, returning.report.clone(), self.now);
        self.report = returning.report.clone();
        self.push(Event::RolloutEnded { ended: Box::new(ended) });
        true
    }

    fn complete(&mut self, rollout: &Rollout) {
        let former = self.state.stable;
        let took = ago(rollout.started, self.now);
        let release = &rollout.bundle.release;
        // All at once there was no stage, so none is counted.
        let judged = match rollout.verdicts.len() as u64 {
            0 => String::new(),
            stages => format!(", {} judged", counted(stages, "stage")),
        };
        let report = Report::new([format!(
            "Release {} (commit {}) serves all of {} after {took}{judged}.",
            release.id,
            release.commit.short(),
            self.state.id
        )])
        .next(format!("humdrum rollback {}", self.state.id));
        self.push(Event::StableMoved { slot: rollout.slot });
        if let Some(former) = former {
            self.push(Event::SlotRetired { slot: former });
        }
        self.report = report.clone();
        self.push(Event::RolloutEnded {
            ended: Box::new(ended(rollout, Outcome::Promoted, report, self.now)),
        });
    }
}

fn ended(rollout: &Rollout, outcome: Outcome, report: Report, now: Timestamp) -> Ended {
    Ended {
        deployment_id: rollout.deployment_id.clone(),
        kind: rollout.kind,
        release: rollout.bundle.release.clone(),
        by: rollout.by.clone(),
        ship: rollout.ship.clone(),
        outcome,
        report,
        started: rollout.started,
        ended: now,
        weight_max: rollout.weight_max,
        decided_at: rollout.returning.as_ref().map(|returning| returning.since),
        zero_at: rollout.returning.as_ref().and_then(|returning| returning.zero_at),
        verdicts: rollout.verdicts.clone(),
        gates: rollout.gates.clone(),
    }
}

impl Rollout {
    /// When a judged stage without a word from the judge is given to a person.
    pub(super) fn silent_at(&self) -> Option<Timestamp> {
        self.until?.checked_add(SignedDuration::from_millis(WORD_MS)).ok()
    }
}

impl Placement {
    /// What keeps the next share from being given.
    pub(super) fn expose_blocker(&self) -> String {
        let Some(rollout) = &self.rollout else { return "nothing".into() };
        let slot = self.slot(rollout.slot);
        if !slot.at_full_strength() {
            return format!(
                "{} of {} instances of the new release are ready",
                slot.ready(),
                slot.wanted()
            );
        }
        if let Some(stable) = self.stable
            && !self.slot(stable).at_full_strength()
        {
            let state = self.slot(stable);
            return format!(
                "no way back: {} of {} instances of the running release are ready",
                state.ready(),
                state.wanted()
            );
        }
        match &self.route.problem {
            Some(problem) => format!("the edge says: {problem}"),
            None => "the edge has not confirmed the traffic table".into(),
        }
    }
}
