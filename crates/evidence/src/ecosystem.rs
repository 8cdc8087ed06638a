//! Lock files: what each package manager pinned, and which package needs which.
//!
//! One file per ecosystem in `ecosystem/`; [`all`] lists them. A reader takes bytes and gives a [`Graph`]; it never guesses:
//! what a lock file does not say stands in [`Graph::unknown`].

pub mod cargo;
pub mod golang;
pub mod npm;
pub mod poetry;
pub mod requirements;
pub mod uv;

use std::collections::{BTreeMap, BTreeSet};

use crate::purl::PurlError;

/// The largest lock file that is read, in bytes; large monorepos have 10 MB.
pub const LOCK_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most packages of one lock file.
pub const PACKAGES_MAX: usize = 200_000;

/// A file of the source tree: path from its root, and content.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    pub path: &'a str,
    pub bytes: &'a [u8],
}

/// One package manager's lock file.
pub struct Ecosystem {
    pub name: &'static str,
    /// Whether a file name (without folders) is the lock file.
    pub is_lock: fn(&str) -> bool,
    /// Files beside the lock file that the reader also uses where they are there.
    pub companions: &'static [&'static str],
    /// The reader. The second argument finds a companion by name.
    pub read: fn(&SourceFile<'_>, &Companions<'_>) -> Result<Graph, LockError>,
}

/// The files in the folder of a lock file.
pub struct Companions<'a> {
    folder: &'a str,
    files: &'a [SourceFile<'a>],
}

/// What one lock file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    pub packages: Vec<Package>,
    /// Indices of the packages that the service itself asks for.
    pub roots: BTreeSet<usize>,
    /// Index to the indices it needs.
    pub edges: BTreeMap<usize, BTreeSet<usize>>,
    /// Whether `edges` is all there is.
    pub edges_complete: bool,
    /// What the file does not tell, as sentences for people.
    pub unknown: Vec<String>,
}

/// One locked package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub purl: String,
    pub group: Option<String>,
    pub name: String,
    /// None when the file does not pin it.
    pub version: Option<String>,
    pub hashes: BTreeSet<Hash>,
    /// The files that the package can be installed from, where a lock lists several.
    pub distributions: Vec<Distribution>,
    pub scope: Scope,
    /// Part of the service's own source tree.
    pub local: bool,
    /// Further facts of the lock file, by name.
    pub properties: BTreeMap<&'static str, String>,
}

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Needed to run (or the file does not say).
    Required,
    /// Only on some platforms or with some features.
    Optional,
    /// Only to develop, build or test.
    Excluded,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distribution {
    pub url: String,
    pub hashes: BTreeSet<Hash>,
}

/// A hash as CycloneDX writes it: `SHA-256` and lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash {
    pub algorithm: &'static str,
    pub hex: String,
}

/// Why a lock file cannot be read. Each message completes "cannot describe the dependencies: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    #[error("`{path}` has {bytes} bytes; at most {max} are read")]
    TooLarge { path: String, bytes: usize, max: usize },
    #[error("`{path}` lists more than {max} packages")]
    TooManyPackages { path: String, max: usize },
    #[error("`{path}` is malformed: {why}")]
    Malformed { path: String, why: String },
    #[error("`{path}` has the lock version {found}; read are {expected}")]
    Version { path: String, found: String, expected: &'static str },
    #[error("`{path}` names a package badly")]
    Name { path: String, source: PurlError },
}

/// Every ecosystem that is read, in the order in which components of equal name are explained.
pub fn all() -> &'static [Ecosystem] {
    &[cargo::CARGO, npm::NPM, golang::GOLANG, requirements::REQUIREMENTS, poetry::POETRY, uv::UV]
}

/// Lock files of package managers that are not read yet: the SBOM says so instead of looking complete.
const NOT_READ: &[&str] = &[
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "bun.lockb",
    "Pipfile.lock",
    "pdm.lock",
    "Gemfile.lock",
    "composer.lock",
    "packages.lock.json",
    "gradle.lockfile",
    "mix.lock",
    "Package.resolved",
    "pubspec.lock",
];

/// Folders whose lock files belong to installed packages, not to the service.
const FOREIGN_FOLDERS: &[&str] =
    &["node_modules", "vendor", "target", ".venv", "venv", "site-packages", ".git"];

/// Whether a path of the source tree is worth handing to [`read_all`]: a lock file, a companion, or a lock file that is not read.
pub fn is_wanted(path: &str) -> bool {
    let (folder, name) = split(path);
    if folder.split('/').any(|part| FOREIGN_FOLDERS.contains(&part)) {
        return false;
    }
    NOT_READ.contains(&name)
        || all()
            .iter()
            .any(|ecosystem| (ecosystem.is_lock)(name) || ecosystem.companions.contains(&name))
}

/// One lock file with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockGraph {
    pub path: String,
    pub ecosystem: &'static str,
    pub graph: Graph,
}

