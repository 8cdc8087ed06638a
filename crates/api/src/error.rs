//! Errors as callers see them: `application/problem+json` (RFC 9457) with a stable code, what, why, and what to do next.
//!
//! Whatever axum itself would refuse in plain text goes through [`Json`], [`Query`] and [`Path`], or the fallbacks at the end.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use humdrum_control::store::StoreError;
use humdrum_model::report::Refusal;
use serde::{Deserialize, Serialize};

/// A problem document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiError {
    pub status: u16,
    /// Stable, for machines.
    pub code: String,
    /// What is wrong, in one line: the name that RFC 9457 has for it.
    pub title: String,
    /// The same, as the command line calls it.
    pub what: String,
    /// Causes, outermost first; empty when `what` says it all.
    pub why: Vec<String>,
    /// A command, or what to change.
    pub next: String,
}

impl ApiError {
    pub fn new(status: u16, code: &str, what: impl Into<String>) -> Self {
        let what = what.into();
        let next = usual(status).into();
        Self { status, code: code.into(), title: what.clone(), what, why: vec![], next }
    }

    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = vec![why.into()];
        self
    }

    #[must_use]
    pub fn hint(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }
}

/// The way out where an error knows no better one.
fn usual(status: u16) -> &'static str {
    match status {
        401 => "send `Authorization: Bearer …` with the token of the data folder's file `token`",
        404 => "humdrum status",
        409 => "humdrum explain last",
        400..=499 => "compare the request with docs/api.md",
        _ => "humdrum doctor",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (status, [("content-type", "application/problem+json")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 11.6.1: a 401 says how to authenticate.
            response.headers_mut().insert(
                http::header::WWW_AUTHENTICATE,
                http::HeaderValue::from_static("Bearer realm=\"humdrum\""),
            );
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::new(507, "disk-full", error.to_string())
                .why("the disk of the data folder is full; everything accepted before is kept")
                .hint("free space in the data folder, then again"),
            other => {
                Self::new(503, "store", other.to_string()).why("the event log does not answer")
            }
        }
    }
}

impl From<Refusal> for ApiError {
    /// An understood command that was not carried out: 409, with the refusal's own code.
    fn from(refusal: Refusal) -> Self {
        let mut sentences = refusal.report.sentences.into_iter();
        let what = sentences.next().unwrap_or_else(|| "the command is refused".into());
        let mut error = Self::new(409, &refusal.code, what)
            .why("the command was understood; only its refusal is recorded");
        let rest: Vec<String> = sentences.collect();
        if !rest.is_empty() {
            error.why = rest;
        }
        match refusal.report.next {
            Some(next) => error.hint(next),
            None => error,
        }
    }
}

/// A JSON body; what is none is a problem document, too.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let (why, status) = (inner(&rejection), rejection.status().as_u16());
        match rejection {
            JsonRejection::JsonSyntaxError(_) => {
                ApiError::new(400, "bad-json", "the body is not JSON").why(why)
            }
            JsonRejection::MissingJsonContentType(_) => {
                ApiError::new(415, "content-type", "the request does not say that its body is JSON")
                    .why("the header `Content-Type` is missing or another one")
                    .hint("send `Content-Type: application/json`")
            }
            _ if status == 413 => ApiError::new(413, "body-too-large", "the body is too large")
                .why(format!("at most {} bytes are read", crate::routes::BODY_BYTES_MAX))
                .hint("send less; commands are small"),
            _ => ApiError::new(status, "body", "the body is not one that is taken here").why(why),
        }
    }
}

/// The values behind `?`; those that cannot be read are a problem document, too.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        ApiError::new(400, "query", "the values behind `?` cannot be read").why(inner(&rejection))
    }
}

/// The parts of a path; those that cannot be read are a problem document, too.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        ApiError::new(400, "path", "the path cannot be read").why(inner(&rejection))
    }
}

/// The innermost cause, which names line and column, or the value.
fn inner(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A path that is no endpoint.
pub(crate) async fn no_such_path(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(PATH_SHOWN_MAX).collect();
    ApiError::new(404, "no-such-path", format!("`{path}` is no path of this API"))
        .why("control knows no endpoint there; endpoints begin with `/api/v1/`")
        .hint("docs/api.md lists all of them")
}

/// An endpoint that does not take this method.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(PATH_SHOWN_MAX).collect();
    ApiError::new(405, "no-such-method", format!("`{path}` does not take {method}"))
        .why("the endpoint has other methods; the header `Allow` lists them")
        .hint("docs/api.md lists all of them")
}

/// Characters of a path that an error repeats.
const PATH_SHOWN_MAX: usize = 200;
