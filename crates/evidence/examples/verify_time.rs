//! How long a verification takes: signature, provenance and an SBOM of 2,000 components. Run with `--release`.
#![expect(clippy::unwrap_used, reason = "a measurement: a panic is the failure")]

use std::time::Instant;

use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::statement::Statement;
use humdrum_evidence::trust::TrustRoot;
use humdrum_evidence::verify::{Question, Referrer, Required, verify};
use humdrum_evidence::{attestation, bundle};
use humdrum_model::name::Digest;
use serde_json::json;

const ROUNDS: usize = 1_000;

fn main() {
    let key = PrivateKey::from_scalar(&[1; 32]).unwrap();
    let manifest = br#"{"schemaVersion":2}"#;
    let subject = Digest::of(manifest);
    let components: Vec<_> = (0..2_000)
        .map(|n| json!({"type": "library", "bom-ref": format!("pkg:cargo/package-{n}@1.0.0"), "name": format!("package-{n}"), "version": "1.0.0",
            "hashes": [{"alg": "SHA-256", "content": "0".repeat(64)}], "purl": format!("pkg:cargo/package-{n}@1.0.0")}))
        .collect();
    let sbom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components});
    let provenance = json!({"buildDefinition": {"buildType": "urn:x"}, "runDetails": {"builder": {"id": "urn:y"}}});
    let bundles = [
        bundle::sign(&attestation::signature(&subject), &key),
        bundle::sign(&Statement::about(&subject, attestation::SBOM, sbom), &key),
        bundle::sign(&Statement::about(&subject, attestation::PROVENANCE, provenance), &key),
    ];
    let referrers: Vec<Referrer<'_>> =
        bundles.iter().map(|bundle| Referrer { manifest: None, bundle }).collect();
    let trust = TrustRoot::of(key.public());
    let required = [Required::Signature, Required::Sbom, Required::Provenance { builders: vec![] }];
    let question = Question {
        subject: &subject,
        manifest,
        referrers: &referrers,
        trust: &trust,
        required: &required,
        at: "2026-03-01T12:00:00Z".parse().unwrap(),
    };
    let mut micros: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            assert!(verify(&question).accepted());
            start.elapsed().as_micros()
        })
        .collect();
    micros.sort_unstable();
    let size: usize = bundles.iter().map(Vec::len).sum();
    println!(
        "bundles {size} B; p50 {} µs, p99 {} µs",
        micros[ROUNDS / 2],
        micros[ROUNDS * 99 / 100]
    );
}
