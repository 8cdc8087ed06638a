//! The OCI image: its configuration, its manifest, and the facts of the build that made it.
//!
//! Formats: OCI image specification v1.1, `config.md` and `manifest.md`. Keys are written in one fixed order, so equal
//! inputs give equal bytes.

use std::collections::BTreeMap;

use humdrum_jail::Rung;
use humdrum_model::name::{Commit, Digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::base_image::Base;
use crate::host::HostFile;
use crate::junit::TestReport;
use crate::layer::LayerBlob;
use crate::plan::BuildPlan;
use crate::repo::CommitFacts;
use crate::toolchain::Toolchain;

/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Where programs are looked up in images without a base; the folders that runtimes bring come first.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A document with the digest of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// Their media type.
    pub media_type: &'static str,
}

impl Document {
    fn of(value: &serde_json::Value, media_type: &'static str) -> Document {
        let bytes = serde_json::to_vec(value).expect("a JSON value can be written");
        Document { digest: Digest::of(&bytes), bytes, media_type }
    }
}

/// What went into an image beside the commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Materials {
    /// Programs of the host that the sandbox could run, those found.
    pub toolchains: Vec<Toolchain>,
    /// Names of the host's environment variables that the fetch phase was given; never their values.
    pub fetch_environment: Vec<String>,
    /// Client settings files of the host that the fetch phase could read, by path.
    pub fetch_files: Vec<String>,
    /// The base image: how the plan names it, and its digest.
    pub base: Option<(String, Digest)>,
    /// Files of the host that were copied into the image.
    pub host_files: Vec<HostFile>,
    /// Lock files of the commit and their digests.
    pub lock_files: Vec<(String, Digest)>,
    /// Digest of the plan.
    pub plan: Option<Digest>,
}

/// A finished build. The layers' files live in the folder that the build was given.
#[derive(Debug, Clone)]
pub struct Built {
    /// Names what was built from what: equal for every build of the same inputs on an equal host.
    pub build_id: String,
    /// What was built.
    pub commit: Commit,
    /// The image manifest; its digest is the artifact's.
    pub manifest: Document,
    /// The image configuration.
    pub config: Document,
    /// All layers from the lowest up.
    pub layers: Vec<LayerBlob>,
    /// When the build began and ended.
    pub started: Timestamp,
    /// See `started`.
    pub finished: Timestamp,
    /// How strong the sandbox was.
    pub rung: Rung,
    /// What enforced the limits: `cgroup v2`, `cgroup v1`, `rlimits`, or empty when no command ran.
    pub limits_by: String,
    /// What went in.
    pub materials: Materials,
    /// What the tests said, when they wrote a report.
    pub tests: Option<TestReport>,
    /// What a person should know, such as walls or limits that were not there.
    pub notes: Vec<String>,
}

impl Built {
    /// The artifact's digest.
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }
}

/// The identity of a build's inputs: `sha256` over commit, plan, toolchains, base and rung, as hexadecimal.
///
/// Two builds with one id should give one image; `compare` explains when they do not. The rung belongs to it, because
/// below namespaces the folder of the build shows in paths.
pub fn build_id(
    commit: &Commit,
    plan: &Digest,
    toolchains: &[Toolchain],
    base: Option<&Digest>,
    rung: Rung,
) -> String {
    let tools: Vec<_> = toolchains.iter().map(|t| json!([t.name, t.version, t.digest])).collect();
    let inputs = json!({
        "format": "humdrum-build-v1", "commit": commit, "plan": plan, "toolchains": tools, "base": base, "rung": rung,
    });
    let text = serde_json::to_vec(&inputs).expect("a JSON value can be written");
    Digest::of(&text).hex().to_owned()
}

/// The configuration: what runs, under which settings, over which layers.
pub fn config(
    plan: &BuildPlan,
    facts: &CommitFacts,
    source: &str,
    base: Option<&Base>,
    layers: &[LayerBlob],
    path_folders: &[String],
) -> Document {
    let created = created(facts.time_s);
    let below = base.map(|base| &base.config);
    let mut env: BTreeMap<String, String> = below.map(Base::env_of).unwrap_or_default();
    if base.is_none() {
        let path = path_folders.iter().map(String::as_str).chain([PATH_DEFAULT]);
        env.insert("PATH".into(), path.collect::<Vec<_>>().join(":"));
    }
    env.extend(plan.env.clone());
    let mut labels: BTreeMap<String, String> = below.map(Base::labels_of).unwrap_or_default();
    labels.extend(plan.labels.clone());
    labels.extend([
        ("org.opencontainers.image.created".to_owned(), created.clone()),
        ("org.opencontainers.image.revision".to_owned(), facts.commit.to_string()),
        ("org.opencontainers.image.source".to_owned(), source.to_owned()),
    ]);
    let mut inner = json!({
        "Env": env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        "Entrypoint": plan.command,
        "WorkingDir": "/",
        "Labels": labels,
    });
    if let Some(port) = plan.port {
        inner["ExposedPorts"] = json!({ format!("{port}/tcp"): {} });
    }
    if let Some(user) = &plan.user {
        inner["User"] = json!(user);
    }
    let mut history = below.and_then(|b| b["history"].as_array().cloned()).unwrap_or_default();
    for layer in layers.iter().filter(|layer| layer.name != crate::base_image::LAYER_NAME) {
        history.push(
            json!({ "created": created, "created_by": format!("humdrum: layer {}", layer.name) }),
        );
    }
    let document = json!({
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": inner,
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() },
        "history": history,
    });
    Document::of(&document, CONFIG)
}

/// The manifest over a configuration and its layers.
pub fn manifest(config: &Document, layers: &[LayerBlob], facts: &CommitFacts) -> Document {
    let layers: Vec<_> = layers
        .iter()
        .map(|l| json!({ "mediaType": l.media_type, "digest": l.digest, "size": l.size }))
        .collect();
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config.digest, "size": config.bytes.len() },
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.created": created(facts.time_s),
            "org.opencontainers.image.revision": facts.commit,
        },
    });
    Document::of(&document, MANIFEST)
}

/// The commit's time as RFC 3339 in UTC.
fn created(time_s: i64) -> String {
    Timestamp::from_second(time_s).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// This host's architecture in the words of OCI (Go's `GOARCH`).
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
