//! `GET /api/v1/status` and `GET /healthz`.

use axum::extract::State;
use humdrum_control::clock::now;
use humdrum_control::view::{self, StatusView};
use humdrum_control::watch::progress;
use humdrum_model::hold::Hold;
use humdrum_model::run::{HOLDS_RUN, State as RunState};
use serde_json::{Value, json};

use super::ships;
use crate::App;
use crate::error::{ApiError, Json};

/// Ships that the overview names.
const SHIPS: usize = 20;

/// Answers without a token: alive, and which version. Nothing else.
pub async fn healthz(State(app): State<App>) -> Json<Value> {
    Json(json!({ "status": "ok", "version": app.version, "pid": std::process::id() }))
}

/// Every placement, the newest ships, all holds.
pub async fn status(State(app): State<App>) -> Result<Json<StatusView>, ApiError> {
    let now = now();
    let runs = app.engine.snapshots();
    let mut placements = Vec::new();
    let mut quarantined = Vec::new();
    for run in &runs {
        if let Some(why) = &run.quarantined {
            quarantined.push((run.id.clone(), why.clone()));
        }
        if let Some(placement) = view::as_placement(&run.state) {
            placements.push(view::placement(
                run,
                placement,
                progress(&app.boards, &run.id).as_ref(),
                now,
            ));
        }
    }
    // From the store: ships that ended before this process began are there all the same.
    let mut ships = ships::recent(&app).await?;
    placements.sort_by(|a, b| a.id.cmp(&b.id));
    ships.truncate(SHIPS);
    Ok(Json(StatusView { placements, ships, holds: holds(&app), quarantined }))
}

/// All holds.
pub(crate) fn holds(app: &App) -> Vec<Hold> {
    match app.engine.snapshot(HOLDS_RUN).map(|run| run.state) {
        Some(state) => match &*state {
            RunState::Holds(book) => book.holds.values().cloned().collect(),
            _ => vec![],
        },
        None => vec![],
    }
}
