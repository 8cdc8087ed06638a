//! Verification against every way in which evidence can be missing, foreign, old or changed.

#![expect(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use humdrum_evidence::attestation::{
    self, Promotion, TestOutcome, TestResult, VerificationResult, Verifier,
};
use humdrum_evidence::bundle;
use humdrum_evidence::dsse;
use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::referrer::{Descriptor, IMAGE_MANIFEST, referrer};
use humdrum_evidence::statement::{ResourceDescriptor, Statement};
use humdrum_evidence::trust::{TrustRoot, TrustedKey};
use humdrum_evidence::verify::{Question, Reason, Referrer, Required, Verification, verify};
use humdrum_model::name::Digest;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;
const NOW: &str = "2026-03-01T12:00:00Z";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_scalar(&[seed; 32]).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn subject() -> Digest {
    Digest::of(MANIFEST)
}

fn signed(predicate_type: &str, predicate: serde_json::Value) -> Vec<u8> {
    bundle::sign(&Statement::about(&subject(), predicate_type, predicate), &key(1))
}

fn signature() -> Vec<u8> {
    bundle::sign(&attestation::signature(&subject()), &key(1))
}

fn sbom() -> Vec<u8> {
    signed(attestation::SBOM, json!({"bomFormat": "CycloneDX", "specVersion": "1.6"}))
}

fn provenance(builder: &str) -> Vec<u8> {
    let predicate = json!({"buildDefinition": {"buildType": "urn:x"}, "runDetails": {"builder": {"id": builder}}});
    signed(attestation::PROVENANCE, predicate)
}

fn promotion(environment: &str, result: VerificationResult) -> Vec<u8> {
    let promotion = Promotion {
        verifier: Verifier { id: "urn:humdrum:verifier".into(), version: Default::default() },
        time_verified: at(NOW),
        resource_uri: environment.into(),
        policy: ResourceDescriptor::default().with_uri("urn:humdrum:policy"),
        input_attestations: vec![],
        verification_result: result,
        verified_levels: vec![],
        slsa_version: "1.1".into(),
    };
    bundle::sign(&attestation::promotion(&subject(), promotion), &key(1))
}

fn tests(result: TestOutcome) -> Vec<u8> {
    let result = TestResult {
        result,
        configuration: vec![],
        url: None,
        passed_tests: vec!["a".into()],
        warned_tests: vec![],
        failed_tests: vec![],
    };
    bundle::sign(&attestation::test_result(&subject(), result), &key(1))
}

fn trust() -> TrustRoot {
    let entry = |seed, id: &str| TrustedKey {
        id: id.into(),
        key: key(seed).public(),
        valid_from: Some(at("2026-01-01T00:00:00Z")),
        valid_until: Some(at("2027-01-01T00:00:00Z")),
        revoked: seed == 3,
    };
    TrustRoot::new(vec![entry(2, "other"), entry(1, "release"), entry(3, "stolen")]).unwrap()
}

fn ask(bundles: &[Vec<u8>], required: &[Required], trust: &TrustRoot, now: &str) -> Verification {
    let referrers: Vec<Referrer<'_>> =
        bundles.iter().map(|bundle| Referrer { manifest: None, bundle }).collect();
    let subject = subject();
    verify(&Question {
        subject: &subject,
        manifest: MANIFEST,
        referrers: &referrers,
        trust,
        required,
        at: at(now),
    })
}

fn reasons(verification: &Verification) -> Vec<(String, Reason)> {
    verification.refusals().map(|check| (check.name.clone(), check.reason.unwrap())).collect()
}

fn any_builder() -> Required {
    Required::Provenance { builders: vec![] }
}

