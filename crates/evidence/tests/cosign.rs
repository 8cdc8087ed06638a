//! cosign itself as the judge: it verifies what is signed here, reads the keys written here, and the other way round.

#![expect(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use std::path::{Path, PathBuf};
use std::process::Command;

use humdrum_evidence::attestation;
use humdrum_evidence::bundle;
use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::statement::Statement;
use humdrum_evidence::trust::TrustRoot;
use humdrum_evidence::verify::{Question, Reason, Referrer, Required, verify};
use humdrum_model::name::Digest;
use serde_json::json;

/// The version with which this was recorded.
const VERSION: &str = "v3.1.3";
/// A signing configuration without services: nothing is sent anywhere.
const OFFLINE: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
const ARTIFACT: &[u8] = br#"{"schemaVersion":2}"#;

fn cosign() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let program = tools.join("cosign");
    assert!(
        program.exists(),
        "cosign is not at {}; install it: scripts/test-tools.sh, or GOBIN={} go install github.com/sigstore/cosign/v3/cmd/cosign@{VERSION}",
        program.display(),
        tools.display()
    );
    program
}

/// Runs cosign in a folder with its home there too; answers its output, or what it complained of.
fn run(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(cosign())
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env("COSIGN_PASSWORD", "secret")
        // The library's trust metadata is never needed with a key; an unreachable proxy keeps the test off the network.
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn verify_attestation(folder: &Path, kind: &str) -> Result<String, String> {
    let digest = Digest::of(ARTIFACT);
    #[rustfmt::skip]
    let arguments = [
        "verify-blob-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog", "--bundle", "bundle.json",
        "--type", kind, "--digest", digest.hex(), "--digestAlg", "sha256",
    ];
    run(folder, &arguments)
}

#[test]
fn cosign_verifies_our_statements() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = PrivateKey::generate(&mut rand::rng()).unwrap();
    std::fs::write(folder.join("cosign.pub"), key.public().to_pem()).unwrap();
    let subject = Digest::of(ARTIFACT);
    #[rustfmt::skip]
    let cases = [
        (attestation::SIGNATURE,   json!({})),
        (attestation::SBOM,        json!({"bomFormat": "CycloneDX", "specVersion": "1.6"})),
        (attestation::PROVENANCE,  json!({"buildDefinition": {"buildType": "urn:x"}, "runDetails": {"builder": {"id": "urn:y"}}})),
        (attestation::TEST_RESULT, json!({"result": "PASSED"})),
        (attestation::PROMOTION,   json!({"resourceUri": "dev", "verificationResult": "PASSED"})),
    ];
    for (kind, predicate) in cases {
        let good = bundle::sign(&Statement::about(&subject, kind, predicate), &key);
        std::fs::write(folder.join("bundle.json"), &good).unwrap();
        let answer = verify_attestation(folder, kind).unwrap();
        assert!(answer.contains("Verified OK"), "{kind}: {answer}");
    }
    let other = bundle::sign(&attestation::signature(&Digest::of(b"other")), &key);
    std::fs::write(folder.join("bundle.json"), other).unwrap();
    verify_attestation(folder, attestation::SIGNATURE).unwrap_err();
    let foreign = bundle::sign(
        &attestation::signature(&subject),
        &PrivateKey::generate(&mut rand::rng()).unwrap(),
    );
    std::fs::write(folder.join("bundle.json"), foreign).unwrap();
    verify_attestation(folder, attestation::SIGNATURE).unwrap_err();
}

#[test]
fn we_verify_cosigns_statements() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, bytes) in [
        ("offline.json", OFFLINE.as_bytes()),
        ("artifact", ARTIFACT),
        ("sbom.json", br#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#),
    ] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    run(folder, &["generate-key-pair"]).unwrap();
    #[rustfmt::skip]
    let arguments = [
        "attest-blob", "--key", "cosign.key", "--signing-config", "offline.json", "--predicate", "sbom.json",
        "--type", "cyclonedx", "--bundle", "bundle.json", "--yes", "artifact",
    ];
    run(folder, &arguments).unwrap();
    let made = std::fs::read(folder.join("bundle.json")).unwrap();
    let pem = std::fs::read_to_string(folder.join("cosign.key")).unwrap();
    let key = PrivateKey::from_cosign_pem(&pem, b"secret").unwrap();
    assert_eq!(key.public().to_pem(), std::fs::read_to_string(folder.join("cosign.pub")).unwrap());

    let (subject, trust) = (Digest::of(ARTIFACT), TrustRoot::of(key.public()));
    let referrers = [Referrer { manifest: None, bundle: &made }];
    let question = Question {
        subject: &subject,
        manifest: ARTIFACT,
        referrers: &referrers,
        trust: &trust,
        required: &[Required::Sbom],
        at: "2026-03-01T12:00:00Z".parse().unwrap(),
    };
    let verification = verify(&question);
    assert!(verification.accepted(), "{:?}", verification.checks);
    let stranger = TrustRoot::of(PrivateKey::generate(&mut rand::rng()).unwrap().public());
    let refused = verify(&Question { trust: &stranger, ..question });
    assert_eq!(
        refused.refusals().map(|check| check.reason).collect::<Vec<_>>(),
        [Some(Reason::UntrustedKey)]
    );
}

#[test]
fn cosign_signs_with_our_keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = PrivateKey::generate(&mut rand::rng()).unwrap();
    std::fs::write(folder.join("ours.key"), key.to_cosign_pem(b"secret", &mut rand::rng()))
        .unwrap();
    std::fs::write(folder.join("plain.pem"), key.to_pkcs8_pem()).unwrap();
    let public = run(folder, &["public-key", "--key", "ours.key"]).unwrap();
    assert!(public.contains(&key.public().to_pem()), "{public}");

    run(folder, &["import-key-pair", "--key", "plain.pem"]).unwrap();
    let imported = std::fs::read_to_string(folder.join("import-cosign.key")).unwrap();
    assert_eq!(PrivateKey::from_cosign_pem(&imported, b"secret").unwrap().public(), key.public());

    std::fs::write(folder.join("wrong.key"), key.to_cosign_pem(b"another", &mut rand::rng()))
        .unwrap();
    run(folder, &["public-key", "--key", "wrong.key"]).unwrap_err();
}
