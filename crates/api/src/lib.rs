//! The HTTP surface of control: `/api/v1/…`, `/v2/…`, `/metrics` and `/healthz`. Nothing but `/healthz` answers without a token.

use std::sync::Arc;

use axum::Router;
use humdrum_control::adapters::routers::Router as TrafficRouter;
use humdrum_control::adapters::targets::Target;
use humdrum_control::artifacts::Artifacts;
use humdrum_control::engine::Engine;
use humdrum_control::facts::Gatherer;
use humdrum_control::watch::Boards;
use humdrum_control::workshop::Logs;
use humdrum_registry::Registry;

pub mod error;
pub mod governor;
pub mod publish;
pub mod routes;
mod token;

/// Everything the handlers need; cheap to clone.
#[derive(Clone)]
pub struct App {
    pub engine: Engine,
    pub boards: Boards,
    pub target: Arc<dyn Target>,
    pub router: Arc<dyn TrafficRouter>,
    pub artifacts: Arc<dyn Artifacts>,
    pub gatherer: Arc<Gatherer>,
    pub logs: Arc<dyn Logs>,
    pub governor: Arc<governor::Governor>,
    /// The registry of this process.
    pub registry: Registry,
    /// The API token; compared in constant time.
    pub token: Arc<str>,
    pub version: &'static str,
}

/// All endpoints of control. `registry`: the OCI endpoints, which check their own credentials.
pub fn router(app: App, registry: Router) -> Router {
    routes::all(app).merge(registry)
}
