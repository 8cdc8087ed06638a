//! The registry of this process behind control's port: builds publish and gates read without HTTP.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use humdrum_control::Pending;
use humdrum_control::artifacts::{ArtifactError, Artifacts, StoredManifest};
use humdrum_control::chores::Garbage;
use humdrum_control::store::blobs::BlobDigest;
use humdrum_model::name::Digest;
use humdrum_registry::collect::Collecting;
use humdrum_registry::name::Reference;
use humdrum_registry::registry::ReferrersAsk;
use humdrum_registry::{Registry, RegistryError};

/// The registry in this process.
pub struct InProcess(pub Registry);

fn failed(error: impl std::fmt::Display) -> ArtifactError {
    ArtifactError(error.to_string())
}

fn blob_digest(digest: &Digest) -> Result<BlobDigest, ArtifactError> {
    digest.as_str().parse().map_err(failed)
}

impl Garbage for InProcess {
    fn collect(&self, protected: HashSet<String>) -> Pending<'_, Result<String, ArtifactError>> {
        Box::pin(async move {
            let wish = Collecting { protected: Arc::new(protected), ..Collecting::default() };
            let done = self.0.collect(&wish).await.map_err(failed)?;
            let trashed = done.manifests_trashed.count + done.blobs_trashed.count;
            Ok(format!("{trashed} to the trash, {} bytes freed", done.bytes_freed.bytes))
        })
    }
}

/// A bundle of a large SBOM; more is not evidence.
const BUNDLE_BYTES_MAX: u64 = 64 << 20;
/// Referrers looked at; the evidence crate looks at no more.
const REFERRERS_MAX: u32 = 256;

impl Artifacts for InProcess {
    fn put_blob(
        &self,
        repository: String,
        _digest: Digest,
        bytes: Vec<u8>,
    ) -> Pending<'_, Result<(), ArtifactError>> {
        Box::pin(async move {
            self.0.put_blob(&repository, bytes.into()).await.map(|_| ()).map_err(failed)
        })
    }

    fn put_file(
        &self,
        repository: String,
        digest: Digest,
        path: PathBuf,
    ) -> Pending<'_, Result<(), ArtifactError>> {
        Box::pin(async move {
            self.0
                .put_blob_file(&repository, &path, &blob_digest(&digest)?)
                .await
                .map(|_| ())
                .map_err(failed)
        })
    }

    fn put_manifest(
        &self,
        repository: String,
        media_type: String,
        bytes: Vec<u8>,
        tag: Option<String>,
    ) -> Pending<'_, Result<Digest, ArtifactError>> {
        Box::pin(async move {
            let digest = Digest::of(&bytes);
            let blob = blob_digest(&digest)?;
            let reference = Reference::Digest(blob.clone());
            self.0
                .put_manifest(&repository, &reference, Some(&media_type), bytes.into())
                .await
                .map_err(failed)?;
            if let Some(tag) = tag {
                self.0.tag(&repository, &tag, &blob).await.map_err(failed)?;
            }
            Ok(digest)
        })
    }

    fn manifest(
        &self,
        repository: String,
        digest: Digest,
    ) -> Pending<'_, Result<Option<StoredManifest>, ArtifactError>> {
        Box::pin(async move {
            match self.0.get_manifest(&repository, &Reference::Digest(blob_digest(&digest)?)).await
            {
                Ok(row) => Ok(Some(StoredManifest {
                    digest,
                    media_type: row.media_type,
                    bytes: row.body.to_vec(),
                })),
                Err(RegistryError::UnknownManifest { .. }) => Ok(None),
                Err(error) => Err(failed(error)),
            }
        })
    }

    fn blob(
        &self,
        repository: String,
        digest: Digest,
    ) -> Pending<'_, Result<Option<Vec<u8>>, ArtifactError>> {
        Box::pin(async move {
            match self.0.blob_bytes(&repository, &blob_digest(&digest)?, BUNDLE_BYTES_MAX).await {
                Ok(bytes) => Ok(Some(bytes.to_vec())),
                Err(RegistryError::UnknownBlob { .. }) => Ok(None),
                Err(error) => Err(failed(error)),
            }
        })
    }

    fn referrers(
        &self,
        repository: String,
        subject: Digest,
    ) -> Pending<'_, Result<Vec<StoredManifest>, ArtifactError>> {
        Box::pin(async move {
            let ask = ReferrersAsk { limit: REFERRERS_MAX, ..ReferrersAsk::default() };
            let rows = self
                .0
                .referrers(&repository, &blob_digest(&subject)?, &ask)
                .await
                .map_err(failed)?;
            let mut found = Vec::new();
            for row in rows {
                let digest = Digest::new(row.digest.to_string()).map_err(failed)?;
                found.extend(self.manifest(repository.clone(), digest).await?);
            }
            Ok(found)
        })
    }

    fn tag(
        &self,
        repository: String,
        digest: Digest,
        tag: String,
    ) -> Pending<'_, Result<(), ArtifactError>> {
        Box::pin(async move {
            self.0.tag(&repository, &tag, &blob_digest(&digest)?).await.map_err(failed)
        })
    }
}
