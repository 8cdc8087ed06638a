//! `GET /api/v1/verify/{repository}/{digest}`: an artifact's evidence, verified anew.

use axum::extract::State;
use humdrum_control::evidence::Verification;
use humdrum_model::name::Digest;

use crate::App;
use crate::error::{ApiError, Json, Path};

pub async fn verify(
    State(app): State<App>,
    Path((repository, digest)): Path<(String, String)>,
) -> Result<Json<Verification>, ApiError> {
    let digest = Digest::new(digest).map_err(|error| {
        ApiError::new(422, "digest", "the path names no digest").why(error.to_string())
    })?;
    let evidence = app.gatherer.evidence(&repository, &digest).await;
    let evidence = evidence.map_err(|error| {
        ApiError::new(503, "registry", "the evidence cannot be read").why(error.to_string())
    })?;
    Ok(Json(evidence.verification))
}
