//! Version 1 of the lock file: packages nested by name, as old clients laid out `node_modules`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Facts, Manifest, scope};
use crate::ecosystem::{Companions, Graph, LockError, Package, SourceFile, malformed};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Node {
    version: String,
    resolved: Option<String>,
    integrity: Option<String>,
    dev: bool,
    optional: bool,
    requires: Requires,
    dependencies: BTreeMap<String, Node>,
}

/// `requires` is a map of names to ranges, or a flag.
#[derive(Deserialize)]
#[serde(untagged)]
enum Requires {
    Names(BTreeMap<String, String>),
    Flag(#[expect(dead_code, reason = "only its form is read")] bool),
}

impl Default for Requires {
    fn default() -> Self {
        Self::Names(BTreeMap::new())
    }
}

/// One level of the tree: the copies that everything below can see.
struct Level<'a> {
    indices: &'a BTreeMap<&'a str, usize>,
    above: Option<&'a Level<'a>>,
}

impl Level<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        self.indices.get(name).copied().or_else(|| self.above?.find(name))
    }
}

pub(super) fn read(
    file: &SourceFile<'_>,
    nodes: &BTreeMap<String, Node>,
    companions: &Companions<'_>,
) -> Result<Graph, LockError> {
    let mut graph = Graph { edges_complete: true, ..Graph::default() };
    let top = walk(file, nodes, None, &mut graph)?;
    match companions.find("package.json") {
        Some(manifest) => {
            let manifest: Manifest = serde_json::from_slice(manifest.bytes)
                .map_err(|error| malformed(&manifest, error))?;
            let names = [
                manifest.dependencies,
                manifest.dev_dependencies,
                manifest.optional_dependencies,
                manifest.peer_dependencies,
            ];
            graph.roots.extend(
                names.iter().flat_map(BTreeMap::keys).filter_map(|name| top.get(name.as_str())),
            );
        }
        None => {
            graph.roots = graph.without_dependents();
            graph.unknown.push(format!(
                "`{}` does not tell which packages the service itself asks for",
                file.path
            ));
        }
    }
    Ok(graph)
}

/// Adds one level with all below it. The depth is bounded by the JSON reader's own limit of nesting.
fn walk<'a>(
    file: &SourceFile<'_>,
    nodes: &'a BTreeMap<String, Node>,
    above: Option<&Level<'_>>,
    graph: &mut Graph,
) -> Result<BTreeMap<&'a str, usize>, LockError> {
    let mut indices = BTreeMap::new();
    for (name, node) in nodes {
        indices.insert(name.as_str(), graph.packages.len());
        graph.packages.push(package(file, name, node)?);
    }
    let level = Level { indices: &indices, above };
    for (name, node) in nodes {
        let index = level.indices[name.as_str()];
        let inner = walk(file, &node.dependencies, Some(&level), graph)?;
        if let Requires::Names(names) = &node.requires {
            for name in names.keys() {
                // An optional dependency of another platform is required and not there.
                if let Some(to) = inner.get(name.as_str()).copied().or_else(|| level.find(name)) {
                    graph.add_edge(index, to);
                }
            }
        }
    }
    Ok(indices)
}

fn package(file: &SourceFile<'_>, name: &str, node: &Node) -> Result<Package, LockError> {
    // An alias writes `npm:real@1.0.0`, a git or file dependency its address, as the version.
    let alias = node.version.strip_prefix("npm:").and_then(|real| real.rsplit_once('@'));
    let (full_name, version) = alias.unwrap_or((name, &node.version));
    let address = version.contains(':').then_some(version);
    let facts = Facts {
        full_name,
        version: address.is_none().then_some(version),
        source: address.or(node.resolved.as_deref()),
        integrity: node.integrity.as_deref(),
    };
    let mut package = facts.package(file)?;
    package.scope = scope(node.dev, node.optional);
    Ok(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_addresses_and_shadowed_copies_are_understood() {
        let lock = r#"{"lockfileVersion":1,"dependencies":{
            "a": {"version":"1.0.0","requires":{"ms":"1","gone":"1"},"dependencies":{"ms":{"version":"1.0.0","requires":true}}},
            "ms": {"version":"2.0.0"},
            "b": {"version":"npm:@x/real@3.0.0","requires":{"ms":"2"}},
            "c": {"version":"git+ssh://git@example.com/c.git#00ff","dev":true}
        }}"#;
        let file = SourceFile { path: "package-lock.json", bytes: lock.as_bytes() };
        let companions = Companions { folder: "", files: &[] };
        let graph = (super::super::NPM.read)(&file, &companions).unwrap();
        let name = |index: &usize| graph.packages[*index].purl.as_str();
        let edges: Vec<(&str, &str)> = graph
            .edges
            .iter()
            .flat_map(|(from, to)| to.iter().map(move |to| (name(from), name(to))))
            .collect();
        assert_eq!(
            edges,
            [
                ("pkg:npm/a@1.0.0", "pkg:npm/ms@1.0.0"),
                ("pkg:npm/%40x/real@3.0.0", "pkg:npm/ms@2.0.0")
            ]
        );
        let roots: Vec<&str> = graph.roots.iter().map(name).collect();
        assert_eq!(
            roots,
            [
                "pkg:npm/a@1.0.0",
                "pkg:npm/%40x/real@3.0.0",
                "pkg:npm/c?vcs_url=git%2Bssh:%2F%2Fgit%40example.com%2Fc.git%4000ff"
            ]
        );
        assert_eq!(
            graph.unknown,
            ["`package-lock.json` does not tell which packages the service itself asks for"]
        );
    }
}
