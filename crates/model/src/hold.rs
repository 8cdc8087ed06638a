//! Holds: a block on a release, digest, service or environment, with owner and reason. What is held is never admitted again; what runs may restart.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{Digest, EnvName, ServiceName};
use crate::release::{Release, ReleaseId};
use crate::report::{Refusal, Report};

/// What a hold blocks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldSubject {
    Release(ReleaseId),
    Digest(Digest),
    Service(ServiceName),
    Environment(EnvName),
}

impl fmt::Display for HoldSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(id) => write!(f, "release {id}"),
            Self::Digest(digest) => write!(f, "digest {digest}"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

impl HoldSubject {
    /// The word that the command line takes: `release:r-…`, `service:shop`.
    pub fn word(&self) -> String {
        match self {
            Self::Release(id) => format!("release:{id}"),
            Self::Digest(digest) => format!("digest:{digest}"),
            Self::Service(name) => format!("service:{name}"),
            Self::Environment(name) => format!("env:{name}"),
        }
    }

    /// Whether this hold keeps a release out of an environment.
    pub fn covers(&self, release: &Release, environment: &EnvName) -> bool {
        match self {
            Self::Release(id) => *id == release.id,
            Self::Digest(digest) => *digest == release.artifact.digest,
            Self::Service(name) => *name == release.service,
            Self::Environment(name) => name == environment,
        }
    }
}

/// A hold as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub subject: HoldSubject,
    pub by: String,
    pub why: String,
    pub since: Timestamp,
}

/// All holds of an installation: one run, so that every change of it is in the chain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HoldBook {
    pub holds: BTreeMap<String, Hold>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldCommand {
    Place { subject: HoldSubject, by: String, why: String },
    Lift { subject: HoldSubject, by: String, why: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldEvent {
    HoldPlaced { hold: Hold },
    HoldLifted { subject: HoldSubject, by: String, why: String },
}

impl HoldBook {
    /// Places or lifts; placing what is held already keeps the first owner and reason.
    pub fn decide(
        &self,
        command: &HoldCommand,
        now: Timestamp,
    ) -> Result<(Vec<HoldEvent>, Report), Refusal> {
        match command {
            HoldCommand::Place { subject, by, why } => {
                if let Some(hold) = self.holds.get(&subject.word()) {
                    return Ok((
                        vec![],
                        Report::new([format!(
                            "The {subject} is held already, by {}: {}.",
                            hold.by, hold.why
                        )]),
                    ));
                }
                let hold =
                    Hold { subject: subject.clone(), by: by.clone(), why: why.clone(), since: now };
                let report = Report::new([format!("The {subject} is held from now on: {why}.")])
                    .next(format!("humdrum unhold {}", subject.word()));
                Ok((vec![HoldEvent::HoldPlaced { hold }], report))
            }
            HoldCommand::Lift { subject, by, why } => {
                if !self.holds.contains_key(&subject.word()) {
                    let known: Vec<_> = self.holds.keys().cloned().collect();
                    let known = if known.is_empty() {
                        "nothing is held".into()
                    } else {
                        format!("held are: {}", known.join(", "))
                    };
                    return Err(Refusal::new(
                        "not-held",
                        format!("The {subject} is not held; {known}."),
                    )
                    .next("humdrum status"));
                }
                let event = HoldEvent::HoldLifted {
                    subject: subject.clone(),
                    by: by.clone(),
                    why: why.clone(),
                };
                Ok((vec![event], Report::new([format!("The {subject} may be deployed again.")])))
            }
        }
    }

    pub fn apply(&mut self, event: &HoldEvent) {
        match event {
            HoldEvent::HoldPlaced { hold } => {
                self.holds.insert(hold.subject.word(), hold.clone());
            }
            HoldEvent::HoldLifted { subject, .. } => {
                self.holds.remove(&subject.word());
            }
        }
    }

    /// The hold that keeps a release out of an environment, if one does.
    pub fn covering(&self, release: &Release, environment: &EnvName) -> Option<&Hold> {
        self.holds.values().find(|hold| hold.subject.covers(release, environment))
    }
}
