//! `/api/v1/lifecycle/…`: policies of repositories, what they would do, and doing it. Repository names hold slashes, so they are in the body.

use axum::extract::State;
use humdrum_registry::lifecycle::Previewed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::App;
use crate::error::{ApiError, Json, Query};
use crate::governor::Ran;

/// A repository, and for `set` and `preview` a document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub repository: String,
    /// The policy as text. `set` without one removes the policy; `preview` without one shows that in force.
    #[serde(default)]
    pub document: Option<String>,
    pub by: String,
}

#[derive(Debug, Deserialize)]
pub struct Named {
    repository: String,
}

/// `GET …/policy?repository=`: the policy in force; `null` when there is none.
pub async fn policy(
    State(app): State<App>,
    Query(named): Query<Named>,
) -> Result<Json<Value>, ApiError> {
    let policy = app.governor.lifecycle.policy(&named.repository)?;
    Ok(Json(policy.map_or(Value::Null, |policy| {
        json!({ "document": policy.document, "by": policy.actor, "set_ms": policy.set_ms })
    })))
}

/// `POST …/set`: checks a document and makes it the repository's policy.
pub async fn set(
    State(app): State<App>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let document = wanted.document.as_deref();
    app.governor.set_policy(&wanted.repository, document, &wanted.by).await?;
    Ok(Json(json!({ "accepted": true })))
}

/// `POST …/preview`: every image with what would happen to it and why. Changes nothing.
pub async fn preview(
    State(app): State<App>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Vec<Previewed>>, ApiError> {
    let in_use = app.governor.in_use();
    let document = wanted.document.as_deref();
    Ok(Json(app.governor.lifecycle.preview(&wanted.repository, document, &in_use).await?))
}

/// `POST …/run`: does now what the preview shows.
pub async fn run(
    State(app): State<App>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Ran>, ApiError> {
    Ok(Json(app.governor.run(&wanted.repository, &wanted.by).await?))
}
