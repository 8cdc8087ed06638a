//! `/api/v1/garbage`: what the registry would collect, collecting it, and the trash.

use std::sync::Arc;

use axum::extract::State;
use humdrum_control::chores::protected;
use humdrum_control::store::blobs::{BlobDigest, BlobError, IndexError};
use humdrum_registry::RegistryError;
use humdrum_registry::collect::{Collected, Collecting, TrashItem, Undone};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::error::{ApiError, Json};

/// Things of the trash in one answer.
const TRASH_MAX: u32 = 10_000;

/// What to bring back from the trash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreWish {
    pub digest: String,
    /// Only there; else wherever it was deleted or collected.
    #[serde(default)]
    pub repository: Option<String>,
    /// For the record.
    pub by: String,
}

/// `GET`: what a collection would take now, and why.
pub async fn look(State(app): State<App>) -> Result<Json<Collected>, ApiError> {
    run(&app, true).await
}

/// `POST …/collect`: takes it.
pub async fn collect(State(app): State<App>) -> Result<Json<Collected>, ApiError> {
    run(&app, false).await
}

async fn run(app: &App, dry_run: bool) -> Result<Json<Collected>, ApiError> {
    // Without knowing what runs, nothing may go.
    let protected = Arc::new(protected(&**app.engine.store()).await?);
    let wish = Collecting { protected, dry_run, ..Collecting::default() };
    Ok(Json(app.registry.collect(&wish).await.map_err(refused)?))
}

/// `GET …/trash`: what can be restored, newest first.
pub async fn trash(State(app): State<App>) -> Result<Json<Vec<TrashItem>>, ApiError> {
    Ok(Json(app.registry.trash(TRASH_MAX).await.map_err(refused)?))
}

/// `POST …/restore`: brings a manifest back with all that belongs to it, or a blob.
pub async fn restore(
    State(app): State<App>,
    Json(wish): Json<RestoreWish>,
) -> Result<Json<Undone>, ApiError> {
    let digest: BlobDigest = wish.digest.parse().map_err(|error| {
        ApiError::new(422, "digest", format!("{error}")).hint("humdrum registry trash")
    })?;
    let registry = app.registry.acting_for(&wish.by);
    Ok(Json(registry.restore(&digest, wish.repository.as_deref()).await.map_err(refused)?))
}

fn refused(error: RegistryError) -> ApiError {
    let text = error.to_string();
    match error {
        RegistryError::Collecting => ApiError::new(409, "collecting", text)
            .hint("wait for it to end; it is safe to ask again"),
        RegistryError::Index(IndexError::NotInTrash { .. }) => {
            ApiError::new(404, "not-in-trash", text).hint("humdrum registry trash")
        }
        RegistryError::Index(IndexError::Lacks { .. }) => ApiError::new(409, "blobs-gone", text)
            .hint("push the artifact again; what is in the trash of it stays there"),
        RegistryError::Index(IndexError::Full) | RegistryError::Blob(BlobError::Full) => {
            ApiError::new(507, "disk-full", text).hint("free space in the data folder")
        }
        _ => ApiError::new(503, "registry", text).hint("humdrum registry fsck"),
    }
}
