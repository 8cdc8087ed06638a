//! `/artifacts/NAME/VERSION/FILE`: files by plain HTTP, kept as OCI artifacts in repository `artifacts/NAME`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use futures::TryStreamExt as _;
use http::{HeaderName, HeaderValue, StatusCode, header};
use humdrum_store::blobs::{
    Algorithm, AppendRules, BlobDigest, ByteStream, Hasher, ManifestRow, UploadId,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::catalog::page_size;
use super::{Answer, CONTENT_DIGEST, Call, blobs, json, tags};
use crate::answer::Refused;
use crate::artifact::{self, FileEntry, Place};
use crate::name::Reference;
use crate::registry::RegistryError;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// Files in one page of a version; each costs a look at its manifest.
const FILES_PAGE: u32 = 200;
/// Versions in one page.
const VERSIONS_PAGE: u32 = 1000;
/// Tags read from the index at once.
const BATCH: u32 = 1000;
/// Tags that one list looks at; its `Link` goes on.
const LOOKED_AT_MAX: usize = 10_000;

pub(super) async fn route(call: &Call<'_>, place: &Place, body: &mut Option<Body>) -> Answer {
    match (call.parts.method.as_str(), place) {
        ("GET" | "HEAD", Place::File { version, file, .. }) => get(call, version, file).await,
        ("PUT", Place::File { version, file, .. }) => put(call, version, file, body).await,
        ("DELETE", Place::File { version, file, .. }) => delete(call, version, file).await,
        ("GET" | "HEAD", Place::Files { name, version }) => files(call, name, version).await,
        ("GET" | "HEAD", Place::Versions { name }) => versions(call, name).await,
        (method, place) => {
            let allowed = match place {
                Place::File { .. } => "GET, HEAD, PUT, DELETE",
                _ => "GET, HEAD",
            };
            let text = format!("{method} means nothing here");
            Err(Refused::unsupported(text).header(header::ALLOW, allowed))
        }
    }
}

/// The file, whole or in ranges. What it is comes from whoever put it, so a browser must not run it.
async fn get(call: &Call<'_>, version: &str, file: &str) -> Answer {
    let (row, entry) =
        stored(call, version, file).await?.ok_or_else(|| unknown(call, version, file))?;
    let mut response = blobs::serve(call, &entry.digest, &entry.media_type).await?;
    let headers = response.headers_mut();
    // Under a name that may be put again, unlike a digest.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    let name = utf8_percent_encode(file, NON_ALPHANUMERIC);
    let shown = format!("attachment; filename*=UTF-8''{name}");
    let described =
        format!("</v2/{}/manifests/{}>; rel=\"describedby\"", call.repository, row.digest);
    for (name, text) in [
        (header::CONTENT_DISPOSITION, shown),
        (header::LINK, described),
        (REPR_DIGEST, artifact::field(&entry.digest)),
    ] {
        headers.insert(name, HeaderValue::from_str(&text).expect("encoded names are header text"));
    }
    Ok(response)
}

/// Keeps the body as a file. The same content again is fine; another one needs a mutable artifact.
async fn put(call: &Call<'_>, version: &str, file: &str, body: &mut Option<Body>) -> Answer {
    let tag = artifact::tag(version, file)?;
    let media_type = artifact::media_type(call.header(header::CONTENT_TYPE))?;
    let announced = artifact::announced(&call.parts.headers)?;
    let (digest, size) = receive(call, body.take().unwrap_or_default(), announced).await?;
    if let Some((row, entry)) = stored(call, version, file).await?
        && entry.digest == digest
    {
        return Ok(told(call, StatusCode::OK, file, &entry, &row.digest));
    }
    let entry = FileEntry { digest, size, media_type };
    let config = call.registry.put_blob(&call.repository, "{}".into()).await?;
    let manifest = artifact::manifest(version, file, &entry, &config);
    let reference = Reference::Tag(tag);
    let put =
        call.registry.put_manifest(&call.repository, &reference, None, manifest.into()).await?;
    Ok(told(call, StatusCode::CREATED, file, &entry, &put.digest))
}

/// Streams the body into a blob of the repository; answers its digest and size.
async fn receive(
    call: &Call<'_>,
    body: Body,
    announced: Option<BlobDigest>,
) -> Result<(BlobDigest, u64), Refused> {
    let algorithm = announced.as_ref().map_or(Algorithm::Sha256, BlobDigest::algorithm);
    let id = UploadId::new(rand::random(), &call.repository, algorithm);
    let rules = AppendRules {
        at: None,
        length: None,
        total_max: call.state.limits.blob_bytes,
        idle_max: call.state.limits.body_idle,
        durable: false,
    };
    let body = body.into_data_stream().map_err(std::io::Error::other);
    let digest = match announced {
        Some(digest) => {
            call.registry.upload(&id, Box::pin(body), rules).await?;
            digest
        }
        None => {
            // The session hashes as well, but does not tell: it is asked for a digest, not for what it is.
            let hash = Arc::new(Mutex::new(Hasher::new(algorithm)));
            let seen = hash.clone();
            let body: ByteStream = Box::pin(body.inspect_ok(move |piece| {
                seen.lock().unwrap_or_else(PoisonError::into_inner).update(piece);
            }));
            call.registry.upload(&id, body, rules).await?;
            let hash = hash.lock().unwrap_or_else(PoisonError::into_inner).clone();
            hash.finish()
        }
    };
    let size = call.registry.finish_upload(&call.repository, &id, &digest).await?;
    Ok((digest, size))
}

fn told(
    call: &Call<'_>,
    status: StatusCode,
    file: &str,
    entry: &FileEntry,
    manifest: &BlobDigest,
) -> Response {
    let mut response = json(artifact::described(file, entry, manifest).to_string());
    *response.status_mut() = status;
    let text = |text: &str| HeaderValue::from_str(text).expect("paths and digests are header text");
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, text(call.parts.uri.path()));
    headers.insert(CONTENT_DIGEST, text(entry.digest.as_str()));
    headers.insert(REPR_DIGEST, text(&artifact::field(&entry.digest)));
    response
}

