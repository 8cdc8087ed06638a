//! The port to the registry: where builds publish to and gates read from. The registry itself lives a floor above and is handed in.

use std::path::PathBuf;

use humdrum_model::name::Digest;

use crate::Pending;

/// A manifest as it is stored.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// Why the registry did not answer as asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ArtifactError(pub String);

/// What builds and gates need of a registry; all of it is idempotent.
pub trait Artifacts: Send + Sync {
    fn put_blob(
        &self,
        repository: String,
        digest: Digest,
        bytes: Vec<u8>,
    ) -> Pending<'_, Result<(), ArtifactError>>;
    /// Moves a file's bytes in; the file stays.
    fn put_file(
        &self,
        repository: String,
        digest: Digest,
        path: PathBuf,
    ) -> Pending<'_, Result<(), ArtifactError>>;
    /// `tag`: also reachable by this name.
    fn put_manifest(
        &self,
        repository: String,
        media_type: String,
        bytes: Vec<u8>,
        tag: Option<String>,
    ) -> Pending<'_, Result<Digest, ArtifactError>>;
    fn manifest(
        &self,
        repository: String,
        digest: Digest,
    ) -> Pending<'_, Result<Option<StoredManifest>, ArtifactError>>;
    fn blob(
        &self,
        repository: String,
        digest: Digest,
    ) -> Pending<'_, Result<Option<Vec<u8>>, ArtifactError>>;
    /// Manifests whose subject is this digest.
    fn referrers(
        &self,
        repository: String,
        subject: Digest,
    ) -> Pending<'_, Result<Vec<StoredManifest>, ArtifactError>>;
    /// Names a manifest.
    fn tag(
        &self,
        repository: String,
        digest: Digest,
        tag: String,
    ) -> Pending<'_, Result<(), ArtifactError>>;
}
