//! "Why?" is always answered: the present wait or the last end, in three sentences with numbers, and the next command.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decide::ago;
use super::plan::Step;
use super::state::{Ended, Outcome, Placement, Rollout};
use crate::report::{Report, percent, spoken};

/// What the judge knows between two verdicts; kept beside the state because it changes with every block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: usize,
    pub blocks: u64,
    /// Requests and errors of the two arms in the judged blocks.
    pub canary_requests: u64,
    pub canary_errors: u64,
    pub baseline_requests: u64,
    pub baseline_errors: u64,
    /// Evidence so far and what decides, as natural logarithms of e-values.
    pub log_e: f64,
    pub log_e_fail: f64,
    pub log_e_safe: f64,
    pub log_e_pass: f64,
    /// Expected time until the stage can be told, ms; none while there is no traffic to tell from.
    pub left_ms: Option<i64>,
    /// In the judge's words.
    pub sentence: String,
    /// Share of the traffic that the release really got in the judged blocks of the stage, parts of [`crate::route::WEIGHT_TOTAL`].
    pub weight_seen: Option<u32>,
}

/// What a placement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    Idle,
    Gate,
    Approval,
    Instances,
    Smoke,
    Edge,
    Traffic,
    Evidence,
    Soak,
    Drain,
    Person,
    WayBack,
}

/// The answer to "why?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub waits_for: WaitKind,
    pub report: Report,
    /// Since when, and until when at the latest.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Placement {
    /// What happens now, or how the last rollout ended.
    pub fn explain(&self, progress: Option<&Progress>, now: Timestamp) -> Explanation {
        match &self.rollout {
            Some(rollout) => self.explain_rollout(rollout, progress, now),
            None => {
                let report = match self.history.last() {
                    Some(ended) => explain_ended(self, ended),
                    None => Report::new([format!("Nothing was ever shipped to {}.", self.id)])
                        .next("humdrum ship"),
                };
                Explanation { waits_for: WaitKind::Idle, report, since: None, until: None }
            }
        }
    }

    fn explain_rollout(
        &self,
        rollout: &Rollout,
        progress: Option<&Progress>,
        now: Timestamp,
    ) -> Explanation {
        let (waits_for, mut report) = match (&rollout.returning, &rollout.paused) {
            (Some(returning), _) if self.route.settled() => {
                (WaitKind::Drain, returning.report.clone())
            }
            (Some(returning), _) => (WaitKind::Edge, returning.report.clone()),
            (None, Some(paused)) => (WaitKind::Person, paused.report.clone()),
            (None, None) => self.explain_step(rollout, progress, now),
        };
        if report.next.is_none() {
            report = report.next(format!("humdrum abort {}", self.id));
        }
        Explanation { waits_for, report, since: Some(rollout.entered), until: rollout.until }
    }

    fn explain_step(
        &self,
        rollout: &Rollout,
        progress: Option<&Progress>,
        now: Timestamp,
    ) -> (WaitKind, Report) {
        let since = ago(rollout.entered, now);
        let left = rollout.until.map(|until| ago(now, until)).unwrap_or_default();
        let release = &rollout.bundle.release;
        let head = format!(
            "Release {} (commit {}) is at {} of {}",
            release.id,
            release.commit.short(),
            percent(rollout.weight),
            self.id
        );
        match rollout.step() {
            Some(Step::Gate) => (
                WaitKind::Gate,
                Report::new([format!(
                    "{head}: its evidence is being verified since {since}, at most {left} more."
                )]),
            ),
            Some(Step::Approve) => (
                WaitKind::Approval,
                Report::new([
                    format!("{head} and has waited {since} for a person's approval."),
                    format!("{} gates passed.", rollout.gates.len()),
                ])
                .next(format!("humdrum approve {}", self.id)),
            ),
            Some(Step::Prepare { .. }) => {
                let slot = self.slot(rollout.slot);
                let problem = slot
                    .problem
                    .as_ref()
                    .map(|problem| format!(" The agent says: {problem}."))
                    .unwrap_or_default();
                let text = format!(
                    "{head}: {} of {} instances are ready in slot {} after {since}, at most {left} more.{problem}",
                    slot.ready(),
                    slot.wanted(),
                    rollout.slot
                );
                (WaitKind::Instances, Report::new([text]).next(format!("humdrum log {}", self.id)))
            }
            Some(Step::Smoke { .. }) => {
                let count = rollout.bundle.deploy.smoke.len();
                (
                    WaitKind::Smoke,
                    Report::new([format!(
                        "{head}: {count} smoke checks run since {since}, at most {left} more."
                    )]),
                )
            }
            Some(Step::Expose { weight }) => {
                let kind = if self.route.wish.is_some() && !self.route.settled() {
                    WaitKind::Edge
                } else {
                    WaitKind::WayBack
                };
                (
                    kind,
                    Report::new([format!(
                        "{head} and goes to {}, for which it has waited {since}: {}.",
                        percent(*weight),
                        self.expose_blocker()
                    )]),
                )
            }
            Some(Step::Judge { stage }) => {
                explain_judging(rollout, *stage, progress, &head, &since, &left)
            }
            Some(Step::Hold { ms }) => (
                WaitKind::Soak,
                Report::new([
                    format!(
                        "{head} and soaks: healthy for {since} of {}, {left} left.",
                        spoken(*ms as i64)
                    ),
                    match self.stable {
                        Some(_) => "The former release stands by in its slot until then.".into(),
                        None => "It is the first release here; there is none to go back to.".into(),
                    },
                ]),
            ),
            Some(Step::Drain { .. }) => {
                let former = self.slot(rollout.slot.other());
                (
                    WaitKind::Drain,
                    Report::new([format!(
                        "{head}; {} requests of the former release are still open, at most {left} more.",
                        former.in_flight
                    )]),
                )
            }
            None => (WaitKind::Idle, Report::new([format!("{head}.")])),
        }
    }
}

