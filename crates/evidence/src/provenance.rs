//! SLSA provenance v1: how an artifact was made, in the builder's own words. `docs/evidence.md` documents the build type.
//!
//! Source: slsa-framework/slsa `docs/spec/v1.1/provenance.md`.

use std::collections::BTreeMap;

use humdrum_model::name::{Commit, Digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::material::{BaseImage, HostFile};
use crate::statement::ResourceDescriptor;

/// What the parameters below mean. Changes with them.
pub const BUILD_TYPE: &str = "urn:humdrum:slsa:build/manifest/v1";
/// Builds by a person's own machine.
pub const BUILDER_LOCAL: &str = "urn:humdrum:slsa:builder/local";
/// Builds by a server; the name of the installation follows.
pub const BUILDER_SERVER: &str = "urn:humdrum:slsa:builder/server/";
/// The version of SLSA that the levels refer to.
pub const SLSA_VERSION: &str = "1.1";

/// Where the build ran. Each mode has its own `builder.id`, since that id alone decides the level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuilderMode {
    /// A person's own machine: whoever owns it can write anything into the provenance.
    Local,
    /// A host that runs builds for others, with a key that builds cannot reach.
    Server { installation: String },
}

impl BuilderMode {
    pub fn builder_id(&self) -> String {
        match self {
            Self::Local => BUILDER_LOCAL.to_owned(),
            Self::Server { installation } => format!("{BUILDER_SERVER}{installation}"),
        }
    }

    /// The highest SLSA build level that this mode may claim.
    pub fn slsa_level(&self) -> u8 {
        match self {
            Self::Local => 1,
            Self::Server { .. } => 2,
        }
    }
}

/// What a build reports about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildFacts {
    pub mode: BuilderMode,
    /// The version of Humdrum.
    pub humdrum_version: String,
    /// Unique; becomes `invocationId`.
    pub build_id: String,
    pub started_on: Timestamp,
    pub finished_on: Timestamp,
    /// As the user knows it: a URL or `file://` path.
    pub repository: String,
    /// The branch or tag that was asked for, if any.
    pub git_ref: Option<String>,
    pub commit: Commit,
    /// Path in the repository and digest of the manifest.
    pub manifest: (String, Digest),
    /// The name of the sandbox's rung.
    pub sandbox: String,
    /// The hash of the build's plan.
    pub plan: Digest,
    /// The names (never the values) of the host's environment variables that the fetch phase was given.
    pub fetch_environment: Vec<String>,
    /// Paths in the repository and digests.
    pub lock_files: Vec<(String, Digest)>,
    pub toolchains: Vec<Toolchain>,
    pub base: Option<BaseImage>,
    pub host_files: Vec<HostFile>,
    /// The stored log of the build, if any.
    pub log: Option<Digest>,
}

/// A compiler or package client that was mounted into the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    pub name: String,
    pub version: String,
    /// The digest of its program.
    pub digest: Digest,
}

/// The predicate of `https://slsa.dev/provenance/v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    pub build_definition: BuildDefinition,
    pub run_details: RunDetails,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    pub build_type: String,
    pub external_parameters: ExternalParameters,
    pub internal_parameters: InternalParameters,
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// What the person who asked for the build decided; complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalParameters {
    pub repository: String,
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    pub commit: Commit,
    pub manifest: ResourceDescriptor,
}