#[test]
fn complete_evidence_is_accepted() {
    let required = [
        Required::Signature,
        Required::Sbom,
        Required::Provenance { builders: vec!["urn:humdrum:slsa:builder/local".into()] },
        Required::TestResult,
        Required::Promotion { resource_uri: "staging".into() },
    ];
    let bundles = [
        b"junk".to_vec(),
        signature(),
        sbom(),
        provenance("urn:humdrum:slsa:builder/local"),
        tests(TestOutcome::Passed),
        promotion("dev", VerificationResult::Passed),
        promotion("staging", VerificationResult::Passed),
    ];
    let verification = ask(&bundles, &required, &trust(), NOW);
    assert!(verification.accepted(), "{:?}", verification.checks);
    assert_eq!(verification.statements.len(), 6);
    assert_eq!(
        verification.rejected.len(),
        1,
        "junk beside good evidence is reported and harms nothing"
    );
    assert_eq!(
        serde_json::to_value(&verification).unwrap()["checks"][1],
        json!({"name": "signature", "outcome": "passed", "detail": "signed by `release`"})
    );
}

#[test]
fn what_is_missing_is_named() {
    let all = [
        Required::Signature,
        Required::Sbom,
        any_builder(),
        Required::TestResult,
        Required::Promotion { resource_uri: "dev".into() },
        Required::Statement { predicate_type: "https://example.com/x".into() },
    ];
    let found = reasons(&ask(&[], &all, &trust(), NOW));
    let names: Vec<String> = found.iter().map(|(_, reason)| reason.to_string()).collect();
    assert_eq!(
        names,
        [
            "missing_signature",
            "missing_sbom",
            "missing_provenance",
            "missing_test_result",
            "missing_promotion",
            "missing_statement"
        ]
    );
    // cosign 3 takes any signed statement for a signature; here an attestation alone is none.
    let verification = ask(&[sbom()], &[Required::Signature, Required::Sbom], &trust(), NOW);
    assert_eq!(reasons(&verification), [("signature".into(), Reason::MissingSignature)]);
}

