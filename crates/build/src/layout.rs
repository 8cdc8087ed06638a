//! Writes an image as an OCI image layout folder (`image-layout.md`), which skopeo, podman and others read.

use std::fs;
use std::io;
use std::path::Path;

use humdrum_model::name::Digest;
use serde_json::json;

use crate::image::{Built, MANIFEST, architecture};

/// Adds the image to the layout at `folder`, made when missing, under the name `tag`.
///
/// An image of the same name is replaced in the index; blobs that are there already stay.
///
/// # Errors
/// When the folder cannot be written, or its index is none.
pub fn write_layout(built: &Built, folder: &Path, tag: &str) -> io::Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    for layer in &built.layers {
        put(&blobs, &layer.digest, |to| fs::copy(&layer.path, to).map(drop))?;
    }
    for document in [&built.config, &built.manifest] {
        put(&blobs, &document.digest, |to| fs::write(to, &document.bytes))?;
    }
    let entry = json!({
        "mediaType": MANIFEST,
        "digest": built.manifest.digest,
        "size": built.manifest.bytes.len(),
        "annotations": { "org.opencontainers.image.ref.name": tag },
        "platform": { "architecture": architecture(), "os": "linux" },
    });
    let mut manifests = vec![];
    let index = folder.join("index.json");
    if index.exists() {
        let old: serde_json::Value = serde_json::from_slice(&fs::read(&index)?)?;
        manifests = old["manifests"].as_array().cloned().unwrap_or_default();
        manifests.retain(|m| m["annotations"]["org.opencontainers.image.ref.name"] != tag);
    }
    manifests.push(entry);
    let media = "application/vnd.oci.image.index.v1+json";
    let text =
        json!({ "schemaVersion": 2, "mediaType": media, "manifests": manifests }).to_string();
    replace(&index, |to| fs::write(to, &text))
}

fn put(
    blobs: &Path,
    digest: &Digest,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let path = blobs.join(digest.hex());
    if path.exists() { Ok(()) } else { replace(&path, write) }
}

/// A reader never sees half a file.
fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let part = path.with_extension("part");
    write(&part)?;
    fs::rename(&part, path)
}
