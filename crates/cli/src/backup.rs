//! Backups: everything of an installation that cannot be made anew, in a folder or a tar file, with a list of digests.
//!
//! Order makes it consistent while Humdrum works: first the event log, then the registry's index, then the bytes that this index names.
//! What the log speaks of was pushed before it was said, and bytes outlive their last name by the trash's time.

use serde::{Deserialize, Serialize};

pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod sink;
pub(crate) mod write;

/// The list's name in a backup; it is written last, so that a backup without one is not whole.
pub(crate) const LIST: &str = "backup.json";
/// Version of the list.
pub(crate) const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    pub(crate) format: u32,
    /// Of the program that wrote it.
    pub(crate) humdrum: String,
    /// When it was begun, RFC 3339.
    pub(crate) at: String,
    /// Position and hash of the last event in it.
    pub(crate) events: u64,
    pub(crate) chain: String,
    pub(crate) files: Vec<Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Below the data folder.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) digest: String,
    /// Permission bits.
    pub(crate) mode: u32,
}
