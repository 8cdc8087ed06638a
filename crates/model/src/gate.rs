//! Gates: rules that must hold at the moment a release enters an environment. Missing, stale or failed evidence denies.
//!
//! One gate per file in `gate/`; all of them run, so that a person sees every reason at once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hold::Hold;
use crate::name::{Digest, EnvName};

pub mod hold;
pub mod order;
pub mod provenance;
pub mod sbom;
pub mod signature;
pub mod tests_passed;

/// What was found out about a release for one environment. Gathered by control just before the decision; never older than [`FACTS_MAX_AGE_MS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub at: Timestamp,
    pub environment: EnvName,
    pub owner: String,
    pub release: String,
    pub artifact: Digest,
    /// `verified`, or the evidence crate's machine-readable reason.
    pub signature: Fact,
    pub sbom: Fact,
    pub provenance: Fact,
    /// Who built it, from the verified provenance.
    pub builder: Option<String>,
    pub trusted_builders: Vec<String>,
    pub tests: TestFacts,
    /// The hold that covers the release here, if any.
    pub held: Option<Hold>,
    /// The environment that must have it first, and whether it has.
    pub after: Option<EnvName>,
    pub released_before: bool,
}

/// Facts older than this are stale: a verdict belongs to its moment.
pub const FACTS_MAX_AGE_MS: i64 = 60_000;

/// One verified thing, or why it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    Verified {
        detail: String,
    },
    /// Nothing was found.
    Missing,
    /// Something was found and does not hold: a machine-readable code and a sentence.
    Bad {
        code: String,
        why: String,
    },
}

/// What the tests said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestFacts {
    /// The manifest declares none; said aloud, not denied.
    NotDeclared,
    Passed {
        cases: u32,
        skipped: u32,
    },
    Failed {
        cases: u32,
        failed: Vec<String>,
    },
    /// Declared, but no result was recorded.
    Missing,
}

/// What one gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    /// `signature`, `sbom` …: the file's name.
    pub gate: String,
    pub passed: bool,
    /// Stable code of a denial: `signature-missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was found.
    pub what: String,
    /// Who can mend it and how; only with a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl GateResult {
    fn pass(gate: &str, what: impl Into<String>) -> Self {
        Self {
            gate: gate.into(),
            passed: true,
            code: None,
            what: what.into(),
            fix: None,
            owner: None,
        }
    }

    fn deny(
        gate: &str,
        code: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
        owner: &str,
    ) -> Self {
        Self {
            gate: gate.into(),
            passed: false,
            code: Some(code.into()),
            what: what.into(),
            fix: Some(fix.into()),
            owner: Some(owner.into()),
        }
    }
}

type Gate = fn(&Facts) -> GateResult;

/// Every built-in gate, in the order in which people read them.
pub fn all() -> Vec<(&'static str, Gate)> {
    vec![
        ("hold", hold::check),
        ("order", order::check),
        ("tests_passed", tests_passed::check),
        ("signature", signature::check),
        ("sbom", sbom::check),
        ("provenance", provenance::check),
    ]
}

/// Asks every gate. Facts from another moment or for another environment deny as a whole.
pub fn check(facts: &Facts, environment: &EnvName, now: Timestamp) -> Vec<GateResult> {
    let age_ms = now.as_millisecond() - facts.at.as_millisecond();
    if !(0..=FACTS_MAX_AGE_MS).contains(&age_ms) || facts.environment != *environment {
        return vec![GateResult::deny(
            "facts",
            "facts-stale",
            format!("the facts are {age_ms} ms old and were gathered for `{}`", facts.environment),
            "ship again: facts are gathered anew",
            &facts.owner,
        )];
    }
    all().into_iter().map(|(_, gate)| gate(facts)).collect()
}

/// What a gate over one piece of evidence says; the three evidence gates differ only in their names and fixes.
fn evidence_gate(gate: &str, what: &str, fact: &Fact, facts: &Facts) -> GateResult {
    let rebuild = "change what is wrong, commit, and build again: `humdrum ship`".to_owned();
    match fact {
        Fact::Verified { detail } => GateResult::pass(gate, detail.clone()),
        Fact::Missing => GateResult::deny(
            gate,
            &format!("{gate}-missing"),
            format!("{what} of {} is missing", facts.artifact),
            rebuild,
            &facts.owner,
        ),
        Fact::Bad { code, why } => GateResult::deny(
            gate,
            code,
            format!("{what} of {} does not hold: {why}", facts.artifact),
            rebuild,
            &facts.owner,
        ),
    }
}

#[cfg(test)]
mod tests;
