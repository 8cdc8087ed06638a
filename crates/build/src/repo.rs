//! Reads commits of a git repository through the git program, and writes one out byte for byte.
//!
//! Files come from the object store, not from a checkout: attributes (`export-subst`, `eol`), filters, hooks and the
//! user's configuration have no say, so a commit gives the same tree on every host. Submodules and Git LFS are refused
//! by name, since their bytes are not in the commit.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use humdrum_model::name::Commit;

/// The largest file that [`Repo::read_file`] returns, in bytes. Manifests and lock files are far smaller.
pub const FILE_BYTES_MAX: u64 = 32 << 20;
/// The most entries of one commit.
pub const ENTRIES_MAX: usize = 500_000;
/// How every Git LFS pointer begins (git-lfs, `docs/spec.md`).
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// A git repository on this host.
#[derive(Debug, Clone)]
pub struct Repo {
    path: PathBuf,
}

/// What a commit says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    /// Its full id.
    pub commit: Commit,
    /// The committer's time, in seconds since 1970.
    pub time_s: i64,
    /// The id of its tree.
    pub tree: String,
    /// The first line of its message.
    pub subject: String,
    /// The author as `Name <mail>`.
    pub author: String,
}

/// Why a commit cannot be read. Each completes "cannot read the repository: …".
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The git program is not there.
    #[error("the program `git` cannot be started")]
    NoGit(#[source] std::io::Error),
    /// The folder is no repository.
    #[error("`{path}` is not a git repository")]
    NotARepository {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing has this name.
    #[error("`{name}` names no commit of `{path}`")]
    NoCommit {
        /// What was asked for.
        name: String,
        /// The repository.
        path: PathBuf,
    },
    /// The commit lacks a file.
    #[error("commit {commit} has no file `{file}`")]
    NoFile {
        /// The commit.
        commit: String,
        /// The file.
        file: String,
    },
    /// The file is too large to be returned.
    #[error("`{file}` has {bytes} bytes, more than {FILE_BYTES_MAX}")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// The commit holds a submodule.
    #[error(
        "commit has a submodule at `{file}`, and submodules are not supported: vendor its files"
    )]
    Submodule {
        /// Where.
        file: String,
    },
    /// The commit holds a Git LFS pointer.
    #[error(
        "`{file}` is a Git LFS pointer, whose bytes are not in the commit; LFS is not supported"
    )]
    LargeFile {
        /// Where.
        file: String,
    },
    /// A path that cannot be written out safely.
    #[error("commit has the path `{file}`, which would leave the folder")]
    BadPath {
        /// The path.
        file: String,
    },
    /// More than [`ENTRIES_MAX`] files.
    #[error("commit has more than {ENTRIES_MAX} files")]
    TooMany,
    /// Git failed in another way.
    #[error("git {action} failed: {said}")]
    Git {
        /// What was asked.
        action: String,
        /// Its first error line.
        said: String,
    },
    /// A file of the export could not be written.
    #[error("`{path}` cannot be written")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

struct Entry {
    kind: Kind,
    object: String,
    path: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Program,
    Link,
}

impl Repo {
    /// Opens the repository that holds this folder.
    ///
    /// # Errors
    /// When there is none, or git is missing.
    pub fn open(path: impl Into<PathBuf>) -> Result<Repo, RepoError> {
        let repo = Repo { path: path.into() };
        match repo.git(&["rev-parse", "--git-dir"]) {
            Ok(_) => Ok(repo),
            Err(RepoError::Git { .. }) => Err(RepoError::NotARepository { path: repo.path }),
            Err(error) => Err(error),
        }
    }

    /// The folder it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit that a branch, tag, id or `HEAD` means now.
    ///
    /// # Errors
    /// When nothing has that name.
    pub fn resolve(&self, name: &str) -> Result<CommitFacts, RepoError> {
        let missing = || RepoError::NoCommit { name: name.to_owned(), path: self.path.clone() };
        let id = self
            .git(&[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                &format!("{name}^{{commit}}"),
            ])
            .map_err(|error| match error {
                RepoError::Git { .. } => missing(),
                other => other,
            })?;
        let id = String::from_utf8_lossy(&id).trim().to_owned();
        let shown = self.git(&["show", "-s", "--format=%ct%n%T%n%an <%ae>%n%s", &id])?;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let mut lines = shown.lines();
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let time_s = next().trim().parse().map_err(|_| missing())?;
        let (tree, author, subject) = (next(), next(), next());
        let commit = Commit::new(id).map_err(|_| missing())?;
        Ok(CommitFacts { commit, time_s, tree, subject, author })
    }

    /// The bytes of a file at a commit; a link is not followed.
    ///
    /// # Errors
    /// When the commit has no such file, or it is larger than [`FILE_BYTES_MAX`].
    pub fn read_file(&self, commit: &Commit, file: &str) -> Result<Vec<u8>, RepoError> {
        let missing = || RepoError::NoFile { commit: commit.to_string(), file: file.to_owned() };
        let object = format!("{commit}:{file}");
        let of = |error| match error {
            RepoError::Git { .. } => missing(),
            other => other,
        };
        let kind = self.git(&["cat-file", "-t", &object]).map_err(of)?;
        if kind.trim_ascii() != b"blob" {
            return Err(missing());
        }
        let size = self.git(&["cat-file", "-s", &object])?;
        let bytes = String::from_utf8_lossy(&size).trim().parse().map_err(|_| missing())?;
        if bytes > FILE_BYTES_MAX {
            return Err(RepoError::TooLarge { file: file.to_owned(), bytes });
        }
        self.git(&["cat-file", "blob", &object])
    }

