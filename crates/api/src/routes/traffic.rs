//! `GET /api/v1/placements/{service}/{environment}/traffic`: what the edge counted there in the last minutes.

use axum::extract::State;
use humdrum_control::clock::now_ms;
use humdrum_model::block::Block;
use humdrum_model::judge::{Measured, measured};
use humdrum_model::name::PlacementId;
use serde::{Deserialize, Serialize};

use super::placements;
use crate::App;
use crate::error::{ApiError, Json, Path};

/// How far back: long enough to be steady, short enough to be about now.
const WINDOW_MS: i64 = 5 * 60_000;
/// Pages of blocks that are read; the edge keeps no more than ten thousand blocks, a thousand on a page.
const PAGES_MAX: usize = 16;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    pub id: String,
    /// A release runs there; without one the next goes all at once.
    pub stable: bool,
    /// How far back was looked, seconds.
    pub window_s: f64,
    /// Absent when nothing was measured.
    pub measured: Option<Measured>,
    /// Why nothing was measured.
    pub why_not: Option<String>,
}

pub async fn traffic(
    State(app): State<App>,
    Path((service, environment)): Path<(String, String)>,
) -> Result<Json<TrafficView>, ApiError> {
    let id = placements::named(&service, &environment)?;
    let stable = placements::find(&app, &id)?.stable.is_some();
    let window_s = WINDOW_MS as f64 / 1_000.0;
    let since_ms = now_ms() - WINDOW_MS;
    let (found, why_not) = match newest(&app, &id, since_ms).await {
        Ok(blocks) => match measured(&blocks, since_ms) {
            Some(found) => (Some(found), None),
            None => (None, Some("the edge saw no request there in the last 5 min".to_owned())),
        },
        Err(why) => (None, Some(why)),
    };
    Ok(Json(TrafficView { id: id.to_string(), stable, window_s, measured: found, why_not }))
}

async fn newest(app: &App, id: &PlacementId, since_ms: i64) -> Result<Vec<Block>, String> {
    let (mut blocks, mut after) = (Vec::new(), 0);
    for _ in 0..PAGES_MAX {
        let page = app.router.blocks(&id.route(), after, 0).await;
        let page = page.map_err(|error| format!("the edge cannot be asked: {error}"))?;
        let Some(last) = page.last() else { break };
        after = last.number;
        blocks.extend(page.into_iter().filter(|block| block.start_ms >= since_ms));
    }
    Ok(blocks)
}
