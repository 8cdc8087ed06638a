//! Finds the host's compilers and package clients through `PATH`, so that they can be mounted read-only and named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use humdrum_model::name::Digest;
use serde::{Deserialize, Serialize};

/// Folders of the host that every sandbox has.
pub(crate) const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"];

/// A program of the host that builds with this plan could run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// `rustc`, `go`, `node` and so on.
    pub name: String,
    /// The first line of its version output.
    pub version: String,
    /// Its program on the host.
    pub path: PathBuf,
    /// Digest of that program.
    pub digest: Digest,
}

/// What to mount and set so that the toolchains work inside.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Folders to mount read-only at their own path.
    pub mounts: Vec<PathBuf>,
    /// The folders of `PATH` inside, in the host's order.
    pub path: Vec<String>,
    /// Further variables, such as `RUSTUP_HOME`.
    pub env: BTreeMap<String, String>,
}

/// The names that are looked for.
const TOOLS: [&str; 8] = ["rustc", "cargo", "go", "node", "npm", "python3", "uv", "cc"];

/// Looks the toolchains up in the environment of this process.
pub fn find() -> Found {
    let path = std::env::var("PATH").unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let rustup = std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{home}/.rustup"));
    let mut found = Found::default();
    // Host folder of `PATH` to the folder that stands in for it inside.
    let mut instead: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for tool in TOOLS {
        let Some(program) = lookup(tool, &path) else { continue };
        let Some(folder) = program.parent() else { continue };
        if let Some(inside) = found.add(tool, &program, Path::new(&rustup), Path::new(&home)) {
            let known = instead.entry(folder.to_path_buf()).or_default();
            if !known.contains(&inside) {
                known.push(inside);
            }
        }
    }
    for folder in path.split(':').chain(["/usr/local/bin", "/usr/bin", "/bin"]).map(Path::new) {
        if is_system(folder) {
            found.add_path(folder);
        }
        for inside in instead.get(folder).into_iter().flatten() {
            found.add_path(inside);
        }
    }
    found
}

impl Found {
    /// Mounts what a tool needs. Returns the folder to look it up in, unless that is a system folder anyway.
    fn add(&mut self, tool: &str, program: &Path, rustup: &Path, home: &Path) -> Option<PathBuf> {
        let real = program.canonicalize().ok()?;
        let folder = program.parent()?;
        if real.file_name().is_some_and(|name| name == "rustup") {
            // The proxies choose the toolchain inside, where what a repository says about it can do no harm.
            self.mount(rustup);
            self.mount(folder);
            self.env.insert("RUSTUP_HOME".into(), rustup.display().to_string());
            self.env.insert("RUSTUP_AUTO_INSTALL".into(), "0".into());
            return Some(folder.to_path_buf());
        }
        let meant = if is_script(&real) { asked(tool, program) } else { None };
        if let Some(meant) = meant.filter(|meant| meant.parent() != real.parent()) {
            let folder = meant.parent()?;
            self.mount_prefix(folder, home);
            return Some(folder.to_path_buf());
        }
        self.mount_prefix(real.parent()?, home);
        self.mount_prefix(folder, home);
        (!is_system(folder)).then(|| folder.to_path_buf())
    }

    /// `PREFIX/bin` needs `PREFIX/lib` and `PREFIX/share` too; but a home folder is nobody's prefix.
    fn mount_prefix(&mut self, folder: &Path, home: &Path) {
        if is_system(folder) {
            return;
        }
        let named_bin = folder.file_name().is_some_and(|name| name == "bin");
        let private = |prefix: &Path| home.starts_with(prefix) || prefix == home.join(".local");
        let prefix = folder.parent().filter(|prefix| named_bin && !private(prefix));
        self.mount(prefix.unwrap_or(folder));
    }

    fn mount(&mut self, folder: &Path) {
        let there = self.mounts.iter().any(|mount| folder.starts_with(mount));
        if !there && folder.is_dir() {
            self.mounts.push(folder.to_path_buf());
        }
    }

