//! `/api/v1/waivers`: permitted exceptions, who answers for them, and until when.

use axum::extract::State;
use humdrum_model::name::{EnvName, ServiceName};
use humdrum_model::run::{Command, State as RunState, WAIVERS_RUN};
use humdrum_model::waiver::{Waiver, WaiverCommand};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::placements::{Wish, answer};
use crate::App;
use crate::error::{ApiError, Json, Path};

/// A waiver to grant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaiverWish {
    /// A rule, a finding's fingerprint, an advisory, or `hotfix`.
    pub subject: String,
    /// Absent: every service.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Absent: every environment.
    #[serde(default)]
    pub environment: Option<EnvName>,
    pub until: Timestamp,
    /// `why` is the reason that everybody reads.
    pub wish: Wish,
}

/// `GET`: those in force.
pub async fn list(State(app): State<App>) -> Json<Vec<Waiver>> {
    let state = app.engine.snapshot(WAIVERS_RUN).map(|run| run.state);
    let waivers = match state.as_deref() {
        Some(RunState::Waivers(book)) => {
            let now = humdrum_control::clock::now();
            book.waivers.values().filter(|waiver| waiver.until > now).cloned().collect()
        }
        _ => vec![],
    };
    Json(waivers)
}

/// `POST`: grants one.
pub async fn grant(
    State(app): State<App>,
    Json(wanted): Json<WaiverWish>,
) -> Result<Json<Value>, ApiError> {
    let command = WaiverCommand::Grant {
        subject: wanted.subject.clone(),
        service: wanted.service,
        environment: wanted.environment,
        by: wanted.wish.by.clone(),
        reason: wanted.wish.why.clone(),
        until: wanted.until,
    };
    submit(&app, &wanted.wish, command, &wanted.subject).await
}

/// `POST …/{id}/revoke`: its rule counts again at once.
pub async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Json<Value>, ApiError> {
    let command =
        WaiverCommand::Revoke { id: id.clone(), by: wish.by.clone(), why: wish.why.clone() };
    submit(&app, &wish, command, &id).await
}

async fn submit(
    app: &App,
    wish: &Wish,
    command: WaiverCommand,
    subject: &str,
) -> Result<Json<Value>, ApiError> {
    let command = Command::Waivers(command);
    let said = app.engine.submit(WAIVERS_RUN, &wish.key(), &command, &wish.by).await?;
    answer(said, subject)
}
