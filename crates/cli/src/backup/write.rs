//! Makes a backup of a data folder, whether Humdrum runs on it or not.

use std::path::{Path, PathBuf};

use humdrum_store::blobs::{Algorithm, BlobDigest, FileBlobs, IndexError, Inspection};
use humdrum_store::{BackupError, DATABASE_FILE, StoreError, backup_of, copy_of, verify_file};

use super::sink::Sink;
use super::{Contents, Entry, FORMAT, list};
use crate::places::Places;

/// What the registry remembers of its images, beside its index.
const HISTORY: &str = "history.db";

/// Why there is no backup. Nothing is left at its place then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("`{path}` holds no installation: it has no event log")]
    NoInstallation { path: PathBuf },
    #[error("`{path}` exists already")]
    Exists { path: PathBuf },
    #[error("`{path}` cannot be copied")]
    Copy { path: PathBuf, source: std::io::Error },
    #[error("the backup `{path}` cannot be written")]
    Backup { path: PathBuf, source: std::io::Error },
    #[error("blob {digest} is missing or damaged")]
    Blob { digest: String },
    #[error("the event log is damaged")]
    Log(#[from] StoreError),
    #[error("the index of the registry cannot be read")]
    Index(#[from] IndexError),
    #[error(transparent)]
    Database(#[from] BackupError),
}

/// What was written.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Written {
    pub(crate) files: usize,
    pub(crate) blobs: usize,
    pub(crate) bytes: u64,
    pub(crate) events: u64,
    /// The signing key's password lies beside it and is in the backup, too.
    pub(crate) password: bool,
}

/// Writes everything to `to`, which must not exist. Blocking.
///
/// # Errors
/// [`WriteError`].
pub(crate) fn write(places: &Places, to: &Path, at: String) -> Result<Written, WriteError> {
    let log = places.control().join(DATABASE_FILE);
    if !log.is_file() {
        return Err(WriteError::NoInstallation { path: places.data.clone() });
    }
    let sink = Sink::new(to).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => WriteError::Exists { path: to.to_owned() },
        _ => WriteError::Backup { path: to.to_owned(), source },
    })?;
    let copies = scratch(places, to)?;
    let mut writing = Writing { data: &places.data, sink, entries: Vec::new() };
    // The log before the index, the index before the bytes: see `backup.rs`.
    let copy = copies.path().join("log.db");
    backup_of(&log, &copy)?;
    let chain = verify_file(&copy)?;
    writing.take(&copy, &format!("control/{DATABASE_FILE}"), false)?;
    let blobs = writing.registry(places, copies.path())?;
    writing.history(places, copies.path())?;
    let plain = list::plain(&places.data)
        .map_err(|source| WriteError::Copy { path: places.data.clone(), source })?;
    for path in &plain {
        writing.take(&places.data.join(path), &path.to_string_lossy(), false)?;
    }
    let password = plain.iter().any(|path| path.ends_with("signing.password"));
    let files = writing.entries.len() - blobs;
    let bytes = writing.entries.iter().map(|entry| entry.size).sum();
    let contents = Contents {
        format: FORMAT,
        humdrum: env!("CARGO_PKG_VERSION").to_owned(),
        at,
        events: chain.pos,
        chain: hex::encode(chain.hash),
        files: writing.entries,
    };
    let backup = |source| WriteError::Backup { path: to.to_owned(), source };
    writing.sink.finish(&contents).map_err(backup)?;
    Ok(Written { files, blobs, bytes, events: chain.pos, password })
}

/// For copies of the databases: beside the backup, where there must be room for them anyway.
fn scratch(places: &Places, to: &Path) -> Result<tempfile::TempDir, WriteError> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    tempfile::Builder::new()
        .prefix(".humdrum-backup")
        .tempdir_in(parent.unwrap_or(&places.data))
        .map_err(|source| WriteError::Backup { path: to.to_owned(), source })
}

struct Writing<'a> {
    data: &'a Path,
    sink: Sink,
    entries: Vec<Entry>,
}

impl Writing<'_> {
    fn take(&mut self, from: &Path, path: &str, fixed: bool) -> Result<(), WriteError> {
        let taken = self.sink.take(from, path, Algorithm::Sha256, fixed);
        let copy = |source| WriteError::Copy { path: from.to_owned(), source };
        self.entries.push(taken.map_err(copy)?);
        Ok(())
    }

    /// Pull times, lifecycle policies and homes of tags: a database of its own beside the index.
    fn history(&mut self, places: &Places, scratch: &Path) -> Result<(), WriteError> {
        let (from, copy) = (places.registry().join(HISTORY), scratch.join(HISTORY));
        if from.is_file() {
            copy_of(&from, &copy)?;
            self.take(&copy, &format!("registry/{HISTORY}"), false)?;
        }
        Ok(())
    }

    /// The index as it is now, and the bytes that it names; answers how many blobs.
    fn registry(&mut self, places: &Places, scratch: &Path) -> Result<usize, WriteError> {
        let (root, copy) = (places.registry(), scratch.join("registry.db"));
        if !root.join("registry.db").is_file() {
            return Ok(0);
        }
        copy_of(&root.join("registry.db"), &copy)?;
        let index = Inspection::open(&copy, true)?;
        let mut held = index.blobs()?;
        // In use before in a trash, so that the first of each digest says whether it may be missing.
        held.sort_by(|a, b| (&a.digest, a.trashed).cmp(&(&b.digest, b.trashed)));
        held.dedup_by(|a, b| a.digest == b.digest);
        let mut blobs = 0;
        for blob in held {
            let damaged = || WriteError::Blob { digest: blob.digest.clone() };
            let digest: BlobDigest = blob.digest.parse().map_err(|_| damaged())?;
            let from = FileBlobs::place(&root, &digest);
            if blob.trashed && !from.is_file() {
                // Its time in the trash ended between the copy of the index and now.
                index.drop_blob(&blob.digest)?;
                continue;
            }
            let path = from.strip_prefix(self.data).unwrap_or(&from).to_string_lossy().into_owned();
            let entry = match self.sink.take(&from, &path, digest.algorithm(), true) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(damaged()),
                entry => entry.map_err(|source| WriteError::Copy { path: from, source })?,
            };
            if entry.digest != blob.digest {
                return Err(damaged());
            }
            self.entries.push(entry);
            blobs += 1;
        }
        drop(index);
        self.take(&copy, "registry/registry.db", false)?;
        Ok(blobs)
    }
}
