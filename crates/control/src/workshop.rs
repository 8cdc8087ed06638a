//! The port to builders: a commit becomes a published, signed artifact; a command runs in a checkout of a commit.

use std::net::SocketAddr;

use humdrum_model::ship::{BuildFacts, BuildFailure, ShipRequest};

use crate::Pending;

pub mod local;
mod publish;

/// Makes artifacts. Both calls may be repeated: the same commit gives the same artifact.
pub trait Workshop: Send + Sync {
    /// Builds, tests, packs, describes, signs and publishes. Everything is in the registry when this returns.
    fn build<'a>(
        &'a self,
        ship: &'a str,
        request: &'a ShipRequest,
    ) -> Pending<'a, Result<BuildFacts, BuildFailure>>;
    /// Runs a shell command in a checkout of the commit, with `HUMDRUM_URL` naming what was deployed. The error says how it ended.
    fn command<'a>(
        &'a self,
        log: &'a str,
        request: &'a ShipRequest,
        run: &'a str,
        addr: SocketAddr,
    ) -> Pending<'a, Result<(), String>>;
}

/// What builds and verifications said.
pub trait Logs: Send + Sync {
    /// The last lines of a ship's or deployment's log; the error says that there is none.
    fn read<'a>(&'a self, id: &'a str, lines: u32) -> Pending<'a, Result<String, String>>;
}
