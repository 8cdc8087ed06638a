//! From a finished build to an artifact in the registry with its evidence: image, signature, SBOM, provenance, test result.

use std::collections::BTreeMap;

use humdrum_build::image::Built;
use humdrum_build::repo::CommitFacts;
use humdrum_evidence::attestation::{
    self, Promotion, TestOutcome, TestResult, VerificationResult, Verifier,
};
use humdrum_evidence::ecosystem::SourceFile;
use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::material::{BaseImage, HostFile, HostPackage, PackageManager};
use humdrum_evidence::provenance::{self, BuilderMode, Toolchain};
use humdrum_evidence::referrer::{Descriptor, referrer};
use humdrum_evidence::sbom::{SbomInput, sbom};
use humdrum_evidence::scan::image::ImageFacts;
use humdrum_evidence::statement::ResourceDescriptor;
use humdrum_evidence::{bundle, sbom::SbomError};
use humdrum_model::finding::ScanReport;
use humdrum_model::name::Digest;
use humdrum_model::release::Artifact;
use humdrum_model::ship::ShipRequest;
use jiff::Timestamp;

use super::Promoted;
use crate::artifacts::{ArtifactError, Artifacts};

/// Everything that is known of a build.
pub(super) struct Input<'a> {
    pub(super) built: &'a Built,
    pub(super) facts: &'a CommitFacts,
    /// Path in the repository and bytes.
    pub(super) manifest: (&'a str, &'a [u8]),
    pub(super) request: &'a ShipRequest,
    pub(super) locks: &'a [(String, Vec<u8>)],
    pub(super) tests_declared: bool,
    pub(super) mode: &'a BuilderMode,
    pub(super) version: &'static str,
    pub(super) key: &'a PrivateKey,
    /// What the base image holds, when there is one.
    pub(super) base_contents: Option<&'a ImageFacts>,
    /// What scans of the whole image found.
    pub(super) scans: &'a [ScanReport],
}

