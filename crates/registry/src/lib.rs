//! The OCI distribution endpoints: `/v2/…` for docker, podman, skopeo and cosign, files by plain HTTP below `/artifacts/…`, and
//! the same operations in process.
//!
//! [`Registry`] is the thing itself: builds publish through it without HTTP. [`router`] serves it. Decisions (grammar,
//! manifests, ranges, tokens) are pure modules; bytes and index are `humdrum_store::blobs`. Nothing is anonymous, and lists
//! name only what their reader may pull.

pub mod artifact;
pub mod auth;
pub mod collect;
pub mod fsck;
pub mod lifecycle;
pub mod manifest;
pub mod name;
pub mod notice;
pub mod observer;
pub mod range;
pub mod registry;
pub mod rights;
pub mod target;

mod answer;
mod fallback;
mod routes;

use std::sync::Arc;
use std::time::Duration;

pub use auth::token::TokenKey;
pub use auth::{Action, Auth, Authenticator, Credential, SingleCredential};
pub use notice::{Notices, Quiet};
pub use observer::{Deed, Observer, RegistryEvent};
pub use registry::{Registry, RegistryError};

/// Everything the endpoints need; cheap to clone.
#[derive(Clone)]
pub struct RegistryState {
    pub registry: Registry,
    pub auth: Arc<Auth>,
    pub limits: Limits,
    /// What is sent as `Warning` with a manifest.
    pub notices: Arc<dyn Notices>,
}

impl RegistryState {
    pub fn new(registry: Registry, auth: Auth) -> Self {
        Self { registry, auth: Arc::new(auth), limits: Limits::default(), notices: Arc::new(Quiet) }
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
    /// Tags in one manifest push (`?tag=`); more is answered 414. The specification asks for at least 10.
    pub tag_parameters: usize,
    /// Repositories in one page of `/v2/_catalog`, and the most a client can ask for.
    pub catalog_page: u32,
    /// Referrers in one page; a page also ends before it has `manifest_bytes`.
    pub referrers_page: u32,
    /// Requests at one time, until the last byte of their answers; one more is answered 429. Each upload holds up to 2 MiB.
    pub requests: usize,
    /// What a client that was answered 429 is told to wait (`Retry-After`).
    pub retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes: 64 << 30,
            manifest_bytes: 4 << 20,
            body_idle: Duration::from_secs(60),
            tags_page: 1000,
            tag_parameters: 100,
            catalog_page: 1000,
            referrers_page: 500,
            requests: 1024,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// The endpoints with their whole paths (`/v2/…`, `/artifacts/…`), to be merged into a server.
pub fn router(state: RegistryState) -> axum::Router {
    routes::router(state)
}
