//! Copies of the running database: consistent, and marked so that a restore is recognized.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use super::SqliteStore;
use crate::open::open_reader;

/// Why no backup was made. Nothing is left at its place then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}` exists already", path.display())]
    Exists { path: PathBuf },
    #[error("the backup `{}` cannot be written", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the database cannot be copied to `{}`", path.display())]
    Copy { path: PathBuf, source: rusqlite::Error },
    #[error("the thread that made the backup `{}` is gone", path.display())]
    Gone { path: PathBuf },
}

impl BackupError {
    /// What the person can do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "choose a new name; a backup never replaces a file",
            Self::File { .. } | Self::Copy { .. } => {
                "check the folder, its permissions and the space on its disk"
            }
            Self::Gone { .. } => "try again; the store itself is not touched by a backup",
        }
    }
}

impl SqliteStore {
    /// Copies everything that is durable now to the new file `path`, while the store goes on working.
    ///
    /// To restore, copy the file to `humdrum.db` in an empty data folder. Opening it raises every epoch far above those that the lost
    /// store may have given to targets.
    pub async fn backup_to(&self, path: PathBuf) -> Result<(), BackupError> {
        let (reply, done) = oneshot::channel();
        let (from, to) = (self.path.clone(), path.clone());
        // A thread of its own: a copy of minutes must not take one of the readers away.
        let copier = std::thread::Builder::new().name("store-backup".to_owned()).spawn(move || {
            // A caller that is gone leaves the finished backup where it asked for it.
            let _ = reply.send(back_up(&from, &to));
        });
        copier.map_err(|source| BackupError::File { path: path.clone(), source })?;
        done.await.map_err(|_| BackupError::Gone { path })?
    }
}

/// As [`SqliteStore::backup_to`], from the database file itself, whether a store has it open or not. Blocking.
///
/// # Errors
/// [`BackupError`]; nothing is left at `to` then.
pub fn backup_of(from: &Path, to: &Path) -> Result<(), BackupError> {
    back_up(from, to)
}

/// Copies any of our databases as it is at one moment, while others work with it. Blocking.
///
/// # Errors
/// [`BackupError`]; nothing is left at `to` then.
pub fn copy_of(from: &Path, to: &Path) -> Result<(), BackupError> {
    written(from, to, false)
}

fn back_up(from: &Path, to: &Path) -> Result<(), BackupError> {
    written(from, to, true)
}

/// `mark`: the copy knows that it is one, and its fences rise when it is opened.
fn written(from: &Path, to: &Path, mark: bool) -> Result<(), BackupError> {
    let file = |source| BackupError::File { path: to.to_owned(), source };
    if to.exists() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    remove_if_there(&partial).map_err(file)?;
    let copied = copy(from, &partial, mark);
    if copied.is_err() {
        // The cause is worth more to the caller than a failure to clean up after it.
        let _ = fs::remove_file(&partial);
    }
    copied.map_err(|source| BackupError::Copy { path: to.to_owned(), source })?;
    publish(&partial, to).map_err(file)
}

fn copy(from: &Path, to: &Path, mark: bool) -> rusqlite::Result<()> {
    let source = open_reader(from)?;
    let mut target = Connection::open(to)?;
    copy_pages(&source, &mut target)?;
    target.pragma_update(None, "journal_mode", "DELETE")?;
    if mark {
        target.execute("UPDATE meta SET is_backup = 1, clean = 1", [])?;
    }
    target.close().map_err(|(_, error)| error)
}

/// All pages in one step: one view of the database, never restarted by commits that come in between.
fn copy_pages(source: &Connection, target: &mut Connection) -> rusqlite::Result<()> {
    match Backup::new(source, target)?.step(-1)? {
        StepResult::Done => Ok(()),
        // The connection has waited for its busy timeout by then.
        _ => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
    }
}

fn publish(partial: &Path, to: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, to)?;
    let folder =
        to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
