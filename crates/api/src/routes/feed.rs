//! `GET /api/v1/feed?after=N&limit=L&wait_ms=W`: every event of every run, in order and without a gap.

use std::time::Duration;

use axum::extract::State;
use humdrum_control::store::FeedRow;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::App;
use crate::error::{ApiError, Json, Query};

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

pub async fn feed(
    State(app): State<App>,
    Query(ask): Query<Ask>,
) -> Result<Json<Vec<Row>>, ApiError> {
    let limit = ask.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let mut changes = app.engine.changes();
    let mut rows = app.engine.store().feed(ask.after, limit).await?;
    if rows.is_empty() && ask.wait_ms > 0 {
        let wait = Duration::from_millis(ask.wait_ms.min(WAIT_MAX_MS));
        let _ = tokio::time::timeout(wait, changes.changed()).await;
        rows = app.engine.store().feed(ask.after, limit).await?;
    }
    Ok(Json(rows.into_iter().map(Row::of).collect()))
}

/// An event. `body` has the very bytes that were stored and hashed.
#[derive(Debug, Serialize)]
pub struct Row {
    pos: u64,
    run: String,
    seq: u64,
    epoch: u64,
    kind: String,
    actor: String,
    at_ms: i64,
    body: Option<Box<RawValue>>,
    prev_hash: String,
    hash: String,
}

impl Row {
    fn of(row: FeedRow) -> Self {
        Self {
            pos: row.pos,
            run: row.run,
            seq: row.seq,
            epoch: row.epoch,
            kind: row.kind,
            actor: row.actor,
            at_ms: row.at_ms,
            // What is no JSON was not written by control; `/api/v1/chain` shows it as it is.
            body: RawValue::from_string(row.body).ok(),
            prev_hash: row.prev_hash,
            hash: row.hash,
        }
    }
}
