//! Unpacks layers into a folder and never outside of it, whatever the archive says.
//!
//! Every path is opened by the kernel with the folder as its root (openat2(2), `RESOLVE_IN_ROOT`), so that neither
//! `..` nor a link made by an earlier entry or layer leads out. Whiteouts are those of the OCI image layer format.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

/// All layers together, unpacked: what a machine can spare for one image, and a bound for bombs.
const BYTES_MAX: u64 = 16 << 30;
/// Entries of all layers together; a full distribution with a tool chain has about 300,000.
const ENTRIES_MAX: u64 = 1_000_000;

/// Why a layer is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("entry `{path}`: {why}")]
    Entry { path: String, why: &'static str },
    #[error("entry `{path}` cannot be made")]
    Make { path: String, source: io::Error },
    #[error("the image has more than {ENTRIES_MAX} entries")]
    TooMany,
    #[error("the image has more than {BYTES_MAX} bytes unpacked")]
    TooLarge,
    #[error("the archive cannot be read")]
    Archive(#[from] io::Error),
    #[error("the unpacked layer has the digest {found}, the configuration says {wanted}")]
    WrongDiffId { wanted: String, found: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
}

/// A root file system that grows layer by layer.
pub(crate) struct Unpacker {
    root: OwnedFd,
    entries: u64,
    bytes: u64,
}

impl Unpacker {
    pub(crate) fn new(rootfs: &Path) -> io::Result<Unpacker> {
        let root =
            rustix::fs::openat(CWD, rootfs, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))?;
        Ok(Unpacker { root, entries: 0, bytes: 0 })
    }

    /// Applies one layer file; `diff_id` is the digest of the archive as the image's configuration has it.
    pub(crate) fn layer(
        &mut self,
        file: &Path,
        compression: Compression,
        diff_id: Option<&str>,
    ) -> Result<(), UnpackError> {
        let file = BufReader::with_capacity(1 << 16, File::open(file)?);
        let plain: Box<dyn Read> = match compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        };
        // Room for headers and padding beside the contents.
        let left = (BYTES_MAX - self.bytes) + ENTRIES_MAX * 2048;
        let mut hashed = Hashed { inner: plain.take(left), hash: Sha256::new() };
        let mut archive = Archive::new(&mut hashed);
        let mut mine = HashSet::new();
        for entry in archive.entries()? {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(UnpackError::TooMany);
            }
            self.entry(&mut entry?, &mut mine)?;
        }
        io::copy(&mut hashed, &mut io::sink())?;
        if hashed.inner.limit() == 0 {
            return Err(UnpackError::TooLarge);
        }
        let found = format!("sha256:{}", hex::encode(hashed.hash.finalize()));
        match diff_id {
            Some(wanted) if wanted != found => {
                Err(UnpackError::WrongDiffId { wanted: wanted.to_owned(), found })
            }
            _ => Ok(()),
        }
    }

    /// Adds the folders that a jail mounts on, and brings everything to the disk.
    pub(crate) fn finish(self) -> io::Result<()> {
        for folder in ["proc", "dev", "tmp", "run", "var", "var/tmp"] {
            match self.folder_at(Path::new(folder)) {
                Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        rustix::fs::syncfs(&self.root)?;
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        mine: &mut HashSet<PathBuf>,
    ) -> Result<(), UnpackError> {
        let raw = entry.path_bytes().into_owned();
        let text = String::from_utf8_lossy(&raw).into_owned();
        let Some(path) = relative(&raw).map_err(refuse(&text))? else { return Ok(()) };
        self.bytes = self.bytes.saturating_add(entry.size());
        if self.bytes > BYTES_MAX {
            return Err(UnpackError::TooLarge);
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default().to_owned();
        let folder = self.folder_at(parent).map_err(failed(&text))?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return whiteout(&folder, parent, hidden, mine).map_err(failed(&text));
        }
        self.make(entry, &folder, &name, &text)?;
        // Whiteouts of this layer speak of lower ones only, so all that leads to this entry is the layer's own.
        mine.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn make(
        &self,
        entry: &mut Entry<'_, impl Read>,
        folder: &OwnedFd,
        name: &OsStr,
        text: &str,
    ) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        if kind != EntryType::Directory {
            clear(folder, name).map_err(failed(text))?;
        }
        // Set-user-id bits have no effect in an instance; without them no file here can harm the host either.
        let mode = Mode::from_raw_mode(entry.header().mode()? & 0o1777);
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let file = write(entry, folder, name).map_err(failed(text))?;
                rustix::fs::fchmod(&file, mode).map_err(failed(text))?;
                stamp(&file, entry.header().mtime()?).map_err(failed(text))
            }
            EntryType::Directory => make_folder(folder, name, mode).map_err(failed(text)),
            EntryType::Symlink => {
                let target = link_name(entry, text)?;
                rustix::fs::symlinkat(&*target, folder, name).map_err(failed(text))
            }
            EntryType::Link => {
                let target = link_name(entry, text)?;
                let target = relative(target.as_os_str().as_bytes()).map_err(refuse(text))?;
                let why = refuse(text)("a hard link to the root");
                self.link(&target.ok_or(why)?, folder, name).map_err(failed(text))
            }
            EntryType::Block | EntryType::Char => Err(refuse(text)("device nodes are refused")),
            EntryType::Fifo => Err(refuse(text)("named pipes are refused")),
            EntryType::XGlobalHeader => Ok(()),
            _ => Err(refuse(text)("this kind of entry is not known")),
        }
    }

    /// The folder at a path of the image, made when it is missing; links are followed inside the root only.
    fn folder_at(&self, path: &Path) -> Result<OwnedFd, Errno> {
        if path.as_os_str().is_empty() {
            return self.inside(Path::new("."));
        }
        match self.inside(path) {
            Err(Errno::NOENT) => {
                let above = self.folder_at(path.parent().unwrap_or(Path::new("")))?;
                let name = path.file_name().unwrap_or_default();
                match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                    // A link to nowhere has the name: the second look says so.
                    Ok(()) | Err(Errno::EXIST) => self.inside(path),
                    Err(error) => Err(error),
                }
            }
            other => other,
        }
    }

    fn inside(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    fn link(&self, target: &Path, folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        let parent = target.parent().unwrap_or(Path::new(""));
        let from =
            self.inside(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        let target = target.file_name().unwrap_or_default();
        rustix::fs::linkat(&from, target, folder, name, AtFlags::empty())
    }
}

/// A path without `.` and with nothing that climbs; `None` for the root itself.
fn relative(raw: &[u8]) -> Result<Option<PathBuf>, &'static str> {
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err("a path with `..` is refused"),
            Component::RootDir | Component::Prefix(_) => return Err("an absolute path is refused"),
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

fn link_name(entry: &Entry<'_, impl Read>, text: &str) -> Result<PathBuf, UnpackError> {
    let name = entry.link_name()?.ok_or_else(|| refuse(text)("a link without a target"))?;
    Ok(name.into_owned())
}

fn write(entry: &mut impl Read, folder: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?);
    io::copy(entry, &mut file)?;
    Ok(file)
}

