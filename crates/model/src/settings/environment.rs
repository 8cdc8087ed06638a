//! What holds for the artifacts of one environment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::retention::Retention;

/// What holds for the artifacts of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSettings {
    /// Name under which clients reach the registry for this environment, as `host` or `host:port`. The same store answers under every name; the name that a request was sent to chooses the environment's rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "host-port"))]
    pub docker_registry: Option<String>,
    /// Address of the environment's language packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "http-url"))]
    pub package_repo: Option<String>,
    /// How long the environment keeps an artifact that is not in use any more: `7 days`, `1 year`. Without it, for ever. What runs, is being rolled out or may be returned to is always kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What a finding of the vulnerability scan does to a promotion into this environment.
    #[serde(default)]
    pub vulnerability_scan: VulnerabilityScan,
    /// Whether tags of this environment can never be moved or deleted by a client. Left out, it is `true` for an environment named `production` and `false` for others. Fallback tags of the referrers protocol (`sha256-…`) stay movable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
}

/// What a finding of the vulnerability scan does to a promotion.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum VulnerabilityScan {
    /// Everything is reported, nothing is denied.
    #[default]
    #[serde(rename = "advisory")]
    Advisory,
    /// Findings deny as the policy says; a scan that is missing or failed denies.
    #[serde(rename = "blocking")]
    Blocking,
    /// As `blocking`, and the scan must be a signed statement about the artifact.
    #[serde(rename = "blocking + attestation")]
    BlockingWithAttestation,
}
