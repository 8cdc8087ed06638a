//! Node: `package-lock.json` and `npm-shrinkwrap.json`, versions 1 to 3. Hashes are those of the tarballs.
//!
//! The graph follows Node's own resolution: a package needs the nearest `node_modules` copy above it.

mod tree;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Companions, Distribution, Ecosystem, Graph, Hash, LockError, Package, Scope, SourceFile,
    bad_name, malformed, text,
};
use crate::dsse::decode_base64;
use crate::purl::{self, Parts};

pub const NPM: Ecosystem = Ecosystem {
    name: "npm",
    is_lock: |name| name == "package-lock.json" || name == "npm-shrinkwrap.json",
    companions: &["package.json"],
    read,
};

type Names = BTreeMap<String, serde_json::Value>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    lockfile_version: u32,
    /// Versions 2 and 3: by place in the tree.
    #[serde(default)]
    packages: Option<BTreeMap<String, Entry>>,
    /// Version 1 (and 2, for old clients): nested by name.
    #[serde(default)]
    dependencies: BTreeMap<String, tree::Node>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    link: bool,
    dev: bool,
    optional: bool,
    dev_optional: bool,
    dependencies: Names,
    dev_dependencies: Names,
    optional_dependencies: Names,
    peer_dependencies: Names,
}

/// What `package.json` says the service itself needs.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Manifest {
    dependencies: Names,
    dev_dependencies: Names,
    optional_dependencies: Names,
    peer_dependencies: Names,
}

fn read(file: &SourceFile<'_>, companions: &Companions<'_>) -> Result<Graph, LockError> {
    let lock: File = serde_json::from_str(text(file)?).map_err(|error| malformed(file, error))?;
    match (lock.lockfile_version, lock.packages) {
        (2 | 3, Some(packages)) => flat(file, &packages),
        (1 | 2, _) => tree::read(file, &lock.dependencies, companions),
        (3, None) => Err(malformed(file, "it has no `packages`")),
        (found, _) => {
            let path = file.path.to_owned();
            Err(LockError::Version { path, found: found.to_string(), expected: "1 to 3" })
        }
    }
}

fn flat(file: &SourceFile<'_>, entries: &BTreeMap<String, Entry>) -> Result<Graph, LockError> {
    let mut graph = Graph { edges_complete: true, ..Graph::default() };
    let links = link_names(entries);
    let mut indices: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, entry) in entries.iter().filter(|(place, entry)| !place.is_empty() && !entry.link) {
        indices.insert(place, graph.packages.len());
        graph.packages.push(package(file, place, links.get(place.as_str()).copied(), entry)?);
    }
    for (place, entry) in entries.iter().filter(|(_, entry)| !entry.link) {
        let needed = needed_names(place, entry).filter_map(|name| resolve(place, name, entries));
        let needed: Vec<usize> = needed.filter_map(|place| indices.get(place).copied()).collect();
        match indices.get(place.as_str()) {
            Some(index) => needed.into_iter().for_each(|to| graph.add_edge(*index, to)),
            None => graph.roots.extend(needed),
        }
    }
    // Members of a workspace are the service's own, whether or not its root asks for them.
    graph.roots.extend((0..graph.packages.len()).filter(|index| graph.packages[*index].local));
    Ok(graph)
}

/// The names under which folders of the source tree are linked: their entries often have none of their own.
fn link_names(entries: &BTreeMap<String, Entry>) -> BTreeMap<&str, &str> {
    let links = entries.iter().filter(|(_, entry)| entry.link);
    links
        .filter_map(|(place, entry)| Some((entry.resolved.as_deref()?, installed_name(place)?)))
        .collect()
}

fn installed_name(place: &str) -> Option<&str> {
    place.rsplit_once("node_modules/").map(|(_, name)| name)
}

fn needed_names<'a>(place: &str, entry: &'a Entry) -> impl Iterator<Item = &'a str> {
    // What the author of an installed package needed for development is not installed.
    let own = !place.split('/').any(|part| part == "node_modules");
    let dev = own.then_some(&entry.dev_dependencies);
    [&entry.dependencies, &entry.optional_dependencies, &entry.peer_dependencies]
        .into_iter()
        .chain(dev)
        .flat_map(|names| names.keys().map(String::as_str))
}

/// The place of `name` as seen from `place`: in its own `node_modules`, else in the nearest one above. Follows links.
fn resolve<'a>(place: &str, name: &str, entries: &'a BTreeMap<String, Entry>) -> Option<&'a str> {
    let mut folder = Some(place);
    while let Some(at) = folder {
        let candidate = if at.is_empty() {
            format!("node_modules/{name}")
        } else {
            format!("{at}/node_modules/{name}")
        };
        if let Some((found, entry)) = entries.get_key_value(&candidate) {
            return match (&entry.resolved, entry.link) {
                (Some(target), true) => {
                    entries.get_key_value(target.as_str()).map(|(place, _)| place.as_str())
                }
                _ => Some(found),
            };
        }
        folder = match at.rsplit_once('/') {
            Some((above, _)) => Some(above),
            None => (!at.is_empty()).then_some(""),
        };
    }
    None
}

