//! `/v2/NAME/blobs/uploads/`: in one request, in two, in chunks, by mount; resumed after any interruption.

use axum::body::Body;
use futures::TryStreamExt as _;
use http::{HeaderName, StatusCode, header};
use humdrum_store::blobs::{Algorithm, AppendRules, BlobDigest, BlobError, ByteStream, UploadId};

use super::{Answer, CONTENT_DIGEST, Call, empty};
use crate::answer::Refused;
use crate::auth::{Action, Grant, Scope};
use crate::name::is_repository;
use crate::range;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Repositories tried for a mount that names none.
const HOLDERS_MAX: u32 = 100;

/// POST: opens a session, or does all at once with `mount` or `digest`.
pub(super) async fn post(call: &Call<'_>, body: &mut Option<Body>) -> Answer {
    let query = call.query();
    if let Some(text) = query.get("mount") {
        let digest = super::blobs::digest(text)?;
        if mounted(call, &digest, query.get("from")).await? {
            return Ok(created(call, &digest));
        }
    }
    let digest = query.get("digest").map(super::blobs::digest).transpose()?;
    let algorithm = match (&digest, query.get("digest-algorithm")) {
        (Some(digest), _) => digest.algorithm(),
        (None, None) => Algorithm::Sha256,
        (None, Some(name)) => Algorithm::named(name)
            .ok_or_else(|| Refused::digest("digest-algorithm: only sha256 and sha512 are known"))?,
    };
    let id = UploadId::new(rand::random(), &call.repository, algorithm);
    call.registry.blobs().begin(&id).await?;
    let Some(digest) = digest else {
        return Ok(empty(StatusCode::ACCEPTED, &progress(call, &id, 0)));
    };
    match append(call, &id, body.take().unwrap_or_default(), false).await {
        Ok(_) => finish(call, &id, &digest).await,
        Err(refused) => {
            // The client never learned the session's name; what cannot be removed now expires.
            let _ = call.registry.blobs().cancel(&id).await;
            Err(refused)
        }
    }
}

/// Whether the blob is now in the repository. What may not be pulled is as good as absent: the client goes on with an upload.
async fn mounted(
    call: &Call<'_>,
    digest: &BlobDigest,
    from: Option<&str>,
) -> Result<bool, Refused> {
    let sources = match from {
        // No repository has such a name.
        Some(from) if !is_repository(from) => vec![],
        Some(from) => match call.state.auth.grant(&call.who, from, Action::Pull) {
            Grant::Allowed => vec![from.to_owned()],
            Grant::Denied => vec![],
            // Another token would do: with pull at the source and push here.
            Grant::OutOfScope => return Err(call.beyond(&[Scope::new(from, &[Action::Pull])])),
        },
        // A client that names no source cannot have asked for its scope.
        None => {
            let mut holders = call.registry.holders(digest, HOLDERS_MAX).await?;
            holders.retain(|holder| call.state.auth.may(&call.who, holder, Action::Pull));
            holders.truncate(1);
            holders
        }
    };
    for source in sources {
        if call.registry.mount(&source, &call.repository, digest).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// GET: how far the session is.
pub(super) async fn status(call: &Call<'_>, text: &str) -> Answer {
    let id = session(call, text)?;
    let offset = call.registry.blobs().offset(&id).await?;
    Ok(empty(StatusCode::NO_CONTENT, &progress(call, &id, offset)))
}

/// PATCH: a chunk, or the whole as a stream.
pub(super) async fn patch(call: &Call<'_>, text: &str, body: Body) -> Answer {
    let id = session(call, text)?;
    let offset = append(call, &id, body, true).await?;
    Ok(empty(StatusCode::ACCEPTED, &progress(call, &id, offset)))
}

/// PUT: the last chunk, if any, and the digest.
pub(super) async fn put(call: &Call<'_>, text: &str, body: Body) -> Answer {
    let id = session(call, text)?;
    let query = call.query();
    let digest =
        query.get("digest").ok_or_else(|| Refused::digest("the `digest` parameter is missing"))?;
    let digest = super::blobs::digest(digest)?;
    append(call, &id, body, false).await?;
    finish(call, &id, &digest).await
}

/// DELETE: forgets the session.
pub(super) async fn cancel(call: &Call<'_>, text: &str) -> Answer {
    let id = session(call, text)?;
    call.registry.blobs().cancel(&id).await?;
    Ok(empty(StatusCode::NO_CONTENT, &[]))
}

fn session(call: &Call<'_>, text: &str) -> Result<UploadId, Refused> {
    let unknown = || BlobError::NoSession { id: text.chars().take(200).collect() };
    Ok(UploadId::parse(text, &call.repository).ok_or_else(unknown)?)
}

async fn append(call: &Call<'_>, id: &UploadId, body: Body, durable: bool) -> Result<u64, Refused> {
    let announced = call.header(header::CONTENT_RANGE).map(|text| {
        let text = range::chunk(text).ok_or_else(|| text.to_owned());
        text.map_err(|text| {
            Refused::new(
                StatusCode::BAD_REQUEST,
                "BLOB_UPLOAD_INVALID",
                format!("`{text}` is not START-END"),
            )
        })
    });
    let chunk = announced.transpose()?;
    let rules = AppendRules {
        at: chunk.as_ref().map(|chunk| chunk.start),
        length: chunk.map(|chunk| chunk.end - chunk.start),
        total_max: call.state.limits.blob_bytes,
        idle_max: call.state.limits.body_idle,
        durable,
    };
    let body: ByteStream = Box::pin(body.into_data_stream().map_err(std::io::Error::other));
    call.registry.blobs().append(id, body, rules).await.map_err(|error| match error {
        // Told with the place to go on from, as after a status request.
        BlobError::OutOfOrder { offset, .. } => progress(call, id, offset)
            .into_iter()
            .fold(Refused::from(error), |refused, (name, value)| refused.header(name, &value)),
        error => error.into(),
    })
}

async fn finish(call: &Call<'_>, id: &UploadId, digest: &BlobDigest) -> Answer {
    call.registry.finish_upload(&call.repository, id, digest).await?;
    Ok(created(call, digest))
}

fn created(call: &Call<'_>, digest: &BlobDigest) -> axum::response::Response {
    let location = format!("/v2/{}/blobs/{digest}", call.repository);
    empty(
        StatusCode::CREATED,
        &[(header::LOCATION, location), (CONTENT_DIGEST, digest.to_string())],
    )
}

/// Where to go on, and from which byte. An empty session is `0-0`, which clients of the older protocol expect.
fn progress(call: &Call<'_>, id: &UploadId, offset: u64) -> Vec<(HeaderName, String)> {
    vec![
        (header::LOCATION, format!("/v2/{}/blobs/uploads/{}", call.repository, id.as_str())),
        (header::RANGE, format!("0-{}", offset.saturating_sub(1))),
        (UPLOAD_UUID, id.as_str().to_owned()),
    ]
}
