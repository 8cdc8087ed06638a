//! `GET /api/v1/recordings/{deployment}`: every block that a rollout's judge saw, as `humdrum judge replay` reads it.

use axum::extract::State;
use axum::response::IntoResponse;
use humdrum_control::{trial, view};

use crate::App;
use crate::error::{ApiError, Path};

pub async fn recording(
    State(app): State<App>,
    Path(deployment): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    for run in app.engine.snapshots().iter().filter(|run| view::as_placement(&run.state).is_some())
    {
        let text = trial::export(app.engine.store().as_ref(), &run.id, &deployment).await?;
        if !text.is_empty() {
            return Ok(([("content-type", "application/jsonl")], text));
        }
    }
    Err(ApiError::new(404, "no-recording", format!("no judged rollout `{deployment}` is known"))
        .why("only rollouts whose canary was judged have a recording"))
}