fn package(
    file: &SourceFile<'_>,
    place: &str,
    link: Option<&str>,
    entry: &Entry,
) -> Result<Package, LockError> {
    let installed = installed_name(place);
    let folder = purl::split_path(place).1;
    let full_name = entry.name.as_deref().or(installed).or(link).unwrap_or(folder);
    let facts = Facts {
        full_name,
        version: entry.version.as_deref(),
        source: entry.resolved.as_deref(),
        integrity: entry.integrity.as_deref(),
    };
    let mut package = facts.package(file)?;
    package.local |= installed.is_none();
    package.scope = scope(entry.dev, entry.optional || entry.dev_optional);
    Ok(package)
}

fn scope(dev: bool, optional: bool) -> Scope {
    match (dev, optional) {
        (true, _) => Scope::Excluded,
        (false, true) => Scope::Optional,
        (false, false) => Scope::Required,
    }
}

/// What both forms of the file say about one package.
struct Facts<'a> {
    full_name: &'a str,
    version: Option<&'a str>,
    source: Option<&'a str>,
    integrity: Option<&'a str>,
}

impl Facts<'_> {
    fn package(&self, file: &SourceFile<'_>) -> Result<Package, LockError> {
        let (namespace, name) = purl::split_path(self.full_name);
        let git = self.source.filter(|source| source.starts_with("git")).map(purl::vcs_url);
        let qualifiers = [("vcs_url", git.as_deref().unwrap_or_default())];
        let parts = Parts { namespace, name, version: self.version, qualifiers: &qualifiers };
        let purl = purl::purl("npm", &parts).map_err(bad_name(file))?;
        let mut package = Package::new(purl, name, self.version.map(str::to_owned));
        package.group = namespace.map(str::to_owned);
        package.hashes =
            self.integrity.into_iter().flat_map(str::split_whitespace).filter_map(hash).collect();
        package.local = self.source.is_some_and(|source| source.starts_with("file:"));
        if let Some(url) =
            self.source.filter(|source| source.starts_with("https:") || source.starts_with("http:"))
        {
            package
                .distributions
                .push(Distribution { url: url.to_owned(), hashes: Default::default() });
        }
        Ok(package)
    }
}

/// Subresource integrity: `sha512-<base64>`, possibly with `?options`.
fn hash(integrity: &str) -> Option<Hash> {
    let (algorithm, digest) = integrity.split_once('-')?;
    let digest = digest.split('?').next()?;
    Hash::new(algorithm, &hex::encode(decode_base64(digest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_and_nested_copies_resolve_as_node_does() {
        let lock = r#"{"lockfileVersion":3,"packages":{
            "": {"workspaces":["packages/*"], "dependencies":{"ms":"2"}},
            "node_modules/ui": {"resolved":"packages/ui","link":true},
            "packages/ui": {"version":"0.1.0","dependencies":{"ms":"1","@a/b":"1"},"devDependencies":{"tap":"1"}},
            "packages/ui/node_modules/ms": {"version":"1.0.0"},
            "node_modules/ms": {"version":"2.0.0","devDependencies":{"tap":"1"}},
            "node_modules/@a/b": {"version":"1.0.0","dependencies":{"ms":"2","ui":"0"}},
            "node_modules/tap": {"version":"1.0.0","dev":true},
            "node_modules/alias": {"name":"real","version":"3.0.0","resolved":"git+ssh://git@example.com/real.git#00ff"}
        }}"#;
        let file = SourceFile { path: "package-lock.json", bytes: lock.as_bytes() };
        let graph = read(&file, &Companions { folder: "", files: &[] }).unwrap();
        let name = |index: &usize| graph.packages[*index].purl.as_str();
        let edges: Vec<(&str, Vec<&str>)> = graph
            .edges
            .iter()
            .map(|(from, to)| (name(from), to.iter().map(name).collect()))
            .collect();
        assert_eq!(
            edges,
            [
                ("pkg:npm/%40a/b@1.0.0", vec!["pkg:npm/ms@2.0.0", "pkg:npm/ui@0.1.0"]),
                (
                    "pkg:npm/ui@0.1.0",
                    vec!["pkg:npm/%40a/b@1.0.0", "pkg:npm/tap@1.0.0", "pkg:npm/ms@1.0.0"]
                ),
            ]
        );
        let roots: Vec<&str> = graph.roots.iter().map(name).collect();
        assert_eq!(roots, ["pkg:npm/ms@2.0.0", "pkg:npm/ui@0.1.0"]);
        assert!(graph.packages.iter().any(|package| package.purl
            == "pkg:npm/real@3.0.0?vcs_url=git%2Bssh:%2F%2Fgit%40example.com%2Freal.git%4000ff"));
    }

    #[test]
    fn integrity_becomes_hashes() {
        let hash = hash("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=?x").unwrap();
        assert_eq!(
            (hash.algorithm, hash.hex.as_str()),
            ("SHA-1", "da39a3ee5e6b4b0d3255bfef95601890afd80709")
        );
        assert_eq!(super::hash("sha512-AAAA"), None);
    }
}
