//! One referrer: from bytes that anyone may have pushed to a statement by a key that counts.

use humdrum_model::name::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Question, Reason, Referrer, Required, SIGNATURES_MAX, VerifiedStatement};
use crate::attestation::{self, TestOutcome, VerificationResult};
use crate::bundle::{Bundle, BundleError, shortened};
use crate::dsse;
use crate::referrer::{MANIFEST_BYTES_MAX, Manifest, PREDICATE_TYPE};
use crate::statement::{STATEMENT_V0_1, STATEMENT_V1, Statement};
use crate::trust::{TrustedKey, Validity};

pub(super) type Refusal = (Reason, String);

/// What came of one referrer.
pub(super) struct Candidate {
    pub(super) bundle: Digest,
    /// The predicate types that it says it has: the payload's first, then the referrer manifest's. Unverified.
    pub(super) claimed: Vec<String>,
    pub(super) result: Result<Good, Refusal>,
}

/// A statement that holds.
pub(super) struct Good {
    pub(super) predicate_type: String,
    predicate: String,
    pub(super) key: String,
}

impl Good {
    pub(super) fn into_statement(self, bundle: Digest) -> VerifiedStatement {
        let Self { predicate_type, predicate, key } = self;
        VerifiedStatement { predicate_type, predicate, key, bundle }
    }

    /// What a demand asks beyond the predicate type. The predicate was read once before, so it reads again.
    pub(super) fn meets(&self, required: &Required) -> Result<(), Refusal> {
        match required {
            Required::Signature | Required::Sbom | Required::Statement { .. } => Ok(()),
            Required::Provenance { builders } => {
                let id = read::<ProvenanceHead>(&self.predicate)?.run_details.builder.id;
                if builders.is_empty() || builders.contains(&id) {
                    return Ok(());
                }
                Err((
                    Reason::WrongBuilder,
                    format!("built by `{}`, which is not accepted", shortened(&id)),
                ))
            }
            Required::TestResult => match read::<TestHead>(&self.predicate)?.result {
                TestOutcome::Passed | TestOutcome::Warned => Ok(()),
                TestOutcome::Failed => Err((Reason::FailedResult, "the tests failed".to_owned())),
            },
            Required::Promotion { resource_uri } => {
                let head = read::<PromotionHead>(&self.predicate)?;
                if head.resource_uri != *resource_uri {
                    let detail = format!(
                        "it is for `{}`, not for `{resource_uri}`",
                        shortened(&head.resource_uri)
                    );
                    return Err((Reason::WrongResource, detail));
                }
                match head.verification_result {
                    VerificationResult::Passed => Ok(()),
                    VerificationResult::Failed => {
                        Err((Reason::FailedResult, format!("the gate refused `{resource_uri}`")))
                    }
                }
            }
        }
    }
}

pub(super) fn examine(
    referrer: &Referrer<'_>,
    question: &Question<'_>,
    budget: &mut usize,
) -> Candidate {
    let mut claimed = vec![];
    let result = examine_claims(referrer, question, budget, &mut claimed);
    Candidate { bundle: Digest::of(referrer.bundle), claimed, result }
}

fn examine_claims(
    referrer: &Referrer<'_>,
    question: &Question<'_>,
    budget: &mut usize,
    claimed: &mut Vec<String>,
) -> Result<Good, Refusal> {
    let declared = match referrer.manifest {
        Some(manifest) => read_manifest(manifest, referrer.bundle, question.subject, claimed)?,
        None => None,
    };
    let bundle = Bundle::read(referrer.bundle).map_err(bundle_refusal)?;
    let payload = bundle.payload().map_err(bundle_refusal)?;
    let statement: Result<Statement<&RawValue>, _> = serde_json::from_slice(&payload);
    if let Ok(statement) = &statement
        && !claimed.contains(&statement.predicate_type)
    {
        claimed.insert(0, statement.predicate_type.clone());
    }
    // The signature first: what was changed in transit must not be blamed on its content.
    let key = signing_key(&bundle, &payload, question, budget)?;
    let statement =
        statement.map_err(|error| malformed_statement(format!("not JSON of its form: {error}")))?;
    check_statement(&bundle, &statement, declared.as_deref(), question.subject)?;
    let good = Good {
        predicate_type: statement.predicate_type,
        predicate: statement.predicate.get().to_owned(),
        key: key.id.clone(),
    };
    check_predicate(&good)?;
    check_validity(key, question)?;
    Ok(good)
}

