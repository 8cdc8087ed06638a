//! `GET /api/v1/chain?after=N&limit=L`: the events as lines that anyone can check, exactly as they are hashed.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use humdrum_control::store::chain::export_line;
use serde::Deserialize;

use crate::App;
use crate::error::{ApiError, Query};

const LIMIT_MAX: u32 = 1_000;

#[derive(Debug, Deserialize)]
pub struct Ask {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    limit: Option<u32>,
}

pub async fn chain(State(app): State<App>, Query(ask): Query<Ask>) -> Result<Response, ApiError> {
    let limit = ask.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let mut text = String::new();
    for row in app.engine.store().feed(ask.after, limit).await? {
        text += &export_line(&row);
        text.push('\n');
    }
    Ok(([("content-type", "application/jsonl")], text).into_response())
}
