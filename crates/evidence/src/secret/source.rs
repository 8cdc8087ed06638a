//! Where scanned text comes from: a folder, the staged change, the whole history of a repository.

mod git;
mod history;
mod pack;
mod patch;
mod staged;
mod tree;

use std::path::PathBuf;

use super::Leak;

pub use history::scan_history;
pub use staged::scan_staged;
pub use tree::scan_tree;

/// Largest file or blob that is looked at, bytes. Git itself takes larger ones for binary.
pub const FILE_BYTES_MAX: u64 = 512 << 20;

/// What a scan found, and what it left out.
#[derive(Debug, Default)]
pub struct Scanned {
    /// By place, then by rule.
    pub leaks: Vec<Leak>,
    /// Texts that were looked at: files, blobs or hunks.
    pub texts: u64,
    pub bytes: u64,
    /// What was too large, with its size.
    pub too_large: Vec<(String, u64)>,
}

impl Scanned {
    fn add(&mut self, other: Self) {
        self.leaks.extend(other.leaks);
        self.texts += other.texts;
        self.bytes += other.bytes;
        self.too_large.extend(other.too_large);
    }

    fn sorted(mut self) -> Self {
        self.leaks.sort_by(Leak::compare);
        self.leaks.dedup();
        self.too_large.sort();
        self
    }
}

/// Why a scan could not be done. A scan that fails has no result: "nothing found" is only said of what was looked at.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("`{path}` cannot be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the program `git` cannot be started")]
    NoGit(#[source] std::io::Error),
    #[error("`{path}` is not in a git repository")]
    NoRepository { path: PathBuf },
    #[error("`git {command}` failed: {why}")]
    Git { command: String, why: String },
    #[error("`{path}` is damaged: {what}")]
    Damaged { path: PathBuf, what: String },
    #[error("the staged change has more than {limit} bytes")]
    TooLarge { limit: u64 },
}

/// How many threads a scan uses: one a core.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
