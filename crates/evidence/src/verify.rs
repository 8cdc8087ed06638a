//! Whether an image has the evidence that is asked for: one check for each demand, each refusal with its own reason.
//!
//! A demand is met by one good statement. Other referrers never spoil it, since anyone who may push can attach one; what was
//! wrong with them is reported beside the checks. Contrary to `cosign verify`, the predicate type counts: a signed SBOM is no
//! signature of the image.

mod referrer;

use std::fmt;

use humdrum_model::name::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::attestation;
use crate::referrer::MANIFEST_BYTES_MAX;
use crate::trust::TrustRoot;

use referrer::Candidate;

/// The most referrers of one image that are looked at.
pub const REFERRERS_MAX: usize = 256;
/// The most signatures of one envelope that are looked at.
pub const SIGNATURES_MAX: usize = 16;
/// The most signature checks in one verification: bounds the time that hostile referrers can cost to about half a second.
pub const SIGNATURE_CHECKS_MAX: usize = 2_048;

/// A bundle that hangs on the image.
#[derive(Debug, Clone, Copy)]
pub struct Referrer<'a> {
    /// The referrer's own manifest where it is at hand: then its subject, its layer's digest and its predicate type are checked too.
    pub manifest: Option<&'a [u8]>,
    pub bundle: &'a [u8],
}

/// What is verified, against what, and when.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The digest that was asked for.
    pub subject: &'a Digest,
    /// The bytes of the image's manifest as they were received.
    pub manifest: &'a [u8],
    pub referrers: &'a [Referrer<'a>],
    pub trust: &'a TrustRoot,
    pub required: &'a [Required],
    /// The moment at which keys must be valid.
    pub at: Timestamp,
}

/// One demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Required {
    /// The cosign sign statement.
    Signature,
    Sbom,
    /// SLSA provenance; with builders given, its `builder.id` must be one of them.
    Provenance {
        builders: Vec<String>,
    },
    /// A test result that is not `FAILED`.
    TestResult,
    /// A verification summary for exactly this resource with the result `PASSED`.
    Promotion {
        resource_uri: String,
    },
    /// Any statement with this predicate type.
    Statement {
        predicate_type: String,
    },
}

/// The answer. Serialises as it is printed with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    pub checks: Vec<Check>,
    /// Good statements, in the order of the referrers.
    #[serde(skip)]
    pub statements: Vec<VerifiedStatement>,
    /// What was wrong with referrers that gave no good statement.
    pub rejected: Vec<Rejected>,
}

/// One demand and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `manifest`, `signature`, `sbom`, `provenance`, `test_result`, `promotion`, or a predicate type.
    pub name: String,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For people: which key signed, or what exactly is wrong.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Refused,
}

/// A statement by a key that counts, about this subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedStatement {
    pub predicate_type: String,
    /// The predicate as JSON text, as it was signed.
    pub predicate: String,
    /// The id of the key in the trust root.
    pub key: String,
    /// The digest of the bundle's bytes.
    pub bundle: Digest,
}

/// A referrer that gave no good statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The digest of the bundle's bytes.
    pub bundle: Digest,
    /// What it says it is: unverified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    pub reason: Reason,
    pub detail: String,
}

/// Why a demand is not met. The order is the order of closeness: where several referrers fail, the closest one gives the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    MissingStatement,
    MissingPromotion,
    MissingTestResult,
    MissingProvenance,
    MissingSbom,
    MissingSignature,
    /// More referrers, signatures or signature checks than the limits allow.
    TooMany,
    /// The bundle is larger than its limit.
    TooLarge,
    /// The referrer's manifest is not one of a bundle.
    MalformedReferrer,
    /// The bundle's bytes are not those that the referrer's manifest names.
    BundleDigestMismatch,
    /// The bundle is not one; the detail says where.
    MalformedBundle,
    /// No trusted key is named by the bundle and none verifies it.
    UntrustedKey,
    /// The trust root has no keys at all.
    NoTrustedKey,
    /// A trusted key is named, and its signature does not fit the bytes.
    BadSignature,
    /// Signed, but not an in-toto statement.
    MalformedStatement,
    /// The statement is of another type than its referrer says.
    WrongPredicateType,
    /// The predicate lacks what its type demands.
    MalformedPredicate,
    /// The statement is about something else.
    SubjectMismatch,
    KeyNotYetValid,
    ExpiredKey,
    RevokedKey,
    /// The summary is for another environment.
    WrongResource,
    /// The provenance names a builder that is not accepted.
    WrongBuilder,
    /// The statement itself says `FAILED`.
    FailedResult,
    /// The manifest's bytes are not those of the digest.
    ManifestDigestMismatch,
}

