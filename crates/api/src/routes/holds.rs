//! `/api/v1/holds`: what may not be deployed, by whom, why.

use axum::extract::State;
use humdrum_model::hold::{Hold, HoldCommand, HoldSubject};
use humdrum_model::run::{Command, HOLDS_RUN};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::placements::{Wish, answer};
use super::status;
use crate::App;
use crate::error::{ApiError, Json};

/// A hold to place or to lift.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldWish {
    pub subject: HoldSubject,
    pub wish: Wish,
}

/// `GET`: all holds.
pub async fn list(State(app): State<App>) -> Json<Vec<Hold>> {
    Json(status::holds(&app))
}

/// `POST`: from now on nothing that it covers is admitted anywhere; what is under way goes back.
pub async fn place(
    State(app): State<App>,
    Json(hold): Json<HoldWish>,
) -> Result<Json<Value>, ApiError> {
    let command = HoldCommand::Place {
        subject: hold.subject.clone(),
        by: hold.wish.by.clone(),
        why: hold.wish.why.clone(),
    };
    submit(&app, hold, command).await
}

/// `POST …/lift`.
pub async fn lift(
    State(app): State<App>,
    Json(hold): Json<HoldWish>,
) -> Result<Json<Value>, ApiError> {
    let command = HoldCommand::Lift {
        subject: hold.subject.clone(),
        by: hold.wish.by.clone(),
        why: hold.wish.why.clone(),
    };
    submit(&app, hold, command).await
}

async fn submit(app: &App, hold: HoldWish, command: HoldCommand) -> Result<Json<Value>, ApiError> {
    let said = app
        .engine
        .submit(HOLDS_RUN, &hold.wish.key(), &Command::Holds(command), &hold.wish.by)
        .await?;
    answer(said, &hold.subject.word())
}
