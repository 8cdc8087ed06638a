//! A ship: one commit on its way through build, evidence and the environments in order. A run of its own; placements do the deploying.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::name::{Commit, Digest, EnvName, ServiceName};
use crate::release::{Artifact, Release};
use crate::report::{Refusal, Report, spoken};
use crate::rollout::{Ended, Outcome};

/// A build that gave no word for this long is over: the sandbox's own time limit is shorter.
pub const BUILD_MS: i64 = 2 * 3600 * 1000;
/// A verification that gave no word for this long failed.
pub const VERIFY_MS: i64 = 3600 * 1000;

/// Who wants what shipped from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipRequest {
    pub service: ServiceName,
    /// Folder of the git repository.
    pub repository: String,
    /// The folder of the manifest inside the repository; empty for its root.
    #[serde(default)]
    pub folder: String,
    pub commit: Commit,
    /// What the person typed: `HEAD`, `main`.
    pub reference: String,
    pub by: String,
}

/// One environment on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvStop {
    pub name: EnvName,
    /// A command against the deployed environment.
    pub verify: Option<String>,
}

/// What a build produced; all of it is in the registry, signed, before this is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildFacts {
    pub build_id: String,
    pub artifact: Artifact,
    pub owner: String,
    /// Normalised manifest without its build part.
    pub config: serde_json::Value,
    pub environments: Vec<EnvStop>,
    /// Statements published beside the artifact, by predicate type.
    pub evidence: BTreeMap<String, Digest>,
    pub rung: String,
    pub level: String,
    pub started: Timestamp,
    pub finished: Timestamp,
}

