//! `/v2/_catalog`, the list of repositories, and `/v2/_oci/ext/discover`, the list of extensions.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::{Answer, Call, json, tags};
use crate::answer::Refused;
use crate::auth::Action;

/// Names that one request looks at: bounds the work for somebody who may pull few of many. A page may end short of what was
/// asked for; its `Link` goes on.
const LOOKED_AT_MAX: usize = 10_000;
/// Names read from the index at once.
const BATCH: u32 = 1000;

/// Names of the repositories that the caller may pull, in byte order.
pub(super) async fn list(call: &Call<'_>) -> Answer {
    let query = call.query();
    let limit = page_size(query.get("n"), call.state.limits.catalog_page)?;
    let last = query.get("last").map(str::to_owned);
    let page = match limit {
        0 => Page::default(),
        _ => page(call, last, limit as usize).await?,
    };
    let mut response = json(json!({ "repositories": page.names }).to_string());
    if let Some(last) = page.goes_on_after {
        tags::link(&mut response, &format!("/v2/_catalog?n={limit}&last={last}"));
    }
    Ok(response)
}

#[derive(Default)]
struct Page {
    names: Vec<String>,
    /// The last name that was looked at, when there are more.
    goes_on_after: Option<String>,
}

async fn page(call: &Call<'_>, mut last: Option<String>, limit: usize) -> Result<Page, Refused> {
    let (mut names, mut looked_at) = (Vec::new(), 0);
    loop {
        let batch = call.registry.repositories(last.as_deref(), BATCH).await?;
        let is_last = batch.len() < BATCH as usize;
        for name in batch {
            let shown = call.state.auth.may(&call.who, &name, Action::Pull);
            if looked_at == LOOKED_AT_MAX || (shown && names.len() == limit) {
                return Ok(Page { names, goes_on_after: last });
            }
            looked_at += 1;
            if shown {
                names.push(name.clone());
            }
            last = Some(name);
        }
        if is_last {
            return Ok(Page { names, goes_on_after: None });
        }
    }
}

/// What a client asked for with `n`, as far as a page goes.
pub(super) fn page_size(asked: Option<&str>, most: u32) -> Result<u32, Refused> {
    let Some(text) = asked else { return Ok(most) };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        let text = format!("n=`{text}` is not a number of entries");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", text));
    }
    // What does not fit into a number is more than a page as well.
    Ok(text.parse().unwrap_or(most).min(most))
}

/// The only extension is the one that lists extensions.
pub(super) fn extensions(call: &Call<'_>) -> Response {
    let place = match call.repository.as_str() {
        "" => "/v2/_oci/ext/discover".to_owned(),
        name => format!("/v2/{name}/_oci/ext/discover"),
    };
    let own = json!({
        "name": "_oci",
        "description": "the list of extensions",
        "url": "https://github.com/opencontainers/distribution-spec/tree/main/extensions",
        "endpoints": [place],
    });
    json(json!({ "extensions": [own] }).to_string())
}
