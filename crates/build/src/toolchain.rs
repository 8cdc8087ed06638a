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
    let home = std::env::var("HOME").unwrap_or_default();
    let rustup = std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{home}/.rustup"));
    let mut found = Found::default();
    for tool in TOOLS {
        if let Some(program) = lookup(tool, &path) {
            found.add(tool, &program, Path::new(&rustup));
        }
    }
    for folder in path.split(':').chain(["/usr/local/bin", "/usr/bin", "/bin"]) {
        if is_system(Path::new(folder)) {
            found.add_path(folder);
        }
    }
    found
}

impl Found {
    fn add(&mut self, tool: &str, program: &Path, rustup: &Path) {
        let Ok(real) = program.canonicalize() else { return };
        if real.file_name().is_some_and(|name| name == "rustup") {
            // The proxies choose the toolchain inside, where what a repository says about it can do no harm.
            let Some(folder) = program.parent() else { return };
            self.mount(rustup);
            self.mount(folder);
            self.env.insert("RUSTUP_HOME".into(), rustup.display().to_string());
            self.env.insert("RUSTUP_AUTO_INSTALL".into(), "0".into());
            self.add_path(&folder.display().to_string());
            return;
        }
        let real = if is_script(&real) { asked(tool, program).unwrap_or(real) } else { real };
        let Some(folder) = real.parent() else { return };
        if !is_system(folder) {
            // `PREFIX/bin/tool` needs `PREFIX/lib` and `PREFIX/share` too.
            let named_bin = folder.file_name().is_some_and(|name| name == "bin");
            let prefix = folder.parent().filter(|prefix| named_bin && prefix.parent().is_some());
            self.mount(prefix.unwrap_or(folder));
        }
        self.add_path(&folder.display().to_string());
    }

    fn mount(&mut self, folder: &Path) {
        let there = self.mounts.iter().any(|mount| folder.starts_with(mount));
        if !there && folder.is_dir() {
            self.mounts.push(folder.to_path_buf());
        }
    }

    fn add_path(&mut self, folder: &str) {
        if !self.path.iter().any(|known| known == folder) && Path::new(folder).is_dir() {
            self.path.push(folder.to_owned());
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
