//! `/api/v1/settings`: what holds for the installation, and its replacement.

use axum::extract::State;
use humdrum_model::settings::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::App;
use crate::error::{ApiError, Json};

/// New settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The whole file.
    pub text: String,
    pub by: String,
}

/// `GET`: the settings in force.
pub async fn show(State(app): State<App>) -> Json<Settings> {
    Json(app.governor.settings.get().as_ref().clone())
}

/// `POST`: checks the file, records who applied it, and puts it in force at once.
pub async fn apply(
    State(app): State<App>,
    Json(apply): Json<Apply>,
) -> Result<Json<Value>, ApiError> {
    let warnings = app.governor.apply(&apply.text, &apply.by).await?;
    Ok(Json(json!({ "accepted": true, "warnings": warnings })))
}
