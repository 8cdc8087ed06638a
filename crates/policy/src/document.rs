//! The document that policies see as `input`: facts in plain words, with what follows from them worked out. Published as docs/facts.schema.json.

use std::collections::{BTreeMap, BTreeSet};

use humdrum_model::approval::{Lacking, lacking};
use humdrum_model::finding::{Finding, FindingKind, Severity};
use humdrum_model::gate::{Fact, Facts, GateSettings, Scan, ScanMode, TestFacts};
use humdrum_model::window::{Window, WindowKind};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// What policies see as `input`. Absent things are `null`, so that a policy can ask for them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Document {
    /// Of this form; a change that breaks policies raises it.
    pub schema: u32,
    /// The moment of the decision, RFC 3339. `time.now_ns()` gives the same.
    pub now: String,
    pub environment: Environment,
    pub service: String,
    pub owner: String,
    pub release: String,
    pub commit: String,
    /// `sha256:…`.
    pub artifact: String,
    pub author: Option<String>,
    pub evidence: Evidence,
    pub tests: Tests,
    /// Who holds it and why, if anybody does.
    pub hold: Option<String>,
    pub order: Order,
    pub scans: Vec<ScanFacts>,
    pub findings: Vec<FindingFacts>,
    pub sbom: Option<SbomFacts>,
    pub waivers: Vec<WaiverFacts>,
    pub approvals: ApprovalFacts,
    pub windows: Vec<WindowFacts>,
    pub review: Option<ReviewFacts>,
    pub settings: GateSettings,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Environment {
    pub name: String,
    pub vulnerability_scan: ScanMode,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Evidence {
    pub signature: Proof,
    pub sbom: Proof,
    pub provenance: Proof,
    pub builder: Option<String>,
    pub trusted_builders: Vec<String>,
}

/// Something that was verified, or why not.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Proof {
    pub verified: bool,
    /// `missing`, or the reason's code.
    pub code: Option<String>,
    pub detail: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Tests {
    /// `not_declared`, `passed`, `failed`, `missing`.
    pub state: String,
    pub cases: u32,
    pub failed: Vec<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Order {
    /// The environment that has it first.
    pub after: Option<String>,
    pub released_before: bool,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScanFacts {
    /// `vulnerability`, `secret`, `licence`, `static`, `configuration`, `dynamic`.
    pub kind: String,
    pub scanner: String,
    pub at: String,
    /// Whole hours.
    pub age_hours: i64,
    /// It claims to have happened after now.
    pub from_future: bool,
    /// How far its advisories reach.
    pub data_as_of: Option<String>,
    pub data_age_hours: Option<i64>,
    /// Why it did not finish.
    pub failed: Option<String>,
    /// How many findings it has.
    pub findings: usize,
    pub attested: bool,
    pub attestation: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FindingFacts {
    pub kind: String,
    /// The advisory or the scanner's rule.
    pub rule: String,
    /// The rule and its aliases: what a waiver may name.
    pub names: Vec<String>,
    /// `info`, `low`, `medium`, `high`, `critical`. An unknown severity is `high` here.
    pub severity: String,
    /// As the scanner said it.
    pub severity_stated: String,
    pub score: Option<f64>,
    pub title: String,
    pub fingerprint: String,
    /// purl.
    pub package: Option<String>,
    pub fixed_in: Option<String>,
    /// `path:line` where there is one, else the package.
    pub place: String,
    pub link: Option<String>,
    /// The environment's present release does not have it.
    pub new: bool,
    /// Why it does not apply, from a verified VEX statement.
    pub vex: Option<String>,
    pub scanner: String,
    /// When the scan found it, RFC 3339.
    pub since: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SbomFacts {
    pub components: u32,
    pub licences: BTreeMap<String, u32>,
}

/// In force for this service and environment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WaiverFacts {
    pub id: String,
    pub subject: String,
    pub owner: String,
    pub reason: String,
    pub until: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApprovalFacts {
    pub given: Vec<ApprovedBy>,
    pub lacking: Vec<Lacking>,
    /// A person is still asked after this check.
    pub follows: bool,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApprovedBy {
    pub by: String,
    pub at: String,
}

/// A window for this environment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WindowFacts {
    pub name: String,
    pub kind: WindowKind,
    /// A freeze whose rule cannot be read is open, a deploy window is closed.
    pub open: bool,
    pub since: Option<String>,
    pub until: Option<String>,
    pub owner: String,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReviewFacts {
    pub commit: String,
    pub by: Vec<String>,
    pub link: Option<String>,
}

impl Document {
    /// The document of facts at their own moment.
    pub fn of(facts: &Facts) -> Self {
        let environment = facts.environment.as_str();
        let settings = &facts.settings;
        let lacking = lacking(
            &settings.approvals,
            &settings.roles,
            &facts.approvals,
            facts.author.as_deref(),
            environment,
            facts.at,
        );
        let given = facts
            .approvals
            .iter()
            .map(|given| ApprovedBy { by: given.by.clone(), at: given.at.to_string() });
        Self {
            schema: 1,
            now: facts.at.to_string(),
            environment: Environment {
                name: environment.into(),
                vulnerability_scan: facts.vulnerability_scan,
            },
            service: facts.service.clone(),
            owner: facts.owner.clone(),
            release: facts.release.clone(),
            commit: facts.commit.clone(),
            artifact: facts.artifact.to_string(),
            author: facts.author.clone(),
            evidence: Evidence {
                signature: proof(&facts.signature),
                sbom: proof(&facts.sbom),
                provenance: proof(&facts.provenance),
                builder: facts.builder.clone(),
                trusted_builders: facts.trusted_builders.clone(),
            },
            tests: tests(&facts.tests),
            hold: facts.held.as_ref().map(|hold| format!("{}: {}", hold.by, hold.why)),
            order: Order {
                after: facts.after.as_ref().map(ToString::to_string),
                released_before: facts.released_before,
            },
            scans: facts.scans.iter().map(|own| scan(own, facts.at)).collect(),
            findings: findings(facts),
            sbom: facts.components.as_ref().map(|components| SbomFacts {
                components: components.total,
                licences: components.licences.clone(),
            }),
            waivers: waivers(facts),
            approvals: ApprovalFacts {
                given: given.collect(),
                lacking,
                follows: facts.approval_follows,
            },
            windows: settings
                .windows
                .iter()
                .filter(|own| own.is_for(environment))
                .map(|own| window(own, facts.at))
                .collect(),
            review: facts.review.as_ref().map(|review| ReviewFacts {
                commit: review.commit.clone(),
                by: review.by.clone(),
                link: review.link.clone(),
            }),
            settings: settings.clone(),
        }
    }
}

fn proof(fact: &Fact) -> Proof {
    let (verified, code, detail) = match fact {
        Fact::Verified { detail } => (true, None, detail.clone()),
        Fact::Missing => (false, Some("missing".into()), "nothing was found".into()),
        Fact::Bad { code, why } => (false, Some(code.clone()), why.clone()),
    };
    Proof { verified, code, detail }
}

fn tests(tests: &TestFacts) -> Tests {
    let (state, cases, failed) = match tests {
        TestFacts::NotDeclared => ("not_declared", 0, vec![]),
        TestFacts::Passed { cases, .. } => ("passed", *cases, vec![]),
        TestFacts::Failed { cases, failed } => ("failed", *cases, failed.clone()),
        TestFacts::Missing => ("missing", 0, vec![]),
    };
    Tests { state: state.into(), cases, failed }
}

fn hours_since(then: Timestamp, now: Timestamp) -> i64 {
    (now.as_second() - then.as_second()) / 3600
}

fn scan(scan: &Scan, now: Timestamp) -> ScanFacts {
    let report = &scan.report;
    let data = report.data_as_of;
    ScanFacts {
        kind: kind(report.kind).into(),
        scanner: report.scanner.clone(),
        at: report.at.to_string(),
        age_hours: hours_since(report.at, now),
        from_future: report.at > now || data.is_some_and(|data| data > now),
        data_as_of: data.map(|data| data.to_string()),
        data_age_hours: data.map(|data| hours_since(data, now)),
        failed: report.failed.clone(),
        findings: report.findings.len(),
        attested: matches!(scan.attestation, Fact::Verified { .. }),
        attestation: proof(&scan.attestation).detail,
    }
}

fn findings(facts: &Facts) -> Vec<FindingFacts> {
    // Only statements that say "does not apply" settle anything; "affected" and "under investigation" do not.
    let settles = |status: &str| matches!(status, "not_affected" | "fixed");
    let vex: BTreeMap<&str, &str> = facts
        .vex
        .iter()
        .filter(|vex| settles(&vex.status))
        .map(|vex| (vex.subject.as_str(), vex.justification.as_str()))
        .collect();
    // Two scanners of one kind may find the same.
    let mut seen = BTreeSet::new();
    let mut list = vec![];
    for scan in &facts.scans {
        for found in &scan.report.findings {
            if seen.insert((found.kind, found.fingerprint.as_str())) {
                list.push(finding(found, scan, facts, &vex));
            }
        }
    }
    list
}

fn finding(
    found: &Finding,
    scan: &Scan,
    facts: &Facts,
    vex: &BTreeMap<&str, &str>,
) -> FindingFacts {
    let names: Vec<String> = std::iter::once(&found.rule).chain(&found.aliases).cloned().collect();
    let settled = names
        .iter()
        .chain([&found.fingerprint])
        .find_map(|name| vex.get(name.as_str()))
        .map(|why| (*why).to_owned());
    let place = found.place.as_ref().map(|place| match place.line {
        Some(line) => format!("{}:{line}", place.path),
        None => place.path.clone(),
    });
    let stated = severity(found.severity);
    FindingFacts {
        kind: kind(found.kind).into(),
        rule: found.rule.clone(),
        names,
        severity: if found.severity == Severity::Unknown { "high" } else { stated }.into(),
        severity_stated: stated.into(),
        score: found.score,
        title: found.title.clone(),
        fingerprint: found.fingerprint.clone(),
        place: place.or_else(|| found.package.clone()).unwrap_or_else(|| "the artifact".into()),
        package: found.package.clone(),
        fixed_in: found.fixed_in.clone(),
        link: found.link.clone(),
        new: !facts.known.contains(&found.fingerprint),
        vex: settled,
        scanner: scan.report.scanner.clone(),
        since: scan.report.at.to_string(),
    }
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Vulnerability => "vulnerability",
        FindingKind::Secret => "secret",
        FindingKind::Licence => "licence",
        FindingKind::Static => "static",
        FindingKind::Configuration => "configuration",
        FindingKind::Dynamic => "dynamic",
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::Unknown => "unknown",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn waivers(facts: &Facts) -> Vec<WaiverFacts> {
    let here = facts
        .waivers
        .iter()
        .filter(|waiver| waiver.holds_for(&facts.service, &facts.environment, facts.at));
    here.map(|waiver| WaiverFacts {
        id: waiver.id.clone(),
        subject: waiver.subject.clone(),
        owner: waiver.owner.clone(),
        reason: waiver.reason.clone(),
        until: waiver.until.to_string(),
    })
    .collect()
}

fn window(window: &Window, now: Timestamp) -> WindowFacts {
    let (open, span, reason) = match window.open_at(now) {
        Ok(span) => (span.is_some(), span, window.reason.clone()),
        Err(error) => {
            (window.kind == WindowKind::Freeze, None, format!("cannot be read: {}", error.why))
        }
    };
    WindowFacts {
        name: window.name.clone(),
        kind: window.kind,
        open,
        since: span.map(|(since, _)| since.to_string()),
        until: span.map(|(_, until)| until.to_string()),
        owner: window.owner.clone(),
        reason,
    }
}
