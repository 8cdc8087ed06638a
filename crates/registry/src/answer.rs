//! Refusals as the distribution specification writes them: a status, and `{"errors":[{code, message, detail}]}`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use humdrum_store::blobs::{BlobError, IndexError};
use serde_json::{Value, json};

use crate::artifact::ArtifactError;
use crate::registry::RegistryError;

/// An answer other than success.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    errors: Vec<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error = json!({ "code": code, "message": message.into() });
        Self { status, errors: vec![error], headers: Vec::new() }
    }

    pub(crate) fn detail(mut self, detail: Value) -> Self {
        for error in &mut self.errors {
            error["detail"] = detail.clone();
        }
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // A value that is no header comes from the client; the answer is good without it.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn name(repository: &str) -> Self {
        let shown: String = repository.chars().take(300).collect();
        Self::new(
            StatusCode::BAD_REQUEST,
            "NAME_INVALID",
            format!("`{shown}` is not a repository name"),
        )
    }

    pub(crate) fn digest(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(crate) fn blob_unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message)
    }

    pub(crate) fn manifest_unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    fn broken(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = text, "the registry failed");
        // What failed inside is for the log; paths and statements are none of the client's business.
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "the registry failed; its log says why",
        )
    }

    fn full() -> Self {
        let message = "the registry's disk is full; nothing was accepted";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "DENIED", message)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({ "errors": self.errors }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        match error {
            RegistryError::Name { text } => Self::name(&text),
            RegistryError::Manifest(cause) => {
                let why = std::error::Error::source(&cause).map(ToString::to_string);
                let text = why.map_or_else(|| cause.to_string(), |why| format!("{cause}: {why}"));
                Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", text)
            }
            RegistryError::WrongDigest { .. } => Self::digest(message),
            RegistryError::UnknownBlob { .. } => Self::blob_unknown(message),
            RegistryError::UnknownManifest { .. } => Self::manifest_unknown(message),
            RegistryError::Source { .. } | RegistryError::Collecting => Self::broken(&error),
            RegistryError::Blob(error) => error.into(),
            RegistryError::Index(error) => error.into(),
        }
    }
}

impl From<ArtifactError> for Refused {
    fn from(error: ArtifactError) -> Self {
        let (status, code) = match &error {
            ArtifactError::Path => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
            ArtifactError::Name { .. }
            | ArtifactError::Version { .. }
            | ArtifactError::File { .. }
            | ArtifactError::TooLong { .. } => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            ArtifactError::MediaType { .. } => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            ArtifactError::Digest { .. } | ArtifactError::TwoDigests => {
                (StatusCode::BAD_REQUEST, "DIGEST_INVALID")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<BlobError> for Refused {
    fn from(error: BlobError) -> Self {
        let (status, code) = match &error {
            BlobError::NoSession { .. } => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            BlobError::Busy { .. } => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
            BlobError::OutOfOrder { .. } => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID")
            }
            BlobError::WrongLength { .. } => (StatusCode::BAD_REQUEST, "SIZE_INVALID"),
            BlobError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            BlobError::WrongDigest { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            BlobError::Missing { .. } => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            BlobError::BodyLost { .. } => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            BlobError::Idle { .. } => (StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID"),
            BlobError::Full => return Self::full(),
            BlobError::Io { .. } => return Self::broken(&error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<IndexError> for Refused {
    fn from(error: IndexError) -> Self {
        let message = error.to_string();
        match error {
            IndexError::Immutable { tag, .. } => {
                Self::new(StatusCode::FORBIDDEN, "DENIED", message).detail(json!({ "tag": tag }))
            }
            IndexError::UnknownBlobs { missing, .. } => {
                let error = |digest| {
                    json!({ "code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to the repository",
                            "detail": { "digest": digest } })
                };
                let errors = missing.iter().map(|digest| error(digest.as_str())).collect();
                // Docker's clients read 404 here; the specification names the code and leaves the status open.
                Self { status: StatusCode::NOT_FOUND, errors, headers: Vec::new() }
            }
            IndexError::WrongSize { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message)
            }
            IndexError::UnknownManifest { .. } => Self::manifest_unknown(message),
            IndexError::Full => Self::full(),
            IndexError::Newer { .. }
            | IndexError::Digest(_)
            | IndexError::NotInTrash { .. }
            | IndexError::Lacks { .. }
            | IndexError::Database(_)
            | IndexError::Closed => Self::broken(&error),
        }
    }
}
