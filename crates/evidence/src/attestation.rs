//! The statements that hang on an artifact: signature, SBOM, provenance, test result, scans, promotion.

use humdrum_model::finding::{FindingKind, ScanReport};
use humdrum_model::name::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::provenance::Provenance;
use crate::sbom::cyclonedx::Bom;
use crate::statement::{ResourceDescriptor, Statement};

/// What `cosign sign` (3 and later) states: nothing but the subject.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// CycloneDX, as `cosign attest --type cyclonedx` names it.
pub const SBOM: &str = "https://cyclonedx.org/bom";
/// SLSA provenance; minor versions share the name.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// in-toto test result.
pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// What a scan found; each kind of scan has a type of its own below this.
pub const SCAN: &str = "urn:humdrum:scan:";
/// SLSA verification summary: a gate's decision for one environment.
pub const PROMOTION: &str = "https://slsa.dev/verification_summary/v1";

/// The predicate of a signature is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// The statement that `cosign verify` accepts as the signature of an image.
pub fn signature(subject: &Digest) -> Statement<Nothing> {
    Statement::about(subject, SIGNATURE, Nothing {})
}

/// The SBOM as a statement about the image.
pub fn sbom(subject: &Digest, bom: Bom) -> Statement<Bom> {
    Statement::about(subject, SBOM, bom)
}

/// The provenance as a statement about the image.
pub fn provenance(subject: &Digest, provenance: Provenance) -> Statement<Provenance> {
    Statement::about(subject, PROVENANCE, provenance)
}

/// How the tests of a build went. Names are the cases as the test report gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    pub result: TestOutcome,
    /// What was run and with what: the manifest, the report file.
    pub configuration: Vec<ResourceDescriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub passed_tests: Vec<String>,
    /// Cases that were skipped or passed with a warning.
    pub warned_tests: Vec<String>,
    pub failed_tests: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TestOutcome {
    Passed,
    Warned,
    Failed,
}

/// The test result as a statement about the image.
pub fn test_result(subject: &Digest, result: TestResult) -> Statement<TestResult> {
    Statement::about(subject, TEST_RESULT, result)
}

/// The predicate type of a kind of scan: `urn:humdrum:scan:secret:v1`.
pub const fn scan_type(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Vulnerability => "urn:humdrum:scan:vulnerability:v1",
        FindingKind::Secret => "urn:humdrum:scan:secret:v1",
        FindingKind::Licence => "urn:humdrum:scan:licence:v1",
        FindingKind::Static => "urn:humdrum:scan:static:v1",
        FindingKind::Configuration => "urn:humdrum:scan:configuration:v1",
        FindingKind::Dynamic => "urn:humdrum:scan:dynamic:v1",
    }
}

/// What a scan found, as a statement about the image.
pub fn scan(subject: &Digest, report: ScanReport) -> Statement<ScanReport> {
    Statement::about(subject, scan_type(report.kind), report)
}

/// A gate's decision that an artifact may (or may not) enter one environment.
///
/// `resource_uri` names that environment: a summary for `dev` must never admit to `production`, so there is one statement each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    pub verifier: Verifier,
    pub time_verified: Timestamp,
    pub resource_uri: String,
    pub policy: ResourceDescriptor,
    /// The statements that the decision rests on: the referrers' digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_attestations: Vec<ResourceDescriptor>,
    pub verification_result: VerificationResult,
    /// `SLSA_BUILD_LEVEL_1`, and so on; see [`crate::provenance::BuilderMode::slsa_level`].
    pub verified_levels: Vec<String>,
    pub slsa_version: String,
}

/// Who decided. The id is a URI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    pub id: String,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub version: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VerificationResult {
    Passed,
    Failed,
}

/// The promotion as a statement about the image.
pub fn promotion(subject: &Digest, promotion: Promotion) -> Statement<Promotion> {
    Statement::about(subject, PROMOTION, promotion)
}

/// The `resourceUri` of an environment: `urn:humdrum:environment:shop/production`.
pub fn environment_uri(placement: &humdrum_model::name::PlacementId) -> String {
    format!("urn:humdrum:environment:{placement}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_statement_is_cosigns() {
        let subject = Digest::of(b"{}");
        assert_eq!(
            String::from_utf8(signature(&subject).to_bytes()).unwrap(),
            format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
                subject.hex()
            )
        );
    }

    #[test]
    fn a_promotion_names_its_environment() {
        let statement = promotion(
            &Digest::of(b""),
            Promotion {
                verifier: Verifier {
                    id: "urn:humdrum:verifier".into(),
                    version: Default::default(),
                },
                time_verified: "2026-03-01T12:00:00Z".parse().unwrap(),
                resource_uri: "urn:humdrum:environment:shop/production".into(),
                policy: ResourceDescriptor::default().with_uri("urn:humdrum:policy"),
                input_attestations: vec![],
                verification_result: VerificationResult::Passed,
                verified_levels: vec!["SLSA_BUILD_LEVEL_1".into()],
                slsa_version: "1.1".into(),
            },
        );
        assert_eq!(
            serde_json::to_string(&statement.predicate).unwrap(),
            r#"{"verifier":{"id":"urn:humdrum:verifier"},"timeVerified":"2026-03-01T12:00:00Z","resourceUri":"urn:humdrum:environment:shop/production","policy":{"uri":"urn:humdrum:policy"},"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_1"],"slsaVersion":"1.1"}"#
        );
    }
}
