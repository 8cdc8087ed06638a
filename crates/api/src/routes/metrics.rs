//! `GET /metrics`: the edge's counters and control's own, in Prometheus text form.

use axum::extract::State;
use humdrum_control::view;

use crate::App;
use crate::error::ApiError;

pub async fn metrics(State(app): State<App>) -> Result<String, ApiError> {
    let mut text = app.router.metrics().await.unwrap_or_default();
    text += "# TYPE humdrum_rollout_weight gauge\n# HELP humdrum_rollout_weight Wanted share of the release on trial, 0 to 1.\n";
    for run in app.engine.snapshots() {
        let Some(placement) = view::as_placement(&run.state) else { continue };
        let Some(rollout) = &placement.rollout else { continue };
        text += &format!(
            "humdrum_rollout_weight{{service=\"{}\",environment=\"{}\",deployment_id=\"{}\"}} {}\n",
            placement.id.service,
            placement.id.environment,
            rollout.deployment_id,
            f64::from(rollout.weight) / 10_000.0
        );
    }
    Ok(text)
}
