//! Rust: `Cargo.lock`, versions 1 to 4. Hashes are those of the `.crate` files.
//!
//! The file does not tell normal dependencies from those for development, building, other platforms or unused features.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Companions, Ecosystem, Graph, Hash, LockError, Package, SourceFile, bad_name, malformed, text,
};
use crate::purl::{self, Parts};

pub const CARGO: Ecosystem =
    Ecosystem { name: "cargo", is_lock: |name| name == "Cargo.lock", companions: &[], read };

/// How lock files name the public registry: its index as git and as sparse protocol.
const PUBLIC: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// The newest version of the file's format that is known.
const VERSION_MAX: u32 = 4;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    version: Option<u32>,
    #[serde(default)]
    package: Vec<Entry>,
    /// Version 1 keeps checksums here: `checksum <name> <version> (<source>)`.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

fn read(file: &SourceFile<'_>, _: &Companions<'_>) -> Result<Graph, LockError> {
    let lock: File =
        toml::from_str(text(file)?).map_err(|error| malformed(file, error.message()))?;
    if let Some(version) = lock.version.filter(|version| *version > VERSION_MAX) {
        let path = file.path.to_owned();
        return Err(LockError::Version { path, found: version.to_string(), expected: "1 to 4" });
    }
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, entry) in lock.package.iter().enumerate() {
        by_name.entry(&entry.name).or_default().push(index);
    }
    let mut graph = Graph { edges_complete: true, ..Graph::default() };
    graph.unknown.push(format!(
        "`{}` does not tell which packages are only for development, building, other platforms or unused features",
        file.path
    ));
    for (index, entry) in lock.package.iter().enumerate() {
        graph.packages.push(package(file, entry, &lock.metadata)?);
        if entry.source.is_none() {
            graph.roots.insert(index);
        }
        for dependency in &entry.dependencies {
            let needed = resolve(dependency, &by_name, &lock.package).ok_or_else(|| {
                malformed(
                    file,
                    format!("`{}` needs `{dependency}`, which is not in it", entry.name),
                )
            })?;
            graph.add_edge(index, needed);
        }
    }
    Ok(graph)
}

fn package(
    file: &SourceFile<'_>,
    entry: &Entry,
    metadata: &BTreeMap<String, String>,
) -> Result<Package, LockError> {
    let source = entry.source.as_deref();
    let (git, registry);
    let qualifiers: &[(&'static str, &str)] = match source {
        Some(source) if source.starts_with("git+") => {
            git = purl::vcs_url(source);
            &[("vcs_url", git.as_str())]
        }
        Some(source) if !PUBLIC.contains(&source) => {
            registry = source.trim_start_matches("registry+").trim_start_matches("sparse+");
            &[("repository_url", registry)]
        }
        _ => &[],
    };
    let parts =
        Parts { namespace: None, name: &entry.name, version: Some(&entry.version), qualifiers };
    let purl = purl::purl("cargo", &parts).map_err(bad_name(file))?;
    let mut package = Package::new(purl, &entry.name, Some(entry.version.clone()));
    package.local = source.is_none();
    let former = source.and_then(|source| {
        metadata.get(&format!("checksum {} {} ({source})", entry.name, entry.version))
    });
    let checksum = entry.checksum.as_ref().or(former);
    package.hashes.extend(checksum.and_then(|hex| Hash::new("sha256", hex)));
    Ok(package)
}

/// `name`, `name version` or `name version (source)`: as much as it takes to be unique.
fn resolve(
    dependency: &str,
    by_name: &BTreeMap<&str, Vec<usize>>,
    entries: &[Entry],
) -> Option<usize> {
    let mut words = dependency.splitn(3, ' ');
    let (name, version, source) = (words.next()?, words.next(), words.next());
    let source = source.map(|source| source.trim_start_matches('(').trim_end_matches(')'));
    by_name.get(name)?.iter().copied().find(|index| {
        let entry = &entries[*index];
        version.is_none_or(|version| version == entry.version)
            && source.is_none_or(|source| Some(source) == entry.source.as_deref())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> Result<Graph, LockError> {
        let file = SourceFile { path: "Cargo.lock", bytes: text.as_bytes() };
        read(&file, &Companions { folder: "", files: &[] })
    }

    #[test]
    fn every_source_has_its_purl() {
        let lock = r#"
            version = 3
            [[package]]
            name = "a"
            version = "1.0.0"
            source = "git+https://example.com/a.git?branch=main#00112233"
            [[package]]
            name = "b"
            version = "1.0.0"
            source = "sparse+https://crates.example/index/"
            [[package]]
            name = "c"
            version = "1.0.0+meta"
            dependencies = ["a", "b 1.0.0"]
        "#;
        let graph = graph(lock).unwrap();
        let purls: Vec<&str> = graph.packages.iter().map(|package| package.purl.as_str()).collect();
        assert_eq!(
            purls,
            [
                "pkg:cargo/a@1.0.0?vcs_url=git%2Bhttps:%2F%2Fexample.com%2Fa.git%4000112233",
                "pkg:cargo/b@1.0.0?repository_url=https:%2F%2Fcrates.example%2Findex%2F",
                "pkg:cargo/c@1.0.0%2Bmeta",
            ]
        );
        assert_eq!(graph.roots, [2].into());
        assert_eq!(graph.edges, [(2, [0, 1].into())].into());
    }

    #[test]
    fn checksums_of_version_1_are_found() {
        let lock = format!(
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{0}\"\n[metadata]\n\"checksum a 1.0.0 ({0})\" = \"{1}\"\n",
            PUBLIC[0],
            "ab".repeat(32)
        );
        let graph = graph(&lock).unwrap();
        assert_eq!(graph.packages[0].hashes.len(), 1);
    }

    #[test]
    fn bad_files_are_named() {
        let cases = [
            ("version = 9", "`Cargo.lock` has the lock version 9; read are 1 to 4"),
            (
                "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\"b\"]",
                "`Cargo.lock` is malformed: `a` needs `b`, which is not in it",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(graph(text).unwrap_err().to_string(), message);
        }
    }
}