    /// Names of files at the commit, relative to its root.
    ///
    /// # Errors
    /// When git cannot list them.
    pub fn files(&self, commit: &Commit) -> Result<Vec<String>, RepoError> {
        let listed =
            self.git(&["ls-tree", "-r", "-z", "--full-tree", "--name-only", commit.as_str()])?;
        let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Whether the working tree differs from `HEAD`, untracked files included. Only worth a warning: builds never
    /// read the working tree.
    ///
    /// # Errors
    /// When git cannot tell, as in a bare repository.
    pub fn is_dirty(&self) -> Result<bool, RepoError> {
        Ok(!self.git(&["status", "--porcelain", "--untracked-files=normal"])?.is_empty())
    }

    /// Writes the commit's files into an empty folder, each with the commit's time.
    ///
    /// # Errors
    /// When the commit holds what cannot be written: submodules, LFS pointers, paths out of the folder.
    pub fn export(&self, facts: &CommitFacts, into: &Path) -> Result<(), RepoError> {
        let entries = self.entries(&facts.commit)?;
        let mut blobs = Blobs::start(self)?;
        let time = moment(facts.time_s);
        for entry in &entries {
            let bytes = blobs.read(&entry.object)?;
            if bytes.starts_with(LFS_POINTER) && entry.kind != Kind::Link {
                return Err(RepoError::LargeFile { file: entry.path.display().to_string() });
            }
            let path = into.join(&entry.path);
            write(&path, entry.kind, &bytes, time)
                .map_err(|source| RepoError::Unwritable { path, source })?;
        }
        Ok(())
    }

    fn entries(&self, commit: &Commit) -> Result<Vec<Entry>, RepoError> {
        let listed = self.git(&["ls-tree", "-r", "-z", "--full-tree", commit.as_str()])?;
        let lines = listed.split(|byte| *byte == 0).filter(|line| !line.is_empty());
        let mut entries = Vec::new();
        for line in lines {
            if entries.len() == ENTRIES_MAX {
                return Err(RepoError::TooMany);
            }
            entries.push(entry(line)?);
        }
        Ok(entries)
    }

    fn git(&self, arguments: &[&str]) -> Result<Vec<u8>, RepoError> {
        let output = self.command(arguments).output().map_err(RepoError::NoGit)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("no reason given").to_owned();
        Err(RepoError::Git { action: arguments.first().copied().unwrap_or_default().into(), said })
    }

    /// Git without anybody's configuration: it never asks, runs no hook and fetches nothing.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear().current_dir(&self.path).stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let quiet = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
        ];
        command.envs(quiet);
        for setting in [
            "safe.directory=*",
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.quotePath=false",
        ] {
            command.args(["-c", setting]);
        }
        command.args(arguments);
        command
    }
}

/// One line of `git ls-tree -z`: mode, kind, object, a tab, the path.
fn entry(line: &[u8]) -> Result<Entry, RepoError> {
    let strange = || RepoError::Git { action: "ls-tree".into(), said: "a strange line".into() };
    let tab = line.iter().position(|byte| *byte == b'\t').ok_or_else(strange)?;
    let head = String::from_utf8_lossy(&line[..tab]).into_owned();
    let path = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(
        &line[tab + 1..],
    ));
    let file = path.display().to_string();
    let mut words = head.split(' ');
    let kind = match words.next() {
        Some("100644" | "100664") => Kind::File,
        Some("100755") => Kind::Program,
        Some("120000") => Kind::Link,
        Some("160000") => return Err(RepoError::Submodule { file }),
        _ => return Err(strange()),
    };
    let object = words.nth(1).ok_or_else(strange)?.to_owned();
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(RepoError::BadPath { file });
    }
    Ok(Entry { kind, object, path })
}

/// A running `git cat-file --batch`.
struct Blobs {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Blobs {
    fn start(repo: &Repo) -> Result<Blobs, RepoError> {
        let mut command = repo.command(&["cat-file", "--batch"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(RepoError::NoGit)?;
        let output = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        Ok(Blobs { child, output })
    }

    fn read(&mut self, object: &str) -> Result<Vec<u8>, RepoError> {
        self.try_read(object).map_err(|error| RepoError::Git {
            action: format!("cat-file of {object}"),
            said: error.to_string(),
        })
    }

    fn try_read(&mut self, object: &str) -> std::io::Result<Vec<u8>> {
        let input = self.child.stdin.as_mut().expect("a pipe was asked for");
        writeln!(input, "{object}")?;
        let mut head = String::new();
        self.output.read_line(&mut head)?;
        let size = head.trim().rsplit(' ').next().and_then(|word| word.parse::<usize>().ok());
        let size = size.ok_or_else(|| std::io::Error::other(format!("`{}`", head.trim())))?;
        let mut bytes = vec![0; size + 1]; // One line end follows.
        self.output.read_exact(&mut bytes)?;
        bytes.pop();
        Ok(bytes)
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Git refuses to store a link and a file below it in one tree, and parents are made before links could stand in for
/// them, so nothing is written through a link; `create_new` refuses the rest.
fn write(path: &Path, kind: Kind, bytes: &[u8], time: SystemTime) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if kind == Kind::Link {
        use std::os::unix::ffi::OsStrExt;
        return std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(bytes), path);
    }
    let mode = if kind == Kind::Program { 0o755 } else { 0o644 };
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.set_modified(time)
}

/// Seconds since 1970; a commit from before counts as 1970.
pub(crate) fn moment(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs())
}