/// What the builder decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalParameters {
    pub sandbox: String,
    pub plan: Digest,
    pub fetch_environment: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDetails {
    pub builder: Builder,
    pub metadata: Metadata,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub byproducts: Vec<ResourceDescriptor>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Builder {
    pub id: String,
    pub version: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub invocation_id: String,
    pub started_on: Timestamp,
    pub finished_on: Timestamp,
}

/// Writes the predicate. The order of what was reported does not matter: lists are sorted.
pub fn provenance(facts: &BuildFacts) -> Provenance {
    let mut fetch_environment = facts.fetch_environment.clone();
    fetch_environment.sort();
    fetch_environment.dedup();
    let (path, digest) = &facts.manifest;
    Provenance {
        build_definition: BuildDefinition {
            build_type: BUILD_TYPE.to_owned(),
            external_parameters: ExternalParameters {
                repository: facts.repository.clone(),
                git_ref: facts.git_ref.clone(),
                commit: facts.commit.clone(),
                manifest: ResourceDescriptor::named(path).with_digest(digest),
            },
            internal_parameters: InternalParameters {
                sandbox: facts.sandbox.clone(),
                plan: facts.plan.clone(),
                fetch_environment,
            },
            resolved_dependencies: dependencies(facts),
        },
        run_details: RunDetails {
            builder: Builder {
                id: facts.mode.builder_id(),
                version: BTreeMap::from([("humdrum".to_owned(), facts.humdrum_version.clone())]),
            },
            metadata: Metadata {
                invocation_id: facts.build_id.clone(),
                started_on: facts.started_on,
                finished_on: facts.finished_on,
            },
            byproducts: facts
                .log
                .iter()
                .map(|log| ResourceDescriptor::named("log").with_digest(log))
                .collect(),
        },
    }
}

/// Source first, then lock files, toolchains, base image and host files, each group by name.
fn dependencies(facts: &BuildFacts) -> Vec<ResourceDescriptor> {
    let source = ResourceDescriptor::named("source")
        .with_uri(source_uri(&facts.repository, facts.git_ref.as_deref()))
        .with_commit(&facts.commit);
    let locks = facts.lock_files.iter().map(|(path, digest)| {
        ResourceDescriptor::named(path).with_digest(digest).with_annotation("kind", "lock file")
    });
    let toolchains = facts.toolchains.iter().map(|tool| {
        ResourceDescriptor::named(&tool.name)
            .with_digest(&tool.digest)
            .with_annotation("kind", "toolchain")
            .with_annotation("version", &tool.version)
    });
    let base = facts.base.iter().map(|base| {
        ResourceDescriptor::named(&base.reference)
            .with_digest(&base.digest)
            .with_annotation("kind", "base image")
    });
    let host_files = facts.host_files.iter().map(|file| {
        let entry = ResourceDescriptor::named(&file.path)
            .with_digest(&file.digest)
            .with_annotation("kind", "host file");
        match file.package.as_ref().and_then(|package| package.purl().ok()) {
            Some(purl) => entry.with_annotation("package", purl),
            None => entry,
        }
    });
    let mut all = vec![source];
    for group in [sorted(locks), sorted(toolchains), base.collect(), sorted(host_files)] {
        all.extend(group);
    }
    all
}

fn sorted(entries: impl Iterator<Item = ResourceDescriptor>) -> Vec<ResourceDescriptor> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
    entries.dedup();
    entries
}

/// `git+https://…@refs/heads/main`.
fn source_uri(repository: &str, git_ref: Option<&str>) -> String {
    let scheme = if repository.starts_with("git+") { "" } else { "git+" };
    match git_ref {
        Some(git_ref) => format!("{scheme}{repository}@{git_ref}"),
        None => format!("{scheme}{repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::material::{HostPackage, PackageManager};

    fn facts() -> BuildFacts {
        let digest = |text: &str| Digest::of(text.as_bytes());
        BuildFacts {
            mode: BuilderMode::Local,
            humdrum_version: "0.1.0".into(),
            build_id: "build-7".into(),
            started_on: "2026-03-01T12:00:00Z".parse().unwrap(),
            finished_on: "2026-03-01T12:01:30Z".parse().unwrap(),
            repository: "https://example.com/shop.git".into(),
            git_ref: Some("refs/heads/main".into()),
            commit: Commit::new("0123456789abcdef0123456789abcdef01234567").unwrap(),
            manifest: ("humdrum.yaml".into(), digest("manifest")),
            sandbox: "namespaces".into(),
            plan: digest("plan"),
            fetch_environment: vec![
                "SSL_CERT_FILE".into(),
                "HTTPS_PROXY".into(),
                "HTTPS_PROXY".into(),
            ],
            lock_files: vec![
                ("web/package-lock.json".into(), digest("npm")),
                ("Cargo.lock".into(), digest("cargo")),
            ],
            toolchains: vec![Toolchain {
                name: "rustc".into(),
                version: "1.95.0".into(),
                digest: digest("rustc"),
            }],
            base: Some(BaseImage {
                reference: "registry.example/debian".into(),
                digest: digest("base"),
            }),
            host_files: vec![HostFile {
                path: "/lib/libc.so.6".into(),
                digest: digest("libc"),
                package: Some(HostPackage {
                    manager: PackageManager::Deb,
                    distribution: "debian".into(),
                    name: "libc6".into(),
                    version: "2.36".into(),
                    architecture: "amd64".into(),
                    release: "debian-12".into(),
                }),
            }],
            log: Some(digest("log")),
        }
    }

    #[test]
    fn the_predicate_reads_as_documented() {
        let text = serde_json::to_string_pretty(&provenance(&facts())).unwrap() + "\n";
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/provenance.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(golden, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(golden).unwrap());
    }

    #[test]
    fn the_order_of_reports_does_not_matter() {
        let mut other = facts();
        other.lock_files.reverse();
        other.fetch_environment.reverse();
        assert_eq!(provenance(&other), provenance(&facts()));
    }

    #[test]
    fn modes_have_their_own_builder() {
        let server = BuilderMode::Server { installation: "ci.example".into() };
        assert_eq!((BuilderMode::Local.slsa_level(), server.slsa_level()), (1, 2));
        assert_eq!(server.builder_id(), "urn:humdrum:slsa:builder/server/ci.example");
        assert_ne!(server.builder_id(), BuilderMode::Local.builder_id());
    }
}
