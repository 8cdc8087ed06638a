//! An image as a policy sees it, and what may not be touched.

use std::collections::BTreeMap;

/// A manifest of one repository with its history. Times are Unix ms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pub digest: String,
    pub tags: Vec<String>,
    /// When the newest of its tags came to it; a promotion is a tag.
    pub tagged_ms: Option<i64>,
    pub pushed_ms: i64,
    /// The last pull that was recorded.
    pub pulled_ms: Option<i64>,
    /// When it was last moved to the archive; it is there while `archived`.
    pub archived_ms: Option<i64>,
    /// When it was last brought back from the archive.
    pub activated_ms: Option<i64>,
    pub archived: bool,
    /// Indexes of the same repository that list it.
    pub listed_by: Vec<String>,
    /// What it is evidence about: a signature, an SBOM.
    pub subject: Option<String>,
}

impl Image {
    /// The time that ranks it: an image that was restored counts from then.
    pub(super) fn rank_ms(&self) -> i64 {
        self.activated_ms.unwrap_or(self.pushed_ms)
    }

    /// The last time that anybody did anything with it: push, promotion, pull, restore.
    pub(super) fn last_ms(&self) -> i64 {
        let times = [self.tagged_ms, self.pulled_ms, self.activated_ms];
        times.into_iter().flatten().fold(self.pushed_ms, i64::max)
    }

    /// The time of its last use: a pull; else the restore; else the push.
    pub(super) fn used_ms(&self) -> i64 {
        match (self.pulled_ms, self.activated_ms) {
            (Some(pulled), Some(activated)) => pulled.max(activated),
            (Some(pulled), None) => pulled,
            (None, activated) => activated.unwrap_or(self.pushed_ms),
        }
    }
}

/// Digests that are in use, each with the reasons, in words: `production runs it`.
pub type Protected = BTreeMap<String, Vec<String>>;
