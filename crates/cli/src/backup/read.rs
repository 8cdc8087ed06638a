//! Puts a backup into an empty data folder: unpacked beside it, every digest and the event chain checked, then renamed in one step.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use humdrum_store::blobs::{Algorithm, BlobDigest, FileBlobs};
use humdrum_store::{DATABASE_FILE, StoreError, verify_file};

use super::sink::folder_of;
use super::{Contents, Entry, FORMAT, LIST};

/// Largest list of a backup, bytes: a million files.
const LIST_BYTES_MAX: u64 = 512 << 20;

/// Why nothing was restored. The data folder is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("`{path}` is not empty")]
    NotEmpty { path: PathBuf },
    #[error("`{path}` is no backup: {why}")]
    NoBackup { path: PathBuf, why: String },
    #[error("the backup has format {found}, this program knows {FORMAT}")]
    Format { found: u32 },
    #[error("`{path}` in the backup is {what}")]
    Damaged { path: String, what: String },
    #[error("the event log in the backup is damaged")]
    Log(#[from] StoreError),
    #[error("`{path}` cannot be used")]
    Io { path: PathBuf, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let path = path.to_owned();
    move |source| ReadError::Io { path, source }
}

/// Restores `from` into `data`, which must be empty or not exist, and answers what it held. Blocking.
///
/// # Errors
/// [`ReadError`].
pub(crate) fn read(from: &Path, data: &Path) -> Result<Contents, ReadError> {
    if fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) || data.is_file() {
        return Err(ReadError::NotEmpty { path: data.to_owned() });
    }
    let parent = data.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(io_error(parent))?;
    // Removed with all that is in it, unless it becomes the data folder.
    let unpacked = tempfile::Builder::new()
        .prefix(".humdrum-restore")
        .tempdir_in(parent)
        .map_err(io_error(parent))?;
    let found =
        if from.is_dir() { copy(from, unpacked.path()) } else { unpack(from, unpacked.path()) }?;
    let contents = contents(from, unpacked.path())?;
    check(&contents, &found, unpacked.path())?;
    let list = unpacked.path().join(LIST);
    fs::remove_file(&list).map_err(io_error(&list))?;
    let folder = File::open(unpacked.path()).map_err(io_error(unpacked.path()))?;
    rustix::fs::syncfs(&folder).map_err(|error| io_error(unpacked.path())(error.into()))?;
    // Over an empty folder, which is what it is, or fails.
    fs::rename(unpacked.path(), data).map_err(io_error(data))?;
    let _ = unpacked.keep();
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(io_error(parent))?;
    Ok(contents)
}

/// Paths below the data folder: nothing leaves it.
fn inside(path: &Path) -> Option<String> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.components().next().is_some())
        .then(|| path.to_str().map(str::to_owned))
        .flatten()
}