/// Why there is no artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFailure {
    /// Stable: `build-failed`, `tests-failed`, `output-missing`, `manifest`.
    pub code: String,
    pub report: Report,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ship {
    pub id: String,
    pub request: ShipRequest,
    pub started: Timestamp,
    pub phase: Phase,
    pub build: Option<BuildFacts>,
    /// How each environment ended, in order.
    pub stops: Vec<StopEnded>,
    pub report: Report,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Building {
        until: Timestamp,
    },
    /// The placement has been asked and deploys.
    Deploying {
        index: usize,
        since: Timestamp,
    },
    Verifying {
        index: usize,
        until: Timestamp,
    },
    Done {
        outcome: ShipOutcome,
        at: Timestamp,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopEnded {
    pub environment: EnvName,
    pub deployment_id: String,
    pub outcome: Outcome,
    pub report: Report,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipOutcome {
    /// Every environment has it.
    Promoted,
    BuildFailed,
    /// A placement ended it otherwise.
    Stopped(Outcome),
    VerifyFailed,
    Aborted,
}

impl ShipOutcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::BuildFailed => "build_failed",
            Self::Stopped(outcome) => outcome.word(),
            Self::VerifyFailed => "verify_failed",
            Self::Aborted => "aborted",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipCommand {
    BuildDone(Box<BuildFacts>),
    BuildFailed(BuildFailure),
    RolloutEnded {
        ended: Box<Ended>,
    },
    /// The placement did not take it.
    AdmissionRefused {
        index: usize,
        refusal: Refusal,
    },
    VerifyDone {
        index: usize,
        failure: Option<String>,
    },
    Abort {
        by: String,
        why: String,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipEvent {
    Shipped { request: ShipRequest },
    Built { facts: Box<BuildFacts> },
    BuildFailed { failure: BuildFailure },
    PhaseEntered { phase: Phase },
    StopReached { stop: StopEnded },
    ShipEnded { outcome: ShipOutcome, report: Report, at: Timestamp },
}

impl ShipEvent {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Shipped { .. } => "shipped",
            Self::Built { .. } => "built",
            Self::BuildFailed { .. } => "build_failed",
            Self::PhaseEntered { .. } => "phase_entered",
            Self::StopReached { .. } => "stop_reached",
            Self::ShipEnded { .. } => "ship_ended",
        }
    }
}

/// What a ship wants done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipEffect {
    /// Build, test, describe, sign and publish the commit.
    Build { ship: String, request: ShipRequest },
    /// Ask the placement; it answers by `RolloutEnded`.
    Admit { ship: String, index: usize, environment: EnvName, release: Box<Release>, owner: String },
    /// The placement still has the release, healthy; then the declared command.
    Verify {
        ship: String,
        index: usize,
        environment: EnvName,
        release: Box<Release>,
        run: Option<String>,
    },
}

impl ShipEffect {
    pub fn key(&self) -> String {
        match self {
            Self::Build { ship, .. } => format!("{ship}/build/0"),
            Self::Admit { ship, index, .. } => format!("{ship}/admit/{index}"),
            Self::Verify { ship, index, .. } => format!("{ship}/verify/{index}"),
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Build { .. } => "build",
            Self::Admit { .. } => "admit",
            Self::Verify { .. } => "verify",
        }
    }

    pub fn target(&self) -> String {
        match self {
            Self::Build { ship, .. } => format!("builder:{ship}"),
            Self::Admit { environment, .. } => format!("placement:{environment}"),
            Self::Verify { environment, .. } => format!("verify:{environment}"),
        }
    }
}

/// The id of the deployment that a ship makes in its n-th environment: the same after every restart.
pub fn deployment_id(ship: &str, index: usize) -> String {
    format!("d-{}-{index}", ship.trim_start_matches("s-"))
}

fn later(now: Timestamp, ms: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_millis(ms)).unwrap_or(Timestamp::MAX)
}

impl Ship {
    pub fn new(id: String, request: ShipRequest, now: Timestamp) -> Self {
        Self {
            id,
            request,
            started: now,
            phase: Phase::Building { until: later(now, BUILD_MS) },
            build: None,
            stops: vec![],
            report: Report::default(),
        }
    }

    /// The release that the build made.
    pub fn release(&self) -> Option<Release> {
        let build = self.build.as_ref()?;
        Some(Release::new(
            self.request.service.clone(),
            build.artifact.clone(),
            self.request.commit.clone(),
            build.build_id.clone(),
            build.config.clone(),
        ))
    }

    pub fn decide(
        &self,
        command: &ShipCommand,
        now: Timestamp,
    ) -> Result<(Vec<ShipEvent>, Report), Refusal> {
        let events = match (command, &self.phase) {
            (ShipCommand::Abort { .. }, Phase::Done { .. }) => {
                return Err(Refusal::new("over", format!("Ship {} is over already.", self.id))
                    .next(format!("humdrum explain {}", self.id)));
            }
            (_, Phase::Done { .. }) => vec![],
            (ShipCommand::Abort { by, why }, _) => self.end(
                ShipOutcome::Aborted,
                Report::new([format!("{by} aborted it: {why}.")]),
                now,
            ),
            (ShipCommand::BuildDone(facts), Phase::Building { .. }) => self.built(facts, now),
            (ShipCommand::BuildFailed(failure), Phase::Building { .. }) => {
                let mut events = vec![ShipEvent::BuildFailed { failure: failure.clone() }];
                events.extend(self.end(ShipOutcome::BuildFailed, failure.report.clone(), now));
                events
            }
            (ShipCommand::RolloutEnded { ended }, Phase::Deploying { index, .. })
                if ended.deployment_id == deployment_id(&self.id, *index) =>
            {
                self.stop_reached(*index, ended, now)
            }
            (
                ShipCommand::AdmissionRefused { index, refusal },
                Phase::Deploying { index: at, .. },
            ) if index == at => {
                self.end(ShipOutcome::Stopped(Outcome::Refused), refusal.report.clone(), now)
            }
            (ShipCommand::VerifyDone { index, failure }, Phase::Verifying { index: at, .. })
                if index == at =>
            {
                match failure {
                    None => self.after(*index, now),
                    Some(failure) => self.end(
                        ShipOutcome::VerifyFailed,
                        self.verify_report(*index, failure),
                        now,
                    ),
                }
            }
            (ShipCommand::Tick, Phase::Building { until }) if now >= *until => {
                let why = format!("The build gave no word for {}.", spoken(BUILD_MS));
                self.end(ShipOutcome::BuildFailed, Report::new([why]).next("humdrum doctor"), now)
            }
            (ShipCommand::Tick, Phase::Verifying { index, until }) if now >= *until => {
                let why = format!("no word for {}", spoken(VERIFY_MS));
                self.end(ShipOutcome::VerifyFailed, self.verify_report(*index, &why), now)
            }
            _ => vec![],
        };
        Ok((events, Report::default()))
    }

    fn verify_report(&self, index: usize, failure: &str) -> Report {
        let environment = self.stop(index).map_or_else(String::new, |stop| stop.name.to_string());
        Report::new([
            format!("The verification of {environment} failed: {failure}."),
            "No further environment was touched.".into(),
        ])
        .next(format!("humdrum log {}", self.id))
    }

    fn stop(&self, index: usize) -> Option<&EnvStop> {
        self.build.as_ref()?.environments.get(index)
    }

    fn built(&self, facts: &BuildFacts, now: Timestamp) -> Vec<ShipEvent> {
        let mut events = vec![ShipEvent::Built { facts: Box::new(facts.clone()) }];
        if facts.environments.is_empty() {
            let done = Report::new([format!(
                "{} was built; the manifest names no environment.",
                facts.artifact.digest
            )]);
            events.extend(self.end(ShipOutcome::Promoted, done, now));
        } else {
            events
                .push(ShipEvent::PhaseEntered { phase: Phase::Deploying { index: 0, since: now } });
        }
        events
    }

    fn stop_reached(&self, index: usize, ended: &Ended, now: Timestamp) -> Vec<ShipEvent> {
        let Some(stop) = self.stop(index) else { return vec![] };
        let reached = StopEnded {
            environment: stop.name.clone(),
            deployment_id: ended.deployment_id.clone(),
            outcome: ended.outcome,
            report: ended.report.clone(),
            at: now,
        };
        let mut events = vec![ShipEvent::StopReached { stop: reached }];
        if ended.outcome.is_good() {
            events.push(ShipEvent::PhaseEntered {
                phase: Phase::Verifying { index, until: later(now, VERIFY_MS) },
            });
        } else {
            events.extend(self.end(ShipOutcome::Stopped(ended.outcome), ended.report.clone(), now));
        }
        events
    }

    /// The next environment, or the end.
    fn after(&self, index: usize, now: Timestamp) -> Vec<ShipEvent> {
        if self.stop(index + 1).is_some() {
            return vec![ShipEvent::PhaseEntered {
                phase: Phase::Deploying { index: index + 1, since: now },
            }];
        }
        let took = spoken(now.as_millisecond() - self.started.as_millisecond());
        let names: Vec<_> = self
            .build
            .iter()
            .flat_map(|build| &build.environments)
            .map(|stop| stop.name.to_string())
            .collect();
        let report = Report::new([format!(
            "Commit {} reached {} in {took}.",
            self.request.commit.short(),
            names.join(", ")
        )]);
        self.end(ShipOutcome::Promoted, report, now)
    }

    fn end(&self, outcome: ShipOutcome, report: Report, at: Timestamp) -> Vec<ShipEvent> {
        vec![ShipEvent::ShipEnded { outcome, report, at }]
    }

    pub fn apply(&mut self, event: &ShipEvent) {
        match event {
            ShipEvent::Shipped { request } => self.request = request.clone(),
            ShipEvent::Built { facts } => self.build = Some((**facts).clone()),
            ShipEvent::BuildFailed { .. } => {}
            ShipEvent::PhaseEntered { phase } => self.phase = phase.clone(),
            ShipEvent::StopReached { stop } => self.stops.push(stop.clone()),
            ShipEvent::ShipEnded { outcome, report, at } => {
                self.phase = Phase::Done { outcome: *outcome, at: *at };
                self.report = report.clone();
            }
        }
    }

    pub fn wanted(&self) -> Option<ShipEffect> {
        let ship = self.id.clone();
        match &self.phase {
            Phase::Building { .. } => {
                Some(ShipEffect::Build { ship, request: self.request.clone() })
            }
            Phase::Deploying { index, .. } => Some(ShipEffect::Admit {
                ship,
                index: *index,
                environment: self.stop(*index)?.name.clone(),
                release: Box::new(self.release()?),
                owner: self.build.as_ref()?.owner.clone(),
            }),
            Phase::Verifying { index, .. } => Some(ShipEffect::Verify {
                ship,
                index: *index,
                environment: self.stop(*index)?.name.clone(),
                release: Box::new(self.release()?),
                run: self.stop(*index)?.verify.clone(),
            }),
            Phase::Done { .. } => None,
        }
    }

    /// When to look again, and who is awaited; none when it is over.
    pub fn awaits(&self) -> Option<(Option<Timestamp>, String)> {
        match &self.phase {
            Phase::Building { until } => Some((Some(*until), "the builder".into())),
            Phase::Deploying { index, .. } => {
                let name = self.stop(*index).map_or_else(String::new, |stop| stop.name.to_string());
                Some((None, format!("the rollout in {name}")))
            }
            Phase::Verifying { until, .. } => Some((Some(*until), "the verification".into())),
            Phase::Done { .. } => None,
        }
    }

    /// What it does now, or how it ended.
    pub fn explain(&self, now: Timestamp) -> Report {
        let name =
            |index: usize| self.stop(index).map_or_else(String::new, |stop| stop.name.to_string());
        let commit = self.request.commit.short();
        let since = spoken(now.as_millisecond() - self.started.as_millisecond());
        match &self.phase {
            Phase::Building { .. } => {
                Report::new([format!("Commit {commit} is being built and tested since {since}.")])
                    .next(format!("humdrum log {}", self.id))
            }
            Phase::Deploying { index, .. } => {
                Report::new([format!("Commit {commit} is on its way into {}.", name(*index))])
                    .next(format!("humdrum explain {}/{}", self.request.service, name(*index)))
            }
            Phase::Verifying { index, .. } => Report::new([format!(
                "The verification of {} runs against commit {commit}.",
                name(*index)
            )])
            .next(format!("humdrum log {}", self.id)),
            Phase::Done { .. } => self.report.clone(),
        }
    }
}
