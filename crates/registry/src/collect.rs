//! Collection of garbage while pushes go on.
//!
//! In use are: manifests with a tag, those touched within the grace time, those that control protects, everything below them (children
//! of an index, blobs) and the evidence about them. The rest goes to the trash, from which [`Registry::restore`] brings it back; bytes
//! go when no repository has them, in use or in its trash. See `humdrum_store::blobs` for how each step is decided.
//!
//! Steps are small and each stands for itself: a death between any two leaves a registry in which everything in use is readable, and
//! the next collection goes on. What a push has put in its place but not linked yet is kept by the [`gate`].

pub(crate) mod gate;
mod restore;
mod rounds;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use humdrum_store::blobs::{BlobDigest, IndexError, Roots};
use serde::{Deserialize, Serialize};

use crate::registry::{Registry, RegistryError};
pub use restore::{TrashItem, Undone};

/// A blob that no manifest refers to is kept for this long after a client was last told that it is there: an upload over a slow line
/// and a nightly retry of a failed one both come back within a day.
pub const BLOB_GRACE: Duration = Duration::from_secs(24 * 3600);
/// A manifest without a tag is kept for this long after it was last pushed, pulled or untagged: who works by digest pulls weekly.
pub const UNTAGGED_GRACE: Duration = Duration::from_secs(14 * 24 * 3600);
/// What was deleted or collected can be restored for this long.
pub const TRASH_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// "Is it there?" is remembered at this coarseness, so that reading seldom writes; every grace time is longer by this.
pub const TOUCH_EVERY: Duration = Duration::from_secs(3600);
/// Single things that a report lists; the sums count all.
pub const ITEMS_MAX: usize = 10_000;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    pub blobs: Duration,
    pub untagged: Duration,
    pub trash: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self { blobs: BLOB_GRACE, untagged: UNTAGGED_GRACE, trash: TRASH_KEEP }
    }
}

/// A wish to collect.
#[derive(Debug, Clone, Default)]
pub struct Collecting {
    pub grace: Grace,
    /// Digests of manifests that are in use whatever their tags say: what runs, is rolled out, or can be rolled back to.
    pub protected: Arc<HashSet<String>>,
    /// Look and report, change nothing.
    pub dry_run: bool,
}

/// What happened to a thing, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A manifest went to the trash.
    ManifestTrashed,
    /// A repository's blob went to the trash.
    BlobTrashed,
    /// It was in the trash for its time and cannot be restored any more.
    Forgotten,
    /// Bytes that nobody has were deleted.
    BytesFreed,
    /// An upload that nobody came back to was deleted.
    UploadDropped,
}

/// One thing that a collection took, or would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub fate: Fate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// A digest, or the name of an upload.
    pub what: String,
    pub bytes: u64,
    pub why: String,
}

/// Number and bytes of what had one fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub count: u64,
    pub bytes: u64,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    pub dry_run: bool,
    pub manifests_trashed: Sum,
    pub blobs_trashed: Sum,
    pub forgotten: Sum,
    pub bytes_freed: Sum,
    pub uploads_dropped: Sum,
    /// Blobs that a push was about to use at that moment; the next collection looks again.
    pub busy: u64,
    /// The first [`ITEMS_MAX`].
    pub items: Vec<Item>,
}

impl Collected {
    fn add(&mut self, item: Item) {
        let sum = match item.fate {
            Fate::ManifestTrashed => &mut self.manifests_trashed,
            Fate::BlobTrashed => &mut self.blobs_trashed,
            Fate::Forgotten => &mut self.forgotten,
            Fate::BytesFreed => &mut self.bytes_freed,
            Fate::UploadDropped => &mut self.uploads_dropped,
        };
        sum.count += 1;
        sum.bytes += item.bytes;
        if self.items.len() < ITEMS_MAX {
            self.items.push(item);
        }
    }

    /// Whether there was nothing to take.
    pub fn is_empty(&self) -> bool {
        let sums = [
            self.manifests_trashed,
            self.blobs_trashed,
            self.forgotten,
            self.bytes_freed,
            self.uploads_dropped,
        ];
        sums.iter().all(|sum| sum.count == 0)
    }
}

impl Registry {
    /// Collects once. Safe at any moment, beside pushes and pulls.
    ///
    /// # Errors
    /// [`RegistryError::Collecting`] when another one is under way; that the disk or the index refused. What was done until then stands.
    pub async fn collect(&self, wish: &Collecting) -> Result<Collected, RegistryError> {
        let _alone = self.gate().collecting().ok_or(RegistryError::Collecting)?;
        let now_ms = self.now_ms();
        let before =
            |grace: Duration| now_ms.saturating_sub(ms(grace).saturating_add(ms(TOUCH_EVERY)));
        let round = rounds::Round {
            registry: self,
            roots: Roots {
                manifests_ms: before(wish.grace.untagged),
                blobs_ms: before(wish.grace.blobs),
                protected: wish.protected.clone(),
            },
            trash_ms: now_ms.saturating_sub(ms(wish.grace.trash)),
            now_ms,
        };
        match wish.dry_run {
            true => round.look().await,
            false => round.collect().await,
        }
    }

    /// Whether it may be told that a blob or manifest is there, which was last told at `touched_ms`.
    pub(crate) async fn told(
        &self,
        repository: &str,
        digest: &BlobDigest,
        touched_ms: i64,
    ) -> Result<bool, RegistryError> {
        let now_ms = self.now_ms();
        if now_ms.saturating_sub(touched_ms) < ms(TOUCH_EVERY) {
            return Ok(true);
        }
        match self.index().touch(repository, digest, now_ms).await {
            // What is there can be read on a full disk; only its grace time may be shorter, and the trash is behind that.
            Err(IndexError::Full) => Ok(true),
            told => Ok(told?),
        }
    }
}

/// Ms of a duration of ours.
fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