#[test]
fn each_fault_has_its_own_reason() {
    let changed = |bytes: &[u8], from: &str, to: &str| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        text.replacen(from, to, 1).into_bytes()
    };
    let statement = attestation::signature(&subject()).to_bytes();
    let other_payload =
        dsse::encode_base64(&attestation::signature(&Digest::of(b"other")).to_bytes());
    let payload = dsse::encode_base64(&statement);
    let other_subject = bundle::sign(&attestation::signature(&Digest::of(b"other")), &key(1));
    let odd_type = changed(&signature(), "vnd.in-toto+json", "json");
    let hint = key(1).public().hint().to_owned();
    let wrong_sbom = signed(attestation::SBOM, json!({"bomFormat": "SPDX", "specVersion": "2"}));
    #[rustfmt::skip]
    let cases = [
        (changed(&signature(), &payload, &other_payload),      Required::Signature, NOW, Reason::BadSignature),
        (changed(&signature(), "application/vnd.dev", "x"),    Required::Signature, NOW, Reason::MalformedBundle),
        (signature()[..100].to_vec(),                          Required::Signature, NOW, Reason::MalformedBundle),
        (changed(&signature(), &payload, "*"),                 Required::Signature, NOW, Reason::MalformedBundle),
        (odd_type,                                             Required::Signature, NOW, Reason::BadSignature),
        (bundle::sign(&attestation::signature(&subject()), &key(9)), Required::Signature, NOW, Reason::UntrustedKey),
        (bundle::sign(&attestation::signature(&subject()), &key(3)), Required::Signature, NOW, Reason::RevokedKey),
        (signature(),                                          Required::Signature, "2025-12-31T23:59:59Z", Reason::KeyNotYetValid),
        (signature(),                                          Required::Signature, "2027-01-01T00:00:00Z", Reason::ExpiredKey),
        (other_subject,                                        Required::Signature, NOW, Reason::SubjectMismatch),
        (bundle::sign_payload(b"{\"_type\":1}", &key(1)),      Required::Signature, NOW, Reason::MalformedStatement),
        (wrong_sbom,                                           Required::Sbom,      NOW, Reason::MalformedPredicate),
        (signed(attestation::PROVENANCE, json!({})),           any_builder(),       NOW, Reason::MalformedPredicate),
        (provenance("urn:evil"), Required::Provenance { builders: vec!["urn:good".into()] }, NOW, Reason::WrongBuilder),
        (tests(TestOutcome::Failed),                           Required::TestResult, NOW, Reason::FailedResult),
        (promotion("dev", VerificationResult::Passed), Required::Promotion { resource_uri: "production".into() }, NOW, Reason::WrongResource),
        (promotion("dev", VerificationResult::Failed), Required::Promotion { resource_uri: "dev".into() }, NOW, Reason::FailedResult),
    ];
    for (bundle, required, now, reason) in cases {
        let shown = String::from_utf8_lossy(&bundle).into_owned();
        let verification = ask(&[bundle], std::slice::from_ref(&required), &trust(), now);
        let found = reasons(&verification);
        assert_eq!(
            found.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(),
            [reason],
            "{required:?} {shown}"
        );
    }
    // Without any hint the keys are tried all the same.
    let unhinted = changed(&signature(), &hint, "");
    assert!(ask(&[unhinted], &[Required::Signature], &trust(), NOW).accepted());
    let empty = ask(&[signature()], &[Required::Signature], &TrustRoot::default(), NOW);
    assert_eq!(reasons(&empty), [("signature".into(), Reason::NoTrustedKey)]);
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let envelope = dsse::sign(
        dsse::IN_TOTO,
        &attestation::signature(&subject()).to_bytes(),
        &[&key(9), &key(2)],
    );
    let mut bundle: serde_json::Value = serde_json::from_slice(&signature()).unwrap();
    bundle["dsseEnvelope"] = serde_json::to_value(&envelope).unwrap();
    assert!(
        ask(&[bundle.to_string().into_bytes()], &[Required::Signature], &trust(), NOW).accepted()
    );
    let urlsafe = |text: &serde_json::Value| {
        text.as_str().unwrap().replace('+', "-").replace('/', "_").replace('=', "")
    };
    bundle["dsseEnvelope"]["payload"] = urlsafe(&bundle["dsseEnvelope"]["payload"]).into();
    bundle["dsseEnvelope"]["signatures"][1]["sig"] =
        urlsafe(&bundle["dsseEnvelope"]["signatures"][1]["sig"]).into();
    assert!(
        ask(&[bundle.to_string().into_bytes()], &[Required::Signature], &trust(), NOW).accepted()
    );
    let many = vec![bundle["dsseEnvelope"]["signatures"][0].clone(); 17];
    bundle["dsseEnvelope"]["signatures"] = many.into();
    let found =
        reasons(&ask(&[bundle.to_string().into_bytes()], &[Required::Signature], &trust(), NOW));
    assert_eq!(found, [("signature".into(), Reason::TooMany)]);
}

#[test]
fn the_referrers_manifest_is_checked_too() {
    let descriptor = |digest| Descriptor {
        media_type: IMAGE_MANIFEST.into(),
        digest,
        size: MANIFEST.len() as u64,
    };
    let made = |subject: Digest, bundle: &[u8], kind: &str| {
        referrer(&descriptor(subject), bundle.to_vec(), kind, at(NOW)).manifest
    };
    let good = made(subject(), &signature(), attestation::SIGNATURE);
    #[rustfmt::skip]
    let cases = [
        (good.clone(), signature(), Required::Signature, None),
        (good.clone(), [signature(), b" ".to_vec()].concat(), Required::Signature, Some(Reason::BundleDigestMismatch)),
        (made(Digest::of(b"other"), &signature(), attestation::SIGNATURE), signature(), Required::Signature, Some(Reason::SubjectMismatch)),
        (made(subject(), &sbom(), attestation::SIGNATURE), sbom(), Required::Signature, Some(Reason::WrongPredicateType)),
        (b"{}".to_vec(), signature(), Required::Signature, Some(Reason::MalformedReferrer)),
        (good, signature(), Required::Sbom, Some(Reason::MissingSbom)),
    ];
    for (manifest, bundle, required, reason) in cases {
        let referrers = [Referrer { manifest: Some(&manifest), bundle: &bundle }];
        let (subject, trust, required) = (subject(), trust(), [required]);
        let question = Question {
            subject: &subject,
            manifest: MANIFEST,
            referrers: &referrers,
            trust: &trust,
            required: &required,
            at: at(NOW),
        };
        let found = verify(&question).refusals().map(|check| check.reason.unwrap()).next();
        assert_eq!(found, reason, "{}", String::from_utf8_lossy(&manifest));
    }
}

