//! The port to builders: a commit becomes a published, signed artifact; a command runs in a checkout of a commit.

use std::net::SocketAddr;

use humdrum_model::name::{Digest, PlacementId};
use humdrum_model::release::Artifact;
use humdrum_model::ship::{BuildFacts, BuildFailure, ShipRequest};
use jiff::Timestamp;

use crate::Pending;

pub mod local;
mod publish;
mod scan;

/// Makes artifacts. Both calls may be repeated: the same commit gives the same artifact.
pub trait Workshop: Send + Sync {
    /// Builds, tests, packs, describes, signs and publishes. Everything is in the registry when this returns.
    fn build<'a>(
        &'a self,
        ship: &'a str,
        request: &'a ShipRequest,
    ) -> Pending<'a, Result<BuildFacts, BuildFailure>>;
    /// States in the registry, signed, that this environment has the release: the same digest, nothing rebuilt. Safe to repeat.
    fn promote<'a>(&'a self, promoted: &'a Promoted) -> Pending<'a, Result<(), String>>;
    /// Runs a shell command in a checkout of the commit, with `HUMDRUM_URL` naming what was deployed. The error says how it ended.
    fn command<'a>(
        &'a self,
        log: &'a str,
        request: &'a ShipRequest,
        run: &'a str,
        addr: SocketAddr,
    ) -> Pending<'a, Result<(), String>>;
}

/// A release that passed an environment.
#[derive(Debug, Clone)]
pub struct Promoted {
    pub placement: PlacementId,
    pub artifact: Artifact,
    pub release: String,
    /// When its rollout ended.
    pub at: Timestamp,
    /// The statements that the gates rested on.
    pub evidence: Vec<Digest>,
}

/// What builds and verifications said.
pub trait Logs: Send + Sync {
    /// The last lines of a ship's or deployment's log; the error says that there is none.
    fn read<'a>(&'a self, id: &'a str, lines: u32) -> Pending<'a, Result<String, String>>;
}