fn stamp(file: &File, seconds: u64) -> Result<(), Errno> {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or_default(), tv_nsec: 0 };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })
}

/// A folder that is there already (or a link to one, as `/lib` in some bases) only gets the mode.
fn make_folder(folder: &OwnedFd, name: &OsStr, mode: Mode) -> Result<(), Errno> {
    let kind = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Directory) => {}
        Ok(_) => {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
            rustix::fs::mkdirat(folder, name, mode)?;
        }
        Err(Errno::NOENT) => rustix::fs::mkdirat(folder, name, mode)?,
        Err(error) => return Err(error),
    }
    // The agent itself must be able to fill and remove it when it is not root.
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    rustix::fs::fchmod(&opened, mode | Mode::RWXU)
}

fn whiteout(
    folder: &OwnedFd,
    parent: &Path,
    hidden: &[u8],
    mine: &HashSet<PathBuf>,
) -> Result<(), Errno> {
    if hidden == b".wh..opq" {
        return remove_children(folder, &|name| !mine.contains(&parent.join(name)));
    }
    // `.wh.` alone and `.wh...` would mean the folder itself or the one above it.
    if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(b".wh.") {
        return Err(Errno::INVAL);
    }
    let name = OsStr::from_bytes(hidden);
    if mine.contains(&parent.join(name)) { Ok(()) } else { clear(folder, name) }
}

/// Removes what has this name, a folder with all in it; links are removed, never followed.
fn clear(folder: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
    remove_children(&inner, &|_| true)?;
    rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)
}

fn remove_children(folder: &OwnedFd, doomed: &dyn Fn(&OsStr) -> bool) -> Result<(), Errno> {
    let mut names = vec![];
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." && doomed(&name) {
            names.push(name);
        }
    }
    names.iter().try_for_each(|name| clear(folder, name))
}

fn refuse(path: &str) -> impl Fn(&'static str) -> UnpackError {
    move |why| UnpackError::Entry { path: path.to_owned(), why }
}

fn failed<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> UnpackError {
    move |error| UnpackError::Make { path: path.to_owned(), source: error.into() }
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