impl Required {
    pub fn predicate_type(&self) -> &str {
        match self {
            Self::Signature => attestation::SIGNATURE,
            Self::Sbom => attestation::SBOM,
            Self::Provenance { .. } => attestation::PROVENANCE,
            Self::TestResult => attestation::TEST_RESULT,
            Self::Promotion { .. } => attestation::PROMOTION,
            Self::Statement { predicate_type } => predicate_type,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Signature => "signature",
            Self::Sbom => "sbom",
            Self::Provenance { .. } => "provenance",
            Self::TestResult => "test_result",
            Self::Promotion { .. } => "promotion",
            Self::Statement { predicate_type } => predicate_type,
        }
    }

    fn missing(&self) -> Reason {
        match self {
            Self::Signature => Reason::MissingSignature,
            Self::Sbom => Reason::MissingSbom,
            Self::Provenance { .. } => Reason::MissingProvenance,
            Self::TestResult => Reason::MissingTestResult,
            Self::Promotion { .. } => Reason::MissingPromotion,
            Self::Statement { .. } => Reason::MissingStatement,
        }
    }
}

impl fmt::Display for Reason {
    /// The machine-readable form: `missing_signature`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Verification {
    /// Whether every demand is met.
    pub fn accepted(&self) -> bool {
        self.checks.iter().all(|check| check.outcome == Outcome::Passed)
    }

    /// The checks that refuse.
    pub fn refusals(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Refused)
    }
}

impl Check {
    fn passed(name: &str, detail: String) -> Self {
        Self { name: name.to_owned(), outcome: Outcome::Passed, reason: None, detail }
    }

    fn refused(name: &str, reason: Reason, detail: String) -> Self {
        Self { name: name.to_owned(), outcome: Outcome::Refused, reason: Some(reason), detail }
    }
}

/// Verifies the manifest's bytes and every demand. Never fails: what cannot be read is a refusal.
pub fn verify(question: &Question<'_>) -> Verification {
    let mut checks = vec![manifest_check(question)];
    let mut budget = SIGNATURE_CHECKS_MAX;
    let candidates: Vec<Candidate> = question
        .referrers
        .iter()
        .take(REFERRERS_MAX)
        .map(|referrer| referrer::examine(referrer, question, &mut budget))
        .collect();
    checks.extend(
        question.required.iter().map(|required| required_check(required, question, &candidates)),
    );

    let (mut statements, mut rejected) = (vec![], vec![]);
    for Candidate { bundle, claimed, result } in candidates {
        match result {
            Ok(good) => statements.push(good.into_statement(bundle)),
            Err((reason, detail)) => rejected.push(Rejected {
                bundle,
                predicate_type: claimed.into_iter().next(),
                reason,
                detail,
            }),
        }
    }
    Verification { checks, statements, rejected }
}

fn manifest_check(question: &Question<'_>) -> Check {
    let bytes = question.manifest.len();
    if bytes > MANIFEST_BYTES_MAX {
        let detail =
            format!("the manifest has {bytes} bytes; at most {MANIFEST_BYTES_MAX} are read");
        return Check::refused("manifest", Reason::TooLarge, detail);
    }
    let found = Digest::of(question.manifest);
    if found == *question.subject {
        return Check::passed("manifest", format!("its digest is {found}"));
    }
    let detail = format!("asked for {}, the bytes have {found}", question.subject);
    Check::refused("manifest", Reason::ManifestDigestMismatch, detail)
}

fn required_check(required: &Required, question: &Question<'_>, candidates: &[Candidate]) -> Check {
    let wanted = required.predicate_type();
    let mut closest: Option<(Reason, String)> = None;
    let mut unreadable: Option<(Reason, String)> = None;
    for candidate in candidates {
        let refusal = match &candidate.result {
            Ok(good) if good.predicate_type == wanted => match good.meets(required) {
                Ok(()) => {
                    return Check::passed(required.name(), format!("signed by `{}`", good.key));
                }
                Err(refusal) => refusal,
            },
            Ok(_) => continue,
            Err(refusal) if candidate.claimed.iter().any(|claimed| claimed == wanted) => {
                refusal.clone()
            }
            Err(refusal) => {
                // What does not even say what it is could have been the one that is missing.
                if candidate.claimed.is_empty() && unreadable.is_none() {
                    unreadable = Some(refusal.clone());
                }
                continue;
            }
        };
        if closest.as_ref().is_none_or(|(reason, _)| *reason < refusal.0) {
            closest = Some(refusal);
        }
    }
    if let Some((reason, detail)) = closest.or(unreadable) {
        return Check::refused(required.name(), reason, detail);
    }
    if question.referrers.len() > REFERRERS_MAX {
        let detail = format!(
            "not among the first {REFERRERS_MAX} of {} referrers",
            question.referrers.len()
        );
        return Check::refused(required.name(), Reason::TooMany, detail);
    }
    let detail =
        format!("none of {} referrers is a statement of type `{wanted}`", candidates.len());
    Check::refused(required.name(), required.missing(), detail)
}
