//! What a jail is given: files, network, user, power. Everything that is not named here is absent inside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::rung::Rung;

/// A command and the world it may see.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// How strong the walls are. Below `Namespaces` there are no mounts: see [`Spec::outside`].
    pub rung: Rung,
    /// What `/` is.
    pub root: Root,
    /// Host files and folders that appear inside, applied in this order.
    #[serde(default)]
    pub binds: Vec<Bind>,
    /// Fresh empty folders in memory, mounted before the binds.
    #[serde(default)]
    pub tmpfs: Vec<Tmpfs>,
    /// Small files written into the assembled root (not into a folder root).
    #[serde(default)]
    pub files: Vec<PlainFile>,
    /// Symbolic links made in the assembled root, such as `/lib` → `usr/lib`.
    #[serde(default)]
    pub symlinks: Vec<Symlink>,
    /// Whether `/proc` exists; it shows the jail's own processes only.
    pub proc: bool,
    /// Whether `/dev` has `null zero full random urandom tty`, `fd`, `stdin`, `stdout`, `stderr` and `shm`.
    pub dev: bool,
    /// What the command can reach.
    pub network: Network,
    /// The host name inside.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Who the command is, inside and (as root outside) outside.
    pub user: User,
    /// The folder the command starts in, as seen inside.
    pub cwd: PathBuf,
    /// The complete environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// The command; the first word is looked up in `PATH` of `env`, inside. Without any word the jail only puts its
    /// walls up and ends with 0, which is how a machine is probed.
    pub argv: Vec<String>,
    /// The file mode mask, such as `0o022`.
    pub umask: u32,
    /// How much it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Whether the jail dies with the process that made it (builds) or outlives it (instances).
    pub die_with_parent: bool,
    /// Whether a small init is pid 1 and the command its child. The kernel drops signals such as SIGTERM for a
    /// pid 1 without a handler, so long-lived services want it; a build step does not.
    pub init: bool,
}

/// What `/` is inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// An empty root in memory, filled by the other fields and then made read-only (binds keep their own right).
    Assembled,
    /// A folder of the host. Missing mount points are created in it.
    Folder {
        /// The folder on the host.
        path: PathBuf,
        /// Whether nothing can be written to it from inside.
        read_only: bool,
    },
}

/// A host file or folder that appears inside. Set-user-id bits and device files in it have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The path on the host; symbolic links are followed before the jail is entered.
    pub source: PathBuf,
    /// The absolute path inside.
    pub target: PathBuf,
    /// Whether nothing can be written to it from inside.
    pub read_only: bool,
}

/// An empty folder in memory, owned by the jail's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// The absolute path inside.
    pub target: PathBuf,
    /// The most it may hold, in bytes.
    pub size_bytes: u64,
    /// Its mode, such as `0o1777`.
    pub mode: u32,
}

/// A small file of the assembled root, readable by all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainFile {
    /// The absolute path inside.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A symbolic link of the assembled root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symlink {
    /// The absolute path of the link.
    pub link: PathBuf,
    /// What it says.
    pub to: PathBuf,
}

/// What the command can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// The network of the host.
    Host,
    /// A network of its own with nothing but loopback.
    Isolated,
}

/// Who the command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id inside.
    pub uid: u32,
    /// Group id inside; there are no further groups.
    pub gid: u32,
}

/// How much the jail may use. `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory of all processes together, in bytes (without a control group: address space of each process).
    pub memory_bytes: Option<u64>,
    /// Processor time per second, in thousandths of one core (needs a control group).
    pub cpu_millis: Option<u32>,
    /// Processes and threads together (without a control group: those of this user on the whole host).
    pub pids: Option<u32>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Size of any one written file, in bytes.
    pub file_size_bytes: Option<u64>,
    /// Time by the clock on the wall, in milliseconds; then the whole tree is killed.
    pub wall_ms: Option<u64>,
    /// How many processors the command can use and count, the first ones of the caller's.
    pub visible_cpus: Option<u32>,
}

impl Spec {
    /// A jail of `argv` that sees nothing yet: assembled root, no network, `/proc`, `/dev`, umask 022, dies with its
    /// parent.
    pub fn new(rung: Rung, argv: impl IntoIterator<Item = impl Into<String>>) -> Spec {
        Spec {
            rung,
            root: Root::Assembled,
            binds: vec![],
            tmpfs: vec![],
            files: vec![],
            symlinks: vec![],
            proc: true,
            dev: true,
            network: Network::Isolated,
            hostname: None,
            user: User { uid: 1000, gid: 1000 },
            cwd: PathBuf::from("/"),
            env: BTreeMap::new(),
            argv: argv.into_iter().map(Into::into).collect(),
            umask: 0o022,
            limits: Limits::default(),
            die_with_parent: true,
            init: false,
        }
    }

    /// Where a path of the inside is for the command at this rung: the same below `Namespaces` is the path on the
    /// host that a bind or the root folder stands for, because weaker rungs cannot mount.
    ///
    /// Callers of weaker rungs use it for every path they put into `argv` and `env`.
    pub fn outside(&self, inside: &Path) -> PathBuf {
        if self.rung == Rung::Namespaces {
            return inside.to_path_buf();
        }
        let bound = self.binds.iter().filter(|bind| inside.starts_with(&bind.target));
        if let Some(bind) = bound.max_by_key(|bind| bind.target.components().count()) {
            return joined(&bind.source, inside.strip_prefix(&bind.target));
        }
        match &self.root {
            Root::Folder { path, .. } => joined(path, inside.strip_prefix("/")),
            Root::Assembled => inside.to_path_buf(),
        }
    }
}

fn joined(outer: &Path, rest: Result<&Path, std::path::StripPrefixError>) -> PathBuf {
    match rest {
        Ok(rest) if !rest.as_os_str().is_empty() => outer.join(rest),
        _ => outer.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weaker_rung_translates_paths_by_the_longest_bind() {
        let mut spec = Spec::new(Rung::None, ["true"]);
        let bind = |source: &str, target: &str| Bind {
            source: source.into(),
            target: target.into(),
            read_only: false,
        };
        spec.binds = vec![bind("/scratch/w", "/w"), bind("/cache/h", "/w/home")];
        #[rustfmt::skip]
        let cases = [
            ("/w",            "/scratch/w"),
            ("/w/src/a.rs",   "/scratch/w/src/a.rs"),
            ("/w/home/x",     "/cache/h/x"),
            ("/usr/bin/cc",   "/usr/bin/cc"),
            ("/wide",         "/wide"),
        ];
        for (inside, expected) in cases {
            assert_eq!(spec.outside(Path::new(inside)), Path::new(expected));
        }
        spec.rung = Rung::Namespaces;
        assert_eq!(spec.outside(Path::new("/w/a")), Path::new("/w/a"));
    }
}
