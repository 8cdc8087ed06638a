//! Answers that the edge makes itself, marked with `x-humdrum-edge` so that nobody takes them for the service's.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode, Version};

use crate::body::AnswerBody;
use crate::head::EDGE_REASON;
use crate::worker::{Busy, Session, Worker};

/// Seconds after which a caller of a closed or full route may try again.
const RETRY_AFTER_S: &str = "2";

/// Why the edge answered instead of an instance; the value of `x-humdrum-edge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Malformed,
    HeadTooLong,
    NoRoute,
    Closed,
    Full,
    TooLong,
    Unreachable,
    Broken,
    Timeout,
    Drained,
}

/// All reasons, in the order of their numbers.
pub(crate) const REASONS: [Reason; 10] = [
    Reason::Malformed,
    Reason::HeadTooLong,
    Reason::NoRoute,
    Reason::Closed,
    Reason::Full,
    Reason::TooLong,
    Reason::Unreachable,
    Reason::Broken,
    Reason::Timeout,
    Reason::Drained,
];

/// Own answers of this process by reason, for `/metrics`.
static MADE: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];

impl Reason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-request",
            Self::HeadTooLong => "head-too-long",
            Self::NoRoute => "no-route",
            Self::Closed => "closed",
            Self::Full => "too-many-requests-in-flight",
            Self::TooLong => "body-too-long",
            Self::Unreachable => "no-instance-reachable",
            Self::Broken => "instance-broke-off",
            Self::Timeout => "instance-timed-out",
            Self::Drained => "drained",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Closed | Self::Full | Self::Drained => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreachable | Self::Broken => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// How many answers of this process had the reason.
    pub(crate) fn made(self) -> u64 {
        MADE[self as usize].load(Ordering::Relaxed)
    }
}

/// Makes the answer and counts it.
pub(crate) fn own(
    session: &Rc<Session>,
    version: Version,
    reason: Reason,
    text: &str,
) -> Response<AnswerBody> {
    MADE[reason as usize].fetch_add(1, Ordering::Relaxed);
    let text = Bytes::from(format!("{text}\n"));
    let mut response =
        Response::new(AnswerBody::Own { text: Some(text), _busy: Busy::new(session) });
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(EDGE_REASON, HeaderValue::from_static(reason.as_str()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if matches!(reason, Reason::Closed | Reason::Full) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    if matches!(reason, Reason::Malformed | Reason::HeadTooLong | Reason::TooLong)
        && version != Version::HTTP_2
    {
        // What follows on this connection cannot be trusted to be a request.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// While the process leaves, an answer over HTTP/1.1 asks the caller to come back on a new connection.
pub(crate) fn close_if_leaving(
    worker: &Worker,
    version: Version,
    response: &mut Response<AnswerBody>,
) {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if worker.is_leaving() && version != Version::HTTP_2 && !switching {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
