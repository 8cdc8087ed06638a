//! Which package of the host owns a file, so that its SBOM can be matched against advisories. Only Debian's dpkg is asked; other hosts give files without a package.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// A package of the host's distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPackage {
    /// The package manager: `deb`.
    pub manager: String,
    /// `debian`, `ubuntu`.
    pub distribution: String,
    /// The distribution's release, such as `12`; empty for rolling ones.
    pub release: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
}

/// As many paths as fit into one command line with room to spare.
const PATHS_AT_ONCE: usize = 400;

/// The owners of those files that a package manager knows.
pub fn owners(files: &[PathBuf]) -> BTreeMap<PathBuf, HostPackage> {
    let mut names = BTreeMap::new();
    for some in files.chunks(PATHS_AT_ONCE) {
        names.extend(search(some));
    }
    let packages = describe(&names.values().cloned().collect::<Vec<_>>());
    names
        .into_iter()
        .filter_map(|(path, name)| Some((path, packages.get(&name)?.clone())))
        .collect()
}

/// Where `/lib` is a link to `usr/lib`, dpkg may know a file under either name, so it is asked for both.
fn search(files: &[PathBuf]) -> BTreeMap<PathBuf, String> {
    let mut asked = BTreeMap::new();
    for file in files {
        asked.insert(file.clone(), file.clone());
        if let Ok(rest) = file.strip_prefix("/usr") {
            asked.insert(Path::new("/").join(rest), file.clone());
        }
    }
    let arguments = asked.keys().map(|path| path.as_os_str());
    let text = output(Command::new("dpkg-query").arg("-S").args(arguments));
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with("diversion ")) {
        let Some((names, path)) = line.split_once(": ") else { continue };
        if let Some(file) = asked.get(Path::new(path)) {
            let first = names.split(", ").next().unwrap_or_default();
            found.insert(file.clone(), first.to_owned());
        }
    }
    found
}

fn describe(names: &[String]) -> BTreeMap<String, HostPackage> {
    let mut unique: Vec<_> = names.to_vec();
    unique.sort();
    unique.dedup();
    if unique.is_empty() {
        return BTreeMap::new();
    }
    let (distribution, release) = distribution();
    let format = "${Package}\\t${Version}\\t${Architecture}\\n";
    let mut packages = BTreeMap::new();
    for name in unique {
        let text = output(Command::new("dpkg-query").args(["-W", "-f", format, &name]));
        let fields: Vec<_> = text.lines().next().unwrap_or_default().split('\t').collect();
        if let [package, version, architecture] = fields[..] {
            let described = HostPackage {
                manager: "deb".into(),
                distribution: distribution.clone(),
                release: release.clone(),
                name: package.into(),
                version: version.into(),
                architecture: architecture.into(),
            };
            packages.insert(name, described);
        }
    }
    packages
}

/// Names and versions from `/etc/os-release` (os-release(5)).
fn distribution() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    (field("ID"), field("VERSION_ID"))
}

/// What it prints, even when it also complains: dpkg-query fails when it does not know one of many files.
fn output(command: &mut Command) -> String {
    command.env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libc_belongs_to_its_package() {
        if !Path::new("/usr/bin/dpkg-query").exists() {
            assert!(owners(&["/usr/bin/env".into()]).is_empty());
            return;
        }
        let file = Path::new("/usr/bin/env").canonicalize().unwrap();
        let found = owners(&[file.clone(), "/no/such/file".into()]);
        assert_eq!(found[&file].name, "coreutils");
        assert!(!found[&file].version.is_empty() && found.len() == 1);
    }
}
