//! The change that the next commit will have: what a hook before the commit looks at.

use std::io::Read;
use std::path::Path;

use super::git::Stream;
use super::patch::{self, Hunk};
use super::{Scanned, SourceError};
use crate::secret::rule::Origin;
use crate::secret::{Fragment, Scanner};

/// Bytes of patch that are read.
const PATCH_BYTES_MAX: u64 = 4 << 30;

/// The findings in the lines that are staged. `folder` is anywhere in the repository; only what is below it is looked at.
pub fn scan_staged(scanner: &Scanner, folder: &Path) -> Result<Scanned, SourceError> {
    let arguments =
        ["diff", "-U0", "--no-ext-diff", "--no-textconv", "--no-color", "--staged", "."];
    let (stream, output) = Stream::start(folder, &arguments, None)?;
    let mut scanned = Scanned::default();
    let mut input = output.take(PATCH_BYTES_MAX);
    patch::read(&mut input, |hunk| scan_hunk(scanner, &hunk, &mut scanned))
        .map_err(|source| SourceError::Unreadable { path: folder.into(), source })?;
    if input.limit() == 0 {
        return Err(SourceError::TooLarge { limit: PATCH_BYTES_MAX });
    }
    stream.end().map_err(|error| match error {
        SourceError::Git { why, .. } if why.contains("ot a git repository") => {
            SourceError::NoRepository { path: folder.into() }
        }
        other => other,
    })?;
    Ok(scanned.sorted())
}

pub(super) fn scan_hunk(scanner: &Scanner, hunk: &Hunk, scanned: &mut Scanned) {
    let origin = Origin { path: &hunk.path, commit: &hunk.commit };
    scanned.leaks.extend(scanner.scan(&Fragment { origin, text: &hunk.text, line: hunk.line }));
    scanned.texts += 1;
    scanned.bytes += hunk.text.len() as u64;
}
