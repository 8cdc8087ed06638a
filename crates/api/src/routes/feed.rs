//! `GET /api/v1/feed?after=N&limit=L&wait_ms=W`: every event of every run, in order and without a gap.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::error::ApiError;

/// Longest wait for an event, ms.
const WAIT_MAX_MS: u64 = 30_000;
const LIMIT_MAX: u32 = 1_000;

#[derive(Debug, Deserialize)]
pub struct Ask {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    wait_ms: u64,
}

pub async fn feed(State(app): State<App>, Query(ask): Query<Ask>) -> Result<Json<Value>, ApiError> {
    let limit = ask.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let mut changes = app.engine.changes();
    let mut rows = app.engine.store().feed(ask.after, limit).await?;
    if rows.is_empty() && ask.wait_ms > 0 {
        let wait = Duration::from_millis(ask.wait_ms.min(WAIT_MAX_MS));
        let _ = tokio::time::timeout(wait, changes.changed()).await;
        rows = app.engine.store().feed(ask.after, limit).await?;
    }
    let row = |row: humdrum_control::store::FeedRow| {
        let body: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
        json!({
            "pos": row.pos, "run": row.run, "seq": row.seq, "epoch": row.epoch, "kind": row.kind, "actor": row.actor,
            "at_ms": row.at_ms, "body": body, "prev_hash": row.prev_hash, "hash": row.hash,
        })
    };
    Ok(Json(Value::Array(rows.into_iter().map(row).collect())))
}
