//! Every endpoint, by noun. A new file here gets one line in [`all`].

use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::{App, error, token};

pub mod chain;
pub mod explain;
pub mod feed;
pub mod garbage;
pub mod gates;
pub mod holds;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
pub mod placements;
pub mod recordings;
pub mod settings;
pub mod ships;
pub mod status;
pub mod traffic;
pub mod verify;
pub mod waivers;

/// Largest request body: commands are small.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// The endpoints of this crate.
pub fn all(app: App) -> Router {
    let guarded = Router::new()
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/ships", get(ships::list).post(ships::create))
        .route("/api/v1/ships/{id}", get(ships::show))
        .route("/api/v1/ships/{id}/abort", post(ships::abort))
        .route("/api/v1/placements/{service}/{environment}", get(placements::show))
        .route("/api/v1/placements/{service}/{environment}/approve", post(placements::approve))
        .route("/api/v1/placements/{service}/{environment}/abort", post(placements::abort))
        .route("/api/v1/placements/{service}/{environment}/rollback", post(placements::rollback))
        .route("/api/v1/placements/{service}/{environment}/traffic", get(traffic::traffic))
        .route("/api/v1/holds", get(holds::list).post(holds::place))
        .route("/api/v1/holds/lift", post(holds::lift))
        .route("/api/v1/waivers", get(waivers::list).post(waivers::grant))
        .route("/api/v1/waivers/{id}/revoke", post(waivers::revoke))
        .route("/api/v1/gates/check", post(gates::check))
        .route("/api/v1/explain/{*what}", get(explain::explain))
        .route("/api/v1/feed", get(feed::feed))
        .route("/api/v1/chain", get(chain::chain))
        .route("/api/v1/garbage", get(garbage::look))
        .route("/api/v1/garbage/collect", post(garbage::collect))
        .route("/api/v1/garbage/trash", get(garbage::trash))
        .route("/api/v1/garbage/restore", post(garbage::restore))
        .route("/api/v1/recordings/{deployment}", get(recordings::recording))
        .route("/api/v1/verify/{repository}/{digest}", get(verify::verify))
        .route("/api/v1/logs/{*what}", get(logs::logs))
        .route("/api/v1/settings", get(settings::show).post(settings::apply))
        .route("/api/v1/lifecycle/policy", get(lifecycle::policy))
        .route("/api/v1/lifecycle/set", post(lifecycle::set))
        .route("/api/v1/lifecycle/preview", post(lifecycle::preview))
        .route("/api/v1/lifecycle/run", post(lifecycle::run))
        .route("/metrics", get(metrics::metrics))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route_layer(middleware::from_fn_with_state(app.clone(), token::require))
        .with_state(app.clone());
    Router::new()
        .route("/healthz", get(status::healthz))
        .with_state(app)
        .merge(guarded)
        .method_not_allowed_fallback(error::no_such_method)
        .fallback(error::no_such_path)
}
