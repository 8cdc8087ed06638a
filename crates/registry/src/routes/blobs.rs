//! `/v2/NAME/blobs/DIGEST`.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use humdrum_store::blobs::BlobDigest;

use super::{Answer, CONTENT_DIGEST, Call, empty};
use crate::answer::Refused;
use crate::artifact::OCTETS;
use crate::range::{self, Asked};

/// The bytes under a digest never change.
const FOR_EVER: &str = "max-age=31536000, immutable";

pub(super) fn digest(text: &str) -> Result<BlobDigest, Refused> {
    text.parse()
        .map_err(|error: humdrum_store::blobs::DigestError| Refused::digest(error.to_string()))
}

/// GET and HEAD; `Range` is answered with 206 or 416.
pub(super) async fn get(call: &Call<'_>, text: &str) -> Answer {
    let digest = digest(text)?;
    serve(call, &digest, OCTETS).await
}

/// The bytes of a blob of the repository, as this media type.
pub(super) async fn serve(call: &Call<'_>, digest: &BlobDigest, media_type: &str) -> Answer {
    let unknown =
        || Refused::blob_unknown(format!("blob {digest} is not in `{}`", call.repository));
    let size = call.registry.blob_size(&call.repository, digest).await?.ok_or_else(unknown)?;
    let etag = format!("\"{digest}\"");
    if call.header(header::IF_NONE_MATCH).is_some_and(|seen| seen.contains(&etag)) {
        return Ok(empty(
            StatusCode::NOT_MODIFIED,
            &[(header::ETAG, etag), (CONTENT_DIGEST, digest.to_string())],
        ));
    }
    // A range of another content than the client has would be nonsense to it.
    let same = call.header(header::IF_RANGE).is_none_or(|seen| seen == etag);
    let wish = call.header(header::RANGE).filter(|_| same);
    let (status, range) = match range::asked(wish, size) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Unsatisfiable => {
            let refused = Refused::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                format!("the blob has {size} bytes"),
            );
            return Err(refused.header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let mut headers = vec![
        (CONTENT_DIGEST, digest.to_string()),
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, FOR_EVER.to_owned()),
        (header::ETAG, etag),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        headers.push((
            header::CONTENT_RANGE,
            format!("bytes {}-{}/{size}", range.start, range.end - 1),
        ));
    }
    let mut response = empty(status, &headers);
    if call.parts.method == Method::GET {
        let stream = call.registry.blob_range(&call.repository, digest, range).await?;
        *response.body_mut() = Body::from_stream(stream);
    }
    Ok(response)
}

pub(super) async fn delete(call: &Call<'_>, text: &str) -> Answer {
    let digest = digest(text)?;
    if call.registry.delete_blob(&call.repository, &digest).await? {
        return Ok(accepted());
    }
    Err(Refused::blob_unknown(format!("blob {digest} is not in `{}`", call.repository)))
}

pub(super) fn accepted() -> Response {
    let mut response = empty(StatusCode::ACCEPTED, &[]);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