/// Reads every lock file among `files`, ordered by path, and names those that are not read.
pub fn read_all(files: &[SourceFile<'_>]) -> Result<(Vec<LockGraph>, Vec<String>), LockError> {
    let mut ordered: Vec<SourceFile<'_>> =
        files.iter().copied().filter(|file| is_wanted(file.path)).collect();
    ordered.sort_by_key(|file| file.path);
    ordered.dedup_by_key(|file| file.path);
    let (mut graphs, mut not_read) = (vec![], vec![]);
    for file in &ordered {
        let (folder, name) = split(file.path);
        if NOT_READ.contains(&name) {
            not_read.push(format!("`{}` is of a package manager that is not read", file.path));
        }
        let Some(ecosystem) = all().iter().find(|ecosystem| (ecosystem.is_lock)(name)) else {
            continue;
        };
        if file.bytes.len() > LOCK_FILE_BYTES_MAX {
            let path = file.path.to_owned();
            return Err(LockError::TooLarge {
                path,
                bytes: file.bytes.len(),
                max: LOCK_FILE_BYTES_MAX,
            });
        }
        let graph = (ecosystem.read)(file, &Companions { folder, files: &ordered })?;
        if graph.packages.len() > PACKAGES_MAX {
            return Err(LockError::TooManyPackages {
                path: file.path.to_owned(),
                max: PACKAGES_MAX,
            });
        }
        graphs.push(LockGraph { path: file.path.to_owned(), ecosystem: ecosystem.name, graph });
    }
    Ok((graphs, not_read))
}

impl Companions<'_> {
    /// The file of this name in the lock file's folder.
    pub fn find(&self, name: &str) -> Option<SourceFile<'_>> {
        self.files.iter().copied().find(|file| split(file.path) == (self.folder, name))
    }
}

impl Graph {
    pub fn add_edge(&mut self, from: usize, to: usize) {
        if from != to {
            self.edges.entry(from).or_default().insert(to);
        }
    }

    /// The packages that no other package needs: the best guess at the roots where a file does not name them.
    pub fn without_dependents(&self) -> BTreeSet<usize> {
        let needed: BTreeSet<usize> = self.edges.values().flatten().copied().collect();
        (0..self.packages.len()).filter(|index| !needed.contains(index)).collect()
    }

    /// All that can be reached from some packages, themselves included.
    pub fn reachable(&self, from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut open: Vec<usize> = from.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(index) = open.pop() {
            if seen.insert(index) {
                open.extend(self.edges.get(&index).into_iter().flatten());
            }
        }
        seen
    }
}

impl Package {
    /// A required package without hashes.
    pub fn new(purl: String, name: impl Into<String>, version: Option<String>) -> Self {
        Self {
            purl,
            group: None,
            name: name.into(),
            version,
            hashes: BTreeSet::new(),
            distributions: vec![],
            scope: Scope::Required,
            local: false,
            properties: BTreeMap::new(),
        }
    }
}

impl Hash {
    /// From `sha256:<hex>` or `sha512:<hex>`; none for an algorithm that CycloneDX does not know or digits that do not fit.
    pub fn from_prefixed(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        Self::new(algorithm, hex)
    }

    pub(crate) fn new(algorithm: &str, hex: &str) -> Option<Self> {
        let (algorithm, bytes) = match algorithm.to_ascii_lowercase().as_str() {
            "md5" => ("MD5", 16),
            "sha1" => ("SHA-1", 20),
            "sha256" => ("SHA-256", 32),
            "sha384" => ("SHA-384", 48),
            "sha512" => ("SHA-512", 64),
            _ => return None,
        };
        let fits = hex.len() == bytes * 2 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        fits.then(|| Self { algorithm, hex: hex.to_ascii_lowercase() })
    }
}

/// The text of a lock file.
pub(crate) fn text<'a>(file: &SourceFile<'a>) -> Result<&'a str, LockError> {
    std::str::from_utf8(file.bytes).map_err(|error| malformed(file, format!("not UTF-8: {error}")))
}

pub(crate) fn malformed(file: &SourceFile<'_>, why: impl std::fmt::Display) -> LockError {
    LockError::Malformed { path: file.path.to_owned(), why: why.to_string().trim_end().to_owned() }
}

pub(crate) fn bad_name(file: &SourceFile<'_>) -> impl Fn(PurlError) -> LockError {
    let path = file.path.to_owned();
    move |source| LockError::Name { path: path.clone(), source }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_service_are_wanted() {
        let cases = [
            ("Cargo.lock", true),
            ("web/package-lock.json", true),
            ("web/node_modules/a/package-lock.json", false),
            ("vendor/a/go.mod", false),
            ("go.sum", true),
            ("requirements-dev.txt", true),
            ("yarn.lock", true),
            ("src/main.rs", false),
        ];
        for (path, wanted) in cases {
            assert_eq!(is_wanted(path), wanted, "{path}");
        }
    }

    #[test]
    fn lock_files_that_are_not_read_are_named() {
        let files = [SourceFile { path: "web/yarn.lock", bytes: b"" }];
        let (graphs, not_read) = read_all(&files).unwrap();
        assert!(graphs.is_empty());
        assert_eq!(not_read, ["`web/yarn.lock` is of a package manager that is not read"]);
    }

    #[test]
    fn hashes_are_checked() {
        assert!(Hash::from_prefixed("sha256:00").is_none());
        assert!(Hash::from_prefixed("blake9:00").is_none());
        let hash = Hash::from_prefixed(&format!("sha1:{}", "AB".repeat(20))).unwrap();
        assert_eq!((hash.algorithm, hash.hex.as_str()), ("SHA-1", &*"ab".repeat(20)));
    }
}
