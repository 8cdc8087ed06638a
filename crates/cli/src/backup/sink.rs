//! Where a backup goes: a folder, in which blobs are hard links where they can be, or a tar file. Both appear under their name only whole.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use humdrum_store::blobs::{Algorithm, BlobDigest, Hasher};

use super::{Contents, Entry, LIST};

/// A backup in the making, under a name of its own until it is whole.
pub(crate) struct Sink {
    at: PathBuf,
    partial: PathBuf,
    form: Form,
}

enum Form {
    Folder,
    Tar(tar::Builder<File>),
}

impl Sink {
    /// A tar file when the name ends in `.tar`, else a folder. `at` must not exist.
    pub(crate) fn new(at: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(at).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut name = at.as_os_str().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = PathBuf::from(name);
        let form = if at.extension().is_some_and(|extension| extension == "tar") {
            let file = File::options().write(true).create_new(true).mode(0o600).open(&partial)?;
            Form::Tar(tar::Builder::new(file))
        } else {
            fs::DirBuilder::new().mode(0o700).create(&partial)?;
            Form::Folder
        };
        Ok(Self { at: at.to_owned(), partial, form })
    }

    /// Takes the file `from` in under `path`. A file whose bytes never change (`fixed`) may share them with the backup.
    pub(crate) fn take(
        &mut self,
        from: &Path,
        path: &str,
        algorithm: Algorithm,
        fixed: bool,
    ) -> io::Result<Entry> {
        let mut file = File::open(from)?;
        let meta = file.metadata()?;
        let mode = meta.permissions().mode() & 0o777;
        let (size, digest) = match &mut self.form {
            Form::Tar(tar) => {
                let mut header = header(meta.len(), mode);
                let mut hashing = Hashing::new(&mut file, algorithm);
                // A file that grows or shrinks meanwhile fails here: the header says its size.
                let mut exact = (&mut hashing).take(meta.len());
                tar.append_data(&mut header, path, &mut exact)?;
                hashing.end()
            }
            Form::Folder => {
                let to = self.partial.join(path);
                folder_of(&to)?;
                let mut hashing = Hashing::new(&mut file, algorithm);
                if fixed && fs::hard_link(from, &to).is_ok() {
                    io::copy(&mut hashing, &mut io::sink())?;
                } else {
                    let mut out =
                        File::options().write(true).create_new(true).mode(mode).open(&to)?;
                    io::copy(&mut hashing, &mut out)?;
                }
                hashing.end()
            }
        };
        if size != meta.len() {
            return Err(io::Error::other("it changed while it was copied"));
        }
        Ok(Entry { path: path.to_owned(), size, digest: digest.to_string(), mode })
    }

    /// Writes the list, makes everything durable and gives the backup its name.
    pub(crate) fn finish(mut self, contents: &Contents) -> io::Result<()> {
        let list = serde_json::to_vec_pretty(contents)?;
        let written = match &mut self.form {
            Form::Tar(tar) => {
                tar.append_data(&mut header(list.len() as u64, 0o600), LIST, &*list)?;
                tar.finish()?;
                File::open(&self.partial)?
            }
            Form::Folder => {
                let path = self.partial.join(LIST);
                File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)?
                    .write_all(&list)?;
                File::open(&self.partial)?
            }
        };
        rustix::fs::syncfs(&written)?;
        // Of two that write to one name the second finds it taken; a folder that came in between is not replaced either.
        if fs::symlink_metadata(&self.at).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.partial, &self.at)?;
        let parent = self.at.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        self.partial = PathBuf::new();
        Ok(())
    }
}

impl Drop for Sink {
    /// What is not whole does not stay.
    fn drop(&mut self) {
        if self.partial.as_os_str().is_empty() {
            return;
        }
        let gone = match self.form {
            Form::Folder => fs::remove_dir_all(&self.partial),
            Form::Tar(_) => fs::remove_file(&self.partial),
        };
        if let Err(error) = gone {
            tracing::warn!(%error, path = %self.partial.display(), "a half backup is left");
        }
    }
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(mode);
    header
}

/// Makes the folder of a file, for its owner alone.
pub(crate) fn folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Hasher,
    size: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R, algorithm: Algorithm) -> Self {
        Self { inner, hash: Hasher::new(algorithm), size: 0 }
    }

    fn end(self) -> (u64, BlobDigest) {
        (self.size, self.hash.finish())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}
