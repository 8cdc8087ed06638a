//! Who is told what happened: one call for each push, pull, mount, tag and delete.

use humdrum_store::blobs::BlobDigest;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    BlobPushed,
    BlobMounted,
    BlobPulled,
    BlobDeleted,
    ManifestPushed,
    ManifestPulled,
    ManifestDeleted,
    Tagged,
    Untagged,
    /// A collection moved it to the trash.
    ManifestCollected,
    /// A collection moved a repository's blob to the trash.
    BlobCollected,
    /// A manifest or blob came back from the trash.
    Restored,
}

/// One thing that happened; recorded after it is durable, before the caller is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryEvent {
    /// Unix ms.
    pub at_ms: i64,
    pub actor: String,
    pub deed: Deed,
    pub repository: String,
    /// Of the blob or manifest; none when a tag was removed.
    pub digest: Option<BlobDigest>,
    pub tag: Option<String>,
    /// Of the blob or manifest, bytes; 0 when unknown.
    pub bytes: u64,
}

/// Must return at once: it is called on the way of every request.
pub trait Observer: Send + Sync {
    fn record(&self, event: RegistryEvent);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn record(&self, _: RegistryEvent) {}
}
