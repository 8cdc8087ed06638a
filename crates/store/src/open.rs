//! Opening a data folder: refuses what could lose or fork the log, before the first byte is written.
//!
//! Order: folder, file system, lock, file header, check of the pages, migrations, boot. Holding the lock proves that the former process
//! is dead, so the boot voids every lease at once and runs go on without waiting for one to end.

mod filesystem;
mod lock;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

pub use self::filesystem::network_kind;
pub(crate) use self::lock::DirLock;
pub use self::lock::LOCK_FILE;
use self::lock::LockError;
use crate::sqlite::SqliteStore;
use crate::sqlite::schema::{self, Origin};

/// The name of the database in the data folder.
pub const DATABASE_FILE: &str = "humdrum.db";

/// Files up to this size are checked at every opening: reading 64 MiB takes well under a second.
const CHECK_ALWAYS_BYTES: u64 = 64 << 20;
/// How long a statement waits for a reader of another program (a backup, a shell) before it fails.
const BUSY_MS: u64 = 5_000;
/// SQLite copies the WAL back after this many pages of 4 KiB: fewer, larger copies than its default of 1000.
const CHECKPOINT_PAGES: u32 = 4_000;
/// The WAL file shrinks to this after it had to grow.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Epochs and the boot epoch rise by this when a backup is opened: targets may have seen fences from after the backup, and would
/// refuse ours for ever. More claims than this between a backup and its restore are not credible.
const RESTORE_EPOCH_JUMP: u64 = 1_000_000;

/// The right to a data folder without opening its database: as long as it lives, no store opens there.
#[derive(Debug)]
pub struct FolderLock {
    _lock: DirLock,
}

impl FolderLock {
    /// Takes it, or says who has it.
    ///
    /// # Errors
    /// [`OpenError::InUse`], [`OpenError::Folder`].
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        DirLock::take(dir).map(|lock| Self { _lock: lock }).map_err(|error| lock_error(dir, error))
    }
}

fn lock_error(dir: &Path, error: LockError) -> OpenError {
    match error {
        LockError::Held(pid) => OpenError::InUse { dir: dir.to_owned(), pid },
        LockError::Io(source) => folder_error(dir, source),
    }
}

/// An open store and the number of this opening.
#[derive(Debug)]
pub struct Opened {
    pub store: SqliteStore,
    /// One more than at the last opening of this folder.
    pub boot_epoch: u64,
}

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("data folder `{}` is in use by {}", dir.display(), holder(*pid))]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error("data folder `{}` is on a network file system ({kind}), which cannot keep the log safe", dir.display())]
    NetworkFileSystem { dir: PathBuf, kind: String },
    #[error("database `{}` has schema {found}, this program knows schemas up to {known}", path.display())]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    #[error("database `{}` belongs to another program (application id {application_id:#x})", path.display())]
    Foreign { path: PathBuf, application_id: i64 },
    #[error("database `{}` is damaged: {what}", path.display())]
    Corrupt { path: PathBuf, what: String },
    #[error("the disk of data folder `{}` is full", dir.display())]
    Full { dir: PathBuf },
    #[error("data folder `{}` cannot be used", dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    #[error("database `{}` cannot be opened", path.display())]
    Database { path: PathBuf, source: rusqlite::Error },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl OpenError {
    /// What the person can do next.
    pub fn hint(&self) -> String {
        match self {
            Self::InUse { pid: Some(pid), .. } => {
                format!("use that one, stop it (`kill {pid}`), or choose another folder with `--data`")
            }
            Self::InUse { pid: None, .. } => "stop it, or choose another folder with `--data`".to_owned(),
            Self::NetworkFileSystem { .. } => "choose a folder on a disk of this machine with `--data`".to_owned(),
            Self::NewerSchema { .. } => {
                "a newer Humdrum wrote it: run that version, or restore a backup made before the upgrade".to_owned()
            }
            Self::Foreign { .. } => "choose another folder with `--data`".to_owned(),
            Self::Corrupt { path, .. } => format!(
                "keep the damaged files, then restore a backup: move `{0}`, `{0}-wal` and `{0}-shm` away and copy the backup to `{0}`; \
                 without a backup, `sqlite3 {0} .recover` saves what can be read",
                path.display()
            ),
            Self::Full { .. } => "make room on that disk; nothing that was accepted is lost".to_owned(),
            Self::Folder { dir, .. } => format!("check that `{}` is a folder that this user can write", dir.display()),
            Self::Database { path, .. } => format!("check the owner and permissions of `{}`", path.display()),
        }
    }
}

