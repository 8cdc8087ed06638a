//! `GET /api/v1/logs/{what}?lines=N`: what a build said (`s-…`), or the instances of a service (`service/environment`).

use axum::extract::State;
use humdrum_model::name::{EnvName, PlacementId, ServiceName, Slot};
use serde::Deserialize;

use crate::App;
use crate::error::{ApiError, Path, Query};

const LINES_MAX: u32 = 10_000;

#[derive(Debug, Deserialize)]
pub struct Ask {
    #[serde(default)]
    lines: Option<u32>,
}

pub async fn logs(
    State(app): State<App>,
    Path(what): Path<String>,
    Query(ask): Query<Ask>,
) -> Result<String, ApiError> {
    let lines = ask.lines.unwrap_or(200).min(LINES_MAX);
    if what.starts_with("s-") || what.starts_with("d-") {
        return app
            .logs
            .read(&what, lines)
            .await
            .map_err(|why| ApiError::new(404, "no-log", format!("`{what}` has no log")).why(why));
    }
    let bad = || {
        ApiError::new(404, "unknown", format!("`{what}` has no log"))
            .why("it is neither a ship, a deployment nor service/environment")
    };
    let (service, environment) = what.split_once('/').ok_or_else(bad)?;
    let service = ServiceName::new(service).map_err(|_| bad())?;
    let environment = EnvName::new(environment).map_err(|_| bad())?;
    let id = PlacementId { service, environment };
    let mut text = String::new();
    for slot in [Slot::A, Slot::B] {
        // A slot that never ran has no log; that is no error.
        text += &app.target.logs(&id.unit(slot), lines).await.unwrap_or_default();
    }
    Ok(text)
}
