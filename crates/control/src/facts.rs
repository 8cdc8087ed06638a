//! Gathers what the gates ask: evidence is read from the registry and verified anew at every deployment.

use std::sync::Arc;

use humdrum_evidence::trust::TrustRoot;
use humdrum_evidence::verify::{
    Check, Outcome, Question, Referrer, Required, Verification, verify,
};
use humdrum_model::gate::{Fact, Facts, TestFacts};
use humdrum_model::name::{Digest, PlacementId};
use humdrum_model::release::Release;
use humdrum_model::rollout::{Bundle, Placement};
use humdrum_model::run::{HOLDS_RUN, State, placement_run};
use serde_json::Value;

use crate::artifacts::{ArtifactError, Artifacts};
use crate::clock::now;
use crate::engine::Engine;

/// Reads and verifies evidence; knows which builders count.
pub struct Gatherer {
    pub artifacts: Arc<dyn Artifacts>,
    pub trust: TrustRoot,
    pub builders: Vec<String>,
}

/// The artifact's evidence as it is at this moment.
pub struct Evidence {
    pub verification: Verification,
    pub statements: usize,
}

impl Gatherer {
    /// Verifies an artifact's signature, SBOM and provenance.
    pub async fn evidence(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Evidence, ArtifactError> {
        let stored = self.artifacts.manifest(repository.into(), digest.clone()).await?;
        let manifest = stored.map(|stored| stored.bytes).unwrap_or_default();
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for referrer in self.artifacts.referrers(repository.into(), digest.clone()).await? {
            let bundle = match bundle_digest(&referrer.bytes) {
                Some(layer) => {
                    self.artifacts.blob(repository.into(), layer).await?.unwrap_or_default()
                }
                None => Vec::new(),
            };
            found.push((referrer.bytes, bundle));
        }
        let referrers: Vec<_> = found
            .iter()
            .map(|(manifest, bundle)| Referrer { manifest: Some(manifest), bundle })
            .collect();
        let required = [
            Required::Signature,
            Required::Sbom,
            Required::Provenance { builders: self.builders.clone() },
        ];
        let question = Question {
            subject: digest,
            manifest: &manifest,
            referrers: &referrers,
            trust: &self.trust,
            required: &required,
            at: now(),
        };
        Ok(Evidence { verification: verify(&question), statements: found.len() })
    }

    /// Everything that the gates of an environment ask about a release.
    pub async fn facts(
        &self,
        engine: &Engine,
        id: &PlacementId,
        bundle: &Bundle,
        after: Option<PlacementId>,
    ) -> Result<Facts, ArtifactError> {
        let release = &bundle.release;
        let evidence =
            self.evidence(&release.artifact.repository, &release.artifact.digest).await?;
        let verification = &evidence.verification;
        // From the store, not from memory: a book that is not loaded here must not read as "nothing is held".
        let row = engine
            .store()
            .run(HOLDS_RUN.into())
            .await
            .map_err(|error| ArtifactError(error.to_string()))?;
        let row =
            row.ok_or_else(|| ArtifactError("the book of holds does not exist yet".into()))?;
        let holds = match State::read(row.state_version, &row.state) {
            Ok(State::Holds(book)) => book.covering(release, &id.environment).cloned(),
            Ok(_) => return Err(ArtifactError("the book of holds is something else".into())),
            Err(error) => return Err(ArtifactError(error.to_string())),
        };
        Ok(Facts {
            at: now(),
            environment: id.environment.clone(),
            owner: bundle.deploy.owner.clone(),
            release: release.id.to_string(),
            artifact: release.artifact.digest.clone(),
            signature: whole(verification, "signature"),
            sbom: whole(verification, "sbom"),
            provenance: whole(verification, "provenance"),
            builder: builder(verification),
            trusted_builders: self.builders.clone(),
            tests: tests(verification, release),
            held: holds,
            after: after.as_ref().map(|before| before.environment.clone()),
            released_before: after.is_none_or(|before| has_had(engine, &before, release)),
        })
    }
}

fn bundle_digest(manifest: &[u8]) -> Option<Digest> {
    let json: Value = serde_json::from_slice(manifest).ok()?;
    Digest::new(json.get("layers")?.get(0)?.get("digest")?.as_str()?).ok()
}

fn check<'a>(verification: &'a Verification, name: &str) -> Option<&'a Check> {
    verification.checks.iter().find(|check| check.name == name)
}

/// A demand counts only while the image's own manifest is what its digest says.
fn whole(verification: &Verification, name: &str) -> Fact {
    match check(verification, "manifest") {
        Some(check) if check.outcome == Outcome::Refused => fact(check),
        _ => check(verification, name).map_or(Fact::Missing, fact),
    }
}

fn fact(check: &Check) -> Fact {
    if check.outcome == Outcome::Passed {
        return Fact::Verified { detail: check.detail.clone() };
    }
    let code = check.reason.as_ref().and_then(|reason| serde_json::to_value(reason).ok());
    let code = code
        .and_then(|value| value.as_str().map(|text| text.replace('_', "-")))
        .unwrap_or_else(|| "refused".into());
    if code.starts_with("missing") {
        Fact::Missing
    } else {
        Fact::Bad { code, why: check.detail.clone() }
    }
}

fn predicate(verification: &Verification, kind: &str) -> Option<Value> {
    let statement =
        verification.statements.iter().find(|statement| statement.predicate_type.contains(kind))?;
    serde_json::from_str(&statement.predicate).ok()
}

fn builder(verification: &Verification) -> Option<String> {
    let provenance = predicate(verification, "slsa.dev/provenance")?;
    provenance.pointer("/runDetails/builder/id")?.as_str().map(Into::into)
}

/// The signed test result says how the tests went; the release says whether there had to be any.
fn tests(verification: &Verification, release: &Release) -> TestFacts {
    let declared = release.config.get("test").is_some_and(|test| !test.is_null());
    let Some(result) = predicate(verification, "test-result") else {
        return if declared { TestFacts::Missing } else { TestFacts::NotDeclared };
    };
    let list = |key: &str| -> Vec<String> {
        let items = result.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(Into::into)).collect()
    };
    let (passed, failed) = (list("passedTests"), list("failedTests"));
    let verdict = result.get("result").and_then(Value::as_str).unwrap_or("FAILED");
    let cases = u32::try_from(passed.len() + failed.len()).unwrap_or(u32::MAX);
    if verdict == "FAILED" {
        TestFacts::Failed { cases, failed }
    } else {
        TestFacts::Passed { cases, skipped: 0 }
    }
}

/// Whether a placement runs the release now, or ran it to the end once.
fn has_had(engine: &Engine, id: &PlacementId, release: &Release) -> bool {
    let Some(snapshot) = engine.snapshot(&placement_run(id)) else { return false };
    let State::Placement(placement) = &*snapshot.state else { return false };
    runs(placement, release)
        || placement.history.iter().any(|ended| {
            ended.release.artifact.digest == release.artifact.digest && ended.outcome.is_good()
        })
}

/// Whether the placement's stable slot has the release's artifact.
pub fn runs(placement: &Placement, release: &Release) -> bool {
    placement
        .stable_bundle()
        .is_some_and(|bundle| bundle.release.artifact.digest == release.artifact.digest)
}
