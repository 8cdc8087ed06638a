//! Makes mount points inside a root that may hold hostile links: every lookup is confined to the root by the kernel.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// An open root folder in which paths are looked up as if it were `/`.
pub(crate) struct Inside {
    root: OwnedFd,
    /// The `/proc` of the host, as seen from here: it turns an open file into a path for mount(2).
    proc: PathBuf,
}

impl Inside {
    pub(crate) fn open(root: &Path, proc: &Path) -> Result<Inside, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Inside { root: openat(CWD, root, flags, Mode::empty())?, proc: proc.to_path_buf() })
    }

    /// Looks a path up; links in it, absolute or with `..`, cannot leave the root.
    pub(crate) fn lookup(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(&self.root, relative, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// A name of the open file that mount(2) follows to exactly that file.
    pub(crate) fn name_of(&self, file: &OwnedFd) -> PathBuf {
        self.proc.join(format!("self/fd/{}", file.as_raw_fd()))
    }

    /// The folder at `path`, made with its parents where missing.
    pub(crate) fn folder(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut reached = PathBuf::from("/");
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let next = reached.join(name);
            match self.lookup(&next) {
                Ok(_) => {}
                Err(Errno::NOENT) => {
                    let parent = self.lookup(&reached)?;
                    mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
                }
                Err(error) => return Err(error),
            }
            reached = next;
        }
        self.lookup(&reached)
    }

    /// The file at `path`, made empty where missing.
    pub(crate) fn file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.lookup(path) {
            Err(Errno::NOENT) => {}
            found => return found,
        }
        drop(self.create(path)?);
        self.lookup(path)
    }

    /// Makes a new file with its parents, open for writing.
    pub(crate) fn create(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&parent, name, flags, Mode::from_raw_mode(0o644))
    }

    /// Makes a symbolic link with its parents.
    pub(crate) fn link(&self, path: &Path, to: &Path) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::symlinkat(to, &parent, name)
    }

    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        Ok((self.folder(path.parent().unwrap_or(Path::new("/")))?, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_inside_a_root_cannot_leave_it() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        let outside = scratch.path().join("outside");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../outside", root.join("upwards")).unwrap();
        let inside = Inside::open(&root, Path::new("/proc")).unwrap();

        // Inside, both links point to nothing, and nothing is made through a dangling link.
        for path in ["/absolute/f", "/upwards/f"] {
            assert_eq!(inside.create(Path::new(path)).unwrap_err(), Errno::EXIST, "{path}");
        }
        assert!(inside.create(Path::new("/a/b/f")).is_ok());

        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert!(root.join("a/b/f").exists());
    }
}
