//! `/v2/NAME/manifests/REFERENCE`.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use humdrum_store::blobs::BlobDigest;

use super::{Answer, CONTENT_DIGEST, Call, empty};
use crate::answer::Refused;
use crate::manifest::OCI_ARTIFACT;
use crate::name::{Reference, ReferenceError, is_tag};
use crate::notice;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Said to those who push a manifest of the artifact specification.
const WITHDRAWN: &str = "this media type was withdrawn: push an image manifest with `artifactType`";
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// GET and HEAD: the bytes and the media type, as they were pushed.
pub(super) async fn get(call: &Call<'_>, text: &str) -> Answer {
    let reference = match text.parse() {
        Ok(reference) => reference,
        Err(ReferenceError::Digest(error)) => return Err(Refused::digest(error.to_string())),
        // What cannot be a tag cannot have been pushed.
        Err(error) => return Err(Refused::manifest_unknown(error.to_string())),
    };
    let is_pull = call.parts.method == Method::GET;
    let row = if is_pull {
        call.registry.get_manifest(&call.repository, &reference).await?
    } else {
        call.registry.manifest_row(&call.repository, &reference).await?
    };
    let etag = format!("\"{}\"", row.digest);
    let headers = [(CONTENT_DIGEST, row.digest.to_string()), (header::ETAG, etag.clone())];
    if call.header(header::IF_NONE_MATCH).is_some_and(|seen| seen.contains(&etag)) {
        return Ok(empty(StatusCode::NOT_MODIFIED, &headers));
    }
    let mut response = empty(StatusCode::OK, &headers);
    warn(call, &mut response, &row.digest, None);
    let media_type =
        HeaderValue::from_str(&row.media_type).expect("only known media types are stored");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response.headers_mut().insert(header::CONTENT_LENGTH, row.body.len().into());
    if is_pull {
        *response.body_mut() = Body::from(row.body);
    }
    Ok(response)
}

pub(super) async fn put(call: &Call<'_>, text: &str, body: Body) -> Answer {
    let reference: Reference = text.parse().map_err(|error| match error {
        ReferenceError::Digest(error) => Refused::digest(error.to_string()),
        error @ ReferenceError::Tag { .. } => {
            Refused::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", error.to_string())
        }
    })?;
    let query = call.query();
    let mut expected = query.get("digest").map(super::blobs::digest).transpose()?;
    let mut tags: Vec<String> = query.all("tag").map(str::to_owned).collect();
    let most = call.state.limits.tag_parameters;
    if tags.len() > most {
        return Err(Refused::new(
            StatusCode::URI_TOO_LONG,
            "UNSUPPORTED",
            format!("{} tags, but one push sets at most {most}", tags.len()),
        ));
    }
    if let Some(bad) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "MANIFEST_INVALID",
            format!("`{bad}` is not a tag"),
        ));
    }
    let answered: Vec<_> = tags.iter().map(|tag| (OCI_TAG, tag.clone())).collect();
    match &reference {
        Reference::Tag(tag) => tags.push(tag.clone()),
        Reference::Digest(digest) => expected = Some(digest.clone()),
    }
    let body = read(call, body).await?;
    let media_type = call.header(header::CONTENT_TYPE);
    let put = call
        .registry
        .put_manifest_tagged(&call.repository, tags, expected, media_type, body)
        .await?;
    let mut headers = vec![
        (header::LOCATION, format!("/v2/{}/manifests/{}", call.repository, put.digest)),
        (CONTENT_DIGEST, put.digest.to_string()),
    ];
    headers.extend(put.subject.map(|subject| (OCI_SUBJECT, subject.to_string())));
    headers.extend(answered);
    let mut response = empty(StatusCode::CREATED, &headers);
    let withdrawn = put.media_type == OCI_ARTIFACT;
    warn(call, &mut response, &put.digest, withdrawn.then_some(WITHDRAWN));
    Ok(response)
}

fn warn(call: &Call<'_>, response: &mut Response, digest: &BlobDigest, own: Option<&str>) {
    let mut texts: Vec<String> = own.map(str::to_owned).into_iter().collect();
    texts.extend(call.state.notices.about(&call.repository, digest));
    for value in notice::headers(&texts) {
        response.headers_mut().append(header::WARNING, value);
    }
}

/// By tag only the tag goes, by digest the manifest with all its tags.
pub(super) async fn delete(call: &Call<'_>, text: &str) -> Answer {
    let reference: Reference = text.parse().map_err(|error| match error {
        ReferenceError::Digest(error) => Refused::digest(error.to_string()),
        error @ ReferenceError::Tag { .. } => Refused::manifest_unknown(error.to_string()),
    })?;
    if call.registry.delete_manifest(&call.repository, &reference).await? {
        return Ok(super::blobs::accepted());
    }
    Err(Refused::manifest_unknown(format!("`{reference}` is not in `{}`", call.repository)))
}

async fn read(call: &Call<'_>, body: Body) -> Result<Bytes, Refused> {
    let limits = &call.state.limits;
    let too_large = || {
        let text = format!("a manifest has at most {} bytes", limits.manifest_bytes);
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", text)
    };
    let announced = call.header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.manifest_bytes as u64) {
        return Err(too_large());
    }
    let mut stream = body.into_data_stream();
    let mut whole = Vec::with_capacity(announced.unwrap_or(4096) as usize);
    loop {
        match tokio::time::timeout(limits.body_idle, stream.next()).await {
            Ok(None) => return Ok(whole.into()),
            Ok(Some(Ok(piece))) if whole.len() + piece.len() <= limits.manifest_bytes => {
                whole.extend_from_slice(&piece);
            }
            Ok(Some(Ok(_))) => return Err(too_large()),
            Ok(Some(Err(_))) | Err(_) => {
                return Err(Refused::new(
                    StatusCode::BAD_REQUEST,
                    "MANIFEST_INVALID",
                    "the body broke off",
                ));
            }
        }
    }
}