fn unpack(from: &Path, to: &Path) -> Result<BTreeSet<String>, ReadError> {
    let no_backup = |why: String| ReadError::NoBackup { path: from.to_owned(), why };
    let file = File::open(from).map_err(io_error(from))?;
    let mut archive = tar::Archive::new(file);
    let mut found = BTreeSet::new();
    for entry in archive.entries().map_err(|error| no_backup(error.to_string()))? {
        let mut entry = entry.map_err(|error| no_backup(error.to_string()))?;
        let path = entry.path().map_err(|error| no_backup(error.to_string()))?.into_owned();
        let name = inside(&path).filter(|_| entry.header().entry_type().is_file());
        let name = name.ok_or_else(|| no_backup(format!("it holds `{}`", path.display())))?;
        let mode = entry.header().mode().unwrap_or(0o600) & 0o777;
        let to = to.join(&name);
        write(&mut entry, &to, mode).map_err(io_error(&to))?;
        if !found.insert(name.clone()) {
            return Err(no_backup(format!("it holds `{name}` twice")));
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result<BTreeSet<String>, ReadError> {
    let (mut found, mut open) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(folder) = open.pop() {
        let path = from.join(&folder);
        for entry in fs::read_dir(&path).map_err(io_error(&path))? {
            let entry = entry.map_err(io_error(&path))?;
            let (kind, name) =
                (entry.file_type().map_err(io_error(&path))?, folder.join(entry.file_name()));
            if kind.is_dir() {
                open.push(name);
                continue;
            }
            let text =
                inside(&name).filter(|_| kind.is_file()).ok_or_else(|| ReadError::NoBackup {
                    path: from.to_owned(),
                    why: format!("it holds `{}`", name.display()),
                })?;
            let (source, target) = (entry.path(), to.join(&name));
            let copied = File::open(&source).and_then(|mut file| {
                let mode = file.metadata()?.permissions().mode() & 0o777;
                write(&mut file, &target, mode)
            });
            copied.map_err(io_error(&source))?;
            found.insert(text);
        }
    }
    Ok(found)
}

fn write(from: &mut impl io::Read, to: &Path, mode: u32) -> io::Result<()> {
    folder_of(to)?;
    let mut file = File::options().write(true).create_new(true).mode(mode).open(to)?;
    io::copy(from, &mut file).map(|_| ())
}

fn contents(from: &Path, unpacked: &Path) -> Result<Contents, ReadError> {
    let no_backup = |why: String| ReadError::NoBackup { path: from.to_owned(), why };
    let path = unpacked.join(LIST);
    let size = fs::metadata(&path).map_err(|_| no_backup(format!("it has no `{LIST}`")))?.len();
    if size > LIST_BYTES_MAX {
        return Err(no_backup(format!("its `{LIST}` has {size} bytes")));
    }
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| no_backup(format!("`{LIST}`: {error}")))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if format != u64::from(FORMAT) {
        return Err(ReadError::Format { found: u32::try_from(format).unwrap_or(u32::MAX) });
    }
    serde_json::from_value(value).map_err(|error| no_backup(format!("`{LIST}`: {error}")))
}

/// Every listed file is there with its digest, nothing else is, and the event chain ends where the list says.
fn check(contents: &Contents, found: &BTreeSet<String>, unpacked: &Path) -> Result<(), ReadError> {
    for entry in &contents.files {
        check_file(entry, unpacked)?;
    }
    let listed: BTreeSet<&str> = contents.files.iter().map(|entry| entry.path.as_str()).collect();
    if let Some(extra) = found.iter().find(|path| *path != LIST && !listed.contains(path.as_str()))
    {
        return Err(ReadError::Damaged { path: extra.clone(), what: "not in its list".to_owned() });
    }
    let path = format!("control/{DATABASE_FILE}");
    let chain = verify_file(&unpacked.join(&path))?;
    if (chain.pos, hex::encode(chain.hash)) != (contents.events, contents.chain.clone()) {
        let what = format!("at event {}, the list says {}", chain.pos, contents.events);
        return Err(ReadError::Damaged { path, what });
    }
    Ok(())
}

fn check_file(entry: &Entry, unpacked: &Path) -> Result<(), ReadError> {
    let damaged = |what: String| ReadError::Damaged { path: entry.path.clone(), what };
    let digest: BlobDigest =
        entry.digest.parse().map_err(|_| damaged("listed without a digest".to_owned()))?;
    let path =
        unpacked.join(inside(Path::new(&entry.path)).ok_or_else(|| damaged("no path".to_owned()))?);
    let size = fs::metadata(&path).map_err(|_| damaged("missing".to_owned()))?.len();
    if size != entry.size {
        return Err(damaged(format!("{size} bytes long instead of {}", entry.size)));
    }
    let algorithm: Algorithm = digest.algorithm();
    let is = FileBlobs::digest_of(&path, algorithm).map_err(|error| damaged(error.to_string()))?;
    if is == digest { Ok(()) } else { Err(damaged(format!("{is} instead of {digest}"))) }
}
