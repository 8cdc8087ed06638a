//! A bounded number of requests at one time. One more is told to come again, before anything of it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;
use crate::answer::Refused;

#[derive(Clone)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    retry_after: Duration,
}

impl Turns {
    pub(super) fn new(limits: &Limits) -> Self {
        let free = Arc::new(Semaphore::new(limits.requests));
        Self { free, retry_after: limits.retry_after }
    }
}

/// The middleware around all endpoints.
pub(super) async fn take(State(turns): State<Turns>, request: Request, next: Next) -> Response {
    let Ok(turn) = turns.free.clone().try_acquire_owned() else {
        let text = "too many requests at one time; try again";
        let seconds = turns.retry_after.as_secs().max(1).to_string();
        return Refused::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
            .header(header::RETRY_AFTER, &seconds)
            .into_response();
    };
    next.run(request).await.map(|body| Body::new(Held { body, _turn: turn }))
}

/// A body that keeps the turn until its last byte is sent or its reader is gone.
struct Held {
    body: Body,
    _turn: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
