//! Python: `poetry.lock` (lock versions 1 and 2) with `pyproject.toml`, which alone knows what the service itself asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::requirements::install_hashes;
use super::{
    Companions, Ecosystem, Graph, Hash, LockError, Package, Scope, SourceFile, bad_name, malformed,
    text,
};
use crate::purl::{self, Parts};

pub const POETRY: Ecosystem = Ecosystem {
    name: "poetry",
    is_lock: |name| name == "poetry.lock",
    companions: &["pyproject.toml"],
    read,
};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    package: Vec<Entry>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "lock-version")]
    lock_version: String,
    /// Before lock version 2 the files stand here, by package name.
    #[serde(default)]
    files: BTreeMap<String, Vec<DistributionFile>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    optional: bool,
    /// From lock version 2.1 on.
    groups: Option<Vec<String>>,
    /// Before lock version 2.
    category: Option<String>,
    #[serde(default)]
    files: Vec<DistributionFile>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    source: Option<Source>,
}

#[derive(Deserialize)]
struct DistributionFile {
    file: String,
    hash: String,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    resolved_reference: Option<String>,
}

fn read(file: &SourceFile<'_>, companions: &Companions<'_>) -> Result<Graph, LockError> {
    let lock: File =
        toml::from_str(text(file)?).map_err(|error| malformed(file, error.message()))?;
    if !lock.metadata.lock_version.starts_with("1.")
        && !lock.metadata.lock_version.starts_with("2.")
    {
        let path = file.path.to_owned();
        return Err(LockError::Version {
            path,
            found: lock.metadata.lock_version,
            expected: "1.x and 2.x",
        });
    }
    let mut graph = Graph { edges_complete: true, ..Graph::default() };
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, entry) in lock.package.iter().enumerate() {
        by_name.entry(purl::pypi_name(&entry.name)).or_default().push(index);
        graph.packages.push(package(file, entry, &lock.metadata)?);
    }
    for (index, entry) in lock.package.iter().enumerate() {
        for name in entry.dependencies.keys() {
            // Of several versions under markers, each may be the one; what other platforms need may be absent.
            for to in by_name.get(&purl::pypi_name(name)).into_iter().flatten() {
                graph.add_edge(index, *to);
            }
        }
    }
    match companions.find("pyproject.toml") {
        Some(project) => {
            let names = asked_for(&project)?;
            graph.roots.extend(names.iter().filter_map(|name| by_name.get(name)).flatten());
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

fn package(
    file: &SourceFile<'_>,
    entry: &Entry,
    metadata: &Metadata,
) -> Result<Package, LockError> {
    let name = purl::pypi_name(&entry.name);
    let git =
        entry.source.as_ref().filter(|source| source.kind == "git").map(|source| {
            match &source.resolved_reference {
                Some(commit) => format!("git+{}@{commit}", source.url),
                None => format!("git+{}", source.url),
            }
        });
    let qualifiers = [("vcs_url", git.as_deref().unwrap_or_default())];
    let parts = Parts {
        namespace: None,
        name: &name,
        version: Some(&entry.version),
        qualifiers: &qualifiers,
    };
    let purl = purl::purl("pypi", &parts).map_err(bad_name(file))?;
    let mut package = Package::new(purl, name, Some(entry.version.clone()));
    package.local = entry
        .source
        .as_ref()
        .is_some_and(|source| matches!(source.kind.as_str(), "directory" | "file"));
    let main = match (&entry.groups, &entry.category) {
        (Some(groups), _) => groups.iter().any(|group| group == "main"),
        (None, Some(category)) => category == "main",
        (None, None) => true,
    };
    package.scope = match (main, entry.optional) {
        (false, _) => Scope::Excluded,
        (true, true) => Scope::Optional,
        (true, false) => Scope::Required,
    };
    let files =
        if entry.files.is_empty() { metadata.files.get(&entry.name) } else { Some(&entry.files) };
    let hashes = files
        .into_iter()
        .flatten()
        .filter_map(|file| Some((Some(file.file.as_str()), Hash::from_prefixed(&file.hash)?)));
    install_hashes(&mut package, hashes);
    Ok(package)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Project {
    project: ProjectTable,
    #[serde(rename = "dependency-groups")]
    groups: BTreeMap<String, Vec<toml::Value>>,
    tool: Tool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct ProjectTable {
    dependencies: Vec<String>,
    optional_dependencies: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tool {
    poetry: PoetryTable,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct PoetryTable {
    dependencies: BTreeMap<String, toml::Value>,
    dev_dependencies: BTreeMap<String, toml::Value>,
    group: BTreeMap<String, Group>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    dependencies: BTreeMap<String, toml::Value>,
}

/// The names that `pyproject.toml` asks for, in any group.
fn asked_for(file: &SourceFile<'_>) -> Result<BTreeSet<String>, LockError> {
    let project: Project =
        toml::from_str(text(file)?).map_err(|error| malformed(file, error.message()))?;
    let standard = project
        .project
        .dependencies
        .iter()
        .chain(project.project.optional_dependencies.values().flatten())
        .map(String::as_str);
    let grouped = project.groups.values().flatten().filter_map(toml::Value::as_str);
    let poetry = project.tool.poetry;
    let own = [&poetry.dependencies, &poetry.dev_dependencies]
        .into_iter()
        .chain(poetry.group.values().map(|group| &group.dependencies))
        .flat_map(BTreeMap::keys)
        .map(String::as_str);
    Ok(standard.chain(grouped).chain(own).map(requirement_name).collect())
}

/// The normal name in `httpx[http2] (>=0.27) ; marker`.
fn requirement_name(requirement: &str) -> String {
    let end =
        requirement.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
    purl::pypi_name(&requirement[..end.unwrap_or(requirement.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_former_form_is_read() {
        let lock = format!(
            r#"
            [[package]]
            name = "A.b"
            version = "1.0"
            category = "main"
            optional = false
            [package.dependencies]
            C = ">=1"
            [[package]]
            name = "c"
            version = "1.1"
            category = "dev"
            optional = false
            [package.source]
            type = "git"
            url = "https://example.com/c.git"
            reference = "main"
            resolved_reference = "00ff"
            [metadata]
            lock-version = "1.1"
            [metadata.files]
            "A.b" = [{{ file = "a_b-1.0.tar.gz", hash = "sha256:{}" }}]
            "#,
            "11".repeat(32)
        );
        let file = SourceFile { path: "poetry.lock", bytes: lock.as_bytes() };
        let graph = read(&file, &Companions { folder: "", files: &[] }).unwrap();
        assert_eq!(graph.packages[0].purl, "pkg:pypi/a-b@1.0");
        assert_eq!(
            graph.packages[0].distributions[0].url,
            "pkg:pypi/a-b@1.0?file_name=a_b-1.0.tar.gz"
        );
        assert_eq!(
            graph.packages[1].purl,
            "pkg:pypi/c@1.1?vcs_url=git%2Bhttps:%2F%2Fexample.com%2Fc.git%4000ff"
        );
        assert_eq!(graph.packages[1].scope, Scope::Excluded);
        assert_eq!((graph.edges, graph.roots), ([(0, [1].into())].into(), [0].into()));
        assert_eq!(
            graph.unknown,
            ["`poetry.lock` does not tell which packages the service itself asks for"]
        );
    }
}