/// Opens the store in `dir`, which is created when absent. Blocks on the disk: call it before serving, or off the async threads.
pub fn open(dir: &Path) -> Result<Opened, OpenError> {
    let folder = |source| folder_error(dir, source);
    create_durably(dir).map_err(folder)?;
    if let Some(kind) = filesystem::network_kind(dir).map_err(folder)? {
        return Err(OpenError::NetworkFileSystem { dir: dir.to_owned(), kind });
    }
    let lock = DirLock::take(dir).map_err(|error| lock_error(dir, error))?;
    let path = dir.join(DATABASE_FILE);
    let opened = open_database(&path).and_then(|(conn, boot_epoch)| {
        let store = SqliteStore::start(conn, &path, lock).map_err(OpenFault::Sql)?;
        Ok(Opened { store, boot_epoch })
    });
    opened.map_err(|fault| fault.into_error(dir, &path))
}

/// A fault while the path is still the caller's business.
enum OpenFault {
    Newer(i64),
    Foreign(i64),
    Corrupt(String),
    Sql(rusqlite::Error),
    Io(io::Error),
}

impl From<rusqlite::Error> for OpenFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl OpenFault {
    fn into_error(self, dir: &Path, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Newer(found) => OpenError::NewerSchema { path, found, known: schema::VERSION },
            Self::Foreign(application_id) => OpenError::Foreign { path, application_id },
            Self::Corrupt(what) => OpenError::Corrupt { path, what },
            Self::Io(source) => folder_error(dir, source),
            Self::Sql(source) => match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    OpenError::Corrupt { path, what: source.to_string() }
                }
                Some(ErrorCode::DiskFull) => OpenError::Full { dir: dir.to_owned() },
                _ => OpenError::Database { path, source },
            },
        }
    }
}

fn folder_error(dir: &Path, source: io::Error) -> OpenError {
    let dir = dir.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full { dir },
        _ => OpenError::Folder { dir, source },
    }
}

/// A new folder survives power loss only when the folder above has been synced too.
fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let parent = dir.canonicalize()?.parent().map(Path::to_owned);
    parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn open_database(path: &Path) -> Result<(Connection, u64), OpenFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    let version = match schema::origin(&conn)? {
        Origin::Empty => 0,
        Origin::Ours { version } if version > schema::VERSION => {
            return Err(OpenFault::Newer(version));
        }
        Origin::Ours { version } => version,
        Origin::Foreign { application_id } => return Err(OpenFault::Foreign(application_id)),
    };
    configure_writer(&conn)?;
    let kernel_boot = kernel_boot_id();
    if version > 0 {
        check_pages(&conn, path, &kernel_boot)?;
    }
    schema::migrate(&mut conn, version)?;
    let boot_epoch = boot(&mut conn, &kernel_boot)?;
    Ok((conn, boot_epoch))
}

fn configure_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // FULL syncs the WAL at every commit; NORMAL would lose accepted commits with the power.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Opens one more connection that can only read.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    conn.pragma_update(None, "query_only", true)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Looks for damaged pages: always while the file is small, and whatever its size after the machine went down with the store open.
///
/// A killed process cannot damage pages (the kernel still writes what it had taken), so a large file then opens without the wait.
fn check_pages(conn: &Connection, path: &Path, kernel_boot: &str) -> Result<(), OpenFault> {
    let (clean, last_boot): (bool, String) =
        conn.query_row("SELECT clean, kernel_boot FROM meta", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let bytes = fs::metadata(path).map_err(OpenFault::Io)?.len();
    if bytes > CHECK_ALWAYS_BYTES && (clean || last_boot == kernel_boot) {
        return Ok(());
    }
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(OpenFault::Corrupt(found)) }
}

/// Counts the boot, voids the leases of the dead process and marks the file as open.
fn boot(conn: &mut Connection, kernel_boot: &str) -> rusqlite::Result<u64> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_backup: bool = tx.query_row("SELECT is_backup FROM meta", [], |row| row.get(0))?;
    let jump = if is_backup { RESTORE_EPOCH_JUMP } else { 0 };
    tx.execute("UPDATE run SET owner = NULL, lease_until_ms = NULL WHERE owner IS NOT NULL", [])?;
    if is_backup {
        tx.execute("UPDATE run SET epoch = epoch + ?1", [jump])?;
    }
    let boot_epoch = tx.query_row(
        "UPDATE meta SET boot_epoch = boot_epoch + 1 + ?1, clean = 0, kernel_boot = ?2, is_backup = 0 RETURNING boot_epoch",
        (jump, kernel_boot),
        |row| row.get(0),
    )?;
    tx.commit()?;
    Ok(boot_epoch)
}

/// Differs after every start of the machine (`random(4)`); empty where the kernel does not tell, which then always differs from nothing.
fn kernel_boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
