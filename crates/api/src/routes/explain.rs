//! `GET /api/v1/explain/{what}`: why? `what` is `last`, a ship, a deployment, `service/environment`, a service or an environment.

use axum::extract::State;
use humdrum_control::clock::now;
use humdrum_control::view::{self, EndedView};
use humdrum_control::watch::progress;
use humdrum_model::rollout::{Placement, WaitKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ships;
use crate::App;
use crate::error::{ApiError, Json, Path};

/// The answer: cause, numbers, next command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Why {
    pub subject: String,
    /// `promoted`, `rolled_back` … when it is over; what it waits for when not.
    pub state: String,
    pub sentences: Vec<String>,
    pub next: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// The rollout that this is about, when it is over.
    pub ended: Option<EndedView>,
}

pub async fn explain(
    State(app): State<App>,
    Path(what): Path<String>,
) -> Result<Json<Why>, ApiError> {
    if what == "last" {
        return last(&app).map(Json);
    }
    if what.starts_with("s-") {
        return ship(&app, &what).await.map(Json);
    }
    let runs = app.engine.snapshots();
    let placements: Vec<&Placement> =
        runs.iter().filter_map(|run| view::as_placement(&run.state)).collect();
    if what.starts_with("d-") {
        let found = placements.iter().find_map(|placement| deployment(&app, placement, &what));
        return found.map(Json).ok_or_else(|| unknown(&what, &placements));
    }
    let named = |placement: &&&Placement| {
        placement.id.to_string() == what
            || placement.id.service.as_str() == what
            || placement.id.environment.as_str() == what
    };
    // Of several, the one in which something happens, else the one where something happened last.
    let mut matching: Vec<_> = placements.iter().filter(named).collect();
    matching.sort_by_key(|placement| {
        (placement.rollout.is_some(), placement.history.last().map(|ended| ended.ended))
    });
    matching
        .last()
        .map(|placement| Json(present(&app, placement)))
        .ok_or_else(|| unknown(&what, &placements))
}

fn unknown(what: &str, placements: &[&Placement]) -> ApiError {
    let known: Vec<_> = placements.iter().map(|placement| placement.id.to_string()).collect();
    let known = if known.is_empty() {
        "nothing was shipped yet".into()
    } else {
        format!("known are: last, {}", known.join(", "))
    };
    ApiError::new(404, "unknown", format!("`{what}` is not known")).why(known)
}

/// What happened last anywhere: a rollout under way, else the one that ended last.
fn last(app: &App) -> Result<Why, ApiError> {
    let runs = app.engine.snapshots();
    let placements = runs.iter().filter_map(|run| view::as_placement(&run.state));
    let newest = placements.max_by_key(|placement| {
        let started = placement.rollout.as_ref().map(|rollout| rollout.entered);
        (started, placement.history.last().map(|ended| ended.ended))
            .max((None, placement.history.last().map(|ended| ended.ended)))
    });
    newest.map(|placement| present(app, placement)).ok_or_else(|| {
        ApiError::new(404, "nothing-yet", "nothing was shipped yet")
            .why("no environment has seen a rollout")
            .hint("humdrum ship")
    })
}

fn present(app: &App, placement: &Placement) -> Why {
    let run = humdrum_model::run::placement_run(&placement.id);
    let explanation = placement.explain(progress(&app.boards, &run).as_ref(), now());
    let ended = placement.history.last().filter(|_| explanation.waits_for == WaitKind::Idle);
    let state = match ended {
        Some(ended) => ended.outcome.word().to_owned(),
        None => word(explanation.waits_for),
    };
    Why {
        subject: placement.id.to_string(),
        state,
        sentences: explanation.report.sentences,
        next: explanation.report.next,
        since: explanation.since,
        until: explanation.until,
        ended: ended.map(|ended| view::ended(placement, ended)),
    }
}

fn word(kind: WaitKind) -> String {
    let name = serde_json::to_value(kind)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default();
    format!("waiting_for_{name}")
}

fn deployment(app: &App, placement: &Placement, id: &str) -> Option<Why> {
    if placement.rollout.as_ref().is_some_and(|rollout| rollout.deployment_id == id) {
        return Some(present(app, placement));
    }
    let ended = placement.history.iter().find(|ended| ended.deployment_id == id)?;
    let view = view::ended(placement, ended);
    Some(Why {
        subject: id.into(),
        state: view.outcome.clone(),
        sentences: view.sentences.clone(),
        next: view.next.clone(),
        since: Some(ended.started),
        until: Some(ended.ended),
        ended: Some(view),
    })
}

async fn ship(app: &App, id: &str) -> Result<Why, ApiError> {
    let ship = ships::find(app, id).await?;
    Ok(Why {
        subject: ship.id,
        state: ship.outcome.unwrap_or(ship.phase),
        sentences: ship.sentences,
        next: ship.next,
        since: Some(ship.started),
        until: ship.ended,
        ended: None,
    })
}
