//! Errors as callers see them: `application/problem+json` (RFC 9457) with a stable code and what to do next.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use humdrum_control::store::StoreError;
use humdrum_model::report::Refusal;
use serde::{Deserialize, Serialize};

/// A problem document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiError {
    pub status: u16,
    /// Stable, for machines.
    pub code: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ApiError {
    pub fn new(status: u16, code: &str, title: impl Into<String>) -> Self {
        Self { status, code: code.into(), title: title.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [("content-type", "application/problem+json")], body).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(507, "disk-full", error.to_string())
                .hint("free space in the data folder; everything accepted before is kept"),
            other => Self::new(503, "store", other.to_string()).hint("humdrum doctor"),
        }
    }
}

impl From<Refusal> for ApiError {
    /// An understood command that was not carried out: 409, with the refusal's own code.
    fn from(refusal: Refusal) -> Self {
        Self {
            status: 409,
            code: refusal.code,
            title: refusal.report.text(),
            hint: refusal.report.next,
        }
    }
}