async fn delete(call: &Call<'_>, version: &str, file: &str) -> Answer {
    let reference = Reference::Tag(artifact::tag(version, file)?);
    if call.registry.delete_manifest(&call.repository, &reference).await? {
        return Ok(blobs::accepted());
    }
    Err(unknown(call, version, file))
}

fn unknown(call: &Call<'_>, version: &str, file: &str) -> Refused {
    Refused::manifest_unknown(format!(
        "`{file}` of version `{version}` is not in `{}`",
        call.repository
    ))
}

async fn stored(
    call: &Call<'_>,
    version: &str,
    file: &str,
) -> Result<Option<(ManifestRow, FileEntry)>, Refused> {
    let reference = Reference::Tag(artifact::tag(version, file)?);
    match call.registry.manifest_row(&call.repository, &reference).await {
        Ok(row) => Ok(artifact::entry(&row.body).map(|entry| (row, entry))),
        Err(RegistryError::UnknownManifest { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The files of a version, in the order of tags.
async fn files(call: &Call<'_>, name: &str, version: &str) -> Answer {
    let query = call.query();
    let limit = page_size(query.get("n"), FILES_PAGE)?;
    let stem = artifact::stem(version);
    let after = match query.get("last") {
        Some(file) => artifact::tag(version, file)?,
        None => stem.clone(),
    };
    // Tags that differ in case alone stand together, so foreign ones can lie between.
    let mine =
        |tag: &str| tag.get(..stem.len()).is_some_and(|head| head.eq_ignore_ascii_case(&stem));
    let (found, more) = walk(call, Some(after), limit as usize, mine, |tag| {
        artifact::of_tag(tag).filter(|(of, _)| of == version).map(|(_, file)| file)
    })
    .await?;
    let mut entries = Vec::with_capacity(found.len());
    for (_, file) in &found {
        // One that went in the meantime is not listed.
        if let Some((row, entry)) = stored(call, version, file).await? {
            entries.push(artifact::described(file, &entry, &row.digest));
        }
    }
    if found.is_empty() && query.get("last").is_none() && limit > 0 {
        let text = format!("version `{version}` of `{name}` is not known");
        return Err(Refused::manifest_unknown(text));
    }
    let body = json!({ "name": name, "version": version, "files": entries });
    let mut response = json(body.to_string());
    if let Some((_, file)) = found.last().filter(|_| more) {
        let last = utf8_percent_encode(file, NON_ALPHANUMERIC);
        let path = call.parts.uri.path();
        tags::link(&mut response, &format!("{path}?n={limit}&last={last}"));
    }
    Ok(response)
}

/// The versions of an artifact, in the order of tags. `last` is a tag.
async fn versions(call: &Call<'_>, name: &str) -> Answer {
    let query = call.query();
    let limit = page_size(query.get("n"), VERSIONS_PAGE)?;
    let after = query.get("last").map(str::to_owned);
    let mut seen: Vec<String> = after
        .as_deref()
        .and_then(artifact::of_tag)
        .map(|(version, _)| version)
        .into_iter()
        .collect();
    let told = seen.len();
    let (found, more) = walk(
        call,
        after,
        limit as usize,
        |_| true,
        |tag| {
            let (version, _) = artifact::of_tag(tag)?;
            // Tags that differ in case alone stand together: the same version can come back after another one.
            (!seen.contains(&version)).then(|| seen.push(version.clone()))?;
            Some(version)
        },
    )
    .await?;
    if found.is_empty() && told == 0 && limit > 0 {
        let text = format!("artifact `{name}` is not known");
        return Err(Refused::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", text));
    }
    let names: Vec<&str> = found.iter().map(|(_, version)| version.as_str()).collect();
    let mut response = json(json!({ "name": name, "versions": names }).to_string());
    if let Some((tag, _)) = found.last().filter(|_| more) {
        tags::link(&mut response, &format!("{}?n={limit}&last={tag}", call.parts.uri.path()));
    }
    Ok(response)
}

/// Reads tags in order while they are `mine` and keeps up to `limit` of what `pick` makes of them, each with its tag; tells
/// whether there is more.
async fn walk(
    call: &Call<'_>,
    mut after: Option<String>,
    limit: usize,
    mine: impl Fn(&str) -> bool,
    mut pick: impl FnMut(&str) -> Option<String>,
) -> Result<(Vec<(String, String)>, bool), Refused> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    if limit == 0 {
        return Ok((found, false));
    }
    loop {
        let page = call.registry.tags(&call.repository, after.as_deref(), BATCH).await?;
        let Some(page) = page else { return Ok((found, false)) };
        for tag in page.tags {
            if !mine(&tag) {
                return Ok((found, false));
            }
            looked_at += 1;
            if let Some(picked) = pick(&tag) {
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push((tag.clone(), picked));
            }
            after = Some(tag);
        }
        if !page.more || looked_at > LOOKED_AT_MAX {
            return Ok((found, page.more));
        }
    }
}
