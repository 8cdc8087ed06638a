//! Findings: what a scan says is wrong with an artifact, in one form for every scanner, so that gates, waivers and "new since" need to be written once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What kind of scan found it; a gate names the kinds it looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A published advisory covers a package in the artifact.
    Vulnerability,
    Secret,
    Licence,
    /// Static analysis of the source.
    Static,
    /// Analysis of configuration: manifests, charts, infrastructure.
    Configuration,
    /// Found by talking to a running deployment.
    Dynamic,
}

/// How bad it is. `Unknown` is not harmless: gates treat it as [`Severity::High`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth reading, nothing to mend.
    Info,
    Low,
    Medium,
    Unknown,
    High,
    Critical,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// The scanner's rule or the advisory's id: `GHSA-…`, `aws-access-token`, `py/sql-injection`.
    pub rule: String,
    /// Other names of the same thing: CVE ids of an advisory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    pub severity: Severity,
    /// CVSS base score, 0–10, where one was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// One sentence; never contains a secret.
    pub title: String,
    /// Equal for the same finding in two scans; what "new since production" and waivers compare.
    pub fingerprint: String,
    /// The package it is about, as a purl with version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The lowest version that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path in the source tree or in the image.
    pub path: String,
    /// Counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Counted from 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The commit that brought it, where history was scanned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// What one scanner said about one artifact or commit. A scan that crashed is a report too: "no evidence" and "clean" must stay apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanReport {
    pub kind: FindingKind,
    /// Name and version of the scanner: `humdrum 0.1.0`.
    pub scanner: String,
    pub at: Timestamp,
    /// The age of the data it knows (advisories), where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_as_of: Option<Timestamp>,
    /// Why the scan did not finish. Findings may then be incomplete, and gates deny.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub findings: Vec<Finding>,
}
