//! `/api/v1/placements/{service}/{environment}`: a service in an environment, and what people may ask of it.

use axum::extract::State;
use humdrum_control::clock::now;
use humdrum_control::engine::Answer;
use humdrum_control::view::{self, PlacementView};
use humdrum_control::watch::progress;
use humdrum_model::name::{EnvName, PlacementId, ServiceName};
use humdrum_model::rollout::Command as PlacementCommand;
use humdrum_model::run::{Command, placement_run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::App;
use crate::error::{ApiError, Json, Path};

/// A person's wish: who, why, and a key under which a repeated request is the same wish.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    pub by: String,
    #[serde(default)]
    pub why: String,
    #[serde(default)]
    pub key: Option<String>,
}

impl Wish {
    /// Without a key of the caller's each request is a wish of its own.
    pub(crate) fn key(&self) -> String {
        self.key.clone().unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()))
    }
}

/// Why the path names no placement.
pub(crate) fn named(service: &str, environment: &str) -> Result<PlacementId, ApiError> {
    let bad = |error: humdrum_model::name::NameError| {
        ApiError::new(422, "name", error.to_string())
            .why("the path names a service and an environment")
    };
    Ok(PlacementId {
        service: ServiceName::new(service).map_err(bad)?,
        environment: EnvName::new(environment).map_err(bad)?,
    })
}

fn unknown(app: &App, id: &PlacementId) -> ApiError {
    let known: Vec<String> = app
        .engine
        .snapshots()
        .iter()
        .filter_map(|run| view::as_placement(&run.state).map(|placement| placement.id.to_string()))
        .collect();
    let known = if known.is_empty() {
        "nothing was shipped yet".into()
    } else {
        format!("known are: {}", known.join(", "))
    };
    ApiError::new(404, "no-such-placement", format!("{id} is not known")).why(known)
}

/// `GET`: state, explanation, history.
pub async fn show(
    State(app): State<App>,
    Path((service, environment)): Path<(String, String)>,
) -> Result<Json<PlacementView>, ApiError> {
    find(&app, &named(&service, &environment)?).map(Json)
}

pub(crate) fn find(app: &App, id: &PlacementId) -> Result<PlacementView, ApiError> {
    let run = app.engine.snapshot(&placement_run(id)).ok_or_else(|| unknown(app, id))?;
    let placement = view::as_placement(&run.state).ok_or_else(|| unknown(app, id))?;
    Ok(view::placement(&run, placement, progress(&app.boards, &run.id).as_ref(), now()))
}

/// `POST …/approve`: a person lets the waiting rollout go on.
pub async fn approve(
    State(app): State<App>,
    Path((service, environment)): Path<(String, String)>,
    Json(wish): Json<Wish>,
) -> Result<Json<Value>, ApiError> {
    let command = PlacementCommand::Approve { by: wish.by.clone() };
    submit(&app, &named(&service, &environment)?, command, &wish).await
}

/// `POST …/abort`: ends the rollout; its traffic goes to 0 first.
pub async fn abort(
    State(app): State<App>,
    Path((service, environment)): Path<(String, String)>,
    Json(wish): Json<Wish>,
) -> Result<Json<Value>, ApiError> {
    let command = PlacementCommand::Abort { by: wish.by.clone(), why: wish.why.clone() };
    submit(&app, &named(&service, &environment)?, command, &wish).await
}

/// `POST …/rollback`: the former release comes back, the present one is held.
pub async fn rollback(
    State(app): State<App>,
    Path((service, environment)): Path<(String, String)>,
    Json(wish): Json<Wish>,
) -> Result<Json<Value>, ApiError> {
    let key = wish.key();
    let deployment_id = format!("d-{key}-r");
    let command =
        PlacementCommand::Rollback { by: wish.by.clone(), why: wish.why.clone(), deployment_id };
    submit(&app, &named(&service, &environment)?, command, &Wish { key: Some(key), ..wish }).await
}

async fn submit(
    app: &App,
    id: &PlacementId,
    command: PlacementCommand,
    wish: &Wish,
) -> Result<Json<Value>, ApiError> {
    let run = placement_run(id);
    if app.engine.snapshot(&run).is_none() {
        return Err(unknown(app, id));
    }
    answer(
        app.engine.submit(&run, &wish.key(), &Command::Placement(command), &wish.by).await?,
        &id.to_string(),
    )
}

/// What a run said to a wish. A refusal is 409; a wish that waits is accepted all the same.
pub(crate) fn answer(answer: Answer, subject: &str) -> Result<Json<Value>, ApiError> {
    match answer {
        Answer::Done(report) => Ok(Json(
            json!({ "subject": subject, "accepted": true, "sentences": report.sentences, "next": report.next }),
        )),
        Answer::Pending => Ok(Json(json!({
            "subject": subject,
            "accepted": true,
            "sentences": ["The wish is recorded and will be carried out."],
            "next": format!("humdrum explain {subject}"),
        }))),
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::NoSuchRun => {
            Err(ApiError::new(404, "no-such-run", format!("`{subject}` is not known"))
                .why("nothing was shipped there yet"))
        }
    }
}
