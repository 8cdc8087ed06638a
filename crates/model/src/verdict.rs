//! What the policies say about facts: the words between the engine and the gates.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One evaluation of all policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyVerdict {
    /// The `at` of the facts that were evaluated.
    pub at: Timestamp,
    /// SHA-256 over the policies and their data, hex.
    pub bundle: String,
    pub packages: Vec<String>,
    #[serde(default)]
    pub results: Vec<PolicyResult>,
    /// Why there is no verdict; then nothing is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<PolicyFailure>,
}

/// Why policies could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFailure {
    /// `policy-broken`, `policy-timeout`, `policy-memory`, `policy-crashed` …
    pub code: String,
    /// What and where: file, line, column.
    pub why: String,
    pub fix: String,
}

impl PolicyVerdict {
    /// A verdict that could not be had.
    pub fn failure(at: Timestamp, code: &str, why: String, fix: &str) -> Self {
        let failed = Some(PolicyFailure { code: code.into(), why, fix: fix.into() });
        Self { at, bundle: String::new(), packages: vec![], results: vec![], failed }
    }
}

/// One sentence of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyResult {
    pub level: Level,
    /// `humdrum.vulnerabilities`, or the user's.
    pub package: String,
    /// `vulnerability-critical`, or `PACKAGE/RULE` where the policy names none.
    pub rule: String,
    pub msg: String,
    /// Of the finding it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Other names under which it can be waived: advisories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What a rule's name makes of its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// `deny` and `violation`.
    Deny,
    Warn,
    /// A denial that an `exception` of the same package covers.
    Exception,
}