fn explain_judging(
    rollout: &Rollout,
    stage: usize,
    progress: Option<&Progress>,
    head: &str,
    since: &str,
    left: &str,
) -> (WaitKind, Report) {
    let settings = rollout.bundle.deploy.judge.stages.get(stage);
    let rule_out = settings.map_or(0.0, |settings| settings.rule_out);
    let progress =
        progress.filter(|progress| progress.stage == stage && progress.canary_requests > 0);
    let Some(progress) = progress else {
        return (
            WaitKind::Traffic,
            Report::new([
                format!("{head} and waits for traffic: 0 requests reached it in {since}."),
                format!(
                    "Without requests nothing can be told, so it neither goes on nor back; after {left} more a person decides."
                ),
            ]),
        );
    };
    let evidence = format!(
        "{} of {} requests failed here against {} of {} on the running release; e-value {:.2} (rolls back at {:.0}).",
        progress.canary_errors,
        progress.canary_requests,
        progress.baseline_errors,
        progress.baseline_requests,
        progress.log_e.exp(),
        progress.log_e_fail.exp(),
    );
    let soak = settings.map_or(0, |settings| settings.soak_ms);
    if progress.log_e_safe >= progress.log_e_pass {
        let text = format!(
            "{head} and waits for soak: a regression of {rule_out} times is ruled out, but the stage lasts at least {} and has lasted {since}.",
            spoken(soak as i64)
        );
        return (WaitKind::Soak, Report::new([text, evidence]));
    }
    let expected = progress.left_ms.map_or_else(|| "an unknown time".into(), spoken);
    let text = format!(
        "{head} and is judged since {since}: a regression of {rule_out} times is not ruled out yet, expected in {expected}, deadline in {left}."
    );
    (WaitKind::Evidence, Report::new([text, evidence]))
}

fn explain_ended(placement: &Placement, ended: &Ended) -> Report {
    let mut report = ended.report.clone();
    let when = ended.ended.strftime("%F %T UTC");
    if report.sentences.len() < 3 {
        let word = match ended.outcome {
            Outcome::Promoted => "was promoted",
            Outcome::AlreadyThere => "was there already",
            Outcome::RolledBack => "was rolled back",
            Outcome::Aborted => "was aborted",
            Outcome::Superseded => "was superseded",
            Outcome::Refused => "was refused by a gate",
            Outcome::Failed => "failed before any traffic",
            Outcome::Held => "is held",
        };
        report.sentences.push(format!(
            "Release {} (commit {}) {word} in {} at {when}, having had {} of the traffic at most.",
            ended.release.id,
            ended.release.commit.short(),
            placement.id,
            percent(ended.weight_max)
        ));
    }
    report
}

impl Ended {
    /// Why it ended, in at most three sentences.
    pub fn explain(&self, placement: &Placement) -> Report {
        explain_ended(placement, self)
    }
}
