//! `/api/v1/gates/check`: what the gates would say now, without deploying anything.

use axum::extract::State;
use humdrum_control::clock::now;
use humdrum_control::deploy::manifest_of;
use humdrum_control::facts::Occasion;
use humdrum_control::store::RunFilter;
use humdrum_control::view;
use humdrum_model::gate::{self, Facts, GateResult};
use humdrum_model::name::{EnvName, PlacementId};
use humdrum_model::release::Release;
use humdrum_model::run::State as RunState;
use serde::{Deserialize, Serialize};

use crate::App;
use crate::error::{ApiError, Json};

/// Newest ships among which a release is looked for.
const SHIPS_MAX: u32 = 1_000;
/// Fewest digits of a commit that name it.
const COMMIT_MIN: usize = 4;

/// Which release, and where it would go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateQuestion {
    /// A release, a ship, a commit or its beginning, a digest, or `last`.
    pub reference: String,
    pub environment: EnvName,
}

/// What the gates say at this moment; a promotion asks them again at its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GateAnswer {
    pub service: String,
    pub environment: EnvName,
    pub release: String,
    pub commit: String,
    pub refused: bool,
    pub results: Vec<GateResult>,
    /// What was asked about; `humdrum gate test` takes it.
    pub facts: Facts,
}

/// `POST`: gathers the facts, evaluates the policies, asks the gates; changes nothing.
pub async fn check(
    State(app): State<App>,
    Json(question): Json<GateQuestion>,
) -> Result<Json<GateAnswer>, ApiError> {
    let (release, owner, by) = find(&app, &question.reference).await?;
    let environment = question.environment;
    let id = PlacementId { service: release.service.clone(), environment: environment.clone() };
    let manifest =
        manifest_of(&release).map_err(|error| ApiError::new(500, "state", error.to_string()))?;
    let plan = manifest.plan(&environment).ok_or_else(|| {
        let known: Vec<_> = manifest.plans().iter().map(|plan| plan.name.to_string()).collect();
        let what = format!("release {} has no environment `{environment}`", release.id);
        ApiError::new(404, "no-such-placement", format!("{what}; it has: {}", known.join(", ")))
    })?;
    let occasion = Occasion {
        owner,
        after: plan.after.map(|environment| PlacementId { environment, ..id.clone() }),
        author: Some(by),
        approvals: vec![],
        approval_follows: plan.approve,
        release,
    };
    let facts = app.gatherer.facts(&app.engine, &id, &occasion).await;
    let facts = facts.map_err(|error| ApiError::new(503, "registry", error.to_string()))?;
    let results = gate::check(&facts, &environment, now());
    Ok(Json(GateAnswer {
        service: facts.service.clone(),
        environment,
        release: facts.release.clone(),
        commit: facts.commit.clone(),
        refused: results.iter().any(|result| !result.passed),
        results,
        facts,
    }))
}

/// A release that a ship made, its owner, and who shipped it; the newest that fits.
async fn find(app: &App, reference: &str) -> Result<(Release, String, String), ApiError> {
    let filter = RunFilter {
        kind: Some("ship".into()),
        limit: SHIPS_MAX,
        newest_first: true,
        ..RunFilter::default()
    };
    for row in app.engine.store().runs(filter).await? {
        let Ok(state) = RunState::read(row.state_version, &row.state) else { continue };
        let Some(ship) = view::as_ship(&state) else { continue };
        let (Some(release), Some(build)) = (ship.release(), ship.build.as_ref()) else { continue };
        let fits = reference == "last"
            || reference == ship.id
            || reference == release.id.0
            || reference == release.artifact.digest.as_str()
            || (reference.len() >= COMMIT_MIN && release.commit.as_str().starts_with(reference));
        if fits {
            return Ok((release, build.owner.clone(), ship.request.by.clone()));
        }
    }
    Err(ApiError::new(404, "no-such-release", format!("no built release is `{reference}`"))
        .hint("humdrum status"))
}
