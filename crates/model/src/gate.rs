//! Gates: rules that must hold at the moment a release enters an environment. Missing, stale or failed evidence denies.
//!
//! One gate per file in `gate/`; all of them run, so that a person sees every reason at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::approval::{Approval, ApprovalRule};
use crate::finding::ScanReport;
use crate::hold::Hold;
use crate::name::{Digest, EnvName};
use crate::settings::VulnerabilityScan;
use crate::verdict::PolicyVerdict;
use crate::waiver::{HOTFIX, NEVER, Waiver};
use crate::window::Window;

pub mod hold;
pub mod order;
pub mod policy;
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
    /// What follows was not asked by older versions; absent means that nothing is known.
    #[serde(default)]
    pub service: String,
    #[serde(default)]
    pub commit: String,
    /// Who made the change; approvals of the same person do not count.
    #[serde(default)]
    pub author: Option<String>,
    #[serde(default)]
    pub vulnerability_scan: ScanMode,
    #[serde(default)]
    pub settings: GateSettings,
    #[serde(default)]
    pub scans: Vec<Scan>,
    /// Fingerprints of findings that the environment's present release has, too.
    #[serde(default)]
    pub known: BTreeSet<String>,
    #[serde(default)]
    pub vex: Vec<Vex>,
    #[serde(default)]
    pub waivers: Vec<Waiver>,
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Whether a person is still asked after this check, so that an approval that lacks is not yet a denial.
    #[serde(default)]
    pub approval_follows: bool,
    #[serde(default)]
    pub review: Option<Review>,
    #[serde(default)]
    pub components: Option<Components>,
    /// What the policies say about all of the above.
    #[serde(default)]
    pub policy: Option<PolicyVerdict>,
}

impl Facts {
    /// Facts of which nothing is known: every gate that needs evidence denies.
    pub fn unknown(at: Timestamp, environment: EnvName, artifact: Digest) -> Self {
        Self {
            at,
            environment,
            owner: String::new(),
            release: String::new(),
            artifact,
            signature: Fact::Missing,
            sbom: Fact::Missing,
            provenance: Fact::Missing,
            builder: None,
            trusted_builders: vec![],
            tests: TestFacts::Missing,
            held: None,
            after: None,
            released_before: false,
            service: String::new(),
            commit: String::new(),
            author: None,
            vulnerability_scan: ScanMode::default(),
            settings: GateSettings::default(),
            scans: vec![],
            known: BTreeSet::new(),
            vex: vec![],
            waivers: vec![],
            approvals: vec![],
            approval_follows: false,
            review: None,
            components: None,
            policy: None,
        }
    }
}

/// What a finding of a scan does in an environment.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ScanMode {
    /// Everything is reported, nothing denied.
    #[default]
    #[serde(rename = "advisory")]
    Advisory,
    #[serde(rename = "blocking")]
    Blocking,
    /// As `blocking`, and what a scan says counts only as a signed statement that verifies.
    #[serde(rename = "blocking + attestation")]
    BlockingAttested,
}

impl From<VulnerabilityScan> for ScanMode {
    fn from(scan: VulnerabilityScan) -> Self {
        match scan {
            VulnerabilityScan::Advisory => Self::Advisory,
            VulnerabilityScan::Blocking => Self::Blocking,
            VulnerabilityScan::BlockingWithAttestation => Self::BlockingAttested,
        }
    }
}

/// What an installation's gates are told: the `gates` part of the policies' data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GateSettings {
    /// What findings do, by environment, where it is to be stricter than the installation's settings say.
    pub vulnerability_scan: BTreeMap<String, ScanMode>,
    /// Kinds of scans that must be there: vulnerability, secret, licence, static, configuration, dynamic.
    pub required_scans: Vec<String>,
    /// A scan older than this is stale, hours.
    pub scan_hours_max: u32,
    /// Advisories older than this are stale, hours.
    pub data_hours_max: u32,
    /// SPDX ids. Empty: what the licence scan finds is denied.
    pub licences_allowed: Vec<String>,
    /// Whether somebody other than the author must have reviewed the commit.
    pub review_required: bool,
    /// Who has which role.
    pub roles: BTreeMap<String, Vec<String>>,
    pub approvals: Vec<ApprovalRule>,
    pub windows: Vec<Window>,
    /// Rules that a waiver of `hotfix` skips.
    pub hotfix_skips: Vec<String>,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            vulnerability_scan: BTreeMap::new(),
            required_scans: ["vulnerability", "secret", "licence"].map(Into::into).to_vec(),
            // A week: advisories come daily, and a build that nobody scanned for longer knows too few of them.
            scan_hours_max: 7 * 24,
            data_hours_max: 7 * 24,
            licences_allowed: vec![],
            review_required: false,
            roles: BTreeMap::new(),
            approvals: vec![],
            windows: vec![],
            hotfix_skips: vec![],
        }
    }
}

