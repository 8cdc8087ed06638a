//! Who is asking: a bearer token on every request, compared in constant time.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::error::ApiError;

/// Lets a request pass that shows the token.
pub(crate) async fn require(State(app): State<App>, request: Request, next: Next) -> Response {
    let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if same(shown.as_bytes(), app.token.as_bytes()) {
        return next.run(request).await;
    }
    let what = if shown.is_empty() {
        "the request carries no token"
    } else {
        "the token is not this installation's"
    };
    ApiError::new(401, "unauthenticated", what)
        .why("every request but `/healthz` shows the token of this installation")
        .into_response()
}

/// Takes as long for a near miss as for a far one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}
