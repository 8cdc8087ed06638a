//! A release: an immutable bundle whose id is the hash of what it contains.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{Commit, Digest, ServiceName};

/// `r-` and 16 hex digits of the SHA-256 of the release's versioned JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub String);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is deployed. Two releases with the same content are the same release, whichever commit or build made them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub id: ReleaseId,
    pub service: ServiceName,
    pub artifact: Artifact,
    pub commit: Commit,
    pub build_id: String,
    /// The normalised manifest without its build part: everything that decides how the artifact runs.
    pub config: serde_json::Value,
}

/// An image in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub repository: String,
    pub digest: Digest,
}

/// The bytes that are hashed. A new field gets a new `version`, so that an old id never changes its meaning.
#[derive(Serialize)]
struct Content<'a> {
    version: u32,
    service: &'a str,
    artifact: &'a str,
    config: Canonical<'a>,
    /// Names of secrets and where they come from; empty until secrets are part of a release.
    secrets: [(); 0],
    /// Schema changes that belong to the release; empty until they are.
    migrations: [(); 0],
}

/// JSON with sorted keys, so that the order in which a manifest was written does not make another release.
struct Canonical<'a>(&'a serde_json::Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            serde_json::Value::Object(map) => {
                let sorted: BTreeMap<_, _> = map.iter().map(|(k, v)| (k, Canonical(v))).collect();
                sorted.serialize(serializer)
            }
            serde_json::Value::Array(list) => serializer.collect_seq(list.iter().map(Canonical)),
            other => other.serialize(serializer),
        }
    }
}

impl Release {
    /// Bundles an artifact with its configuration; the id follows from both.
    pub fn new(
        service: ServiceName,
        artifact: Artifact,
        commit: Commit,
        build_id: String,
        config: serde_json::Value,
    ) -> Self {
        let id = release_id(&service, &artifact, &config);
        Self { id, service, artifact, commit, build_id, config }
    }

    /// Whether the id still is the hash of the content.
    pub fn is_intact(&self) -> bool {
        self.id == release_id(&self.service, &self.artifact, &self.config)
    }
}

fn release_id(service: &ServiceName, artifact: &Artifact, config: &serde_json::Value) -> ReleaseId {
    let content = Content {
        version: 1,
        service: service.as_str(),
        artifact: artifact.digest.as_str(),
        config: Canonical(config),
        secrets: [],
        migrations: [],
    };
    let bytes = serde_json::to_vec(&content).expect("plain data always serialises");
    ReleaseId(format!("r-{}", &Digest::of(&bytes).hex()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(config: serde_json::Value) -> Release {
        Release::new(
            ServiceName::new("shop").unwrap(),
            Artifact { repository: "shop".into(), digest: Digest::of(b"image") },
            Commit::new("a".repeat(40)).unwrap(),
            "b-1".into(),
            config,
        )
    }

    #[test]
    fn the_id_is_the_content() {
        let one = release(serde_json::json!({"run": {"port": 1, "env": {"B": "2", "A": "1"}}}));
        let same = release(serde_json::json!({"run": {"env": {"A": "1", "B": "2"}, "port": 1}}));
        let other = release(serde_json::json!({"run": {"env": {"A": "1", "B": "3"}, "port": 1}}));
        assert_eq!(one.id, same.id);
        assert_ne!(one.id, other.id);
        let mut forged = one.clone();
        forged.config = other.config;
        assert!(one.is_intact() && !forged.is_intact());
    }
}