/// What a scanner said, and whether that is attested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    #[serde(flatten)]
    pub report: ScanReport,
    #[serde(default = "missing")]
    pub attestation: Fact,
}

fn missing() -> Fact {
    Fact::Missing
}

/// A verified statement that a finding does not apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vex {
    /// Advisory or fingerprint.
    pub subject: String,
    /// `not_affected` or `fixed`; other statements of OpenVEX change nothing.
    pub status: String,
    pub justification: String,
    pub by: String,
}

/// Who looked at the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub commit: String,
    pub by: Vec<String>,
    pub link: Option<String>,
}

/// What the SBOM lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    pub total: u32,
    /// How many have which licence.
    pub licences: BTreeMap<String, u32>,
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
    /// Where the evidence is: a digest, an address, a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The command that asks for an exception that expires, or takes away what is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waive: Option<String>,
    /// Of the finding it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Other names that a waiver may use: advisories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The waiver that lets it pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waived>,
    /// It passes, and a person should read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
}

/// Why a denial does not count, for as long as it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waived {
    pub id: String,
    pub owner: String,
    pub reason: String,
    pub until: Timestamp,
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
            evidence: None,
            since: None,
            waive: None,
            fingerprint: None,
            names: vec![],
            waived: None,
            reported: false,
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
            passed: false,
            code: Some(code.into()),
            fix: Some(fix.into()),
            owner: Some(owner.into()),
            ..Self::pass(gate, what)
        }
    }

    /// Adds what every denial tells: where the evidence is, since when, and how to ask for an exception.
    fn complete(mut self, facts: &Facts) -> Self {
        if self.passed {
            return self;
        }
        self.evidence.get_or_insert_with(|| facts.artifact.to_string());
        self.since.get_or_insert(facts.at);
        if self.owner.as_ref().is_none_or(String::is_empty) {
            self.owner = Some("unknown".into());
        }
        let code = self.code.as_deref().unwrap_or("denied");
        let waive = match code {
            "held" => {
                facts.held.as_ref().map(|hold| format!("humdrum unhold {}", hold.subject.word()))
            }
            "facts-stale" => Some("humdrum ship".into()),
            _ => None,
        };
        let subject = quoted(self.fingerprint.as_deref().unwrap_or(code));
        let service = if facts.service.is_empty() { "SERVICE" } else { &facts.service };
        self.waive.get_or_insert(waive.unwrap_or_else(|| {
            format!(
                "humdrum waive {subject} --service {service} --environment {} --until 14d --reason 'WHY'",
                facts.environment
            )
        }));
        self
    }

    /// Lets a denial pass that a waiver in force names: by rule, fingerprint or advisory. A hold and stale facts are never waived.
    fn waived(mut self, facts: &Facts, now: Timestamp) -> Self {
        let code = self.code.clone().unwrap_or_default();
        if self.passed || NEVER.contains(&code.as_str()) {
            return self;
        }
        let names = |subject: &String| {
            *subject == code
                || self.fingerprint.as_ref() == Some(subject)
                || self.names.contains(subject)
                || (subject == HOTFIX && facts.settings.hotfix_skips.contains(&code))
        };
        let waiver = facts.waivers.iter().find(|waiver| {
            waiver.holds_for(&facts.service, &facts.environment, now) && names(&waiver.subject)
        });
        if let Some(waiver) = waiver {
            self.passed = true;
            self.waived = Some(Waived {
                id: waiver.id.clone(),
                owner: waiver.owner.clone(),
                reason: waiver.reason.clone(),
                until: waiver.until,
            });
        }
        self
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
        ("policy", policy::check),
    ]
}

/// Asks every gate. Facts from another moment or for another environment deny as a whole.
pub fn check(facts: &Facts, environment: &EnvName, now: Timestamp) -> Vec<GateResult> {
    let age_ms = now.as_millisecond() - facts.at.as_millisecond();
    if !(0..=FACTS_MAX_AGE_MS).contains(&age_ms) || facts.environment != *environment {
        let stale = GateResult::deny(
            "facts",
            "facts-stale",
            format!("the facts are {age_ms} ms old and were gathered for `{}`", facts.environment),
            "ship again, facts are gathered anew: `humdrum ship`",
            &facts.owner,
        );
        return vec![stale.complete(facts)];
    }
    let built_in = all().into_iter().map(|(_, gate)| gate(facts));
    let results = built_in.chain(policy::results(facts));
    let results = results.map(|result| result.complete(facts).waived(facts, now));
    policy::listed(results.collect()).into_iter().map(|result| result.complete(facts)).collect()
}

/// Text as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/@+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
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