/// Checks the referrer's own manifest; answers the predicate type it declares.
fn read_manifest(
    bytes: &[u8],
    bundle: &[u8],
    subject: &Digest,
    claimed: &mut Vec<String>,
) -> Result<Option<String>, Refusal> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        let detail = format!(
            "its manifest has {} bytes; at most {MANIFEST_BYTES_MAX} are read",
            bytes.len()
        );
        return Err((Reason::TooLarge, detail));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| {
        (Reason::MalformedReferrer, format!("its manifest is not JSON of its form: {error}"))
    })?;
    let declared = manifest.annotations.get(PREDICATE_TYPE).cloned();
    claimed.extend(declared.clone());
    let [layer] = manifest.layers.as_slice() else {
        let detail =
            format!("its manifest has {} layers instead of one bundle", manifest.layers.len());
        return Err((Reason::MalformedReferrer, detail));
    };
    if manifest.subject.digest != *subject {
        return Err((
            Reason::SubjectMismatch,
            format!("its manifest refers to {}", manifest.subject.digest),
        ));
    }
    let found = Digest::of(bundle);
    if layer.digest != found {
        return Err((
            Reason::BundleDigestMismatch,
            format!("its manifest names {}, the bytes have {found}", layer.digest),
        ));
    }
    Ok(declared)
}

fn bundle_refusal(error: BundleError) -> Refusal {
    let reason = match error {
        BundleError::TooLarge { .. } => Reason::TooLarge,
        _ => Reason::MalformedBundle,
    };
    (reason, error.to_string())
}

/// The trusted key that signed the payload. Any one good signature is enough.
fn signing_key<'a>(
    bundle: &Bundle<'_>,
    payload: &[u8],
    question: &Question<'a>,
    budget: &mut usize,
) -> Result<&'a TrustedKey, Refusal> {
    let keys = question.trust.keys();
    if keys.is_empty() {
        return Err((Reason::NoTrustedKey, "the trust root has no keys".to_owned()));
    }
    let signatures = &bundle.dsse_envelope.signatures;
    if signatures.is_empty() {
        return Err((
            Reason::MalformedBundle,
            "the bundle's `dsseEnvelope.signatures` is empty".to_owned(),
        ));
    }
    if signatures.len() > SIGNATURES_MAX {
        let detail = format!(
            "the bundle has {} signatures; at most {SIGNATURES_MAX} are read",
            signatures.len()
        );
        return Err((Reason::TooMany, detail));
    }
    let hint = bundle.key_hint().filter(|hint| !hint.is_empty());
    let hinted = keys.iter().find(|key| Some(key.key.hint()) == hint);
    let hash = dsse::pae_sha256(&bundle.dsse_envelope.payload_type, payload);
    for signature in signatures {
        let Some(signature) = dsse::decode_base64(&signature.sig) else { continue };
        // The hint only orders the tries: an envelope may carry signatures of several keys.
        let others =
            keys.iter().filter(|key| hinted.is_none_or(|hinted| !std::ptr::eq(hinted, *key)));
        for key in hinted.into_iter().chain(others) {
            if *budget == 0 {
                return Err((
                    Reason::TooMany,
                    "the limit of signature checks is reached".to_owned(),
                ));
            }
            *budget -= 1;
            if dsse::verifies(&key.key, &hash, &signature) {
                return Ok(key);
            }
        }
    }
    Err(match (hinted, hint) {
        (Some(key), _) => (
            Reason::BadSignature,
            format!("the signature of the key `{}` does not fit the bytes", key.id),
        ),
        (None, Some(hint)) => (
            Reason::UntrustedKey,
            format!("it names the key `{}`, which is not trusted", shortened(hint)),
        ),
        (None, None) => {
            (Reason::UntrustedKey, "no trusted key verifies it, and it names none".to_owned())
        }
    })
}

