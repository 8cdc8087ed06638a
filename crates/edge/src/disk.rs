//! Tables on disk: one file for each route, replaced as a whole, so that the edge starts without control.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use humdrum_model::route::RouteTable;
use serde::{Deserialize, Serialize};

/// The newest accepted word about a route. A removed one stays as a number, so that a late writer is still refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) route: String,
    pub(crate) fence: u64,
    pub(crate) generation: u64,
    pub(crate) table: Option<RouteTable>,
}

/// Why the edge's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("file `{path}` cannot be {verb}")]
    Io { path: PathBuf, verb: &'static str, source: io::Error },
    #[error("file `{path}` is not a route's table")]
    Table { path: PathBuf, source: serde_json::Error },
    #[error("file `{path}`, line {line}, is not a block")]
    Block { path: PathBuf, line: usize, source: serde_json::Error },
}

pub(crate) fn io_error(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io { path, verb, source }
}

/// Makes a folder, with its name durable.
pub(crate) fn folder(path: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(path).map_err(io_error(path, "created"))?;
    sync_folder(path.parent().unwrap_or(path))
}

pub(crate) fn sync_folder(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(io_error(path, "synchronised"))
}

/// Replaces a file so that after a power loss either the old or the new one is there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(io_error(path, "written"))?;
    sync_folder(path.parent().expect("a file of ours lies in a folder"))
}

pub(crate) fn save(folder: &Path, stored: &Stored) -> Result<(), DiskError> {
    let bytes = serde_json::to_vec_pretty(stored).expect("a table has only text and numbers");
    replace(&folder.join(format!("{}.json", stored.route)), &bytes)
}

/// Every route ever accepted.
pub(crate) fn load(folder: &Path) -> Result<Vec<Stored>, DiskError> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder, "listed"))? {
        let path = entry.map_err(io_error(folder, "listed"))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let bytes = fs::read(&path).map_err(io_error(&path, "read"))?;
            all.push(
                serde_json::from_slice(&bytes)
                    .map_err(|source| DiskError::Table { path, source })?,
            );
        }
    }
    Ok(all)
}

/// Counts the starts of the edge on this folder.
pub(crate) fn next_boot(path: &Path) -> Result<u64, DiskError> {
    let last = match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(io_error(path, "read")(error)),
    };
    replace(path, format!("{}\n", last + 1).as_bytes())?;
    Ok(last + 1)
}
