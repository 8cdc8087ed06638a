//! An image in this installation's registry: through control while it runs, else from the registry's own files.

use std::sync::Arc;

use humdrum_api::publish::InProcess;
use humdrum_control::artifacts::Artifacts;
use humdrum_evidence::bundle::BUNDLE_BYTES_MAX;
use humdrum_model::name::Digest;
use humdrum_registry::name::Reference;
use humdrum_registry::{Registry, RegistryError};
use humdrum_store::blobs::{BlobDigest, Hasher, Mutability};
use serde_json::Value;

use super::{Answer, Check, Image, Pick};
use crate::client::Client;
use crate::commands::block_on;
use crate::commands::build::size;
use crate::exit::{Exit, Failure};
use crate::places::Places;

/// Control, if it answers.
pub(super) fn control(places: &Places) -> Option<Client> {
    let client = Client::of(places).ok()?;
    block_on(client.text("/healthz")).is_ok().then_some(client)
}

/// Asks control, which reads and verifies anew.
pub(super) async fn through_control(
    client: &Client,
    repository: &str,
    pick: &Pick,
) -> Result<Answer, Failure> {
    let digest = match pick {
        Pick::Digest(digest) => digest.clone(),
        Pick::Tag(tag) => {
            let manifest = client.text(&format!("/v2/{repository}/manifests/{tag}")).await;
            let manifest = manifest.map_err(|failure| {
                if failure.exit == Exit::BadInput { unknown(repository, tag) } else { failure }
            })?;
            Digest::of(manifest.as_bytes())
        }
        Pick::Only => return Err(unknown(repository, "latest")),
    };
    // A manifest that is not there is a mistake in the question, not a refusal of an image.
    let there = client.text(&format!("/v2/{repository}/manifests/{digest}")).await;
    there.map_err(|failure| {
        if failure.exit == Exit::BadInput { unknown(repository, digest.as_str()) } else { failure }
    })?;
    let mut answer: Answer = client.get(&format!("/api/v1/verify/{repository}/{digest}")).await?;
    answer.digest = digest.to_string();
    Ok(answer)
}

fn unknown(repository: &str, reference: &str) -> Failure {
    let separator = if reference.contains(':') { '@' } else { ':' };
    let what =
        format!("`{repository}{separator}{reference}` is not in this installation's registry");
    Failure::new(Exit::BadInput, "unknown-image", what).next("humdrum status")
}

/// Reads the files of a registry whose control does not run; nothing in it is changed.
pub(super) async fn read(places: &Places, repository: &str, pick: &Pick) -> Result<Image, Failure> {
    let root = places.registry();
    if !root.join("registry.db").exists() {
        let what = format!("no registry is in the data folder `{}`", places.data.display());
        return Err(Failure::new(Exit::Unreachable, "not-running", what).next("humdrum up"));
    }
    let failed = |error: &dyn std::error::Error| {
        Failure::new(Exit::Failed, "registry", "the registry's files cannot be read")
            .cause(error)
            .at(root.display().to_string())
    };
    let registry =
        Registry::open(&root, Arc::new(|_, _| Mutability::Immutable("verify only reads".into())))
            .map_err(|error| failed(&error))?;
    let reference = match pick {
        Pick::Digest(digest) => {
            Reference::Digest(digest.as_str().parse().map_err(|error| failed(&error))?)
        }
        Pick::Tag(tag) => Reference::Tag(tag.clone()),
        Pick::Only => Reference::Tag("latest".into()),
    };
    let row = match registry.get_manifest(repository, &reference).await {
        Ok(row) => row,
        Err(RegistryError::UnknownManifest { .. }) => {
            return Err(unknown(repository, &reference.to_string()));
        }
        Err(error) => return Err(failed(&error)),
    };
    let digest = Digest::new(row.digest.to_string()).map_err(|error| failed(&error))?;
    let content = content(&registry, repository, &row.body).await;
    let artifacts = InProcess(registry.clone());
    let mut referrers = Vec::new();
    for manifest in artifacts
        .referrers(repository.into(), digest.clone())
        .await
        .map_err(|error| failed(&error))?
    {
        let bundle = match first_layer(&manifest.bytes) {
            Some(layer) => registry
                .blob_bytes(repository, &layer, BUNDLE_BYTES_MAX as u64 + 1)
                .await
                .unwrap_or_default(),
            None => Default::default(),
        };
        referrers.push((manifest.bytes, bundle.to_vec()));
    }
    Ok(Image { digest, manifest: row.body.to_vec(), referrers, content })
}

fn first_layer(manifest: &[u8]) -> Option<BlobDigest> {
    let document: Value = serde_json::from_slice(manifest).ok()?;
    document["layers"].get(0)?["digest"].as_str()?.parse().ok()
}

async fn content(registry: &Registry, repository: &str, manifest: &[u8]) -> Check {
    let document: Value = serde_json::from_slice(manifest).unwrap_or(Value::Null);
    let named = std::iter::once(&document["config"])
        .chain(document["layers"].as_array().into_iter().flatten());
    let (mut blobs, mut total) = (0_u64, 0_u64);
    for descriptor in named {
        let digest = descriptor["digest"].as_str().and_then(|text| text.parse::<BlobDigest>().ok());
        let Some(digest) = digest else {
            return Check::refused(
                "content",
                "malformed_manifest",
                "the manifest names a blob without a digest".into(),
            );
        };
        match hash(registry, repository, &digest).await {
            Err(why) => {
                return Check::refused(
                    "content",
                    "missing_blob",
                    format!("{digest} cannot be read: {why}"),
                );
            }
            Ok((found, _)) if found != digest => {
                return Check::refused(
                    "content",
                    "blob_digest_mismatch",
                    format!("the bytes of {digest} have {found}"),
                );
            }
            Ok((_, bytes)) => total += bytes,
        }
        blobs += 1;
    }
    Check::passed(
        "content",
        format!("{blobs} blobs, {}, each with the bytes of its digest", size(total)),
    )
}

async fn hash(
    registry: &Registry,
    repository: &str,
    digest: &BlobDigest,
) -> Result<(BlobDigest, u64), String> {
    let mut stream = registry.blob(repository, digest).await.map_err(|error| error.to_string())?;
    let mut hasher = Hasher::new(digest.algorithm());
    let mut total = 0;
    while let Some(piece) = futures::StreamExt::next(&mut stream).await {
        let piece = piece.map_err(|error| error.to_string())?;
        hasher.update(&piece);
        total += piece.len() as u64;
    }
    Ok((hasher.finish(), total))
}