fn check_validity(key: &TrustedKey, question: &Question<'_>) -> Result<(), Refusal> {
    let id = &key.id;
    Err(match key.validity(question.at) {
        Validity::Valid => return Ok(()),
        Validity::NotYet { from } => {
            (Reason::KeyNotYetValid, format!("the key `{id}` is valid from {from}"))
        }
        Validity::Expired { since } => {
            (Reason::ExpiredKey, format!("the key `{id}` expired at {since}"))
        }
        Validity::Revoked => (Reason::RevokedKey, format!("the key `{id}` is revoked")),
    })
}

fn malformed_statement(why: String) -> Refusal {
    (Reason::MalformedStatement, format!("the signed payload is {why}"))
}

fn check_statement(
    bundle: &Bundle<'_>,
    statement: &Statement<&RawValue>,
    declared: Option<&str>,
    subject: &Digest,
) -> Result<(), Refusal> {
    let payload_type = &bundle.dsse_envelope.payload_type;
    if payload_type != dsse::IN_TOTO {
        return Err(malformed_statement(format!("of type `{}`", shortened(payload_type))));
    }
    if statement.kind != STATEMENT_V1 && statement.kind != STATEMENT_V0_1 {
        return Err(malformed_statement(format!(
            "a statement of type `{}`",
            shortened(&statement.kind)
        )));
    }
    let about = |hex: &String| hex.eq_ignore_ascii_case(subject.hex());
    if !statement.subject.iter().any(|entry| entry.digest.get("sha256").is_some_and(about)) {
        return Err((Reason::SubjectMismatch, format!("the statement is not about {subject}")));
    }
    match declared {
        Some(declared) if declared != statement.predicate_type => {
            let found = shortened(&statement.predicate_type);
            let declared = shortened(declared);
            Err((
                Reason::WrongPredicateType,
                format!("declared as `{declared}`, signed as `{found}`"),
            ))
        }
        _ => Ok(()),
    }
}

/// Reads as much of a known predicate as decisions rest on, so that an empty one never counts.
fn check_predicate(good: &Good) -> Result<(), Refusal> {
    match good.predicate_type.as_str() {
        attestation::SBOM => {
            let head: SbomHead = read(&good.predicate)?;
            if head.bom_format != "CycloneDX" {
                let detail = format!("`bomFormat` is `{}`", shortened(&head.bom_format));
                return Err((Reason::MalformedPredicate, detail));
            }
            Ok(())
        }
        attestation::PROVENANCE => read::<ProvenanceHead>(&good.predicate).map(drop),
        attestation::TEST_RESULT => read::<TestHead>(&good.predicate).map(drop),
        attestation::PROMOTION => read::<PromotionHead>(&good.predicate).map(drop),
        _ => Ok(()),
    }
}

fn read<'a, T: Deserialize<'a>>(predicate: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(predicate)
        .map_err(|error| (Reason::MalformedPredicate, format!("the predicate: {error}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SbomHead {
    bom_format: String,
    #[serde(rename = "specVersion")]
    _spec_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProvenanceHead {
    #[serde(rename = "buildDefinition")]
    _build_definition: BuildDefinitionHead,
    run_details: RunDetailsHead,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinitionHead {
    #[serde(rename = "buildType")]
    _build_type: String,
}

#[derive(Deserialize)]
struct RunDetailsHead {
    builder: BuilderHead,
}

#[derive(Deserialize)]
struct BuilderHead {
    id: String,
}

#[derive(Deserialize)]
struct TestHead {
    result: TestOutcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromotionHead {
    resource_uri: String,
    verification_result: VerificationResult,
}
