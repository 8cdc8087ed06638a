//! `/v2/NAME/tags/list` and `/v2/NAME/referrers/DIGEST`: the two lists, in pages.

use http::{HeaderName, HeaderValue, StatusCode, header};
use humdrum_store::blobs::Referrer;
use serde_json::{Value, json};

use super::catalog::page_size;
use super::{Answer, Call, json};
use crate::answer::Refused;
use crate::manifest::OCI_INDEX;
use crate::registry::ReferrersAsk;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) async fn list(call: &Call<'_>) -> Answer {
    let query = call.query();
    let limit = page_size(query.get("n"), call.state.limits.tags_page)?;
    let page = call.registry.tags(&call.repository, query.get("last"), limit).await?;
    let page = page.ok_or_else(|| {
        Refused::new(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            format!("repository `{}` is not known", call.repository),
        )
    })?;
    let next = page.tags.last().filter(|_| page.more).map(|last| format!("n={limit}&last={last}"));
    let mut response = json(json!({ "name": call.repository, "tags": page.tags }).to_string());
    if let Some(next) = next {
        link(&mut response, &format!("/v2/{}/tags/list?{next}", call.repository));
    }
    Ok(response)
}

/// An image index of what refers to a digest; empty when nothing does, also when the digest is unknown.
pub(super) async fn referrers(call: &Call<'_>, text: &str) -> Answer {
    let subject = super::blobs::digest(text)?;
    let query = call.query();
    let limit = call.state.limits.referrers_page;
    let ask = ReferrersAsk {
        artifact_type: query.get("artifactType").filter(|text| !text.is_empty()).map(str::to_owned),
        last: query.get("last").map(super::blobs::digest).transpose()?,
        limit: limit + 1,
    };
    let found = call.registry.referrers(&call.repository, &subject, &ask).await?;
    let (page, more) = page(&found, limit as usize, call.state.limits.manifest_bytes);
    let body = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page });
    let mut response = json(body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
    if ask.artifact_type.is_some() {
        response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if more {
        let mut next = form_urlencoded::Serializer::new(String::new());
        next.append_pair("last", found[page.len() - 1].digest.as_str());
        if let Some(kind) = &ask.artifact_type {
            next.append_pair("artifactType", kind);
        }
        link(
            &mut response,
            &format!("/v2/{}/referrers/{subject}?{}", call.repository, next.finish()),
        );
    }
    Ok(response)
}

/// As many as fit into a page, at least one; annotations can be large.
fn page(found: &[Referrer], limit: usize, bytes_max: usize) -> (Vec<Value>, bool) {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for referrer in found.iter().take(limit) {
        let value = descriptor(referrer);
        bytes += value.to_string().len() + 1;
        // 200 bytes are for the index around them.
        if !page.is_empty() && bytes + 200 > bytes_max {
            break;
        }
        page.push(value);
    }
    let more = page.len() < found.len();
    (page, more)
}

fn descriptor(referrer: &Referrer) -> Value {
    let mut value = json!({
        "mediaType": referrer.media_type,
        "digest": referrer.digest.as_str(),
        "size": referrer.size,
    });
    if let Some(kind) = &referrer.artifact_type {
        value["artifactType"] = json!(kind);
    }
    let annotations = referrer.annotations.as_deref().map(serde_json::from_str::<Value>);
    if let Some(Ok(annotations)) = annotations {
        value["annotations"] = annotations;
    }
    value
}

pub(super) fn link(response: &mut axum::response::Response, target: &str) {
    let value = HeaderValue::from_str(&format!("<{target}>; rel=\"next\""));
    response
        .headers_mut()
        .insert(header::LINK, value.expect("names, digests and encoded text are header text"));
}