/// What is in the registry now.
pub(super) struct Published {
    pub(super) artifact: Artifact,
    /// Referrer manifests by predicate type.
    pub(super) evidence: BTreeMap<String, Digest>,
}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error(transparent)]
    Registry(#[from] ArtifactError),
    #[error("the bill of materials cannot be written: {0}")]
    Sbom(#[from] SbomError),
}

/// Publishes; safe to repeat, since everything is named by its digest.
pub(super) async fn publish(
    artifacts: &dyn Artifacts,
    input: &Input<'_>,
) -> Result<Published, PublishError> {
    let repository = input.request.service.to_string();
    let built = input.built;
    for layer in &built.layers {
        artifacts.put_file(repository.clone(), layer.digest.clone(), layer.path.clone()).await?;
    }
    artifacts
        .put_blob(repository.clone(), built.config.digest.clone(), built.config.bytes.clone())
        .await?;
    let tag = format!("commit-{}", input.facts.commit.short());
    artifacts
        .put_manifest(
            repository.clone(),
            built.manifest.media_type.into(),
            built.manifest.bytes.clone(),
            Some(tag),
        )
        .await?;
    let subject = Descriptor {
        media_type: built.manifest.media_type.into(),
        digest: built.digest().clone(),
        size: built.manifest.bytes.len() as u64,
    };
    let created = Timestamp::from_second(input.facts.time_s).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut evidence = BTreeMap::new();
    for (predicate_type, bundle) in statements(input)? {
        let referrer = referrer(&subject, bundle, predicate_type, created);
        for (digest, bytes) in referrer.blobs {
            artifacts.put_blob(repository.clone(), digest, bytes).await?;
        }
        let digest = artifacts
            .put_manifest(repository.clone(), REFERRER.into(), referrer.manifest, None)
            .await?;
        evidence.insert(predicate_type.to_owned(), digest);
    }
    Ok(Published { artifact: Artifact { repository, digest: built.digest().clone() }, evidence })
}

/// Media type of a referrer: an ordinary image manifest with a subject.
const REFERRER: &str = "application/vnd.oci.image.manifest.v1+json";

/// Publishes the verification summary of one environment, and names the image `ENVIRONMENT-RELEASE` there.
pub(super) async fn promotion(
    artifacts: &dyn Artifacts,
    promoted: &Promoted,
    mode: &BuilderMode,
    version: &str,
    key: &PrivateKey,
) -> Result<(), PublishError> {
    let Artifact { repository, digest } = promoted.artifact.clone();
    let stored = artifacts.manifest(repository.clone(), digest.clone()).await?;
    let stored = stored.ok_or_else(|| ArtifactError(format!("{digest} is not in the registry")))?;
    let summary = Promotion {
        verifier: Verifier {
            id: VERIFIER.into(),
            version: BTreeMap::from([("humdrum".to_owned(), version.to_owned())]),
        },
        time_verified: promoted.at,
        resource_uri: attestation::environment_uri(&promoted.placement),
        policy: ResourceDescriptor::named("built-in gates").with_uri(VERIFIER),
        input_attestations: promoted
            .evidence
            .iter()
            .map(|digest| ResourceDescriptor::default().with_digest(digest))
            .collect(),
        verification_result: VerificationResult::Passed,
        verified_levels: vec![format!("SLSA_BUILD_LEVEL_{}", mode.slsa_level())],
        slsa_version: provenance::SLSA_VERSION.into(),
    };
    let bundle = bundle::sign(&attestation::promotion(&digest, summary), key);
    let size = stored.bytes.len() as u64;
    let subject = Descriptor { media_type: stored.media_type, digest: digest.clone(), size };
    let referrer = referrer(&subject, bundle, attestation::PROMOTION, promoted.at);
    for (digest, bytes) in referrer.blobs {
        artifacts.put_blob(repository.clone(), digest, bytes).await?;
    }
    artifacts.put_manifest(repository.clone(), REFERRER.into(), referrer.manifest, None).await?;
    let tag = format!("{}-{}", promoted.placement.environment, promoted.release);
    artifacts.tag(repository, digest, tag).await?;
    Ok(())
}

/// Who verifies: the gates that are built in.
const VERIFIER: &str = "urn:humdrum:verifier/built-in";

fn statements(input: &Input<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, PublishError> {
    let digest = input.built.digest();
    let files: Vec<SourceFile<'_>> =
        input.locks.iter().map(|(path, bytes)| SourceFile { path, bytes }).collect();
    let host_files = host_files(input.built);
    let base = base(input.built);
    let repository = format!("file://{}", input.request.repository);
    let bom = sbom(&SbomInput {
        service: &input.request.service,
        commit: &input.facts.commit,
        commit_time: Timestamp::from_second(input.facts.time_s).unwrap_or(Timestamp::UNIX_EPOCH),
        repository: Some(&repository),
        humdrum_version: input.version,
        files: &files,
        host_files: &host_files,
        base: base.as_ref(),
        base_contents: input.base_contents,
    })?;
    let key = input.key;
    let mut all = vec![
        (attestation::SIGNATURE, bundle::sign(&attestation::signature(digest), key)),
        (attestation::SBOM, bundle::sign(&attestation::sbom(digest, bom), key)),
        (
            attestation::PROVENANCE,
            bundle::sign(
                &attestation::provenance(digest, provenance(input, host_files, base)),
                key,
            ),
        ),
    ];
    for report in input.scans {
        let kind = attestation::scan_type(report.kind);
        all.push((kind, bundle::sign(&attestation::scan(digest, report.clone()), key)));
    }
    if input.tests_declared {
        all.push((
            attestation::TEST_RESULT,
            bundle::sign(&attestation::test_result(digest, tests(input)), key),
        ));
    }
    Ok(all)
}

fn provenance(
    input: &Input<'_>,
    host_files: Vec<HostFile>,
    base: Option<BaseImage>,
) -> provenance::Provenance {
    let (path, bytes) = input.manifest;
    let materials = &input.built.materials;
    let toolchain = |tool: &humdrum_build::toolchain::Toolchain| Toolchain {
        name: tool.name.clone(),
        version: tool.version.clone(),
        digest: tool.digest.clone(),
    };
    provenance::provenance(&provenance::BuildFacts {
        mode: input.mode.clone(),
        humdrum_version: input.version.into(),
        build_id: input.built.build_id.clone(),
        started_on: input.built.started,
        finished_on: input.built.finished,
        repository: format!("file://{}", input.request.repository),
        git_ref: Some(input.request.reference.clone()),
        commit: input.facts.commit.clone(),
        manifest: (path.into(), Digest::of(bytes)),
        sandbox: input.built.rung.label().into(),
        plan: materials.plan.clone().unwrap_or_else(|| Digest::of(b"")),
        fetch_environment: materials.fetch_environment.clone(),
        lock_files: materials.lock_files.clone(),
        toolchains: materials.toolchains.iter().map(toolchain).collect(),
        base,
        host_files,
        log: None,
    })
}

/// A release exists only when its tests passed, so the statement can only say so; skipped cases are said too.
fn tests(input: &Input<'_>) -> TestResult {
    let report = input.built.tests.clone().unwrap_or_default();
    let passed = report.cases.saturating_sub(report.skipped + report.failures);
    TestResult {
        result: if report.failures == 0 { TestOutcome::Passed } else { TestOutcome::Failed },
        configuration: vec![
            ResourceDescriptor::named(input.manifest.0).with_digest(&Digest::of(input.manifest.1)),
        ],
        url: None,
        passed_tests: if input.built.tests.is_some() {
            vec![format!("{passed} cases")]
        } else {
            vec!["the test command".into()]
        },
        warned_tests: if report.skipped > 0 {
            vec![format!("{} cases skipped", report.skipped)]
        } else {
            vec![]
        },
        failed_tests: report.failed.iter().map(|case| case.name.clone()).collect(),
    }
}

fn host_files(built: &Built) -> Vec<HostFile> {
    let package = |package: &humdrum_build::host::HostPackage| HostPackage {
        manager: match package.manager.as_str() {
            "rpm" => PackageManager::Rpm,
            "apk" => PackageManager::Apk,
            _ => PackageManager::Deb,
        },
        release: if package.release.is_empty() {
            String::new()
        } else {
            format!("{}-{}", package.distribution, package.release)
        },
        distribution: package.distribution.clone(),
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
    };
    let file = |file: &humdrum_build::host::HostFile| HostFile {
        path: file.path.clone(),
        digest: file.digest.clone(),
        package: file.package.as_ref().map(package),
    };
    built.materials.host_files.iter().map(file).collect()
}

fn base(built: &Built) -> Option<BaseImage> {
    let (reference, digest) = built.materials.base.clone()?;
    let reference = reference.split('@').next().unwrap_or_default().to_owned();
    Some(BaseImage { reference, digest })
}
