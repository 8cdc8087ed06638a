//! Reads a manifest as far as a registry must: its kind, what it refers to, its subject. Pure; bytes are stored as they came.

use std::collections::BTreeMap;

use humdrum_store::blobs::{BlobDigest, DigestError, WantedBlob};
use serde::Deserialize;

pub const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Of the withdrawn artifact specification; old clients still push it.
pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
pub const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a manifest says.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub media_type: String,
    pub blobs: Vec<WantedBlob>,
    pub children: Vec<BlobDigest>,
    pub subject: Option<BlobDigest>,
    /// As referrers lists give it: of an image without one, its config's media type.
    pub artifact_type: Option<String>,
    /// JSON object.
    pub annotations: Option<String>,
}

/// Why bytes are not a manifest that this registry takes.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("it is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    #[error("it is not a JSON manifest")]
    Json(#[source] serde_json::Error),
    #[error(
        "media type `{found}` is not one of: {OCI_IMAGE}, {OCI_INDEX}, {DOCKER_IMAGE}, {DOCKER_LIST}, {OCI_ARTIFACT}"
    )]
    MediaType { found: String },
    #[error("neither Content-Type nor `mediaType` says what it is")]
    NoMediaType,
    #[error("Content-Type is `{header}`, but `mediaType` is `{field}`")]
    TwoMediaTypes { header: String, field: String },
    #[error("`schemaVersion` is {found}, not 2")]
    SchemaVersion { found: u64 },
    #[error("`{field}` has no place in `{media_type}`")]
    Misplaced { field: &'static str, media_type: String },
    #[error("`{field}` is missing in `{media_type}`")]
    Lacking { field: &'static str, media_type: String },
    #[error("`{field}` has a bad digest")]
    Digest { field: &'static str, source: DigestError },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
}

impl Descriptor {
    fn digest(&self, field: &'static str) -> Result<BlobDigest, ManifestError> {
        self.digest.parse().map_err(|source| ManifestError::Digest { field, source })
    }

    /// Layers that by their licence live elsewhere; nobody pushes them.
    fn is_elsewhere(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.media_type.contains(".nondistributable.")
            || self.media_type.contains(".foreign.")
    }
}

/// Reads a manifest that came with this `Content-Type`.
///
/// # Errors
/// [`ManifestError`] names the field and what was found in it.
pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Manifest, ManifestError> {
    // The JSON reader looks into strings only where it needs them.
    let text = std::str::from_utf8(body).map_err(ManifestError::Utf8)?;
    let document: Document = serde_json::from_str(text).map_err(ManifestError::Json)?;
    let media_type = media_type(content_type, document.media_type.as_deref())?;
    check_shape(&document, &media_type)?;
    let subject = document.subject.as_ref().map(|subject| subject.digest("subject")).transpose()?;
    let annotations = document.annotations.as_ref().map(|annotations| {
        serde_json::to_string(annotations).expect("a map of strings is always JSON")
    });
    Ok(Manifest {
        blobs: wanted(&document)?,
        children: document
            .manifests
            .iter()
            .flatten()
            .map(|d| d.digest("manifests"))
            .collect::<Result<_, _>>()?,
        subject,
        artifact_type: artifact_type(&document),
        annotations,
        media_type,
    })
}

fn media_type(header: Option<&str>, field: Option<&str>) -> Result<String, ManifestError> {
    let header = header.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
    let header = header.filter(|text| !text.is_empty());
    let field = field.filter(|text| !text.is_empty());
    let found = match (header, field) {
        (Some(header), Some(field)) if header != field => {
            return Err(ManifestError::TwoMediaTypes { header, field: field.to_owned() });
        }
        (Some(header), _) => header,
        (None, Some(field)) => field.to_owned(),
        (None, None) => return Err(ManifestError::NoMediaType),
    };
    match found.as_str() {
        OCI_IMAGE | OCI_INDEX | OCI_ARTIFACT | DOCKER_IMAGE | DOCKER_LIST => Ok(found),
        _ => Err(ManifestError::MediaType { found }),
    }
}

/// A document that can be read as an image and as an index would have two meanings under one digest (CVE-2021-41190).
fn check_shape(document: &Document, media_type: &str) -> Result<(), ManifestError> {
    let present = [
        ("config", document.config.is_some()),
        ("layers", document.layers.is_some()),
        ("manifests", document.manifests.is_some()),
        ("blobs", document.blobs.is_some()),
    ];
    let own: &[&str] = match media_type {
        OCI_IMAGE | DOCKER_IMAGE => &["config", "layers"],
        OCI_INDEX | DOCKER_LIST => &["manifests"],
        _ => &["blobs"],
    };
    for (field, is_there) in present {
        if is_there && !own.contains(&field) {
            return Err(ManifestError::Misplaced { field, media_type: media_type.to_owned() });
        }
    }
    if own.contains(&"config") && document.config.is_none() {
        return Err(ManifestError::Lacking { field: "config", media_type: media_type.to_owned() });
    }
    match document.schema_version {
        Some(2) => Ok(()),
        None if media_type == OCI_ARTIFACT => Ok(()),
        None => Err(ManifestError::Lacking {
            field: "schemaVersion",
            media_type: media_type.to_owned(),
        }),
        Some(found) => Err(ManifestError::SchemaVersion { found }),
    }
}

fn wanted(document: &Document) -> Result<Vec<WantedBlob>, ManifestError> {
    let config = document.config.iter().map(|d| ("config", d));
    let layers = document.layers.iter().flatten().map(|d| ("layers", d));
    let blobs = document.blobs.iter().flatten().map(|d| ("blobs", d));
    let mut wanted = Vec::new();
    for (field, descriptor) in config.chain(layers).chain(blobs) {
        let digest = descriptor.digest(field)?;
        if !descriptor.is_elsewhere() {
            wanted.push(WantedBlob { digest, size: Some(descriptor.size) });
        }
    }
    Ok(wanted)
}

fn artifact_type(document: &Document) -> Option<String> {
    let own = document.artifact_type.clone().filter(|text| !text.is_empty());
    own.or_else(|| document.config.as_ref().map(|config| config.media_type.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn image(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c/t","digest":"{D}","size":0}},"layers":[]{extra}}}"#
        )
    }

    #[test]
    fn an_image_names_its_blobs_and_subject() {
        let extra = format!(r#","subject":{{"digest":"{D}","size":3}},"annotations":{{"a":"b"}}"#);
        let read = parse(Some(OCI_IMAGE), image(&extra).as_bytes()).unwrap();
        assert_eq!((read.blobs.len(), read.subject.is_some()), (1, true));
        assert_eq!(read.artifact_type.as_deref(), Some("c/t"));
        assert_eq!(read.annotations.as_deref(), Some(r#"{"a":"b"}"#));
        let typed = parse(Some(OCI_IMAGE), image(r#","artifactType":"x/y""#).as_bytes()).unwrap();
        assert_eq!(typed.artifact_type.as_deref(), Some("x/y"));
    }

    #[test]
    fn an_index_may_be_empty_and_a_foreign_layer_is_not_wanted() {
        let index = parse(Some(OCI_INDEX), br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        assert!(index.children.is_empty() && index.artifact_type.is_none());
        let layer = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{D}","size":0}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{D}","size":1}}]}}"#
        );
        assert_eq!(parse(Some(OCI_IMAGE), layer.as_bytes()).unwrap().blobs.len(), 1);
    }

    #[test]
    fn what_is_refused() {
        let (two, lone) = (format!(r#","mediaType":"{OCI_INDEX}""#), image(""));
        let both = image(r#","manifests":[]"#);
        let cases: [(Option<&str>, &str, &str); 9] = [
            (Some(OCI_IMAGE), "{", "JSON"),
            (Some(OCI_IMAGE), "[]", "JSON"),
            (None, &lone, "neither"),
            (Some("text/plain"), &lone, "text/plain"),
            (Some(OCI_IMAGE), &image(&two), "mediaType"),
            (Some(OCI_IMAGE), &both, "`manifests` has no place"),
            (Some(OCI_IMAGE), r#"{"schemaVersion":2}"#, "`config` is missing"),
            (Some(OCI_INDEX), r#"{"schemaVersion":1,"manifests":[]}"#, "is 1, not 2"),
            (
                Some(OCI_INDEX),
                r#"{"schemaVersion":2,"manifests":[{"digest":"x","size":1}]}"#,
                "`manifests` has a bad digest",
            ),
        ];
        for (header, body, words) in cases {
            let error = parse(header, body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error} / {words}");
        }
    }
}
