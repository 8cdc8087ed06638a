//! The OCI distribution endpoints: `/v2/…` for docker, podman, skopeo and cosign, and the same operations in process.
//!
//! [`Registry`] is the thing itself: builds publish through it without HTTP. [`router`] serves it. Decisions (grammar,
//! manifests, ranges, tokens) are pure modules; bytes and index are `humdrum_store::blobs`. Nothing is anonymous, and there is
//! no catalogue: who may pull a repository knows its name.

pub mod auth;
pub mod collect;
pub mod lifecycle;
pub mod manifest;
pub mod name;
pub mod observer;
pub mod range;
pub mod registry;
pub mod target;

mod answer;
mod routes;

use std::sync::Arc;
use std::time::Duration;

pub use auth::token::TokenKey;
pub use auth::{Action, Auth, Authenticator, Credential, SingleCredential};
pub use observer::{Deed, Observer, RegistryEvent};
pub use registry::{Registry, RegistryError};

/// Everything the endpoints need; cheap to clone.
#[derive(Clone)]
pub struct RegistryState {
    pub registry: Registry,
    pub auth: Arc<Auth>,
    pub limits: Limits,
}

impl RegistryState {
    pub fn new(registry: Registry, auth: Auth) -> Self {
        Self { registry, auth: Arc::new(auth), limits: Limits::default() }
    }
}

/// Bounds on what a client may send and how long it may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest blob, bytes; more is answered 413.
    pub blob_bytes: u64,
    /// Largest manifest, bytes; more is answered 413. The distribution specification asks for at least 4 MiB.
    pub manifest_bytes: usize,
    /// No byte of a body for this long ends the request; an upload keeps what arrived.
    pub body_idle: Duration,
    /// Tags in one page when the client names no number, and the most it can ask for.
    pub tags_page: u32,
    /// Referrers in one page; a page also ends before it has `manifest_bytes`.
    pub referrers_page: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes: 64 << 30,
            manifest_bytes: 4 << 20,
            body_idle: Duration::from_secs(60),
            tags_page: 1000,
            referrers_page: 500,
        }
    }
}

/// The endpoints with their whole paths (`/v2/…`), to be merged into a server.
pub fn router(state: RegistryState) -> axum::Router {
    routes::router(state)
}
