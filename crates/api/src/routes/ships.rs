//! `/api/v1/ships`: a commit on its way.

use axum::extract::State;
use http::StatusCode;
use humdrum_control::clock::now;
use humdrum_control::store::RunFilter;
use humdrum_control::view::{self, ShipView};
use humdrum_model::run::{Command, State as RunState};
use humdrum_model::ship::{Ship, ShipCommand, ShipRequest};

use super::placements::{Wish, answer};
use crate::App;
use crate::error::{ApiError, Json, Path};

/// Ships in a list.
const LIST_MAX: u32 = 100;

/// `POST /api/v1/ships`: 201 once the wish is durable; the work goes on whatever the caller does.
pub async fn create(
    State(app): State<App>,
    Json(request): Json<ShipRequest>,
) -> Result<(StatusCode, Json<ShipView>), ApiError> {
    if !std::path::Path::new(&request.repository).is_absolute() {
        return Err(ApiError::new(
            422,
            "repository",
            format!("`{}` is not an absolute path", request.repository),
        )
        .why("control has a working folder of its own"));
    }
    let id = format!("s-{:016x}", rand::random::<u64>());
    let ship = Ship::new(id.clone(), request, now());
    let subject = format!("{}@{}", ship.request.service, ship.request.commit.short());
    let view = view::ship(&ship, now());
    app.engine.create(&id, &subject, &RunState::Ship(Box::new(ship))).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// `GET /api/v1/ships`: the newest, newest first.
pub async fn list(State(app): State<App>) -> Result<Json<Vec<ShipView>>, ApiError> {
    recent(&app).await.map(Json)
}

/// The newest ships, newest first.
pub(crate) async fn recent(app: &App) -> Result<Vec<ShipView>, ApiError> {
    let filter = RunFilter {
        kind: Some("ship".into()),
        limit: LIST_MAX,
        newest_first: true,
        ..RunFilter::default()
    };
    let rows = app.engine.store().runs(filter).await?;
    let read =
        |row: humdrum_control::store::RunRow| RunState::read(row.state_version, &row.state).ok();
    let now = now();
    Ok(rows
        .into_iter()
        .filter_map(read)
        .filter_map(|state| Some(view::ship(view::as_ship(&state)?, now)))
        .collect())
}

/// `GET /api/v1/ships/{id}`.
pub async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<ShipView>, ApiError> {
    find(&app, &id).await.map(Json)
}

/// A ship, from memory or the store.
pub(crate) async fn find(app: &App, id: &str) -> Result<ShipView, ApiError> {
    let unknown = || {
        ApiError::new(404, "no-such-ship", format!("no ship `{id}` is known"))
            .why("no ship with this id was accepted on this data folder")
    };
    let row = app.engine.store().run(id.into()).await?.ok_or_else(unknown)?;
    let state = RunState::read(row.state_version, &row.state).map_err(|error| {
        ApiError::new(500, "state", "the ship cannot be read").why(error.to_string())
    })?;
    view::as_ship(&state).map(|ship| view::ship(ship, now())).ok_or_else(unknown)
}

/// `POST /api/v1/ships/{id}/abort`: ends the ship, and its rollout if one is under way.
pub async fn abort(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let ship = find(&app, &id).await?;
    if let Some(environment) = ship.environment.filter(|_| ship.phase == "deploying") {
        let run = format!("p-{}.{environment}", ship.service);
        let command = Command::Placement(humdrum_model::rollout::Command::Abort {
            by: wish.by.clone(),
            why: wish.why.clone(),
        });
        // The placement's end is told to the ship by itself; a refusal there only means that there was nothing to end.
        let _ = app.engine.submit(&run, &wish.key(), &command, &wish.by).await?;
    }
    let command = Command::Ship(ShipCommand::Abort { by: wish.by.clone(), why: wish.why.clone() });
    answer(app.engine.submit(&id, &wish.key(), &command, &wish.by).await?, &id)
}
