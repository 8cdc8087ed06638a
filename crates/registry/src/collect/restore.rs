//! Out of the trash again.

use humdrum_store::blobs::{BlobDigest, BlobError, RestoreAsk};
use serde::{Deserialize, Serialize};

use crate::manifest;
use crate::observer::Deed;
use crate::registry::{About, Registry, RegistryError};

/// Something that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashItem {
    pub repository: String,
    pub digest: String,
    /// A manifest; else a blob.
    pub manifest: bool,
    /// They come back with it, unless they name something else by then.
    pub tags: Vec<String>,
    pub bytes: u64,
    /// Unix ms.
    pub trashed_ms: i64,
    pub reason: String,
}

/// What came back, each as `repository@digest` or `repository:tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    pub manifests: Vec<String>,
    pub blobs: Vec<String>,
    pub tags: Vec<String>,
    /// Tags that name something else by now.
    pub taken: Vec<String>,
}

impl Registry {
    /// What is in the trash, newest first, at most `limit`.
    pub async fn trash(&self, limit: u32) -> Result<Vec<TrashItem>, RegistryError> {
        let things = self.index().trash(limit).await?.into_iter();
        let item = |thing: humdrum_store::blobs::Trashed| TrashItem {
            repository: thing.repository,
            digest: thing.digest.to_string(),
            manifest: thing.manifest,
            tags: thing.tags,
            bytes: thing.size,
            trashed_ms: thing.trashed_ms,
            reason: thing.reason,
        };
        Ok(things.map(item).collect())
    }

    /// Brings a manifest back, with all that it needs and the evidence about it, or a blob.
    ///
    /// # Errors
    /// [`IndexError::NotInTrash`](humdrum_store::blobs::IndexError::NotInTrash);
    /// [`IndexError::Lacks`](humdrum_store::blobs::IndexError::Lacks) when a part of it is gone for good;
    /// [`BlobError::Missing`] when the bytes are lost although nobody deleted them.
    pub async fn restore(
        &self,
        digest: &BlobDigest,
        repository: Option<&str>,
    ) -> Result<Undone, RegistryError> {
        let ask = RestoreAsk {
            digest: digest.clone(),
            repository: repository.map(str::to_owned),
            needs,
            now_ms: self.now_ms(),
        };
        let done = self.index().restore(ask).await?;
        for (_, blob) in &done.blobs {
            if self.blobs().stat(blob).await?.is_none() {
                return Err(BlobError::Missing { digest: blob.clone() }.into());
            }
        }
        for (repository, digest) in done.manifests.iter().chain(&done.blobs) {
            self.record(Deed::Restored, repository, About::bytes(digest, 0));
        }
        let at =
            |list: &[(String, BlobDigest)]| list.iter().map(|(r, d)| format!("{r}@{d}")).collect();
        let tagged =
            |list: &[(String, String)]| list.iter().map(|(r, t)| format!("{r}:{t}")).collect();
        Ok(Undone {
            manifests: at(&done.manifests),
            blobs: at(&done.blobs),
            tags: tagged(&done.tags),
            taken: tagged(&done.taken),
        })
    }
}

/// The blobs of a manifest that was accepted once.
fn needs(media_type: &str, body: &[u8]) -> Vec<BlobDigest> {
    let read = manifest::parse(Some(media_type), body);
    read.map_or_else(|_| vec![], |read| read.blobs.into_iter().map(|blob| blob.digest).collect())
}
