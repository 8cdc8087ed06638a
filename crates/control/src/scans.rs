//! What scans say about an artifact at this moment: the build's signed reports, and its verified SBOM matched with the advisories of now.
//!
//! Vulnerabilities are never taken from the build: an artifact that was clean yesterday is asked again at every gate.

use std::collections::BTreeSet;

use humdrum_evidence::advisory::inventory::of_cyclonedx;
use humdrum_evidence::advisory::matching::{Question, find};
use humdrum_evidence::attestation::{SBOM, SCAN};
use humdrum_evidence::trust::TrustRoot;
use humdrum_evidence::verify::Verification;
use humdrum_model::finding::{FindingKind, ScanReport};
use humdrum_model::gate::{Fact, Scan};
use jiff::{SignedDuration, Timestamp};

use crate::advisories::Advisories;

const SCANNER: &str = concat!("humdrum ", env!("CARGO_PKG_VERSION"));
/// How old advisories may be is the policies' question, which have the date; no scan is failed for its age here.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24 * 365 * 100);

/// Where the advisories of this installation are, and whose signature on them counts.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub advisories: Advisories,
    pub trust: TrustRoot,
}

impl Matcher {
    /// Every scan that is known of an artifact. Reads files: not for a thread of the runtime.
    pub fn scans(&self, verification: &Verification, at: Timestamp) -> Vec<Scan> {
        signed(verification).chain(self.vulnerabilities(verification, at)).collect()
    }

    /// None when nothing was imported or there is no verified SBOM: a missing scan, which is not a clean one.
    fn vulnerabilities(&self, verification: &Verification, at: Timestamp) -> Option<Scan> {
        let sbom = verification.statements.iter().find(|one| one.predicate_type == SBOM)?;
        let report = match self.matched(sbom.predicate.as_bytes(), at) {
            Ok(None) => return None,
            Ok(Some(report)) => report,
            Err(why) => failed(at, why),
        };
        let detail = format!("the verified SBOM {} matched here", sbom.bundle.short());
        Some(Scan { report, attestation: Fact::Verified { detail } })
    }

    fn matched(&self, sbom: &[u8], at: Timestamp) -> Result<Option<ScanReport>, String> {
        let opened = self.advisories.open(&self.trust, at);
        let mut database = opened.map_err(|error| with_causes(&error))?;
        if database.is_empty() {
            return Ok(None);
        }
        let packages = of_cyclonedx(sbom).map_err(|error| with_causes(&error))?;
        let question = Question { packages: &packages, at, max_age: AGE_MAX, scanner: SCANNER };
        let answer = find(&question, &mut database).map_err(|error| with_causes(&error))?;
        Ok(Some(answer.report))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The reports that the build signed. One that cannot be read counts as missing, not as clean.
fn signed(verification: &Verification) -> impl Iterator<Item = Scan> {
    let statements =
        verification.statements.iter().filter(|one| one.predicate_type.starts_with(SCAN));
    statements.filter_map(|statement| {
        let report: ScanReport = serde_json::from_str(&statement.predicate).ok()?;
        let detail = format!("signed by key {}", statement.key);
        Some(Scan { report, attestation: Fact::Verified { detail } })
    })
}

fn failed(at: Timestamp, why: String) -> ScanReport {
    ScanReport {
        kind: FindingKind::Vulnerability,
        scanner: SCANNER.into(),
        at,
        data_as_of: None,
        failed: Some(why),
        findings: vec![],
    }
}

/// What "new since" compares with: the fingerprints of all findings.
pub fn fingerprints(scans: &[Scan]) -> BTreeSet<String> {
    let findings = scans.iter().flat_map(|scan| &scan.report.findings);
    findings.map(|finding| finding.fingerprint.clone()).collect()
}