    fn add_path(&mut self, folder: &Path) {
        let text = folder.display().to_string();
        if !self.path.contains(&text) && folder.is_dir() {
            self.path.push(text);
        }
    }

    /// Whether a path of the host is visible inside, and the same there.
    pub(crate) fn shows(&self, path: &Path) -> bool {
        is_system(path) || self.mounts.iter().any(|mount| path.starts_with(mount))
    }
}

fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

fn lookup(tool: &str, path: &str) -> Option<PathBuf> {
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    folders.map(|folder| Path::new(folder).join(tool)).find(|program| program.is_file())
}

/// Version managers put scripts into `PATH` that start the real program.
fn is_script(path: &Path) -> bool {
    use std::io::Read;
    let mut head = [0; 2];
    std::fs::File::open(path).is_ok_and(|mut f| f.read_exact(&mut head).is_ok()) && head == *b"#!"
}

/// Asks a program where it really is. Run in `/`, so that no repository can choose the version.
fn asked(tool: &str, program: &Path) -> Option<PathBuf> {
    let question: &[&str] = match tool {
        "python3" => &["-I", "-c", "import os, sys; print(os.path.realpath(sys.executable))"],
        "node" => &["-p", "process.execPath"],
        _ => return None,
    };
    let answer = run(program, question)?;
    Some(PathBuf::from(answer.trim())).filter(|path| path.is_file())
}

/// The output of a program of the host, started in `/` with nothing on its input.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// A program of the host by the lookup that [`find`] does, through version managers.
pub(crate) fn program(tool: &str) -> Option<PathBuf> {
    let found = lookup(tool, &std::env::var("PATH").unwrap_or_default())?;
    let real = found.canonicalize().ok()?;
    if is_script(&real) { asked(tool, &found) } else { Some(real) }
}

/// A shell script that prints `name<tab>path<tab>version` for each tool, run inside.
pub(crate) fn version_script() -> String {
    let mut script = String::new();
    for tool in TOOLS {
        let version = if tool == "go" { "version" } else { "--version" };
        let real = match tool {
            "rustc" | "cargo" => format!("$(rustc --print sysroot)/bin/{tool}"),
            _ => format!("$(command -v {tool})"),
        };
        script.push_str(&format!(
            "if v=$({tool} {version} 2>/dev/null); then printf '{tool}\\t%s\\t%s\\n' \"{real}\" \"$(printf %s \"$v\" | head -n 1)\"; fi\n"
        ));
    }
    script
}

/// Reads what [`version_script`] printed, and hashes the programs.
pub(crate) fn read_versions(output: &str, found: &Found) -> Vec<Toolchain> {
    let mut tools = Vec::new();
    for line in output.lines() {
        let mut fields = line.splitn(3, '\t');
        let (Some(name), Some(path), Some(version)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // A program of the checkout is no toolchain of the host, and its path means nothing here.
        let Ok(path) = Path::new(path).canonicalize() else { continue };
        if !found.shows(&path) {
            continue;
        }
        if let Ok((digest, _)) = crate::layer::digest_file(&path) {
            let (name, version) = (name.to_owned(), version.to_owned());
            tools.push(Toolchain { name, version, path, digest });
        }
    }
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_mounted_but_never_a_home() {
        let scratch = tempfile::tempdir().unwrap();
        let home = scratch.path().join("home");
        #[rustfmt::skip]
        let cases = [
            ("opt/node/bin",        "opt/node"),
            ("home/bin",            "home/bin"),
            ("home/.local/bin",     "home/.local/bin"),
            ("home/.nvm/v20/bin",   "home/.nvm/v20"),
            ("tools",               "tools"),
        ];
        for (folder, expected) in cases {
            std::fs::create_dir_all(scratch.path().join(folder)).unwrap();
            let mut found = Found::default();
            found.mount_prefix(&scratch.path().join(folder), &home);
            assert_eq!(found.mounts, [scratch.path().join(expected)], "{folder}");
        }
    }
}