#[test]
fn every_changed_byte_of_the_manifest_is_refused() {
    let (subject, trust, bundle) = (subject(), trust(), signature());
    for place in 0..MANIFEST.len() {
        let mut manifest = MANIFEST.to_vec();
        manifest[place] ^= 1;
        let referrers = [Referrer { manifest: None, bundle: &bundle }];
        let required = [Required::Signature];
        let question = Question {
            subject: &subject,
            manifest: &manifest,
            referrers: &referrers,
            trust: &trust,
            required: &required,
            at: at(NOW),
        };
        assert_eq!(
            reasons(&verify(&question)),
            [("manifest".into(), Reason::ManifestDigestMismatch)]
        );
    }
}

#[test]
fn hostile_amounts_are_bounded() {
    let many = vec![bundle::sign(&attestation::signature(&subject()), &key(9)); 300];
    let verification = ask(&many, &[Required::Signature, Required::Sbom], &trust(), NOW);
    assert_eq!(
        reasons(&verification),
        [("signature".into(), Reason::UntrustedKey), ("sbom".into(), Reason::TooMany)]
    );
    assert_eq!(verification.rejected.len(), 256);
    let large = vec![b' '; bundle::BUNDLE_BYTES_MAX + 1];
    assert_eq!(
        reasons(&ask(&[large], &[Required::Sbom], &trust(), NOW)),
        [("sbom".into(), Reason::TooLarge)]
    );
}

proptest! {
    /// A changed byte never makes a false acceptance: what is still accepted has the same payload.
    #[test]
    fn a_changed_bundle_is_refused_or_means_the_same(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = signature();
        let mut changed = good.clone();
        changed[place.index(good.len())] = byte;
        let verification = ask(&[changed.clone()], &[Required::Signature], &trust(), NOW);
        if verification.accepted() {
            let payload = |bytes: &[u8]| bundle::Bundle::read(bytes).unwrap().payload().unwrap();
            prop_assert_eq!(payload(&changed), payload(&good));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bundle in prop::collection::vec(any::<u8>(), 0..400), manifest in prop::collection::vec(any::<u8>(), 0..200)) {
        let (subject, trust) = (subject(), trust());
        let referrers = [Referrer { manifest: Some(&manifest), bundle: &bundle }, Referrer { manifest: None, bundle: &bundle }];
        let required = [Required::Signature];
        let question = Question { subject: &subject, manifest: &manifest, referrers: &referrers, trust: &trust, required: &required, at: at(NOW) };
        prop_assert!(!verify(&question).accepted());
        let text = String::from_utf8_lossy(&bundle);
        prop_assert!(TrustRoot::read(&bundle).is_err());
        prop_assert!(PrivateKey::from_pem(&text).is_err());
        prop_assert!(PrivateKey::from_cosign_pem(&text, b"").is_err());
    }

    /// Signed by a trusted key, but with any JSON as the statement: refused, never a panic.
    #[test]
    fn no_signed_nonsense_is_accepted(payload in "[\\[\\]{}\",:a-z0-9]{0,80}") {
        let bundle = bundle::sign_payload(payload.as_bytes(), &key(1));
        prop_assert!(!ask(&[bundle], &[Required::Signature], &trust(), NOW).accepted());
    }
}
