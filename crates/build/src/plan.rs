//! What is to be built: the part of a manifest that decides the bytes of an image.

use std::collections::BTreeMap;

use humdrum_model::name::Digest;
use serde::{Deserialize, Serialize};

/// The layer of files that name none.
pub const LAYER_DEFAULT: &str = "app";

/// How one commit becomes one image. Equal plans, commits, toolchains and bases give equal images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// Shell command that downloads dependencies; it alone has the network.
    #[serde(default)]
    pub fetch: Option<String>,
    /// Shell command that builds, without network.
    #[serde(default)]
    pub run: Option<String>,
    /// What goes into the image.
    pub files: Vec<FileMapping>,
    /// Tests that must pass before the image exists.
    #[serde(default)]
    pub test: Option<TestPlan>,
    /// The image below, as the manifest names it: `registry/name@sha256:…` or `oci:path@sha256:…`.
    #[serde(default)]
    pub base: Option<String>,
    /// Programs of this host that go along.
    #[serde(default)]
    pub runtime: Vec<Runtime>,
    /// What the image runs.
    pub command: Vec<String>,
    /// Environment in the image's configuration.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The port the image declares, if it is fixed.
    #[serde(default)]
    pub port: Option<u16>,
    /// The user in the image's configuration, such as `1000:1000`.
    #[serde(default)]
    pub user: Option<String>,
    /// Further labels; those of the commit are added.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Bounds of each command.
    #[serde(default)]
    pub limits: BuildLimits,
}

/// A file or folder of the checkout and its place in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMapping {
    /// Absolute path in the image.
    pub target: String,
    /// Relative path in the checkout after the build.
    pub source: String,
    /// The layer it is packed into.
    pub layer: String,
}

/// How tests run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestPlan {
    /// Shell command, without network.
    pub run: String,
    /// JUnit file that it writes, relative to the checkout; `*` stands for a part of a file name.
    #[serde(default)]
    pub junit: Option<String>,
}

/// A program that can be copied from this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Node.js.
    Node,
    /// Python 3 with its standard library.
    Python3,
}

/// Bounds of each command of a build. They do not change what is built, so they are no part of a plan's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildLimits {
    /// Memory of all processes together, in bytes.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor core.
    pub cpu_millis: Option<u32>,
    /// Time until a command is killed, in milliseconds.
    pub time_ms: u64,
    /// Processes and threads together.
    pub pids: u32,
}

impl Default for BuildLimits {
    fn default() -> Self {
        // Half an hour covers a cold release build of a large service on two cores. A fork bomb meets 4096 long before
        // the host's own limit; the widest builds stay below a thousand.
        BuildLimits { memory_bytes: None, cpu_millis: None, time_ms: 30 * 60 * 1000, pids: 4096 }
    }
}

impl BuildPlan {
    /// The digest of everything in the plan that can change the image or whether it may exist.
    pub fn digest(&self) -> Digest {
        let content = BuildPlan { limits: BuildLimits::default(), ..self.clone() };
        let text =
            serde_json::to_vec(&content).expect("a plan has only strings, numbers and lists");
        Digest::of(&text)
    }
}
