//! Python: `uv.lock`, version 1. The file holds the project itself, so the graph is whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    Companions, Distribution, Ecosystem, Graph, Hash, LockError, Package, Scope, SourceFile,
    bad_name, malformed, text,
};
use crate::purl::{self, Parts};

pub const UV: Ecosystem =
    Ecosystem { name: "uv", is_lock: |name| name == "uv.lock", companions: &[], read };

const VERSION: u32 = 1;

#[derive(Deserialize)]
struct File {
    version: u32,
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: BTreeMap<String, toml::Value>,
    #[serde(default)]
    dependencies: Vec<Need>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Need>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<Need>>,
    sdist: Option<Artifact>,
    #[serde(default)]
    wheels: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Need {
    name: String,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Artifact {
    url: Option<String>,
    path: Option<String>,
    hash: Option<String>,
}

impl Entry {
    /// Part of the source tree: the project, a member of its workspace, a folder.
    fn is_local(&self) -> bool {
        ["editable", "virtual", "directory"].iter().any(|kind| self.source.contains_key(*kind))
    }

    fn source_text(&self, kind: &str) -> Option<&str> {
        self.source.get(kind)?.as_str()
    }
}

fn read(file: &SourceFile<'_>, _: &Companions<'_>) -> Result<Graph, LockError> {
    let lock: File =
        toml::from_str(text(file)?).map_err(|error| malformed(file, error.message()))?;
    if lock.version != VERSION {
        let path = file.path.to_owned();
        return Err(LockError::Version { path, found: lock.version.to_string(), expected: "1" });
    }
    let mut graph = Graph { edges_complete: true, ..Graph::default() };
    for entry in &lock.package {
        graph.packages.push(package(file, entry)?);
    }
    let by_name = by_name(&lock.package);
    let resolve = |need: &Need| {
        let versions = by_name.get(need.name.as_str()).into_iter().flatten().copied();
        // The version stands there only where several are locked.
        versions
            .filter(|index| need.version.is_none() || need.version == lock.package[*index].version)
            .collect::<Vec<_>>()
    };
    // What only a local package's extras and groups lead to is told from what it needs to run.
    let (mut extras, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let mut later = vec![];
    for (index, entry) in lock.package.iter().enumerate() {
        let needed: Vec<usize> = entry.dependencies.iter().flat_map(resolve).collect();
        needed.into_iter().for_each(|to| graph.add_edge(index, to));
        let extra: Vec<usize> =
            entry.optional_dependencies.values().flatten().flat_map(resolve).collect();
        let group: Vec<usize> =
            entry.dev_dependencies.values().flatten().flat_map(resolve).collect();
        if entry.is_local() {
            graph.roots.insert(index);
            later.extend(extra.iter().chain(&group).map(|to| (index, *to)));
            extras.extend(extra);
            groups.extend(group);
        } else {
            extra.into_iter().for_each(|to| graph.add_edge(index, to));
        }
    }
    let required = graph.reachable(graph.roots.iter().copied());
    let optional = graph.reachable(extras);
    let excluded = graph.reachable(groups);
    for (index, package) in graph.packages.iter_mut().enumerate() {
        package.scope = match () {
            () if required.contains(&index) => Scope::Required,
            () if optional.contains(&index) => Scope::Optional,
            () if excluded.contains(&index) => Scope::Excluded,
            () => Scope::Required,
        };
    }
    later.into_iter().for_each(|(from, to)| graph.add_edge(from, to));
    Ok(graph)
}

fn by_name(entries: &[Entry]) -> BTreeMap<&str, Vec<usize>> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        by_name.entry(&entry.name).or_default().push(index);
    }
    by_name
}

fn package(file: &SourceFile<'_>, entry: &Entry) -> Result<Package, LockError> {
    let name = purl::pypi_name(&entry.name);
    let git = entry.source_text("git").map(purl::vcs_url).unwrap_or_default();
    let download = entry.source_text("url").unwrap_or_default();
    let qualifiers = [("vcs_url", git.as_str()), ("download_url", download)];
    let parts = Parts {
        namespace: None,
        name: &name,
        version: entry.version.as_deref(),
        qualifiers: &qualifiers,
    };
    let purl = purl::purl("pypi", &parts).map_err(bad_name(file))?;
    let mut package = Package::new(purl, name, entry.version.clone());
    package.local = entry.is_local();
    for artifact in entry.sdist.iter().chain(&entry.wheels) {
        let Some(url) = artifact.url.as_ref().or(artifact.path.as_ref()) else { continue };
        let hashes = artifact.hash.as_deref().and_then(Hash::from_prefixed).into_iter().collect();
        package.distributions.push(Distribution { url: url.clone(), hashes });
    }
    Ok(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_follow_from_the_graph() {
        let lock = r#"
            version = 1
            [[package]]
            name = "app"
            version = "0.1.0"
            source = { editable = "." }
            dependencies = [{ name = "a" }]
            [package.optional-dependencies]
            x = [{ name = "b" }]
            [package.dev-dependencies]
            dev = [{ name = "c", version = "2" }]
            [[package]]
            name = "a"
            version = "1"
            source = { registry = "https://example.com/simple" }
            [[package]]
            name = "b"
            version = "1"
            source = { git = "https://example.com/b?rev=main#00ff" }
            dependencies = [{ name = "a" }, { name = "c", version = "1" }]
            [[package]]
            name = "c"
            version = "1"
            [[package]]
            name = "c"
            version = "2"
        "#;
        let file = SourceFile { path: "uv.lock", bytes: lock.as_bytes() };
        let graph = read(&file, &Companions { folder: "", files: &[] }).unwrap();
        let scopes: Vec<Scope> = graph.packages.iter().map(|package| package.scope).collect();
        assert_eq!(
            scopes,
            [Scope::Required, Scope::Required, Scope::Optional, Scope::Optional, Scope::Excluded]
        );
        assert_eq!(graph.edges, [(0, [1, 2, 4].into()), (2, [1, 3].into())].into());
        assert_eq!(
            graph.packages[2].purl,
            "pkg:pypi/b@1?vcs_url=git%2Bhttps:%2F%2Fexample.com%2Fb%4000ff"
        );
        assert_eq!(graph.roots, [0].into());
    }

    #[test]
    fn a_newer_version_is_refused() {
        let file = SourceFile { path: "uv.lock", bytes: b"version = 2" };
        let error = read(&file, &Companions { folder: "", files: &[] }).unwrap_err();
        assert_eq!(error.to_string(), "`uv.lock` has the lock version 2; read are 1");
    }
}
