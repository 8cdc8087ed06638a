//! `/v2/token`: credentials in, a short-lived scoped token out. GET with Basic (docker, podman, skopeo), and the OAuth2 form by
//! POST (containerd). A granted scope may be smaller than the asked one; that is not an error.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::json;

use super::json;
use super::query::Query;
use crate::RegistryState;
use crate::answer::Refused;
use crate::auth::Principal;
use crate::auth::scope::{self, SCOPES_MAX, Scope};
use crate::auth::token::TOKEN_SECONDS;

pub(super) async fn get(
    State(state): State<RegistryState>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let who = shown.and_then(|value| state.auth.principal(value, state.registry.now_ms()));
    let Some(who) = who else { return refused(&state) };
    issue(&state, &who, &Query::read(uri.query()))
}

pub(super) async fn post(State(state): State<RegistryState>, body: Bytes) -> Response {
    let Ok(text) = std::str::from_utf8(&body) else {
        return oauth_error("invalid_request", "the form is not text");
    };
    let form = Query::read(Some(text));
    match form.get("grant_type") {
        Some("password") => {}
        Some(_) => {
            return oauth_error("unsupported_grant_type", "only grant_type=password is offered");
        }
        None => return oauth_error("invalid_request", "grant_type is missing"),
    }
    let (Some(user), Some(password)) = (form.get("username"), form.get("password")) else {
        return oauth_error("invalid_request", "username or password is missing");
    };
    match state.auth.password(user, password) {
        Some(who) => issue(&state, &who, &form),
        None => refused(&state),
    }
}

fn issue(state: &RegistryState, who: &Principal, asked: &Query) -> Response {
    if asked.get("service").is_some_and(|service| service != state.auth.service()) {
        return oauth_error("invalid_request", "the service is another one");
    }
    let scopes: Vec<Scope> =
        asked.all("scope").flat_map(scope::list).take(SCOPES_MAX + 1).collect();
    if scopes.len() > SCOPES_MAX {
        return oauth_error("invalid_scope", "too many scopes");
    }
    let now_ms = state.registry.now_ms();
    let token = state.auth.issue(who, &scopes, now_ms);
    let issued = jiff::Timestamp::from_millisecond(now_ms).map(|at| at.to_string());
    let body = json!({
        "token": token,
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "issued_at": issued.unwrap_or_default(),
    });
    let mut response = json(body.to_string());
    let no_store = http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

fn refused(state: &RegistryState) -> Response {
    Refused::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "the user or the password is wrong")
        .header(header::WWW_AUTHENTICATE, &format!("Basic realm=\"{}\"", state.auth.service()))
        .into_response()
}

/// RFC 6749 section 5.2.
fn oauth_error(code: &str, text: &str) -> Response {
    let mut response = json(json!({ "error": code, "error_description": text }).to_string());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
