//! How a commit becomes an image: the sections `build` and `test`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Cores, Millis, Size};

/// How a commit becomes an image.
///
/// The commit is checked out into a fresh folder (never the dirty tree). `fetch` may use the network, `run` may not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Shell command that downloads dependencies. It alone has the network, and the host's proxy, CA and package-client settings; their names are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub fetch: Option<String>,
    /// Shell command that builds, without network. Left out for a service whose files are ready in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub run: Option<String>,
    /// What goes into the image: absolute path in the image → file or folder in the checkout after the build.
    #[schemars(length(min = 1, max = 1000), extend("minProperties" = 1, "maxProperties" = 1000))]
    pub files: BTreeMap<String, FileSource>,
    /// Image that goes below, by digest: `registry.example.com/debian@sha256:…`, or a local OCI layout `oci:path@sha256:…`. Without it, Humdrum copies the loader and libraries that the binaries need from the build host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Programs of the build host that are copied into the image with their libraries, in a layer of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub runtime: Vec<Runtime>,
    /// Bounds of one build or test command.
    #[serde(default)]
    pub limits: BuildLimits,
}

/// A program that Humdrum knows how to copy into an image.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Node.js with its shared libraries.
    Node,
    /// Python 3 with its shared libraries and standard library.
    Python3,
}

/// A file or folder that goes into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "FileSourceForm", into = "FileSourceForm")]
#[schemars(with = "FileSourceForm")]
pub struct FileSource {
    /// Relative path in the checkout.
    pub from: String,
    /// Files of the same layer are packed together; `app` when left out.
    pub layer: String,
}

/// The layer of files that name none.
pub const LAYER_DEFAULT: &str = "app";

/// A file in the image: a path, or a path and a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum FileSourceForm {
    /// Relative path in the checkout.
    Path(String),
    /// A path and the layer it is packed into.
    Full(FileSourceFull),
}

/// A path and the layer it is packed into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileSourceFull {
    /// Relative path in the checkout.
    from: String,
    /// Name of the layer. Put what changes seldom (dependencies) into a layer of its own, so that it is stored and pulled once.
    #[serde(default = "layer_default")]
    #[schemars(extend("format" = "name"))]
    layer: String,
}

fn layer_default() -> String {
    LAYER_DEFAULT.into()
}

impl From<FileSourceForm> for FileSource {
    fn from(form: FileSourceForm) -> Self {
        match form {
            FileSourceForm::Path(from) => Self { from, layer: layer_default() },
            FileSourceForm::Full(FileSourceFull { from, layer }) => Self { from, layer },
        }
    }
}

impl From<FileSource> for FileSourceForm {
    fn from(source: FileSource) -> Self {
        Self::Full(FileSourceFull { from: source.from, layer: source.layer })
    }
}

/// Bounds of one build or test command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BuildLimits {
    /// Memory of all processes together; without it, the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Processor cores; without it, the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cores>,
    /// Time until the command is killed.
    pub time: Millis,
}

impl Default for BuildLimits {
    fn default() -> Self {
        // Half an hour covers a cold release build of a large Rust service on two cores; a hung one does not hold the queue for longer.
        Self { memory: None, cpu: None, time: Millis::seconds(30 * 60) }
    }
}

/// Tests that must pass before the image exists. They run in the build's sandbox, after the build, without network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Shell command; an exit status other than 0 stops the release.
    #[schemars(length(min = 1, max = 65536))]
    pub run: String,
    /// JUnit XML file that the command writes, relative to the checkout; `*` stands for a part of a file name. Failing cases are named in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub junit: Option<String>,
}
