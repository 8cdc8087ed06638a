//! Gathers what the gates ask: evidence is read from the registry and verified anew at every deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use humdrum_evidence::trust::TrustRoot;
use humdrum_evidence::verify::{
    Check, Outcome, Question, Referrer, Required, Verification, verify,
};
use humdrum_model::approval::Approval;
use humdrum_model::gate::{Components, Fact, Facts, Scan, ScanMode, TestFacts};
use humdrum_model::name::{Digest, EnvName, PlacementId};
use humdrum_model::release::Release;
use humdrum_model::rollout::Placement;
use humdrum_model::run::{HOLDS_RUN, State, WAIVERS_RUN, placement_run};
use humdrum_policy::worker::Evaluator;
use jiff::Timestamp;
use serde_json::Value;

use crate::artifacts::{ArtifactError, Artifacts};
use crate::clock::now;
use crate::engine::Engine;
use crate::scans::{Matcher, fingerprints};

/// Reads and verifies evidence; knows which builders count.
pub struct Gatherer {
    pub artifacts: Arc<dyn Artifacts>,
    pub trust: TrustRoot,
    pub builders: Vec<String>,
    pub policies: Evaluator,
    /// What findings do in an environment, as the settings in force say.
    pub scan_mode: Box<dyn Fn(&EnvName) -> ScanMode + Send + Sync>,
    pub matcher: Matcher,
}

/// What the facts of a moment are about.
pub struct Occasion {
    pub release: Release,
    pub owner: String,
    /// The placement that must have it first.
    pub after: Option<PlacementId>,
    /// Who wants it there: whoever makes a change does not approve it.
    pub author: Option<String>,
    pub approvals: Vec<Approval>,
    pub approval_follows: bool,
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

    /// Everything that the gates of an environment ask about a release, with what the policies say about it.
    pub async fn facts(
        &self,
        engine: &Engine,
        id: &PlacementId,
        occasion: &Occasion,
    ) -> Result<Facts, ArtifactError> {
        let facts = self.gather(engine, id, occasion).await?;
        let evaluator = self.policies.clone();
        let evaluated = tokio::task::spawn_blocking(move || {
            let answer = evaluator.evaluate(&facts);
            answer.apply(facts)
        });
        evaluated.await.map_err(|error| ArtifactError(error.to_string()))
    }

    async fn gather(
        &self,
        engine: &Engine,
        id: &PlacementId,
        occasion: &Occasion,
    ) -> Result<Facts, ArtifactError> {
        let release = &occasion.release;
        let evidence =
            self.evidence(&release.artifact.repository, &release.artifact.digest).await?;
        let verification = &evidence.verification;
        let held = match book(engine, HOLDS_RUN).await? {
            State::Holds(book) => book.covering(release, &id.environment).cloned(),
            _ => return Err(ArtifactError("the book of holds is something else".into())),
        };
        let at = now();
        let waivers = match book(engine, WAIVERS_RUN).await? {
            State::Waivers(book) => book.in_force(release.service.as_str(), &id.environment, at),
            _ => return Err(ArtifactError("the book of waivers is something else".into())),
        };
        let after = occasion.after.as_ref();
        let scans = self.scans(verification, at).await?;
        let known = self.known(engine, id, release, at).await?;
        Ok(Facts {
            scans,
            known,
            owner: occasion.owner.clone(),
            release: release.id.to_string(),
            signature: whole(verification, "signature"),
            sbom: whole(verification, "sbom"),
            provenance: whole(verification, "provenance"),
            builder: builder(verification),
            trusted_builders: self.builders.clone(),
            tests: tests(verification, release),
            held,
            after: after.map(|before| before.environment.clone()),
            released_before: after.is_none_or(|before| has_had(engine, before, release)),
            service: release.service.to_string(),
            commit: release.commit.to_string(),
            author: occasion.author.clone(),
            waivers,
            approvals: occasion.approvals.clone(),
            approval_follows: occasion.approval_follows,
            components: components(verification),
            vulnerability_scan: (self.scan_mode)(&id.environment),
            ..Facts::unknown(at, id.environment.clone(), release.artifact.digest.clone())
        })
    }
}

impl Gatherer {
    async fn scans(
        &self,
        verification: &Verification,
        at: Timestamp,
    ) -> Result<Vec<Scan>, ArtifactError> {
        let (matcher, verification) = (self.matcher.clone(), verification.clone());
        let scans = tokio::task::spawn_blocking(move || matcher.scans(&verification, at)).await;
        scans.map_err(|error| ArtifactError(error.to_string()))
    }

    /// The findings that the environment's present release has, too: they are no news.
    async fn known(
        &self,
        engine: &Engine,
        id: &PlacementId,
        release: &Release,
        at: Timestamp,
    ) -> Result<BTreeSet<String>, ArtifactError> {
        let Some(snapshot) = engine.snapshot(&placement_run(id)) else {
            return Ok(BTreeSet::new());
        };
        let State::Placement(placement) = &*snapshot.state else { return Ok(BTreeSet::new()) };
        let present = placement.stable_bundle().map(|bundle| &bundle.release.artifact);
        let Some(present) = present.filter(|present| present.digest != release.artifact.digest)
        else {
            return Ok(BTreeSet::new());
        };
        let evidence = self.evidence(&present.repository, &present.digest).await?;
        Ok(fingerprints(&self.scans(&evidence.verification, at).await?))
    }
}

/// From the store, not from memory: a book that is not loaded here must not read as empty.
async fn book(engine: &Engine, run: &str) -> Result<State, ArtifactError> {
    let row = engine.store().run(run.into()).await;
    let row = row.map_err(|error| ArtifactError(error.to_string()))?;
    let row = row.ok_or_else(|| ArtifactError(format!("the book of {run} does not exist yet")))?;
    State::read(row.state_version, &row.state).map_err(|error| ArtifactError(error.to_string()))
}

/// What the verified SBOM lists.
fn components(verification: &Verification) -> Option<Components> {
    let sbom = predicate(verification, "cyclonedx")?;
    let listed = sbom.get("components")?.as_array()?;
    let mut licences = BTreeMap::new();
    for component in listed {
        for licence in component.get("licenses").and_then(Value::as_array).into_iter().flatten() {
            let name = ["/license/id", "/expression", "/license/name"];
            let name = name.iter().find_map(|path| licence.pointer(path)?.as_str());
            *licences.entry(name.unwrap_or("unknown").to_owned()).or_default() += 1;
        }
    }
    Some(Components { total: u32::try_from(listed.len()).unwrap_or(u32::MAX), licences })
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
